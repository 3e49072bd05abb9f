//! Which process a node would rather have elsewhere: each node decides about its own, from the load of others that it has asked for.
//!
//! ```text
//!   source                                   target
//!   decide: draws two members, the emptier
//!      │ ── choice, with the source's load ──▶ admit: by its own load and what it has reserved
//!      │ ◀────────── yes, or refused ───────── │
//!   the move, as any other                     │
//!   ended                                    arrived, or never came
//! ```
//!
//! Why it comes to rest: a move for the load's sake needs a difference of almost twice what the process weighs, and
//! leaves the source less full than before. The target may come out fuller than the source by a quarter of that weight
//! ([`NOISE`]): of three that compute at one of three nodes each is to get its own, though no two measurements are
//! equal. With any part below the whole the sum of the squares of both shares falls with each move, and the way back,
//! which asks for the same difference the other way round, is closed. A move for the sake of talk lowers the messages between nodes,
//! and may leave the target fuller by [`SLACK`] at most; a move that would part talkers again asks for a difference of
//! more than that. What was heard may be old: the target, who knows, has the last word. A process may still be back
//! where it was, later, when that node has become the emptier one; the tests bound how many are.
//!
//! A machine without a clock, a socket or a process: the driver passes in what it measures, and does the moves.

mod load;
mod plan;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use serde::{Deserialize, Serialize};
use wire::{NodeId, Pid};

use crate::{Instant, Rng, Span};
pub use load::{Amount, Load, Share};
pub use plan::{Survey, Surveyed, plan};

/// How long a process stays where it has come to, at the least.
pub const REST: Span = Span::seconds(10);

/// It stays for this many times its last pause, too: what is dear to move is moved seldom.
pub const PAUSES: u64 = 20;

/// How much fuller than the source a target may become for the sake of talk.
pub const SLACK: Share = 100_000;

/// Of what a process weighs at its target, one part in so many does not count as a difference.
pub const NOISE: u64 = 4;

/// A difference of less than one part in so many of the fuller one's share is let be: it is within what measurements are
/// off by, and moves for it would never end.
pub const EVEN: u64 = 10;

/// Labels of a node, or what a process says of them, as `K=V`.
pub type Labels = BTreeSet<String>;

/// A process of this node, as it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub pid: Pid,
    /// What it uses.
    pub needs: Amount,
    /// Bytes that a move would send.
    pub image_bytes: u64,
    /// It waits for something.
    pub idle: bool,
    /// When it came here, or started.
    pub since: Instant,
    /// How long it stood still when it was moved last.
    pub last_pause: Span,
    /// Labels that its node must have, all of them.
    pub pin: Labels,
    /// Labels that its node must not have.
    pub avoid: Labels,
    /// Labels that its node had better have.
    pub affinity: Labels,
    /// Messages a second to and from processes at each node, this one too.
    pub talk: BTreeMap<NodeId, u64>,
}

/// Why a process is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The target is emptier, by almost twice what the process weighs.
    Load,
    /// The target is emptier even though the process talks to others here: by [`SLACK`] more.
    LoadInSpiteOfTalk,
    /// Those that it talks to are there.
    Talk,
}

/// A move that this node asks the target for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Who.
    pub pid: Pid,
    /// Where to.
    pub to: NodeId,
    /// What it needs there.
    pub needs: Amount,
    /// How much is on the source, the process still counted.
    pub source: Load,
    /// Why.
    pub reason: Reason,
}

/// A rule, so that a test can break one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    OneAtATime,
    StayPut,
    KeepOrder,
    TargetDecides,
    LabelsBind,
    TalkersStay,
    OneOfTwoYields,
}

/// A member as it was heard of last.
#[derive(Clone, Debug)]
struct Member {
    load: Load,
    labels: Labels,
}

/// The move that this node has asked for.
#[derive(Clone, Copy, Debug)]
struct Outgoing {
    pid: Pid,
    to: NodeId,
    granted: bool,
}

