//! What is done with an open descriptor other than reading and writing.

use rustix::fs::{Advice, Dir, FallocateFlags, OFlags, Stat, Timespec, Timestamps};
use rustix::io::retry_on_intr;

use super::abi::{Errno, FdFlags, FileType, Preview, Rights, fstflags};
use super::call::{Call, Done};
use super::place::{self, PlaceFile};
use super::table::{Directory, Entry, Object};
use crate::World;

/// The bytes of a directory entry before its name.
const ENTRY_HEADER: usize = 24;

/// A file's attributes, as both previews know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStat {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) kind: FileType,
    pub(super) links: u64,
    pub(super) size: u64,
    pub(super) accessed: u64,
    pub(super) modified: u64,
    pub(super) changed: u64,
}

impl Call<'_> {
    pub(super) fn fd_close(&mut self, fd: u32) -> Done {
        self.wasi.table.take(fd)?;
        Ok(())
    }

    pub(super) fn fd_renumber(&mut self, from: u32, to: u32) -> Done {
        Ok(self.wasi.table.renumber(from, to)?)
    }

    pub(super) fn fd_prestat_get(&mut self, fd: u32, at: u32) -> Done {
        let length = self.granted_name(fd)?.len() as u32;
        self.guest.write(at, &[0, 0, 0, 0])?;
        Ok(self.guest.write_u32(at + 4, length)?)
    }

    pub(super) fn fd_prestat_dir_name(&mut self, fd: u32, at: u32, len: u32) -> Done {
        let name = self.granted_name(fd)?.to_owned();
        if (len as usize) < name.len() {
            return Err(Errno::NameTooLong.into());
        }
        Ok(self.guest.write(at, name.as_bytes())?)
    }

    fn granted_name(&self, fd: u32) -> Result<&str, Errno> {
        match &self.wasi.table.at(fd)?.object {
            Object::Directory(Directory { granted: Some(name), .. }) => Ok(name),
            Object::Place(_) => Ok(place::GUEST),
            _ => Err(Errno::BadDescriptor),
        }
    }

    pub(super) fn fd_fdstat_get(&mut self, fd: u32, at: u32) -> Done {
        let kind = self.attributes(fd)?.kind;
        let descriptor = self.wasi.table.at(fd)?;
        let mut record = [0; 24];
        record[0] = kind as u8;
        record[2..4].copy_from_slice(&descriptor.flags.0.to_le_bytes());
        record[8..16].copy_from_slice(&descriptor.rights.0.to_le_bytes());
        record[16..24].copy_from_slice(&descriptor.inheriting.0.to_le_bytes());
        Ok(self.guest.write(at, &record)?)
    }

    pub(super) fn fd_fdstat_set_flags(&mut self, fd: u32, flags: u32) -> Done {
        let flags = FdFlags::new(flags)?;
        let descriptor = self.wasi.table.at_mut(fd)?;
        descriptor.may(Rights::SET_FLAGS)?;
        if let Object::File(file) = &descriptor.object {
            rustix::fs::fcntl_setfl(&file.handle, status_flags(flags))?;
        }
        descriptor.flags = flags;
        Ok(())
    }

    /// Rights can be given up, never won.
    pub(super) fn fd_fdstat_set_rights(&mut self, fd: u32, rights: u64, inheriting: u64) -> Done {
        let descriptor = self.wasi.table.at_mut(fd)?;
        let (rights, inheriting) = (Rights(rights), Rights(inheriting));
        if !descriptor.rights.holds(rights) || !descriptor.inheriting.holds(inheriting) {
            return Err(Errno::NotCapable.into());
        }
        (descriptor.rights, descriptor.inheriting) = (rights, inheriting);
        Ok(())
    }

    pub(super) fn fd_filestat_get(&mut self, fd: u32, at: u32) -> Done {
        self.wasi.table.at(fd)?.may(Rights::FILESTAT_GET)?;
        let attributes = self.attributes(fd)?;
        self.write_filestat(at, &attributes)
    }

    pub(super) fn fd_filestat_set_size(&mut self, fd: u32, size: u64) -> Done {
        let descriptor = self.wasi.table.at(fd)?;
        let file = descriptor.file()?;
        descriptor.may(Rights::FILESTAT_SET_SIZE)?;
        self.await_effects()?;
        Ok(retry_on_intr(|| rustix::fs::ftruncate(&file.handle, size))?)
    }

    pub(super) fn fd_filestat_set_times(
        &mut self,
        fd: u32,
        accessed: u64,
        modified: u64,
        which: u32,
    ) -> Done {
        let times = timestamps(accessed, modified, which)?;
        let descriptor = self.wasi.table.at(fd)?;
        descriptor.may(Rights::FILESTAT_SET_TIMES)?;
        let handle = match &descriptor.object {
            Object::Place(_) | Object::PlaceFile(..) => return Err(Errno::ReadOnly.into()),
            object => object.handle().ok_or(Errno::BadDescriptor)?,
        };
        self.refuse_read_only(fd)?;
        self.await_effects()?;
        Ok(rustix::fs::futimens(handle, &times)?)
    }

    pub(super) fn fd_allocate(&mut self, fd: u32, offset: u64, len: u64) -> Done {
        let descriptor = self.wasi.table.at(fd)?;
        let file = descriptor.file()?;
        descriptor.may(Rights::ALLOCATE)?;
        self.await_effects()?;
        let mode = FallocateFlags::empty();
        Ok(retry_on_intr(|| rustix::fs::fallocate(&file.handle, mode, offset, len))?)
    }

    pub(super) fn fd_advise(&mut self, fd: u32, offset: u64, len: u64, advice: u32) -> Done {
        let advice = match advice {
            0 => Advice::Normal,
            1 => Advice::Sequential,
            2 => Advice::Random,
            3 => Advice::WillNeed,
            4 => Advice::DontNeed,
            5 => Advice::NoReuse,
            _ => return Err(Errno::Invalid.into()),
        };
        let descriptor = self.wasi.table.at(fd)?;
        let file = descriptor.file()?;
        descriptor.may(Rights::ADVISE)?;
        let end = offset.checked_add(len).ok_or(Errno::Invalid)?;
        i64::try_from(end).map_err(|_| Errno::Invalid)?;
        Ok(rustix::fs::fadvise(&file.handle, offset, std::num::NonZero::new(len), advice)?)
    }

    pub(super) fn fd_sync(&mut self, fd: u32) -> Done {
        self.wasi.table.at(fd)?.may(Rights::SYNC)?;
        match self.wasi.table.at(fd)?.object.handle() {
            Some(handle) => Ok(retry_on_intr(|| rustix::fs::fsync(handle))?),
            None => Err(Errno::Invalid.into()),
        }
    }

    pub(super) fn fd_datasync(&mut self, fd: u32) -> Done {
        self.wasi.table.at(fd)?.may(Rights::DATASYNC)?;
        match self.wasi.table.at(fd)?.object.handle() {
            Some(handle) => Ok(retry_on_intr(|| rustix::fs::fdatasync(handle))?),
            None => Err(Errno::Invalid.into()),
        }
    }

    pub(super) fn fd_readdir(
        &mut self,
        fd: u32,
        at: u32,
        len: u32,
        cookie: u64,
        used_at: u32,
    ) -> Done {
        let descriptor = self.wasi.table.at_mut(fd)?;
        let allowed = descriptor.may(Rights::READDIR);
        let (listing, list): (&mut Option<Vec<Entry>>, _) = match &mut descriptor.object {
            Object::Place(listing) => (listing, Ok(place::listing())),
            Object::Directory(directory) if cookie == 0 || directory.listing.is_none() => {
                (&mut directory.listing, list(&directory.handle))
            }
            Object::Directory(directory) => (&mut directory.listing, Ok(vec![])),
            _ => return Err(Errno::NotDirectory.into()),
        };
        allowed?;
        if cookie == 0 || listing.is_none() {
            *listing = Some(list?);
        }
        let entries = listing.as_deref().unwrap_or_default();
        let bytes = pack(entries, usize::try_from(cookie).unwrap_or(usize::MAX), len as usize);
        self.guest.write(at, &bytes)?;
        Ok(self.guest.write_u32(used_at, bytes.len() as u32)?)
    }

    /// What an open descriptor stands for.
    fn attributes(&self, fd: u32) -> Done<FileStat> {
        Ok(match &self.wasi.table.at(fd)?.object {
            Object::Stdin => FileStat::of_stream(self.wasi.terminals[0]),
            Object::Output(crate::Stream::Out) => FileStat::of_stream(self.wasi.terminals[1]),
            Object::Output(crate::Stream::Err) => FileStat::of_stream(self.wasi.terminals[2]),
            Object::File(file) => FileStat::of(&rustix::fs::fstat(&file.handle)?),
            Object::Directory(directory) => FileStat::of(&rustix::fs::fstat(&directory.handle)?),
            Object::Place(_) => FileStat::of_place(place::INODE),
            Object::PlaceFile(file, _) => FileStat::of_place_file(*file, self.world),
        })
    }

    pub(super) fn write_filestat(&mut self, at: u32, stat: &FileStat) -> Done {
        let record = stat.record(self.preview);
        Ok(self.guest.write(at, &record)?)
    }

    fn refuse_read_only(&self, fd: u32) -> Done {
        let mount = match &self.wasi.table.at(fd)?.object {
            Object::File(file) => file.mount,
            Object::Directory(directory) => directory.mount,
            _ => return Ok(()),
        };
        if self.wasi.is_read_only(mount) { Err(Errno::ReadOnly.into()) } else { Ok(()) }
    }
}

