//! Three daemons on loopback, children of this process, and their end.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use api::{Error, ErrorCode, NodeState, NodesReply, TokenReply, TokenRequest, route};
use cli::{Client, Ready};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// How long a daemon may take to end when it is told to. Then it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the daemons may take to know each other, and how often they are asked.
const MEETING: Duration = Duration::from_secs(10);
const ASKED_EVERY: Duration = Duration::from_millis(50);

/// The daemons, and the directory that holds all that they write.
pub(super) struct Cluster {
    home: TempDir,
    nodes: Vec<Node>,
}

/// One daemon.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) client: Client,
    address: String,
    child: Child,
    /// Held, so that the daemon can write to it.
    _stdout: BufReader<ChildStdout>,
}

impl Cluster {
    pub(super) fn new() -> Result<Self, Error> {
        let home =
            tempfile::Builder::new().prefix("whimbrel-demo-").tempdir().map_err(|error| {
                Error::new(ErrorCode::Io, format!("a directory for the daemons: {error}"))
            })?;
        Ok(Self { home, nodes: Vec::new() })
    }

    pub(super) fn node(&self, index: usize) -> &Node {
        &self.nodes[index % self.nodes.len()]
    }

    /// Starts one more daemon, which joins the first, and waits until it serves.
    pub(super) async fn start(&mut self, name: &str) -> Result<(), Error> {
        let join = match self.nodes.first() {
            Some(first) => Some((first.address.clone(), first.token().await?)),
            None => None,
        };
        let data = self.home.path().join(name);
        let log = self.home.path().join(format!("{name}.log"));
        let failed =
            |error: std::io::Error| Error::new(ErrorCode::Io, format!("starting {name}: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["node", "start", "--with-parent", "-o", "json", "--name", name]);
        command.arg("--data").arg(&data);
        if let Some((address, token)) = join {
            command.args(["--join", &address, "--token", &token]);
        }
        let mut child = command
            .env_remove("WHIMBREL_NODE")
            // An interrupt at the terminal is for us to pass on, in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).map_err(failed)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).await.map_err(failed)?;
        let Ok(ready) = serde_json::from_str::<Ready>(&line) else {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let last =
                said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            // What a daemon says last is why it did not start, as JSON.
            return Err(serde_json::from_str(last).unwrap_or_else(|_| {
                Error::new(ErrorCode::Internal, format!("{name} did not start: {last}"))
            }));
        };
        let client = Client::new(&api::paths::socket(&PathBuf::from(&ready.data)));
        let name = name.to_owned();
        self.nodes.push(Node { name, client, address: ready.address, child, _stdout: stdout });
        Ok(())
    }

    /// Waits until every daemon knows that all the others are up: news of a join takes up to a second.
    pub(super) async fn meet(&self) -> Result<(), Error> {
        let all = async {
            for node in &self.nodes {
                while node.up().await? < self.nodes.len() {
                    tokio::time::sleep(ASKED_EVERY).await;
                }
            }
            Ok(())
        };
        tokio::time::timeout(MEETING, all).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorCode::NodeUnavailable, "the daemons do not find each other"))
        })
    }

    /// Ends the daemons, each by its own id, and removes what they wrote.
    pub(super) async fn end(mut self) {
        for node in &self.nodes {
            let id = node.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
            if let Some(id) = id {
                let _ = kill_process(id, Signal::TERM);
            }
        }
        for node in &mut self.nodes {
            if tokio::time::timeout(PATIENCE, node.child.wait()).await.is_err() {
                let _ = node.child.kill().await;
            }
        }
    }
}

impl Node {
    /// How many members it knows to be up.
    async fn up(&self) -> Result<usize, Error> {
        let reply: NodesReply =
            self.client.reply(route::NODES, &route::NODES.fill(&[]), &()).await?;
        Ok(reply.nodes.iter().filter(|node| node.state == NodeState::Up).count())
    }

    async fn token(&self) -> Result<String, Error> {
        let reply: TokenReply = self
            .client
            .reply(route::TOKEN, &route::TOKEN.fill(&[]), &TokenRequest::default())
            .await?;
        Ok(reply.token)
    }
}
