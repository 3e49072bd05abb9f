//! Which process is meant, where it is, and the passing on of requests to there.

use std::time::Duration;

use api::{Candidate, Error, ErrorCode, ProcessSummary, Reference};
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::IntoResponse as _;
use hyper::Method;
use protocol::Wish;
use wire::{Member, MemberStanding, NodeId, Peer, Pid};

use super::Node;
use super::answer::{Answered, ending};
use crate::driver::Cargo;

/// How long the registry's newest word is waited for before the members that are known are all there are.
const NEWS_PATIENCE: Duration = Duration::from_secs(2);

/// Who asks: the operator of this node, or a member that passes a request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Operator,
    Member(Peer),
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Peer>().map_or(Self::Operator, |peer| Self::Member(*peer)))
    }
}

/// A process that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) reference: Reference,
    /// Every process that the reference means.
    pub(crate) processes: Vec<ProcessSummary>,
}

impl Found {
    /// The one process that is meant.
    pub(crate) fn one(self) -> Result<ProcessSummary, Error> {
        let candidates: Vec<Candidate<'_>> = self
            .processes
            .iter()
            .map(|process| Candidate { pid: process.pid, name: process.name.as_deref() })
            .collect();
        let pid = self.reference.process(&candidates)?;
        let process = self.processes.into_iter().find(|process| process.pid == pid);
        process.ok_or_else(|| Error::new(ErrorCode::UnknownProcess, format!("{pid} is not known")))
    }
}

impl Node {
    /// The member of this name.
    pub(crate) fn member_named(&self, name: &str) -> Result<Member, Error> {
        let members = self.roster.members();
        let found = members
            .into_iter()
            .find(|member| member.name == name && member.standing != MemberStanding::Forgotten);
        found.ok_or_else(|| {
            Error::new(ErrorCode::UnknownNode, format!("no member is called `{name}`"))
        })
    }

    /// The member of this name, which something is to be sent to. One that this node has not heard of, or not that
    /// it has started, may have joined a moment ago: the registry knows.
    pub(crate) async fn target_named(&self, name: &str) -> Result<Member, Error> {
        let up = |member: &Member| member.standing == MemberStanding::Up;
        let known = self.member_named(name);
        if known.as_ref().is_ok_and(up) {
            return known;
        }
        let heard = self.hear_news().await;
        self.member_named(name).map_err(|unknown| match heard {
            true => unknown,
            // A node that has just started knows nobody before the registry's first word.
            false => Error::new(
                ErrorCode::RegistryUnavailable,
                format!("whether a member is called `{name}` is not known: the registry's home does not answer"),
            ),
        })
    }

    /// Hears the registry's newest word on the members. Not, if it is silent.
    pub(crate) async fn hear_news(&self) -> bool {
        let news = self.wished(Wish::News, Cargo::None);
        tokio::time::timeout(NEWS_PATIENCE, news).await.is_ok_and(|news| news.is_ok())
    }

    /// What a node is called.
    pub(crate) fn node_name(&self, node: NodeId) -> String {
        if node == self.me.node {
            return self.name.clone();
        }
        self.roster.member(node).map_or_else(|| node.to_string(), |member| member.name)
    }

    /// Other members that should answer. One that has joined a moment ago does, and may have processes,
    /// before the news of its start has come here.
    pub(crate) fn others(&self) -> Vec<Member> {
        let mut members = self.roster.members();
        members.retain(|member| {
            member.peer.node != self.me.node && member.standing != MemberStanding::Forgotten
        });
        members
    }

    /// The other members that are up: who may be asked to take something.
    pub(crate) fn others_up(&self) -> Vec<Member> {
        let mut members = self.others();
        members.retain(|member| member.standing == MemberStanding::Up);
        members
    }

    /// Finds what a text means. Asks all members, unless it is the id of a process that is here.
    pub(crate) async fn find(&self, asker: Asker, text: &str) -> Result<Found, Error> {
        let exact = text.parse::<Pid>().ok();
        if let Some(pid) = exact {
            let local = self.local(true).await?;
            let here = local.into_iter().find(|process| process.pid == pid);
            // Where only its output is kept, the last that was heard of it may be older than its last move.
            if let Some(process) = here.filter(|process| process.is_at(&self.name)) {
                let reference = Reference::Process(pid);
                return Ok(Found { reference, processes: vec![process] });
            }
        }
        let processes = match (asker, exact) {
            (Asker::Operator, Some(pid)) => self.everywhere_unless(pid).await?,
            (Asker::Operator, None) => self.everywhere(true).await?.0,
            (Asker::Member(_), _) => self.local(true).await?,
        };
        let candidates: Vec<Candidate<'_>> = processes
            .iter()
            .map(|process| Candidate { pid: process.pid, name: process.name.as_deref() })
            .collect();
        let reference = api::resolve(text, &candidates)?;
        let meant = |process: &ProcessSummary| match reference {
            Reference::Process(pid) => process.pid == pid,
            Reference::Group(group) => process.pid.group == group,
        };
        Ok(Found {
            reference,
            processes: processes.iter().filter(|&p| meant(p)).cloned().collect(),
        })
    }

    /// Finds one process.
    pub(crate) async fn find_one(&self, asker: Asker, text: &str) -> Result<ProcessSummary, Error> {
        self.find(asker, text).await?.one()
    }

    /// The member that has a process, if it is another one and the request may be passed on.
    pub(crate) fn elsewhere(&self, asker: Asker, process: &ProcessSummary) -> Option<NodeId> {
        if asker != Asker::Operator || process.node == self.name {
            return None;
        }
        self.member_named(&process.node).ok().map(|member| member.peer.node)
    }

    /// Passes a request on as it is, with another path where that is given.
    pub(crate) async fn pass_on(
        &self,
        to: NodeId,
        method: Method,
        path: &str,
        body: Body,
    ) -> Answered {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body)
            .map_err(super::answer::invalid)?;
        let response = self.caller.request(to, request).await?;
        let (mut parts, body) = response.into_parts();
        parts.headers.remove("transfer-encoding");
        Ok((parts, Body::new(body)).into_response())
    }

    /// Asks the registry, wherever it is.
    pub(crate) async fn ask_registry(&self, request: wire::Request) -> Result<wire::Reply, Error> {
        match self.seat.home() {
            Some(home) => home.asked(self.me, request).await.ok_or_else(ending),
            None => {
                let home = self.seat.node();
                let answered = self.caller.registry(home, &request).await;
                if !matches!(&answered, Err(error) if error.code == ErrorCode::RegistryUnavailable)
                {
                    return answered;
                }
                // It may have been handed on a moment ago.
                self.ask_where().await;
                match self.seat.home() {
                    Some(home) => home.asked(self.me, request).await.ok_or_else(ending),
                    None if self.seat.node() == home => answered,
                    None => self.caller.registry(self.seat.node(), &request).await,
                }
            }
        }
    }
}
