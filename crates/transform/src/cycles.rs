//! Which functions to stop at so that no way through the call graph goes on for ever.
//!
//! Each costs a poll whenever it is entered, so they are to be few: from each part of the graph
//! whose functions all reach each other the busiest is taken, and what is left is looked at again.
//! (To find the fewest is hard; a walk that takes one end of each back edge takes several times as
//! many, small ones that everybody calls among them.)

/// How many edges are looked at before the rest is left to a cheaper walk.
const EDGES_MAX: usize = 1 << 25;

/// A call graph, and how many of its nodes, the first ones, can be chosen. Each cycle has one.
pub(crate) struct Cycles<'g> {
    edges: &'g [Vec<usize>],
    choosable: usize,
    /// The part that a node is in; parts are numbered from 1, and 0 is none.
    part: Vec<usize>,
    parts: usize,
    looked_at: usize,
    breaks: Vec<bool>,
    // A walk's own.
    number: Vec<usize>,
    low: Vec<usize>,
}

impl<'g> Cycles<'g> {
    /// Nodes without which the graph has no cycle.
    pub(crate) fn breakers(edges: &'g [Vec<usize>], choosable: usize) -> Vec<bool> {
        let none = || vec![0; edges.len()];
        let mut cycles = Self {
            edges,
            choosable,
            part: none(),
            parts: 0,
            looked_at: 0,
            breaks: vec![false; choosable],
            number: none(),
            low: none(),
        };
        // Who calls itself has no choice.
        for (node, callees) in edges.iter().enumerate().take(choosable) {
            cycles.breaks[node] = callees.contains(&node);
        }
        let all = (0..edges.len()).filter(|&node| !cycles.chosen(node)).collect();
        let mut parts = cycles.split(all);
        while let Some(mut part) = parts.pop() {
            if cycles.looked_at > EDGES_MAX {
                cycles.walk(&part);
                continue;
            }
            let busiest = cycles.busiest(&part);
            cycles.breaks[busiest] = true;
            part.retain(|&node| node != busiest);
            parts.extend(cycles.split(part));
        }
        cycles.breaks
    }

    fn chosen(&self, node: usize) -> bool {
        node < self.choosable && self.breaks[node]
    }

    /// Marks nodes as one part.
    fn mark(&mut self, nodes: &[usize]) -> usize {
        self.parts += 1;
        for &node in nodes {
            self.part[node] = self.parts;
        }
        self.parts
    }

    /// The node that most ways within its part lead through.
    fn busiest(&mut self, nodes: &[usize]) -> usize {
        let part = self.mark(nodes);
        let mut calls = vec![(0_usize, 0_usize); nodes.len()];
        for (at, &node) in nodes.iter().enumerate() {
            self.number[node] = at;
        }
        for (at, &node) in nodes.iter().enumerate() {
            for &callee in self.edges[node].iter().filter(|&&callee| self.part[callee] == part) {
                calls[at].0 += 1;
                calls[self.number[callee]].1 += 1;
            }
            self.looked_at += self.edges[node].len();
        }
        let choices = nodes.iter().zip(&calls).filter(|(node, _)| **node < self.choosable);
        let busy = |&(node, (out, into)): &(&usize, &(usize, usize))| {
            (out * into, std::cmp::Reverse(*node))
        };
        *choices.max_by_key(busy).expect("each cycle has a function").0
    }

