//! The registry is handed on from one member to another.
//!
//! ```text
//!  home, term t                                   successor
//!   answers nobody any more
//!   ── all records, the cluster's key ──────────▶ writes them down, apart
//!   ◀──────────────────────────────────── done ──
//!   writes down: it is there, term t + 1           (from here on it is nobody else's)
//!   ── take it up, t + 1 ───────────────────────▶ puts them in place, writes down: it is here, t + 1
//!   ◀──────────────────────────────────── done ── tells all members
//!   removes its own
//! ```
//!
//! Whichever crashes finds on its disk how far it was: a home that had not written it down is the home still, one that had
//! says "take it up" until that is answered. Questions meanwhile are repeated by whoever asks them, as after a crash. Members that
//! did not hear of it ask each other when the registry is silent.

use std::sync::Arc;
use std::time::Duration;

use api::{Error, ErrorCode, RegistryMoveReply, RegistryMoveRequest};
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::future::join_all;
use hyper::Method;
use serde::{Deserialize, Serialize};
use wire::{Key, Member, NodeId, Record};

use super::answer::{Answered, ending, json};
use super::find::Asker;
use super::rebuild::{TESTIMONY, testify};
use super::{Node, Shared};
use crate::seat::RegistryAt;

const STAGE: &str = "/internal/registry/stage";
const TAKE: &str = "/internal/registry/take";
pub(super) const AT: &str = "/internal/registry/at";

/// How often a successor that does not answer is told again, and a silent registry is looked for.
const AGAIN: Duration = Duration::from_secs(1);

/// A successor has so long to take the registry up while the operator waits.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// A registry that has not been heard of for so long may have been handed on.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// A home that starts asks so often whether it is the home still: it may have been off for long.
const LOOKS_AT_START: u32 = 5;

/// All that a registry is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handed {
    pub(crate) term: u64,
    pub(crate) records: Vec<(Key, Record)>,
    pub(crate) authority: Vec<u8>,
    pub(crate) authority_key: Vec<u8>,
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route(STAGE, post(stage))
        .route(TAKE, post(take))
        .route(AT, get(at).post(learn))
        .route(TESTIMONY, post(testify))
}

/// An operator hands the registry on.
pub(super) async fn move_registry(
    State(node): State<Shared>,
    asker: Asker,
    Json(request): Json<RegistryMoveRequest>,
) -> Answered {
    let home = node.seat.node();
    // A member that passes it on may not have heard that the registry was handed on from here.
    let asks_here = matches!(asker, Asker::Member(peer) if peer.node == home);
    if !node.seat.is_here() && !asks_here {
        let body = serde_json::to_vec(&request).expect("a request is plain data");
        let path = api::route::REGISTRY_MOVE.fill(&[]);
        return node.pass_on(home, Method::POST, &path, axum::body::Body::from(body)).await;
    }
    let target = node.target_named(&request.to).await?;
    let from = node.node_name(home);
    if target.peer.node != home {
        node.hand_on(&target).await?;
    }
    json(RegistryMoveReply { from, to: target.name, term: node.seat.at().term })
}

async fn stage(State(node): State<Shared>, body: Bytes) -> Answered {
    let handed: Handed = postcard::from_bytes(&body).map_err(super::answer::invalid)?;
    if handed.term <= node.seat.at().term {
        let known = node.seat.at().term;
        let words = format!("term {} is over: this node knows of term {known}", handed.term);
        return Err(Error::new(ErrorCode::Refused, words).into());
    }
    // Whoever hands it on answers nobody until this is on the disk.
    let succession = node.succession.clone();
    let staged = tokio::task::spawn_blocking(move || succession.stage(&body));
    staged.await.map_err(|_| ending())?.map_err(Error::from)?;
    json(())
}

async fn take(State(node): State<Shared>, Json(term): Json<u64>) -> Answered {
    let here = node.clone();
    let taken = tokio::task::spawn_blocking(move || {
        here.succession.take(&here.seat, term, here.me.node, &here.address)
    });
    if taken.await.map_err(|_| ending())?? {
        tracing::info!(term, "the registry is here now");
        tokio::spawn(async move { node.tell_where().await });
    }
    json(())
}

async fn at(State(node): State<Shared>) -> Answered {
    json(node.seat.at())
}

async fn learn(State(node): State<Shared>, Json(at): Json<RegistryAt>) -> Answered {
    node.learn_where(at).await?;
    json(())
}

