//! Certificates renew themselves, well before they end.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{PATIENCE, cluster, config};
use node::Node;
use node::disk::{DataDir, DiskError, Membership};
use node::trust::{CERTIFICATE_LIFE, RENEW_BEFORE};

fn unix_now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap()
}

fn membership(data: &Path) -> Membership {
    serde_json::from_slice(&std::fs::read(data.join("node.json")).unwrap()).unwrap()
}

/// Starts a member from its disk. What its last connections hold is let go a moment after it has ended.
async fn start_again(name: &str, path: &Path) -> node::Handle {
    let started = async {
        loop {
            match Node::start(config(name, path)).await {
                Err(error) if error.code == api::ErrorCode::DataInUse => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                started => return started.unwrap(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, started).await.expect("its directory is let go")
}

/// Opens a directory that was a member's.
async fn opened(path: &Path) -> DataDir {
    let opened = async {
        loop {
            match DataDir::open(path) {
                Err(DiskError::Locked { .. }) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                opened => return opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, opened).await.expect("its directory is let go")
}

/// Stops a member, changes when its certificate is due, and starts it again: its day has come.
async fn renewed(member: common::Member, others: usize) -> common::Member {
    let common::Member { mut handle, data } = member;
    let name = handle.ready().name.clone();
    handle.stop();
    handle.ended().await;
    let path = data.path().to_owned();
    let certificate = std::fs::read(path.join("node.der")).unwrap();
    {
        let dir = opened(&path).await;
        let due = Membership { renew_at: 1, ..dir.membership().unwrap().unwrap() };
        dir.save_membership(&due).unwrap();
    }
    let handle = start_again(&name, &path).await;
    let member = common::Member { handle, data };
    let renewed = async {
        while membership(&path).renew_at == 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("the certificate is renewed");
    assert_ne!(std::fs::read(path.join("node.der")).unwrap(), certificate, "it is another one");
    let due = unix_now() + CERTIFICATE_LIFE - RENEW_BEFORE;
    let next = Duration::from_secs(membership(&path).renew_at);
    assert!(next <= due && next + PATIENCE > due, "the next is in due time");
    member.client().until_up(others + 1).await;
    member
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_due_is_renewed() {
    let mut members = cluster(&["heron", "osprey"]).await;
    // By the registry's home.
    let osprey = renewed(members.pop().unwrap(), 1).await;
    members.push(osprey);
    // By itself, being the home.
    let osprey = members.pop().unwrap();
    let heron = renewed(members.pop().unwrap(), 1).await;
    // What is kept is what opens the next start's connections.
    let common::Member { mut handle, data } = osprey;
    handle.stop();
    handle.ended().await;
    let handle = start_again("osprey", data.path()).await;
    let osprey = common::Member { handle, data };
    for member in [&heron, &osprey] {
        member.client().until_up(2).await;
    }
}
