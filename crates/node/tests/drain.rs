//! A node that is emptied: its machine may be erased, and nothing is missed.

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use api::{
    DrainEvent, DrainRequest, Error, ErrorCode, Inspection, Locate, Outcome, Pid, ProcessDetail,
};
use common::{Client, Events, Member, PATIENCE, Running, cluster, counted, counter, start_again};
use http_body_util::BodyExt as _;
use hyper::Method;

async fn drain(client: &Client, node: &str, plan: bool) -> Vec<DrainEvent> {
    let request = DrainRequest { node: node.to_owned(), plan };
    let body = serde_json::to_vec(&request).unwrap();
    let mut events = Events::new(client.send(Method::POST, "/v1/drain", body).await);
    let mut story = Vec::new();
    while let Some(event) = events.next::<DrainEvent>().await {
        story.push(event);
    }
    story
}

fn emptied(story: &[DrainEvent], moved: u64) {
    let last = DrainEvent::Drained { empty: true, moved, stayed: 0 };
    assert_eq!(story.last(), Some(&last), "{story:?}");
}

/// Off, its disk erased, and forgotten.
async fn erase(member: Member, client: &Client) {
    let Member { mut handle, data } = member;
    let name = handle.ready().name.clone();
    handle.stop();
    handle.ended().await;
    drop(data);
    let path = format!("/v1/nodes/{name}/forget");
    let forgotten = async {
        // Not before it has been silent for a while.
        while !client.send(Method::POST, &path, Vec::new()).await.status().is_success() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("it is off");
}

async fn logs(client: &Client, pid: Pid, follow: bool) -> Running {
    let path = format!("/v1/processes/{pid}/logs?follow={follow}");
    let response = client.send(Method::GET, &path, Vec::new()).await;
    if !response.status().is_success() {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        panic!("{}", String::from_utf8_lossy(&bytes));
    }
    Running::reads(pid, response)
}

async fn detail(client: &Client, pid: Pid) -> ProcessDetail {
    let path = format!("/v1/processes/{pid}");
    match client.get(Method::GET, &path).await.unwrap() {
        Inspection::Process(detail) => *detail,
        Inspection::Group(_) => panic!("{pid} is a process"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_is_empty() {
    let members = cluster(&["heron", "osprey"]).await;
    let (heron, osprey) = (members[0].client(), members[1].client());
    let mut one = heron.run(&counter(400, 5_000_000), |r| r.on = Some("osprey".to_owned())).await;
    let mut two = osprey.run(&counter(400, 5_000_000), |_| ()).await;
    one.until(1).await;
    two.until(1).await;
    let planned = drain(&heron, "osprey", true).await;
    let [DrainEvent::Plan { items }] = &planned[..] else { panic!("{planned:?}") };
    let what: Vec<&str> = items.iter().map(|item| item.what.as_str()).collect();
    assert_eq!(what, ["output of 2", "test", "test"]);
    let story = drain(&heron, "osprey", false).await;
    assert!(matches!(&story[0], DrainEvent::Plan { items } if items.len() == 3), "{story:?}");
    emptied(&story, 2);
    for running in [&mut one, &mut two] {
        assert_eq!(running.until_end().await, Outcome::Exited { code: 7 });
        assert_eq!(running.text(), counted(400));
    }
}

/// Of one that goes on, one that has ended, and one that has never written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_outlives_the_node_that_kept_it() {
    let mut members = cluster(&["osprey", "curlew", "heron"]).await;
    let [osprey, curlew, heron] = [0, 1, 2].map(|at| members[at].client());
    let mut done = heron.run(&counter(30, 1), |_| ()).await;
    assert_eq!(done.until_end().await, Outcome::Exited { code: 7 });
    let mut goes_on = heron.run(&counter(300, 5_000_000), |_| ()).await;
    goes_on.until(10).await;
    let elsewhere = heron.run(&counter(300, 5_000_000), |_| ()).await;
    heron.move_to(elsewhere.pid, "curlew").await.unwrap();
    let quiet = heron.run(&counter(u32::MAX, u32::MAX), |_| ()).await;

    let story = drain(&heron, "heron", false).await;
    emptied(&story, 2);
    let moved = story.iter().map(|event| match event {
        DrainEvent::OutputMoved { processes, .. } => *processes,
        _ => 0,
    });
    assert_eq!(moved.sum::<u64>(), 4, "{story:?}");
    // Whoever reads goes on reading, where it reads.
    goes_on.until(goes_on.output.len() + 1).await;
    let refused = heron.send(Method::POST, "/v1/thaw", Vec::new()).await;
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let refused: Error = serde_json::from_slice(&body).unwrap();
    assert_eq!(refused.code, ErrorCode::Refused, "{refused}");

    erase(members.remove(2), &osprey).await;
    for client in [&osprey, &curlew] {
        let mut read = logs(client, done.pid, false).await;
        assert_eq!(read.until_end().await, Outcome::Exited { code: 7 });
        assert_eq!(read.text(), counted(30));
    }
    for pid in [goes_on.pid, elsewhere.pid] {
        let mut read = logs(&curlew, pid, true).await;
        assert_eq!(read.until_end().await, Outcome::Exited { code: 7 });
        assert_eq!(read.text(), counted(300));
    }
    curlew.kill(quiet.pid).await;
    let mut read = logs(&osprey, quiet.pid, true).await;
    assert_eq!(read.until_end().await, Outcome::Killed);
    assert!(matches!(detail(&osprey, done.pid).await.summary.program.as_str(), "test"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_goes_to_another_node() {
    let members = cluster(&["osprey", "heron"]).await;
    let [osprey, heron] = [0, 1].map(|at| members[at].client());
    let running = osprey
        .run(&counter(u32::MAX, 100_000), |request| {
            request.locate = Locate::Mailbox(Some("heron".to_owned()));
        })
        .await;
    let story = drain(&heron, "heron", false).await;
    emptied(&story, 0);
    let moved = DrainEvent::MailboxesMoved { processes: 1, to: "osprey".to_owned() };
    assert!(story.contains(&moved), "{story:?}");
    let locate = detail(&osprey, running.pid).await.locate;
    assert_eq!(locate, Some(Locate::Mailbox(Some("osprey".to_owned()))));
}

/// A process in a file needs its program, which was nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_only_it_had_is_elsewhere() {
    let mut members = cluster(&["osprey", "heron"]).await;
    let [osprey, heron] = [0, 1].map(|at| members[at].client());
    let mut running = heron.run(&counter(300, 5_000_000), |_| ()).await;
    running.until(1).await;
    let path = format!("/v1/processes/{}/freeze", running.pid);
    let copied = heron.send(Method::POST, &path, br#"{"copy":true}"#.to_vec()).await;
    let image = copied.into_body().collect().await.unwrap().to_bytes();
    heron.kill(running.pid).await;
    assert_eq!(running.until_end().await, Outcome::Killed);
    let story = drain(&heron, "heron", false).await;
    emptied(&story, 0);
    erase(members.remove(1), &osprey).await;
    let thawed = osprey.send(Method::POST, "/v1/thaw?attached=true", image.into()).await;
    let mut thawed = Running::of(thawed).await.unwrap();
    assert!(thawed.new);
    assert_eq!(thawed.until_end().await, Outcome::Exited { code: 7 });
}

/// The old home was killed when it had written down that there is a copy. Whether the new one has made it the log, it
/// cannot know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_its_way_is_seen_through_after_a_crash() {
    let mut members = cluster(&["osprey", "heron"]).await;
    let [osprey, heron] = [0, 1].map(|at| members[at].client());
    let mut done = Vec::new();
    for last in [20, 30] {
        let mut running = heron.run(&counter(last, 1), |_| ()).await;
        running.until_end().await;
        done.push(running);
    }
    let Member { mut handle, data } = members.remove(1);
    handle.stop();
    handle.ended().await;
    let [copied, lost] = [0, 1].map(|at: usize| done[at].pid);
    let log = |root: &Path, pid: Pid| root.join(format!("logs/{pid}.log"));
    let copy = members[0].data.path().join(format!("logs/{copied}.from-2"));
    fs::copy(log(data.path(), copied), copy).unwrap();
    let mark = |pid: Pid| {
        let mut mark = pid.group.0.to_le_bytes().to_vec();
        mark.extend(pid.index.to_le_bytes());
        mark.extend(1_u32.to_le_bytes());
        mark.push(3);
        mark
    };
    // Cut off in the middle of a third.
    let marks = [mark(copied), mark(lost), vec![7; 5]].concat();
    fs::write(data.path().join("logs/handed"), marks).unwrap();

    let _heron = start_again("heron", data.path()).await;
    osprey.until_up(2).await;
    let gone = async {
        while log(data.path(), copied).exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is handed on");
    assert!(log(members[0].data.path(), copied).exists());
    assert!(log(data.path(), lost).exists(), "there was no copy");
    for (at, last) in [(0, 20), (1, 30)] {
        let mut read = logs(&osprey, done[at].pid, false).await;
        assert_eq!(read.until_end().await, Outcome::Exited { code: 7 });
        assert_eq!(read.text(), counted(last));
    }
}
