//! The digits of pi, printed as they are found: something to look at while it is moved about.
//!
//! One file without a crate around it, because the `programs` crate compiles it into the binary as the demonstration's
//! stand-in. A spigot after Rabinowitz and Wagon (1995): each digit costs one pass over an array, so digits come at an
//! even pace. Argument: how many digits (default 1,000), in lines of fifty.

use std::io::{self, Write};

const LINE: usize = 50;

/// Prints digits in lines, each line as soon as it is full.
struct Printer {
    left: usize,
    line: String,
}

impl Printer {
    fn digit(&mut self, digit: u32) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        self.line.extend(char::from_digit(digit, 10));
        if self.line.len() < LINE && self.left > 0 {
            return Ok(());
        }
        self.line.push('\n');
        io::stdout().write_all(self.line.as_bytes())?;
        self.line.clear();
        Ok(())
    }
}

fn digits(count: usize) -> io::Result<()> {
    // Ten thirds of a place for each digit, and some more for the carry out of the last.
    let mut places = vec![2_u64; (count + 2) * 10 / 3 + 2];
    let mut printer = Printer { left: count, line: String::new() };
    // A digit is known only when a later one is not nine: the last unsure one waits, with the nines after it.
    let (mut waiting, mut nines) = (None, 0_usize);
    for _ in 0..count + 2 {
        let mut carry = 0;
        for (index, place) in places.iter_mut().enumerate().rev() {
            let value = *place * 10 + carry * (index as u64 + 1);
            let divisor = if index == 0 { 10 } else { 2 * index as u64 + 1 };
            *place = value % divisor;
            carry = value / divisor;
        }
        let digit = carry as u32;
        if digit == 9 {
            nines += 1;
            continue;
        }
        let overflow = u32::from(digit == 10);
        if let Some(waiting) = waiting {
            printer.digit(waiting + overflow)?;
        }
        for _ in 0..nines {
            printer.digit(if overflow == 1 { 0 } else { 9 })?;
        }
        (waiting, nines) = (Some(digit % 10), 0);
    }
    if let Some(waiting) = waiting {
        printer.digit(waiting)?;
    }
    for _ in 0..nines {
        printer.digit(9)?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    digits(std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000))
}
