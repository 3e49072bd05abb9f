//! What a process tells the node: output, that it is frozen, how it ended.

use std::fmt;
use std::sync::Arc;

use wire::Pid;

use crate::Frozen;

/// Receives what processes say. Called from worker threads, so it hands on and returns at once.
///
/// Events of one process come in order and never at the same time; [`Event::Ended`] is the last.
pub type EventSink = Arc<dyn Fn(Pid, Event) + Send + Sync>;

/// Something that a process did.
pub enum Event {
    /// It wrote to one of its streams.
    Output {
        /// Which one.
        stream: Stream,
        /// How many bytes it had written before, to both streams together, since it was born.
        offset: u64,
        /// What it wrote.
        bytes: Vec<u8>,
    },
    /// It took bytes from its input, so that there is room for more (see [`crate::Process::stdin`]).
    InputTaken {
        /// How many bytes of its input it has taken since it was born.
        offset: u64,
    },
    /// There are messages that it sent, to be carried off: see [`crate::Process::carry`]. Said when
    /// there were none before, and again when it is resumed or its effects are released.
    Sent,
    /// It has taken much from its inbox, or anything before a freeze: see [`crate::Process::took`].
    Took,
    /// A freeze that was asked for has come to pass.
    Frozen(Frozen),
    /// It is over. Nothing comes after this. What ended while its effects are held says so after they are released,
    /// unless it is killed.
    Ended(Outcome),
}

/// One of a process's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited, with this code; returning from its entry point is code 0.
    Exit(u32),
    /// It trapped.
    Trap(TrapReport),
    /// It was killed.
    Killed,
    /// It could not go on within a limit that it was given.
    Limit(Limit),
    /// We are at fault: what the engine found wrong. The process is gone, the node is well.
    Fault(String),
}

/// A limit that ended a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Its call stack, in native bytes.
    Stack,
    /// The frames of its unwound stack, in bytes (see `transform`).
    Frames,
}

/// Why and where a process trapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrapReport {
    /// What went wrong, as Wasmtime says it.
    pub message: String,
    /// Innermost first.
    pub backtrace: Vec<FrameName>,
}

/// One line of a backtrace.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FrameName {
    /// The function's index in the program's original module.
    pub function: u32,
    /// Its name, demangled, if the program has a name section.
    pub name: Option<String>,
}

/// A function's name as its author wrote it, where it is Rust's or C++'s mangled one.
pub(crate) fn demangled(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    let cpp = name.starts_with("_Z").then(|| cpp_demangle::Symbol::new(name).ok()).flatten();
    cpp.and_then(|symbol| symbol.demangle().ok()).unwrap_or_else(|| name.to_owned())
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output { stream, offset, bytes } => {
                write!(f, "Output({stream:?}, {} bytes at {offset})", bytes.len())
            }
            Self::InputTaken { offset } => write!(f, "InputTaken({offset})"),
            Self::Sent => f.write_str("Sent"),
            Self::Took => f.write_str("Took"),
            Self::Frozen(_) => f.write_str("Frozen"),
            Self::Ended(outcome) => write!(f, "Ended({outcome})"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Trap(report) => write!(f, "trap: {}", report.message),
            Self::Killed => f.write_str("killed"),
            Self::Limit(limit) => write!(f, "limit: {limit}"),
            Self::Fault(what) => write!(f, "fault of the engine: {what}"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stack => "call stack exhausted",
            Self::Frames => "the stack is too large to be frozen",
        })
    }
}

impl fmt::Display for FrameName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "function {}", self.function),
        }
    }
}
