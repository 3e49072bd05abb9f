//! The ways to run a program that are held against each other.

use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use engine::{Code, Config, Engine, Event, EventSink, Outcome, Plain, PlainCode, Setup};
use wire::{GroupId, Pid};

use super::{
    asyncify::Asyncify,
    workload::{Kind, Workload},
};

/// A way to run a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Variant {
    /// Wasmtime as it comes, under the engine's settings: what all ratios are to.
    Plain,
    /// As a process that is never stopped.
    Whimbrel,
    /// As a process that was stopped once, early on, and went on in the resume form.
    Thawed,
    /// Wasmtime's own interruption by epochs, which can only pre-empt.
    Epoch,
    /// Binaryen's Asyncify, with polls at loops and entries: the ancestor.
    Asyncify,
    /// Plain once more: how far from 1 a ratio is by chance.
    Again,
}

impl Variant {
    pub(super) const ALL: [Self; 6] =
        [Self::Plain, Self::Whimbrel, Self::Thawed, Self::Epoch, Self::Asyncify, Self::Again];
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Whimbrel => "whimbrel",
            Self::Thawed => "thawed",
            Self::Epoch => "epoch",
            Self::Asyncify => "asyncify",
            Self::Again => "again",
        })
    }
}

/// How often a program is started again that was to be stopped and was not.
const STOPS_TRIED_MAX: usize = 20;

/// A program that ran to its end.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    /// Inside its entry point.
    pub(super) time: Duration,
    /// Everything it printed.
    pub(super) output: Vec<u8>,
}

/// What runs programs.
pub(super) struct Runners {
    engine: Engine,
    plain: Plain,
    epoch: Plain,
    asyncify: Option<Asyncify>,
}

/// A program made ready for every variant that is to be had.
pub(super) struct Ready {
    code: Arc<Code>,
    plain: PlainCode,
    epoch: PlainCode,
    asyncify: Option<PlainCode>,
}

impl Runners {
    pub(super) fn new() -> Result<Self, String> {
        let said = |error: engine::ConfigError| error.to_string();
        Ok(Self {
            engine: engine()?,
            plain: Plain::new(|_| {}).map_err(said)?,
            epoch: Plain::new(|settings| _ = settings.epoch_interruption(true)).map_err(said)?,
            asyncify: Asyncify::fetch()?,
        })
    }

    pub(super) fn ready(&self, workload: &Workload) -> Result<Ready, String> {
        let said = |error: &dyn fmt::Display| format!("{}: {error}", workload.name);
        let code = self.engine.prepare(&workload.wasm, &|_| {}).map_err(|error| said(&error))?;
        code.make_resumable().map_err(|error| said(&error))?;
        let asyncify = match &self.asyncify {
            // Binaryen takes minutes and gigabytes for programs of megabytes.
            Some(asyncify) if workload.kind == Kind::Kernel => Some(asyncify.apply(workload)?),
            _ => None,
        };
        let compile =
            |plain: &Plain, wasm: &[u8]| plain.compile(wasm).map_err(|error| said(&error));
        Ok(Ready {
            code,
            plain: compile(&self.plain, &workload.wasm)?,
            epoch: compile(&self.epoch, &workload.wasm)?,
            asyncify: asyncify.map(|wasm| compile(&self.plain, &wasm)).transpose()?,
        })
    }

