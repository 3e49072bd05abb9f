//! What happened, as the command tells it: each event after its cause, whichever node it was on; and to whom a process
//! may send.

mod common;

use std::collections::BTreeMap;

use common::{Home, Said, Start, fine, guest};
use serde_json::Value;

fn events(said: &Said) -> Vec<Value> {
    said.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// What a field says; nothing, if it is not there.
fn field<'e>(event: &'e Value, name: &str) -> &'e str {
    event[name].as_str().unwrap_or_default()
}

#[test]
fn every_event_stands_after_its_cause() {
    let home = Home::new();
    let [heron, osprey] = home.two();
    let (ping, pong) = (guest("ping"), guest("pong"));
    let args = [&ping, "300000", "4", "64", "||", &pong];
    let pid = home.run(&heron, &[&["--trace", "--locate", "forwarding"], &args[..]].concat());
    let group = pid.split('.').next().unwrap();
    let second = format!("{group}.1");
    for to in ["osprey", "heron", "osprey"] {
        fine(home.say(&heron, &["move", &second, "--to", to]));
    }
    fine(home.say(&osprey, &["kill", group]));

    let told = events(&fine(home.say(&osprey, &["trace", group, "-o", "json"])));
    let (mut lamport, mut sent, mut delivered) = (0, BTreeMap::new(), BTreeMap::new());
    let mut steps = Vec::new();
    for (place, event) in told.iter().enumerate() {
        let cause = || event["cause"].to_string();
        match field(event, "kind") {
            "send" => _ = sent.insert(cause(), place),
            "deliver" => {
                assert_eq!(delivered.insert(cause(), place), None, "delivered twice: {event}");
            }
            "step" if event["pid"] == *second => {
                steps.push((field(event, "node").to_owned(), field(event, "word").to_owned()));
            }
            _ => (),
        }
        lamport = lamport.max(event["lamport"].as_u64().unwrap());
    }
    // Of the oldest, one of the two may be kept no longer.
    let both = sent.iter().filter_map(|(cause, at)| Some((cause, at, delivered.get(cause)?)));
    let both: Vec<_> = both.collect();
    assert!(100 < both.len(), "{} of {} letters are told of", both.len(), delivered.len());
    for (cause, sent, delivered) in both {
        assert!(sent < delivered, "{cause}");
    }
    for node in ["heron", "osprey"] {
        let seqs = told.iter().filter(|event| event["node"] == node).map(|e| e["seq"].as_u64());
        assert!(seqs.is_sorted(), "{node} tells in its own order");
    }
    assert!(0 < lamport);
    let step = |node: &str, word: &str| (node.to_owned(), word.to_owned());
    let wanted = [step("heron", "frozen"), step("osprey", "committed"), step("heron", "forgotten")];
    let mut rest = steps.iter();
    assert!(wanted.iter().all(|one| rest.any(|told| told == one)), "{steps:?}");

    // The same as a picture, and as text.
    let svg = home.path().join("a.svg");
    let svg = svg.display().to_string();
    fine(home.say(&heron, &["trace", group, "--svg", &svg]));
    let picture = std::fs::read_to_string(&svg).unwrap();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    let text = fine(home.say(&heron, &["trace", group, "--last", "20"])).out;
    assert!(text.lines().next().is_some_and(|line| line.contains("heron")), "{text}");

    // Events of all: a move is there though its group is traced no longer.
    fine(home.say(&heron, &["trace", group, "--off"]));
    let all = events(&fine(home.say(&heron, &["events", "-o", "json", "--on", "osprey"])));
    assert!(all.iter().all(|event| event["node"] == "osprey"));
    assert!(all.iter().any(|event| event["word"] == "committed"));
}

#[test]
fn what_nobody_traces_is_not_recorded_and_what_nobody_knows_is_an_error() {
    let home = Home::new();
    let heron = home.start("heron", &Start::default()).unwrap();
    let (ping, pong) = (guest("ping"), guest("pong"));
    let said = fine(home.say(&heron, &["run", &ping, "20", "||", &pong]));
    assert!(said.out.contains("20 sent back"), "{said:?}");
    let told = events(&fine(home.say(&heron, &["events", "-o", "json"])));
    assert!(told.iter().any(|event| event["kind"] == "life"), "{told:?}");
    assert!(!told.iter().any(|event| event["kind"] == "send"), "{told:?}");
    let unknown = home.say(&heron, &["trace", "zzzz"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (67, ""), "{unknown:?}");
    assert!(unknown.err.contains("zzzz"), "{unknown:?}");
}

#[test]
fn a_process_sends_to_other_groups_as_far_as_it_may() {
    let home = Home::new();
    let [heron, osprey] = home.two();
    let (pong, post) = (guest("pong"), guest("post"));
    // Who answers strangers must be allowed to, too.
    let echo = home.run(&heron, &["--name", "echo", "--allow-send", "*", &pong]);
    let group = echo.split('.').next().unwrap();
    fine(home.say(&heron, &["move", &echo, "--to", "osprey"]));

    let denied = home.say(&heron, &["run", &post, &echo, "hello"]);
    assert_eq!((denied.code, denied.out.as_str()), (1, "Err(Denied)\n"), "{denied:?}");
    let answered = format!("Ok(())\n{echo} says hello\n");
    for grant in ["echo", group, "*"] {
        let said = home.say(&heron, &["run", "--allow-send", grant, &post, &echo, "hello"]);
        assert_eq!((said.code, said.out.as_str()), (0, answered.as_str()), "{grant}: {said:?}");
    }
    // The grant is for that group alone.
    let other = home.run(&heron, &["--name", "other", &pong]);
    let said = home.say(&heron, &["run", "--allow-send", "echo", &post, &other, "hello"]);
    assert_eq!((said.code, said.out.as_str()), (1, "Err(Denied)\n"), "{said:?}");
    let nobody = home.say(&heron, &["run", "--allow-send", "nobody", &post, &echo, "hello"]);
    assert_eq!(nobody.code, 67, "{nobody:?}");
    drop(osprey);
}
