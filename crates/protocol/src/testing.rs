//! What unit tests of the machine begin with.

use alloc::string::String;
use alloc::vec::Vec;

use wire::{GroupId, Incarnation, NodeId, Peer, Pid};

use crate::{Config, Instant, Machine, Output, Rng};

/// A node's first incarnation.
pub(crate) fn peer(node: u32) -> Peer {
    Peer { node: NodeId(node), incarnation: Incarnation(1) }
}

/// A process of a group of its own.
pub(crate) fn pid(group: u64) -> Pid {
    Pid { group: GroupId(group), index: 0 }
}

/// A node that has not heard of any other.
pub(crate) fn machine(node: u32) -> Machine {
    let config = Config {
        me: peer(node),
        name: String::new(),
        address: String::new(),
        rng: Rng::seeded(0),
        stored: Vec::new(),
        fenced: false,
    };
    Machine::new(Instant::default(), config)
}

/// All it has put out since it was last asked.
pub(crate) fn drain(machine: &mut Machine) -> Vec<Output> {
    core::iter::from_fn(|| machine.poll()).collect()
}
