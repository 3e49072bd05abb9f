//! Takes numbered messages (`pour`) and says how many came in order.
//!
//! Argument: how many are due (default 100). One out of order ends it with code 1.

use std::process::ExitCode;

use guests::argument;

fn main() -> ExitCode {
    let (count, mut bytes) = (argument(0, 100_u64), Vec::new());
    for due in 0..count {
        guest::receive_into(&mut bytes);
        let number = bytes.first_chunk().map(|number| u64::from_le_bytes(*number));
        if number != Some(due) {
            eprintln!("number {due} was due, {number:?} came");
            return ExitCode::FAILURE;
        }
    }
    println!("{count} in order");
    ExitCode::SUCCESS
}
