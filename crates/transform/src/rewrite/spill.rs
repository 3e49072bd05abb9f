//! Spill code stands after the body, out of the way: it writes the live values and the header
//! above the frames that are there, makes them a frame, and returns dummies.
//!
//! A function that calls nothing must go on calling nothing, because a compiler spares such a leaf the look
//! at the stack's limit: formatting text, which calls many, was 4 % slower for a call in code that never
//! runs. Its frame is the innermost, thus the first, and there is room for that and another from the start.

use wasm_encoder::BlockType;

use super::Form;
use super::assembler::Label;
use super::function::Rewriter;
use crate::abi::{HEADER_BYTES, STATE_UNWINDING};
use crate::index::LocalIdx;
use crate::sites::ValueType;
use crate::tails::{Tail, Tails};

impl<'p> Rewriter<'p, '_> {
    fn planned_tails(&self) -> &'p Tails {
        match self.context.form {
            Form::Run => &self.plan.run_tails,
            Form::Resume => &self.plan.resume_tails,
        }
    }

    /// Opens the blocks whose ends are the spill code. Labels within the body keep their depths,
    /// because the body's own block takes the place of the function's label.
    pub(super) fn open_spills(&mut self) {
        if self.plan.sites.is_empty() {
            return;
        }
        self.out.block(Label::Header, BlockType::Empty);
        for tail in 0..self.planned_tails().tails.len() {
            self.out.block(Label::Tail(tail), BlockType::Empty);
        }
        for site in (0..self.plan.sites.len() as u32).rev() {
            self.out.block(Label::Spill(site), BlockType::Empty);
        }
    }

    /// The spill code of all sites.
    pub(super) fn spills(&mut self) {
        if self.plan.sites.is_empty() {
            return;
        }
        let number = self.number();
        let tails = self.planned_tails();
        for (site, tail) in (0..).zip(&tails.of_site) {
            self.out.end(Label::Spill(site));
            self.out.sink().i32_const(site as i32).local_set(number.0);
            self.out.br(tail.map_or(Label::Header, Label::Tail));
        }
        for (at, tail) in tails.tails.iter().enumerate().rev() {
            self.out.end(Label::Tail(at));
            self.tail(tail);
            if 0 < at {
                self.out.br(tail.parent.map_or(Label::Header, Label::Tail));
            }
        }
        self.out.end(Label::Header);
        self.header(number);
    }

    fn tail(&mut self, tail: &Tail) {
        let added = &self.context.added;
        for &local in &tail.stores {
            let slot = self.plan.slots[&local];
            self.out.sink().global_get(added.top);
            self.out.get(local);
            if slot.ty == ValueType::FuncRef {
                self.out.sink().call(added.save_reference);
            }
            self.out.store(slot.ty, slot.offset, added.frames);
        }
    }

    fn header(&mut self, number: LocalIdx) {
        let added = &self.context.added;
        let bytes = self.plan.frame_bytes;
        let header = bytes - HEADER_BYTES;
        self.out.sink().global_get(added.top).i32_const(self.body.function.0 as i32);
        self.out.store(ValueType::I32, header, added.frames);
        self.out.sink().global_get(added.top);
        self.out.get(number);
        self.out.store(ValueType::I32, header + 4, added.frames);
        if self.plan.is_innermost() {
            self.out.sink().i32_const(bytes as i32).global_set(added.top);
            self.out.sink().i32_const(STATE_UNWINDING).global_set(added.state);
        } else {
            self.out.sink().i32_const(bytes as i32).call(added.push);
        }
        self.out.zeros(&self.body.results);
        self.out.sink().return_();
    }
}

#[cfg(test)]
mod tests {
    use wasmparser::{Operator, Parser, Payload};

    use crate::{Options, transform};

    /// How many calls each function of the run form makes.
    fn calls(text: &str) -> Vec<usize> {
        let made = transform(&wat::parse_str(text).unwrap(), &Options::default()).unwrap();
        made.validate().unwrap();
        let bodies = Parser::new(0).parse_all(&made.run).filter_map(|payload| match payload {
            Ok(Payload::CodeSectionEntry(body)) => Some(body),
            _ => None,
        });
        let calls = |op: &Operator<'_>| matches!(op, Operator::Call { .. });
        let count = |body: wasmparser::FunctionBody<'_>| {
            let ops = body.get_operators_reader().unwrap().into_iter();
            ops.filter(|op| calls(op.as_ref().unwrap())).count()
        };
        bodies.map(count).collect()
    }

    #[test]
    fn what_calls_nothing_goes_on_calling_nothing() {
        let found = calls(
            "(module
               (func $leaf (param i32) (loop (br_if 0 (local.get 0))))
               (func (export \"f\") (param i32)
                 (call $leaf (local.get 0)) (call $leaf (local.get 0)) (nop)))",
        );
        assert_eq!(found[..2], [0, 3], "the other has its two and that of the spill code");
    }
}
