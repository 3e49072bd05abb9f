//! A random module behaves the same frozen at every safepoint and not at all.
#![no_main]

#[path = "../../crates/transform/tests/harness/mod.rs"]
mod harness;
#[path = "../../crates/transform/tests/oracle/mod.rs"]
mod oracle;

use std::sync::LazyLock;

static ENGINE: LazyLock<wasmtime::Engine> = LazyLock::new(harness::quick_engine);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::check(&ENGINE, bytes).unwrap_or_else(|difference| panic!("{difference}"));
});
