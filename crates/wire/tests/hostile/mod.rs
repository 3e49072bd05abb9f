//! What arrives from a socket or a disk: the bodies of the tests and of the fuzz targets. Bytes are
//! refused or they are a value, which is then written in no more bytes, and read again as the same.

#![allow(dead_code, reason = "each of those who include this uses another part")]

use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::image::{
    Decoder, Encoder, Head, ImageError, Kind, MemoryChunk, StackName, State, Summary,
};
use wire::{Envelope, Hello, HelloRefused, Record, Reply, Request, Section, decode, encode};

/// Says whether bytes are a value.
pub(crate) type Again = fn(&[u8]) -> Result<bool, String>;

/// What a link or the registry's disk can bring, each by itself.
pub(crate) const TYPES: [(&str, Again); 6] = [
    ("envelope", again::<Envelope>),
    ("hello", again::<Result<Hello, HelloRefused>>),
    ("request", again::<Request>),
    ("reply", again::<Reply>),
    ("record", again::<Record>),
    ("section", again::<Section>),
];

/// Whether bytes are a value of this type.
fn again<T>(bytes: &[u8]) -> Result<bool, String>
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Ok(value) = decode::<T>(bytes) else { return Ok(false) };
    let written = encode(&value);
    if written.len() > bytes.len() {
        return Err(format!("{} bytes became {}: {value:?}", bytes.len(), written.len()));
    }
    match decode::<T>(&written) {
        Ok(read) if read == value => Ok(true),
        other => Err(format!("{value:?} was read again as {other:?}")),
    }
}

/// Reads bytes as an image, in pieces of every length that `cut` allows. How many records it has.
pub(crate) fn image(bytes: &[u8], cut: u8) -> Result<Option<usize>, String> {
    let whole = records(bytes, bytes.len());
    let cut = records(bytes, usize::from(cut));
    if whole != cut {
        return Err(format!("whole {whole:?}, cut {cut:?}"));
    }
    let mut reader = Summary::reader();
    let read = reader.push(bytes).and_then(|()| reader.finish());
    match (&whole, read) {
        (Err(_), Ok(summary)) => Err(format!("a summary of what is no image: {summary:?}")),
        (Ok(records), read) => {
            records.iter().try_for_each(|(kind, content)| content_of(*kind, content))?;
            _ = read.map_err(|error| error.to_string());
            Ok(Some(records.len()))
        }
        (Err(_), Err(error)) => {
            _ = error.to_string();
            Ok(None)
        }
    }
}

/// An image whose records say what these bytes say, with checksums that are right: each record is
/// a kind, a length and so many bytes.
pub(crate) fn forged(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::begin(&mut out);
    // The head comes first, the end last; between them a kind never comes before one that was there.
    let (mut last, mut first) = (1, true);
    while let [kind, length, rest @ ..] = bytes {
        let place = (1 + usize::from(*kind) % (Kind::ALL.len() - 2)).max(last);
        let kind = if first { Kind::Head } else { Kind::ALL[place] };
        last = if first { last } else { place };
        first = false;
        let (content, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        encoder.record(kind, &mut out, |out| out.extend_from_slice(content));
        bytes = rest;
    }
    encoder.end(&mut out);
    out
}

type Records = Vec<(Kind, Vec<u8>)>;

fn records(bytes: &[u8], cut: usize) -> Result<Records, ImageError> {
    let (mut decoder, mut found) = (Decoder::default(), Vec::new());
    for piece in bytes.chunks(cut.max(1)) {
        decoder.push(piece, |record| {
            found.push((record.kind, record.content.to_vec()));
            Ok::<_, ImageError>(())
        })?;
    }
    decoder.finish().map(|()| found)
}

fn content_of(kind: Kind, content: &[u8]) -> Result<(), String> {
    match kind {
        Kind::Head => _ = postcard::from_bytes::<Head>(content),
        Kind::Stack => _ = postcard::from_bytes::<Vec<StackName>>(content),
        Kind::State => _ = postcard::from_bytes::<State>(content),
        Kind::Memory => {
            let Ok(chunk) = MemoryChunk::decode(content) else { return Ok(()) };
            let mut written = Vec::new();
            MemoryChunk::encode_head(chunk.memory, chunk.encoding, &chunk.runs, &mut written);
            written.extend_from_slice(chunk.data);
            if written != content {
                return Err(format!("pages that were read as others: {:?}", chunk.runs));
            }
        }
        _ => {}
    }
    Ok(())
}
