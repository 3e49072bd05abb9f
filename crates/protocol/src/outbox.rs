//! The output of one process that its home has not acknowledged.
//!
//! Bytes of both streams are numbered together by one offset, so that they come out as they were
//! written. What is here travels in the image: whoever runs the process next says it again, and the
//! home takes each offset once.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use wire::{Blob, CHUNK_BYTES_MAX, Stream};

use crate::Instant;

/// A process may write this much more than its home has acknowledged; then it waits.
pub(crate) const OUTBOX_BYTES_MAX: usize = 256 << 10;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// How much the home has.
    acknowledged: u64,
    /// What it has not, in order. Pieces of at most [`CHUNK_BYTES_MAX`].
    chunks: VecDeque<(Stream, Vec<u8>)>,
    bytes: usize,
    /// How much has been sent from here at least once.
    sent: u64,
    /// Whether the home has yet to hear where the process is.
    pub(crate) announce: bool,
    pub(crate) end_acknowledged: bool,
    /// In a new life: how many of the bytes here were written in an earlier one. The home may have them, and what that
    /// life wrote later; nothing is said before it has told us how much it has.
    replayed: Option<usize>,
    pub(crate) retry_at: Option<Instant>,
}

impl Outbox {
    /// The outbox of an image. Nothing of it has been sent from here.
    pub(crate) fn restored(acknowledged: u64, output: Vec<(Stream, Blob)>) -> Self {
        let mut outbox =
            Self { acknowledged, sent: acknowledged, announce: true, ..Self::default() };
        for (stream, Blob(bytes)) in output {
            outbox.push(stream, &bytes);
        }
        outbox
    }

    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        for piece in bytes.chunks(CHUNK_BYTES_MAX) {
            self.bytes += piece.len();
            match self.chunks.back_mut() {
                // Small writes that have to wait go together.
                Some((last, chunk))
                    if *last == stream && chunk.len() + piece.len() <= CHUNK_BYTES_MAX =>
                {
                    chunk.extend_from_slice(piece);
                }
                _ => self.chunks.push_back((stream, piece.to_vec())),
            }
        }
    }

    /// What is written from now on follows what the home has, whatever that is.
    pub(crate) fn write_on(&mut self) {
        self.replayed = Some(self.bytes);
        self.announce = true;
    }

    /// Whether the home has yet to say how much it has.
    pub(crate) fn waits_for_home(&self) -> bool {
        self.replayed.is_some()
    }

    /// The home says how much it has: what is left of the earlier life follows it, and what was written since.
    fn follow(&mut self, offset: u64, replayed: usize) {
        let there = offset.saturating_sub(self.acknowledged).min(replayed as u64);
        self.take_off(there as usize);
        self.acknowledged = self.acknowledged.max(offset);
        self.sent = self.acknowledged;
    }

    /// Takes the home's word. A late or repeated one changes nothing. True if room was made.
    pub(crate) fn acknowledge(&mut self, offset: u64) -> bool {
        if let Some(replayed) = self.replayed.take() {
            self.follow(offset, replayed);
            return true;
        }
        let offset = offset.min(self.written());
        let done = offset.saturating_sub(self.acknowledged) as usize;
        self.take_off(done);
        self.acknowledged = self.acknowledged.max(offset);
        self.sent = self.sent.max(self.acknowledged);
        0 < done
    }

    fn take_off(&mut self, mut done: usize) {
        self.bytes -= done;
        while 0 < done {
            let (_, chunk) = self.chunks.front_mut().expect("as many bytes as are counted");
            if done < chunk.len() {
                chunk.drain(..done);
                done = 0;
            } else {
                done -= chunk.len();
                self.chunks.pop_front();
            }
        }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(crate) fn unacknowledged(&self) -> Vec<(Stream, Blob)> {
        self.chunks.iter().map(|(stream, bytes)| (*stream, Blob(bytes.clone()))).collect()
    }

    /// How much the process has written in all.
    pub(crate) fn written(&self) -> u64 {
        self.acknowledged + self.bytes as u64
    }

    pub(crate) fn room(&self) -> usize {
        OUTBOX_BYTES_MAX.saturating_sub(self.bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Starts again from what the home has.
    pub(crate) fn rewind(&mut self) {
        self.sent = self.acknowledged;
    }

    /// What has not been sent since the last rewind, with its offsets. Counts as sent now.
    pub(crate) fn unsent(&mut self) -> Vec<(u64, Stream, Blob)> {
        let mut unsent = Vec::new();
        if self.waits_for_home() {
            return unsent;
        }
        let mut offset = self.acknowledged;
        for (stream, chunk) in &self.chunks {
            let end = offset + chunk.len() as u64;
            if self.sent < end {
                let skip = self.sent.saturating_sub(offset) as usize;
                unsent.push((offset + skip as u64, *stream, Blob(chunk[skip..].to_vec())));
            }
            offset = end;
        }
        self.sent = offset;
        unsent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_sent_once_until_a_rewind() {
        let mut outbox = Outbox::default();
        outbox.push(Stream::Out, b"abc");
        assert_eq!(outbox.unsent(), [(0, Stream::Out, Blob(b"abc".to_vec()))]);
        outbox.push(Stream::Out, b"de");
        assert_eq!(outbox.unsent(), [(3, Stream::Out, Blob(b"de".to_vec()))]);
        assert!(outbox.acknowledge(2));
        assert!(!outbox.acknowledge(1), "a late word makes no room");
        outbox.rewind();
        assert_eq!(outbox.unsent(), [(2, Stream::Out, Blob(b"cde".to_vec()))]);
        outbox.acknowledge(99);
        assert!(outbox.is_empty());
        assert_eq!(outbox.written(), 5, "a home cannot have more than there is");
    }

    #[test]
    fn a_new_life_writes_on_where_the_log_ends() {
        let image = || {
            let mut outbox = Outbox::restored(3, alloc::vec![(Stream::Out, Blob(b"de".to_vec()))]);
            outbox.write_on();
            outbox.push(Stream::Out, b"new");
            assert_eq!(outbox.unsent(), [], "the log may be longer than the image knows");
            outbox
        };
        let said = |offset, bytes: &[u8]| [(offset, Stream::Out, Blob(bytes.to_vec()))];
        for (log, rest) in [(3, &b"denew"[..]), (4, b"enew"), (5, b"new"), (9, b"new")] {
            let mut outbox = image();
            assert!(outbox.acknowledge(log));
            assert_eq!(outbox.unsent(), said(log, rest), "a log of {log}");
            assert!(!outbox.acknowledge(log), "that was the answer to what was said first");
        }
    }

    #[test]
    fn an_image_carries_what_is_not_acknowledged() {
        let mut outbox = Outbox::default();
        outbox.push(Stream::Out, b"one");
        outbox.push(Stream::Err, b"two");
        outbox.acknowledge(1);
        let mut there = Outbox::restored(outbox.acknowledged(), outbox.unacknowledged());
        assert_eq!(
            there.unsent(),
            [(1, Stream::Out, Blob(b"ne".to_vec())), (3, Stream::Err, Blob(b"two".to_vec()))]
        );
    }
}
