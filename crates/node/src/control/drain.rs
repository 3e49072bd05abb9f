//! Emptying a node: everything that can leave leaves, what cannot is listed at the start.

use std::sync::Arc;

use api::{DrainEvent, DrainItem, DrainRequest, Error, ErrorCode, ProcessState, ProcessSummary};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::Method;
use tokio::sync::mpsc;
use wire::{Member, Pid};

use super::answer::{Answered, events};
use super::find::Asker;
use super::{Node, Shared};

/// So many processes are on their way at once: what one waits for (a disk, the other node, the network)
/// others use, and the registry makes the changes of many durable together. Few enough that images
/// wait for their turn on the link for less than a target keeps room for them.
const AT_ONCE: usize = 64;

/// How often a process is offered to one node.
const TRIES: u32 = 2;

pub(crate) async fn drain(
    State(node): State<Shared>,
    asker: Asker,
    Json(request): Json<DrainRequest>,
) -> Answered {
    let member = node.member_named(&request.node)?;
    if member.peer.node != node.me.node && asker == Asker::Operator {
        let body = serde_json::to_vec(&request).expect("a request is plain data");
        let path = api::route::DRAIN.fill(&[]);
        return node.pass_on(member.peer.node, Method::POST, &path, Body::from(body)).await;
    }
    let (say, response) = events();
    tokio::spawn(async move {
        let last = match node.empty(request.plan, &say).await {
            Ok(last) => last,
            Err(error) => Some(DrainEvent::Failed { error }),
        };
        if let Some(last) = last {
            let _ = say.send(last).await;
        }
    });
    Ok(response)
}

impl Node {
    async fn empty(
        self: &Arc<Self>,
        plan: bool,
        say: &mpsc::Sender<DrainEvent>,
    ) -> Result<Option<DrainEvent>, Error> {
        let targets = self.others_up();
        if !plan {
            // No new work from now on.
            self.set_draining(true).await;
        }
        let processes = self.movable().await?;
        let successor = self.seat.is_here().then(|| targets.first()).flatten();
        let items = self.plan(&processes, &targets);
        let _ = say.send(DrainEvent::Plan { items }).await;
        if plan {
            return Ok(None);
        }
        if targets.is_empty() && !processes.is_empty() {
            self.set_draining(false).await;
            return Err(Error::new(
                ErrorCode::Refused,
                "no other member is up to take what is here",
            ));
        }
        if let Some(successor) = successor {
            // First of all: what follows asks it.
            match self.hand_on(successor).await {
                Ok(()) => {
                    let to = successor.name.clone();
                    let _ = say.send(DrainEvent::RegistryMoved { to }).await;
                }
                Err(error) => {
                    self.set_draining(false).await;
                    return Err(error);
                }
            }
        }
        let (mut moved, mut stayed) = (0, 0);
        let (mut waiting, mut leaving) = (processes.iter().enumerate(), FuturesUnordered::new());
        loop {
            while leaving.len() < AT_ONCE
                && let Some((at, process)) = waiting.next()
            {
                leaving.push(self.leave(process, &targets, at));
            }
            let Some((pid, left)) = leaving.next().await else { break };
            let event = match left {
                Ok(Some(report)) => {
                    moved += 1;
                    DrainEvent::Moved(report)
                }
                // It ended meanwhile: it is not here either.
                Ok(None) => continue,
                Err(error) => {
                    stayed += 1;
                    DrainEvent::Stayed { pid, error }
                }
            };
            let _ = say.send(event).await;
        }
        let empty = stayed == 0 && !self.seat.is_here();
        if stayed > 0 {
            self.set_draining(false).await;
        }
        Ok(Some(DrainEvent::Drained { empty, moved, stayed }))
    }

    /// Tries one target after the other; those with which a move was begun and given up, once more:
    /// a node that has just restarted is known as what it was until the first word with it.
    async fn leave(
        &self,
        process: &ProcessSummary,
        targets: &[Member],
        first: usize,
    ) -> (Pid, Result<Option<api::MoveReport>, Error>) {
        (process.pid, self.try_leave(process, targets, first).await)
    }

    async fn try_leave(
        &self,
        process: &ProcessSummary,
        targets: &[Member],
        first: usize,
    ) -> Result<Option<api::MoveReport>, Error> {
        let mut last = Error::new(ErrorCode::Refused, "no member takes it");
        let mut turns: Vec<usize> = (0..targets.len()).rev().collect();
        let mut tried = vec![0; targets.len()];
        while let Some(turn) = turns.pop() {
            let target = &targets[(first + turn) % targets.len()];
            tried[turn] += 1;
            match self.carry(process, target.peer.node).await {
                Ok(report) => return Ok(Some(report)),
                Err(error)
                    if matches!(error.code, ErrorCode::Ended | ErrorCode::UnknownProcess) =>
                {
                    return Ok(None);
                }
                Err(error) => {
                    if error.code == ErrorCode::GivenUp && tried[turn] < TRIES {
                        turns.insert(0, turn);
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn movable(&self) -> Result<Vec<ProcessSummary>, Error> {
        let mut processes = self.local(false).await?;
        processes.retain(|process| {
            process.node == self.name && !matches!(process.state, ProcessState::Ended { .. })
        });
        Ok(processes)
    }

    fn plan(&self, processes: &[ProcessSummary], targets: &[Member]) -> Vec<DrainItem> {
        let mut items: Vec<DrainItem> = processes
            .iter()
            .enumerate()
            .map(|(at, process)| DrainItem {
                pid: Some(process.pid),
                what: process.program.clone(),
                to: (!targets.is_empty()).then(|| targets[at % targets.len()].name.clone()),
                memory_bytes: process.memory_bytes,
                stays: targets.is_empty().then(|| "no other member is up".to_owned()),
            })
            .collect();
        if self.seat.is_here() {
            items.push(DrainItem {
                pid: None,
                what: "registry".to_owned(),
                to: targets.first().map(|target| target.name.clone()),
                memory_bytes: 0,
                stays: targets.is_empty().then(|| "no other member is up".to_owned()),
            });
        }
        items
    }

    async fn set_draining(&self, draining: bool) {
        self.events
            .look(move |driver| {
                driver.draining = draining;
                driver.machine.drain(draining);
            })
            .await;
    }
}
