//! Processes that move together: all of them, or none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use api::{Error, ErrorCode, MoveEvent, MoveReport, ProcessState, ProcessSummary, Progress, Step};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::Method;
use protocol::TOGETHER_MAX;
use tokio::sync::oneshot;
use wire::{GroupId, Moved, NodeId, Pid, Refusal, Report, Why};

use super::answer::{Answered, ending, events};
use super::{Node, Shared};
use crate::driver::{Answer, Event};

/// The path of the question among members.
pub(super) const PATH: &str = "/internal/gather";

/// How often it is said how many are staged.
const LOOK_AT_PROGRESS: Duration = Duration::from_millis(400);

/// Moves the processes of a group: their target brings them.
pub(super) async fn move_group(
    node: Shared,
    group: GroupId,
    processes: Vec<ProcessSummary>,
    to: NodeId,
) -> Answered {
    let running =
        processes.iter().filter(|process| !matches!(process.state, ProcessState::Ended { .. }));
    let pids: Vec<Pid> = running.map(|process| process.pid).collect();
    if pids.is_empty() {
        let words = format!("no process of {group} runs");
        return Err(Error::new(ErrorCode::Ended, words).into());
    }
    if TOGETHER_MAX < pids.len() {
        let words = format!(
            "{group} has {} processes, and at most {TOGETHER_MAX} move together",
            pids.len()
        );
        let error = Error::new(ErrorCode::Refused, words);
        return Err(error.with_hint("move them one by one: `whimbrel move PID --to NODE`").into());
    }
    let (_, silent) = node.everywhere(true).await?;
    if !silent.is_empty() {
        let words = format!(
            "{} does not answer, and may have processes of {group}: none was moved",
            silent.join(", ")
        );
        return Err(Error::new(ErrorCode::NodeUnavailable, words).into());
    }
    if to == node.me.node {
        return Ok(bring(node, pids));
    }
    let body = serde_json::to_vec(&pids).expect("ids are plain data");
    node.pass_on(to, Method::POST, PATH, Body::from(body)).await
}

/// A member asks this one to bring processes here.
pub(super) async fn gather(State(node): State<Shared>, Json(pids): Json<Vec<Pid>>) -> Answered {
    Ok(bring(node, pids))
}

fn bring(node: Shared, pids: Vec<Pid>) -> axum::response::Response {
    let (say, response) = events();
    tokio::spawn(async move {
        let total = Some(pids.len() as u64);
        let coming = node.bring_all(&pids);
        tokio::pin!(coming);
        let mut looks = tokio::time::interval(LOOK_AT_PROGRESS);
        looks.tick().await;
        let last = loop {
            tokio::select! {
                brought = &mut coming => break match brought {
                    Ok(reports) => MoveEvent::MovedTogether { reports },
                    Err(error) => MoveEvent::Failed { error },
                },
                _ = looks.tick() => {
                    let done = node.staged_of(&pids).await;
                    let progress = Progress { step: Step::Gather, done, total };
                    let _ = say.send(MoveEvent::Progress(progress)).await;
                }
            }
        };
        let _ = say.send(last).await;
    });
    response
}

impl Node {
    async fn bring_all(&self, pids: &[Pid]) -> Result<Vec<MoveReport>, Error> {
        let mut brought = self.try_to_bring(pids).await?;
        let unheard = |(_, report, _): &(Pid, Report, Duration)| {
            matches!(report, Report::Refused(Why::NoMember(_)))
        };
        if brought.iter().any(unheard) {
            // A source has not had the news of the start of this node yet.
            brought = self.try_to_bring(pids).await?;
        }
        let apart = |report: &Report| {
            matches!(
                report,
                Report::Refused(Why::Target(_, Refusal::Apart))
                    | Report::GivenUp(Why::Target(_, Refusal::Apart))
            )
        };
        let stays = |report: &Report| {
            !matches!(report, Report::Moved(_) | Report::AlreadyThere(_)) && !is_no_more(report)
        };
        let staying = brought.iter().filter(|(_, report, _)| stays(report));
        // What the others say is only that one of them could not come.
        let first = staying.min_by_key(|(_, report, _)| apart(report));
        if let Some((pid, report, _)) = first {
            return Err(self.none_came(*pid, report, &brought));
        }
        let mut reports = Vec::new();
        for (pid, report, total) in &brought {
            match report {
                Report::Moved(moved) => reports.push(self.came(*pid, moved, *total).await),
                Report::AlreadyThere(_) => reports.push(self.was_here(*pid).await),
                _ => (),
            }
        }
        Ok(reports)
    }

