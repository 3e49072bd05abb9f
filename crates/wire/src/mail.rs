//! Letters: what processes send to each other, and how they cross the wire.
//!
//! Between two processes each direction is one sequence of *pieces*. A letter is one piece, or
//! several if it is longer than [`PIECE_BYTES_MAX`]; the end of a process is the last piece of all.
//! What nodes say of it is one message, [`Mail`]: pieces, an acknowledgement, or both.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ledger::{Ledger, Left};
use crate::{Epoch, GroupId, NodeId, Outcome, Peer, Pid};

/// The longest letter: large enough for a page of anything, small enough that a hundred under way
/// are no burden. What is longer belongs into a file or a stream.
pub const LETTER_BYTES_MAX: usize = 1 << 20;

/// The longest piece, so that a long letter delays others by no more than this.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

/// Bytes that many may hold and nobody changes: a letter is copied once, out of its sender, and
/// every queue after that shares it. A piece is a part of one.
#[derive(Clone)]
pub struct Share {
    whole: Arc<[u8]>,
    start: u32,
    end: u32,
}

/// Counts the lives of a process. Exactly once holds within one; a higher one starts over.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Life(pub u64);

impl Life {
    /// Of a process of which nothing has been heard yet.
    pub const UNKNOWN: Self = Self(0);

    /// The one that it is started into.
    pub const FIRST: Self = Self(1);
}

/// Where a process was last heard to be. Of two the one with the higher epoch is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// In which epoch.
    pub epoch: Epoch,
    /// At which incarnation.
    pub peer: Peer,
}

/// What one process says to another, by way of their nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mail {
    /// Whose it is.
    pub from: Pid,
    /// In which of its lives.
    pub life: Life,
    /// The sender's epoch: with the envelope's sender this is its address.
    pub epoch: Epoch,
    /// Whom it is for.
    pub to: Pid,
    /// For which of its lives, as far as it is known.
    pub to_life: Life,
    /// The epoch of the address that it was sent to.
    pub meant: Epoch,
    /// The number of the first piece.
    pub first: u64,
    /// Pieces, in order.
    pub pieces: Vec<Piece>,
    /// Whether an acknowledgement is wanted even if there are no pieces.
    pub ask: bool,
    /// What the sender has got from the receiver.
    pub got: Option<Got>,
    /// How the sender had rather be written to, if not at its address. A hint.
    pub via: Option<Via>,
}

/// A mailbox that a process wants its letters to go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Via {
    /// The mailbox's node.
    pub mailbox: NodeId,
    /// Whether it keeps them until it is polled. Otherwise it passes them on.
    pub keeps: bool,
}

/// One number's worth of what a process sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Piece {
    /// A part of a letter: more of it follows.
    Part(Share),
    /// A whole letter, or its last part.
    Letter(Share),
    /// The sender watches the receiver: it is told of its end, whether or not that has written to it.
    Watch,
    /// The sender and the receiver are linked from now on.
    Link,
    /// They are not linked any more, as far as the sender knows: it has taken the receiver's pieces before this one, and
    /// a later link of the receiver stands.
    Unlink(u64),
    /// The sender has ended. Nothing follows.
    End(Reason),
}

/// What a sender keeps until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Undelivered {
    /// A letter.
    Letter(Share),
    /// The word that it watches: [`Piece::Watch`].
    Watch,
    /// [`Piece::Link`].
    Link,
    /// [`Piece::Unlink`].
    Unlink(u64),
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Got {
    /// The life whose pieces they are.
    pub life: Life,
    /// Every piece before this one belongs to a letter that is in the inbox.
    pub next: u64,
    /// How much, in all, may be sent: see [`letter_cost`].
    pub allowed: u64,
    /// Something was turned away: say again what follows.
    pub again: bool,
}

