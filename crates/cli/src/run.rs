//! Processes at this terminal: `run`, `thaw` and `logs`.
//!
//! An attached process has our standard input, and we its output, wherever it runs. An interrupt
//! ends it, and with it us; a second one is for when that does not help, and leaves at once.

use std::io;
use std::path::Path;

use api::{
    Error, ErrorCode, KillReply, KillRequest, LogsQuery, MemberRequest, Outcome, Pid, ProcessEvent,
    ProgramEvent, RunRequest, Stream, ThawQuery, route,
};
use bytes::Bytes;
use futures_util::stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::bars::Bars;
use crate::destination::Choice;
use crate::words::{Format, InTransit, Logs, Run, Thaw};
use crate::{Client, Events, Host, OwnNode, say};

/// What stands between the members of a group.
const SEPARATOR: &str = "||";

/// How much is read at a time, of files and of standard input.
const CHUNK_BYTES: usize = 64 << 10;

/// As a shell shows a process that wrote where nobody reads: 128 + SIGPIPE.
const EXIT_BROKEN_PIPE: u8 = 141;

/// How often the image of a durable process is written if nothing is said.
const CHECKPOINT_MS: u32 = 10_000;

/// What `run --detach -o json` prints.
#[derive(serde::Serialize)]
struct Started {
    /// The first process.
    pid: String,
    group: String,
    /// How many there are in the group: its members 0, 1, 2, …
    members: u32,
    node: String,
}

/// How following a process came to its end.
enum Followed {
    Ended(Outcome),
    /// Whoever read our output has gone.
    Unread,
    /// The stream ended, as a stream of `logs` without `--follow` does.
    Through,
}

pub(crate) async fn run(host: &dyn Host, at: &Choice, word: Run) -> Result<u8, Error> {
    let wasm =
        std::fs::read(&word.program).map_err(|error| say::unreadable(&word.program, &error))?;
    let program_name = program_name(&word.program);
    let own = OwnNode { stub_missing: word.stub_missing };
    // What is durable needs a node that outlives the command.
    let reached = if word.detach || word.durable {
        at.daemon()?.into()
    } else {
        at.daemon_or_own(host, &own)?
    };
    let client = &reached.client;
    let program = upload(client, wasm).await?;
    let mut members = word.args.split(|arg| arg == SEPARATOR);
    let args = members.next().unwrap_or_default().iter().cloned();
    let args = [program_name.clone()].into_iter().chain(args).collect();
    let mut others = vec![];
    for member in members {
        others.push(other(client, member).await?);
    }
    let count = others.len();
    let request = RunRequest {
        program,
        args,
        program_name,
        env: word.env,
        dirs: word.dirs,
        name: word.name,
        on: word.on,
        memory_bytes_max: word.memory,
        stub_missing: word.stub_missing,
        attached: !word.detach,
        stdin: !word.detach,
        others,
        count: word.count,
        locate: word.locate,
        poll_ms: word.poll,
        in_transit: match word.in_transit {
            InTransit::SenderKeeps => api::InTransit::SenderKeeps,
            InTransit::SenderBlocks => api::InTransit::SenderBlocks,
            InTransit::NodeKeeps => api::InTransit::NodeKeeps,
        },
        together: word.together,
        placement: api::Placement { pin: word.pin, avoid: word.avoid, affinity: word.affinity },
        checkpoint_ms: word.durable.then(|| word.checkpoint.unwrap_or(CHECKPOINT_MS)),
        allow_send: word.allow_send,
        trace: word.trace,
    };
    let path = route::RUN.fill(&[]);
    if word.detach {
        let events = client.events(route::RUN, &path, &request).await?;
        return detached(events, word.printing.format).await;
    }
    let mut interrupts = Interrupts::listen()?;
    let events = interrupts.unless_abandoned(client.events(route::RUN, &path, &request)).await?;
    attached(client, events, count, interrupts).await
}

