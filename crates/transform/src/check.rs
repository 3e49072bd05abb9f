//! A second opinion: derives again, in another way, what each site must save, and compares.
//!
//! The planner solves one data flow over basic blocks and keeps the operand stack itself. Here
//! liveness is found operator by operator, until nothing changes, and the operand stack is the
//! validator's. It is slow, and meant for tests and fuzzing.

use std::collections::{BTreeSet, HashMap};

use wasmparser::{Catch, FunctionBody, Operator, Parser, ValidPayload, Validator, WasmFeatures};

use crate::index::FuncIdx;
use crate::parse::value_type;
use crate::sites::{Role, Site, SiteKind, Sites, ValueType};

/// Where planner and checker disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{function}, byte {code_offset:#x}: {what}")]
pub struct Disagreement {
    /// The function.
    pub function: FuncIdx,
    /// Where, in bytes from the start of the original module.
    pub code_offset: u32,
    /// What is wrong.
    pub what: String,
}

type Values = BTreeSet<(u8, u32, ValueType)>;

/// Checks a site table against the module that it was made from.
///
/// # Panics
///
/// If the module is not valid: a transform has refused it then.
pub fn check(wasm: &[u8], sites: &Sites) -> Result<(), Disagreement> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut next = sites.imported_functions;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.expect("the module is valid");
        let valid = validator.payload(&payload).expect("the module is valid");
        if let ValidPayload::Func(function, body) = valid {
            let index = FuncIdx(next);
            next += 1;
            let mut validator = function.into_validator(Default::default());
            let code = Code::read(&body, &mut validator);
            code.check(index, sites)?;
        }
    }
    Ok(())
}

/// A function's operators, and what is known at each of them.
struct Code<'a> {
    ops: Vec<Operator<'a>>,
    offsets: Vec<u32>,
    /// The operand stack before each operator; `None` where it cannot be reached.
    stacks: Vec<Option<Vec<ValueType>>>,
    locals: Vec<ValueType>,
    /// Of what opens or parts a block: its end. Of an `if`: its `else`, too.
    ends: HashMap<usize, usize>,
    elses: HashMap<usize, usize>,
    /// Open blocks around each operator, outermost first.
    around: Vec<Vec<usize>>,
    start: u32,
}

