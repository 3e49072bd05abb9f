//! A process's WASI state as bytes, and back.
//!
//! What was open is opened again beneath the same granted directory, at the same path, and nothing
//! is made or cut short by it. The bytes may come from a disk or a socket: a number that does not
//! fit the others is an error, and a path in them is looked up in the same sandbox as a guest's.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::abi::{Errno, FdFlags, Rights};
use super::beneath;
use super::clock::{Clock, SavedClock};
use super::files::status_flags;
use super::place::PlaceFile;
use super::poll::Waiting;
use super::table::{DESCRIPTORS_MAX, Descriptor, Directory, Entry, File, Mount, MountIndex};
use super::table::{Object, Table};
use super::{Arrival, Error, Wasi};
use crate::{Dir, Stream};

/// The first byte of a saved state: its version. Raised with every change of [`Saved`].
const VERSION: u8 = 1;

/// A name is not longer than this on any system that we know. Paths of this length can be saved.
const PATH_BYTES_MAX: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
struct Saved {
    args: Vec<String>,
    env: Vec<String>,
    dirs: Vec<Dir>,
    terminals: [bool; 3],
    clock: SavedClock,
    waiting: Option<Waiting>,
    descriptors: Vec<(u32, SavedDescriptor)>,
}

#[derive(Serialize, Deserialize)]
struct SavedDescriptor {
    object: SavedObject,
    rights: Rights,
    inheriting: Rights,
    flags: FdFlags,
}

#[derive(Serialize, Deserialize)]
enum SavedObject {
    Stdin,
    Output(Stream),
    File {
        mount: MountIndex,
        path: String,
        offset: u64,
        access: SavedAccess,
    },
    Directory {
        mount: MountIndex,
        path: String,
        granted: Option<String>,
        listing: Option<Vec<Entry>>,
    },
    Place(Option<Vec<Entry>>),
    PlaceFile(PlaceFile, u64),
}

/// What the file was opened for. Its rights do not say: they can be given up one by one.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum SavedAccess {
    Read,
    Write,
    Both,
}

impl Wasi {
    /// Everything, as bytes, from which [`Wasi::restore`] makes it again. The process is frozen;
    /// saving changes nothing, and it can go on here all the same.
    ///
    /// # Errors
    /// A file it has open was removed, so that no path leads to it any more. The process is
    /// unharmed.
    pub fn save(&self) -> Result<Vec<u8>, Error> {
        let descriptors =
            self.table.iter().map(|(fd, descriptor)| Ok((fd, self.record(fd, descriptor)?)));
        let saved = Saved {
            args: self.args.clone(),
            env: self.env.clone(),
            dirs: self.dirs().cloned().collect(),
            terminals: self.terminals,
            clock: self.clock.saved(),
            waiting: self.waiting,
            descriptors: descriptors.collect::<Result<_, Error>>()?,
        };
        let bytes = postcard::to_extend(&saved, vec![VERSION]);
        Ok(bytes.expect("plain data of known lengths is always written"))
    }

