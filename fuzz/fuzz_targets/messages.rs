//! What comes over a link or from the registry's disk is refused, or read as it is written.
#![no_main]

#[path = "../../crates/wire/tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for (name, again) in hostile::TYPES {
        again(bytes).unwrap_or_else(|difference| panic!("{name}: {difference}"));
    }
});
