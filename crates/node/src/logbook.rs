//! What processes wrote, kept by the node that is their home of output.
//!
//! One file for each process, records one after the other:
//!
//! ```text
//! record := kind length payload      kind: 1 byte; length: 4 bytes, little-endian
//!   0  base    8 bytes: where this log begins
//!   1  out     what was written to standard output
//!   2  err     what was written to standard error
//!   3  end     how the process ended, as a wire record
//! ```
//!
//! A record that a crash cut off at the file's end is cut away at the next opening: it was never
//! acknowledged. Records are not synced one by one, because a log outlives its daemon without
//! that, and what a machine's crash takes from a log it takes from the process too.
//!
//! Readers read the file itself and wait here for more of it, each at its own pace.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use wire::{Outcome, Pid, Stream};

const HEADER_BYTES: u64 = 5;
const BASE: u8 = 0;
const OUT: u8 = 1;
const ERR: u8 = 2;
const END: u8 = 3;

/// A record that claims to be longer was not written by us.
const RECORD_BYTES_MAX: u32 = 1 << 20;

/// The logs of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Logbook {
    dir: PathBuf,
    logs: Arc<Mutex<HashMap<Pid, Log>>>,
}

#[derive(Debug)]
struct Log {
    /// `None` until it is opened: a reader may come first.
    file: Option<File>,
    state: watch::Sender<State>,
}

/// How far a log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Bytes of output, base included.
    pub(crate) length: u64,
    /// Bytes of the file.
    file_bytes: u64,
    /// How the process ended, if that is written.
    pub(crate) ended: Option<Outcome>,
}

/// Something in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Before this offset there is nothing.
    Base(u64),
    /// Output, and the offset of its first byte.
    Output(u64, Stream, Vec<u8>),
    /// The end.
    Ended(Outcome),
}

/// Reads one log from its beginning.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    file: Option<File>,
    state: watch::Receiver<State>,
    at: u64,
    offset: u64,
}

impl Logbook {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, logs: Arc::default() }
    }

    /// Opens or makes a log; a new one begins at `base`.
    pub(crate) fn open(&self, pid: Pid, base: u64) -> io::Result<State> {
        let mut logs = self.logs();
        let log = logs.entry(pid).or_insert_with(Log::closed);
        if log.file.is_none() {
            let mut options = OpenOptions::new();
            options.read(true).append(true).create(true).mode(0o600);
            let mut file = options.open(self.path(pid))?;
            let mut state = scan(&mut file)?;
            if state.file_bytes == 0 {
                append(&mut file, BASE, &base.to_le_bytes())?;
                state = State { length: base, file_bytes: HEADER_BYTES + 8, ended: None };
            }
            log.file = Some(file);
            log.state.send_replace(state);
        }
        Ok(log.state.borrow().clone())
    }

    /// Appends output, if `offset` is the log's length. Says how far the log is.
    pub(crate) fn deliver(
        &self,
        pid: Pid,
        offset: u64,
        stream: Stream,
        bytes: &[u8],
    ) -> io::Result<State> {
        self.write(pid, |state, file| {
            if state.length != offset || state.ended.is_some() || bytes.is_empty() {
                return Ok(());
            }
            let kind = match stream {
                Stream::Out => OUT,
                Stream::Err => ERR,
            };
            append(file, kind, bytes)?;
            state.length += bytes.len() as u64;
            state.file_bytes += HEADER_BYTES + bytes.len() as u64;
            Ok(())
        })
    }

    /// Writes the end, once.
    pub(crate) fn conclude(&self, pid: Pid, outcome: &Outcome) -> io::Result<State> {
        self.write(pid, |state, file| {
            if state.ended.is_none() {
                let record = wire::encode(outcome);
                append(file, END, &record)?;
                state.file_bytes += HEADER_BYTES + record.len() as u64;
                state.ended = Some(outcome.clone());
            }
            Ok(())
        })
    }

    /// Reads a log from its beginning, and waits for what is to come, even for its opening.
    pub(crate) fn read(&self, pid: Pid) -> Reader {
        let mut logs = self.logs();
        let log = logs.entry(pid).or_insert_with(Log::closed);
        let state = log.state.subscribe();
        Reader { path: self.path(pid), file: None, state, at: 0, offset: 0 }
    }

    /// Whether this node has the log of a process, on disk or about to be.
    pub(crate) fn has(&self, pid: Pid) -> bool {
        self.logs().get(&pid).is_some_and(|log| log.file.is_some()) || self.path(pid).exists()
    }

    /// How far a log is that is open.
    pub(crate) fn state(&self, pid: Pid) -> Option<State> {
        let logs = self.logs();
        let log = logs.get(&pid).filter(|log| log.file.is_some())?;
        Some(log.state.borrow().clone())
    }

    /// Every process whose log is here, from this and earlier runs of the node.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect()
    }

    /// Opens the logs of earlier runs that have no end yet, and says how long they are.
    pub(crate) fn unfinished(&self) -> Vec<(Pid, u64)> {
        let mut unfinished = Vec::new();
        for pid in self.pids() {
            match self.open(pid, 0) {
                Ok(State { ended: None, length, .. }) => unfinished.push((pid, length)),
                Ok(_) => drop(self.logs().remove(&pid)),
                Err(error) => tracing::warn!(%pid, %error, "a log cannot be read"),
            }
        }
        unfinished
    }

    fn write(
        &self,
        pid: Pid,
        change: impl FnOnce(&mut State, &mut File) -> io::Result<()>,
    ) -> io::Result<State> {
        let mut logs = self.logs();
        let Some(Log { file: Some(file), state }) = logs.get_mut(&pid) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let before = state.borrow().clone();
        let mut after = before.clone();
        if let Err(error) = change(&mut after, file) {
            // Half a record must not stand before a whole one.
            file.set_len(before.file_bytes)?;
            return Err(error);
        }
        if after != before {
            state.send_replace(after.clone());
        }
        Ok(after)
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<Pid, Log>> {
        self.logs.lock().expect("nobody panics in here")
    }

    fn path(&self, pid: Pid) -> PathBuf {
        self.dir.join(format!("{pid}.log"))
    }
}

