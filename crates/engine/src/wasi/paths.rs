//! Calls that name a file: open, look, make, rename, link and remove.
//!
//! Every path is looked up from an open directory and cannot leave it (see [`super::beneath`]).
//! What would change something in a directory that was granted read-only is `rofs`.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::abi::{Errno, FdFlags, FileType, Rights, SYMLINK_FOLLOW, oflags};
use super::beneath;
use super::call::{Call, Done};
use super::files::{FileStat, status_flags, timestamps};
use super::place::{self, Named, PlaceFile};
use super::table::{Descriptor, Directory, File, Object};

/// A file's permissions at birth, before the node's own mask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);

/// A directory's.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o777);

/// What `path_open` was asked for, beside the path.
struct Asked {
    follow: bool,
    oflags: u32,
    rights: Rights,
    flags: FdFlags,
}

impl Asked {
    fn wants(&self, flag: u32) -> bool {
        self.oflags & flag != 0
    }

    fn writes(&self) -> bool {
        self.rights.touches(Rights::WRITING)
    }

    /// Whether opening alone may change something.
    fn changes(&self) -> bool {
        self.wants(oflags::CREATE) || self.wants(oflags::TRUNCATE)
    }

    /// What the directory must allow for it.
    fn rights_needed(&self) -> Rights {
        let mut rights = Rights::PATH_OPEN;
        if self.wants(oflags::CREATE) {
            rights = rights.or(Rights::PATH_CREATE_FILE);
        }
        if self.wants(oflags::TRUNCATE) {
            rights = rights.or(Rights::PATH_FILESTAT_SET_SIZE);
        }
        rights
    }

    fn host_flags(&self) -> OFlags {
        let access = match (self.rights.touches(Rights::READ), self.writes()) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            (_, false) => OFlags::RDONLY,
        };
        let mut flags = access | status_flags(self.flags) | OFlags::NOCTTY;
        for (flag, host) in [
            (oflags::CREATE, OFlags::CREATE),
            (oflags::DIRECTORY, OFlags::DIRECTORY),
            (oflags::EXCLUSIVE, OFlags::EXCL),
            (oflags::TRUNCATE, OFlags::TRUNC),
        ] {
            if self.wants(flag) {
                flags |= host;
            }
        }
        flags
    }
}

