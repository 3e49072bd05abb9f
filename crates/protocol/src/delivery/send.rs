//! The sender's side: a guest's letter, credit, and what is said and said again.

use alloc::vec::Vec;

use wire::{
    Address, Epoch, Got, LETTER_BYTES_MAX, Life, Mail, Message, Peer, Pid, Reason, Share,
    letter_cost,
};

use super::{MaySend, UNACKNOWLEDGED_COST_MAX, Unsendable, newer};
use crate::machine::{RETRY, Timer};
use crate::process::Phase;
use crate::{Instant, LetterId, Machine, Note, Output, Rule, Span};

/// A letter that has been said this often in vain makes its sender ask the registry.
const TRIES_BEFORE_SEEKING: u32 = 2;

/// What is said in vain is said half as often each time, down to once in this many retries.
const BACKOFF_MAX: u32 = 3;

/// How a letter goes.
#[derive(Clone, Copy)]
struct Way {
    /// Where its receiver is said to be; of one that nobody knows of but its mailbox, that.
    to: Address,
    /// By way of this node, and whether that keeps it until it is polled.
    mailbox: Option<(Peer, bool)>,
}

impl Machine {
    /// Whether a guest may send so many bytes to `to` now. What this allows,
    /// [`Input::Send`](crate::Input::Send) takes.
    #[must_use]
    pub fn may_send(&self, pid: Pid, to: Pid, bytes: usize) -> MaySend {
        let Some(process) = self.processes.get(&pid) else {
            return MaySend::No(Unsendable::NotHere);
        };
        match process.phase {
            Phase::Running | Phase::Preparing(_) | Phase::Freezing(_) | Phase::Muted(_) => (),
            _ => return MaySend::No(Unsendable::NotHere),
        }
        let delivery = &process.delivery;
        if to.is_port() {
            return MaySend::No(Unsendable::Down(Reason::NoProcess));
        }
        if LETTER_BYTES_MAX < bytes {
            return MaySend::No(Unsendable::TooLong);
        }
        if pid.group != to.group && !delivery.grant.covers(to.group) {
            return MaySend::No(Unsendable::Denied);
        }
        let Some(pair) = delivery.pairs.get(&to) else {
            return match delivery.pairs.len() < super::CORRESPONDENTS_MAX {
                true => MaySend::Yes,
                false => MaySend::No(Unsendable::Busy),
            };
        };
        if let Some(reason) = pair.closed {
            let is_told = pair.down.is_some() || !self.rules.keep(Rule::ToldWhenDown);
            return MaySend::No(if is_told {
                Unsendable::Down(reason)
            } else {
                Unsendable::Ending
            });
        }
        if pair.blocked
            || UNACKNOWLEDGED_COST_MAX <= delivery.unacknowledged
            || (pair.out.is_spent() && self.allowed_here(pid, to) <= pair.out.spent)
        {
            return MaySend::Wait;
        }
        MaySend::Yes
    }

    /// What a receiver on this node allows, without being asked.
    fn allowed_here(&self, pid: Pid, to: Pid) -> u64 {
        let receiver = self.processes.get(&to).filter(|receiver| self.takes(receiver));
        let pair = receiver.and_then(|receiver| receiver.delivery.pairs.get(&pid));
        pair.map_or(0, |pair| pair.from.allowed())
    }

    /// A guest sends a letter. One that [`may_send`](Self::may_send) refuses is dropped; one that
    /// should have waited is taken.
    pub(crate) fn guest_sends(&mut self, now: Instant, pid: Pid, to: Pid, letter: Share) {
        if let MaySend::No(_) = self.may_send(pid, to, letter.len()) {
            return;
        }
        if self.traces(pid, to) {
            self.note_sent(pid, to, &letter);
        }
        if self.hand_over(now, pid, to, &letter) {
            return;
        }
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Some(pair) = process.delivery.pair(now, to) else { return };
        let cost = letter_cost(letter.len());
        pair.out.push(letter);
        process.delivery.unacknowledged += cost;
        self.soil(pid, to);
    }

    fn note_sent(&mut self, pid: Pid, to: Pid, letter: &Share) {
        let Some(process) = self.processes.get(&pid) else { return };
        let first = process.delivery.pairs.get(&to).map_or(0, |pair| pair.out.next);
        let (life, pieces) = (process.delivery.life, letter.pieces());
        let bytes = letter.len();
        self.note(Note::Sent { letter: LetterId { from: pid, to, life, first, pieces }, bytes });
    }

