//! Reading and writing: files at their offset, streams as they come.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use rustix::io::{pread, pwritev, retry_on_intr};

use super::abi::{Errno, FdFlags, Preview, Rights};
use super::call::{Call, Done, Fault};
use super::guest::{Buffer, Guest};
use super::place::PlaceFile;
use super::table::{File, Object};
use crate::{Input, Stream, Wait};

/// The buffers of a small write to a stream are joined, so that a line stays one piece of output.
const JOINED_BYTES_MAX: usize = 64 << 10;

impl Call<'_> {
    pub(super) fn fd_read(&mut self, fd: u32, buffers: u32, count: u32, read_at: u32) -> Done {
        let buffers = self.guest.buffers(buffers, count)?;
        let descriptor = self.wasi.table.at_mut(fd)?;
        if matches!(descriptor.object, Object::Directory(_) | Object::Place(_)) {
            return Err(Errno::BadDescriptor.into());
        }
        descriptor.may(Rights::READ)?;
        let waits = !descriptor.flags.has(FdFlags::NONBLOCK);
        let read = match &mut descriptor.object {
            Object::Directory(_) | Object::Place(_) | Object::Output(_) => {
                return Err(Errno::BadDescriptor.into());
            }
            Object::Stdin => self.read_input(&buffers, waits)?,
            Object::File(file) => {
                let read = read(&mut self.guest, &file.handle, &buffers, file.offset)?;
                file.offset += u64::from(read);
                read
            }
            Object::PlaceFile(PlaceFile::Inbox, _) => self.read_inbox(&buffers, waits)?,
            Object::PlaceFile(file, offset) => {
                let text = file.text(self.world);
                let read = copy(&mut self.guest, text.as_bytes(), &buffers, *offset)?;
                *offset += u64::from(read);
                read
            }
        };
        Ok(self.guest.write_u32(read_at, read)?)
    }

    pub(super) fn fd_pread(
        &mut self,
        fd: u32,
        buffers: u32,
        count: u32,
        offset: u64,
        read_at: u32,
    ) -> Done {
        let buffers = self.guest.buffers(buffers, count)?;
        let descriptor = self.wasi.table.at(fd)?;
        let read = match &descriptor.object {
            Object::PlaceFile(file, _) if file.is_pipe() => return Err(Errno::Seek.into()),
            Object::PlaceFile(file, _) => {
                let text = file.text(self.world);
                copy(&mut self.guest, text.as_bytes(), &buffers, offset)?
            }
            _ => {
                let file = descriptor.file()?;
                descriptor.may(Rights(Rights::READ.0 | Rights::SEEK.0))?;
                read(&mut self.guest, &file.handle, &buffers, offset)?
            }
        };
        Ok(self.guest.write_u32(read_at, read)?)
    }

    pub(super) fn fd_write(&mut self, fd: u32, buffers: u32, count: u32, written_at: u32) -> Done {
        let buffers = self.guest.buffers(buffers, count)?;
        let descriptor = self.wasi.table.at(fd)?;
        let flags = descriptor.flags;
        let written = if let Object::Output(stream) = descriptor.object {
            descriptor.may(Rights::WRITE)?;
            self.write_output(stream, &buffers)?
        } else if let Object::PlaceFile(file, _) = descriptor.object {
            descriptor.may(Rights::WRITE)?;
            let (now, written) = self.write_place(file, flags, &buffers)?;
            self.wasi.table.at_mut(fd)?.object = Object::PlaceFile(now, 0);
            written
        } else {
            if matches!(descriptor.object, Object::Stdin) {
                return Err(Errno::BadDescriptor.into());
            }
            descriptor.file()?;
            descriptor.may(Rights::WRITE)?;
            self.await_effects()?;
            let descriptor = self.wasi.table.at_mut(fd)?;
            let file = descriptor.file_mut()?;
            let written = write(&self.guest, &file.handle, &buffers, file.offset, flags)?;
            file.offset = if flags.has(FdFlags::APPEND) {
                size(&file.handle)?
            } else {
                file.offset + u64::from(written)
            };
            written
        };
        Ok(self.guest.write_u32(written_at, written)?)
    }

    pub(super) fn fd_pwrite(
        &mut self,
        fd: u32,
        buffers: u32,
        count: u32,
        offset: u64,
        written_at: u32,
    ) -> Done {
        let buffers = self.guest.buffers(buffers, count)?;
        let descriptor = self.wasi.table.at(fd)?;
        let file = descriptor.file()?;
        descriptor.may(Rights(Rights::WRITE.0 | Rights::SEEK.0))?;
        self.await_effects()?;
        let written = write(&self.guest, &file.handle, &buffers, offset, descriptor.flags)?;
        Ok(self.guest.write_u32(written_at, written)?)
    }

    pub(super) fn fd_seek(&mut self, fd: u32, offset: i64, whence: u32, at: u32) -> Done {
        let from = Whence::new(self.preview, whence)?;
        let descriptor = self.wasi.table.at_mut(fd)?;
        let asks_only = offset == 0 && from == Whence::Current;
        let right = if asks_only { Rights::TELL } else { Rights::SEEK };
        let allowed = descriptor.may(right);
        let (position, size) = match &mut descriptor.object {
            Object::PlaceFile(file, _) if file.is_pipe() => return Err(Errno::Seek.into()),
            Object::PlaceFile(file, position) => (position, file.text(self.world).len() as u64),
            _ => {
                let File { offset, handle, .. } = descriptor.file_mut()?;
                let end = if from == Whence::End { size(handle)? } else { 0 };
                (offset, end)
            }
        };
        allowed?;
        let base = match from {
            Whence::Start => 0,
            Whence::Current => *position,
            Whence::End => size,
        };
        let new = base.checked_add_signed(offset).ok_or(Errno::Invalid)?;
        if i64::try_from(new).is_err() {
            return Err(Errno::Overflow.into());
        }
        *position = new;
        Ok(self.guest.write_u64(at, new)?)
    }

    pub(super) fn fd_tell(&mut self, fd: u32, at: u32) -> Done {
        let descriptor = self.wasi.table.at(fd)?;
        let offset = match &descriptor.object {
            Object::PlaceFile(file, _) if file.is_pipe() => return Err(Errno::Seek.into()),
            Object::PlaceFile(_, offset) => *offset,
            _ => descriptor.file()?.offset,
        };
        descriptor.may(Rights::TELL)?;
        Ok(self.guest.write_u64(at, offset)?)
    }

    fn read_input(&mut self, buffers: &[Buffer], waits: bool) -> Done<u32> {
        if buffers.iter().all(|buffer| buffer.len == 0) {
            return Ok(0);
        }
        match self.world.input() {
            Input::Ready(_) => {}
            Input::Ended => return Ok(0),
            Input::Held => return Err(Fault::Block(Wait::Effects)),
            Input::Empty if waits => return Err(Fault::Block(Wait::Stdin(None))),
            Input::Empty => return Err(Errno::Again.into()),
        }
        let mut total = 0;
        for buffer in buffers {
            let taken = self.world.take_input(self.guest.bytes_mut(buffer.at, buffer.len)?);
            total += taken as u32;
            if taken < buffer.len as usize {
                break;
            }
        }
        Ok(total)
    }

    fn write_output(&mut self, stream: Stream, buffers: &[Buffer]) -> Done<u32> {
        let total: usize = buffers.iter().map(|buffer| buffer.len as usize).sum();
        let mut joined = vec![];
        let mut written = 0;
        for buffer in buffers.iter().filter(|buffer| buffer.len > 0) {
            let bytes = self.guest.bytes(buffer.at, buffer.len)?;
            if bytes.len() < total && total <= JOINED_BYTES_MAX {
                joined.extend_from_slice(bytes);
                continue;
            }
            let some = self.world.write(stream, bytes);
            written += some;
            if some < bytes.len() {
                break;
            }
        }
        written += self.world.write(stream, &joined);
        match written {
            0 if total > 0 => Err(Fault::Block(Wait::OutputRoom)),
            _ => Ok(written as u32),
        }
    }
}

