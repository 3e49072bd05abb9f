//! Prints numbers, one a line, with some work between: the plainest thing to watch while it moves.
//!
//! Arguments: the last number (0: for ever), units of work between two (default 2,000; one is about a microsecond).

use std::hint::black_box;

use guests::{Numbers, argument};

fn main() {
    let (last, work): (u64, u64) = (argument(0, 100), argument(1, 2_000));
    let mut numbers = Numbers(1);
    let mut number = 0;
    while last == 0 || number < last {
        for _ in 0..work * 500 {
            black_box(numbers.draw());
        }
        number += 1;
        println!("{number}");
    }
}
