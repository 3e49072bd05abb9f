//! Names that programs ask for: one process has each, in the whole cluster, wherever it goes, until it ends.

mod common;

use api::{Outcome, Pid};
use common::{Client, Running, cluster};

fn wasm() -> Vec<u8> {
    std::fs::read(programs::guest("names").expect("it builds")).expect("it was built")
}

/// The program, with these words.
async fn names(client: &Client, words: &[&str]) -> Running {
    let args = ["names"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    let change = |request: &mut api::RunRequest| {
        request.args = args;
        request.allow_send = vec!["*".to_owned()];
    };
    client.run(&wasm(), change).await
}

async fn said(client: &Client, words: &[&str]) -> (Outcome, String, Pid) {
    let mut running = names(client, words).await;
    let outcome = running.until_end().await;
    (outcome, running.text(), running.pid)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_one_process_s_until_that_ends_wherever_it_goes() {
    let members = cluster(&["heron", "osprey"]).await;
    let (heron, osprey) = (members[0].client(), members[1].client());
    let failed = Outcome::Exited { code: 1 };

    let mut named = names(&heron, &["be", "web"]).await;
    named.until("I am web\n".len()).await;
    let taken = "web: another process has that name\n".to_owned();
    let second = said(&osprey, &["be", "web"]).await;
    assert_eq!((second.0, second.1), (failed.clone(), taken));

    // It is known by it to operators, too, and where it has gone.
    heron.move_to(named.pid, "osprey").await.unwrap();
    let (outcome, text, greeter) = said(&heron, &["greet", "web"]).await;
    assert_eq!(outcome, Outcome::Exited { code: 0 });
    assert_eq!(text, format!("web is {}: Ok(())\n", named.pid));
    assert_eq!(named.until_end().await, Outcome::Exited { code: 0 });
    assert_eq!(named.text(), format!("I am web\n{greeter} says hello\n"));

    // It has ended, and the name is free. One that has a name gets no other.
    let (outcome, text, _) = said(&osprey, &["greet", "web"]).await;
    assert_eq!((outcome, text), (failed.clone(), "nobody is web\n".to_owned()));
    let change = |request: &mut api::RunRequest| {
        request.name = Some("mail".to_owned());
        request.args = ["names", "be", "web"].map(str::to_owned).to_vec();
    };
    let mut other = osprey.run(&wasm(), change).await;
    assert_eq!(other.until_end().await, failed);
    assert_eq!(other.text(), "web: it cannot be this process's name\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_cannot_import_asks_by_files() {
    let members = cluster(&["heron", "osprey"]).await;
    let (heron, osprey) = (members[0].client(), members[1].client());
    let failed = Outcome::Exited { code: 1 };

    let mut named = names(&heron, &["write", "web"]).await;
    named.until("I am web\n".len()).await;
    let second = said(&osprey, &["write", "web"]).await;
    assert_eq!((second.0, second.1.as_str()), (failed.clone(), "web: entity already exists\n"));
    let long = "x".repeat(300);
    let unfit = said(&osprey, &["write", &long]).await;
    assert_eq!((unfit.0, unfit.1), (failed, format!("{long}: invalid input parameter\n")));

    heron.move_to(named.pid, "osprey").await.unwrap();
    let found = said(&heron, &["read", "web"]).await.1;
    assert_eq!(found, format!("web is {}\n", named.pid));
    assert_eq!(said(&heron, &["read", "nobody"]).await.1, "nobody: entity not found\n");
    let (outcome, ..) = said(&heron, &["greet", "web"]).await;
    assert_eq!(outcome, Outcome::Exited { code: 0 });
    assert_eq!(named.until_end().await, Outcome::Exited { code: 0 });
}