impl Log {
    fn closed() -> Self {
        Self { file: None, state: watch::Sender::default() }
    }
}

impl Reader {
    /// What comes next; `None` if nothing comes any more, or not now and `follow` is not set.
    pub(crate) async fn next(&mut self, follow: bool) -> io::Result<Option<Entry>> {
        loop {
            let state = self.state.borrow_and_update().clone();
            if self.at < state.file_bytes {
                return self.entry().map(Some);
            }
            if !follow || state.ended.is_some() || self.state.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    fn entry(&mut self) -> io::Result<Entry> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path)?),
        };
        let mut header = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut header, self.at)?;
        let (kind, length) = parse_header(header)?;
        let mut payload = vec![0; length as usize];
        file.read_exact_at(&mut payload, self.at + HEADER_BYTES)?;
        self.at += HEADER_BYTES + u64::from(length);
        let offset = self.offset;
        match kind {
            BASE => {
                self.offset = parse_base(&payload)?;
                Ok(Entry::Base(self.offset))
            }
            END => Ok(Entry::Ended(wire::decode(&payload).map_err(io::Error::other)?)),
            kind => {
                self.offset += u64::from(length);
                let stream = if kind == OUT { Stream::Out } else { Stream::Err };
                Ok(Entry::Output(offset, stream, payload))
            }
        }
    }
}

fn append(file: &mut File, kind: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).expect("records are bounded");
    let mut record = Vec::with_capacity(payload.len() + HEADER_BYTES as usize);
    record.push(kind);
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(payload);
    file.write_all(&record)
}

/// Finds how far a log is, and cuts off what is no whole record at its end.
fn scan(file: &mut File) -> io::Result<State> {
    let total = file.metadata()?.len();
    let mut state = State::default();
    let mut reader = io::BufReader::new(&*file);
    reader.seek(SeekFrom::Start(0))?;
    while state.file_bytes + HEADER_BYTES <= total {
        let mut header = [0; HEADER_BYTES as usize];
        reader.read_exact(&mut header)?;
        let Ok((kind, length)) = parse_header(header) else { break };
        let end = state.file_bytes + HEADER_BYTES + u64::from(length);
        if total < end {
            break;
        }
        let mut payload = vec![0; length as usize];
        reader.read_exact(&mut payload)?;
        match kind {
            BASE => state.length = parse_base(&payload)?,
            END => state.ended = Some(wire::decode(&payload).map_err(io::Error::other)?),
            _ => state.length += u64::from(length),
        }
        state.file_bytes = end;
    }
    file.set_len(state.file_bytes)?;
    Ok(state)
}

fn parse_header(header: [u8; HEADER_BYTES as usize]) -> io::Result<(u8, u32)> {
    let [kind, length @ ..] = header;
    let length = u32::from_le_bytes(length);
    if END < kind || RECORD_BYTES_MAX < length {
        return Err(io::Error::other("a log has a record that was never written"));
    }
    Ok((kind, length))
}

fn parse_base(payload: &[u8]) -> io::Result<u64> {
    let base = payload.try_into().map_err(|_| io::Error::other("a log's base is no number"))?;
    Ok(u64::from_le_bytes(base))
}

#[cfg(test)]
mod tests {
    use wire::GroupId;

    use super::*;

    const PID: Pid = Pid { group: GroupId(7), index: 0 };

    #[tokio::test]
    async fn a_log_is_read_in_order_by_whoever_comes_when() {
        let root = tempfile::tempdir().unwrap();
        let book = Logbook::new(root.path().to_owned());
        let mut early = book.read(PID);
        let waiting = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(entry) = early.next(true).await.unwrap() {
                all.push(entry);
            }
            all
        });
        assert_eq!(book.open(PID, 10).unwrap().length, 10);
        assert_eq!(book.deliver(PID, 10, Stream::Out, b"one").unwrap().length, 13);
        // Repeated, and too early: neither is written.
        assert_eq!(book.deliver(PID, 10, Stream::Out, b"one").unwrap().length, 13);
        assert_eq!(book.deliver(PID, 14, Stream::Out, b"six").unwrap().length, 13);
        assert_eq!(book.deliver(PID, 13, Stream::Err, b"two").unwrap().length, 16);
        book.conclude(PID, &Outcome::Code(3)).unwrap();
        let expected = [
            Entry::Base(10),
            Entry::Output(10, Stream::Out, b"one".to_vec()),
            Entry::Output(13, Stream::Err, b"two".to_vec()),
            Entry::Ended(Outcome::Code(3)),
        ];
        assert_eq!(waiting.await.unwrap(), expected);
    }

    #[test]
    fn what_a_crash_cut_off_is_cut_away() {
        let root = tempfile::tempdir().unwrap();
        let book = || Logbook::new(root.path().to_owned());
        let first = book();
        first.open(PID, 0).unwrap();
        first.deliver(PID, 0, Stream::Out, b"whole").unwrap();
        let before = first.deliver(PID, 5, Stream::Out, b"cut off").unwrap();
        let file = OpenOptions::new().write(true).open(first.path(PID)).unwrap();
        file.set_len(before.file_bytes - 3).unwrap();
        let again = book();
        assert_eq!(again.open(PID, 99).unwrap().length, 5);
        assert_eq!(again.deliver(PID, 5, Stream::Out, b"more").unwrap().length, 9);
        assert_eq!(again.pids(), [PID]);
    }
}