impl<'a> Code<'a> {
    fn read(
        body: &FunctionBody<'a>,
        validator: &mut wasmparser::FuncValidator<wasmparser::ValidatorResources>,
    ) -> Self {
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader).expect("the module is valid");
        let locals = (0..validator.len_locals())
            .map(|local| value_type(validator.get_local_type(local).expect("it is declared")));
        let mut code = Self {
            ops: Vec::new(),
            offsets: Vec::new(),
            stacks: Vec::new(),
            locals: locals.collect(),
            ends: HashMap::new(),
            elses: HashMap::new(),
            around: Vec::new(),
            start: body.range().start as u32,
        };
        let mut open: Vec<usize> = Vec::new();
        // Whether the code around an open block could be reached where it began.
        let mut entered: Vec<bool> = Vec::new();
        let mut operators = wasmparser::OperatorsReader::new(reader);
        while !operators.eof() {
            let (op, offset) = operators.read_with_offset().expect("the module is valid");
            let here = validator.get_control_frame(0).is_some_and(|frame| !frame.unreachable);
            let reachable = here && entered.iter().all(|&entered| entered);
            code.stacks.push(reachable.then(|| {
                let height = validator.operand_stack_height() as usize;
                let at = |depth| validator.get_operand_type(depth).flatten().map(value_type);
                (0..height).rev().map(|depth| at(depth).expect("it is reachable")).collect()
            }));
            validator.op(offset, &op).expect("the module is valid");
            let index = code.ops.len();
            match &op {
                Operator::Else => {
                    let opener = *open.last().expect("the module is valid");
                    code.elses.insert(opener, index);
                    code.around.push(open.clone());
                }
                Operator::End => {
                    entered.pop();
                    if let Some(opener) = open.pop() {
                        code.ends.insert(opener, index);
                    }
                    code.around.push(open.clone());
                }
                _ => code.around.push(open.clone()),
            }
            if let Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. } = op
            {
                open.push(index);
                entered.push(reachable);
            }
            code.ops.push(op);
            code.offsets.push(offset as u32);
        }
        code
    }

    /// Where a branch goes; `None` for out of the function.
    fn target(&self, at: usize, depth: u32) -> Option<usize> {
        let around = &self.around[at];
        let opener = around[around.len().checked_sub(1 + depth as usize)?];
        match self.ops[opener] {
            Operator::Loop { .. } => Some(opener),
            _ => Some(self.ends[&opener]),
        }
    }

    /// Where an exception can be caught.
    fn catches(&self, at: usize) -> Vec<usize> {
        let mut targets = Vec::new();
        for &opener in &self.around[at] {
            let Operator::TryTable { try_table } = &self.ops[opener] else { continue };
            for catch in &try_table.catches {
                let (Catch::One { label, .. }
                | Catch::OneRef { label, .. }
                | Catch::All { label }
                | Catch::AllRef { label }) = *catch;
                targets.extend(self.target(opener, label));
            }
        }
        targets
    }

    fn successors(&self, at: usize) -> Vec<usize> {
        let next = at + 1;
        match &self.ops[at] {
            Operator::If { .. } => {
                let other = self.elses.get(&at).map_or(self.ends[&at], |&otherwise| otherwise + 1);
                vec![next, other]
            }
            Operator::Else => {
                let opener = *self.around[at].last().expect("the module is valid");
                vec![self.ends[&opener]]
            }
            Operator::Br { relative_depth } => {
                self.target(at, *relative_depth).into_iter().collect()
            }
            Operator::BrIf { relative_depth } => {
                self.target(at, *relative_depth).into_iter().chain([next]).collect()
            }
            Operator::BrTable { targets } => {
                let depths = targets.targets().flatten().chain([targets.default()]);
                depths.filter_map(|depth| self.target(at, depth)).collect()
            }
            Operator::Return
            | Operator::Unreachable
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. } => Vec::new(),
            Operator::Throw { .. } | Operator::ThrowRef => self.catches(at),
            Operator::Call { .. } | Operator::CallIndirect { .. } => {
                let mut all = self.catches(at);
                all.push(next);
                all
            }
            _ if next < self.ops.len() => vec![next],
            _ => Vec::new(),
        }
    }

    /// The locals that matter before each operator.
    fn liveness(&self) -> Vec<Vec<bool>> {
        let none = vec![false; self.locals.len()];
        let mut live = vec![none.clone(); self.ops.len() + 1];
        loop {
            let mut changed = false;
            for at in (0..self.ops.len()).rev() {
                let mut now = self.after(&live, at);
                match self.ops[at] {
                    Operator::LocalGet { local_index } => now[local_index as usize] = true,
                    Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                        now[local_index as usize] = false;
                    }
                    _ => {}
                }
                changed |= now != live[at];
                live[at] = now;
            }
            if !changed {
                return live;
            }
        }
    }

    fn after(&self, live: &[Vec<bool>], at: usize) -> Vec<bool> {
        let mut all = vec![false; self.locals.len()];
        for successor in self.successors(at) {
            for (one, other) in all.iter_mut().zip(&live[successor]) {
                *one |= other;
            }
        }
        all
    }

    fn check(&self, function: FuncIdx, sites: &Sites) -> Result<(), Disagreement> {
        let planned = &sites.functions[function].sites;
        let live = if planned.is_empty() { Vec::new() } else { self.liveness() };
        let mut found = BTreeSet::new();
        for site in planned.iter() {
            let fail =
                |what: String| Err(Disagreement { function, code_offset: site.code_offset, what });
            let expected = match self.expected(site, &live, sites) {
                Ok(expected) => expected,
                Err(what) => return fail(what),
            };
            found.insert(site.code_offset);
            let saved = site.saved.iter().map(|saved| match saved.role {
                Role::Local(local) => (0, local, saved.ty),
                Role::Operand(height) => (1, height, saved.ty),
            });
            let saved: Values = saved.collect();
            if saved != expected {
                return fail(format!("saves {saved:?} instead of {expected:?}"));
            }
        }
        self.check_calls(function, sites, &found)?;
        self.check_polls(function, sites)
    }

    /// What a site must save.
    fn expected(&self, site: &Site, live: &[Vec<bool>], sites: &Sites) -> Result<Values, String> {
        if site.kind == SiteKind::Entry {
            if site.code_offset != self.start {
                return Err("an entry that is not at the start".to_owned());
            }
            return Ok(self.locals_of(&live[0]));
        }
        let at = self.offsets.binary_search(&site.code_offset);
        let at = at.map_err(|_| "no operator stands here".to_owned())?;
        let Some(stack) = &self.stacks[at] else {
            return Err("a site that cannot be reached".to_owned());
        };
        let (locals, height) = match (site.kind, &self.ops[at]) {
            (SiteKind::Loop, Operator::Loop { .. }) => (live[at].clone(), stack.len()),
            (
                SiteKind::Import(callee),
                Operator::Call { function_index } | Operator::ReturnCall { function_index },
            ) if callee.0 == *function_index => (self.after(live, at), stack.len()),
            (SiteKind::Call(callee), Operator::Call { function_index })
                if callee.0 == *function_index =>
            {
                let params = sites.types[sites.functions[callee].ty].params.len();
                (self.after(live, at), stack.len() - params)
            }
            (SiteKind::CallIndirect(ty), Operator::CallIndirect { type_index, .. })
                if ty.0 == *type_index =>
            {
                (self.after(live, at), stack.len() - 1 - sites.types[ty].params.len())
            }
            (kind, op) => return Err(format!("{kind:?} at {op:?}")),
        };
        let mut values = self.locals_of(&locals);
        values.extend((0..).zip(&stack[..height]).map(|(height, &ty)| (1, height, ty)));
        Ok(values)
    }

    fn locals_of(&self, live: &[bool]) -> Values {
        let locals = (0..).zip(live).zip(&self.locals);
        locals.filter(|((_, live), _)| **live).map(|((at, _), &ty)| (0, at, ty)).collect()
    }

    /// A call of a function that can stop is a site, unless nothing is left to do after it.
    fn check_calls(
        &self,
        function: FuncIdx,
        sites: &Sites,
        found: &BTreeSet<u32>,
    ) -> Result<(), Disagreement> {
        for (at, op) in self.ops.iter().enumerate() {
            let Operator::Call { function_index } = op else { continue };
            let callee = &sites.functions[FuncIdx(*function_index)];
            let stops = !callee.sites.is_empty() || callee.tail_calls;
            let tested = found.contains(&self.offsets[at]);
            if stops && self.stacks[at].is_some() && !tested && !self.is_last(at, function, sites) {
                let what = format!("calls {}, which can stop, untested", FuncIdx(*function_index));
                return Err(Disagreement { function, code_offset: self.offsets[at], what });
            }
        }
        Ok(())
    }

    /// Whether what a call gives is what the function gives, with nothing on the way.
    fn is_last(&self, at: usize, function: FuncIdx, sites: &Sites) -> bool {
        let results = |function: FuncIdx| &sites.types[sites.functions[function].ty].results;
        let Operator::Call { function_index } = self.ops[at] else { return false };
        let given = results(FuncIdx(function_index));
        let mut here = at;
        loop {
            let [next] = self.successors(here)[..] else { return false };
            let on_top = |stack: &Vec<ValueType>| stack.ends_with(given);
            if !self.stacks[next].as_ref().is_some_and(on_top) {
                return false;
            }
            match self.ops[next] {
                Operator::Return => return given == results(function),
                Operator::End if next + 1 == self.ops.len() => return given == results(function),
                Operator::End => here = next,
                _ => return false,
            }
        }
    }

    /// Nothing goes round for long without a poll: what is left without the places that poll, and
    /// without loops of few rounds, has no cycle.
    fn check_polls(&self, function: FuncIdx, sites: &Sites) -> Result<(), Disagreement> {
        let loops = sites.functions[function].sites.iter();
        let loops = loops.filter(|site| site.kind == SiteKind::Loop).map(|site| site.code_offset);
        let loops: BTreeSet<u32> = loops.collect();
        let polls = |at: usize| match self.ops[at] {
            Operator::Loop { .. } => loops.contains(&self.offsets[at]) || self.ends_soon(at),
            Operator::Call { function_index } => {
                let mut callee = sites.functions[FuncIdx(function_index)].sites.iter();
                callee.next().is_some_and(|site| site.kind == SiteKind::Entry)
            }
            _ => false,
        };
        let mut waiting: Vec<usize> = vec![0; self.ops.len()];
        let left = |at: &usize| self.stacks[*at].is_some() && !polls(*at);
        let all: Vec<usize> = (0..self.ops.len()).filter(left).collect();
        let successors = |at: usize| self.successors(at).into_iter().filter(left);
        for &at in &all {
            successors(at).for_each(|successor| waiting[successor] += 1);
        }
        // Take away what nothing leads to, until nothing is left.
        let mut free: Vec<usize> = all.iter().copied().filter(|&at| waiting[at] == 0).collect();
        let mut taken = 0;
        while let Some(at) = free.pop() {
            taken += 1;
            for successor in successors(at) {
                waiting[successor] -= 1;
                if waiting[successor] == 0 {
                    free.push(successor);
                }
            }
        }
        let round = all.iter().find(|&&at| waiting[at] > 0);
        let Some(&at) = round.filter(|_| taken < all.len()) else { return Ok(()) };
        let what = "goes round without a poll".to_owned();
        Err(Disagreement { function, code_offset: self.offsets[at], what })
    }

    /// Whether a loop has few rounds, by going through them: from the constant that its counter is set to before it,
    /// as often as what stands before its one way back says.
    fn ends_soon(&self, at: usize) -> bool {
        const OPERATORS_MAX: usize = 1 << 14;
        let inner = at + 1..self.ends[&at];
        let calls = |op: &Operator<'_>| {
            matches!(op, Operator::Call { .. } | Operator::CallIndirect { .. })
                || matches!(op, Operator::Loop { .. } | Operator::TryTable { .. })
        };
        let back: Vec<usize> =
            inner.clone().filter(|&from| self.successors(from).contains(&at)).collect();
        let [back] = back[..] else { return false };
        // Nothing leads past it: it closes every round.
        let closes = self.around[back].last() == Some(&at);
        let Operator::BrIf { .. } = self.ops[back] else { return false };
        let Some(counter) = (at..back).rev().find_map(|at| match self.ops[at] {
            Operator::LocalGet { local_index } => Some((at, local_index)),
            _ => None,
        }) else {
            return false;
        };
        let (step, local) = counter;
        let sets = |at: usize| {
            matches!(self.ops[at], Operator::LocalSet { local_index } | Operator::LocalTee { local_index }
                if local_index == local)
        };
        let once = inner.clone().filter(|&at| sets(at)).collect::<Vec<_>>();
        if !closes
            || inner.clone().any(|at| calls(&self.ops[at]))
            || once.iter().any(|&at| at < step)
        {
            return false;
        }
        let Some(mut value) = self.set_before(at, &sets) else { return false };
        let rounds = OPERATORS_MAX / inner.len().max(1);
        (0..rounds).any(|_| self.condition(step..back, local, &mut value) == Some(0))
    }

    /// The constant that a local is set to before an operator, with nothing but straight code between.
    fn set_before(&self, at: usize, sets: &dyn Fn(usize) -> bool) -> Option<i32> {
        let straight = |op: &Operator<'_>| {
            !matches!(
                op,
                Operator::Loop { .. }
                    | Operator::If { .. }
                    | Operator::Else
                    | Operator::End
                    | Operator::TryTable { .. }
                    | Operator::Br { .. }
                    | Operator::BrTable { .. }
            )
        };
        let set = (1..at).rev().take_while(|&at| straight(&self.ops[at])).find(|&at| sets(at))?;
        match self.ops[set - 1] {
            Operator::I32Const { value } => Some(value),
            _ => None,
        }
    }

    /// Executes code that works with one local; its result.
    fn condition(&self, code: std::ops::Range<usize>, local: u32, value: &mut i32) -> Option<i32> {
        let mut stack = Vec::new();
        for op in &self.ops[code] {
            let result = match *op {
                Operator::LocalGet { local_index } if local_index == local => *value,
                Operator::LocalTee { local_index } if local_index == local => {
                    *value = stack.pop()?;
                    *value
                }
                Operator::I32Const { value } => value,
                Operator::I32Add => stack.pop()?.wrapping_add(stack.pop()?),
                Operator::I32Ne => i32::from(stack.pop()? != stack.pop()?),
                _ => return None,
            };
            stack.push(result);
        }
        stack.pop().filter(|_| stack.is_empty())
    }
}
