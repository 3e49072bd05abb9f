//! The standard streams, and the word on whether the process may have effects yet.
//!
//! A [`Console`] is shared: the guest's side is called from the worker that runs it, the node's
//! side from any thread. What is in it and unread travels with the process.
//!
//! Output is numbered: byte *n* of all that the process ever wrote, both streams together, has
//! offset *n*, whichever node it was written on. Whoever delivers it can therefore tell a byte
//! repeated from a byte new.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Output kept back at most while effects are held. More than this and the process waits: it is
/// held for the length of two round trips, not for longer.
pub const HELD_OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Input kept at most for a process that does not read it. It travels with every move.
pub const STDIN_BYTES_MAX: usize = 256 << 10;

/// Which of the two streams a process wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Some bytes that a process wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// Where it wrote them.
    pub stream: Stream,
    /// How many bytes it had written before, to both streams together, in its whole life.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Takes what a process writes, in order. Called with the console locked: it must not call the
/// console back.
pub type Sink = Arc<dyn Fn(Output<'_>) + Send + Sync>;

/// A sink for those who do not care.
#[must_use]
pub fn discard() -> Sink {
    Arc::new(|_| ())
}

/// The standard streams of one process.
pub struct Console {
    inner: Mutex<Inner>,
    sink: Sink,
}

/// What of a console travels with its process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedConsole {
    /// Input that was fed and not read.
    input: VecDeque<u8>,
    /// No more input follows.
    input_ended: bool,
    /// How much input was ever fed.
    fed: u64,
    /// How much output was ever written, what is kept back included.
    written: u64,
    /// Output kept back, oldest first; its last byte has offset `written - 1`.
    kept: Vec<(Stream, Vec<u8>)>,
}

struct Inner {
    state: SavedConsole,
    kept_bytes: usize,
    held: bool,
    allowed: u64,
}

impl Console {
    pub(super) fn new(sink: Sink) -> Self {
        Self::resumed(SavedConsole::default(), sink, false)
    }

    /// The console of a process that continues here.
    pub(super) fn resumed(state: SavedConsole, sink: Sink, held: bool) -> Self {
        let kept_bytes = state.kept.iter().map(|(_, bytes)| bytes.len()).sum();
        let console = Self {
            inner: Mutex::new(Inner { state, kept_bytes, held: true, allowed: u64::MAX }),
            sink,
        };
        if !held {
            console.release();
        }
        console
    }

    pub(super) fn saved(&self) -> SavedConsole {
        self.lock().state.clone()
    }

    /// Gives the process input; says how much of it there was room for. The rest is to be fed again
    /// when the process has read some.
    pub fn feed(&self, bytes: &[u8]) -> usize {
        let mut inner = self.lock();
        let count = bytes.len().min(STDIN_BYTES_MAX.saturating_sub(inner.state.input.len()));
        inner.state.input.extend(&bytes[..count]);
        inner.state.fed += count as u64;
        count
    }

    /// No more input will follow: the process reads what there is, and then the end.
    pub fn end_input(&self) {
        self.lock().state.input_ended = true;
    }

    /// How many bytes of input the process was ever given, on any node: where to go on feeding.
    pub fn fed(&self) -> u64 {
        self.lock().state.fed
    }

    /// How many bytes of output the process ever wrote, on any node.
    pub fn written(&self) -> u64 {
        self.lock().state.written
    }

    /// From now on nothing that the process does may be seen outside of it: its output is kept
    /// back, and calls that change files or take input wait.
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Ends [`Console::hold`]: what was kept back goes out.
    pub fn release(&self) {
        let mut inner = self.lock();
        inner.held = false;
        inner.kept_bytes = 0;
        let kept = std::mem::take(&mut inner.state.kept);
        let total: usize = kept.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut offset = inner.state.written - total as u64;
        for (stream, bytes) in kept {
            (self.sink)(Output { stream, offset, bytes: &bytes });
            offset += bytes.len() as u64;
        }
    }

    /// Whether effects are held.
    pub fn is_held(&self) -> bool {
        self.lock().held
    }

    /// Lets the process write up to this offset and no further, until told otherwise. This is how
    /// whoever delivers the output bounds what is on its way.
    pub fn allow_output(&self, until: u64) {
        self.lock().allowed = until;
    }

    /// Whether a read of standard input would return at once.
    pub fn has_input(&self) -> bool {
        let inner = self.lock();
        !inner.state.input.is_empty() || inner.state.input_ended
    }

    /// How much can be written now.
    pub fn room(&self) -> usize {
        self.lock().room()
    }

    /// How much input is there, and whether its end is known.
    pub(super) fn input(&self) -> (usize, bool) {
        let inner = self.lock();
        (inner.state.input.len(), inner.state.input_ended)
    }

    /// Takes input into `buffer`; `None` if there is none yet, zero at its end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut inner = self.lock();
        if inner.state.input.is_empty() {
            return inner.state.input_ended.then_some(0);
        }
        let count = buffer.len().min(inner.state.input.len());
        for (to, from) in buffer.iter_mut().zip(inner.state.input.drain(..count)) {
            *to = from;
        }
        Some(count)
    }

    /// Writes what there is room for, and says how much that was.
    pub(super) fn write(&self, stream: Stream, bytes: &[u8]) -> usize {
        let mut inner = self.lock();
        let bytes = &bytes[..bytes.len().min(inner.room())];
        let offset = inner.state.written;
        inner.state.written += bytes.len() as u64;
        if inner.held {
            inner.keep(stream, bytes);
        } else if !bytes.is_empty() {
            (self.sink)(Output { stream, offset, bytes });
        }
        bytes.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A sink that panicked has taken its bytes or has not; the console is whole either way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn room(&self) -> usize {
        let allowed = self.allowed.saturating_sub(self.state.written);
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        if self.held {
            allowed.min(HELD_OUTPUT_BYTES_MAX.saturating_sub(self.kept_bytes))
        } else {
            allowed
        }
    }

    fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        self.kept_bytes += bytes.len();
        match self.state.kept.last_mut() {
            Some((last, kept)) if *last == stream => kept.extend_from_slice(bytes),
            _ => self.state.kept.push((stream, bytes.to_vec())),
        }
    }
}

impl SavedConsole {
    /// Whether the numbers agree with each other; what a socket or a disk brought may not.
    pub(super) fn is_sound(&self) -> bool {
        let kept: usize = self.kept.iter().map(|(_, bytes)| bytes.len()).sum();
        kept as u64 <= self.written && kept <= HELD_OUTPUT_BYTES_MAX && self.input.len() <= STDIN_BYTES_MAX
    }
}
