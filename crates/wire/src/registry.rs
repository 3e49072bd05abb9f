//! What the registry is asked, what it answers, and what it writes down.
//!
//! A location record is (owner, epoch, offer) and changes by compare-and-swap on owner and epoch,
//! always to the next epoch; a record that already says what is asked for counts as yes, so any
//! question may be asked again. No record means: at the incarnation that owns the block its id
//! came from, epoch 0.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{Cause, CodeHash, Epoch, GroupId, Incarnation, NodeId, Offer, Peer, Pid, Reason};

/// Counts changes that members must deal with before something may be declared lost or over: a
/// member gone, a group killed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Generation(pub u64);

/// The BLAKE3 hash of a join token: the registry never holds the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

/// Who has a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// One incarnation of a node.
    Node(Peer),
    /// A file, until one `thaw` brings it back.
    File,
    /// Nobody: it has ended.
    Nobody,
    /// Nobody: its group was killed while it lay in a file.
    Killed,
}

/// A location record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Who has it.
    pub owner: Owner,
    /// Counts its owners, and the times that one was confirmed.
    pub epoch: Epoch,
    /// The offer that brought it there.
    pub offer: Offer,
}

/// A location as the registry sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The record.
    pub place: Place,
    /// How its owner is.
    pub standing: Standing,
}

/// How the owner of a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// It renews its lease.
    Up,
    /// It has missed its lease. Nothing is taken over.
    Silent,
    /// It is gone, on evidence; whether a survivor holds an image of the process is being found out.
    Gone,
    /// It is gone, and no survivor held an image. Final.
    Lost,
    /// It is a file, or the process has ended.
    Rests,
    /// No block of ids holds this one.
    Unknown,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It exited with this code.
    Code(u32),
    /// It trapped; the words are the trap and its backtrace.
    Trap(String),
    /// It was killed.
    Killed,
    /// It reached a limit.
    Limit(String),
    /// Its node went, and it with it.
    Lost(Peer),
    /// It was linked to this process, which did not end well.
    Linked(Pid, Cause),
}

impl Outcome {
    /// Whether it did not end as it should: only an exit with code 0 is success.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        *self != Self::Code(0)
    }
}

/// What the registry is asked. The asker is known from the link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// From a machine that is no member yet, on its behalf: make it one.
    Join {
        /// The token it showed.
        token: TokenHash,
        /// The name it wants, unique among members.
        name: String,
        /// Where it can be reached.
        address: String,
    },
    /// First word of an incarnation. Its earlier incarnations are gone from now on.
    Start {
        /// Its name.
        name: String,
        /// Where it can be reached.
        address: String,
        /// It has images of durable processes on its disk: what its earlier incarnations had is not lost before it has
        /// dealt with their going.
        claims: bool,
        /// It stops everything a second before its lease is over, unless that is renewed.
        fenced: bool,
    },
    /// I am here; tell me what is new.
    Renew {
        /// The [`News::version`] it has.
        seen: u64,
        /// It has dealt with everything up to here.
        handled: Generation,
    },
    /// A block of group ids for this incarnation.
    Block,
    /// Change a location record.
    Swap(Swap),
    /// A process that has a record has ended.
    Ended {
        /// Which.
        pid: Pid,
        /// In which epoch of the asker's.
        epoch: Epoch,
    },
    /// Where are these?
    Locate(Vec<Pid>),
    /// Give a process a name.
    Name {
        /// The name.
        name: String,
        /// The process.
        pid: Pid,
    },
    /// Take a name back.
    Unname {
        /// The name.
        name: String,
        /// The process that has it.
        pid: Pid,
    },
    /// Whose name is this?
    Lookup(String),
    /// Record that a group is killed, or ask how far that is.
    KillGroup(GroupId),
    /// The operator's word that a node is off for good.
    Forget(NodeId),
    /// Let a token be used once.
    Token {
        /// Its hash.
        hash: TokenHash,
        /// For how long. The registry has a bound of its own.
        life_micros: u64,
    },
    /// This incarnation has this code, and can send it.
    HasCode(CodeHash),
    /// Who has this code?
    WhoHasCode(CodeHash),
    /// Change all of these location records, or none: commits of different processes, at most 1,000.
    SwapAll(Vec<Swap>),
}

