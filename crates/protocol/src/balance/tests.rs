//! Small clusters of balancing nodes on one clock, with old news and slow moves; and each rule's absence, which shows.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use wire::{GroupId, NodeId, Pid};

use super::{Amount, Balance, Candidate, Choice, Labels, Load, NOISE, Rule};
use crate::{Instant, Rng, Span};

const SEEDS: u64 = 100;
const SECONDS: u64 = 400;
/// In this last part nothing may move any more.
const QUIET: u64 = 60;
const CAPACITY: Amount = Amount { cpu: 16_000, memory: 16_000 };

/// Who was passed on by a node that was full for a while may be back when it is the emptier one. The bound was set after
/// the fact: a thousand seeds of each story had 1.9 of 40 and 3.5 of 60 in the mean, and this many at the most.
const fn returns_max(guests: usize) -> usize {
    guests.div_ceil(5)
}

struct Guest {
    at: usize,
    since: Instant,
    left: BTreeSet<usize>,
    needs: Amount,
    pin: Labels,
    avoid: Labels,
    /// Talks to this one, as much as nothing else matters.
    friend: Option<usize>,
}

struct World {
    rng: Rng,
    nodes: Vec<Balance>,
    guests: Vec<Guest>,
    /// Loads of the last seconds: what others hear is one of these.
    news: Vec<Vec<Load>>,
    under_way: Vec<(u64, usize, usize)>,
    returns: usize,
    last_move: u64,
}

fn pid(index: usize) -> Pid {
    Pid { group: GroupId(1), index: index as u32 }
}

fn labels(node: usize) -> Labels {
    Labels::from([format!("half={}", node % 2)])
}

impl World {
    fn new(seed: u64, nodes: usize, guests: usize, broken: Option<Rule>) -> Self {
        let mut rng = Rng::seeded(seed);
        let node = |index| Balance {
            broken,
            ..Balance::new(NodeId(index as u32), Rng::seeded(seed ^ (index as u64 + 1) << 32))
        };
        let nodes = (0..nodes).map(node).collect();
        let guest = |_| Guest {
            at: 0,
            since: Instant::ZERO,
            left: BTreeSet::new(),
            needs: Amount { cpu: 100 + rng.below(400), memory: 100 + rng.below(400) },
            pin: Labels::new(),
            avoid: Labels::new(),
            friend: None,
        };
        let guests = (0..guests).map(guest).collect();
        Self {
            nodes,
            guests,
            rng,
            news: Vec::new(),
            under_way: Vec::new(),
            returns: 0,
            last_move: 0,
        }
    }

    fn load(&self, node: usize) -> Load {
        let here = self.guests.iter().filter(|guest| guest.at == node);
        let used = here.fold(Amount::default(), |sum, guest| sum.plus(guest.needs));
        Load { used, capacity: CAPACITY }
    }

    fn candidates(&self, node: usize) -> Vec<Candidate> {
        let busy = |index| self.under_way.iter().any(|(_, guest, _)| *guest == index);
        let here = self.guests.iter().enumerate().filter(|(_, guest)| guest.at == node);
        here.filter(|(index, _)| !busy(*index))
            .map(|(index, guest)| Candidate {
                pid: pid(index),
                needs: guest.needs,
                image_bytes: guest.needs.memory,
                idle: false,
                since: guest.since,
                last_pause: Span::millis(5),
                pin: guest.pin.clone(),
                avoid: guest.avoid.clone(),
                affinity: Labels::new(),
                talk: guest
                    .friend
                    .map(|it| (NodeId(self.guests[it].at as u32), 100))
                    .into_iter()
                    .collect(),
            })
            .collect()
    }

    fn run(&mut self, returns_max: usize) -> Result<(), String> {
        for second in 0..SECONDS {
            self.news.push((0..self.nodes.len()).map(|node| self.load(node)).collect());
            self.arrive(second);
            self.spread_news();
            // All decide before any is asked: that is how crossing moves come about.
            let mut asked = Vec::new();
            for node in 0..self.nodes.len() {
                let (load, candidates) = (self.load(node), self.candidates(node));
                let now = Instant::ZERO + Span::seconds(second);
                asked.extend(self.nodes[node].decide(now, load, &candidates).map(|it| (node, it)));
            }
            for (source, choice) in asked {
                self.ask(second, source, &choice)?;
            }
        }
        if self.returns > returns_max {
            return Err(format!("{} returned to where they had been", self.returns));
        }
        if self.last_move + QUIET > SECONDS {
            return Err(format!("still moving at {} s", self.last_move));
        }
        Ok(())
    }

    /// Each node hears of each other, as it was up to five seconds ago.
    fn spread_news(&mut self) {
        for node in 0..self.nodes.len() {
            for other in 0..self.nodes.len() {
                let age = self.rng.below(5) as usize;
                let heard = self.news[self.news.len().saturating_sub(1 + age)][other];
                self.nodes[node].hear(NodeId(other as u32), heard, labels(other));
            }
        }
    }

