//! XXH3: fast enough to vanish beside a copy in memory.
//!
//! It is for accidents: bits that flip, parts that are missing. Whoever can write an image can also
//! compute it, so what is read is still checked as if it were hostile.
//! <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>

use twox_hash::XxHash3_64;

/// A checksum, as it stands in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(pub u64);

/// The checksum of some bytes: XXH3 of 64 bits. Different seeds make different checksums of the
/// same bytes.
#[must_use]
pub fn checksum(seed: u64, bytes: &[u8]) -> Checksum {
    Checksum(XxHash3_64::oneshot_with_seed(seed, bytes))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn it_is_the_published_function() {
        // As the reference implementation has them.
        let long: Vec<u8> = (0..1000_u32).map(|number| (number % 251) as u8).collect();
        for (seed, bytes, sum) in [
            (0, &b""[..], 0x2D06_8005_38D3_94C2),
            (0, b"xxhash", 0xAA4C_2B42_AE6B_13DE),
            (7, &long, 0x88C7_10A6_9B53_1698),
        ] {
            assert_eq!(checksum(seed, bytes), Checksum(sum), "{} bytes", bytes.len());
        }
    }

    #[test]
    fn every_bit_and_the_seed_count() {
        for length in [100_u16, 1000] {
            let bytes: Vec<u8> = (0..length).map(|number| number as u8).collect();
            let whole = checksum(1, &bytes);
            assert_ne!(checksum(2, &bytes), whole);
            for bit in 0..8 * bytes.len() {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(checksum(1, &flipped), whole, "bit {bit}");
            }
        }
    }
}
