//! The output: functions rewritten twice, and the module put together around them.

mod assembler;
mod branch;
mod function;
mod helpers;
mod module;
mod resume;
mod spill;

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;

use wasm_encoder::{BlockType, ValType};

pub(crate) use function::{Rewritten, rewrite};
pub(crate) use module::assemble;

use crate::analyze::Analysis;
use crate::index::{FuncIdx, Idx, TypeIdx};
use crate::options::Polls;
use crate::parse::Module;
use crate::sites::{Signature, ValueType};

/// Which of the two outputs is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// It unwinds.
    Run,
    /// It unwinds and rewinds.
    Resume,
}

/// What all functions of one output share: where our additions stand.
pub(crate) struct Context<'p, 'a> {
    pub(crate) module: &'p Module<'a>,
    pub(crate) analysis: &'p Analysis,
    pub(crate) polls: Polls,
    pub(crate) form: Form,
    pub(crate) added: Added,
    /// The largest frame of any function: there is always room for one more.
    pub(crate) frame_bytes_max: AtomicU32,
    pub(crate) types: Types,
}

/// Indices of what we add. It comes after what was there, so that nothing is renumbered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Added {
    pub(crate) control: u32,
    pub(crate) frames: u32,
    pub(crate) state: u32,
    pub(crate) top: u32,
    pub(crate) references_top: u32,
    pub(crate) dropped_data: HashMap<u32, u32>,
    pub(crate) dropped_elements: HashMap<u32, u32>,
    pub(crate) functions: u32,
    pub(crate) references: u32,
    pub(crate) thunks: u32,
    /// `(i32 bytes) -> ()`: what was written above the frames is a frame; we unwind.
    pub(crate) push: u32,
    /// `() -> ()`: the innermost frame is restored.
    pub(crate) finish: u32,
    /// The same at a loop's poll, which will be met again.
    pub(crate) finish_loop: u32,
    /// `(funcref) -> i32`: saves a function reference.
    pub(crate) save_reference: u32,
    /// `() -> i32`: a counted poll.
    pub(crate) counted: u32,
    pub(crate) restore: u32,
    pub(crate) first_thunk: u32,
}

impl Added {
    pub(crate) fn new(module: &Module<'_>, analysis: &Analysis) -> Self {
        let memories = module.memories.len() as u32;
        let globals = module.globals.len() as u32;
        let tables = module.tables.len() as u32;
        let functions = module.functions.len() as u32;
        let mut next_global = globals + 3;
        let mut numbered = |items: &std::collections::BTreeSet<u32>| {
            let mut map = HashMap::new();
            for &item in items {
                map.insert(item, next_global);
                next_global += 1;
            }
            map
        };
        Self {
            control: memories,
            frames: memories + 1,
            state: globals,
            top: globals + 1,
            references_top: globals + 2,
            dropped_data: numbered(&analysis.dropped_data),
            dropped_elements: numbered(&analysis.dropped_elements),
            functions: tables,
            references: tables + 1,
            thunks: tables + 2,
            push: functions,
            finish: functions + 1,
            finish_loop: functions + 2,
            save_reference: functions + 3,
            counted: functions + 4,
            restore: functions + 5,
            first_thunk: functions + 6,
        }
    }
}

/// The output's function types: the original's, then ours. All are known before any function is
/// rewritten, so that functions can be rewritten in any order and the output is the same.
#[derive(Clone, Debug)]
pub(crate) struct Types {
    first: u32,
    pub(crate) added: Vec<Signature>,
    numbers: HashMap<Signature, u32>,
}

impl Types {
    pub(crate) fn new(module: &Module<'_>, analysis: &Analysis) -> Self {
        let first = module.types.len() as u32;
        let mut types = Self { first, added: Vec::new(), numbers: HashMap::new() };
        let i32 = ValueType::I32;
        for (params, results) in
            [(&[i32][..], &[][..]), (&[], &[]), (&[ValueType::FuncRef], &[i32]), (&[], &[i32])]
        {
            types.add(params.to_vec(), results.to_vec());
        }
        // Bodies of functions, and thunks.
        for signature in module.types.iter() {
            if signature.results.len() > 1 || analysis.any_tail_calls() {
                types.add(Vec::new(), signature.results.clone());
            }
        }
        // What catch clauses leave.
        for tag in &module.tags {
            let mut values = module.types[TypeIdx(tag.func_type_idx)].params.clone();
            types.add(Vec::new(), values.clone());
            values.push(ValueType::ExnRef);
            types.add(Vec::new(), values);
        }
        types
    }
    fn add(&mut self, params: Vec<ValueType>, results: Vec<ValueType>) {
        let signature = Signature { params, results };
        if !self.numbers.contains_key(&signature) {
            let number = self.first + self.added.len() as u32;
            self.added.push(signature.clone());
            self.numbers.insert(signature, number);
        }
    }
    fn of(&self, params: &[ValueType], results: &[ValueType]) -> u32 {
        let signature = Signature { params: params.to_vec(), results: results.to_vec() };
        self.numbers[&signature]
    }
}

impl Context<'_, '_> {
    /// The index of a function type that is not the original's.
    pub(crate) fn function_type(&self, params: &[ValueType], results: &[ValueType]) -> u32 {
        self.types.of(params, results)
    }
    /// The type of a block without parameters.
    pub(crate) fn block_type(&self, results: &[ValueType]) -> BlockType {
        match results {
            [] => BlockType::Empty,
            [ty] => BlockType::Result(encoded(*ty)),
            _ => BlockType::FunctionType(self.function_type(&[], results)),
        }
    }
    /// The parameters and results of a function.
    pub(crate) fn signature(&self, function: FuncIdx) -> &Signature {
        self.module.signature(function)
    }
    /// Whether a function is an import.
    pub(crate) fn imported(&self, function: FuncIdx) -> bool {
        function.index() < self.module.imported_functions.len()
    }
}

/// The encoder's name of a type.
pub(crate) fn encoded(ty: ValueType) -> ValType {
    match ty {
        ValueType::I32 => ValType::I32,
        ValueType::I64 => ValType::I64,
        ValueType::F32 => ValType::F32,
        ValueType::F64 => ValType::F64,
        ValueType::V128 => ValType::V128,
        ValueType::FuncRef => ValType::FUNCREF,
        ValueType::ExternRef => ValType::EXTERNREF,
        ValueType::ExnRef => ValType::EXNREF,
    }
}
