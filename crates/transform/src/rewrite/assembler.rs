//! Writes instructions with labels instead of depths, and remembers which branches are unlikely.

use wasm_encoder::{BlockType, HeapType, Ieee32, Ieee64, InstructionSink, MemArg};

use crate::index::LocalIdx;
use crate::sites::ValueType;

/// The target of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// The end of the original body: its operands are the results.
    Body,
    /// The spill code of a site.
    Spill(u32),
    /// Spill code that several sites share.
    Tail(usize),
    /// The end of all spill code.
    Header,
    /// Before an operator (a loop or a `try_table`).
    Before(u32),
    /// After an operator (a call).
    After(u32),
    /// The `else` branch of an `if` that was flattened.
    Else(u32),
    /// The end of the block that an operator opens.
    End(u32),
    /// The header of the loop that an operator opens.
    Loop(u32),
    /// One of its kind.
    Fresh(u32),
}

/// A function's instructions as they are written.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    pub(crate) bytes: Vec<u8>,
    labels: Vec<Label>,
    fresh: u32,
    /// (offset of a branch, whether it is likely taken).
    pub(crate) hints: Vec<(u32, bool)>,
}

impl Assembler {
    pub(crate) fn sink(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.bytes)
    }
    /// A label that nothing else is called.
    pub(crate) fn fresh(&mut self) -> Label {
        self.fresh += 1;
        Label::Fresh(self.fresh)
    }
    /// Opens a block whose end is `label`.
    pub(crate) fn block(&mut self, label: Label, ty: BlockType) {
        self.sink().block(ty);
        self.labels.push(label);
    }
    /// Opens a loop whose header is `label`.
    pub(crate) fn loop_(&mut self, label: Label) {
        self.sink().loop_(BlockType::Empty);
        self.labels.push(label);
    }
    /// Says that the bytes just copied opened a block.
    pub(crate) fn opened(&mut self, label: Label) {
        self.labels.push(label);
    }
    /// Closes the innermost block, which must be `label`.
    pub(crate) fn end(&mut self, label: Label) {
        let innermost = self.labels.pop();
        assert_eq!(innermost, Some(label), "blocks close in the order they opened");
        self.sink().end();
    }
    /// The depth of a label.
    pub(crate) fn depth(&self, label: Label) -> u32 {
        let found = self.labels.iter().rev().position(|&open| open == label);
        found.unwrap_or_else(|| panic!("{label:?} is not open")) as u32
    }
    pub(crate) fn br(&mut self, label: Label) {
        let depth = self.depth(label);
        self.sink().br(depth);
    }
    pub(crate) fn br_if(&mut self, label: Label) {
        let depth = self.depth(label);
        self.sink().br_if(depth);
    }
    /// A branch that is hardly ever taken.
    pub(crate) fn br_if_unlikely(&mut self, label: Label) {
        self.hints.push((self.bytes.len() as u32, false));
        self.br_if(label);
    }
    /// A branch that is nearly always taken.
    pub(crate) fn br_if_likely(&mut self, label: Label) {
        self.hints.push((self.bytes.len() as u32, true));
        self.br_if(label);
    }
    pub(crate) fn br_table(&mut self, targets: &[Label], default: Label) {
        let targets: Vec<u32> = targets.iter().map(|&label| self.depth(label)).collect();
        let default = self.depth(default);
        self.sink().br_table(targets, default);
    }
    pub(crate) fn get(&mut self, local: LocalIdx) {
        self.sink().local_get(local.0);
    }
    pub(crate) fn set(&mut self, local: LocalIdx) {
        self.sink().local_set(local.0);
    }
    /// The zero of a type.
    pub(crate) fn zero(&mut self, ty: ValueType) {
        let mut sink = self.sink();
        match ty {
            ValueType::I32 => sink.i32_const(0),
            ValueType::I64 => sink.i64_const(0),
            ValueType::F32 => sink.f32_const(Ieee32::new(0)),
            ValueType::F64 => sink.f64_const(Ieee64::new(0)),
            ValueType::V128 => sink.v128_const(0),
            ValueType::FuncRef => sink.ref_null(HeapType::FUNC),
            ValueType::ExternRef => sink.ref_null(HeapType::EXTERN),
            ValueType::ExnRef => sink.ref_null(EXN),
        };
    }
    /// Zeros of all types.
    pub(crate) fn zeros(&mut self, types: &[ValueType]) {
        for &ty in types {
            self.zero(ty);
        }
    }
    /// Stores a value at an offset from the address under it.
    pub(crate) fn store(&mut self, ty: ValueType, offset: u32, memory: u32) {
        let at = unaligned(offset, memory);
        let mut sink = self.sink();
        match ty {
            ValueType::I32 | ValueType::FuncRef => sink.i32_store(at),
            ValueType::I64 => sink.i64_store(at),
            ValueType::F32 => sink.f32_store(at),
            ValueType::F64 => sink.f64_store(at),
            ValueType::V128 => sink.v128_store(at),
            ValueType::ExternRef | ValueType::ExnRef => unreachable!("refused by the plan"),
        };
    }
    /// Loads a value from an offset to the address.
    pub(crate) fn load(&mut self, ty: ValueType, offset: u32, memory: u32) {
        let at = unaligned(offset, memory);
        let mut sink = self.sink();
        match ty {
            ValueType::I32 | ValueType::FuncRef => sink.i32_load(at),
            ValueType::I64 => sink.i64_load(at),
            ValueType::F32 => sink.f32_load(at),
            ValueType::F64 => sink.f64_load(at),
            ValueType::V128 => sink.v128_load(at),
            ValueType::ExternRef | ValueType::ExnRef => unreachable!("refused by the plan"),
        };
    }
}

/// The type of exceptions, which the encoder has no name for.
const EXN: HeapType = HeapType::Abstract { shared: false, ty: wasm_encoder::AbstractHeapType::Exn };

/// A place in a memory; frames are packed, so nothing is aligned.
pub(crate) fn unaligned(offset: u32, memory: u32) -> MemArg {
    MemArg { offset: offset.into(), align: 0, memory_index: memory }
}