    /// Runs it once. `stop_after` is when the thawed variant is stopped.
    pub(super) fn run(
        &self,
        ready: &Ready,
        variant: Variant,
        setup: Setup,
        stop_after: Duration,
    ) -> Result<Option<Ran>, String> {
        let plain = |runner: &Plain, code: &PlainCode| {
            let ran =
                runner.run(code, &ready.code, setup.clone()).map_err(|error| error.to_string())?;
            match ran.exit {
                Some(0) => Ok(Ran { time: ran.time, output: ran.output }),
                _ => Err(format!("as {variant}: {}", String::from_utf8_lossy(&ran.output))),
            }
        };
        match variant {
            Variant::Plain | Variant::Again => plain(&self.plain, &ready.plain).map(Some),
            Variant::Epoch => plain(&self.epoch, &ready.epoch).map(Some),
            Variant::Asyncify => {
                ready.asyncify.as_ref().map(|code| plain(&self.plain, code)).transpose()
            }
            Variant::Whimbrel => self.process(ready, setup, None),
            Variant::Thawed => {
                // On a busy machine this thread may come too late to stop it.
                for _ in 0..STOPS_TRIED_MAX {
                    let ran = self.process(ready, setup.clone(), Some(stop_after))?;
                    if ran.is_some() {
                        return Ok(ran);
                    }
                }
                Err("it always ended before it could be stopped".to_owned())
            }
        }
    }

    /// Runs it as a process, stopped and set going once if so asked; nothing if it ended before it was stopped.
    fn process(
        &self,
        ready: &Ready,
        setup: Setup,
        stop_after: Option<Duration>,
    ) -> Result<Option<Ran>, String> {
        let (sink, events) = listen();
        let pid = Pid { group: GroupId(1), index: 0 };
        let process =
            self.engine.start(pid, &ready.code, setup, sink).map_err(|error| error.to_string())?;
        process.stdin_end();
        if let Some(after) = stop_after {
            thread::sleep(after);
            process.freeze();
        }
        let mut output = Vec::new();
        let mut stopped = false;
        loop {
            match events.recv().map_err(|error| error.to_string())? {
                Event::Output { bytes, .. } => output.extend(bytes),
                Event::InputTaken { .. } | Event::Sent | Event::Took => {}
                Event::Frozen(frozen) => {
                    stopped = true;
                    frozen.resume();
                }
                Event::Ended(Outcome::Exit(0)) => break,
                Event::Ended(outcome) => {
                    return Err(format!("{outcome}: {}", String::from_utf8_lossy(&output)));
                }
            }
        }
        let as_asked = stop_after.is_some() == stopped;
        Ok(as_asked.then(|| Ran { time: process.stats().cpu, output }))
    }
}

impl Ready {
    /// Bytes of machine code of a variant.
    pub(super) fn code_bytes(&self, variant: Variant) -> Option<usize> {
        match variant {
            Variant::Plain | Variant::Again => Some(self.plain.machine_code_bytes()),
            Variant::Whimbrel => Some(self.code.machine_code_bytes().0),
            Variant::Thawed => self.code.machine_code_bytes().1,
            Variant::Epoch => Some(self.epoch.machine_code_bytes()),
            Variant::Asyncify => self.asyncify.as_ref().map(PlainCode::machine_code_bytes),
        }
    }
}

/// How long it takes to make a program ready to start: as plain Wasmtime does, and as the engine does, the transform
/// included. A new engine each time, because one keeps what it has compiled.
pub(super) fn compile_times(
    runners: &Runners,
    wasm: &[u8],
) -> Result<(Duration, Duration), String> {
    let begun = Instant::now();
    runners.plain.compile(wasm).map_err(|error| error.to_string())?;
    let plain = begun.elapsed();
    let engine = engine()?;
    let begun = Instant::now();
    let code = engine.prepare(wasm, &|_| {}).map_err(|error| error.to_string())?;
    let whimbrel = begun.elapsed();
    // The resume form is compiled in the background; the next measurement is not to run beside it.
    code.make_resumable().map_err(|error| error.to_string())?;
    Ok((plain, whimbrel))
}

fn engine() -> Result<Engine, String> {
    let config = Config { workers: 1, stub_missing: true, ..Config::default() };
    Engine::new(config).map_err(|error| error.to_string())
}

fn listen() -> (EventSink, Receiver<Event>) {
    let (sender, receiver) = channel();
    // Nobody listens any more once a run has failed.
    (Arc::new(move |_, event| _ = sender.send(event)), receiver)
}
