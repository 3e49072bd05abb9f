//! What nodes say to each other about processes. All of it may be lost, repeated, late.
//!
//! Images and code are not here: they travel on the bulk connection as streams, named by
//! ([`Pid`], [`Offer`]).

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Address, Blob, Epoch, GroupId, Life, Locate, Mail, NodeId, Offer, Outcome, Peer, Pid, Reason,
    Reply, Request,
};

/// The longest piece of output in one message.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;

/// A message with its two ends. One whose `to` is not the reader's own incarnation is discarded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// Who says it. The link vouches for the node.
    pub from: Peer,
    /// Who is meant.
    pub to: Peer,
    /// What is said.
    pub message: Message,
}

/// Connects an answer from the registry with its question, within one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AskId(pub u64);

/// Connects a report with the wish it ends, within one incarnation of the node that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// What nodes say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Source to target: could you take this process? Nothing is frozen yet.
    Prepare {
        /// Which process.
        pid: Pid,
        /// The offer that would follow.
        offer: Offer,
        /// What it needs (memory, code, directories): written and read by drivers.
        needs: Blob,
    },
    /// Target to source: heard, and not ready yet.
    Preparing {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
    },
    /// Target to source: room is reserved for five seconds.
    Prepared {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
        /// The epoch that the target found in the location record.
        epoch: Epoch,
    },
    /// Target to source: no. The process runs on where it is.
    Refused {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
        /// Why.
        reason: Refusal,
    },
    /// Source to target: the process is frozen, its image is on its way on the bulk connection.
    Offer {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
    },
    /// Target to source: committed and running; forget your image.
    Settled {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
    },
    /// Source to target: no image of this offer is held here (any more).
    Forgotten {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
    },
    /// Source to target: drop it, unless you have asked for the commit.
    Cancel {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
    },
    /// Target to source: dropped, and this offer will never be staged by this incarnation.
    Dropped {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
    },
    /// To the registry's home.
    Ask {
        /// Which question of this incarnation.
        ask: AskId,
        /// The question.
        request: Request,
    },
    /// From the registry's home, once what it says is durable there.
    Answer {
        /// Which question.
        ask: AskId,
        /// The answer.
        reply: Reply,
    },
    /// To the home of a process's output: bytes, numbered by offset.
    Output {
        /// Which process.
        pid: Pid,
        /// In which of its lives.
        life: Life,
        /// How many bytes it had written before these.
        offset: u64,
        /// How many have been acknowledged by some home: a new log starts there.
        base: u64,
        /// Where it wrote them.
        stream: Stream,
        /// The bytes, at most [`CHUNK_BYTES_MAX`]. None at all says "it is here now".
        bytes: Blob,
    },
    /// To the home of a process's output: it has ended, having written this much.
    Ended {
        /// Which process.
        pid: Pid,
        /// In which of its lives.
        life: Life,
        /// How many bytes it wrote in all.
        offset: u64,
        /// How many of these its homes have acknowledged: where a new home's log begins.
        base: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// From the home of output: all before `offset` is written down.
    Acknowledged {
        /// Which process.
        pid: Pid,
        /// How many bytes the home has.
        offset: u64,
        /// Whether it has heard of the end.
        ended: bool,
    },
    /// To a process's node: do this to it.
    Errand {
        /// Whose wish, within the sender's incarnation.
        ticket: Ticket,
        /// Which process.
        pid: Pid,
        /// What is wished.
        errand: Errand,
    },
    /// From a process's node: how the errand ended, or that it goes on.
    ErrandDone {
        /// Which wish.
        ticket: Ticket,
        /// How it ended. Sent again whenever the errand is.
        report: Report,
    },
    /// From process to process: letters, acknowledgements.
    Mail(Mail),
    /// To whoever sent mail: its receiver is not here.
    Astray {
        /// Who sent it.
        to: Pid,
        /// Whom it was for.
        pid: Pid,
        /// The epoch of the address that it was sent to.
        meant: Epoch,
    },
    /// To a correspondent: this process is about to move, and letters had better wait until it is
    /// heard of again. A hint.
    Leaving {
        /// Who is told.
        to: Pid,
        /// Who leaves.
        pid: Pid,
    },
    /// To a correspondent: this process is there. A hint.
    Place {
        /// Who is told.
        to: Pid,
        /// Who is there.
        pid: Pid,
        /// Where.
        at: Address,
    },
    /// To the mailbox of a process: it is there. A hint.
    Moved {
        /// Who is there.
        pid: Pid,
        /// Where.
        at: Address,
    },
    /// To a mailbox, and on from it to where the receiver is: a letter with its sender's address.
    Relay {
        /// The sender's node.
        origin: Peer,
        /// Whether the mailbox keeps it until it is polled.
        keep: bool,
        /// The letter.
        mail: Mail,
    },
    /// To the mailbox of a process, from where it is: whatever is kept for it.
    Poll {
        /// Whose letters.
        pid: Pid,
        /// Its epoch there.
        epoch: Epoch,
    },
    /// To a node that keeps word of where a process went: nobody needs that any more.
    Forget {
        /// Which process.
        pid: Pid,
        /// Of what is known of this epoch and those before it.
        epoch: Epoch,
    },
    /// To whoever sent a letter: its receiver is on its way, and takes nothing now. A hint.
    Held {
        /// Who sent it.
        to: Pid,
        /// Whom it was for.
        pid: Pid,
        /// Whether it is kept here, and goes on by itself. Otherwise no more had better be sent.
        kept: bool,
    },
    /// To a correspondent: this process has ended, and takes nothing more.
    Down {
        /// Who is told.
        to: Pid,
        /// Who has ended.
        pid: Pid,
        /// In which life.
        life: Life,
        /// How.
        reason: Reason,
        /// How many pieces it has sent to the one who is told; 0 if that is not known any more.
        sent: u64,
    },
    /// From a home of output: another node keeps it from now on, and has all that was acknowledged.
    Home {
        /// Whose output.
        pid: Pid,
        /// Who keeps it.
        home: NodeId,
    },
    /// Answers `Home`: what is written from now on goes there.
    Homed {
        /// Whose output.
        pid: Pid,
    },
}

