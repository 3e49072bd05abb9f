//! Evening out the load: at an operator's word, by a plan that is shown first; or each node by itself, now and then.
//!
//! Both decide by `protocol::balance`. A plan knows all nodes and is carried out as it stands; a node by itself asks two
//! others how full they are, and those that its processes talk to, and the one that it would send to has the last word.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::{Error, ErrorCode, MoveReport, NodeLoad, PlannedMove, RebalanceEvent, RebalanceRequest};
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::Method;
use protocol::Rng;
use protocol::balance::{self, Choice, Load, Reason, Survey};
use tokio::sync::mpsc;
use wire::{NodeId, Peer, Pid};

use super::answer::{Answered, ending, events, invalid, json};
use super::{Node, Shared};
use crate::balancing::random;

/// How often a node looks for a process that would be better off elsewhere.
const EVERY: Duration = Duration::from_secs(5);

/// Up to so much later.
const LATE_MAX: Duration = Duration::from_secs(1);

/// How many nodes it asks where those are that its processes talk to.
const TALKERS_MAX: usize = 4;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/internal/survey", get(survey))
        .route("/internal/survey/load", get(load))
        .route("/internal/admit", post(admit))
        .route("/internal/move/{pid}/{node}", post(carry))
}

async fn survey(State(node): State<Shared>) -> Answered {
    json(node.survey().await?)
}

/// The node without its processes.
async fn load(State(node): State<Shared>) -> Answered {
    json(Survey { processes: Vec::new(), ..node.survey().await? })
}

async fn admit(
    State(node): State<Shared>,
    Extension(peer): Extension<Peer>,
    Json(choice): Json<Choice>,
) -> Answered {
    let survey = node.survey().await?;
    json(node.balancing.plans().admit(peer.node, &survey, &choice))
}

async fn carry(State(node): State<Shared>, Path((pid, to)): Path<(String, u32)>) -> Answered {
    json(node.carry_here(pid.parse().map_err(invalid)?, NodeId(to)).await?)
}

pub(crate) async fn rebalance(
    State(node): State<Shared>,
    Json(request): Json<RebalanceRequest>,
) -> Answered {
    let (say, response) = events();
    tokio::spawn(async move {
        let last = match node.even_out(request.plan, &say).await {
            Ok(last) => last,
            Err(error) => RebalanceEvent::Failed { error },
        };
        let _ = say.send(last).await;
    });
    Ok(response)
}

impl Node {
    async fn survey(&self) -> Result<Survey, Error> {
        self.balancing.survey(&self.events).await.ok_or_else(ending)
    }

    /// Asks all nodes, plans, and has each do its part; one at a time leaves each node.
    async fn even_out(
        &self,
        only_plan: bool,
        say: &mpsc::Sender<RebalanceEvent>,
    ) -> Result<RebalanceEvent, Error> {
        let (surveys, unanswered) = self.surveys().await?;
        let mut rng = Rng::seeded(u64::from_le_bytes(random()));
        let moves = balance::plan(&surveys, &mut rng);
        let nodes = surveys.iter().map(|survey| self.node_load(survey, &moves)).collect();
        let shown = self.show(&surveys, &moves).await;
        let plan = RebalanceEvent::Plan { nodes, moves: shown, unanswered };
        if only_plan {
            return Ok(plan);
        }
        let _ = say.send(plan).await;
        let at: BTreeMap<Pid, NodeId> = surveys
            .iter()
            .flat_map(|it| it.processes.iter().map(|process| (process.candidate.pid, it.node)))
            .collect();
        let mut of_node: BTreeMap<NodeId, Vec<Choice>> = BTreeMap::new();
        for choice in moves {
            of_node.entry(at[&choice.pid]).or_default().push(choice);
        }
        let mut leaving: FuturesUnordered<_> =
            of_node.into_iter().map(|(from, moves)| self.send_away(from, moves, say)).collect();
        let (mut moved, mut stayed) = (0, 0);
        while let Some((gone, not)) = leaving.next().await {
            (moved, stayed) = (moved + gone, stayed + not);
        }
        Ok(RebalanceEvent::Balanced { moved, stayed })
    }

    /// What every member that is up says of itself; and the names of those that did not answer.
    async fn surveys(&self) -> Result<(Vec<Survey>, Vec<String>), Error> {
        // One that has just joined is the one that the operator wants to see filled.
        self.hear_news().await;
        let others = self.others_up();
        let asked = others.iter().map(|member| {
            let node = member.peer.node;
            self.caller.json::<Survey>(node, Method::GET, "/internal/survey", Vec::new())
        });
        let (own, answers) = tokio::join!(self.survey(), join_all(asked));
        let (mut surveys, mut unanswered) = (vec![own?], Vec::new());
        for (member, answer) in others.iter().zip(answers) {
            match answer {
                // Nobody speaks for another.
                Ok(survey) if survey.node == member.peer.node => surveys.push(survey),
                _ => unanswered.push(member.name.clone()),
            }
        }
        Ok((surveys, unanswered))
    }

    fn node_load(&self, survey: &Survey, moves: &[Choice]) -> NodeLoad {
        let Load { used, capacity } = survey.load;
        let after = survey.after(moves);
        NodeLoad {
            node: self.node_name(survey.node),
            labels: survey.labels.iter().cloned().collect(),
            draining: survey.draining,
            cpu_milli: used.cpu,
            cpu_milli_max: capacity.cpu,
            memory_bytes: used.memory,
            memory_bytes_max: capacity.memory,
            share_ppm: survey.load.share(),
            cpu_milli_after: after.used.cpu,
            memory_bytes_after: after.used.memory,
            share_ppm_after: after.share(),
        }
    }

