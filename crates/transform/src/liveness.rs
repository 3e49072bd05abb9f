//! Which locals still matter at each point: backward data flow over the function's basic blocks.

use wasmparser::{Catch, Operator};

use crate::body::{Body, NONE};
use crate::index::LocalIdx;

/// A set of locals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalSet(Vec<u64>);

impl LocalSet {
    pub(crate) fn new(locals: usize) -> Self {
        Self(vec![0; locals.div_ceil(64)])
    }
    pub(crate) fn insert(&mut self, local: u32) {
        self.0[local as usize / 64] |= 1 << (local % 64);
    }
    fn remove(&mut self, local: u32) {
        self.0[local as usize / 64] &= !(1 << (local % 64));
    }
    pub(crate) fn union(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }
    /// Whether the set has the local.
    pub(crate) fn contains(&self, local: LocalIdx) -> bool {
        self.0[local.0 as usize / 64] >> (local.0 % 64) & 1 == 1
    }
    /// Its members, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = LocalIdx> + '_ {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    LocalIdx(at as u32 * 64 + bit)
                })
            })
        })
    }
}

/// Straight-line code: operators `start..end`, then any of the successors.
#[derive(Debug)]
struct Block {
    start: u32,
    end: u32,
    successors: Vec<u32>,
}

/// Which locals still matter at each point of a function.
pub(crate) struct Liveness {
    blocks: Vec<Block>,
    live_in: Vec<LocalSet>,
    live_out: Vec<LocalSet>,
}

impl Liveness {
    /// Solves the data flow of a function.
    pub(crate) fn of(body: &Body<'_>) -> Self {
        let blocks = Builder::default().build(body);
        let empty = LocalSet::new(body.locals.len());
        let mut solved = Self {
            live_in: vec![empty.clone(); blocks.len()],
            live_out: vec![empty; blocks.len()],
            blocks,
        };
        solved.solve(body);
        solved
    }

    fn solve(&mut self, body: &Body<'_>) {
        let mut predecessors = vec![Vec::new(); self.blocks.len()];
        for (at, block) in self.blocks.iter().enumerate() {
            for &successor in &block.successors {
                predecessors[successor as usize].push(at);
            }
        }
        let mut queued = vec![true; self.blocks.len()];
        let mut work: Vec<usize> = (0..self.blocks.len()).collect();
        while let Some(at) = work.pop() {
            queued[at] = false;
            let mut live = self.live_out[at].clone();
            for &successor in &self.blocks[at].successors {
                live.union(&self.live_in[successor as usize]);
            }
            self.live_out[at] = live.clone();
            backward(body, self.blocks[at].start..self.blocks[at].end, &mut live);
            if live != self.live_in[at] {
                self.live_in[at] = live;
                for &predecessor in &predecessors[at] {
                    if !queued[predecessor] {
                        queued[predecessor] = true;
                        work.push(predecessor);
                    }
                }
            }
        }
    }

    /// The locals that matter before operator `op`.
    pub(crate) fn before(&self, body: &Body<'_>, op: u32) -> LocalSet {
        self.within(body, op, op)
    }

    /// The locals that matter when operator `op`, a call, has returned or thrown.
    pub(crate) fn after(&self, body: &Body<'_>, op: u32) -> LocalSet {
        self.within(body, op, op + 1)
    }

    /// The locals that matter before operator `from`, at the end of the block of `op` at most.
    fn within(&self, body: &Body<'_>, op: u32, from: u32) -> LocalSet {
        let found = self.blocks.partition_point(|block| block.start <= op);
        let at = found.checked_sub(1).expect("the first block starts at 0");
        let mut live = self.live_out[at].clone();
        backward(body, from..self.blocks[at].end, &mut live);
        live
    }
}

fn backward(body: &Body<'_>, ops: std::ops::Range<u32>, live: &mut LocalSet) {
    for op in body.ops[ops.start as usize..ops.end as usize].iter().rev() {
        match op.operator {
            Operator::LocalGet { local_index } => live.insert(local_index),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                live.remove(local_index);
            }
            _ => {}
        }
    }
}

/// Cuts a body into basic blocks.
#[derive(Default)]
struct Builder {
    blocks: Vec<Block>,
    /// Open labels: the operator that opened each.
    labels: Vec<u32>,
    /// (block, operator that its successor starts at).
    edges: Vec<(u32, u32)>,
}

