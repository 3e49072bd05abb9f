//! The standard library's sort over pseudo-random keys: branches, moves and small calls.

use guests::{Numbers, fold};

const LENGTH: usize = 20_000;

fn main() {
    let mut numbers = Numbers(7);
    let mut sum = 0;
    for _ in 0..guests::rounds(1) {
        let mut keys: Vec<u64> = (0..LENGTH).map(|_| numbers.draw()).collect();
        keys.sort();
        sum = fold(sum, keys[LENGTH / 3]);
        keys.sort_unstable_by_key(|key| key.rotate_left(32));
        sum = fold(sum, keys[LENGTH / 2]);
    }
    println!("sort {sum:016x}");
}
