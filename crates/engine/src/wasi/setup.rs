//! What a process is given when it starts, and what the node adds when it arrives from elsewhere.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::console::Sink;

/// What a process starts with.
#[derive(Clone)]
pub struct Setup {
    /// The arguments, the program's name first.
    pub args: Vec<String>,
    /// The environment, in the order given. Nothing is inherited from the node.
    pub env: Vec<(String, String)>,
    /// The directories it is granted, as descriptors 3, 4, … in this order.
    pub dirs: Vec<Dir>,
    /// Which of standard input, output and error call themselves terminals. A C library flushes a
    /// terminal's output line by line, and anything else only when its buffer is full.
    pub terminals: [bool; 3],
    /// Where it runs.
    pub place: Place,
    /// Where its output goes.
    pub sink: Sink,
}

/// What a node adds to the saved state of a process that continues on it.
#[derive(Clone)]
pub struct Thaw {
    /// Where it runs now.
    pub place: Place,
    /// Where its output goes now.
    pub sink: Sink,
    /// How long it was frozen, if somebody counted it (a move does). Else the difference of the
    /// wall clocks at freeze and now is taken, and not less than nothing.
    pub frozen_for: Option<Duration>,
    /// Whether its effects are held from its first instruction on: see
    /// [`Console::hold`](super::Console::hold).
    pub held: bool,
    /// Directories to bind elsewhere than where they were: the guest's name for it, and this
    /// node's path. Others are opened at the path that they had on the source.
    pub rebind: Vec<(String, PathBuf)>,
}

/// A directory of the node's that a process is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// Its path on the node.
    pub host: PathBuf,
    /// Its path for the process.
    pub guest: String,
    /// Whether the process may change it.
    pub access: Access,
}

/// Whether a granted directory may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Everything that would change it fails with `rofs`.
    ReadOnly,
    /// Files in it can be made, changed and removed.
    ReadWrite,
}

/// Where a process runs, in words: what it reads in `/whimbrel`. Changes with every move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The process's id, as people type it: the file `self`.
    pub pid: String,
    /// The name of the node it runs on: the file `node`.
    pub node: String,
    /// How many owners it has had: the file `epoch`.
    pub epoch: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            args: vec![],
            env: vec![],
            dirs: vec![],
            terminals: [false, true, true],
            place: Place::default(),
            sink: super::console::discard(),
        }
    }
}

impl fmt::Display for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.access {
            Access::ReadOnly => ":ro",
            Access::ReadWrite => "",
        };
        write!(f, "{}::{}{suffix}", self.host.display(), self.guest)
    }
}
