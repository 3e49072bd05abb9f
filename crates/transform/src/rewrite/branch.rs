//! Branches. To a block that kept its type they carry operands as before; to one that lost it they
//! leave the operands in the temporaries of the block's own height.

use wasm_encoder::{BlockType, Catch as EncodedCatch};
use wasmparser::{BrTable, Catch, Operator};

use super::Form;
use super::assembler::Label;
use super::function::{Control, Rewriter};
use crate::sites::ValueType;

/// Where the catch clauses of a `try_table` come out, if their targets lost their types.
#[derive(Clone, Debug)]
pub(super) struct Landings {
    /// The block around all of them.
    skip: Label,
    /// Innermost first.
    clauses: Vec<Landing>,
}

#[derive(Clone, Debug)]
struct Landing {
    label: Label,
    /// Where it goes on: the target's label, and the height of its operands.
    target: Label,
    base: usize,
    values: Vec<ValueType>,
}

impl Rewriter<'_, '_> {
    pub(super) fn target(&self, depth: u32) -> Control {
        self.controls[self.controls.len() - 1 - depth as usize].clone()
    }

    pub(super) fn branch(&mut self, depth: u32) {
        let target = self.target(depth);
        let carried = target.carries.len();
        self.need(carried);
        if !target.typed {
            self.store_operands(&target.carries, target.base);
        }
        self.out.br(target.label);
        self.dead = true;
    }

    /// Pops operands from the real stack into the temporaries of a height.
    fn store_operands(&mut self, types: &[ValueType], height: usize) {
        for (at, &ty) in types.iter().enumerate().rev() {
            let local = self.temporaries.of(height + at, ty);
            self.out.set(local);
        }
    }

    /// Pushes operands from the temporaries of a height.
    fn load_operands(&mut self, types: &[ValueType], height: usize) {
        for (at, &ty) in types.iter().enumerate() {
            let local = self.temporaries.of(height + at, ty);
            self.out.get(local);
        }
    }

    pub(super) fn branch_if(&mut self, depth: u32) {
        let target = self.target(depth);
        let carried = target.carries.len();
        self.need(carried + 1);
        self.stack.pop();
        self.kept = self.kept.min(self.stack.len());
        if target.typed || carried == 0 {
            return self.out.br_if(target.label);
        }
        let first = self.stack.len() - carried;
        let condition = self.scratch();
        self.out.set(condition);
        self.store_operands(&target.carries, first);
        self.load_operands(&target.carries, first);
        self.out.get(condition);
        if first == target.base {
            return self.out.br_if(target.label);
        }
        // If the branch is not taken, what stands at the target's height must survive.
        let taken = self.out.fresh();
        self.out.sink().if_(BlockType::Empty);
        self.out.opened(taken);
        self.load_operands(&target.carries, first);
        self.store_operands(&target.carries, target.base);
        self.out.br(target.label);
        self.out.end(taken);
    }

    pub(super) fn branch_table(&mut self, table: &BrTable<'_>) {
        let depths: Vec<u32> = table.targets().flatten().chain([table.default()]).collect();
        let targets: Vec<Control> = depths.iter().map(|&depth| self.target(depth)).collect();
        let carried = targets[0].carries.len();
        self.need(carried + 1);
        if targets.iter().all(|target| target.typed) || carried == 0 {
            let labels: Vec<Label> = targets.iter().map(|target| target.label).collect();
            let (default, labels) = labels.split_last().expect("there is a default");
            self.out.br_table(labels, *default);
        } else {
            self.branch_table_moving(&targets, carried);
        }
        self.dead = true;
    }

    /// A table whose targets want their operands in different places: each has its own landing.
    fn branch_table_moving(&mut self, targets: &[Control], carried: usize) {
        let index = self.scratch();
        self.out.set(index);
        let first = self.stack.len() - 1 - carried;
        self.store_operands(&targets[0].carries, first);
        let landings: Vec<Label> = targets.iter().map(|_| self.out.fresh()).collect();
        for &landing in landings.iter().rev() {
            self.out.block(landing, BlockType::Empty);
        }
        self.out.get(index);
        let (default, labels) = landings.split_last().expect("there is a default");
        self.out.br_table(labels, *default);
        for (&landing, target) in landings.iter().zip(targets) {
            self.out.end(landing);
            self.load_operands(&target.carries, first);
            if !target.typed {
                self.store_operands(&target.carries, target.base);
            }
            self.out.br(target.label);
        }
    }

