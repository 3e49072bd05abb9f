//! The table of faults in docs/protocol.md, as the test reads it.

use std::collections::BTreeSet;

/// Who is struck while a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    SourceKilled,
    TargetKilled,
    HomeKilled,
    LinkCut,
}

/// Where a process is afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Source,
    Target,
    File,
    Lost,
}

/// One cell of the table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) step: String,
    pub(crate) fault: Fault,
    /// What the cell says.
    pub(crate) text: String,
    pub(crate) outcomes: BTreeSet<Place>,
    /// The outcome comes only when the registry's home is back, or may.
    pub(crate) waits: bool,
    /// What lies in the file begins a new process.
    pub(crate) file_is_new: bool,
}

const FAULTS: [Fault; 4] =
    [Fault::SourceKilled, Fault::TargetKilled, Fault::HomeKilled, Fault::LinkCut];

/// Reads the table out of the document.
pub(crate) fn read(document: &str) -> Vec<Cell> {
    let (_, section) = document.split_once("## Faults at each step").expect("the section");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [step, _where, outcomes @ ..] = &cells[..] else { panic!("{row}") };
        assert_eq!(outcomes.len(), FAULTS.len(), "{row}");
        let step = step.trim_matches('`').to_owned();
        let cells = FAULTS.iter().zip(outcomes);
        cells.map(move |(fault, text)| cell(&step, *fault, text)).collect::<Vec<_>>()
    })
    .collect()
}

/// `waits, then source or target`, `source, or target if …`, `lost; the file is no process's`.
fn cell(step: &str, fault: Fault, text: &str) -> Cell {
    let (rest, file_is_new) = match text.strip_suffix("; the file is no process's") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let waits = rest.contains("waits, then ");
    let rest = rest.replace("waits, then ", "");
    let places = rest.split(" or ").map(|place| {
        let place = place.split(" if ").next().expect("a first part").trim_end_matches(',');
        match place {
            "source" => Place::Source,
            "target" => Place::Target,
            "file" => Place::File,
            "lost" => Place::Lost,
            other => panic!("`{other}` in the row of {step} is no outcome"),
        }
    });
    let outcomes = places.collect();
    Cell { step: step.to_owned(), fault, text: text.to_owned(), outcomes, waits, file_is_new }
}
