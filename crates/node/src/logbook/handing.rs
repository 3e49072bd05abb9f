//! Logs that go to another home. `protocol::handing` has the order of the steps; here is what of them stands on disk.
//!
//! ```text
//! PID.from-NODE   at the new home: a copy, which is no log yet
//! handed          at the old home: records one after the other, the last one of a process counts
//!
//! record := pid to way     pid: 12 bytes; to: 4 bytes, a node's number; way: 1 byte; numbers little-endian
//!   way 0  the log is here (again)
//!       1  `to` has a copy, and may have been told that it is the log; 3  the same, and the end is in it
//!       2  `to` has the log;                                           4  the same, and the end is in it
//! ```

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use wire::{GroupId, NodeId, Pid};

use super::{Logbook, State, scan};

const RECORD_BYTES: usize = 17;

/// Whose a log is that was kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handed {
    pub(crate) to: NodeId,
    /// Whether the end is written in it.
    pub(crate) ended: bool,
    /// Whether it is known that it is there; before, it is here as well, and rests.
    pub(crate) left: bool,
}

/// What there is of a log to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing but where it begins.
    Quiet(u64),
    /// So many bytes of this file.
    File { path: PathBuf, bytes: u64, ended: bool },
}

impl Content {
    pub(crate) fn ended(&self) -> bool {
        matches!(self, Self::File { ended: true, .. })
    }
}

impl Logbook {
    /// What there is of a log that is here and rests.
    pub(crate) fn content(&self, pid: Pid) -> io::Result<Option<Content>> {
        let path = self.path(pid);
        let mut state = None;
        {
            let book = self.book();
            if let Some(base) = book.quiet.get(&pid) {
                return Ok(Some(Content::Quiet(*base)));
            }
            if let Some(log) = book.logs.get(&pid).filter(|log| log.opened) {
                let now = log.state.borrow().clone();
                if now.file_bytes == 0 {
                    return Ok(Some(Content::Quiet(log.base)));
                }
                state = Some(now);
            }
        }
        let State { file_bytes, ended, .. } = match state {
            Some(state) => state,
            None if path.exists() => scan(&mut self.append_to(pid, false)?)?,
            None => return Ok(None),
        };
        Ok(Some(Content::File { path, bytes: file_bytes, ended: ended.is_some() }))
    }

    /// How long the file of a log is.
    pub(crate) fn bytes(&self, pid: Pid) -> u64 {
        fs::metadata(self.path(pid)).map_or(0, |file| file.len())
    }

    /// Writes down, durably, that another node has copies of these logs.
    pub(crate) fn mark(&self, logs: &[(Pid, bool)], to: NodeId) -> io::Result<()> {
        let handed = |ended| Handed { to, ended, left: false };
        self.hand(logs.iter().map(|(pid, ended)| (*pid, Some(handed(*ended)))))
    }

    /// They stay after all.
    pub(crate) fn unmark(&self, pids: &[Pid]) -> io::Result<()> {
        self.hand(pids.iter().map(|pid| (*pid, None)))
    }

