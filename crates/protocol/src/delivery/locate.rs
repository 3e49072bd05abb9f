//! How letters find a process that moves: the strategies, which differ in what they cost and not in what arrives.
//!
//! | strategy | before a move | after it | who writes to the old place |
//! |---|---|---|---|
//! | `directory` | | | hears `astray`, and asks the registry |
//! | `update` | `leaving` to every correspondent | `place` to every correspondent | holds its letters, for a while |
//! | `forwarding` | | | hears `place` from there |
//! | `mailbox` | | `moved` to the mailbox | nobody: letters go to the mailbox |
//! | `mailbox-pull` | | | nobody: letters go to the mailbox, which is polled (`pull`) |
//! | `adaptive` | | | each process does as one of these (`adaptive`) |
//!
//! Every node serves all of them at all times. A strategy decides only what is said about a move, and where a sender of
//! the same group tries first. All of it may be lost or come late: an address with a higher epoch is better than one
//! with a lower, what is held back is held for a while only, and what is said in vain makes its sender ask the registry.
//!
//! The strategies are those of the literature on mobile agents: update and forwarding pointers, home agents, mailboxes
//! apart from their owners.

use alloc::vec::Vec;

use wire::{Address, Epoch, Left, Locate, Mail, Message, NodeId, Peer, Pid, Via};

use super::{Books, newer};
use crate::{Instant, Machine, Output, Rule, Span};

/// A letter is held back so long for one that has said that it leaves: many times what a move takes.
const HELD_MAX: Span = Span::seconds(2);

/// Where a process went that has left is kept so long after somebody wanted to know last.
const LEASE: Span = Span::seconds(60);

/// So many addresses are kept. Then the oldest go, and who would have needed one of them asks the registry.
const PLACES_MAX: usize = 65_536;

/// So many go at once, so that looking for the oldest is not each one's burden.
const PLACES_DROPPED: usize = PLACES_MAX / 16;

/// So many nodes are remembered that a process has been at. What was left at others runs out by itself.
pub(super) const TRAIL_MAX: usize = 64;

/// Where a process is that has left this node, or that has its mailbox here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    at: Address,
    /// Until when it is kept; in a mailbox, until it proves wrong.
    until: Option<Instant>,
    /// Since when it is known.
    since: Instant,
}

impl super::Delivery {
    /// One on the same node has written: it knows where the process is.
    pub(super) fn heard_here(&mut self, other: Pid, here: NodeId) {
        if let Some(books) = &mut self.books {
            books.heard_here(other, here);
        }
    }
}

impl Machine {
    /// How letters find a process that is here.
    #[must_use]
    pub fn locate(&self, pid: Pid) -> Option<Locate> {
        Some(self.processes.get(&pid)?.delivery.locate)
    }

    /// How much this node keeps for processes that are elsewhere: where they went, and letters for them.
    #[must_use]
    pub fn left_behind(&self) -> usize {
        self.post.places.len() + self.post.shelf.len()
    }

    /// Letters find a process in another way from now on. What the last way has left behind runs out by itself, or is
    /// collected; those that have not heard of the change find it all the same.
    pub(crate) fn relocate(&mut self, now: Instant, pid: Pid, locate: Locate) {
        let here = self.config.me.node;
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let (epoch, delivery) = (process.epoch, &mut process.delivery);
        if delivery.locate == locate {
            return;
        }
        let before = delivery.strategy();
        delivery.locate = locate;
        delivery.books = (locate == Locate::Adaptive).then(|| Books::new(here));
        let after = delivery.strategy();
        if let Locate::Mailbox(node) = before
            && before != after
            && let Some(peer) = self.current(node)
        {
            self.send(peer, Message::Forget { pid, epoch });
        }
        self.tell_arrived(now, pid);
    }

    /// A process is about to be frozen for a move.
    pub(crate) fn tell_leaving(&mut self, pid: Pid) {
        self.tell_correspondents(pid, |to, _| Message::Leaving { to, pid });
    }