/// One compare-and-swap: from (`owner`, `epoch`) to (`to`, `epoch + 1`, `offer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Swap {
    /// Which process.
    pub pid: Pid,
    /// What for.
    pub kind: SwapKind,
    /// The owner it is expected to have.
    pub owner: Owner,
    /// The epoch it is expected to be in.
    pub epoch: Epoch,
    /// The owner it gets. Its epoch will be the next one.
    pub to: Owner,
    /// The offer that this is about.
    pub offer: Offer,
}

/// What a compare-and-swap is for: it decides who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SwapKind {
    /// The target, holding the whole image: from the source to itself.
    Commit,
    /// The source, its target silent: to itself again, so that a late commit fails.
    GiveUp,
    /// The target, its source silent: to itself again, so that a late take-back fails.
    Raise,
    /// The source, its target gone: from the target to itself. Refused without evidence.
    TakeBack,
    /// The owner, its image in a durable file: to the file.
    Store,
    /// Whoever reads the file: from the file to itself.
    Thaw,
    /// A later incarnation of the owner, with an image on its disk: to itself. The process begins a new life.
    Restart,
}

/// What the registry answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// A new member, with this number.
    Joined(NodeId),
    /// The lease runs; this is what is new, if anything is.
    News(Option<News>),
    /// A block of group ids, first to last.
    Block(GroupId, GroupId),
    /// The record says what was asked for.
    Swapped(Pid, Place),
    /// The record says otherwise.
    NotSwapped(Pid, Location),
    /// Locations, in the order of the question.
    Locations(Vec<(Pid, Location)>),
    /// Done, or done before.
    Done,
    /// A name belongs to this process.
    Named(Pid),
    /// The kill of a group is recorded; these members have yet to answer.
    Killing(GroupId, Vec<NodeId>),
    /// These have the code.
    Code(Vec<Peer>),
    /// No.
    Refused(RegistryRefusal),
    /// All records say what was asked for.
    SwappedAll(Vec<(Pid, Place)>),
    /// None was changed, because these say otherwise.
    NotSwappedAll(Vec<(Pid, Location)>),
}

/// Why the registry refuses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RegistryRefusal {
    /// The asker's incarnation is gone: a newer one has started, or it was forgotten.
    Gone,
    /// The asker is not a member.
    NotMember,
    /// The token is unknown, or used.
    Token,
    /// The name belongs to another member or process.
    NameTaken,
    /// Unknown name, node or process.
    Unknown,
    /// A name or address is empty or longer than [`NAME_BYTES_MAX`].
    BadName,
    /// This node would be forgotten while it answers: only a silent one can be.
    StillUp,
    /// The token has expired.
    TokenExpired,
}

/// The longest name of a node or process, and of an address.
pub const NAME_BYTES_MAX: usize = 255;

/// What members are told when it differs from what they have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct News {
    /// Names this state of affairs; only compared for equality.
    pub version: u64,
    /// The newest generation.
    pub generation: Generation,
    /// Every member, forgotten ones too while their loss is being settled.
    pub members: Vec<Member>,
    /// Groups of which nothing may run.
    pub killed: Vec<GroupId>,
}

