//! A fenced node with real daemons: one that is killed is gone without anybody's word; one that hears of no registry ends
//! by itself, and so before it is taken as gone.

mod common;

use common::journal::Journal;
use common::{Daemon, Home, Start, fine, guest};

const FENCE: [&str; 2] = ["--fence", "--force"];

fn fenced_two(home: &Home) -> [Daemon; 2] {
    let heron = home.start("heron", &Start::default()).unwrap();
    let start = Start { join: Some(home.token(&heron)), words: FENCE.to_vec(), ..Start::default() };
    let osprey = home.start("osprey", &start).unwrap();
    [heron, osprey]
}

fn start_again(home: &Home) -> Daemon {
    home.start("osprey", &Start { words: FENCE.to_vec(), ..Start::default() }).unwrap()
}

#[test]
fn a_fence_needs_a_registry_that_outlives_a_node() {
    let home = Home::new();
    let start = Start { words: vec!["--fence"], ..Start::default() };
    let refused = home.start("heron", &start).err().expect("it is refused");
    assert_eq!(refused.code, 64, "{refused:?}");
    assert!(format!("{refused:?}").contains("--fence --force"), "{refused:?}");
}

#[test]
fn what_a_fenced_node_had_is_lost_when_its_lease_is_over() {
    let home = Home::new();
    let [heron, mut osprey] = fenced_two(&home);
    // So that the watcher is told where the other goes.
    let locate = ["--locate", "update"];
    let program = [&guest("watch"), "||", &guest("hear"), "deaf"];
    let pid = home.run(&heron, &[&locate[..], &program[..]].concat());
    let group = pid.split('.').next().unwrap();
    let other = format!("{group}.1");
    fine(home.say(&heron, &["move", &other, "--to", "osprey"]));
    // That this was received is said behind where it is, on the same way.
    fine(home.say(&heron, &["send", &other, "are you there?"]));
    osprey.kill();

    let waiting = home.begin(&heron, &["logs", "--follow", &pid]);
    let said = fine(home.end(waiting, &["logs"]));
    let expected = format!("watching 1\n{other} is silent\n{other} is down: lost(");
    assert!(said.out.starts_with(&expected), "{said:?}");
    let nodes = fine(home.say(&heron, &["nodes"])).out;
    let of_it = nodes.lines().find(|line| line.contains("osprey")).expect("it is a member");
    assert!(of_it.contains("gone"), "{nodes}");
    let unknown = home.say(&heron, &["move", &other, "--to", "heron"]);
    assert_eq!(unknown.code, 67, "{unknown:?}");

    // It may come again, as a new incarnation.
    let osprey = start_again(&home);
    fine(home.say(&osprey, &["run", &guest("fib")]));
}

#[test]
fn a_fenced_node_that_hears_of_no_registry_ends_all_that_it_runs() {
    let home = Home::new();
    let [mut heron, mut osprey] = fenced_two(&home);
    let dir = home.path().join("seen");
    let journal = Journal::new(&dir);
    let bound = format!("{}::/journal", dir.display());
    let program = [&guest("journal"), "--", "/journal/journal", "1000000"];
    let pid = home.run(&heron, &[&["--dir", &bound], &program[..]].concat());
    fine(home.say(&heron, &["move", &pid, "--to", "osprey"]));
    let here = journal.lines().len();
    journal.until(here + 50, None).unwrap();
    heron.kill();

    assert_eq!(osprey.ended(), 69, "{:?}", osprey.last_words());
    let lines = journal.lines();
    let heron = home.start("heron", &Start::default()).unwrap();
    let _osprey = start_again(&home);
    let waiting = home.begin(&heron, &["logs", "--follow", &pid]);
    let said = home.end(waiting, &["logs"]);
    assert!(said.err.contains("lost"), "{said:?}");
    assert_eq!(journal.lines(), lines, "nothing runs on");
}
