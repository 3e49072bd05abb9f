//! Strategies as operators name them, and as nodes do: the mailbox is a name here, and a number there.

use wire::NodeId;

use super::Node;
use crate::links::hello::Roster;

/// How often a mailbox is asked, if nothing is said of it.
const POLL_MS: u32 = 20;

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
