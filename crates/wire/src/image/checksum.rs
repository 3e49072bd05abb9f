//! XXH64, from its specification: fast enough to vanish beside TLS, and needs nothing but `core`.
//!
//! It is for accidents: bits that flip, parts that are missing. Whoever can write an image can also
//! compute it, so what is read is still checked as if it were hostile.
//! <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>

const PRIME: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];

/// Four lanes of eight bytes.
const STRIPE_BYTES: usize = 32;

/// A checksum, as it stands in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(pub u64);

/// The checksum of some bytes. Different seeds make different checksums of the same bytes.
#[must_use]
pub fn checksum(seed: u64, bytes: &[u8]) -> Checksum {
    let (stripes, rest) = bytes.as_chunks::<STRIPE_BYTES>();
    let mut hash = if stripes.is_empty() {
        seed.wrapping_add(PRIME[4])
    } else {
        converge(consume(seed, stripes))
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    Checksum(avalanche(finish(hash, rest)))
}

fn consume(seed: u64, stripes: &[[u8; STRIPE_BYTES]]) -> [u64; 4] {
    let mut lanes = [
        seed.wrapping_add(PRIME[0]).wrapping_add(PRIME[1]),
        seed.wrapping_add(PRIME[1]),
        seed,
        seed.wrapping_sub(PRIME[0]),
    ];
    for stripe in stripes {
        let (words, _) = stripe.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = round(*lane, u64::from_le_bytes(*word));
        }
    }
    lanes
}

fn converge(lanes: [u64; 4]) -> u64 {
    let sum = [1, 7, 12, 18]
        .iter()
        .zip(lanes)
        .fold(0u64, |sum, (by, lane)| sum.wrapping_add(lane.rotate_left(*by)));
    lanes.iter().fold(sum, |sum, lane| {
        (sum ^ round(0, *lane)).wrapping_mul(PRIME[0]).wrapping_add(PRIME[3])
    })
}

fn finish(mut hash: u64, rest: &[u8]) -> u64 {
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        hash ^= round(0, u64::from_le_bytes(*word));
        hash = hash.rotate_left(27).wrapping_mul(PRIME[0]).wrapping_add(PRIME[3]);
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(PRIME[0]);
        hash = hash.rotate_left(23).wrapping_mul(PRIME[1]).wrapping_add(PRIME[2]);
    }
    for byte in rest {
        hash ^= u64::from(*byte).wrapping_mul(PRIME[4]);
        hash = hash.rotate_left(11).wrapping_mul(PRIME[0]);
    }
    hash
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIME[1])).rotate_left(31).wrapping_mul(PRIME[0])
}

fn avalanche(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 33).wrapping_mul(PRIME[1]);
    hash = (hash ^ hash >> 29).wrapping_mul(PRIME[2]);
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn it_is_the_published_function() {
        for (text, hash) in [
            ("", 0xEF46_DB37_51D8_E999),
            ("a", 0xD24E_C4F1_A98C_6E5B),
            ("abc", 0x44BC_2CF5_AD77_0999),
            ("xxhash", 0x32DD_3895_2C4B_C720),
            ("Nobody inspects the spammish repetition", 0xFBCE_A83C_8A37_8BF1),
        ] {
            assert_eq!(checksum(0, text.as_bytes()), Checksum(hash), "{text:?}");
        }
    }

    #[test]
    fn every_bit_and_the_seed_count() {
        let bytes: Vec<u8> = (0..100).collect();
        let whole = checksum(1, &bytes);
        assert_ne!(checksum(2, &bytes), whole);
        for bit in 0..800 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(checksum(1, &flipped), whole, "bit {bit}");
        }
    }
}
