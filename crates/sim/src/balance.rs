//! Thousands of nodes that even out their load by themselves: `protocol::balance` as each of them runs it.
//!
//! What is drawn here is how a daemon asks (`node`'s `control/balance.rs`): every five seconds, at its own time, and after each move, it asks two
//! others how full they are, and those that its processes talk to most; decides; asks the target; moves. Measurements
//! are off by a little, some moves fail, and a move takes a while.

use std::collections::{BTreeMap, BTreeSet};

use protocol::balance::{Amount, Balance, Candidate, Choice, Labels, Load, Share};
use protocol::{Instant, Rng, Span};
use wire::{GroupId, NodeId, Pid};

/// A node looks around this often, in seconds.
const EVERY: u64 = 5;

/// It asks so many nodes where those are that its processes talk to.
const TALKERS_MAX: usize = 4;

/// What one node has, in thousandths of a processor; memory takes no part.
const CAPACITY: Amount = Amount { cpu: 64_000, memory: 0 };

/// A measurement is off by up to this many hundredths, either way.
const NOISE: u64 = 2;

/// A move takes up to so many seconds: many times what it does.
const MOVE_MAX: u64 = 2;

/// So many moves in a hundred come to nothing.
const FAILING: u64 = 1;

/// What to play.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// How many nodes.
    pub nodes: usize,
    /// How many processes. At first they are all on one node of eight.
    pub processes: usize,
    /// Of these, so many in a hundred talk to three others each.
    pub talkers: u64,
    /// How long it lasts, in seconds.
    pub seconds: u64,
}

/// How things stood in one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the beginning, in seconds.
    pub second: u64,
    /// How full the emptiest node was.
    pub least: Share,
    /// How full all were in the mean.
    pub mean: Share,
    /// How full the node was that is fuller than 99 in a hundred.
    pub p99: Share,
    /// How full the fullest was.
    pub most: Share,
    /// How many moves ended in it.
    pub moves: u64,
    /// How many of them went to a node where the process had been before.
    pub returns: u64,
    /// How many pairs of talkers are on two nodes.
    pub apart: u64,
}

struct Process {
    at: usize,
    since: u64,
    been: BTreeSet<usize>,
    cpu: u64,
    talks: Vec<usize>,
    moving: bool,
}

struct World {
    rng: Rng,
    nodes: Vec<Balance>,
    here: Vec<BTreeSet<usize>>,
    used: Vec<u64>,
    processes: Vec<Process>,
    /// When each ends, who moves, where to.
    under_way: BTreeMap<u64, Vec<(usize, usize)>>,
    moves: u64,
    returns: u64,
}

/// Plays it, and says how things stood in each second.
#[must_use]
pub fn play(story: Story, seed: u64) -> Vec<Moment> {
    let mut world = World::new(story, seed);
    (0..story.seconds).map(|second| world.step(second)).collect()
}

/// What the heaviest process weighs, of one node: less than that no move can even out.
#[must_use]
pub fn heaviest() -> Share {
    Load { used: Amount { cpu: CPU_MAX, memory: 0 }, capacity: CAPACITY }.share()
}

const CPU_MIN: u64 = 100;
const CPU_MAX: u64 = 2_000;

fn pid(index: usize) -> Pid {
    Pid { group: GroupId(1), index: index as u32 }
}

impl World {
    fn new(story: Story, seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let node = |index: usize| {
            Balance::new(NodeId(index as u32), Rng::seeded(seed ^ (index as u64 + 1) << 24))
        };
        let nodes = (0..story.nodes).map(node).collect();
        let crowded = story.nodes.div_ceil(8) as u64;
        // Groups of four in a row know each other.
        let talking: Vec<bool> =
            (0..story.processes / 4).map(|_| rng.chance(story.talkers)).collect();
        let mut process = |index: usize| {
            let talks = talking.get(index / 4).copied().unwrap_or(false);
            let others = (index / 4 * 4..index / 4 * 4 + 4).filter(|other| *other != index);
            let at = rng.below(crowded) as usize * 8 % story.nodes;
            Process {
                at,
                since: 0,
                been: BTreeSet::from([at]),
                cpu: CPU_MIN + rng.below(CPU_MAX - CPU_MIN),
                talks: others.filter(|_| talks).collect(),
                moving: false,
            }
        };
        let processes: Vec<Process> = (0..story.processes).map(&mut process).collect();
        let mut here = vec![BTreeSet::new(); story.nodes];
        let mut used = vec![0; story.nodes];
        for (index, process) in processes.iter().enumerate() {
            here[process.at].insert(index);
            used[process.at] += process.cpu;
        }
        let (under_way, moves, returns) = Default::default();
        Self { rng, nodes, here, used, processes, under_way, moves, returns }
    }

    fn step(&mut self, second: u64) -> Moment {
        (self.moves, self.returns) = (0, 0);
        let gave = self.arrive(second);
        for node in 0..self.nodes.len() {
            // Each at its own time; and at once, when it has just given one away.
            if (second + node as u64 * 7).is_multiple_of(EVERY) || gave.contains(&node) {
                self.look_around(second, node);
            }
        }
        self.moment(second)
    }

