//! The host against real programs, on plain Wasmtime and untransformed: what waits, waits within
//! the call. Each program also runs with its state saved and restored before every call.

mod harness;
mod programs;
mod state;
