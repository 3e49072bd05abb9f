//! Strategies as operators name them, and as nodes do: the mailbox is a name here, and a number there.

use api::{Changed, LocateReply, LocateRequest, ProcessState, Unchanged};
use axum::Json;
use axum::extract::State;
use futures_util::StreamExt as _;
use protocol::Wish;
use wire::{Errand, NodeId, Report};

use super::answer::{Answered, json};
use super::find::Asker;
use super::{Node, Shared};
use crate::driver::Cargo;
use crate::links::hello::Roster;

/// How often a mailbox is asked, if nothing is said of it.
const POLL_MS: u32 = 20;

/// So many processes are asked at a time.
const AT_ONCE: usize = 64;

/// Changes how letters find running processes. One after the other, wherever they are: that some have changed and
/// others have not does no harm.
pub(crate) async fn change(
    State(node): State<Shared>,
    asker: Asker,
    Json(request): Json<LocateRequest>,
) -> Answered {
    let locate = node.locate(&request.locate, request.poll_ms).await?;
    let found = node.find(asker, &request.target).await?;
    let mut running = found.processes;
    running.retain(|process| !matches!(process.state, ProcessState::Ended { .. }));
    let asks = futures_util::stream::iter(running.into_iter().map(|process| {
        let (node, pid) = (&node, process.pid);
        async move {
            let wish = Wish::Errand(pid, Errand::Locate(locate));
            match node.wished(wish, Cargo::None).await {
                Ok(Report::Located) => Ok(pid),
                Ok(report) => Err(Unchanged { pid, error: node.unexpected(&report) }),
                Err(error) => Err(Unchanged { pid, error }),
            }
        }
    }));
    let mut reply = LocateReply::default();
    for asked in asks.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
        match asked {
            Ok(pid) => reply.changed.push(Changed { pid }),
            Err(unchanged) => reply.unchanged.push(unchanged),
        }
    }
    reply.changed.sort_by_key(|changed| changed.pid);
    json(reply)
}

impl Node {
    /// What an operator has chosen.
    pub(super) async fn locate(
        &self,
        chosen: &api::Locate,
        poll_ms: Option<u32>,
    ) -> Result<wire::Locate, api::Error> {
        Ok(match chosen {
            api::Locate::Directory => wire::Locate::Directory,
            api::Locate::Update => wire::Locate::Update,
            api::Locate::Forwarding => wire::Locate::Forwarding,
            api::Locate::Mailbox(name) => wire::Locate::Mailbox(self.mailbox(name).await?),
            api::Locate::MailboxPull(name) => wire::Locate::Pull {
                mailbox: self.mailbox(name).await?,
                every_micros: poll_ms.unwrap_or(POLL_MS).saturating_mul(1_000),
            },
            api::Locate::Adaptive => wire::Locate::Adaptive,
        })
    }

    async fn mailbox(&self, name: &Option<String>) -> Result<NodeId, api::Error> {
        match name {
            Some(name) => Ok(self.target_named(name).await?.peer.node),
            None => Ok(self.me.node),
        }
    }
}

/// What operators are told.
pub(super) fn locate_of(roster: &Roster, locate: wire::Locate) -> api::Locate {
    let name = |node: NodeId| {
        Some(roster.member(node).map_or_else(|| node.to_string(), |member| member.name))
    };
    match locate {
        wire::Locate::Directory => api::Locate::Directory,
        wire::Locate::Update => api::Locate::Update,
        wire::Locate::Forwarding => api::Locate::Forwarding,
        wire::Locate::Mailbox(node) => api::Locate::Mailbox(name(node)),
        wire::Locate::Pull { mailbox, .. } => api::Locate::MailboxPull(name(mailbox)),
        wire::Locate::Adaptive => api::Locate::Adaptive,
    }
}

/// Where letters wait, as an operator has chosen.
pub(super) fn in_transit(chosen: api::InTransit) -> wire::InTransit {
    match chosen {
        api::InTransit::SenderKeeps => wire::InTransit::SenderKeeps,
        api::InTransit::SenderBlocks => wire::InTransit::SenderBlocks,
        api::InTransit::NodeKeeps => wire::InTransit::NodeKeeps,
    }
}

/// What an adaptive process has counted, as operators are told.
pub(super) fn adapting(roster: &Roster, ledger: &wire::Ledger) -> api::Adapting {
    let last = ledger.last.map(|last| api::Weighed {
        from: locate_of(roster, last.from),
        to: locate_of(roster, last.to),
        changed: last.changed,
        letters: last.letters,
        moves: last.moves,
        from_cost: last.costs.0,
        to_cost: last.costs.1,
        change_cost: last.change,
    });
    api::Adapting {
        using: locate_of(roster, ledger.using),
        letters: ledger.letters,
        moves: ledger.moves,
        changes: ledger.changes,
        last,
    }
}
