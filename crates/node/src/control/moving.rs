//! Moves and kills.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use api::{
    Error, ErrorCode, KillReply, KillRequest, Killed, MoveEvent, MoveReport, MoveRequest,
    ProcessState, ProcessSummary, Progress, Reference, Step,
};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use hyper::Method;
use protocol::Wish;
use tokio::sync::mpsc;
use wire::{Errand, Moved, NodeId, Pid, Report, Why};

use super::answer::{Answered, ending, events, json};
use super::find::{Asker, Found};
use super::{Node, Shared};
use crate::driver::{Answer, Cargo, Driver};

/// How often a target that gets code ready is asked how far it is. Most moves are over sooner.
const LOOK_AT_PROGRESS: Duration = Duration::from_millis(400);

pub(crate) async fn move_process(
    State(node): State<Shared>,
    asker: Asker,
    Path(reference): Path<String>,
    Json(request): Json<MoveRequest>,
) -> Answered {
    let target = node.target_named(&request.to).await?;
    let found = node.find(asker, &reference).await?;
    if let Reference::Group(group) = found.reference
        && found.processes.len() != 1
    {
        return super::together::move_group(node, group, found.processes, target.peer.node).await;
    }
    let process = found.one()?;
    if let Some(there) = node.elsewhere(asker, &process) {
        let path = api::route::MOVE.fill(&[&process.pid.to_string()]);
        let body = serde_json::to_vec(&request).expect("a request is plain data");
        return node.pass_on(there, Method::POST, &path, Body::from(body)).await;
    }
    let (say, response) = events();
    tokio::spawn(async move {
        let total = Some(process.memory_bytes);
        let progress = Progress { step: Step::Transfer, done: 0, total };
        let _ = say.send(MoveEvent::Progress(progress)).await;
        let carried = tokio::select! {
            carried = node.carry(&process, target.peer.node) => carried,
            never = node.tell_progress(process.pid, target.peer.node, &say) => match never {},
        };
        let last = match carried {
            Ok(report) => MoveEvent::Moved(report),
            Err(error) => MoveEvent::Failed { error },
        };
        let _ = say.send(last).await;
    });
    Ok(response)
}

pub(crate) async fn kill(
    State(node): State<Shared>,
    asker: Asker,
    Json(request): Json<KillRequest>,
) -> Answered {
    let found = node.find_to_kill(asker, &request.target).await?;
    let running: Vec<&ProcessSummary> = found
        .processes
        .iter()
        .filter(|process| !matches!(process.state, ProcessState::Ended { .. }))
        .collect();
    let killed =
        |process: &&ProcessSummary| Killed { pid: process.pid, node: process.node.clone() };
    let killed: Vec<Killed> = running.iter().map(killed).collect();
    let wish = match found.reference {
        Reference::Process(pid) => Wish::Errand(pid, Errand::Kill),
        Reference::Group(group) => Wish::KillGroup(group),
    };
    match node.wished(wish, Cargo::None).await? {
        Report::Killed | Report::GroupKilled(_) => {
            json(KillReply { killed, unanswered: Vec::new() })
        }
        Report::GroupKilling(_, nodes) => {
            let unanswered: Vec<String> = nodes.iter().map(|id| node.node_name(*id)).collect();
            let answered = |killed: &Killed| !unanswered.contains(&killed.node);
            let killed = killed.into_iter().filter(answered).collect();
            json(KillReply { killed, unanswered })
        }
        report => Err(node.unexpected(&report).into()),
    }
}

impl Node {
    /// What is to be ended. A group that only a member knows which does not answer is in no list: its exact id is enough.
    async fn find_to_kill(&self, asker: Asker, text: &str) -> Result<Found, Error> {
        let unknown = match self.find(asker, text).await {
            Err(error) if error.code == ErrorCode::UnknownProcess => error,
            found => return found,
        };
        let Ok(group) = text.parse() else { return Err(unknown) };
        let (_, silent) = self.everywhere(true).await?;
        if silent.is_empty() {
            return Err(unknown);
        }
        Ok(Found { reference: Reference::Group(group), processes: Vec::new() })
    }

