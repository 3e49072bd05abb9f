//! What one member of a group does to the others.

mod common;

use api::{ErrorCode, MemberRequest, Outcome, Pid};
use common::{Client, cluster};

fn wasm(name: &str) -> Vec<u8> {
    std::fs::read(programs::guest(name).expect("it builds")).expect("it was built")
}

/// How a process ended of which the log is at a node.
async fn end_of(client: &Client, pid: Pid) -> Outcome {
    let path = format!("/v1/processes/{pid}/logs?follow=true");
    let mut events = common::Events::new(client.send(hyper::Method::GET, &path, vec![]).await);
    loop {
        let next = tokio::time::timeout(common::PATIENCE, events.next()).await;
        match next.expect("an end").expect("a last line") {
            api::ProcessEvent::Ended { outcome } => return outcome,
            api::ProcessEvent::Output { .. } => (),
            other => panic!("{other:?} out of place"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_end_together_end_wherever_they_are() {
    let members = cluster(&["heron", "osprey", "curlew"]).await;
    let client = members[0].client();
    let program = client.upload(&wasm("pong")).await.unwrap();
    let other = MemberRequest { program, program_name: "pong".to_owned(), args: vec![] };
    let others = vec![other; 3];
    let mut first = client
        .run(&wasm("pong"), |request| {
            request.others = others.clone();
            request.together = true;
        })
        .await;
    let apart = client.run(&wasm("pong"), |request| request.others = others).await;
    let group = first.pid;
    let member = |index| Pid { index, ..group };
    for (index, to) in [(0, "osprey"), (1, "curlew"), (2, "osprey"), (2, "curlew")] {
        client.move_to(member(index), to).await.unwrap();
    }

    client.kill(member(2)).await;
    assert_eq!(first.until_end().await, Outcome::Killed);
    for index in 1..4 {
        assert_eq!(end_of(&client, member(index)).await, Outcome::Killed, "member {index}");
    }

    // Whoever has not asked for it is on its own.
    let (killed, stays) = (Pid { index: 2, ..apart.pid }, Pid { index: 1, ..apart.pid });
    client.kill(killed).await;
    assert_eq!(end_of(&client, killed).await, Outcome::Killed);
    client.move_to(stays, "osprey").await.expect("it runs on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_exits_with_success_takes_nobody_and_one_that_fails_does() {
    let members = cluster(&["heron", "osprey"]).await;
    let client = members[0].client();
    let other = async |name: &str, args: &[&str]| {
        let program = client.upload(&wasm(name)).await.unwrap();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        MemberRequest { program, program_name: name.to_owned(), args }
    };
    let succeeds = other("fib", &["fib"]).await;
    // Without arguments it does not know what to do.
    let fails = other("journal", &["journal"]).await;
    let mut with_success = client
        .run(&wasm("pong"), |request| {
            request.others = vec![succeeds];
            request.together = true;
        })
        .await;
    let done = Pid { index: 1, ..with_success.pid };
    assert_eq!(end_of(&client, done).await, Outcome::Exited { code: 0 });
    client.move_to(with_success.pid, "osprey").await.expect("it runs on");

    let mut with_failure = client
        .run(&wasm("pong"), |request| {
            request.others = vec![fails];
            request.together = true;
        })
        .await;
    let failed = end_of(&client, Pid { index: 1, ..with_failure.pid }).await;
    assert!(
        matches!(failed, Outcome::Trapped { .. } | Outcome::Exited { code: 1.. }),
        "{failed:?}"
    );
    assert_eq!(with_failure.until_end().await, Outcome::Killed);
    let gone = client.move_to(with_failure.pid, "osprey").await.expect_err("it has ended");
    assert!(matches!(gone.code, ErrorCode::Ended | ErrorCode::UnknownProcess), "{gone:?}");
    client.kill(with_success.pid).await;
    assert_eq!(with_success.until_end().await, Outcome::Killed);
}
