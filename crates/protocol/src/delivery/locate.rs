//! How letters find a process that moves: the strategies, which differ in what they cost and not in what arrives.
//!
//! | strategy | before a move | after it | who writes to the old place |
//! |---|---|---|---|
//! | `directory` | | | hears `astray`, and asks the registry |
//! | `update` | `leaving` to every correspondent | `place` to every correspondent | holds its letters, for a while |
//! | `forwarding` | | | hears `place` from there |
//! | `mailbox` | | `moved` to the mailbox | nobody: letters go to the mailbox |
//!
//! Every node serves all of them at all times. A strategy decides only what is said about a move, and where a sender of
//! the same group tries first. All of it may be lost or come late: an address with a higher epoch is better than one
//! with a lower, what is held back is held for a while only, and what is said in vain makes its sender ask the registry.
//!
//! The strategies are those of the literature on mobile agents: update and forwarding pointers, home agents, mailboxes
//! apart from their owners.

use alloc::vec::Vec;

use wire::{Address, Locate, Mail, Message, Peer, Pid};

use super::newer;
use crate::{Instant, Machine, Rule, Span};

/// A letter is held back so long for one that has said that it leaves: many times what a move takes.
const HELD_MAX: Span = Span::seconds(2);

/// Where a process went that has left is kept so long after somebody wanted to know last.
const LEASE: Span = Span::seconds(60);

/// So many addresses are kept. One goes for each that comes then, and who would have needed it asks the registry.
const PLACES_MAX: usize = 65_536;

/// Where a process is that has left this node, or that has its mailbox here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    at: Address,
    /// Until when it is kept; in a mailbox, until it proves wrong.
    until: Option<Instant>,
}

impl Machine {
    /// How letters find a process that is here.
    #[must_use]
    pub fn locate(&self, pid: Pid) -> Option<Locate> {
        Some(self.processes.get(&pid)?.delivery.locate)
    }

    /// A process is about to be frozen for a move.
    pub(crate) fn tell_leaving(&mut self, pid: Pid) {
        self.tell_correspondents(pid, |to, _| Message::Leaving { to, pid });
    }

    /// A process may speak, or speak again: it was born, has arrived, or stays.
    pub(crate) fn tell_arrived(&mut self, now: Instant, pid: Pid) {
        self.post.places.remove(&pid);
        self.tell_correspondents(pid, |to, at| Message::Place { to, pid, at });
        let Some(process) = self.processes.get(&pid) else { return };
        let at = Address { epoch: process.epoch, peer: self.config.me };
        if let Locate::Mailbox(node) = process.delivery.locate
            && let Some(mailbox) = self.current(node)
        {
            if mailbox == self.config.me {
                self.moved(now, pid, at);
            } else {
                self.send(mailbox, Message::Moved { pid, at });
            }
        }
    }

    /// Has every correspondent on another node told, if that is the process's way.
    fn tell_correspondents(&mut self, pid: Pid, what: impl Fn(Pid, Address) -> Message) {
        let Some(process) = self.processes.get(&pid) else { return };
        if process.delivery.locate != Locate::Update {
            return;
        }
        let me = self.config.me;
        let here = Address { epoch: process.epoch, peer: me };
        let pairs = process.delivery.pairs.iter();
        let others = pairs.filter(|(_, pair)| pair.down.is_none()).filter_map(|(other, pair)| {
            let elsewhere = pair.at.filter(|at| at.peer != me)?;
            Some((elsewhere.peer, *other))
        });
        for (peer, other) in others.collect::<Vec<_>>() {
            self.send(peer, what(other, here));
        }
    }

    /// A process has left: whoever still writes to it here may be told where it went.
    pub(crate) fn leave_forwarder(&mut self, now: Instant, pid: Pid, locate: Locate, at: Address) {
        if locate == Locate::Forwarding {
            self.keep_place(now, pid, Known { at, until: Some(now + LEASE) });
        }
    }

    /// A mailbox that is here hears where its owner is.
    pub(crate) fn moved(&mut self, now: Instant, pid: Pid, at: Address) {
        if newer(self.post.places.get(&pid).map(|known| known.at), at) {
            self.keep_place(now, pid, Known { at, until: None });
        }
    }

    fn keep_place(&mut self, now: Instant, pid: Pid, known: Known) {
        let places = &mut self.post.places;
        if PLACES_MAX <= places.len() {
            places.retain(|_, known| known.until.is_none_or(|until| now < until));
        }
        if PLACES_MAX <= places.len() {
            places.pop_first();
        }
        places.insert(pid, known);
    }

    /// Where a process is said to be by what is kept here.
    pub(super) fn known_place(&mut self, now: Instant, pid: Pid) -> Option<Address> {
        let known = self.post.places.get_mut(&pid)?;
        let (at, fresh) = (known.at, known.until.is_none_or(|until| now < until));
        known.until = known.until.map(|_| now + LEASE);
        if !fresh || at.peer == self.config.me || self.gone(at.peer) {
            self.post.places.remove(&pid);
            return None;
        }
        Some(at)
    }

    /// Mail for one that is not here: where it went, if that is known and was not known to the sender.
    pub(super) fn forward(&mut self, now: Instant, from: Peer, mail: &Mail) {
        match self.known_place(now, mail.to) {
            Some(at) if mail.meant < at.epoch => {
                self.send(from, Message::Place { to: mail.from, pid: mail.to, at });
            }
            _ => self.say_astray(from, mail),
        }
    }

