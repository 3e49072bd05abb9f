//! Runs transformed programs on Wasmtime: starts, slices, freezes, thaws and meters them.
//!
//! # A process is its frames
//!
//! A program that runs has a native stack; a program at rest has none. One mechanism takes the
//! processor from a process, whatever the reason (a time slice, a blocking host call, a freeze, a
//! kill): a bit in its control word, or `LEAVE`, makes the transformed code *unwind*, which writes
//! its stack as data to a memory of its own (see the `transform` crate). The worker thread is
//! then free for the next process. To go on, the *resume* form of the same code is
//! entered with the frames in place and winds itself back to where it was.
//!
//! ```text
//!            start                 request or LEAVE                     freeze
//!   Code ───────────▶ running ─────────────────────▶ at rest ─────────────────────▶ Frozen ──▶ image
//!    ▲               (native      ◀─────────────────  (frames,      ◀─────────────────  │
//!    │                stack)          rewind          instance)         resume           ▼
//!    └──────────────────────────────────────────────────────────────────────── Thaw ◀── image
//! ```
//!
//! Linear memories are our own mappings: the instance that goes on takes over the memory of the
//! one that stopped, and an image is read from and written to them directly.
//!
//! # Entry points
//!
//! [`Engine::prepare`] turns a program into [`Code`]; [`Engine::start`] makes a [`Process`] of it;
//! [`Process::freeze`] yields a [`Frozen`], whose [`Frozen::image`] is a stream of bytes;
//! [`Thaw`] takes such a stream and makes a [`Staged`], which [`Staged::run`] sets going.
//!
//! **Invariant:** this crate names no socket. **Invariant:** a trap, an exhaustion or a lie in one
//! program ends that program alone. **Invariant:** `unsafe` is in `raw` alone.

#![warn(missing_docs)]

mod body;
mod bundle;
mod cache;
mod code;
mod config;
mod error;
mod event;
mod frozen;
mod host;
mod image;
mod instance;
mod layout;
mod mail;
mod packed;
mod plain;
mod process;
mod pulley;
mod raw;
mod room;
mod setup;
mod thaw;
pub mod wasi;
mod worker;

pub use code::{Code, Progress, Step};
pub use config::{Config, Engine, Target};
pub use error::{CodeError, ConfigError, StartError, ThawError, WriteError};
pub use event::{Event, EventSink, FrameName, Limit, Outcome, Stream, TrapReport};
pub use frozen::{Frozen, ImageWriter, Stamp};
pub use host::{INPUT_BYTES_MAX, Input, OUTPUT_BYTES_MAX, Wait, World, now};
pub use mail::{
    INBOX_BYTES_MAX, Incoming, MEMBERS_MAX, MESSAGE_BYTES_EXTRA, MESSAGE_BYTES_MAX,
    OUTBOX_BYTES_EACH_MAX, OUTBOX_BYTES_MAX, Order, Outgoing, Received, Took, Unnamed, Unsent,
    What,
};
pub use plain::{Plain, PlainCode, Ran};
pub use process::{Process, Stats, Status};
pub use setup::{Dir, Needs, Place, Setup};
pub use thaw::{Staged, Thaw};

#[cfg(test)]
mod tests;
