//! WASI whose whole state is data.
//!
//! A process moves with its descriptors, offsets, directory cursors, sleeps, unread input and
//! unsent output. The usual host keeps these in the operating system, where nobody can read them
//! back; this one keeps them in [`Wasi`], which [`Wasi::save`] turns into bytes and
//! [`Wasi::restore`] into a host again. The only things it holds from the operating system are open
//! handles, and each of them can be opened anew from what is written beside it: files are read and
//! written at offsets of our own, so a handle has no position that could be lost.
//!
//! # Waiting
//! No call sleeps on the worker's thread. A call that must wait does nothing, says what it waits
//! for ([`Wait`]) and is cancelled; the process unwinds, owns no stack, and the same call is issued
//! again with the same arguments when that has come. A relative sleep is turned into a deadline
//! when it is first issued, and the deadline is kept, so that a call issued again, here or on
//! another node, does not start over.
//!
//! # Why not wiggle
//! `wiggle::from_witx!` would make the pointer checks from an interface description. Preview 0
//! differs from preview 1 in three layouts only, but wiggle makes two unrelated sets of types of
//! them and wants each of 45 functions implemented twice; and "cancelled, to be issued again" is
//! neither an errno nor a trap, so each of its calls would have to be wrapped once more. Here the
//! two share one host, checked access to guest memory is one small type ([`guest`]), and a table
//! of signatures ([`link`]) is all that knows which of the two a module imports.
//!
//! **Invariant:** no call sleeps; no offset, cursor or deadline lives outside [`Wasi`]; no path a
//! guest names is opened but beneath a directory it was granted.

mod abi;
mod clock;
mod error;
mod guest;
mod link;

use std::path::PathBuf;
use std::time::Duration;

pub use abi::Errno;
pub use error::{Error, Exit};
pub use link::{MODULES, Missing, link, link_stubs, missing_imports};

use crate::{Dir, Setup, Wait, World};
use clock::Clock;

/// What a store's data must give for its guest to be served.
pub trait View: 'static {
    /// The process's WASI state, and what the engine lends to its calls.
    fn wasi(&mut self) -> (&mut Wasi, &mut World);

    /// The memory that the module exports as `memory`, in whose addresses calls speak.
    fn memory(&self) -> Option<wasmtime::Memory>;

    /// A call has to wait and was cancelled. Says how it is issued again: by the guest, once it was
    /// unwound and rewound, or right away, by a host that has waited within this call.
    fn block(&mut self, wait: Wait) -> Blocked {
        self.wasi().1.block(wait);
        Blocked::Unwind
    }

    /// How much of a processor the process has used. `None` if nobody counts; then its age is
    /// taken for it.
    fn cpu_time(&self) -> Option<Duration> {
        None
    }
}

/// How a cancelled call is issued again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The guest unwinds now; the call returns dummy results and is issued again after the rewind.
    Unwind,
    /// The wait is over: the call is tried again before it returns to the guest.
    Again,
}

/// What a node adds to the saved state of a process that continues on it.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    /// How long the process was frozen, if somebody counted it (a move does). Else the difference
    /// of the wall clocks at freeze and now is taken, and not less than nothing.
    pub frozen_for: Option<Duration>,
    /// Directories to bind elsewhere than where they were: the guest's name for it, and this
    /// node's path. Others are opened at the path that they had on the source.
    pub rebind: Vec<(String, PathBuf)>,
}

/// The WASI state of one process. What of it is shared with other threads (the streams, where the
/// process runs, whether its effects are held) is in [`World`].
pub struct Wasi {
    dirs: Vec<Dir>,
    clock: Clock,
}

impl Wasi {
    /// The state of a process that starts: its directories are opened, as descriptors 3, 4, … in
    /// the order given, and `/whimbrel` after them.
    ///
    /// # Errors
    /// A directory cannot be opened.
    pub fn new(setup: &Setup) -> Result<Self, Error> {
        check(&setup.dirs)?;
        Ok(Self { dirs: setup.dirs.clone(), clock: Clock::new() })
    }

    /// The state of a process that continues here.
    ///
    /// # Errors
    /// The bytes are no saved state, or a directory or file it has open is not here.
    pub fn restore(bytes: &[u8], arrival: &Arrival) -> Result<Self, Error> {
        let _ = (bytes, arrival);
        todo!()
    }

    /// Everything, as bytes, from which [`Wasi::restore`] makes it again. The process is frozen;
    /// saving changes nothing, and it can go on here all the same.
    ///
    /// # Errors
    /// Something it has open cannot travel, and is named. The process is unharmed.
    pub fn save(&self) -> Result<Vec<u8>, Error> {
        todo!()
    }

    /// The directories the process was granted: what a target must have before it accepts it.
    #[must_use]
    pub fn dirs(&self) -> &[Dir] {
        &self.dirs
    }
}

/// Whether all these directories can be opened on this node: the *prepare* step of a move asks this
/// before anything is frozen.
///
/// # Errors
/// Names the first that cannot.
pub fn check(dirs: &[Dir]) -> Result<(), Error> {
    let _ = dirs;
    Ok(())
}