/// What can be asked of a process wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Errand {
    /// Move to this node.
    Move(NodeId),
    /// End.
    Kill,
    /// Let letters find it in this way from now on.
    Locate(Locate),
}

/// Where a process writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Why a target does not take a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// The target has not heard from the registry within a second.
    RegistrySilent,
    /// The registry says that the process is not the source's to give.
    NotOwner,
    /// The target still has to do with an earlier offer of this process.
    Busy,
    /// The group of the process has been killed.
    Killed,
    /// The node is leaving.
    Draining,
    /// The driver's own reason, in words: space, limits, directories, code.
    Unfit(String),
    /// It was to come with others, and one of them cannot.
    Apart,
}

/// How a wish about a process ended. Each ticket gets exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Report {
    /// It was started, with this id.
    Spawned(Pid),
    /// It runs at the target, and the source has forgotten it.
    Moved(Moved),
    /// It was there already.
    AlreadyThere(NodeId),
    /// It lies in the file, and nowhere else.
    Stored {
        /// The epoch in its record, which the file names too.
        epoch: Epoch,
    },
    /// It came back from its file, the same process, in this epoch.
    Thawed {
        /// The epoch it runs in.
        epoch: Epoch,
    },
    /// The record no longer says that the process lies in a file: start a new one from it.
    AlreadyThawed,
    /// It ended, killed.
    Killed,
    /// Every member has answered: nothing of the group runs.
    GroupKilled(GroupId),
    /// The kill is recorded; these nodes have not answered yet and will be told first thing.
    GroupKilling(GroupId, alloc::vec::Vec<NodeId>),
    /// Not done, and why. The process is as it was.
    Refused(Why),
    /// The move was given up. The process runs on where it was.
    GivenUp(Why),
    /// The process is no more: it went with its node.
    Lost {
        /// The node that had it last.
        last: Peer,
    },
    /// It ended by itself, before.
    Ended(Outcome),
    /// The registry's newest word on the members is here.
    News,
    /// Letters find it in the way that was asked for.
    Located,
    /// The letter is in the inbox of its receiver.
    Delivered,
}

