//! Judges, from nothing but the journals of processes that wrote to each other, whether each message arrived once and
//! in order. It knows nobody here: not the driver, not a daemon, not a library of ours.
//!
//! `judge DIRECTORY` reads every file there whose name is a process's id. Its last line is
//! `N checked, 0 lost, 0 doubled, 0 reordered`, where N counts messages between two processes that both came to their
//! proper end; what else is wrong stands above it, a line each.
//!
//! Exit codes: 0 all is well, 1 something is wrong, 2 the journals say nothing.

#![forbid(unsafe_code)]

mod journal;
mod verdict;

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use journal::Journal;
use verdict::Verdict;

/// So many findings are shown; the rest is counted.
const SHOWN_MAX: usize = 40;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [directory] = arguments.as_slice() else {
        eprintln!("Usage: judge DIRECTORY");
        return ExitCode::from(2);
    };
    match read(Path::new(directory)) {
        Ok(journals) => tell(&verdict::judge(&journals)),
        Err(said) => {
            eprintln!("judge: {said}");
            ExitCode::from(2)
        }
    }
}

/// Every journal of a directory.
fn read(directory: &Path) -> Result<Vec<Journal>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut journals = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if journal::is_name(&name) {
            let text = fs::read(entry.path()).map_err(failed)?;
            journals.push(Journal::read(&name, &String::from_utf8_lossy(&text)));
        }
    }
    journals.sort_by(|a, b| (&a.group, a.index).cmp(&(&b.group, b.index)));
    Ok(journals)
}

fn tell(verdict: &Verdict) -> ExitCode {
    for finding in verdict.findings.iter().take(SHOWN_MAX) {
        println!("{finding}");
    }
    if let Some(more) = verdict.findings.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        println!("and {more} more");
    }
    println!(
        "{} processes: {} ended, {} died; {} messages with a side that died",
        verdict.processes, verdict.ended, verdict.died, verdict.with_dead
    );
    println!("{}", verdict.last_line());
    match verdict {
        _ if !verdict.findings.is_empty() => ExitCode::from(1),
        Verdict { checked: 0, .. } => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    }
}
