//! A program, transformed and compiled.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use transform::Sites;
use transform::index::FuncIdx;
use wasmtime::{ExternType, InstancePre, Linker, Module, ModuleExport, Store};
use wire::CodeHash;

use crate::bundle::Bundle;
use crate::cache::{Cache, Form};
use crate::host::Host;
use crate::image::guest_memories;
use crate::layout::Layout;
use crate::pulley::without_atomics;
use crate::raw::Budget;
use crate::room::Room;
use crate::{CodeError, FrameName, Target, World, wasi};

/// A program in all its forms. Shared by its processes.
pub struct Code {
    hash: CodeHash,
    bundle: Bundle,
    sites: Sites,
    layout: Layout,
    tools: Arc<Tools>,
    run: Compiled,
    /// Compiled in the background, or when it is first needed.
    resume: OnceLock<Result<Compiled, String>>,
    compile_time: Duration,
    /// For processes that are to come, with what the program starts with in them.
    rooms: Mutex<Vec<Room>>,
}

/// How many rooms are kept: as many as come and go at once on a node that starts or wakes thousands.
/// More would be memory that nobody uses.
const ROOMS_MAX: usize = 64;

/// What turns bundles into code, the same for all of it.
pub(crate) struct Tools {
    pub(crate) run: wasmtime::Engine,
    pub(crate) resume: wasmtime::Engine,
    pub(crate) cache: Option<Cache>,
    pub(crate) stub_missing: bool,
    pub(crate) target: Target,
}

/// A form that is ready to be instantiated.
pub(crate) struct Compiled {
    pub(crate) pre: InstancePre<Host>,
    pub(crate) exports: Exports,
    /// Whether it was found in the cache.
    cached: bool,
}

/// Where a form's exports are, so that no name is looked up when a process is thawed.
pub(crate) struct Exports {
    pub(crate) entry: ModuleExport,
    pub(crate) start: Option<ModuleExport>,
    pub(crate) state: ModuleExport,
    pub(crate) top: ModuleExport,
    pub(crate) memory: Option<ModuleExport>,
    /// With the original's index.
    pub(crate) globals: Vec<(u32, ModuleExport)>,
    pub(crate) tables: Vec<(u32, ModuleExport)>,
    /// Flags of dropped segments, data before elements, by index.
    pub(crate) dropped: Vec<ModuleExport>,
    pub(crate) functions: Option<ModuleExport>,
    pub(crate) references: Option<(ModuleExport, ModuleExport)>,
    pub(crate) restore: Option<ModuleExport>,
}

/// Told how far [`crate::Engine::prepare`] is.
pub type Progress = dyn Fn(Step) + Send + Sync;

/// What [`crate::Engine::prepare`] is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Transforming this many bytes.
    Transform(usize),
    /// Compiling this many bytes.
    Compile(usize),
    /// Ready. `cached` says that nothing had to be compiled.
    Ready {
        /// Whether compiled code was found in the cache.
        cached: bool,
    },
}

impl Code {
    /// Compiles the run form of a bundle, or finds it in the cache. The resume form comes later.
    pub(crate) fn new(
        tools: Arc<Tools>,
        hash: CodeHash,
        bundle: Bundle,
        progress: &Progress,
    ) -> Result<Arc<Self>, CodeError> {
        let sites =
            Sites::decode(bundle.sites()).map_err(|error| CodeError::Bundle(error.to_string()))?;
        let layout = Layout::parse(&sites, bundle.run(), bundle.resume())?;
        tools.check_imports(&layout)?;
        let begun = Instant::now();
        let run = tools.compile(hash, Form::Run, (&sites, &layout), bundle.run(), progress)?;
        let compile_time = begun.elapsed();
        progress(Step::Ready { cached: run.cached });
        let resume = OnceLock::new();
        let rooms = Mutex::default();
        let code = Self { hash, bundle, sites, layout, tools, run, resume, compile_time, rooms };
        Ok(Arc::new(code))
    }

    /// Its address: the BLAKE3 hash of its bundle.
    #[must_use]
    pub fn hash(&self) -> CodeHash {
        self.hash
    }

    /// The program as it travels: original hash, both forms, site table.
    #[must_use]
    pub fn bundle(&self) -> Arc<[u8]> {
        self.bundle.blob().clone()
    }

