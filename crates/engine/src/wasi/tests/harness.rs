//! Runs a module over [`Wasi`] to its end.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasmtime::{Engine, Linker, Memory, Module, Store};
use wire::{Epoch, GroupId, Pid};

use crate::host::{Outside, Streams};
use crate::mail::Mail;
use crate::wasi::{self, Arrival, Blocked, Exit, View, Wasi};
use crate::{Dir, Event, Place, Setup, Stream, Wait, World};

/// Whose process a test's is.
pub(super) const PID: Pid = Pid { group: GroupId(0), index: 7 };

/// How a program is run.
pub(super) struct Run {
    pub(super) wasm: Vec<u8>,
    pub(super) setup: Setup,
    pub(super) input: Vec<u8>,
    /// Save and restore before every call.
    pub(super) freezes: bool,
    /// Start with effects held; they are released when the program waits for them.
    pub(super) held: bool,
    pub(super) stubs: bool,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its exit code; an error of another kind is in words.
    pub(super) result: Result<u32, String>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// How often a call waited.
    pub(super) waits: usize,
    pub(super) calls: usize,
}

/// What a store holds.
pub(super) struct Data {
    wasi: Wasi,
    world: World,
    outside: Arc<Outside>,
    memory: Option<Memory>,
    freezes: bool,
    waits: Vec<Wait>,
    calls: usize,
}

impl Run {
    pub(super) fn new(wasm: impl Into<Vec<u8>>) -> Self {
        let place = Place { node: "heron".into(), epoch: Epoch(3) };
        let setup = Setup { args: vec!["program".into()], place, ..Setup::default() };
        let (input, freezes, held, stubs) = (vec![], false, false, false);
        Self { wasm: wasm.into(), setup, input, freezes, held, stubs }
    }

    pub(super) fn args(mut self, args: &[&str]) -> Self {
        self.setup.args = args.iter().map(ToString::to_string).collect();
        self
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.setup.env.push((name.into(), value.into()));
        self
    }

    pub(super) fn dir(mut self, host: &Path, guest: &str, read_only: bool) -> Self {
        self.setup.dirs.push(Dir { host: host.into(), guest: guest.into(), read_only });
        self
    }

    pub(super) fn input(mut self, input: &str) -> Self {
        self.input = input.into();
        self
    }

    pub(super) fn held(mut self) -> Self {
        self.held = true;
        self
    }

    pub(super) fn stubs(mut self) -> Self {
        self.stubs = true;
        self
    }

    pub(super) fn go(&self) -> Ended {
        let said = Arc::new(Mutex::new((0, [vec![], vec![]])));
        let sink = said.clone();
        let events = Arc::new(move |_, event| {
            let mut said = sink.lock().unwrap();
            let (total, streams): &mut (u64, [Vec<u8>; 2]) = &mut said;
            if let Event::Output { stream, offset, bytes } = event {
                assert_eq!(offset, *total, "output is numbered without a gap");
                *total += bytes.len() as u64;
                streams[usize::from(stream == Stream::Err)].extend(bytes);
            }
        });
        let outside = Outside::new(
            events,
            self.setup.place.clone(),
            self.held,
            Streams::default(),
            Mail::new(self.setup.members.clone(), self.setup.grant.clone()),
        );
        assert_eq!(outside.feed(0, &self.input), self.input.len() as u64);
        outside.end_input();

        let engine = engine();
        let module = Module::new(&engine, &self.wasm).unwrap();
        let mut linker = Linker::new(&engine);
        wasi::link::<Data>(&mut linker).unwrap();
        if self.stubs {
            wasi::link_stubs(&mut linker, &module).unwrap();
        }
        let data = Data {
            wasi: Wasi::new(&self.setup).unwrap(),
            world: World::bare(PID, outside.clone()),
            outside: outside.clone(),
            memory: None,
            freezes: self.freezes,
            waits: vec![],
            calls: 0,
        };
        let mut store = Store::new(&engine, data);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        store.data_mut().memory = instance.get_memory(&mut store, "memory");
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
        let result = match start.call(&mut store, ()) {
            Ok(()) => Ok(0),
            Err(error) => match error.downcast_ref::<Exit>() {
                Some(Exit(code)) => Ok(*code),
                None => Err(format!("{error:?}")),
            },
        };
        outside.release(PID);
        let [stdout, stderr] =
            said.lock().unwrap().1.clone().map(|bytes| String::from_utf8_lossy(&bytes).into());
        let Data { waits, calls, .. } = store.into_data();
        Ended { result, stdout, stderr, waits: waits.len(), calls }
    }
}

/// Compiles one of the programs beside this file.
pub(super) fn guest(name: &str) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wasi/tests/guests");
    let out = tempfile::tempdir().unwrap();
    let wasm = out.path().join("guest.wasm");
    let done = Command::new("rustc")
        .args(["--edition", "2024", "--target", "wasm32-wasip1", "-O", "-C", "strip=debuginfo"])
        .arg("-o")
        .arg(&wasm)
        .arg(source.join(name).with_extension("rs"))
        .status();
    assert!(done.unwrap().success(), "guest {name} compiles");
    std::fs::read(wasm).unwrap()
}

fn engine() -> Engine {
    let mut config = wasmtime::Config::new();
    config.max_wasm_stack(1 << 20);
    Engine::new(&config).unwrap()
}

impl View for Data {
    fn wasi(&mut self) -> (&mut Wasi, &mut World) {
        self.calls += 1;
        if self.freezes {
            let saved = self.wasi.save().unwrap();
            let arrival = Arrival { frozen_for: Some(Duration::ZERO), ..Arrival::default() };
            self.wasi = Wasi::restore(&saved, &arrival).unwrap();
        }
        (&mut self.wasi, &mut self.world)
    }

    fn memory(&self) -> Option<Memory> {
        self.memory
    }

    fn block(&mut self, wait: Wait) -> Blocked {
        self.waits.push(wait);
        match wait {
            Wait::Effects => self.outside.release(PID),
            Wait::OutputRoom => self.outside.output_taken(u64::MAX),
            Wait::Answer => unreachable!("nobody asks for a name"),
            Wait::SendRoom(..) => _ = self.outside.carry(|_| true),
            Wait::Until(until)
            | Wait::Stdin(Some(until))
            | Wait::Message(Some(until))
            | Wait::StdinOrMessage(Some(until)) => {
                std::thread::sleep(Duration::from_nanos(until.saturating_sub(crate::now())));
            }
            Wait::Stdin(None) | Wait::Message(None) | Wait::StdinOrMessage(None) => {}
        }
        assert!(self.outside.is_over(wait), "{wait:?} is over");
        Blocked::Again
    }
}