    /// Lets logs go that were marked: their new home has them. Readers are told where to go on.
    pub(crate) fn leave(&self, pids: &[Pid]) -> io::Result<()> {
        let marked = |pid: &Pid| self.book().handed.get(pid).copied();
        let left: Vec<_> = pids.iter().filter_map(|pid| Some((*pid, marked(pid)?))).collect();
        let left = left.iter().map(|(pid, handed)| (*pid, Handed { left: true, ..*handed }));
        self.hand(left.clone().map(|(pid, handed)| (pid, Some(handed))))?;
        for (pid, Handed { to, .. }) in left {
            let mut book = self.book();
            book.quiet.remove(&pid);
            if let Some(on_disk) = &mut book.on_disk {
                on_disk.remove(&pid);
            }
            if let Some(log) = book.logs.get_mut(&pid) {
                (log.opened, log.file) = (false, None);
                log.state.send_modify(|state| state.handed = Some(to));
            }
            match fs::remove_file(self.path(pid)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Where a copy of another home's log is put together.
    pub(crate) fn copy_of(&self, from: NodeId, pid: Pid) -> PathBuf {
        self.dir.join(format!("{pid}.from-{}", from.0))
    }

    /// Makes another home's log this node's: of its copy, or, if it was quiet, of where it begins. Done twice it changes nothing. None
    /// if there is no copy.
    pub(crate) fn adopt(
        &self,
        from: NodeId,
        pid: Pid,
        quiet: Option<u64>,
    ) -> io::Result<Option<Adopted>> {
        let copy = self.copy_of(from, pid);
        if !copy.exists() && quiet.is_none() || self.has(pid) {
            let gone_on = self.handed_to(pid).is_some();
            return Ok((gone_on || self.has(pid)).then_some(Adopted::Before));
        }
        self.hand([(pid, None)].into_iter().filter(|_| self.handed_to(pid).is_some()))?;
        if copy.exists() {
            fs::rename(copy, self.path(pid))?;
            File::open(&self.dir)?.sync_all()?;
            if let Some(on_disk) = &mut self.book().on_disk {
                on_disk.insert(pid);
            }
        }
        let state = self.open(pid, quiet.unwrap_or(0))?;
        self.flush()?;
        Ok(Some(Adopted::Now(state)))
    }

    /// The logs that were kept here and are another node's, or about to be.
    pub(crate) fn handed(&self) -> Vec<(Pid, Handed)> {
        self.book().handed.iter().map(|(pid, handed)| (*pid, *handed)).collect()
    }

    /// Who keeps a log that was kept here.
    pub(crate) fn handed_to(&self, pid: Pid) -> Option<NodeId> {
        self.book().handed.get(&pid).filter(|handed| handed.left).map(|handed| handed.to)
    }

    fn hand(&self, changes: impl Iterator<Item = (Pid, Option<Handed>)>) -> io::Result<()> {
        let changes: Vec<_> = changes.collect();
        if changes.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> =
            changes.iter().flat_map(|(pid, handed)| record(*pid, *handed)).collect();
        let mut options = OpenOptions::new();
        let mut file =
            options.append(true).create(true).mode(0o600).open(self.dir.join(REGISTER))?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        let mut book = self.book();
        for (pid, handed) in changes {
            match handed {
                Some(handed) => drop(book.handed.insert(pid, handed)),
                None => drop(book.handed.remove(&pid)),
            }
        }
        Ok(())
    }
}

/// What came of the adoption of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Adopted {
    /// It is kept here from now on, and is so far.
    Now(State),
    /// It was before; perhaps it has even gone on from here.
    Before,
}

const REGISTER: &str = "handed";

/// What a node finds that starts; the file is written anew, with what counts of it.
pub(super) fn read(dir: &Path) -> io::Result<HashMap<Pid, Handed>> {
    let path = dir.join(REGISTER);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        read => read?,
    };
    let mut handed = HashMap::new();
    // One that a crash cut off at the end was not written down, and nothing was done of it.
    for (pid, change) in bytes.chunks_exact(RECORD_BYTES).map(parse) {
        match change {
            Some(change) => drop(handed.insert(pid, change)),
            None => drop(handed.remove(&pid)),
        }
    }
    let short: Vec<u8> = handed.iter().flat_map(|(pid, way)| record(*pid, Some(*way))).collect();
    let beside = dir.join("handed.new");
    let mut file = File::create(&beside)?;
    file.write_all(&short)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    Ok(handed)
}

fn record(pid: Pid, handed: Option<Handed>) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&pid.group.0.to_le_bytes());
    record[8..12].copy_from_slice(&pid.index.to_le_bytes());
    if let Some(Handed { to, ended, left }) = handed {
        record[12..16].copy_from_slice(&to.0.to_le_bytes());
        record[16] = 1 + u8::from(left) + 2 * u8::from(ended);
    }
    record
}

fn parse(record: &[u8]) -> (Pid, Option<Handed>) {
    let number = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("4 bytes"));
    let group = u64::from_le_bytes(record[..8].try_into().expect("8 bytes"));
    let pid = Pid { group: GroupId(group), index: number(8) };
    let way = record[16];
    let handed = Handed { to: NodeId(number(12)), ended: way > 2, left: way.is_multiple_of(2) };
    (pid, (way != 0).then_some(handed))
}