    /// The BLAKE3 hash of the original program.
    #[must_use]
    pub fn original(&self) -> CodeHash {
        self.bundle.original()
    }

    /// How long the run form took to compile or to load.
    #[must_use]
    pub fn compile_time(&self) -> Duration {
        self.compile_time
    }

    /// Whether the resume form is ready, so that a process can go on at once after a stop.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        self.resume.get().is_some()
    }

    /// Makes the resume form ready. Blocking; at once if it is.
    ///
    /// # Errors
    ///
    /// [`CodeError`], if it does not compile.
    pub fn make_resumable(&self) -> Result<(), CodeError> {
        self.resume().map(drop)
    }

    /// Lays out a room for a process that is to come, with what the program starts with: the next
    /// thaw takes it, and only has to put what differs in its place.
    ///
    /// # Errors
    ///
    /// What the system says if it has no room; a thaw will do without.
    pub fn make_room(&self) -> io::Result<()> {
        if self.rooms().is_empty() {
            let room = self.laid_out()?;
            self.rooms().push(room);
        }
        Ok(())
    }

    /// A room with what the program starts with, charged to nobody.
    pub(crate) fn laid_out(&self) -> io::Result<Room> {
        let kept = self.rooms().pop();
        kept.map_or_else(
            || {
                let mut room = Room::new(self, None)?;
                room.lay_out(self);
                Ok(room)
            },
            Ok,
        )
    }

    /// A room that was kept, charged to a process; none if there is none, or if the budget is too
    /// small.
    pub(crate) fn take_room(&self, budget: &Arc<Budget>) -> Option<Room> {
        let mut room = self.rooms().pop()?;
        let charged = guest_memories(&self.layout, &mut room.memories)
            .all(|(.., mapping)| mapping.charge(budget.clone()));
        charged.then_some(room)
    }

    /// Takes a room back that has been cleaned, but for so many bytes of frames.
    pub(crate) fn give_room(&self, mut room: Room, top: usize) {
        if self.rooms().len() >= ROOMS_MAX {
            return;
        }
        room.frames(self).bytes().expect("it is lent to nobody")[..top].fill(0);
        let fits = self.layout.mapped().zip(&mut room.memories).all(|(layout, mapping)| {
            usize::try_from(layout.bytes_min).is_ok_and(|bytes| mapping.shrink(bytes).is_ok())
        });
        // Whoever has the control words of a process that has left could stop the next one.
        if fits && room.control.is_alone() {
            room.control.reset();
            self.rooms().push(room);
        }
    }

    fn rooms(&self) -> MutexGuard<'_, Vec<Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of machine code: of the run form, and of the resume form if it is ready.
    #[must_use]
    pub fn machine_code_bytes(&self) -> (usize, Option<usize>) {
        let bytes = |compiled: &Compiled| compiled.pre.module().text().len();
        let resume = self.resume.get().and_then(|made| made.as_ref().ok());
        (bytes(&self.run), resume.map(bytes))
    }

    pub(crate) fn run(&self) -> &Compiled {
        &self.run
    }

    pub(crate) fn resume(&self) -> Result<&Compiled, CodeError> {
        let compiled = self.resume.get_or_init(|| {
            let wasm = self.bundle.resume();
            let compiled = self.tools.compile(
                self.hash,
                Form::Resume,
                (&self.sites, &self.layout),
                wasm,
                &|_| {},
            );
            compiled.map_err(|error| error.to_string())
        });
        compiled.as_ref().map_err(|error| CodeError::Compile(error.clone()))
    }

    pub(crate) fn sites(&self) -> &Sites {
        &self.sites
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn engine(&self, form: Form) -> &wasmtime::Engine {
        match form {
            Form::Run => &self.tools.run,
            Form::Resume => &self.tools.resume,
        }
    }

    /// A function as people know it.
    pub(crate) fn function(&self, function: u32) -> FrameName {
        let name = self.sites.functions.get(FuncIdx(function)).and_then(|f| f.name.as_deref());
        FrameName { function, name: name.map(crate::event::demangled) }
    }
}

