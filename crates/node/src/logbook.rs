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
//! A process that has written nothing has no file: it stands in one file with all others of its kind, so
//! that what became of it is known after a restart of the node. Files are not held open for long.
//!
//! A log can go to another home: see `handing`.
//!
//! Readers read the file itself and wait here for more of it, each at its own pace.

mod handing;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use wire::{GroupId, NodeId, Outcome, Pid, Stream};

pub(crate) use handing::{Adopted, Content, Handed};

const HEADER_BYTES: u64 = 5;
const BASE: u8 = 0;
const OUT: u8 = 1;
const ERR: u8 = 2;
const END: u8 = 3;

/// A record that claims to be longer was not written by us.
const RECORD_BYTES_MAX: u32 = 1 << 20;

/// Opened again when they are needed: so many files are held open at once.
const FILES_MAX: usize = 256;

/// What [`Book::register`] has of each: the process, and where its log begins.
const QUIET_BYTES: usize = 20;

/// The logs of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Logbook {
    dir: PathBuf,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    logs: HashMap<Pid, Log>,
    /// Logs of which nothing was written, and no one reads: where they begin. They have no file.
    quiet: HashMap<Pid, u64>,
    /// A file with all that were quiet since the node's start, so that they are known after the next.
    register: Option<File>,
    /// What is to be written to it before anything else is done: those that come together go together.
    unregistered: Vec<u8>,
    /// Who has a file; none before that was looked at.
    on_disk: Option<HashSet<Pid>>,
    /// Whose logs another node keeps now, or is about to.
    handed: HashMap<Pid, Handed>,
    /// Whose files are open, the oldest first.
    open: VecDeque<Pid>,
}

