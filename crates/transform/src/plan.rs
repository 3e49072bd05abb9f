//! What is to be done to one function: its sites, what each of them saves, and where.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use wasmparser::Operator;

use crate::abi::HEADER_BYTES;
use crate::analyze::Analysis;
use crate::body::{Body, NONE};
use crate::error::Error;
use crate::index::{FuncIdx, Idx, IndexVec, LocalIdx, SiteIdx, TypeIdx};
use crate::liveness::{Liveness, LocalSet};
use crate::origins::Origins;
use crate::parse::Module;
use crate::rounds;
use crate::sites::{Role, Saved, Site, SiteKind, ValueType};
use crate::tails::Tails;

/// A safepoint.
#[derive(Debug)]
pub(crate) struct PlannedSite {
    /// The loop or the call; [`NONE`] for the entry.
    pub(crate) op: u32,
    pub(crate) kind: SiteKind,
    /// Locals and temporaries to save, in order.
    pub(crate) saved: Vec<Value>,
}

/// What a local or a temporary holds at a site. Equal values are equal when the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Value {
    pub(crate) local: LocalIdx,
    /// See [`Origins`]; of a temporary, the operator that pushed the operand.
    pub(crate) origin: u32,
}

/// Temporaries that hold operands, by (height on the operand stack, type). Different operands
/// share one if they are never on the stack together.
#[derive(Clone, Debug)]
pub(crate) struct Temporaries {
    map: HashMap<(u32, ValueType), LocalIdx>,
    types: Vec<ValueType>,
    heights: Vec<u32>,
    first: u32,
}

impl Temporaries {
    pub(crate) fn new(first: usize) -> Self {
        Self { map: HashMap::new(), types: Vec::new(), heights: Vec::new(), first: first as u32 }
    }
    /// The temporary of an operand.
    pub(crate) fn of(&mut self, height: usize, ty: ValueType) -> LocalIdx {
        let height = height as u32;
        if let Some(&local) = self.map.get(&(height, ty)) {
            return local;
        }
        let local = self.add(ty, height);
        self.map.insert((height, ty), local);
        local
    }
    /// A local that holds no operand.
    pub(crate) fn fresh(&mut self, ty: ValueType) -> LocalIdx {
        self.add(ty, u32::MAX)
    }
    fn add(&mut self, ty: ValueType, height: u32) -> LocalIdx {
        self.types.push(ty);
        self.heights.push(height);
        LocalIdx(self.first + self.types.len() as u32 - 1)
    }
    /// The types of all temporaries, which come after the function's own locals.
    pub(crate) fn types(&self) -> &[ValueType] {
        &self.types
    }
    fn role(&self, local: LocalIdx) -> Role {
        if local.0 < self.first {
            return Role::Local(local.0);
        }
        Role::Operand(self.heights[(local.0 - self.first) as usize])
    }
}

/// Where a value stands in the function's frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) offset: u32,
    pub(crate) ty: ValueType,
}

/// What is to be done to one function.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) sites: IndexVec<SiteIdx, PlannedSite>,
    /// The site at an operator.
    pub(crate) site_at: HashMap<u32, SiteIdx>,
    /// The operators of all sites, plus one; 0 for the entry.
    order: Vec<u32>,
    pub(crate) temporaries: Temporaries,
    pub(crate) slots: BTreeMap<LocalIdx, Slot>,
    /// Size of each of the function's frames, header included.
    pub(crate) frame_bytes: u32,
    /// Values that the dispatch of a region (a loop, a `try_table`, or [`NONE`] for the function)
    /// restores: each as far out as it is live at all inner headers, so that it is not carried
    /// round a loop that does not need it.
    pub(crate) restores: BTreeMap<u32, BTreeSet<LocalIdx>>,
    /// Function references that a site restores itself, because a slot that the site did not
    /// write must not be taken for a reference.
    pub(crate) references: HashMap<SiteIdx, Vec<LocalIdx>>,
    /// How the run form's spill code is shared.
    pub(crate) run_tails: Tails,
    /// The same of the resume form.
    pub(crate) resume_tails: Tails,
    pub(crate) loops_without_poll: u32,
    pub(crate) calls_without_test: u32,
}

impl Plan {
    /// Whether a block holds a site, its own poll not counted.
    pub(crate) fn inner_sites(&self, body: &Body<'_>, op: u32) -> bool {
        !self.sites_within(op, body.ops[op as usize].partner).is_empty()
    }

    /// Whether nothing that can stop runs while the function's frame is on the stack: it is always
    /// the innermost.
    pub(crate) fn is_innermost(&self) -> bool {
        self.sites.iter().all(|site| matches!(site.kind, SiteKind::Entry | SiteKind::Loop))
    }

