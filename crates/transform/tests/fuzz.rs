//! Random modules behave the same frozen and not. One second by default, from a fixed seed;
//! `FUZZ_SECONDS=1800` for as long as one likes, from another. A failure prints its seed.

mod harness;
mod oracle;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// Where runs of one second start, so that they are the same each time.
const SEED: u64 = 0x5eed_0001;

#[test]
fn random_modules_survive_every_freeze() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse::<u64>().unwrap());
    let first = match std::env::var("FUZZ_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) if seconds.is_none() => SEED,
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(SEED, |time| time.as_nanos() as u64),
    };
    println!("first seed {first}");
    let engine = harness::quick_engine();
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(1));
    let mut seen = oracle::Seen::default();
    let mut seed = first;
    while Instant::now() < end {
        let bytes = oracle::bytes_of(seed);
        let checked = std::panic::catch_unwind(AssertUnwindSafe(|| oracle::check(&engine, &bytes)));
        match checked {
            Ok(Ok(found)) => seen.add(&found),
            Ok(Err(difference)) => panic!("seed {seed}: {difference}"),
            Err(_) => panic!("seed {seed}: panicked"),
        }
        seed = seed.wrapping_add(1);
    }
    println!("{seen:?}");
    assert!(seen.freezes > 0, "nothing was ever frozen");
}