impl Tools {
    /// Refuses a program that asks for what is not there, before anything is compiled.
    fn check_imports(&self, layout: &Layout) -> Result<(), CodeError> {
        let linker = self.linker::<Nobody>(&self.run)?;
        let mut store = Store::new(&self.run, Nobody);
        for (module, name) in &layout.imports {
            let stubbed = self.stub_missing && wasi::MODULES.contains(&module.as_str());
            if !stubbed && linker.get(&mut store, module, name).is_err() {
                let (module, name) = (module.clone(), name.clone());
                return Err(CodeError::MissingImport { module, name });
            }
        }
        Ok(())
    }

    fn compile(
        &self,
        hash: CodeHash,
        form: Form,
        (sites, layout): (&Sites, &Layout),
        wasm: &[u8],
        progress: &Progress,
    ) -> Result<Compiled, CodeError> {
        let engine = match form {
            Form::Run => &self.run,
            Form::Resume => &self.resume,
        };
        let cached = self.cache.as_ref().and_then(|cache| cache.compiled(engine, hash, form));
        if let Some(module) = cached {
            return self.link(engine, &module, sites, true);
        }
        progress(Step::Compile(wasm.len()));
        let refused = |error: wasmtime::Error| CodeError::Compile(format!("{error:#}"));
        let module = match self.target {
            Target::Native => Module::new(engine, wasm),
            Target::Pulley => Module::new(engine, without_atomics(wasm, layout.control())?),
        };
        let module = module.map_err(refused)?;
        if let Some(cache) = &self.cache
            && let Err(error) = cache.put_compiled(engine, hash, form, &module)
        {
            // A full disk costs time, not the program.
            tracing::warn!(%hash, ?form, %error, "compiled code is not kept");
        }
        self.link(engine, &module, sites, false)
    }

    fn link(
        &self,
        engine: &wasmtime::Engine,
        module: &Module,
        sites: &Sites,
        cached: bool,
    ) -> Result<Compiled, CodeError> {
        let mut linker = self.linker(engine)?;
        let refused = |error: wasmtime::Error| CodeError::Compile(format!("{error:#}"));
        if self.stub_missing {
            wasi::link_stubs(&mut linker, module).map_err(refused)?;
        }
        let pre = linker.instantiate_pre(module).map_err(refused)?;
        Ok(Compiled { pre, exports: Exports::of(module, sites)?, cached })
    }

    fn linker<T: wasi::View>(&self, engine: &wasmtime::Engine) -> Result<Linker<T>, CodeError> {
        let mut linker = Linker::new(engine);
        wasi::link(&mut linker).map_err(|error| CodeError::Compile(format!("{error:#}")))?;
        Ok(linker)
    }
}

/// Whose imports are looked at and never called.
struct Nobody;

impl wasi::View for Nobody {
    fn wasi(&mut self) -> (&mut wasi::Wasi, &mut World) {
        unreachable!("nothing runs in this store")
    }

    fn memory(&self) -> Option<wasmtime::Memory> {
        None
    }
}

impl Exports {
    fn of(module: &Module, sites: &Sites) -> Result<Self, CodeError> {
        use transform::abi;
        let find = |name: &str| module.get_export_index(name);
        let need = |name: &str| {
            find(name).ok_or_else(|| CodeError::Bundle(format!("it exports no {name}")))
        };
        let is_entry = matches!(
            module.get_export("_start"),
            Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0
        );
        if !is_entry {
            return Err(CodeError::NoEntry);
        }
        let every = |count: usize, name: fn(u32) -> String| {
            let found =
                (0..count as u32).filter_map(move |index| Some((index, find(&name(index))?)));
            found.collect::<Vec<_>>()
        };
        let data = every(sites.data_segments.len(), abi::dropped_data);
        let elements = every(sites.element_segments.len(), abi::dropped_element);
        Ok(Self {
            entry: need("_start")?,
            start: find(abi::START),
            state: need(abi::STATE)?,
            top: need(abi::TOP)?,
            memory: match module.get_export("memory") {
                Some(ExternType::Memory(_)) => find("memory"),
                _ => None,
            },
            globals: every(sites.globals.len(), abi::global),
            tables: every(sites.tables.len(), abi::table),
            dropped: data.into_iter().chain(elements).map(|(_, export)| export).collect(),
            functions: find(abi::FUNCTIONS),
            references: find(abi::REFERENCES).zip(find(abi::REFERENCES_TOP)),
            restore: find(abi::RESTORE),
        })
    }
}
