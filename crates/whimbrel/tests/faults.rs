//! Every cell of the table of faults in docs/protocol.md, with real daemons: a process that keeps a
//! journal is moved, a step is made to stand, and then a daemon is killed there and started again
//! from its disk, or the link is cut. Where the process is afterwards, and that it was never in two
//! places, is read from the journal.
//!
//! `FAULTS=settled,kept` plays some rows only.

mod common;
#[path = "faults/play.rs"]
mod play;
#[path = "faults/relay.rs"]
mod relay;
#[path = "faults/table.rs"]
mod table;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use common::Home;

/// So many cells are played at a time: they mostly wait.
const AT_A_TIME: usize = 4;

#[test]
fn the_table_of_faults_is_true() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    let mut cells = table::read(&std::fs::read_to_string(document).unwrap());
    let steps: Vec<&str> = cells.iter().map(|cell| cell.step.as_str()).collect();
    for step in protocol::Step::ALL.iter().filter(|step| step.is_of_a_move()) {
        assert!(steps.contains(&step.name()), "the table has no row for {step}");
    }
    if let Ok(some) = std::env::var("FAULTS") {
        cells.retain(|cell| some.split(',').any(|name| name == cell.step));
    }
    let name = |cell: &table::Cell| format!("{} / {:?}: {}", cell.step, cell.fault, cell.text);
    all(&cells, name, |shared, guest, number, cell| {
        match play::play(shared, guest, number, cell)? {
            place if cell.outcomes.contains(&place) => Ok(()),
            place => Err(format!("{place:?}")),
        }
    });
}

#[test]
#[ignore = "two minutes of daemons: `cargo xtask long` plays it"]
fn a_group_that_is_killed_dies_at_every_step() {
    let steps = protocol::Step::ALL.iter().filter(|step| step.is_of_a_move());
    let mut steps: Vec<&str> = steps.map(|step| step.name()).collect();
    steps.push("registry-swapped");
    if let Ok(some) = std::env::var("FAULTS") {
        steps.retain(|step| some.split(',').any(|name| name == *step));
    }
    let name = |step: &&str| format!("{step} / the group killed");
    all(&steps, name, |shared, guest, number, step| {
        // Addresses beyond those of the table's cells, which are played at the same time.
        play::group::kill_group(shared, guest, 500 + number, step)
    });
}

/// Plays all of them, some at a time, and fails if one is not as it is to be.
fn all<T: Sync>(
    cells: &[T],
    name: impl Fn(&T) -> String + Sync,
    play: impl Fn(&Home, &str, usize, &T) -> Result<(), String> + Sync,
) {
    let guest = programs::guest("journal").unwrap();
    let guest = guest.to_str().unwrap();
    let shared = Home::new();
    let (next, wrong) = (Mutex::new(cells.iter().enumerate()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((number, cell)) = { next.lock().unwrap().next() } {
                    let since = Instant::now();
                    // A daemon that does not start or halt ends the cell with a panic.
                    let played = AssertUnwindSafe(|| play(&shared, guest, number, cell));
                    let played = std::panic::catch_unwind(played);
                    let played = played.unwrap_or_else(|_| Err("a panic".to_owned()));
                    let took = since.elapsed().as_secs_f64();
                    match played {
                        Ok(()) => println!("{}: {took:.1} s", name(cell)),
                        Err(words) => {
                            let words = format!("{}: {took:.1} s: {words}", name(cell));
                            eprintln!("{words}");
                            wrong.lock().unwrap().push(words);
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} are not so", wrong.len(), cells.len());
}