    /// The sites strictly between two operators.
    pub(crate) fn sites_within(&self, start: u32, end: u32) -> std::ops::Range<u32> {
        let first = self.order.partition_point(|&at| at <= start + 1);
        let last = self.order.partition_point(|&at| at <= end);
        first as u32..last as u32
    }

    /// The site table's view of the sites.
    pub(crate) fn public_sites(&self, body: &Body<'_>) -> IndexVec<SiteIdx, Site> {
        let public = |site: &PlannedSite| {
            let saved = site.saved.iter().map(|&Value { local, .. }| {
                let Slot { offset, ty } = self.slots[&local];
                Saved { role: self.temporaries.role(local), ty, offset }
            });
            let code_offset =
                if site.op == NONE { body.offset } else { body.ops[site.op as usize].start };
            Site { kind: site.kind, code_offset, saved: saved.collect() }
        };
        self.sites.iter().map(public).collect::<Vec<_>>().into()
    }
}

/// Plans one function.
pub(crate) fn plan(
    module: &Module<'_>,
    analysis: &Analysis,
    body: &Body<'_>,
) -> Result<Plan, Error> {
    let mut planner = Planner {
        module,
        analysis,
        body,
        liveness: Liveness::of(body),
        plan: Plan {
            sites: IndexVec::new(),
            site_at: HashMap::new(),
            order: Vec::new(),
            temporaries: Temporaries::new(body.locals.len()),
            slots: BTreeMap::new(),
            frame_bytes: 0,
            restores: BTreeMap::new(),
            references: HashMap::new(),
            run_tails: Tails::default(),
            resume_tails: Tails::default(),
            loops_without_poll: 0,
            calls_without_test: 0,
        },
        origins: Origins::new(body),
        stack: Vec::new(),
        pushed_at: Vec::new(),
        headers: HashMap::new(),
        polled: rounds::polled_loops(analysis, body),
    };
    planner.sites()?;
    planner.layout()?;
    planner.restores();
    planner.plan.run_tails = Tails::shared(&planner.plan.sites);
    planner.plan.resume_tails = Tails::apart(&planner.plan.sites);
    Ok(planner.plan)
}

/// What is live when control enters a region.
struct Header {
    end: u32,
    locals: LocalSet,
    operands: Vec<ValueType>,
}

struct Planner<'p, 'a> {
    module: &'p Module<'a>,
    analysis: &'p Analysis,
    body: &'p Body<'a>,
    liveness: Liveness,
    origins: Origins,
    plan: Plan,
    /// Types of the operand stack at the current operator.
    stack: Vec<ValueType>,
    /// The operator that pushed each of them.
    pushed_at: Vec<u32>,
    /// Loops and `try_table`s.
    headers: HashMap<u32, Header>,
    /// Loops that need a poll of their own.
    polled: HashSet<u32>,
}

impl Planner<'_, '_> {
    fn sites(&mut self) -> Result<(), Error> {
        if self.analysis.polls_entry[self.body.function] {
            let live = self.liveness.before(self.body, 0);
            self.site(NONE, SiteKind::Entry, &live, 0);
        }
        for at in 0..self.body.ops.len() as u32 {
            if self.body.ops[at as usize].reachable {
                self.operator(at);
            }
        }
        Ok(())
    }

