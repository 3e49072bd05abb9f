//! The memory of a process that sleeps: what of it differs from the program's own start, as records
//! of an image have it, and no mapping.
//!
//! An image that is asked for meanwhile takes these records as they are; a process that wakes puts
//! them where they belong, in a room that some other has left.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use wire::image::{Encoding, MemoryChunk};

use crate::code::Code;
use crate::image::{Pages, guest_memories};
use crate::raw::{Budget, PAGE_BYTES};
use crate::room::Room;

/// A room in which more pages than this were changed is not kept: to clean it costs more than to
/// make another.
const CLEANED_PAGES_MAX: usize = 128;

/// See the module.
pub(crate) struct Packed {
    /// Bytes of the program's memories, by the original's index.
    sizes: Box<[u64]>,
    frames: Box<[u8]>,
    /// Contents of records of memory.
    chunks: Box<[Box<[u8]>]>,
    /// Has what the sizes sum up to.
    budget: Arc<Budget>,
}

/// What packing and unpacking need and need not be made anew for each.
#[derive(Default)]
struct Tools {
    pages: Option<Pages>,
    chunk: Vec<u8>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    unpacked: Vec<u8>,
}

thread_local! {
    static TOOLS: RefCell<Tools> = RefCell::default();
}

impl Packed {
    /// Packs what is in a room, with so many bytes of frames, and leaves the room clean for the
    /// next process.
    pub(crate) fn pack(code: &Code, mut room: Room, top: usize, budget: Arc<Budget>) -> Self {
        let frames = room.frames(code).bytes().expect("it is lent to nobody");
        let frames = Box::from(&frames[..top]);
        let memories = guest_memories(code.layout(), &mut room.memories);
        let sizes = memories.map(|(.., mapping)| mapping.size() as u64).collect();
        let (mut chunks, mut changed) = (vec![], 0);
        TOOLS.with_borrow_mut(|tools| {
            let Tools { pages, chunk, .. } = tools;
            let pages = pages.get_or_insert_with(Pages::to_keep);
            pages.start_again();
            loop {
                chunk.clear();
                let some = pages.next(code.layout(), &mut room.memories, |write| write(chunk));
                if !some {
                    break;
                }
                chunks.push(Box::from(&chunk[..]));
                changed += pages.clean(code.layout(), &mut room.memories);
            }
        });
        for (.., mapping) in guest_memories(code.layout(), &mut room.memories) {
            mapping.detach();
        }
        if changed <= CLEANED_PAGES_MAX {
            code.give_room(room, top);
        }
        Self { sizes, frames, chunks: chunks.into(), budget }
    }

    /// Puts it where it can run.
    ///
    /// # Errors
    ///
    /// What the system says if it has no room: the process is lost then.
    pub(crate) fn unpack(self, code: &Code) -> io::Result<Room> {
        let mut room = code.laid_out()?;
        let frames = room.frames(code);
        frames.grow(self.frames.len().next_multiple_of(65_536))?;
        let bytes = frames.bytes().expect("it is lent to nobody");
        bytes[..self.frames.len()].copy_from_slice(&self.frames);
        for (index, _, mapping) in guest_memories(code.layout(), &mut room.memories) {
            mapping.grow(usize::try_from(self.sizes[index as usize]).map_err(io::Error::other)?)?;
        }
        TOOLS.with_borrow_mut(|tools| {
            self.chunks.iter().try_for_each(|chunk| tools.place(code, chunk, &mut room))
        })?;
        let held: u64 = self.sizes.iter().sum();
        // From here on the mappings have what this has had; see `drop`.
        for (.., mapping) in guest_memories(code.layout(), &mut room.memories) {
            mapping.attach(self.budget.clone());
        }
        let mut this = self;
        this.sizes = Box::default();
        debug_assert_eq!(held, this.budget.used(), "all of the budget is in its memories");
        Ok(room)
    }

    /// Bytes of the program's memories, by the original's index.
    pub(crate) fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// Its frames, innermost first.
    pub(crate) fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// The contents of an image's records of memory.
    pub(crate) fn chunks(&self) -> &[Box<[u8]>] {
        &self.chunks
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        self.budget.give(self.sizes.iter().sum());
    }
}

impl Tools {
    fn place(&mut self, code: &Code, chunk: &[u8], room: &mut Room) -> io::Result<()> {
        let chunk = MemoryChunk::decode(chunk).map_err(io::Error::other)?;
        let data = match chunk.encoding {
            Encoding::Raw => chunk.data,
            Encoding::Zstd => {
                self.unpacked.resize(chunk.bytes(), 0);
                let decompressor = match &mut self.decompressor {
                    Some(decompressor) => decompressor,
                    none => none.insert(zstd::bulk::Decompressor::new()?),
                };
                decompressor.decompress_to_buffer(chunk.data, &mut self.unpacked[..])?;
                &self.unpacked[..]
            }
        };
        let mut guests = guest_memories(code.layout(), &mut room.memories);
        let found = guests.find(|(index, ..)| *index == chunk.memory);
        let bytes = found.and_then(|(.., mapping)| mapping.bytes());
        let bytes = bytes.ok_or_else(|| io::Error::other("no such memory"))?;
        let mut rest = data;
        for run in &chunk.runs {
            let (start, length) = (run.page as usize * PAGE_BYTES, run.pages as usize * PAGE_BYTES);
            let (now, later) = rest.split_at(length);
            bytes[start..start + length].copy_from_slice(now);
            rest = later;
        }
        Ok(())
    }
}
