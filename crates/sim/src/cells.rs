//! The cells of the table of faults in `docs/protocol.md`, counted: at which step of a move whom a fault has hit.

use std::collections::BTreeMap;

use protocol::Step;
use wire::Pid;

use crate::world::World;

/// The step of the registry's home, which is no machine's.
pub(crate) const REGISTRY_SWAPPED: &str = "registry-swapped";

/// Steps that few moves come to.
const SELDOM: &[&str] =
    &["kept", "take-back-asked", "taken-back", "raise-asked", "stored", "in-file", "thawed"];

/// Whom a fault hits. In the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whom {
    /// The source is killed, and is not the registry's home.
    Source,
    /// The target is killed, and is not the registry's home.
    Target,
    /// The registry's home is killed, and is neither of them.
    Home,
    /// The link between source and target is cut.
    Link,
}

impl Whom {
    /// All columns.
    pub const ALL: [Self; 4] = [Self::Source, Self::Target, Self::Home, Self::Link];
}

/// How often each was hit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cells(BTreeMap<(&'static str, Whom), u64>);

impl Cells {
    /// How often this one was hit.
    #[must_use]
    pub fn of(&self, step: &str, whom: Whom) -> u64 {
        self.rows().find(|(name, _)| *name == step).map_or(0, |(_, counts)| counts[whom as usize])
    }

    /// Adds what another run has counted.
    pub fn add(&mut self, other: &Self) {
        for (cell, times) in &other.0 {
            *self.0.entry(*cell).or_default() += times;
        }
    }

    /// The table: every step of a move, and how often each of [`Whom::ALL`] was hit there.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, [u64; 4])> + '_ {
        let steps = Step::ALL.into_iter().filter(|step| step.is_of_a_move()).map(Step::name);
        steps.chain([REGISTRY_SWAPPED]).map(|step| {
            (step, Whom::ALL.map(|whom| self.0.get(&(step, whom)).copied().unwrap_or(0)))
        })
    }

    fn hit(&mut self, step: &'static str, whom: Whom) {
        *self.0.entry((step, whom)).or_default() += 1;
    }
}

impl World {
    /// A step of a move is the moment at which things go wrong: seldom ones more often than others. `node` is where it
    /// is made.
    pub(crate) fn strike_at(&mut self, node: usize, pid: Pid, step: &'static str) {
        let (source, target) = self.ends_of(node, pid, step);
        let often = if SELDOM.contains(&step) { 5 } else { 1 };
        if self.rng.chance((self.faults.crash * often).min(60)) {
            self.truth.faults += 1;
            self.marks.mark("fault: crash at a step");
            let victim = match self.rng.below(100) {
                0..25 => node,
                25..45 => source,
                45..65 => target,
                65..90 => 0,
                _ => self.rng.below(self.nodes.len() as u64) as usize,
            };
            if self.nodes[victim].machine.is_some() {
                let whom = match victim {
                    0 if source != 0 && target != 0 => Some(Whom::Home),
                    0 => None,
                    _ if victim == source => Some(Whom::Source),
                    _ if victim == target => Some(Whom::Target),
                    _ => None,
                };
                whom.into_iter().for_each(|whom| self.cells.hit(step, whom));
                self.crash(victim);
            }
        }
        if self.rng.chance((self.faults.cut * often).min(60)) {
            self.truth.faults += 1;
            self.marks.mark("fault: link cut at a step");
            let (one, other) = match self.rng.chance(60) && source != target {
                true => (source, target),
                false => (node, self.rng.below(self.nodes.len() as u64) as usize),
            };
            if source != target && (one, other) == (source, target) {
                self.cells.hit(step, Whom::Link);
            }
            self.cut(one, other);
        }
    }

    /// Source and target of what the step belongs to. On a way through a file one of them is a node that happens to be
    /// there.
    fn ends_of(&mut self, node: usize, pid: Pid, step: &'static str) -> (usize, usize) {
        let bystander = (1..self.nodes.len()).find(|other| *other != node).unwrap_or(node);
        match step {
            "stored" | "in-file" => (node, bystander),
            "thawed" => (bystander, node),
            _ => self.truth.moving.get(&pid).copied().unwrap_or((node, node)),
        }
    }
}
