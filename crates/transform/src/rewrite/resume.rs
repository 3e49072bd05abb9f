//! The way back in: from the start of a function, by jumps, to the site where it stopped.
//!
//! A *region* is a function, a loop or a `try_table`: what can only be entered at its head. All
//! blocks of a region that hold sites are opened at its start, beside a label for each place where
//! a rewind lands; so one `br_table` at the head reaches each of them. A site in an inner region is
//! reached by landing before that region and dispatching again inside.
//!
//! A loop's dispatch is hidden behind its poll, which fires because the control word is kept
//! non-zero while rewinding.

use wasm_encoder::BlockType;
use wasmparser::Operator;

use super::assembler::Label;
use super::function::Rewriter;
use crate::abi::{self, HEADER_BYTES};
use crate::body::NONE;
use crate::index::SiteIdx;
use crate::sites::{SiteKind, ValueType};

/// What a region's head needs to know.
#[derive(Default)]
struct Region {
    /// Labels to open, in the order in which they close.
    labels: Vec<Label>,
    /// The sites reached through this head, and how.
    routes: Vec<(SiteIdx, Route)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    /// The function's entry.
    Entry,
    /// The poll of a loop of this region: land before it.
    Loop(u32),
    /// A call of this region: call again, and land behind it.
    Call(u32),
    /// A site of an inner region: land before that.
    Inner(u32),
}

impl Rewriter<'_, '_> {
    /// The head of a function.
    pub(super) fn enter_function(&mut self) {
        let entry = self.context.analysis.polls_entry[self.body.function];
        let region = self.region(0, self.body.ops.len() as u32, entry);
        self.open_labels(&region);
        if self.plan.sites.is_empty() && !self.forwards() {
            return;
        }
        let go = self.out.fresh();
        self.out.block(go, BlockType::Empty);
        if entry {
            self.poll(abi::ENTRY);
            self.out.sink().i32_eqz();
            self.out.br_if_likely(go);
            self.rewinding();
            self.out.sink().i32_eqz();
            self.out.br_if_likely(Label::Spill(0));
        } else {
            self.rewinding();
            self.out.sink().i32_eqz();
            self.out.br_if_likely(go);
        }
        if self.forwards() {
            self.forward();
        }
        if self.plan.sites.is_empty() {
            self.out.sink().unreachable();
        } else {
            let top = self.context.added.top;
            let bytes = self.plan.frame_bytes as i32;
            self.out.sink().global_get(top).i32_const(bytes).i32_sub().global_set(top);
            self.dispatch(&region, NONE, go);
        }
        self.out.end(go);
    }

    /// The head of a loop that has a poll or holds sites.
    pub(super) fn enter_loop(&mut self, at: u32) {
        if !self.plan.inner_sites(self.body, at) {
            return self.poll_loop(at);
        }
        let region = self.region(at + 1, self.body.ops[at as usize].partner, false);
        self.open_labels(&region);
        let go = self.out.fresh();
        self.out.block(go, BlockType::Empty);
        if let Some(&site) = self.plan.site_at.get(&at) {
            self.poll(abi::LOOP);
            self.out.sink().i32_eqz();
            self.out.br_if_likely(go);
            self.rewinding();
            self.out.sink().i32_eqz();
            self.out.br_if_likely(Label::Spill(site.0));
        } else {
            self.rewinding();
            self.out.sink().i32_eqz();
            self.out.br_if_likely(go);
        }
        self.dispatch(&region, at, go);
        self.out.end(go);
    }

    /// The head of a `try_table` that holds sites.
    pub(super) fn enter_try(&mut self, at: u32) {
        let region = self.region(at + 1, self.body.ops[at as usize].partner, false);
        self.open_labels(&region);
        let go = self.out.fresh();
        self.out.block(go, BlockType::Empty);
        self.rewinding();
        self.out.sink().i32_eqz();
        self.out.br_if_likely(go);
        self.dispatch(&region, at, go);
        self.out.end(go);
    }

    fn rewinding(&mut self) {
        let state = self.context.added.state;
        self.out.sink().global_get(state).i32_const(abi::STATE_REWINDING).i32_eq();
    }

