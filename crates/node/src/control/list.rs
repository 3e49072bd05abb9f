//! What processes there are, here and everywhere, and all that is known of one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use api::{
    Dir, DirUse, Doing, Durable, Error, ErrorCode, GroupDetail, Inspection, Outcome, ProcessDetail,
    ProcessState, ProcessSummary, ProcessesReply, PsQuery, Reference,
};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use engine::Wait;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use hyper::Method;
use protocol::{Condition, Status, Waits};
use wire::{Member, NodeId, Owner, Pid, Reply, Request};

use super::answer::{Answered, ending, json};
use super::find::Asker;
use super::locate::{adapting, locate_of};
use super::{Node, Shared};
use crate::clock::unix_now;
use crate::driver::Driver;

/// How long a member may take to list its processes. It is as long as one may take to be called.
const LIST_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn ps(
    State(node): State<Shared>,
    asker: Asker,
    Query(query): Query<PsQuery>,
) -> Answered {
    if asker != Asker::Operator {
        return json(ProcessesReply {
            processes: node.local(query.all).await?,
            silent: Vec::new(),
        });
    }
    let (processes, silent) = node.everywhere(query.all).await?;
    json(ProcessesReply { processes, silent })
}

pub(crate) async fn inspect(
    State(node): State<Shared>,
    asker: Asker,
    Path(reference): Path<String>,
) -> Answered {
    let found = node.find(asker, &reference).await?;
    if let Reference::Group(group) = found.reference {
        return json(Inspection::Group(GroupDetail { group, processes: found.processes }));
    }
    let process = found.processes.into_iter().next();
    let process = process.ok_or_else(|| Error::new(ErrorCode::UnknownProcess, reference))?;
    if let Some(there) = node.elsewhere(asker, &process) {
        let path = api::route::INSPECT.fill(&[&process.pid.to_string()]);
        return node.pass_on(there, Method::GET, &path, Body::empty()).await;
    }
    let detail = node.events.look(move |driver| detail(driver, process)).await;
    json(Inspection::Process(Box::new(detail.ok_or_else(ending)?)))
}

impl Node {
    /// The processes that are here; with `all`, those whose output is, too.
    pub(crate) async fn local(&self, all: bool) -> Result<Vec<ProcessSummary>, Error> {
        let roster = self.roster.clone();
        let name = move |node: NodeId| {
            roster.member(node).map_or_else(|| node.to_string(), |member| member.name)
        };
        self.events.look(move |driver| local(driver, all, &name)).await.ok_or_else(ending)
    }

    /// The processes of all members that answer, and the names of those that do not.
    pub(crate) async fn everywhere(
        &self,
        all: bool,
    ) -> Result<(Vec<ProcessSummary>, Vec<String>), Error> {
        let others = self.others();
        let asked = others.iter().map(|member| self.of_member(member, all));
        let (local, answers) = tokio::join!(self.local(all), join_all(asked));
        self.merged(all, local?, &others, answers).await
    }

    /// The same, but a process that a member says it has is all that is wanted: then nobody else is waited for.
    pub(crate) async fn everywhere_unless(&self, pid: Pid) -> Result<Vec<ProcessSummary>, Error> {
        let others = self.others();
        let asks = others.iter().enumerate();
        let asks = asks.map(async |(at, member)| (at, self.of_member(member, true).await));
        let mut asked: FuturesUnordered<_> = asks.collect();
        let silent = || Error::new(ErrorCode::NodeUnavailable, "it has not answered");
        let mut answers: Vec<_> = others.iter().map(|_| Err(silent())).collect();
        while let Some((at, answer)) = asked.next().await {
            let name = &others[at].name;
            let has = |process: &&ProcessSummary| process.pid == pid && process.is_at(name);
            let processes = answer.as_ref().map_or(&[][..], |reply| &reply.processes);
            if let Some(process) = processes.iter().find(has) {
                return Ok(vec![process.clone()]);
            }
            answers[at] = answer;
        }
        Ok(self.merged(true, self.local(true).await?, &others, answers).await?.0)
    }