impl Builder {
    fn build(mut self, body: &Body<'_>) -> Vec<Block> {
        self.start(0);
        for (at, op) in body.ops.iter().enumerate() {
            self.operator(body, at as u32, &op.operator);
        }
        let end = body.ops.len() as u32;
        self.blocks.last_mut().expect("there is one").end = end;
        let starts: Vec<u32> = self.blocks.iter().map(|block| block.start).collect();
        for (from, to) in self.edges {
            if to < end {
                let target = starts.partition_point(|&start| start < to) as u32;
                self.blocks[from as usize].successors.push(target);
            }
        }
        self.blocks
    }

    fn start(&mut self, op: u32) {
        if let Some(last) = self.blocks.last_mut() {
            last.end = op;
        }
        self.blocks.push(Block { start: op, end: op, successors: Vec::new() });
    }

    /// Ends the current block before operator `next`, and falls through to it.
    fn cut(&mut self, next: u32) {
        if self.blocks.last().is_some_and(|block| block.start == next) {
            return;
        }
        self.edge(next);
        self.start(next);
    }

    fn edge(&mut self, to: u32) {
        self.edges.push((self.blocks.len() as u32 - 1, to));
    }

    fn branch(&mut self, body: &Body<'_>, depth: u32) {
        let target = self.target(body, depth);
        self.edge(target);
    }

    fn target(&self, body: &Body<'_>, depth: u32) -> u32 {
        match self.labels.len().checked_sub(1 + depth as usize).map(|at| self.labels[at]) {
            None => body.ops.len() as u32,
            Some(opener) => match body.ops[opener as usize].operator {
                Operator::Loop { .. } => opener,
                _ => body.ops[opener as usize].partner,
            },
        }
    }

    fn operator(&mut self, body: &Body<'_>, at: u32, operator: &Operator<'_>) {
        match operator {
            // A `try_table` by itself throws nothing: what may do so inside it has the edges.
            Operator::Block { .. } | Operator::TryTable { .. } => self.labels.push(at),
            Operator::Loop { .. } => {
                self.cut(at);
                self.labels.push(at);
            }
            Operator::If { .. } => {
                self.labels.push(at);
                let op = &body.ops[at as usize];
                let to = if op.otherwise == NONE { op.partner } else { op.otherwise + 1 };
                self.edge(to);
                self.cut(at + 1);
            }
            Operator::Else => {
                let opener = body.ops[at as usize].partner;
                self.edge(body.ops[opener as usize].partner);
                self.start(at + 1);
            }
            Operator::End => {
                self.labels.pop();
                self.cut(at);
            }
            Operator::Br { relative_depth } => {
                self.branch(body, *relative_depth);
                self.start(at + 1);
            }
            Operator::BrIf { relative_depth } => {
                self.branch(body, *relative_depth);
                self.cut(at + 1);
            }
            Operator::BrTable { targets } => {
                for depth in targets.targets().flatten().chain([targets.default()]) {
                    self.branch(body, depth);
                }
                self.start(at + 1);
            }
            Operator::Throw { .. } | Operator::ThrowRef => {
                self.exceptions(body);
                self.start(at + 1);
            }
            Operator::Return
            | Operator::Unreachable
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. } => self.start(at + 1),
            Operator::Call { .. } | Operator::CallIndirect { .. } => self.call(body, at),
            _ => {}
        }
    }

    /// A call within a `try_table` can go on in a catch clause.
    fn call(&mut self, body: &Body<'_>, at: u32) {
        let trying =
            |&label: &u32| matches!(body.ops[label as usize].operator, Operator::TryTable { .. });
        if self.labels.iter().any(trying) {
            self.exceptions(body);
            self.cut(at + 1);
        }
    }

    fn exceptions(&mut self, body: &Body<'_>) {
        for at in (0..self.labels.len()).rev() {
            let opener = self.labels[at];
            let Operator::TryTable { try_table } = &body.ops[opener as usize].operator else {
                continue;
            };
            for catch in &try_table.catches {
                let (Catch::One { label, .. }
                | Catch::OneRef { label, .. }
                | Catch::All { label }
                | Catch::AllRef { label }) = *catch;
                // Labels of catch clauses are counted from outside the `try_table`.
                let depth = self.labels.len() - at + label as usize;
                self.branch(body, depth as u32);
            }
        }
    }
}
