//! What goes into an image: the engine's half of the format in `wire::image`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use wire::image::{
    CHUNK_PAGES_MAX, Directory, Encoder, Encoding, Head, Kind, MemoryChunk, Run, StackName,
};

use crate::body::{Body, Keep};
use crate::frozen::{Stamp, stack};
use crate::instance::Phase;
use crate::layout::{Initial, Layout, Role};
use crate::raw::{Mapping, PAGE_BYTES};
use crate::{Dir, WriteError};

/// What loopback and a file in memory carry, in bytes per second.
pub(crate) const LOOPBACK: u64 = 1_500 << 20;

/// Sections that may be cut are cut at this size.
const SECTION_BYTES: usize = 1 << 18;

/// How hard what is sent is squeezed.
const SENT_LEVEL: i32 = 1;

/// How hard what is kept in memory is: without a code for its literals, whose table takes as long as all else where
/// there are two pages of it.
const KEPT_LEVEL: i32 = -1;

/// How many pages are compressed to find out whether it pays.
const SAMPLE_PAGES: usize = 4;

/// After samples that did not pay, at most this many records go by without one.
const SKIP_MAX: u32 = 64;

/// Writes all that comes before the frames.
pub(crate) fn prelude(
    body: &mut Body,
    stamp: &Stamp,
    dirs: &[Dir],
    [protocol, mail]: [&[u8]; 2],
    out: &mut Vec<u8>,
) -> Result<Encoder, WriteError> {
    let head = head(body, stamp, dirs)?;
    let names = stack(body)?.into_iter();
    let names = names.map(|frame| StackName { function: frame.function, name: frame.name });
    let names: Vec<_> = names.collect();
    let (host, values, _) = body.parts()?;
    let wasi = host.wasi.save().map_err(|error| WriteError::Bound(error.to_string()))?;
    let streams = host.world.streams();
    let mut encoder = Encoder::begin(out);
    encoder.record(Kind::Head, out, |out| write(&head, out));
    // Cut by names, so that each record can be read by itself; the longest stack has many.
    for names in names.chunks(1024) {
        encoder.record(Kind::Stack, out, |out| write(&names, out));
    }
    let sections = [
        (Kind::Protocol, protocol.to_vec()),
        (Kind::Wasi, wasi),
        (Kind::Streams, bytes(&streams)),
        (Kind::Mail, mail.to_vec()),
        (Kind::State, bytes(&values.state)),
    ];
    for (kind, section) in sections {
        for part in section.chunks(SECTION_BYTES) {
            encoder.record(kind, out, |out| out.extend_from_slice(part));
        }
    }
    Ok(encoder)
}

fn head(body: &mut Body, stamp: &Stamp, dirs: &[Dir]) -> Result<Head, WriteError> {
    let code = body.code.clone();
    let memory_max = body.budget.max();
    let in_start = body.phase == Phase::Start;
    let (host, values, keep) = body.parts()?;
    let Stamp { node, epoch, offer } = stamp.clone();
    let memories = match keep {
        Keep::Room(room) => guest_memories(code.layout(), &mut room.memories)
            .map(|(_, _, mapping)| mapping.size() as u64)
            .collect(),
        Keep::Packed(packed) => packed.sizes().to_vec(),
        Keep::Unmade => return Err(WriteError::Broken("it has not begun".to_owned())),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Head {
        pid: host.world.pid(),
        code: code.hash(),
        original: code.original(),
        epoch,
        offer,
        node,
        frozen_at: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        memory_max,
        memories,
        frames_bytes: values.top,
        in_start,
        dirs: dirs.iter().map(directory).collect(),
    })
}

fn directory(dir: &Dir) -> Directory {
    let Dir { host, guest, read_only } = dir.clone();
    Directory { host: host.to_string_lossy().into_owned(), guest, read_only }
}

