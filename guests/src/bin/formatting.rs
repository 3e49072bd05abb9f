//! Numbers and text through the standard library's formatting: many small calls, some of them indirect.

use std::fmt::Write as _;

use guests::{Numbers, fold};

fn main() {
    let mut numbers = Numbers(11);
    let mut sum = 0;
    let mut text = String::new();
    for _ in 0..guests::rounds(1) {
        text.clear();
        for line in 0..200_u32 {
            let value = numbers.draw();
            let share = (value % 10_000) as f64 / 97.0;
            writeln!(text, "{line:>5} {value:#018x} {share:.4} {:?}", Some(line % 7))
                .expect("a string takes it all");
        }
        sum = text.bytes().fold(sum, |sum, byte| fold(sum, byte.into()));
    }
    println!("formatting {sum:016x}");
}