    /// Puts a letter straight into the inbox of a receiver on this node, if nothing is under way
    /// that it would overtake.
    fn hand_over(&mut self, now: Instant, pid: Pid, to: Pid, letter: &Share) -> bool {
        let Some(sender) = self.processes.get(&pid) else { return false };
        let life = sender.delivery.life;
        let pair = sender.delivery.pairs.get(&to);
        let next = pair.map_or(0, |pair| pair.out.next);
        if !self.speaks(sender) || pair.is_some_and(|pair| !pair.out.is_empty()) {
            return false;
        }
        let cost = letter_cost(letter.len());
        let Some(receiver) = self.processes.get(&to) else { return false };
        if !self.takes(receiver) || !receiver.delivery.has_room(cost) {
            return false;
        }
        let other_life = receiver.delivery.life;
        let same = |known, life| known == Life::UNKNOWN || known == life;
        if !same(pair.map_or(Life::UNKNOWN, |pair| pair.from.life), other_life) {
            return false;
        }
        let epochs = (sender.epoch, receiver.epoch);
        let me = self.config.me;
        let here = |epoch| Address { epoch, peer: me };
        // The receiver's side.
        let Some(receiver) = self.processes.get_mut(&to) else { return false };
        let Some(pair) = receiver.delivery.pair(now, pid) else { return false };
        let from = &mut pair.from;
        let fits = from.next == next && from.early.is_empty() && pair.down.is_none();
        if !fits || !same(from.life, life) {
            return false;
        }
        from.life = life;
        from.next = from.next.saturating_add(letter.pieces());
        from.inbox = from.inbox.saturating_add(cost);
        from.promised = from.allowed();
        let allowed = from.promised;
        pair.heard_at(here(epochs.0));
        receiver.delivery.inbox = receiver.delivery.inbox.saturating_add(cost);
        receiver.delivery.heard_here(pid, me.node);
        // The sender's side.
        let sender = self.processes.get_mut(&pid).expect("seen above");
        let Some(pair) = sender.delivery.pair(now, to) else {
            unreachable!("`may_send` has seen room for it");
        };
        pair.from.life = other_life;
        pair.out.skip(letter);
        pair.out.allowed = pair.out.allowed.max(allowed);
        pair.heard_at(here(epochs.1));
        if pair.out.is_spent() {
            // Either may be elsewhere when there is room again, and the word of it may be lost.
            self.soil(pid, to);
        }
        if self.traces(pid, to) {
            let (pieces, bytes) = (letter.pieces(), letter.len());
            let letter = LetterId { from: pid, to, life, first: next, pieces };
            self.note(Note::Delivered { letter, bytes });
        }
        self.put(Output::Inbox { pid: to, from: pid, letter: letter.clone() });
        true
    }

    /// Says what a pair has to say, to wherever the other is said to be.
    pub(super) fn flush_pair(&mut self, now: Instant, pid: Pid, other: Pid) {
        let Some(process) = self.processes.get(&pid) else { return };
        let speaks = self.speaks(process);
        let Some(pair) = self.pair_of(pid, other) else { return };
        pair.dirty = false;
        if !speaks {
            return;
        }
        let open = !pair.out.is_empty() || pair.out.ask;
        if !open && !pair.from.owed {
            // Nothing to say, but maybe something to ask for later: credit.
            return self.arm_pair(now, pid, other);
        }
        match self.destination(now, pid, other) {
            Some(way) => self.say_pair(now, pid, other, way),
            // Whoever waits for an acknowledgement asks for it again.
            None if open && !self.incoming.contains_key(&other) => self.seek(now, pid, other),
            None => (),
        }
        self.arm_pair(now, pid, other);
    }

    /// Where to say it. `None` if nobody knows, or if it is just arriving here.
    fn destination(&mut self, now: Instant, pid: Pid, other: Pid) -> Option<Way> {
        let me = self.config.me;
        if let Some(there) = self.processes.get(&other) {
            let to = Address { epoch: there.epoch, peer: me };
            return Some(Way { to, mailbox: None });
        }
        let at = self.pair_of(pid, other)?.at;
        let left = at.filter(|at| at.peer == me);
        let at = at.filter(|at| at.peer != me && !self.gone(at.peer));
        // Where it has been is here: word of where it went may be, too.
        let at = at.or_else(|| left.and_then(|left| self.known_since(now, other, left)));
        let mailbox = self.mailbox(pid, other);
        if mailbox == Some((me, false)) {
            // The word to the mailbox may have been lost, and the other has been heard of since.
            let known = self.known_place(now, other);
            let newest = known.filter(|known| newer(at, *known)).or(at);
            return Some(Way { to: newest?, mailbox: None });
        }
        let nowhere = mailbox.map(|(peer, _)| Address { epoch: Epoch(0), peer });
        Some(Way { to: at.or(nowhere)?, mailbox })
    }

