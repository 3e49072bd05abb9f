//! The daemon: sockets, disk, clock, entropy and engine, driven by the protocol's machine.
//!
//! ```text
//!            operator                    other nodes
//!               │ Unix socket              │ TLS, both ends certified by the cluster
//!        ┌──────▼──────┐   passes on  ┌────▼───────────────────────────────┐
//!        │  control    │─────────────▶│ links: control │ messages │ bulk   │
//!        └──────┬──────┘              └────────┬───────────┬──────────┬────┘
//!               │ wishes, looks                │           │          │ images
//!        ┌──────▼──────────────────────────────▼───────────┐          │
//!        │ driver: one task, owns protocol::Machine        │◀─────────┤
//!        └──┬───────────────┬──────────────┬───────────────┘          │
//!           │ guests        │ logbook      │ questions                │
//!        ┌──▼──────────┐ ┌──▼──────┐ ┌─────▼───────────────┐   ┌──────▼──────┐
//!        │ engine      │ │ files   │ │ home: one thread,   │   │ engine:     │
//!        │             │ │         │ │ Registry on SQLite  │   │ Thaw        │
//!        └─────────────┘ └─────────┘ └─────────────────────┘   └─────────────┘
//! ```
//!
//! [`Node::start`] is the entry point, for a daemon and for a node inside another program: nothing
//! in here is global, so one program can hold many.
//!
//! **Invariant:** what is decided about a process is decided in `protocol`; this crate does it.
//! **Invariant:** nothing is believed of a connection before TLS and `hello`; nothing is served on a
//! plain TCP port. **Invariant:** a failed link, stream or request ends itself alone; only the
//! registry's writer may hold up others, and then all of them.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod balancing;
mod checkpoints;
mod chronicle;
mod clock;
mod codes;
mod control;
pub mod disk;
mod driver;
mod halts;
mod home;
mod join;
mod links;
mod logbook;
mod node;
mod papers;
mod seat;
mod succession;
pub mod trust;

pub use halts::Halts;
pub use node::{Config, Ended, Handle, Node, Ready};
