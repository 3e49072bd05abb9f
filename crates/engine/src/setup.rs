//! What a process is given when it starts, and what it needs where it goes.

use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wire::{CodeHash, Epoch, Grant};

/// What a process is started with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Its arguments, the program's name first.
    pub args: Vec<String>,
    /// Its environment, in order.
    pub env: Vec<(String, String)>,
    /// The directories it may reach.
    pub dirs: Vec<Dir>,
    /// How many bytes of linear memory it may use, over all its memories; none: what its module
    /// allows.
    pub memory_max: Option<u64>,
    /// Where it runs.
    pub place: Place,
    /// The indices of the processes that are started together with it, itself among them: these two,
    /// the second excluded, and all between. A range, because there may be a hundred thousand.
    pub members: Range<u32>,
    /// To whom it may send beside its group.
    pub grant: Grant,
}

/// A host directory that a process may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// Where it is on the host; absolute, since a process is bound to the same path elsewhere.
    pub host: PathBuf,
    /// What the process calls it.
    pub guest: String,
    /// Whether it may only read.
    pub read_only: bool,
}

/// Where a process runs. It changes with a move, and the process can read it in `/whimbrel`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// The process's epoch.
    pub epoch: Epoch,
}

/// What a node must have to take a process over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Its code.
    pub code: CodeHash,
    /// About how many bytes its image has, at most.
    pub image_bytes: u64,
    /// The directories it is bound to.
    pub dirs: Vec<Dir>,
}

impl Dir {
    /// Says whether this directory is here, and can be used as the process uses it.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn check(&self) -> std::io::Result<()> {
        let metadata = std::fs::metadata(&self.host)?;
        if !metadata.is_dir() {
            return Err(std::io::ErrorKind::NotADirectory.into());
        }
        std::fs::read_dir(&self.host).map(drop)
    }
}