    fn forwards(&self) -> bool {
        self.context.analysis.tail_calls[self.body.function]
    }

    /// A function that tail-calls may find another function's frame in its place: that one's turn.
    fn forward(&mut self) {
        let own = self.out.fresh();
        self.out.block(own, BlockType::Empty);
        self.next_function();
        self.out.sink().i32_const(self.body.function.0 as i32).i32_eq();
        self.out.br_if(own);
        self.next_function();
        let ty = self.context.function_type(&[], &self.body.results);
        self.out.sink().return_call_indirect(self.context.added.thunks, ty);
        self.out.end(own);
    }

    /// Pushes the function of the frame that is next to be restored.
    fn next_function(&mut self) {
        let (top, frames) = (self.context.added.top, self.context.added.frames);
        self.out.sink().global_get(top).i32_const(HEADER_BYTES as i32).i32_sub();
        self.out.load(ValueType::I32, 0, frames);
    }

    /// Lists the labels and routes of the operators `start..end`, which are one region.
    fn region(&self, start: u32, end: u32, entry: bool) -> Region {
        let mut region = Region::default();
        if entry {
            region.routes.push((SiteIdx(0), Route::Entry));
        }
        let mut at = start;
        while at < end {
            let op = &self.body.ops[at as usize];
            if op.reachable {
                at = self.region_operator(at, &mut region);
            } else {
                at += 1;
            }
        }
        region
    }

    /// Adds what an operator contributes and returns the next one to look at.
    fn region_operator(&self, at: u32, region: &mut Region) -> u32 {
        let op = &self.body.ops[at as usize];
        let own = self.plan.site_at.get(&at).copied();
        match op.operator {
            Operator::Loop { .. } | Operator::TryTable { .. } => {
                let inner = self.plan.sites_within(at, op.partner);
                if own.is_some() || !inner.is_empty() {
                    region.labels.push(Label::Before(at));
                }
                region.routes.extend(own.map(|site| (site, Route::Loop(at))));
                region.routes.extend(inner.map(|site| (SiteIdx(site), Route::Inner(at))));
                return op.partner + 1;
            }
            Operator::Block { .. } | Operator::If { .. } => {
                if !self.plan.inner_sites(self.body, at) {
                    return op.partner + 1;
                }
            }
            Operator::Else => region.labels.push(Label::Else(op.partner)),
            Operator::End if op.partner != NONE => {
                let opener = &self.body.ops[op.partner as usize];
                if matches!(opener.operator, Operator::If { .. }) && opener.otherwise == NONE {
                    region.labels.push(Label::Else(op.partner));
                }
                region.labels.push(Label::End(op.partner));
            }
            _ => {
                if let Some(site) = own {
                    region.labels.push(Label::After(at));
                    region.routes.push((site, Route::Call(at)));
                }
            }
        }
        at + 1
    }

    fn open_labels(&mut self, region: &Region) {
        for &label in region.labels.iter().rev() {
            self.out.block(label, BlockType::Empty);
        }
    }

    /// Restores what this region restores, and jumps.
    fn dispatch(&mut self, region: &Region, head: u32, go: Label) {
        let plan = self.plan;
        let (top, frames) = (self.context.added.top, self.context.added.frames);
        let address = self.scratch();
        self.out.sink().global_get(top).local_set(address.0);
        for &local in plan.restores.get(&head).into_iter().flatten() {
            let slot = plan.slots[&local];
            self.out.get(address);
            self.out.load(slot.ty, slot.offset, frames);
            self.out.set(local);
        }
        let mut landings = Vec::new();
        let mut targets = Vec::new();
        for &(site, route) in &region.routes {
            match route {
                Route::Inner(inner) => targets.push((site, Label::Before(inner))),
                _ => {
                    let landing = self.out.fresh();
                    targets.push((site, landing));
                    landings.push((landing, site, route));
                }
            }
        }
        let lost = self.out.fresh();
        self.out.block(lost, BlockType::Empty);
        for &(landing, ..) in landings.iter().rev() {
            self.out.block(landing, BlockType::Empty);
        }
        self.out.get(address);
        self.out.load(ValueType::I32, plan.frame_bytes - 4, frames);
        self.select(&targets, lost);
        for (landing, site, route) in landings {
            self.out.end(landing);
            self.land(site, route, go);
        }
        self.out.end(lost);
        self.out.sink().unreachable();
    }

