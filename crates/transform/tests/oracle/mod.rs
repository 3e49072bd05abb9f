//! One random module, checked: the body of the test and of the fuzz target.

#![allow(dead_code, reason = "a fuzz target adds nothing up")]

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use wasmtime::{Engine, Val, ValType};

use super::harness::Case;

/// What a series of checks saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) modules: u64,
    pub(crate) freezes: u64,
    pub(crate) refused: BTreeMap<String, u64>,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.modules += other.modules;
        self.freezes += other.freezes;
        for (why, count) in &other.refused {
            *self.refused.entry(why.clone()).or_default() += count;
        }
    }
}

fn config(u: &mut Unstructured<'_>) -> arbitrary::Result<wasm_smith::Config> {
    Ok(wasm_smith::Config {
        gc_enabled: false,
        threads_enabled: false,
        memory64_enabled: false,
        custom_page_sizes_enabled: false,
        exceptions_enabled: u.arbitrary()?,
        tail_call_enabled: u.arbitrary()?,
        reference_types_enabled: u.ratio(3, 4)?,
        export_everything: true,
        max_memories: 2,
        max_tables: 2,
        max_memory32_bytes: 4 << 16,
        memory_max_size_required: true,
        max_table_elements: 50,
        table_max_size_required: true,
        min_funcs: 2,
        max_funcs: 12,
        max_imports: 6,
        max_instructions: u.int_in_range(20..=400)?,
        max_globals: 8,
        max_data_segments: 4,
        max_element_segments: 4,
        max_types: 12,
        max_tags: 3,
        ..wasm_smith::Config::default()
    })
}

/// Polls, loop rounds and calls before a module's own fuel ends it with a trap.
const FUEL: u32 = 200;

/// Checks the module that some bytes stand for.
pub(crate) fn check(engine: &Engine, bytes: &[u8]) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let mut u = Unstructured::new(bytes);
    let made = config(&mut u).and_then(|config| wasm_smith::Module::new(config, &mut u));
    let Ok(mut module) = made else { return Ok(seen) };
    if module.ensure_termination(FUEL).is_err() {
        return Ok(seen);
    }
    let wasm = module.to_bytes();
    if wasmtime::Module::validate(engine, &wasm).is_err() {
        return Ok(seen);
    }
    if let Ok(path) = std::env::var("FUZZ_SAVE") {
        std::fs::write(path, &wasm).unwrap();
    }
    let case = match Case::new(engine, &wasm) {
        Ok(case) => case,
        Err(transform::Error::Unsupported { feature, .. }) => {
            seen.refused.insert(feature, 1);
            return Ok(seen);
        }
        Err(error) => return Err(error.to_string()),
    };
    seen.modules = 1;
    seen.freezes = case.compare(&calls(&case, &mut u), &[1, 3])?;
    Ok(seen)
}

/// Each exported function, with arguments from what bytes are left.
fn calls(case: &Case, u: &mut Unstructured<'_>) -> Vec<(String, Vec<Val>)> {
    /// More calls find little more.
    const CALLS_MAX: usize = 6;
    let sites = &case.transformed.sites;
    let functions = case.original.exports().filter_map(|export| {
        // An import that is exported again is the host calling itself.
        let defined = sites.export(export.name())?.0 >= sites.imported_functions;
        defined.then_some(())?;
        Some((export.name().to_owned(), export.ty().func()?.clone()))
    });
    let mut calls = Vec::new();
    for (name, ty) in functions.take(CALLS_MAX) {
        let args: Option<Vec<Val>> = ty.params().map(|ty| argument(&ty, u)).collect();
        calls.extend(args.map(|args| (name, args)));
    }
    calls
}

fn argument(ty: &ValType, u: &mut Unstructured<'_>) -> Option<Val> {
    Some(match ty {
        ValType::I32 => Val::I32(u.arbitrary::<i8>().ok()?.into()),
        ValType::I64 => Val::I64(u.arbitrary::<i16>().ok()?.into()),
        ValType::F32 => Val::F32(u.arbitrary().ok()?),
        ValType::F64 => Val::F64(u.arbitrary().ok()?),
        ValType::V128 => Val::V128(u.arbitrary::<u128>().ok()?.into()),
        ty => Val::default_for_ty(ty)?,
    })
}
