//! One function, rewritten.
//!
//! A walk over the operators that knows where each operand is: the lower part of the operand stack
//! in temporaries, the upper part on the real stack. At a site everything under it is in
//! temporaries, so that the branch to the spill code has nothing to carry. Blocks that hold sites
//! lose their types: what they take and give is in temporaries.

use wasm_encoder::BlockType;
use wasmparser::Operator;

use super::assembler::{Assembler, Label};
use super::{Context, Form};
use crate::abi;
use crate::body::{Body, NONE};
use crate::index::{FuncIdx, LocalIdx, SiteIdx};
use crate::options::Polls;
use crate::plan::{Plan, Temporaries};
use crate::sites::{SiteKind, ValueType};

/// A function's new code.
pub(crate) struct Rewritten {
    /// The declaration of the locals and the instructions, without the size in front.
    pub(crate) body: Vec<u8>,
    /// (offset in the body, whether the branch is likely taken).
    pub(crate) hints: Vec<(u32, bool)>,
}

/// An open block of the original.
#[derive(Clone, Debug)]
pub(super) struct Control {
    pub(super) op: u32,
    pub(super) label: Label,
    /// Operands under the block's parameters.
    pub(super) base: usize,
    /// Whether it kept its type; else a branch leaves its operands in temporaries.
    pub(super) typed: bool,
    /// What a branch to it carries.
    pub(super) carries: Vec<ValueType>,
    /// Blocks that catch clauses come out of, and the block around them.
    pub(super) landings: Option<super::branch::Landings>,
}

/// The walk.
pub(super) struct Rewriter<'p, 'a> {
    pub(super) context: &'p Context<'p, 'a>,
    pub(super) body: &'p Body<'a>,
    pub(super) plan: &'p Plan,
    pub(super) out: Assembler,
    pub(super) temporaries: Temporaries,
    /// Types of the operand stack.
    pub(super) stack: Vec<ValueType>,
    /// How many of the lowest operands are in temporaries; the others are on the real stack.
    pub(super) kept: usize,
    /// Whether control cannot reach the current point.
    pub(super) dead: bool,
    pub(super) controls: Vec<Control>,
    /// A temporary for conditions, indices and addresses.
    pub(super) scratch: Option<LocalIdx>,
    /// A temporary for the number of a site.
    pub(super) number: Option<LocalIdx>,
}

/// Rewrites a function that has sites, or that forwards a rewind.
pub(crate) fn rewrite<'a>(context: &Context<'_, 'a>, body: &Body<'a>, plan: &Plan) -> Rewritten {
    let mut rewriter = Rewriter {
        context,
        body,
        plan,
        out: Assembler::default(),
        temporaries: plan.temporaries.clone(),
        stack: Vec::new(),
        kept: 0,
        dead: false,
        controls: Vec::new(),
        scratch: None,
        number: None,
    };
    rewriter.function();
    rewriter.finish()
}

