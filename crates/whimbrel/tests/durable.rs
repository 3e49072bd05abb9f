//! Durable processes with real daemons: killed without warning, started again on their disk.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::journal::{Journal, Line};
use common::{Daemon, Home, Start, fine, guest};

/// How many lines the guest writes: long enough that all of this happens before its end.
const LINES: u64 = 6_000;

/// A guest that was started on the first of two daemons and has come to the second, where its image is on disk.
struct Case {
    home: Home,
    heron: Daemon,
    osprey: Daemon,
    pid: String,
    journal: Journal,
}

impl Case {
    fn new() -> Self {
        let home = Home::new();
        let [heron, osprey] = home.two();
        let dir = home.path().join("seen");
        let journal = Journal::new(&dir);
        let (bound, lines) = (format!("{}::/journal", dir.display()), LINES.to_string());
        let durable = ["--durable", "--checkpoint", "1h", "--dir", &bound];
        let program = [&guest("journal"), "--", "/journal/journal", &lines];
        let pid = home.run(&heron, &[&durable[..], &program[..]].concat());
        journal.until(10, None).unwrap();
        fine(home.say(&heron, &["move", &pid, "--to", "osprey"]));
        let here = journal.lines().len();
        journal.until(here + 50, None).unwrap();
        Self { home, heron, osprey, pid, journal }
    }

    fn start_again(&self) -> Daemon {
        self.home.start("osprey", &Start::default()).unwrap()
    }

    fn image(&self) -> PathBuf {
        let mut images = images(&self.osprey.data);
        assert_eq!(images.len(), 1, "{images:?}");
        images.remove(0)
    }
}

fn images(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("durable")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn after_a_crash_of_its_node_a_durable_process_goes_on_from_its_newest_image() {
    let mut case = Case::new();
    case.osprey.kill();
    let before = case.journal.lines();
    let again = case.start_again();
    let waiting = case.home.begin(&case.heron, &["logs", "--follow", &case.pid]);
    let said = fine(case.home.end(waiting, &["logs", "run"]));
    assert_eq!(said.out, format!("journal {LINES}\n"), "its output is written once");

    // What it did since its image is not undone: it does it again, in a later epoch.
    let lines = case.journal.lines();
    let (first, second) = lines.split_at(before.len());
    let epoch = |lines: &[Line]| lines.iter().map(|line| line.epoch).max();
    assert!(first == before && epoch(first) < epoch(second));
    let begins = second[0].sequence;
    assert!((10..=before.len() as u64 - 49).contains(&begins), "{begins} of {}", before.len());
    let expected: Vec<u64> = (begins..=LINES).collect();
    let found: Vec<u64> = second.iter().map(|line| line.sequence).collect();
    assert_eq!(found, expected, "one copy wrote it, and left nothing out");
    assert!(images(&again.data).is_empty(), "nobody begins anew what has ended");
}

#[test]
fn a_stop_of_its_node_undoes_nothing_of_what_it_did() {
    let case = Case::new();
    let refused = case.home.say(&case.osprey, &["node", "stop"]);
    assert_eq!(refused.code, 75, "{refused:?}");
    fine(case.home.say(&case.osprey, &["node", "stop", "--force"]));
    let before = case.journal.lines();
    let _again = case.start_again();
    let waiting = case.home.begin(&case.heron, &["logs", "--follow", &case.pid]);
    let said = fine(case.home.end(waiting, &["logs", "run"]));
    assert_eq!(said.out, format!("journal {LINES}\n"), "its output is written once");
    let lines = case.journal.lines();
    assert!(lines[..before.len()] == before && before.len() < lines.len());
    let found: Vec<u64> = lines.iter().map(|line| line.sequence).collect();
    let expected: Vec<u64> = (1..=LINES).collect();
    assert_eq!(found, expected, "each line once, though there was no image for an hour");
}

#[test]
fn a_process_whose_image_is_damaged_is_lost_and_the_node_says_so() {
    let mut case = Case::new();
    case.osprey.kill();
    let image = case.image();
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, &bytes[..bytes.len() - 1]).unwrap();
    let mut again = case.start_again();
    again.until(|line| line.contains("cannot begin anew from its image")).unwrap();
    let waiting = case.home.begin(&case.heron, &["logs", "--follow", &case.pid]);
    let said = fine(case.home.end(waiting, &["logs", "run"]));
    assert!(said.err.contains("lost with osprey"), "{said:?}");
    assert_eq!(
        fs::read(&image).unwrap().len(),
        bytes.len() - 1,
        "it stays, for whoever looks into it"
    );
}

#[test]
fn what_was_moved_away_does_not_begin_anew_where_it_was() {
    let mut case = Case::new();
    let image = case.image();
    let bytes = fs::read(&image).unwrap();
    fine(case.home.say(&case.heron, &["move", &case.pid, "--to", "heron"]));
    assert!(images(&case.osprey.data).is_empty());
    // As if the disk had not done what it was told.
    fs::write(&image, bytes).unwrap();
    case.osprey.kill();
    let again = case.start_again();
    let waiting = case.home.begin(&case.heron, &["logs", "--follow", &case.pid]);
    fine(case.home.end(waiting, &["logs", "run"]));
    assert_eq!(case.journal.check(), Ok(LINES as usize), "one copy wrote it all");
    assert!(images(&again.data).is_empty());
}

#[test]
fn without_a_daemon_nothing_is_durable() {
    let home = Home::new();
    let said = home.say_here(&["run", "--durable", &guest("counter")]);
    assert_eq!(said.code, 69, "{said:?}");
    assert!(said.err.contains("No daemon"), "{said:?}");
}
