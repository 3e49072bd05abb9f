//! What the command asks of a node, what it answers, and what it tells as it goes.
//!
//! The control plane is HTTP/1.1 with JSON on a Unix socket in the node's data directory. Every
//! request is a [`Route`] and, mostly, one type from here as its body. Three things cross it:
//!
//! - **A reply**: one JSON value, status 200.
//! - **A stream**: status 200 and newline-delimited JSON, one event a line, until the story ends.
//!   What goes wrong after the first line is the stream's last line ([`Error`] in a `failed` event).
//! - **Bytes**: a program or an image goes up or down as `application/octet-stream`, in chunks as they
//!   are made. A body that breaks off is no image: nothing is committed before its end was seen.
//!
//! An error before the first byte is an [`Error`] as JSON, with the status of its code.
//!
//! A process is named in a path by a *reference*: its id, the beginning of one, or its name
//! ([`resolve`]). Nodes are named by their names. Ids and hashes are written in JSON as people type
//! them; times are in the unit that ends the field's name.
//!
//! **Invariant:** this crate holds types and pure functions. It opens nothing and waits for nothing;
//! what crosses between nodes (`wire`, in postcard) never takes this form, and this never crosses
//! between nodes.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod balance;
mod bytes;
mod cluster;
mod error;
mod events;
mod image;
mod locate;
mod movement;
pub mod paths;
mod process;
mod reference;
mod routes;
mod text;

pub use balance::{MoveReason, NodeLoad, PlannedMove, RebalanceEvent, RebalanceRequest};
pub use bytes::Bytes;
pub use cluster::{
    Doing, ForgetReply, NodeState, NodeSummary, NodesReply, RegistryMoveReply, RegistryMoveRequest,
    RegistryRebuildReply, RegistryRebuildRequest, RegistryStatus, StatusReply, StopRequest,
    TokenReply, TokenRequest, VersionReply,
};
pub use error::{Error, ErrorCode};
pub use events::{
    Cause, Event, EventKind, EventsLine, EventsQuery, Side, TraceReply, TraceRequest,
};
pub use image::{FreezeRequest, FrozenReply, ImageReport, ImageSection, StackFrame, ThawQuery};
pub use locate::{Adapting, InTransit, Locate, NoSuchWay, Weighed};
pub use movement::{DrainEvent, DrainItem, DrainRequest, MoveEvent, MoveReport, MoveRequest};
pub use process::{
    Changed, Dir, DirUse, Durable, GroupDetail, Inspection, KillReply, KillRequest, Killed,
    LocateReply, LocateRequest, LogsQuery, MemberRequest, Outcome, Placement, ProcessDetail,
    ProcessEvent, ProcessState, ProcessSummary, ProcessesReply, ProgramEvent, Progress, PsQuery,
    RunRequest, SendReply, Step, Stream, Unchanged,
};
pub use reference::{Candidate, Reference, resolve};
pub use routes::{Method, Route, route};
pub use wire::{CodeHash, GroupId, Pid};

/// The media type of a stream: one JSON value a line.
pub const NDJSON: &str = "application/x-ndjson";
/// The media type of programs and images.
pub const OCTETS: &str = "application/octet-stream";