impl<'a> Rewriter<'_, 'a> {
    fn function(&mut self) {
        self.open_spills();
        let results = self.context.block_type(&self.body.results);
        self.out.block(Label::Body, results);
        let carries = self.body.results.clone();
        let function =
            Control { op: NONE, label: Label::Body, base: 0, typed: true, carries, landings: None };
        self.controls.push(function);
        match self.context.form {
            Form::Run => self.poll_entry(),
            Form::Resume => self.enter_function(),
        }
        for at in 0..self.body.ops.len() as u32 {
            let op = &self.body.ops[at as usize];
            if op.reachable {
                self.operator(at);
            }
        }
        self.out.sink().return_();
        self.spills();
        self.out.sink().end();
    }

    fn finish(self) -> Rewritten {
        let locals = self.body.locals.iter().skip(self.body.params as usize);
        let declared = locals.chain(self.temporaries.types()).map(|&ty| super::encoded(ty));
        let mut body = wasm_encoder::Function::new_with_locals_types(declared).into_raw_body();
        let prefix = body.len() as u32;
        body.extend_from_slice(&self.out.bytes);
        let mut hints = self.out.hints;
        for (offset, _) in &mut hints {
            *offset += prefix;
        }
        Rewritten { body, hints }
    }

    fn poll_entry(&mut self) {
        if self.context.analysis.polls_entry[self.body.function] {
            self.poll(abi::ENTRY);
            self.out.br_if_unlikely(Label::Spill(0));
        }
    }

    /// Pushes what is not zero if the program is to stop here.
    pub(super) fn poll(&mut self, word: abi::Word) {
        let added = &self.context.added;
        match self.context.polls {
            Polls::Counted => _ = self.out.sink().call(added.counted),
            Polls::Normal => {
                let at = wasm_encoder::MemArg {
                    offset: word.offset as u64,
                    align: 2,
                    memory_index: added.control,
                };
                self.out.sink().i32_const(0).i32_atomic_load(at);
            }
        }
    }

    fn operator(&mut self, at: u32) {
        let op = &self.body.ops[at as usize];
        match &op.operator {
            Operator::Block { .. } | Operator::If { .. } | Operator::Loop { .. } => self.open(at),
            Operator::TryTable { .. } => self.open_try(at),
            Operator::Else => self.otherwise(at),
            Operator::End => self.end(at),
            Operator::Br { relative_depth } => self.branch(*relative_depth),
            Operator::BrIf { relative_depth } => self.branch_if(*relative_depth),
            Operator::BrTable { targets } => self.branch_table(targets),
            Operator::Call { .. } | Operator::CallIndirect { .. }
                if self.plan.site_at.contains_key(&at) =>
            {
                self.call(at);
            }
            Operator::ReturnCall { .. } if self.plan.site_at.contains_key(&at) => {
                self.call(at);
                self.need(self.body.results.len());
                self.out.sink().return_();
                self.dead = true;
            }
            Operator::Call { .. } => self.plain_call(at),
            Operator::LocalGet { local_index } if self.body.is_wrapper() => {
                self.out.get(LocalIdx(*local_index));
                self.account(at);
            }
            Operator::RefFunc { function_index } => {
                let function = self.context.analysis.reference(FuncIdx(*function_index));
                self.out.sink().ref_func(function.0);
                self.account(at);
            }
            Operator::DataDrop { data_index } => {
                self.copy(at);
                let global = self.context.added.dropped_data[data_index];
                self.out.sink().i32_const(1).global_set(global);
            }
            Operator::ElemDrop { elem_index } => {
                self.copy(at);
                let global = self.context.added.dropped_elements[elem_index];
                self.out.sink().i32_const(1).global_set(global);
            }
            Operator::Return
            | Operator::Unreachable
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. } => {
                self.copy(at);
                self.dead = true;
            }
            _ => self.copy(at),
        }
    }

    /// An operator that does what it did.
    pub(super) fn copy(&mut self, at: u32) {
        let op = &self.body.ops[at as usize];
        self.need(op.pops as usize);
        let bytes = &self.body.bytes[op.start as usize..op.end as usize];
        self.out.bytes.extend_from_slice(bytes);
        self.account(at);
    }

    /// A call that nothing can stop at. (A wrapper has no bytes to copy.)
    fn plain_call(&mut self, at: u32) {
        let op = &self.body.ops[at as usize];
        self.need(op.pops as usize);
        let Operator::Call { function_index } = op.operator else { unreachable!("it is a call") };
        self.out.sink().call(function_index);
        self.account(at);
    }

    /// Takes an operator's operands off the stack and puts its results on.
    pub(super) fn account(&mut self, at: u32) {
        let op = &self.body.ops[at as usize];
        let left = self.stack.len() - op.pops as usize;
        self.stack.truncate(left);
        self.kept = self.kept.min(left);
        self.stack.extend_from_slice(self.body.pushed(op));
    }

    /// Makes sure that the uppermost operands are on the real stack.
    pub(super) fn need(&mut self, operands: usize) {
        let first = self.stack.len() - operands;
        if first >= self.kept {
            return;
        }
        self.keep();
        self.fetch(first);
    }

    /// Puts the operands from `first` on, all in temporaries, on the real stack.
    pub(super) fn fetch(&mut self, first: usize) {
        for at in first..self.stack.len() {
            let local = self.temporaries.of(at, self.stack[at]);
            self.out.get(local);
        }
        self.kept = first;
    }

    /// Puts all operands in temporaries.
    pub(super) fn keep(&mut self) {
        for at in (self.kept..self.stack.len()).rev() {
            let local = self.temporaries.of(at, self.stack[at]);
            self.out.set(local);
        }
        self.kept = self.stack.len();
    }

    /// Puts all operands but the uppermost, which is on the real stack, in temporaries.
    pub(super) fn keep_below(&mut self) {
        self.need(1);
        if self.kept + 1 < self.stack.len() {
            let scratch = self.scratch();
            self.out.set(scratch);
            let top = self.stack.pop().expect("the code is valid");
            self.keep();
            self.stack.push(top);
            self.out.get(scratch);
        }
    }

    pub(super) fn scratch(&mut self) -> LocalIdx {
        let temporaries = &mut self.temporaries;
        *self.scratch.get_or_insert_with(|| temporaries.fresh(ValueType::I32))
    }

    pub(super) fn number(&mut self) -> LocalIdx {
        let temporaries = &mut self.temporaries;
        *self.number.get_or_insert_with(|| temporaries.fresh(ValueType::I32))
    }

    /// A call at which the program can stop.
    fn call(&mut self, at: u32) {
        let op = &self.body.ops[at as usize];
        let site = self.plan.site_at[&at];
        let kind = self.plan.sites[site].kind;
        let pops = op.pops as usize;
        let arguments = self.stack.len() - pops;
        let again = matches!(kind, SiteKind::Import(_));
        if self.kept < arguments || again {
            self.keep();
            self.fetch(arguments);
        } else {
            self.need(pops);
        }
        match op.operator {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                self.out.sink().call(function_index);
            }
            Operator::CallIndirect { type_index, table_index } => {
                self.out.sink().call_indirect(table_index, type_index);
            }
            _ => unreachable!("sites are at calls"),
        }
        self.stack.truncate(arguments);
        self.kept = self.kept.min(arguments);
        let results = match kind {
            SiteKind::Import(function) | SiteKind::Call(function) => {
                self.context.signature(function).results.clone()
            }
            SiteKind::CallIndirect(ty) => self.context.module.types[ty].results.clone(),
            SiteKind::Entry | SiteKind::Loop => unreachable!("it is a call"),
        };
        self.stack.extend_from_slice(&results);
        if again {
            // Before the results go where the arguments are.
            self.test(site, kind);
        }
        if self.context.form == Form::Resume {
            self.keep();
            self.out.end(Label::After(at));
        }
        if !again {
            self.test(site, kind);
        }
    }

    /// Goes to the spill code if the call came back because the program stops.
    pub(super) fn test(&mut self, site: SiteIdx, kind: SiteKind) {
        let added = &self.context.added;
        if let SiteKind::Import(_) = kind {
            let at = wasm_encoder::MemArg {
                offset: abi::LEAVE.offset as u64,
                align: 2,
                memory_index: added.control,
            };
            self.out.sink().i32_const(0).i32_load(at);
        } else {
            self.out.sink().global_get(added.state);
        }
        self.out.br_if_unlikely(Label::Spill(site.0));
    }

    /// Opens a block, an `if` or a loop.
    fn open(&mut self, at: u32) {
        let op = &self.body.ops[at as usize];
        let is_loop = matches!(op.operator, Operator::Loop { .. });
        let site = self.plan.site_at.contains_key(&at);
        if !site && !self.plan.inner_sites(self.body, at) {
            return self.open_typed(at);
        }
        match op.operator {
            Operator::If { .. } => self.open_if(at),
            Operator::Loop { .. } => self.open_loop(at),
            _ => self.open_block(at),
        }
        let base = (op.height - op.pops) as usize;
        let label = if is_loop { Label::Loop(at) } else { Label::End(at) };
        let carries = self.carries(at);
        let control = Control { op: at, label, base, typed: false, carries, landings: None };
        self.controls.push(control);
        if is_loop && self.context.form == Form::Resume {
            self.enter_loop(at);
        }
    }

    fn open_typed(&mut self, at: u32) {
        let op = &self.body.ops[at as usize];
        self.copy(at);
        let is_loop = matches!(op.operator, Operator::Loop { .. });
        let label = if is_loop { Label::Loop(at) } else { Label::End(at) };
        self.out.opened(label);
        let base = (op.height - op.pops) as usize;
        let carries = self.carries(at);
        self.controls.push(Control { op: at, label, base, typed: true, carries, landings: None });
    }

    /// What a branch to the block's label carries.
    pub(super) fn carries(&self, at: u32) -> Vec<ValueType> {
        let op = &self.body.ops[at as usize];
        match op.operator {
            Operator::Loop { .. } => self.body.pushed(op).to_vec(),
            _ => self.body.pushed(&self.body.ops[op.partner as usize]).to_vec(),
        }
    }

    fn open_block(&mut self, at: u32) {
        self.keep();
        if self.context.form == Form::Run {
            self.out.block(Label::End(at), BlockType::Empty);
        }
    }

    fn open_if(&mut self, at: u32) {
        self.keep_below();
        self.stack.pop();
        self.kept = self.stack.len();
        match self.context.form {
            Form::Run => {
                self.out.sink().if_(BlockType::Empty);
                self.out.opened(Label::End(at));
            }
            Form::Resume => {
                self.out.sink().i32_eqz();
                self.out.br_if(Label::Else(at));
            }
        }
    }

    fn open_loop(&mut self, at: u32) {
        self.keep();
        if self.context.form == Form::Resume {
            self.out.end(Label::Before(at));
        }
        self.out.loop_(Label::Loop(at));
        if self.context.form == Form::Run {
            self.poll_loop(at);
        }
    }

    pub(super) fn poll_loop(&mut self, at: u32) {
        if let Some(site) = self.plan.site_at.get(&at) {
            self.poll(abi::LOOP);
            self.out.br_if_unlikely(Label::Spill(site.0));
        }
    }

    fn otherwise(&mut self, at: u32) {
        let opener = self.body.ops[at as usize].partner;
        let (typed, base) = {
            let control = self.controls.last().expect("the code is valid");
            (control.typed, control.base)
        };
        if typed {
            self.out.sink().else_();
        } else {
            if !self.dead {
                self.keep();
            }
            if self.context.form == Form::Run {
                self.out.sink().else_();
            } else {
                if !self.dead {
                    self.out.br(Label::End(opener));
                }
                self.out.end(Label::Else(opener));
            }
        }
        self.stack.truncate(base);
        let params = self.body.pushed(&self.body.ops[opener as usize]).to_vec();
        self.stack.extend_from_slice(&params);
        self.kept = if typed { self.kept.min(base) } else { self.stack.len() };
        self.dead = false;
    }

    fn end(&mut self, at: u32) {
        let control = self.controls.pop().expect("the code is valid");
        if control.typed && !self.dead {
            let results = self.body.ops[at as usize].pushes as usize;
            self.need(results);
        } else if !self.dead {
            self.keep();
        }
        match self.context.form {
            Form::Resume if !control.typed && self.flattened(control.op) => {
                let op = &self.body.ops[control.op as usize];
                if matches!(op.operator, Operator::If { .. }) && op.otherwise == NONE {
                    self.out.end(Label::Else(control.op));
                }
                self.out.end(control.label);
            }
            _ => self.out.end(control.label),
        }
        let results = self.body.pushed(&self.body.ops[at as usize]).to_vec();
        self.stack.truncate(control.base);
        self.stack.extend_from_slice(&results);
        self.kept = if control.typed { self.kept.min(control.base) } else { self.stack.len() };
        self.dead = false;
        if let Some(landings) = &control.landings {
            self.close_try(landings, control.typed, &results, control.base);
        }
    }

    /// Whether the resume form opened the block at the start of its region.
    fn flattened(&self, opener: u32) -> bool {
        let operator = &self.body.ops[opener as usize].operator;
        matches!(operator, Operator::Block { .. } | Operator::If { .. })
    }
}
