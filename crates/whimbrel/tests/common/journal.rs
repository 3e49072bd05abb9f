//! The guest's own journal: a file outside Whimbrel, in which two copies could not hide.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::PATIENCE;

/// A journal, and news of it.
pub struct Journal {
    path: PathBuf,
    news: OwnedFd,
}

/// One line of it: `sequence pid node epoch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub sequence: u64,
    pub pid: String,
    pub node: String,
    pub epoch: u64,
}

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    Lines,
    End,
}

impl Journal {
    /// An empty journal in this directory.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir(dir).unwrap();
        Self::at(dir.join("journal"))
    }

    /// Another empty journal in the same directory.
    pub fn beside(other: &Self, name: &str) -> Self {
        Self::at(other.path.with_file_name(name))
    }

    fn at(path: PathBuf) -> Self {
        fs::write(&path, "").unwrap();
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let news = inotify::init(flags).unwrap();
        inotify::add_watch(&news, &path, inotify::WatchFlags::MODIFY).unwrap();
        Self { path, news }
    }

    pub fn lines(&self) -> Vec<Line> {
        let text = fs::read_to_string(&self.path).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        whole.lines().map(line).collect()
    }

    /// Waits until it has so many lines, or the child has ended.
    pub fn until(&self, count: usize, child: Option<&Child>) -> Result<First, String> {
        let since = Instant::now();
        let ended = child.map(|child| {
            pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("it is not reaped")
        });
        loop {
            // What was reported before the look may be forgotten.
            let mut events = [0; 4096];
            while rustix::io::read(&self.news, &mut events).is_ok_and(|read| 0 < read) {}
            let lines = self.lines();
            if count <= lines.len() {
                return Ok(First::Lines);
            }
            let left = PATIENCE.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Err(format!("{} lines after {PATIENCE:?}, not {count}", lines.len()));
            }
            let mut waits = vec![PollFd::from_borrowed_fd(self.news.as_fd(), PollFlags::IN)];
            waits.extend(ended.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
            let left = Timespec::try_from(left).expect("a minute fits");
            poll(&mut waits, Some(&left)).map_err(|error| error.to_string())?;
            if waits.get(1).is_some_and(|end| !end.revents().is_empty())
                && waits[0].revents().is_empty()
            {
                return Ok(First::End);
            }
        }
    }

    /// One copy wrote it: no line twice, none left out, no epoch after a higher one.
    pub fn check(&self) -> Result<usize, String> {
        let lines = self.lines();
        for (at, line) in lines.iter().enumerate() {
            if line.sequence != at as u64 + 1 {
                let from = at.saturating_sub(3);
                let near = &lines[from..lines.len().min(at + 4)];
                return Err(format!(
                    "line {}: two copies have written, or one anew: {near:?}",
                    at + 1
                ));
            }
        }
        if let Some(pair) = lines.windows(2).find(|pair| pair[1].epoch < pair[0].epoch) {
            return Err(format!("an older copy has written after a newer one: {pair:?}"));
        }
        Ok(lines.len())
    }
}

fn line(text: &str) -> Line {
    let words: Vec<&str> = text.split(' ').collect();
    let [sequence, pid, node, epoch] = words[..] else {
        panic!("`{text}` is no line of a journal")
    };
    let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("`{text}`: {word}"));
    Line {
        sequence: number(sequence),
        pid: pid.to_owned(),
        node: node.to_owned(),
        epoch: number(epoch),
    }
}