    /// One errand for each, with the time that it took.
    async fn try_to_bring(&self, pids: &[Pid]) -> Result<Vec<(Pid, Report, Duration)>, Error> {
        let begun = Instant::now();
        let (mut wanted, mut waiting) = (Vec::new(), FuturesUnordered::new());
        for pid in pids {
            let (answer, wait) = oneshot::channel();
            wanted.push((*pid, answer));
            waiting.push(async move { (*pid, wait.await, begun.elapsed()) });
        }
        self.events.send(Event::Gather(wanted));
        let mut brought = BTreeMap::new();
        while let Some((pid, answer, total)) = waiting.next().await {
            match answer.map_err(|_| ending())? {
                Answer::Report(report) => brought.insert(pid, (pid, report, total)),
                answer => return Err(super::answer::out_of_place(&answer)),
            };
        }
        Ok(brought.into_values().collect())
    }

    fn none_came(&self, pid: Pid, report: &Report, brought: &[(Pid, Report, Duration)]) -> Error {
        let error = self.unexpected(report);
        let came = brought.iter().filter(|(_, report, _)| matches!(report, Report::Moved(_)));
        let came: Vec<String> = came.map(|(pid, ..)| pid.to_string()).collect();
        let rest = match came.is_empty() {
            true => "none was moved".to_owned(),
            // Its source went while it waited here for the others.
            false => format!("only {} came, whose node went meanwhile", came.join(", ")),
        };
        Error { message: format!("{pid}: {}; {rest}", error.message), ..error }
    }

    async fn came(&self, pid: Pid, moved: &Moved, total: Duration) -> MoveReport {
        let report = MoveReport {
            from: self.node_name(moved.from),
            pause_us: moved.pause_micros,
            total_us: u64::try_from(total.as_micros()).unwrap_or(u64::MAX),
            image_bytes: moved.bytes,
            ..self.was_here(pid).await
        };
        self.remember_move(pid, report.clone());
        report
    }

    async fn was_here(&self, pid: Pid) -> MoveReport {
        let guest = self.events.look(move |driver| {
            let guest = driver.guests.get(pid)?;
            Some((guest.epoch.0, guest.process.stats().memory_bytes))
        });
        let (epoch, memory_bytes) = guest.await.flatten().unwrap_or_default();
        let here = self.name.clone();
        MoveReport {
            pid,
            from: here.clone(),
            to: here,
            epoch,
            pause_us: 0,
            total_us: 0,
            image_bytes: 0,
            code_bytes: 0,
            memory_bytes,
            first: false,
        }
    }

    /// How many of them are here, or wait here for the others.
    async fn staged_of(&self, pids: &[Pid]) -> u64 {
        let pids = pids.to_vec();
        let here = self.events.look(move |driver| {
            pids.iter().filter(|pid| driver.machine.has_whole(**pid)).count() as u64
        });
        here.await.unwrap_or_default()
    }
}

/// Whether a process has ended meanwhile: it is none of those that are to come.
fn is_no_more(report: &Report) -> bool {
    matches!(
        report,
        Report::Killed | Report::Ended(_) | Report::Lost { .. } | Report::Refused(Why::Unknown)
    )
}
