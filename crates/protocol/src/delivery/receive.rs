//! The receiver's side: each piece once, in order, and into the inbox if there is room.

use alloc::vec::Vec;

use wire::{Address, Got, Life, Mail, Peer, Pid, Piece, Share, letter_cost};

use super::pair::{In, piece_bytes};
use super::{EARLY_BYTES_MAX, EARLY_MAX, INBOX_COST_MAX, WINDOW};
use crate::machine::Timer;
use crate::process::Phase;
use crate::{Instant, LetterId, Machine, Note, Output, Rule, Span};

/// An acknowledgement waits so long for a letter that takes it along.
const ACKNOWLEDGED_WITHIN: Span = Span::millis(5);

/// It does not wait when it is for so much.
const ACKNOWLEDGED_COST_MIN: u64 = 64 << 10;

/// A piece that is taken, or the letter that it completes, and the number of the first of them.
type Taken = (u64, Piece);

/// How pieces are taken.
#[derive(Clone, Copy)]
struct How {
    /// Whether letters may go into the inbox now.
    takes: bool,
    once: bool,
    in_order: bool,
}

impl Machine {
    /// Mail for a process that is, or was, or will be here.
    pub(crate) fn mail_arrived(&mut self, now: Instant, from: Peer, mail: Mail) {
        let pid = mail.to;
        let Some(process) = self.processes.get(&pid) else {
            if self.incoming.contains_key(&pid) {
                return self.in_transit(now, from, mail);
            }
            return match self.post.tombs.get(&pid).copied() {
                Some(reason) => self.say_down(from, mail.from, pid, Life(0), reason, 0),
                None => self.forward(now, from, &mail),
            };
        };
        let address = Address { epoch: mail.epoch, peer: from };
        let frozen =
            matches!(process.phase, Phase::Offered(_) | Phase::Storing { .. } | Phase::Kept(_));
        if !frozen && !self.is_between_lives(now, address, &mail) {
            return self.bury(now, pid);
        }
        let Some(process) = self.processes.get(&pid) else { return };
        match process.phase {
            Phase::Ending => {
                if let Some(got) = mail.got {
                    self.got(now, address, pid, mail.from, got);
                }
                if !mail.pieces.is_empty() || mail.ask {
                    self.answer_ended(from, pid, mail.from);
                }
            }
            // Its next place will answer, or this one when the move is over.
            Phase::Offered(_) | Phase::Storing { .. } | Phase::Kept(_) => {
                self.in_transit(now, from, mail);
            }
            Phase::Running | Phase::Preparing(_) | Phase::Freezing(_) | Phase::Muted(_) => {
                if let Some(got) = mail.got {
                    self.got(now, address, pid, mail.from, got);
                }
                self.pieces_arrived(now, address, mail);
            }
        }
    }

    fn pieces_arrived(&mut self, now: Instant, address: Address, mail: Mail) {
        let how = self.how(mail.to);
        let final_word = self.rules.keep(Rule::DownIsFinal);
        let Some(process) = self.processes.get_mut(&mail.to) else { return };
        let Some(pair) = process.delivery.pair(now, mail.from) else { return };
        let (fresh, knows) = (pair.from.next <= mail.first, process.epoch <= mail.meant);
        pair.heard_at(address);
        if pair.at == Some(address) {
            pair.via = mail.via;
        }
        if mail.pieces.is_empty() && !mail.ask {
            return;
        }
        // Who has not heard how far we are, waits for an answer, or for nothing but that, is told at once.
        let ends = mail.pieces.iter().any(|piece| matches!(piece, Piece::End(_)));
        let repeated = !mail.pieces.is_empty() && mail.first < pair.from.next;
        let at_once = mail.ask || ends || repeated || address.peer == self.config.me;
        pair.from.owed = true;
        if pair.down.is_some() && final_word {
            return self.soil(mail.to, mail.from);
        }
        if !mail.pieces.is_empty() {
            self.letters_came(now, mail.to, mail.from, address.peer.node, fresh, knows);
        }
        let Some(process) = self.processes.get_mut(&mail.to) else { return };
        let mut taken = Vec::new();
        let mut number = mail.first;
        let letter = LetterId {
            from: mail.from,
            to: mail.to,
            life: mail.life,
            first: mail.first,
            pieces: mail.pieces.len() as u64,
        };
        for piece in mail.pieces {
            process.delivery.piece_arrived(mail.from, number, piece, how, &mut taken);
            number = number.saturating_add(1);
        }
        if letter.pieces != 0 && self.traces(letter.from, letter.to) {
            self.note_not_taken(letter);
        }
        self.fill_inbox(now, mail.to, mail.from, taken);
        self.acknowledge_soon(now, mail.to, mail.from, at_once);
        if !how.takes {
            self.held_muted(address.peer, mail.from, mail.to);
        }
    }

