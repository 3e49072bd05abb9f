//! Processes that are put to sleep whenever they wait do the same as those that never are.

#[expect(dead_code, reason = "the post office serves other tests too")]
mod post;

use std::time::{Duration, Instant};

use engine::{Config, Engine, Event, Outcome, Setup, Status, Wait, What};
use post::{Post, args, guest, pid, wat};

fn engine(sleep_after: Duration) -> Engine {
    Engine::new(Config { workers: 1, sleep_after, ..Config::default() }).expect("an engine")
}

/// Puts to sleep whatever waits, at once.
fn sleepy() -> Engine {
    engine(Duration::ZERO)
}

fn wakeful() -> Engine {
    engine(Duration::MAX)
}

fn sleeps(status: Status) -> bool {
    matches!(status, Status::Sleeping(_))
}

/// Echoes its standard input; keeps what it reads in memory that it has grown for that.
const ECHO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\00\00\01\00\10\00\00\00")
  (func (export "_start")
    (drop (memory.grow (i32.const 1)))
    (loop $more
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
      (i32.store (i32.const 4) (i32.load (i32.const 16)))
      (if (i32.eqz (i32.load (i32.const 16))) (then (return)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))
      (i32.store (i32.const 4) (i32.const 16))
      (br $more))))"#;

/// Fails if any byte of the memory that it starts with, or that it grows by, is not what it should be; then
/// fills all of it and waits for input.
const LITTERER: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "data")
  (func (export "_start") (local $at i32)
    (drop (memory.grow (i32.const 2)))
    (if (i32.ne (i32.load (i32.const 8)) (i32.const 0x61746164)) (then (unreachable)))
    (i32.store (i32.const 8) (i32.const 0))
    (loop $more
      (if (i32.load (local.get $at)) (then (unreachable)))
      (i32.store (local.get $at) (i32.const 0x20))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br_if $more (i32.lt_u (local.get $at) (i32.const 196608))))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64)))
    (local.set $at (i32.const 128))
    (loop $again
      (if (i32.ne (i32.load (local.get $at)) (i32.const 0x20)) (then (unreachable)))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br_if $again (i32.lt_u (local.get $at) (i32.const 196608))))))"#;

#[test]
fn a_ring_is_the_same_however_its_members_sleep_and_are_moved() {
    let (awake, asleep) = ([wakeful(), wakeful()], [sleepy(), sleepy()]);
    let members = || {
        let ring = |_| (guest("ring"), args(&["ring", "100"]));
        (0..3).map(ring).collect::<Vec<_>>()
    };
    let still = Post::start(&awake, members()).run(0);
    for every in [0, 3] {
        let slept = Post::start(&asleep, members()).run(every);
        for (still, slept) in still.iter().zip(&slept) {
            assert_eq!(still.outcome, Outcome::Exit(0), "{}", still.output);
            assert_eq!((&slept.output, &slept.outcome), (&still.output, &still.outcome));
            assert!(every == 0 || slept.moves >= 10, "only {} moves", slept.moves);
        }
    }
}

#[test]
fn messages_of_all_sizes_wake_whom_they_are_for() {
    let (awake, asleep) = ([wakeful()], [sleepy()]);
    let members = || {
        let ping = args(&["ping", "500", "40", "20000"]);
        vec![(guest("ping"), ping), (guest("pong"), Setup::default())]
    };
    let still = Post::start(&awake, members()).run(0);
    let slept = Post::start(&asleep, members()).run(0);
    assert_eq!(still[1].output, "500 sent back\n", "{}", still[0].output);
    for (still, slept) in still.iter().zip(&slept) {
        assert_eq!((&slept.output, &slept.outcome), (&still.output, &still.outcome));
    }
}

