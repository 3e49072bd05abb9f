//! A handle on a process.

use std::sync::Arc;
use std::time::Duration;

use wire::{CodeHash, Epoch, Pid};

use crate::{Needs, Wait};

/// A process that was started or thawed here. A handle: cheap to clone, and harmless to keep after
/// the process has ended or gone.
#[derive(Clone)]
pub struct Process {
    shared: Arc<()>,
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// On a worker, or waiting for one.
    Running,
    /// Blocked in a host call.
    Waiting(Wait),
    /// Asked to freeze, not there yet.
    Freezing,
    /// Frozen.
    Frozen,
    /// Over, or gone elsewhere.
    Ended,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// What it is doing.
    pub status: Status,
    /// Time on a worker, here.
    pub cpu: Duration,
    /// Bytes of linear memory, over all its memories.
    pub memory_bytes: u64,
    /// How often it has left its worker.
    pub unwinds: u64,
    /// From the last freeze's request to its safepoint.
    pub safepoint: Option<Duration>,
}

impl Process {
    /// Its id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        let _ = &self.shared;
        todo!()
    }

    /// Its code's hash.
    #[must_use]
    pub fn code(&self) -> CodeHash {
        todo!()
    }

    /// What a node must have to take it over.
    #[must_use]
    pub fn needs(&self) -> Needs {
        todo!()
    }

    /// What it is doing, and has used.
    #[must_use]
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// Asks it to stop at its next safepoint. [`crate::Event::Frozen`] follows, or
    /// [`crate::Event::Ended`] if it ends first. Without effect on one that is frozen or ended.
    pub fn freeze(&self) {
        todo!()
    }

    /// Takes back a request to freeze that has not come to pass. Where it came to pass meanwhile,
    /// [`crate::Event::Frozen`] says so, and the caller resumes it.
    pub fn cancel_freeze(&self) {
        todo!()
    }

    /// Ends it. [`crate::Event::Ended`] follows, with [`crate::Outcome::Killed`], unless it has
    /// ended; a frozen one ends when its [`crate::Frozen`] is resumed or dropped.
    pub fn kill(&self) {
        todo!()
    }

    /// Feeds its standard input. The offset counts the bytes fed since it was born: bytes before
    /// the end of what it was fed are skipped, so that input may be sent again after a move.
    /// Returns the offset after which the next byte is wanted; there is room for
    /// `INPUT_BYTES_MAX` bytes beyond what it has taken, and more than that is not kept.
    pub fn stdin(&self, offset: u64, bytes: &[u8]) -> u64 {
        let _ = (offset, bytes);
        todo!()
    }

    /// Says that its standard input ends after what it was fed.
    pub fn stdin_end(&self) {
        todo!()
    }

    /// Says that its output up to this offset has been taken care of. It blocks when
    /// `OUTPUT_BYTES_MAX` bytes have not.
    pub fn output_taken(&self, offset: u64) {
        let _ = offset;
        todo!()
    }

    /// Lets what it does be seen: from now on its output is delivered (what was held back, first),
    /// and host calls that change files or take input go on.
    pub fn release_effects(&self) {
        todo!()
    }

    /// Changes the epoch that it reads in `/whimbrel/epoch`.
    pub fn set_epoch(&self, epoch: Epoch) {
        let _ = epoch;
        todo!()
    }
}
