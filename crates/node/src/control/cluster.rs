//! The members, and this one among them.

use api::{
    Doing, Error, ErrorCode, ForgetReply, NodeState, NodeSummary, NodesReply, ProcessState,
    RegistryStatus, StatusReply, StopRequest, TokenReply, TokenRequest, VersionReply,
};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use futures_util::future::join_all;
use hyper::Method;
use protocol::Span;
use wire::{Member, MemberStanding, Reply};

use super::answer::{Answered, ending, json, of_registry};
use super::find::Asker;
use super::{Node, Shared, list};
use crate::trust::{Fingerprint, Token, cluster_text};

/// A registry that has not been heard of for this long does not answer.
const REGISTRY_SILENCE: Span = Span::seconds(3);

pub(crate) async fn nodes(State(node): State<Shared>) -> Answered {
    let members = node.roster.members();
    let present = members.iter().filter(|member| member.standing != MemberStanding::Forgotten);
    let asked = present.map(|member| node.summarise(member));
    let mut nodes = join_all(asked).await;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    json(NodesReply { nodes })
}

pub(crate) async fn status(State(node): State<Shared>) -> Answered {
    json(node.status().await?)
}

pub(crate) async fn forget(State(node): State<Shared>, Path(name): Path<String>) -> Answered {
    let member = node.member_named(&name)?;
    if member.peer.node == node.me.node {
        return Err(Error::new(ErrorCode::InvalidRequest, "a node cannot forget itself").into());
    }
    let lost = node.events.look(move |driver| {
        let there = |(_, last): &(wire::Pid, Option<wire::Peer>)| {
            last.is_some_and(|last| last.node == member.peer.node)
        };
        driver.machine.logs().filter(there).count() as u64
    });
    let lost = lost.await.ok_or_else(ending)?;
    match node.ask_registry(wire::Request::Forget(member.peer.node)).await? {
        Reply::Done => json(ForgetReply { node: name, lost }),
        Reply::Refused(refusal) => Err(of_registry(&refusal).into()),
        other => Err(Error::new(ErrorCode::Internal, format!("the registry: {other}")).into()),
    }
}

pub(crate) async fn token(
    State(node): State<Shared>,
    Json(request): Json<TokenRequest>,
) -> Answered {
    let authority = node.authority.read().expect("nobody panics in here").clone();
    let Some(authority) = authority else {
        let message = "this node is by itself: start a daemon that others can join";
        return Err(Error::new(ErrorCode::InvalidRequest, message).into());
    };
    let token = Token::new(Fingerprint::of(&authority));
    let valid_ms = request.valid_ms.min(TokenRequest::VALID_MS_MAX);
    let life_micros = valid_ms * 1_000;
    let asked = wire::Request::Token { hash: token.secret.hash(), life_micros };
    match node.ask_registry(asked).await? {
        Reply::Done => {
            json(TokenReply { token: token.to_string(), address: node.address.clone(), valid_ms })
        }
        Reply::Refused(refusal) => Err(of_registry(&refusal).into()),
        other => Err(Error::new(ErrorCode::Internal, format!("the registry: {other}")).into()),
    }
}

pub(crate) async fn stop(
    State(node): State<Shared>,
    asker: Asker,
    Json(request): Json<StopRequest>,
) -> Answered {
    if asker != Asker::Operator {
        return Err(
            Error::new(ErrorCode::InvalidRequest, "a daemon is stopped at its own socket").into()
        );
    }
    let mut here = node.local(false).await?;
    here.retain(|process| {
        process.node == node.name && !matches!(process.state, ProcessState::Ended { .. })
    });
    if !here.is_empty() && !request.force {
        let ids: Vec<String> = here.iter().take(8).map(|process| process.pid.to_string()).collect();
        let message = format!("node {} still has {}", node.name, ids.join(", "));
        let hint =
            format!("`whimbrel drain {}` empties it; `--force` ends them with it", node.name);
        return Err(Error::new(ErrorCode::Refused, message).with_hint(hint).into());
    }
    node.stop.send_replace(true);
    Ok(().into_response())
}

pub(crate) async fn version() -> Answered {
    json(VersionReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    })
}

impl Node {
    async fn status(&self) -> Result<StatusReply, Error> {
        let (clock_heard, draining, (doing, memory_bytes)) = self
            .events
            .look(|driver| {
                let now = driver.clock.now();
                (driver.machine.registry_heard(now), driver.draining, list::doing(driver))
            })
            .await
            .ok_or_else(ending)?;
        let Doing { running, waiting, sleeping, moving } = doing;
        Ok(StatusReply {
            doing,
            node: NodeSummary {
                name: self.name.clone(),
                number: self.me.node.0,
                incarnation: self.me.incarnation.0,
                address: self.address.clone(),
                state: if draining { NodeState::Draining } else { NodeState::Up },
                processes: running + waiting + sleeping + moving,
                memory_bytes,
                registry: self.seat.is_here(),
                asked: true,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                labels: self.balancing.labels().iter().cloned().collect(),
            },
            cluster: cluster_text(self.cluster),
            data: self.data.display().to_string(),
            os_pid: std::process::id(),
            up_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            members: self.roster.members().len() as u64,
            registry: RegistryStatus {
                home: self.node_name(self.seat.node()),
                answers: clock_heard.is_some_and(|since| since < REGISTRY_SILENCE),
            },
        })
    }

    /// A member as the list shows it; it says itself what it can.
    async fn summarise(&self, member: &Member) -> NodeSummary {
        if member.peer.node == self.me.node {
            if let Ok(status) = self.status().await {
                return status.node;
            }
        } else if member.standing == MemberStanding::Up {
            let path = api::route::STATUS.fill(&[]);
            let asked =
                self.caller.json::<StatusReply>(member.peer.node, Method::GET, &path, Vec::new());
            if let Ok(status) = asked.await {
                return NodeSummary { asked: false, ..status.node };
            }
        }
        NodeSummary {
            name: member.name.clone(),
            number: member.peer.node.0,
            incarnation: member.peer.incarnation.0,
            address: member.address.clone(),
            state: match member.standing {
                MemberStanding::Lapsed | MemberStanding::Forgotten => NodeState::Gone,
                MemberStanding::Up | MemberStanding::Joined | MemberStanding::Silent => {
                    NodeState::Silent
                }
            },
            processes: 0,
            memory_bytes: 0,
            registry: member.peer.node == self.seat.node(),
            asked: false,
            version: String::new(),
            labels: Vec::new(),
        }
    }
}
