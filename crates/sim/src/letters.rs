//! Guests that write to each other: what they send, what they must get, and what they may be told.

use std::cmp::Ordering;

use protocol::{Input, MaySend, Unsendable};
use wire::{Pid, Reason, Share};

use crate::world::{Event, GuestState, World};

/// A letter says who sent it to whom, and which it is; the rest only takes room.
pub(crate) const HEAD_BYTES: usize = 32;

impl World {
    /// A guest takes some of what is in its inbox.
    pub(crate) fn guest_takes(&mut self, node: usize, pid: Pid) {
        let waiting = self.nodes[node].guests.get(&pid).map_or(0, |guest| guest.inbox.len());
        let all = self.truth.quiet || self.meter.is_some() || self.rng.chance(30);
        let count = if all { waiting } else { self.rng.below(3) as usize };
        for _ in 0..count {
            let guest = self.nodes[node].guests.get_mut(&pid);
            let Some(guest) = guest.filter(|guest| guest.state == GuestState::Running) else {
                return;
            };
            let Some((from, bytes)) = guest.inbox.pop_front() else { return };
            self.feed(node, Input::Took { pid, from, letters: 1, bytes: bytes as u64 });
        }
    }

    /// A guest sends a letter to whomever it likes.
    pub(crate) fn guest_sends(&mut self, node: usize, pid: Pid) {
        let to = self.truth.born[self.rng.below(self.truth.born.len() as u64) as usize];
        let bytes = HEAD_BYTES
            + match self.rng.below(100) {
                0..75 => self.rng.below(60) as usize,
                75..93 => self.rng.below(6_000) as usize,
                93..99 => self.rng.below(200_000) as usize,
                _ => self.rng.below(700_000) as usize,
            };
        self.guest_writes(node, pid, to, bytes);
    }

    /// A guest sends a letter of this length.
    pub(crate) fn guest_writes(&mut self, node: usize, pid: Pid, to: Pid, bytes: usize) {
        let Some(machine) = &self.nodes[node].machine else { return };
        match machine.may_send(pid, to, bytes) {
            MaySend::Yes => (),
            MaySend::Wait => return self.marks.mark("a sender waits for credit"),
            MaySend::No(Unsendable::Denied) => return self.marks.mark("a letter denied"),
            MaySend::No(Unsendable::Down(_)) => {
                if let Some(guest) = self.nodes[node].guests.get_mut(&pid) {
                    guest.refused.insert(to);
                }
                return self.marks.mark("a letter to one that is down");
            }
            MaySend::No(Unsendable::Ending) => {
                return self.marks.mark("a letter to one whose last ones are under way");
            }
            MaySend::No(_) => return,
        }
        let Some(guest) = self.nodes[node].guests.get_mut(&pid) else { return };
        let life = guest.life;
        let sent = guest.sent.entry(to).or_default();
        let letter = letter(pid, to, (life, *sent), bytes);
        *sent += 1;
        self.marks.mark("a letter sent");
        self.feed(node, Input::Send { pid, to, letter });
    }

    /// A letter comes: it must be the next one of its sender.
    pub(crate) fn inbox(&mut self, node: usize, pid: Pid, from: Pid, found: &Share) {
        let Some(guest) = self.nodes[node].guests.get_mut(&pid) else { return };
        let reborn = 1 < guest.life;
        let arrived = guest.arrived.entry(from).or_default();
        let (life, number) = number(found);
        let follows = match life.cmp(&arrived.0) {
            Ordering::Equal => number == arrived.1,
            // An earlier life of this one may have had what was before.
            Ordering::Greater => number == 0 || reborn,
            Ordering::Less => false,
        };
        let problem = if !follows || *found != letter(from, pid, (life, number), found.len()) {
            let (last, arrived) = *arrived;
            format!(
                "{pid} gets letter {number} of {from} in life {life}, and {arrived} of life {last} have come before"
            )
        } else if guest.held {
            format!("{pid} holds its effects back, and gets a letter of {from}")
        } else if guest.imaged {
            format!("{pid} gets a letter of {from}, and its image is on its way")
        } else if guest.downs.contains_key(&from) || guest.refused.contains(&from) {
            format!("{pid} gets a letter of {from}, after it was told that that is down")
        } else {
            *arrived = (life, number + 1);
            guest.inbox.push_back((from, found.len()));
            let (now, hops) = (self.now, self.hops);
            if let Some(meter) = &mut self.meter {
                meter.arrived(now, hops);
                let life = self.life(node);
                self.schedule(protocol::Span::micros(1), Event::Guest { life, pid });
            }
            return self.marks.mark("a letter arrived");
        };
        self.fail(problem);
    }

