//! Words about daemons and members: `node start|stop|status|forget`, `token create`.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use api::{
    Error, ErrorCode, ForgetReply, RegistryMoveReply, RegistryMoveRequest, RegistryRebuildReply,
    RegistryRebuildRequest, StatusReply, StopRequest, TokenReply, TokenRequest, route,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;

use crate::destination::{self, Choice};
use crate::host::{NodeStart, Ready};
use crate::units::millis;
use crate::words::{Format, NodeStartArgs, NodeWord, RegistryMove, RegistryRebuild, TokenCreate};
use crate::{Client, Host, list, say};

/// What a detached daemon writes to, in its data directory.
const LOG: &str = "daemon.log";

/// What a daemon tells the command that started it, as one line of JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Ready(Ready),
    Error(Error),
}

pub(crate) fn start(host: &dyn Host, word: NodeStartArgs) -> Result<u8, Error> {
    let format = word.printing.format;
    let start = resolved(&word)?;
    if word.detach {
        say_ready(&detach(&start)?, format);
        return Ok(0);
    }
    if word.detached {
        // Fails only for a leader of a group, which a child of ours is not.
        let _ = rustix::process::setsid();
    }
    if word.with_parent {
        let signal = Some(rustix::process::Signal::TERM);
        rustix::process::set_parent_process_death_signal(signal)
            .map_err(|error| say::io("following the parent's end", &error.into()))?;
    }
    let served = host.serve(start, &mut |ready| say_ready(ready, format));
    if let (Err(error), true) = (&served, word.detached) {
        say::json_line(error);
    }
    served.map(|()| 0)
}

pub(crate) async fn node(at: &Choice, word: NodeWord) -> Result<u8, Error> {
    let choose = |name: Option<String>| Choice { node: name.or_else(|| at.node.clone()) };
    match word {
        NodeWord::Start(_) => unreachable!("performed before the runtime"),
        NodeWord::Stop { name, force } => stop(&choose(name).daemon()?, force).await,
        NodeWord::Status { name, printing } => {
            list::show_status(&choose(name).daemon()?, printing.format).await
        }
        NodeWord::Forget { name, printing } => forget(at, &name, printing.format).await,
    }
}

pub(crate) async fn token(at: &Choice, word: TokenCreate) -> Result<u8, Error> {
    let client = at.daemon()?;
    let request = TokenRequest { valid_ms: word.valid };
    let reply: TokenReply = client.reply(route::TOKEN, &route::TOKEN.fill(&[]), &request).await?;
    match word.printing.format {
        Format::Json => say::json(&reply),
        Format::Table if word.quiet => say::out(&reply.token),
        Format::Table => {
            say::out(&reply.token);
            let TokenReply { token, address, valid_ms } = &reply;
            let valid = millis(*valid_ms);
            say::aside(&format!(
                "good for one join within {valid}: whimbrel node start --join {address} --token {token}"
            ));
        }
    }
    Ok(0)
}

pub(crate) async fn move_registry(at: &Choice, word: RegistryMove) -> Result<u8, Error> {
    let client = at.daemon()?;
    let request = RegistryMoveRequest { to: word.to };
    let path = route::REGISTRY_MOVE.fill(&[]);
    let reply: RegistryMoveReply = client.reply(route::REGISTRY_MOVE, &path, &request).await?;
    match word.printing.format {
        Format::Json => say::json(&reply),
        Format::Table if reply.from == reply.to => {
            say::out(&format!("the registry is at {} already", reply.to));
        }
        Format::Table => say::out(&format!("the registry is at {}: from {}", reply.to, reply.from)),
    }
    Ok(0)
}

pub(crate) async fn rebuild_registry(at: &Choice, word: RegistryRebuild) -> Result<u8, Error> {
    let key =
        match &word.key {
            Some(path) => Some(fs::read(path).map_err(|error| {
                Error::new(ErrorCode::Io, format!("{}: {error}", path.display()))
            })?),
            None => None,
        };
    let request = RegistryRebuildRequest { forget: word.forget, key };
    let path = route::REGISTRY_REBUILD.fill(&[]);
    let client = at.daemon()?;
    let reply: RegistryRebuildReply =
        client.reply(route::REGISTRY_REBUILD, &path, &request).await?;
    match word.printing.format {
        Format::Json => say::json(&reply),
        Format::Table => {
            let RegistryRebuildReply { home, processes, forgotten, key, .. } = &reply;
            let forgotten = forgotten.join(", ");
            say::out(&format!(
                "the registry is at {home}: {processes} processes, without {forgotten}"
            ));
            if !key {
                say::aside(
                    "whimbrel: no node can join, and no certificate is renewed, without `ca.key`",
                );
            }
        }
    }
    Ok(0)
}

/// Asks a daemon to end, and returns when it has.
async fn stop(client: &Client, force: bool) -> Result<u8, Error> {
    let status: StatusReply = client.reply(route::STATUS, &route::STATUS.fill(&[]), &()).await?;
    // Taken before the request, so that it is this daemon that we wait for and no later one.
    let daemon = i32::try_from(status.os_pid)
        .ok()
        .and_then(Pid::from_raw)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    client.reply::<()>(route::STOP, &route::STOP.fill(&[]), &StopRequest { force }).await?;
    if let Some(daemon) = daemon {
        let ended = tokio::task::spawn_blocking(move || {
            poll(&mut [PollFd::new(&daemon, PollFlags::IN)], None)
        });
        let _ = ended.await;
    }
    say::out(&format!("{} has stopped", status.node.name));
    Ok(0)
}

