//! Real programs, moved again and again in mid-run: what they say and how they end is the same.

mod harness;

use std::time::Duration;

use engine::{Outcome, Target};
use harness::{Run, Trip, engines, python, resumable, rust, sqlite};

#[test]
fn a_rust_program_is_the_same_wherever_it_runs() {
    let engines = engines(&[Target::Native, Target::Native]);
    let program = rust("fannkuch", &["10"]);
    resumable(&engines, &program);
    let still = Trip::new(&engines[..1], Duration::MAX).run(&program);
    let moved = Trip::new(&engines, often(&still)).run(&program);
    assert_eq!(still.outcome, Outcome::Exit(0));
    assert_eq!((&moved.outcome, &moved.output), (&still.outcome, &still.output));
    assert!(moved.moves >= 10, "only {} moves", moved.moves);
}

#[test]
fn cpython_is_the_same_wherever_it_runs() {
    let source = "print(sum(i * i % 7 for i in range(3000000)))";
    let Some(program) = python(source) else {
        eprintln!("CPython is not in the cache: `cargo xtask guests` brings it");
        return;
    };
    let engines = engines(&[Target::Native, Target::Native]);
    resumable(&engines, &program);
    let still = Trip::new(&engines[..1], Duration::MAX).run(&program);
    let moved = Trip::new(&engines, often(&still)).run(&program);
    assert_eq!((&moved.outcome, &moved.output), (&still.outcome, &still.output));
    assert!(moved.moves >= 10, "only {} moves", moved.moves);
}

#[test]
fn sqlite_is_the_same_wherever_it_runs() {
    let statements = "create table t(x integer primary key, y text);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
        insert into t select i, hex(i * i % 977) from n;
        create index by_y on t(y);
        select count(*), sum(x), min(y), max(y) from t where y > '3';
        select y, count(*) from t group by y order by 2 desc, 1 limit 5;";
    let Some(program) = sqlite(statements) else {
        eprintln!("SQLite is not in the cache: `cargo xtask guests` brings it");
        return;
    };
    let engines = engines(&[Target::Native, Target::Native]);
    resumable(&engines, &program);
    let still = Trip::new(&engines[..1], Duration::MAX).run(&program);
    let moved = Trip::new(&engines, often(&still)).run(&program);
    assert_eq!(still.outcome, Outcome::Exit(0));
    assert!(still.output.lines().count() == 6, "{}", still.output);
    assert_eq!((&moved.outcome, &moved.output), (&still.outcome, &still.output));
    assert!(moved.moves >= 10, "only {} moves", moved.moves);
}

#[test]
fn a_rust_program_goes_to_another_architecture_and_back() {
    let engines = engines(&[Target::Native, Target::Pulley]);
    let program = rust("fannkuch", &["9"]);
    resumable(&engines, &program);
    let still = Trip::new(&engines[..1], Duration::MAX).run(&program);
    let moved = Trip::new(&engines, often(&still)).run(&program);
    assert_eq!((&moved.outcome, &moved.output), (&still.outcome, &still.output));
    assert!(moved.moves >= 10, "only {} moves", moved.moves);
}

/// A stay that makes some forty moves of a program, however fast the machine is.
fn often(still: &Run) -> Duration {
    still.took / 40
}

/// Prints what moves cost, for whoever works on that: `--ignored --nocapture`.
#[test]
#[ignore = "it measures"]
fn what_moves_cost() {
    let engines = engines(&[Target::Native, Target::Native]);
    for (megabytes, kind, stay) in [
        ("1", "random", 20),
        ("17", "random", 100),
        ("256", "random", 1500),
        ("256", "compressible", 1500),
    ] {
        let program = rust("heap", &[megabytes, kind, "12", "quiet"]);
        resumable(&engines, &program);
        let run = Trip::new(&engines, Duration::from_millis(stay)).run(&program);
        assert_eq!(run.outcome, Outcome::Exit(0));
    }
}
