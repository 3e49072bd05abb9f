//! The registry is made anew from what the members say, when its home is lost for good.
//!
//! Each member promises a term to one candidate, on its disk, before it says what it has; so two operators cannot make two
//! registries out of the same members.

use std::collections::BTreeSet;
use std::time::Duration;

use api::{Error, ErrorCode, RegistryRebuildReply, RegistryRebuildRequest};
use axum::Json;
use axum::extract::State;
use futures_util::future::join_all;
use hyper::Method;
use serde::{Deserialize, Serialize};
use wire::{Key, Member, NodeId, Testimony};

use super::answer::{Answered, ending, json};
use super::registry::{AT, Handed};
use super::{Node, Shared};
use crate::seat::RegistryAt;
use crate::trust::Authority;

pub(super) const TESTIMONY: &str = "/internal/registry/testimony";

/// Whoever is said to be off must not answer within this.
const OFF_WITHIN: Duration = Duration::from_secs(1);

/// A candidate that hears of later terms tries so often.
const TRIES: u32 = 4;

/// A question for all that a member knows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Candidacy {
    term: u64,
    candidate: NodeId,
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
enum Vote {
    Said(Box<Testimony>),
    /// That term, or a later one, is promised to another.
    Promised(u64),
    /// There is a registry.
    There(RegistryAt),
}

/// A member is asked what it knows.
pub(super) async fn testify(
    State(node): State<Shared>,
    Json(candidacy): Json<Candidacy>,
) -> Answered {
    json(node.vote(candidacy).await?)
}

/// The operator's word.
pub(super) async fn rebuild(
    State(node): State<Shared>,
    Json(request): Json<RegistryRebuildRequest>,
) -> Answered {
    let forgotten = node.off_for_good(&request.forget).await?;
    let authority = node.authority.read().expect("nobody panics in here").clone();
    let authority = authority.unwrap_or_default();
    let authority_key = request.key.unwrap_or_default();
    if !authority_key.is_empty() && !Authority::is_key_of(&authority, &authority_key) {
        let words = "that is not the key of this cluster (`ca.key` of the registry's last home)";
        return Err(Error::new(ErrorCode::InvalidRequest, words).into());
    }
    let (term, said) = node.hear_all(&forgotten).await?;
    let records = protocol::rebuild(&said, &forgotten);
    let places = records.iter().filter(|(key, _)| matches!(key, Key::Place(_))).count() as u64;
    let key = !authority_key.is_empty();
    let handed = Handed { term, records, authority, authority_key };
    let here = node.clone();
    let taken = tokio::task::spawn_blocking(move || {
        let staged = postcard::to_allocvec(&handed).expect("records are plain data");
        here.succession.stage(&staged)?;
        here.succession.take(&here.seat, term, here.me.node, &here.address)
    });
    if !taken.await.map_err(|_| ending())?? {
        let words = format!("term {term} is over: another member has the registry");
        return Err(Error::new(ErrorCode::Refused, words).into());
    }
    tracing::info!(term, "the registry is made anew, here");
    node.tell_where().await;
    let forgotten = forgotten.iter().map(|node_id| node.node_name(*node_id)).collect();
    json(RegistryRebuildReply { home: node.name.clone(), term, processes: places, forgotten, key })
}

impl Node {
    /// Those whom the operator will not see again. None of them may answer, and the registry may not.
    async fn off_for_good(&self, names: &[String]) -> Result<BTreeSet<NodeId>, Error> {
        let home = self.seat.node();
        let refused = |words: String| Error::new(ErrorCode::Refused, words);
        if self.seat.is_here() || !self.registry_is_silent().await {
            let home = self.node_name(home);
            return Err(refused(format!(
                "the registry at {home} answers: nothing is to be made anew"
            )));
        }
        let mut off: Vec<Member> = Vec::new();
        for name in names {
            off.push(self.member_named(name)?);
        }
        let forgotten: BTreeSet<NodeId> = off.iter().map(|member| member.peer.node).collect();
        if forgotten.contains(&self.me.node) {
            return Err(refused(format!("{} is this node, and is not off", self.name)));
        }
        if !forgotten.contains(&home) {
            let home = self.node_name(home);
            return Err(refused(format!("the registry is at {home}, which does not answer"))
                .with_hint(format!("start {home} again; or `--forget {home}`, only if that machine is off for good and its disk is lost")));
        }
        let asked = off.iter().map(|member| {
            let asks =
                self.caller.json::<RegistryAt>(member.peer.node, Method::GET, AT, Vec::new());
            tokio::time::timeout(OFF_WITHIN, asks)
        });
        for (member, answer) in off.iter().zip(join_all(asked).await) {
            if matches!(answer, Ok(Ok(_))) {
                return Err(refused(format!("{} answers: it is not off", member.name)));
            }
        }
        Ok(forgotten)
    }

    /// What all members say that are not forgotten, this one among them, in a term that they promise to this one.
    async fn hear_all(&self, forgotten: &BTreeSet<NodeId>) -> Result<(u64, Vec<Testimony>), Error> {
        let mut others = self.others();
        others.retain(|member| !forgotten.contains(&member.peer.node));
        let mut term = self.seat.at().term + 1;
        for _ in 0..TRIES {
            let candidacy = Candidacy { term, candidate: self.me.node };
            let body = serde_json::to_vec(&candidacy).expect("plain data");
            let asked = others.iter().map(|member| {
                self.caller.json(member.peer.node, Method::POST, TESTIMONY, body.clone())
            });
            let mut votes = vec![self.vote(candidacy).await];
            votes.extend(join_all(asked).await);
            let names = std::iter::once(&self.name).chain(others.iter().map(|other| &other.name));
            let (mut said, mut silent, mut later) = (Vec::new(), Vec::new(), term);
            for (name, vote) in names.zip(votes) {
                match vote {
                    Ok(Vote::Said(testimony)) => said.push(*testimony),
                    Ok(Vote::Promised(promised)) => later = later.max(promised + 1),
                    Ok(Vote::There(at)) => {
                        let home = self.node_name(at.node);
                        self.learn_where(at).await?;
                        let words =
                            format!("the registry is at {home}: this node had not heard it");
                        return Err(Error::new(ErrorCode::Refused, words));
                    }
                    Err(error) => {
                        tracing::warn!(%name, %error, "it does not say what it has");
                        silent.push(name.clone());
                    }
                }
            }
            if !silent.is_empty() {
                let words =
                    format!("{} does not answer; all members are to be heard", silent.join(", "));
                return Err(Error::new(ErrorCode::NodeUnavailable, words).with_hint(
                    "start it; or `--forget` it, only if that machine is off: what it had is lost then",
                ));
            }
            if later == term {
                return Ok((term, said));
            }
            term = later;
        }
        let words = "another member is about to make the registry anew";
        Err(Error::new(ErrorCode::Busy, words))
    }

    async fn vote(&self, Candidacy { term, candidate }: Candidacy) -> Result<Vote, Error> {
        let at = self.seat.at();
        if term <= at.term {
            return Ok(Vote::There(at));
        }
        let seat = self.seat.clone();
        let promised = tokio::task::spawn_blocking(move || seat.promise(term, candidate));
        if let Some(other) = promised.await.map_err(|_| ending())?? {
            return Ok(Vote::Promised(other));
        }
        let said =
            self.events.look(|driver| driver.machine.testimony()).await.ok_or_else(ending)?;
        let nothing = || {
            let words = "it has not heard of the members since it started";
            Error::new(ErrorCode::RegistryUnavailable, words)
        };
        said.map(|said| Vote::Said(Box::new(said))).ok_or_else(nothing)
    }
}
