//! The id of a process, as people type it: `k3x9.0`.

use core::fmt;
use core::str::FromStr;

/// Crockford's alphabet: no `i`, `l`, `o`, `u`, so that an id survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Groups are padded to so many characters.
const GROUP_CHARS_MIN: usize = 4;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid {
    /// The group that it belongs to.
    pub group: u64,
    /// Its number in that: 0, 1, 2 … in the order in which they were typed.
    pub index: u32,
}

/// A text is not the id of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsePidError;

/// Lower indices are processes.
const PORT_INDEX_MIN: u32 = 1 << 31;

impl Pid {
    /// Whether it is no process but a node's port: what comes from there was sent by an operator, with `whimbrel send`.
    /// It cannot be answered.
    #[must_use]
    pub fn is_port(self) -> bool {
        PORT_INDEX_MIN <= self.index
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 64 bits are at most 13 characters of 5 bits.
        let digits = (self.group.checked_ilog2().unwrap_or(0) / 5 + 1) as usize;
        for place in (0..digits.max(GROUP_CHARS_MIN)).rev() {
            let digit = self.group >> (5 * place) & 31;
            write!(f, "{}", char::from(ALPHABET[digit as usize]))?;
        }
        write!(f, ".{}", self.index)
    }
}

impl FromStr for Pid {
    type Err = ParsePidError;

    /// Takes either case, and the look-alikes `o` for 0, `i` and `l` for 1.
    fn from_str(text: &str) -> Result<Self, ParsePidError> {
        let (group, index) = text.split_once('.').ok_or(ParsePidError)?;
        let decimal = index.bytes().all(|byte| byte.is_ascii_digit());
        let index = index.parse().ok().filter(|_| decimal).ok_or(ParsePidError)?;
        if group.is_empty() {
            return Err(ParsePidError);
        }
        let group = group.bytes().try_fold(0u64, |value, char| {
            let digit = digit(char).filter(|_| value >> 59 == 0)?;
            Some(value << 5 | digit)
        });
        Ok(Self { group: group.ok_or(ParsePidError)?, index })
    }
}

fn digit(char: u8) -> Option<u64> {
    let char = match char.to_ascii_lowercase() {
        b'o' => b'0',
        b'i' | b'l' => b'1',
        other => other,
    };
    ALPHABET.iter().position(|letter| *letter == char).map(|position| position as u64)
}

impl fmt::Display for ParsePidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a process id is GROUP.INDEX, as in `k3x9.0`")
    }
}

impl core::error::Error for ParsePidError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn ids_print_as_they_are_typed() {
        for (group, text) in
            [(0, "0000.7"), (31, "000z.7"), (1 << 20, "10000.7"), (u64::MAX, "fzzzzzzzzzzzz.7")]
        {
            let pid = Pid { group, index: 7 };
            assert_eq!(pid.to_string(), text);
            assert_eq!(text.parse(), Ok(pid));
        }
        assert_eq!("OlI.0".parse(), Ok(Pid { group: 33, index: 0 }));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "k3x9", "k3x9.", ".1", "k3x9.-1", "k3x9.+1", "u.1", "k3x9.4294967296"] {
            assert_eq!(text.parse::<Pid>(), Err(ParsePidError), "{text}");
        }
        assert_eq!("zzzzzzzzzzzzzz.0".parse::<Pid>(), Err(ParsePidError));
    }
}
