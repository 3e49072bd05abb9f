//! How spill code is shared: as a tree of *tails*. Each tail stores what it is for and goes on in its
//! parent; the root writes the header. A site enters at the tail from which the way to the root
//! stores just what the site saves.
//!
//! **Only equal values are stored together**: a local counts as the same at two sites only if it
//! comes from one assignment ([`crate::origins`]). Otherwise the shared code would be a place where
//! different values of a local meet, and a compiler's register allocator tries to give all values
//! that meet one place: for the sake of code that never runs it spilled what hot loops work with.
//! (Sharing by local alone made code a tenth smaller, a sieve 1.4 times and an interpreter up to 2.5
//! times slower.)
//!
//! **A loop's header stores by itself.** Even the code that is shared honestly makes a value live longer
//! than the loop needs it, and allocators weigh uses by length: the header of an interpreter's loop
//! must not carry what its calls save.
//!
//! In the resume form every site is a place where a rewind comes in, so that no local has the same
//! value at two of them: there each site has a tail of its own.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::index::{Idx, IndexVec, LocalIdx, SiteIdx};
use crate::plan::{PlannedSite, Value};
use crate::sites::SiteKind;

/// A tail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Where it goes on; an earlier tail, or the header.
    pub(crate) parent: Option<usize>,
    /// What it stores.
    pub(crate) stores: Vec<LocalIdx>,
}

/// A function's tails, parents before children.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    pub(crate) tails: Vec<Tail>,
    /// The tail of each site; `None` if it saves nothing.
    pub(crate) of_site: Vec<Option<usize>>,
}

impl Tails {
    /// A tail for each site.
    pub(crate) fn apart(sites: &IndexVec<SiteIdx, PlannedSite>) -> Self {
        let mut all = Self::default();
        for site in sites.iter() {
            all.push(site);
        }
        all
    }

    /// Tails that store each value once, as far as it goes: a prefix tree of the sites' values, the
    /// values that most sites save nearest to the root. Loops' headers have tails of their own.
    pub(crate) fn shared(sites: &IndexVec<SiteIdx, PlannedSite>) -> Self {
        let sharing = || sites.iter().filter(|site| site.kind != SiteKind::Loop);
        let mut seen: HashMap<Value, (Reverse<u32>, usize)> = HashMap::new();
        for &value in sharing().flat_map(|site| &site.saved) {
            let order = seen.len();
            seen.entry(value).or_insert((Reverse(0), order)).0.0 += 1;
        }
        let mut tree = Tree::default();
        let leaves = sharing().map(|site| {
            let mut values = site.saved.clone();
            values.sort_unstable_by_key(|value| seen[value]);
            tree.path(&values)
        });
        let leaves: Vec<usize> = leaves.collect();
        let (tails, entries) = tree.tails(&leaves);
        let mut all = Self { tails, of_site: Vec::new() };
        let mut entries = entries.into_iter();
        for site in sites.iter() {
            match site.kind {
                SiteKind::Loop => all.push(site),
                _ => all.of_site.push(entries.next().expect("there is one for each")),
            }
        }
        all
    }

    /// The next site, with a tail of its own.
    fn push(&mut self, site: &PlannedSite) {
        let stores: Vec<LocalIdx> = site.saved.iter().map(|value| value.local).collect();
        self.of_site.push((!stores.is_empty()).then_some(self.tails.len()));
        if !stores.is_empty() {
            self.tails.push(Tail { parent: None, stores });
        }
    }
}

/// A prefix tree of values. Its root, node 0, has none.
struct Tree {
    nodes: Vec<Node>,
    children: HashMap<(usize, Value), usize>,
}

struct Node {
    parent: usize,
    local: LocalIdx,
    children: u32,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Node { parent: 0, local: LocalIdx::new(0), children: 0 };
        Self { nodes: vec![root], children: HashMap::new() }
    }
}

impl Tree {
    /// The node at the end of a path, made where there is none.
    fn path(&mut self, values: &[Value]) -> usize {
        let mut node = 0;
        for &value in values {
            let next = self.nodes.len();
            let child = *self.children.entry((node, value)).or_insert(next);
            if child == next {
                self.nodes[node].children += 1;
                self.nodes.push(Node { parent: node, local: value.local, children: 0 });
            }
            node = child;
        }
        node
    }

    /// One tail for each run of nodes that nothing enters or leaves in the middle, and the tail of
    /// each leaf.
    fn tails(&self, leaves: &[usize]) -> (Vec<Tail>, Vec<Option<usize>>) {
        let mut ends = vec![false; self.nodes.len()];
        for &leaf in leaves {
            ends[leaf] = true;
        }
        let mut tails: Vec<Tail> = Vec::new();
        // The tail that each node is in. A node comes after its parent.
        let mut of_node: Vec<Option<usize>> = vec![None; self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate().skip(1) {
            let before = of_node[node.parent];
            let splits = ends[node.parent] || 1 < self.nodes[node.parent].children;
            let tail = before.filter(|_| !splits).unwrap_or_else(|| {
                tails.push(Tail { parent: before, stores: Vec::new() });
                tails.len() - 1
            });
            tails[tail].stores.push(node.local);
            of_node[at] = Some(tail);
        }
        (tails, leaves.iter().map(|&leaf| of_node[leaf]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tails of sites that save these (local, origin), as `parent: stores`, and where each enters.
    fn check(sites: &[&[(u32, u32)]], expected: &[&str], entries: &[Option<usize>]) {
        let site = |values: &&[(u32, u32)]| PlannedSite {
            op: 0,
            kind: SiteKind::Entry,
            saved: values
                .iter()
                .map(|&(local, origin)| Value { local: LocalIdx(local), origin })
                .collect(),
        };
        let sites: IndexVec<SiteIdx, _> = sites.iter().map(site).collect::<Vec<_>>().into();
        let shared = Tails::shared(&sites);
        let text = |tail: &Tail| {
            let stores: Vec<String> = tail.stores.iter().map(|local| local.0.to_string()).collect();
            let parent = tail.parent.map_or("header".to_owned(), |parent| parent.to_string());
            format!("{} then {parent}", stores.join(" "))
        };
        let found: Vec<String> = shared.tails.iter().map(text).collect();
        assert_eq!(found, expected);
        assert_eq!(shared.of_site, entries);
    }

    #[test]
    fn equal_sets_share_one_tail_and_a_larger_one_goes_on_in_it() {
        check(
            &[&[(0, 0), (1, 0)], &[(0, 0), (1, 0)], &[(0, 0), (1, 0), (2, 5)]],
            &["0 1 then header", "2 then 0"],
            &[Some(0), Some(0), Some(1)],
        );
    }

    #[test]
    fn sets_with_a_common_part_share_it() {
        check(
            &[&[(0, 0), (1, 0)], &[(0, 0), (2, 0)]],
            &["0 then header", "1 then 0", "2 then 0"],
            &[Some(1), Some(2)],
        );
    }

    #[test]
    fn a_local_that_was_assigned_between_is_another_value() {
        check(
            &[&[(0, 0), (1, 0)], &[(0, 0), (1, 7)], &[]],
            &["0 then header", "1 then 0", "1 then 0"],
            &[Some(1), Some(2), None],
        );
    }
}
