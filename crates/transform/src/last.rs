//! Calls that are the last thing that their functions do: what they return, the function returns.
//!
//! Nothing of the function's state matters any more while such a call runs, so the function needs no frame, and no
//! test after the call: dummies that come back go on to the caller, which tests. On the way back in, the function
//! finds another function's frame in its place, as if it had tail-called it, and lets it have its turn. But it has not:
//! a program's native stack is what its author's compiler made of it.

use wasmparser::{BlockType, Operator};

use crate::index::{FuncIdx, TypeIdx};
use crate::parse::Module;
use crate::sites::ValueType;

/// Finds the last calls of a function, by its operators in order.
pub(crate) struct LastCalls<'m, 'a> {
    module: &'m Module<'a>,
    results: &'m [ValueType],
    /// How many results each open block has; none if exceptions may be caught there.
    blocks: Vec<Option<usize>>,
    tries: u32,
    /// A call after which nothing has come yet but ends of blocks.
    candidate: Option<u32>,
    at: u32,
    found: Vec<u32>,
}

impl<'m, 'a> LastCalls<'m, 'a> {
    pub(crate) fn new(module: &'m Module<'a>, function: FuncIdx) -> Self {
        let results = &module.signature(function).results;
        Self {
            module,
            results,
            blocks: Vec::new(),
            tries: 0,
            candidate: None,
            at: 0,
            found: Vec::new(),
        }
    }

    /// The next operator.
    pub(crate) fn pass(&mut self, op: &Operator<'_>) {
        let candidate = self.candidate.take();
        match op {
            Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                self.blocks.push(Some(self.arity(*blockty)));
            }
            Operator::TryTable { .. } => {
                self.tries += 1;
                self.blocks.push(None);
            }
            Operator::End => self.end(candidate),
            Operator::Return => self.found.extend(candidate),
            Operator::Call { function_index } => {
                self.call(&self.module.signature(FuncIdx(*function_index)).results);
            }
            Operator::CallIndirect { type_index, .. } => {
                self.call(&self.module.types[TypeIdx(*type_index)].results);
            }
            _ => {}
        }
        self.at += 1;
    }

    /// The calls, by the numbers of their operators.
    pub(crate) fn found(self) -> Vec<u32> {
        self.found
    }

    fn end(&mut self, candidate: Option<u32>) {
        match self.blocks.pop() {
            // The function's own.
            None => self.found.extend(candidate),
            Some(None) => self.tries -= 1,
            // What the block gives is what the call gave, and no more.
            Some(Some(results)) => {
                self.candidate = candidate.filter(|_| results == self.results.len());
            }
        }
    }

    fn call(&mut self, results: &[ValueType]) {
        if self.tries == 0 && results == self.results {
            self.candidate = Some(self.at);
        }
    }

    fn arity(&self, ty: BlockType) -> usize {
        match ty {
            BlockType::Empty => 0,
            BlockType::Type(_) => 1,
            BlockType::FuncType(index) => self.module.types[TypeIdx(index)].results.len(),
        }
    }
}
