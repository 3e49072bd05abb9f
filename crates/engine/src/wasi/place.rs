//! `/whimbrel`: where a process runs, in three files that nobody wrote.
//!
//! | file | holds |
//! |---|---|
//! | `self` | the process's id |
//! | `node` | the name of the node it runs on |
//! | `epoch` | how many owners it has had |
//!
//! Each is a line of text, made when it is read. So a program that keeps `node` open, and reads it
//! again from the start, sees itself move.

use serde::{Deserialize, Serialize};

use super::abi::{Errno, FileType};
use super::table::Entry;
use crate::World;

/// The directory's name for every process.
pub(super) const GUEST: &str = "/whimbrel";

/// The device number of these files; the node's own are never this.
pub(super) const DEVICE: u64 = u64::from_le_bytes(*b"whimbrel");

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PlaceFile {
    Own,
    Node,
    Epoch,
}

/// What a path in the directory names.
pub(super) enum Named {
    /// The directory itself.
    Directory,
    /// A file in it.
    File(PlaceFile),
}

impl PlaceFile {
    const ALL: [Self; 3] = [Self::Own, Self::Node, Self::Epoch];

    fn name(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::Node => "node",
            Self::Epoch => "epoch",
        }
    }

    pub(super) fn inode(self) -> u64 {
        self as u64 + 2
    }

    pub(super) fn text(self, world: &World) -> String {
        match self {
            Self::Own => format!("{}\n", world.pid()),
            Self::Node => format!("{}\n", world.node()),
            Self::Epoch => format!("{}\n", world.epoch().0),
        }
    }
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
    let file = PlaceFile::ALL.into_iter().find(|file| file.name() == name);
    let file = file.ok_or(Errno::NoEntry)?;
    if names.next().is_some() || path.ends_with(['/', '.']) {
        return Err(Errno::NotDirectory);
    }
    Ok(Named::File(file))
}

/// What the directory holds.
pub(super) fn listing() -> Vec<Entry> {
    let directory = |name: &str| Entry { name: name.into(), inode: 1, kind: FileType::Directory };
    let file = |file: PlaceFile| Entry {
        name: file.name().into(),
        inode: file.inode(),
        kind: FileType::Regular,
    };
    let mut entries = vec![directory("."), directory("..")];
    entries.extend(PlaceFile::ALL.map(file));
    entries
}
