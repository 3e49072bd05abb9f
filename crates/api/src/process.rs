//! Processes: started, listed, looked into, listened to, ended.

use serde::{Deserialize, Serialize};
use wire::{CodeHash, GroupId, Pid};

use crate::{Adapting, Bytes, Error, InTransit, Locate, MoveReport, routes, text};

/// The story of an uploaded program, until it can be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ProgramEvent {
    /// It is being made ready.
    Progress(Progress),
    /// The last line: it can be run under this hash.
    Ready {
        /// The code's address, on every node of the cluster.
        #[serde(with = "text")]
        program: CodeHash,
    },
    /// The last line: it cannot.
    Failed {
        /// Why.
        error: Error,
    },
}

/// How far a step is that may take long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which.
    pub step: Step,
    /// How much of it is done.
    pub done: u64,
    /// Out of how much; absent while that is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// The steps that may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Machine code is made; counted in functions.
    Compile,
    /// Code comes from another node; counted in bytes.
    Fetch,
    /// An image goes to another node; counted in bytes.
    Transfer,
    /// Processes leave a node; counted.
    Leave,
    /// Processes that move together arrive; counted.
    Gather,
}

/// A process to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// What to run: the hash that an upload answered.
    #[serde(with = "text")]
    pub program: CodeHash,
    /// What to call the program in lists: its file's name.
    pub program_name: String,
    /// The arguments, the program's own name first.
    pub args: Vec<String>,
    /// The environment, all of it: nothing is inherited.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// The directories it may reach.
    #[serde(default)]
    pub dirs: Vec<Dir>,
    /// A name for the process, unique in the cluster while it lives.
    #[serde(default)]
    pub name: Option<String>,
    /// Where to start it; the node that is asked if absent.
    #[serde(default)]
    pub on: Option<String>,
    /// The most memory it may have, in bytes; the node's default if absent.
    #[serde(default)]
    pub memory_bytes_max: Option<u64>,
    /// Unknown WASI functions answer ENOSYS, with a warning, instead of being refused.
    #[serde(default)]
    pub stub_missing: bool,
    /// Someone reads the output: the stream goes on to the end, and the process does not run ahead
    /// of the reader by more than a bound.
    #[serde(default)]
    pub attached: bool,
    /// Someone will send standard input ([`crate::route::STDIN`]); without, it ends at once.
    #[serde(default)]
    pub stdin: bool,
    /// Programs that are started together with it, as one group. The answer is about the first: the
    /// others have its group and the indices 1, 2, … in this order, and their output is in their logs.
    #[serde(default)]
    pub others: Vec<MemberRequest>,
    /// How often the last program is started: so many members of the group.
    #[serde(default = "RunRequest::once")]
    pub count: u32,
    /// How letters find the processes of the group when they move.
    #[serde(default, with = "text")]
    pub locate: Locate,
    /// How often a mailbox that keeps letters is asked for them, in milliseconds; 20 if nothing is said.
    #[serde(default)]
    pub poll_ms: Option<u32>,
    /// Where letters wait while they move.
    #[serde(default)]
    pub in_transit: InTransit,
    /// The whole group ends when one of its processes fails: exits with another code than 0, traps, reaches a limit or
    /// is killed.
    #[serde(default)]
    pub together: bool,
    /// How often an image of each is written to the disk of its node, in milliseconds, if they are to begin anew from
    /// there when that node has crashed.
    #[serde(default)]
    pub checkpoint_ms: Option<u32>,
    /// To which other groups its processes may send: by id, by the name of a process, or `*` for all.
    #[serde(default)]
    pub allow_send: Vec<String>,
    /// What becomes of the group's messages is recorded from the beginning.
    #[serde(default)]
    pub trace: bool,
    /// On which nodes its processes may be.
    #[serde(default)]
    pub placement: Placement,
}

/// What processes ask of their nodes, by labels `K=V` that nodes are given when they start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Their node must have all of these: no move takes them to another.
    #[serde(default)]
    pub pin: Vec<String>,
    /// Their node must have none of these.
    #[serde(default)]
    pub avoid: Vec<String>,
    /// Their node had better have these, if the load is evened out.
    #[serde(default)]
    pub affinity: Vec<String>,
}

impl RunRequest {
    fn once() -> u32 {
        1
    }
}

/// One more member of a group. Environment, directories and limits are those of the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRequest {
    /// What to run: the hash that an upload answered.
    #[serde(with = "text")]
    pub program: CodeHash,
    /// What to call the program in lists.
    pub program_name: String,
    /// The arguments, the program's own name first.
    pub args: Vec<String>,
}

/// A directory that a process may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// Where it is on the node: an absolute path.
    pub host: String,
    /// Where the process sees it.
    pub guest: String,
    /// It may be read only.
    #[serde(default)]
    pub read_only: bool,
}

