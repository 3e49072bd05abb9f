//! The engine: its settings, and what it holds for all processes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use transform::Options;
use wire::{CodeHash, Pid};

use crate::body::Body;
use crate::bundle::{self, Bundle};
use crate::cache::Cache;
use crate::code::Tools;
use crate::host::{Outside, Streams};
use crate::mail::Mail;
use crate::raw::{Creator, GUARD_BYTES, HEAP_RESERVATION_BYTES, RESERVATION_BYTES};
use crate::wasi::Wasi;
use crate::worker::{RESUME_STACK_BYTES, RUN_STACK_BYTES, Scheduler};
use crate::{Code, CodeError, ConfigError, EventSink, Process, Progress, Setup, StartError, Step};

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
    /// How long a process waits before it is put to sleep: it loses its instance and its mappings,
    /// and is kept as an image in memory until what it waits for has come. Sooner, if mappings get
    /// scarce; at nothing, each process sleeps whenever it waits.
    pub sleep_after: Duration,
    /// Offer unknown functions of a WASI module as stubs that return `ENOSYS`, instead of refusing
    /// the program.
    pub stub_missing: bool,
}

/// How often requests to stop are repeated where they may be lost.
const REPEAT: Duration = Duration::from_millis(2);

/// Longer than the pauses of somebody who is talked to all the time, so that hardly anyone waits
/// for a process to wake; short enough that what lies idle does not fill a node. Sleeping and waking
/// cost some 0.1 ms of a processor: after so long, nothing.
const SLEEP_AFTER: Duration = Duration::from_secs(5);

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
    inner: Arc<Inner>,
}

