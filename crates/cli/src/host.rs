//! What the command borrows from the binary's other half.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use api::{Error, ImageReport};
use serde::{Deserialize, Serialize};

use crate::Demo;

/// The node's side of the binary, as far as the command needs it without a socket between them.
pub trait Host: Sync {
    /// Is a daemon until it is stopped by a request or a signal. Calls `ready` once, when it serves.
    ///
    /// # Errors
    ///
    /// If it cannot start, with nothing left behind but its data directory.
    fn serve(&self, start: NodeStart, ready: &mut dyn FnMut(&Ready)) -> Result<(), Error>;

    /// Starts a node in this process, with a data directory of its own that goes when it does.
    ///
    /// # Errors
    ///
    /// If it cannot start.
    fn ephemeral(&self, own: &OwnNode) -> Result<Box<dyn Ephemeral>, Error>;

    /// Makes a program freezable.
    ///
    /// # Errors
    ///
    /// The feature, function and offset that stand against it.
    fn transform(&self, wasm: &[u8]) -> Result<Transformed, Error>;

    /// Reads an image.
    ///
    /// # Errors
    ///
    /// The section and offset where it is not one.
    fn image(&self, bytes: &[u8]) -> Result<ImageReport, Error>;

    /// Shows the demonstration, and returns the exit code.
    ///
    /// # Errors
    ///
    /// If it could not be shown. Whatever it started has ended.
    fn demo(&self, demo: &Demo) -> Result<u8, Error>;
}

/// A node in this process. Dropping it ends the node and its processes, and removes its data.
pub trait Ephemeral: Send {
    /// Its control socket.
    fn socket(&self) -> &Path;
}

/// How to start a node in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnNode {
    /// Unknown functions of a WASI module answer ENOSYS.
    pub stub_missing: bool,
}

/// How to start a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStart {
    /// Its name.
    pub name: String,
    /// Where it keeps what it keeps.
    pub data: PathBuf,
    /// Where it listens for other nodes.
    pub listen: SocketAddr,
    /// What others are told to call, if not that.
    pub advertise: Option<String>,
    /// The member to join through, and the token to do it with; none founds a cluster, or takes up
    /// the one that the data directory belongs to.
    pub join: Option<(String, String)>,
    /// Unknown functions of a WASI module answer ENOSYS.
    pub stub_missing: bool,
    /// Its labels, `K=V` each.
    pub labels: Vec<String>,
    /// It looks by itself for processes that would be better off elsewhere.
    pub balances: bool,
    /// It ends everything when it does not hear of the registry.
    pub fenced: bool,
}

/// A daemon serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Its name.
    pub name: String,
    /// Where it listens for other nodes.
    pub address: String,
    /// Where it keeps what it keeps.
    pub data: PathBuf,
    /// The operating system's id of the daemon.
    pub os_pid: u32,
}

/// A program that was made freezable.
#[derive(Clone, Debug)]
pub struct Transformed {
    /// The form that runs from the start.
    pub run: Vec<u8>,
    /// The form that goes on from frames.
    pub resume: Vec<u8>,
    /// The table of safepoints, the same for both.
    pub sites: Vec<u8>,
    /// What was done, in lines.
    pub report: String,
}
