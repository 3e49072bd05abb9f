//! What a member says of itself when the registry is lost and made anew.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{Epoch, Generation, GroupId, Member, Offer, Peer, Pid};

/// All that a member knows that the registry knew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testimony {
    /// Who says it.
    pub from: Peer,
    /// The members as it last heard of them.
    pub members: Vec<Member>,
    /// The newest generation that it has heard of.
    pub generation: Generation,
    /// The groups that are killed, as far as it has heard.
    pub killed: Vec<GroupId>,
    /// What it has of processes.
    pub claims: Vec<Claim>,
    /// The newest offer of each process that it has committed lately, whatever became of it.
    pub committed: Vec<(Pid, Offer)>,
    /// The blocks of group ids that it gives away: first to last.
    pub blocks: Vec<(GroupId, GroupId)>,
    /// The processes whose output it keeps and of whose end it has not heard.
    pub logs: Vec<Pid>,
    /// The highest group id that it has to do with.
    pub highest: GroupId,
}

/// What a member has of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The process.
    pub pid: Pid,
    /// Its epoch, as its holder knows it.
    pub epoch: Epoch,
    /// Its newest offer there.
    pub offer: Offer,
    /// The name that it has.
    pub name: Option<String>,
    /// How it is held.
    pub held: Held,
}

/// How a member holds a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// It is there, and nowhere else.
    Owned,
    /// Frozen, and offered to this incarnation, which may have committed it.
    Offered(Peer),
    /// An image, kept until this incarnation is known to have it: it has committed it.
    Kept(Peer),
}