/// Why a process is no more, as others are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// It ended with code 0.
    Normal,
    /// It exited with another code.
    Code(u32),
    /// It trapped.
    Trap,
    /// It was killed.
    Killed,
    /// It reached a limit.
    Limit,
    /// It began anew, as another life.
    Restarted,
    /// Its node went, and it with it.
    Lost(NodeId),
    /// There is no such process, or it ended so long ago that nobody knows how.
    NoProcess,
    /// It was linked to this one, which ended so.
    Linked(Pid, Cause),
}

/// Why the first of a chain of linked processes ended, the others with it: a [`Reason`] other than
/// [`Reason::Normal`], which takes nobody along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// [`Reason::Code`].
    Code(u32),
    /// [`Reason::Trap`].
    Trap,
    /// [`Reason::Killed`].
    Killed,
    /// [`Reason::Limit`].
    Limit,
    /// [`Reason::Restarted`].
    Restarted,
    /// [`Reason::Lost`].
    Lost(NodeId),
    /// [`Reason::NoProcess`].
    NoProcess,
}

/// To which other groups a process may send. Its own it always may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Grant {
    /// To none.
    #[default]
    Own,
    /// To these.
    Groups(Vec<GroupId>),
    /// To all.
    All,
}

/// How letters find the processes of a group when they move. All of these are hints: whoever they fail
/// asks the registry.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Locate {
    /// Senders ask the registry when an address fails.
    Directory,
    /// A process tells its correspondents before it moves, so that they hold their letters, and after.
    Update,
    /// A node that a process has left says for a while where it went.
    Forwarding,
    /// Letters go to a fixed node, which is told of each move and passes them on.
    Mailbox(NodeId),
    /// Letters go to a fixed node, which keeps them until the process's node asks for them.
    Pull {
        /// That node.
        mailbox: NodeId,
        /// How often it is asked, while the process has no letter to take; in microseconds.
        every_micros: u32,
    },
    /// Each process uses whichever of these is cheapest by what it has counted.
    #[default]
    Adaptive,
}

impl Locate {
    /// The fixed node that letters go to.
    #[must_use]
    pub fn mailbox(&self) -> Option<NodeId> {
        match self {
            Self::Mailbox(node) | Self::Pull { mailbox: node, .. } => Some(*node),
            Self::Directory | Self::Update | Self::Forwarding | Self::Adaptive => None,
        }
    }

    /// The same with another fixed node, if it has one.
    #[must_use]
    pub fn with_mailbox(self, node: NodeId) -> Self {
        match self {
            Self::Mailbox(_) => Self::Mailbox(node),
            Self::Pull { every_micros, .. } => Self::Pull { mailbox: node, every_micros },
            other => other,
        }
    }
}

/// Where letters wait that come while a process is on its way.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum InTransit {
    /// With their sender, which says them again.
    #[default]
    SenderKeeps,
    /// With their sender, which sends no more to this process until it is heard of.
    SenderBlocks,
    /// With the node that they have come to: the old one, the target, or a mailbox. It says so to the sender, which
    /// repeats them seldom, and keeps them.
    NodeKeeps,
}

/// What travels with a process about its letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Letters {
    /// The process's life.
    pub life: Life,
    /// To whom it may send.
    pub grant: Grant,
    /// How letters find it.
    pub locate: Locate,
    /// Where letters wait while it moves.
    pub in_transit: InTransit,
    /// Whether the end of a linked process is news to it, and does not end it.
    pub traps: bool,
    /// Everyone it has had to do with.
    pub correspondents: Vec<Correspondent>,
    /// Where it has been and left word of where it went, as far as that matters.
    pub trail: Vec<Left>,
    /// What it has counted, if it chooses for itself.
    pub ledger: Option<Ledger>,
}

