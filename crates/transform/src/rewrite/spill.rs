//! Spill code stands after the body, out of the way: it makes room for a frame, writes the live
//! values and the header, and returns dummies.

use wasm_encoder::BlockType;

use super::assembler::Label;
use super::function::Rewriter;
use crate::abi::HEADER_BYTES;
use crate::index::{Idx, SiteIdx};
use crate::sites::ValueType;

impl Rewriter<'_, '_> {
    /// Opens the blocks whose ends are the spill code. Labels within the body keep their depths,
    /// because the body's own block takes the place of the function's label.
    pub(super) fn open_spills(&mut self) {
        for site in (0..self.plan.sites.len() as u32).rev() {
            self.out.block(Label::Spill(site), BlockType::Empty);
        }
    }

    /// The spill code of all sites.
    pub(super) fn spills(&mut self) {
        for at in 0..self.plan.sites.len() {
            let site = SiteIdx::new(at);
            self.out.end(Label::Spill(site.0));
            self.spill(site);
        }
    }

    fn spill(&mut self, site: SiteIdx) {
        let added = &self.context.added;
        let frames = added.frames;
        let address = self.scratch();
        let bytes = self.plan.frame_bytes;
        self.out.sink().i32_const(bytes as i32).call(added.reserve).local_set(address.0);
        for &local in &self.plan.sites[site].saved {
            let slot = self.plan.slots[&local];
            self.out.get(address);
            self.out.get(local);
            if slot.ty == ValueType::FuncRef {
                self.out.sink().call(added.save_reference);
            }
            self.out.store(slot.ty, slot.offset, frames);
        }
        let header = bytes - HEADER_BYTES;
        let words = u64::from(site.0) << 32 | u64::from(self.body.function.0);
        self.out.get(address);
        self.out.sink().i64_const(words as i64);
        self.out.store(ValueType::I64, header, frames);
        self.out.zeros(&self.body.results);
        self.out.sink().return_();
    }
}
