//! Feels for its own pulse: reads the monotonic clock as fast as it can and prints every gap, in microseconds.
//!
//! What a process sees of its own moves, without asking whoever moves it: the clock counts while a process is frozen.
//! Arguments: the least gap that is printed, in microseconds (default 300); how long to run, in seconds (0: for ever).

use std::time::{Duration, Instant};

use guests::argument;

fn main() {
    let least = Duration::from_micros(argument(0, 300));
    let length = Duration::from_secs(argument(1, 0));
    println!("ready");
    let begun = Instant::now();
    let mut last = begun;
    while length.is_zero() || last - begun < length {
        let now = Instant::now();
        if now - last >= least {
            println!("{}", (now - last).as_micros());
            // Printing is no gap.
            last = Instant::now();
        } else {
            last = now;
        }
    }
}
