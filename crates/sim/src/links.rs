//! Guests that are linked, and who ends with whom.

use protocol::{Input, MaySend};
use wire::{Outcome, Owner, Pid, Reason};

use crate::World;
use crate::world::GuestState;

/// Most guests trap when they link themselves: the others die, and with them what there is to see.
const TRAPS_OF_8: u64 = 7;

impl World {
    /// A guest links itself to whomever it likes, ends a link, or changes its mind about what an end is to it.
    pub(crate) fn guest_links(&mut self, node: usize, pid: Pid) {
        let of = self.truth.born[self.rng.below(self.truth.born.len() as u64) as usize];
        let (wants, traps) = (self.rng.below(4), self.rng.below(8) < TRAPS_OF_8);
        let Some(machine) = &self.nodes[node].machine else { return };
        let may = machine.may_watch(pid, of) == MaySend::Yes;
        let listed: Vec<Pid> = machine.links(pid).collect();
        let Some(guest) = self.nodes[node].guests.get_mut(&pid) else { return };
        if guest.state != GuestState::Running {
            return;
        }
        if wants == 0 {
            guest.traps = traps;
            return self.feed(node, Input::Traps { pid, traps });
        }
        if wants == 1 {
            let Some(from) = listed.first().copied() else { return };
            guest.links.remove(&from);
            self.truth.unlinked.insert(both(pid, from));
            return self.feed(node, Input::Unlink { pid, from });
        }
        if may && of != pid {
            let traps = guest.traps || traps;
            guest.links.insert(of);
            guest.traps = traps;
            self.truth.linked.insert(both(pid, of));
            self.marks.mark("a link");
            self.feed(node, Input::Traps { pid, traps });
            self.feed(node, Input::Link { pid, to: of });
            self.changes_its_mind(of, pid);
        }
    }

    /// The other links the two as well, before it can know, and thinks better of it.
    fn changes_its_mind(&mut self, pid: Pid, of: Pid) {
        let [node] = self.running(pid)[..] else { return };
        let may = |machine: &protocol::Machine| machine.may_watch(pid, of) == MaySend::Yes;
        if self.nodes[node].machine.as_ref().is_some_and(may) && self.rng.chance(40) {
            self.truth.unlinked.insert(both(pid, of));
            self.feed(node, Input::Link { pid, to: of });
            self.feed(node, Input::Unlink { pid, from: of });
        }
    }

    /// A guest is told of an end. Says whether that may be, and must be, news to it because of a link.
    pub(crate) fn end_of_linked(
        &mut self,
        node: usize,
        pid: Pid,
        of: Pid,
        reason: Reason,
    ) -> (bool, bool) {
        let may = self.truth.linked.contains(&both(pid, of));
        let lasts = !self.truth.unlinked.contains(&both(pid, of));
        let Some(guest) = self.nodes[node].guests.get_mut(&pid) else { return (false, false) };
        let linked = guest.links.remove(&of) && lasts;
        if linked && !guest.traps && reason != Reason::Normal {
            guest.condemned = Some(of);
        }
        (may && guest.traps, linked && guest.traps)
    }

    /// A process has ended with another: they were linked, and that one is no more, or was another life.
    pub(crate) fn check_linked_end(&mut self, pid: Pid, outcome: &Outcome) {
        let Outcome::Linked(of, _) = outcome else { return };
        let lives = self.truth.lives.get(of).copied().unwrap_or(1);
        if !self.truth.linked.contains(&both(pid, *of)) {
            return self.fail(format!("{pid} ends with {of}, to which it was never linked"));
        }
        if lives == 1 && !self.running(*of).is_empty() {
            return self.fail(format!("{pid} ends with {of}, which runs"));
        }
        self.marks.mark("a linked end");
    }

    /// Faults are over: nobody has outlived whom it was linked to, and a link has two ends.
    pub(crate) fn outlived(&self, node: usize, pid: Pid) -> Option<String> {
        let guest = &self.nodes[node].guests[&pid];
        if let Some(of) = guest.condemned {
            return Some(format!("{pid} runs on after the end of {of}, to which it was linked"));
        }
        let over = |of: Pid| self.running(of).is_empty() && self.place(of).owner != Owner::File;
        let lasts = |of: Pid| !self.truth.unlinked.contains(&both(pid, of));
        if let Some(of) = guest.links.iter().find(|of| over(**of) && lasts(**of)) {
            return Some(format!("{pid} was not told of the end of {of}, to which it is linked"));
        }
        let machine = self.nodes[node].machine.as_ref()?;
        let one_sided = machine.links(pid).find(|of| match self.running(*of)[..] {
            [there] => {
                let there = self.nodes[there].machine.as_ref();
                there.is_some_and(|there| there.links(*of).all(|other| other != pid))
            }
            _ => false,
        });
        one_sided.map(|of| format!("{pid} is linked to {of}, and that is not linked to it"))
    }
}

/// Two processes, in whatever order.
fn both(one: Pid, other: Pid) -> (Pid, Pid) {
    (one.min(other), one.max(other))
}
