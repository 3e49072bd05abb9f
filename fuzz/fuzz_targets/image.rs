//! An image is refused, or read the same however it is cut.
#![no_main]

#[path = "../../crates/wire/tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let cut = bytes.first().copied().unwrap_or(1);
    // Nobody guesses checksums, so that records are sealed first.
    for image in [bytes, &hostile::forged(bytes)] {
        hostile::image(image, cut).unwrap_or_else(|difference| panic!("{difference}"));
    }
});