/// The program's own memories, by the original's index, with what they hold at the start.
pub(crate) fn guest_memories<'a>(
    layout: &'a Layout,
    memories: &'a mut [Mapping],
) -> impl Iterator<Item = (u32, &'a Initial, &'a mut Mapping)> {
    let mapped = layout.mapped().zip(memories);
    let mut guests: Vec<_> = mapped
        .filter_map(|(memory, mapping)| match memory.role {
            Role::Guest(index) => Some((index, &layout.initial[index as usize], mapping)),
            Role::Control | Role::Frames => None,
        })
        .collect();
    guests.sort_by_key(|(index, ..)| *index);
    guests.into_iter()
}

fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    out.append(&mut bytes(value));
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![]).expect("plain data of known lengths is always written")
}

/// Writes memory, page by page, leaving out what is as the program's own start leaves it.
pub(crate) struct Pages {
    memory: usize,
    page: usize,
    squeeze: Squeeze,
    present: Present,
    runs: Vec<Run>,
}

impl Pages {
    /// For a way of so many bytes per second.
    pub(crate) fn new(link: u64) -> Self {
        let squeeze =
            Squeeze { link, always: false, skip: 0, left: 0, compressor: None, paying: false };
        Self { memory: 0, page: 0, squeeze, present: Present::default(), runs: vec![] }
    }

    /// For what is kept in memory: as small as can be. For one process after the other, with
    /// [`Pages::start_again`] before each.
    pub(crate) fn to_keep() -> Self {
        let mut pages = Self::new(LOOPBACK);
        pages.squeeze.always = true;
        pages
    }

    /// Begins with another process.
    pub(crate) fn start_again(&mut self) {
        (self.memory, self.page) = (0, 0);
        self.present.window.clear();
    }

    /// Makes the pages of the last record what they are at the program's start. Says how many there are.
    pub(crate) fn clean(&mut self, layout: &Layout, memories: &mut [Mapping]) -> usize {
        let mut cleaned = 0;
        if let Some((_, initial, mapping)) = guest_memories(layout, memories).nth(self.memory) {
            let bytes = mapping.bytes().expect("it is lent to nobody");
            for number in self.runs.iter().flat_map(|run| run.page..run.page + run.pages) {
                let start = number as usize * PAGE_BYTES;
                let page = &mut bytes[start..start + PAGE_BYTES];
                match initial.page(number) {
                    Some(initial) => page.copy_from_slice(initial),
                    None => page.fill(0),
                }
                cleaned += 1;
            }
        }
        cleaned
    }

    /// Has the content of the next record written by `put`, which is handed what writes it. Says
    /// whether there was one.
    pub(crate) fn next(
        &mut self,
        layout: &Layout,
        memories: &mut [Mapping],
        put: impl FnOnce(&mut dyn FnMut(&mut Vec<u8>)),
    ) -> bool {
        for (index, initial, mapping) in guest_memories(layout, memories).skip(self.memory) {
            let bytes = mapping.bytes().expect("a frozen process's memory is not lent");
            self.collect(initial, bytes);
            if !self.runs.is_empty() {
                let (squeeze, runs) = (&mut self.squeeze, &self.runs);
                put(&mut |out| squeeze.write(index, runs, bytes, out));
                return true;
            }
            (self.memory, self.page) = (self.memory + 1, 0);
            self.present.window.clear();
        }
        false
    }

    /// Finds the next pages that have to be written, as many as a record takes.
    fn collect(&mut self, initial: &Initial, bytes: &[u8]) {
        self.runs.clear();
        let pages = bytes.len() / PAGE_BYTES;
        let mut room = CHUNK_PAGES_MAX;
        while room > 0 && self.page < pages {
            let number = self.page as u32;
            let differs = match initial.page(number) {
                None if !self.present.has(bytes, self.page) => false,
                None => !is_zero(page(bytes, self.page)),
                Some(initial) => *page(bytes, self.page) != *initial,
            };
            if differs {
                match self.runs.last_mut() {
                    Some(run) if run.page + run.pages == number => run.pages += 1,
                    _ => self.runs.push(Run { page: number, pages: 1 }),
                }
                room -= 1;
            }
            self.page += 1;
        }
    }
}

fn page(bytes: &[u8], page: usize) -> &[u8] {
    &bytes[page * PAGE_BYTES..(page + 1) * PAGE_BYTES]
}

