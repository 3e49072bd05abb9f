//! A hash map filled, read and emptied: hashing, probing, allocating.

use std::{collections::HashMap, hash::BuildHasherDefault, hash::DefaultHasher};

use guests::{Numbers, fold};

const ENTRIES: usize = 4_000;

fn main() {
    let mut sum = 0;
    for round in 0..guests::rounds(1) {
        let mut numbers = Numbers(u64::from(round));
        // Not the default hasher's random keys: every run is to do the same work.
        let mut map: HashMap<u64, u64, BuildHasherDefault<DefaultHasher>> = HashMap::default();
        for _ in 0..ENTRIES {
            *map.entry(numbers.draw() % 3_000).or_insert(0) += 1;
        }
        for key in 0..3_000 {
            sum = fold(sum, map.get(&key).copied().unwrap_or(0));
        }
        map.retain(|_, count| *count > 1);
        sum = fold(sum, map.len() as u64);
    }
    println!("hash_map {sum:016x}");
}