    /// Opens a `try_table`, with a landing for each clause whose target lost its type.
    pub(super) fn open_try(&mut self, at: u32) {
        let op = &self.body.ops[at as usize];
        let Operator::TryTable { try_table } = &op.operator else { unreachable!("it is one") };
        let sites = self.plan.inner_sites(self.body, at);
        let mut clauses = Vec::new();
        for catch in &try_table.catches {
            let (Catch::One { label, .. }
            | Catch::OneRef { label, .. }
            | Catch::All { label }
            | Catch::AllRef { label }) = *catch;
            let target = self.target(label);
            if !target.typed && !target.carries.is_empty() {
                let label = self.out.fresh();
                let (base, values) = (target.base, target.carries);
                clauses.push(Some(Landing { label, target: target.label, base, values }));
            } else {
                clauses.push(None);
            }
        }
        let params = op.pops as usize;
        let base = self.stack.len() - params;
        let landed = clauses.iter().any(Option::is_some);
        let taken = self.body.pushed(op);
        if sites {
            self.keep();
        } else {
            self.need(params);
        }
        if landed && !sites {
            self.store_operands(taken, base);
        }
        if sites && self.context.form == Form::Resume {
            self.out.end(Label::Before(at));
        }
        let landings = landed.then(|| self.open_landings(&clauses));
        let catches = self.catches(&try_table.catches, &clauses);
        let label = Label::End(at);
        let carries = self.carries(at);
        if sites {
            self.out.sink().try_table(BlockType::Empty, catches);
        } else {
            if landed {
                self.load_operands(taken, base);
            }
            let ty = block_type(try_table.ty);
            self.out.sink().try_table(ty, catches);
        }
        self.out.opened(label);
        let typed = !sites;
        self.controls.push(Control { op: at, label, base, typed, carries, landings });
        if sites && self.context.form == Form::Resume {
            self.enter_try(at);
        }
    }

    fn open_landings(&mut self, clauses: &[Option<Landing>]) -> Landings {
        let skip = self.out.fresh();
        self.out.block(skip, BlockType::Empty);
        let clauses: Vec<Landing> = clauses.iter().flatten().cloned().collect();
        for landing in clauses.iter().rev() {
            let ty = self.context.block_type(&landing.values);
            self.out.block(landing.label, ty);
        }
        Landings { skip, clauses }
    }

    fn catches(&self, catches: &[Catch], clauses: &[Option<Landing>]) -> Vec<EncodedCatch> {
        let encoded = catches.iter().zip(clauses).map(|(catch, landing)| {
            let depth = |label: u32| match landing {
                Some(landing) => self.out.depth(landing.label),
                None => self.out.depth(self.target(label).label),
            };
            match *catch {
                Catch::One { tag, label } => EncodedCatch::One { tag, label: depth(label) },
                Catch::OneRef { tag, label } => EncodedCatch::OneRef { tag, label: depth(label) },
                Catch::All { label } => EncodedCatch::All { label: depth(label) },
                Catch::AllRef { label } => EncodedCatch::AllRef { label: depth(label) },
            }
        });
        encoded.collect()
    }

    /// After the `try_table`'s end: the clauses' landings, each of which goes on to its target.
    pub(super) fn close_try(
        &mut self,
        landings: &Landings,
        typed: bool,
        results: &[ValueType],
        base: usize,
    ) {
        if typed {
            self.store_operands(results, base);
        }
        self.out.br(landings.skip);
        for landing in &landings.clauses {
            self.out.end(landing.label);
            self.store_operands(&landing.values, landing.base);
            self.out.br(landing.target);
        }
        self.out.end(landings.skip);
        if typed {
            self.load_operands(results, base);
        }
    }
}

fn block_type(ty: wasmparser::BlockType) -> BlockType {
    match ty {
        wasmparser::BlockType::Empty => BlockType::Empty,
        wasmparser::BlockType::Type(ty) => {
            BlockType::Result(super::encoded(crate::parse::value_type(ty)))
        }
        wasmparser::BlockType::FuncType(index) => BlockType::FunctionType(index),
    }
}
