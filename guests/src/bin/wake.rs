//! Wakes the others of its group, one by one, each with a message that is sent back, and says how long that took.
//!
//! `wake SECONDS COUNT`: first it waits for so long, so that the others are asleep; then it wakes so many of them, far
//! from each other, and prints the times in microseconds, sorted.

use std::{
    thread,
    time::{Duration, Instant},
};

use guests::argument;

fn main() {
    let (seconds, count) = (argument(0, 10_u64), argument(1, 1000_usize));
    thread::sleep(Duration::from_secs(seconds));
    let this = guest::this();
    let others: Vec<_> = guest::group().into_iter().filter(|pid| *pid != this).collect();
    let mut times: Vec<u128> = (0..count)
        .map(|round| {
            // A prime, so that each has its turn before any has two.
            let other = others[round * 7919 % others.len()];
            let begun = Instant::now();
            guest::send(other, b"wake").expect("it is of this group");
            let message = guest::receive();
            assert_eq!(message.from, other, "nobody else says anything");
            begun.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    let words: Vec<String> = times.iter().map(ToString::to_string).collect();
    println!("{}", words.join(" "));
}
