//! Drives the body of a fuzz target inside `cargo test`: one second by default, from a fixed seed;
//! `FUZZ_SECONDS=1800` for as long as one likes, from another, `FUZZ_SEED=N` from that one. A failure
//! prints its seed.

#![allow(dead_code, reason = "each of those who include this uses another part")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

/// Where runs of one second start, so that they are the same each time.
const SEED: u64 = 0x5eed_0001;

/// A generator of numbers: xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }

    /// Bytes that a decoder gets somewhere with: mostly small numbers, sometimes any.
    pub(crate) fn small_bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length)
            .map(|_| match self.next() >> 8 & 7 {
                0 => self.next() as u8,
                1 => (self.next() >> 20) as u8 & 0x7f,
                _ => (self.next() >> 20) as u8 & 7,
            })
            .collect()
    }

    /// These bytes with a few of them changed, dropped or repeated.
    pub(crate) fn damaged(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + self.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes[at] = self.next() as u8,
                2 => bytes[at] ^= 1 << self.below(8),
                3 => drop(bytes.drain(at..bytes.len().min(at + 8))),
                _ => {
                    let again = bytes[at..bytes.len().min(at + 16)].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
        bytes
    }
}

/// Calls `body` with one generator after another until the time is over; says how often.
pub(crate) fn run(mut body: impl FnMut(Random) -> Result<(), String>) -> u64 {
    let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seconds = variable("FUZZ_SECONDS");
    let clock = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(SEED, |time| time.as_nanos() as u64)
    };
    let first = variable("FUZZ_SEED").unwrap_or_else(|| seconds.map_or(SEED, |_| clock()));
    println!("first seed {first}");
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(1));
    let mut rounds = 0;
    while Instant::now() < end {
        let seed = first.wrapping_add(rounds);
        match catch_unwind(AssertUnwindSafe(|| body(Random::new(seed)))) {
            Ok(Ok(())) => rounds += 1,
            Ok(Err(difference)) => panic!("seed {seed}: {difference}"),
            Err(_) => panic!("seed {seed}: panicked"),
        }
    }
    println!("{rounds} rounds");
    rounds
}