/// One more member of a group, as it was typed: a program and its arguments.
async fn other(client: &Client, typed: &[String]) -> Result<MemberRequest, Error> {
    let Some(path) = typed.first().map(Path::new) else {
        let message = format!("there is no program after `{SEPARATOR}`");
        return Err(Error::new(ErrorCode::InvalidRequest, message));
    };
    let wasm = std::fs::read(path).map_err(|error| say::unreadable(path, &error))?;
    let program_name = program_name(path);
    let program = upload(client, wasm).await?;
    let args = [program_name.clone()].into_iter().chain(typed[1..].iter().cloned()).collect();
    Ok(MemberRequest { program, program_name, args })
}

pub(crate) async fn thaw(host: &dyn Host, at: &Choice, word: Thaw) -> Result<u8, Error> {
    let file =
        std::fs::File::open(&word.file).map_err(|error| say::unreadable(&word.file, &error))?;
    let own = OwnNode { stub_missing: word.stub_missing };
    let reached = if word.detach { at.daemon()?.into() } else { at.daemon_or_own(host, &own)? };
    let client = &reached.client;
    let query = ThawQuery { attached: !word.detach, stdin: !word.detach, new: word.new };
    let path = route::THAW.fill(&[]) + &query.to_query();
    let image = chunks(tokio::fs::File::from_std(file));
    if word.detach {
        let events = client.upload(route::THAW, &path, image).await?;
        return detached(events, Format::Table).await;
    }
    let mut interrupts = Interrupts::listen()?;
    let events = interrupts.unless_abandoned(client.upload(route::THAW, &path, image)).await?;
    attached(client, events, 0, interrupts).await
}

pub(crate) async fn logs(at: &Choice, word: Logs) -> Result<u8, Error> {
    let query = LogsQuery { follow: word.follow, from: 0 };
    let path = route::LOGS.fill(&[&word.process]) + &query.to_query();
    let events = at.daemon()?.events(route::LOGS, &path, &()).await?;
    let (started, _) = watch::channel(None);
    match follow(events, &started).await? {
        Followed::Unread => Ok(EXIT_BROKEN_PIPE),
        Followed::Ended(outcome) => {
            if word.follow {
                say_how(None, &outcome);
            }
            Ok(0)
        }
        Followed::Through => Ok(0),
    }
}

/// Sends a program to the node, which makes it ready.
async fn upload(client: &Client, wasm: Vec<u8>) -> Result<api::CodeHash, Error> {
    let body = stream::iter([Ok(Bytes::from(wasm))]);
    let mut events = client.upload(route::UPLOAD, &route::UPLOAD.fill(&[]), body).await?;
    let mut bars = Bars::new();
    while let Some(event) = events.next().await? {
        match event {
            ProgramEvent::Progress(progress) => bars.update(&progress),
            ProgramEvent::Ready { program } => return Ok(program),
            ProgramEvent::Failed { error } => return Err(error),
        }
    }
    Err(broken_off())
}

/// Waits for the start, and prints the id.
async fn detached(mut events: Events<ProcessEvent>, format: Format) -> Result<u8, Error> {
    let mut bars = Bars::new();
    while let Some(event) = events.next().await? {
        match event {
            ProcessEvent::Progress(progress) => bars.update(&progress),
            ProcessEvent::Started { pid, new, members, node } => {
                bars.clear();
                say_if_new(pid, new);
                let (group, pid) = (pid.group.to_string(), pid.to_string());
                match format {
                    Format::Json => say::json(&Started { pid, group, members, node }),
                    Format::Table => say::out(&pid),
                }
                return Ok(0);
            }
            ProcessEvent::Failed { error } => return Err(error),
            _ => {}
        }
    }
    Err(broken_off())
}

