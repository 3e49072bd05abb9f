//! How letters find processes that move, as operators choose it.

use std::fmt;
use std::str::FromStr;

/// How letters find the processes of a group when they move. Whatever is chosen, each arrives once and in order: the
/// choice is about cost alone (`docs/protocol.md` says which).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Locate {
    /// Senders ask the registry when an address fails.
    #[default]
    Directory,
    /// A process tells its correspondents before and after it moves.
    Update,
    /// The node that a process has left says for a while where it went.
    Forwarding,
    /// Letters go to a fixed node that passes them on: this one, or the node that starts the group.
    Mailbox(Option<String>),
}

/// No such way.
#[derive(Debug)]
pub struct NoSuchWay(String);

impl fmt::Display for NoSuchWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = "directory, update, forwarding, mailbox or mailbox@NODE";
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
            Some(("mailbox", node)) if !node.is_empty() => Ok(Self::Mailbox(Some(node.to_owned()))),
            _ => Err(NoSuchWay(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_read_as_they_are_written() {
        for text in ["directory", "update", "forwarding", "mailbox", "mailbox@osprey"] {
            assert_eq!(text.parse::<Locate>().unwrap().to_string(), text);
        }
        for text in ["", "mailbox@", "update@osprey", "Directory"] {
            let words = text.parse::<Locate>().unwrap_err().to_string();
            assert!(words.starts_with(&format!("`{text}` is no way")), "{words}");
        }
    }
}
