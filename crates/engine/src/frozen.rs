//! A frozen process: its memory in place, its image to be had any number of times.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::{CodeHash, Epoch, Offer, Pid};

use crate::body::{Body, Keep};
use crate::image::{Pages, prelude};
use crate::instance;
use crate::process::{Shared, Stand};
use crate::{FrameName, Process, WriteError};
use wire::image::{Encoder, Kind};

/// Pieces of an image are about this long. They are cut at records, but a reader need not know.
const PIECE_BYTES: usize = 1 << 19;

/// A process that has stopped. Its memory is where it was, so that resuming it copies nothing.
///
/// Dropping it drops the process: it has gone elsewhere, or is killed.
pub struct Frozen {
    process: Process,
    shared: Arc<Shared>,
    body: Held,
}

/// The body of a frozen process; none when it was resumed or dropped. Image writers look at it
/// for one piece at a time, so that nobody has to wait for them for long.
type Held = Arc<Mutex<Option<Box<Body>>>>;

/// What an image says of the move that it is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The node that froze the process.
    pub node: String,
    /// The process's epoch there.
    pub epoch: Epoch,
    /// Which of the process's offers this is.
    pub offer: Offer,
}

/// Yields an image, piece by piece.
pub struct ImageWriter {
    body: Held,
    stamp: Stamp,
    protocol: Vec<u8>,
    dirs: Vec<crate::Dir>,
    mail: Vec<u8>,
    at: At,
}

/// How far an image is written.
enum At {
    Start {
        link: u64,
    },
    Frames(Box<Encoder>, Pages, usize),
    Memory(Box<Encoder>, Pages),
    /// So many records of one that sleeps.
    Packed(Box<Encoder>, usize),
    End,
}

impl Frozen {
    pub(crate) fn new(shared: Arc<Shared>, body: Box<Body>) -> Self {
        let process = Process::of(&shared);
        Self { process, shared, body: Arc::new(Mutex::new(Some(body))) }
    }

    /// Whose it is.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// The process's handle; it stays valid when the process is resumed.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The code that the image needs.
    #[must_use]
    pub fn code(&self) -> CodeHash {
        self.process.code()
    }

    /// Where it stopped, innermost function first.
    #[must_use]
    pub fn stack(&self) -> Vec<FrameName> {
        let mut held = lock(&self.body);
        let stack = held.as_mut().and_then(|body| stack(body).ok());
        stack.unwrap_or_default()
    }

    /// The process's image, with a section of the node's own. It can be had several times; it ends
    /// with [`WriteError::Resumed`] if the process is resumed or dropped meanwhile. Messages in it
    /// are those of this moment, so that they fit the section, whenever the rest is written.
    #[must_use]
    pub fn image(&self, stamp: Stamp, protocol: Vec<u8>) -> ImageWriter {
        let at = At::Start { link: crate::image::LOOPBACK };
        let dirs = self.process.needs().dirs;
        let mail = self.shared.outside.mail();
        ImageWriter { body: self.body.clone(), stamp, protocol, dirs, mail, at }
    }

    /// Lets the process go on where it stopped. Nothing is copied.
    pub fn resume(self) {
        let body = lock(&self.body).take();
        Shared::resume(&self.shared, body.expect("it is taken here or when dropped"));
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // None if it was resumed.
        let body = lock(&self.body).take();
        if body.is_some() {
            self.shared.set_stand(Stand::Ended);
            self.shared.set_control(None);
        }
    }
}

impl ImageWriter {
    /// Says how fast the way is that the image will go, in bytes per second. Pages are compressed
    /// where that makes the whole faster; without this, where it would be on loopback: hardly ever.
    #[must_use]
    pub fn for_link(mut self, bytes_per_second: u64) -> Self {
        if let At::Start { link } = &mut self.at {
            *link = bytes_per_second.max(1);
        }
        self
    }

