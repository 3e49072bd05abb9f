//! A heap of a given size, filled, then checked over and over while counting: a lost or torn page is noticed at once.
//!
//! Arguments: megabytes (of 2²⁰ bytes), `random` or `compressible`, rounds of checking (0: for ever), `quiet` to print
//! only the end. Prints `ready` once the heap is filled.

use std::process::ExitCode;

use guests::{Numbers, argument};

const WORDS_PER_MEGABYTE: usize = (1 << 20) / 8;

/// What word `index` is to hold. Random words look like noise; compressible ones are mostly a pattern.
fn word(random: bool, index: usize) -> u64 {
    if random { Numbers(index as u64).draw() } else { (index as u64 / 512) | 0x5748_4942_0000_0000 }
}

fn main() -> ExitCode {
    let megabytes: usize = argument(0, 16);
    let random = argument(1, "random".to_owned()) == "random";
    let (rounds, quiet): (u64, bool) = (argument(2, 1), argument(3, String::new()) == "quiet");
    let heap: Vec<u64> =
        (0..megabytes * WORDS_PER_MEGABYTE).map(|index| word(random, index)).collect();
    println!("ready {megabytes} MB");
    let mut round = 0;
    while rounds == 0 || round < rounds {
        for (index, &found) in heap.iter().enumerate() {
            if found != word(random, index) {
                println!("wrong word {index}: {found:016x}");
                return ExitCode::FAILURE;
            }
        }
        round += 1;
        if !quiet {
            println!("checked {round}");
        }
    }
    println!("heap {megabytes} MB checked {round} times");
    ExitCode::SUCCESS
}
