//! From an image back to a process.
//!
//! An image is hostile: its records are decoded and checked as they come (`wire::image`), its
//! memory is put in place only within the sizes that its code allows, and when it is whole, its
//! frames, globals and tables are checked against the code before any of them is used.

use std::sync::Arc;
use std::time::Instant;

use serde::de::DeserializeOwned;
use transform::sites::ValueType;
use wire::image::{
    Decoder, Directory, Encoding, Head, Kind, MemoryChunk, Record, Run, StackName, State, Value,
};
use wire::{CodeHash, Epoch, Grant, Offer, Pid};

use crate::body::{Body, Parts};
use crate::code::Code;
use crate::host::{Outside, Streams};
use crate::image::guest_memories;
use crate::instance::{Phase, Values, stack};
use crate::layout::Role;
use crate::mail::Mail;
use crate::raw::{Budget, LARGE_PAGE_BYTES, Mapping, PAGE_BYTES};
use crate::room::Room;
use crate::wasi::{Arrival, Wasi};
use crate::{Dir, Engine, EventSink, FrameName, Needs, Place, Process, StartError, ThawError};

/// Sections other than frames and memory are not longer than this together: what they hold is
/// bounded where it is made, well below.
const SECTIONS_BYTES_MAX: usize = 1 << 26;

/// Takes an image as its bytes arrive, memory straight into place.
pub struct Thaw {
    decoder: Decoder,
    /// None after an error: the rest of the image makes no sense.
    intake: Option<Intake>,
}

/// What has arrived.
struct Intake {
    engine: Engine,
    arrival: Arrival,
    /// When the image's first byte was expected; set if it comes by a move.
    by_move: Option<Instant>,
    frame: Option<Arrived>,
    sections: Sections,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    unpacked: Vec<u8>,
}

/// Made when the head has come.
struct Arrived {
    head: Head,
    code: Arc<Code>,
    budget: Arc<Budget>,
    room: Room,
    /// Whether what the program starts with is in it.
    laid_out: bool,
    frames: usize,
    /// For each of the program's memories, which pages have come.
    pages: Vec<PageSet>,
    /// For each, how far it is made ready for what comes next.
    ready: Vec<Ready>,
}

#[derive(Default)]
struct Sections {
    protocol: Vec<u8>,
    wasi: Vec<u8>,
    streams: Vec<u8>,
    mail: Vec<u8>,
    state: Vec<u8>,
}

/// How far the kernel has made a memory ready to be written. Pages come in ascending order.
struct Ready {
    /// Pages have come without a gap from here …
    from: usize,
    /// … to here, in bytes.
    to: usize,
    /// Up to here it is ready.
    end: usize,
    /// Whether the kernel is asked for large pages.
    large: bool,
}

/// Where so many bytes have come without a gap, the next ones are believed to come too, and are
/// made ready as a large page.
const DENSE_BYTES: usize = 1 << 19;

/// A set of pages.
struct PageSet(Vec<u64>);

/// A process whose image is here, whole and verified, and which does not run yet.
pub struct Staged {
    engine: Engine,
    head: Head,
    protocol: Vec<u8>,
    streams: Streams,
    mail: Mail,
    stack: Vec<FrameName>,
    dirs: Vec<Dir>,
    wasi: Wasi,
    parts: Parts,
}

impl Thaw {
    /// Waits for an image's first byte.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        let intake = Intake {
            engine: engine.clone(),
            arrival: Arrival::default(),
            by_move: None,
            frame: None,
            sections: Sections::default(),
            decompressor: None,
            unpacked: vec![],
        };
        Self { decoder: Decoder::default(), intake: Some(intake) }
    }

    /// Says that the image comes from a node where the process was frozen about now: the time that
    /// it was frozen is counted from here, with no clocks compared. Without this it is the
    /// difference of the wall clocks.
    #[must_use]
    pub fn by_move(mut self) -> Self {
        if let Some(intake) = &mut self.intake {
            intake.by_move = Some(Instant::now());
        }
        self
    }

    /// Takes more of the image, however it is cut.
    ///
    /// # Errors
    ///
    /// [`ThawError`], as soon as the image is known to be bad; the rest need not be sent.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ThawError> {
        let Some(mut intake) = self.intake.take() else {
            return Err(malformed(Kind::End, "it was refused before"));
        };
        self.decoder.push(bytes, |record| intake.take(record))?;
        self.intake = Some(intake);
        Ok(())
    }

    /// Verifies the whole.
    ///
    /// # Errors
    ///
    /// [`ThawError`]; nothing was started.
    pub fn finish(self) -> Result<Staged, ThawError> {
        self.decoder.finish()?;
        let intake = self.intake.ok_or_else(|| malformed(Kind::End, "it was refused before"))?;
        intake.stage()
    }
}

