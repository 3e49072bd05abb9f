//! The numbers of the interface: error codes, rights, flags, file types and sizes of records.
//!
//! Source: the WASI preview 1 interface description, `wasi_snapshot_preview1`. Preview 0 has the
//! same numbers but for the order of `whence` and the layouts that [`Preview`] names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which of the two interfaces a module was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preview {
    /// `wasi_unstable`: a file's link count has 32 bits, a subscription to a clock repeats its user
    /// data, and `whence` counts from the current position.
    Zero,
    /// `wasi_snapshot_preview1`.
    One,
}

/// What a call answers other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Errno {
    /// Too much in an argument list.
    TooBig = 1,
    /// Permission denied.
    Access = 2,
    /// Try again.
    Again = 6,
    /// No such descriptor, or not one for this.
    BadDescriptor = 8,
    /// In use.
    Busy = 10,
    /// Exists already.
    Exists = 20,
    /// An address outside the memory.
    Fault = 21,
    /// Too large for a file.
    FileTooBig = 22,
    /// Not valid UTF-8.
    IllegalSequence = 25,
    /// Interrupted.
    Interrupted = 27,
    /// An argument makes no sense.
    Invalid = 28,
    /// The device failed.
    Io = 29,
    /// A directory where none is wanted.
    IsDirectory = 31,
    /// Too many symbolic links.
    Loop = 32,
    /// Too many descriptors.
    TooManyDescriptors = 33,
    /// Too many links to a file.
    TooManyLinks = 34,
    /// A message is too large.
    MessageSize = 35,
    /// A name is too long.
    NameTooLong = 37,
    /// Too many files open on the node.
    TooManyFiles = 41,
    /// No such device.
    NoDevice = 43,
    /// No such file or directory.
    NoEntry = 44,
    /// Out of memory.
    NoMemory = 48,
    /// The disk is full.
    NoSpace = 51,
    /// No such function here.
    NoSystem = 52,
    /// Not a directory.
    NotDirectory = 54,
    /// A directory that is not empty.
    NotEmpty = 55,
    /// Not a socket.
    NotSocket = 57,
    /// Not supported.
    NotSupported = 58,
    /// No such device or address.
    NoAddress = 60,
    /// A number does not fit.
    Overflow = 61,
    /// Not permitted: also every attempt to leave a granted directory.
    Permission = 63,
    /// Nobody reads the other end.
    Pipe = 64,
    /// A result does not fit.
    Range = 68,
    /// A read-only directory.
    ReadOnly = 69,
    /// Cannot seek in this.
    Seek = 70,
    /// A program that is being run.
    TextBusy = 74,
    /// Over the border of a file system.
    CrossDevice = 75,
    /// The descriptor lacks the right for it.
    NotCapable = 76,
}

impl Errno {
    /// The code that the guest sees.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }
}

