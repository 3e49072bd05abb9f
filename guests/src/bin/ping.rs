//! Sends numbered messages of many sizes to the next member of its group, which is to send them back (`pong`), and
//! checks what comes.
//!
//! Arguments: how many (default 100), how many of them under way at once (default 8), how long the longest is
//! (default 2,000 bytes). What is not what is due ends it with code 1.

use std::process::ExitCode;

use guests::{Numbers, argument};

/// The `number`-th message: the number, then what nothing else looks like.
fn message(number: u64, longest: u64, bytes: &mut Vec<u8>) {
    let mut numbers = Numbers(number);
    let length = numbers.draw() % (longest + 1);
    bytes.clear();
    bytes.extend(number.to_le_bytes());
    bytes.extend((0..length / 8).flat_map(|_| numbers.draw().to_le_bytes()));
}

fn main() -> ExitCode {
    let (count, window): (u64, u64) = (argument(0, 100), argument(1, 8));
    let longest: u64 = argument(2, 2_000);
    let (this, group) = (guest::this(), guest::group());
    let place = group.iter().position(|pid| *pid == this).expect("a process is in its group");
    let pong = group[(place + 1) % group.len()];
    let (mut sent, mut expected, mut got) = (0, Vec::new(), Vec::new());
    for number in 0..count {
        while sent < count.min(number + window) {
            message(sent, longest, &mut expected);
            guest::send(pong, &expected).expect("it is of the group");
            sent += 1;
        }
        let (from, _) = guest::receive_into(&mut got);
        message(number, longest, &mut expected);
        if from != pong || got != expected {
            eprintln!("number {number} was due: this has {} bytes, from {from}", got.len());
            return ExitCode::FAILURE;
        }
        if (number + 1).is_multiple_of(10) || number + 1 == count {
            println!("{}", number + 1);
        }
    }
    guest::send(pong, b"").expect("it is of the group");
    ExitCode::SUCCESS
}
