//! `/whimbrel`: what a process is told of itself, and messages, as files that nobody wrote.
//!
//! | file | holds |
//! |---|---|
//! | `self` | the process's id |
//! | `group` | the ids of those that were started together, itself among them, one a line |
//! | `node` | the name of the node it runs on |
//! | `epoch` | how many owners it has had |
//! | `inbox` | its messages; a read gives one, or the rest of one, and waits if there is none |
//! | `send/PID` | what is written there in one write is sent to that process, as one message |
//! | `monitor/PID` | `1`, written there, watches that process: its end comes to the inbox. `0` ends the watch |
//! | `link/PID` | `1`, written there, links the two: each ends with the other. `0` ends the link |
//! | `trap_exit` | `1`, written there, makes the end of a linked process news instead. `0` does not |
//! | `register` | a name, written there, is the process's from then on |
//! | `whereis` | when a name was written there, the id of the process that has it |
//!
//! All that does not say otherwise is text, made when it is read. So a program that keeps `node` open, and
//! reads it again from the start, sees itself move.

use serde::{Deserialize, Serialize};
use wire::Pid;

use super::abi::{Errno, FileType};
use super::table::Entry;
use crate::World;

/// The directory's name for every process.
pub(super) const GUEST: &str = "/whimbrel";

/// The device number of these files; the node's own are never this.
pub(super) const DEVICE: u64 = u64::from_le_bytes(*b"whimbrel");

/// The number of the directory.
pub(super) const INODE: u64 = 1;

/// One of the directories in it, which have a file for each process, though they list none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PlaceDir {
    Send,
    Monitor,
    Link,
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PlaceFile {
    Own,
    Node,
    Epoch,
    Group,
    Inbox,
    Send(Pid),
    Monitor(Pid),
    Register,
    /// Whose the name is that was written there last.
    Whereis(Option<Pid>),
    Link(Pid),
    TrapExit,
}

/// What a path in the directory names.
pub(super) enum Named {
    /// The directory itself.
    Directory,
    /// A directory in it.
    Within(PlaceDir),
    /// A file in it.
    File(PlaceFile),
}

impl PlaceDir {
    const ALL: [Self; 3] = [Self::Send, Self::Monitor, Self::Link];

    fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Monitor => "monitor",
            Self::Link => "link",
        }
    }

    /// Beside the directory itself and the files in it.
    pub(super) fn inode(self) -> u64 {
        match self {
            Self::Send => 2,
            Self::Monitor => 16,
            Self::Link => 17,
        }
    }

    fn file(self, pid: Pid) -> PlaceFile {
        match self {
            Self::Send => PlaceFile::Send(pid),
            Self::Monitor => PlaceFile::Monitor(pid),
            Self::Link => PlaceFile::Link(pid),
        }
    }
}

impl PlaceFile {
    /// Those that are in the directory itself.
    const ALL: [Self; 8] = [
        Self::Own,
        Self::Node,
        Self::Epoch,
        Self::Group,
        Self::Inbox,
        Self::Register,
        Self::Whereis(None),
        Self::TrapExit,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::Node => "node",
            Self::Epoch => "epoch",
            Self::Group => "group",
            Self::Inbox => "inbox",
            Self::Send(_) => PlaceDir::Send.name(),
            Self::Monitor(_) => PlaceDir::Monitor.name(),
            Self::Link(_) => PlaceDir::Link.name(),
            Self::TrapExit => "trap_exit",
            Self::Register => "register",
            Self::Whereis(_) => "whereis",
        }
    }

    pub(super) fn inode(self) -> u64 {
        match self {
            // Beyond all others, and another for each.
            Self::Send(pid) => of_process(pid) | 1 << 63,
            Self::Monitor(pid) => of_process(pid) & !(1 << 63) | 1 << 62,
            Self::Link(pid) => of_process(pid) & !(3 << 62) | 1 << 61,
            _ => {
                3 + Self::ALL.into_iter().take_while(|file| file.name() != self.name()).count()
                    as u64
            }
        }
    }

    pub(super) fn kind(self) -> FileType {
        if self.is_pipe() { FileType::Character } else { FileType::Regular }
    }

    /// Whether it has no positions.
    pub(super) fn is_pipe(self) -> bool {
        matches!(self, Self::Inbox | Self::Register | Self::TrapExit) || self.is_of_a_process()
    }

    /// Whether it is one of the files that there are for each process, to write to.
    fn is_of_a_process(self) -> bool {
        matches!(self, Self::Send(_) | Self::Monitor(_) | Self::Link(_))
    }

    /// Whether it is written to and holds nothing.
    pub(super) fn is_written(self) -> bool {
        matches!(self, Self::Register | Self::TrapExit) || self.is_of_a_process()
    }

    pub(super) fn text(self, world: &World) -> String {
        match self {
            Self::Own => format!("{}\n", world.pid()),
            Self::Node => format!("{}\n", world.node()),
            Self::Epoch => format!("{}\n", world.epoch().0),
            Self::Group => {
                let group = world.pid().group;
                let members = world.members().map(|index| Pid { group, index });
                members.map(|pid| format!("{pid}\n")).collect()
            }
            Self::Whereis(Some(pid)) => format!("{pid}\n"),
            Self::Inbox | Self::Register | Self::TrapExit | Self::Whereis(None) => String::new(),
            Self::Send(_) | Self::Monitor(_) | Self::Link(_) => String::new(),
        }
    }
}

/// A number for each process.
fn of_process(pid: Pid) -> u64 {
    pid.group.0 << 32 ^ u64::from(pid.index)
}

/// Finds what a path names, as the sandbox would: there are no links, and nothing above.
pub(super) fn find(path: &str) -> Result<Named, Errno> {
    if path.is_empty() {
        return Err(Errno::NoEntry);
    }
    if path.starts_with('/') {
        return Err(Errno::Permission);
    }
    let mut names = path.split('/').filter(|name| !name.is_empty() && *name != ".");
    let Some(name) = names.next() else { return Ok(Named::Directory) };
    if name == ".." {
        return Err(Errno::Permission);
    }
    let file = match PlaceDir::ALL.into_iter().find(|directory| directory.name() == name) {
        Some(directory) => {
            let Some(pid) = names.next() else { return Ok(Named::Within(directory)) };
            pid.parse().ok().map(|pid| directory.file(pid))
        }
        None => PlaceFile::ALL.into_iter().find(|file| file.name() == name),
    };
    let file = file.ok_or(Errno::NoEntry)?;
    if names.next().is_some() || path.ends_with('/') || path.ends_with("/.") {
        return Err(Errno::NotDirectory);
    }
    Ok(Named::File(file))
}

/// What the directory holds.
pub(super) fn listing() -> Vec<Entry> {
    let directory =
        |name: &str, inode: u64| Entry { name: name.into(), inode, kind: FileType::Directory };
    let file = |file: PlaceFile| Entry {
        name: file.name().into(),
        inode: file.inode(),
        kind: file.kind(),
    };
    let mut entries = vec![directory(".", INODE), directory("..", INODE)];
    entries.extend(PlaceDir::ALL.map(|within| directory(within.name(), within.inode())));
    entries.extend(PlaceFile::ALL.map(file));
    entries
}