#[cfg(test)]
mod tests {
    use wire::{Outcome, Stream};

    use super::super::Entry;
    use super::*;

    const PID: Pid = Pid { group: GroupId(7), index: 1 };
    const QUIET: Pid = Pid { group: GroupId(7), index: 2 };
    const OLD: NodeId = NodeId(1);
    const NEW: NodeId = NodeId(2);

    fn copied(old: &Logbook, new: &Logbook, pid: Pid) {
        let Ok(Some(Content::File { path, .. })) = old.content(pid) else { panic!("no file") };
        fs::copy(path, new.copy_of(OLD, pid)).unwrap();
    }

    #[tokio::test]
    async fn a_log_goes_to_another_home_with_all_that_is_in_it() {
        let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [old, new] = roots.each_ref().map(|root| Logbook::new(root.path().to_owned()));
        old.open(PID, 5).unwrap();
        old.open(QUIET, 9).unwrap();
        old.deliver(PID, 5, Stream::Out, b"first").unwrap();
        let mut reader = old.read(PID);
        assert_eq!(reader.next(true).await.unwrap(), Some(Entry::Base(5)));
        copied(&old, &new, PID);
        assert!(!new.has(PID), "a copy is no log");
        assert_eq!(old.content(QUIET).unwrap(), Some(Content::Quiet(9)));

        old.mark(&[(PID, false), (QUIET, false)], NEW).unwrap();
        let again = Logbook::new(roots[0].path().to_owned());
        assert!(again.handed().iter().all(|(_, handed)| !handed.left), "it may not have been told");
        assert!(again.has(PID));

        let Some(Adopted::Now(state)) = new.adopt(OLD, PID, None).unwrap() else { panic!() };
        assert_eq!((state.length, state.ended), (10, None));
        assert_eq!(new.adopt(OLD, PID, None).unwrap(), Some(Adopted::Before));
        let Some(Adopted::Now(state)) = new.adopt(OLD, QUIET, Some(9)).unwrap() else { panic!() };
        assert_eq!(state.length, 9);
        old.leave(&[PID, QUIET]).unwrap();
        assert!(!old.has(PID) && !old.has(QUIET));
        assert_eq!(old.handed_to(PID), Some(NEW));
        // What was read of it was open, or not: then it is where the log is now.
        assert_eq!(
            reader.next(true).await.unwrap(),
            Some(Entry::Output(5, Stream::Out, b"first".into()))
        );
        assert_eq!(reader.next(true).await.unwrap(), Some(Entry::Handed(NEW)));
        let again = Logbook::new(roots[0].path().to_owned());
        assert_eq!(again.handed_to(PID), Some(NEW));
        assert_eq!(again.unfinished(), []);

        new.deliver(PID, 10, Stream::Out, b"second").unwrap();
        new.conclude(PID, &Outcome::Code(0)).unwrap();
        assert!(new.content(PID).unwrap().unwrap().ended());
    }

    #[test]
    fn a_log_that_comes_back_or_begins_anew_is_here() {
        let root = tempfile::tempdir().unwrap();
        let book = Logbook::new(root.path().to_owned());
        for pid in [PID, QUIET] {
            book.open(pid, 0).unwrap();
        }
        book.mark(&[(PID, false), (QUIET, false)], NEW).unwrap();
        book.leave(&[PID, QUIET]).unwrap();
        assert_eq!(book.adopt(NEW, PID, None).unwrap(), Some(Adopted::Before), "it has gone on");
        let Some(Adopted::Now(_)) = book.adopt(NEW, PID, Some(3)).unwrap() else { panic!() };
        assert_eq!(book.open(QUIET, 4).unwrap().length, 4);
        for book in [&book, &Logbook::new(root.path().to_owned())] {
            assert_eq!(book.handed(), []);
        }
    }

    #[test]
    fn without_a_copy_nothing_is_adopted() {
        let root = tempfile::tempdir().unwrap();
        let book = Logbook::new(root.path().to_owned());
        assert_eq!(book.adopt(OLD, PID, None).unwrap(), None);
        assert!(!book.has(PID));
    }
}