/// What a node knows of the load of others, what it moves, and what it has reserved.
#[derive(Clone, Debug)]
pub struct Balance {
    me: NodeId,
    rng: Rng,
    members: BTreeMap<NodeId, Member>,
    outgoing: Option<Outgoing>,
    reserved: BTreeMap<Pid, Amount>,
    broken: Option<Rule>,
}

impl Balance {
    /// A node that has heard of nobody.
    #[must_use]
    pub fn new(me: NodeId, rng: Rng) -> Self {
        Self {
            me,
            rng,
            members: BTreeMap::new(),
            outgoing: None,
            reserved: BTreeMap::new(),
            broken: None,
        }
    }

    /// Takes what a member that is up says of itself, in place of what was heard before.
    pub fn hear(&mut self, node: NodeId, load: Load, labels: Labels) {
        if node != self.me {
            self.members.insert(node, Member { load, labels });
        }
    }

    /// Two of these at random, or the one that there is: nodes that all looked at the emptiest would all choose the same.
    /// In a large cluster only these are asked how full they are, and heard of.
    pub fn two_of(&mut self, others: &[NodeId]) -> Vec<NodeId> {
        let Some(last) = others.len().checked_sub(1) else { return Vec::new() };
        let first = self.rng.below(others.len() as u64) as usize;
        let mut drawn = alloc::vec![others[first]];
        if last > 0 {
            let second = self.rng.below(last as u64) as usize;
            drawn.push(others[if second < first { second } else { second + 1 }]);
        }
        drawn
    }

    /// Leaves all members out, until they are heard of again: what was said of them is old.
    pub fn forget_all(&mut self) {
        self.members.clear();
    }

    /// The move to ask for now, if any. Until [`Balance::ended`] there is no other.
    pub fn decide(&mut self, now: Instant, own: Load, candidates: &[Candidate]) -> Option<Choice> {
        if self.outgoing.is_some() && self.keep(Rule::OneAtATime) {
            return None;
        }
        let rested: Vec<_> = candidates.iter().filter(|it| self.rested(now, it)).collect();
        let choice = self.by_talk(own, &rested).or_else(|| self.by_load(own, &rested))?;
        self.outgoing = Some(Outgoing { pid: choice.pid, to: choice.to, granted: false });
        // Until it speaks again: what goes there is there.
        if let Some(member) = self.members.get_mut(&choice.to) {
            member.load = member.load.with(choice.needs);
        }
        Some(choice)
    }

    /// The target has said yes.
    pub fn granted(&mut self, pid: Pid) {
        if let Some(outgoing) = self.outgoing.as_mut().filter(|it| it.pid == pid) {
            outgoing.granted = true;
        }
    }

    /// The move that was decided on is over: refused, given up, or done.
    pub fn ended(&mut self, pid: Pid) {
        self.outgoing = self.outgoing.filter(|it| it.pid != pid);
    }

    /// Whether this node takes what another has decided to send; if so, room is reserved until [`Balance::arrived`].
    ///
    /// `own` is what is really here, `source` the node that asks.
    pub fn admit(&mut self, source: NodeId, own: Load, choice: &Choice) -> bool {
        let crossing = self.outgoing.filter(|it| it.to == source);
        // Two that would go to each other at once would only change places.
        let yields = crossing.is_some_and(|it| it.granted || self.me < source);
        if yields && self.keep(Rule::OneOfTwoYields) {
            return false;
        }
        let reserved = self.reserved.values().fold(Amount::default(), |sum, it| sum.plus(*it));
        let fits = self.fits(choice.reason, choice.source, own.with(reserved), choice.needs);
        if fits || !self.keep(Rule::TargetDecides) {
            self.reserved.insert(choice.pid, choice.needs);
            return true;
        }
        false
    }

    /// What was admitted is here and counted in the load, or will not come: its room is reserved no longer.
    pub fn arrived(&mut self, pid: Pid) {
        self.reserved.remove(&pid);
    }

