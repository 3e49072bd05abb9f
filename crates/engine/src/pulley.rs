//! Our own atomic instructions, for a target that has none.
//!
//! Wasmtime's portable bytecode does not know the threads proposal, and the transform's polls are
//! atomic loads (so that no optimizer takes them out of a loop: for this target there is none that
//! could, it is compiled unoptimised). Here they become plain loads, byte for byte in place, so
//! that every other offset stays as it is:
//!
//! | before | after |
//! |---|---|
//! | `i32.atomic.load` | `nop` `i32.load` |
//! | `i32.const MASK` `i32.atomic.rmw.and` `drop` | `i32.const 0` `i32.store` `nop` `nop` |
//!
//! The second one ends a rewind, and would keep a request that came meanwhile; as a plain store it
//! may lose it. On this target the clock therefore repeats requests (see `worker`).

use wasmparser::{Operator, Parser, Payload};

use crate::CodeError;

const NOP: u8 = 0x01;
const DROP: u8 = 0x1a;
const I32_LOAD: u8 = 0x28;
const I32_STORE: u8 = 0x36;
/// Atomic instructions are this byte, then another one.
const ATOMIC_PREFIX_BYTES: usize = 2;

/// Replaces atomic accesses of the memory with this index.
pub(crate) fn without_atomics(wasm: &[u8], control: u32) -> Result<Vec<u8>, CodeError> {
    let mut out = wasm.to_vec();
    patch(wasm, control, &mut out)
        .map_err(|e| CodeError::Bundle(format!("a module in it: {e}")))?;
    Ok(out)
}

fn patch(wasm: &[u8], control: u32, out: &mut [u8]) -> wasmparser::Result<()> {
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::CodeSectionEntry(body) = payload? else { continue };
        let mut operators = body.get_operators_reader()?;
        // Where a one-byte constant stands, if it was the last instruction.
        let mut constant = None;
        while !operators.eof() {
            let (operator, at) = operators.read_with_offset()?;
            let end = operators.original_position();
            match operator {
                Operator::I32AtomicLoad { memarg } if memarg.memory == control => {
                    out[at..at + ATOMIC_PREFIX_BYTES].copy_from_slice(&[NOP, I32_LOAD]);
                }
                Operator::I32AtomicRmwAnd { memarg } if memarg.memory == control => {
                    if let Some(constant) = constant
                        && wasm.get(end) == Some(&DROP)
                    {
                        store_zero(out, constant, at, end);
                    }
                }
                _ => {}
            }
            let is_short = matches!(operator, Operator::I32Const { .. }) && end - at == 2;
            constant = is_short.then_some(at);
        }
    }
    Ok(())
}

/// Turns a constant at `constant` and an atomic *and* from `at` to `end`, whose result is dropped,
/// into a store of zero.
fn store_zero(out: &mut [u8], constant: usize, at: usize, end: usize) {
    out[constant + 1] = 0;
    out.copy_within(at + ATOMIC_PREFIX_BYTES..end, at + 1);
    out[at] = I32_STORE;
    out[end - 1] = NOP;
    out[end] = NOP;
}
