//! Two daemons on loopback, driven by the command as anyone would.

use std::{
    cell::Cell,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::Subject;

/// The daemons' names; the first holds the registry.
pub(crate) const NODES: [&str; 2] = ["heron", "osprey"];

/// How long two daemons may take to find each other.
const LINK_TIME_MAX: Duration = Duration::from_secs(10);

/// How often a move is tried that is given up each time.
const TRIES_MAX: usize = 5;

/// Two daemons. They end with this value.
pub(crate) struct Cluster {
    command: PathBuf,
    home: TempDir,
    daemons: Vec<Daemon>,
    given_up: Cell<u32>,
}

struct Daemon {
    child: Child,
    address: String,
    /// Held, so that the daemon can write to it.
    _stdout: Box<dyn BufRead>,
}

/// A move, as its report has it.
pub(crate) struct Moved {
    pub(crate) pause_ms: f64,
    pub(crate) total_ms: f64,
    pub(crate) image_bytes: u64,
}

impl Cluster {
    /// Starts both and waits until they serve. `command` is the `whimbrel` binary.
    pub(crate) fn start(command: &Path) -> Result<Self, String> {
        let home = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut cluster =
            Self { command: command.to_owned(), home, daemons: Vec::new(), given_up: Cell::new(0) };
        let first = cluster.daemon(NODES[0], &[])?;
        let address = first.address.clone();
        cluster.daemons.push(first);
        let token = cluster.say(NODES[0], &["token", "create", "--quiet"])?;
        let second = cluster.daemon(NODES[1], &["--join", &address, "--token", token.trim()])?;
        cluster.daemons.push(second);
        cluster.await_link()?;
        Ok(cluster)
    }

    /// Waits until the first node hears the second.
    fn await_link(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let told = self.say(NODES[0], &["nodes", "-o", "json"])?;
            let reply: Value =
                serde_json::from_str(&told).map_err(|error| format!("{told}: {error}"))?;
            let up = |node: &Value| node["name"] == NODES[1] && node["state"] == "up";
            if reply["nodes"].as_array().is_some_and(|nodes| nodes.iter().any(up)) {
                return Ok(());
            }
            if begun.elapsed() > LINK_TIME_MAX {
                return Err(format!("{} does not hear {}: {told}", NODES[0], NODES[1]));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn daemon(&self, name: &str, join: &[&str]) -> Result<Daemon, String> {
        let failed = |error: &dyn std::fmt::Display| format!("starting {name}: {error}");
        let log = std::fs::File::create(self.home.path().join(format!("{name}.log")))
            .map_err(|error| failed(&error))?;
        let mut child = Command::new(&self.command)
            .args(["node", "start", "--with-parent", "-o", "json", "--name", name, "--data"])
            .arg(self.data(name))
            .args(join)
            .env_remove("WHIMBREL_NODE")
            // As on two machines: what one has compiled, the other has not.
            .env("XDG_CACHE_HOME", self.home.path().join(format!("{name}-cache")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| failed(&error))?;
        let mut stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).map_err(|error| failed(&error))?;
        let ready: Value = serde_json::from_str(&line).map_err(|_| {
            let said = std::fs::read_to_string(self.home.path().join(format!("{name}.log")));
            failed(&said.unwrap_or_default())
        })?;
        let address = ready["address"].as_str().unwrap_or_default().to_owned();
        Ok(Daemon { child, address, _stdout: Box::new(stdout) })
    }

    /// The operating system's id of a daemon.
    pub(crate) fn os_pid(&self, index: usize) -> u32 {
        self.daemons[index].child.id()
    }

    /// Where files of a benchmark's own can be, which go with the cluster.
    pub(crate) fn scratch(&self) -> &Path {
        self.home.path()
    }

    fn data(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Starts a subject on the first node, waits until it is in the middle of its work, and returns its id.
    pub(crate) fn run(&self, subject: &Subject) -> Result<String, String> {
        self.run_group(subject, &[])
    }

    /// Starts a subject and others of its group, whose arguments alone are theirs. Otherwise as [`Cluster::run`].
    pub(crate) fn run_group(
        &self,
        subject: &Subject,
        others: &[&Subject],
    ) -> Result<String, String> {
        let program = self.program(subject)?;
        let mut words: Vec<String> = vec!["run".into(), "--detach".into()];
        for dir in &subject.dirs {
            words.extend(["--dir".into(), format!("{}::{}:ro", dir.host.display(), dir.guest)]);
        }
        for (name, value) in &subject.env {
            words.extend(["--env".into(), format!("{name}={value}")]);
        }
        words.extend([program, "--".into()]);
        words.extend(subject.args[1..].iter().cloned());
        for other in others {
            words.extend(["||".into(), self.program(other)?]);
            words.extend(other.args[1..].iter().cloned());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let pid = self.say(NODES[0], &words)?.trim().to_owned();
        self.await_line(&pid)?;
        std::thread::sleep(subject.warm_up);
        Ok(pid)
    }

    /// A file with the subject's program.
    fn program(&self, subject: &Subject) -> Result<String, String> {
        let program = self.home.path().join(format!("{}.wasm", subject.name));
        std::fs::write(&program, &subject.wasm).map_err(|error| error.to_string())?;
        Ok(program.to_string_lossy().into_owned())
    }

    /// Waits until a process has printed a line.
    fn await_line(&self, pid: &str) -> Result<(), String> {
        let mut follow = self
            .words(NODES[0], &["logs", "-f", pid])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        let read = BufReader::new(follow.stdout.take().expect("it is a pipe")).read_line(&mut line);
        // It follows a process that goes on for ever.
        let _ = follow.kill().and_then(|()| follow.wait());
        match read {
            Ok(0) | Err(_) => Err(format!("{pid} printed nothing")),
            Ok(_) => Ok(()),
        }
    }

    /// Moves a process to the other node; `times` counts its moves so far. A move that was given up left it where it
    /// was, and is tried again; how often is counted.
    pub(crate) fn move_on(&self, pid: &str, times: usize) -> Result<Moved, String> {
        for _ in 0..TRIES_MAX {
            match self.try_move(pid, times) {
                Err(said) if said.contains("given_up") => {
                    eprintln!("{said}");
                    self.given_up.set(self.given_up.get() + 1);
                }
                tried => return tried,
            }
        }
        Err(format!("{pid} is not taken by the other node"))
    }

    /// How many moves were given up.
    pub(crate) fn given_up(&self) -> u32 {
        self.given_up.get()
    }

    fn try_move(&self, pid: &str, times: usize) -> Result<Moved, String> {
        let to = NODES[(times + 1) % NODES.len()];
        let told = self.say(NODES[0], &["move", pid, "--to", to, "-o", "json"])?;
        let report: Value =
            serde_json::from_str(&told).map_err(|error| format!("{told}: {error}"))?;
        let number =
            |name: &str| report[name].as_u64().ok_or_else(|| format!("no {name} in {report}"));
        Ok(Moved {
            pause_ms: number("pause_us")? as f64 / 1000.0,
            total_ms: number("total_us")? as f64 / 1000.0,
            image_bytes: number("image_bytes")?,
        })
    }

    /// All that a process has printed so far.
    pub(crate) fn logs(&self, pid: &str) -> Result<String, String> {
        self.say(NODES[0], &["logs", pid])
    }

    /// All that a process prints until its end.
    pub(crate) fn finish(&self, pid: &str) -> Result<String, String> {
        self.say(NODES[0], &["logs", "-f", pid])
    }

    pub(crate) fn kill(&self, pid: &str) -> Result<(), String> {
        self.say(NODES[0], &["kill", pid]).map(drop)
    }

    /// A command that says something to a node.
    pub(crate) fn words(&self, node: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.command);
        command
            .arg("--node")
            .arg(self.data(node))
            .args(words)
            .env_remove("WHIMBREL_NODE")
            .stdin(Stdio::null());
        command
    }

    /// Says a word of the command to a node, and returns what that prints.
    pub(crate) fn say(&self, node: &str, words: &[&str]) -> Result<String, String> {
        let Output { status, stdout, stderr } = self
            .words(node, words)
            .output()
            .map_err(|error| format!("{}: {error}", self.command.display()))?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        Err(format!("whimbrel {}: {}", words.join(" "), String::from_utf8_lossy(&stderr).trim()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            // Everything of theirs lies in a directory that goes with us.
            let _ = daemon.child.kill().and_then(|()| daemon.child.wait());
        }
    }
}

/// The `whimbrel` binary, built beside this one.
pub(crate) fn command() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let command = own.with_file_name("whimbrel");
    if command.is_file() { Ok(command) } else { Err(format!("{} is not built", command.display())) }
}