    /// Replaces what is in `piece` by the next piece of the image (about 512 KiB); says whether
    /// there was one.
    ///
    /// # Errors
    ///
    /// [`WriteError`], above all if the process is no longer frozen.
    pub fn next(&mut self, piece: &mut Vec<u8>) -> Result<bool, WriteError> {
        piece.clear();
        let held = self.body.clone();
        let mut held = lock(&held);
        let body = held.as_mut().ok_or(WriteError::Resumed)?;
        self.advance(body, piece)?;
        Ok(!piece.is_empty())
    }

    fn advance(&mut self, body: &mut Body, piece: &mut Vec<u8>) -> Result<(), WriteError> {
        while piece.len() < PIECE_BYTES {
            self.at = match std::mem::replace(&mut self.at, At::End) {
                At::Start { link } => {
                    let encoder = prelude(
                        body,
                        &self.stamp,
                        &self.dirs,
                        [&self.protocol, &self.mail],
                        piece,
                    )?;
                    At::Frames(Box::new(encoder), Pages::new(link), 0)
                }
                At::Frames(mut encoder, pages, from) => {
                    match frames(body, from, &mut encoder, piece)? {
                        Some(next) => At::Frames(encoder, pages, next),
                        None if body.is_packed() => At::Packed(encoder, 0),
                        None => At::Memory(encoder, pages),
                    }
                }
                At::Memory(mut encoder, mut pages) => {
                    let code = body.code.clone();
                    let (_, _, keep) = body.parts()?;
                    let Keep::Room(room) = keep else { return Err(WriteError::Resumed) };
                    let some = pages.next(code.layout(), &mut room.memories, |write| {
                        encoder.record(Kind::Memory, piece, |out| write(out));
                    });
                    if some {
                        At::Memory(encoder, pages)
                    } else {
                        encoder.end(piece);
                        At::End
                    }
                }
                At::Packed(mut encoder, at) => {
                    let (_, _, keep) = body.parts()?;
                    let Keep::Packed(packed) = keep else { return Err(WriteError::Resumed) };
                    if let Some(chunk) = packed.chunks().get(at) {
                        encoder.record(Kind::Memory, piece, |out| out.extend_from_slice(chunk));
                        At::Packed(encoder, at + 1)
                    } else {
                        encoder.end(piece);
                        At::End
                    }
                }
                At::End => return Ok(()),
            };
        }
        Ok(())
    }
}

/// Writes a record of frames; says where the next one begins.
fn frames(
    body: &mut Body,
    from: usize,
    encoder: &mut Encoder,
    piece: &mut Vec<u8>,
) -> Result<Option<usize>, WriteError> {
    let all = body.frames()?;
    if from == all.len() {
        return Ok(None);
    }
    let to = all.len().min(from + PIECE_BYTES);
    encoder.record(Kind::Frames, piece, |out| out.extend_from_slice(&all[from..to]));
    Ok(Some(to))
}

/// Where a process that has frames stopped.
pub(crate) fn stack(body: &mut Body) -> Result<Vec<FrameName>, WriteError> {
    let code = body.code.clone();
    let (_, values, _) = body.parts()?;
    let references = u32::try_from(values.state.references.len()).unwrap_or(u32::MAX);
    let frames = body.frames()?;
    instance::stack(&code, frames, references).map_err(WriteError::Broken)
}

impl Body {
    /// Its parts, taken out of its instance.
    pub(crate) fn parts(&mut self) -> Result<crate::body::Vacated<'_>, WriteError> {
        self.vacate().map_err(|broken| WriteError::Broken(format!("{broken:#}")))
    }

    /// Its frames, innermost first.
    pub(crate) fn frames(&mut self) -> Result<&[u8], WriteError> {
        let code = self.code.clone();
        let (_, values, keep) = self.parts()?;
        let top = values.top as usize;
        let frames = match keep {
            Keep::Room(room) => room.frames(&code).bytes().map(|bytes| &*bytes),
            Keep::Packed(packed) => Some(packed.frames()),
            Keep::Unmade => None,
        };
        let frames = frames.and_then(|bytes| bytes.get(..top));
        frames.ok_or_else(|| WriteError::Broken("the frames are not all there".into()))
    }
}

fn lock(held: &Held) -> MutexGuard<'_, Option<Box<Body>>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