    /// The processes of one member. One that does not answer may stand still, its connections open.
    async fn of_member(&self, member: &Member, all: bool) -> Result<ProcessesReply, Error> {
        let path = api::route::PS.fill(&[]) + &PsQuery { all }.to_query();
        let node = member.peer.node;
        let answer = self.caller.json::<ProcessesReply>(node, Method::GET, &path, Vec::new());
        tokio::time::timeout(LIST_PATIENCE, answer).await.unwrap_or_else(|_| {
            let said = format!("{} does not answer", member.name);
            Err(Error::new(ErrorCode::NodeUnavailable, said))
        })
    }

    /// What is here and what members have answered, as one list.
    async fn merged(
        &self,
        all: bool,
        local: Vec<ProcessSummary>,
        others: &[Member],
        answers: Vec<Result<ProcessesReply, Error>>,
    ) -> Result<(Vec<ProcessSummary>, Vec<String>), Error> {
        let mut silent = Vec::new();
        let mut merged: BTreeMap<Pid, ProcessSummary> = BTreeMap::new();
        let mut add = |process: ProcessSummary| match merged.entry(process.pid) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(process);
            }
            // Whoever has the process knows better than whoever has its output.
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                if rank(&entry.get().state) < rank(&process.state) {
                    entry.insert(process);
                }
            }
        };
        local.into_iter().for_each(&mut add);
        for (member, answer) in others.iter().zip(answers) {
            match answer {
                Ok(reply) => reply.processes.into_iter().for_each(&mut add),
                Err(_) => silent.push(member.name.clone()),
            }
        }
        let mut processes: Vec<ProcessSummary> = merged.into_values().collect();
        self.tell_filed(&mut processes).await;
        if !all {
            processes.retain(|process| !matches!(process.state, ProcessState::Ended { .. }));
        }
        Ok((processes, silent))
    }
}

impl Node {
    /// Those that no node has may lie in files: the registry knows.
    async fn tell_filed(&self, processes: &mut [ProcessSummary]) {
        let missing = |process: &&mut ProcessSummary| process.state == ProcessState::Unreachable;
        let mut missing: Vec<&mut ProcessSummary> = processes.iter_mut().filter(missing).collect();
        if missing.is_empty() {
            return;
        }
        let pids = missing.iter().map(|process| process.pid).collect();
        let Ok(Reply::Locations(found)) = self.ask_registry(Request::Locate(pids)).await else {
            return;
        };
        for (pid, location) in found {
            if location.place.owner == Owner::File
                && let Some(process) = missing.iter_mut().find(|process| process.pid == pid)
            {
                process.state = ProcessState::Filed;
            }
        }
    }
}

fn rank(state: &ProcessState) -> u8 {
    match state {
        ProcessState::Unreachable => 0,
        ProcessState::Filed => 1,
        ProcessState::Frozen => 2,
        ProcessState::Moving { .. } => 3,
        ProcessState::Running | ProcessState::Waiting { .. } | ProcessState::Sleeping { .. } => 4,
        ProcessState::Ended { .. } => 5,
    }
}

fn local(driver: &Driver, all: bool, name: &impl Fn(NodeId) -> String) -> Vec<ProcessSummary> {
    let statuses: Vec<Status> = driver.machine.processes().collect();
    let mut found: Vec<ProcessSummary> =
        statuses.iter().filter_map(|status| summary(driver, status, name)).collect();
    let shown = statuses.iter().filter(|status| shown(status.condition));
    let here: HashSet<Pid> = shown.map(|status| status.pid).collect();
    let logs: HashMap<Pid, Option<wire::Peer>> = driver.machine.logs().collect();
    let ended = if all { driver.logbook.pids() } else { vec![] };
    let ended = ended.into_iter().filter(|pid| !here.contains(pid) && !logs.contains_key(pid));
    let logged = driver.machine.logs().filter(|(pid, _)| !here.contains(pid));
    for (pid, last) in logged.chain(ended.map(|pid| (pid, None))) {
        let outcome = driver.logbook.state(pid).and_then(|state| state.ended);
        let state = match outcome {
            Some(outcome) => ProcessState::Ended { outcome: outcome_of(&outcome, name) },
            None => ProcessState::Unreachable,
        };
        if !all && matches!(state, ProcessState::Ended { .. }) {
            continue;
        }
        let node = last.map_or_else(|| driver.name.clone(), |peer| name(peer.node));
        let known = driver.known.get(&pid);
        found.push(ProcessSummary {
            pid,
            name: known.and_then(|info| info.name.clone()),
            program: known.map(|info| info.program.clone()).unwrap_or_default(),
            node,
            state,
            memory_bytes: 0,
            age_ms: known.map_or(0, |info| age_ms(info)),
            cpu_ms: 0,
            moves: 0,
        });
    }
    found
}

