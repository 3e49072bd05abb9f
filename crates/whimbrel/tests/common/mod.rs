//! Real daemons of the real binary, on loopback, each with a data directory of its own.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason
)]

pub mod journal;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Anything that is awaited in a test comes within this time, or the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The same for real programs, which may have to be compiled first.
pub const LONG: Duration = Duration::from_secs(900);

/// What a user has: a home, and in it whatever commands and daemons write.
pub struct Home {
    root: TempDir,
    cache: PathBuf,
}

/// How to start a daemon, beyond its name.
#[derive(Clone, Default)]
pub struct Start {
    /// Where it listens; any free port of 127.0.0.1 if empty.
    pub listen: String,
    pub advertise: Option<String>,
    pub join: Option<(String, String)>,
    /// Steps to halt at.
    pub halts: String,
    /// What it logs.
    pub log: String,
    /// Whether it runs portable bytecode.
    pub portable: bool,
    /// A program and its arguments that start the daemon.
    pub by: Vec<String>,
    /// Where it keeps what it keeps, if not in the home.
    pub data: Option<PathBuf>,
    /// Words for `node start` besides these.
    pub words: Vec<&'static str>,
    /// Where it keeps code, if not where the home's others do.
    pub cache: Option<PathBuf>,
}

/// A daemon. Dropping it kills it.
pub struct Daemon {
    pub name: String,
    pub data: PathBuf,
    pub address: String,
    child: Child,
    lines: Receiver<String>,
    halts: bool,
    /// What it has said on standard error so far.
    pub said: Vec<String>,
}

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// One of our programs, as a path.
pub fn guest(name: &str) -> String {
    programs::guest(name).expect("it builds").display().to_string()
}

/// What a command said that must have been done.
pub fn fine(said: Said) -> Said {
    assert_eq!(said.code, 0, "{said:?}");
    said
}