async fn forget(at: &Choice, name: &str, format: Format) -> Result<u8, Error> {
    let path = route::FORGET.fill(&[name]);
    let reply: ForgetReply = at.daemon()?.reply(route::FORGET, &path, &()).await?;
    match format {
        Format::Json => say::json(&reply),
        Format::Table => {
            say::out(&format!("{} is gone, and {} processes with it", reply.node, reply.lost));
        }
    }
    Ok(0)
}

fn resolved(word: &NodeStartArgs) -> Result<NodeStart, Error> {
    let name = match &word.name {
        Some(name) => name.clone(),
        None => machine_name(),
    };
    check_name(&name)?;
    let data = match &word.data {
        Some(data) => std::path::absolute(data)
            .map_err(|error| say::io(&data.display().to_string(), &error))?,
        None => destination::state_home()?.join(&name),
    };
    if word.fence && !word.force {
        let message = "`--fence` needs a registry that outlives each node, and this one is on one node: while that \
                       is off for more than 4 s, all fenced nodes end, and all that they run";
        return Err(Error::new(ErrorCode::InvalidRequest, message)
            .with_hint("say `--fence --force` if that is what you want"));
    }
    let join = word.join.clone().zip(word.token.clone());
    let listen = address(&word.listen)?;
    let advertise = word.advertise.clone();
    Ok(NodeStart {
        name,
        data,
        listen,
        advertise,
        join,
        stub_missing: word.stub_missing,
        labels: word.label.clone(),
        balances: word.balance,
        fenced: word.fence,
    })
}

/// Names are parts of paths and of command lines, and must not look like addresses.
fn check_name(name: &str) -> Result<(), Error> {
    let known = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    if name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.len() <= 63
        && name.chars().all(known)
    {
        return Ok(());
    }
    Err(Error::new(ErrorCode::InvalidRequest, format!("`{name}` is no name for a node"))
        .with_hint("up to 63 letters, digits, `-`, `_` and `.`, a letter or digit first"))
}

fn machine_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().split('.').next().unwrap_or_default();
    if name.is_empty() { "local".to_owned() } else { name.to_owned() }
}

fn address(text: &str) -> Result<SocketAddr, Error> {
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| {
        Error::new(ErrorCode::InvalidRequest, format!("`{text}` is no address to listen at"))
            .with_hint("expected HOST:PORT, as in 0.0.0.0:7700; port 0 takes any free one")
    })
}

/// Starts this binary once more, as a daemon without a terminal, and waits until it serves or says why
/// it does not.
fn detach(start: &NodeStart) -> Result<Ready, Error> {
    let failed = |error: io::Error| say::io("starting the daemon", &error);
    let log = open_log(&start.data)?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["node", "start", "--detached", "-o", "json", "--name", &start.name]);
    command.arg("--listen").arg(start.listen.to_string()).arg("--data").arg(&start.data);
    if let Some(address) = &start.advertise {
        command.args(["--advertise", address]);
    }
    if let Some((address, token)) = &start.join {
        command.args(["--join", address, "--token", token]);
    }
    if start.stub_missing {
        command.arg("--stub-missing");
    }
    for label in &start.labels {
        command.args(["--label", label]);
    }
    if start.balances {
        command.arg("--balance");
    }
    if start.fenced {
        command.args(["--fence", "--force"]);
    }
    let mut daemon = command
        .env_remove("WHIMBREL_NODE")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    let mut told = BufReader::new(daemon.stdout.take().expect("it is a pipe"));
    told.read_line(&mut line).map_err(failed)?;
    match serde_json::from_str(&line) {
        Ok(Told::Ready(ready)) => Ok(ready),
        Ok(Told::Error(error)) => {
            let _ = daemon.wait();
            Err(error)
        }
        Err(_) => {
            let status = daemon.wait().map_err(failed)?;
            let message = format!("the daemon did not start: {status}");
            let log = start.data.join(LOG);
            Err(Error::new(ErrorCode::Internal, message)
                .with_hint(format!("see {}", log.display())))
        }
    }
}

fn open_log(data: &Path) -> Result<File, Error> {
    let path: PathBuf = data.join(LOG);
    let opened = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .and_then(|()| File::options().create(true).append(true).open(&path));
    opened.map_err(|error| say::io(&path.display().to_string(), &error))
}

fn say_ready(ready: &Ready, format: Format) {
    match format {
        Format::Json => say::json_line(ready),
        Format::Table => {
            let Ready { name, address, data, .. } = ready;
            say::out(&format!("{name} is ready at {address}, data in {}", data.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word() {
        for name in ["heron", "node-1", "a.b", "7"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "../x", "a:1", "a b", "-d", &"x".repeat(64)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_daemon_tells_one_of_two_things() {
        let ready = Ready {
            name: "heron".to_owned(),
            address: "127.0.0.1:7700".to_owned(),
            data: "/d".into(),
            os_pid: 7,
        };
        let line = serde_json::to_string(&ready).unwrap();
        assert!(matches!(serde_json::from_str(&line), Ok(Told::Ready(told)) if told == ready));
        let line = serde_json::to_string(&Error::new(ErrorCode::DataInUse, "in use")).unwrap();
        assert!(matches!(serde_json::from_str(&line), Ok(Told::Error(_))));
    }

    #[test]
    fn an_address_has_a_port() {
        assert!(address("127.0.0.1:0").is_ok());
        assert_eq!(address("127.0.0.1").unwrap_err().code, ErrorCode::InvalidRequest);
    }
}
