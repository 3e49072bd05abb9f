//! What can go wrong, and what is true afterwards.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use wire::CodeHash;

/// The engine cannot be made. Nothing was started.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Wasmtime refuses the settings, or this machine.
    #[error("this machine cannot run the engine: {0}")]
    Wasmtime(String),
    /// A thread could not be started.
    #[error("a worker thread could not be started: {0}")]
    Thread(#[from] io::Error),
    /// The cache directory cannot be used.
    #[error("cache directory {path}: {source}")]
    Cache {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A program cannot be made into code. Nothing was started.
#[derive(Debug, Error)]
pub enum CodeError {
    /// The transform refuses it, by feature, function and offset.
    #[error(transparent)]
    Transform(#[from] transform::Error),
    /// The program asks for a function that the engine does not offer.
    #[error("missing import: {module}.{name} is not offered here")]
    MissingImport {
        /// The module it is asked for from.
        module: String,
        /// The name of what is asked for.
        name: String,
    },
    /// The program's import exists, but not with this type.
    #[error("import {module}.{name} has another type than the function offered here")]
    ImportType {
        /// The module it is asked for from.
        module: String,
        /// The name of what is asked for.
        name: String,
    },
    /// The program has no `_start`.
    #[error("the program exports no function _start: it is a library, not a command")]
    NoEntry,
    /// These bytes are no code bundle.
    #[error("code bundle: {0}")]
    Bundle(String),
    /// Wasmtime refuses a module that the transform emitted: our fault.
    #[error("the transformed module does not compile: {0}")]
    Compile(String),
}

/// A process cannot be started. Nothing was started.
#[derive(Debug, Error)]
pub enum StartError {
    /// A directory it is given, or a file that it has open, cannot be opened.
    #[error(transparent)]
    Wasi(#[from] crate::wasi::Error),
    /// The program's memory at start is larger than its limit.
    #[error("the program needs {needed} bytes of memory to start, its limit is {limit}")]
    Memory {
        /// What it needs, in bytes.
        needed: u64,
        /// What it may use, in bytes.
        limit: u64,
    },
    /// The module cannot be instantiated.
    #[error("the program cannot be instantiated: {0}")]
    Instantiate(String),
}

/// An image cannot be thawed. Nothing was started, and the image is as it was.
#[derive(Debug, Error)]
pub enum ThawError {
    /// The image names code that is not here. Fetch it, [`crate::Engine::load`] it, and thaw anew.
    #[error("the image is of code {0}, which is not here")]
    CodeMissing(CodeHash),
    /// The image is damaged, ends early, is of another version, or is none.
    #[error(transparent)]
    Image(#[from] wire::image::ImageError),
    /// A part of the image does not decode, though its checksum is right.
    #[error("image: {part}: {what}")]
    Malformed {
        /// Which part.
        part: wire::image::Kind,
        /// What is wrong with it.
        what: String,
    },
    /// The image is of other code than the one it is thawed with.
    #[error("the image does not fit its code: {0}")]
    Foreign(String),
    /// Something that the process holds is not here.
    #[error("the process needs what is not here: {0}")]
    Binding(#[from] crate::wasi::Error),
    /// The resume form could not be made ready.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The system refused memory or a file.
    #[error("the system refuses: {0}")]
    Io(#[from] io::Error),
}

/// An image cannot be written to its end. What was written of it is worthless.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WriteError {
    /// The process was resumed or dropped meanwhile.
    #[error("the process is no longer frozen")]
    Resumed,
    /// Something that the process has cannot travel. It is frozen still, and can be resumed.
    #[error("the process cannot travel: {0}")]
    Bound(String),
    /// Its state cannot be taken out: our fault. It cannot go on either.
    #[error("the state of the process cannot be taken out: {0}")]
    Broken(String),
}
