//! What becomes of processes that trap, want too much, wait, or are held back.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::{
    Config, Engine, Event, EventSink, Frozen, Limit, Outcome, Place, Process, Setup, Stamp, Status,
    Thaw, Wait,
};
use wire::{Epoch, GroupId, Offer, Pid};

const PID: Pid = Pid { group: GroupId(1), index: 0 };

/// Reads a byte of input at a time and says it back, until the input ends.
const ECHO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\20\00\00\00\01\00\00\00")
  (func (export "_start")
    (loop $next
      (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)) (then unreachable))
      (if (i32.load (i32.const 16)) (then
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))
        (br $next))))))"#;

fn engine() -> Engine {
    Engine::new(Config { workers: 1, ..Config::default() }).expect("an engine")
}

fn sink() -> (EventSink, Receiver<Event>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let sink = move |_, event| {
        // Whoever has seen enough has dropped the other end.
        let _ = sender.lock().expect("no panic").send(event);
    };
    (Arc::new(sink), receiver)
}

fn start(engine: &Engine, wat: &str, setup: Setup) -> (Process, Receiver<Event>) {
    let wasm = wat::parse_str(wat).expect("it parses");
    let code = engine.prepare(&wasm, &|_| {}).expect("it compiles");
    code.make_resumable().expect("it compiles");
    let (sink, events) = sink();
    (engine.start(PID, &code, setup, sink).expect("it starts"), events)
}

fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(Duration::from_secs(60)).expect("an event")
}

fn outcome(events: &Receiver<Event>) -> Outcome {
    loop {
        if let Event::Ended(outcome) = next(events) {
            return outcome;
        }
    }
}

fn frozen(process: &Process, events: &Receiver<Event>) -> Frozen {
    process.freeze();
    match next(events) {
        Event::Frozen(frozen) => frozen,
        other => panic!("{other:?}"),
    }
}

fn waits(process: &Process, wait: Wait) {
    while process.stats().status != Status::Waiting(wait) {
        std::thread::yield_now();
    }
}

fn image(frozen: &Frozen) -> Vec<u8> {
    let stamp = Stamp { node: "heron".into(), epoch: Epoch(1), offer: Offer(1) };
    let (mut image, mut piece) = (vec![], vec![]);
    let mut writer = frozen.image(stamp, vec![]);
    while writer.next(&mut piece).expect("it is frozen") {
        image.append(&mut piece);
    }
    image
}

fn said(events: &Receiver<Event>, bytes: usize) -> String {
    let mut said = String::new();
    while said.len() < bytes {
        if let Event::Output { bytes, offset, .. } = next(events) {
            assert_eq!(offset as usize, said.len());
            said.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    said
}

#[test]
fn a_trap_says_where() {
    let engine = engine();
    let wat = r#"(module (memory (export "memory") 1)
      (func $_RNvC5inner3bad unreachable) (func $outer (call $_RNvC5inner3bad))
      (func (export "_start") (call $outer)))"#;
    let (_, events) = start(&engine, wat, Setup::default());
    let Outcome::Trap(report) = outcome(&events) else { panic!("no trap") };
    assert!(report.message.contains("unreachable"), "{}", report.message);
    let names: Vec<_> = report.backtrace.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["inner::bad", "outer", "function 2"]);
}

#[test]
fn a_stack_that_is_exhausted_ends_its_process_alone() {
    let engine = engine();
    let wat = r#"(module (func $deep (export "_start") (call $deep) (call $deep)))"#;
    let (_, events) = start(&engine, wat, Setup::default());
    assert_eq!(outcome(&events), Outcome::Limit(Limit::Stack));
    let (_, events) = start(&engine, r#"(module (func (export "_start")))"#, Setup::default());
    assert_eq!(outcome(&events), Outcome::Exit(0));
}

#[test]
fn memory_does_not_grow_past_its_limit() {
    let engine = engine();
    // Grows page by page to the end, and exits with the number of pages it had then.
    let wat = r#"(module
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (call $exit (memory.size))))"#;
    let setup = Setup { memory_max: Some(10 << 16), ..Setup::default() };
    let (_, events) = start(&engine, wat, setup);
    assert_eq!(outcome(&events), Outcome::Exit(10));
}

