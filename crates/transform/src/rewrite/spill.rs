//! Spill code stands after the body, out of the way: it writes the live values and the header
//! above the frames that are there, makes them a frame, and returns dummies.

use wasm_encoder::BlockType;

use super::assembler::Label;
use super::function::Rewriter;
use crate::abi::HEADER_BYTES;
use crate::index::LocalIdx;
use crate::sites::ValueType;

impl Rewriter<'_, '_> {
    /// Opens the blocks whose ends are the spill code. Labels within the body keep their depths,
    /// because the body's own block takes the place of the function's label.
    pub(super) fn open_spills(&mut self) {
        if self.plan.sites.is_empty() {
            return;
        }
        self.out.block(Label::Header, BlockType::Empty);
        for tail in 0..self.plan.tails.tails.len() {
            self.out.block(Label::Tail(tail), BlockType::Empty);
        }
        for (tail, planned) in self.plan.tails.tails.iter().enumerate() {
            if !planned.zeroes.is_empty() {
                self.out.block(Label::Enter(tail), BlockType::Empty);
            }
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
        let tails = &self.plan.tails.tails;
        for (site, tail) in (0..).zip(&self.plan.tails.of_site) {
            self.out.end(Label::Spill(site));
            self.out.sink().i32_const(site as i32).local_set(number.0);
            self.out.br(match tail {
                None => Label::Header,
                Some(tail) if tails[*tail].zeroes.is_empty() => Label::Tail(*tail),
                Some(tail) => Label::Enter(*tail),
            });
        }
        for (at, tail) in tails.iter().enumerate().rev() {
            if !tail.zeroes.is_empty() {
                self.out.end(Label::Enter(at));
                for local in &tail.zeroes {
                    self.out.zero(self.plan.slots[local].ty);
                    self.out.set(*local);
                }
                self.out.br(Label::Tail(at));
            }
        }
        for tail in (0..tails.len()).rev() {
            self.out.end(Label::Tail(tail));
            self.tail(tail);
        }
        self.out.end(Label::Header);
        self.header(number);
    }

    fn tail(&mut self, index: usize) {
        let tail = &self.plan.tails.tails[index];
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
        if index > 0 || tail.parent.is_some() {
            self.out.br(tail.parent.map_or(Label::Header, Label::Tail));
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
        self.out.sink().i32_const(bytes as i32).call(added.push);
        self.out.zeros(&self.body.results);
        self.out.sink().return_();
    }
}
