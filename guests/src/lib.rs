//! What the guests share: reading their arguments, and a generator whose numbers are the same everywhere.

use std::{env, str::FromStr};

/// The `index`-th argument after the program's name, or `default` where it is missing or makes no sense.
pub fn argument<T: FromStr>(index: usize, default: T) -> T {
    env::args().nth(index + 1).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// How many rounds a kernel is asked for: its only argument.
pub fn rounds(default: u32) -> u32 {
    argument(0, default)
}

/// SplitMix64: seeded, quick, and good enough that zstd finds nothing to shorten in what it makes.
pub struct Numbers(pub u64);

impl Numbers {
    /// The next 64 bits.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// Folds a value into a checksum, so that no round of a kernel can be optimised away.
#[inline]
pub fn fold(sum: u64, value: u64) -> u64 {
    (sum ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5)
}
