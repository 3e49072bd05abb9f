//! How spill code is shared: sites with the same live values share a *tail*, and a tail goes on in
//! another that saves most of the same values.
//!
//! A tail stores what its parents do not; what they store although it does not matter to this set
//! is zeroed where the set's own sites enter, and only there: another set that passes through the
//! tail may need it. So a function's spill code is a tree, whose root writes the header. Unshared,
//! spill code was three quarters of all that the transform adds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

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
    /// What it and its parents store together.
    all: Vec<LocalIdx>,
    /// What of that does not matter to the sites that enter here.
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
        let sorted = |site: &PlannedSite| {
            let mut set = site.saved.clone();
            set.sort_unstable();
            set
        };
        let mut sets: Vec<_> = sites.iter().map(sorted).filter(|set| !set.is_empty()).collect();
        // Small ones first; sites that are near each other stay so, and are alike.
        sets.sort_by_key(Vec::len);
        let mut seen: HashMap<Vec<LocalIdx>, usize> = HashMap::new();
        let mut tails = Vec::new();
        for set in sets {
            if let Entry::Vacant(new) = seen.entry(set) {
                tails.push(tail(new.key(), &tails));
                new.insert(tails.len() - 1);
            }
        }
        let of_site = sites.iter().map(|site| seen.get(&sorted(site)).copied()).collect();
        Self { of_site, tails }
    }
}

/// The cheapest way to store a set, given the earlier ones.
fn tail(set: &[LocalIdx], earlier: &[Tail]) -> Tail {
    let mut best = (STORE * set.len(), None);
    let first = earlier.len().saturating_sub(CANDIDATES);
    for (at, parent) in earlier.iter().enumerate().skip(first) {
        let shared = common(set, &parent.all);
        let cost = STORE * (set.len() - shared) + ZERO * (parent.all.len() - shared) + JUMP;
        if cost < best.0 {
            best = (cost, Some(at));
        }
    }
    let stored = best.1.map_or(&[][..], |at| earlier[at].all.as_slice());
    let stores = without(set, stored);
    let zeroes = without(stored, set);
    let mut all = [stored, &stores].concat();
    all.sort_unstable();
    Tail { parent: best.1, stores, all, zeroes }
}

/// What one sorted set has and another lacks.
fn without(set: &[LocalIdx], other: &[LocalIdx]) -> Vec<LocalIdx> {
    set.iter().copied().filter(|local| other.binary_search(local).is_err()).collect()
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
