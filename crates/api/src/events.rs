//! Events: what happened on the nodes, told in the order of causes.

use std::fmt;

use serde::{Deserialize, Serialize};
use wire::{GroupId, Pid};

use crate::process::query;
use crate::{Error, text};

/// Which events are wanted, in the part of an address from `?` on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsQuery {
    /// Of this process or group: an id, the beginning of one, or a name. Everything, if absent.
    #[serde(default)]
    pub of: Option<String>,
    /// Of this node only.
    #[serde(default)]
    pub on: Option<String>,
    /// Go on with what happens from now on.
    #[serde(default)]
    pub follow: bool,
}

/// Asks that what becomes of a group's messages is recorded, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRequest {
    /// The group, or a process of it.
    pub of: String,
    /// Whether, from now on.
    pub on: bool,
}

/// Who records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReply {
    /// The group.
    #[serde(with = "text")]
    pub group: GroupId,
    /// Nodes that did not answer, or trace too many groups already: theirs is missing.
    pub silent: Vec<String>,
}

/// A line of the stream of events. Those of one node come in their order; of several, as they are heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum EventsLine {
    /// Something happened.
    Event(Event),
    /// Older events of a node are no longer kept: its room is bounded.
    Dropped {
        /// Which node.
        node: String,
        /// How many, of all kinds.
        count: u64,
    },
    /// A node does not answer (any more): its events are missing.
    Silent {
        /// Which.
        node: String,
    },
    /// The last line: it cannot go on.
    Failed {
        /// Why.
        error: Error,
    },
}

/// Something that happened on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Where.
    pub node: String,
    /// In which incarnation of it.
    pub incarnation: u64,
    /// Its place among all that this incarnation has recorded.
    pub seq: u64,
    /// When, by the clock of that node: microseconds since 1970. Clocks differ.
    pub at_us: u64,
    /// What kind of thing.
    pub kind: EventKind,
    /// What exactly: the name of a message or of a step.
    pub word: String,
    /// For what goes from node to node: which end of it this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The other end: a node's name, or `registry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Which process it is about.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub pid: Option<Pid>,
    /// The process that this one has to do with in it.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub other: Option<Pid>,
    /// What it belongs to: all events of one letter, and all of one move, share it, on whichever node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// In the protocol's words; of a message the same at both ends.
    pub text: String,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A process sends a letter. Recorded for traced groups, as are the kinds down to `lookup`.
    Send,
    /// A letter is in its receiver's inbox.
    Deliver,
    /// A letter goes from node to node, directly or by way of a mailbox.
    Hop,
    /// A node holds a letter back or turns it away, or tells its sender so.
    Hold,
    /// A sender is told that a process is elsewhere: by a forwarder, or with the error of an old address.
    Redirect,
    /// A word about a move that nobody waits for: cancel, update, to a mailbox, to a forwarder.
    Hint,
    /// An acknowledgement, or a question for one.
    Ack,
    /// The registry is asked where a process is, or answers.
    Lookup,
    /// A process ends, as a correspondent is told; or its node is silent, as a watcher is told.
    Monitor,
    /// A message of a move. Always recorded, as are those below.
    Move,
    /// A step of a move.
    Step,
    /// A process begins here, or ends.
    Life,
    /// An adaptive process weighs the strategies.
    Decide,
    /// A member is up, silent or gone.
    Member,
}

/// The two ends of a message between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// It was sent.
    Out,
    /// It came.
    In,
}

/// What events belong to, on whichever node they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Cause {
    /// Letters: a letter's number is that of its first piece.
    Letter {
        /// Who has sent them.
        #[serde(with = "text")]
        from: Pid,
        /// To whom.
        #[serde(with = "text")]
        to: Pid,
        /// In which life of the sender.
        life: u64,
        /// The first piece's number.
        first: u64,
        /// How many pieces.
        pieces: u64,
    },
    /// A move.
    Move {
        /// Which process.
        #[serde(with = "text")]
        pid: Pid,
        /// Which of its offers.
        offer: u64,
    },
}

impl EventsQuery {
    /// As the part of an address from `?` on.
    pub fn to_query(&self) -> String {
        let follow = self.follow.then_some("true");
        query(&[("of", self.of.as_deref()), ("on", self.on.as_deref()), ("follow", follow)])
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Send => "send",
            Self::Deliver => "deliver",
            Self::Hop => "hop",
            Self::Hold => "hold",
            Self::Redirect => "redirect",
            Self::Hint => "hint",
            Self::Ack => "ack",
            Self::Lookup => "lookup",
            Self::Monitor => "monitor",
            Self::Move => "move",
            Self::Step => "step",
            Self::Life => "life",
            Self::Decide => "decide",
            Self::Member => "member",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letter { from, to, life, first, pieces } => {
                write!(f, "{from}>{to}/{life}:{first}")?;
                if *pieces > 1 { write!(f, "+{pieces}") } else { Ok(()) }
            }
            Self::Move { pid, offer } => write!(f, "{pid}#{offer}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_plain_json() {
        let (from, to) = ("k3x9.0".parse().unwrap(), "k3x9.1".parse().unwrap());
        let event = Event {
            node: "heron".to_owned(),
            incarnation: 1,
            seq: 7,
            at_us: 1_000,
            kind: EventKind::Hop,
            word: "mail".to_owned(),
            side: Some(Side::Out),
            peer: Some("osprey".to_owned()),
            pid: Some(from),
            other: Some(to),
            cause: Some(Cause::Letter { from, to, life: 1, first: 4, pieces: 1 }),
            text: "mail(k3x9.0 to k3x9.1@e0 4+1)".to_owned(),
        };
        let line = EventsLine::Event(event);
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(
            json,
            r#"{"line":"event","node":"heron","incarnation":1,"seq":7,"at_us":1000,"kind":"hop","word":"mail","side":"out","peer":"osprey","pid":"k3x9.0","other":"k3x9.1","cause":{"of":"letter","from":"k3x9.0","to":"k3x9.1","life":1,"first":4,"pieces":1},"text":"mail(k3x9.0 to k3x9.1@e0 4+1)"}"#
        );
        assert_eq!(serde_json::from_str::<EventsLine>(&json).unwrap(), line);
    }

    #[test]
    fn a_query_says_what_is_wanted() {
        assert_eq!(EventsQuery::default().to_query(), "");
        let query = EventsQuery { of: Some("a b".to_owned()), on: None, follow: true };
        assert_eq!(query.to_query(), "?of=a%20b&follow=true");
    }
}