    /// A process may speak, or speak again: it was born, has arrived, or stays.
    pub(crate) fn tell_arrived(&mut self, now: Instant, pid: Pid) {
        self.post.places.remove(&pid);
        self.tell_correspondents(pid, |to, at| Message::Place { to, pid, at });
        self.tell_here(pid);
        self.has_come(now, pid);
        self.start_polling(now, pid);
        let Some(process) = self.processes.get(&pid) else { return };
        let at = Address { epoch: process.epoch, peer: self.config.me };
        if let Locate::Mailbox(node) = process.delivery.strategy()
            && let Some(mailbox) = self.current(node)
        {
            if mailbox == self.config.me {
                self.moved(now, pid, at);
            } else {
                self.send(mailbox, Message::Moved { pid, at });
            }
        }
    }

    /// Correspondents on this node see that it has come: those that were told that it leaves, too.
    fn tell_here(&mut self, pid: Pid) {
        let Some(process) = self.processes.get(&pid) else { return };
        let at = Address { epoch: process.epoch, peer: self.config.me };
        let others = process.delivery.pairs.keys().copied();
        let waits = |other: &Pid| {
            let pair = self.processes.get(other).and_then(|it| it.delivery.pairs.get(&pid));
            pair.is_some_and(|pair| pair.held_until.is_some())
        };
        for other in others.filter(waits).collect::<Vec<_>>() {
            self.heard_place(other, pid, at);
        }
    }

    /// Writes down a move, for whoever counts them and for what was left behind.
    fn has_come(&mut self, now: Instant, pid: Pid) {
        let here = self.config.me.node;
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let delivery = &mut process.delivery;
        let Some(left) = delivery.came_from.take().filter(|left| *left != here) else { return };
        if matches!(delivery.locate, Locate::Forwarding | Locate::Adaptive) {
            let forwards = delivery.strategy() == Locate::Forwarding;
            delivery.trail.retain(|old| old.node != left && old.node != here);
            if TRAIL_MAX <= delivery.trail.len() {
                delivery.trail.remove(0);
            }
            delivery.trail.push(Left { node: left, to: here, forwards });
            let pairs = delivery.pairs.iter().filter(|(_, pair)| pair.down.is_none());
            delivery.behind = pairs.map(|(other, _)| *other).collect();
        }
        self.count_move(now, pid, left);
    }

    /// Letters came from another node, by one who knows where this process is, or does not: the acknowledgement says it.
    pub(super) fn letters_came(
        &mut self,
        now: Instant,
        pid: Pid,
        from: Pid,
        sender: NodeId,
        fresh: bool,
        knows: bool,
    ) {
        if fresh {
            self.count_letter(now, pid, from, sender);
        }
        if knows {
            self.knows(pid, from);
        }
    }

