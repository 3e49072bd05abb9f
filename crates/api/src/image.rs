//! Processes in files, and what can be said of an image or a transformed program.

use serde::{Deserialize, Serialize};
use wire::{CodeHash, Pid};

use crate::{process, text};

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
    #[serde(with = "text::optional", default)]
    pub pid: Option<Pid>,
    /// Its epoch when it was.
    #[serde(default)]
    pub epoch: Option<u64>,
    /// The code that it needs.
    #[serde(with = "text")]
    pub code: CodeHash,
    /// All of it, in bytes.
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
    /// What else there is to say, in a few words.
    #[serde(default)]
    pub note: String,
}

/// A frame of a frozen stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackFrame {
    /// The function's index in the module.
    pub function: u32,
    /// Its name, if the module says one.
    #[serde(default)]
    pub name: Option<String>,
    /// Where in the function: the number of the site.
    pub site: u32,
    /// The frame's size in the image, in bytes.
    pub bytes: u64,
}

/// What a transform did, for `whimbrel transform --report`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformReport {
    /// Names and values, in the order in which to show them.
    pub rows: Vec<ReportRow>,
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRow {
    /// What was counted.
    pub name: String,
    /// How much it was, with its unit.
    pub value: String,
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
