//! The machinery, with code that is written by hand in the transform's shape.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use transform::index::{FuncIdx, TypeIdx};
use transform::sites::{
    Function, Global, Memory, Role, Saved, Signature, Site, SiteKind, ValueType,
};
use transform::{Sites, abi};
use wire::{CodeHash, GroupId, Pid};

use crate::bundle::Bundle;
use crate::{Code, Config, Engine, Event, EventSink, Outcome, Process, Setup, Target};

const PID: Pid = Pid { group: GroupId(1), index: 0 };

fn bundle() -> Bundle {
    let wasm = wat::parse_str(include_str!("tests/counter.wat")).expect("it parses");
    let function = |name: &str, ty: u32, sites: Vec<Site>| Function {
        name: Some(name.to_owned()),
        ty: TypeIdx(ty),
        tail_calls: false,
        frame_bytes: if sites.is_empty() { 0 } else { 4 + abi::HEADER_BYTES },
        sites: sites.into(),
    };
    let saved = vec![Saved { role: Role::Local(0), ty: ValueType::I32, offset: 0 }];
    let site = Site { kind: SiteKind::Loop, code_offset: 0, saved };
    let exit = Signature { params: vec![ValueType::I32], results: vec![] };
    let sites = Sites {
        types: vec![exit, Signature::default()].into(),
        imported_functions: 1,
        functions: vec![function("exit", 0, vec![]), function("main", 1, vec![site])].into(),
        exports: vec![("_start".into(), FuncIdx(1))],
        memories: vec![Memory { pages_min: 1, pages_max: Some(16), imported: false }],
        globals: vec![Global { ty: ValueType::I32, mutable: true, imported: false }],
        ..Sites::default()
    };
    Bundle::new(CodeHash([1; 32]), &wasm, &wasm, &sites.encode())
}

fn engine(workers: usize, target: Target) -> Engine {
    let config = Config { workers, target, ..Config::default() };
    Engine::new(config).expect("an engine")
}

fn counter(engine: &Engine) -> Arc<Code> {
    let code = engine.load(bundle().blob(), &|_| {}).expect("code");
    code.make_resumable().expect("it compiles");
    code
}

fn events() -> (EventSink, Receiver<Event>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let sink = move |_, event| {
        // A test that has seen enough has dropped its end.
        let _ = sender.lock().expect("no panic").send(event);
    };
    (Arc::new(sink), receiver)
}

fn start(engine: &Engine, code: &Arc<Code>) -> (Process, Receiver<Event>) {
    let (sink, events) = events();
    (engine.start(PID, code, Setup::default(), sink).expect("it starts"), events)
}

/// What comes next; a test that waits longer than this for it fails.
fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(Duration::from_secs(60)).expect("an event")
}

const EXPECTED: Outcome = Outcome::Exit(300_000_000 % 97);

#[track_caller]
fn assert_ends(events: &Receiver<Event>, outcome: &Outcome) {
    match next(events) {
        Event::Ended(ended) => assert_eq!(ended, *outcome),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_process_runs_to_its_end() {
    let engine = engine(1, Target::Native);
    let (_, events) = start(&engine, &counter(&engine));
    assert_ends(&events, &EXPECTED);
}

#[test]
fn a_process_that_is_frozen_and_resumed_again_and_again_computes_the_same() {
    let engine = engine(1, Target::Native);
    let (process, events) = start(&engine, &counter(&engine));
    let mut freezes = 0;
    loop {
        process.freeze();
        match next(&events) {
            Event::Frozen(frozen) => frozen.resume(),
            Event::Ended(outcome) => {
                assert_eq!(outcome, EXPECTED);
                break;
            }
            other => panic!("{other:?}"),
        }
        freezes += 1;
    }
    assert!(freezes >= 10, "it ended after {freezes} freezes");
}

#[test]
fn a_running_process_is_killed() {
    let engine = engine(1, Target::Native);
    let (process, events) = start(&engine, &counter(&engine));
    process.kill();
    assert_ends(&events, &Outcome::Killed);
}

#[test]
fn several_processes_share_one_worker() {
    let engine = engine(1, Target::Native);
    let code = counter(&engine);
    let started: Vec<_> = (0..4).map(|_| start(&engine, &code)).collect();
    for (process, events) in &started {
        assert_ends(events, &EXPECTED);
        assert!(process.stats().unwinds > 1, "it never gave way");
    }
}

#[test]
fn a_process_alone_on_its_worker_is_not_disturbed() {
    let engine = engine(1, Target::Native);
    let (process, events) = start(&engine, &counter(&engine));
    assert_ends(&events, &EXPECTED);
    assert_eq!(process.stats().unwinds, 1);
}