    async fn show(&self, surveys: &[Survey], moves: &[Choice]) -> Vec<PlannedMove> {
        let programs: BTreeMap<Pid, String> = match self.everywhere(false).await {
            Ok((processes, _)) => processes.into_iter().map(|it| (it.pid, it.program)).collect(),
            Err(_) => BTreeMap::new(),
        };
        let moved = moves.iter().filter_map(|choice| {
            let here = |it: &&Survey| it.processes.iter().any(|it| it.candidate.pid == choice.pid);
            Some(PlannedMove {
                pid: choice.pid,
                program: programs.get(&choice.pid).cloned().unwrap_or_default(),
                from: self.node_name(surveys.iter().find(here)?.node),
                to: self.node_name(choice.to),
                cpu_milli: choice.needs.cpu,
                memory_bytes: choice.needs.memory,
                reason: match choice.reason {
                    Reason::Load => api::MoveReason::Load,
                    Reason::LoadInSpiteOfTalk => api::MoveReason::LoadInSpiteOfTalk,
                    Reason::Talk => api::MoveReason::Talk,
                },
            })
        });
        moved.collect()
    }

    async fn send_away(
        &self,
        from: NodeId,
        moves: Vec<Choice>,
        say: &mpsc::Sender<RebalanceEvent>,
    ) -> (u64, u64) {
        let (mut moved, mut stayed) = (0, 0);
        for Choice { pid, to, .. } in moves {
            let went = if from == self.me.node {
                self.carry_here(pid, to).await
            } else {
                let path = format!("/internal/move/{pid}/{}", to.0);
                self.caller.json::<MoveReport>(from, Method::POST, &path, Vec::new()).await
            };
            let event = match went {
                Ok(report) => {
                    moved += 1;
                    RebalanceEvent::Moved(report)
                }
                // It was on its way to its end, or somebody else has moved it.
                Err(error)
                    if matches!(error.code, ErrorCode::Ended | ErrorCode::UnknownProcess) =>
                {
                    continue;
                }
                Err(error) => {
                    stayed += 1;
                    RebalanceEvent::Stayed { pid, error }
                }
            };
            let _ = say.send(event).await;
        }
        (moved, stayed)
    }

    async fn carry_here(&self, pid: Pid, to: NodeId) -> Result<MoveReport, Error> {
        let process = self.local(false).await?.into_iter().find(|process| process.pid == pid);
        let gone = || Error::new(ErrorCode::UnknownProcess, format!("{pid} is not here any more"));
        self.carry(&process.ok_or_else(gone)?, to).await
    }

    /// Looks now and then for a process that would be better off elsewhere, and moves it there. Never ends.
    pub(crate) async fn keep_balanced(self: Shared) {
        loop {
            // Nodes that were started together need not all look at once.
            let late = LATE_MAX.mul_f64(f64::from(random::<1>()[0]) / 255.0);
            tokio::time::sleep(EVERY + late).await;
            // One after the other, as long as there is something to gain.
            loop {
                match self.look_around().await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::debug!(%error, "not balanced");
                        break;
                    }
                }
            }
        }
    }

    /// Says whether it has moved one.
    async fn look_around(&self) -> Result<bool, Error> {
        let own = self.survey().await?;
        if own.draining || own.processes.is_empty() {
            return Ok(false);
        }
        self.ask_some(&own).await;
        let now = self.events.look(|driver| driver.clock.now()).await.ok_or_else(ending)?;
        let candidates: Vec<_> = own.processes.into_iter().map(|it| it.candidate).collect();
        let choice = self.balancing.plans().balance.decide(now, own.load, &candidates);
        let Some(choice) = choice else { return Ok(false) };
        let carried = self.carry_if_admitted(&choice).await;
        self.balancing.plans().balance.ended(choice.pid);
        let Some(MoveReport { pid, to, .. }) = carried? else { return Ok(false) };
        tracing::info!(%pid, %to, reason = ?choice.reason, "moved for balance");
        Ok(true)
    }

    /// Hears of two members, and of those that are talked to most. What is known of others is old, and forgotten.
    async fn ask_some(&self, own: &Survey) {
        let others: Vec<NodeId> = self.others_up().iter().map(|it| it.peer.node).collect();
        let mut talk: BTreeMap<NodeId, u64> = BTreeMap::new();
        for (node, often) in own.processes.iter().flat_map(|it| &it.candidate.talk) {
            *talk.entry(*node).or_default() += often;
        }
        let mut talkers: Vec<_> = talk.into_iter().filter(|it| others.contains(&it.0)).collect();
        talkers.sort_by_key(|(node, often)| (Reverse(*often), *node));
        let mut asked: BTreeSet<NodeId> =
            talkers.into_iter().take(TALKERS_MAX).map(|(node, _)| node).collect();
        asked.extend(self.balancing.plans().balance.two_of(&others));
        let answers = join_all(asked.iter().map(|node| {
            self.caller.json::<Survey>(*node, Method::GET, "/internal/survey/load", Vec::new())
        }));
        let answers = answers.await;
        let mut plans = self.balancing.plans();
        plans.balance.forget_all();
        for (node, answer) in asked.into_iter().zip(answers) {
            if let Ok(survey) = answer
                && !survey.draining
            {
                plans.balance.hear(node, survey.load, survey.labels);
            }
        }
    }

    async fn carry_if_admitted(&self, choice: &Choice) -> Result<Option<MoveReport>, Error> {
        let body = serde_json::to_vec(choice).expect("a choice is plain data");
        let asked = self.caller.json::<bool>(choice.to, Method::POST, "/internal/admit", body);
        if !asked.await? {
            return Ok(None);
        }
        self.balancing.plans().balance.granted(choice.pid);
        self.carry_here(choice.pid, choice.to).await.map(Some)
    }
}
