//! What nodes would do that knew all of each other: the moves after which all of them rest.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use wire::{NodeId, Pid};

use super::{Amount, Balance, Candidate, Choice, Labels, Load, REST};
use crate::{Instant, Rng, Span};

/// After so many rounds in which nobody found anything to do, nobody will: each draws two members in each.
const QUIET_ROUNDS: usize = 32;

/// A node as it was measured, with what runs there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Which.
    pub node: NodeId,
    /// How full it is.
    pub load: Load,
    /// Its labels.
    pub labels: Labels,
    /// It is being emptied, and takes no part.
    pub draining: bool,
    /// What runs there and could be moved.
    pub processes: Vec<Surveyed>,
}

/// A process as it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surveyed {
    /// What its node would decide by. Its talk is that of the moment.
    pub candidate: Candidate,
    /// Messages a second to and from other processes, wherever they are.
    pub talks: Vec<(Pid, u64)>,
}

/// The moves that bring these nodes to rest, in the order in which they are to be done. Nobody moves twice.
///
/// Each node decides in turn, by the rules that it decides by itself as well ([`Balance`]); only that processes need not
/// have rested: who asks for a plan does not want to wait.
#[must_use]
pub fn plan(surveys: &[Survey], rng: &mut Rng) -> Vec<Choice> {
    let mut cluster = Cluster::new(surveys, rng);
    let (mut moves, mut quiet) = (Vec::new(), 0);
    while quiet < QUIET_ROUNDS {
        let before = moves.len();
        for at in 0..cluster.nodes.len() {
            moves.extend(cluster.step(at));
        }
        quiet = if moves.len() == before { quiet + 1 } else { 0 };
    }
    moves
}

struct Cluster {
    nodes: Vec<Place>,
    at: BTreeMap<Pid, NodeId>,
}

struct Place {
    survey: Survey,
    balance: Balance,
}

/// Long enough after the beginning of time that whoever came then has rested.
const fn now() -> Instant {
    Instant(REST.0 * 1_000)
}

impl Cluster {
    fn new(surveys: &[Survey], rng: &mut Rng) -> Self {
        let mut at = BTreeMap::new();
        let place = |survey: &Survey| {
            let mut survey = survey.clone();
            for Surveyed { candidate, .. } in &mut survey.processes {
                at.insert(candidate.pid, survey.node);
                (candidate.since, candidate.last_pause) = (Instant::ZERO, Span(0));
            }
            let balance = Balance::new(survey.node, Rng::seeded(rng.below(u64::MAX)));
            Place { survey, balance }
        };
        let takes_part = surveys.iter().filter(|survey| !survey.draining);
        Self { nodes: takes_part.map(place).collect(), at }
    }

    /// One node decides, with the newest knowledge of all others, and what it has decided is done.
    fn step(&mut self, at: usize) -> Option<Choice> {
        let heard: Vec<_> = self.nodes.iter().map(|it| (it.survey.node, it.survey.load)).collect();
        let labels: Vec<_> = self.nodes.iter().map(|it| it.survey.labels.clone()).collect();
        let place = &mut self.nodes[at];
        for ((node, load), labels) in heard.into_iter().zip(labels) {
            place.balance.hear(node, load, labels);
        }
        let own = place.survey.load;
        let candidates: Vec<Candidate> =
            place.survey.processes.iter().map(|it| present(it, &self.at)).collect();
        let choice = place.balance.decide(now(), own, &candidates)?;
        place.balance.ended(choice.pid);
        self.carry(at, &choice);
        Some(choice)
    }

    fn carry(&mut self, from: usize, choice: &Choice) {
        let source = &mut self.nodes[from].survey;
        let index = source.processes.iter().position(|it| it.candidate.pid == choice.pid);
        let mut process = source.processes.swap_remove(index.expect("it was a candidate"));
        source.load = source.load.without(choice.needs);
        process.candidate.since = now();
        self.at.insert(choice.pid, choice.to);
        let target = self.nodes.iter_mut().find(|it| it.survey.node == choice.to);
        let target = &mut target.expect("it was heard of").survey;
        target.load = target.load.with(choice.needs);
        target.processes.push(process);
    }
}