impl Call<'_> {
    #[expect(clippy::too_many_arguments, reason = "the interface has so many")]
    pub(super) fn path_open(
        &mut self,
        dir: u32,
        lookup: u32,
        path: u32,
        len: u32,
        oflags: u32,
        rights: u64,
        _inheriting: u64,
        flags: u32,
        fd_at: u32,
    ) -> Done {
        let asked = Asked {
            follow: lookup & SYMLINK_FOLLOW != 0,
            oflags,
            rights: Rights(rights).and(Rights::ALL),
            flags: FdFlags::new(flags)?,
        };
        let makes_directory = asked.wants(oflags::CREATE) && asked.wants(oflags::DIRECTORY);
        if oflags & !oflags::ALL != 0 || makes_directory {
            return Err(Errno::Invalid.into());
        }
        let path = self.guest.text(path, len)?;
        let at = self.wasi.table.at(dir)?;
        let may = at.may(asked.rights_needed());
        let inheriting = at.inheriting;
        let object = match &at.object {
            Object::Place(_) => may.and_then(|()| open_place(path, &asked))?,
            Object::Directory(directory) => {
                may?;
                if asked.wants(oflags::DIRECTORY) && asked.writes() {
                    return Err(Errno::IsDirectory.into());
                }
                self.wasi.table.has_room()?;
                let read_only = self.wasi.is_read_only(directory.mount);
                if asked.changes() && !read_only {
                    self.await_effects()?;
                }
                open_beneath(directory, path, &asked, read_only)?
            }
            _ => return Err(Errno::NotDirectory.into()),
        };
        let rights = asked.rights.or(Rights::FREE).and(object.rights_max()).and(inheriting);
        // Checked before it is opened for good, so that a bad address leaves nothing open.
        self.guest.write_u32(fd_at, 0)?;
        let fd =
            self.wasi.table.open(Descriptor { object, rights, inheriting, flags: asked.flags })?;
        Ok(self.guest.write_u32(fd_at, fd)?)
    }

    pub(super) fn path_filestat_get(
        &mut self,
        dir: u32,
        lookup: u32,
        path: u32,
        len: u32,
        at: u32,
    ) -> Done {
        let path = self.guest.text(path, len)?;
        let descriptor = self.wasi.table.at(dir)?;
        let stat = match &descriptor.object {
            Object::Place(_) => match place::find(path)? {
                Named::Directory => FileStat::of_place(place::INODE),
                Named::Within(directory) => FileStat::of_place(directory.inode()),
                Named::File(file) => FileStat::of_place_file(file, self.world),
            },
            Object::Directory(directory) => {
                descriptor.may(Rights::PATH_FILESTAT_GET)?;
                let follow = lookup & SYMLINK_FOLLOW != 0;
                FileStat::of(&beneath::stat(directory.handle.as_fd(), path, follow)?)
            }
            _ => return Err(Errno::NotDirectory.into()),
        };
        self.write_filestat(at, &stat)
    }

    #[expect(clippy::too_many_arguments, reason = "the interface has so many")]
    pub(super) fn path_filestat_set_times(
        &mut self,
        dir: u32,
        lookup: u32,
        path: u32,
        len: u32,
        accessed: u64,
        modified: u64,
        which: u32,
    ) -> Done {
        let times = timestamps(accessed, modified, which)?;
        let path = self.guest.text(path, len)?;
        let dir = self.changeable(dir, Rights::PATH_FILESTAT_SET_TIMES)?;
        self.await_effects()?;
        let follow = lookup & SYMLINK_FOLLOW != 0;
        if follow || path.ends_with('/') {
            let file = beneath::open(dir, path, OFlags::PATH, Mode::empty(), follow)?;
            return Ok(rustix::fs::utimensat(file, "", &times, AtFlags::EMPTY_PATH)?);
        }
        let (parent, name) = beneath::parent(dir, path)?;
        Ok(rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(super) fn path_create_directory(&mut self, dir: u32, path: u32, len: u32) -> Done {
        let path = self.guest.text(path, len)?;
        let dir = self.changeable(dir, Rights::PATH_CREATE_DIRECTORY)?;
        self.await_effects()?;
        let (parent, name) = beneath::parent(dir, path)?;
        Ok(rustix::fs::mkdirat(parent, name, DIRECTORY_MODE)?)
    }

    pub(super) fn path_remove_directory(&mut self, dir: u32, path: u32, len: u32) -> Done {
        let path = self.guest.text(path, len)?;
        let dir = self.changeable(dir, Rights::PATH_REMOVE_DIRECTORY)?;
        self.await_effects()?;
        let (parent, name) = beneath::parent(dir, path)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    pub(super) fn path_unlink_file(&mut self, dir: u32, path: u32, len: u32) -> Done {
        let path = self.guest.text(path, len)?;
        let dir = self.changeable(dir, Rights::PATH_UNLINK_FILE)?;
        self.await_effects()?;
        let (parent, name) = beneath::parent(dir, path)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?)
    }

    pub(super) fn path_rename(
        &mut self,
        old_dir: u32,
        old: u32,
        old_len: u32,
        new_dir: u32,
        new: u32,
        new_len: u32,
    ) -> Done {
        let (old, new) = (self.guest.text(old, old_len)?, self.guest.text(new, new_len)?);
        let old_dir = self.changeable(old_dir, Rights::PATH_RENAME_SOURCE)?;
        let new_dir = self.changeable(new_dir, Rights::PATH_RENAME_TARGET)?;
        self.await_effects()?;
        let (old_parent, old_name) = beneath::parent(old_dir, old)?;
        let (new_parent, new_name) = beneath::parent(new_dir, new)?;
        rustix::fs::renameat(old_parent, old_name, new_parent, new_name).map_err(across)?;
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the interface has so many")]
    pub(super) fn path_link(
        &mut self,
        old_dir: u32,
        lookup: u32,
        old: u32,
        old_len: u32,
        new_dir: u32,
        new: u32,
        new_len: u32,
    ) -> Done {
        // To link what a link leads to, the system would have to follow it, out of any sandbox.
        if lookup & SYMLINK_FOLLOW != 0 {
            return Err(Errno::Invalid.into());
        }
        let (old, new) = (self.guest.text(old, old_len)?, self.guest.text(new, new_len)?);
        let old_dir = self.changeable(old_dir, Rights::PATH_LINK_SOURCE)?;
        let new_dir = self.changeable(new_dir, Rights::PATH_LINK_TARGET)?;
        self.await_effects()?;
        let (old_parent, old_name) = beneath::parent(old_dir, old)?;
        let (new_parent, new_name) = beneath::parent(new_dir, new)?;
        refuse_slash(&old_parent, old_name, Errno::Permission)?;
        let flags = AtFlags::empty();
        rustix::fs::linkat(old_parent, old_name, new_parent, new_name, flags).map_err(across)?;
        Ok(())
    }

    /// A link to an absolute path is refused: nothing in the sandbox could follow it, and others
    /// on the node would.
    pub(super) fn path_symlink(
        &mut self,
        target: u32,
        target_len: u32,
        dir: u32,
        path: u32,
        len: u32,
    ) -> Done {
        let (target, path) = (self.guest.text(target, target_len)?, self.guest.text(path, len)?);
        let dir = self.changeable(dir, Rights::PATH_SYMLINK)?;
        if target.starts_with('/') {
            return Err(Errno::Permission.into());
        }
        self.await_effects()?;
        let (parent, name) = beneath::parent(dir, path)?;
        if name.ends_with('/') {
            // Only a directory has such a name, and a link is none.
            refuse_slash(&parent, name, Errno::Exists)?;
        }
        Ok(rustix::fs::symlinkat(target, parent, name)?)
    }

    pub(super) fn path_readlink(
        &mut self,
        dir: u32,
        path: u32,
        len: u32,
        at: u32,
        room: u32,
        used_at: u32,
    ) -> Done {
        let path = self.guest.text(path, len)?;
        let descriptor = self.wasi.table.at(dir)?;
        let directory = match &descriptor.object {
            Object::Place(_) => {
                return Err(place::find(path).err().unwrap_or(Errno::Invalid).into());
            }
            Object::Directory(directory) => directory,
            _ => return Err(Errno::NotDirectory.into()),
        };
        descriptor.may(Rights::PATH_READLINK)?;
        let (parent, name) = beneath::parent(directory.handle.as_fd(), path)?;
        refuse_slash(&parent, name, Errno::Invalid)?;
        let target = rustix::fs::readlinkat(parent, name, vec![])?.into_bytes();
        let used = target.len().min(room as usize);
        self.guest.write(at, &target[..used])?;
        Ok(self.guest.write_u32(used_at, used as u32)?)
    }

    /// A directory in which something is to be changed, if that is allowed.
    fn changeable(&self, dir: u32, rights: Rights) -> Result<BorrowedFd<'_>, Errno> {
        let descriptor = self.wasi.table.at(dir)?;
        match &descriptor.object {
            Object::Place(_) => Err(Errno::ReadOnly),
            Object::Directory(directory) => {
                descriptor.may(rights)?;
                if self.wasi.is_read_only(directory.mount) {
                    return Err(Errno::ReadOnly);
                }
                Ok(directory.handle.as_fd())
            }
            _ => Err(Errno::NotDirectory),
        }
    }
}

fn open_place(path: &str, asked: &Asked) -> Result<Object, Errno> {
    let named = place::find(path);
    if matches!(named, Err(Errno::NoEntry)) && asked.wants(oflags::CREATE) {
        return Err(Errno::ReadOnly);
    }
    if named.is_ok() && asked.wants(oflags::CREATE) && asked.wants(oflags::EXCLUSIVE) {
        return Err(Errno::Exists);
    }
    match named? {
        Named::Directory | Named::Within(_) if asked.writes() => Err(Errno::IsDirectory),
        Named::Directory => Ok(Object::Place(None)),
        // It would have to list every process that there is.
        Named::Within(_) => Err(Errno::Access),
        Named::File(_) if asked.wants(oflags::DIRECTORY) => Err(Errno::NotDirectory),
        Named::File(file) if file.is_written() && asked.rights.touches(Rights::READ) => {
            Err(Errno::Access)
        }
        Named::File(file) if file.is_written() => Ok(Object::PlaceFile(file, 0)),
        Named::File(file @ PlaceFile::Whereis(_)) => Ok(Object::PlaceFile(file, 0)),
        Named::File(_) if asked.writes() || asked.wants(oflags::TRUNCATE) => Err(Errno::ReadOnly),
        Named::File(file) => Ok(Object::PlaceFile(file, 0)),
    }
}

fn open_beneath(
    directory: &Directory,
    path: &str,
    asked: &Asked,
    read_only: bool,
) -> Result<Object, Errno> {
    let dir = directory.handle.as_fd();
    if read_only && (asked.writes() || asked.changes()) {
        refuse_change(dir, path, asked)?;
    }
    let mut flags = asked.host_flags();
    if read_only {
        // It is there: the check above says so. What is not there must not be made.
        flags.remove(OFlags::CREATE | OFlags::EXCL);
    }
    let handle = beneath::open(dir, path, flags, FILE_MODE, asked.follow)?;
    let mount = directory.mount;
    let path = join(&directory.path, path);
    match rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode).into() {
        FileType::Directory => {
            let (granted, listing) = (None, None);
            Ok(Object::Directory(Directory { mount, path, handle, granted, listing }))
        }
        FileType::Regular | FileType::Character => {
            Ok(Object::File(File { mount, path, handle, offset: 0 }))
        }
        // A pipe or a socket has a state that would not come along.
        _ => Err(Errno::NotSupported),
    }
}

