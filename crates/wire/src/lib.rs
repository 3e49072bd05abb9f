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

mod codec;
mod hello;
mod ids;
pub mod image;
mod ledger;
mod mail;
mod message;
mod registry;
mod section;
mod testimony;

pub use codec::{Blob, DecodeError, MESSAGE_BYTES_MAX, WIRE_VERSION, decode, encode};
pub use hello::{Agreed, Channel, ClusterId, Format, Hello, HelloRefused, Versions};
pub use ids::{
    CodeHash, Epoch, GroupId, Incarnation, NodeId, Offer, PORT_INDEX_MIN, ParseIdError, Peer, Pid,
};
pub use ledger::{Acquaintance, Decision, Ledger, Left, WAYS};
pub use mail::{
    Address, Cause, Correspondent, Got, Grant, InTransit, LETTER_BYTES_MAX, Letters, Life, Locate,
    Mail, PIECE_BYTES_MAX, Piece, Reason, Share, Undelivered, Via, letter_cost,
};
pub use message::{
    AskId, CHUNK_BYTES_MAX, Envelope, Errand, Message, Moved, Refusal, Report, Stream, Ticket, Why,
};
pub use registry::{
    Generation, Key, Location, Member, MemberRecord, MemberStanding, NAME_BYTES_MAX, News, Outcome,
    Owner, Place, Record, RegistryRefusal, Reply, Request, Standing, Swap, SwapKind, TokenHash,
    Write,
};
pub use section::Section;
pub use testimony::{Claim, Held, Testimony};
