//! One node.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use wire::{Epoch, Member, NodeId, Offer, Peer, Pid};

use crate::{Input, Instant, Output, Rng, Span};

/// What a machine is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node, and the incarnation that it has just raised on disk.
    pub me: Peer,
    /// Its name, for the member list.
    pub name: String,
    /// Where it can be reached, for the member list.
    pub address: String,
    /// Spreads retries.
    pub rng: Rng,
}

/// One incarnation of one node: all processes it has, offers, stages or keeps the output of.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    outputs: VecDeque<Output>,
}

/// A process as `ps` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which process.
    pub pid: Pid,
    /// In which epoch; for an image on its way here, the epoch it had.
    pub epoch: Epoch,
    /// How many offers it has made.
    pub offer: Offer,
    /// What it does here.
    pub condition: Condition,
    /// Where its output is kept.
    pub home: Option<NodeId>,
    /// What it waits for, and since when, if it waits for another node or the registry.
    pub waits: Option<(Waits, Instant)>,
}

/// What a process does on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// It runs.
    Running,
    /// It runs; a target has been asked whether it would take it.
    Preparing(Peer),
    /// It is being frozen, for a node or a file.
    Freezing,
    /// It is frozen here and offered.
    Offered(Peer),
    /// It is frozen here; its image goes into a file.
    Storing,
    /// It runs there; its image is kept here until that is settled.
    Kept(Peer),
    /// Room is reserved for it.
    Reserved(Peer),
    /// Its image is here, and the commit has been asked for.
    Staged(Peer),
    /// It runs, and what others could see is held back until its source has answered.
    Muted(Peer),
    /// It has ended; the last of its output is on its way.
    Ending,
}

/// What a process waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waits {
    /// An answer of this node.
    Node(Peer),
    /// An answer of the registry.
    Registry,
}

impl Machine {
    /// Starts an incarnation. Its first output asks the registry for the state of the cluster;
    /// until that is answered it takes and starts nothing.
    #[must_use]
    pub fn new(now: Instant, config: Config) -> Self {
        let _ = now;
        Self { config, outputs: VecDeque::new() }
    }

    /// Feeds one event. Follow it with [`poll`](Self::poll) until `None`.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let _ = (now, input, &self.config);
    }

    /// The next thing to do, or `None` when the node is waiting.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Wake`], if nothing happens first.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Every process that this node has anything to do with, the output it keeps apart.
    pub fn processes(&self) -> impl Iterator<Item = Status> + '_ {
        core::iter::empty()
    }

    /// Every member of the cluster, as of the last news from the registry.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &[]
    }

    /// How many bytes of output a process may still write before its home has acknowledged some.
    #[must_use]
    pub fn output_room(&self, pid: Pid) -> usize {
        let _ = pid;
        0
    }

    /// How long ago the registry last answered.
    #[must_use]
    pub fn registry_heard(&self, now: Instant) -> Option<Span> {
        let _ = now;
        None
    }

    /// Takes no more processes from others, so that it can be emptied.
    pub fn drain(&mut self, draining: bool) {
        let _ = draining;
    }

    /// The processes whose output this node keeps: where each was last heard of.
    pub fn logs(&self) -> impl Iterator<Item = (Pid, Option<Peer>)> + '_ {
        Vec::new().into_iter()
    }
}
