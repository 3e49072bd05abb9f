//! Programs come in, processes start, and what they write is read.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use api::{
    Error, ErrorCode, LogsQuery, ProcessEvent, ProgramEvent, Progress, Reference, RunRequest, Step,
    Stream,
};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use engine::{Code, Setup};
use futures_util::StreamExt as _;
use hyper::Method;
use protocol::Wish;
use tokio::sync::mpsc;
use wire::{CodeHash, Grant, Pid, Report};

use super::answer::{Answered, ending, events, of_code, of_why, out_of_place};
use super::find::Asker;
use super::list::outcome_of;
use super::locate::in_transit;
use super::{Node, Shared};
use crate::clock::unix_now;
use crate::driver::{Answer, Cargo, Start};
use crate::logbook::{Entry, Reader};
use crate::papers::{Info, Placement};

/// The most programs that one request starts, each of which may be started many times.
const PROGRAMS_MAX: usize = 1024;

/// The most groups that a process may be allowed to send to, all apart: each send looks through them.
const GRANTS_MAX: usize = 64;

/// The longest program that is taken.
const PROGRAM_BYTES_MAX: usize = 512 << 20;

pub(crate) async fn upload(State(node): State<Shared>, body: Body) -> Answered {
    let wasm = axum::body::to_bytes(body, PROGRAM_BYTES_MAX)
        .await
        .map_err(|error| Error::new(ErrorCode::InvalidRequest, error.to_string()))?;
    let (say, response) = events();
    tokio::task::spawn_blocking(move || {
        let told = say.clone();
        let progress = move |step: engine::Step| {
            let (done, total) = match step {
                engine::Step::Transform(_) | engine::Step::Compile(_) => (0, None),
                engine::Step::Ready { .. } => (1, Some(1)),
            };
            let progress = Progress { step: Step::Compile, done, total };
            let _ = told.try_send(ProgramEvent::Progress(progress));
        };
        let last = match node.engine.prepare(&wasm, &progress) {
            Ok(code) => ProgramEvent::Ready { program: code.hash() },
            Err(error) => ProgramEvent::Failed { error: of_code(&error) },
        };
        let _ = say.blocking_send(last);
    });
    Ok(response)
}

pub(crate) async fn run(
    State(node): State<Shared>,
    asker: Asker,
    Json(request): Json<RunRequest>,
) -> Answered {
    if let Some(on) = request.on.as_deref().filter(|on| *on != node.name) {
        let member = node.target_named(on).await?;
        if asker == Asker::Operator {
            let body = serde_json::to_vec(&request).expect("a request is plain data");
            let path = api::route::RUN.fill(&[]);
            return node.pass_on(member.peer.node, Method::POST, &path, Body::from(body)).await;
        }
    }
    node.takes_work().await?;
    let mut all = vec![(request.program, &request.program_name, &request.args)];
    all.extend(
        request.others.iter().map(|other| (other.program, &other.program_name, &other.args)),
    );
    if PROGRAMS_MAX < all.len() {
        let message = format!("a group starts with at most {PROGRAMS_MAX} programs");
        return Err(Error::new(ErrorCode::InvalidRequest, message).into());
    }
    let last = all.len() - 1;
    let members = 0..(last as u32).saturating_add(request.count.max(1));
    if engine::MEMBERS_MAX < members.len() {
        let message = format!("a group starts with at most {} members", engine::MEMBERS_MAX);
        return Err(Error::new(ErrorCode::InvalidRequest, message).into());
    }
    let placement = placement(&request.placement);
    if let Err(reason) = placement.allows(node.balancing.labels()) {
        let message = format!("it cannot start at {}: {reason}", node.name);
        return Err(Error::new(ErrorCode::Refused, message)
            .with_hint("`whimbrel nodes` shows the labels, `--on` chooses a node")
            .into());
    }
    let grant = node.grant(asker, &request.allow_send).await?;
    let mut starts = VecDeque::new();
    for (index, (program, program_name, args)) in all.into_iter().enumerate() {
        let code = node.code(asker, program).await?;
        let mut start = start(code, program_name, args, &request, index == 0);
        start.setup.members = members.clone();
        start.setup.grant = grant.clone();
        let times = if index == last { request.count.max(1) } else { 1 };
        if index == 0 && times > 1 {
            // Input and name are the first one's alone.
            let mut rest = Start { times: times - 1, ..start.clone() };
            rest.be_another();
            starts.extend([start, rest]);
        } else {
            start.times = times;
            starts.push_back(start);
        }
    }
    let wish = Wish::Spawn {
        home: node.me.node,
        name: request.name.clone(),
        grant,
        locate: node.locate(&request.locate, request.poll_ms).await?,
        in_transit: in_transit(request.in_transit),
        together: request.together,
        durable: request.checkpoint_ms.map(|millis| protocol::Span::millis(millis.into())),
        members: members.end,
    };
    let answer = node.events.wish(wish, Cargo::Start(starts));
    let pid = match answer.await.map_err(|_| ending())? {
        Answer::Report(Report::Spawned(pid)) => pid,
        Answer::Report(report) => return Err(node.unexpected(&report).into()),
        answer => return Err(out_of_place(&answer).into()),
    };
    if request.trace {
        node.trace_elsewhere(pid.group, true).await;
    }
    let members = members.end;
    let first = ProcessEvent::Started { pid, node: node.name.clone(), new: false, members };
    Ok(node.tell(first, pid, request.attached))
}