/// Whether a process is this node's to show: where it is only expected, or only kept until its
/// new node is sure of it, it is not.
fn shown(condition: Condition) -> bool {
    !matches!(condition, Condition::Reserved(_) | Condition::Staged(_) | Condition::Kept(_))
}

fn summary(
    driver: &Driver,
    status: &Status,
    name: &impl Fn(NodeId) -> String,
) -> Option<ProcessSummary> {
    if !shown(status.condition) {
        return None;
    }
    let guest = driver.guests.any(status.pid);
    let info = guest.map(|guest| &guest.info).or_else(|| driver.known.get(&status.pid));
    Some(ProcessSummary {
        pid: status.pid,
        name: status.name.clone().or_else(|| info.and_then(|info| info.name.clone())),
        program: info.map(|info| info.program.clone()).unwrap_or_default(),
        node: driver.name.clone(),
        state: state(driver, status, name),
        memory_bytes: guest.map_or(0, |guest| guest.process.stats().memory_bytes),
        age_ms: info.map_or(0, |info| age_ms(info)),
        cpu_ms: guest.map_or(0, |guest| millis(guest.cpu())),
        moves: guest.map_or(0, |guest| guest.info.moves),
    })
}

fn state(driver: &Driver, status: &Status, name: &impl Fn(NodeId) -> String) -> ProcessState {
    let waits = |step: &str| match status.waits {
        Some(Waits::Node(peer)) => format!("{step}, waits for {}", name(peer.node)),
        Some(Waits::Registry) => format!("{step}, waits for the registry"),
        None => step.to_owned(),
    };
    match status.condition {
        Condition::Offered(peer) => {
            ProcessState::Moving { to: name(peer.node), step: waits("offered") }
        }
        Condition::Storing => ProcessState::Frozen,
        Condition::Ending => {
            ProcessState::Waiting { waits_for: "the end of its output".to_owned() }
        }
        _ => match driver.guests.get(status.pid).map(|guest| guest.process.stats().status) {
            Some(engine::Status::Sleeping(wait)) => {
                ProcessState::Sleeping { waits_for: what_for(wait) }
            }
            Some(engine::Status::Waiting(wait)) => {
                ProcessState::Waiting { waits_for: what_for(wait) }
            }
            Some(engine::Status::Frozen) => ProcessState::Frozen,
            _ => ProcessState::Running,
        },
    }
}

fn what_for(wait: Wait) -> String {
    match wait {
        Wait::SendRoom(to, ..) => format!("room for a message to {to}"),
        Wait::Until(_) => "time".to_owned(),
        Wait::Stdin(_) => "input".to_owned(),
        Wait::Message(_) => "a message".to_owned(),
        Wait::StdinOrMessage(_) => "input or a message".to_owned(),
        Wait::OutputRoom => "output".to_owned(),
        Wait::Effects => "its move".to_owned(),
        Wait::Answer => "the registry, about a name".to_owned(),
    }
}

