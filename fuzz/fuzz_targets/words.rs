//! Tokens and ids are refused, or read as they are printed.
#![no_main]

#[path = "../../crates/node/tests/words/mod.rs"]
mod words;

libfuzzer_sys::fuzz_target!(|text: &str| {
    words::check(text).unwrap_or_else(|difference| panic!("{difference}"));
});
