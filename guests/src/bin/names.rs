//! Registers a name and waits to be greeted, or greets whoever has it.
//!
//! Arguments: `be NAME`, or `greet NAME`.

use std::process::ExitCode;

use guests::argument;

fn main() -> ExitCode {
    let (word, name) = (argument(0, String::new()), argument(1, String::new()));
    if word == "be" {
        match guest::register(&name) {
            Ok(()) => println!("I am {name}"),
            Err(error) => {
                println!("{name}: {error}");
                return ExitCode::FAILURE;
            }
        }
        let greeting = guest::receive();
        println!("{} says {}", greeting.from, String::from_utf8_lossy(&greeting.bytes));
        return ExitCode::SUCCESS;
    }
    let Some(pid) = guest::whereis(&name) else {
        println!("nobody is {name}");
        return ExitCode::FAILURE;
    };
    println!("{name} is {pid}: {:?}", guest::send(pid, b"hello"));
    ExitCode::SUCCESS
}
