//! Sends one message to a process of any group, says what came of that, and shows the answer.
//!
//! Arguments: the process's id, and the text.

use std::process::ExitCode;

use guests::argument;

fn main() -> ExitCode {
    let (to, text) = (argument(0, String::new()), argument(1, String::new()));
    let Ok(to) = to.parse() else {
        eprintln!("post: no process is called {to:?}");
        return ExitCode::FAILURE;
    };
    let sent = guest::send(to, text.as_bytes());
    println!("{sent:?}");
    if sent.is_err() {
        return ExitCode::FAILURE;
    }
    let answer = guest::receive();
    println!("{} says {}", answer.from, String::from_utf8_lossy(&answer.bytes));
    ExitCode::SUCCESS
}