/// The story of a process, as one listener hears it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ProcessEvent {
    /// Before the start: something may take long.
    Progress(Progress),
    /// It exists.
    Started {
        /// Its id.
        #[serde(with = "text")]
        pid: Pid,
        /// Where it runs.
        node: String,
        /// A thaw only: the process is a new one, not the one that was frozen.
        #[serde(default)]
        new: bool,
        /// How many processes were started: it, and the members 1, 2, … of its group.
        #[serde(default = "RunRequest::once")]
        members: u32,
    },
    /// It wrote something. Pieces come in order, without gap or repetition.
    Output {
        /// To which stream.
        stream: Stream,
        /// The place of the first byte in all that the process wrote, both streams counted as one.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Output before this offset is no longer kept.
    Dropped {
        /// The first offset that is.
        until: u64,
    },
    /// It runs somewhere else now.
    Moved(MoveReport),
    /// The last line: it ended.
    Ended {
        /// How.
        outcome: Outcome,
    },
    /// The last line: it did not start, or is no longer heard of.
    Failed {
        /// Why.
        error: Error,
    },
}

/// A standard stream that processes write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Outcome {
    /// By itself, with this code.
    Exited {
        /// 0 is success.
        code: u32,
    },
    /// By a trap.
    Trapped {
        /// What happened, in one line.
        message: String,
        /// Where: function names, innermost first.
        #[serde(default)]
        backtrace: Vec<String>,
    },
    /// On someone's word.
    Killed,
    /// It was linked to a process that did not end well.
    Linked {
        /// That one.
        #[serde(with = "text")]
        pid: Pid,
        /// How the first of the chain of linked processes ended: `trap`, `code(1)`, …
        reason: String,
    },
    /// It reached a limit.
    Limit {
        /// Which one and how much it was.
        message: String,
    },
    /// Its node is gone, and it with it.
    Lost {
        /// That node.
        node: String,
        /// What is known.
        message: String,
    },
    /// By a mistake in Whimbrel; the node is well.
    Fault {
        /// What was found wrong.
        message: String,
    },
    /// It was frozen into a file: it has not ended, and is nowhere now.
    Filed,
}

/// What a process is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ProcessState {
    /// It computes, or is ready to.
    Running,
    /// It waits.
    Waiting {
        /// For what: `input`, `time`, `output` …
        waits_for: String,
    },
    /// It waits, and has been put to sleep meanwhile: it is an image in its node's memory.
    Sleeping {
        /// For what.
        waits_for: String,
    },
    /// It is on its way to another node.
    Moving {
        /// There.
        to: String,
        /// The step the move is at, and what it waits for if that is silent.
        step: String,
    },
    /// It is frozen, on its way into a file.
    Frozen,
    /// Its node does not answer.
    Unreachable,
    /// It is in a file.
    Filed,
    /// It ended.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

/// Which processes to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PsQuery {
    /// Ended ones too, as far as they are remembered.
    #[serde(default)]
    pub all: bool,
}

/// The processes of the cluster, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessesReply {
    /// Those that are known.
    pub processes: Vec<ProcessSummary>,
    /// The nodes that did not answer: their processes may be missing, or as they were.
    #[serde(default)]
    pub silent: Vec<String>,
}

/// A process in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSummary {
    /// Its id.
    #[serde(with = "text")]
    pub pid: Pid,
    /// Its name, if it has one.
    #[serde(default)]
    pub name: Option<String>,
    /// The program's name.
    pub program: String,
    /// Where it is.
    pub node: String,
    /// What it is doing.
    pub state: ProcessState,
    /// The memory that it has, in bytes.
    pub memory_bytes: u64,
    /// Since its start, in milliseconds, wherever it was.
    pub age_ms: u64,
    /// The time that it computed, in milliseconds, wherever it was.
    pub cpu_ms: u64,
    /// How often it moved.
    pub moves: u64,
}

/// What [`crate::route::INSPECT`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Inspection {
    /// The reference was a process's.
    Process(Box<ProcessDetail>),
    /// The reference was a group's.
    Group(GroupDetail),
}

/// All that is known of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessDetail {
    /// What the list shows.
    #[serde(flatten)]
    pub summary: ProcessSummary,
    /// Its code's address.
    #[serde(with = "text")]
    pub code: CodeHash,
    /// Its location record's epoch: how many owners it has had.
    pub epoch: u64,
    /// Its arguments, the program's name first.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its directories.
    pub dirs: Vec<DirUse>,
    /// The most memory it may have, in bytes.
    #[serde(default)]
    pub memory_bytes_max: Option<u64>,
    /// What it wrote so far, in bytes, both streams.
    pub output_bytes: u64,
    /// Its call stack, innermost first, if it is at rest.
    #[serde(default)]
    pub stack: Vec<String>,
    /// How letters find it when it moves, if it is here.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub locate: Option<Locate>,
    /// What it makes of that, if it chooses for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapting: Option<Adapting>,
    /// Its last move.
    #[serde(default)]
    pub last_move: Option<MoveReport>,
    /// Which life it is in: grows with each that it begins, if it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<u64>,
    /// What is kept of it on its node's disk, if it is durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable: Option<Durable>,
    /// To whom it is linked: each ends with the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "text::list")]
    pub links: Vec<Pid>,
}

