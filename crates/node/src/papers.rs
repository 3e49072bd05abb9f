//! What a node knows about a process besides the guest and the protocol: it travels with it.

use std::time::Duration;

use protocol::balance::Labels;
use serde::{Deserialize, Serialize};
use wire::{CodeHash, Section};

/// Papers that claim to be longer are not read: output not acknowledged, arguments, environment.
const PAPERS_BYTES_MAX: usize = 16 << 20;

/// The format of papers that this release writes and reads.
const VERSION: u8 = 2;

/// What `ps` and `inspect` show of a process wherever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Info {
    /// The program's name.
    pub(crate) program: String,
    /// The process's name, if it has one.
    pub(crate) name: Option<String>,
    /// Its arguments, the program's name first.
    pub(crate) args: Vec<String>,
    /// Its environment.
    pub(crate) env: Vec<(String, String)>,
    /// The most memory it may have, in bytes.
    pub(crate) memory_max: Option<u64>,
    /// When it was started, in microseconds since 1970, by the clock of that node.
    pub(crate) started_micros: u64,
    /// The time it computed before it came here.
    pub(crate) cpu: Duration,
    /// How often it has moved.
    pub(crate) moves: u64,
    /// On which nodes it may be.
    pub(crate) placement: Placement,
}

/// What a process asks of its nodes, by labels `K=V` that they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    /// Its node must have all of these.
    pub(crate) pin: Labels,
    /// Its node must have none of these.
    pub(crate) avoid: Labels,
    /// Its node had better have these.
    pub(crate) affinity: Labels,
}

impl Placement {
    /// Whether it may be on a node with these labels; or why not.
    pub(crate) fn allows(&self, labels: &Labels) -> Result<(), String> {
        let list = |labels: &mut dyn Iterator<Item = &String>| {
            labels.map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        let lacks = list(&mut self.pin.difference(labels));
        if !lacks.is_empty() {
            return Err(format!("it is pinned to {lacks}, which the node is not labelled with"));
        }
        let has = list(&mut self.avoid.intersection(labels));
        if !has.is_empty() {
            return Err(format!("it avoids {has}, which the node is labelled with"));
        }
        Ok(())
    }
}

/// The node's own section of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Papers {
    /// The protocol's.
    pub(crate) section: Section,
    /// The node's.
    pub(crate) info: Info,
    /// The image is of a process that ran on: what it becomes is another one.
    pub(crate) copy: bool,
}

/// What a process needs of a target, as `prepare` carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Needs {
    /// Its code.
    pub(crate) code: CodeHash,
    /// About how many bytes its image has, at most.
    pub(crate) image_bytes: u64,
    /// Its directories, which must be there under the same paths.
    pub(crate) dirs: Vec<engine::Dir>,
    /// Its image has to be on the target's disk before it is there.
    pub(crate) durable: bool,
    /// On which nodes it may be.
    pub(crate) placement: Placement,
}

impl Papers {
    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("papers are plain data")
    }

    /// Reads the papers of an image.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        if PAPERS_BYTES_MAX < bytes.len() {
            return Err(format!("papers of {} bytes, {PAPERS_BYTES_MAX} at most", bytes.len()));
        }
        match bytes.split_first() {
            Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
                Ok((papers, [])) => Ok(papers),
                _ => Err("the node's section is malformed".to_owned()),
            },
            Some((version, _)) => {
                Err(format!("the node's section has version {version}, this node reads {VERSION}"))
            }
            None => Err("the node's section is empty".to_owned()),
        }
    }
}