    fn keep(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    fn rested(&self, now: Instant, candidate: &Candidate) -> bool {
        let rest = REST.max(Span(candidate.last_pause.0.saturating_mul(PAUSES)));
        now.since(candidate.since) >= rest || !self.keep(Rule::StayPut)
    }

    /// Whether a move from `source` to `target` is one that nobody would turn back.
    fn fits(&self, reason: Reason, source: Load, target: Load, needs: Amount) -> bool {
        let (before, after) = (source.share(), source.without(needs).share());
        let there = target.with(needs).share();
        match reason {
            _ if !self.keep(Rule::KeepOrder) => target.share() < before,
            Reason::Load => {
                let noise = there.saturating_sub(target.share()) / NOISE;
                let uneven = before / EVEN <= before.saturating_sub(target.share());
                uneven && there <= after.saturating_add(noise) && after < before
            }
            Reason::LoadInSpiteOfTalk => there.saturating_add(SLACK) < after && after < before,
            Reason::Talk => there <= after.saturating_add(SLACK),
        }
    }

    fn allowed(&self, candidate: &Candidate, labels: &Labels) -> bool {
        let bound = candidate.pin.is_subset(labels) && candidate.avoid.is_disjoint(labels);
        bound || !self.keep(Rule::LabelsBind)
    }

    /// The process that gains most where those are that it talks to.
    fn by_talk(&self, own: Load, rested: &[&Candidate]) -> Option<Choice> {
        let gains = rested.iter().filter_map(|candidate| {
            let here = talk(candidate, self.me);
            let mut there: Vec<_> = candidate.talk.iter().collect();
            there.sort_by_key(|(node, talk)| (Reverse(**talk), **node));
            let (to, most) = there.into_iter().find(|(node, _)| **node != self.me)?;
            // More by half: of four that talk to each other, two and two become three and one, and then four.
            let gain = most.saturating_sub(here.saturating_add(here / 2));
            let choice = self.choice(Reason::Talk, own, candidate, *to)?;
            (gain > 0).then_some((gain, choice))
        });
        gains.max_by_key(|(gain, choice)| (*gain, Reverse(choice.pid))).map(|(_, choice)| choice)
    }

    /// The cheapest process that fits the emptier of two members.
    fn by_load(&mut self, own: Load, rested: &[&Candidate]) -> Option<Choice> {
        let to = self.draw()?;
        let labels = &self.members.get(&to)?.labels;
        let fitting = rested.iter().filter_map(|candidate| {
            let parts = talk(candidate, self.me) > talk(candidate, to);
            let reason = if parts && self.keep(Rule::TalkersStay) {
                Reason::LoadInSpiteOfTalk
            } else {
                Reason::Load
            };
            Some((candidate, parts, self.choice(reason, own, candidate, to)?))
        });
        let cheapest = fitting.min_by_key(|(candidate, parts, choice)| {
            let liked = candidate.affinity.intersection(labels).count();
            (*parts, Reverse(liked), !candidate.idle, candidate.image_bytes, choice.pid)
        });
        cheapest.map(|(.., choice)| choice)
    }

    /// Two of the members that were heard of, and of these the emptier.
    fn draw(&mut self) -> Option<NodeId> {
        let heard: Vec<NodeId> = self.members.keys().copied().collect();
        let drawn = self.two_of(&heard).into_iter().filter_map(|node| {
            let share = self.members.get(&node)?.load.share();
            Some((share, node))
        });
        drawn.min().map(|(_, node)| node)
    }

    fn choice(
        &self,
        reason: Reason,
        source: Load,
        candidate: &Candidate,
        to: NodeId,
    ) -> Option<Choice> {
        let member = self.members.get(&to)?;
        let Candidate { pid, needs, .. } = *candidate;
        let may = self.allowed(candidate, &member.labels);
        let fits = self.fits(reason, source, member.load, needs);
        (may && fits).then_some(Choice { pid, to, needs, source, reason })
    }
}

fn talk(candidate: &Candidate, node: NodeId) -> u64 {
    candidate.talk.get(&node).copied().unwrap_or(0)
}
