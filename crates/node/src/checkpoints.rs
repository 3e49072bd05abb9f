//! Images of durable processes on this node's disk: one file a process, replaced as a whole.
//!
//! An image may take a while to the disk, and what it is of may end meanwhile, or come anew: each attempt has a number,
//! and only the last one begun, of a process that has not been erased since, becomes the file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use engine::{Engine, Staged, Thaw};
use wire::{Pid, Section};

use crate::clock::unix_now;
use crate::papers::{Info, Papers};

/// What images are called.
const IMAGE: &str = "image";

/// What an image is called until it is whole.
const PART: &str = "part";

/// The directory of images. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    dir: PathBuf,
    of: Arc<Mutex<Attempts>>,
}

#[derive(Debug, Default)]
struct Attempts {
    last: u64,
    /// The last attempt for each process that has an image here, or is about to.
    of: HashMap<Pid, u64>,
    kept: HashMap<Pid, Kept>,
}

/// What became of the last attempt.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// When it was over, in microseconds since 1970.
    pub(crate) at_micros: u64,
    /// How long the image is, or why there is no newer one.
    pub(crate) bytes: Result<u64, String>,
}

/// An image on its way to the disk. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Part {
    checkpoints: Checkpoints,
    pid: Pid,
    attempt: u64,
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// A process whose image an earlier incarnation of this node has left.
pub(crate) struct Stored {
    pub(crate) section: Section,
    pub(crate) staged: Staged,
    pub(crate) info: Info,
}

impl Checkpoints {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, of: Arc::default() }
    }

    /// Begins an attempt: the ones before it count no more.
    pub(crate) fn begin(&self, pid: Pid) -> u64 {
        let mut table = self.table();
        table.last += 1;
        let attempt = table.last;
        table.of.insert(pid, attempt);
        attempt
    }

    /// Somewhere to write the image of an attempt.
    pub(crate) fn part(&self, pid: Pid, attempt: u64) -> io::Result<Part> {
        let path = self.dir.join(format!("{pid}.{attempt}.{PART}"));
        let file = File::create(&path)?;
        let checkpoints = self.clone();
        Ok(Part { checkpoints, pid, attempt, path, file, bytes: 0 })
    }

    /// Writes an image. Nothing is left of one that the disk refuses; the last one stays.
    pub(crate) fn write(&self, pid: Pid, attempt: u64, image: &[Vec<u8>]) {
        let written = self.part(pid, attempt).and_then(|mut part| {
            for chunk in image {
                part.push(chunk)?;
            }
            part.finish()
        });
        if let Err(error) = written {
            self.failed(pid, attempt, &error);
        }
    }

    /// An attempt has come to nothing.
    pub(crate) fn failed(&self, pid: Pid, attempt: u64, error: &io::Error) {
        tracing::error!(%pid, %error, "its image was not written: should this node crash, it begins anew from an older one");
        let mut table = self.table();
        if table.of.get(&pid) == Some(&attempt) {
            table.kept.insert(pid, Kept { at_micros: now(), bytes: Err(error.to_string()) });
        }
    }

    /// Removes the image of a process, durably. Nothing there is fine.
    pub(crate) fn erase(&self, pid: Pid) {
        let mut table = self.table();
        table.kept.remove(&pid);
        if table.of.remove(&pid).is_none() {
            return;
        }
        let removed = match fs::remove_file(self.path(pid)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            removed => removed.and_then(|()| sync(&self.dir)),
        };
        if let Err(error) = removed {
            tracing::error!(%pid, %error, "the image of a process that has left or ended is not removed");
        }
    }

    /// What became of the last attempt, if there was one.
    pub(crate) fn last(&self, pid: Pid) -> Option<Kept> {
        self.table().kept.get(&pid).cloned()
    }

    /// Reads what an earlier incarnation has left. What cannot be read stays where it is, and is said.
    pub(crate) fn load(&self, engine: &Engine) -> io::Result<Vec<Stored>> {
        let mut stored = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(PART) => fs::remove_file(&path)?,
                Some(IMAGE) => match read(&path, engine) {
                    Ok(found) => {
                        self.begin(found.section.pid);
                        stored.push(found);
                    }
                    Err(error) => {
                        let file = path.display();
                        tracing::error!(%file, %error, "a process cannot begin anew from its image");
                    }
                },
                _ => (),
            }
        }
        Ok(stored)
    }

    fn path(&self, pid: Pid) -> PathBuf {
        self.dir.join(format!("{pid}.{IMAGE}"))
    }

    fn table(&self) -> MutexGuard<'_, Attempts> {
        self.of.lock().expect("nobody panics in here")
    }
}

impl Part {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// The image is whole: it becomes the process's, durably, unless the attempt counts no more.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        let Checkpoints { dir, .. } = &self.checkpoints;
        let mut table = self.checkpoints.table();
        if table.of.get(&self.pid) != Some(&self.attempt) {
            return Ok(());
        }
        fs::rename(&self.path, self.checkpoints.path(self.pid))?;
        sync(dir)?;
        table.kept.insert(self.pid, Kept { at_micros: now(), bytes: Ok(self.bytes) });
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Renamed, if it was finished.
        let _ = fs::remove_file(&self.path);
    }
}

fn read(path: &Path, engine: &Engine) -> Result<Stored, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let mut thaw = Thaw::new(engine);
    thaw.push(&bytes).map_err(|error| error.to_string())?;
    let mut staged = thaw.finish().map_err(|error| error.to_string())?;
    let Papers { section, info, .. } = Papers::decode(staged.protocol())?;
    if (section.pid, section.offer) != (staged.pid(), staged.offer()) {
        return Err("the image is of another process or offer".to_owned());
    }
    let code = engine.code(staged.code()).map_err(|error| error.to_string())?;
    let code = code.ok_or_else(|| "its code is not here".to_owned())?;
    code.make_resumable().map_err(|error| error.to_string())?;
    staged.begin_anew();
    Ok(Stored { section, staged, info })
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn now() -> u64 {
    u64::try_from(unix_now().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use wire::GroupId;

    use super::*;

    const PROCESS: Pid = Pid { group: GroupId(7), index: 0 };

    #[test]
    fn only_the_last_attempt_of_a_process_that_is_here_becomes_its_image() {
        let dir = tempfile::tempdir().expect("a directory");
        let checkpoints = Checkpoints::new(dir.path().to_owned());
        let files = || {
            let names = fs::read_dir(dir.path()).expect("it is there");
            names
                .map(|entry| fs::read(entry.expect("a file").path()).expect("it is read"))
                .collect::<Vec<_>>()
        };
        let (first, second) = (checkpoints.begin(PROCESS), checkpoints.begin(PROCESS));
        checkpoints.write(PROCESS, second, &[b"sec".to_vec(), b"ond".to_vec()]);
        checkpoints.write(PROCESS, first, &[b"first".to_vec()]);
        assert_eq!(files(), [b"second"]);
        let third = checkpoints.begin(PROCESS);
        checkpoints.erase(PROCESS);
        checkpoints.write(PROCESS, third, &[b"third".to_vec()]);
        assert!(files().is_empty(), "it has ended");
    }

    #[test]
    fn a_disk_that_refuses_leaves_the_last_image() {
        let dir = tempfile::tempdir().expect("a directory");
        let checkpoints = Checkpoints::new(dir.path().join("not there"));
        let attempt = checkpoints.begin(PROCESS);
        checkpoints.write(PROCESS, attempt, &[b"image".to_vec()]);
        assert!(checkpoints.last(PROCESS).is_some_and(|kept| kept.bytes.is_err()));
    }
}
