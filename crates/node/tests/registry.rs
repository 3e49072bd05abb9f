//! The registry is handed on, while everything goes on.

mod common;

use api::{
    DrainEvent, DrainRequest, Error, ErrorCode, Outcome, RegistryMoveReply, RegistryMoveRequest,
    StatusReply,
};
use common::{Client, Events, Member, cluster, config, counter, start_again};
use hyper::Method;
use node::Node;

const NAMES: [&str; 3] = ["heron", "osprey", "curlew"];

async fn move_registry(client: &Client, to: &str) -> Result<RegistryMoveReply, Error> {
    let request = RegistryMoveRequest { to: to.to_owned() };
    client.json(Method::POST, "/v1/registry/move", &request).await
}

/// Until a node knows that the registry is there, and hears of it.
async fn until_at(client: &Client, home: &str) {
    let there = async {
        loop {
            let status: StatusReply = client.get(Method::GET, "/v1/status").await.unwrap();
            if status.registry.home == home && status.registry.answers {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(common::PATIENCE, there).await.expect("the registry is found");
}

async fn stop(member: &mut Member) {
    member.handle.stop();
    member.handle.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_goes_where_it_is_sent_and_all_find_it() {
    let mut members = cluster(&NAMES).await;
    let [heron, osprey, curlew] = [0, 1, 2].map(|at| members[at].client());
    let mut running = osprey.run(&counter(u32::MAX, 100_000), |_| ()).await;
    running.until(1).await;

    // One is off meanwhile, and hears nothing. It has written down whom to ask.
    let file = members[2].data.path().join("node.json");
    let written = async {
        while !std::fs::read_to_string(&file).unwrap().contains(&members[1].handle.ready().address)
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(common::PATIENCE, written).await.expect("it is written down");
    stop(&mut members[2]).await;
    let reply = move_registry(&osprey, "osprey").await.unwrap();
    assert_eq!((&*reply.from, &*reply.to, reply.term), ("heron", "osprey", 1));
    let again = move_registry(&heron, "osprey").await.unwrap();
    assert_eq!((&*again.from, again.term), ("osprey", 1), "it is there already");
    for client in [&heron, &osprey] {
        until_at(client, "osprey").await;
    }
    heron.move_to(running.pid, "heron").await.unwrap();
    osprey.move_to(running.pid, "osprey").await.unwrap();

    // It is found by asking whoever is there, though the last home is off.
    stop(&mut members[0]).await;
    let curlew_again = start_again("curlew", members[2].data.path()).await;
    until_at(&curlew, "osprey").await;

    // It lets nodes in, and one that was its home comes back as any other.
    let heron_again = start_again("heron", members[0].data.path()).await;
    until_at(&heron, "osprey").await;
    assert!(!members[0].data.path().join("ca.key").exists(), "the key goes with the registry");
    let data = tempfile::tempdir().unwrap();
    let token: api::TokenReply =
        curlew.json(Method::POST, "/v1/tokens", &api::TokenRequest::default()).await.unwrap();
    let mut joins = config("plover", data.path());
    joins.join = Some((token.address, token.token));
    let plover = Node::start(joins).await.unwrap();
    heron.until_up(4).await;

    // And back, by way of a third: nobody waits until all have heard where it is.
    assert_eq!(move_registry(&curlew, "plover").await.unwrap().term, 2);
    let asked: Result<api::TokenReply, Error> =
        curlew.json(Method::POST, "/v1/tokens", &api::TokenRequest::default()).await;
    asked.expect("it is found");
    assert_eq!(move_registry(&curlew, "heron").await.unwrap().term, 3);
    for client in [&heron, &osprey, &curlew] {
        until_at(client, "heron").await;
    }
    heron.move_to(running.pid, "curlew").await.unwrap();
    running.until(running.output.len() + 1).await;
    osprey.kill(running.pid).await;
    assert_eq!(running.until_end().await, Outcome::Killed);
    drop((curlew_again, heron_again, plover));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_that_is_drained_may_be_erased() {
    let mut members = cluster(&NAMES).await;
    let [heron, osprey] = [0, 1].map(|at| members[at].client());
    let program = counter(u32::MAX, 100_000);
    let on = |request: &mut api::RunRequest| request.on = Some("heron".to_owned());
    let mut running = osprey.run(&program, on).await;
    running.until(1).await;
    let request = DrainRequest { node: "heron".to_owned(), plan: false };
    let body = serde_json::to_vec(&request).unwrap();
    let mut events = Events::new(heron.send(Method::POST, "/v1/drain", body).await);
    let mut to = None;
    loop {
        match events.next().await.expect("a last line") {
            DrainEvent::RegistryMoved { to: home } => to = Some(home),
            DrainEvent::Drained { empty, stayed, .. } => break assert!(empty && stayed == 0),
            DrainEvent::Failed { error } => panic!("{error}"),
            _ => (),
        }
    }
    let to = to.expect("the registry has moved");
    let mut heron = members.remove(0);
    stop(&mut heron).await;
    drop(heron);
    for member in &members {
        until_at(&member.client(), &to).await;
    }
    running.until(running.output.len() + 1).await;
    let there = if to == "osprey" { "curlew" } else { "osprey" };
    osprey.move_to(running.pid, there).await.unwrap();
    running.until(running.output.len() + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_does_not_take_it_leaves_it_where_it_is() {
    let mut members = cluster(&["heron", "osprey"]).await;
    let heron = members[0].client();
    stop(&mut members[1]).await;
    let refused = move_registry(&heron, "osprey").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NodeUnavailable, "{refused}");
    until_at(&heron, "heron").await;
    let unknown = move_registry(&heron, "nowhere").await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::UnknownNode);
    let _again = start_again("osprey", members[1].data.path()).await;
    heron.until_up(2).await;
    assert_eq!(move_registry(&heron, "osprey").await.unwrap().to, "osprey");
    until_at(&heron, "osprey").await;
}

async fn rebuild(
    client: &Client,
    forget: &[&str],
    key: Option<Vec<u8>>,
) -> Result<api::RegistryRebuildReply, Error> {
    let forget = forget.iter().map(|name| (*name).to_owned()).collect();
    let request = api::RegistryRebuildRequest { forget, key };
    client.json(Method::POST, "/v1/registry/rebuild", &request).await
}

async fn until_silent(client: &Client) {
    let silent = async {
        loop {
            let status: StatusReply = client.get(Method::GET, "/v1/status").await.unwrap();
            if !status.registry.answers {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(common::PATIENCE, silent).await.expect("the registry is off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_lost_is_made_anew_from_what_the_members_know() {
    let mut members = cluster(&NAMES).await;
    let [heron, osprey, curlew] = [0, 1, 2].map(|at| members[at].client());
    let named = |name: &'static str| {
        move |request: &mut api::RunRequest| {
            request.name = Some(name.to_owned());
        }
    };
    let mut stays = osprey.run(&counter(u32::MAX, 100_000), named("stays")).await;
    let mut lost = curlew.run(&counter(u32::MAX, 100_000), named("lost")).await;
    stays.until(1).await;
    lost.until(1).await;
    osprey.move_to(stays.pid, "curlew").await.unwrap();
    curlew.move_to(lost.pid, "heron").await.unwrap();
    lost.until(lost.output.len() + 1).await;
    let answers = rebuild(&osprey, &["heron"], None).await.unwrap_err();
    assert_eq!(answers.code, ErrorCode::Refused, "{answers}");

    // The home is gone, with its disk.
    let key = std::fs::read(members[0].data.path().join("ca.key")).unwrap();
    let mut home = members.remove(0);
    stop(&mut home).await;
    drop((home, heron));
    until_silent(&osprey).await;
    let home_too = rebuild(&osprey, &[], None).await.unwrap_err();
    assert!(home_too.message.contains("the registry is at heron"), "{home_too}");
    let not_off = rebuild(&osprey, &["heron", "curlew"], None).await.unwrap_err();
    assert_eq!(not_off.message, "curlew answers: it is not off");
    let foreign = rebuild(&osprey, &["heron"], Some(vec![1, 2, 3])).await.unwrap_err();
    assert_eq!(foreign.code, ErrorCode::InvalidRequest);

    let reply = rebuild(&osprey, &["heron"], None).await.unwrap();
    assert_eq!((&*reply.home, reply.term, reply.key), ("osprey", 1, false));
    assert_eq!(reply.forgotten, ["heron"]);
    until_at(&osprey, "osprey").await;
    until_at(&curlew, "osprey").await;

    // What runs runs on, can be moved, and has its name; what was with the home is lost, and its name is free.
    curlew.move_to(stays.pid, "osprey").await.unwrap();
    stays.until(stays.output.len() + 1).await;
    assert!(matches!(lost.until_end().await, Outcome::Lost { .. }));
    let path = "/v1/processes/stays";
    let detail: api::ProcessDetail = curlew.get(Method::GET, path).await.unwrap();
    assert_eq!((detail.summary.pid, &*detail.summary.node), (stays.pid, "osprey"));
    let mut again = curlew.run(&counter(u32::MAX, 100_000), named("lost")).await;
    assert_ne!(again.pid.group, stays.pid.group);
    again.until(1).await;

    // Nobody can join without the key.
    let token: api::TokenReply =
        curlew.json(Method::POST, "/v1/tokens", &api::TokenRequest::default()).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut joins = config("plover", data.path());
    joins.join = Some((token.address.clone(), token.token.clone()));
    let refused = Node::start(joins).await.expect_err("it is not let in");
    assert!(refused.message.contains("the key that lets nodes in was lost"), "{refused}");
    stop(&mut members[0]).await;
    std::fs::write(members[0].data.path().join("ca.key"), key).unwrap();
    let _osprey = start_again("osprey", members[0].data.path()).await;
    until_at(&curlew, "osprey").await;
    let token: api::TokenReply =
        curlew.json(Method::POST, "/v1/tokens", &api::TokenRequest::default()).await.unwrap();
    let mut joins = config("plover", data.path());
    joins.join = Some((token.address, token.token));
    let _plover = Node::start(joins).await.unwrap();
    curlew.until_up(3).await;
}