    fn say_pair(&mut self, now: Instant, pid: Pid, other: Pid, way: Way) {
        let Way { to, mailbox } = way;
        let held = self.is_held(now, pid, other);
        let keeps = self.rules.keep(Rule::KeepUnacknowledged);
        let early_counts = !self.rules.keep(Rule::InboxThenAcknowledged);
        loop {
            let Some(process) = self.processes.get_mut(&pid) else { return };
            let (life, epoch) = (process.delivery.life, process.epoch);
            let via = process.delivery.via();
            let Some(pair) = process.delivery.pairs.get_mut(&other) else { return };
            let (first, pieces) = if held { (0, Vec::new()) } else { pair.out.unsaid() };
            let ask = !held && core::mem::take(&mut pair.out.ask);
            let from = &mut pair.from;
            let to_life = from.life;
            let got = core::mem::take(&mut from.owed).then(|| Got {
                life: from.life,
                next: from.next + if early_counts { from.early.len() as u64 } else { 0 },
                allowed: from.allowed(),
                again: core::mem::take(&mut from.turned),
            });
            from.promised = from.allowed();
            if got.is_some() {
                from.told = from.taken.saturating_add(from.inbox);
            }
            if pieces.is_empty() && !ask && got.is_none() {
                break;
            }
            let meant = to.epoch;
            let by_mailbox = mailbox.filter(|_| !pieces.is_empty() || ask);
            let mail = Mail {
                from: pid,
                life,
                epoch,
                to: other,
                to_life,
                meant,
                first,
                pieces,
                ask,
                got,
                via,
            };
            match by_mailbox {
                Some((mailbox, keep)) => {
                    self.send(mailbox, Message::Relay { origin: self.config.me, keep, mail });
                }
                None => self.send(to.peer, Message::Mail(mail)),
            }
        }
        if !keeps && let Some(process) = self.processes.get_mut(&pid) {
            let waited = process.delivery.pairs.get_mut(&other).map_or(0, |pair| pair.out.clear());
            process.delivery.unacknowledged -= waited;
        }
    }

    /// Sees to it that what needs an answer is said again.
    fn arm_pair(&mut self, now: Instant, pid: Pid, other: Pid) {
        let jitter = self.config.rng.below(RETRY.0 / 4);
        self.tell_owed(now, pid, other);
        let Some(pair) = self.pair_of(pid, other) else { return };
        let (out, unsure) = (&mut pair.out, pair.unsure);
        if out.retry_at.is_none() && (!out.is_empty() || out.is_spent() || unsure) {
            let wait = (RETRY.0 << out.tries.min(BACKOFF_MAX)) + jitter;
            let at = now + Span(wait);
            out.retry_at = Some(at);
            self.arm(at, Timer::Mail(pid, other));
        }
    }

    pub(crate) fn wake_mail(&mut self, now: Instant, pid: Pid, other: Pid) {
        let probes = self.rules.keep(Rule::AskForCredit);
        let again = self.rules.keep(Rule::SayAgain);
        self.tell_owed(now, pid, other);
        let Some(pair) = self.pair_of(pid, other) else { return };
        let out = &mut pair.out;
        if out.retry_at.is_none_or(|at| now < at) || !again {
            return;
        }
        out.retry_at = None;
        if pair.closed.is_some() {
            return;
        }
        if self.is_held(now, pid, other) {
            return self.arm_pair(now, pid, other);
        }
        let Some(pair) = self.pair_of(pid, other) else { return };
        let (out, unsure) = (&mut pair.out, pair.unsure);
        if !out.is_empty() {
            out.rewind();
        } else if (out.is_spent() && probes) || unsure {
            out.ask = true;
        } else {
            out.tries = 0;
            return;
        }
        out.tries = out.tries.saturating_add(1);
        if TRIES_BEFORE_SEEKING <= out.tries && !self.processes.contains_key(&other) {
            self.seek(now, pid, other);
        }
        self.soil(pid, other);
        self.bury(now, pid);
    }

