//! The authority on members, locations, names and killed groups.

use alloc::vec::Vec;

use wire::{
    Generation, Incarnation, Key, News, Peer, Record, RegistryRefusal, Reply, Request, Write,
};

use crate::Instant;

/// The registry as a pure function of what it was asked.
///
/// The driver makes the writes durable, in order, before it lets the reply go: a question may be
/// repeated, an answer must not be taken back. The members' leases are not durable: after a start
/// everyone counts as just heard.
#[derive(Debug, Default)]
pub struct Registry {}

impl Registry {
    /// Starts from the durable records; none at all make an empty registry. `incarnation` is that
    /// of the node it is on.
    #[must_use]
    pub fn recover(
        now: Instant,
        incarnation: Incarnation,
        records: impl IntoIterator<Item = (Key, Record)>,
    ) -> Self {
        let _ = (now, incarnation, records.into_iter().count());
        Self {}
    }

    /// Answers `from`, whose identity the link vouches for. For a [`Request::Join`] of a machine
    /// that is no member yet, `from` is the member that passes it on.
    pub fn apply(&mut self, now: Instant, from: Peer, request: Request) -> (Reply, Vec<Write>) {
        let _ = (now, from, request);
        (Reply::Refused(RegistryRefusal::NotMember), Vec::new())
    }

    /// The state of affairs, for `status` and `nodes` on the registry's own node.
    #[must_use]
    pub fn news(&self, now: Instant) -> News {
        let _ = now;
        News { version: 0, generation: Generation(0), members: Vec::new(), killed: Vec::new() }
    }
}