/// Stays with a process, and so many others of its group, to their end; exits as it does, or, if that
/// is well, as the first of the others that does not end well.
async fn attached(
    client: &Client,
    events: Events<ProcessEvent>,
    others: usize,
    interrupts: Interrupts,
) -> Result<u8, Error> {
    let (started, running) = watch::channel(None);
    let (interrupted, was_interrupted) = watch::channel(false);
    let all = async {
        let (first, others) = tokio::join!(
            follow(events, &started),
            follow_others(client, running.clone(), others as u32)
        );
        let mut all = vec![(*running.borrow(), first?)];
        all.extend(others?);
        Ok::<_, Error>(all)
    };
    let followed = tokio::select! {
        followed = all => followed?,
        error = feed(client, running.clone()) => return Err(error),
        error = end_on_interrupt(client, running.clone(), others, (interrupts, interrupted)) => {
            return Err(error);
        }
    };
    let mut exit = 0;
    for (pid, followed) in followed {
        let code = match followed {
            Followed::Ended(Outcome::Killed) if *was_interrupted.borrow() => {
                ErrorCode::Interrupted.exit()
            }
            Followed::Ended(outcome) => {
                say_how(pid, &outcome);
                outcome.exit()
            }
            Followed::Unread => {
                if let Some(pid) = pid {
                    kill(client, &pid.to_string()).await?;
                }
                EXIT_BROKEN_PIPE
            }
            Followed::Through => return Err(broken_off()),
        };
        exit = if exit == 0 { code } else { exit };
    }
    Ok(exit)
}

/// Writes what the members 1, 2, … of a group write, until they have ended.
async fn follow_others(
    client: &Client,
    mut running: watch::Receiver<Option<Pid>>,
    others: u32,
) -> Result<Vec<(Option<Pid>, Followed)>, Error> {
    if others == 0 {
        return Ok(vec![]);
    }
    let Some(leader) = first(&mut running).await else { return Ok(vec![]) };
    let (unheard, _) = watch::channel(None);
    let follow_one = async |index: u32| {
        let pid = Pid { index, ..leader };
        let query = LogsQuery { follow: true, from: 0 };
        let path = route::LOGS.fill(&[&pid.to_string()]) + &query.to_query();
        let events = client.events(route::LOGS, &path, &()).await?;
        Ok((Some(pid), follow(events, &unheard).await?))
    };
    futures_util::future::try_join_all((1..=others).map(follow_one)).await
}

/// Writes what a process writes, until it ends.
async fn follow(
    mut events: Events<ProcessEvent>,
    started: &watch::Sender<Option<Pid>>,
) -> Result<Followed, Error> {
    let mut bars = Bars::new();
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    while let Some(event) = events.next().await? {
        match event {
            ProcessEvent::Progress(progress) => bars.update(&progress),
            ProcessEvent::Started { pid, new, .. } => {
                bars.clear();
                say_if_new(pid, new);
                started.send_replace(Some(pid));
            }
            ProcessEvent::Output { stream, bytes, .. } => {
                let written = match stream {
                    Stream::Stdout => write(&mut stdout, &bytes.0).await,
                    Stream::Stderr => write(&mut stderr, &bytes.0).await,
                };
                match written {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        return Ok(Followed::Unread);
                    }
                    Err(error) => return Err(say::io("writing the output", &error)),
                }
            }
            ProcessEvent::Dropped { until } => {
                say::aside(&format!("whimbrel: the first {until} bytes are no longer kept"));
            }
            // What it is all about: nobody notices.
            ProcessEvent::Moved(_) => {}
            ProcessEvent::Ended { outcome } => return Ok(Followed::Ended(outcome)),
            ProcessEvent::Failed { error } => return Err(error),
        }
    }
    Ok(Followed::Through)
}

