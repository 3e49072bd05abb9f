//! The protocol's own section of an image: what must travel with a process besides the guest.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{Blob, Epoch, Letters, NodeId, Offer, Owner, Pid, Stream};

/// What the protocol knows about a process. Opaque to engine and driver, who carry it in the image.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Section {
    /// Which process.
    pub pid: Pid,
    /// The offer that this image is. Counts the offers this process has made.
    pub offer: Offer,
    /// Who owns the process while this image is under way: the source, or a file.
    pub owner: Owner,
    /// In which epoch.
    pub epoch: Epoch,
    /// The node that keeps its output.
    pub home: NodeId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Whether its group ends with it, should it fail.
    pub together: bool,
    /// How often an image of it is written to its node's disk, in milliseconds, if it is to begin anew from there when
    /// its node has crashed.
    pub durable: Option<u32>,
    /// How much output the home has acknowledged.
    pub acknowledged: u64,
    /// The output that it has not, in order.
    pub output: Vec<(Stream, Blob)>,
    /// What is under way between it and others.
    pub letters: Letters,
}
