//! Runs a program and moves it between engines as it goes.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::{
    Config, Dir, Engine, Event, EventSink, Frozen, Outcome, Place, Process, Setup, Stamp, Target,
    Thaw,
};
use wire::{Epoch, GroupId, Offer, Pid};

const PID: Pid = Pid { group: GroupId(1), index: 0 };

/// A program and what it is started with.
pub(crate) struct Program {
    pub(crate) wasm: Vec<u8>,
    pub(crate) setup: Setup,
}

/// A way of running a program.
pub(crate) struct Trip<'a> {
    engines: &'a [Engine],
    stay: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) output: String,
    pub(crate) outcome: Outcome,
    pub(crate) moves: usize,
    pub(crate) took: Duration,
    pub(crate) pauses: Vec<Duration>,
    pub(crate) safepoints: Vec<Duration>,
    pub(crate) image_bytes: usize,
    /// Of the last move, in processor time: writing the image, putting it in place, checking it.
    pub(crate) costs: Option<[Duration; 3]>,
}

pub(crate) fn engines(targets: &[Target]) -> Vec<Engine> {
    let cache = std::env::temp_dir().join(format!("whimbrel-engine-tests-{}", std::process::id()));
    let engine = |target: &Target| {
        let config =
            Config { cache: Some(cache.clone()), workers: 1, target: *target, ..Config::default() };
        Engine::new(config).expect("an engine")
    };
    targets.iter().map(engine).collect()
}

/// Makes a program ready in all of them.
pub(crate) fn resumable(engines: &[Engine], program: &Program) {
    for engine in engines {
        let begun = Instant::now();
        let code = engine.prepare(&program.wasm, &|_| {}).expect("it compiles");
        let run = begun.elapsed();
        code.make_resumable().expect("it compiles");
        eprintln!("ready to run in {run:?}, to resume in {:?}", begun.elapsed());
    }
}

pub(crate) fn rust(name: &str, args: &[&str]) -> Program {
    let path = programs::guest(name).expect("it builds");
    let args = std::iter::once(&name).chain(args).map(|arg| (*arg).to_owned()).collect();
    let wasm = std::fs::read(path).expect("it was built");
    Program { wasm, setup: Setup { args, ..Setup::default() } }
}

pub(crate) fn python(source: &str) -> Option<Program> {
    let program = programs::present()?.cpython();
    let dirs = program.dirs.into_iter();
    let dirs = dirs.map(|dir| Dir { host: dir.host, guest: dir.guest, read_only: true }).collect();
    let args = ["python", "-c", source].map(str::to_owned).to_vec();
    let wasm = std::fs::read(program.wasm).expect("it is present");
    Some(Program { wasm, setup: Setup { args, dirs, env: program.env, ..Setup::default() } })
}

pub(crate) fn sqlite(statements: &str) -> Option<Program> {
    let program = programs::present()?.sqlite();
    let args = ["sqlite", ":memory:", statements].map(str::to_owned).to_vec();
    let wasm = std::fs::read(program.wasm).expect("it is present");
    Some(Program { wasm, setup: Setup { args, ..Setup::default() } })
}

impl<'a> Trip<'a> {
    /// From each engine to the next, staying so long.
    pub(crate) fn new(engines: &'a [Engine], stay: Duration) -> Self {
        Self { engines, stay }
    }

    pub(crate) fn run(&self, program: &Program) -> Run {
        let code = self.engines[0].prepare(&program.wasm, &|_| {}).expect("it compiles");
        let (sink, mut events) = sink();
        let begun = Instant::now();
        let mut process =
            self.engines[0].start(PID, &code, program.setup.clone(), sink).expect("it starts");
        let mut run = Run {
            output: String::new(),
            outcome: Outcome::Killed,
            moves: 0,
            took: Duration::ZERO,
            pauses: vec![],
            safepoints: vec![],
            image_bytes: 0,
            costs: None,
        };
        let mut asked = None;
        loop {
            let wait = if asked.is_some() { Duration::from_secs(60) } else { self.stay };
            match receive(&events, wait) {
                None => {
                    asked = Some(Instant::now());
                    process.freeze();
                }
                Some(Event::Output { bytes, offset, .. }) => {
                    run.output.push_str(&String::from_utf8_lossy(&bytes));
                    process.output_taken(offset + bytes.len() as u64);
                }
                Some(Event::InputTaken { .. } | Event::Sent | Event::Took) => {}
                Some(Event::Frozen(frozen)) => {
                    run.safepoints.extend(process.stats().safepoint);
                    run.moves += 1;
                    let target = &self.engines[run.moves % self.engines.len()];
                    (process, events) = run.migrate(frozen, target);
                    run.pauses.extend(asked.take().map(|asked| asked.elapsed()));
                }
                Some(Event::Ended(outcome)) => {
                    run.outcome = outcome;
                    run.took = begun.elapsed();
                    run.report();
                    return run;
                }
            }
        }
    }
}

impl Run {
    fn migrate(&mut self, frozen: Frozen, target: &Engine) -> (Process, Receiver<Event>) {
        let stamp = Stamp { node: "heron".into(), epoch: Epoch(1), offer: Offer(1) };
        let mut writer = frozen.image(stamp, vec![]);
        if self.moves.is_multiple_of(2) {
            // As a node does that was asked before; whoever thaws a file was not.
            let code = target.code(frozen.code()).expect("it is sound").expect("it is there");
            code.make_room().expect("there is room");
        }
        let (mut thaw, mut piece) = (Thaw::new(target).by_move(), vec![]);
        self.image_bytes = 0;
        let (mut out, mut back) = (Duration::ZERO, Duration::ZERO);
        loop {
            let begun = processor_time();
            if !writer.next(&mut piece).expect("it is frozen") {
                break;
            }
            out += processor_time() - begun;
            self.image_bytes += piece.len();
            let begun = processor_time();
            thaw.push(&piece).expect("it thaws");
            back += processor_time() - begun;
        }
        let begun = processor_time();
        let staged = thaw.finish().expect("it is whole");
        self.costs = Some([out, back, processor_time() - begun]);
        drop(frozen);
        let (sink, events) = sink();
        let process = staged.run(PID, Place::default(), false, sink).expect("it runs");
        (process, events)
    }

    fn report(&mut self) {
        self.pauses.sort();
        self.safepoints.sort();
        let at = |all: &[Duration], share: usize| all.get(all.len() * share / 100).copied();
        eprintln!(
            "{:?} in {:?}, {} moves, image {} KiB, pause p50 {:?} p99 {:?}, safepoint p50 {:?} p99 {:?}",
            self.outcome,
            self.took,
            self.moves,
            self.image_bytes / 1024,
            at(&self.pauses, 50),
            at(&self.pauses, 99),
            at(&self.safepoints, 50),
            at(&self.safepoints, 99),
        );
        eprintln!("  image out, in, checked: {:?}", self.costs);
    }
}

/// Of this thread: what others do on the machine counts little.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

fn receive(events: &Receiver<Event>, wait: Duration) -> Option<Event> {
    if wait == Duration::MAX {
        return Some(events.recv().expect("it ends"));
    }
    match events.recv_timeout(wait) {
        Ok(event) => Some(event),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => panic!("it is gone without a word"),
    }
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
