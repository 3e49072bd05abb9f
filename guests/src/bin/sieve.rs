//! The sieve of Eratosthenes: tight store loops with a loop-invariant base, where a spilled register shows at once.

use std::hint::black_box;

const LIMIT: usize = 200_000;

fn sieve(composite: &mut [bool]) -> u32 {
    composite.fill(false);
    let mut primes = 0;
    for number in 2..composite.len() {
        if composite[number] {
            continue;
        }
        primes += 1;
        let mut multiple = number * number;
        while multiple < composite.len() {
            composite[multiple] = true;
            multiple += number;
        }
    }
    primes
}

fn main() {
    let mut composite = vec![false; LIMIT];
    let mut sum = 0;
    for _ in 0..guests::rounds(1) {
        sum = guests::fold(sum, sieve(black_box(&mut composite)).into());
    }
    println!("sieve {sum:016x}");
}