    /// Pops a site's number and jumps to its target. A few comparisons instead of a table let the
    /// compiler know that the landings are cold.
    fn select(&mut self, targets: &[(SiteIdx, Label)], lost: Label) {
        /// From so many targets on a table is better.
        const COMPARED_MAX: usize = 6;
        let first = targets[0].0.0;
        let runs: Vec<_> = targets.chunk_by(|one, next| one.1 == next.1).collect();
        if runs.len() > COMPARED_MAX {
            if first != 0 {
                self.out.sink().i32_const(first as i32).i32_sub();
            }
            let labels: Vec<Label> = targets.iter().map(|(_, label)| *label).collect();
            return self.out.br_table(&labels, lost);
        }
        let number = self.number();
        self.out.set(number);
        for run in runs {
            let end = run[0].0.0 + run.len() as u32;
            self.out.get(number);
            self.out.sink().i32_const(end as i32).i32_lt_u();
            match run[0].1 {
                // The loop that comes next is not cold.
                label @ Label::Before(_) => self.out.br_if(label),
                label => self.out.br_if_unlikely(label),
            }
        }
        self.out.br(lost);
    }

    fn land(&mut self, site: SiteIdx, route: Route, go: Label) {
        self.restore_references(site);
        let added = &self.context.added;
        match route {
            Route::Entry => {
                self.out.sink().call(added.finish);
                self.out.br(go);
            }
            Route::Loop(at) => {
                self.out.sink().call(added.finish_loop);
                self.out.br(Label::Before(at));
            }
            Route::Call(at) => {
                self.call_again(site, at);
                self.out.br(Label::After(at));
            }
            Route::Inner(_) => unreachable!("inner sites need no landing"),
        }
    }

    fn restore_references(&mut self, site: SiteIdx) {
        let (frames, references) = (self.context.added.frames, self.context.added.references);
        let address = self.scratch();
        for &local in self.plan.references.get(&site).into_iter().flatten() {
            self.out.get(address);
            self.out.load(ValueType::FuncRef, self.plan.slots[&local].offset, frames);
            self.out.sink().table_get(references);
            self.out.set(local);
        }
    }

    /// Calls what was called, with dummy arguments: it finds its own in its frame. An import that
    /// wanted to block gets the arguments it had.
    fn call_again(&mut self, site: SiteIdx, at: u32) {
        let op = &self.body.ops[at as usize];
        let pops = op.pops as usize;
        let arguments = op.height as usize - pops;
        let kind = self.plan.sites[site].kind;
        let results = match kind {
            SiteKind::Import(function) => {
                self.out.sink().call(self.context.added.finish);
                let signature = self.context.signature(function).clone();
                for (position, &ty) in signature.params.iter().enumerate() {
                    let local = self.temporaries.of(arguments + position, ty);
                    self.out.get(local);
                }
                self.out.sink().call(function.0);
                self.test(site, kind);
                signature.results
            }
            SiteKind::Call(function) => {
                let signature = self.context.signature(function).clone();
                self.out.zeros(&signature.params);
                self.out.sink().call(function.0);
                signature.results
            }
            SiteKind::CallIndirect(ty) => {
                let signature = self.context.module.types[ty].clone();
                if self.context.analysis.any_tail_calls() {
                    self.next_function();
                    let thunk = self.context.function_type(&[], &signature.results);
                    self.out.sink().call_indirect(self.context.added.thunks, thunk);
                } else {
                    self.out.zeros(&signature.params);
                    self.next_function();
                    self.out.sink().call_indirect(self.context.added.functions, ty.0);
                }
                signature.results
            }
            SiteKind::Entry | SiteKind::Loop => unreachable!("polls are not calls"),
        };
        for (position, &ty) in results.iter().enumerate().rev() {
            let local = self.temporaries.of(arguments + position, ty);
            self.out.set(local);
        }
    }
}
