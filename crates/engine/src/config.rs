//! The engine: its settings, and what it holds for all processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wire::{CodeHash, Pid};

use crate::{Code, CodeError, ConfigError, EventSink, Process, Progress, Setup, StartError};

/// How the engine runs programs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where code and compiled code are kept (made if missing, mode 0700); none: kept in memory.
    pub cache: Option<PathBuf>,
    /// How many threads run processes.
    pub workers: usize,
    /// What code is compiled to.
    pub target: Target,
    /// How long a process runs while another waits for its worker.
    pub slice: Duration,
    /// Offer unknown functions of a WASI module as stubs that return `ENOSYS`, instead of refusing
    /// the program.
    pub stub_missing: bool,
}

/// What code is compiled to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// This machine's own instructions.
    #[default]
    Native,
    /// Wasmtime's portable bytecode: slow, and a second architecture on one machine.
    Pulley,
}

/// Runs processes. Cheap to clone; the last clone's end stops the workers.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<()>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache: None,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            target: Target::Native,
            slice: Duration::from_millis(10),
            stub_missing: false,
        }
    }
}

impl Engine {
    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], if this machine cannot run the engine or the cache cannot be used.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let _ = config;
        todo!()
    }

    /// Makes code of a program: transforms and compiles it, or finds it in the cache. Blocking,
    /// and slow for large programs (seconds): `progress` is told.
    ///
    /// # Errors
    ///
    /// [`CodeError`]; by feature, function and offset where the program is refused.
    pub fn prepare(&self, wasm: &[u8], progress: &Progress) -> Result<Arc<Code>, CodeError> {
        let _ = (wasm, progress, &self.inner);
        todo!()
    }

    /// Makes code of a bundle from elsewhere (see [`Code::bundle`]), and keeps it in the cache.
    /// Blocking. The caller compares [`Code::hash`] with what it asked for.
    ///
    /// # Errors
    ///
    /// [`CodeError`], above all if these bytes are no bundle.
    pub fn load(&self, bundle: &[u8], progress: &Progress) -> Result<Arc<Code>, CodeError> {
        let _ = (bundle, progress);
        todo!()
    }

    /// Whether the code is here, in memory or in the cache.
    #[must_use]
    pub fn has(&self, code: CodeHash) -> bool {
        let _ = code;
        todo!()
    }

    /// The code, if it is here. Blocking: it may have to be read and compiled.
    ///
    /// # Errors
    ///
    /// [`CodeError`], if what is in the cache can no longer be compiled.
    pub fn code(&self, hash: CodeHash) -> Result<Option<Arc<Code>>, CodeError> {
        let _ = hash;
        todo!()
    }

    /// Starts a process at its entry point. What it says goes to `events`.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing was started then.
    pub fn start(
        &self,
        pid: Pid,
        code: &Arc<Code>,
        setup: Setup,
        events: EventSink,
    ) -> Result<Process, StartError> {
        let _ = (pid, code, setup, events);
        todo!()
    }
}
