//! The requests: method and path, once, for the side that serves them and the side that asks.

use std::fmt::Write as _;

/// How a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Changes nothing.
    Get,
    /// Does something.
    Post,
    /// Takes something back.
    Delete,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// How it is made.
    pub method: Method,
    /// Its path; a `{name}` stands for one segment.
    pub path: &'static str,
}

impl Method {
    /// As HTTP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

impl Route {
    const fn get(path: &'static str) -> Self {
        Self { method: Method::Get, path }
    }

    const fn post(path: &'static str) -> Self {
        Self { method: Method::Post, path }
    }

    const fn delete(path: &'static str) -> Self {
        Self { method: Method::Delete, path }
    }

    /// The path with its segments filled in, in order, and escaped.
    ///
    /// # Panics
    ///
    /// If there are more or fewer values than segments: a mistake of the caller's source.
    pub fn fill(self, values: &[&str]) -> String {
        let mut values = values.iter();
        let mut path = String::new();
        for segment in self.path.split('/').skip(1) {
            path.push('/');
            if segment.starts_with('{') {
                escape(values.next().expect("a value for each segment"), &mut path);
            } else {
                path.push_str(segment);
            }
        }
        assert!(values.next().is_none(), "a segment for each value");
        path
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub(crate) fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(byte.into());
        } else {
            write!(into, "%{byte:02X}").expect("a string takes all");
        }
    }
}

/// All routes. `{process}` is a reference ([`crate::resolve`]), `{node}` a node's name.
pub mod route {
    use super::Route;

    /// The program's bytes; a stream of [`crate::ProgramEvent`]. The node refuses what it cannot run.
    pub const UPLOAD: Route = Route::post("/v1/programs");
    /// [`crate::RunRequest`]; a stream of [`crate::ProcessEvent`]: `started`, then, if attached, output
    /// to the end. When an attached stream is dropped, the process goes on.
    pub const RUN: Route = Route::post("/v1/processes");
    /// [`crate::PsQuery`]; [`crate::ProcessesReply`].
    pub const PS: Route = Route::get("/v1/processes");
    /// [`crate::Inspection`]: of a process, or of a group if the reference is one's id.
    pub const INSPECT: Route = Route::get("/v1/processes/{process}");
    /// [`crate::LogsQuery`]; a stream of [`crate::ProcessEvent`] from that offset on.
    pub const LOGS: Route = Route::get("/v1/processes/{process}/logs");
    /// Bytes for the standard input, as they come; the body's end is the input's end. A body that
    /// breaks off leaves the input open.
    pub const STDIN: Route = Route::post("/v1/processes/{process}/stdin");
    /// A message's bytes; [`crate::SendReply`], when it is in the process's inbox.
    pub const SEND: Route = Route::post("/v1/processes/{process}/messages");
    /// [`crate::MoveRequest`]; a stream of [`crate::MoveEvent`].
    pub const MOVE: Route = Route::post("/v1/processes/{process}/move");
    /// [`crate::FreezeRequest`]; the image's bytes. Without `copy` the process stays frozen after the
    /// last byte until [`FREEZE_COMMIT`] or [`FREEZE_ABANDON`]. When the stream is dropped before its
    /// end, the process runs on.
    pub const FREEZE: Route = Route::post("/v1/processes/{process}/freeze");
    /// The image is on disk: the process now is in the file. Empty body; [`crate::FrozenReply`].
    pub const FREEZE_COMMIT: Route = Route::post("/v1/processes/{process}/freeze/commit");
    /// The image is not kept: the process runs on. Empty body and reply.
    pub const FREEZE_ABANDON: Route = Route::delete("/v1/processes/{process}/freeze");
    /// The image's bytes, [`crate::ThawQuery`]; a stream of [`crate::ProcessEvent`] as of [`RUN`].
    pub const THAW: Route = Route::post("/v1/thaw");
    /// [`crate::LocateRequest`]; [`crate::LocateReply`].
    pub const LOCATE: Route = Route::post("/v1/locate");
    /// [`crate::KillRequest`]; [`crate::KillReply`].
    pub const KILL: Route = Route::post("/v1/kill");
    /// [`crate::DrainRequest`]; a stream of [`crate::DrainEvent`].
    pub const DRAIN: Route = Route::post("/v1/drain");
    /// [`crate::RebalanceRequest`]; a stream of [`crate::RebalanceEvent`].
    pub const REBALANCE: Route = Route::post("/v1/rebalance");
    /// [`crate::NodesReply`].
    pub const NODES: Route = Route::get("/v1/nodes");
    /// Declares a node gone, on the operator's word. Empty body; [`crate::ForgetReply`].
    pub const FORGET: Route = Route::post("/v1/nodes/{node}/forget");
    /// [`crate::TokenRequest`]; [`crate::TokenReply`].
    pub const TOKEN: Route = Route::post("/v1/tokens");
    /// [`crate::RegistryMoveRequest`]; [`crate::RegistryMoveReply`].
    pub const REGISTRY_MOVE: Route = Route::post("/v1/registry/move");
    /// [`crate::RegistryRebuildRequest`]; [`crate::RegistryRebuildReply`].
    pub const REGISTRY_REBUILD: Route = Route::post("/v1/registry/rebuild");
    /// [`crate::StatusReply`].
    pub const STATUS: Route = Route::get("/v1/status");
    /// [`crate::StopRequest`]; an empty reply, then the daemon ends, processes and all.
    pub const STOP: Route = Route::post("/v1/stop");
    /// [`crate::VersionReply`].
    pub const VERSION: Route = Route::get("/v1/version");

    /// [`crate::EventsQuery`]; a stream of [`crate::EventsLine`].
    pub const EVENTS: Route = Route::get("/v1/events");
    /// [`crate::TraceRequest`]; [`crate::TraceReply`].
    pub const TRACE: Route = Route::post("/v1/trace");

    /// Every route, for the test that all are served.
    pub const ALL: [Route; 26] = [
        UPLOAD,
        RUN,
        PS,
        INSPECT,
        LOGS,
        STDIN,
        SEND,
        MOVE,
        FREEZE,
        FREEZE_COMMIT,
        FREEZE_ABANDON,
        THAW,
        LOCATE,
        KILL,
        DRAIN,
        REBALANCE,
        REGISTRY_MOVE,
        REGISTRY_REBUILD,
        NODES,
        FORGET,
        TOKEN,
        STATUS,
        STOP,
        VERSION,
        EVENTS,
        TRACE,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_filled_and_escaped() {
        assert_eq!(route::MOVE.fill(&["k3x9.0"]), "/v1/processes/k3x9.0/move");
        assert_eq!(route::FORGET.fill(&["a b/ß"]), "/v1/nodes/a%20b%2F%C3%9F/forget");
        assert_eq!(route::PS.fill(&[]), "/v1/processes");
    }

    #[test]
    fn no_two_routes_are_one() {
        for (at, route) in route::ALL.iter().enumerate() {
            assert!(!route::ALL[..at].contains(route), "{route:?}");
        }
    }
}