    /// A correspondent is down: it must be, and its last letter must have come.
    pub(crate) fn correspondent_down(&mut self, node: usize, pid: Pid, of: Pid, reason: Reason) {
        let running = self.running(of);
        let lives = self.truth.lives.get(&of).copied().unwrap_or(1);
        let Some(guest) = self.nodes[node].guests.get_mut(&pid) else { return };
        let (life, arrived) = guest.arrived.get(&of).copied().unwrap_or((0, 0));
        if reason == Reason::Restarted {
            // Nothing of the last life comes after this.
            guest.arrived.insert(of, (life.max(1) + 1, 0));
            if lives < 2 || lives <= life {
                self.fail(format!(
                    "{pid} is told that {of} has begun anew, and it is in life {lives}"
                ));
            }
            return self.marks.mark("down: restarted");
        }
        // An earlier life of either may have had the others.
        let comparable = life == lives || guest.life == 1;
        let arrived = if life == lives { arrived } else { 0 };
        // Whoever begins to watch one that is down is told so again.
        let again = guest.downs.insert(of, reason).is_some()
            && !guest.watching.contains(&of)
            && !guest.links.contains(&of);
        // What it had not sent out when it was killed in its file is gone with that.
        let left = matches!(reason, Reason::Lost(_)) || self.was_killed_in_its_file(of, reason);
        let last = self.truth.last_sent.get(&of).and_then(|sent| sent.get(&pid)).copied();
        let problem = if again {
            format!("{pid} is told twice that {of} is down")
        } else if !running.is_empty() {
            format!("{pid} is told that {of} is down ({reason}), and it runs on {running:?}")
        } else if comparable && !left && last.is_some_and(|last| last != arrived) {
            format!(
                "{pid} is told that {of} is down ({reason}) after {arrived} of {last:?} letters"
            )
        } else {
            return self.marks.mark(match reason {
                Reason::Lost(_) => "down: lost",
                Reason::NoProcess => "down: noproc",
                _ => "down: ended",
            });
        };
        self.fail(problem);
    }

    fn was_killed_in_its_file(&self, pid: Pid, reason: Reason) -> bool {
        let owner = self.registry.as_ref().map(|registry| registry.locate(pid).place.owner);
        let by_record = owner.is_none_or(|owner| owner == wire::Owner::Killed);
        reason == Reason::Killed && by_record && self.files.contains_key(&pid)
    }

    /// A guest watches whomever it likes, or changes its mind.
    pub(crate) fn guest_watches(&mut self, node: usize, pid: Pid) {
        let of = self.truth.born[self.rng.below(self.truth.born.len() as u64) as usize];
        let unwatches = self.rng.below(8) == 0;
        let Some(machine) = &self.nodes[node].machine else { return };
        if machine.may_watch(pid, of) != MaySend::Yes {
            return;
        }
        let Some(guest) = self.nodes[node].guests.get_mut(&pid) else { return };
        if guest.state != GuestState::Running {
            return;
        }
        if unwatches {
            guest.watching.remove(&of);
            return self.feed(node, Input::Unwatch { pid, of });
        }
        if of != pid {
            guest.watching.insert(of);
            self.marks.mark("a watch");
            self.feed(node, Input::Watch { pid, of });
        }
    }

    /// The news of an end comes to those who watch, and to nobody else.
    pub(crate) fn news_of_end(
        &mut self,
        node: usize,
        pid: Pid,
        of: Pid,
        reason: Reason,
        watched: bool,
    ) {
        let (may, must) = self.end_of_linked(node, pid, of, reason);
        let Some(guest) = self.nodes[node].guests.get_mut(&pid) else { return };
        let watches = guest.watching.remove(&of);
        match watched {
            true if watches || may => self.marks.mark("news of an end"),
            false if watches || must => {
                self.fail(format!("{pid} watches {of}, and gets no news of its end"));
            }
            true => self.fail(format!("{pid} gets news of {of}, which it does not watch")),
            false => (),
        }
    }

    pub(crate) fn news_of_silence(&mut self, node: usize, pid: Pid, of: Pid, silent: bool) {
        let guest = self.nodes[node].guests.get(&pid);
        if guest.is_some_and(|guest| !guest.watching.contains(&of)) {
            return self.fail(format!("{pid} gets news of {of}, which it does not watch"));
        }
        self.marks.mark(if silent { "news of a silence" } else { "news that one is back" });
    }

