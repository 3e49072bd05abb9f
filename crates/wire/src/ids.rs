//! The names of things: groups, processes, nodes, incarnations, epochs, offers and code.
//!
//! Ids are printed as people type them. A group is a number in Crockford's base 32
//! (<https://www.crockford.com/base32.html>), four characters or more, and a process is its group
//! and its index in it: `k3x9.0`.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// Crockford's alphabet: no `i`, `l`, `o`, `u`, so that an id survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Group ids are padded to this many characters.
const GROUP_CHARS_MIN: usize = 4;

/// A group of processes: what one `run` started, and all that they spawned.
///
/// Unique over all nodes of a cluster, never used again, unchanged by moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u64);

/// A process: its group, and its index within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pid {
    /// The group it belongs to.
    pub group: GroupId,
    /// 0, 1, 2 … in the order they were started. An index of 2³¹ or more is a *port* of a node:
    /// something that sends but is no process.
    pub index: u32,
}

/// The lowest index of a port: no process has it.
pub const PORT_INDEX_MIN: u32 = 1 << 31;

/// A node: a number from the registry, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

/// One start of a node. Raised on disk before the node says its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// A node as messages address it. A message for another incarnation is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// Which node.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
}

/// Counts the owners that a process has had in its location record. The higher one fences every
/// older copy.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

/// Counts the offers that a process has made. Part of its image, never used twice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Offer(pub u64);

/// The BLAKE3 hash of a piece of code: its address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CodeHash(pub [u8; 32]);

/// Why a text is not the id it was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseIdError {
    /// A group has at least one character of Crockford's base 32, and fits 64 bits.
    Group,
    /// A process is `GROUP.INDEX`, the index a decimal number below 2³².
    Process,
    /// A code hash is 64 hexadecimal digits.
    Code,
}

impl Pid {
    /// Whether it is a node's port: what is sent from there was sent by an operator.
    #[must_use]
    pub const fn is_port(self) -> bool {
        PORT_INDEX_MIN <= self.index
    }
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Offer {
    /// The offer after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 64 bits are at most 13 characters of 5 bits.
        let mut text = [b'0'; 13];
        let mut rest = self.0;
        for char in text.iter_mut().rev() {
            *char = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        let zeros = text.iter().take_while(|char| **char == b'0').count();
        let from = zeros.min(text.len() - GROUP_CHARS_MIN);
        f.write_str(core::str::from_utf8(&text[from..]).expect("the alphabet is ASCII"))
    }
}

impl FromStr for GroupId {
    type Err = ParseIdError;

    /// Takes either case, and Crockford's look-alikes (`o` for 0, `i` and `l` for 1).
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.is_empty() {
            return Err(ParseIdError::Group);
        }
        let mut value = 0u64;
        for char in text.bytes() {
            let digit = digit(char).ok_or(ParseIdError::Group)?;
            if value >> 59 != 0 {
                return Err(ParseIdError::Group);
            }
            value = value << 5 | u64::from(digit);
        }
        Ok(Self(value))
    }
}

fn digit(char: u8) -> Option<u8> {
    let char = match char.to_ascii_lowercase() {
        b'o' => b'0',
        b'i' | b'l' => b'1',
        other => other,
    };
    ALPHABET.iter().position(|letter| *letter == char).map(|position| position as u8)
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.group, self.index)
    }
}

impl FromStr for Pid {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let (group, index) = text.split_once('.').ok_or(ParseIdError::Process)?;
        let group = group.parse()?;
        let decimal = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        let index = index.parse().ok().filter(|_| decimal).ok_or(ParseIdError::Process)?;
        Ok(Self { group, index })
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.incarnation.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for CodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeHash({self})")
    }
}

impl FromStr for CodeHash {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.len() != 64 || !text.is_ascii() {
            return Err(ParseIdError::Code);
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = String::from_utf8_lossy(digits);
            *byte = u8::from_str_radix(&digits, 16).map_err(|_| ParseIdError::Code)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "a group id is letters and digits of Crockford's base 32, as in `k3x9`",
            Self::Process => "a process id is GROUP.INDEX, as in `k3x9.0`",
            Self::Code => "a code hash is 64 hexadecimal digits",
        })
    }
}

impl core::error::Error for ParseIdError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn ids_print_as_they_are_typed() {
        for (number, text) in
            [(0, "0000"), (31, "000z"), (1 << 20, "10000"), (u64::MAX, "fzzzzzzzzzzzz")]
        {
            assert_eq!(GroupId(number).to_string(), text);
            assert_eq!(text.parse(), Ok(GroupId(number)));
        }
        let pid = Pid { group: GroupId(1_047), index: 12 };
        assert_eq!(pid.to_string(), "010q.12");
        assert_eq!("10Q.12".parse(), Ok(pid));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "u", "k3x9-", "zzzzzzzzzzzzz", "00000000000000000000z.1x"] {
            assert_eq!(text.parse::<GroupId>(), Err(ParseIdError::Group), "{text}");
        }
        for text in ["k3x9", "k3x9.", "k3x9.-1", "k3x9.+1", "k3x9.4294967296"] {
            assert_eq!(text.parse::<Pid>(), Err(ParseIdError::Process), "{text}");
        }
        assert_eq!("00".parse::<CodeHash>(), Err(ParseIdError::Code));
    }

    #[test]
    fn a_code_hash_round_trips() {
        let hash = CodeHash([0xab; 32]);
        assert_eq!(hash.to_string().parse(), Ok(hash));
    }
}