/// Where a seek counts from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whence {
    Start,
    Current,
    End,
}

impl Whence {
    fn new(preview: Preview, whence: u32) -> Result<Self, Errno> {
        Ok(match (preview, whence) {
            (Preview::One, 0) | (Preview::Zero, 2) => Self::Start,
            (Preview::One, 1) | (Preview::Zero, 0) => Self::Current,
            (Preview::One, 2) | (Preview::Zero, 1) => Self::End,
            _ => return Err(Errno::Invalid),
        })
    }
}

/// How long a file is.
pub(super) fn size(handle: &OwnedFd) -> Result<u64, Errno> {
    Ok(rustix::fs::fstat(handle)?.st_size.cast_unsigned())
}

/// Reads into one buffer after the other, until one is not filled.
fn read(guest: &mut Guest<'_>, file: &OwnedFd, buffers: &[Buffer], offset: u64) -> Done<u32> {
    let mut total = 0u32;
    for buffer in buffers.iter().filter(|buffer| buffer.len > 0) {
        let bytes = guest.bytes_mut(buffer.at, buffer.len)?;
        let at = offset.checked_add(total.into()).ok_or(Errno::Invalid)?;
        let read = match retry_on_intr(|| pread(file, &mut *bytes, at)) {
            // What was read before the error is not lost: the next call will meet it.
            Err(_) if total > 0 => break,
            read => read?,
        };
        total = total.checked_add(read as u32).ok_or(Errno::Invalid)?;
        if read < buffer.len as usize {
            break;
        }
    }
    Ok(total)
}

/// Writes all the buffers in one call of the system's, so that a record that is appended stays in
/// one piece. A handle open for appending appends, wherever `offset` is.
fn write(
    guest: &Guest<'_>,
    file: &OwnedFd,
    buffers: &[Buffer],
    offset: u64,
    flags: FdFlags,
) -> Done<u32> {
    let slices = buffers.iter().map(|buffer| guest.bytes(buffer.at, buffer.len).map(IoSlice::new));
    let slices = slices.collect::<Result<Vec<_>, _>>()?;
    let written = retry_on_intr(|| pwritev(file, &slices, offset))?;
    sync_as_asked(file, flags)?;
    Ok(written as u32)
}

/// Each write goes to the disk before it returns, if the descriptor says so. Done here, and not by
/// the system's flags, because those cannot be changed on an open file, and WASI's can.
fn sync_as_asked(file: &OwnedFd, flags: FdFlags) -> Done {
    if flags.has(FdFlags::SYNC) {
        retry_on_intr(|| rustix::fs::fsync(file))?;
    } else if flags.has(FdFlags::DSYNC) {
        retry_on_intr(|| rustix::fs::fdatasync(file))?;
    }
    Ok(())
}

/// Reads from a text of ours as from a file.
pub(super) fn copy(
    guest: &mut Guest<'_>,
    text: &[u8],
    buffers: &[Buffer],
    offset: u64,
) -> Done<u32> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
    let mut rest = &text[start..];
    for buffer in buffers {
        let (now, later) = rest.split_at(rest.len().min(buffer.len as usize));
        guest.write(buffer.at, now)?;
        rest = later;
    }
    Ok((text.len() - start - rest.len()) as u32)
}
