//! The benchmarks, run by `cargo xtask bench NAME [--json]`.
//!
//! Each is one run that measures a thing and its rivals side by side, so that a busy or slow machine shifts both. A
//! table goes to stdout; with `--json`, one object does and nothing else.

mod cluster;
mod density;
mod exec;
mod messages;
mod moving;
mod program;
mod report;
mod statistics;
mod tls;

use std::{env, process::ExitCode};

const USAGE: &str = "\
Usage: bench exec [--json] [--quick] [--only NAME]...
       bench move [--json] [PART]...
       bench messages [--json] [PART]...
       bench density [--json] [--processes N] [--drained N]";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (name, options) = match arguments.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("", &[][..]),
    };
    let json = options.iter().any(|option| option == "--json");
    let done = match name {
        "exec" => exec::Choice::parse(options).and_then(|choice| exec::run(&choice)),
        "move" => moving::run(options),
        "messages" => messages::run(options),
        "density" => density::run(options),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(report) => {
            print!("{}", if json { report.json() } else { report.table() });
            ExitCode::SUCCESS
        }
        Err(said) => {
            eprintln!("bench: {said}");
            ExitCode::FAILURE
        }
    }
}