/// Why nothing can be written by this path in a read-only directory; nothing, if all that it asks
/// for is to make what is there already.
fn refuse_change(dir: BorrowedFd<'_>, path: &str, asked: &Asked) -> Result<(), Errno> {
    let stat = match beneath::stat(dir, path, asked.follow) {
        Err(Errno::NoEntry) if asked.wants(oflags::CREATE) => return Err(Errno::ReadOnly),
        stat => stat?,
    };
    if asked.wants(oflags::CREATE) && asked.wants(oflags::EXCLUSIVE) {
        return Err(Errno::Exists);
    }
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory if asked.writes() => Err(Errno::IsDirectory),
        rustix::fs::FileType::Symlink => Err(Errno::Loop),
        _ if asked.writes() || asked.wants(oflags::TRUNCATE) => Err(Errno::ReadOnly),
        _ => Ok(()),
    }
}

/// A slash after a name makes the system follow a link there, by itself and out of the sandbox. So
/// where it would, such a name is only told what is wrong with it; `directory`, if it names one.
fn refuse_slash(parent: &impl AsFd, name: &str, directory: Errno) -> Result<(), Errno> {
    let trimmed = name.trim_end_matches('/');
    if trimmed.len() == name.len() {
        return Ok(());
    }
    let stat = beneath::stat(parent.as_fd(), trimmed, false)?;
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => Err(directory),
        _ => Err(Errno::NotDirectory),
    }
}

/// What a rename or a link says when the two names are on different file systems.
fn across(errno: rustix::io::Errno) -> Errno {
    match errno {
        rustix::io::Errno::XDEV => Errno::CrossDevice,
        other => other.into(),
    }
}

/// The path of something in a directory, from where that directory's own path starts.
fn join(dir: &str, path: &str) -> String {
    if dir.is_empty() { path.to_owned() } else { format!("{dir}/{path}") }
}
