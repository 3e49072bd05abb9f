//! The daemons: started, killed, started again from their disks.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::{NodeState, NodesReply, TokenReply, TokenRequest, route};
use cli::{Client, Ready};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::network::Network;
use crate::random::Random;

/// Birds that travel.
const NAMES: [&str; 8] =
    ["heron", "osprey", "curlew", "plover", "dunlin", "godwit", "avocet", "stilt"];

/// No run has more daemons.
pub(crate) const NODES_MAX: usize = NAMES.len();

/// A daemon that does not serve after this time has a fault.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// How long daemons may take to end when they are told to.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// All daemons of a run.
pub(crate) struct Cluster {
    command: PathBuf,
    home: PathBuf,
    pub(crate) network: Network,
    nodes: Vec<Node>,
    log: String,
}

/// One daemon, up or down.
struct Node {
    client: Client,
    up: AtomicBool,
    running: Mutex<Option<Running>>,
}

struct Running {
    child: Child,
    /// Held, so that the daemon can write to it; once it has said that it serves.
    _stdout: Option<BufReader<ChildStdout>>,
}

impl Cluster {
    /// Starts all of them, and waits until they know each other. `command` is the `whimbrel` binary.
    pub(crate) async fn start(
        command: &Path,
        home: &Path,
        network: Network,
        count: usize,
        log: &str,
    ) -> Result<Self, String> {
        let node = |name: &&str| Node {
            client: Client::new(&api::paths::socket(&home.join(name))),
            up: AtomicBool::new(false),
            running: Mutex::new(None),
        };
        let nodes = NAMES.iter().take(count).map(node).collect();
        let (command, home) = (command.to_owned(), home.to_owned());
        let cluster = Self { command, home, network, nodes, log: log.to_owned() };
        cluster.launch(0, None).await?;
        for node in 1..count {
            let token = cluster.token().await?;
            cluster.launch(node, Some(&token)).await?;
        }
        tokio::time::timeout(START_TIME_MAX, cluster.meet())
            .await
            .map_err(|_| "the daemons do not find each other".to_owned())??;
        Ok(cluster)
    }

    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn name(&self, node: usize) -> &'static str {
        NAMES[node]
    }

    pub(crate) fn client(&self, node: usize) -> &Client {
        &self.nodes[node].client
    }

    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.nodes[node].up.load(Ordering::Relaxed)
    }

    /// One that is up, if any is.
    pub(crate) fn any_up(&self, random: &mut Random) -> Option<usize> {
        let up: Vec<usize> = (0..self.count()).filter(|node| self.is_up(*node)).collect();
        (!up.is_empty()).then(|| *random.of(&up))
    }

    /// Where a daemon writes its log.
    fn log_of(&self, node: usize) -> PathBuf {
        self.home.join(format!("{}.log", NAMES[node]))
    }

    /// What daemons have written of mistakes of their own, a line each.
    pub(crate) fn panics(&self) -> Vec<String> {
        let mut panics = Vec::new();
        for (node, name) in NAMES.iter().enumerate().take(self.count()) {
            let log = std::fs::read(self.log_of(node)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let said = log.lines().filter(|line| line.contains("panicked at"));
            panics.extend(said.map(|line| format!("{name} wrote: {line}")));
        }
        panics
    }

    async fn token(&self) -> Result<String, String> {
        let request = TokenRequest::default();
        let path = route::TOKEN.fill(&[]);
        let reply: Result<TokenReply, _> =
            self.client(0).reply(route::TOKEN, &path, &request).await;
        Ok(reply.map_err(|error| format!("a token: {error}"))?.token)
    }

    async fn meet(&self) -> Result<(), String> {
        for (node, name) in self.nodes.iter().zip(NAMES) {
            loop {
                let path = route::NODES.fill(&[]);
                let reply: NodesReply = node
                    .client
                    .reply(route::NODES, &path, &())
                    .await
                    .map_err(|error| format!("{name}: {error}"))?;
                let up = reply.nodes.iter().filter(|node| node.state == NodeState::Up).count();
                if up == self.count() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Starts a daemon, for the first time with a token to join with, and waits until it serves.
    pub(crate) async fn launch(&self, node: usize, token: Option<&str>) -> Result<(), String> {
        let name = NAMES[node];
        let launched = tokio::time::timeout(START_TIME_MAX, self.try_launch(node, token)).await;
        match launched {
            Ok(Ok(())) => Ok(()),
            Ok(Err(said)) => Err(format!("{name} does not start: {said}")),
            Err(_) => Err(format!("{name} does not serve after {START_TIME_MAX:?}")),
        }
    }

    async fn try_launch(&self, node: usize, token: Option<&str>) -> Result<(), String> {
        let failed = |error: std::io::Error| error.to_string();
        let name = NAMES[node];
        let mut words = self.network.enter(node);
        words.push(self.command.to_string_lossy().into_owned());
        let at = self.network.addresses(node);
        let log = std::fs::File::options().create(true).append(true).open(self.log_of(node));
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["node", "start", "--with-parent", "-o", "json", "--name", name])
            .arg("--data")
            .arg(self.home.join(name))
            .args(["--listen", &at.listens.to_string()])
            .args(["--advertise", &at.advertised.to_string()]);
        if let Some(token) = token {
            let first = self.network.addresses(0).advertised.to_string();
            command.args(["--join", &first, "--token", token]);
        }
        let mut child = command
            .env_remove("WHIMBREL_NODE")
            .env("WHIMBREL_LOG", &self.log)
            .env("NO_COLOR", "1")
            // As on two machines: what one has compiled, the other has not.
            .env("XDG_CACHE_HOME", self.home.join(format!("{name}-cache")))
            // An interrupt at the terminal is for us to pass on, in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.map_err(failed)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        self.network.os_pids.lock().expect("nobody panics with it")[node] = child.id();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        // From here on it ends with us, whatever comes first.
        let running = || self.nodes[node].running.lock().expect("nobody panics with it");
        *running() = Some(Running { child, _stdout: None });
        let mut line = String::new();
        stdout.read_line(&mut line).await.map_err(failed)?;
        if serde_json::from_str::<Ready>(&line).is_err() {
            let said = std::fs::read_to_string(self.log_of(node)).unwrap_or_default();
            return Err(said.lines().last().unwrap_or("it said nothing").to_owned());
        }
        if let Some(running) = running().as_mut() {
            running._stdout = Some(stdout);
        }
        self.nodes[node].up.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Ends a daemon without warning, and returns when it has ended.
    pub(crate) async fn kill(&self, node: usize) -> Result<(), String> {
        self.nodes[node].up.store(false, Ordering::Relaxed);
        let running = self.nodes[node].running.lock().expect("nobody panics with it").take();
        let Some(mut running) = running else { return Ok(()) };
        match running.child.try_wait() {
            Ok(None) => running.child.kill().await.map_err(|error| error.to_string()),
            // Nobody but us ends daemons.
            ended => Err(format!("{} had ended by itself: {ended:?}", NAMES[node])),
        }
    }

    /// Which daemons have ended although nobody has killed them.
    pub(crate) fn ended_by_themselves(&self) -> Vec<String> {
        let mut ended = Vec::new();
        for (node, name) in self.nodes.iter().zip(NAMES) {
            let mut running = node.running.lock().expect("nobody panics with it");
            if let Some(Ok(Some(status))) = running.as_mut().map(|run| run.child.try_wait()) {
                node.up.store(false, Ordering::Relaxed);
                *running = None;
                ended.push(format!("{name} ended by itself: {status}"));
            }
        }
        ended
    }

    /// Ends all of them in order, each by its own id. Says which of them had to be killed.
    pub(crate) async fn end(&self) -> Vec<String> {
        let mut late = Vec::new();
        let mut ending = Vec::new();
        for (node, name) in self.nodes.iter().zip(NAMES) {
            let running = node.running.lock().expect("nobody panics with it").take();
            let Some(running) = running else { continue };
            let id = running.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
            if let Some(id) = id {
                let _ = kill_process(id, Signal::TERM);
            }
            ending.push((name, running));
        }
        for (name, mut running) in ending {
            if tokio::time::timeout(END_TIME_MAX, running.child.wait()).await.is_err() {
                let _ = running.child.kill().await;
                late.push(format!(
                    "{name} does not end within {END_TIME_MAX:?} when it is told to"
                ));
            }
        }
        late
    }
}

impl Drop for Cluster {
    /// What still runs, after an interrupt, has ended when this returns.
    fn drop(&mut self) {
        for node in &self.nodes {
            let running = node.running.lock().expect("nobody panics with it").take();
            let Some(mut running) = running else { continue };
            let _ = running.child.start_kill();
            while matches!(running.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}