pub(crate) async fn logs(
    State(node): State<Shared>,
    asker: Asker,
    Path(reference): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Answered {
    let process = node.find_one(asker, &reference).await?;
    let pid = process.pid;
    if !node.logbook.has(pid) {
        if asker == Asker::Operator
            && let Some(home) = node.home_of_output(pid, &process).await
        {
            let path = api::route::LOGS.fill(&[&pid.to_string()]) + &query.to_query();
            return node.pass_on(home, Method::GET, &path, Body::empty()).await;
        }
        let missing = format!("the output of {pid} is not here");
        return Err(Error::new(ErrorCode::UnknownProcess, missing).into());
    }
    // A log of an earlier run of this node is opened when it is asked for.
    node.logbook.open(pid, 0).map_err(|error| Error::new(ErrorCode::Io, error.to_string()))?;
    let reader = node.logbook.read(pid);
    let (say, response) = events();
    tokio::spawn(async move { node.read_out(reader, pid, query, say).await });
    Ok(response)
}

impl Start {
    /// Not the first of its group.
    fn be_another(&mut self) {
        self.stdin = false;
        self.info = Arc::new(Info { name: None, ..(*self.info).clone() });
    }
}

fn placement(asked: &api::Placement) -> Placement {
    let labels = |labels: &[String]| labels.iter().cloned().collect();
    Placement {
        pin: labels(&asked.pin),
        avoid: labels(&asked.avoid),
        affinity: labels(&asked.affinity),
    }
}

fn start(
    code: Arc<Code>,
    program: &str,
    args: &[String],
    request: &RunRequest,
    is_first: bool,
) -> Start {
    let dir = |dir: &api::Dir| engine::Dir {
        host: PathBuf::from(&dir.host),
        guest: dir.guest.clone(),
        read_only: dir.read_only,
    };
    let setup = Setup {
        args: args.to_vec(),
        env: request.env.clone(),
        dirs: request.dirs.iter().map(dir).collect(),
        memory_max: request.memory_bytes_max,
        ..Setup::default()
    };
    let info = Info {
        program: program.to_owned(),
        name: request.name.clone().filter(|_| is_first),
        args: args.to_vec(),
        env: request.env.clone(),
        memory_max: request.memory_bytes_max,
        placement: placement(&request.placement),
        started_micros: u64::try_from(unix_now().as_micros()).unwrap_or(u64::MAX),
        ..Info::default()
    };
    let stdin = request.stdin && is_first;
    Start { times: 1, code, setup, info: Arc::new(info), stdin, trace: request.trace }
}

impl Node {
    /// To which groups a process may send, as an operator says it.
    async fn grant(&self, asker: Asker, allowed: &[String]) -> Result<Grant, Error> {
        if allowed.iter().any(|text| text == "*") {
            return Ok(Grant::All);
        }
        if GRANTS_MAX < allowed.len() {
            let message =
                format!("a process may be allowed to send to at most {GRANTS_MAX} groups");
            return Err(Error::new(ErrorCode::InvalidRequest, message)
                .with_hint("`--allow-send '*'` lets it send to all"));
        }
        let mut groups = Vec::new();
        for text in allowed {
            groups.push(match self.find(asker, text).await?.reference {
                Reference::Process(pid) => pid.group,
                Reference::Group(group) => group,
            });
        }
        Ok(if groups.is_empty() { Grant::Own } else { Grant::Groups(groups) })
    }

    /// A program that was uploaded here, or to a member.
    async fn code(&self, asker: Asker, hash: CodeHash) -> Result<Arc<Code>, Error> {
        if let Some(code) = self.code_here(hash).await? {
            return Ok(code);
        }
        let mut members = self.others();
        if let Asker::Member(asker) = asker {
            members.sort_by_key(|member| member.peer.node != asker.node);
        }
        for member in members {
            if let Ok(bundle) = self.caller.fetch_code(member.peer.node, hash, |_, _| ()).await {
                let engine = self.engine.clone();
                let loaded = tokio::task::spawn_blocking(move || engine.load(&bundle, &|_| ()));
                let code = loaded.await.map_err(|error| panicked(&error))?;
                let code = code.map_err(|error| of_code(&error))?;
                if code.hash() == hash {
                    return Ok(code);
                }
            }
        }
        let message = format!("no node has the program {hash}: upload it first");
        Err(Error::new(ErrorCode::UnknownProgram, message))
    }

    pub(crate) async fn code_here(&self, hash: CodeHash) -> Result<Option<Arc<Code>>, Error> {
        let engine = self.engine.clone();
        let found = tokio::task::spawn_blocking(move || engine.code(hash)).await;
        found.map_err(|error| panicked(&error))?.map_err(|error| of_code(&error))
    }

    /// Gets the code of an image from any member that has it.
    pub(crate) async fn get_code(&self, hash: CodeHash) -> Result<(), Error> {
        self.code(Asker::Operator, hash).await.map(drop)
    }

    /// A report that does not answer the question.
    pub(crate) fn unexpected(&self, report: &Report) -> Error {
        match report {
            Report::Refused(why) | Report::GivenUp(why) => of_why(why, |node| self.node_name(node)),
            Report::Lost { last } => {
                let node = self.node_name(last.node);
                Error::new(ErrorCode::Ended, format!("it was lost with {node}"))
            }
            Report::Ended(outcome) => {
                Error::new(ErrorCode::Ended, format!("it has ended: {outcome}"))
            }
            Report::Killed | Report::GroupKilled(_) => {
                Error::new(ErrorCode::Ended, "it was killed")
            }
            other => Error::new(ErrorCode::Internal, format!("an answer out of place: {other:?}")),
        }
    }

    /// The stream of a process that has just come to be.
    pub(crate) fn tell(
        self: &Arc<Self>,
        first: ProcessEvent,
        pid: Pid,
        attached: bool,
    ) -> axum::response::Response {
        let (say, response) = events();
        let reader = self.logbook.read(pid);
        let node = self.clone();
        tokio::spawn(async move {
            if say.send(first).await.is_ok() && attached {
                node.read_out(reader, pid, LogsQuery { from: 0, follow: true }, say).await;
            }
        });
        response
    }

    /// Says what is in a log that another node keeps now.
    async fn read_on(
        &self,
        to: wire::NodeId,
        pid: Pid,
        query: LogsQuery,
        say: mpsc::Sender<ProcessEvent>,
    ) {
        let path = api::route::LOGS.fill(&[&pid.to_string()]) + &query.to_query();
        let mut lines = match self.caller.lines(to, &path).await {
            Ok(lines) => lines,
            Err(error) => {
                let error = error.with_hint(format!("`whimbrel logs {pid}` finds its output"));
                return drop(say.send(ProcessEvent::Failed { error }).await);
            }
        };
        while let Some(event) = lines.next().await {
            let event = event.unwrap_or_else(|error| ProcessEvent::Failed { error });
            if say.send(event).await.is_err() {
                return;
            }
        }
    }

    /// Says what is in a log, from an offset on, until it ends or nobody listens.
    async fn read_out(
        &self,
        mut reader: Reader,
        pid: Pid,
        LogsQuery { from, follow }: LogsQuery,
        say: mpsc::Sender<ProcessEvent>,
    ) {
        let mut at = from;
        loop {
            let next = tokio::select! {
                next = reader.next(follow) => next,
                () = say.closed() => return,
            };
            if let Ok(Some(Entry::Output(offset, _, bytes))) = &next {
                at = at.max(offset + bytes.len() as u64);
            }
            let event = match next {
                Ok(None) => return,
                Ok(Some(Entry::Handed(to))) => {
                    return self.read_on(to, pid, LogsQuery { from: at, follow }, say).await;
                }
                Ok(Some(entry)) => self.event(entry, from),
                Err(error) => {
                    let error = Error::new(ErrorCode::Io, format!("the output's log: {error}"));
                    Some(ProcessEvent::Failed { error })
                }
            };
            if let Some(event) = event
                && say.send(event).await.is_err()
            {
                return;
            }
        }
    }

    fn event(&self, entry: Entry, from: u64) -> Option<ProcessEvent> {
        match entry {
            Entry::Base(base) => (from < base).then_some(ProcessEvent::Dropped { until: base }),
            Entry::Output(offset, stream, mut bytes) => {
                let skip = usize::try_from(from.saturating_sub(offset)).unwrap_or(usize::MAX);
                bytes.drain(..skip.min(bytes.len()));
                let stream = match stream {
                    wire::Stream::Out => Stream::Stdout,
                    wire::Stream::Err => Stream::Stderr,
                };
                let offset = offset.max(from);
                (!bytes.is_empty()).then(|| ProcessEvent::Output {
                    stream,
                    offset,
                    bytes: bytes.into(),
                })
            }
            Entry::Handed(_) => None,
            Entry::Ended(outcome) => {
                let name = |node| self.node_name(node);
                Some(ProcessEvent::Ended { outcome: outcome_of(&outcome, &name) })
            }
        }
    }

    /// The member that keeps what a process wrote: the process's node knows; else, who says so.
    async fn home_of_output(
        &self,
        pid: Pid,
        process: &api::ProcessSummary,
    ) -> Option<wire::NodeId> {
        let here = self
            .events
            .look(move |driver| driver.machine.processes().find(|status| status.pid == pid)?.home);
        if let Some(home) = here.await.flatten() {
            return Some(home);
        }
        let there = self.member_named(&process.node).ok().map(|member| member.peer.node);
        let rest = self.others().into_iter().map(|member| member.peer.node);
        for node in there.into_iter().chain(rest) {
            let path = format!("/internal/home/{pid}");
            let asked = self.caller.json::<Option<u32>>(node, Method::GET, &path, Vec::new());
            if let Ok(Some(home)) = asked.await {
                return Some(wire::NodeId(home));
            }
        }
        None
    }
}

pub(crate) fn panicked(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorCode::Internal, format!("a part of the node failed: {error}"))
}