impl Home {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let cache = root.path().join("cache");
        Self { root, cache }
    }

    /// A home that shares the cache of another, so that a program is compiled once for both.
    pub fn sharing(other: &Self) -> Self {
        Self { root: tempfile::tempdir().unwrap(), cache: other.cache.clone() }
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// A file in the home, with this content.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn command(&self, by: &[String]) -> Command {
        let binary = env!("CARGO_BIN_EXE_whimbrel");
        let mut command = match by {
            [] => Command::new(binary),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary);
                command
            }
        };
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("XDG_CACHE_HOME", &self.cache)
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env("XDG_RUNTIME_DIR", self.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Starts a daemon, and waits until it serves; or for what it says instead.
    pub fn start(&self, name: &str, start: &Start) -> Result<Daemon, Said> {
        let data = start.data.clone().unwrap_or_else(|| self.path().join("state").join(name));
        let mut command = self.command(&start.by);
        if let Some(cache) = &start.cache {
            command.env("XDG_CACHE_HOME", cache);
        }
        command.args(["node", "start", "--with-parent", "-o", "json", "--name", name]);
        command.arg("--data").arg(&data);
        if !start.listen.is_empty() {
            command.args(["--listen", &start.listen]);
        }
        if let Some(address) = &start.advertise {
            command.args(["--advertise", address]);
        }
        if let Some((address, token)) = &start.join {
            command.args(["--join", address, "--token", token]);
        }
        command.args(&start.words);
        if !start.halts.is_empty() {
            command.env("WHIMBREL_HALT_AT", &start.halts);
        }
        if start.portable {
            command.env("WHIMBREL_PORTABLE", "1");
        }
        command.env("WHIMBREL_LOG", if start.log.is_empty() { "info" } else { &start.log });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<serde_json::Value>(&line) else {
            let err: Vec<String> = stderr.lines().map_while(Result::ok).collect();
            let code = child.wait().unwrap().code().unwrap_or(-1);
            return Err(Said { code, out: line, err: err.join("\n") });
        };
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let address = ready["address"].as_str().unwrap().to_owned();
        let halts = !start.halts.is_empty();
        Ok(Daemon { name: name.to_owned(), data, address, child, lines, halts, said: Vec::new() })
    }

    /// Two daemons of one cluster; the first holds the registry.
    pub fn two(&self) -> [Daemon; 2] {
        let heron = self.start("heron", &Start::default()).unwrap();
        let join = Some(self.token(&heron));
        let osprey = self.start("osprey", &Start { join, ..Start::default() }).unwrap();
        [heron, osprey]
    }

    /// Begins a command at a daemon.
    pub fn begin(&self, at: &Daemon, words: &[&str]) -> Child {
        let mut command = self.command(&[]);
        command.arg("--node").arg(&at.data).args(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Begins a command at a daemon that reads what it is given, and waits for it until then.
    pub fn begin_reading(&self, at: &Daemon, words: &[&str]) -> Child {
        let mut command = self.command(&[]);
        command.arg("--node").arg(&at.data).args(words).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Says words to a daemon, and waits for what comes of it.
    pub fn say(&self, at: &Daemon, words: &[&str]) -> Said {
        self.end(self.begin(at, words), words)
    }

    /// The same, with a program that starts the command.
    pub fn say_by(&self, by: &[String], at: &Daemon, words: &[&str]) -> Said {
        let mut command = self.command(by);
        command.arg("--node").arg(&at.data).args(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.end(command.spawn().unwrap(), words)
    }

    /// Says words where no daemon is named.
    pub fn say_here(&self, words: &[&str]) -> Said {
        let mut command = self.command(&[]);
        command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.end(command.spawn().unwrap(), words)
    }

    /// Says words to a daemon that may have much to compile before it answers.
    pub fn say_patiently(&self, at: &Daemon, words: &[&str]) -> Said {
        self.end_within(LONG, self.begin(at, words), words)
    }

    /// Waits for the end of a command; one that takes too long fails the test.
    pub fn end(&self, child: Child, words: &[&str]) -> Said {
        let patience = if words.contains(&"run") { LONG } else { PATIENCE };
        self.end_within(patience, child, words)
    }

    fn end_within(&self, patience: Duration, child: Child, words: &[&str]) -> Said {
        let id = Pid::from_child(&child);
        let (done, wait) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let output = child.wait_with_output().unwrap();
            let _ = done.send(());
            output
        });
        let late = wait.recv_timeout(patience).is_err();
        if late {
            let _ = kill_process(id, Signal::KILL);
        }
        let output = waiting.join().unwrap();
        let said = self.said(&output);
        assert!(!late, "`{}` does not come to its end: {said:?}", words.join(" "));
        said
    }

    fn said(&self, output: &Output) -> Said {
        let home = self.path().to_string_lossy();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*home, "HOME");
        let code = output.status.code().unwrap_or(-1);
        Said { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Starts a process, detached, and returns its id.
    pub fn run(&self, at: &Daemon, words: &[&str]) -> String {
        let words: Vec<&str> = ["run", "-d"].iter().chain(words).copied().collect();
        let said = self.say(at, &words);
        assert_eq!(said.code, 0, "{said:?}");
        said.out.trim().to_owned()
    }

    /// A token for one join, and where to join.
    pub fn token(&self, at: &Daemon) -> (String, String) {
        let said = self.say(at, &["token", "create", "--quiet"]);
        assert_eq!(said.code, 0, "{said:?}");
        (at.address.clone(), said.out.trim().to_owned())
    }
}

impl Daemon {
    pub fn os_pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has said such a line.
    pub fn until(&mut self, wanted: impl Fn(&str) -> bool) -> Result<(), String> {
        let since = Instant::now();
        while !self.said.iter().any(|line| wanted(line)) {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(since.elapsed())) {
                Ok(line) => self.said.push(line),
                Err(error) => return Err(format!("{}: no such line: {error}", self.name)),
            }
        }
        Ok(())
    }

    /// Waits until it halts at this step.
    pub fn halted(&mut self, step: &str) -> Result<(), String> {
        let line = format!("halted {step}");
        self.until(|said| said == line).map_err(|error| format!("{step}: {error}"))
    }

    /// Whether it was started to halt somewhere: to another the signal to go on would be the last.
    pub fn halts(&self) -> bool {
        self.halts
    }

    pub fn go_on(&self) {
        self.signal(Signal::USR1);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself, and says with which code.
    pub fn ended(&mut self) -> i32 {
        // What it says goes on until it ends.
        let _ = self.until(|_| false);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.child.wait().unwrap();
    }

    /// The end of what it has said, without the sound of breathing.
    pub fn last_words(&mut self) -> Vec<String> {
        self.said.extend(self.lines.try_iter());
        let breath = ["wake", "Renew", "no news"];
        let told = self.said.iter().filter(|line| !breath.iter().any(|word| line.contains(word)));
        let told: Vec<String> = told.cloned().collect();
        told[told.len().saturating_sub(40)..].to_vec()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
