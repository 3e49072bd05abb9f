//! Erlang/OTP, as Debian packages it: the same exchange between two of its processes (`rally.erl`), on one node, and
//! between two nodes over its distribution protocol, plain and over TLS.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{Measured, RUSH, TRIPS, fetch};
use crate::tls::Identity;

/// What the distribution needs over TLS, besides the language.
const PACKAGES: [&str; 6] = [
    "erlang-base",
    "erlang-asn1",
    "erlang-crypto",
    "erlang-public-key",
    "erlang-ssl",
    "erlang-runtime-tools",
];

/// Where the package has the language.
const ROOT: &str = "usr/lib/erlang";

const PROGRAM: &str = include_str!("rally.erl");

/// Where the two processes are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// On one node.
    Local,
    /// On two, over TCP.
    Plain,
    /// On two, over TLS.
    Tls,
}

/// The language, with the program compiled.
pub(super) struct Erlang {
    root: PathBuf,
    /// Where the compiled program is, and the keys.
    home: TempDir,
}

/// A node that answers. It ends with this value.
struct Answering(Child);

impl Erlang {
    /// Fetches the language, if need be, and compiles the program.
    pub(super) fn fetch() -> Result<Self, String> {
        let root = fetch::debian("erlang", &PACKAGES)?.join(ROOT);
        let home = tempfile::tempdir().map_err(|error| error.to_string())?;
        let erlang = Self { root, home };
        erlang.write("rally.erl", PROGRAM)?;
        let (certificate, key) = Identity::new().map_err(|error| error.to_string())?.pems();
        let (cert_path, key_path) =
            (erlang.write("cert.pem", &certificate)?, erlang.write("key.pem", &key)?);
        // Who connects shows a certificate, and neither looks at the other's: what is measured comes later.
        let side =
            format!("[{{certfile,{cert_path:?}}},{{keyfile,{key_path:?}}},{{verify,verify_none}}]");
        erlang.write("tls.conf", &format!("[{{server,{side}}},{{client,{side}}}].\n"))?;
        let compile = "{ok, _} = compile:file(\"rally.erl\", [report]), halt(0).";
        let compiled = erlang.command()?.args(["-eval", compile]).output();
        let compiled = compiled.map_err(|error| format!("erlang: {error}"))?;
        if !compiled.status.success() {
            let said = String::from_utf8_lossy(&compiled.stdout).into_owned();
            return Err(format!("erlang does not compile: {said}"));
        }
        Ok(erlang)
    }

    pub(super) fn measure(&self, way: Way, size: usize) -> Result<Measured, String> {
        let mut asks = self.command()?;
        let answering = match way {
            Way::Local => {
                asks.args(["-run", "rally", "local"]);
                None
            }
            Way::Plain | Way::Tls => {
                let port = free_port()?;
                let answering = self.answering(way, port)?;
                self.distributed(&mut asks, way, port, "ask");
                asks.args(["-dist_listen", "false", "-run", "rally", "asks", "answer@127.0.0.1"]);
                Some(answering)
            }
        };
        asks.args([size, TRIPS, RUSH.as_millis() as usize].map(|number| number.to_string()));
        let output = asks.output().map_err(|error| format!("erlang: {error}"))?;
        drop(answering);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        Measured::read(printed.lines().last().unwrap_or_default())
            .map_err(|said| format!("{said}, of {printed:?}"))
    }

    fn answering(&self, way: Way, port: u16) -> Result<Answering, String> {
        let mut command = self.command()?;
        self.distributed(&mut command, way, port, "answer");
        command.args(["-run", "rally", "answers"]).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("erlang: {error}"))?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is a pipe");
        let answering = Answering(child);
        let read = BufReader::new(stdout).read_line(&mut line);
        match read {
            Ok(_) if line == "ready\n" => Ok(answering),
            _ => Err(format!("erlang's second node does not answer: {line:?}")),
        }
    }

    /// Two nodes find each other by a port that is agreed upon, without a daemon that knows them.
    fn distributed(&self, command: &mut Command, way: Way, port: u16, name: &str) {
        command.args(["-name", &format!("{name}@127.0.0.1"), "-setcookie", "rally"]);
        command.args(["-start_epmd", "false", "-erl_epmd_port", &port.to_string()]);
        command.args(["-kernel", "inet_dist_use_interface", "{127,0,0,1}"]);
        if way == Way::Tls {
            // The file is read before there is a current directory.
            let options = self.home.path().join("tls.conf");
            command.args(["-proto_dist", "inet_tls", "-ssl_dist_optfile"]).arg(options);
        }
    }

    /// The emulator itself, since the script around it knows only the place where the package is installed.
    fn command(&self) -> Result<Command, String> {
        let emulator = emulator(&self.root)?;
        let mut command = Command::new(emulator.join("erlexec"));
        command
            .env("ROOTDIR", &self.root)
            .env("BINDIR", &emulator)
            .envs([("EMU", "beam"), ("PROGNAME", "erl"), ("ERL_CRASH_DUMP_SECONDS", "0")])
            .env("HOME", self.home.path())
            .arg("-noshell")
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        Ok(command)
    }

    fn write(&self, name: &str, content: &str) -> Result<PathBuf, String> {
        let path = self.home.path().join(name);
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// The directory of the emulator, which has its version in its name.
fn emulator(root: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(root).map_err(|error| format!("{}: {error}", root.display()))?;
    let versions =
        entries.flatten().filter(|it| it.file_name().to_string_lossy().starts_with("erts-"));
    let found = versions.map(|version| version.path().join("bin")).next();
    found.ok_or_else(|| format!("{} has no emulator", root.display()))
}

/// A port that nobody listens on just now.
pub(super) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}
