//! From an image back to a process.

use wire::{CodeHash, Epoch, Offer, Pid};

use crate::{Engine, EventSink, FrameName, Needs, Place, Process, StartError, ThawError};

/// Takes an image as its bytes arrive, memory straight into place.
pub struct Thaw {
    engine: Engine,
}

/// A process whose image is here, whole and verified, and which does not run yet.
pub struct Staged {
    _private: (),
}

impl Thaw {
    /// Waits for an image's first byte.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        Self { engine: engine.clone() }
    }

    /// Takes more of the image, however it is cut.
    ///
    /// # Errors
    ///
    /// [`ThawError`], as soon as the image is known to be bad; the rest need not be sent.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ThawError> {
        let _ = (bytes, &self.engine);
        todo!()
    }

    /// Verifies the whole.
    ///
    /// # Errors
    ///
    /// [`ThawError`]; nothing was started.
    pub fn finish(self) -> Result<Staged, ThawError> {
        todo!()
    }
}

impl Staged {
    /// Whose image it is.
    #[must_use]
    pub fn pid(&self) -> Pid {
        todo!()
    }

    /// The process's epoch when it was frozen.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        todo!()
    }

    /// Which of the process's offers it is.
    #[must_use]
    pub fn offer(&self) -> Offer {
        todo!()
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> CodeHash {
        todo!()
    }

    /// The node's own section, as it was given to [`crate::Frozen::image`].
    #[must_use]
    pub fn protocol(&self) -> &[u8] {
        todo!()
    }

    /// What it needs here.
    #[must_use]
    pub fn needs(&self) -> Needs {
        todo!()
    }

    /// Where it stopped, innermost function first.
    #[must_use]
    pub fn stack(&self) -> Vec<FrameName> {
        todo!()
    }

    /// Sets it going, as `pid` (its own, or a new one for a copy), at `place`. While `hold` is set
    /// its effects are held back until [`Process::release_effects`].
    ///
    /// # Errors
    ///
    /// [`StartError`], above all if a directory cannot be opened: the process is gone here.
    pub fn run(
        self,
        pid: Pid,
        place: Place,
        hold: bool,
        events: EventSink,
    ) -> Result<Process, StartError> {
        let _ = (pid, place, hold, events);
        todo!()
    }
}
