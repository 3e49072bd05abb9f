//! A witness that asks nobody: appends what it is and where it runs to a file outside Whimbrel's reach.
//!
//! Each line is `sequence pid node epoch`, in one write to a file opened for appending. Two copies that ran at once
//! would write a sequence number twice; a copy that an epoch should have fenced would write a lower epoch after a
//! higher one. Every value is read after the line before was written, so a single process keeps both in order, though
//! a move may fall between reading and writing.
//!
//! Arguments: the file, the last sequence number (0: for ever), units of work between lines (default 200 µs or so).

use std::{
    fs::{self, OpenOptions},
    hint::black_box,
    io::Write,
    process::ExitCode,
};

use guests::{Numbers, argument};

fn fact(name: &str) -> String {
    let text = fs::read_to_string(format!("/whimbrel/{name}")).unwrap_or_else(|_| "-".to_owned());
    text.trim().to_owned()
}

fn main() -> ExitCode {
    let path = argument(0, "/journal/journal".to_owned());
    let (last, work): (u64, u64) = (argument(1, 0), argument(2, 200));
    let mut file = match OpenOptions::new().create(true).append(true).open(&path) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("journal: {path}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut numbers = Numbers(1);
    let mut sequence = 0;
    while last == 0 || sequence < last {
        sequence += 1;
        let line = format!("{sequence} {} {} {}\n", fact("self"), fact("node"), fact("epoch"));
        // One write, whole or not at all: `write_all` might split a line that another copy's would then divide.
        match file.write(line.as_bytes()) {
            Ok(written) if written == line.len() => {}
            Ok(written) => eprintln!("journal: {written} of {} bytes written", line.len()),
            Err(error) => eprintln!("journal: {path}: {error}"),
        }
        for _ in 0..work * 500 {
            black_box(numbers.draw());
        }
    }
    println!("journal {sequence}");
    ExitCode::SUCCESS
}
