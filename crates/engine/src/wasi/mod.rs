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
//! again with the same arguments once [`Wasi::is_ready`] says so. A relative sleep is turned into a
//! deadline when it is first issued, and the deadline is kept, so that a call issued again, here or
//! on another node, does not start over.
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
mod console;
mod error;
mod guest;
mod link;
mod setup;
mod wait;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use abi::Errno;
pub use clock::Monotonic;
pub use console::{Console, HELD_OUTPUT_BYTES_MAX, Output, STDIN_BYTES_MAX, Sink, Stream, discard};
pub use error::{Error, Exit};
pub use link::{MODULES, Missing, link, link_stubs, missing_imports};
pub use setup::{Access, Dir, Place, Setup, Thaw};
pub use wait::Wait;

use clock::Clock;

/// What a store's data must give for its guest to be served.
pub trait View: 'static {
    /// The process's WASI state.
    fn wasi(&mut self) -> &mut Wasi;

    /// The memory that the module exports as `memory`, in whose addresses calls speak.
    fn memory(&self) -> Option<wasmtime::Memory>;

    /// A call has to wait and was cancelled. Says how it is issued again: by the guest, once it was
    /// unwound and rewound, or right away, by a host that has waited within this call.
    fn block(&mut self, wait: Wait) -> Blocked;

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

/// The WASI state of one process.
pub struct Wasi {
    setup: Setup,
    clock: Clock,
    console: Arc<Console>,
}

impl Wasi {
    /// The state of a process that starts.
    ///
    /// # Errors
    /// A directory cannot be opened.
    pub fn new(setup: Setup) -> Result<Self, Error> {
        check(&setup.dirs)?;
        let console = Arc::new(Console::new(setup.sink.clone()));
        Ok(Self { setup, clock: Clock::new(), console })
    }

    /// The state of a process that continues here.
    ///
    /// # Errors
    /// The bytes are no saved state, or a directory or file it has open is not here.
    pub fn restore(bytes: &[u8], thaw: Thaw) -> Result<Self, Error> {
        let _ = (bytes, thaw);
        todo!()
    }

    /// Everything, as bytes. The process must be frozen: nothing may call it until it is resumed.
    ///
    /// # Errors
    /// Something it has open cannot travel, and is named. The process is unharmed and can go on.
    pub fn save(&self) -> Result<Vec<u8>, Error> {
        todo!()
    }

    /// The standard streams, to be fed, held and drained by the node from any thread.
    #[must_use]
    pub fn console(&self) -> &Arc<Console> {
        &self.console
    }

    /// The directories the process was granted: what a target must have before it accepts it.
    #[must_use]
    pub fn dirs(&self) -> &[Dir] {
        &self.setup.dirs
    }

    /// Whether a wait is over.
    #[must_use]
    pub fn is_ready(&self, wait: Wait) -> bool {
        wait.until.is_some_and(|until| until <= self.clock.now())
            || wait.stdin && self.console.has_input()
            || wait.output_room && self.console.room() > 0
            || wait.effects && !self.console.is_held()
    }

    /// When a wait ends by itself, on this machine's clock.
    #[must_use]
    pub fn wakes_at(&self, wait: Wait) -> Option<Instant> {
        self.clock.instant(wait.until?)
    }
}

/// Whether all these directories can be opened on this node: the *prepare* step of a move asks this
/// before anything is frozen.
///
/// # Errors
/// Names the first that cannot.
pub fn check(dirs: &[Dir]) -> Result<(), Error> {
    dirs.iter().try_for_each(|dir| check_dir(dir, &dir.host))
}

fn check_dir(dir: &Dir, host: &Path) -> Result<(), Error> {
    let _ = (dir, host);
    Ok(())
}