impl Intake {
    fn take(&mut self, record: Record<'_>) -> Result<(), ThawError> {
        let Record { kind, content } = record;
        let sections = &mut self.sections;
        let section = match kind {
            Kind::Head => return self.begin(decode(kind, content)?),
            Kind::Memory => return self.memory(content),
            Kind::Frames => return self.arrived()?.frames(content),
            // For people; what the frames say is what counts.
            Kind::Stack => return decode::<Vec<StackName>>(kind, content).map(drop),
            Kind::End => return Ok(()),
            Kind::Protocol => &mut sections.protocol,
            Kind::Wasi => &mut sections.wasi,
            Kind::Streams => &mut sections.streams,
            Kind::Mail => &mut sections.mail,
            Kind::State => &mut sections.state,
        };
        section.extend_from_slice(content);
        let Sections { protocol, wasi, streams, mail, state } = sections;
        let bytes: usize =
            [protocol, wasi, streams, mail, state].iter().map(|part| part.len()).sum();
        if bytes > SECTIONS_BYTES_MAX {
            return Err(malformed(kind, "longer than such parts are"));
        }
        Ok(())
    }

    fn arrived(&mut self) -> Result<&mut Arrived, ThawError> {
        self.frame.as_mut().ok_or_else(|| malformed(Kind::Head, "it has none"))
    }

    /// Finds the code, and makes memory of the sizes that the head says.
    fn begin(&mut self, head: Head) -> Result<(), ThawError> {
        let code = self.engine.code(head.code)?.ok_or(ThawError::CodeMissing(head.code))?;
        if code.original() != head.original {
            return Err(foreign("its original program is another"));
        }
        let budget = Budget::new(head.memory_max);
        let ready = code.take_room(&budget);
        let laid_out = ready.is_some();
        let mut room = match ready {
            Some(room) => room,
            None => Room::new(&code, Some(&budget))?,
        };
        self.grow(&code, &head, &mut room.memories)?;
        let pages = head.memories.iter().map(|bytes| PageSet::new(*bytes)).collect();
        let ready = head.memories.iter().map(|_| Ready::nothing()).collect();
        let frames = 0;
        self.frame = Some(Arrived { head, code, budget, room, laid_out, frames, pages, ready });
        Ok(())
    }

    fn grow(&self, code: &Code, head: &Head, memories: &mut [Mapping]) -> Result<(), ThawError> {
        let layout = code.layout();
        let count = layout.initial.len();
        if head.memories.len() != count {
            return Err(foreign("it has another number of memories"));
        }
        for (memory, mapping) in layout.mapped().zip(memories) {
            let bytes = match memory.role {
                Role::Guest(index) => head.memories[index as usize],
                Role::Frames => u64::from(head.frames_bytes).max(memory.bytes_min),
                Role::Control => unreachable!("it is not mapped by us"),
            };
            let fits = (memory.bytes_min..=memory.bytes_max).contains(&bytes);
            // Frames end where the program stopped; all else grows by whole Wasm pages.
            if !fits || (memory.role != Role::Frames && !bytes.is_multiple_of(65_536)) {
                return Err(foreign("a memory has a size that its code does not allow"));
            }
            let bytes = bytes.next_multiple_of(65_536);
            mapping.grow(usize::try_from(bytes).expect("at most 4 GiB"))?;
        }
        Ok(())
    }

