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
    for step in protocol::Step::ALL {
        assert!(steps.contains(&step.name()), "the table has no row for {step}");
    }
    if let Ok(some) = std::env::var("FAULTS") {
        cells.retain(|cell| some.split(',').any(|name| name == cell.step));
    }
    let guest = programs::guest("journal").unwrap();
    let guest = guest.to_str().unwrap();
    let shared = Home::new();
    let (next, wrong) = (Mutex::new(cells.iter().enumerate()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((number, cell)) = { next.lock().unwrap().next() } {
                    if let Err(words) = check(&shared, guest, number, cell) {
                        eprintln!("{words}");
                        wrong.lock().unwrap().push(words);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} cells are not so", wrong.len(), cells.len());
}

fn check(shared: &Home, guest: &str, number: usize, cell: &table::Cell) -> Result<(), String> {
    let since = Instant::now();
    let name = format!("{} / {:?}: {}", cell.step, cell.fault, cell.text);
    // A daemon that does not start or halt ends the cell with a panic.
    let played = std::panic::catch_unwind(|| play::play(shared, guest, number, cell));
    let took = since.elapsed().as_secs_f64();
    match played {
        Ok(Ok(place)) if cell.outcomes.contains(&place) => {
            println!("{name}: {place:?}, {took:.1} s");
            Ok(())
        }
        Ok(Ok(place)) => Err(format!("{name}: {place:?}, {took:.1} s")),
        Ok(Err(words)) => Err(format!("{name}: {took:.1} s: {words}")),
        Err(_) => Err(format!("{name}: a panic, {took:.1} s")),
    }
}
