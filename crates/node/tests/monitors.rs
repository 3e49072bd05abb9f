//! Who watches a process is told of its end, wherever the two are by then.

mod common;

use api::{MemberRequest, Outcome, Pid};
use common::{Member, Running, cluster, start_again};

const NAMES: [&str; 3] = ["heron", "osprey", "curlew"];

fn wasm(name: &str) -> Vec<u8> {
    std::fs::read(programs::guest(name).expect("it builds")).expect("it was built")
}

/// A watcher on the first node, and so many others that wait for messages; the watcher is attached.
async fn watched(members: &[Member], others: usize) -> Running {
    let client = members[0].client();
    let program = client.upload(&wasm("pong")).await.unwrap();
    let other = MemberRequest { program, program_name: "pong".to_owned(), args: vec![] };
    let mut watcher =
        client.run(&wasm("watch"), |request| request.others = vec![other; others]).await;
    watcher.until(format!("watching {others}\n").len()).await;
    watcher
}

async fn until_line(watcher: &mut Running, line: &str) {
    while !watcher.text().lines().any(|found| found == line) {
        let bytes = watcher.output.len() + 1;
        watcher.until(bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_are_told_once_wherever_both_have_gone() {
    let mut members = cluster(&NAMES).await;
    let mut watcher = watched(&members, 3).await;
    let member = |index| Pid { index, ..watcher.pid };
    let (own, killed, lost, last) = (watcher.pid, member(1), member(2), member(3));

    // Neither has ever written to the other, and each goes its own way.
    let client = members[0].client();
    for (pid, to) in [(killed, "osprey"), (own, "osprey"), (killed, "curlew"), (lost, "osprey")] {
        client.move_to(pid, to).await.unwrap();
    }
    client.kill(killed).await;
    until_line(&mut watcher, &format!("{killed} is down: killed")).await;

    // Lost with its node, to which the watcher has never known it to have gone.
    client.move_to(lost, "curlew").await.unwrap();
    client.move_to(own, "heron").await.unwrap();
    let mut curlew = members.pop().expect("there are three");
    let node = curlew.handle.ready().node;
    curlew.handle.stop();
    curlew.handle.ended().await;
    let again = start_again("curlew", curlew.data.path()).await;
    until_line(&mut watcher, &format!("{lost} is down: lost(n{node})")).await;
    drop(again);

    client.kill(last).await;
    assert_eq!(watcher.until_end().await, Outcome::Exited { code: 0 });
    let downs = [(killed, "killed".to_owned()), (lost, format!("lost(n{node})"))];
    let mut expected = "watching 3\n".to_owned();
    for (pid, reason) in downs.into_iter().chain([(last, "killed".to_owned())]) {
        expected.push_str(&format!("{pid} is down: {reason}\n"));
    }
    // A node that restarts may be silent for a moment first.
    let heard = watcher.text();
    let heard: String = heard
        .lines()
        .filter(|line| !line.ends_with(" is silent") && !line.ends_with(" is back"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(heard, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_has_ended_is_said_to_be_down_at_once() {
    let members = cluster(&["heron"]).await;
    let client = members[0].client();
    let program = client.upload(&wasm("watch")).await.unwrap();
    // The second watches the first when that has ended, or while it ends.
    let other =
        MemberRequest { program, program_name: "watch".to_owned(), args: vec!["watch".to_owned()] };
    let mut first = client.run(&wasm("fib"), |request| request.others = vec![other]).await;
    assert_eq!(first.until_end().await, Outcome::Exited { code: 0 });
    let second = Pid { index: 1, ..first.pid };
    let path = format!("/v1/processes/{second}/logs?follow=true");
    let mut events = common::Events::new(client.send(hyper::Method::GET, &path, vec![]).await);
    let mut text = Vec::new();
    loop {
        let next = tokio::time::timeout(common::PATIENCE, events.next()).await;
        match next.expect("output, or an end").expect("a last line") {
            api::ProcessEvent::Output { bytes, .. } => text.extend(bytes.0),
            api::ProcessEvent::Ended { outcome } => {
                assert_eq!(outcome, Outcome::Exited { code: 0 });
                break;
            }
            other => panic!("{other:?} out of place"),
        }
    }
    let text = String::from_utf8(text).expect("text");
    let down = text.lines().last().expect("it says something");
    let expected =
        [format!("{} is down: normal", first.pid), format!("{} is down: noproc", first.pid)];
    assert!(expected.iter().any(|line| line == down), "{text}");
}