    fn memory(&mut self, content: &[u8]) -> Result<(), ThawError> {
        let refused = |what: &str| malformed(Kind::Memory, what);
        let chunk = MemoryChunk::decode(content).map_err(refused)?;
        if chunk.encoding == Encoding::Zstd {
            self.unpack(&chunk)?;
        }
        let Self { frame, unpacked, .. } = self;
        let Some(arrived) = frame else {
            return Err(malformed(Kind::Head, "it has none"));
        };
        let mut data = match chunk.encoding {
            Encoding::Raw => chunk.data,
            Encoding::Zstd => unpacked,
        };
        let layout = arrived.code.layout();
        let mut guests = guest_memories(layout, &mut arrived.room.memories);
        let found = guests.find(|(index, ..)| *index == chunk.memory);
        let (index, _, mapping) = found.ok_or_else(|| refused("no such memory"))?;
        for run in &chunk.runs {
            arrived.ready[index as usize].make(mapping, run);
        }
        let bytes = mapping.bytes().expect("it is lent to nobody");
        let set = &mut arrived.pages[index as usize];
        for run in &chunk.runs {
            let start = run.page as usize * PAGE_BYTES;
            let length = run.pages as usize * PAGE_BYTES;
            let place = bytes.get_mut(start..start + length);
            let place = place.ok_or_else(|| refused("pages beyond the memory's end"))?;
            let (now, later) = data.split_at(length);
            place.copy_from_slice(now);
            data = later;
            set.insert(run.page, run.pages);
        }
        Ok(())
    }

    fn unpack(&mut self, chunk: &MemoryChunk<'_>) -> Result<(), ThawError> {
        if self.decompressor.is_none() {
            self.decompressor = Some(zstd::bulk::Decompressor::new()?);
        }
        let decompressor = self.decompressor.as_mut().expect("it was just made");
        self.unpacked.resize(chunk.bytes(), 0);
        let unpacked = decompressor.decompress_to_buffer(chunk.data, &mut self.unpacked[..]);
        if unpacked.ok() != Some(chunk.bytes()) {
            return Err(malformed(Kind::Memory, "compressed pages of another length"));
        }
        Ok(())
    }

    fn stage(mut self) -> Result<Staged, ThawError> {
        let arrived = self.frame.take().ok_or_else(|| malformed(Kind::Head, "it has none"))?;
        let Sections { protocol, wasi, streams, mail, state } = self.sections;
        let state: State = decode(Kind::State, &state)?;
        let streams: Streams = decode(Kind::Streams, &streams)?;
        if streams.taken > streams.written || (streams.input.len() as u64) > streams.fed {
            return Err(malformed(Kind::Streams, "offsets that cannot be"));
        }
        let mail = Mail::restore(&mail).map_err(|what| malformed(Kind::Mail, what))?;
        check_state(&arrived.code, &state)?;
        self.arrival.frozen_for = self.by_move.map(|since| since.elapsed());
        let wasi = Wasi::restore(&wasi, &self.arrival)?;
        let Arrived { head, code, budget, room, laid_out, frames, pages, .. } = arrived;
        let values = Values { state, top: head.frames_bytes };
        if frames != head.frames_bytes as usize {
            return Err(malformed(Kind::Frames, "more or fewer than the head says"));
        }
        let phase = if head.in_start { Phase::Start } else { Phase::Main };
        let mut parts = Parts { code, room, budget, phase, values };
        if !laid_out {
            parts.fill(&pages);
        }
        let stack = parts.check_frames()?;
        let dirs = head.dirs.iter().map(dir).collect();
        let engine = self.engine;
        Ok(Staged { engine, head, protocol, streams, mail, stack, dirs, wasi, parts })
    }
}

impl Arrived {
    fn frames(&mut self, content: &[u8]) -> Result<(), ThawError> {
        let end = self.frames + content.len();
        if end > self.head.frames_bytes as usize {
            return Err(malformed(Kind::Frames, "more than the head says"));
        }
        let bytes = frames(&self.code, &mut self.room);
        bytes[self.frames..end].copy_from_slice(content);
        self.frames = end;
        Ok(())
    }
}

/// The memory that frames lie in.
fn frames<'a>(code: &Code, room: &'a mut Room) -> &'a mut [u8] {
    room.frames(code).bytes().expect("it is lent to nobody")
}

impl Parts {
    /// Puts what the program starts with where the image says nothing.
    fn fill(&mut self, pages: &[PageSet]) {
        for (index, initial, mapping) in guest_memories(self.code.layout(), &mut self.room.memories)
        {
            initial.write(mapping, |page| !pages[index as usize].has(page));
        }
    }

