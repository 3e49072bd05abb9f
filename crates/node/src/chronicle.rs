//! What has happened on this node, for whoever wants to know: a ring of bounded size, written by the driver and read by
//! the control plane.
//!
//! The driver alone writes, and formats what it writes; a lock is held for as long as it takes to put one entry into a
//! queue. Who reads says from which entry on. What does not fit any more goes, oldest first, and is counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use api::{Cause, EventKind, Side};
use tokio::sync::watch;
use wire::{GroupId, NodeId, Pid};

/// What all entries may take: some tens of thousands of them.
const BYTES_MAX: usize = 8 << 20;

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
    /// How many have gone between the entry that was asked for and the first that is there.
    pub(crate) dropped: u64,
    /// Whether there is more.
    pub(crate) more: bool,
}

/// The ring. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Chronicle {
    ring: Arc<Mutex<Ring>>,
    /// The number of the next entry: who follows waits for it to change.
    next: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    next: u64,
}

impl Entry {
    /// Without number and time, which the ring gives.
    pub(crate) fn new(kind: EventKind, word: &'static str, text: String) -> Self {
        let (side, far, pid, other, cause) = (None, None, None, None, None);
        Self { seq: 0, at: 0, kind, word, side, far, pid, other, cause, text: text.into() }
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
        Self { ring: Arc::default(), next: watch::Sender::new(0) }
    }
}

impl Chronicle {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("nobody panics in here")
    }

    /// Writes an entry down.
    pub(crate) fn record(&self, at: u64, entry: Entry) {
        let next = {
            let mut ring = self.ring();
            let seq = ring.next;
            ring.next += 1;
            ring.bytes += entry.bytes();
            ring.entries.push_back(Entry { seq, at, ..entry });
            while BYTES_MAX < ring.bytes
                && let Some(old) = ring.entries.pop_front()
            {
                ring.bytes -= old.bytes();
            }
            ring.next
        };
        self.next.send_replace(next);
    }

    /// Reads on from an entry.
    pub(crate) fn read(&self, from: u64, of: Of) -> Read {
        let ring = self.ring();
        let first = ring.entries.front().map_or(ring.next, |entry| entry.seq);
        let dropped = first.saturating_sub(from);
        let start = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let start = start.min(ring.entries.len());
        let (mut entries, mut next) = (Vec::new(), ring.next);
        for entry in ring.entries.range(start..) {
            if entries.len() == READ_MAX {
                next = entry.seq;
                break;
            }
            if entry.is_of(of) {
                entries.push(entry.clone());
            }
        }
        Read { entries, next, dropped, more: next < ring.next }
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
        let text = "x".repeat(1 << 20);
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