/// A member as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its number and current incarnation. All earlier incarnations are gone.
    pub peer: Peer,
    /// Its name.
    pub name: String,
    /// Where it can be reached.
    pub address: String,
    /// How it is.
    pub standing: MemberStanding,
    /// What its incarnations up to this one had, and no survivor held, is lost.
    pub settled: Incarnation,
    /// This incarnation stops by itself when its lease is not renewed.
    pub fenced: bool,
}

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MemberStanding {
    /// It has joined and not yet started.
    Joined,
    /// It renews its lease.
    Up,
    /// It has missed its lease.
    Silent,
    /// It has missed its lease and is fenced: this incarnation is gone. The node may start again.
    Lapsed,
    /// The operator has declared it gone.
    Forgotten,
}

/// Names a durable record of the registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// Counters.
    Counters,
    /// A member.
    Member(NodeId),
    /// A block of group ids, by its first.
    Block(GroupId),
    /// A location.
    Place(Pid),
    /// A name of a process.
    Name(String),
    /// A killed group.
    Killed(GroupId),
    /// A token.
    Token(TokenHash),
}

/// A durable record of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Record {
    /// Numbers never used again.
    Counters {
        /// The next node number.
        next_node: u32,
        /// The next group id.
        next_group: u64,
        /// The newest generation.
        generation: Generation,
    },
    /// A member.
    Member(MemberRecord),
    /// A block of ids: its last id, and who got it.
    Block(GroupId, Peer),
    /// A location.
    Place(Place),
    /// Whose name it is.
    Name(Pid),
    /// When, in generations, a group was killed.
    Killed(Generation),
    /// A token not used yet, and when it was made, in microseconds of the registry's own count.
    Token {
        /// When it expires.
        expires_micros: u64,
    },
}

/// A member as the registry keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Its name.
    pub name: String,
    /// Where it can be reached.
    pub address: String,
    /// Its newest incarnation; 0 before its first start.
    pub incarnation: Incarnation,
    /// Declared gone by the operator.
    pub forgotten: bool,
    /// The generation in which an incarnation of it last went.
    pub departed: Generation,
    /// What its incarnations up to this one had is lost for good, unless it has been taken over.
    pub settled: Incarnation,
    /// Its newest incarnation stops by itself when its lease is not renewed.
    pub fenced: bool,
    /// That incarnation's lease is over, and with it the incarnation.
    pub lapsed: bool,
}

/// A change to the durable records. A reply is released when all writes before it are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Put this record in place of whatever was there.
    Put(Key, Record),
    /// Remove it.
    Delete(Key),
}

impl Place {
    /// The node that has it, if it is a node.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        match self.owner {
            Owner::Node(peer) => Some(peer),
            Owner::File | Owner::Nobody | Owner::Killed => None,
        }
    }
}

impl Swap {
    /// What the record says once it is done.
    #[must_use]
    pub fn result(&self) -> Place {
        Place { owner: self.to, epoch: self.epoch.next(), offer: self.offer }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(peer) => write!(f, "{peer}"),
            Self::File => f.write_str("file"),
            Self::Nobody => f.write_str("nobody"),
            Self::Killed => f.write_str("killed"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}, {})", self.owner, self.epoch, self.offer)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Swap(swap) => write!(
                f,
                "{:?} {} ({}, {}) to {}",
                swap.kind,
                swap.pid,
                swap.owner,
                swap.epoch,
                swap.result()
            ),
            Self::Renew { handled, .. } => write!(f, "Renew handled {}", handled.0),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Swapped(pid, place) => write!(f, "yes: {pid} {place}"),
            Self::NotSwapped(pid, location) => {
                write!(f, "no: {pid} {} {:?}", location.place, location.standing)
            }
            Self::News(None) => f.write_str("no news"),
            Self::News(Some(news)) => write!(f, "news of generation {}", news.generation.0),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "code({code})"),
            Self::Trap(words) => write!(f, "trap: {words}"),
            Self::Killed => f.write_str("killed"),
            Self::Limit(words) => write!(f, "limit: {words}"),
            Self::Lost(peer) => write!(f, "lost({peer})"),
            Self::Linked(pid, cause) => write!(f, "linked({pid}, {})", Reason::from(*cause)),
        }
    }
}