    /// Acknowledges with the next letter in the other direction, or else soon, so that not each letter costs two
    /// messages; at once, if that is wanted, or much has come.
    fn acknowledge_soon(&mut self, now: Instant, pid: Pid, other: Pid, at_once: bool) {
        let Some(pair) = self.pair_of(pid, other) else { return };
        let from = &mut pair.from;
        if at_once || from.turned || ACKNOWLEDGED_COST_MIN <= from.untold() {
            return self.soil(pid, other);
        }
        if from.tell_at.is_none() {
            let at = now + ACKNOWLEDGED_WITHIN;
            from.tell_at = Some(at);
            self.arm(at, Timer::Mail(pid, other));
        }
    }

    /// The time of [`Self::acknowledge_soon`] is up.
    pub(super) fn tell_owed(&mut self, now: Instant, pid: Pid, other: Pid) {
        let Some(pair) = self.pair_of(pid, other) else { return };
        let from = &mut pair.from;
        if from.tell_at.is_some_and(|at| at <= now) {
            from.tell_at = None;
            if from.owed {
                self.soil(pid, other);
            }
        }
    }

    /// What was held while nothing could be taken.
    pub(super) fn take_early(&mut self, now: Instant, pid: Pid, other: Pid) {
        let how = self.how(pid);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let mut taken = Vec::new();
        process.delivery.take_early(other, how, &mut taken);
        if let Some(pair) = process.delivery.pairs.get_mut(&other) {
            pair.from.owed |= !taken.is_empty();
        }
        self.fill_inbox(now, pid, other, taken);
        self.soil(pid, other);
    }

    fn how(&self, pid: Pid) -> How {
        How {
            takes: self.processes.get(&pid).is_some_and(|process| self.takes(process)),
            once: self.rules.keep(Rule::LetterOnce),
            in_order: self.rules.keep(Rule::LettersInOrder),
        }
    }

    fn fill_inbox(&mut self, now: Instant, pid: Pid, from: Pid, taken: Vec<Taken>) {
        let noted = self.traces(pid, from);
        for (first, piece) in taken {
            match piece {
                Piece::Letter(letter) | Piece::Part(letter) => {
                    if noted {
                        self.note_delivered(pid, from, first, &letter);
                    }
                    self.put(Output::Inbox { pid, from, letter });
                }
                Piece::Watch => {
                    if let Some(pair) = self.pair_of(pid, from) {
                        pair.watcher = true;
                    }
                }
                Piece::Link => self.linked_by(pid, from),
                Piece::Unlink(taken) => self.unlinked_by(pid, from, taken),
                Piece::End(reason) => self.correspondent_down(now, pid, from, reason),
            }
        }
    }

    fn note_delivered(&mut self, pid: Pid, from: Pid, first: u64, share: &Share) {
        let (pieces, bytes) = (share.pieces(), share.len());
        let life = self.pair_of(pid, from).map_or(Life(0), |pair| pair.from.life);
        self.note(Note::Delivered {
            letter: LetterId { from, to: pid, life, first, pieces },
            bytes,
        });
    }

