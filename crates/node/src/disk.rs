//! The data directory: what a node is when it is not running.
//!
//! ```text
//! lock          held by the running daemon; its pid is inside
//! format        version of this layout
//! incarnation   raised, and on disk, before the node says its first word
//! node.json     number and name, once it is a member; where the registry is, and who the others are
//! ca.der        the cluster's certificate; ca.key beside it on the registry's home only
//! node.der      this node's certificate, and node.key
//! registry.db   the authority's records, on its home only; registry.next before it is the home
//! code/         programs by hash, and their machine code
//! logs/         what processes wrote, where this node is their home of output
//! durable/      images of durable processes that are here
//! control.sock  the control API
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use api::{Error, ErrorCode};
use serde::{Deserialize, Serialize};
use wire::{Incarnation, NodeId};

/// Version of the directory's layout. A directory of another version is left alone.
const FORMAT: &str = "whimbrel data 1\n";

/// A node's directory, locked for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock; closing it gives the directory back.
    _lock: File,
    /// Removed with everything in it at the end: an ephemeral node leaves nothing behind.
    ephemeral: bool,
}

/// What a member knows about itself, and finds again after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// This node's number.
    pub node: NodeId,
    /// Its name, unique among the members.
    pub name: String,
    /// The member that holds the registry.
    pub registry: NodeId,
    /// Where it was reached last.
    pub registry_address: String,
    /// How often the registry had been handed on when it came there.
    #[serde(default)]
    pub term: u64,
    /// The other members, and where they were reached last: who is asked where the registry is, if it is silent.
    #[serde(default)]
    pub peers: Vec<(NodeId, String)>,
    /// The term that it has promised to a member which makes the registry anew.
    #[serde(default)]
    pub promised: Option<(u64, NodeId)>,
    /// Where this node was reached last: it listens there again unless told otherwise.
    pub address: String,
    /// When the certificate should be renewed, in seconds since 1970.
    pub renew_at: u64,
}

/// Why a data directory cannot be used. It is left as it was.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another daemon runs on it.
    #[error("{} is in use by the node with process id {holder}", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// What its lock file says.
        holder: String,
    },
    /// Written by another version.
    #[error("{} has the layout {found:?}, this version reads {expected:?}", path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// What its format file says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// A file in it is not what it should be.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DiskError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl From<DiskError> for Error {
    fn from(error: DiskError) -> Self {
        let code = match &error {
            DiskError::Locked { .. } => ErrorCode::DataInUse,
            DiskError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ErrorCode::DiskFull
            }
            DiskError::Format { .. } => ErrorCode::Versions,
            DiskError::Damaged { .. } | DiskError::Io { .. } => ErrorCode::Io,
        };
        Self::new(code, error.to_string())
    }
}

