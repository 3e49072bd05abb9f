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

/// What is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Callee {
    Function(FuncIdx),
    /// Any function of this type in this table.
    Table(TypeIdx, u32),
}

/// A call, by the number of its operator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastCall {
    pub(crate) at: u32,
    pub(crate) callee: Callee,
}

/// Finds the last calls of a function, by its operators in order.
pub(crate) struct LastCalls<'m, 'a> {
    module: &'m Module<'a>,
    results: &'m [ValueType],
    /// How many results each open block has; none if exceptions may be caught there.
    blocks: Vec<Option<usize>>,
    tries: u32,
    /// A call after which nothing has come yet but ends of blocks.
    candidate: Option<LastCall>,
    at: u32,
    found: Vec<LastCall>,
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
                let function = FuncIdx(*function_index);
                self.call(Callee::Function(function), &self.module.signature(function).results);
            }
            Operator::CallIndirect { type_index, table_index } => {
                let ty = TypeIdx(*type_index);
                self.call(Callee::Table(ty, *table_index), &self.module.types[ty].results);
            }
            _ => {}
        }
        self.at += 1;
    }

    /// The calls, in order.
    pub(crate) fn found(self) -> Vec<LastCall> {
        self.found
    }

    fn end(&mut self, candidate: Option<LastCall>) {
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

    fn call(&mut self, callee: Callee, results: &[ValueType]) {
        if self.tries == 0 && results == self.results {
            self.candidate = Some(LastCall { at: self.at, callee });
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

#[cfg(test)]
mod tests {
    use crate::{Options, check, transform};

    /// How many calls of functions that can stop are tested, and how many are not, in a function with this code.
    fn calls(result: &str, code: &str) -> (u64, u64) {
        let text = format!(
            "(module
               (type $plain (func)) (table 1 funcref) (tag $t)
               (func $stops (export \"stops\") (loop (br_if 0 (i32.const 1))))
               (func $gives (result i32) (loop (br_if 0 (i32.const 1))) (i32.const 7))
               (func (export \"f\") (param $x i32) {result} {code}))"
        );
        let wasm = wat::parse_str(&text).unwrap();
        let made = transform(&wasm, &Options::default()).unwrap();
        made.validate().unwrap();
        check::check(&wasm, &made.sites).unwrap();
        (made.report.sites_call.into(), made.report.calls_without_test.into())
    }

    #[test]
    fn what_comes_after_a_call_makes_it_a_site() {
        assert_eq!(calls("", "(call $stops) (call $stops)"), (1, 1));
        assert_eq!(calls("", "(call $stops) (nop)"), (1, 0));
        assert_eq!(calls("", "(drop (call $gives))"), (1, 0), "its result is not the function's");
        assert_eq!(calls("(result i32)", "(i32.add (call $gives) (i32.const 1))"), (1, 0));
    }

    #[test]
    fn ends_of_blocks_and_a_return_are_nothing() {
        assert_eq!(calls("(result i32)", "(call $gives)"), (0, 1));
        assert_eq!(
            calls("(result i32)", "(block (result i32) (block (result i32) (call $gives)))"),
            (0, 1)
        );
        assert_eq!(calls("", "(if (local.get $x) (then (call $stops)))"), (0, 1));
        assert_eq!(calls("", "(if (local.get $x) (then (call $stops) (return))) (nop)"), (0, 1));
        assert_eq!(calls("", "(call_indirect (type $plain) (local.get $x))"), (0, 1));
        // The value under the call's is the block's too.
        let two = "(block (result i32 i32) (i32.const 1) (call $gives)) (drop)";
        assert_eq!(calls("(result i32)", two), (1, 0));
    }

    #[test]
    fn a_call_whose_exceptions_are_caught_is_not_the_last_thing() {
        let caught = "(block $out (try_table (catch $t $out) (call $stops)))";
        assert_eq!(calls("", caught), (1, 0));
        let returned = "(block $out (try_table (catch $t $out) (call $stops) (return)))";
        assert_eq!(calls("", returned), (1, 0));
    }
}