fn is_zero(page: &[u8]) -> bool {
    static ZERO: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    *page == ZERO
}

/// Which pages the kernel has anything for. One that was never touched is zero, and looking at it
/// would only make it be there.
#[derive(Default)]
struct Present {
    /// None where the kernel does not say; then every page is looked at.
    pagemap: Option<File>,
    opened: bool,
    /// Entries for a window of pages, from `first` on.
    first: usize,
    window: Vec<u8>,
}

impl Present {
    /// How many pages are asked about at once.
    const WINDOW: usize = 2048;

    /// Present or swapped out: bits 63 and 62 of an entry of `/proc/self/pagemap`.
    const TOUCHED: u64 = 3 << 62;

    fn has(&mut self, bytes: &[u8], page: usize) -> bool {
        if !self.opened {
            self.opened = true;
            // Its entries are of the kernel's pages.
            let same = rustix::param::page_size() == PAGE_BYTES;
            self.pagemap = same.then(|| File::open("/proc/self/pagemap").ok()).flatten();
        }
        let Some(pagemap) = &self.pagemap else { return true };
        let known = page.wrapping_sub(self.first).wrapping_mul(8);
        if page < self.first || known + 8 > self.window.len() {
            let left = bytes.len() / PAGE_BYTES - page;
            self.window.resize(8 * left.min(Self::WINDOW), 0);
            self.first = page;
            let entry = (bytes.as_ptr().addr() / PAGE_BYTES + page) as u64 * 8;
            if pagemap.read_exact_at(&mut self.window, entry).is_err() {
                self.pagemap = None;
                return true;
            }
        }
        let at = (page - self.first) * 8;
        let entry = self.window[at..at + 8].try_into().expect("8 bytes");
        u64::from_le_bytes(entry) & Self::TOUCHED != 0
    }
}

/// Decides by samples whether compressing pays: whether the time it takes is less than what the
/// link saves.
struct Squeeze {
    link: u64,
    /// Whatever it takes.
    always: bool,
    /// How many records are written as they are after the next sample that does not pay.
    skip: u32,
    left: u32,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    paying: bool,
}

impl Squeeze {
    fn write(&mut self, memory: u32, runs: &[Run], bytes: &[u8], out: &mut Vec<u8>) {
        let pages = |run: &Run| {
            let start = run.page as usize * PAGE_BYTES;
            &bytes[start..start + run.pages as usize * PAGE_BYTES]
        };
        if self.pays(pages(&runs[0])) {
            let raw = runs.iter().map(pages).collect::<Vec<_>>().concat();
            if let Some(squeezed) =
                self.compress(&raw).filter(|squeezed| squeezed.len() < raw.len())
            {
                MemoryChunk::encode_head(memory, Encoding::Zstd, runs, out);
                out.extend(squeezed);
                return;
            }
        }
        MemoryChunk::encode_head(memory, Encoding::Raw, runs, out);
        runs.iter().for_each(|run| out.extend_from_slice(pages(run)));
    }

    fn pays(&mut self, run: &[u8]) -> bool {
        if self.always {
            return true;
        }
        if self.left > 0 {
            self.left -= 1;
            return self.paying;
        }
        let sample = &run[..run.len().min(SAMPLE_PAGES * PAGE_BYTES)];
        let begun = Instant::now();
        let squeezed = self.compress(sample).map_or(sample.len(), |squeezed| squeezed.len());
        let spent = begun.elapsed().as_nanos();
        let saved = sample.len().saturating_sub(squeezed) as u128 * 1_000_000_000;
        self.paying = spent < saved / u128::from(self.link);
        self.skip = if self.paying { 8 } else { (2 * self.skip + 1).min(SKIP_MAX) };
        self.left = self.skip;
        self.paying
    }

    fn compress(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.compressor.is_none() {
            let level = if self.always { KEPT_LEVEL } else { SENT_LEVEL };
            self.compressor = zstd::bulk::Compressor::new(level).ok();
        }
        self.compressor.as_mut()?.compress(bytes).ok()
    }
}