    /// A copy that starts to run has sent whatever others have got of it.
    pub(crate) fn unsent(&self, node: usize, pid: Pid) -> Option<Pid> {
        let guest = &self.nodes[node].guests[&pid];
        let others = self.nodes.iter().flat_map(|node| &node.guests);
        let ahead = others.filter(|(other, there)| {
            let (life, arrived) = there.arrived.get(&pid).copied().unwrap_or((0, 0));
            let runs = there.state == GuestState::Running;
            let sent = guest.sent.get(other).copied().unwrap_or(0);
            runs && arrived != 0 && (guest.life, sent) < (life, arrived)
        });
        ahead.map(|(other, _)| *other).next()
    }

    /// Faults are over: whatever was sent must have come, and whoever waited must be able to go on.
    pub(crate) fn undelivered(&self, pid: Pid) -> Option<String> {
        let [node] = self.running(pid)[..] else { return None };
        let guest = &self.nodes[node].guests[&pid];
        for from in &self.truth.born {
            let (life, arrived) = guest.arrived.get(from).copied().unwrap_or((0, 0));
            let current = self.truth.lives.get(from) == Some(&life);
            if guest.watching.contains(from) && !current && arrived != 0 {
                return Some(format!(
                    "{pid} was not told of a new life of {from}, which it watches"
                ));
            }
            let arrived = if current { arrived } else { 0 };
            // What an earlier life of this one had did not come to it.
            if !current && 1 < guest.life {
                continue;
            }
            let down = guest.downs.get(from);
            let sent = match self.running(*from)[..] {
                [there] => self.nodes[there].guests[from].sent.get(&pid).copied(),
                _ if matches!(down, Some(Reason::Lost(_))) => continue,
                _ => {
                    // It may have gone while its last letters were on their way.
                    let last = self.truth.last_sent.get(from).and_then(|sent| sent.get(&pid));
                    let rests = self.place(*from).owner == wire::Owner::File;
                    // Of one that was lost only those hear who write to it, or thought it there.
                    let lost =
                        self.truth.lost.contains(from) || self.truth.doomed.contains(&from.group);
                    if down.is_none() && 0 < arrived && !rests && !lost {
                        return Some(format!("{pid} was not told that {from} is down"));
                    }
                    if down.is_none() { continue } else { last.copied() }
                }
            };
            let sent = sent.unwrap_or(0);
            let was_in_image = self.running(*from).is_empty() && sent == 0;
            if arrived != sent && !was_in_image {
                return Some(format!("{pid} got {arrived} of {sent} letters of {from}"));
            }
        }
        if let Some((name, _)) = &guest.asks {
            return Some(format!("{pid} has had no answer about {name}"));
        }
        let over = |of: &&Pid| {
            self.running(**of).is_empty() && self.place(**of).owner != wire::Owner::File
        };
        if let Some(of) = guest.watching.iter().find(over) {
            return Some(format!("{pid} has had no news of the end of {of}, which it watches"));
        }
        if let Some(problem) = self.outlived(node, pid) {
            return Some(problem);
        }
        let machine = self.nodes[node].machine.as_ref()?;
        let waits =
            self.truth.born.iter().find(|to| machine.may_send(pid, **to, 1) == MaySend::Wait);
        // One that rests cannot take anything.
        let waits = waits.filter(|to| !self.running(**to).is_empty());
        waits.map(|to| format!("{pid} still waits to send to {to}"))
    }
}

/// The letter of this number, of this length.
fn letter(from: Pid, to: Pid, (life, number): (u64, u64), bytes: usize) -> Share {
    let number = life << LIFE_SHIFT | number;
    let mut letter = Vec::with_capacity(bytes);
    for (pid, value) in [(from, number), (to, bytes as u64)] {
        letter.extend((pid.group.0 as u32).to_le_bytes());
        letter.extend(pid.index.to_le_bytes());
        letter.extend(value.to_le_bytes());
    }
    // Parts that have changed places are seen, too.
    letter.extend((HEAD_BYTES..bytes.max(HEAD_BYTES)).map(|at| (at >> 12) as u8));
    Share::from(letter)
}

/// Of which life of its sender a letter is, and its number in that.
fn number(letter: &Share) -> (u64, u64) {
    let both =
        letter.get(8..16).map_or(u64::MAX, |n| u64::from_le_bytes(n.try_into().expect("8 bytes")));
    (both >> LIFE_SHIFT, both & ((1 << LIFE_SHIFT) - 1))
}

/// Where the life stands in what a letter says.
const LIFE_SHIFT: u32 = 48;
