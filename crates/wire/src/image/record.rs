//! Records: how an image is cut, so that it can be checked as it arrives.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | kind ([`Kind`]) |
//! | 3 | zero |
//! | 4 | length of the content |
//! | 8 | checksum of the content, seeded with the record's number, kind and length |
//! | … | content |
//!
//! The seed makes a record worthless anywhere but in its place. The end record's content is the
//! number of records before it and the checksum of their checksums.

use alloc::vec::Vec;

use super::{ImageError, Kind, MAGIC, RECORD_BYTES_MAX, VERSION, VERSIONS, checksum};

/// Magic, version, and six zero bytes.
const HEAD_BYTES: usize = 16;

/// What stands before a record's content.
const RECORD_HEAD_BYTES: usize = 16;

/// Writes an image's records.
#[derive(Debug, Default)]
pub struct Encoder {
    records: u64,
    digest: u64,
}

/// Reads an image's records, however its bytes are cut.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The record that is arriving: its head, then its content.
    partial: Vec<u8>,
    begun: bool,
    ended: bool,
    records: u64,
    digest: u64,
    offset: u64,
    last: Option<Kind>,
}

/// A record whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it holds.
    pub kind: Kind,
    /// That, as bytes.
    pub content: &'a [u8],
}

fn seed(record: u64, kind: u8, length: u32) -> u64 {
    record << 40 ^ u64::from(length) << 8 ^ u64::from(kind)
}

fn mixed(digest: u64, checksum: u64) -> u64 {
    super::checksum(digest, &checksum.to_le_bytes()).0
}

impl Encoder {
    /// Writes an image's beginning.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 6]);
        Self::default()
    }

    /// Writes a record whose content `write` appends. Content that is longer than
    /// [`RECORD_BYTES_MAX`] is a mistake of the caller's.
    pub fn record(&mut self, kind: Kind, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        out.extend([0; RECORD_HEAD_BYTES]);
        write(out);
        let content = start + RECORD_HEAD_BYTES;
        let length = out.len() - content;
        assert!(length <= RECORD_BYTES_MAX, "a record of {length} bytes");
        let length = length as u32;
        let sum = checksum(seed(self.records, kind as u8, length), &out[content..]).0;
        out[start] = kind as u8;
        out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        out[start + 8..content].copy_from_slice(&sum.to_le_bytes());
        self.digest = mixed(self.digest, sum);
        self.records += 1;
    }

    /// Writes the end record.
    pub fn end(mut self, out: &mut Vec<u8>) {
        let (records, digest) = (self.records, self.digest);
        self.record(Kind::End, out, |out| {
            out.extend(records.to_le_bytes());
            out.extend(digest.to_le_bytes());
        });
    }
}