    /// How full a node is, as it measures itself.
    fn load(&mut self, node: usize) -> Load {
        let noise = 100 - NOISE + self.rng.below(2 * NOISE + 1);
        let cpu = self.used[node] * noise / 100;
        Load { used: Amount { cpu, memory: 0 }, capacity: CAPACITY }
    }

    fn candidates(&self, node: usize) -> Vec<Candidate> {
        let here = self.here[node].iter().map(|index| (*index, &self.processes[*index]));
        here.filter(|(_, process)| !process.moving)
            .map(|(index, process)| {
                let mut talk: BTreeMap<NodeId, u64> = BTreeMap::new();
                for other in &process.talks {
                    *talk.entry(NodeId(self.processes[*other].at as u32)).or_default() += 100;
                }
                Candidate {
                    pid: pid(index),
                    needs: Amount { cpu: process.cpu, memory: 0 },
                    image_bytes: process.cpu << 10,
                    idle: false,
                    since: Instant::ZERO + Span::seconds(process.since),
                    last_pause: Span::millis(5),
                    pin: Labels::new(),
                    avoid: Labels::new(),
                    affinity: Labels::new(),
                    talk,
                }
            })
            .collect()
    }

    fn look_around(&mut self, second: u64, node: usize) {
        let candidates = self.candidates(node);
        if candidates.is_empty() {
            return;
        }
        let mut talk: BTreeMap<NodeId, u64> = BTreeMap::new();
        for (there, often) in candidates.iter().flat_map(|it| &it.talk) {
            *talk.entry(*there).or_default() += often;
        }
        talk.remove(&NodeId(node as u32));
        let mut talkers: Vec<_> = talk.into_iter().collect();
        talkers.sort_by_key(|(there, often)| (std::cmp::Reverse(*often), *there));
        let mut asked: BTreeSet<NodeId> =
            talkers.into_iter().take(TALKERS_MAX).map(|(there, _)| there).collect();
        for _ in 0..2 {
            let other = self.rng.below(self.nodes.len() as u64 - 1) as usize;
            asked.insert(NodeId((other + usize::from(node <= other)) as u32));
        }
        self.nodes[node].forget_all();
        for other in asked {
            let load = self.load(other.0 as usize);
            self.nodes[node].hear(other, load, Labels::new());
        }
        let own = self.load(node);
        let now = Instant::ZERO + Span::seconds(second);
        if let Some(choice) = self.nodes[node].decide(now, own, &candidates) {
            self.ask(second, node, &choice);
        }
    }

    fn ask(&mut self, second: u64, source: usize, choice: &Choice) {
        let (index, to) = (choice.pid.index as usize, choice.to.0 as usize);
        let own = self.load(to);
        if !self.nodes[to].admit(NodeId(source as u32), own, choice) {
            return self.nodes[source].ended(choice.pid);
        }
        self.nodes[source].granted(choice.pid);
        self.processes[index].moving = true;
        let at = second + 1 + self.rng.below(MOVE_MAX);
        self.under_way.entry(at).or_default().push((index, to));
    }

    /// Ends the moves that are over, and says which nodes have given something away.
    fn arrive(&mut self, second: u64) -> BTreeSet<usize> {
        let mut gave = BTreeSet::new();
        for (index, to) in self.under_way.remove(&second).unwrap_or_default() {
            let fails = self.rng.chance(FAILING);
            let process = &mut self.processes[index];
            let from = process.at;
            process.moving = false;
            self.nodes[from].ended(pid(index));
            self.nodes[to].arrived(pid(index));
            if fails {
                continue;
            }
            (process.at, process.since) = (to, second);
            self.returns += u64::from(!process.been.insert(to));
            self.moves += 1;
            self.here[from].remove(&index);
            self.here[to].insert(index);
            self.used[from] -= process.cpu;
            self.used[to] += process.cpu;
            gave.insert(from);
        }
        gave
    }

    fn moment(&self, second: u64) -> Moment {
        let share = |cpu: u64| Load { used: Amount { cpu, memory: 0 }, capacity: CAPACITY }.share();
        let mut shares: Vec<Share> = self.used.iter().map(|used| share(*used)).collect();
        shares.sort_unstable();
        let count = shares.len();
        let pairs = self.processes.iter().enumerate().flat_map(|(index, process)| {
            process.talks.iter().map(move |other| (index, process.at, *other))
        });
        let apart = pairs.filter(|(_, at, other)| self.processes[*other].at != *at).count();
        Moment {
            second,
            least: shares[0],
            mean: shares.iter().sum::<Share>() / count as u64,
            p99: shares[(count * 99 / 100).min(count - 1)],
            most: shares[count - 1],
            moves: self.moves,
            returns: self.returns,
            apart: apart as u64,
        }
    }
}