/// What the processes here are doing, counted, and the memory that they have: quick, however many
/// there are.
pub(crate) fn doing(driver: &Driver) -> (Doing, u64) {
    let (mut doing, mut memory_bytes) = (Doing::default(), 0);
    for status in driver.machine.processes().filter(|status| shown(status.condition)) {
        let stats = driver.guests.get(status.pid).map(|guest| guest.process.stats());
        memory_bytes += stats.map_or(0, |stats| stats.memory_bytes);
        match (status.condition, stats.map(|stats| stats.status)) {
            (Condition::Offered(_) | Condition::Storing, _) | (_, Some(engine::Status::Frozen)) => {
                doing.moving += 1;
            }
            (Condition::Ending, _) | (_, Some(engine::Status::Waiting(_))) => doing.waiting += 1,
            (_, Some(engine::Status::Sleeping(_))) => doing.sleeping += 1,
            _ => doing.running += 1,
        }
    }
    (doing, memory_bytes)
}

fn detail(driver: &mut Driver, summary: ProcessSummary) -> ProcessDetail {
    let pid = summary.pid;
    let guest = driver.guests.any(pid);
    let info = guest.map(|guest| &guest.info).or_else(|| driver.known.get(&pid));
    let info = info.map(|info| (**info).clone()).unwrap_or_default();
    let status = driver.machine.processes().find(|status| status.pid == pid);
    let dirs = guest.map(|guest| guest.process.needs().dirs).unwrap_or_default();
    let stack = driver.guests.stack(pid).unwrap_or_default();
    ProcessDetail {
        code: guest.map_or(wire::CodeHash([0; 32]), |guest| guest.process.code()),
        epoch: status.map_or(0, |status| status.epoch.0),
        args: info.args,
        env: info.env,
        dirs: dirs.into_iter().map(|dir| DirUse { dir: dir_of(dir), open: 0 }).collect(),
        memory_bytes_max: info.memory_max,
        output_bytes: driver.logbook.state(pid).map_or(0, |state| state.length),
        locate: driver.machine.locate(pid).map(|locate| locate_of(&driver.roster, locate)),
        adapting: driver.machine.ledger(pid).map(|ledger| adapting(&driver.roster, &ledger)),
        stack: stack.iter().map(ToString::to_string).collect(),
        last_move: driver.last_moves.get(&pid).cloned(),
        life: driver.machine.life(pid),
        durable: durable(driver, pid),
        links: driver.machine.links(pid).collect(),
        summary,
    }
}

/// What is kept of a process on this node's disk.
fn durable(driver: &Driver, pid: Pid) -> Option<Durable> {
    let every_ms = driver.machine.durable(pid)?;
    let last = driver.checkpoints.last(pid);
    let now = u64::try_from(unix_now().as_micros()).unwrap_or(u64::MAX);
    Some(Durable {
        every_ms,
        age_ms: last.as_ref().map(|last| now.saturating_sub(last.at_micros) / 1_000),
        bytes: last.as_ref().and_then(|last| last.bytes.as_ref().ok().copied()),
        error: last.and_then(|last| last.bytes.err()),
    })
}

fn dir_of(dir: engine::Dir) -> Dir {
    Dir {
        host: dir.host.to_string_lossy().into_owned(),
        guest: dir.guest,
        read_only: dir.read_only,
    }
}

fn age_ms(info: &crate::papers::Info) -> u64 {
    let now = u64::try_from(unix_now().as_micros()).unwrap_or(u64::MAX);
    now.saturating_sub(info.started_micros) / 1_000
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How a process ended, as the command tells it.
pub(crate) fn outcome_of(outcome: &wire::Outcome, name: &impl Fn(NodeId) -> String) -> Outcome {
    match outcome {
        wire::Outcome::Code(code) => Outcome::Exited { code: *code },
        wire::Outcome::Trap(words) => {
            let mut lines = words.lines().map(str::to_owned);
            let message = lines.next().unwrap_or_default();
            Outcome::Trapped { message, backtrace: lines.collect() }
        }
        wire::Outcome::Killed => Outcome::Killed,
        wire::Outcome::Limit(message) => Outcome::Limit { message: message.clone() },
        wire::Outcome::Linked(pid, cause) => {
            Outcome::Linked { pid: *pid, reason: wire::Reason::from(*cause).to_string() }
        }
        wire::Outcome::Lost(peer) => Outcome::Lost {
            node: name(peer.node),
            message: format!("it was on {peer} when that went"),
        },
    }
}