/// A completed move, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Moved {
    /// From where.
    pub from: NodeId,
    /// To where.
    pub to: NodeId,
    /// Which offer it was.
    pub offer: Offer,
    /// From the wish to the target's word that it is ready, in microseconds.
    pub prepare_micros: u64,
    /// From the freeze's request to the frozen process, in microseconds.
    pub freeze_micros: u64,
    /// From the frozen process to `settled` heard at the source: the pause and half a round trip.
    pub pause_micros: u64,
    /// Bytes of image.
    pub bytes: u64,
}

/// Why something asked for was not done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Why {
    /// No process of this id is known.
    Unknown,
    /// The process is in the middle of another move.
    Moving,
    /// The process lies in a file.
    InFile,
    /// There is no such member, or it is gone.
    NoMember(NodeId),
    /// The target did not answer in time.
    TargetSilent(NodeId),
    /// The target refused.
    Target(NodeId, Refusal),
    /// The target went before the move was complete; the process was taken back if it had gone.
    TargetGone(Peer),
    /// The image did not get there, or into the file.
    Transfer(String),
    /// The registry does not answer.
    RegistrySilent,
    /// The group has been killed.
    GroupKilled,
    /// The name belongs to another process.
    NameTaken(Pid),
    /// There are no ids left to give until the registry answers.
    NoIds,
    /// The process cannot move: its driver says why.
    Unmovable(String),
    /// This node was declared gone. It ends.
    Expelled,
    /// The receiver is no more, or began anew. Whether a letter that was sent before came is not known.
    Down(Reason),
    /// The receiver has as much of this sender as it takes, and has read nothing for a while. Nothing was sent.
    NoRoom,
    /// The letter was sent and not acknowledged in time. It may still arrive, once.
    Unacknowledged,
    /// The letter is longer than letters are. Nothing was sent.
    TooLong,
}