impl Node {
    /// Gives the registry to another member.
    ///
    /// # Errors
    /// If that does not take it: then it is here, as before. If it does not answer once it has all: then it is there, and is told
    /// so until it answers.
    pub(crate) async fn hand_on(self: &Arc<Self>, to: &Member) -> Result<(), Error> {
        let elsewhere = || Error::new(ErrorCode::RegistryUnavailable, "the registry is not here");
        let home = self.seat.home().ok_or_else(elsewhere)?;
        let term = self.seat.at().term + 1;
        // Nobody is answered any more.
        let records = home.rest().await.ok_or_else(ending)?;
        let handed = self.succession.handed(term, records).map_err(Error::from);
        let staged = match handed {
            Ok(handed) => {
                let body = postcard::to_allocvec(&handed).expect("records are plain data");
                self.caller.json::<()>(to.peer.node, Method::POST, STAGE, body).await
            }
            Err(error) => Err(error),
        };
        let at = RegistryAt { term, node: to.peer.node, address: to.address.clone() };
        let written = match staged {
            Ok(()) => {
                let (seat, at) = (self.seat.clone(), at.clone());
                let written = tokio::task::spawn_blocking(move || seat.learn(&at));
                written.await.map_err(|_| ending())?.map_err(Error::from).map(drop)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            home.resume();
            let message = format!("{} does not take the registry: {}", to.name, error.message);
            return Err(Error { message, ..error });
        }
        tracing::info!(term, to = %to.name, "the registry is handed on");
        let node = self.clone();
        let taken = tokio::spawn(async move { node.see_it_taken().await });
        let late = |_| {
            let words = format!(
                "{} has the registry and has not taken it up yet: it is told until it does",
                to.name
            );
            Error::new(ErrorCode::NodeUnavailable, words)
        };
        tokio::time::timeout(TAKEN_WITHIN, taken).await.map_err(late)?.map_err(|_| ending())
    }

    /// Tells the successor to take the registry up until it has; then nothing of it is left here.
    pub(crate) async fn see_it_taken(self: Arc<Self>) {
        loop {
            let RegistryAt { term, node, .. } = self.seat.at();
            if self.seat.is_here() {
                return;
            }
            let body = serde_json::to_vec(&term).expect("a number");
            match self.caller.json::<()>(node, Method::POST, TAKE, body).await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "the registry is not taken up yet"),
            }
            tokio::time::sleep(AGAIN).await;
        }
        let removed = tokio::task::spawn_blocking(move || self.succession.clear(&self.seat)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, "what was the registry here is not removed");
        }
    }

    /// Tells all members where the registry is: those that do not hear it will ask.
    pub(super) async fn tell_where(&self) {
        let body = serde_json::to_vec(&self.seat.at()).expect("plain data");
        let others = self.others();
        let told = others
            .iter()
            .map(|member| self.caller.json::<()>(member.peer.node, Method::POST, AT, body.clone()));
        for (member, told) in others.iter().zip(join_all(told).await) {
            if let Err(error) = told {
                tracing::info!(member = %member.name, %error, "it has not heard where the registry is");
            }
        }
    }

    pub(super) async fn learn_where(&self, at: RegistryAt) -> Result<(), Error> {
        let seat = self.seat.clone();
        let learned = tokio::task::spawn_blocking(move || {
            let learned = seat.learn(&at)?;
            Ok::<_, crate::disk::DiskError>(learned.then_some(at))
        });
        if let Some(at) = learned.await.map_err(|_| ending())?? {
            tracing::info!(term = at.term, node = %at.node, "the registry is there now");
        }
        Ok(())
    }

    /// Looks for the registry for as long as the node lives, while it is silent; and keeps on the disk whom to ask.
    pub(crate) async fn keep_seated(self: Arc<Self>, peers: Vec<(NodeId, String)>) {
        let (mut kept, mut looks) = (peers, 0);
        let mut rounds = tokio::time::interval(AGAIN);
        loop {
            let looks_again = tokio::select! {
                _ = rounds.tick() => true,
                () = self.roster.changed() => false,
            };
            let others = self.others().into_iter();
            let now: Vec<_> = others.map(|member| (member.peer.node, member.address)).collect();
            if now != kept && self.roster_is_news().await {
                let (seat, peers) = (self.seat.clone(), now.clone());
                let saved = tokio::task::spawn_blocking(move || {
                    seat.change(|membership| membership.peers = peers)
                });
                if let Ok(Err(error)) = saved.await {
                    tracing::warn!(%error, "who the members are is not written down");
                }
                kept = now;
            }
            looks += u32::from(looks_again);
            if looks_again && (looks <= LOOKS_AT_START || self.registry_is_silent().await) {
                self.ask_where().await;
            }
        }
    }

    /// Whether what is known of the members is from the registry, and not from this node's disk.
    async fn roster_is_news(&self) -> bool {
        let heard = self.events.look(|driver| driver.machine.registry_heard(driver.clock.now()));
        heard.await.flatten().is_some()
    }

    pub(super) async fn registry_is_silent(&self) -> bool {
        let heard = self.events.look(|driver| driver.machine.registry_heard(driver.clock.now()));
        let silent = protocol::Span::millis(SILENT_AFTER.as_millis() as u64);
        heard.await.flatten().is_none_or(|since| silent < since)
    }

    pub(super) async fn ask_where(&self) {
        let others = self.others();
        let asked = others.iter().map(|member| {
            let asks = self.caller.json::<RegistryAt>(member.peer.node, Method::GET, AT, vec![]);
            tokio::time::timeout(AGAIN, asks)
        });
        let answers = join_all(asked).await.into_iter().filter_map(|answer| answer.ok()?.ok());
        if let Some(latest) = answers.max_by_key(|at| at.term)
            && let Err(error) = self.learn_where(latest).await
        {
            tracing::warn!(%error, "where the registry is, is not written down");
        }
    }
}
