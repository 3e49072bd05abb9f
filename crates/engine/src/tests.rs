//! The machinery, with code that is written by hand in the transform's shape.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use transform::index::{FuncIdx, TypeIdx};
use transform::sites::{
    Function, Global, Memory, Role, Saved, Signature, Site, SiteKind, ValueType,
};
use transform::{Sites, abi};
use wire::image::{Decoder, Encoder, ImageError, Kind, Summary};
use wire::{CodeHash, Epoch, GroupId, Offer, Pid};

use crate::bundle::Bundle;
use crate::{
    Code, Config, Engine, Event, EventSink, Frozen, Outcome, Place, Process, Setup, Staged, Stamp,
    Target, Thaw, ThawError, WriteError,
};

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
fn a_poll_is_alive_on_the_portable_target() {
    let engine = engine(1, Target::Pulley);
    let (process, events) = start(&engine, &counter(&engine));
    frozen(&process, &events).resume();
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

fn stamp() -> Stamp {
    Stamp { node: "heron".into(), epoch: Epoch(4), offer: Offer(7) }
}

/// The image of a process, which goes on after that.
fn image(frozen: &Frozen) -> Vec<u8> {
    let (mut image, mut piece) = (vec![], vec![]);
    let mut writer = frozen.image(stamp(), b"the node's own".to_vec());
    while writer.next(&mut piece).expect("it is frozen") {
        image.append(&mut piece);
    }
    image
}

fn frozen(process: &Process, events: &Receiver<Event>) -> Frozen {
    process.freeze();
    match next(events) {
        Event::Frozen(frozen) => frozen,
        other => panic!("{other:?}"),
    }
}

fn thaw(engine: &Engine, image: &[u8], cut: usize) -> Result<Staged, ThawError> {
    let mut thaw = Thaw::new(engine);
    image.chunks(cut).try_for_each(|bytes| thaw.push(bytes))?;
    thaw.finish()
}

fn run(staged: Staged) -> (Process, Receiver<Event>) {
    let (sink, events) = events();
    let place = Place { node: "osprey".into(), epoch: Epoch(5) };
    (staged.run(PID, place, false, sink).expect("it runs"), events)
}

/// Freezes a process into an image, thaws it in the other engine, and so on, to its end.
fn moved_to_its_end(one: &Engine, other: &Engine) -> usize {
    let (mut process, mut events) = start(one, &counter(one));
    counter(other);
    for moves in 0.. {
        process.freeze();
        match next(&events) {
            Event::Frozen(frozen) => {
                let image = image(&frozen);
                drop(frozen);
                let target = if moves % 2 == 0 { other } else { one };
                (process, events) = run(thaw(target, &image, 1000).expect("it thaws"));
            }
            Event::Ended(outcome) => {
                assert_eq!(outcome, EXPECTED);
                return moves;
            }
            other => panic!("{other:?}"),
        }
        // Far enough to get somewhere: an event comes only when it ends.
        if let Ok(event) = events.recv_timeout(Duration::from_millis(20)) {
            assert!(matches!(event, Event::Ended(ref outcome) if *outcome == EXPECTED));
            return moves;
        }
    }
    unreachable!("it ends")
}

#[test]
fn a_process_computes_the_same_through_many_images() {
    let moves = moved_to_its_end(&engine(1, Target::Native), &engine(1, Target::Native));
    assert!(moves >= 3, "it ended after {moves} moves");
}

#[test]
fn a_process_goes_to_another_architecture_and_back() {
    let moves = moved_to_its_end(&engine(1, Target::Native), &engine(1, Target::Pulley));
    assert!(moves >= 3, "it ended after {moves} moves");
}

#[test]
fn an_image_says_what_it_is() {
    let engine = engine(1, Target::Native);
    let (process, events) = start(&engine, &counter(&engine));
    // It may be stopped before it has written anything; then it goes on.
    let (frozen, image, summary) = loop {
        let frozen = frozen(&process, &events);
        let image = image(&frozen);
        let mut reader = Summary::reader();
        reader.push(&image).expect("an image");
        let summary = reader.finish().expect("whole");
        if summary.page_bytes > 0 {
            break (frozen, image, summary);
        }
        frozen.resume();
    };
    assert_eq!(frozen.stack()[0].name.as_deref(), Some("main"));
    let head = summary.head.expect("it has one");
    assert_eq!((head.pid, head.epoch, head.offer), (PID, Epoch(4), Offer(7)));
    assert_eq!((head.node.as_str(), &head.memories[..]), ("heron", &[65_536][..]));
    assert_eq!(summary.stack[0].name.as_deref(), Some("main"));
    assert_eq!(summary.page_bytes, 4096, "only one page was ever written");
    let staged = thaw(&engine, &image, 4096).expect("it thaws");
    assert_eq!(staged.protocol(), b"the node's own");
    assert_eq!(staged.stack(), frozen.stack());
}

#[test]
fn a_resumed_process_has_no_image() {
    let engine = engine(1, Target::Native);
    let (process, events) = start(&engine, &counter(&engine));
    let frozen = frozen(&process, &events);
    let mut writer = frozen.image(stamp(), vec![]);
    frozen.resume();
    assert_eq!(writer.next(&mut vec![]), Err(WriteError::Resumed));
    assert_ends(&events, &EXPECTED);
}

#[test]
fn an_image_needs_its_own_code() {
    let (one, other) = (engine(1, Target::Native), engine(1, Target::Native));
    let (process, events) = start(&one, &counter(&one));
    let image = image(&frozen(&process, &events));
    let hash = process.code();
    assert!(matches!(thaw(&other, &image, 100), Err(ThawError::CodeMissing(code)) if code == hash));
}

#[test]
fn damaged_images_are_refused() {
    let engine = engine(1, Target::Native);
    let (process, events) = start(&engine, &counter(&engine));
    let image = image(&frozen(&process, &events));
    for length in 0..image.len() {
        let refused = thaw(&engine, &image[..length], 4096).map(drop).expect_err("cut short");
        let length = length as u64;
        assert!(
            matches!(refused, ThawError::Image(ImageError::Truncated { length: l }) if l == length),
            "{length}: {refused}"
        );
    }
    for bit in (0..8 * image.len()).step_by(13) {
        let mut flipped = image.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(thaw(&engine, &flipped, 4096).is_err(), "bit {bit}");
    }
}

/// An image whose records are changed and whose checksums are right again: what somebody sends who
/// means ill.
fn forged(image: &[u8], mut change: impl FnMut(usize, &mut Vec<u8>)) -> Vec<u8> {
    let (mut decoder, mut records) = (Decoder::default(), vec![]);
    let pushed = decoder.push(image, |record| {
        records.push((record.kind, record.content.to_vec()));
        Ok::<_, ImageError>(())
    });
    pushed.expect("an image");
    let mut out = vec![];
    let mut encoder = Encoder::begin(&mut out);
    for (at, (kind, mut content)) in records.into_iter().enumerate() {
        if kind != Kind::End {
            change(at, &mut content);
            encoder.record(kind, &mut out, |out| out.append(&mut content));
        }
    }
    encoder.end(&mut out);
    out
}

#[test]
fn forged_images_are_refused_or_harm_nobody_else() {
    let engine = engine(1, Target::Native);
    let code = counter(&engine);
    let (process, events) = start(&engine, &code);
    let image = image(&frozen(&process, &events));
    let mut seed = 0x5eed_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let (mut refused, mut ran) = (0, 0);
    for _ in 0..3000 {
        let victim = random(8);
        let forged = forged(&image, |at, content| {
            if at == victim && !content.is_empty() {
                let byte = random(content.len().min(64));
                content[byte] = random(256) as u8;
            }
        });
        match thaw(&engine, &forged, 1 << 16) {
            Err(_) => refused += 1,
            Ok(staged) => {
                let (process, events) = run(staged);
                process.kill();
                assert!(matches!(next(&events), Event::Ended(_)));
                ran += 1;
            }
        }
    }
    assert!(refused > 100 && ran > 100, "{refused} refused, {ran} ran");
    let (_, events) = start(&engine, &code);
    assert_ends(&events, &EXPECTED);
}
