//! How letters find processes that move, as operators choose it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text;

/// How letters find the processes of a group when they move. Whatever is chosen, each arrives once and in order: the
/// choice is about cost alone (`docs/protocol.md` says which).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Locate {
    /// Senders ask the registry when an address fails.
    Directory,
    /// A process tells its correspondents before and after it moves.
    Update,
    /// The node that a process has left says for a while where it went.
    Forwarding,
    /// Letters go to a fixed node that passes them on: this one, or the node that starts the group.
    Mailbox(Option<String>),
    /// Letters go to a fixed node that keeps them until it is asked.
    MailboxPull(Option<String>),
    /// Each process counts letters and moves, and uses whichever of these is cheapest for it.
    #[default]
    Adaptive,
}

/// Where letters wait that come while a process moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InTransit {
    /// With their sender, which repeats them.
    #[default]
    SenderKeeps,
    /// With their sender, which cannot send more to that process meanwhile.
    SenderBlocks,
    /// With the node that they have come to; their sender repeats them seldom.
    NodeKeeps,
}

/// What an adaptive process has counted, and what it makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapting {
    /// What it uses now.
    #[serde(with = "text")]
    pub using: Locate,
    /// Letters that came from other nodes.
    pub letters: u64,
    /// Moves.
    pub moves: u64,
    /// How often it has changed.
    pub changes: u64,
    /// Its last decision.
    #[serde(default)]
    pub last: Option<Weighed>,
}

/// A decision and its reasons. Costs are messages on the wire and added hops, as the books remember them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighed {
    /// What was used.
    #[serde(with = "text")]
    pub from: Locate,
    /// What was cheapest.
    #[serde(with = "text")]
    pub to: Locate,
    /// Whether it was worth a change.
    pub changed: bool,
    /// Letters since the decision before.
    pub letters: u32,
    /// Moves since then.
    pub moves: u32,
    /// What the one costs.
    pub from_cost: u64,
    /// What the other does.
    pub to_cost: u64,
    /// What the change would cost.
    pub change_cost: u64,
}

/// No such way.
#[derive(Debug)]
pub struct NoSuchWay(String);

impl fmt::Display for NoSuchWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = "directory, update, forwarding, mailbox[@NODE], mailbox-pull[@NODE] or adaptive";
        write!(f, "`{}` is no way to find a process: {ways}", self.0)
    }
}

impl std::error::Error for NoSuchWay {}

impl fmt::Display for Locate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("directory"),
            Self::Update => f.write_str("update"),
            Self::Forwarding => f.write_str("forwarding"),
            Self::Mailbox(None) => f.write_str("mailbox"),
            Self::Mailbox(Some(node)) => write!(f, "mailbox@{node}"),
            Self::MailboxPull(None) => f.write_str("mailbox-pull"),
            Self::MailboxPull(Some(node)) => write!(f, "mailbox-pull@{node}"),
            Self::Adaptive => f.write_str("adaptive"),
        }
    }
}

impl FromStr for Locate {
    type Err = NoSuchWay;

    fn from_str(text: &str) -> Result<Self, NoSuchWay> {
        match text.split_once('@') {
            None if text == "directory" => Ok(Self::Directory),
            None if text == "update" => Ok(Self::Update),
            None if text == "forwarding" => Ok(Self::Forwarding),
            None if text == "mailbox" => Ok(Self::Mailbox(None)),
            None if text == "mailbox-pull" => Ok(Self::MailboxPull(None)),
            None if text == "adaptive" => Ok(Self::Adaptive),
            Some(("mailbox", node)) if !node.is_empty() => Ok(Self::Mailbox(Some(node.to_owned()))),
            Some(("mailbox-pull", node)) if !node.is_empty() => {
                Ok(Self::MailboxPull(Some(node.to_owned())))
            }
            _ => Err(NoSuchWay(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_read_as_they_are_written() {
        for text in [
            "directory",
            "update",
            "forwarding",
            "mailbox",
            "mailbox@osprey",
            "mailbox-pull",
            "mailbox-pull@osprey",
            "adaptive",
        ] {
            assert_eq!(text.parse::<Locate>().unwrap().to_string(), text);
        }
        for text in ["", "mailbox@", "update@osprey", "Directory"] {
            let words = text.parse::<Locate>().unwrap_err().to_string();
            assert!(words.starts_with(&format!("`{text}` is no way")), "{words}");
        }
    }
}