/// What travels with a process about one other. 32 bytes or so when nothing is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Correspondent {
    /// The other.
    pub pid: Pid,
    /// Where it was.
    pub at: Option<Address>,
    /// The number of its first piece that it has not acknowledged.
    pub acknowledged: u64,
    /// What all letters to it have cost.
    pub spent: u64,
    /// What they may.
    pub allowed: u64,
    /// What it has not acknowledged, in order.
    pub undelivered: Vec<Undelivered>,
    /// Its life, as far as it is known.
    pub life: Life,
    /// The number of the next piece from it.
    pub next: u64,
    /// What the letters from it have cost that the guest has taken.
    pub taken: u64,
    /// What those cost that are in the inbox.
    pub inbox: u64,
    /// Whether it is watched: its end is news to the guest.
    pub watched: bool,
    /// Whether its node was said to be silent to whoever watches it.
    pub silent: bool,
    /// Whether it watches, and is told of the end of this process.
    pub watcher: bool,
    /// Whether the two are linked: each ends with the other.
    pub linked: bool,
    /// The number after that of the last [`Piece::Link`] to it; 0 if there was none.
    pub link_said: u64,
    /// Why it is no more, if it is.
    pub down: Option<Reason>,
    /// How it wants to be written to, if not at its address.
    pub via: Option<Via>,
}

/// What a letter counts for where bytes are counted: an empty one takes room, too.
#[must_use]
pub const fn letter_cost(bytes: usize) -> u64 {
    bytes as u64 + LETTER_OVERHEAD
}

/// The bookkeeping of one letter, roughly.
const LETTER_OVERHEAD: u64 = 64;

impl Share {
    /// The part of it from `start` to `end`, shared.
    ///
    /// # Panics
    /// If there are no such bytes.
    #[must_use]
    pub fn part(&self, start: usize, end: usize) -> Self {
        assert!(start <= end && end <= self.len());
        let at = |offset: usize| self.start + offset as u32;
        Self { whole: Arc::clone(&self.whole), start: at(start), end: at(end) }
    }

    /// How many pieces these bytes are sent in.
    #[must_use]
    pub fn pieces(&self) -> u64 {
        self.len().div_ceil(PIECE_BYTES_MAX).max(1) as u64
    }
}

impl Undelivered {
    /// How many pieces it is sent in.
    #[must_use]
    pub fn pieces(&self) -> u64 {
        match self {
            Self::Letter(share) => share.pieces(),
            Self::Watch | Self::Link | Self::Unlink(_) => 1,
        }
    }

    /// What it counts for where bytes are counted.
    #[must_use]
    pub fn cost(&self) -> u64 {
        match self {
            Self::Letter(share) => letter_cost(share.len()),
            Self::Watch | Self::Link | Self::Unlink(_) => 0,
        }
    }
}

impl Deref for Share {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.whole[self.start as usize..self.end as usize]
    }
}

impl From<&[u8]> for Share {
    /// # Panics
    /// If they are more than 4 GiB, which no letter is.
    fn from(bytes: &[u8]) -> Self {
        let end = u32::try_from(bytes.len()).expect("a letter");
        Self { whole: Arc::from(bytes), start: 0, end }
    }
}

impl From<Vec<u8>> for Share {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(&bytes[..])
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Share {}

impl Hash for Share {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} bytes)", self.len())
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Share;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes of a letter")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Share, E> {
                if LETTER_BYTES_MAX < bytes.len() {
                    return Err(E::invalid_length(bytes.len(), &self));
                }
                Ok(Share::from(bytes))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

impl From<&Outcome> for Reason {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Code(0) => Self::Normal,
            Outcome::Code(code) => Self::Code(*code),
            Outcome::Trap(_) => Self::Trap,
            Outcome::Killed => Self::Killed,
            Outcome::Limit(_) => Self::Limit,
            Outcome::Lost(peer) => Self::Lost(peer.node),
            Outcome::Linked(pid, cause) => Self::Linked(*pid, *cause),
        }
    }
}