/// A process as its node sees it, given where everybody is.
fn present(process: &Surveyed, at: &BTreeMap<Pid, NodeId>) -> Candidate {
    let mut talk: BTreeMap<NodeId, u64> = BTreeMap::new();
    for (pid, messages) in &process.talks {
        if let Some(node) = at.get(pid) {
            let sum = talk.entry(*node).or_default();
            *sum = sum.saturating_add(*messages);
        }
    }
    Candidate { talk, ..process.candidate.clone() }
}

impl Survey {
    /// How full the node is after these moves.
    #[must_use]
    pub fn after(&self, moves: &[Choice]) -> Load {
        let here = |pid| self.processes.iter().any(|it| it.candidate.pid == pid);
        let sum = |it: &mut dyn Iterator<Item = &Choice>| {
            it.fold(Amount::default(), |sum, choice| sum.plus(choice.needs))
        };
        let gone = sum(&mut moves.iter().filter(|choice| here(choice.pid)));
        let come = sum(&mut moves.iter().filter(|choice| choice.to == self.node));
        self.load.without(gone).with(come)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec;

    use wire::GroupId;

    use super::*;

    fn pid(index: u32) -> Pid {
        Pid { group: GroupId(1), index }
    }

    fn busy(index: u32) -> Surveyed {
        let candidate = Candidate {
            pid: pid(index),
            needs: Amount { cpu: 1_000, memory: 1 << 20 },
            image_bytes: 1 << 20,
            idle: false,
            since: Instant::ZERO,
            last_pause: Span(0),
            pin: Labels::new(),
            avoid: Labels::new(),
            affinity: Labels::new(),
            talk: BTreeMap::new(),
        };
        Surveyed { candidate, talks: vec![] }
    }

    fn node(number: u32, processes: Vec<Surveyed>) -> Survey {
        let used = processes.iter().fold(Amount::default(), |sum, it| sum.plus(it.candidate.needs));
        let load = Load { used, capacity: Amount { cpu: 4_000, memory: 1 << 30 } };
        let labels = Labels::new();
        Survey { node: NodeId(number), load, labels, draining: false, processes }
    }

    fn counts(surveys: &[Survey], moves: &[Choice]) -> Vec<u64> {
        surveys.iter().map(|it| it.after(moves).used.cpu / 1_000).collect()
    }

    #[test]
    fn a_full_node_gives_until_all_are_about_as_full_and_nobody_moves_twice() {
        for seed in 0..64 {
            let full = (0..9).map(busy).collect();
            let surveys = vec![node(1, full), node(2, vec![]), node(3, vec![])];
            let moves = plan(&surveys, &mut Rng::seeded(seed));
            assert_eq!(counts(&surveys, &moves), [3, 3, 3], "seed {seed}: {moves:?}");
            let moved: BTreeSet<Pid> = moves.iter().map(|choice| choice.pid).collect();
            assert_eq!(moved.len(), moves.len(), "seed {seed}: {moves:?}");
        }
    }

    #[test]
    fn who_talks_is_brought_together_and_who_is_pinned_stays() {
        let mut talker = busy(0);
        talker.talks.push((pid(1), 500));
        let mut pinned = busy(1);
        pinned.talks.push((pid(0), 500));
        pinned.candidate.pin = Labels::from(["disk=fast".into()]);
        let mut surveys = vec![node(1, vec![talker]), node(2, vec![pinned])];
        surveys[1].labels = Labels::from(["disk=fast".into()]);
        // Enough room that two on one node are no difference worth speaking of.
        for survey in &mut surveys {
            survey.load.capacity.cpu = 100_000;
        }
        let moves = plan(&surveys, &mut Rng::seeded(1));
        let gone: Vec<_> = moves.iter().map(|choice| (choice.pid, choice.to)).collect();
        assert_eq!(gone, [(pid(0), NodeId(2))]);
    }

    #[test]
    fn a_node_that_is_being_emptied_is_left_out() {
        let full = (0..6).map(busy).collect();
        let mut surveys = vec![node(1, full), node(2, vec![]), node(3, vec![])];
        surveys[1].draining = true;
        let moves = plan(&surveys, &mut Rng::seeded(1));
        assert_eq!(counts(&surveys, &moves), [3, 0, 3]);
    }
}
