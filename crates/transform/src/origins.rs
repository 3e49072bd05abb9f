//! Where the values of locals come from: two points at which a local has the same origin find the
//! same value in it, in one pass over the function.
//!
//! An origin is an operator: the assignment, or the loop header or the end of a block at which
//! values from several assignments meet. Whatever is assigned anywhere in a block or a loop is taken
//! to meet there; that may tell equal values apart, never the reverse.

use wasmparser::Operator;

use crate::body::{Body, NONE};
use crate::index::{Idx, LocalIdx};
use crate::liveness::LocalSet;

/// What locals hold at the current operator of a walk.
pub(crate) struct Origins {
    /// By local; 0 for parameters and zeros, else the operator plus one.
    origins: Vec<u32>,
    /// What is assigned within each loop, by the order of the loops.
    loops: std::vec::IntoIter<LocalSet>,
    open: Vec<Open>,
}

/// A block that the walk is in.
struct Open {
    assigned: LocalSet,
    /// Of an `if` that has an `else`: the origins at its start.
    before: Option<Vec<u32>>,
}

impl Origins {
    pub(crate) fn new(body: &Body<'_>) -> Self {
        let locals = body.locals.len();
        Self {
            origins: vec![0; locals],
            loops: assigned_in_loops(body).into_iter(),
            open: vec![Open { assigned: LocalSet::new(locals), before: None }],
        }
    }

    /// The origin of what a local holds now.
    pub(crate) fn of(&self, local: LocalIdx) -> u32 {
        self.origins[local.index()]
    }

    /// Passes an operator. A loop's header counts as within the loop.
    pub(crate) fn pass(&mut self, body: &Body<'_>, at: u32) {
        let op = &body.ops[at as usize];
        match op.operator {
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                self.origins[local_index as usize] = at + 1;
                self.open.last_mut().expect("a function is open").assigned.insert(local_index);
            }
            Operator::Loop { .. } => {
                let assigned = self.loops.next().expect("there is one for each loop");
                self.meet(&assigned, at);
                self.enter(None);
            }
            Operator::Block { .. } | Operator::TryTable { .. } => self.enter(None),
            Operator::If { .. } => {
                self.enter((op.otherwise != NONE).then(|| self.origins.clone()));
            }
            Operator::Else => {
                let open = self.open.last_mut().expect("an `if` is open");
                self.origins = open.before.take().expect("the `if` has an `else`");
            }
            Operator::End => self.leave(body, at),
            _ => {}
        }
    }

    fn enter(&mut self, before: Option<Vec<u32>>) {
        let assigned = LocalSet::new(self.origins.len());
        self.open.push(Open { assigned, before });
    }

    fn leave(&mut self, body: &Body<'_>, at: u32) {
        let Open { assigned, .. } = self.open.pop().expect("a block is open");
        let Some(around) = self.open.last_mut() else { return };
        around.assigned.union(&assigned);
        // No branch goes to the end of a loop.
        let opener = body.ops[at as usize].partner;
        if !matches!(body.ops[opener as usize].operator, Operator::Loop { .. }) {
            self.meet(&assigned, at);
        }
    }

    fn meet(&mut self, assigned: &LocalSet, at: u32) {
        for local in assigned.iter() {
            self.origins[local.index()] = at + 1;
        }
    }
}

/// What each loop assigns, in the order of the loops' headers. The walk passes what can be reached,
/// so that this does too.
fn assigned_in_loops(body: &Body<'_>) -> Vec<LocalSet> {
    let mut loops: Vec<LocalSet> = Vec::new();
    // For each open block, the innermost loop that it is or is in.
    let mut open: Vec<Option<usize>> = vec![None];
    let mut parents: Vec<Option<usize>> = Vec::new();
    for op in body.ops.iter().filter(|op| op.reachable) {
        match op.operator {
            Operator::Loop { .. } => {
                parents.push(open.last().copied().flatten());
                open.push(Some(loops.len()));
                loops.push(LocalSet::new(body.locals.len()));
            }
            Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                open.push(open.last().copied().flatten());
            }
            Operator::End => _ = open.pop(),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                if let Some(Some(at)) = open.last() {
                    loops[*at].insert(local_index);
                }
            }
            _ => {}
        }
    }
    for at in (0..loops.len()).rev() {
        if let Some(parent) = parents[at] {
            let (outer, inner) = loops.split_at_mut(at);
            outer[parent].union(&inner[0]);
        }
    }
    loops
}
