//! A site table and frames from outside are refused or harmless.
#![no_main]

#[path = "../../crates/transform/tests/bytes/mod.rs"]
mod bytes;

libfuzzer_sys::fuzz_target!(|parts: (&[u8], &[u8])| {
    let (table, frames) = parts;
    bytes::check(table, frames).unwrap_or_else(|difference| panic!("{difference}"));
});