/// The interface's own word for it, as a C program would print.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooBig => "argument list too long",
            Self::Access => "permission denied",
            Self::Again => "try again",
            Self::BadDescriptor => "bad descriptor",
            Self::Busy => "in use",
            Self::Exists => "exists already",
            Self::Fault => "bad address",
            Self::FileTooBig => "too large for a file",
            Self::IllegalSequence => "not valid UTF-8",
            Self::Interrupted => "interrupted",
            Self::Invalid => "invalid argument",
            Self::Io => "the device failed",
            Self::IsDirectory => "is a directory",
            Self::Loop => "too many symbolic links",
            Self::TooManyDescriptors => "too many descriptors",
            Self::TooManyLinks => "too many links",
            Self::MessageSize => "message too large",
            Self::NameTooLong => "name too long",
            Self::TooManyFiles => "too many files open on the node",
            Self::NoDevice => "no such device",
            Self::NoEntry => "no such file or directory",
            Self::NoMemory => "out of memory",
            Self::NoSpace => "no space on the disk",
            Self::NoSystem => "no such function here",
            Self::NotDirectory => "not a directory",
            Self::NotEmpty => "directory not empty",
            Self::NotSocket => "not a socket",
            Self::NotSupported => "not supported",
            Self::NoAddress => "no such device or address",
            Self::Overflow => "number too large",
            Self::Permission => "not permitted",
            Self::Pipe => "nobody reads it",
            Self::Range => "result too large",
            Self::ReadOnly => "read-only directory",
            Self::Seek => "cannot seek in it",
            Self::TextBusy => "is being run",
            Self::CrossDevice => "on another file system",
            Self::NotCapable => "the descriptor lacks the right",
        })
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno as Host;
        match errno {
            Host::TOOBIG => Self::TooBig,
            Host::ACCESS => Self::Access,
            Host::AGAIN => Self::Again,
            Host::BADF => Self::BadDescriptor,
            Host::BUSY => Self::Busy,
            Host::EXIST => Self::Exists,
            Host::FBIG => Self::FileTooBig,
            Host::ILSEQ => Self::IllegalSequence,
            Host::INTR => Self::Interrupted,
            Host::INVAL => Self::Invalid,
            Host::ISDIR => Self::IsDirectory,
            Host::LOOP => Self::Loop,
            Host::MFILE | Host::NFILE => Self::TooManyFiles,
            Host::MLINK => Self::TooManyLinks,
            Host::NAMETOOLONG => Self::NameTooLong,
            Host::NODEV => Self::NoDevice,
            Host::NOENT => Self::NoEntry,
            Host::NOMEM => Self::NoMemory,
            Host::NOSPC | Host::DQUOT => Self::NoSpace,
            Host::NOSYS => Self::NoSystem,
            Host::NOTDIR => Self::NotDirectory,
            Host::NOTEMPTY => Self::NotEmpty,
            Host::OPNOTSUPP => Self::NotSupported,
            Host::NXIO => Self::NoAddress,
            Host::OVERFLOW => Self::Overflow,
            Host::PERM => Self::Permission,
            Host::PIPE => Self::Pipe,
            Host::ROFS => Self::ReadOnly,
            Host::SPIPE => Self::Seek,
            Host::TXTBSY => Self::TextBusy,
            // What `openat2` says of a path that leads out of its directory, which is where the
            // border is met in a guest's eyes. `rename` and `link` translate it themselves.
            Host::XDEV => Self::Permission,
            _ => Self::Io,
        }
    }
}

/// Rights of a descriptor, bit by bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rights(pub(super) u64);

impl Rights {
    pub(super) const DATASYNC: Self = Self(1);
    pub(super) const READ: Self = Self(1 << 1);
    pub(super) const SEEK: Self = Self(1 << 2);
    pub(super) const SET_FLAGS: Self = Self(1 << 3);
    pub(super) const SYNC: Self = Self(1 << 4);
    pub(super) const TELL: Self = Self(1 << 5);
    pub(super) const WRITE: Self = Self(1 << 6);
    pub(super) const ADVISE: Self = Self(1 << 7);
    pub(super) const ALLOCATE: Self = Self(1 << 8);
    pub(super) const PATH_CREATE_DIRECTORY: Self = Self(1 << 9);
    pub(super) const PATH_CREATE_FILE: Self = Self(1 << 10);
    pub(super) const PATH_LINK_SOURCE: Self = Self(1 << 11);
    pub(super) const PATH_LINK_TARGET: Self = Self(1 << 12);
    pub(super) const PATH_OPEN: Self = Self(1 << 13);
    pub(super) const READDIR: Self = Self(1 << 14);
    pub(super) const PATH_READLINK: Self = Self(1 << 15);
    pub(super) const PATH_RENAME_SOURCE: Self = Self(1 << 16);
    pub(super) const PATH_RENAME_TARGET: Self = Self(1 << 17);
    pub(super) const PATH_FILESTAT_GET: Self = Self(1 << 18);
    pub(super) const PATH_FILESTAT_SET_SIZE: Self = Self(1 << 19);
    pub(super) const PATH_FILESTAT_SET_TIMES: Self = Self(1 << 20);
    pub(super) const FILESTAT_GET: Self = Self(1 << 21);
    pub(super) const FILESTAT_SET_SIZE: Self = Self(1 << 22);
    pub(super) const FILESTAT_SET_TIMES: Self = Self(1 << 23);
    pub(super) const PATH_SYMLINK: Self = Self(1 << 24);
    pub(super) const PATH_REMOVE_DIRECTORY: Self = Self(1 << 25);
    pub(super) const PATH_UNLINK_FILE: Self = Self(1 << 26);
    pub(super) const POLL: Self = Self(1 << 27);

