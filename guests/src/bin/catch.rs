//! Takes numbered messages (`pour`) of one sender or several, and says how many came in order.
//!
//! Arguments: how many are due in all (default 100), and for how many milliseconds it takes none at first (default 0),
//! so that its inbox fills. One out of order ends it with code 1.

use std::{collections::HashMap, process::ExitCode, thread::sleep, time::Duration};

use guests::argument;

fn main() -> ExitCode {
    let (count, millis) = (argument(0, 100_u64), argument(1, 0));
    sleep(Duration::from_millis(millis));
    let (mut bytes, mut due) = (Vec::new(), HashMap::new());
    for _ in 0..count {
        let (from, _) = guest::receive_into(&mut bytes);
        let due = due.entry((from.group, from.index)).or_insert(0);
        let number = bytes.first_chunk().map(|number| u64::from_le_bytes(*number));
        if number != Some(*due) {
            eprintln!("number {due} of {from} was due, {number:?} came");
            return ExitCode::FAILURE;
        }
        *due += 1;
    }
    println!("{count} in order");
    ExitCode::SUCCESS
}
