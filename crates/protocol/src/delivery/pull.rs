//! Mailboxes that keep letters until they are asked for them.
//!
//! ```text
//! sender ──relay, to be kept──▶ mailbox        receiver's node
//!                               keeps    ◀──poll── the process has no letter to take
//!                                        ──relay─▶ takes it, acknowledges to the sender
//! ```
//!
//! The process says nothing when it moves. What is kept is still its sender's: it may go at any time, when it is old or
//! there is no room, and the sender says it again.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use wire::{Epoch, Locate, Mail, Message, Peer, Pid};

use super::pair::piece_bytes;
use crate::machine::Timer;
use crate::{Instant, Machine, Span};

/// What is kept for one process: a window's worth of letters, so that they come as a batch.
const LETTERS_MAX: usize = 64;
const BYTES_MAX: usize = 256 << 10;

/// What is kept for all processes together.
const TOTAL_BYTES_MAX: usize = 32 << 20;

/// What nobody has asked for is kept so long: its sender has said it again since.
const KEPT_FOR: Span = Span::seconds(10);

/// What counts for a letter beside its bytes.
const OVERHEAD: usize = 256;

/// What a node keeps for processes elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    boxes: BTreeMap<Pid, Kept>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    letters: VecDeque<(Instant, Peer, Mail)>,
    bytes: usize,
}

fn size(mail: &Mail) -> usize {
    OVERHEAD + mail.pieces.iter().map(piece_bytes).sum::<usize>()
}

impl Shelf {
    /// Keeps a letter, if there is room; in the place of an earlier copy of it, if there is one.
    fn put(&mut self, now: Instant, origin: Peer, mail: Mail) -> bool {
        if TOTAL_BYTES_MAX < self.bytes + size(&mail) {
            self.drop_old(now);
        }
        let kept = self.boxes.entry(mail.to).or_default();
        while let Some((at, ..)) = kept.letters.front()
            && KEPT_FOR < now - *at
            && let Some((_, _, old)) = kept.letters.pop_front()
        {
            kept.bytes -= size(&old);
            self.bytes -= size(&old);
        }
        let same = |old: &Mail| (old.from, old.first) == (mail.from, mail.first);
        if let Some(at) = kept.letters.iter().position(|(_, _, old)| same(old))
            && let Some((_, _, old)) = kept.letters.remove(at)
        {
            kept.bytes -= size(&old);
            self.bytes -= size(&old);
        }
        let bytes = size(&mail);
        let fits = kept.letters.len() < LETTERS_MAX
            && (kept.bytes + bytes <= BYTES_MAX || kept.letters.is_empty())
            && self.bytes + bytes <= TOTAL_BYTES_MAX;
        if fits {
            kept.bytes += bytes;
            self.bytes += bytes;
            kept.letters.push_back((now, origin, mail));
        }
        fits
    }

    fn drop_old(&mut self, now: Instant) {
        let old = |(at, ..): &(Instant, Peer, Mail)| KEPT_FOR < now - *at;
        self.boxes.retain(|_, kept| !kept.letters.back().is_none_or(old));
        self.bytes = self.boxes.values().map(|kept| kept.bytes).sum();
    }

    fn take(&mut self, pid: Pid) -> VecDeque<(Instant, Peer, Mail)> {
        let kept = self.boxes.remove(&pid).unwrap_or_default();
        self.bytes -= kept.bytes;
        kept.letters
    }

    /// How many letters are kept.
    pub(crate) fn len(&self) -> usize {
        self.boxes.values().map(|kept| kept.letters.len()).sum()
    }
}

impl Machine {
    /// A letter for one that will ask for it, or whose place will be known. False if there is no room.
    pub(super) fn keep_for(&mut self, now: Instant, origin: Peer, mail: Mail) -> bool {
        self.post.shelf.put(now, origin, mail)
    }