    /// The parts of these nodes that have cycles (Tarjan's algorithm).
    fn split(&mut self, nodes: Vec<usize>) -> Vec<Vec<usize>> {
        const DONE: usize = usize::MAX;
        let part = self.mark(&nodes);
        for &node in &nodes {
            self.number[node] = 0;
        }
        let mut next = 1;
        let mut found = Vec::new();
        let mut open = Vec::new();
        for &root in &nodes {
            if self.number[root] != 0 {
                continue;
            }
            let mut path = vec![(root, 0)];
            while let Some(&mut (node, ref mut edge)) = path.last_mut() {
                if *edge == 0 {
                    self.number[node] = next;
                    self.low[node] = next;
                    next += 1;
                    open.push(node);
                    self.looked_at += self.edges[node].len();
                }
                if let Some(&callee) = self.edges[node].get(*edge) {
                    *edge += 1;
                    match self.number[callee] {
                        _ if self.part[callee] != part => {}
                        0 => path.push((callee, 0)),
                        DONE => {}
                        number => self.low[node] = self.low[node].min(number),
                    }
                    continue;
                }
                path.pop();
                if let Some(&(caller, _)) = path.last() {
                    self.low[caller] = self.low[caller].min(self.low[node]);
                }
                if self.low[node] == self.number[node] {
                    let first = open.iter().rposition(|&other| other == node).expect("it is open");
                    let closed = open.split_off(first);
                    for &node in &closed {
                        self.number[node] = DONE;
                    }
                    if closed.len() > 1 {
                        found.push(closed);
                    }
                }
            }
        }
        found
    }

    /// Takes one end of each back edge of a depth-first walk.
    fn walk(&mut self, nodes: &[usize]) {
        const OPEN: usize = 1;
        const DONE: usize = 2;
        let part = self.mark(nodes);
        for &node in nodes {
            self.number[node] = 0;
        }
        for &root in nodes {
            if self.number[root] != 0 {
                continue;
            }
            self.number[root] = OPEN;
            let mut path = vec![(root, 0)];
            while let Some(&mut (node, ref mut edge)) = path.last_mut() {
                let Some(&callee) = self.edges[node].get(*edge) else {
                    self.number[node] = DONE;
                    path.pop();
                    continue;
                };
                *edge += 1;
                match self.number[callee] {
                    _ if self.part[callee] != part => {}
                    0 => {
                        self.number[callee] = OPEN;
                        path.push((callee, 0));
                    }
                    OPEN if callee < self.choosable => self.breaks[callee] = true,
                    OPEN => self.breaks[node] = true,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cycles;

    /// Whether the graph without these nodes has no cycle.
    fn broken(edges: &[Vec<usize>], breaks: &[bool]) -> bool {
        let gone = |node: usize| breaks.get(node).copied().unwrap_or(false);
        let mut left: Vec<usize> = (0..edges.len()).filter(|&node| !gone(node)).collect();
        loop {
            let before = left.len();
            let now = left.clone();
            left.retain(|&node| edges[node].iter().any(|callee| now.contains(callee)));
            if left.is_empty() || left.len() == before {
                return left.is_empty();
            }
        }
    }

    #[test]
    fn the_hub_is_taken() {
        // Five that call a hub and are called by it; a chain; one that calls itself.
        let mut edges = vec![vec![5]; 5];
        edges.extend([vec![0, 1, 2, 3, 4, 6], vec![7], vec![7, 8], vec![]]);
        let breaks = Cycles::breakers(&edges, 9);
        let taken: Vec<usize> = (0..9).filter(|&node| breaks[node]).collect();
        assert_eq!(taken, [5, 7]);
    }

    #[test]
    fn no_cycle_is_left() {
        let mut state = 1_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize % below
        };
        for _ in 0..500 {
            let (functions, tables) = (1 + random(20), random(4));
            let mut edges: Vec<Vec<usize>> = (0..functions)
                .map(|_| (0..random(4)).map(|_| random(functions + tables)).collect())
                .collect();
            // A table's node leads to functions only.
            edges.extend((0..tables).map(|_| (0..random(4)).map(|_| random(functions)).collect()));
            let breaks = Cycles::breakers(&edges, functions);
            assert!(broken(&edges, &breaks), "{edges:?}: {breaks:?}");
            let mut cycles = Cycles {
                edges: &edges,
                choosable: functions,
                part: vec![0; edges.len()],
                parts: 0,
                looked_at: 0,
                breaks: vec![false; functions],
                number: vec![0; edges.len()],
                low: vec![0; edges.len()],
            };
            cycles.walk(&(0..edges.len()).collect::<Vec<_>>());
            assert!(broken(&edges, &cycles.breaks), "walked {edges:?}: {:?}", cycles.breaks);
        }
    }
}
