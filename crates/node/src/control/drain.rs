//! Emptying a node: everything that can leave leaves, what cannot is listed at the start.

use std::sync::Arc;

use api::{DrainEvent, DrainItem, DrainRequest, Error, ErrorCode, ProcessState, ProcessSummary};
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::Method;
use protocol::Wish;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use wire::{CodeHash, Errand, Member, NodeId, Pid, Report};

use super::answer::{Answered, ending, events, json};
use super::find::Asker;
use super::run::panicked;
use super::{Node, Shared};
use crate::driver::Cargo;

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

/// Whose mailbox is a node, and which it is to be instead; if that is not said, they are counted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct MailboxRequest {
    from: NodeId,
    to: Option<NodeId>,
}

const MAILBOX: &str = "/internal/mailbox";
const LACKING: &str = "/internal/codes/lacking";
const FETCH: &str = "/internal/codes/fetch";

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route(MAILBOX, post(leave_mailbox))
        .route(LACKING, post(lacking))
        .route(FETCH, post(fetch))
}

/// Gives the processes here another mailbox that have the one that is said. Answers how many there are.
async fn leave_mailbox(
    State(node): State<Shared>,
    Json(request): Json<MailboxRequest>,
) -> Answered {
    json(node.leave_mailbox_here(request).await?)
}

/// Which of these programs are not here.
async fn lacking(State(node): State<Shared>, Json(mut codes): Json<Vec<CodeHash>>) -> Answered {
    codes.retain(|code| !node.engine.has(*code));
    json(codes)
}

/// Fetches programs from whoever has them.
async fn fetch(State(node): State<Shared>, Json(codes): Json<Vec<CodeHash>>) -> Answered {
    for code in codes {
        node.get_code(code).await?;
    }
    json(())
}

/// What is to leave a node besides its processes.
struct Belongings {
    logs: Vec<Pid>,
    log_bytes: u64,
    /// How many processes have their mailbox here.
    mailboxes: u64,
    /// Programs that nobody else has.
    codes: Vec<CodeHash>,
}

impl Node {
    async fn empty(
        self: &Arc<Self>,
        plan: bool,
        say: &mpsc::Sender<DrainEvent>,
    ) -> Result<Option<DrainEvent>, Error> {
        let busy = |_| Error::new(ErrorCode::Busy, "this node is being drained already");
        let _alone = self.emptying.try_lock().map_err(busy)?;
        let targets = self.others_up();
        if !plan {
            // No new work from now on.
            self.set_draining(true).await;
        }
        let emptied = self.empty_to(&targets, plan, say).await;
        if let Err(_) | Ok(Some(DrainEvent::Drained { empty: false, .. })) = emptied
            && !plan
        {
            self.set_draining(false).await;
        }
        emptied
    }

    /// The order is that of need: what follows asks the registry, and a process has its output taken where it is kept.
    async fn empty_to(
        self: &Arc<Self>,
        targets: &[Member],
        plan: bool,
        say: &mpsc::Sender<DrainEvent>,
    ) -> Result<Option<DrainEvent>, Error> {
        let processes = self.movable().await?;
        let belongings = self.belongings(targets).await?;
        let successor = self.seat.is_here().then(|| targets.first()).flatten();
        let items = self.plan(&processes, &belongings, targets);
        let nothing = items.is_empty();
        let _ = say.send(DrainEvent::Plan { items }).await;
        if plan {
            return Ok(None);
        }
        if targets.is_empty() && !nothing {
            return Err(Error::new(
                ErrorCode::Refused,
                "no other member is up to take what is here",
            ));
        }
        if let Some(successor) = successor {
            self.hand_on(successor).await?;
            let to = successor.name.clone();
            let _ = say.send(DrainEvent::RegistryMoved { to }).await;
        }
        if let Some(first) = targets.first() {
            self.leave_mailboxes(first, say).await?;
            self.leave_codes(&belongings.codes, first, say).await?;
        }
        let mut logs = self.leave_logs(targets, say).await?;
        let (moved, stayed) = self.leave_all(&processes, targets, say).await;
        // One whose output was kept by a node that is forgotten meanwhile keeps it where it is.
        logs.extend(self.leave_logs(targets, say).await?);
        let empty = stayed == 0 && !self.any_log_left(logs).await? && !self.seat.is_here();
        Ok(Some(DrainEvent::Drained { empty, moved, stayed }))
    }

    async fn belongings(&self, targets: &[Member]) -> Result<Belongings, Error> {
        let logs = self.logs_here().await?;
        let (book, pids) = (self.logbook.clone(), logs.clone());
        let size = move || pids.iter().map(|pid| book.bytes(*pid)).sum();
        let log_bytes =
            tokio::task::spawn_blocking(size).await.map_err(|error| panicked(&error))?;
        let request = MailboxRequest { from: self.me.node, to: None };
        let mailboxes = self.ask_about_mailboxes(request).await?;
        let codes = self.codes_of_nobody_else(targets).await?;
        Ok(Belongings { logs, log_bytes, mailboxes, codes })
    }