/// Each piece is flushed, so that the two streams keep their order.
async fn write(to: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// Sends standard input to the process once it has started. Returns only what goes wrong: the end of
/// the input, or of the process that read it, is no end of ours.
async fn feed(client: &Client, mut running: watch::Receiver<Option<Pid>>) -> Error {
    let Some(pid) = first(&mut running).await else { return std::future::pending().await };
    let path = route::STDIN.fill(&[&pid.to_string()]);
    let sent =
        client.upload::<serde_json::Value, _>(route::STDIN, &path, chunks(tokio::io::stdin()));
    match sent.await {
        Err(error) if error.code == ErrorCode::Internal => error,
        // A process that ends while we type does not take the rest.
        _ => std::future::pending().await,
    }
}

/// Ends the process on the first interrupt. Returns on the second.
async fn end_on_interrupt(
    client: &Client,
    mut running: watch::Receiver<Option<Pid>>,
    others: usize,
    (mut interrupts, interrupted): (Interrupts, watch::Sender<bool>),
) -> Error {
    interrupts.first().await;
    interrupted.send_replace(true);
    // It may have been started, and we have not heard of it yet.
    let started = tokio::select! {
        started = first(&mut running) => started,
        () = interrupts.next() => None,
    };
    let Some(pid) = started else { return abandoned() };
    let target = if others == 0 { pid.to_string() } else { pid.group.to_string() };
    let killing = async {
        if let Err(error) = kill(client, &target).await {
            say::aside(&format!("whimbrel: {target} may go on: {error}"));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = killing => {}
        () = interrupts.next() => {}
    }
    abandoned().with_hint(format!("{target} may still run"))
}

fn abandoned() -> Error {
    Error::new(ErrorCode::Interrupted, "interrupted")
}

/// Interrupts, from before anything is started that would have to be ended.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    /// One has come.
    came: bool,
}

impl Interrupts {
    fn listen() -> Result<Self, Error> {
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => Ok(Self { interrupt, terminate, came: false }),
            (Err(error), _) | (_, Err(error)) => Err(say::io("waiting for interrupts", &error)),
        }
    }

    /// Does something, unless a second interrupt comes first. The first is remembered.
    async fn unless_abandoned<T>(
        &mut self,
        what: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let twice = async {
            self.first().await;
            self.next().await;
        };
        tokio::select! {
            done = what => done,
            () = twice => Err(abandoned()),
        }
    }

    /// Until the first has come.
    async fn first(&mut self) {
        if !self.came {
            self.next().await;
            self.came = true;
        }
    }

    /// Until another comes.
    async fn next(&mut self) {
        either(&mut self.interrupt, &mut self.terminate).await;
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

async fn kill(client: &Client, target: &str) -> Result<(), Error> {
    let request = KillRequest { target: target.to_owned() };
    match client.reply::<KillReply>(route::KILL, &route::KILL.fill(&[]), &request).await {
        Ok(_) => Ok(()),
        // It was quicker.
        Err(error) if matches!(error.code, ErrorCode::Ended | ErrorCode::UnknownProcess) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The process, as soon as there is one.
async fn first(running: &mut watch::Receiver<Option<Pid>>) -> Option<Pid> {
    running.wait_for(Option::is_some).await.ok().and_then(|pid| *pid)
}

/// What a reader holds, as pieces to send.
fn chunks<R>(reader: R) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static
where
    R: AsyncRead + Unpin + Send + 'static,
{
    stream::unfold(Some(reader), async |reader| {
        let mut reader = reader?;
        let mut chunk = vec![0; CHUNK_BYTES];
        match reader.read(&mut chunk).await {
            Ok(0) => None,
            Ok(count) => {
                chunk.truncate(count);
                Some((Ok(chunk.into()), Some(reader)))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
}

fn program_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn say_if_new(pid: Pid, new: bool) {
    if new {
        say::aside(&format!("whimbrel: this is a new process, {pid}"));
    }
}

/// Says on standard error how a process ended, unless it just exited.
fn say_how(pid: Option<Pid>, outcome: &Outcome) {
    let who = pid.map_or_else(|| "the process".to_owned(), |pid| pid.to_string());
    let how = match outcome {
        Outcome::Exited { .. } => return,
        Outcome::Trapped { message, backtrace } => {
            let lines: String = backtrace.iter().map(|line| format!("\n    at {line}")).collect();
            format!("trapped: {message}{lines}")
        }
        Outcome::Killed => "was killed".to_owned(),
        Outcome::Linked { pid, reason } => {
            format!("ended with {pid}, to which it was linked: {reason}")
        }
        Outcome::Limit { message } => format!("reached a limit: {message}"),
        Outcome::Lost { node, message } => format!("is lost with {node}: {message}"),
        Outcome::Fault { message } => format!("was ended by a mistake in Whimbrel: {message}"),
        Outcome::Filed => "was frozen into a file".to_owned(),
    };
    say::aside(&format!("whimbrel: {who} {how}"));
}

fn broken_off() -> Error {
    Error::new(ErrorCode::NodeUnavailable, "the daemon broke off")
        .with_hint("`whimbrel status` says whether it still runs; its log says why it does not")
}
