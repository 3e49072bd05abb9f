//! What has happened on this node, for whoever wants to know: two rings of bounded size, written by the driver and read
//! by the control plane as one.
//!
//! The driver alone writes, and formats what it writes; a lock is held for as long as it takes to put one entry into a
//! queue. Who reads says from which entry on. What does not fit any more goes, oldest first, and is counted.
//!
//! What becomes of letters has a ring of its own: a traced conversation fills it in a fraction of a second, and must not
//! drive out the moves, ends and decisions that one asks for afterwards.

use std::collections::{VecDeque, vec_deque};
use std::iter::Peekable;
use std::sync::{Arc, Mutex, MutexGuard};

use api::{Cause, EventKind, Side};
use tokio::sync::watch;
use wire::{GroupId, NodeId, Pid};

/// What the entries about letters may take: some tens of thousands of them.
const LETTERS_BYTES_MAX: usize = 6 << 20;

/// What all others may take.
const REST_BYTES_MAX: usize = 2 << 20;

/// So many entries are handed to a reader at a time, so that the driver does not wait for it.
const READ_MAX: usize = 512;

/// The other end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    Node(NodeId),
    Registry,
}

/// Something that has happened.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    /// Microseconds since 1970.
    pub(crate) at: u64,
    pub(crate) kind: EventKind,
    pub(crate) word: &'static str,
    pub(crate) side: Option<Side>,
    pub(crate) far: Option<Far>,
    pub(crate) pid: Option<Pid>,
    pub(crate) other: Option<Pid>,
    pub(crate) cause: Option<Cause>,
    pub(crate) text: Box<str>,
}

/// Whose entries are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    All,
    Group(GroupId),
    Process(Pid),
}

/// Some entries, as they were read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) entries: Vec<Entry>,
    /// Where to read on.
    pub(crate) next: u64,
    /// How many have gone between the entry that was asked for and the next one to read.
    pub(crate) dropped: u64,
    /// Whether there is more.
    pub(crate) more: bool,
}

/// Both rings. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Chronicle {
    rings: Arc<Mutex<Rings>>,
    /// The number of the next entry: who follows waits for it to change.
    next: watch::Sender<u64>,
}

#[derive(Debug)]
struct Rings {
    letters: Ring,
    rest: Ring,
    /// Entries are numbered across both.
    next: u64,
}

#[derive(Debug)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl Ring {
    fn new(bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while self.bytes_max < self.bytes
            && let Some(old) = self.entries.pop_front()
        {
            self.bytes -= old.bytes();
        }
    }

    fn read_from(&self, seq: u64) -> Peekable<vec_deque::Iter<'_, Entry>> {
        let start = self.entries.partition_point(|entry| entry.seq < seq);
        self.entries.range(start..).peekable()
    }
}

impl Rings {
    /// What is there from an entry on, in the order in which it was written.
    fn read_from(&self, seq: u64) -> impl Iterator<Item = &Entry> {
        let (mut letters, mut rest) = (self.letters.read_from(seq), self.rest.read_from(seq));
        std::iter::from_fn(move || match (letters.peek(), rest.peek()) {
            (Some(letter), Some(other)) if letter.seq < other.seq => letters.next(),
            (Some(_), None) => letters.next(),
            _ => rest.next(),
        })
    }
}

impl Entry {
    /// Without number and time, which the ring gives.
    pub(crate) fn new(kind: EventKind, word: &'static str, text: String) -> Self {
        let (side, far, pid, other, cause) = (None, None, None, None, None);
        Self { seq: 0, at: 0, kind, word, side, far, pid, other, cause, text: text.into() }
    }

    /// Whether there are as many of these as there are letters.
    fn is_about_letters(&self) -> bool {
        use EventKind::{Ack, Deliver, Hint, Hold, Hop, Lookup, Redirect, Send};
        use EventKind::{Decide, Life, Member, Monitor, Move, Step};
        match self.kind {
            Send | Deliver | Hop | Hold | Redirect | Hint | Ack | Lookup => true,
            Monitor | Move | Step | Life | Decide | Member => false,
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len()
    }

    fn is_of(&self, of: Of) -> bool {
        let pids = [self.pid, self.other];
        match of {
            Of::All => true,
            Of::Group(group) => pids.iter().flatten().any(|pid| pid.group == group),
            Of::Process(wanted) => pids.iter().flatten().any(|pid| *pid == wanted),
        }
    }
}

impl Default for Chronicle {
    fn default() -> Self {
        let (letters, rest) = (Ring::new(LETTERS_BYTES_MAX), Ring::new(REST_BYTES_MAX));
        let rings = Arc::new(Mutex::new(Rings { letters, rest, next: 0 }));
        Self { rings, next: watch::Sender::new(0) }
    }
}

impl Chronicle {
    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().expect("nobody panics in here")
    }

