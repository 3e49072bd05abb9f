//! Evening out the load over the members.

use serde::{Deserialize, Serialize};

use crate::{Error, MoveReport, Pid};

/// Whether to do it, or to show what would be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebalanceRequest {
    /// Only shows it.
    #[serde(default)]
    pub plan: bool,
}

/// What happens while the load is evened out: the plan first, the end last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RebalanceEvent {
    /// How full the members are and what is to be done about it.
    Plan {
        /// Each member that answered.
        nodes: Vec<NodeLoad>,
        /// The moves, in order. None: the load is even enough.
        moves: Vec<PlannedMove>,
        /// Members that did not answer. They take no part.
        unanswered: Vec<String>,
    },
    /// A process is where it should be.
    Moved(MoveReport),
    /// A process could not be moved, and runs on where it was.
    Stayed {
        /// Which.
        #[serde(with = "crate::text")]
        pid: Pid,
        /// Why.
        error: Error,
    },
    /// The end.
    Balanced {
        /// How many were moved.
        moved: u64,
        /// How many could not be.
        stayed: u64,
    },
    /// It ended early.
    Failed {
        /// Why.
        error: Error,
    },
}

/// How full a member is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Its name.
    pub node: String,
    /// Its labels, `K=V` each.
    pub labels: Vec<String>,
    /// It is being emptied, and takes no part.
    pub draining: bool,
    /// What its processes would use of processors if none had to wait for another, in thousandths of one.
    pub cpu_milli: u64,
    /// How many thousandths of processors it has.
    pub cpu_milli_max: u64,
    /// The memory of its processes, in bytes.
    pub memory_bytes: u64,
    /// The memory that it has, in bytes; 0 if that is unknown.
    pub memory_bytes_max: u64,
    /// How full it is, by processors or by memory, whichever is fuller: in millionths.
    pub share_ppm: u64,
    /// [`Self::cpu_milli`] after the moves.
    pub cpu_milli_after: u64,
    /// [`Self::memory_bytes`] after the moves.
    pub memory_bytes_after: u64,
    /// [`Self::share_ppm`] after the moves.
    pub share_ppm_after: u64,
}

/// A move that would even out the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMove {
    /// Who.
    #[serde(with = "crate::text")]
    pub pid: Pid,
    /// Its program.
    pub program: String,
    /// Where it is.
    pub from: String,
    /// Where it is to go.
    pub to: String,
    /// What it would use of processors if none had to wait for another, in thousandths of one.
    pub cpu_milli: u64,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
    /// Why.
    pub reason: MoveReason,
}

/// Why a process would be better off elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveReason {
    /// The other node is emptier.
    Load,
    /// The other node is so much emptier that it goes although it talks to others where it is.
    LoadInSpiteOfTalk,
    /// Those that it talks to are there.
    Talk,
}

impl MoveReason {
    /// In a few words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Load => "emptier",
            Self::LoadInSpiteOfTalk => "much emptier",
            Self::Talk => "those it talks to are there",
        }
    }
}
