//! An image for people: what is in it, read without the code that it is of.

use alloc::vec::Vec;

use super::{Decoder, Head, ImageError, Kind, MemoryChunk, Record, StackName};

/// What an image consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What it says of its process.
    pub head: Option<Head>,
    /// Where the process stopped, innermost first.
    pub stack: Vec<StackName>,
    /// Its parts, in order.
    pub sections: Vec<Section>,
    /// How many bytes of memory its pages have when they are not compressed.
    pub page_bytes: u64,
}

/// The records of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Which kind.
    pub kind: Kind,
    /// How many.
    pub records: u64,
    /// How many bytes of content they have.
    pub bytes: u64,
}

/// Reads an image for its [`Summary`].
#[derive(Debug, Default)]
pub struct Reader {
    decoder: Decoder,
    summary: Summary,
}

impl Summary {
    /// Begins to read an image.
    #[must_use]
    pub fn reader() -> Reader {
        Reader::default()
    }
}

impl Reader {
    /// Takes more of the image, however it is cut.
    ///
    /// # Errors
    ///
    /// [`ImageError`], if it is none.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let Self { decoder, summary } = self;
        decoder.push(bytes, |record| summary.take(record))
    }

    /// The whole, verified as far as that is possible without the code.
    ///
    /// # Errors
    ///
    /// [`ImageError`], if the image is not whole.
    pub fn finish(self) -> Result<Summary, ImageError> {
        self.decoder.finish().map(|()| self.summary)
    }
}

impl Summary {
    fn take(&mut self, record: Record<'_>) -> Result<(), ImageError> {
        let refused = |what| ImageError::Record { record: 0, offset: 0, what };
        match record.kind {
            Kind::Head => {
                let head = postcard::from_bytes(record.content);
                self.head = Some(head.map_err(|_| refused("a head that does not decode"))?);
            }
            Kind::Stack => {
                let stack = postcard::from_bytes::<Vec<StackName>>(record.content);
                self.stack.extend(stack.map_err(|_| refused("a stack that does not decode"))?);
            }
            Kind::Memory => {
                self.page_bytes +=
                    MemoryChunk::decode(record.content).map_err(refused)?.bytes() as u64;
            }
            _ => {}
        }
        let bytes = record.content.len() as u64;
        match self.sections.last_mut().filter(|section| section.kind == record.kind) {
            Some(section) => {
                section.records += 1;
                section.bytes += bytes;
            }
            None => self.sections.push(Section { kind: record.kind, records: 1, bytes }),
        }
        Ok(())
    }
}
