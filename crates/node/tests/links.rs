//! Who is linked to a process ends with it, wherever the two are, unless it traps.

mod common;

use api::{MemberRequest, Outcome, Pid, ProcessEvent};
use common::{Client, Member, Running, cluster, start_again};

const NAMES: [&str; 3] = ["heron", "osprey", "curlew"];

fn wasm(name: &str) -> Vec<u8> {
    std::fs::read(programs::guest(name).expect("it builds")).expect("it was built")
}

/// What a process that nobody is attached to writes, and how it ends.
struct Story {
    events: common::Events,
}

impl Story {
    async fn of(client: &Client, pid: Pid) -> Self {
        let path = format!("/v1/processes/{pid}/logs?follow=true");
        let response = client.send(hyper::Method::GET, &path, vec![]).await;
        Self { events: common::Events::new(response) }
    }

    async fn next(&mut self) -> ProcessEvent {
        let next = tokio::time::timeout(common::PATIENCE, self.events.next()).await;
        next.expect("output, or an end").expect("a last line")
    }

    /// Until it has written something.
    async fn until_output(&mut self) {
        while !matches!(self.next().await, ProcessEvent::Output { .. }) {}
    }

    async fn end(&mut self) -> Outcome {
        loop {
            if let ProcessEvent::Ended { outcome } = self.next().await {
                return outcome;
            }
        }
    }
}

/// Processes that are linked in a row, the last to nobody, once they are; the first is attached.
async fn row(members: &[Member], length: usize) -> (Running, Vec<Story>) {
    let client = members[0].client();
    let program = client.upload(&wasm("linked")).await.unwrap();
    let other = MemberRequest { program, program_name: "linked".to_owned(), args: vec![] };
    let mut first =
        client.run(&wasm("linked"), |request| request.others = vec![other; length - 1]).await;
    first.until("linked to 1\n".len()).await;
    let mut stories = Vec::new();
    for index in 1..length as u32 {
        let mut story = Story::of(&client, Pid { index, ..first.pid }).await;
        story.until_output().await;
        stories.push(story);
    }
    (first, stories)
}

fn linked(pid: Pid, reason: &str) -> Outcome {
    Outcome::Linked { pid, reason: reason.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_in_a_row_end_with_the_last_and_for_its_reason() {
    let members = cluster(&NAMES).await;
    let client = members[0].client();
    let (mut first, mut stories) = row(&members, 4).await;
    let member = |index| Pid { index, ..first.pid };
    let own = first.pid;
    for (pid, to) in
        [(own, "osprey"), (member(1), "curlew"), (member(3), "osprey"), (own, "curlew")]
    {
        client.move_to(pid, to).await.unwrap();
    }
    client.kill(member(3)).await;
    assert_eq!(first.until_end().await, linked(Pid { index: 1, ..own }, "killed"));
    let own = first.pid;
    let member = |index| Pid { index, ..own };
    let ends = [linked(member(2), "killed"), linked(member(3), "killed"), Outcome::Killed];
    for (story, expected) in stories.iter_mut().zip(ends) {
        assert_eq!(story.end().await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_linked_to_one_that_is_lost_with_its_node_ends() {
    let mut members = cluster(&NAMES).await;
    let client = members[0].client();
    let (mut first, _stories) = row(&members, 2).await;
    let other = Pid { index: 1, ..first.pid };
    client.move_to(other, "curlew").await.unwrap();
    let mut curlew = members.pop().expect("there are three");
    let node = curlew.handle.ready().node;
    curlew.handle.stop();
    curlew.handle.ended().await;
    let _again = start_again("curlew", curlew.data.path()).await;
    assert_eq!(first.until_end().await, linked(other, &format!("lost(n{node})")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_traps_is_told_and_a_good_end_takes_nobody() {
    let members = cluster(&NAMES).await;
    let client = members[0].client();
    let others = [("pong", vec![]), ("fib", vec![]), ("linked", vec!["linked".to_owned()])];
    let mut requests = Vec::new();
    for (name, args) in others {
        let program = client.upload(&wasm(name)).await.unwrap();
        requests.push(MemberRequest { program, program_name: name.to_owned(), args });
    }
    let mut supervisor = client
        .run(&wasm("linked"), |request| {
            request.others = requests;
            request.args = vec!["linked".to_owned(), "trap".to_owned()];
        })
        .await;
    let member = |index| Pid { index, ..supervisor.pid };
    let (killed, well, last) = (member(1), member(2), member(3));
    let greeting = "linked to 3\n";
    let normal = format!("{well} is down: normal\n");
    supervisor.until(greeting.len() + normal.len()).await;
    client.move_to(supervisor.pid, "osprey").await.unwrap();
    client.move_to(killed, "curlew").await.unwrap();
    client.kill(killed).await;
    let told = format!("{killed} is down: killed\n");
    supervisor.until(greeting.len() + normal.len() + told.len()).await;
    client.kill(last).await;
    assert_eq!(supervisor.until_end().await, Outcome::Exited { code: 0 });
    let text = supervisor.text();
    let (first, rest) = text.split_at(greeting.len());
    // It may have ended before it was linked to.
    let gone = normal.replace("normal", "noproc");
    let rest = rest.replace(&gone, &normal);
    assert_eq!((first, &*rest), (greeting, &*format!("{normal}{told}{last} is down: killed\n")));
}