    /// Pieces have come, and the next that is wanted may still be one of them.
    fn note_not_taken(&mut self, letter: LetterId) {
        let Some(pair) = self.pair_of(letter.to, letter.from) else { return };
        let from = &pair.from;
        let first = letter.first.max(from.next);
        let pieces = letter.first.saturating_add(letter.pieces).saturating_sub(first);
        if pieces != 0 {
            let held = from.early.contains_key(&first);
            self.note(Note::NotTaken { letter: LetterId { first, pieces, ..letter }, held });
        }
    }

    /// A guest has taken letters out of its inbox: their sender may send more.
    pub(crate) fn guest_took(&mut self, pid: Pid, from: Pid, letters: u64, bytes: u64) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let delivery = &mut process.delivery;
        let Some(pair) = delivery.pairs.get_mut(&from) else { return };
        let per_letter = letter_cost(0).saturating_mul(letters);
        let cost = bytes.saturating_add(per_letter).min(pair.from.inbox);
        pair.from.inbox -= cost;
        pair.from.taken = pair.from.taken.saturating_add(cost);
        delivery.inbox -= cost;
        let emptied = delivery.inbox == 0;
        let worth_telling = WINDOW / 2 <= pair.from.allowed().saturating_sub(pair.from.promised);
        let allowed = pair.from.allowed();
        let over = pair.down.is_some();
        if emptied {
            self.inbox_emptied(pid);
        }
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let delivery = &mut process.delivery;
        let (mut tell, mut room) = (Vec::new(), Vec::new());
        if delivery.inbox <= INBOX_COST_MAX / 2 {
            room.append(&mut delivery.turned);
        }
        if !over && !self.wake_sender_here(pid, from, allowed) && worth_telling {
            tell.push(from);
        }
        for other in tell {
            if let Some(pair) = self.pair_of(pid, other) {
                pair.from.owed = true;
                self.soil(pid, other);
            }
        }
        for other in room {
            if let Some(pair) = self.pair_of(pid, other) {
                (pair.from.owed, pair.from.turned) = (true, true);
                self.soil(pid, other);
            }
        }
    }

    /// Tells a sender on this node that it may send. False if it is elsewhere.
    fn wake_sender_here(&mut self, pid: Pid, from: Pid, allowed: u64) -> bool {
        let speaks = self.processes.get(&pid).is_some_and(|process| self.speaks(process));
        let Some(sender) = self.processes.get_mut(&from) else { return false };
        let life = sender.delivery.life;
        let Some(pair) = sender.delivery.pairs.get_mut(&pid).filter(|_| speaks) else {
            return false;
        };
        let spent = pair.out.is_spent();
        pair.out.acknowledge(Got { life, next: 0, allowed, again: false });
        if spent && !pair.out.is_spent() {
            self.put(Output::SendRoom(from));
        }
        true
    }
}

impl super::Delivery {
    /// One piece: taken, held, or left to be repeated.
    fn piece_arrived(
        &mut self,
        other: Pid,
        number: u64,
        piece: Piece,
        how: How,
        taken: &mut Vec<Taken>,
    ) {
        let assembling = self.assembling;
        let Some(pair) = self.pairs.get_mut(&other) else { return };
        let from = &mut pair.from;
        if number < from.next {
            if !how.once && matches!(piece, Piece::Letter(_)) && how.takes {
                taken.push((number, piece));
            }
            return;
        }
        if !how.in_order && how.takes && matches!(piece, Piece::Letter(_)) {
            from.next = number.saturating_add(1);
            return taken.push((number, piece));
        }
        let whole = !matches!(piece, Piece::Part(_));
        if number == from.next && whole && how.takes && from.early.is_empty() {
            return self.take(other, piece, 1, taken);
        }
        let bytes = piece_bytes(&piece);
        let full = EARLY_BYTES_MAX < self.early_bytes + bytes && assembling != Some(other);
        if from.next.saturating_add(EARLY_MAX) <= number || (full && assembling.is_some()) {
            from.turned = !self.turned.contains(&other);
            return;
        }
        if full {
            self.assembling = Some(other);
        }
        if from.early.insert(number, piece).is_none() {
            self.early_bytes += bytes;
        }
        self.take_early(other, how, taken);
    }