    fn ask(&mut self, second: u64, source: usize, choice: &Choice) -> Result<(), String> {
        let (guest, to) = (choice.pid.index as usize, choice.to.0 as usize);
        let rested = second - self.guests[guest].since.0 / 1_000_000;
        let own = self.load(to);
        if !self.nodes[to].admit(NodeId(source as u32), own, choice) {
            self.nodes[source].ended(choice.pid);
            return Ok(());
        }
        if rested < 10 {
            return Err(format!("{} moved after {rested} s", choice.pid));
        }
        if self.under_way.iter().any(|(_, other, _)| self.guests[*other].at == source) {
            return Err(format!("two moves leave node {source} at once"));
        }
        let Guest { pin, avoid, .. } = &self.guests[guest];
        if !pin.is_subset(&labels(to)) || !avoid.is_disjoint(&labels(to)) {
            return Err(format!("{} moved in spite of its labels", choice.pid));
        }
        let coming = self.under_way.iter().filter(|(.., target)| *target == to);
        let coming = coming.fold(Amount::default(), |sum, it| sum.plus(self.guests[it.1].needs));
        let (there, here) =
            (own.with(coming).with(choice.needs), self.load(source).without(choice.needs));
        let noise = (there.share() - own.with(coming).share()) / NOISE;
        if self.guests[guest].friend.is_none() && here.share() + noise < there.share() {
            return Err(format!("a move to node {to} turned the order round"));
        }
        self.nodes[source].granted(choice.pid);
        self.under_way.push((second + 1 + self.rng.below(3), guest, to));
        Ok(())
    }

    fn arrive(&mut self, second: u64) {
        let (done, rest): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.under_way).into_iter().partition(|it| it.0 <= second);
        self.under_way = rest;
        for (_, index, to) in done {
            let guest = &mut self.guests[index];
            let from = guest.at;
            guest.left.insert(from);
            self.returns += usize::from(guest.left.contains(&to));
            (guest.at, guest.since) = (to, Instant::ZERO + Span::seconds(second));
            self.nodes[from].ended(pid(index));
            self.nodes[to].arrived(pid(index));
            self.last_move = second;
        }
    }

    fn spread(&self) -> (u64, u64) {
        let shares = (0..self.nodes.len()).map(|node| self.load(node).share());
        (shares.clone().min().unwrap_or(0), shares.max().unwrap_or(0))
    }
}

fn crowd(seed: u64, broken: Option<Rule>) -> Result<(), String> {
    let mut world = World::new(seed, 8, 60, broken);
    world.run(returns_max(60))?;
    let (least, most) = world.spread();
    // The lightest that could go weighs 100 of 16,000 at the least, and 500 at the most.
    if most - least > 2 * 500 * 1_000_000 / CAPACITY.cpu {
        return Err(format!("the load is spread from {least} to {most}"));
    }
    Ok(())
}

fn labelled(seed: u64, broken: Option<Rule>) -> Result<(), String> {
    let mut world = World::new(seed, 6, 40, broken);
    for (index, guest) in world.guests.iter_mut().enumerate() {
        match index % 4 {
            0 => guest.pin = labels(0),
            1 => guest.avoid = labels(1),
            _ => {}
        }
    }
    world.run(returns_max(40))
}

/// Pairs of talkers that start apart, each on one of two nodes.
fn talkers(seed: u64, broken: Option<Rule>) -> Result<(), String> {
    let mut world = World::new(seed, 2, 8, broken);
    for (index, guest) in world.guests.iter_mut().enumerate() {
        (guest.at, guest.friend) = (index % 2, Some(index ^ 1));
    }
    world.run(0)?;
    let apart =
        world.guests.iter().filter(|it| it.friend.is_some_and(|at| world.guests[at].at != it.at));
    match apart.count() {
        0 => Ok(()),
        apart => Err(format!("{apart} talk across the wire still")),
    }
}

type Story = fn(u64, Option<Rule>) -> Result<(), String>;

fn stands(story: Story) {
    for seed in 0..SEEDS {
        assert_eq!(story(seed, None), Ok(()), "seed {seed}");
    }
}

fn falls(story: Story, rule: Rule, how: &str) {
    let said: Vec<_> = (0..SEEDS).filter_map(|seed| story(seed, Some(rule)).err()).collect();
    let kinds: BTreeMap<_, _> = said.iter().map(|it| (it.to_string(), ())).collect();
    assert!(said.iter().any(|it| it.contains(how)), "without {rule:?}: {:?}", kinds.keys());
}

#[test]
fn a_crowd_spreads_and_comes_to_rest() {
    stands(crowd);
}

#[test]
fn labels_are_kept() {
    stands(labelled);
}

#[test]
fn talkers_come_together_and_stay() {
    stands(talkers);
}

#[test]
fn no_rule_is_idle() {
    falls(crowd, Rule::OneAtATime, "at once");
    falls(crowd, Rule::StayPut, "moved after");
    falls(crowd, Rule::KeepOrder, "turned the order round");
    falls(crowd, Rule::TargetDecides, "turned the order round");
    falls(labelled, Rule::LabelsBind, "in spite of its labels");
    falls(talkers, Rule::TalkersStay, "returned");
    falls(talkers, Rule::OneOfTwoYields, "returned");
}

#[test]
fn a_member_that_is_forgotten_is_sent_nothing() {
    let mut world = World::new(1, 2, 20, None);
    let now = Instant::ZERO + Span::seconds(60);
    let (load, candidates, empty) = (world.load(0), world.candidates(0), world.load(1));
    let node = &mut world.nodes[0];
    node.hear(NodeId(1), empty, labels(1));
    assert!(node.clone().decide(now, load, &candidates).is_some());
    node.forget_all();
    assert_eq!(node.decide(now, load, &candidates), None);
}
