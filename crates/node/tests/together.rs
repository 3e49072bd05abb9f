//! The processes of a group move together, or none of them does.

mod common;

use std::collections::BTreeMap;

use api::{Error, ErrorCode, MemberRequest, MoveEvent, MoveReport, MoveRequest, Pid};
use common::{Client, Events, Running, cluster, start_again};

const NAMES: [&str; 3] = ["heron", "osprey", "curlew"];

fn wasm(name: &str) -> Vec<u8> {
    std::fs::read(programs::guest(name).expect("it builds")).expect("it was built")
}

/// Several that wait for messages; the first is attached.
async fn group(client: &Client, members: usize) -> Running {
    let program = client.upload(&wasm("pong")).await.unwrap();
    let other = MemberRequest { program, program_name: "pong".to_owned(), args: vec![] };
    client.run(&wasm("pong"), |request| request.others = vec![other; members - 1]).await
}

async fn move_group(client: &Client, group: Pid, to: &str) -> Result<Vec<MoveReport>, Error> {
    let body = serde_json::to_vec(&MoveRequest { to: to.to_owned() }).unwrap();
    let path = format!("/v1/processes/{}/move", group.group);
    let response = client.send(hyper::Method::POST, &path, body).await;
    if !response.status().is_success() {
        return Err(Running::of(response).await.err().expect("it was refused"));
    }
    let mut events = Events::new(response);
    loop {
        match events.next().await.expect("a last line") {
            MoveEvent::MovedTogether { reports } => return Ok(reports),
            MoveEvent::Failed { error } => return Err(error),
            MoveEvent::Progress(_) => (),
            MoveEvent::Moved(report) => panic!("{report:?} by itself"),
        }
    }
}

async fn drain(client: &Client, node: &str) {
    let request = api::DrainRequest { node: node.to_owned(), plan: false };
    let body = serde_json::to_vec(&request).unwrap();
    let mut events = Events::new(client.send(hyper::Method::POST, "/v1/drain", body).await);
    loop {
        match events.next().await.expect("a last line") {
            api::DrainEvent::Drained { empty, .. } => return assert!(empty, "nothing is there"),
            api::DrainEvent::Failed { error } => panic!("{error}"),
            _ => (),
        }
    }
}

/// Where each process of the group is.
async fn places(client: &Client, group: Pid) -> BTreeMap<u32, String> {
    let reply: api::ProcessesReply = client.get(hyper::Method::GET, "/v1/processes").await.unwrap();
    let members = reply.processes.into_iter().filter(|process| process.pid.group == group.group);
    members.map(|process| (process.pid.index, process.node)).collect()
}

fn all_at(node: &str, members: u32) -> BTreeMap<u32, String> {
    (0..members).map(|index| (index, node.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_spread_out_moves_together() {
    let members = cluster(&NAMES).await;
    let client = members[0].client();
    let mut first = group(&client, 4).await;
    let pid = first.pid;
    for (index, to) in [(1, "osprey"), (2, "osprey"), (3, "curlew")] {
        client.move_to(Pid { index, ..pid }, to).await.unwrap();
    }
    // Asked of a node that is neither its place nor its target, and of the target itself.
    let reports = move_group(&members[1].client(), pid, "curlew").await.unwrap();
    let from: Vec<&str> = reports.iter().map(|report| &*report.from).collect();
    assert_eq!(from, ["heron", "osprey", "osprey", "curlew"]);
    assert!(reports.iter().all(|report| report.to == "curlew"), "{reports:?}");
    assert!(reports[..3].iter().all(|report| report.epoch > 0 && report.pause_us > 0));
    assert_eq!(places(&client, pid).await, all_at("curlew", 4));
    let back = move_group(&members[0].client(), pid, "heron").await.unwrap();
    assert_eq!(back.len(), 4);
    assert_eq!(places(&client, pid).await, all_at("heron", 4));
    client.kill(pid).await;
    assert_eq!(first.until_end().await, api::Outcome::Killed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_moves_if_one_cannot() {
    let mut members = cluster(&NAMES).await;
    let client = members[0].client();
    let first = group(&client, 3).await;
    let pid = first.pid;
    client.move_to(Pid { index: 1, ..pid }, "osprey").await.unwrap();
    let spread: BTreeMap<u32, String> =
        [(0, "heron"), (1, "osprey"), (2, "heron")].map(|(at, node)| (at, node.to_owned())).into();

    // The target takes nothing.
    drain(&client, "curlew").await;
    let refused = move_group(&client, pid, "curlew").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Refused);
    assert!(refused.message.contains("none was moved"), "{refused}");
    assert_eq!(places(&client, pid).await, spread);

    // A node that does not answer may have one of them.
    let mut curlew = members.pop().expect("there are three");
    curlew.handle.stop();
    curlew.handle.ended().await;
    let refused = move_group(&client, pid, "osprey").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NodeUnavailable);
    assert!(refused.message.contains("curlew does not answer"), "{refused}");
    assert_eq!(places(&client, pid).await, spread);
    let again = start_again("curlew", curlew.data.path()).await;
    client.until_up(3).await;
    move_group(&client, pid, "osprey").await.unwrap();
    assert_eq!(places(&client, pid).await, all_at("osprey", 3));
    drop(again);
}
