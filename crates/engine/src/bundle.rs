//! A program as it travels and is kept: one blob with both forms and the site table.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 2 | version, little-endian ([`VERSION`]) |
//! | 32 | BLAKE3 of the original program |
//! | 3 × 8 | lengths of what follows, little-endian |
//! | … | the run form, the resume form, the site table |
//!
//! Its address is the BLAKE3 hash of the whole. Who has asked for an address and got
//! bytes that hash to it has what was asked for; a bundle is still decoded as if it were hostile,
//! because whoever named the address may be.

use std::ops::Range;
use std::sync::Arc;

use wire::CodeHash;

use crate::CodeError;

/// What a bundle begins with.
const MAGIC: [u8; 8] = *b"whimcode";

/// The version that is written, and the only one there is.
const VERSION: u16 = 1;

/// Magic, version, hash and three lengths.
const HEAD_BYTES: usize = 8 + 2 + 32 + 3 * 8;

/// A decoded bundle. The parts are ranges of the blob.
pub(crate) struct Bundle {
    blob: Arc<[u8]>,
    original: CodeHash,
    parts: [Range<usize>; 3],
}

impl Bundle {
    pub(crate) fn new(original: CodeHash, run: &[u8], resume: &[u8], sites: &[u8]) -> Self {
        let mut blob = Vec::with_capacity(HEAD_BYTES + run.len() + resume.len() + sites.len());
        blob.extend(MAGIC);
        blob.extend(VERSION.to_le_bytes());
        blob.extend(original.0);
        for part in [run, resume, sites] {
            blob.extend((part.len() as u64).to_le_bytes());
        }
        for part in [run, resume, sites] {
            blob.extend(part);
        }
        Self::decode(blob.into()).expect("what was just encoded")
    }

    pub(crate) fn decode(blob: Arc<[u8]>) -> Result<Self, CodeError> {
        let refused = |what: &str| CodeError::Bundle(what.to_owned());
        let (head, rest) =
            blob.split_at_checked(HEAD_BYTES).ok_or_else(|| refused("shorter than its head"))?;
        if head[..8] != MAGIC {
            return Err(refused("these bytes are something else"));
        }
        let version = u16::from_le_bytes([head[8], head[9]]);
        if version != VERSION {
            let what = format!("version {version}, this program reads {VERSION} alone");
            return Err(CodeError::Bundle(what));
        }
        let original = CodeHash(head[10..42].try_into().expect("32 bytes"));
        let mut at = HEAD_BYTES;
        let mut parts = [0..0, 0..0, 0..0];
        for (part, length) in parts.iter_mut().zip(head[42..].chunks_exact(8)) {
            let length = u64::from_le_bytes(length.try_into().expect("8 bytes"));
            let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
            let end = end.filter(|end| *end <= blob.len());
            *part = at..end.ok_or_else(|| refused("shorter than its parts"))?;
            at = part.end;
        }
        if at != HEAD_BYTES + rest.len() {
            return Err(refused("longer than its parts"));
        }
        Ok(Self { original, parts, blob })
    }

    pub(crate) fn hash(&self) -> CodeHash {
        hash(&self.blob)
    }

    pub(crate) fn blob(&self) -> &Arc<[u8]> {
        &self.blob
    }

    /// The hash of the original program.
    pub(crate) fn original(&self) -> CodeHash {
        self.original
    }

    pub(crate) fn run(&self) -> &[u8] {
        &self.blob[self.parts[0].clone()]
    }

    pub(crate) fn resume(&self) -> &[u8] {
        &self.blob[self.parts[1].clone()]
    }

    pub(crate) fn sites(&self) -> &[u8] {
        &self.blob[self.parts[2].clone()]
    }
}

/// The address of a piece of code.
pub(crate) fn hash(bytes: &[u8]) -> CodeHash {
    CodeHash(*blake3::hash(bytes).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle::new(CodeHash([7; 32]), b"run", b"resume", b"")
    }

    #[test]
    fn a_bundle_comes_back() {
        let decoded = Bundle::decode(bundle().blob().clone()).expect("a bundle");
        assert_eq!(decoded.original(), CodeHash([7; 32]));
        assert_eq!((decoded.run(), decoded.resume()), (&b"run"[..], &b"resume"[..]));
        assert!(decoded.sites().is_empty());
    }

    #[test]
    fn every_prefix_and_every_extension_is_refused() {
        let blob = bundle().blob().to_vec();
        for length in 0..blob.len() {
            assert!(Bundle::decode(blob[..length].into()).is_err(), "{length}");
        }
        assert!(Bundle::decode([&blob[..], b"x"].concat().into()).is_err());
    }

    #[test]
    fn lengths_that_overflow_are_refused() {
        let mut blob = bundle().blob().to_vec();
        blob[42..50].fill(0xff);
        assert!(Bundle::decode(blob.into()).is_err());
    }
}
