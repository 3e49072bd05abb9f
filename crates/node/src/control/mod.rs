//! The control API: HTTP/1.1 and JSON, on the node's own socket for its operator, and on TLS for
//! other members that pass a request on.
//!
//! A request about a process or a node is answered where that is: whoever was asked first finds it
//! and passes the request and its answer through. What came from a member is never passed on again.

mod answer;
mod balance;
mod caller;
mod cluster;
mod drain;
mod events;
mod find;
mod image;
mod internal;
mod list;
mod locate;
mod logs;
mod moving;
mod rebuild;
mod registry;
mod run;
mod send;
mod stdin;
mod together;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use api::route;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodFilter, MethodRouter, on};
use engine::Engine;
use tokio::net::UnixListener;
use tokio::sync::watch;
use wire::{ClusterId, Peer, Pid};

pub(crate) use answer::{Answered, json, of_registry};
pub(crate) use caller::Caller;
pub(crate) use registry::Handed;

use crate::balancing::Balancing;
use crate::chronicle::Chronicle;
use crate::codes::Codes;
use crate::driver::Events;
use crate::links::hello::Roster;
use crate::logbook::Logbook;
use crate::seat::Seat;
use crate::succession::Succession;

/// What every request may need.
pub(crate) struct Node {
    pub(crate) me: Peer,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) data: PathBuf,
    pub(crate) cluster: ClusterId,
    pub(crate) started: Instant,
    pub(crate) events: Events,
    pub(crate) engine: Engine,
    pub(crate) caller: Caller,
    pub(crate) codes: Codes,
    pub(crate) roster: Roster,
    pub(crate) logbook: Logbook,
    pub(crate) chronicle: Chronicle,
    pub(crate) seat: Seat,
    pub(crate) succession: Succession,
    pub(crate) balancing: Balancing,
    /// The cluster's certificate, if it has one.
    pub(crate) authority: RwLock<Option<Vec<u8>>>,
    /// Processes on their way into files, which wait to hear that the file is durable.
    pub(crate) filing: Mutex<HashMap<Pid, image::Filing>>,
    /// Held by whoever empties this node.
    pub(crate) emptying: tokio::sync::Mutex<()>,
    /// Set when the node is to end.
    pub(crate) stop: watch::Sender<bool>,
}

pub(crate) type Shared = Arc<Node>;

/// Everything that the operator may ask.
pub(crate) fn operators(node: Shared) -> Router {
    let routes: [(api::Route, MethodRouter<Shared>); 26] = [
        (route::UPLOAD, method(route::UPLOAD, run::upload)),
        (route::RUN, method(route::RUN, run::run)),
        (route::PS, method(route::PS, list::ps)),
        (route::INSPECT, method(route::INSPECT, list::inspect)),
        (route::LOGS, method(route::LOGS, run::logs)),
        (route::STDIN, method(route::STDIN, stdin::stdin)),
        (route::MOVE, method(route::MOVE, moving::move_process)),
        (route::FREEZE, method(route::FREEZE, image::freeze)),
        (route::FREEZE_COMMIT, method(route::FREEZE_COMMIT, image::commit)),
        (route::FREEZE_ABANDON, method(route::FREEZE_ABANDON, image::abandon)),
        (route::THAW, method(route::THAW, image::thaw)),
        (route::LOCATE, method(route::LOCATE, locate::change)),
        (route::SEND, method(route::SEND, send::send)),
        (route::KILL, method(route::KILL, moving::kill)),
        (route::DRAIN, method(route::DRAIN, drain::drain)),
        (route::REBALANCE, method(route::REBALANCE, balance::rebalance)),
        (route::REGISTRY_MOVE, method(route::REGISTRY_MOVE, registry::move_registry)),
        (route::REGISTRY_REBUILD, method(route::REGISTRY_REBUILD, rebuild::rebuild)),
        (route::NODES, method(route::NODES, cluster::nodes)),
        (route::FORGET, method(route::FORGET, cluster::forget)),
        (route::TOKEN, method(route::TOKEN, cluster::token)),
        (route::STATUS, method(route::STATUS, cluster::status)),
        (route::STOP, method(route::STOP, cluster::stop)),
        (route::VERSION, method(route::VERSION, cluster::version)),
        (route::EVENTS, method(route::EVENTS, events::stream)),
        (route::TRACE, method(route::TRACE, events::trace)),
    ];
    let router = routes
        .into_iter()
        .fold(Router::new(), |router, (route, handler)| router.route(route.path, handler));
    router.layer(DefaultBodyLimit::disable()).with_state(node)
}

/// What members may ask: the same, and what only they have to ask.
pub(crate) fn members(node: Shared) -> Router {
    operators(node.clone()).merge(internal::router().with_state(node))
}

fn method<H, T>(route: api::Route, handler: H) -> MethodRouter<Shared>
where
    H: axum::handler::Handler<T, Shared>,
    T: 'static,
{
    let filter = match route.method {
        api::Method::Get => MethodFilter::GET,
        api::Method::Post => MethodFilter::POST,
        api::Method::Delete => MethodFilter::DELETE,
    };
    on(filter, handler)
}

/// Serves the operator on the node's socket until the task is ended.
pub(crate) async fn serve(listener: UnixListener, router: Router) {
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the control socket failed");
    }
}
