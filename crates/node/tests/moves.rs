//! Programs that move between nodes while they run.

mod common;

use api::{KillReply, KillRequest, Outcome};
use common::{cluster, counted, counter, counter_with, echo};
use hyper::Method;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_runs_and_its_code_is_its_exit_code() {
    let members = cluster(&["heron"]).await;
    let mut running = members[0].client().run(&counter(3, 10), |_| ()).await;
    assert_eq!(running.until_end().await, Outcome::Exited { code: 7 });
    assert_eq!(running.text(), counted(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_goes_round_the_ring_and_nothing_is_lost() {
    let names = ["heron", "osprey", "curlew"];
    let members = cluster(&names).await;
    // It never ends by itself, however fast the machine.
    let (last, work) = (u32::MAX, 200_000);
    let mut running = members[0].client().run(&counter(last, work), |_| ()).await;
    for turn in 1..=12 {
        running.until(running.output.len() + 1).await;
        // Whoever is asked finds it.
        let asked = members[turn % 2].client();
        let report = asked.move_to(running.pid, names[turn % 3]).await.unwrap();
        println!(
            "{} to {}: pause {} us, total {} us, {} bytes, code {}",
            report.from,
            report.to,
            report.pause_us,
            report.total_us,
            report.image_bytes,
            report.code_bytes
        );
        assert_eq!(report.to, names[turn % 3]);
        assert_eq!(report.first, turn < 3 && turn > 0, "code is sent once to each node");
    }
    running.until(running.output.len() + 1).await;
    let target = KillRequest { target: running.pid.to_string() };
    let killed: KillReply =
        members[1].client().json(Method::POST, "/v1/kill", &target).await.unwrap();
    assert_eq!(killed.killed.len(), 1);
    assert_eq!(running.until_end().await, Outcome::Killed);
    let text = running.text();
    let lines = text.lines().count() as u32;
    assert!(counted(lines + 1).starts_with(&text), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_follows_a_process() {
    let members = cluster(&["heron", "osprey"]).await;
    let client = members[0].client();
    let mut running = client.run(&echo(), |request| request.stdin = true).await;
    let moved = client.move_to(running.pid, "osprey").await.unwrap();
    assert_eq!(moved.to, "osprey");
    let text: Vec<u8> =
        (0..100_000u32).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    let path = format!("/v1/processes/{}/stdin", running.pid);
    let (sent, outcome) = tokio::join!(client.send(Method::POST, &path, text.clone()), async {
        running.until(1000).await;
        client.move_to(running.pid, "heron").await.unwrap();
        running.until_end().await
    });
    assert!(sent.status().is_success());
    assert_eq!(outcome, Outcome::Exited { code: 0 });
    assert!(running.output == text, "{} of {} bytes", running.output.len(), text.len());
}

/// Its image is on its way to someone who does not take it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_while_it_is_copied_ends() {
    let members = cluster(&["heron"]).await;
    let heron = members[0].client();
    let ballast = "(start $fill)
        (func $fill (local $at i32) (local $noise i32)
          (drop (memory.grow (i32.const 256)))
          (local.set $at (i32.const 65536))
          (loop $next
            (local.set $noise (i32.add (i32.mul (local.get $noise) (i32.const 1664525)) (i32.const 1013904223)))
            (i32.store (local.get $at) (local.get $noise))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 16842752)))))";
    let mut running = heron.run(&counter_with(u32::MAX, 100_000, ballast), |_| ()).await;
    running.until(1).await;
    let path = format!("/v1/processes/{}/freeze", running.pid);
    let copied = heron.send(Method::POST, &path, br#"{"copy":true}"#.to_vec()).await;
    heron.kill(running.pid).await;
    assert_eq!(running.until_end().await, Outcome::Killed);
    drop(copied);
}