/// The image of a durable process on its node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    /// How often it is written, in milliseconds.
    pub every_ms: u64,
    /// When it was tried last on this node, in milliseconds before now.
    pub age_ms: Option<u64>,
    /// How long the image is then.
    pub bytes: Option<u64>,
    /// Why it could not be written: should the node crash, it begins anew from an older one.
    pub error: Option<String>,
}

/// A directory of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirUse {
    /// Which.
    #[serde(flatten)]
    pub dir: Dir,
    /// How many descriptors are open in it.
    pub open: u64,
}

/// The address table of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDetail {
    /// Its id.
    #[serde(with = "text")]
    pub group: GroupId,
    /// Its processes.
    pub processes: Vec<ProcessSummary>,
}

/// Which output to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsQuery {
    /// Go on until the process ends.
    #[serde(default)]
    pub follow: bool,
    /// The first offset wanted.
    #[serde(default)]
    pub from: u64,
}

/// Whose letters are to be found how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocateRequest {
    /// A process, or a group.
    pub target: String,
    /// In which way.
    #[serde(with = "text")]
    pub locate: Locate,
    /// How often a mailbox that keeps letters is asked for them, in milliseconds; 20 if nothing is said.
    #[serde(default)]
    pub poll_ms: Option<u32>,
}

/// Who was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocateReply {
    /// Each process whose letters are found in that way now.
    pub changed: Vec<Changed>,
    /// Those that could not be asked, and why.
    pub unchanged: Vec<Unchanged>,
}

/// One whose letters are found in another way now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its id.
    #[serde(with = "text")]
    pub pid: Pid,
}

/// One that goes on as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchanged {
    /// Its id.
    #[serde(with = "text")]
    pub pid: Pid,
    /// Why.
    pub error: Error,
}

/// Whom to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillRequest {
    /// A process, or a group.
    pub target: String,
}

/// A message that is in a process's inbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendReply {
    /// Whose inbox.
    #[serde(with = "text")]
    pub pid: Pid,
    /// How long it is.
    pub bytes: u64,
}

/// Who was ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillReply {
    /// Each process, with where it died.
    pub killed: Vec<Killed>,
    /// The nodes that have not answered yet. They are told as soon as they do, before anything else.
    #[serde(default)]
    pub unanswered: Vec<String>,
}

/// One process that was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// Its id.
    #[serde(with = "text")]
    pub pid: Pid,
    /// Where it died.
    pub node: String,
}

impl ProcessSummary {
    /// Whether it is at this node, and somebody there has seen it lately.
    pub fn is_at(&self, node: &str) -> bool {
        self.node == node && self.state != ProcessState::Unreachable
    }
}

impl Outcome {
    /// The exit code of an attached `run`: the program's own, as a Unix parent would see it. A code
    /// that does not fit a byte keeps its low byte, and is 255 rather than a false success.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Exited { code: 0 } | Self::Filed => 0,
            Self::Exited { code } => match code.to_le_bytes()[0] {
                0 => 255,
                low => low,
            },
            // As if by SIGABRT and SIGKILL: what shells and schedulers know.
            Self::Trapped { .. } => 134,
            Self::Killed | Self::Linked { .. } | Self::Limit { .. } => 137,
            Self::Lost { .. } => 69,
            Self::Fault { .. } => 70,
        }
    }
}

impl PsQuery {
    /// As the part of an address from `?` on; empty if all is as by default.
    pub fn to_query(self) -> String {
        if self.all { "?all=true".to_owned() } else { String::new() }
    }
}

impl LogsQuery {
    /// As the part of an address from `?` on.
    pub fn to_query(self) -> String {
        format!("?follow={}&from={}", self.follow, self.from)
    }
}

/// Builds the part of an address from `?` on.
pub(crate) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = String::new();
    for (key, value) in pairs {
        let Some(value) = value else { continue };
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(key);
        query.push('=');
        routes::escape(value, &mut query);
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_well() {
        let event = ProcessEvent::Output {
            stream: Stream::Stdout,
            offset: 7,
            bytes: Bytes(b"3.14\n".to_vec()),
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, r#"{"event":"output","stream":"stdout","offset":7,"bytes":"3.14\n"}"#);
        assert_eq!(serde_json::from_str::<ProcessEvent>(&json).unwrap(), event);

        let event = ProcessEvent::Started {
            pid: "k3x9.0".parse().unwrap(),
            node: "heron".to_owned(),
            new: false,
            members: 1,
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(
            json,
            r#"{"event":"started","pid":"k3x9.0","node":"heron","new":false,"members":1}"#
        );
        assert_eq!(serde_json::from_str::<ProcessEvent>(&json).unwrap(), event);
    }

    #[test]
    fn no_failure_looks_like_success() {
        let exit = |code| Outcome::Exited { code }.exit();
        assert_eq!([0, 3, 255, 256, 512, 259].map(exit), [0, 3, 255, 255, 255, 3]);
    }

    #[test]
    fn a_short_request_is_enough() {
        let json = format!(
            r#"{{"program":"{}","program_name":"a.wasm","args":["a"]}}"#,
            CodeHash([1; 32])
        );
        let request: RunRequest = serde_json::from_str(&json).unwrap();
        assert!(!request.attached && request.env.is_empty());
    }
}
