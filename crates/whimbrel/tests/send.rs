//! What an operator sends: it is in the inbox, once and in order, or the command says what became of it.

mod common;

use std::io::Write as _;

use common::{Daemon, Home, Said, fine, guest};

/// Gives a command this as its standard input.
fn say_with(home: &Home, at: &Daemon, words: &[&str], input: &[u8]) -> Said {
    let mut child = home.begin_reading(at, words);
    // One that is told too much stops reading.
    let _ = child.stdin.take().unwrap().write_all(input);
    home.end(child, words)
}

#[test]
fn what_an_operator_sends_arrives_once_and_in_order_while_the_receiver_moves() {
    let home = Home::new();
    let [heron, osprey] = home.two();
    let pid = home.run(&heron, &["--name", "ear", &guest("hear")]);
    assert_eq!(
        fine(home.say(&osprey, &["send", "ear", "first"])).out,
        format!("{pid} has it: 5 B\n")
    );
    let mut wanted = "here\noperator: first\n".to_owned();
    for round in 0..12 {
        let to = if round % 2 == 0 { "osprey" } else { "heron" };
        let moving = home.begin(&heron, &["move", "ear", "--to", to]);
        for (at, who) in [(&heron, "h"), (&osprey, "o"), (&heron, "h")] {
            let text = format!("{round}{who}");
            fine(home.say(at, &["send", &pid, &text]));
            wanted += &format!("operator: {text}\n");
        }
        fine(home.end(moving, &["move"]));
    }
    let long = vec![b'x'; 1 << 20];
    let json = fine(say_with(&home, &osprey, &["send", "ear", "-", "-o", "json"], &long)).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, serde_json::json!({ "pid": pid, "bytes": 1 << 20 }));
    wanted += "operator: 1048576 bytes\n";
    fine(home.say(&heron, &["send", "ear", ""]));
    wanted += "end\nErr(Gone)\n";
    assert_eq!(fine(home.say(&heron, &["logs", "-f", &pid])).out, wanted);

    let late = home.say(&osprey, &["send", &pid, "too late"]);
    assert_eq!((late.code, late.out.as_str()), (67, ""), "{late:?}");
}

#[test]
fn what_cannot_be_delivered_is_an_error_that_says_so() {
    let home = Home::new();
    let [heron, osprey] = home.two();
    let unknown = home.say(&heron, &["send", "nobody", "hello"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (67, ""), "{unknown:?}");

    let pid = home.run(&heron, &[&guest("hear"), "deaf"]);
    let long = vec![0; (1 << 20) + 1];
    let too_long = say_with(&home, &heron, &["send", &pid, "-"], &long);
    assert_eq!(too_long.code, 64, "{too_long:?}");
    assert!(too_long.err.contains("1048576"), "{too_long:?}");

    // One that reads nothing takes so much from each node, and no more.
    for at in [&heron, &osprey] {
        fine(say_with(&home, at, &["send", &pid, "-"], &long[..300 << 10]));
        let full = home.say(at, &["send", &pid, "more"]);
        assert_eq!((full.code, full.out.as_str()), (75, ""), "{full:?}");
        assert!(full.err.contains("nothing was sent"), "{full:?}");
    }

    // Its node does not answer: whether it had the message nobody knows.
    let other = home.run(&heron, &["--on", "osprey", &guest("hear")]);
    fine(home.say(&heron, &["send", &other, "hello"]));
    osprey.signal(rustix::process::Signal::STOP);
    let silent = home.say(&heron, &["send", &other, "hello?"]);
    assert_eq!((silent.code, silent.out.as_str()), (69, ""), "{silent:?}");
    osprey.signal(rustix::process::Signal::CONT);
    // The message was not taken back.
    fine(home.say(&heron, &["send", &other, ""]));
    let heard = fine(home.say(&heron, &["logs", "-f", &other])).out;
    assert_eq!(heard, "here\noperator: hello\noperator: hello?\nend\nErr(Gone)\n");
}
