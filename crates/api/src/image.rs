//! Processes in files, and what can be said of one.

use serde::{Deserialize, Serialize};
use wire::{CodeHash, Pid};

use crate::{Dir, process, text};

/// How to freeze a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeRequest {
    /// The process runs on; what the file holds is another one.
    #[serde(default)]
    pub copy: bool,
}

/// A process is in a file now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenReply {
    /// Who.
    #[serde(with = "text")]
    pub pid: Pid,
    /// Its epoch there.
    pub epoch: u64,
}

/// How to thaw an image. Travels as a query: the body is the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThawQuery {
    /// As of [`crate::RunRequest::attached`].
    #[serde(default)]
    pub attached: bool,
    /// As of [`crate::RunRequest::stdin`].
    #[serde(default)]
    pub stdin: bool,
    /// A new process in any case, even if the frozen one could be had.
    #[serde(default)]
    pub new: bool,
}

/// What an image says of itself, without its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReport {
    /// The version of the format.
    pub version: u32,
    /// The process that was frozen.
    #[serde(with = "text")]
    pub pid: Pid,
    /// Its epoch when it was.
    pub epoch: u64,
    /// The node that froze it.
    pub node: String,
    /// When, in milliseconds since 1970.
    pub frozen_at_ms: u64,
    /// The code that it needs.
    #[serde(with = "text")]
    pub code: CodeHash,
    /// The most memory that it may have, in bytes.
    #[serde(default)]
    pub memory_bytes_max: Option<u64>,
    /// The memory that it has, in bytes.
    pub memory_bytes: u64,
    /// The directories that it needs where it is thawed.
    pub dirs: Vec<Dir>,
    /// The image's size, in bytes.
    pub bytes: u64,
    /// Its parts, in order.
    pub sections: Vec<ImageSection>,
    /// The frozen call stack, innermost first.
    pub stack: Vec<StackFrame>,
}

/// A part of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSection {
    /// What it is.
    pub name: String,
    /// How many records it is made of.
    pub records: u64,
    /// Its size in the image, in bytes.
    pub bytes: u64,
    /// Its size in the process, in bytes, where that differs.
    #[serde(default)]
    pub expanded_bytes: Option<u64>,
}

/// A frame of a frozen stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackFrame {
    /// The function's index in the original module.
    pub function: u32,
    /// Its name, if the module says one.
    #[serde(default)]
    pub name: Option<String>,
}

impl ThawQuery {
    /// As the part of an address from `?` on.
    pub fn to_query(&self) -> String {
        let set = |on: bool| on.then_some("true");
        process::query(&[
            ("attached", set(self.attached)),
            ("stdin", set(self.stdin)),
            ("new", set(self.new)),
        ])
    }
}
