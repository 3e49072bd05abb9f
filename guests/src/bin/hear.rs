//! Says what it is sent, one message a line, and by whom: a process, or an operator. Ends with an empty message.
//!
//! An argument `deaf` has it read nothing, ever.

use guests::argument;

fn main() {
    println!("here");
    if argument(0, String::new()) == "deaf" {
        loop {
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
    }
    loop {
        let message = guest::receive();
        let who = if message.from.is_port() { "operator" } else { "process" };
        if message.bytes.is_empty() {
            println!("end");
            // Who sends but is no process can be told nothing.
            println!("{:?}", guest::send(message.from, b"ended"));
            return;
        }
        match std::str::from_utf8(&message.bytes) {
            Ok(text) if text.len() < 100 => println!("{who}: {text}"),
            _ => println!("{who}: {} bytes", message.bytes.len()),
        }
    }
}
