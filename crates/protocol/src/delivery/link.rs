//! Links: two processes that end with each other, unless the end is a good one.
//!
//! Either makes the link, and either ends it. Word of both is a piece of the sequence between the two, so that it survives
//! the moves of both and comes before the end, as a watch does; and the end of one is told to the other as to a watcher. Who
//! is told of an end that is not `normal` ends itself, `linked` to the process and for the first reason of the chain; or gets
//! news of it, if it traps. One that is muted or frozen ends when it can act again.
//!
//! One may make a link while the other ends the last one. So the word of an end says how many pieces of the other had
//! been taken: a link that was made after those stands, and with both.
//!
//! After J. Armstrong, *Making reliable distributed systems in the presence of software errors*, 2003, section 3.5.

use wire::{Outcome, Pid, Reason};

use super::{Bond, MaySend};
use crate::process::Phase;
use crate::{Instant, Machine, Rule};

impl Machine {
    /// A guest links itself to another, which it may do as it may watch. To one that is no more it is linked for no time.
    pub(crate) fn guest_links(&mut self, now: Instant, pid: Pid, to: Pid) {
        if pid == to || self.may_watch(pid, to) != MaySend::Yes {
            return;
        }
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Some(pair) = process.delivery.pair(now, to) else { return };
        if let Some(reason) = pair.down {
            return self.tell_down(pid, to, reason, Bond { watched: false, linked: true });
        }
        if !pair.linked {
            pair.link();
            self.soil(pid, to);
        }
    }

    /// A guest is linked no longer. What the other does not know yet does not concern this one.
    pub(crate) fn guest_unlinks(&mut self, pid: Pid, from: Pid) {
        let Some(pair) = self.pair_of(pid, from).filter(|pair| pair.linked) else { return };
        pair.linked = false;
        if pair.closed.is_none() {
            pair.out.unlink(pair.from.next);
            self.soil(pid, from);
        }
    }

    /// From now on the end of a linked process is news to this one, or is not any more.
    pub(crate) fn guest_traps(&mut self, pid: Pid, traps: bool) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.delivery.traps = traps;
        }
    }

    /// To whom a process here is linked.
    pub fn links(&self, pid: Pid) -> impl Iterator<Item = Pid> + '_ {
        let process = self.processes.get(&pid);
        let pairs = process.into_iter().flat_map(|process| &process.delivery.pairs);
        pairs.filter(|(_, pair)| pair.linked).map(|(other, _)| *other)
    }

    pub(super) fn linked_by(&mut self, pid: Pid, other: Pid) {
        if let Some(pair) = self.pair_of(pid, other) {
            pair.linked = true;
        }
    }

    pub(super) fn unlinked_by(&mut self, pid: Pid, other: Pid, taken: u64) {
        let later = self.rules.keep(Rule::LaterLinkStands);
        if let Some(pair) = self.pair_of(pid, other)
            && (pair.link_said <= taken || !later)
        {
            pair.linked = false;
        }
    }

    /// A process that was linked to `of` has been told of its end.
    pub(super) fn ends_with(&mut self, pid: Pid, of: Pid, reason: Reason) {
        let Some(cause) = reason.cause() else { return };
        let Some(process) = self.processes.get(&pid) else { return };
        let ends = match process.phase {
            Phase::Running | Phase::Preparing(_) | Phase::Freezing(_) => true,
            // It has linked itself to one that it knew to be down; its end is seen when it is released.
            Phase::Muted(_) => true,
            Phase::Offered(_) | Phase::Storing { .. } | Phase::Kept(_) | Phase::Ending => false,
        };
        if ends && !process.delivery.traps && self.rules.keep(Rule::LinkedEndTogether) {
            self.doom(pid, Outcome::Linked(of, cause));
        }
    }
}
