//! Many bad days, each of its own kind; `SIM_SEED=7` replays one of them with its story, and
//! `SIM_SEEDS=100000` runs more.

use protocol::Rules;
use sim::{Cells, Marks, Whom};

/// What must have happened at least once, or the seeds have shown nothing.
const RARE: &[&str] = &[
    "a checkpoint",
    "a letter arrived",
    "a correspondent told of a leave",
    "a correspondent told of a place",
    "a letter denied",
    "a letter kept for one on its way",
    "a letter passed on by a mailbox",
    "a letter sent to a mailbox",
    "a forwarder collected",
    "a letter sent to a mailbox that keeps it",
    "a letter to one that is down",
    "a log came back",
    "a log handed on",
    "a log handed on after a restart",
    "a mailbox polled",
    "a mailbox told of a place",
    "a message of a move lost",
    "a name found",
    "a name registered",
    "a name taken",
    "a new life",
    "a sender blocked",
    "a sender waits for credit",
    "a stream broke",
    "cancelled",
    "down: ended",
    "down: lost",
    "down: noproc",
    "down: restarted",
    "dropped",
    "fault: crash at a step",
    "fault: link cut at a step",
    "fault: registry crashed at a commit",
    "give-up-asked",
    "gone by its lease",
    "in-file",
    "kept",
    "lost with its node",
    "node forgotten",
    "raise-asked",
    "registry crashed just after a write",
    "registry crashed just before a write",
    "report: given up",
    "report: group killed",
    "report: killed",
    "report: lost",
    "report: moved",
    "resumed",
    "stopped by its own fence",
    "take-back-asked",
    "taken-back",
    "thawed",
];

#[test]
fn no_day_is_too_bad() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SIM_SEED") {
        let outcome = sim::run(seed, Rules::ALL, true);
        println!("{}", outcome.story);
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(2_000);
    let (mut marks, mut cells) = (Marks::default(), Cells::default());
    let (mut moves, mut faults) = (Vec::new(), Vec::new());
    for seed in 0..seeds {
        let outcome = sim::run(seed, Rules::ALL, false);
        assert_eq!(outcome.violation, None, "replay with SIM_SEED={seed}");
        marks.add(&outcome.marks);
        cells.add(&outcome.cells);
        moves.push(outcome.moves);
        faults.push(outcome.faults);
    }
    let quiet: Vec<_> = RARE.iter().filter(|mark| marks.of(mark) == 0).collect();
    assert!(quiet.is_empty(), "these never happened in {seeds} seeds: {quiet:?}");
    for step in rows_of_the_table() {
        for whom in Whom::ALL {
            let hits = cells.of(&step, whom);
            assert!(0 < hits, "no fault has hit {whom:?} at {step} in {seeds} seeds");
        }
    }
    moves.sort_unstable();
    faults.sort_unstable();
    let (moves, faults) = (moves[moves.len() / 2], faults[faults.len() / 2]);
    assert!(5 <= moves, "a median day has {moves} moves");
    assert!(3 <= faults, "a median day has {faults} faults that hit a step");
}

/// The steps in the table of faults of `docs/protocol.md`, which are those that are counted.
fn rows_of_the_table() -> Vec<String> {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");
    let document = std::fs::read_to_string(document).unwrap();
    let (_, section) = document.split_once("## Faults at each step").expect("the section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut rows: Vec<String> = rows.map(|(step, _)| step.to_owned()).collect();
    let mut counted: Vec<String> =
        Cells::default().rows().map(|(step, _)| step.to_owned()).collect();
    rows.sort();
    counted.sort();
    assert_eq!(rows, counted, "the table has other steps than those that are counted");
    rows
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        let (one, other) = (sim::run(seed, Rules::ALL, true), sim::run(seed, Rules::ALL, true));
        assert_eq!(one.story, other.story, "seed {seed}");
    }
}