    /// Takes what has become complete.
    fn take_early(&mut self, other: Pid, how: How, taken: &mut Vec<Taken>) {
        while how.takes
            && let Some(pair) = self.pairs.get_mut(&other)
            && let Some((piece, pieces)) = pair.from.assembled()
        {
            let before = pair.from.next;
            self.take(other, piece, pieces, taken);
            let Some(pair) = self.pairs.get_mut(&other) else { return };
            if pair.from.next == before {
                return;
            }
            let rest = pair.from.early.split_off(&pair.from.next);
            let done = core::mem::replace(&mut pair.from.early, rest);
            self.early_bytes -= done.values().map(piece_bytes).sum::<usize>();
        }
        let empty = self.pairs.get(&other).is_none_or(|pair| pair.from.early.is_empty());
        if empty && self.assembling == Some(other) {
            self.assembling = None;
        }
    }

    /// A letter whose turn it is goes into the inbox, or is turned away.
    fn take(&mut self, other: Pid, piece: Piece, pieces: u64, taken: &mut Vec<Taken>) {
        let cost = match &piece {
            Piece::Letter(share) | Piece::Part(share) => letter_cost(share.len()),
            Piece::Watch | Piece::Link | Piece::Unlink(_) | Piece::End(_) => 0,
        };
        let room = cost == 0 || self.has_room(cost);
        let Some(pair) = self.pairs.get_mut(&other) else { return };
        let from = &mut pair.from;
        if !room {
            // It is asked for it when there is room; till then, to hear of it would make it say the same in vain.
            if !self.turned.contains(&other) {
                self.turned.push(other);
            }
            return;
        }
        taken.push((from.next, piece));
        from.next = from.next.saturating_add(pieces);
        from.inbox = from.inbox.saturating_add(cost);
        self.inbox = self.inbox.saturating_add(cost);
    }

    /// What was held of one that is no more.
    pub(super) fn drop_early(&mut self, other: Pid) {
        if let Some(pair) = self.pairs.get_mut(&other) {
            let held = core::mem::take(&mut pair.from.early);
            self.early_bytes -= held.values().map(piece_bytes).sum::<usize>();
        }
        if self.assembling == Some(other) {
            self.assembling = None;
        }
    }
}