    /// Mail by way of a mailbox: it is passed on, or it is at its end.
    pub(crate) fn relayed(&mut self, now: Instant, from: Peer, origin: Peer, mail: Mail) {
        let here = self.processes.contains_key(&mail.to) || self.incoming.contains_key(&mail.to);
        if here || self.post.tombs.contains_key(&mail.to) {
            return self.mail_arrived(now, origin, mail);
        }
        // What was passed on to here is not passed on again: its sender is told.
        if from != origin {
            return self.forward(now, origin, &mail);
        }
        match self.known_place(now, mail.to) {
            Some(at) => {
                let mail = Mail { meant: at.epoch, ..mail };
                self.send(at.peer, Message::Relay { origin, mail });
            }
            None => self.say_astray(origin, &mail),
        }
    }

    /// The mailbox that a sender tries first for a member of its own group.
    pub(super) fn mailbox(&self, pid: Pid, other: Pid) -> Option<Peer> {
        let delivery = &self.processes.get(&pid)?.delivery;
        let Locate::Mailbox(node) = delivery.locate else { return None };
        let in_vain = delivery.pairs.get(&other).is_some_and(|pair| 0 < pair.out.tries);
        if pid.group != other.group || in_vain {
            return None;
        }
        self.live(node).ok()
    }

    /// A correspondent is about to move.
    pub(crate) fn heard_leaving(&mut self, now: Instant, from: Peer, pid: Pid, other: Pid) {
        if let Some(pair) = self.pair_of(pid, other)
            && pair.at.is_some_and(|at| at.peer == from)
        {
            pair.held_until = Some(now + HELD_MAX);
        }
    }

    /// A correspondent is there.
    pub(crate) fn heard_place(&mut self, pid: Pid, other: Pid, at: Address) {
        if self.gone(at.peer) {
            return;
        }
        let Some(pair) = self.pair_of(pid, other) else { return };
        if pair.closed.is_some() || pair.at.is_some_and(|known| at.epoch < known.epoch) {
            return;
        }
        pair.held_until = None;
        if pair.at != Some(at) {
            pair.at = Some(at);
            pair.out.rewind();
        }
        self.soil(pid, other);
    }

    /// Whether letters to this correspondent wait for it to be heard of again.
    pub(super) fn is_held(&self, now: Instant, pid: Pid, other: Pid) -> bool {
        let ends = self.rules.keep(Rule::HeldForAWhile);
        let process = self.processes.get(&pid);
        let pair = process.and_then(|process| process.delivery.pairs.get(&other));
        let until = pair.and_then(|pair| pair.held_until);
        until.is_some_and(|until| now < until || !ends)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use wire::{Epoch, Life};

    use super::*;
    use crate::Output;
    use crate::testing::{drain, machine, peer, pid};

    const THERE: u32 = 3;

    fn at(epoch: u64) -> Address {
        Address { epoch: Epoch(epoch), peer: peer(THERE) }
    }

    /// A question of process 8 to process 7, which was meant for an address of this epoch.
    fn mail(meant: u64) -> Mail {
        Mail {
            from: pid(8),
            life: Life(1),
            epoch: Epoch(0),
            to: pid(7),
            meant: Epoch(meant),
            first: 0,
            pieces: vec![],
            ask: true,
            got: None,
        }
    }

    fn said(machine: &mut Machine) -> Vec<(Peer, Message)> {
        let sent = |output| match output {
            Output::Send(to, message) => Some((to, message)),
            _ => None,
        };
        drain(machine).into_iter().filter_map(sent).collect()
    }

    fn astray(meant: u64) -> (Peer, Message) {
        (peer(2), Message::Astray { to: pid(8), pid: pid(7), meant: Epoch(meant) })
    }

    #[test]
    fn a_forwarder_says_where_it_went_for_as_long_as_someone_wants_to_know() {
        let mut machine = machine(1);
        let mut now = machine.now;
        machine.leave_forwarder(now, pid(7), Locate::Forwarding, at(2));
        drain(&mut machine);
        let place = (peer(2), Message::Place { to: pid(8), pid: pid(7), at: at(2) });
        for _ in 0..3 {
            machine.mail_arrived(now, peer(2), mail(1));
            assert_eq!(said(&mut machine), core::slice::from_ref(&place));
            now = now + Span(LEASE.0 - 1);
        }
        // Who knows that has come here for nothing.
        machine.mail_arrived(now, peer(2), mail(2));
        assert_eq!(said(&mut machine), [astray(2)]);
        machine.mail_arrived(now + LEASE, peer(2), mail(1));
        assert_eq!(said(&mut machine), [astray(1)]);
        // Under another strategy nothing is left behind.
        machine.leave_forwarder(now, pid(7), Locate::Directory, at(2));
        machine.mail_arrived(now, peer(2), mail(1));
        assert_eq!(said(&mut machine), [astray(1)]);
    }

    #[test]
    fn a_mailbox_passes_letters_on_once() {
        let mut machine = machine(1);
        let now = machine.now;
        drain(&mut machine);
        machine.relayed(now, peer(2), peer(2), mail(0));
        assert_eq!(said(&mut machine), [astray(0)], "it has not heard of it");
        machine.moved(now, pid(7), at(2));
        // An older word comes late.
        machine.moved(now, pid(7), Address { epoch: Epoch(1), peer: peer(4) });
        machine.relayed(now + LEASE, peer(2), peer(2), mail(0));
        let passed_on = Message::Relay { origin: peer(2), mail: mail(2) };
        assert_eq!(said(&mut machine), [(peer(THERE), passed_on)]);
        // What another mailbox has passed on to here goes no further: its sender hears.
        machine.relayed(now, peer(4), peer(2), mail(0));
        let place = Message::Place { to: pid(8), pid: pid(7), at: at(2) };
        assert_eq!(said(&mut machine), [(peer(2), place)]);
    }
}