    /// Says again and again what a target is at that still gets the code ready; never ends.
    async fn tell_progress(
        &self,
        pid: Pid,
        target: NodeId,
        say: &mpsc::Sender<MoveEvent>,
    ) -> Infallible {
        let mut looks = tokio::time::interval(LOOK_AT_PROGRESS);
        looks.tick().await;
        loop {
            looks.tick().await;
            let runs = move |driver: &mut Driver| Some(driver.guests.get(pid)?.process.code());
            // One that has stopped is on its way: the target has all that it needs.
            let Some(code) = self.events.look(runs).await.flatten() else { continue };
            let path = format!("/internal/code/{code}/progress");
            let asked =
                self.caller.json::<Option<Progress>>(target, Method::GET, &path, Vec::new());
            if let Ok(Some(progress)) = asked.await {
                let _ = say.send(MoveEvent::Progress(progress)).await;
            }
        }
    }

    /// Wishes what starts nothing.
    pub(crate) async fn wished(&self, wish: Wish, cargo: Cargo) -> Result<Report, Error> {
        match self.events.wish(wish, cargo).await.map_err(|_| ending())? {
            Answer::Report(report) => Ok(report),
            answer => Err(super::answer::out_of_place(&answer)),
        }
    }

    /// Moves a process of this node, and says how that went.
    pub(crate) async fn carry(
        &self,
        process: &ProcessSummary,
        to: NodeId,
    ) -> Result<MoveReport, Error> {
        let begun = Instant::now();
        let pid = process.pid;
        let before = self.events.look(move |driver| {
            let guest = driver.guests.get(pid)?;
            Some((guest.process.code(), guest.epoch, guest.process.stats().memory_bytes))
        });
        let before = before.await.ok_or_else(ending)?;
        let go = || self.wished(Wish::Errand(pid, Errand::Move(to)), Cargo::None);
        let mut report = go().await?;
        if let Report::Refused(Why::NoMember(_)) = report {
            // The home of the registry lets a joiner in before the news of its start has come here.
            self.hear_news().await;
            report = go().await?;
        }
        let moved = match report {
            Report::Moved(moved) => moved,
            Report::AlreadyThere(there) => {
                let place = self.node_name(there);
                return Ok(MoveReport { from: place.clone(), to: place, ..self.unmoved(process) });
            }
            report => return Err(self.unexpected(&report)),
        };
        let code_bytes = before.map_or(0, |(code, ..)| self.caller.take_sent(moved.to, code));
        let Moved { from, to, pause_micros, bytes, .. } = moved;
        let report = MoveReport {
            pid,
            from: self.node_name(from),
            to: self.node_name(to),
            epoch: before.map_or(0, |(_, epoch, _)| epoch.0 + 1),
            pause_us: pause_micros,
            total_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            image_bytes: bytes,
            code_bytes,
            memory_bytes: before.map_or(process.memory_bytes, |(_, _, memory)| memory),
            first: code_bytes > 0,
        };
        self.remember_move(pid, report.clone());
        Ok(report)
    }

    pub(super) fn remember_move(&self, pid: Pid, report: MoveReport) {
        self.events.send(crate::driver::Event::Look(Box::new(move |driver| {
            driver.last_moves.insert(pid, report);
        })));
    }

    fn unmoved(&self, process: &ProcessSummary) -> MoveReport {
        MoveReport {
            pid: process.pid,
            from: process.node.clone(),
            to: process.node.clone(),
            epoch: 0,
            pause_us: 0,
            total_us: 0,
            image_bytes: 0,
            code_bytes: 0,
            memory_bytes: process.memory_bytes,
            first: false,
        }
    }
}