    /// Checks the frames against the site table. Says where the process stopped.
    fn check_frames(&mut self) -> Result<Vec<FrameName>, ThawError> {
        let references = self.values.state.references.len();
        let references = u32::try_from(references).map_err(|_| foreign("too many references"))?;
        let top = self.values.top as usize;
        let frames = &frames(&self.code, &mut self.room)[..top];
        let sites = self.code.sites();
        let found = sites.check_frames(frames, references).map_err(|e| foreign(e.to_string()))?;
        let entry = match self.phase {
            Phase::Main => sites.export("_start"),
            Phase::Start => sites.start,
        };
        let outermost = found.first().map(|frame| frame.function);
        let enters = match (entry, outermost) {
            (Some(entry), Some(outermost)) => sites.enters(entry, outermost),
            (entry, outermost) => entry == outermost,
        };
        if !enters {
            return Err(foreign("its outermost frame is not of its entry point"));
        }
        stack(&self.code, frames, references).map_err(foreign)
    }
}

/// Checks what is in no memory against the code.
fn check_state(code: &Code, state: &State) -> Result<(), ThawError> {
    let sites = code.sites();
    let function =
        |number: Option<u32>| number.is_none_or(|number| (number as usize) < sites.functions.len());
    let globals: Vec<_> = sites.globals.iter().filter(|global| global.mutable).collect();
    let typed = globals.len() == state.globals.len()
        && globals.iter().zip(&state.globals).all(|(global, value)| fits(global.ty, *value));
    if !typed {
        return Err(foreign("its globals are not those of its code"));
    }
    let layouts = (0..).zip(&code.layout().tables).filter(|(_, table)| table.mutable);
    let layouts: Vec<_> = layouts.map(|(index, _): (u32, _)| index).collect();
    if !layouts.iter().eq(state.tables.iter().map(|(index, _)| index)) {
        return Err(foreign("its tables are not those of its code"));
    }
    for (index, entries) in &state.tables {
        let table = &sites.tables[*index as usize];
        let length = entries.len() as u64;
        if length < table.entries_min || table.entries_max.is_some_and(|max| length > max) {
            return Err(foreign("a table has a size that its code does not allow"));
        }
    }
    let droppable = code.run().exports.dropped.len();
    if state.dropped.len() != droppable {
        return Err(foreign("its segments are not those of its code"));
    }
    let tables = state.tables.iter().flat_map(|(_, entries)| entries);
    let globals = state.globals.iter().filter_map(|value| match value {
        Value::Func(number) => Some(number),
        _ => None,
    });
    if !tables.chain(globals).chain(&state.references).all(|number| function(*number)) {
        return Err(foreign("it refers to a function that its code lacks"));
    }
    Ok(())
}

fn fits(ty: ValueType, value: Value) -> bool {
    match ty {
        ValueType::I32 => matches!(value, Value::I32(_)),
        ValueType::I64 => matches!(value, Value::I64(_)),
        ValueType::F32 => matches!(value, Value::F32(_)),
        ValueType::F64 => matches!(value, Value::F64(_)),
        ValueType::V128 => matches!(value, Value::V128(_)),
        ValueType::FuncRef => matches!(value, Value::Func(_)),
        ValueType::ExternRef | ValueType::ExnRef => value == Value::Null,
    }
}

impl Ready {
    fn nothing() -> Self {
        Self { from: 0, to: 0, end: 0, large: true }
    }

    /// Makes ready what a run is written to.
    fn make(&mut self, mapping: &mut Mapping, run: &Run) {
        let start = run.page as usize * PAGE_BYTES;
        if start != self.to {
            self.from = start;
        }
        self.to = start + run.pages as usize * PAGE_BYTES;
        self.end = self.end.max(start);
        while self.end < self.to {
            let large = mapping.next_large_page(self.end);
            if self.end == large && self.large && self.from + DENSE_BYTES <= self.end {
                self.large = mapping.populate_large(self.end);
                if self.large {
                    self.end += LARGE_PAGE_BYTES;
                    continue;
                }
            }
            let to = if large == self.end { self.to } else { self.to.min(large) };
            // One page alone is made as soon as it is written.
            if PAGE_BYTES < to - self.end {
                mapping.populate(self.end, to - self.end);
            }
            self.end = to;
        }
    }
}

