//! The members of a cluster, how they join, and how one of them is.

use serde::{Deserialize, Serialize};

/// The members, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesReply {
    /// Each of them.
    pub nodes: Vec<NodeSummary>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    /// Its name, unique among members.
    pub name: String,
    /// Its number, never used again.
    pub number: u32,
    /// How often it started.
    pub incarnation: u64,
    /// Where it listens for other nodes, `HOST:PORT`.
    pub address: String,
    /// How it is.
    pub state: NodeState,
    /// How many processes it has.
    pub processes: u64,
    /// The memory of its processes, in bytes.
    pub memory_bytes: u64,
    /// It holds the registry.
    #[serde(default)]
    pub registry: bool,
    /// It is the node that was asked.
    #[serde(default)]
    pub asked: bool,
    /// Its release.
    #[serde(default)]
    pub version: String,
    /// Its labels, `K=V` each.
    #[serde(default)]
    pub labels: Vec<String>,
}

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It answers.
    Up,
    /// It takes nothing new; its processes leave.
    Draining,
    /// Its lease is missed: unreachable or dead, nobody knows.
    Silent,
    /// It is declared gone.
    Gone,
}

/// To whom the registry is to be handed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryMoveRequest {
    /// The member's name.
    pub to: String,
}

/// It was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryMoveReply {
    /// The member that had it.
    pub from: String,
    /// The member that has it.
    pub to: String,
    /// How often it has been handed on.
    pub term: u64,
}

/// The registry is to be made anew, at the node that is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRebuildRequest {
    /// The members that will not come back, the registry's home among them.
    pub forget: Vec<String>,
    /// The key that lets nodes in, from a copy of the last home's `ca.key`.
    #[serde(default)]
    pub key: Option<Vec<u8>>,
}

/// It was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRebuildReply {
    /// The member that has it.
    pub home: String,
    /// Its term.
    pub term: u64,
    /// How many processes it knows of.
    pub processes: u64,
    /// Whom it has forgotten.
    pub forgotten: Vec<String>,
    /// Whether it can let nodes in.
    pub key: bool,
}

/// A node was declared gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetReply {
    /// Its name.
    pub node: String,
    /// How many processes were lost with it.
    pub lost: u64,
}

/// What token to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRequest {
    /// How long it is to be good for, in milliseconds; no more than [`Self::VALID_MS_MAX`].
    #[serde(default = "TokenRequest::valid_ms_max")]
    pub valid_ms: u64,
}

/// A token for one join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReply {
    /// What to give to `--token`. Carries the hash of the cluster's certificate authority.
    pub token: String,
    /// What to give to `--join`.
    pub address: String,
    /// How long it is good for, in milliseconds.
    pub valid_ms: u64,
}

impl TokenRequest {
    /// An hour: what nobody has typed by then was written down somewhere.
    pub const VALID_MS_MAX: u64 = 3_600_000;

    fn valid_ms_max() -> u64 {
        Self::VALID_MS_MAX
    }
}

impl Default for TokenRequest {
    fn default() -> Self {
        Self { valid_ms: Self::VALID_MS_MAX }
    }
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// The node itself.
    pub node: NodeSummary,
    /// The cluster's id.
    pub cluster: String,
    /// Where it keeps what it keeps.
    pub data: String,
    /// The operating system's id of the daemon.
    pub os_pid: u32,
    /// Since its start, in milliseconds.
    pub up_ms: u64,
    /// How many members there are, itself included.
    pub members: u64,
    /// The registry.
    pub registry: RegistryStatus,
    /// What its processes are doing.
    #[serde(default)]
    pub doing: Doing,
}

/// How many processes of a node are doing what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doing {
    /// They compute, or are ready to.
    pub running: u64,
    /// They wait.
    pub waiting: u64,
    /// They wait, and were put to sleep meanwhile.
    pub sleeping: u64,
    /// They are moving, or frozen.
    pub moving: u64,
}

/// How the registry is, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryStatus {
    /// The member that holds it.
    pub home: String,
    /// It answers.
    pub answers: bool,
}

/// How to end a daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// Even if processes run there, which end with it. Without, a daemon that has any refuses.
    #[serde(default)]
    pub force: bool,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionReply {
    /// Its release.
    pub version: String,
    /// Its target, as in `x86_64-linux`.
    pub target: String,
}
