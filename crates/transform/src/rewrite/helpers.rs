//! The few functions that we add to a module.

use std::sync::atomic::Ordering;

use wasm_encoder::{BlockType, Function, HeapType, MemArg, ValType};

use super::{Context, Form, encoded};
use crate::abi;
use crate::index::{FuncIdx, Idx};
use crate::options::Polls;
use crate::sites::ValueType;

/// A function of ours: parameters, results, code.
pub(super) struct Helper {
    pub(super) params: Vec<ValueType>,
    pub(super) results: Vec<ValueType>,
    pub(super) code: Function,
}

/// All of them, in the order of their indices.
pub(super) fn helpers(context: &Context<'_, '_>) -> Vec<Helper> {
    let i32 = ValueType::I32;
    let helper = |params: &[ValueType], results: &[ValueType], code| Helper {
        params: params.to_vec(),
        results: results.to_vec(),
        code,
    };
    let mut all = vec![
        helper(&[i32], &[], push(context)),
        helper(&[], &[], finish(context, false)),
        helper(&[], &[], finish(context, true)),
        helper(&[ValueType::FuncRef], &[i32], save_reference(context)),
        helper(&[], &[i32], counted(context)),
        helper(&[], &[], restore(context)),
    ];
    if has_thunks(context) {
        for (function, _) in context.module.functions.iter_enumerated() {
            let results = context.signature(function).results.clone();
            all.push(helper(&[], &results, thunk(context, function)));
        }
    }
    all
}

/// Whether rewinds go through thunks: functions without parameters, one for each function, by
/// which a frame's function can be entered whatever was called in its place.
pub(super) fn has_thunks(context: &Context<'_, '_>) -> bool {
    context.form == Form::Resume && context.analysis.any_tail_calls()
}

fn control(context: &Context<'_, '_>, word: abi::Word, align: u32) -> MemArg {
    MemArg { offset: word.offset as u64, align, memory_index: context.added.control }
}

/// What was written above the frames, so many bytes, is a frame now; and there is room for one
/// more of any size. A program whose frames do not fit ends here, with a trap, rather than with a
/// stack that is cut short.
fn push(context: &Context<'_, '_>) -> Function {
    let added = &context.added;
    let (bytes, end, need) = (0, 1, 2);
    let room = i64::from(context.frame_bytes_max.load(Ordering::Relaxed));
    let mut code = Function::new([(2, ValType::I64)]);
    let mut sink = code.instructions();
    sink.i32_const(abi::STATE_UNWINDING).global_set(added.state);
    sink.global_get(added.top).i64_extend_i32_u();
    sink.local_get(bytes).i64_extend_i32_u().i64_add().local_tee(end);
    sink.i32_wrap_i64().global_set(added.top);
    sink.local_get(end).i64_const(room).i64_add().local_tee(end);
    sink.i64_const(1 << 32).i64_ge_u().if_(BlockType::Empty).unreachable().end();
    // Pages that are missing.
    sink.local_get(end).memory_size(added.frames).i64_extend_i32_u().i64_const(16).i64_shl();
    sink.i64_sub().i64_const(0xffff).i64_add().i64_const(16).i64_shr_s().local_tee(need);
    sink.i64_const(0).i64_gt_s().if_(BlockType::Empty);
    // As many again as there are, else only these.
    sink.local_get(need).i32_wrap_i64().memory_size(added.frames).i32_add();
    sink.memory_grow(added.frames).i32_const(-1).i32_eq().if_(BlockType::Empty);
    sink.local_get(need).i32_wrap_i64().memory_grow(added.frames);
    sink.i32_const(-1).i32_eq().if_(BlockType::Empty).unreachable().end();
    sink.end().end().end();
    code
}

/// The innermost frame is restored: the program runs again. A request that came meanwhile stays.
fn finish(context: &Context<'_, '_>, at_loop: bool) -> Function {
    let added = &context.added;
    let mut code = Function::new([]);
    let mut sink = code.instructions();
    sink.i32_const(abi::STATE_RUNNING).global_set(added.state);
    sink.i32_const(0).global_set(added.references_top);
    for word in [abi::LOOP, abi::ENTRY] {
        let mask = !(abi::REWIND as i32);
        sink.i32_const(0).i32_const(mask).i32_atomic_rmw_and(control(context, word, 2)).drop();
    }
    if at_loop && context.polls == Polls::Counted {
        // The loop's poll is met a second time: it was counted already.
        let counter = control(context, abi::COUNTER, 3);
        sink.i32_const(0).i32_const(0).i64_load(counter).i64_const(1).i64_add().i64_store(counter);
    }
    sink.end();
    code
}

/// Writes a function reference to the table of references and returns its place there.
fn save_reference(context: &Context<'_, '_>) -> Function {
    const ROOM: i32 = 64;
    let added = &context.added;
    let mut code = Function::new([]);
    let mut sink = code.instructions();
    sink.global_get(added.references_top).table_size(added.references).i32_eq();
    sink.if_(BlockType::Empty);
    sink.ref_null(HeapType::FUNC).i32_const(ROOM).table_grow(added.references);
    sink.i32_const(-1).i32_eq().if_(BlockType::Empty).unreachable().end();
    sink.end();
    sink.global_get(added.references_top).local_get(0).table_set(added.references);
    sink.global_get(added.references_top).i32_const(1).i32_add().global_set(added.references_top);
    sink.global_get(added.references_top).i32_const(1).i32_sub().end();
    code
}

/// A counted poll. It does not count while rewinding, and still answers a request.
fn counted(context: &Context<'_, '_>) -> Function {
    let counter = control(context, abi::COUNTER, 3);
    let mut code = Function::new([]);
    let mut sink = code.instructions();
    sink.global_get(context.added.state).i32_const(abi::STATE_REWINDING).i32_eq();
    sink.if_(BlockType::Empty).i32_const(1).return_().end();
    sink.i32_const(0).i32_const(0).i64_load(counter).i64_const(1).i64_sub().i64_store(counter);
    sink.i32_const(0).i64_load(counter).i64_eqz();
    sink.i32_const(0).i32_atomic_load(control(context, abi::LOOP, 2));
    sink.i32_const(abi::REQUEST as i32).i32_and().i32_or().end();
    code
}

/// Drops again what was dropped before the freeze.
fn restore(context: &Context<'_, '_>) -> Function {
    let mut code = Function::new([]);
    let mut sink = code.instructions();
    for &segment in &context.analysis.dropped_data {
        sink.global_get(context.added.dropped_data[&segment]).if_(BlockType::Empty);
        sink.data_drop(segment).end();
    }
    for &segment in &context.analysis.dropped_elements {
        sink.global_get(context.added.dropped_elements[&segment]).if_(BlockType::Empty);
        sink.elem_drop(segment).end();
    }
    sink.end();
    code
}

fn thunk(context: &Context<'_, '_>, function: FuncIdx) -> Function {
    let mut code = Function::new([]);
    if context.imported(function) || !context.analysis.suspends[function] {
        code.instructions().unreachable().end();
        return code;
    }
    let params = context.signature(function).params.len() as u32;
    let locals = context.signature(function).params.iter().map(|&ty| encoded(ty));
    code = Function::new_with_locals_types(locals);
    for param in 0..params {
        code.instructions().local_get(param);
    }
    code.instructions().return_call(function.index() as u32).end();
    code
}