    /// Every right there is.
    pub(super) const ALL: Self = Self((1 << 30) - 1);
    /// What a directory can do: make, link, open, read and remove what is in it, and be looked at.
    pub(super) const DIRECTORY: Self = Self(
        Self::SET_FLAGS.0
            | Self::SYNC.0
            | Self::DATASYNC.0
            | Self::ADVISE.0
            | ((1 << 27) - (1 << 9)) & !Self::FILESTAT_SET_SIZE.0,
    );
    /// What a file can do.
    pub(super) const FILE: Self = Self(
        ((1 << 9) - 1)
            | Self::FILESTAT_GET.0
            | Self::FILESTAT_SET_SIZE.0
            | Self::FILESTAT_SET_TIMES.0
            | Self::POLL.0,
    );
    /// What a stream can do: no seek, no tell, which is how a C library knows a terminal.
    pub(super) const STREAM: Self = Self(
        Self::READ.0 | Self::WRITE.0 | Self::SET_FLAGS.0 | Self::FILESTAT_GET.0 | Self::POLL.0,
    );
    /// What only a file that is open for writing can do.
    pub(super) const WRITING: Self =
        Self(Self::WRITE.0 | Self::ALLOCATE.0 | Self::FILESTAT_SET_SIZE.0);
    /// What is given with every descriptor, asked for or not: hosts have long stopped to insist, and
    /// programs to ask. Only what a file is opened for is given as asked.
    pub(super) const FREE: Self = Self(Self::ALL.0 & !(Self::READ.0 | Self::WRITING.0));

    pub(super) fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn touches(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// `fdflags`, bit by bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FdFlags(pub(super) u16);

impl FdFlags {
    pub(super) const APPEND: Self = Self(1);
    pub(super) const DSYNC: Self = Self(2);
    pub(super) const NONBLOCK: Self = Self(4);
    pub(super) const SYNC: Self = Self(16);
    /// With 8, that reads wait for the disk too, which means nothing where there is one cache.
    const ALL: u16 = 31;

    /// Checks that there are no unknown flags.
    pub(super) fn new(bits: u32) -> Result<Self, Errno> {
        match u16::try_from(bits) {
            Ok(bits) if bits & !Self::ALL == 0 => Ok(Self(bits)),
            _ => Err(Errno::Invalid),
        }
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// `oflags` of `path_open`.
pub(super) mod oflags {
    pub(in super::super) const CREATE: u32 = 1;
    pub(in super::super) const DIRECTORY: u32 = 2;
    pub(in super::super) const EXCLUSIVE: u32 = 4;
    pub(in super::super) const TRUNCATE: u32 = 8;
    pub(in super::super) const ALL: u32 = 15;
}

/// The only one of `lookupflags`.
pub(super) const SYMLINK_FOLLOW: u32 = 1;

/// `fstflags`: which times to set, and to what.
pub(super) mod fstflags {
    pub(in super::super) const ACCESS: u32 = 1;
    pub(in super::super) const ACCESS_NOW: u32 = 2;
    pub(in super::super) const MODIFY: u32 = 4;
    pub(in super::super) const MODIFY_NOW: u32 = 8;
    pub(in super::super) const ALL: u32 = 15;
}

/// What a descriptor or a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub(super) enum FileType {
    Unknown = 0,
    Block = 1,
    Character = 2,
    Directory = 3,
    Regular = 4,
    Datagram = 5,
    StreamSocket = 6,
    Symlink = 7,
}

impl From<rustix::fs::FileType> for FileType {
    fn from(kind: rustix::fs::FileType) -> Self {
        use rustix::fs::FileType as Host;
        match kind {
            Host::RegularFile => Self::Regular,
            Host::Directory => Self::Directory,
            Host::Symlink => Self::Symlink,
            Host::CharacterDevice => Self::Character,
            Host::BlockDevice => Self::Block,
            Host::Socket => Self::StreamSocket,
            _ => Self::Unknown,
        }
    }
}
