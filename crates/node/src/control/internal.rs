//! What only members ask of each other: code, the registry, input for a process, certificates.

use api::{Error, ErrorCode};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use wire::{CodeHash, Peer, Pid};

use super::answer::{Answered, ending, invalid, json};
use super::{Node, Shared, balance, drain, logs, registry as handing, together};
use crate::join::{CertifyRequest, JoinRequest};

/// A piece of input for a process that may be here.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct InputQuery {
    /// Its place in all the input.
    pub(crate) offset: u64,
    /// The input ends after it.
    pub(crate) end: bool,
}

/// How much of it was taken.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct InputTaken {
    /// The offset of the next byte that is wanted; none if the process is not here.
    pub(crate) next: Option<u64>,
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/internal/code/{hash}", get(code))
        .route("/internal/code/{hash}/progress", get(code_progress))
        .route("/internal/home/{pid}", get(home_of_output))
        .route("/internal/registry", post(registry))
        .route("/internal/stdin/{pid}", post(stdin))
        .route("/internal/join", post(join))
        .route(together::PATH, post(together::gather))
        .merge(balance::router())
        .merge(handing::router())
        .merge(logs::router())
        .merge(drain::router())
        .route("/internal/certify", post(certify))
}

async fn code(
    State(node): State<Shared>,
    Extension(peer): Extension<Peer>,
    Path(hash): Path<String>,
) -> Answered {
    let hash: CodeHash = hash.parse().map_err(invalid)?;
    let missing = || Error::new(ErrorCode::UnknownProgram, format!("{hash} is not here"));
    let code = node.code_here(hash).await?.ok_or_else(missing)?;
    let bundle = code.bundle();
    node.caller.count_sent(peer.node, hash, bundle.len() as u64);
    Ok(Body::from(Bytes::from_owner(bundle)).into_response())
}

/// How far code is that is being got ready here; null if it is not, or no longer.
async fn code_progress(State(node): State<Shared>, Path(hash): Path<String>) -> Answered {
    let hash: CodeHash = hash.parse().map_err(invalid)?;
    json(node.codes.progress(hash))
}

async fn home_of_output(State(node): State<Shared>, Path(pid): Path<String>) -> Answered {
    let pid: Pid = pid.parse().map_err(invalid)?;
    let home = node
        .events
        .look(move |driver| driver.machine.processes().find(|status| status.pid == pid)?.home);
    let home = home.await.flatten();
    let home = home.or_else(|| node.logbook.has(pid).then_some(node.me.node));
    let home = home.or_else(|| node.logbook.handed_to(pid));
    json(home.map(|node| node.0))
}

async fn registry(
    State(node): State<Shared>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Answered {
    let request: wire::Request = wire::decode(&body).map_err(invalid)?;
    let elsewhere = || Error::new(ErrorCode::RegistryUnavailable, "the registry is not here");
    let home = node.seat.home().ok_or_else(elsewhere)?;
    let reply = home.asked(peer, request).await.ok_or_else(ending)?;
    Ok(wire::encode(&reply).into_response())
}

async fn stdin(
    State(node): State<Shared>,
    Path(pid): Path<String>,
    Query(query): Query<InputQuery>,
    body: Bytes,
) -> Answered {
    let pid: Pid = pid.parse().map_err(invalid)?;
    json(node.feed_here(pid, query, body).await?)
}

async fn join(State(node): State<Shared>, Json(request): Json<JoinRequest>) -> Answered {
    json(node.let_join(request).await?)
}

async fn certify(
    State(node): State<Shared>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<CertifyRequest>,
) -> Answered {
    let elsewhere = || Error::new(ErrorCode::RegistryUnavailable, "the registry is not here");
    let certifier = node.seat.certifier().ok_or_else(elsewhere)?;
    json(certifier.certify(peer.node, &request)?)
}

impl Node {
    pub(crate) async fn feed_here(
        &self,
        pid: Pid,
        query: InputQuery,
        bytes: Bytes,
    ) -> Result<InputTaken, Error> {
        let fed = self.events.look(move |driver| {
            let guest = driver.guests.get(pid)?;
            let next = guest.process.stdin(query.offset, &bytes);
            if query.end && next == query.offset + bytes.len() as u64 {
                guest.process.stdin_end();
            }
            Some(next)
        });
        Ok(InputTaken { next: fed.await.ok_or_else(ending)? })
    }
}
