//! Bytes in, values out: one version byte, then postcard (<https://postcard.jamesmunns.com>).
//!
//! Decoding is where hostile bytes stop. It refuses what is longer than [`MESSAGE_BYTES_MAX`], what
//! has another version, and what has bytes left over; postcard and serde bound what they reserve
//! by the bytes that are there.

use alloc::vec::Vec;
use core::fmt;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The format of messages and registry records that this release writes, and the range it reads.
pub const WIRE_VERSION: u8 = 1;

/// The longest message: a chunk of output, or a list of members, with room to spare. Whatever is
/// larger (images, code) travels on the bulk connection, as a stream.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Bytes that print as their length and cross the wire as one copy.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob(pub Vec<u8>);

/// Why bytes are not the value they were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Nothing there, not even a version.
    Empty,
    /// Longer than [`MESSAGE_BYTES_MAX`].
    TooLong(usize),
    /// Written in a format that this release does not read.
    Version(u8),
    /// Not a value of this type.
    Malformed,
    /// A value, and then this many bytes that belong to nothing.
    Trailing(usize),
}

/// Writes a value with its version.
///
/// # Panics
/// Never: the types of this crate have no unsized sequences, which is all that postcard refuses.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, Vec::from([WIRE_VERSION])).expect("our types serialise")
}

/// Reads a value that [`encode`] wrote.
///
/// # Errors
/// Whatever is not exactly one value of this type and version. Nothing has changed then.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if MESSAGE_BYTES_MAX < bytes.len() {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let (version, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *version != WIRE_VERSION {
        return Err(DecodeError::Version(*version));
    }
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Ok(value),
        Ok((_, left)) => Err(DecodeError::Trailing(left.len())),
        Err(_) => Err(DecodeError::Malformed),
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        // Borrowed, so that the bytes are seen to be there before room is made for them.
        deserializer.deserialize_bytes(Bytes)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no bytes where a message was expected"),
            Self::TooLong(bytes) => {
                write!(f, "a message of {bytes} bytes, {MESSAGE_BYTES_MAX} at most")
            }
            Self::Version(version) => {
                write!(f, "format version {version}, this release reads {WIRE_VERSION}")
            }
            Self::Malformed => f.write_str("malformed message"),
            Self::Trailing(bytes) => write!(f, "{bytes} bytes after the end of a message"),
        }
    }
}

impl core::error::Error for DecodeError {}
