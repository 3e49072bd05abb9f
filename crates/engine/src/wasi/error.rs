//! What can go wrong between a process's WASI state and the node; errors *within* a call are the
//! guest's, and are [`Errno`]s.

use std::path::PathBuf;

use thiserror::Error as ThisError;

use super::Errno;

/// Why a process's WASI state cannot be made, saved or restored. In each case the process is as it
/// was before: not started, still frozen where it was, or not restored.
#[derive(Debug, ThisError)]
pub enum Error {
    /// A granted directory cannot be opened on this node.
    #[error("directory {} (the process's {guest}) cannot be opened here: {reason}", host.display())]
    Directory {
        /// Its path on the node.
        host: PathBuf,
        /// Its path for the process.
        guest: String,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A file that the process had open is not on this node, or cannot be opened as it was.
    #[error("file {path}, open as descriptor {fd}, cannot be opened here: {reason}")]
    Reopen {
        /// Its path for the process.
        path: String,
        /// The descriptor.
        fd: u32,
        /// What the system said.
        reason: Errno,
    },
    /// A file that the process has open has no name any more, so that no other node could open it.
    #[error(
        "file {path}, open as descriptor {fd}, was removed while open, so that no other node could open it: \
         the process can be moved or frozen when it has closed that file"
    )]
    Unlinked {
        /// The path it was opened by.
        path: String,
        /// The descriptor.
        fd: u32,
    },
    /// The bytes are no state that was saved by a version this one can read.
    #[error("saved WASI state: {0}")]
    Decode(&'static str),
}

/// The process called `proc_exit`: the error that a call into the guest ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("exited with code {0}")]
pub struct Exit(pub u32);
