//! Moves to nodes that have never had the program: its code has to be fetched and compiled there, both
//! forms of it, and the process runs on meanwhile where it is.

mod common;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use api::{MoveEvent, MoveReport, MoveRequest, Outcome, Progress, Step};
use common::{Events, Member, Running, cluster, counted, counter_with};
use hyper::Method;

/// Functions that are never called and take long to compile: each calls what may have to stop, many
/// times, with much that is live across the calls.
fn ballast() -> String {
    let mut text = String::new();
    for function in 0..40 {
        write!(text, "(func $ballast{function} (param $a i32) (result i32)").unwrap();
        for local in 0..24 {
            write!(text, "(local $l{local} i32)").unwrap();
        }
        for call in 0..120 {
            let (to, one, other) = (call % 24, (call * 7 + 3) % 24, (call * 11 + 5) % 24);
            write!(
                text,
                "(if (i32.and (local.get $l{one}) (local.get $a))
                   (then (local.set $l{to} (i32.add (call $work) (local.get $l{other})))))"
            )
            .unwrap();
        }
        for local in 0..24 {
            write!(text, "(local.set $a (i32.add (local.get $a) (local.get $l{local})))").unwrap();
        }
        text.push_str("(local.get $a))\n");
    }
    text
}

/// Moves a process while its output is read. Returns the report, what was said of progress, and the
/// longest time in which it printed nothing.
async fn move_watched(
    asked: &Member,
    running: &mut Running,
    to: &str,
) -> (MoveReport, Vec<Progress>, Duration) {
    let body = serde_json::to_vec(&MoveRequest { to: to.to_owned() }).unwrap();
    let path = format!("/v1/processes/{}/move", running.pid);
    let mut events = Events::new(asked.client().send(Method::POST, &path, body).await);
    let (mut told, mut gap, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
    loop {
        tokio::select! {
            event = events.next::<MoveEvent>() => match event.expect("a last line") {
                MoveEvent::Progress(progress) => told.push(progress),
                MoveEvent::Failed { error } => panic!("{error}"),
                MoveEvent::MovedTogether { .. } => panic!("it moves alone"),
                MoveEvent::Moved(report) => {
                    // It has to be heard of from there.
                    running.until(running.output.len() + 1).await;
                    return (report, told, gap.max(last.elapsed()));
                }
            },
            () = running.until(running.output.len() + 1) => {
                gap = gap.max(last.elapsed());
                last = Instant::now();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_runs_on_while_its_target_compiles() {
    let names = ["heron", "osprey", "plover"];
    let members = cluster(&names).await;
    let program = counter_with(u32::MAX, 2_000_000, &ballast());
    let mut running = members[0].client().run(&program, |_| ()).await;
    running.until(1).await;
    for to in 1..3 {
        let (report, told, gap) = move_watched(&members[to - 1], &mut running, names[to]).await;
        let total = Duration::from_micros(report.total_us);
        println!("to {}: {total:?}, gap {gap:?}, told {told:?}", names[to]);
        // Fetching and compiling both forms took nearly all of the time, and nobody felt it.
        assert!(4 * gap < total, "silent for {gap:?} of a move that took {total:?}");
        assert!(report.first && report.code_bytes > 0);
        let compiles = |progress: &Progress| progress.step == Step::Compile;
        assert!(total < Duration::from_secs(1) || told.iter().any(compiles), "{told:?}");
        // It has to be movable from there at once: whoever waits for its code cannot stop.
    }
    let (report, ..) = move_watched(&members[0], &mut running, names[0]).await;
    assert!(!report.first);
    members[1].client().kill(running.pid).await;
    assert_eq!(running.until_end().await, Outcome::Killed);
    let text = running.text();
    assert!(counted(text.lines().count() as u32 + 1).starts_with(&text));
}