impl FileStat {
    pub(super) fn of(stat: &Stat) -> Self {
        let nanos = |seconds: i64, nanos: u64| {
            u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanos)
        };
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            kind: rustix::fs::FileType::from_raw_mode(stat.st_mode).into(),
            links: stat.st_nlink,
            size: stat.st_size.cast_unsigned(),
            accessed: nanos(stat.st_atime, stat.st_atime_nsec),
            modified: nanos(stat.st_mtime, stat.st_mtime_nsec),
            changed: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// A stream is a terminal or nothing that WASI has a word for.
    fn of_stream(is_terminal: bool) -> Self {
        let kind = if is_terminal { FileType::Character } else { FileType::Unknown };
        Self { kind, links: 1, ..Self::nothing() }
    }

    /// `/whimbrel`, or the directory in it, by inode.
    pub(super) fn of_place(inode: u64) -> Self {
        let (device, kind) = (place::DEVICE, FileType::Directory);
        Self { device, inode, kind, links: 1, ..Self::nothing() }
    }

    /// A file in it.
    pub(super) fn of_place_file(file: PlaceFile, world: &World) -> Self {
        let (device, inode, kind) = (place::DEVICE, file.inode(), file.kind());
        let size = file.text(world).len() as u64;
        Self { device, inode, kind, links: 1, size, ..Self::nothing() }
    }