    /// What is kept for one, from now on no more.
    pub(super) fn kept_for(&mut self, now: Instant, pid: Pid) -> Vec<(Peer, Mail)> {
        let kept = self.post.shelf.take(pid).into_iter();
        kept.filter(|(at, ..)| now - *at <= KEPT_FOR).map(|(_, from, mail)| (from, mail)).collect()
    }

    /// A process asks what is kept for it.
    pub(crate) fn polled(&mut self, now: Instant, from: Peer, pid: Pid, epoch: Epoch) {
        // Whoever polls says nothing of its moves: what is known of them is older.
        self.post.places.remove(&pid);
        for (origin, mail) in self.kept_for(now, pid) {
            let mail = Mail { meant: epoch, ..mail };
            self.send(from, Message::Relay { origin, keep: false, mail });
        }
    }

    /// A process that polls is here, or has become one.
    pub(super) fn start_polling(&mut self, now: Instant, pid: Pid) {
        if self.pulls(pid).is_some() {
            self.ask_mailbox(now, pid);
        }
    }

    /// Its inbox has become empty.
    pub(super) fn inbox_emptied(&mut self, pid: Pid) {
        if self.pulls(pid).is_some() {
            self.ask_mailbox(self.now, pid);
        }
    }

    pub(crate) fn wake_poll(&mut self, now: Instant, pid: Pid) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if process.delivery.poll_at.is_some_and(|at| at <= now) {
            process.delivery.poll_at = None;
            self.ask_mailbox(now, pid);
        }
    }

    /// Asks the mailbox, unless there is something to take, and again some time later.
    fn ask_mailbox(&mut self, now: Instant, pid: Pid) {
        let Some((mailbox, every)) = self.pulls(pid) else { return };
        let mailbox = self.live(mailbox).ok();
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let (epoch, hungry) = (process.epoch, process.delivery.inbox == 0);
        let at = now + every;
        process.delivery.poll_at = Some(at);
        self.arm(at, Timer::Poll(pid));
        if let Some(mailbox) = mailbox.filter(|_| hungry && self.takes_now(pid)) {
            self.send(mailbox, Message::Poll { pid, epoch });
        }
    }

    fn pulls(&self, pid: Pid) -> Option<(wire::NodeId, Span)> {
        match self.processes.get(&pid)?.delivery.strategy() {
            Locate::Pull { mailbox, every_micros } => {
                Some((mailbox, Span(u64::from(every_micros.max(1_000)))))
            }
            _ => None,
        }
    }

    fn takes_now(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(|process| self.takes(process))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use wire::{Life, Piece, Share};

    use super::*;
    use crate::testing::{peer, pid};

    fn letter(number: u64, bytes: usize) -> Mail {
        Mail {
            from: pid(8),
            life: Life(1),
            to_life: Life(0),
            epoch: Epoch(0),
            to: pid(7),
            meant: Epoch(0),
            first: number,
            pieces: vec![Piece::Letter(Share::from(vec![0; bytes]))],
            ask: false,
            got: None,
            via: None,
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_a_repetition_takes_the_place_of_what_it_repeats() {
        let mut shelf = Shelf::default();
        let now = Instant(1);
        for _ in 0..2 {
            for number in 0..LETTERS_MAX as u64 {
                assert!(shelf.put(now, peer(2), letter(number, 10)));
            }
        }
        assert!(!shelf.put(now, peer(2), letter(64, 10)), "one more than there is room for");
        assert_eq!((shelf.len(), shelf.bytes), (64, 64 * (OVERHEAD + 10)));
        let later = now + Span(KEPT_FOR.0 + 1);
        assert!(shelf.put(later, peer(2), letter(64, BYTES_MAX)), "one always fits");
        assert!(!shelf.put(later, peer(2), letter(65, 1)), "the long one takes all the room");
        assert_eq!(shelf.take(pid(7)).len(), 1, "what is old has gone");
        assert_eq!((shelf.len(), shelf.bytes), (0, 0));
    }
}