    /// One more correspondent knows where a process is. When all do, no forwarder is needed any more.
    fn knows(&mut self, pid: Pid, other: Pid) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let (epoch, delivery) = (process.epoch, &mut process.delivery);
        if !delivery.behind.remove(&other) || !delivery.behind.is_empty() {
            return;
        }
        let trail = core::mem::take(&mut delivery.trail);
        self.count_collection(pid, trail.len() as u64);
        for left in trail {
            if let Some(peer) = self.current(left.node).filter(|_| left.forwards) {
                self.send(peer, Message::Forget { pid, epoch });
            }
        }
    }

    /// Nobody needs what is known here of a process up to this epoch.
    pub(crate) fn forget_place(&mut self, pid: Pid, epoch: Epoch) {
        if self.post.places.get(&pid).is_some_and(|known| known.at.epoch <= epoch) {
            self.post.places.remove(&pid);
        }
    }

    /// A process is no more: nobody has to know where it was.
    pub(crate) fn clear_up(&mut self, pid: Pid) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let (epoch, delivery) = (process.epoch, &mut process.delivery);
        let trail = core::mem::take(&mut delivery.trail);
        let forwarders = trail.into_iter().filter(|left| left.forwards).map(|left| left.node);
        let mailbox = match delivery.strategy() {
            Locate::Mailbox(node) => Some(node),
            _ => None,
        };
        for node in forwarders.chain(mailbox).collect::<Vec<_>>() {
            if let Some(peer) = self.current(node) {
                self.send(peer, Message::Forget { pid, epoch });
            }
        }
    }

    /// Has every correspondent on another node told, if that is the process's way.
    fn tell_correspondents(&mut self, pid: Pid, what: impl Fn(Pid, Address) -> Message) {
        let Some(process) = self.processes.get(&pid) else { return };
        let books = process.delivery.books.as_ref();
        let worth = books.is_none_or(|books| books.is_worth_telling());
        if process.delivery.strategy() != Locate::Update || !worth {
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
            self.keep_place(now, pid, Known { at, until: Some(now + LEASE), since: now });
        }
    }

    /// A mailbox that is here hears where its owner is.
    pub(crate) fn moved(&mut self, now: Instant, pid: Pid, at: Address) {
        if newer(self.post.places.get(&pid).map(|known| known.at), at) {
            self.keep_place(now, pid, Known { at, until: None, since: now });
        }
    }

    fn keep_place(&mut self, now: Instant, pid: Pid, known: Known) {
        let places = &mut self.post.places;
        if PLACES_MAX <= places.len() {
            places.retain(|_, known| known.until.is_none_or(|until| now < until));
        }
        if PLACES_MAX <= places.len() {
            let mut times: Vec<Instant> = places.values().map(|known| known.since).collect();
            let (_, oldest, _) = times.select_nth_unstable(PLACES_DROPPED);
            let (oldest, mut rest) = (*oldest, PLACES_DROPPED);
            places.retain(|_, known| {
                let goes = known.since <= oldest && 0 < rest;
                rest -= usize::from(goes);
                !goes
            });
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

    /// A process is not where it was said to be. True if that was said here.
    pub(super) fn forget_wrong_place(&mut self, pid: Pid, wrong: Address) -> bool {
        let said = self.post.places.get(&pid).is_some_and(|known| known.at == wrong);
        if said {
            self.post.places.remove(&pid);
        }
        said
    }

    /// Where a process went since it was here in this epoch.
    pub(super) fn known_since(&mut self, now: Instant, pid: Pid, left: Address) -> Option<Address> {
        self.known_place(now, pid).filter(|at| left.epoch < at.epoch)
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
    pub(crate) fn relayed(
        &mut self,
        now: Instant,
        from: Peer,
        origin: Peer,
        keep: bool,
        mail: Mail,
    ) {
        let here = self.processes.contains_key(&mail.to) || self.incoming.contains_key(&mail.to);
        if here || self.post.tombs.contains_key(&mail.to) {
            return self.mail_arrived(now, origin, mail);
        }
        // What was passed on to here is not passed on again: its sender is told.
        if from != origin {
            return self.forward(now, origin, &mail);
        }
        match self.known_place(now, mail.to) {
            Some(at) if mail.meant <= at.epoch => {
                let mail = Mail { meant: at.epoch, ..mail };
                self.send(at.peer, Message::Relay { origin, keep: false, mail });
            }
            // The process has left since and does not say so here any more: its sender knows better.
            Some(_) => self.say_astray(origin, &mail),
            None if keep => {
                self.keep_for(now, origin, mail);
            }
            None => self.say_astray(origin, &mail),
        }
    }

    /// The mailbox that a sender tries first, and whether it keeps letters: that of its own group, or the one that its
    /// correspondent has asked for.
    pub(super) fn mailbox(&self, pid: Pid, other: Pid) -> Option<(Peer, bool)> {
        let delivery = &self.processes.get(&pid)?.delivery;
        let pair = delivery.pairs.get(&other);
        let own = pid.group == other.group;
        let via = match delivery.locate {
            Locate::Mailbox(mailbox) if own => Via { mailbox, keeps: false },
            Locate::Pull { mailbox, .. } if own => Via { mailbox, keeps: true },
            _ => pair?.via?,
        };
        let in_vain = pair.is_some_and(|pair| 0 < pair.out.tries);
        if in_vain {
            return None;
        }
        Some((self.live(via.mailbox).ok()?, via.keeps))
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
        let blocked = core::mem::take(&mut pair.blocked);
        // A mailbox that was asked for would have passed a letter on: whoever gave it up has not been heard of since.
        let given_up = pair.via.take().is_some();
        if pair.at != Some(at) || given_up {
            pair.at = Some(at);
            pair.out.rewind();
        }
        self.soil(pid, other);
        if blocked {
            self.put(Output::SendRoom(pid));
        }
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
    use crate::testing::{drain, machine, peer, pid};

    #[test]
    fn word_of_where_it_went_that_proves_wrong_is_forgotten_and_the_registry_asked() {
        let mut machine = machine(1);
        let (writer, moving, now) = (pid(1), Pid { index: 1, ..pid(1) }, machine.now);
        let process = crate::process::Process::new(NodeId(1));
        machine.processes.insert(writer, process);
        let was_here = Address { epoch: Epoch(0), peer: peer(1) };
        let process = machine.processes.get_mut(&writer).expect("it is here");
        process.delivery.pair(now, moving).expect("room").heard_at(was_here);
        machine.leave_forwarder(now, moving, Locate::Forwarding, at(1));
        machine.guest_sends(now, writer, moving, wire::Share::from(alloc::vec![1]));
        let sent = |output: &Output| matches!(output, Output::Send(to, _) if *to == peer(THERE));
        assert!(drain(&mut machine).iter().any(sent), "where it went");
        machine.astray(now, peer(THERE), writer, moving, Epoch(1));
        let asks = |output: &Output| matches!(output, Output::Ask(_, wire::Request::Locate(_)));
        assert!(drain(&mut machine).iter().any(asks), "at once, and not when it repeats itself");
    }

    #[test]
    fn a_change_is_told_to_whom_it_concerns() {
        let mut machine = machine(1);
        let mailbox = |node| Locate::Mailbox(NodeId(node));
        let mut process = crate::process::Process::new(NodeId(1));
        process.delivery.locate = mailbox(1);
        machine.processes.insert(pid(1), process);
        let (now, mail) = (machine.now, |machine: &Machine| machine.locate(pid(1)));
        machine.tell_arrived(now, pid(1));
        assert!(
            machine.known_place(now, pid(1)).is_none(),
            "it is here, and nothing is kept of that"
        );
        drain(&mut machine);
        machine.relocate(now, pid(1), Locate::Adaptive);
        assert_eq!(mail(&machine), Some(Locate::Adaptive));
        assert!(machine.ledger(pid(1)).is_some(), "it counts from now on");
        machine.relocate(now, pid(1), Locate::Update);
        assert!(machine.ledger(pid(1)).is_none());
    }

    const THERE: u32 = 3;

    fn at(epoch: u64) -> Address {
        Address { epoch: Epoch(epoch), peer: peer(THERE) }
    }

    /// A question of process 8 to process 7, which was meant for an address of this epoch.
    fn mail(meant: u64) -> Mail {
        Mail {
            from: pid(8),
            life: Life(1),
            to_life: Life(0),
            epoch: Epoch(0),
            to: pid(7),
            meant: Epoch(meant),
            first: 0,
            pieces: vec![],
            ask: true,
            got: None,
            via: None,
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
        machine.relayed(now, peer(2), peer(2), false, mail(0));
        assert_eq!(said(&mut machine), [astray(0)], "it has not heard of it");
        machine.moved(now, pid(7), at(2));
        // An older word comes late.
        machine.moved(now, pid(7), Address { epoch: Epoch(1), peer: peer(4) });
        machine.relayed(now + LEASE, peer(2), peer(2), false, mail(0));
        let passed_on = Message::Relay { origin: peer(2), keep: false, mail: mail(2) };
        assert_eq!(said(&mut machine), [(peer(THERE), passed_on)]);
        // What another mailbox has passed on to here goes no further: its sender hears.
        machine.relayed(now, peer(4), peer(2), false, mail(0));
        let place = Message::Place { to: pid(8), pid: pid(7), at: at(2) };
        assert_eq!(said(&mut machine), [(peer(2), place)]);
    }
}
