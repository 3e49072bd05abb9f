//! The descriptors of a process: what each stands for, and all that is needed to open it anew.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::abi::{Errno, FdFlags, FileType, Rights};
use super::place::PlaceFile;
use crate::{Dir, Stream};

/// Descriptors that a process can have open. The node has as many for all of its processes.
pub(super) const DESCRIPTORS_MAX: usize = 1024;

/// A directory that the process was granted, opened.
pub(super) struct Mount {
    pub(super) dir: Dir,
    pub(super) root: OwnedFd,
}

/// An index into the process's mounts, which stay as they are for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MountIndex(pub(super) u32);

/// An open descriptor.
pub(super) struct Descriptor {
    pub(super) object: Object,
    pub(super) rights: Rights,
    /// What descriptors that are opened through this one can have at most.
    pub(super) inheriting: Rights,
    pub(super) flags: FdFlags,
}

/// What a descriptor stands for.
pub(super) enum Object {
    Stdin,
    Output(Stream),
    File(File),
    Directory(Directory),
    /// The directory `/whimbrel`, with the listing that is being read.
    Place(Option<Vec<Entry>>),
    /// A file in it, and the offset in that.
    PlaceFile(PlaceFile, u64),
}

/// A file of the node's.
pub(super) struct File {
    /// By which directory it was opened.
    pub(super) mount: MountIndex,
    /// Its path in that directory, for opening it anew.
    pub(super) path: String,
    pub(super) handle: OwnedFd,
    /// Where the next read or write is. The handle's own position is never used.
    pub(super) offset: u64,
}

/// A directory of the node's.
pub(super) struct Directory {
    pub(super) mount: MountIndex,
    /// Its path in the granted directory; empty for that directory itself.
    pub(super) path: String,
    pub(super) handle: OwnedFd,
    /// Its name for the process, if it was granted and not opened.
    pub(super) granted: Option<String>,
    /// What it held when the guest began to read it. A cookie is an index into this, and so means
    /// the same after a move, to a file system that counts differently.
    pub(super) listing: Option<Vec<Entry>>,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) inode: u64,
    pub(super) kind: FileType,
}

/// All open descriptors, by number. A list: a process has few, and a node many processes.
#[derive(Default)]
pub(super) struct Table(Vec<(u32, Descriptor)>);

impl Table {
    /// The descriptor, if it is open.
    pub(super) fn at(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.place(fd).map(|at| &self.0[at].1).map_err(|_| Errno::BadDescriptor)
    }

    /// The same, to be changed.
    pub(super) fn at_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.place(fd).map(|at| &mut self.0[at].1).map_err(|_| Errno::BadDescriptor)
    }

    /// Whether one more can be opened.
    pub(super) fn has_room(&self) -> Result<(), Errno> {
        if self.0.len() < DESCRIPTORS_MAX { Ok(()) } else { Err(Errno::TooManyDescriptors) }
    }

    /// Opens a descriptor with the lowest number that is free.
    pub(super) fn open(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        self.has_room()?;
        let fd = (0..).zip(&self.0).find(|(free, (taken, _))| free != taken);
        let fd = fd.map_or(self.0.len() as u32, |(free, _)| free);
        self.put(fd, descriptor);
        Ok(fd)
    }

    /// Opens a descriptor with this number; what had it is closed.
    pub(super) fn put(&mut self, fd: u32, descriptor: Descriptor) {
        match self.place(fd) {
            Ok(at) => self.0[at].1 = descriptor,
            Err(at) => self.0.insert(at, (fd, descriptor)),
        }
    }

    /// Closes a descriptor.
    pub(super) fn take(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        self.place(fd).map(|at| self.0.remove(at).1).map_err(|_| Errno::BadDescriptor)
    }

    /// Gives `from` the number `to`; what had that is closed.
    pub(super) fn renumber(&mut self, from: u32, to: u32) -> Result<(), Errno> {
        self.at(to)?;
        let moved = self.take(from)?;
        self.put(to, moved);
        Ok(())
    }

    /// All of them, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Descriptor)> {
        self.0.iter().map(|(fd, descriptor)| (*fd, descriptor))
    }

    /// Where it is, or where it would be.
    fn place(&self, fd: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&fd, |(taken, _)| *taken)
    }
}

impl Descriptor {
    /// A descriptor with every right of its kind.
    pub(super) fn new(object: Object) -> Self {
        let rights = object.rights_max();
        Self { object, rights, inheriting: Rights::ALL, flags: FdFlags::default() }
    }

    /// Whether it may be used for all of this.
    pub(super) fn may(&self, rights: Rights) -> Result<(), Errno> {
        if self.rights.holds(rights) { Ok(()) } else { Err(Errno::NotCapable) }
    }

    /// The host's file behind it; another errno says what it is instead.
    pub(super) fn file(&self) -> Result<&File, Errno> {
        match &self.object {
            Object::File(file) => Ok(file),
            other => Err(other.no_file()),
        }
    }

    /// The same, to be changed.
    pub(super) fn file_mut(&mut self) -> Result<&mut File, Errno> {
        match &mut self.object {
            Object::File(file) => Ok(file),
            other => Err(other.no_file()),
        }
    }
}

impl Object {
    /// The rights that make sense for it.
    pub(super) fn rights_max(&self) -> Rights {
        match self {
            Self::Stdin | Self::Output(_) => Rights::STREAM,
            Self::File(_) | Self::PlaceFile(..) => Rights::FILE,
            Self::Directory(_) | Self::Place(_) => Rights::DIRECTORY,
        }
    }

    /// The host's handle behind it, if there is one.
    pub(super) fn handle(&self) -> Option<&OwnedFd> {
        match self {
            Self::File(file) => Some(&file.handle),
            Self::Directory(directory) => Some(&directory.handle),
            _ => None,
        }
    }

    fn no_file(&self) -> Errno {
        match self {
            Self::Directory(_) | Self::Place(_) => Errno::BadDescriptor,
            Self::PlaceFile(..) => Errno::ReadOnly,
            Self::Stdin | Self::Output(_) | Self::File(_) => Errno::Seek,
        }
    }
}