impl Message {
    /// The process it is about, if it is about one.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        match self {
            Self::Prepare { pid, .. }
            | Self::Preparing { pid, .. }
            | Self::Prepared { pid, .. }
            | Self::Refused { pid, .. }
            | Self::Offer { pid, .. }
            | Self::Settled { pid, .. }
            | Self::Forgotten { pid, .. }
            | Self::Cancel { pid, .. }
            | Self::Dropped { pid, .. }
            | Self::Output { pid, .. }
            | Self::Ended { pid, .. }
            | Self::Acknowledged { pid, .. }
            | Self::Home { pid, .. }
            | Self::Homed { pid }
            | Self::Errand { pid, .. }
            | Self::Mail(Mail { to: pid, .. })
            | Self::Relay { mail: Mail { to: pid, .. }, .. }
            | Self::Leaving { pid, .. }
            | Self::Place { pid, .. }
            | Self::Moved { pid, .. }
            | Self::Poll { pid, .. }
            | Self::Forget { pid, .. }
            | Self::Astray { pid, .. }
            | Self::Held { pid, .. }
            | Self::Down { pid, .. } => Some(*pid),
            Self::Ask { .. } | Self::Answer { .. } | Self::ErrandDone { .. } => None,
        }
    }
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.from, self.to, self.message)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare { pid, offer, .. } => write!(f, "prepare({pid} {offer})"),
            Self::Preparing { pid, offer } => write!(f, "preparing({pid} {offer})"),
            Self::Prepared { pid, offer, .. } => write!(f, "prepared({pid} {offer})"),
            Self::Refused { pid, offer, reason } => write!(f, "refused({pid} {offer}: {reason})"),
            Self::Offer { pid, offer } => write!(f, "offer({pid} {offer})"),
            Self::Settled { pid, offer } => write!(f, "settled({pid} {offer})"),
            Self::Forgotten { pid, offer } => write!(f, "forgotten({pid} {offer})"),
            Self::Cancel { pid, offer } => write!(f, "cancel({pid} {offer})"),
            Self::Dropped { pid, offer } => write!(f, "dropped({pid} {offer})"),
            Self::Ask { ask, request } => write!(f, "ask({} {request})", ask.0),
            Self::Answer { ask, reply } => write!(f, "answer({} {reply})", ask.0),
            Self::Output { pid, offset, bytes, .. } => {
                write!(f, "output({pid} {offset}+{})", bytes.0.len())
            }
            Self::Ended { pid, offset, outcome, .. } => {
                write!(f, "ended({pid} {offset} {outcome})")
            }
            Self::Acknowledged { pid, offset, ended } => {
                write!(f, "acknowledged({pid} {offset}{})", if *ended { " end" } else { "" })
            }
            Self::Home { pid, home } => write!(f, "home({pid} {home})"),
            Self::Homed { pid } => write!(f, "homed({pid})"),
            Self::Errand { ticket, pid, errand } => {
                write!(f, "errand({} {pid} {errand:?})", ticket.0)
            }
            Self::ErrandDone { ticket, report } => {
                write!(f, "errand-done({} {report:?})", ticket.0)
            }
            Self::Mail(mail) => write!(f, "{mail}"),
            Self::Astray { to, pid, meant } => write!(f, "astray({pid}@{meant} for {to})"),
            Self::Held { to, pid, kept } => {
                write!(f, "held({pid} for {to}{})", if *kept { ", kept" } else { "" })
            }
            Self::Leaving { to, pid } => write!(f, "leaving({pid} for {to})"),
            Self::Place { to, pid, at } => write!(f, "place({pid} {at} for {to})"),
            Self::Moved { pid, at } => write!(f, "moved({pid} {at})"),
            Self::Relay { origin, keep, mail } => {
                write!(f, "relay({mail} of {origin}{})", if *keep { ", to be kept" } else { "" })
            }
            Self::Poll { pid, epoch } => write!(f, "poll({pid} {epoch})"),
            Self::Forget { pid, epoch } => write!(f, "forget({pid} {epoch})"),
            Self::Down { to, pid, reason, .. } => write!(f, "down({pid} {reason} for {to})"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RegistrySilent => f.write_str("the registry does not answer it"),
            Self::NotOwner => f.write_str("the registry has the process elsewhere"),
            Self::Busy => f.write_str("it is still busy with an earlier move of this process"),
            Self::Killed => f.write_str("the group has been killed"),
            Self::Draining => f.write_str("it is being drained"),
            Self::Unfit(words) => f.write_str(words),
            Self::Apart => f.write_str("another of those that were to move with it could not"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such process"),
            Self::Moving => f.write_str("it is being moved already"),
            Self::InFile => f.write_str("it lies in a file"),
            Self::NoMember(node) => write!(f, "{node} is not a member"),
            Self::TargetSilent(node) => write!(f, "{node} does not answer"),
            Self::Target(node, refusal) => write!(f, "{node} refused: {refusal}"),
            Self::TargetGone(peer) => write!(f, "{peer} is gone"),
            Self::Transfer(words) => write!(f, "the image did not get there: {words}"),
            Self::RegistrySilent => f.write_str("the registry does not answer"),
            Self::GroupKilled => f.write_str("its group has been killed"),
            Self::NameTaken(pid) => write!(f, "the name belongs to {pid}"),
            Self::NoIds => f.write_str("no ids left until the registry answers"),
            Self::Unmovable(words) => f.write_str(words),
            Self::Expelled => f.write_str("this node was declared gone"),
            Self::Down(reason) => write!(f, "it is down: {reason}"),
            Self::NoRoom => {
                f.write_str("it has not read what it was sent before; nothing was sent")
            }
            Self::Unacknowledged => {
                f.write_str("it was sent, and not acknowledged in time; it may still arrive, once")
            }
            Self::TooLong => f.write_str("the message is too long"),
        }
    }
}
