//! A full node gives to emptier ones: at an operator's word, by the plan that was shown, or by itself; within labels.

mod common;

use std::collections::BTreeMap;

use common::{Daemon, Home, Start, fine, guest};
use serde_json::Value;

/// Computes for ever and says nothing.
const SPIN: [&str; 2] = ["0", "1000000000"];

fn spin(home: &Home, at: &Daemon, words: &[&str]) -> String {
    let program = guest("counter");
    let words: Vec<&str> = words.iter().chain([&program.as_str()]).chain(&SPIN).copied().collect();
    home.run(at, &words)
}

fn labelled(home: &Home, name: &str, at: Option<&Daemon>, words: &[&'static str]) -> Daemon {
    let join = at.map(|at| home.token(at));
    home.start(name, &Start { join, words: words.to_vec(), ..Start::default() }).unwrap()
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many processes each node has.
fn counts(home: &Home, at: &Daemon) -> BTreeMap<String, usize> {
    let said = fine(home.say(at, &["ps", "-o", "json"]));
    let reply: Value = serde_json::from_str(&said.out).unwrap();
    let mut counts = BTreeMap::new();
    for process in reply["processes"].as_array().unwrap() {
        *counts.entry(process["node"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn a_plan_is_shown_carried_out_and_leaves_nothing_to_do() {
    let home = Home::new();
    let heron = labelled(&home, "heron", None, &["--label", "zone=a", "--label", "disk=fast"]);
    let osprey = labelled(&home, "osprey", Some(&heron), &["--label", "zone=b"]);
    let _plover = labelled(&home, "plover", Some(&heron), &["--label", "zone=c"]);
    let pinned = spin(&home, &heron, &["--pin", "disk=fast"]);
    let avoiding = spin(&home, &heron, &["--avoid", "zone=b"]);
    for _ in 0..4 {
        spin(&home, &heron, &[]);
    }

    let shown = fine(home.say(&osprey, &["rebalance", "--plan", "-o", "json"]));
    let [plan] = &lines(&shown.out)[..] else { panic!("{shown:?}") };
    let moves = plan["moves"].as_array().unwrap();
    assert_eq!(moves.len(), 4, "{plan}");
    for planned in moves {
        assert_eq!(planned["from"], "heron", "{planned}");
        assert_ne!(planned["pid"], pinned.as_str(), "{planned}");
        let avoided = planned["pid"] == avoiding.as_str() && planned["to"] == "osprey";
        assert!(!avoided, "{planned}");
    }
    assert_eq!(counts(&home, &heron), [("heron".to_owned(), 6)].into(), "it was only a plan");

    let done = fine(home.say(&heron, &["rebalance"]));
    assert!(done.out.ends_with("4 moved\n"), "{done:?}");
    let even = ["heron", "osprey", "plover"].map(|node| (node.to_owned(), 2));
    assert_eq!(counts(&home, &osprey), even.into());
    let again = fine(home.say(&heron, &["rebalance"]));
    assert!(again.out.ends_with("nothing would be better off elsewhere\n"), "{again:?}");

    // Nobody else may move them there either.
    let moved = home.say(&osprey, &["move", &pinned, "--to", "osprey"]);
    assert_eq!((moved.code, moved.out.as_str()), (75, ""), "{moved:?}");
    let reason = "it is pinned to disk=fast, which the node is not labelled with";
    assert!(moved.err.contains(reason), "{moved:?}");
    let moved = home.say(&heron, &["move", &avoiding, "--to", "osprey"]);
    assert!(moved.err.contains("it avoids zone=b"), "{moved:?}");
    let program = guest("counter");
    let started = home.say(&heron, &["run", "-d", "--on", "osprey", "--pin", "zone=c", &program]);
    assert_eq!(started.code, 75, "{started:?}");
    assert!(started.err.contains("it is pinned to zone=c"), "{started:?}");
    let unlike = home.say(&heron, &["run", "-d", "--pin", "zone", &program]);
    assert_eq!(unlike.code, 2, "{unlike:?}");
}

#[test]
fn a_node_that_balances_gives_by_itself_to_an_emptier_one() {
    let home = Home::new();
    let mut heron = labelled(&home, "heron", None, &["--balance"]);
    let _osprey = labelled(&home, "osprey", Some(&heron), &[]);
    for _ in 0..3 {
        spin(&home, &heron, &[]);
    }
    heron.until(|line| line.contains("moved for balance")).unwrap();
    assert_eq!(counts(&home, &heron)["osprey"], 1);
}