impl Decoder {
    /// Takes more bytes, and hands on each record that is complete.
    ///
    /// # Errors
    ///
    /// [`ImageError`], or what `each` returns. Nothing can be pushed after that.
    pub fn push<E: From<ImageError>>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if let Some(length) = self.whole_record(bytes)? {
                let (record, rest) = bytes.split_at(length);
                self.complete(record, &mut each)?;
                bytes = rest;
                continue;
            }
            let wanted = self.wanted(&self.partial)?;
            let taken = bytes.len().min(wanted - self.partial.len());
            self.partial.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.partial.len() == wanted {
                self.advance(&mut each)?;
            }
        }
        Ok(())
    }

    /// Says whether the image is whole.
    ///
    /// # Errors
    ///
    /// [`ImageError::Truncated`], if it is not.
    pub fn finish(&self) -> Result<(), ImageError> {
        if self.ended {
            return Ok(());
        }
        Err(ImageError::Truncated { length: self.offset + self.partial.len() as u64 })
    }

    /// The length of the record that `bytes` begin with, if all of it is there and nothing stands
    /// before it: then it is read where it lies.
    fn whole_record(&self, bytes: &[u8]) -> Result<Option<usize>, ImageError> {
        if !self.begun || !self.partial.is_empty() || bytes.len() < RECORD_HEAD_BYTES {
            return Ok(None);
        }
        let wanted = self.wanted(bytes)?;
        Ok((bytes.len() >= wanted).then_some(wanted))
    }

    /// How many bytes these must become before there is something to do.
    fn wanted(&self, partial: &[u8]) -> Result<usize, ImageError> {
        if self.ended {
            return Err(self.refused("bytes after the end"));
        }
        if !self.begun {
            return Ok(HEAD_BYTES);
        }
        let Some(head) = partial.first_chunk::<RECORD_HEAD_BYTES>() else {
            return Ok(RECORD_HEAD_BYTES);
        };
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if length > RECORD_BYTES_MAX {
            return Err(self.refused("longer than records are"));
        }
        Ok(RECORD_HEAD_BYTES + length)
    }

    /// What was wanted is there.
    fn advance<E: From<ImageError>>(
        &mut self,
        each: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.begun {
            self.begin()?;
        } else if self.wanted(&self.partial)? == self.partial.len() {
            let mut record = core::mem::take(&mut self.partial);
            self.complete(&record, each)?;
            // Its room serves the next one.
            record.clear();
            self.partial = record;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), ImageError> {
        let head = core::mem::take(&mut self.partial);
        if head[..8] != MAGIC {
            return Err(ImageError::NotAnImage);
        }
        let version = u16::from_le_bytes([head[8], head[9]]);
        if !(VERSIONS.oldest..=VERSIONS.newest).contains(&version) {
            return Err(ImageError::Version(version));
        }
        if head[10..] != [0; 6] {
            return Err(ImageError::NotAnImage);
        }
        self.begun = true;
        self.offset = HEAD_BYTES as u64;
        Ok(())
    }

    fn complete<E: From<ImageError>>(
        &mut self,
        record: &[u8],
        each: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (head, content) = record.split_at(RECORD_HEAD_BYTES);
        let kind = self.check(head, content)?;
        each(Record { kind, content })?;
        self.offset += record.len() as u64;
        Ok(())
    }

    fn check(&mut self, head: &[u8], content: &[u8]) -> Result<Kind, ImageError> {
        let kind = Kind::from_byte(head[0]).ok_or_else(|| self.refused("of an unknown kind"))?;
        if head[1..4] != [0; 3] {
            return Err(self.refused("of an unknown kind"));
        }
        let sum = u64::from_le_bytes(head[8..].try_into().expect("8 bytes"));
        let seed = seed(self.records, kind as u8, content.len() as u32);
        if checksum(seed, content).0 != sum {
            return Err(self.refused("damaged: its checksum differs"));
        }
        // A head comes first, once.
        let in_order = match self.last {
            None => kind == Kind::Head,
            Some(last) => kind != Kind::Head && last.rank() <= kind.rank(),
        };
        if !in_order {
            return Err(self.refused("out of its order"));
        }
        if kind == Kind::End {
            let end = [self.records.to_le_bytes(), self.digest.to_le_bytes()].concat();
            if content != end {
                return Err(self.refused("does not match what came before"));
            }
            self.ended = true;
        }
        self.digest = mixed(self.digest, sum);
        self.records += 1;
        self.last = Some(kind);
        Ok(kind)
    }

    fn refused(&self, what: &'static str) -> ImageError {
        ImageError::Record { record: self.records, offset: self.offset, what }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn image() -> Vec<u8> {
        let mut out = vec![];
        let mut encoder = Encoder::begin(&mut out);
        let parts = [
            (Kind::Head, "head"),
            (Kind::Wasi, ""),
            (Kind::Mail, "mail"),
            (Kind::Frames, "frames"),
        ];
        for (kind, content) in parts {
            encoder.record(kind, &mut out, |out| out.extend(content.as_bytes()));
        }
        encoder.end(&mut out);
        out
    }

    fn read(image: &[u8], cut: usize) -> Result<Vec<(Kind, Vec<u8>)>, ImageError> {
        let (mut decoder, mut found) = (Decoder::default(), vec![]);
        for bytes in image.chunks(cut) {
            decoder.push(bytes, |record| {
                found.push((record.kind, record.content.to_vec()));
                Ok::<_, ImageError>(())
            })?;
        }
        decoder.finish().map(|()| found)
    }

    #[test]
    fn records_come_back_however_the_image_is_cut() {
        let image = image();
        let whole = read(&image, image.len()).expect("an image");
        assert_eq!(whole[3], (Kind::Frames, b"frames".to_vec()));
        for cut in 1..image.len() {
            assert_eq!(read(&image, cut).as_ref(), Ok(&whole), "{cut}");
        }
    }

    #[test]
    fn every_prefix_is_truncated() {
        let image = image();
        for length in 0..image.len() {
            let length = length as u64;
            assert_eq!(read(&image[..length as usize], 7), Err(ImageError::Truncated { length }));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_byte_more_is_seen() {
        let image = image();
        for bit in 0..8 * image.len() {
            let mut flipped = image.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped, 64).is_err(), "bit {bit}");
        }
        assert!(read(&[&image[..], b"x"].concat(), 64).is_err());
    }

    #[test]
    fn an_unknown_version_is_named() {
        let mut image = image();
        image[8] = 10;
        let refused = read(&image, 64).expect_err("unknown");
        assert_eq!(refused, ImageError::Version(10));
        let words = alloc::string::ToString::to_string(&refused);
        assert_eq!(words, "image of version 10, this program reads 9");
    }
}
