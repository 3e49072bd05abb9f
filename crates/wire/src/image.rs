//! A frozen process as bytes: the same on a disk and between nodes. `docs/image.md` is the format's
//! description.
//!
//! An image is a magic number and a version, then records, each with its length and checksum, then
//! an end record that vouches for all of them. It can be written and read as a stream, and what it
//! says of the process (its head, its stack with names) stands in front, readable
//! without the code. Here is its grammar; what the parts mean to a running program is the engine's.
//!
//! **Invariant:** an image is hostile. Nothing here allocates more than a record's bytes justify,
//! and no record is longer than [`RECORD_BYTES_MAX`].

mod checksum;
mod memory;
mod record;
mod summary;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{CodeHash, Epoch, Offer, Pid, Versions};

pub use checksum::{Checksum, checksum};
pub use memory::{CHUNK_PAGES_MAX, Encoding, MemoryChunk, PAGE_BYTES, Run};
pub use record::{Decoder, Encoder, Record};
pub use summary::{Section, Summary};

/// What an image begins with. The line feed shows a transfer that meddles with line ends.
pub const MAGIC: [u8; 8] = *b"whimimg\n";

/// The version that is written.
pub const VERSION: u16 = 9;

/// The versions that are read.
pub const VERSIONS: Versions = Versions { oldest: 9, newest: VERSION };

/// No record's content is longer. Frames and the like are cut into several.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// [`Head`]: the first record, once.
    Head = 1,
    /// A list of [`StackName`]s, innermost first. Once, after the head.
    Stack = 2,
    /// The node's own section. It may be cut into several records, to be put together in order.
    Protocol = 3,
    /// The state of WASI; may be cut as well.
    Wasi = 4,
    /// The standard streams; may be cut as well.
    Streams = 5,
    /// Messages: the inbox, and what was sent and not taken care of; may be cut as well. Not in
    /// images of version 1.
    Mail = 10,
    /// [`State`]; may be cut as well.
    State = 6,
    /// The unwound stack; may be cut as well.
    Frames = 7,
    /// Pages of memory: a [`MemoryChunk`]. As many as there are.
    Memory = 8,
    /// The end: how many records there were, and the checksum of their checksums.
    End = 9,
}

/// What an image says of its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whose image it is.
    pub pid: Pid,
    /// Its code: frames belong to one output of the transform.
    pub code: CodeHash,
    /// The BLAKE3 hash of the original program.
    pub original: CodeHash,
    /// The process's epoch when it was frozen.
    pub epoch: Epoch,
    /// Which of the process's offers this is.
    pub offer: Offer,
    /// The name of the node that froze it.
    pub node: String,
    /// The wall clock when it was frozen, in nanoseconds since 1970.
    pub frozen_at: u64,
    /// How much linear memory it may use, in bytes.
    pub memory_max: Option<u64>,
    /// The sizes of its memories, by the original's index, in bytes.
    pub memories: Vec<u64>,
    /// How many bytes of frames there are.
    pub frames_bytes: u32,
    /// Whether it is still in the module's start function.
    pub in_start: bool,
    /// The directories that it is bound to.
    pub dirs: Vec<Directory>,
}

/// A directory that a process is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Where it is on the host.
    pub host: String,
    /// What the process calls it.
    pub guest: String,
    /// Whether it may only read.
    pub read_only: bool,
}

/// A function on the stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackName {
    /// Its number in the original program.
    pub function: u32,
    /// Its name, if the program has one for it.
    pub name: Option<String>,
}

/// What of a program's state is in no memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Mutable globals, in the order of the original's.
    pub globals: Vec<Value>,
    /// Tables that the program can change: the original's index, and a function's number for each
    /// entry that is not null.
    pub tables: Vec<(u32, Vec<Option<u32>>)>,
    /// For each segment that an instruction can drop (data, then elements): not zero if it is.
    pub dropped: Vec<i32>,
    /// Function references that frames hold, by number.
    pub references: Vec<Option<u32>>,
}

/// The value of a global.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// 32-bit float, as bits.
    F32(u32),
    /// 64-bit float, as bits.
    F64(u64),
    /// 128-bit vector.
    V128(u128),
    /// Function reference, by number, or null.
    Func(Option<u32>),
    /// Another reference, which is null: others cannot be frozen.
    Null,
}

/// Why bytes are no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// They do not begin as one.
    NotAnImage,
    /// It is of a version that is not read here.
    Version(u16),
    /// A record is not what its checksum says, or longer than records are, or of a kind that is
    /// not known, or out of its order.
    Record {
        /// Which one, from 0.
        record: u64,
        /// Where it begins, in bytes from the image's start.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It ends before its end record.
    Truncated {
        /// How many bytes there are.
        length: u64,
    },
}

impl Kind {
    /// All kinds, in the order in which they stand.
    pub const ALL: [Self; 10] = [
        Self::Head,
        Self::Stack,
        Self::Protocol,
        Self::Wasi,
        Self::Streams,
        Self::Mail,
        Self::State,
        Self::Frames,
        Self::Memory,
        Self::End,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Its place in an image: its number says when it was thought of.
    fn rank(self) -> usize {
        Self::ALL.into_iter().position(|kind| kind == self).expect("all are listed")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "head",
            Self::Stack => "stack",
            Self::Protocol => "protocol",
            Self::Wasi => "wasi",
            Self::Streams => "streams",
            Self::Mail => "mail",
            Self::State => "state",
            Self::Frames => "frames",
            Self::Memory => "memory",
            Self::End => "end",
        })
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnImage => f.write_str("these bytes are no image"),
            Self::Version(found) => {
                write!(f, "image of version {found}, this program reads {VERSIONS}")
            }
            Self::Record { record, offset, what } => {
                write!(f, "image record {record} at byte {offset:#x}: {what}")
            }
            Self::Truncated { length } => {
                write!(f, "the image ends early, after {length} bytes")
            }
        }
    }
}

impl core::error::Error for ImageError {}