struct Inner {
    tools: Arc<Tools>,
    scheduler: Arc<Scheduler>,
    /// Code that was used here. Kept: it is shared by all that will use it.
    codes: Mutex<HashMap<CodeHash, Arc<Code>>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache: None,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            target: Target::Native,
            slice: Duration::from_millis(10),
            sleep_after: SLEEP_AFTER,
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
        let engine = |stack: usize| {
            let settings = settings(config.target, stack);
            let engine = settings.and_then(|settings| wasmtime::Engine::new(&settings));
            engine.map_err(|error| ConfigError::Wasmtime(format!("{error:#}")))
        };
        let cache = config.cache.as_deref().map(|path| {
            Cache::open(path).map_err(|source| ConfigError::Cache { path: path.to_owned(), source })
        });
        let tools = Arc::new(Tools {
            run: engine(RUN_STACK_BYTES)?,
            resume: engine(RESUME_STACK_BYTES)?,
            cache: cache.transpose()?,
            stub_missing: config.stub_missing,
            target: config.target,
        });
        let repeat = (config.target == Target::Pulley).then_some(REPEAT);
        let scheduler = Scheduler::start(config.workers, config.slice, config.sleep_after, repeat)?;
        Ok(Self { inner: Arc::new(Inner { tools, scheduler, codes: Mutex::default() }) })
    }

    /// Makes code of a program: transforms and compiles it, or finds it in the cache. Blocking,
    /// and slow for large programs (seconds): `progress` is told.
    ///
    /// # Errors
    ///
    /// [`CodeError`]; by feature, function and offset where the program is refused.
    pub fn prepare(&self, wasm: &[u8], progress: &Progress) -> Result<Arc<Code>, CodeError> {
        self.prepare_with(wasm, &Options::default(), progress)
    }

    /// [`Engine::prepare`], with the transform's options.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn prepare_with(
        &self,
        wasm: &[u8],
        options: &Options,
        progress: &Progress,
    ) -> Result<Arc<Code>, CodeError> {
        let name = transformed_name(wasm, options);
        let cache = self.inner.tools.cache.as_ref();
        let known = cache.and_then(|cache| cache.transformed(&name));
        if let Some(code) = known.map(|hash| self.code(hash)).transpose()?.flatten() {
            progress(Step::Ready { cached: true });
            return Ok(code);
        }
        progress(Step::Transform(wasm.len()));
        let made = transform::transform(wasm, options)?;
        let original = bundle::hash(wasm);
        let bundle = Bundle::new(original, &made.run, &made.resume, &made.sites.encode());
        let code = self.adopt(bundle, progress)?;
        if let Some(cache) = cache
            && let Err(error) = cache.put_transformed(&name, code.hash())
        {
            tracing::warn!(%error, "a transformed program is not kept");
        }
        Ok(code)
    }

    /// Makes code of a bundle from elsewhere (see [`Code::bundle`]), and keeps it in the cache.
    /// Blocking. The caller compares [`Code::hash`] with what it asked for.
    ///
    /// # Errors
    ///
    /// [`CodeError`], above all if these bytes are no bundle.
    pub fn load(&self, bundle: &[u8], progress: &Progress) -> Result<Arc<Code>, CodeError> {
        self.adopt(Bundle::decode(bundle.into())?, progress)
    }

    /// Every program that its cache has.
    #[must_use]
    pub fn stored(&self) -> Vec<CodeHash> {
        self.inner.tools.cache.as_ref().map(Cache::bundles).unwrap_or_default()
    }

    /// Whether the code is here, in memory or in the cache.
    #[must_use]
    pub fn has(&self, code: CodeHash) -> bool {
        let cache = self.inner.tools.cache.as_ref();
        self.codes().contains_key(&code) || cache.is_some_and(|cache| cache.has(code))
    }

    /// The code, if it is here. Blocking: it may have to be read and compiled.
    ///
    /// # Errors
    ///
    /// [`CodeError`], if what is in the cache can no longer be compiled.
    pub fn code(&self, hash: CodeHash) -> Result<Option<Arc<Code>>, CodeError> {
        if let Some(code) = self.codes().get(&hash) {
            return Ok(Some(code.clone()));
        }
        let blob = self.inner.tools.cache.as_ref().and_then(|cache| cache.bundle(hash));
        let Some(blob) = blob else { return Ok(None) };
        let bundle = Bundle::decode(blob.into())?;
        self.compile(hash, bundle, &|_| {}).map(Some)
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
        let wasi = Wasi::new(&setup)?;
        let Setup { dirs, memory_max, place, members, grant, .. } = setup;
        let mail = Mail::new(members, grant);
        let outside = Outside::new(events, place, false, Streams::default(), mail);
        let body = Body::start(pid, code, wasi, outside.clone(), memory_max)?;
        Ok(Process::launch(&self.inner.scheduler, pid, outside, dirs, body))
    }

    pub(crate) fn scheduler(&self) -> &Arc<Scheduler> {
        &self.inner.scheduler
    }

    fn adopt(&self, bundle: Bundle, progress: &Progress) -> Result<Arc<Code>, CodeError> {
        let hash = bundle.hash();
        if let Some(code) = self.codes().get(&hash) {
            progress(Step::Ready { cached: true });
            return Ok(code.clone());
        }
        let blob = bundle.blob().clone();
        let code = self.compile(hash, bundle, progress)?;
        if let Some(cache) = &self.inner.tools.cache
            && !cache.has(hash)
            && let Err(error) = cache.put_bundle(hash, &blob)
        {
            tracing::warn!(%hash, %error, "code is not kept");
        }
        Ok(code)
    }

    fn compile(
        &self,
        hash: CodeHash,
        bundle: Bundle,
        progress: &Progress,
    ) -> Result<Arc<Code>, CodeError> {
        let code = Code::new(self.inner.tools.clone(), hash, bundle, progress)?;
        // Two that compile the same at once both do it; one of them is kept.
        let code = self.codes().entry(hash).or_insert(code).clone();
        let background = code.clone();
        let spawned = std::thread::Builder::new().name("compile".into()).spawn(move || {
            if let Err(error) = background.make_resumable() {
                tracing::warn!(%hash, %error, "the resume form does not compile");
            }
        });
        // Without the thread it is compiled when it is first needed.
        drop(spawned);
        Ok(code)
    }

    fn codes(&self) -> MutexGuard<'_, HashMap<CodeHash, Arc<Code>>> {
        self.inner.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.scheduler.stop();
    }
}

/// How Wasmtime is set up. What a program computes must not depend on the machine: NaNs and
/// relaxed SIMD are the same everywhere.
pub(crate) fn settings(target: Target, stack: usize) -> wasmtime::Result<wasmtime::Config> {
    let mut settings = wasmtime::Config::new();
    settings
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_exceptions(true)
        .wasm_branch_hinting(true)
        .max_wasm_stack(stack)
        // There are no such stacks, but Wasmtime compares.
        .async_stack_size(stack)
        .with_host_memory(Arc::new(Creator))
        // Memories are ours, and no image of Wasmtime's is mapped into them.
        .memory_init_cow(false)
        .memory_reservation(RESERVATION_BYTES as u64)
        .memory_guard_size(GUARD_BYTES as u64)
        .memory_may_move(false)
        .gc_heap_reservation(HEAP_RESERVATION_BYTES as u64)
        .gc_heap_guard_size(GUARD_BYTES as u64)
        .gc_heap_may_move(false);
    if target == Target::Pulley {
        // Unoptimised: see `pulley`.
        settings.target("pulley64")?.cranelift_opt_level(wasmtime::OptLevel::None);
    }
    Ok(settings)
}

/// Names what a program was made into: by the program, the options, and the very transform.
fn transformed_name(wasm: &[u8], options: &Options) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(transform::FINGERPRINT.as_bytes());
    hasher.update(format!("{options:?}").as_bytes());
    hasher.update(&bundle::hash(wasm).0);
    *hasher.finalize().as_bytes()
}
