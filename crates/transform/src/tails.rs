//! How spill code is shared: sites with the same live values share a *tail*, and a tail goes on in
//! another that saves most of the same values.
//!
//! A tail stores what its parent does not; what the parent stores in vain is zeroed first. So a
//! function's spill code is a tree, whose root writes the header. Unshared, spill code was three
//! quarters of all that the transform adds.

use std::collections::HashMap;

use crate::index::{IndexVec, LocalIdx, SiteIdx};
use crate::plan::PlannedSite;

/// Rough bytes of machine code: a value stored to a frame, a value zeroed, a jump.
const STORE: usize = 13;
const ZERO: usize = 7;
const JUMP: usize = 5;

/// How many earlier tails are looked at to find a parent.
const CANDIDATES: usize = 64;

/// A tail.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Where it goes on; an earlier tail, or the root.
    pub(crate) parent: Option<usize>,
    /// What it stores.
    pub(crate) stores: Vec<LocalIdx>,
    /// What its parents store although it does not matter.
    pub(crate) zeroes: Vec<LocalIdx>,
}

/// A function's tails, parents before children.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    pub(crate) tails: Vec<Tail>,
    /// The tail of each site; `None` if it saves nothing.
    pub(crate) of_site: Vec<Option<usize>>,
}

impl Tails {
    pub(crate) fn of(sites: &IndexVec<SiteIdx, PlannedSite>) -> Self {
        let mut sets: Vec<Vec<LocalIdx>> = Vec::new();
        for site in sites.iter().filter(|site| !site.saved.is_empty()) {
            let mut set = site.saved.clone();
            set.sort_unstable();
            sets.push(set);
        }
        // Near sites first, among those of one size, so that likely parents are near.
        sets.sort_by_key(Vec::len);
        sets.dedup();
        let mut seen: HashMap<Vec<LocalIdx>, usize> = HashMap::new();
        let mut kept: Vec<Vec<LocalIdx>> = Vec::new();
        let mut tails = Vec::new();
        for set in sets {
            if seen.contains_key(&set) {
                continue;
            }
            tails.push(tail(&set, &kept));
            seen.insert(set.clone(), kept.len());
            kept.push(set);
        }
        let of_site = sites.iter().map(|site| {
            let mut set = site.saved.clone();
            set.sort_unstable();
            seen.get(&set).copied()
        });
        Self { of_site: of_site.collect(), tails }
    }
}

/// The cheapest way to store a set, given the earlier ones.
fn tail(set: &[LocalIdx], earlier: &[Vec<LocalIdx>]) -> Tail {
    let mut best = (STORE * set.len(), None);
    let first = earlier.len().saturating_sub(CANDIDATES);
    for (at, parent) in earlier.iter().enumerate().skip(first) {
        let shared = common(set, parent);
        let cost = STORE * (set.len() - shared) + ZERO * (parent.len() - shared) + JUMP;
        if cost < best.0 {
            best = (cost, Some(at));
        }
    }
    let parent = best.1.map_or(&[][..], |at| earlier[at].as_slice());
    let without = |of: &[LocalIdx], other: &[LocalIdx]| -> Vec<LocalIdx> {
        of.iter().copied().filter(|local| other.binary_search(local).is_err()).collect()
    };
    Tail { parent: best.1, stores: without(set, parent), zeroes: without(parent, set) }
}

/// How many members two sorted sets have in common.
fn common(one: &[LocalIdx], other: &[LocalIdx]) -> usize {
    let (mut at, mut by, mut count) = (0, 0, 0);
    while at < one.len() && by < other.len() {
        match one[at].cmp(&other[by]) {
            std::cmp::Ordering::Less => at += 1,
            std::cmp::Ordering::Greater => by += 1,
            std::cmp::Ordering::Equal => {
                (at, by, count) = (at + 1, by + 1, count + 1);
            }
        }
    }
    count
}