    /// The receiver's word.
    pub(super) fn got(&mut self, now: Instant, from: Address, pid: Pid, other: Pid, got: Got) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if got.life != process.delivery.life {
            return;
        }
        let full = UNACKNOWLEDGED_COST_MAX <= process.delivery.unacknowledged;
        let Some(pair) = process.delivery.pairs.get_mut(&other) else { return };
        let spent = pair.out.is_spent();
        let done = pair.out.acknowledge(got);
        pair.heard_at(from);
        let blocked = core::mem::take(&mut pair.blocked);
        let room = blocked || (spent && !pair.out.is_spent());
        process.delivery.unacknowledged -= done;
        let room = room || (full && process.delivery.unacknowledged < UNACKNOWLEDGED_COST_MAX);
        if room && !matches!(process.phase, Phase::Ending) {
            self.put(Output::SendRoom(pid));
        }
        if got.again {
            self.soil(pid, other);
        }
        self.port_heard(now, pid, other);
        self.bury(now, pid);
    }

    pub(crate) fn pair_of(&mut self, pid: Pid, other: Pid) -> Option<&mut super::Pair> {
        self.processes.get_mut(&pid)?.delivery.pairs.get_mut(&other)
    }

    /// Tells of a process that is not here.
    pub(super) fn say_astray(&mut self, to: Peer, mail: &Mail) {
        let message = Message::Astray { to: mail.from, pid: mail.to, meant: mail.meant };
        self.send(to, message);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use wire::{Letters, NodeId};

    use super::*;
    use crate::process::Process;
    use crate::testing::{drain, machine, pid};

    /// What spent the credit went straight into an inbox on the same node, so that nothing is kept that would be said
    /// again. The word that there is room finds the sender frozen, or is lost with a link.
    #[test]
    fn a_sender_without_credit_asks_for_it_though_all_is_acknowledged() {
        let mut machine = machine(1);
        let (sender, receiver) = (pid(1), Pid { index: 1, ..pid(1) });
        for pid in [sender, receiver] {
            machine.processes.insert(pid, Process::new(NodeId(1)));
        }
        let now = machine.now;
        machine.guest_sends(now, sender, receiver, Share::from(vec![0; 300 << 10]));
        assert_eq!(machine.may_send(sender, receiver, 1), MaySend::Wait);
        drain(&mut machine);
        assert!(machine.asks_for_credit(sender, receiver), "as soon as it is spent");

        // It moves, and nobody is told of the room that there is.
        let letters: Letters = machine.processes[&sender].delivery.letters();
        let mut there = Process::new(NodeId(1));
        there.delivery = super::super::Delivery::restored(letters);
        machine.processes.insert(sender, there);
        machine.mail_goes_on(now, sender);
        drain(&mut machine);
        assert!(machine.asks_for_credit(sender, receiver), "in its new place");
    }

    /// The word of a move to the mailbox may be lost: what the process itself has said since is newer.
    #[test]
    fn on_the_mailbox_itself_the_newer_address_is_right() {
        let mut machine = machine(1);
        let (writer, moving) = (pid(1), Pid { index: 1, ..pid(1) });
        let mut process = Process::new(NodeId(1));
        process.delivery.locate = wire::Locate::Mailbox(NodeId(1));
        machine.processes.insert(writer, process);
        let now = machine.now;
        let at = |epoch, node| Address { epoch: Epoch(epoch), peer: crate::testing::peer(node) };
        machine.moved(now, moving, at(1, 2));
        let process = machine.processes.get_mut(&writer).expect("it is here");
        process.delivery.pair(now, moving).expect("room").heard_at(at(2, 3));
        machine.guest_sends(now, writer, moving, Share::from(vec![1]));
        let sent = drain(&mut machine).into_iter().find_map(|output| match output {
            Output::Send(to, Message::Mail(mail)) => Some((to, mail.meant)),
            _ => None,
        });
        assert_eq!(sent, Some((crate::testing::peer(3), Epoch(2))));
    }

    impl Machine {
        fn asks_for_credit(&mut self, pid: Pid, other: Pid) -> bool {
            self.pair_of(pid, other).is_some_and(|pair| pair.out.retry_at.is_some())
        }
    }
}
