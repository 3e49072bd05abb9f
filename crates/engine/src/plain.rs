//! Programs as their authors built them, under the engine's own settings and WASI: what a
//! measurement holds against the transformed ones. Nothing here can be stopped or moved.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::{InstancePre, Linker, Module, Store};
use wire::{GroupId, Pid};

use crate::config::settings;
use crate::host::{Outside, Streams, thread_time};
use crate::layout::Role;
use crate::mail::Mail;
use crate::raw::{Control, Mapping, with_memories};
use crate::wasi::{self, Blocked, Exit, View, Wasi};
use crate::worker::{RUN_STACK_BYTES, THREAD_STACK_BYTES};
use crate::{Code, ConfigError, Event, Setup, StartError, Target, Wait, World};

/// Wasmtime as the engine sets it up.
pub struct Plain {
    engine: wasmtime::Engine,
}

/// A program that was compiled as it is.
pub struct PlainCode {
    pre: InstancePre<Host>,
}

/// A program that has run to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Processor time from its entry point's beginning to its end.
    pub time: Duration,
    /// The code it exited with; none after a trap.
    pub exit: Option<u32>,
    /// What it wrote to both streams, and after a trap, what Wasmtime says of it.
    pub output: Vec<u8>,
}

impl Plain {
    /// With the engine's settings, which may be adjusted: to measure epoch interruption, say.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], if this machine cannot run it.
    pub fn new(adjust: impl FnOnce(&mut wasmtime::Config)) -> Result<Self, ConfigError> {
        let refused = |error: wasmtime::Error| ConfigError::Wasmtime(format!("{error:#}"));
        let mut settings = settings(Target::Native, RUN_STACK_BYTES).map_err(refused)?;
        adjust(&mut settings);
        Ok(Self { engine: wasmtime::Engine::new(&settings).map_err(refused)? })
    }

    /// Compiles a program. Unknown functions of its WASI modules answer `ENOSYS`.
    ///
    /// # Errors
    ///
    /// [`StartError`], if Wasmtime refuses it or it imports what is not there.
    pub fn compile(&self, wasm: &[u8]) -> Result<PlainCode, StartError> {
        let compiled = || {
            let module = Module::new(&self.engine, wasm)?;
            let mut linker = Linker::new(&self.engine);
            wasi::link(&mut linker)?;
            wasi::link_stubs(&mut linker, &module)?;
            linker.instantiate_pre(&module)
        };
        Ok(PlainCode { pre: compiled().map_err(instantiate)? })
    }

    /// Runs a program, on a thread like those that processes run on. Its standard input has ended.
    /// The code is the same program, transformed: what host calls are given to work with is made for
    /// one that has been.
    ///
    /// # Errors
    ///
    /// [`StartError`], if it cannot be started.
    pub fn run(
        &self,
        plain: &PlainCode,
        code: &Arc<Code>,
        setup: Setup,
    ) -> Result<Ran, StartError> {
        let thread = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES);
        std::thread::scope(|scope| {
            let running = thread.spawn_scoped(scope, || self.run_here(plain, code, setup));
            let ran = running.map_err(|error| instantiate(error.into()))?.join();
            ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn run_here(
        &self,
        plain: &PlainCode,
        code: &Arc<Code>,
        setup: Setup,
    ) -> Result<Ran, StartError> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = written.clone();
        let events = Arc::new(move |_, event| {
            if let Event::Output { bytes, .. } = event {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
            }
        });
        let wasi = Wasi::new(&setup)?;
        let outside = Outside::new(
            events,
            setup.place,
            false,
            Streams::default(),
            Mail::new(0..0, wire::Grant::Own),
        );
        outside.end_input();
        let control = Control::new(1 << 16).map_err(|error| instantiate(error.into()))?;
        let pid = Pid { group: GroupId(0), index: 0 };
        let mut world = World::new(pid, code.clone(), outside.clone());
        world.control = Some(control);
        let mut store = Store::new(&self.engine, Host { wasi, world, outside, memory: None });
        // Far beyond any run: what epoch interruption costs is the looking, not the stopping.
        store.set_epoch_deadline(u64::MAX / 2);
        let mut memories = memories(code).map_err(|error| instantiate(error.into()))?;
        let lent = memories.iter_mut().map(Mapping::lend).collect();
        let instance = with_memories(lent, || plain.pre.instantiate(&mut store));
        let instance = instance.map_err(instantiate)?;
        store.data_mut().memory = instance.get_memory(&mut store, "memory");
        let entry = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(instantiate)?;
        let begun = thread_time();
        let ended = entry.call(&mut store, ());
        let time = thread_time() - begun;
        let mut output =
            std::mem::take(&mut *written.lock().unwrap_or_else(PoisonError::into_inner));
        let exit = match ended {
            Ok(()) => Some(0),
            Err(error) => match error.downcast_ref::<Exit>() {
                Some(exit) => Some(exit.0),
                None => {
                    output.extend(format!("{error:?}").into_bytes());
                    None
                }
            },
        };
        Ok(Ran { time, exit, output })
    }
}

impl PlainCode {
    /// How many bytes of machine code it has.
    #[must_use]
    pub fn machine_code_bytes(&self) -> usize {
        self.pre.module().text().len()
    }
}

/// What a store holds.
struct Host {
    wasi: Wasi,
    world: World,
    outside: Arc<Outside>,
    memory: Option<wasmtime::Memory>,
}

impl View for Host {
    fn wasi(&mut self) -> (&mut Wasi, &mut World) {
        (&mut self.wasi, &mut self.world)
    }

    fn memory(&self) -> Option<wasmtime::Memory> {
        self.memory
    }

    /// Waits on this thread: nothing else runs on it, and the program cannot leave.
    fn block(&mut self, wait: Wait) -> Blocked {
        self.outside.output_taken(u64::MAX);
        // Nobody would answer.
        self.outside.carry(|_| true);
        while !self.outside.is_over(wait) {
            std::thread::sleep(Duration::from_micros(100));
        }
        Blocked::Again
    }
}

/// The program's own memories: those of the transformed one, without what the transform adds.
fn memories(code: &Code) -> io::Result<Vec<Mapping>> {
    let own = code.layout().memories.iter().filter(|memory| matches!(memory.role, Role::Guest(_)));
    own.map(|memory| {
        Mapping::new(usize::try_from(memory.bytes_min).map_err(io::Error::other)?, None)
    })
    .collect()
}

fn instantiate(error: wasmtime::Error) -> StartError {
    StartError::Instantiate(format!("{error:#}"))
}
