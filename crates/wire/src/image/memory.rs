//! A record of memory: runs of pages that differ from what the program's own start leaves there.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | the memory, by the original's index |
//! | 1 | encoding of the pages: 0 as they are, 1 compressed with zstd |
//! | 3 | zero |
//! | 4 | how many runs |
//! | 8 each | a run: its first page, how many pages |
//! | … | the pages of all runs, one after the other |

use alloc::vec::Vec;

/// Memory is cut at this size, whatever page size a machine has.
pub const PAGE_BYTES: usize = 4096;

/// No record has more pages: 128 KiB, which stay in a processor's cache from reading to checking.
pub const CHUNK_PAGES_MAX: u32 = 32;

/// A memory of 32-bit addresses has this many pages.
const MEMORY_PAGES_MAX: u64 = 1 << 20;

/// What stands before the runs.
const HEAD_BYTES: usize = 12;

/// How pages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// As they are.
    Raw = 0,
    /// Compressed with zstd.
    Zstd = 1,
}

/// Pages that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub page: u32,
    /// How many.
    pub pages: u32,
}

/// A decoded record of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryChunk<'a> {
    /// The original's memory.
    pub memory: u32,
    /// How `data` is written.
    pub encoding: Encoding,
    /// Ascending, none empty, none overlapping; at most [`CHUNK_PAGES_MAX`] pages together.
    pub runs: Vec<Run>,
    /// The pages. With [`Encoding::Raw`], exactly as many bytes as the runs have.
    pub data: &'a [u8],
}

impl<'a> MemoryChunk<'a> {
    /// Writes the record's content, without its pages, which follow.
    pub fn encode_head(memory: u32, encoding: Encoding, runs: &[Run], out: &mut Vec<u8>) {
        let pages: u32 = runs.iter().map(|run| run.pages).sum();
        assert!(pages <= CHUNK_PAGES_MAX, "a record of {pages} pages");
        out.extend(memory.to_le_bytes());
        out.extend([encoding as u8, 0, 0, 0]);
        out.extend((runs.len() as u32).to_le_bytes());
        for run in runs {
            out.extend(run.page.to_le_bytes());
            out.extend(run.pages.to_le_bytes());
        }
    }

    /// Reads a record's content.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn decode(content: &'a [u8]) -> Result<Self, &'static str> {
        let word = |at: usize| {
            let bytes = content.get(at..at + 4).ok_or("memory record cut short")?;
            Ok(u32::from_le_bytes(bytes.try_into().expect("4 bytes")))
        };
        let memory = word(0)?;
        let encoding = match word(4)? {
            0 => Encoding::Raw,
            1 => Encoding::Zstd,
            _ => return Err("unknown encoding of memory"),
        };
        let count = word(8)?;
        if count == 0 || count > CHUNK_PAGES_MAX {
            return Err("memory record with no runs or too many");
        }
        let mut runs = Vec::with_capacity(count as usize);
        let (mut end, mut pages) = (0u64, 0u64);
        for index in 0..count as usize {
            let at = HEAD_BYTES + 8 * index;
            let run = Run { page: word(at)?, pages: word(at + 4)? };
            if run.pages == 0 || u64::from(run.page) < end {
                return Err("runs of pages that are empty or out of order");
            }
            end = u64::from(run.page) + u64::from(run.pages);
            pages += u64::from(run.pages);
            runs.push(run);
        }
        if end > MEMORY_PAGES_MAX || pages > u64::from(CHUNK_PAGES_MAX) {
            return Err("more pages than a record or a memory has");
        }
        let data = &content[HEAD_BYTES + 8 * count as usize..];
        if encoding == Encoding::Raw && data.len() as u64 != pages * PAGE_BYTES as u64 {
            return Err("memory record with more or fewer bytes than its runs have");
        }
        Ok(Self { memory, encoding, runs, data })
    }

    /// How many bytes the pages have when they are not compressed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.runs.iter().map(|run| run.pages as usize * PAGE_BYTES).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(runs: &[Run], pages: usize) -> Vec<u8> {
        let mut out = Vec::new();
        MemoryChunk::encode_head(3, Encoding::Raw, runs, &mut out);
        out.resize(out.len() + pages * PAGE_BYTES, 7);
        out
    }

    #[test]
    fn runs_come_back() {
        let runs = [Run { page: 1, pages: 2 }, Run { page: 9, pages: 1 }];
        let bytes = content(&runs, 3);
        let chunk = MemoryChunk::decode(&bytes).expect("a record");
        assert_eq!((chunk.memory, chunk.bytes()), (3, 3 * PAGE_BYTES));
        assert_eq!(chunk.runs, runs);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let run = |page, pages| Run { page, pages };
        for (runs, pages) in [
            (&[][..], 0),
            (&[run(1, 0)], 0),
            (&[run(1, 1)], 2),
            (&[run(1, 2), run(2, 1)], 3),
            (&[run(5, 1), run(2, 1)], 2),
            (&[run(1 << 20, 1)], 1),
            (&[run(u32::MAX, 1)], 1),
        ] {
            assert!(MemoryChunk::decode(&content(runs, pages)).is_err(), "{runs:?}");
        }
        let bytes = content(&[run(0, 1)], 1);
        for length in 0..bytes.len() {
            assert!(MemoryChunk::decode(&bytes[..length]).is_err(), "{length}");
        }
    }
}