#[derive(Debug)]
struct Log {
    /// Whether it was opened: a reader may come first.
    opened: bool,
    /// Where it begins, if nothing is in its file yet.
    base: u64,
    /// `None` while it is not written to.
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
    /// Who keeps it now.
    handed: Option<NodeId>,
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
    /// What comes after is with another node.
    Handed(NodeId),
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
        let handed = handing::read(&dir).unwrap_or_else(|error| {
            tracing::error!(%error, "which logs are other nodes' is not known");
            HashMap::new()
        });
        Self { dir, book: Arc::new(Mutex::new(Book { handed, ..Book::default() })) }
    }

    /// Opens or makes a log; a new one begins at `base`, and has no file before it is written to.
    pub(crate) fn open(&self, pid: Pid, base: u64) -> io::Result<State> {
        if self.handed_to(pid).is_some() {
            // Whoever had it has gone.
            self.unmark(&[pid])?;
        }
        let mut book = self.book();
        let book = &mut *book;
        if let Some(base) = book.quiet.get(&pid) {
            return Ok(State { length: *base, ..State::default() });
        }
        if let Some(log) = book.logs.get(&pid).filter(|log| log.opened) {
            return Ok(log.state.borrow().clone());
        }
        let on_disk = book.on_disk.get_or_insert_with(|| self.on_disk().into_iter().collect());
        let state = match on_disk.contains(&pid) {
            true => scan(&mut self.append_to(pid, false)?)?,
            false => State::default(),
        };
        if state.file_bytes == 0 {
            book.register(pid, base);
            let state = State { length: base, ..state };
            match book.logs.get_mut(&pid) {
                Some(log) => log.begin(base, state.clone()),
                None => drop(book.quiet.insert(pid, base)),
            }
            return Ok(state);
        }
        book.logs.entry(pid).or_insert_with(Log::closed).begin(base, state.clone());
        Ok(state)
    }

    /// Writes down which logs have been opened: before anything else is done that others may see.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.book().flush(&self.register())
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
        let mut book = self.book();
        book.wake(pid);
        let log = book.logs.entry(pid).or_insert_with(Log::closed);
        let state = log.state.subscribe();
        Reader { path: self.path(pid), file: None, state, at: 0, offset: 0 }
    }

    /// Whether this node has the log of a process, on disk or about to be.
    pub(crate) fn has(&self, pid: Pid) -> bool {
        let book = self.book();
        let opened = |log: &Log| log.opened;
        book.quiet.contains_key(&pid)
            || book.logs.get(&pid).is_some_and(opened)
            || self.path(pid).exists()
    }

    /// How far a log is that is open.
    pub(crate) fn state(&self, pid: Pid) -> Option<State> {
        let book = self.book();
        if let Some(base) = book.quiet.get(&pid) {
            return Some(State { length: *base, ..State::default() });
        }
        let log = book.logs.get(&pid).filter(|log| log.opened)?;
        Some(log.state.borrow().clone())
    }

    /// Every process whose log is here, from this and earlier runs of the node.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        let mut pids = self.on_disk();
        pids.extend(self.book().quiet.keys());
        pids
    }

    fn on_disk(&self) -> Vec<Pid> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect()
    }

    /// Opens the logs of earlier runs that have no end yet, and says how long they are.
    pub(crate) fn unfinished(&self) -> Vec<(Pid, u64)> {
        let mut unfinished = Vec::new();
        for (pid, base) in self.registered() {
            if !self.path(pid).exists() && self.handed_to(pid).is_none() {
                match self.open(pid, base) {
                    Ok(state) => unfinished.push((pid, state.length)),
                    Err(error) => tracing::warn!(%pid, %error, "a log cannot be opened"),
                }
            }
        }
        for pid in self.on_disk().into_iter().filter(|pid| self.handed_to(*pid).is_none()) {
            match self.open(pid, 0) {
                Ok(State { ended: None, length, .. }) => unfinished.push((pid, length)),
                Ok(_) => drop(self.book().logs.remove(&pid)),
                Err(error) => tracing::warn!(%pid, %error, "a log cannot be read"),
            }
        }
        unfinished
    }

    /// The logs that were quiet in the node's last run. They are registered anew as they are opened.
    fn registered(&self) -> Vec<(Pid, u64)> {
        let Ok(bytes) = fs::read(self.register()) else { return Vec::new() };
        let _ = fs::remove_file(self.register());
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        let entry = |entry: &[u8]| {
            let index = u32::from_le_bytes(entry[8..12].try_into().expect("4 bytes"));
            let pid = Pid { group: GroupId(number(&entry[..8])), index };
            (pid, number(&entry[12..]))
        };
        // One that a crash cut off at the end was not opened either.
        bytes.chunks_exact(QUIET_BYTES).map(entry).collect()
    }

    fn write(
        &self,
        pid: Pid,
        change: impl FnOnce(&mut State, &mut File) -> io::Result<()>,
    ) -> io::Result<State> {
        let mut book = self.book();
        let book = &mut *book;
        book.wake(pid);
        let Some(log) = book.logs.get_mut(&pid).filter(|log| log.opened) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let state = &log.state;
        let mut opened = false;
        let file = match &mut log.file {
            Some(file) => file,
            none => {
                opened = true;
                let file = self.append_to(pid, true)?;
                if let Some(on_disk) = &mut book.on_disk {
                    on_disk.insert(pid);
                }
                none.insert(file)
            }
        };
        let before = state.borrow().clone();
        let mut after = before.clone();
        let changed = (|| {
            if after.file_bytes == 0 {
                append(file, BASE, &log.base.to_le_bytes())?;
                after.file_bytes = HEADER_BYTES + 8;
            }
            change(&mut after, file)
        })();
        if let Err(error) = changed {
            // Half a record must not stand before a whole one.
            file.set_len(before.file_bytes)?;
            log.file = None;
            return Err(error);
        }
        if after != before {
            state.send_replace(after.clone());
        }
        if after.ended.is_some() {
            log.file = None;
        } else if opened {
            book.keep_open(pid);
        }
        Ok(after)
    }

    fn append_to(&self, pid: Pid, create: bool) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(create).mode(0o600).open(self.path(pid))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics in here")
    }

    fn path(&self, pid: Pid) -> PathBuf {
        self.dir.join(format!("{pid}.log"))
    }

    fn register(&self) -> PathBuf {
        self.dir.join("quiet")
    }
}