    /// The state of a process that continues here.
    ///
    /// # Errors
    /// The bytes are no saved state, or a directory or file it has open is not here. Nothing was
    /// changed.
    pub fn restore(bytes: &[u8], arrival: &Arrival) -> Result<Self, Error> {
        let saved = match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes::<Saved>(rest),
            Some(_) => return Err(Error::Decode("written by another version")),
            None => return Err(Error::Decode("empty")),
        };
        let saved = saved.map_err(|_| Error::Decode("not what this version writes"))?;
        let mounts = saved.dirs.into_iter().map(|dir| Mount::bind(dir, arrival));
        let mut wasi = Self {
            args: saved.args,
            env: saved.env,
            mounts: mounts.collect::<Result<_, _>>()?,
            terminals: saved.terminals,
            clock: Clock::resumed(saved.clock, arrival.frozen_for),
            waiting: saved.waiting,
            table: Table::default(),
        };
        if saved.descriptors.len() > DESCRIPTORS_MAX {
            return Err(Error::Decode("too many descriptors"));
        }
        for (fd, descriptor) in saved.descriptors {
            let descriptor = wasi.reopen(fd, descriptor)?;
            wasi.table.put(fd, descriptor);
        }
        Ok(wasi)
    }

    fn record(&self, fd: u32, descriptor: &Descriptor) -> Result<SavedDescriptor, Error> {
        let object = match &descriptor.object {
            Object::Stdin => SavedObject::Stdin,
            Object::Output(stream) => SavedObject::Output(*stream),
            Object::File(File { mount, path, handle, offset }) => SavedObject::File {
                mount: *mount,
                path: self.path_now(fd, *mount, path, handle)?,
                offset: *offset,
                access: access(handle),
            },
            Object::Directory(Directory { mount, path, handle, granted, listing }) => {
                SavedObject::Directory {
                    mount: *mount,
                    path: self.path_now(fd, *mount, path, handle)?,
                    granted: granted.clone(),
                    listing: listing.clone(),
                }
            }
            Object::Place(listing) => SavedObject::Place(listing.clone()),
            Object::PlaceFile(file, offset) => SavedObject::PlaceFile(*file, *offset),
        };
        let &Descriptor { rights, inheriting, flags, .. } = descriptor;
        Ok(SavedDescriptor { object, rights, inheriting, flags })
    }

    /// The path by which an open file is found now: the one it was opened by, or, if it or what it
    /// is in was renamed since, the one that the system knows.
    fn path_now(
        &self,
        fd: u32,
        mount: MountIndex,
        path: &str,
        handle: &OwnedFd,
    ) -> Result<String, Error> {
        let mount = self.mount(mount);
        let leads_here = |path: &str| {
            let found = beneath::stat(mount.root.as_fd(), or_itself(path), true);
            let own = rustix::fs::fstat(handle).map_err(Errno::from);
            matches!((found, own), (Ok(found), Ok(own))
                if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino))
        };
        if path.len() <= PATH_BYTES_MAX && leads_here(path) {
            return Ok(path.to_owned());
        }
        match path_known(&mount.root, handle) {
            Some(renamed) if leads_here(&renamed) => Ok(renamed),
            _ => Err(Error::Unlinked { path: guest_path(&mount.dir, path), fd }),
        }
    }

    fn reopen(&self, fd: u32, saved: SavedDescriptor) -> Result<Descriptor, Error> {
        let SavedDescriptor { object, rights, inheriting, flags } = saved;
        let flags = FdFlags::new(flags.0.into()).map_err(|_| Error::Decode("unknown flags"))?;
        let object = match object {
            SavedObject::Stdin => Object::Stdin,
            SavedObject::Output(stream) => Object::Output(stream),
            SavedObject::File { mount, path, offset, access } => {
                if i64::try_from(offset).is_err() {
                    return Err(Error::Decode("an offset beyond any file"));
                }
                let access = access.host_flags();
                let host_flags = access | status_flags(flags) | OFlags::NOCTTY;
                if access != OFlags::RDONLY && self.saved_mount(mount)?.dir.read_only {
                    return Err(Error::Decode("a file open for writing in a read-only directory"));
                }
                let handle = self.open_again(fd, mount, &path, host_flags)?;
                Object::File(File { mount, path, handle, offset })
            }
            SavedObject::Directory { mount, path, granted, listing } => {
                let handle = self.open_again(fd, mount, &path, OFlags::DIRECTORY)?;
                Object::Directory(Directory { mount, path, handle, granted, listing })
            }
            SavedObject::Place(listing) => Object::Place(listing),
            SavedObject::PlaceFile(file, offset) => Object::PlaceFile(file, offset),
        };
        // Whatever the bytes say: no more rights than such a thing can have.
        let rights = rights.and(object.rights_max());
        Ok(Descriptor { object, rights, inheriting: inheriting.and(Rights::ALL), flags })
    }

    fn open_again(
        &self,
        fd: u32,
        mount: MountIndex,
        path: &str,
        flags: OFlags,
    ) -> Result<OwnedFd, Error> {
        let mount = self.saved_mount(mount)?;
        let opened = beneath::open(mount.root.as_fd(), or_itself(path), flags, Mode::empty(), true);
        let kind = |handle: &OwnedFd| -> Result<bool, Errno> {
            let mode = rustix::fs::fstat(handle)?.st_mode;
            Ok(rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Directory)
        };
        let checked = opened.and_then(|handle| {
            if kind(&handle)? && !flags.contains(OFlags::DIRECTORY) {
                return Err(Errno::IsDirectory);
            }
            Ok(handle)
        });
        checked.map_err(|reason| Error::Reopen { path: guest_path(&mount.dir, path), fd, reason })
    }

    fn saved_mount(&self, index: MountIndex) -> Result<&Mount, Error> {
        self.mounts.get(index.0 as usize).ok_or(Error::Decode("a directory that was not granted"))
    }
}

impl Mount {
    /// Opens a granted directory on this node.
    pub(super) fn new(dir: Dir) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&dir.host, flags, Mode::empty()) {
            Ok(root) => Ok(Self { dir, root }),
            Err(errno) => {
                Err(Error::Directory { host: dir.host, guest: dir.guest, reason: errno.into() })
            }
        }
    }

    /// The same, where this node has it.
    fn bind(mut dir: Dir, arrival: &Arrival) -> Result<Self, Error> {
        if let Some((_, host)) = arrival.rebind.iter().find(|(guest, _)| *guest == dir.guest) {
            dir.host.clone_from(host);
        }
        Self::new(dir)
    }
}

impl SavedAccess {
    fn host_flags(self) -> OFlags {
        match self {
            Self::Read => OFlags::RDONLY,
            Self::Write => OFlags::WRONLY,
            Self::Both => OFlags::RDWR,
        }
    }
}

fn access(handle: &OwnedFd) -> SavedAccess {
    let flags = rustix::fs::fcntl_getfl(handle).unwrap_or(OFlags::RDONLY);
    match flags & OFlags::RWMODE {
        OFlags::RDWR => SavedAccess::Both,
        OFlags::WRONLY => SavedAccess::Write,
        _ => SavedAccess::Read,
    }
}

/// Where the system says that an open file is, from a directory on.
fn path_known(root: &OwnedFd, handle: &OwnedFd) -> Option<String> {
    use std::os::fd::AsRawFd;
    let known = |fd: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let (root, path) = (known(root).ok()?, known(handle).ok()?);
    path.strip_prefix(root).ok().and_then(Path::to_str).map(String::from)
}

/// A path to look up: the directory itself, if it is empty.
fn or_itself(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

/// A path as the process knows it.
fn guest_path(dir: &Dir, path: &str) -> String {
    match (dir.guest.trim_end_matches('/'), path) {
        (guest, "") => guest.to_owned(),
        (guest, path) => format!("{guest}/{path}"),
    }
}