    /// Moves the processes, and counts those that left and those that did not.
    async fn leave_all(
        &self,
        processes: &[ProcessSummary],
        targets: &[Member],
        say: &mpsc::Sender<DrainEvent>,
    ) -> (u64, u64) {
        let (mut moved, mut stayed) = (0, 0);
        let (mut waiting, mut leaving) = (processes.iter().enumerate(), FuturesUnordered::new());
        loop {
            while leaving.len() < AT_ONCE
                && let Some((at, process)) = waiting.next()
            {
                leaving.push(self.leave(process, targets, at));
            }
            let Some((pid, left)) = leaving.next().await else { return (moved, stayed) };
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
    }

    /// Hands on what processes wrote. Says whose logs did not leave in time.
    async fn leave_logs(
        self: &Arc<Self>,
        targets: &[Member],
        say: &mpsc::Sender<DrainEvent>,
    ) -> Result<Vec<Pid>, Error> {
        let stayed = self.hand_logs(targets, say).await?;
        for (pid, error) in &stayed {
            let event = DrainEvent::OutputStayed { pid: *pid, error: error.clone() };
            let _ = say.send(event).await;
        }
        Ok(stayed.into_iter().map(|(pid, _)| pid).collect())
    }

    async fn leave_mailboxes(
        &self,
        to: &Member,
        say: &mpsc::Sender<DrainEvent>,
    ) -> Result<(), Error> {
        let request = MailboxRequest { from: self.me.node, to: Some(to.peer.node) };
        let processes = self.ask_about_mailboxes(request).await?;
        if processes > 0 {
            let to = to.name.clone();
            let _ = say.send(DrainEvent::MailboxesMoved { processes, to }).await;
        }
        Ok(())
    }

    /// Of all members that answer. What the others have finds another mailbox when this one is gone.
    async fn ask_about_mailboxes(&self, request: MailboxRequest) -> Result<u64, Error> {
        let here = self.leave_mailbox_here(request).await?;
        let body = serde_json::to_vec(&request).expect("a request is plain data");
        let others = self.others_up();
        let asks = others.iter().map(|member| {
            self.caller.json::<u64>(member.peer.node, Method::POST, MAILBOX, body.clone())
        });
        let answers = join_all(asks).await;
        Ok(here + answers.into_iter().flatten().sum::<u64>())
    }

    async fn leave_mailbox_here(&self, request: MailboxRequest) -> Result<u64, Error> {
        let from = request.from;
        let having = self.events.look(move |driver| {
            let pids = driver.machine.processes().map(|status| status.pid);
            let having = pids.filter_map(|pid| {
                let locate = driver.machine.locate(pid)?;
                (locate.mailbox() == Some(from)).then_some((pid, locate))
            });
            having.collect::<Vec<_>>()
        });
        let having = having.await.ok_or_else(ending)?;
        let Some(to) = request.to else { return Ok(having.len() as u64) };
        let change = |(pid, locate): (Pid, wire::Locate)| {
            let wish = Wish::Errand(pid, Errand::Locate(locate.with_mailbox(to)));
            self.wished(wish, Cargo::None)
        };
        let changes: Vec<_> = having.into_iter().map(change).collect();
        let changed: Vec<_> =
            futures_util::stream::iter(changes).buffer_unordered(AT_ONCE).collect().await;
        Ok(changed.iter().filter(|report| matches!(report, Ok(Report::Located))).count() as u64)
    }

    /// Programs that no other member has: images in files need them.
    async fn codes_of_nobody_else(&self, others: &[Member]) -> Result<Vec<CodeHash>, Error> {
        let engine = self.engine.clone();
        let codes = tokio::task::spawn_blocking(move || engine.stored()).await;
        let mut codes = codes.map_err(|error| panicked(&error))?;
        for member in others {
            if codes.is_empty() {
                break;
            }
            let body = serde_json::to_vec(&codes).expect("hashes are plain data");
            let node = member.peer.node;
            // What is not known to be there is taken along.
            if let Ok(lacking) = self.caller.json(node, Method::POST, LACKING, body).await {
                codes = lacking;
            }
        }
        Ok(codes)
    }

    async fn leave_codes(
        &self,
        codes: &[CodeHash],
        to: &Member,
        say: &mpsc::Sender<DrainEvent>,
    ) -> Result<(), Error> {
        if codes.is_empty() {
            return Ok(());
        }
        let body = serde_json::to_vec(codes).expect("hashes are plain data");
        self.caller.json::<()>(to.peer.node, Method::POST, FETCH, body).await?;
        let programs = codes.len() as u64;
        let _ = say.send(DrainEvent::ProgramsMoved { programs, to: to.name.clone() }).await;
        Ok(())
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

    fn plan(
        &self,
        processes: &[ProcessSummary],
        belongings: &Belongings,
        targets: &[Member],
    ) -> Vec<DrainItem> {
        let items: Vec<DrainItem> = processes
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
        let some = |count: u64, what: &str| (count > 0).then(|| format!("{what} of {count}"));
        let other = [
            (self.seat.is_here().then(|| "registry".to_owned()), 0),
            (some(belongings.mailboxes, "mailbox"), 0),
            (some(belongings.codes.len() as u64, "only copy of programs"), 0),
            (some(belongings.logs.len() as u64, "output"), belongings.log_bytes),
        ];
        let other = other.into_iter().filter_map(|(what, memory_bytes)| {
            Some(DrainItem {
                pid: None,
                what: what?,
                to: targets.first().map(|target| target.name.clone()),
                memory_bytes,
                stays: targets.is_empty().then(|| "no other member is up".to_owned()),
            })
        });
        other.chain(items).collect()
    }

    /// Whether this node starts processes; it is in vain on one that is about to be erased.
    pub(super) async fn takes_work(&self) -> Result<(), Error> {
        if !self.events.look(|driver| driver.draining).await.ok_or_else(ending)? {
            return Ok(());
        }
        let message = format!("{} is drained, and takes no new work", self.name);
        let hint = format!(
            "`--on` another member; or `whimbrel node stop {}`, and start it again",
            self.name
        );
        Err(Error::new(ErrorCode::Refused, message).with_hint(hint))
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
