//! Which node a command speaks to.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use api::{Error, ErrorCode, paths};

use crate::{Client, Host, OwnNode, client, host::Ephemeral, say};

/// What the user said about it: `--node`, which stands for `WHIMBREL_NODE` too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) node: Option<String>,
}

/// A node to speak to, and the node itself if it is one of our own.
pub(crate) struct Reached {
    pub(crate) client: Client,
    /// Held, not read: dropping it ends the node.
    _ephemeral: Option<Box<dyn Ephemeral>>,
}

impl From<Client> for Reached {
    fn from(client: Client) -> Self {
        Self { client, _ephemeral: None }
    }
}

/// The names and sockets of the daemons that answer in this directory of data directories, by name.
pub fn daemons(state_home: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(state_home) else { return Vec::new() };
    let mut found: Vec<(String, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            Some((entry.file_name().into_string().ok()?, paths::socket(&entry.path())))
        })
        .filter(|(_, socket)| answers(socket))
        .collect();
    found.sort();
    found
}

/// A socket that a dead daemon left behind refuses.
fn answers(socket: &Path) -> bool {
    client::short(socket).and_then(|(path, _held)| UnixStream::connect(path)).is_ok()
}

impl Choice {
    /// The daemon that is meant.
    ///
    /// # Errors
    ///
    /// If there is none, or it is not clear which.
    pub(crate) fn daemon(&self) -> Result<Client, Error> {
        match &self.node {
            Some(node) => named(node),
            None => only()?.ok_or_else(|| Error::new(ErrorCode::NoDaemon, "no daemon runs here")),
        }
    }

    /// The daemon that is meant; if none is and none runs, a node in this process.
    ///
    /// # Errors
    ///
    /// As of [`Self::daemon`], and if the node does not start.
    pub(crate) fn daemon_or_own(&self, host: &dyn Host, own: &OwnNode) -> Result<Reached, Error> {
        let client = match &self.node {
            Some(node) => Some(named(node)?),
            None => only()?,
        };
        if let Some(client) = client {
            return Ok(Reached { client, _ephemeral: None });
        }
        let own = host.ephemeral(own)?;
        Ok(Reached { client: Client::new(own.socket()), _ephemeral: Some(own) })
    }
}

fn named(node: &str) -> Result<Client, Error> {
    if node.contains('/') || Path::new(node).is_dir() {
        let path = Path::new(node);
        let socket = if path.is_dir() { paths::socket(path) } else { path.to_owned() };
        return reach(&socket, &format!("no daemon answers at {}", socket.display()));
    }
    if node.contains(':') {
        let message = format!("{node} is an address: a daemon is controlled from its own machine");
        return Err(Error::new(ErrorCode::Unimplemented, message).with_hint(
            "log in there (ssh) and give its name, or ask any daemon of the same cluster",
        ));
    }
    let home = state_home()?;
    reach(&paths::socket(&home.join(node)), &format!("no daemon called `{node}` runs here"))
}

fn reach(socket: &Path, absent: &str) -> Result<Client, Error> {
    if answers(socket) {
        return Ok(Client::new(socket));
    }
    Err(Error::new(ErrorCode::NoDaemon, absent))
}

fn only() -> Result<Option<Client>, Error> {
    let found = daemons(&state_home()?);
    match &found[..] {
        [] => Ok(None),
        [(_, socket)] => Ok(Some(Client::new(socket))),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!("several daemons run here: {}", names.join(", "));
            Err(Error::new(ErrorCode::SeveralDaemons, message))
        }
    }
}

/// Where this user's daemons keep their data.
pub(crate) fn state_home() -> Result<PathBuf, Error> {
    paths::state_home(|name| std::env::var_os(name)).ok_or_else(|| {
        say::io("finding the data directory", &std::io::Error::other("HOME is not set"))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_daemons_that_answer_are_found() {
        let home = tempfile::tempdir().unwrap();
        let bind = |name: &str| {
            std::fs::create_dir(home.path().join(name)).unwrap();
            UnixListener::bind(paths::socket(&home.path().join(name))).unwrap()
        };
        let _osprey = bind("osprey");
        let _heron = bind("heron");
        drop(bind("dead"));
        std::fs::create_dir(home.path().join("never-started")).unwrap();
        let names: Vec<String> = daemons(home.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["heron", "osprey"]);
        assert!(daemons(&home.path().join("nowhere")).is_empty());
    }

    #[test]
    fn a_long_path_is_no_obstacle() {
        let home = tempfile::tempdir().unwrap();
        let long = home.path().join("d".repeat(120));
        std::fs::create_dir(&long).unwrap();
        // Bound under a short name and moved: what a bind through /proc does in the daemon.
        let _listener = UnixListener::bind(home.path().join("s")).unwrap();
        std::fs::rename(home.path().join("s"), paths::socket(&long)).unwrap();
        assert!(answers(&paths::socket(&long)));
    }

    #[test]
    fn a_daemon_is_named_by_path_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().to_str().unwrap();
        assert_eq!(named(data).unwrap_err().code, ErrorCode::NoDaemon);
        let _listener = UnixListener::bind(paths::socket(home.path())).unwrap();
        assert!(named(data).is_ok());
        assert!(named(&format!("{data}/{}", paths::SOCKET)).is_ok());
        assert_eq!(named("heron.example:7700").unwrap_err().code, ErrorCode::Unimplemented);
    }
}