impl DataDir {
    /// Opens or makes the directory, and locks it.
    ///
    /// # Errors
    /// If another daemon holds it, if another version wrote it, or if the system refuses.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        make_dir(path)?;
        let dir = Self { path: path.to_owned(), _lock: lock(path)?, ephemeral: false };
        dir.check_format()?;
        for part in ["code", "logs", "durable"] {
            make_dir(&path.join(part))?;
        }
        Ok(dir)
    }

    /// Makes a directory that disappears with this value.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn ephemeral() -> Result<Self, DiskError> {
        let root = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let root = root.filter(|root| root.is_dir()).unwrap_or_else(std::env::temp_dir);
        let path = root.join(format!("whimbrel-{}-{}", std::process::id(), random_hex::<4>()));
        let mut dir = Self::open(&path)?;
        dir.ephemeral = true;
        Ok(dir)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the control API listens.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        api::paths::socket(&self.path)
    }

    /// The file of this name in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Counts this start of the node, on disk.
    ///
    /// # Errors
    /// If the count cannot be read or made durable: the node must not speak then.
    pub fn raise_incarnation(&self) -> Result<Incarnation, DiskError> {
        let path = self.file("incarnation");
        let last = match read(&path)? {
            None => 0,
            Some(text) => {
                String::from_utf8_lossy(&text).trim().parse::<u64>().map_err(|error| {
                    DiskError::Damaged { path: path.clone(), what: error.to_string() }
                })?
            }
        };
        let this = last + 1;
        self.write("incarnation", format!("{this}\n").as_bytes())?;
        Ok(Incarnation(this))
    }

    /// What this node knew about itself when it last ran.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn membership(&self) -> Result<Option<Membership>, DiskError> {
        read_membership(&self.file(MEMBERSHIP))
    }

    /// Remembers who this node is.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn save_membership(&self, membership: &Membership) -> Result<(), DiskError> {
        write_membership(&self.file(MEMBERSHIP), membership)
    }

    /// Reads a file of the directory, if it is there.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        read(&self.file(name))
    }

    /// Replaces a file as a whole, durably, readable by its owner alone.
    ///
    /// # Errors
    /// If the disk refuses; the file is as before then.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        write_whole(&self.file(name), bytes)
    }

    fn check_format(&self) -> Result<(), DiskError> {
        match self.read("format")? {
            None => self.write("format", FORMAT.as_bytes()),
            Some(found) if found == FORMAT.as_bytes() => Ok(()),
            Some(found) => Err(DiskError::Format {
                path: self.path.clone(),
                found: String::from_utf8_lossy(&found).trim().to_owned(),
                expected: FORMAT.trim().to_owned(),
            }),
        }
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.control_socket());
        if self.ephemeral {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// What a node knows about itself.
pub(crate) const MEMBERSHIP: &str = "node.json";

fn read_membership(path: &Path) -> Result<Option<Membership>, DiskError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let damaged = |error: serde_json::Error| DiskError::Damaged {
        path: path.to_owned(),
        what: error.to_string(),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

fn write_membership(path: &Path, membership: &Membership) -> Result<(), DiskError> {
    let text = serde_json::to_vec_pretty(membership).expect("a membership is plain data");
    write_whole(path, &text)
}

/// Changes what a node will know about itself at its next start. One change at a time.
pub(crate) fn change_membership(
    path: &Path,
    change: impl FnOnce(&mut Membership),
) -> Result<(), DiskError> {
    static CHANGING: Mutex<()> = Mutex::new(());
    let _changing = CHANGING.lock().expect("nobody panics in here");
    let missing = || DiskError::Damaged { path: path.to_owned(), what: "it is gone".to_owned() };
    let mut membership = read_membership(path)?.ok_or_else(missing)?;
    change(&mut membership);
    write_membership(path, &membership)
}

/// Replaces a file as a whole: after a crash it is the old one or the new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let next = path.with_extension(format!("next-{}", random_hex::<4>()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&next, path)?;
        sync_parent(path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&next);
    }
    written.map_err(DiskError::io(path))
}

/// A directory entry is durable when its directory is.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// As many random bytes, as hexadecimal digits.
pub(crate) fn random_hex<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("the system's generator answers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn make_dir(path: &Path) -> Result<(), DiskError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(DiskError::io(path))
}

fn lock(dir: &Path) -> Result<File, DiskError> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(DiskError::io(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim().to_owned();
            return Err(DiskError::Locked { path: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(DiskError::io(&path)(error)),
    }
    (|| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    })()
    .map_err(DiskError::io(&path))?;
    Ok(file)
}

pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskError::io(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_daemon() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        let refused = DataDir::open(root.path()).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(refused.ends_with(&format!("is in use by the node with process id {pid}")));
        drop(dir);
        DataDir::open(root.path()).unwrap();
    }

    #[test]
    fn each_start_is_a_new_incarnation() {
        let root = tempfile::tempdir().unwrap();
        for count in 1..4 {
            let dir = DataDir::open(root.path()).unwrap();
            assert_eq!(dir.raise_incarnation().unwrap(), Incarnation(count));
        }
        fs::write(root.path().join("incarnation"), "many").unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        assert!(matches!(dir.raise_incarnation(), Err(DiskError::Damaged { .. })));
    }

    #[test]
    fn another_layout_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("format"), "whimbrel data 7\n").unwrap();
        let refused = DataDir::open(root.path()).unwrap_err();
        assert!(matches!(refused, DiskError::Format { found, .. } if found == "whimbrel data 7"));
    }

    #[test]
    fn an_ephemeral_directory_leaves_nothing() {
        let dir = DataDir::ephemeral().unwrap();
        let path = dir.path().to_owned();
        assert!(path.join("code").is_dir());
        drop(dir);
        assert!(!path.exists());
    }
}