    fn nothing() -> Self {
        Self {
            device: 0,
            inode: 0,
            kind: FileType::Unknown,
            links: 0,
            size: 0,
            accessed: 0,
            modified: 0,
            changed: 0,
        }
    }

    /// As the guest reads it. In preview 0 the link count has 32 bits, and all after it moves up.
    fn record(&self, preview: Preview) -> Vec<u8> {
        let mut record = Vec::with_capacity(64);
        record.extend(self.device.to_le_bytes());
        record.extend(self.inode.to_le_bytes());
        record.push(self.kind as u8);
        match preview {
            Preview::Zero => {
                record.extend([0; 3]);
                record.extend(u32::try_from(self.links).unwrap_or(u32::MAX).to_le_bytes());
            }
            Preview::One => {
                record.extend([0; 7]);
                record.extend(self.links.to_le_bytes());
            }
        }
        for word in [self.size, self.accessed, self.modified, self.changed] {
            record.extend(word.to_le_bytes());
        }
        record
    }
}

/// The flags that an open file of the system's has for a descriptor's. `O_NONBLOCK` is always set:
/// it means nothing for files, and a device must not hold a worker up.
pub(super) fn status_flags(flags: FdFlags) -> OFlags {
    let append = if flags.has(FdFlags::APPEND) { OFlags::APPEND } else { OFlags::empty() };
    append | OFlags::NONBLOCK
}

/// Times to set, as the system takes them.
pub(super) fn timestamps(accessed: u64, modified: u64, which: u32) -> Result<Timestamps, Errno> {
    if which & !fstflags::ALL != 0 {
        return Err(Errno::Invalid);
    }
    let time = |nanos: u64, set: u32, now: u32| {
        let special = |nanos| Timespec { tv_sec: 0, tv_nsec: nanos };
        Ok(match (which & set != 0, which & now != 0) {
            (true, true) => return Err(Errno::Invalid),
            (true, false) => Timespec {
                tv_sec: (nanos / 1_000_000_000).cast_signed(),
                tv_nsec: (nanos % 1_000_000_000).cast_signed(),
            },
            (false, true) => special(rustix::fs::UTIME_NOW),
            (false, false) => special(rustix::fs::UTIME_OMIT),
        })
    };
    Ok(Timestamps {
        last_access: time(accessed, fstflags::ACCESS, fstflags::ACCESS_NOW)?,
        last_modification: time(modified, fstflags::MODIFY, fstflags::MODIFY_NOW)?,
    })
}

/// Everything in a directory, sorted, `.` and `..` first. Names that are not UTF-8 cannot be said
/// in WASI and are left out.
fn list(handle: &std::os::fd::OwnedFd) -> Result<Vec<Entry>, Errno> {
    let own = rustix::fs::fstat(handle)?.st_ino;
    let mut entries = vec![];
    for found in Dir::read_from(handle)? {
        let found = found?;
        let Ok(name) = found.file_name().to_str() else { continue };
        // What is above a directory is none of a guest's business, not even its number.
        let inode = if name == ".." { own } else { found.ino() };
        entries.push(Entry { name: name.to_owned(), inode, kind: found.file_type().into() });
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Entries from a cookie on, as the guest reads them, as many as have room. The last may be cut
/// off: the guest sees that by the buffer's being full, and asks again from there.
fn pack(entries: &[Entry], cookie: usize, room: usize) -> Vec<u8> {
    let mut bytes = vec![];
    for (index, entry) in entries.iter().enumerate().skip(cookie) {
        if bytes.len() >= room {
            break;
        }
        let mut header = [0; ENTRY_HEADER];
        header[0..8].copy_from_slice(&(index as u64 + 1).to_le_bytes());
        header[8..16].copy_from_slice(&entry.inode.to_le_bytes());
        header[16..20].copy_from_slice(&(entry.name.len() as u32).to_le_bytes());
        header[20] = entry.kind as u8;
        bytes.extend(header);
        bytes.extend(entry.name.as_bytes());
    }
    bytes.truncate(room);
    bytes
}