impl In {
    /// The next letter, if all of it is here, and of how many pieces it is.
    fn assembled(&self) -> Option<(Piece, u64)> {
        let mut pieces = 0;
        for (number, piece) in self.early.range(self.next..) {
            if *number != self.next.saturating_add(pieces) {
                return None;
            }
            pieces += 1;
            match piece {
                Piece::Part(_) => (),
                Piece::Letter(share) if pieces == 1 => {
                    return Some((Piece::Letter(share.clone()), 1));
                }
                Piece::Letter(_) => {
                    let parts = self.early.range(self.next..=*number);
                    let mut bytes = Vec::new();
                    for (_, part) in parts {
                        if let Piece::Part(share) | Piece::Letter(share) = part {
                            bytes.extend_from_slice(share);
                        }
                    }
                    return Some((Piece::Letter(Share::from(bytes)), pieces));
                }
                Piece::Watch | Piece::Link | Piece::Unlink(_) | Piece::End(_) => {
                    return Some((piece.clone(), pieces));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use wire::{Envelope, Epoch, Life, Message, NodeId};

    use super::*;
    use crate::Input;
    use crate::process::Process;
    use crate::testing::{drain, machine, peer, pid};

    const SENDER: u64 = 8;

    /// A node with a process, and whose letters may be in its inbox already, at this cost.
    fn receiver(inbox: u64) -> Machine {
        let mut machine = machine(1);
        let mut process = Process::new(NodeId(1));
        let pair = process.delivery.pair(machine.now, pid(9)).expect("there is room for one");
        pair.from.inbox = inbox;
        process.delivery.inbox = inbox;
        machine.processes.insert(pid(7), process);
        drain(&mut machine);
        machine
    }

    fn letter(number: u64, ask: bool) -> Input {
        let mail = Mail {
            from: pid(SENDER),
            life: Life(1),
            to_life: Life(0),
            epoch: Epoch(0),
            to: pid(7),
            meant: Epoch(0),
            first: number,
            pieces: vec![Piece::Letter(Share::from(vec![0; 10]))],
            ask,
            got: None,
            via: None,
        };
        Input::Receive(Envelope { from: peer(2), to: peer(1), message: Message::Mail(mail) })
    }

    /// What the sender is told: up to where, and whether to say the rest again.
    fn told(machine: &mut Machine) -> Vec<(u64, bool)> {
        let told = |output| match output {
            Output::Send(to, Message::Mail(Mail { got: Some(got), .. })) if to == peer(2) => {
                Some((got.next, got.again))
            }
            _ => None,
        };
        drain(machine).into_iter().filter_map(told).collect()
    }

    #[test]
    fn a_letter_is_acknowledged_within_a_time_and_at_once_if_it_is_asked_for_or_repeated() {
        let mut machine = receiver(0);
        let now = machine.now;
        machine.handle(now, letter(0, false));
        machine.handle(now, letter(1, false));
        assert_eq!(told(&mut machine), []);
        let now = now + ACKNOWLEDGED_WITHIN;
        assert!(machine.deadline().is_some_and(|deadline| deadline <= now));
        machine.handle(now, Input::Wake);
        assert_eq!(told(&mut machine), [(2, false)]);
        machine.handle(now, letter(2, true));
        assert_eq!(told(&mut machine), [(3, false)]);
        machine.handle(now, letter(2, false));
        assert_eq!(told(&mut machine), [(3, false)]);
        machine.handle(now + ACKNOWLEDGED_WITHIN, Input::Wake);
        assert_eq!(told(&mut machine), [], "once is enough");
    }

    #[test]
    fn what_was_taken_is_acknowledged_before_the_end_is_told() {
        let mut machine = receiver(0);
        let now = machine.now;
        machine.handle(now, letter(0, false));
        let outcome = wire::Outcome::Code(0);
        machine.handle(now, Input::Ended { pid: pid(7), outcome });
        let said = drain(&mut machine).into_iter().filter_map(|output| match output {
            Output::Send(_, Message::Mail(mail)) => mail.got.map(|got| got.next),
            Output::Send(_, Message::Down { .. }) => Some(u64::MAX),
            _ => None,
        });
        assert_eq!(said.collect::<Vec<_>>(), [1, u64::MAX]);
    }

    #[test]
    fn much_is_acknowledged_at_once() {
        let mut machine = receiver(0);
        let now = machine.now;
        let count = ACKNOWLEDGED_COST_MIN.div_ceil(letter_cost(10));
        for number in 0..count {
            assert_eq!(told(&mut machine), []);
            machine.handle(now, letter(number, false));
        }
        assert_eq!(told(&mut machine), [(count, false)]);
    }

    #[test]
    fn a_letter_that_is_turned_away_is_asked_for_when_there_is_room_and_not_before() {
        let mut machine = receiver(INBOX_COST_MAX);
        let mut now = machine.now;
        // It is said again and again, and so are those that follow, more of them than are held early.
        for number in (0..EARLY_MAX + 2).chain(0..2) {
            machine.handle(now, letter(number, true));
            assert_eq!(told(&mut machine), [(0, false)], "number {number}");
            now = now + ACKNOWLEDGED_WITHIN;
        }
        let bytes = INBOX_COST_MAX / 2;
        machine.handle(now, Input::Took { pid: pid(7), from: pid(9), letters: 0, bytes });
        assert_eq!(told(&mut machine), [(0, true)]);
        machine.handle(now, letter(0, true));
        assert_eq!(told(&mut machine), [(EARLY_MAX, false)]);
    }
}