impl Book {
    /// A log that is quiet is about to be written to, or read.
    fn wake(&mut self, pid: Pid) {
        if let Some(base) = self.quiet.remove(&pid) {
            let state = State { length: base, ..State::default() };
            self.logs.entry(pid).or_insert_with(Log::closed).begin(base, state);
        }
    }

    fn register(&mut self, pid: Pid, base: u64) {
        let mut entry = [0; QUIET_BYTES];
        entry[..8].copy_from_slice(&pid.group.0.to_le_bytes());
        entry[8..12].copy_from_slice(&pid.index.to_le_bytes());
        entry[12..].copy_from_slice(&base.to_le_bytes());
        self.unregistered.extend_from_slice(&entry);
    }

    fn flush(&mut self, path: &Path) -> io::Result<()> {
        if self.unregistered.is_empty() {
            return Ok(());
        }
        let file = match &mut self.register {
            Some(file) => file,
            none => {
                none.insert(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?)
            }
        };
        file.write_all(&self.unregistered)?;
        self.unregistered = Vec::new();
        Ok(())
    }

    /// A file was opened; if there are many, the one that was opened first is closed.
    fn keep_open(&mut self, pid: Pid) {
        self.open.push_back(pid);
        if self.open.len() > FILES_MAX
            && let Some(first) = self.open.pop_front()
            && first != pid
            && let Some(log) = self.logs.get_mut(&first)
        {
            log.file = None;
        }
    }
}

impl Log {
    fn closed() -> Self {
        Self { opened: false, base: 0, file: None, state: watch::Sender::default() }
    }

    fn begin(&mut self, base: u64, state: State) {
        (self.opened, self.base) = (true, base);
        self.state.send_replace(state);
    }
}

impl Reader {
    /// What comes next; `None` if nothing comes any more, or not now and `follow` is not set.
    pub(crate) async fn next(&mut self, follow: bool) -> io::Result<Option<Entry>> {
        loop {
            let state = self.state.borrow_and_update().clone();
            if self.at < state.file_bytes {
                match (self.entry(), state.handed) {
                    (Err(error), Some(to)) if error.kind() == io::ErrorKind::NotFound => {
                        return Ok(Some(Entry::Handed(to)));
                    }
                    (entry, _) => return entry.map(Some),
                }
            }
            if let Some(to) = state.handed {
                return Ok(Some(Entry::Handed(to)));
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

    #[test]
    fn who_wrote_nothing_has_no_file_and_is_known_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let other = Pid { index: 1, ..PID };
        let book = Logbook::new(root.path().to_owned());
        assert_eq!(book.open(PID, 0).unwrap().length, 0);
        assert_eq!(book.open(other, 7).unwrap().length, 7);
        assert!(book.has(PID) && !book.path(PID).exists());
        assert_eq!(book.deliver(PID, 0, Stream::Out, b"now").unwrap().length, 3);
        book.flush().unwrap();
        let again = Logbook::new(root.path().to_owned());
        let mut unfinished = again.unfinished();
        unfinished.sort_unstable();
        assert_eq!(unfinished, [(PID, 3), (other, 7)]);
        again.conclude(other, &Outcome::Code(0)).unwrap();
        let third = Logbook::new(root.path().to_owned());
        assert_eq!(third.unfinished(), [(PID, 3)]);
    }

    #[test]
    fn many_logs_are_written_with_few_files_open() {
        let root = tempfile::tempdir().unwrap();
        let book = Logbook::new(root.path().to_owned());
        let pids = (0..2 * FILES_MAX as u32).map(|index| Pid { index, ..PID });
        for offset in [0, 1] {
            for pid in pids.clone() {
                book.open(pid, 0).unwrap();
                assert_eq!(
                    book.deliver(pid, offset, Stream::Out, b"x").unwrap().length,
                    offset + 1
                );
            }
        }
        let open = book.book().logs.values().filter(|log| log.file.is_some()).count();
        assert!(open <= FILES_MAX, "{open} files are open");
    }
}