impl PageSet {
    fn new(bytes: u64) -> Self {
        // At most 4 GiB: larger ones were refused.
        let pages = usize::try_from(bytes).unwrap_or(0) / PAGE_BYTES;
        Self(vec![0; pages.div_ceil(64)])
    }

    fn insert(&mut self, page: u32, pages: u32) {
        for page in page..page + pages {
            if let Some(word) = self.0.get_mut(page as usize / 64) {
                *word |= 1 << (page % 64);
            }
        }
    }

    fn has(&self, page: u32) -> bool {
        self.0.get(page as usize / 64).is_some_and(|word| word >> (page % 64) & 1 != 0)
    }
}

fn dir(directory: &Directory) -> Dir {
    let Directory { host, guest, read_only } = directory.clone();
    Dir { host: host.into(), guest, read_only }
}

fn decode<T: DeserializeOwned>(part: Kind, bytes: &[u8]) -> Result<T, ThawError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(malformed(part, "bytes are left over")),
        Err(_) => Err(malformed(part, "it does not decode")),
    }
}

fn malformed(part: Kind, what: &str) -> ThawError {
    ThawError::Malformed { part, what: what.to_owned() }
}

fn foreign(what: impl Into<String>) -> ThawError {
    ThawError::Foreign(what.into())
}

impl Staged {
    /// Whose image it is.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.head.pid
    }

    /// The process's epoch when it was frozen.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.head.epoch
    }

    /// Which of the process's offers it is.
    #[must_use]
    pub fn offer(&self) -> Offer {
        self.head.offer
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> CodeHash {
        self.head.code
    }

    /// All that the image says of itself.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The node's own section, as it was given to [`crate::Frozen::image`].
    #[must_use]
    pub fn protocol(&self) -> &[u8] {
        &self.protocol
    }

    /// What it needs here.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let image_bytes =
            self.head.memories.iter().sum::<u64>() + u64::from(self.head.frames_bytes);
        Needs { code: self.head.code, image_bytes, dirs: self.dirs.clone() }
    }

    /// Where it stopped, innermost function first.
    #[must_use]
    pub fn stack(&self) -> &[FrameName] {
        &self.stack
    }

    /// Makes it another life of its process: messages that had come to the last one did not come to this one.
    pub fn begin_anew(&mut self) {
        self.mail.begin_anew();
    }

    /// Sets it going, as `pid` (its own, or a new one for a copy, which has no messages), at `place`. While `hold` is set
    /// its effects are held back until [`Process::release_effects`].
    ///
    /// # Errors
    ///
    /// [`StartError`], if the system has no room: the process is gone here.
    pub fn run(
        self,
        pid: Pid,
        place: Place,
        hold: bool,
        events: EventSink,
    ) -> Result<Process, StartError> {
        let Self { engine, head, streams, mut mail, dirs, wasi, parts, .. } = self;
        if pid != head.pid {
            // Messages are from and to the other one, and so is its leave to send.
            mail = Mail::new(pid.index..pid.index.saturating_add(1), Grant::Own);
        }
        let outside = Outside::new(events, place, true, streams, mail);
        let body = Body::thawed(pid, parts, wasi, outside.clone());
        if !hold {
            outside.release(pid);
        }
        Ok(Process::launch(engine.scheduler(), pid, outside, dirs, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made ready, with runs of 32 pages from each of these on.
    fn ready(mapping: &mut Mapping, pages: impl IntoIterator<Item = u32>) -> Ready {
        let mut ready = Ready::nothing();
        for page in pages {
            ready.make(mapping, &Run { page, pages: 32 });
            assert!(ready.to <= ready.end, "what has come is written next");
        }
        ready
    }

    #[test]
    fn what_is_made_ready_is_what_has_come_and_at_most_a_large_page_more() {
        let mut mapping = Mapping::new(16 << 20, None).expect("there is room");
        let dense = ready(&mut mapping, (100..3000).step_by(32));
        assert!(dense.end - dense.to < LARGE_PAGE_BYTES);
        let whole = ready(&mut mapping, (0..4096).step_by(32));
        assert_eq!(whole.end, 16 << 20, "it ends where the memory ends");
        let sparse = ready(&mut mapping, (0..4000).step_by(40));
        assert_eq!((sparse.end, sparse.large), (sparse.to, true), "none was asked for");
    }
}