#[test]
fn a_process_that_waits_for_input_is_frozen_thawed_and_fed() {
    let (here, there) = (engine(), engine());
    let (process, events) = start(&here, ECHO, Setup::default());
    process.stdin(0, b"one");
    assert_eq!(said(&events, 3), "one");
    waits(&process, Wait::Stdin(None));
    let frozen = frozen_among_others(&process, &events);
    let image = image(&frozen);
    drop(frozen);
    assert_eq!(process.stats().status, Status::Ended);
    there.load(&code_of(&here, &process), &|_| {}).expect("it compiles");
    let mut thaw = Thaw::new(&there);
    thaw.push(&image).expect("it thaws");
    let (sink, events) = sink();
    let staged = thaw.finish().expect("it is whole");
    let process = staged.run(PID, Place::default(), true, sink).expect("it runs");
    // What it was fed already is skipped; what it says is held back.
    assert_eq!(process.stdin(0, b"onetwo"), 6);
    process.stdin_end();
    waits(&process, Wait::Effects);
    assert!(events.try_recv().is_err(), "its effects are held");
    process.release_effects();
    let mut words = String::new();
    let outcome = loop {
        match next(&events) {
            Event::Output { offset, bytes, .. } => {
                assert_eq!(offset as usize, 3 + words.len());
                words.push_str(&String::from_utf8_lossy(&bytes));
            }
            Event::Ended(outcome) => break outcome,
            _ => {}
        }
    };
    assert_eq!((words.as_str(), outcome), ("two", Outcome::Exit(0)));
}

/// Computes a while, says a word, and exits.
const LAST_WORDS: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\04\00\00\00")
  (data (i32.const 16) "word")
  (func (export "_start") (local $count i32)
    (loop $more
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $count) (i32.const 100000000))))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))
    (call $exit (i32.const 3))))"#;

/// One that came by a move and has ended while its effects are held.
fn ended_while_held(engine: &Engine) -> (Process, Receiver<Event>) {
    let (process, events) = start(engine, LAST_WORDS, Setup::default());
    let frozen = frozen(&process, &events);
    let image = image(&frozen);
    drop(frozen);
    let mut thaw = Thaw::new(engine);
    thaw.push(&image).expect("it thaws");
    let (sink, events) = sink();
    let staged = thaw.finish().expect("it is whole");
    let process = staged.run(PID, Place::default(), true, sink).expect("it runs");
    while process.stats().status != Status::Ended {
        std::thread::yield_now();
    }
    assert!(events.try_recv().is_err(), "its effects are held");
    (process, events)
}

#[test]
fn one_that_ends_while_its_effects_are_held_still_says_its_last_words() {
    let (process, events) = ended_while_held(&engine());
    process.release_effects();
    match next(&events) {
        Event::Output { bytes, offset: 0, .. } => assert_eq!(bytes, b"word"),
        other => panic!("{other:?}"),
    }
    assert_eq!(outcome(&events), Outcome::Exit(3));
}

#[test]
fn one_that_ends_while_its_effects_are_held_can_still_be_killed() {
    let (process, events) = ended_while_held(&engine());
    process.kill();
    assert_eq!(outcome(&events), Outcome::Killed);
    process.release_effects();
    assert!(events.try_recv().is_err(), "nothing comes after its end");
}

#[test]
fn a_process_that_waits_is_killed_at_once() {
    let engine = engine();
    let (process, events) = start(&engine, ECHO, Setup::default());
    waits(&process, Wait::Stdin(None));
    process.kill();
    assert_eq!(outcome(&events), Outcome::Killed);
}

#[test]
fn many_processes_wait_on_one_worker() {
    let engine = engine();
    let all: Vec<_> = (0..50).map(|_| start(&engine, ECHO, Setup::default())).collect();
    for (process, _) in &all {
        waits(process, Wait::Stdin(None));
    }
    for (process, events) in &all {
        process.stdin(0, b"x");
        process.stdin_end();
        assert_eq!(outcome(events), Outcome::Exit(0));
    }
}

#[test]
fn a_frozen_process_that_was_killed_ends_when_it_is_resumed() {
    let engine = engine();
    let (process, events) = start(&engine, ECHO, Setup::default());
    let frozen = frozen(&process, &events);
    process.kill();
    frozen.resume();
    assert_eq!(outcome(&events), Outcome::Killed);
}

/// Freezes a process that may have more to say first.
fn frozen_among_others(process: &Process, events: &Receiver<Event>) -> Frozen {
    process.freeze();
    loop {
        if let Event::Frozen(frozen) = next(events) {
            return frozen;
        }
    }
}

fn code_of(engine: &Engine, process: &Process) -> Arc<[u8]> {
    engine.code(process.code()).expect("it is good").expect("it is here").bundle()
}
