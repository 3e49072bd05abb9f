//! Registers a name and waits to be greeted, or greets whoever has it.
//!
//! Arguments: `be NAME`, or `greet NAME`; `write NAME` and `read NAME` do the same by the files of `/whimbrel`.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use guests::argument;

fn main() -> ExitCode {
    let (word, name) = (argument(0, String::new()), argument(1, String::new()));
    if word == "be" || word == "write" {
        let registered = match word.as_str() {
            "be" => guest::register(&name).map_err(|error| error.to_string()),
            _ => fs::write("/whimbrel/register", &name).map_err(|error| error.kind().to_string()),
        };
        match registered {
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
    if word == "read" {
        match whereis(&name) {
            Ok(pid) => println!("{name} is {}", pid.trim_end()),
            Err(error) => println!("{name}: {}", error.kind()),
        }
        return ExitCode::SUCCESS;
    }
    let Some(pid) = guest::whereis(&name) else {
        println!("nobody is {name}");
        return ExitCode::FAILURE;
    };
    println!("{name} is {pid}: {:?}", guest::send(pid, b"hello"));
    ExitCode::SUCCESS
}

/// Whose the name is. The same file is asked twice: what it holds is the answer to what was written last.
fn whereis(name: &str) -> io::Result<String> {
    let mut file = OpenOptions::new().read(true).write(true).open("/whimbrel/whereis")?;
    let (mut before, mut pid) = (String::new(), String::new());
    file.read_to_string(&mut before)?;
    assert_eq!(before, "", "nothing was asked yet");
    for _ in 0..2 {
        pid.clear();
        file.write_all(name.as_bytes())?;
        file.read_to_string(&mut pid)?;
    }
    Ok(pid)
}
