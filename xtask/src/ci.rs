//! What continuous integration runs, in the order that shares most work and fails soonest.
//!
//! Everything is built in the release profile, so that Wasmtime, which takes minutes, is compiled once: clippy and the
//! documentation share one set of checked dependencies, tests and guests need the other.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Instant,
};

use crate::{
    cargo::{Cargo, cargo},
    tidy,
};

type Step = (&'static str, fn() -> Result<(), String>);

const STEPS: [Step; 6] = [
    ("fmt", fmt),
    ("tidy", tidy::run),
    ("clippy", clippy),
    ("doc", doc),
    ("guests", guests),
    // Last, so that a run's closing line is the tests'.
    ("test", test),
];

/// Runs every step; stops at the first that fails.
pub(crate) fn run() -> Result<(), String> {
    let mut spent = Vec::new();
    for (name, step) in STEPS {
        eprintln!("── {name}");
        let start = Instant::now();
        step()?;
        spent.push(format!("{name} {:.0} s", start.elapsed().as_secs_f64()));
    }
    eprintln!("ci passed: {}", spent.join(", "));
    Ok(())
}

fn fmt() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"]).run("fmt")?;
    in_guests(&["fmt", "--check"]).run("fmt of the guests")
}

fn clippy() -> Result<(), String> {
    cargo(&[
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ])
    .run("clippy")
}

fn doc() -> Result<(), String> {
    cargo(&["doc", "--release", "--workspace", "--no-deps", "--locked", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run("doc")
}

fn guests() -> Result<(), String> {
    in_guests(&[
        "clippy",
        "--release",
        "--target",
        "wasm32-wasip1",
        "--target-dir",
        "target",
        "--",
        "-D",
        "warnings",
    ])
    .run("clippy of the guests")?;
    crate::guests()
}

/// Runs all tests and closes with one line that adds them up.
fn test() -> Result<(), String> {
    let mut command = cargo(&["test", "--release", "--workspace", "--locked", "--no-fail-fast"]).0;
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut totals = [0_u64; 3];
    for line in BufReader::new(stdout).lines() {
        let line = line.map_err(|error| format!("reading the tests' output: {error}"))?;
        println!("{line}");
        for (total, count) in totals.iter_mut().zip(counts(&line)) {
            *total += count;
        }
    }
    let status = child.wait().map_err(|error| format!("waiting for the tests: {error}"))?;
    let [passed, failed, skipped] = totals;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if status.success() && failed == 0 { Ok(()) } else { Err(format!("test failed ({status})")) }
}

/// Passed, failed and ignored, from the line that closes one test binary; zeros from any other line.
fn counts(line: &str) -> [u64; 3] {
    let Some(rest) = line.strip_prefix("test result: ") else { return [0; 3] };
    let number = |word: &str| {
        let before = rest.split(word).next().filter(|before| before.len() < rest.len())?;
        before.split_whitespace().last()?.parse().ok()
    };
    [" passed", " failed", " ignored"].map(|word| number(word).unwrap_or(0))
}

fn in_guests(arguments: &[&str]) -> Cargo {
    let mut cargo = cargo(arguments);
    cargo.0.current_dir(crate::cargo::root().join("guests"));
    cargo
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn a_closing_line_is_counted_and_no_other() {
        let line = "test result: FAILED. 12 passed; 3 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(counts(line), [12, 3, 4]);
        assert_eq!(counts("test counts ... ok"), [0; 3]);
    }
}
