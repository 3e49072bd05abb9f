//! A durable process begins anew when its node is back, and whoever has to do with it is told.

mod common;

use api::{MemberRequest, Outcome, Pid};
use common::{cluster, start_again};

fn wasm(name: &str) -> Vec<u8> {
    std::fs::read(programs::guest(name).expect("it builds")).expect("it was built")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_one_that_begins_anew_is_told_and_the_new_life_can_be_reached() {
    let mut members = cluster(&["heron", "osprey"]).await;
    let client = members[0].client();
    let program = client.upload(&wasm("pong")).await.unwrap();
    let other = MemberRequest { program, program_name: "pong".to_owned(), args: vec![] };
    let mut watcher = client
        .run(&wasm("watch"), |request| {
            request.others = vec![other];
            request.checkpoint_ms = Some(1_000);
        })
        .await;
    watcher.until("watching 1\n".len()).await;
    let watched = Pid { index: 1, ..watcher.pid };
    // What is durable is on the disk of a node before it is there.
    client.move_to(watched, "osprey").await.unwrap();
    let mut osprey = members.pop().expect("there are two");
    osprey.handle.stop();
    osprey.handle.ended().await;
    let data = osprey.data;
    let again = start_again("osprey", data.path()).await;

    assert_eq!(watcher.until_end().await, Outcome::Exited { code: 0 });
    let heard = watcher.text();
    let heard: Vec<&str> = heard
        .lines()
        .filter(|line| !line.ends_with(" is silent") && !line.ends_with(" is back"))
        .collect();
    assert_eq!(heard, ["watching 1", &format!("{watched} is down: restarted")]);
    client.kill(watched).await;
    let left = std::fs::read_dir(data.path().join("durable")).expect("it is there").count();
    assert_eq!(left, 0, "nobody begins anew what has ended");
    drop(again);
}