    fn operator(&mut self, at: u32) {
        let body = self.body;
        let op = &body.ops[at as usize];
        match op.operator {
            Operator::End | Operator::Else => self.pop_to(self.base(op.partner)),
            _ => debug_assert_eq!(self.stack.len(), op.height as usize, "operand stack"),
        }
        self.origins.pass(body, at);
        match &op.operator {
            Operator::Loop { .. } => {
                self.header(at);
                if self.polled.contains(&at) {
                    let live = self.liveness.before(body, at);
                    self.site(at, SiteKind::Loop, &live, op.height as usize);
                } else {
                    self.plan.loops_without_poll += 1;
                }
            }
            Operator::TryTable { .. } => self.header(at),
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                let tail = matches!(op.operator, Operator::ReturnCall { .. });
                self.call(at, FuncIdx(*function_index), tail);
            }
            Operator::CallIndirect { type_index, table_index } => {
                let ty = TypeIdx(*type_index);
                if self.analysis.suspends_indirect(ty, *table_index) && !self.is_last(at) {
                    self.call_site(at, SiteKind::CallIndirect(ty), false);
                } else {
                    self.plan.calls_without_test += 1;
                }
            }
            _ => {}
        }
        let left = self.stack.len().saturating_sub(op.pops as usize);
        if !matches!(op.operator, Operator::End | Operator::Else) {
            self.pop_to(left);
        }
        self.stack.extend_from_slice(body.pushed(op));
        self.pushed_at.resize(self.stack.len(), at);
    }

    fn pop_to(&mut self, height: usize) {
        self.stack.truncate(height);
        self.pushed_at.truncate(height);
    }

    /// The height of the operand stack under a block's parameters.
    fn base(&self, opener: u32) -> usize {
        if opener == NONE {
            return 0;
        }
        let op = &self.body.ops[opener as usize];
        (op.height - op.pops) as usize
    }

    fn header(&mut self, at: u32) {
        let locals = self.liveness.before(self.body, at);
        let end = self.body.ops[at as usize].partner;
        self.headers.insert(at, Header { end, locals, operands: self.stack.clone() });
    }

    fn is_last(&self, at: u32) -> bool {
        self.analysis.is_last(self.body.function, at)
    }

    fn call(&mut self, at: u32, callee: FuncIdx, tail: bool) {
        let imported = callee.index() < self.module.imported_functions.len();
        if imported && self.analysis.blocks(self.module, callee) {
            self.call_site(at, SiteKind::Import(callee), true);
        } else if !imported && !tail && self.analysis.suspends[callee] && !self.is_last(at) {
            self.call_site(at, SiteKind::Call(callee), false);
        } else {
            self.plan.calls_without_test += 1;
        }
    }

    /// A site at a call keeps what is under the arguments; one that calls again, them too.
    fn call_site(&mut self, at: u32, kind: SiteKind, arguments: bool) {
        let op = &self.body.ops[at as usize];
        let live = self.liveness.after(self.body, at);
        let height = if arguments { op.height } else { op.height - op.pops };
        self.site(at, kind, &live, height as usize);
    }

    fn site(&mut self, op: u32, kind: SiteKind, live: &LocalSet, height: usize) {
        let value = |local| Value { local, origin: self.origins.of(local) };
        let mut saved: Vec<Value> = live.iter().map(value).collect();
        for (at, &ty) in self.stack[..height].iter().enumerate() {
            let local = self.plan.temporaries.of(at, ty);
            saved.push(Value { local, origin: self.pushed_at[at] });
        }
        let site = self.plan.sites.push(PlannedSite { op, kind, saved });
        self.plan.site_at.insert(op, site);
        self.plan.order.push(op.wrapping_add(1));
    }

    fn ty(&self, local: LocalIdx) -> ValueType {
        match self.body.locals.get(local) {
            Some(&ty) => ty,
            None => self.plan.temporaries.types()[local.index() - self.body.locals.len()],
        }
    }

    /// Gives each value that is ever saved one place in all frames of the function.
    fn layout(&mut self) -> Result<(), Error> {
        let mut offset = 0;
        for site in self.plan.sites.iter() {
            for &Value { local, .. } in &site.saved {
                if self.plan.slots.contains_key(&local) {
                    continue;
                }
                let ty = self.ty(local);
                if matches!(ty, ValueType::ExternRef | ValueType::ExnRef) {
                    return Err(self.refuse(ty, site.op));
                }
                self.plan.slots.insert(local, Slot { offset, ty });
                offset += ty.bytes();
            }
        }
        if !self.plan.sites.is_empty() {
            self.plan.frame_bytes = offset + HEADER_BYTES;
        }
        Ok(())
    }

    fn refuse(&self, ty: ValueType, op: u32) -> Error {
        let feature = match ty {
            ValueType::ExnRef => "an exception reference that is live at a safepoint",
            _ => "an external reference that is live at a safepoint",
        };
        let offset = if op == NONE { self.body.offset } else { self.body.ops[op as usize].start };
        let place = self.module.place(self.body.function, offset as usize);
        Error::Unsupported { feature: feature.to_owned(), place }
    }

    fn restores(&mut self) {
        for (index, site) in self.plan.sites.iter_enumerated() {
            let path = self.path(site.op);
            for &Value { local, .. } in &site.saved {
                if self.plan.slots[&local].ty == ValueType::FuncRef {
                    self.plan.references.entry(index).or_default().push(local);
                    continue;
                }
                let mut path = path.as_slice();
                while let [outer @ .., header] = path {
                    if !self.live_at(*header, local) {
                        break;
                    }
                    path = outer;
                }
                let region = path.last().copied().unwrap_or(NONE);
                self.plan.restores.entry(region).or_default().insert(local);
            }
        }
    }

    /// The regions around an operator, outermost first.
    fn path(&self, op: u32) -> Vec<u32> {
        let around =
            self.headers.iter().filter(|(at, header)| op != NONE && **at < op && op < header.end);
        let mut path: Vec<u32> = around.map(|(at, _)| *at).collect();
        path.sort_unstable();
        path
    }

    fn live_at(&self, header: u32, local: LocalIdx) -> bool {
        let found = &self.headers[&header];
        if local.index() < self.body.locals.len() {
            return found.locals.contains(local);
        }
        let mut operands = found.operands.iter().enumerate();
        operands.any(|(at, &ty)| self.plan.temporaries.map.get(&(at as u32, ty)) == Some(&local))
    }
}
