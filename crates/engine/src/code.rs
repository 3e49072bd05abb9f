//! A program, transformed and compiled.

use std::sync::Arc;

use wire::CodeHash;

/// A program in all its forms. Shared by its processes.
pub struct Code {
    hash: CodeHash,
    bundle: Arc<[u8]>,
}

/// Told how far [`crate::Engine::prepare`] is.
pub type Progress = dyn Fn(Step) + Send + Sync;

/// What [`crate::Engine::prepare`] is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Transforming this many bytes.
    Transform(usize),
    /// Compiling this many bytes.
    Compile(usize),
    /// Ready. `cached` says that nothing had to be compiled.
    Ready {
        /// Whether compiled code was found in the cache.
        cached: bool,
    },
}

impl Code {
    /// Its address: the BLAKE3 hash of its bundle.
    #[must_use]
    pub fn hash(&self) -> CodeHash {
        self.hash
    }

    /// The program as it travels: original hash, both forms, site table.
    #[must_use]
    pub fn bundle(&self) -> Arc<[u8]> {
        self.bundle.clone()
    }

    /// The BLAKE3 hash of the original program.
    #[must_use]
    pub fn original(&self) -> CodeHash {
        todo!()
    }
}
