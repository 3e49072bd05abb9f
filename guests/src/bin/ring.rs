//! A ring: the members of the group hand a number round, each adding one, and say what they got.
//!
//! Arguments: how many times round (default 10). A number that is not the one that is due ends the member that got it
//! with code 1: then one was lost, or doubled, or overtook another.

use std::process::ExitCode;

use guests::argument;

fn main() -> ExitCode {
    let rounds: u64 = argument(0, 10);
    let (this, group) = (guest::this(), guest::group());
    let place = group.iter().position(|pid| *pid == this).expect("a process is in its group");
    let (place, size) = (place as u64, group.len() as u64);
    let next = group[(place as usize + 1) % group.len()];
    let previous = group[(place as usize + group.len() - 1) % group.len()];

    let pass = |number: u64| guest::send(next, &number.to_le_bytes()).expect("it is of the group");
    if place == 0 {
        pass(1);
    }
    for round in 0..rounds {
        // The first has its turn at the end of a round.
        let due = round * size + if place == 0 { size } else { place };
        let message = guest::receive();
        let number = message.bytes.try_into().map_or(u64::MAX, u64::from_le_bytes);
        println!("{number} from {}", message.from);
        if (number, message.from) != (due, previous) {
            eprintln!("{due} from {previous} was due");
            return ExitCode::FAILURE;
        }
        if number < rounds * size {
            pass(number + 1);
        }
    }
    ExitCode::SUCCESS
}