impl Reason {
    /// Why those end that were linked to one that ended so; `None` if they do not.
    #[must_use]
    pub fn cause(self) -> Option<Cause> {
        Some(match self {
            Self::Normal => return None,
            Self::Code(code) => Cause::Code(code),
            Self::Trap => Cause::Trap,
            Self::Killed => Cause::Killed,
            Self::Limit => Cause::Limit,
            Self::Restarted => Cause::Restarted,
            Self::Lost(node) => Cause::Lost(node),
            Self::NoProcess => Cause::NoProcess,
            Self::Linked(_, first) => first,
        })
    }
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Code(code) => Self::Code(code),
            Cause::Trap => Self::Trap,
            Cause::Killed => Self::Killed,
            Cause::Limit => Self::Limit,
            Cause::Restarted => Self::Restarted,
            Cause::Lost(node) => Self::Lost(node),
            Cause::NoProcess => Self::NoProcess,
        }
    }
}

impl Letters {
    /// Leaves out what is not acknowledged, as no honest image does: a mutant of the rules.
    #[doc(hidden)]
    pub fn forget_unacknowledged(&mut self) {
        for correspondent in &mut self.correspondents {
            let undelivered = core::mem::take(&mut correspondent.undelivered);
            correspondent.acknowledged += undelivered.iter().map(Undelivered::pieces).sum::<u64>();
        }
    }
}

impl Grant {
    /// Whether it covers this group.
    #[must_use]
    pub fn covers(&self, group: GroupId) -> bool {
        match self {
            Self::Own => false,
            Self::Groups(groups) => groups.contains(&group),
            Self::All => true,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Code(code) => write!(f, "code({code})"),
            Self::Trap => f.write_str("trap"),
            Self::Killed => f.write_str("killed"),
            Self::Limit => f.write_str("limit"),
            Self::Restarted => f.write_str("restarted"),
            Self::Lost(node) => write!(f, "lost({node})"),
            Self::NoProcess => f.write_str("noproc"),
            Self::Linked(pid, cause) => write!(f, "linked({pid}, {})", Self::from(*cause)),
        }
    }
}

impl fmt::Display for Locate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("directory"),
            Self::Update => f.write_str("update"),
            Self::Forwarding => f.write_str("forwarding"),
            Self::Mailbox(node) => write!(f, "mailbox at {node}"),
            Self::Pull { mailbox, .. } => write!(f, "mailbox-pull at {mailbox}"),
            Self::Adaptive => f.write_str("adaptive"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.peer, self.epoch)
    }
}

impl fmt::Display for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mail({} to {}@{}", self.from, self.to, self.meant)?;
        if !self.pieces.is_empty() {
            write!(f, " {}+{}", self.first, self.pieces.len())?;
        }
        if let Some(Piece::End(reason)) = self.pieces.last() {
            write!(f, " end {reason}")?;
        }
        if self.ask {
            f.write_str(" ask")?;
        }
        if let Some(got) = &self.got {
            write!(f, " got {} of {}", got.next, got.allowed)?;
            f.write_str(if got.again { " again" } else { "" })?;
        }
        if let Some(Via { mailbox, keeps }) = &self.via {
            write!(f, " via {mailbox}{}", if *keeps { " keeping" } else { "" })?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn a_share_crosses_the_wire_as_its_bytes() {
        let share = Share::from(&b"a letter"[..]);
        let part = share.part(2, 8);
        assert_eq!(&*part, b"letter");
        let read: Share = crate::decode(&crate::encode(&part)).expect("a share");
        assert_eq!(read, part);
    }

    #[test]
    fn a_letter_that_is_too_long_is_not_read() {
        let long = crate::Blob(vec![0; LETTER_BYTES_MAX - 8]);
        assert!(crate::decode::<Share>(&crate::encode(&long)).is_ok());
        let long = postcard::to_extend(&crate::Blob(vec![0; LETTER_BYTES_MAX + 1]), vec![]);
        assert!(postcard::from_bytes::<Share>(&long.expect("bytes")).is_err());
    }

    #[test]
    fn an_empty_letter_is_one_piece() {
        for (bytes, pieces) in [(0, 1), (1, 1), (PIECE_BYTES_MAX, 1), (PIECE_BYTES_MAX + 1, 2)] {
            assert_eq!(Share::from(vec![0; bytes]).pieces(), pieces, "{bytes}");
        }
    }
}
