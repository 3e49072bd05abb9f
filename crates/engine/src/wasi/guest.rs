//! The guest's memory, read and written with every address checked.

use super::abi::Errno;

/// The guest's memory for the length of one call. Addresses and lengths come from the guest: any
/// that leaves the memory is `fault`, and nothing is read or written for it.
pub(super) struct Guest<'a> {
    memory: &'a mut [u8],
}

/// A buffer that a guest names: where, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buffer {
    pub(super) at: u32,
    pub(super) len: u32,
}

/// A guest can name this many buffers in one call; the system takes no more either (`IOV_MAX`).
/// Further ones are left for the next call, as a short read or write allows.
const BUFFERS_MAX: u32 = 1024;

impl<'a> Guest<'a> {
    pub(super) fn new(memory: &'a mut [u8]) -> Self {
        Self { memory }
    }

    pub(super) fn bytes(&self, at: u32, len: u32) -> Result<&[u8], Errno> {
        let start = at as usize;
        self.memory.get(start..start + len as usize).ok_or(Errno::Fault)
    }

    pub(super) fn bytes_mut(&mut self, at: u32, len: u32) -> Result<&mut [u8], Errno> {
        let start = at as usize;
        self.memory.get_mut(start..start + len as usize).ok_or(Errno::Fault)
    }

    /// A path or name: UTF-8, without a zero byte.
    pub(super) fn text(&self, at: u32, len: u32) -> Result<&str, Errno> {
        let text = str::from_utf8(self.bytes(at, len)?).map_err(|_| Errno::IllegalSequence)?;
        if text.contains('\0') { Err(Errno::Invalid) } else { Ok(text) }
    }

    pub(super) fn u16(&self, at: u32) -> Result<u16, Errno> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&self, at: u32) -> Result<u32, Errno> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&self, at: u32) -> Result<u64, Errno> {
        self.array(at).map(u64::from_le_bytes)
    }

    pub(super) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::Fault)?;
        self.bytes_mut(at, len)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn write_u32(&mut self, at: u32, value: u32) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    pub(super) fn write_u64(&mut self, at: u32, value: u64) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    /// The buffers of a scatter or gather list, every one of them checked.
    pub(super) fn buffers(&self, at: u32, count: u32) -> Result<Vec<Buffer>, Errno> {
        let mut buffers = Vec::with_capacity(count.min(BUFFERS_MAX) as usize);
        let list = self.bytes(at, count.checked_mul(8).ok_or(Errno::Fault)?)?;
        for entry in list.chunks_exact(8).take(BUFFERS_MAX as usize) {
            let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("4"));
            let buffer = Buffer { at: word(0), len: word(4) };
            self.bytes(buffer.at, buffer.len)?;
            buffers.push(buffer);
        }
        Ok(buffers)
    }

    fn array<const N: usize>(&self, at: u32) -> Result<[u8; N], Errno> {
        let bytes = self.bytes(at, N as u32)?;
        Ok(bytes.try_into().expect("as many bytes as asked for"))
    }
}
