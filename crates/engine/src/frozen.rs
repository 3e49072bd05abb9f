//! A frozen process: its memory in place, its image to be had any number of times.

use std::sync::{Arc, Mutex, PoisonError};

use wire::{CodeHash, Epoch, Offer, Pid};

use crate::body::Body;
use crate::process::{Shared, Stand};

use crate::{FrameName, Process, ResumedError};

/// A process that has stopped. Its memory is where it was, so that resuming it copies nothing.
///
/// Dropping it drops the process: it has gone elsewhere, or is killed.
pub struct Frozen {
    process: Process,
    shared: Arc<Shared>,
    body: Arc<Mutex<Option<Box<Body>>>>,
}

/// What an image says of the move that it is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The node that froze the process.
    pub node: String,
    /// The process's epoch there.
    pub epoch: Epoch,
    /// Which of the process's offers this is.
    pub offer: Offer,
}

/// Yields an image, piece by piece.
pub struct ImageWriter {
    _private: (),
}

impl Frozen {
    pub(crate) fn new(shared: Arc<Shared>, body: Box<Body>) -> Self {
        let process = Process::of(&shared);
        Self { process, shared, body: Arc::new(Mutex::new(Some(body))) }
    }

    /// Whose it is.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// The process's handle; it stays valid when the process is resumed.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The code that the image needs.
    #[must_use]
    pub fn code(&self) -> CodeHash {
        self.process.code()
    }

    /// Where it stopped, innermost function first.
    #[must_use]
    pub fn stack(&self) -> Vec<FrameName> {
        todo!()
    }

    /// The process's image, with a section of the node's own. It can be had several times; it ends
    /// with [`ResumedError`] if the process is resumed or dropped meanwhile.
    #[must_use]
    pub fn image(&self, stamp: Stamp, protocol: Vec<u8>) -> ImageWriter {
        let _ = (stamp, protocol);
        todo!()
    }

    /// Lets the process go on where it stopped. Nothing is copied.
    pub fn resume(self) {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        Shared::resume(&self.shared, body.expect("it is taken here or when dropped"));
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // None if it was resumed.
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        if body.is_some() {
            self.shared.set_stand(Stand::Ended);
        }
    }
}

impl ImageWriter {
    /// Replaces what is in `chunk` by the next piece of the image (at most `CHUNK_BYTES_MAX`
    /// bytes); says whether there was one. Pieces are cut at records, but a reader need not know.
    ///
    /// # Errors
    ///
    /// [`ResumedError`], if the process is no longer frozen.
    pub fn next(&mut self, chunk: &mut Vec<u8>) -> Result<bool, ResumedError> {
        let _ = chunk;
        todo!()
    }
}
