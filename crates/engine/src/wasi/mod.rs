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
//! two share one host, checked access to guest memory is one small type (`guest.rs`), and a table
//! of signatures (`link.rs`) is all that knows which of the two a module imports.
//!
//! # Files
//! A granted directory is opened on each node at the same path, or where [`Arrival::rebind`] says.
//! What is open in it is opened again by its path, which is checked when the state is saved: a
//! file that was renamed is found under its new name, and one that was removed while open is
//! refused by name, since no other node could open it. Inode numbers are the node's own and may
//! differ after a move, as may what is in the directory, which is not carried along.
//!
//! **Invariant:** no call sleeps; no offset, cursor or deadline lives outside [`Wasi`]; no path a
//! guest names is opened but beneath a directory it was granted.

mod abi;
mod beneath;
mod call;
mod clock;
mod error;
mod files;
mod guest;
mod link;
mod messages;
mod paths;
mod place;
mod poll;
mod saved;
mod stream;
mod table;

use std::path::PathBuf;
use std::time::Duration;

pub use abi::Errno;
pub use error::{Error, Exit};
pub use link::{MODULES, Missing, link, link_stubs, missing_imports};

use crate::{Dir, Setup, Stream, Wait, World};
use clock::Clock;
use poll::Waiting;
use table::{Descriptor, Directory, Mount, MountIndex, Object, Table};

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

/// Which of standard input, output and error call themselves terminals. A C library flushes a
/// terminal's output line by line, and anything else only when its buffer is full; whoever watches
/// a process wants its lines. An interpreter whose input is a terminal wants to talk.
const TERMINALS: [bool; 3] = [false, true, true];

/// The WASI state of one process. What of it is shared with other threads (the streams, where the
/// process runs, whether its effects are held) is in [`World`].
pub struct Wasi {
    args: Vec<String>,
    /// Each as `NAME=VALUE`.
    env: Vec<String>,
    mounts: Vec<Mount>,
    table: Table,
    clock: Clock,
    /// The `poll_oneoff` that was cancelled and will be issued again.
    waiting: Option<Waiting>,
    terminals: [bool; 3],
}

impl Wasi {
    /// The state of a process that starts: its directories are opened, as descriptors 3, 4, … in
    /// the order given, and `/whimbrel` after them.
    ///
    /// # Errors
    /// A directory cannot be opened.
    pub fn new(setup: &Setup) -> Result<Self, Error> {
        let mounts = setup.dirs.iter().cloned().map(Mount::new);
        let mut wasi = Self {
            args: setup.args.clone(),
            env: setup.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            mounts: mounts.collect::<Result<_, _>>()?,
            table: Table::default(),
            clock: Clock::new(),
            waiting: None,
            terminals: TERMINALS,
        };
        let streams = [Object::Stdin, Object::Output(Stream::Out), Object::Output(Stream::Err)];
        let granted = wasi.mounts.iter().enumerate().map(granted).collect::<Result<Vec<_>, _>>()?;
        let objects = streams.into_iter().chain(granted).chain([Object::Place(None)]);
        for (fd, object) in (0..).zip(objects) {
            wasi.table.put(fd, Descriptor::new(object));
        }
        Ok(wasi)
    }

    /// The directories the process was granted: what a target must have before it accepts it.
    pub fn dirs(&self) -> impl Iterator<Item = &Dir> {
        self.mounts.iter().map(|mount| &mount.dir)
    }

    fn mount(&self, index: MountIndex) -> &Mount {
        &self.mounts[index.0 as usize]
    }

    fn is_read_only(&self, index: MountIndex) -> bool {
        self.mount(index).dir.read_only
    }
}

fn granted((index, mount): (usize, &Mount)) -> Result<Object, Error> {
    let handle = mount.root.try_clone().map_err(|reason| Error::Directory {
        host: mount.dir.host.clone(),
        guest: mount.dir.guest.clone(),
        reason,
    })?;
    Ok(Object::Directory(Directory {
        mount: MountIndex(index as u32),
        path: String::new(),
        handle,
        granted: Some(mount.dir.guest.clone()),
        listing: None,
    }))
}

/// Whether all these directories can be opened on this node: the *prepare* step of a move asks this
/// before anything is frozen.
///
/// # Errors
/// Names the first that cannot.
pub fn check(dirs: &[Dir]) -> Result<(), Error> {
    dirs.iter().try_for_each(|dir| Mount::new(dir.clone()).map(drop))
}

#[cfg(test)]
mod tests;
