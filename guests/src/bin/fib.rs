//! Fibonacci by plain recursion: nothing but calls. The worst case for what a call costs.

use std::hint::black_box;

fn fib(n: u32) -> u32 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

fn main() {
    let mut sum = 0;
    for _ in 0..guests::rounds(1) {
        sum = guests::fold(sum, fib(black_box(24)).into());
    }
    println!("fib {sum:016x}");
}