#[test]
fn one_that_waits_for_long_sleeps_and_input_wakes_it() {
    let engines = [engine(Duration::from_millis(20))];
    let post = Post::start(&engines, vec![(wat(ECHO), Setup::default())]);
    let mut fed = 0;
    for text in ["one", "two", "three"] {
        post.waits(0, |status| status == Status::Sleeping(Wait::Stdin(None)));
        let memory = post.process(0).stats().memory_bytes;
        assert_eq!(memory, 2 << 16, "it has its memory all the same");
        fed = post.process(0).stdin(fed, text.as_bytes());
        let said = loop {
            if let (_, Event::Output { bytes, .. }) = post.next() {
                break bytes;
            }
        };
        assert_eq!(said, text.as_bytes());
    }
    post.process(0).stdin_end();
    assert_eq!(post.outcome(0), Outcome::Exit(0));
}

#[test]
fn a_timer_wakes_it_when_it_is_due() {
    let engines = [sleepy()];
    let program = wat(r#"(module
      (import "whimbrel" "receive" (func $receive (param i32 i32 i32 i64) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (drop (call $receive (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 60000000)))))"#);
    let begun = Instant::now();
    let post = Post::start(&engines, vec![(program, Setup::default())]);
    post.waits(0, sleeps);
    assert_eq!(post.outcome(0), Outcome::Exit(0));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(60), "it was woken after {took:?}");
}

#[test]
fn one_that_sleeps_is_killed_without_being_woken() {
    let engines = [sleepy()];
    let post = Post::start(&engines, vec![(guest("pong"), Setup::default())]);
    post.waits(0, sleeps);
    let unwinds = post.process(0).stats().unwinds;
    post.process(0).kill();
    assert_eq!(post.outcome(0), Outcome::Killed);
    assert_eq!(post.process(0).stats().unwinds, unwinds);
}

#[test]
fn the_image_of_one_that_sleeps_is_there_without_waking_it() {
    let engines = [sleepy(), sleepy()];
    let mut post = Post::start(&engines, vec![(guest("pong"), Setup::default())]);
    post.waits(0, sleeps);
    let unwinds = post.process(0).stats().unwinds;
    // With a message that comes in between, which is in the image or with whoever resumes.
    let image = post.freeze_with(0, Some(b"a word"));
    assert_eq!(post.process(0).stats().unwinds, unwinds, "it was not woken");
    post.thaw(0, &image, false);
    assert!(post.process(0).deliver(pid(1), What::Message, b""[..].into()));
    assert_eq!(post.outcome(0), Outcome::Exit(0));
}

#[test]
fn an_image_is_the_same_whether_it_slept_or_not() {
    let read = |sleep_after: Duration| {
        let engines = [engine(sleep_after)];
        let post = Post::start(&engines, vec![(guest("pong"), Setup::default())]);
        post.waits(0, |status| sleeps(status) || status == Status::Waiting(Wait::Message(None)));
        let image = post.freeze(0);
        let mut reader = wire::image::Summary::reader();
        reader.push(&image).expect("an image");
        reader.finish().expect("whole")
    };
    let (slept, not) = (read(Duration::ZERO), read(Duration::MAX));
    let heads = [&slept, &not].map(|summary| {
        let head = summary.head.as_ref().expect("it has one");
        (head.memories.clone(), head.frames_bytes, head.in_start)
    });
    assert_eq!(heads[0], heads[1]);
    assert_eq!(slept.stack, not.stack);
    assert_eq!(slept.page_bytes, not.page_bytes);
}

#[test]
fn what_one_leaves_behind_nobody_else_finds() {
    let engines = [sleepy()];
    let litterers = (0..20).map(|_| (wat(LITTERER), Setup::default())).collect();
    let post = Post::start(&engines, litterers);
    for index in 0..20 {
        post.waits(index, sleeps);
    }
    for index in 0..20 {
        post.process(index).stdin_end();
    }
    for _ in 0..20 {
        match post.next() {
            (_, Event::Ended(outcome)) => assert_eq!(outcome, Outcome::Exit(0)),
            (_, other) => panic!("{other:?}"),
        }
    }
}