    /// Writes an entry down.
    pub(crate) fn record(&self, at: u64, entry: Entry) {
        let next = {
            let rings = &mut *self.rings();
            let seq = rings.next;
            rings.next += 1;
            let ring = if entry.is_about_letters() { &mut rings.letters } else { &mut rings.rest };
            ring.push(Entry { seq, at, ..entry });
            rings.next
        };
        self.next.send_replace(next);
    }

    /// Reads on from an entry.
    pub(crate) fn read(&self, from: u64, of: Of) -> Read {
        let rings = self.rings();
        let (mut entries, mut next, mut passed) = (Vec::new(), rings.next, 0);
        for entry in rings.read_from(from) {
            if entries.len() == READ_MAX {
                next = entry.seq;
                break;
            }
            passed += 1;
            if entry.is_of(of) {
                entries.push(entry.clone());
            }
        }
        let dropped = next.saturating_sub(from) - passed;
        Read { entries, next, dropped, more: next < rings.next }
    }

    /// Tells when there is more.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.next.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(group: u64, text: &str) -> Entry {
        let pid = Pid { group: GroupId(group), index: 0 };
        Entry { pid: Some(pid), ..Entry::new(EventKind::Step, "frozen", text.to_owned()) }
    }

    #[test]
    fn what_does_not_fit_goes_and_is_counted() {
        let chronicle = Chronicle::default();
        let text = "x".repeat(1 << 18);
        for _ in 0..10 {
            chronicle.record(0, entry(1, &text));
        }
        let read = chronicle.read(0, Of::All);
        assert!(read.entries.len() < 9 && !read.entries.is_empty());
        assert_eq!(read.dropped, 10 - read.entries.len() as u64);
        assert_eq!((read.next, read.more), (10, false));
        // Who reads on has missed nothing.
        chronicle.record(0, entry(1, "y"));
        let read = chronicle.read(read.next, Of::All);
        assert_eq!((read.entries.len(), read.dropped), (1, 0));
    }

    #[test]
    fn letters_drive_out_letters_alone() {
        let chronicle = Chronicle::default();
        let letter = || Entry { kind: EventKind::Send, ..entry(1, "a letter") };
        let count = 2 * LETTERS_BYTES_MAX / letter().bytes();
        for number in 0..count {
            if number % (count / 4) == 0 {
                chronicle.record(0, entry(1, "a step"));
            }
            chronicle.record(0, letter());
        }
        let (mut from, mut seen, mut dropped) = (0, Vec::new(), 0);
        loop {
            let read = chronicle.read(from, Of::All);
            seen.extend(read.entries);
            (from, dropped) = (read.next, dropped + read.dropped);
            if !read.more {
                break;
            }
        }
        assert!(seen.is_sorted_by(|one, other| one.seq < other.seq));
        assert_eq!(from, seen.len() as u64 + dropped, "what is gone is counted once");
        assert!(count as u64 / 3 < dropped, "half of the letters are gone");
        let steps = seen.iter().filter(|entry| entry.kind == EventKind::Step).count();
        assert!(4 <= steps, "{steps}");
    }

    #[test]
    fn a_reader_gets_what_it_asks_for_in_pieces() {
        let chronicle = Chronicle::default();
        for number in 0..2_000 {
            chronicle.record(number, entry(number % 2, ""));
        }
        let (mut from, mut seen) = (0, Vec::new());
        loop {
            let read = chronicle.read(from, Of::Group(GroupId(1)));
            seen.extend(read.entries.iter().map(|entry| entry.at));
            from = read.next;
            if !read.more {
                break;
            }
        }
        assert!(seen.iter().copied().eq((0..1_000).map(|number| 2 * number + 1)));
    }
}
