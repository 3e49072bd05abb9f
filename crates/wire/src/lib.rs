//! What crosses a socket or a disk: ids, messages, records, process images, and their codecs.
//!
//! Everything decoded here is hostile until it is decoded (see `docs/image.md` and
//! `docs/protocol.md` for the formats): decoding never panics, and never allocates more than the
//! bytes at hand can justify.
//!
//! **Invariant:** this crate names no clock, socket, file or engine.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

mod ids;

pub use ids::{CodeHash, Epoch, GroupId, Incarnation, NodeId, Offer, ParseIdError, Peer, Pid};
