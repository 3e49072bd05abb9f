//! The oracle: run the original; run the transformed module, frozen at every k-th safepoint and
//! thawed in a fresh instance each time; compare results, memory, globals, tables, traps, and what
//! the imports saw.

#![allow(dead_code, reason = "each test uses another part of this")]

use transform::{Options, Polls, Sites, Transformed, abi};
use wasmtime::{
    Config, Engine, Extern, ExternType, Func, FuncType, Global, Instance, Memory, Module, Ref,
    Store, Table, Val, ValType,
};

/// What imports saw, and the control words of the instance that calls them.
#[derive(Default)]
pub(crate) struct Host {
    /// Every call of an import that finished.
    pub(crate) log: Vec<String>,
    /// A WASI program's arguments.
    pub(crate) args: Vec<String>,
    /// Whether each call of an import asks to leave at its first attempt.
    pub(crate) blocking: bool,
    pub(crate) asked: bool,
    pub(crate) control: Option<Memory>,
}

pub(crate) type World = Store<Host>;

/// How Whimbrel configures Wasmtime, for the original and for our output alike.
pub(crate) fn engine() -> Engine {
    engine_with(|_| {})
}

/// The same, compiling faster: for many small modules.
pub(crate) fn quick_engine() -> Engine {
    engine_with(|config| _ = config.cranelift_opt_level(wasmtime::OptLevel::None))
}

fn engine_with(change: impl FnOnce(&mut Config)) -> Engine {
    let mut config = Config::new();
    config
        .wasm_multi_memory(true)
        .wasm_threads(true)
        .wasm_tail_call(true)
        .wasm_exceptions(true)
        .wasm_relaxed_simd(true)
        .relaxed_simd_deterministic(true)
        .cranelift_nan_canonicalization(true)
        .memory_reservation(1 << 26)
        .memory_reservation_for_growth(1 << 20)
        .memory_guard_size(1 << 16)
        .max_wasm_stack(1 << 20);
    if std::env::var_os("PULLEY").is_some() {
        config.target("pulley64").unwrap();
    }
    change(&mut config);
    Engine::new(&config).unwrap()
}

/// What a call left behind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) results: Result<Vec<String>, String>,
    pub(crate) memories: Vec<u64>,
    pub(crate) globals: Vec<String>,
    pub(crate) tables: Vec<String>,
    pub(crate) log: Vec<String>,
}

fn show(value: &Val) -> String {
    match value {
        Val::I32(value) => format!("{value}:i32"),
        Val::I64(value) => format!("{value}:i64"),
        Val::F32(bits) => format!("{bits:x}:f32"),
        Val::F64(bits) => format!("{bits:x}:f64"),
        Val::V128(value) => format!("{:x}:v128", value.as_u128()),
        Val::FuncRef(value) => format!("func {}", value.is_some()),
        Val::ExternRef(value) => format!("extern {}", value.is_some()),
        other => format!("{other:?}"),
    }
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// What a trap is called, without the backtrace.
pub(crate) fn trap(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None if error.downcast_ref::<wasmtime::ThrownException>().is_some() => "exception".into(),
        None => error.root_cause().to_string(),
    }
}

/// Imports that record their calls and answer with numbers that depend on them.
pub(crate) fn imports(store: &mut World, module: &Module) -> Option<Vec<Extern>> {
    let mut externs = Vec::new();
    for import in module.imports() {
        let name = import.name().to_owned();
        externs.push(match import.ty() {
            ExternType::Func(ty) if import.module().starts_with("wasi") => {
                Extern::Func(wasi(store, name, ty))
            }
            ExternType::Func(ty) => Extern::Func(import_function(store, name, ty)),
            ExternType::Global(ty) => {
                let value = match ty.content() {
                    ValType::I32 => Val::I32(666),
                    ValType::I64 => Val::I64(666),
                    ValType::F32 => Val::F32(666.6f32.to_bits()),
                    ValType::F64 => Val::F64(666.6f64.to_bits()),
                    _ => return None,
                };
                Extern::Global(Global::new(&mut *store, ty, value).ok()?)
            }
            // What the suite's own module provides.
            ExternType::Memory(_) if import.module() == "spectest" => {
                let ty = wasmtime::MemoryType::new(1, Some(2));
                Extern::Memory(Memory::new(&mut *store, ty).ok()?)
            }
            ExternType::Memory(ty) => Extern::Memory(Memory::new(&mut *store, ty).ok()?),
            ExternType::Table(ty) => {
                let null = Ref::null(ty.element().heap_type());
                Extern::Table(Table::new(&mut *store, ty, null).ok()?)
            }
            ExternType::Tag(_) => return None,
        });
    }
    Some(externs)
}

/// As much of WASI as a program without files needs: arguments, a clock that stands, output.
fn wasi(store: &mut World, name: String, ty: FuncType) -> Func {
    Func::new(store, ty, move |mut caller, params, results| {
        let param = |at: usize| params[at].unwrap_i32() as usize;
        if name == "proc_exit" {
            return Err(wasmtime::format_err!("exit {}", param(0)));
        }
        let memory = caller.get_export("memory").unwrap().into_memory().unwrap();
        let control = caller.data().control;
        if let Some(control) = control
            && caller.data().blocking
            && name == "fd_write"
            && !std::mem::replace(&mut caller.data_mut().asked, true)
        {
            control.write(&mut caller, abi::LEAVE.offset, &1u32.to_le_bytes()).unwrap();
            results[0] = Val::I32(0);
            return Ok(());
        }
        caller.data_mut().asked = false;
        let (data, host) = memory.data_and_store_mut(&mut caller);
        let word = |data: &[u8], at: usize| {
            u32::from_le_bytes(data[at..at + 4].try_into().unwrap()) as usize
        };
        let mut put =
            |at: usize, value: u32| data[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let bytes: usize = host.args.iter().map(|arg| arg.len() + 1).sum();
        let mut errno = 0;
        match name.as_str() {
            "fd_write" => {
                let mut written = 0;
                for vector in (0..param(2)).map(|at| param(1) + at * 8) {
                    let (start, length) = (word(data, vector), word(data, vector + 4));
                    let text = String::from_utf8_lossy(&data[start..start + length]).into_owned();
                    host.log.push(text);
                    written += length as u32;
                }
                data[param(3)..param(3) + 4].copy_from_slice(&written.to_le_bytes());
            }
            "args_sizes_get" => {
                put(param(0), host.args.len() as u32);
                put(param(1), bytes as u32);
            }
            "args_get" => {
                let (mut pointer, mut text) = (param(0), param(1));
                for arg in &host.args {
                    data[pointer..pointer + 4].copy_from_slice(&(text as u32).to_le_bytes());
                    data[text..text + arg.len()].copy_from_slice(arg.as_bytes());
                    data[text + arg.len()] = 0;
                    (pointer, text) = (pointer + 4, text + arg.len() + 1);
                }
            }
            "environ_sizes_get" => {
                put(param(0), 0);
                put(param(1), 0);
            }
            "clock_time_get" => put(param(2), 1),
            "environ_get" | "random_get" | "sched_yield" | "fd_close" => {}
            "fd_prestat_get" | "fd_fdstat_get" => errno = 8,
            _ => errno = 52,
        }
        results[0] = Val::I32(errno);
        Ok(())
    })
}

fn import_function(store: &mut World, name: String, ty: FuncType) -> Func {
    Func::new(store, ty.clone(), move |mut caller, params, results| {
        let control = caller.data().control;
        if let Some(control) = control
            && caller.data().blocking
            && !caller.data().asked
        {
            caller.data_mut().asked = true;
            control.write(&mut caller, abi::LEAVE.offset, &1u32.to_le_bytes()).unwrap();
            for (result, ty) in results.iter_mut().zip(ty.results()) {
                *result = Val::default_for_ty(&ty).unwrap();
            }
            return Ok(());
        }
        let host = caller.data_mut();
        host.asked = false;
        let shown: Vec<String> = params.iter().map(show).collect();
        host.log.push(format!("{name}({})", shown.join(", ")));
        let number = host.log.len() as i32 * 7 + 1;
        for (result, ty) in results.iter_mut().zip(ty.results()) {
            *result = match ty {
                ValType::I32 => Val::I32(number),
                ValType::I64 => Val::I64(number.into()),
                ValType::F32 => Val::F32((number as f32).to_bits()),
                ValType::F64 => Val::F64(f64::from(number).to_bits()),
                ty => Val::default_for_ty(&ty).unwrap(),
            };
        }
        Ok(())
    })
}

/// After so many freezes a program is frozen less often, so that long runs end.
const PATIENCE: u64 = 200;

/// A program that may have been frozen any number of times.
pub(crate) struct Program {
    pub(crate) sites: Sites,
    original: Module,
    resume: Option<Module>,
    pub(crate) instance: Instance,
    imports: Vec<Extern>,
    /// Freeze at every so many-th poll. 0: never.
    pub(crate) every: u64,
    pub(crate) freezes: u64,
}

impl Program {
    /// The original, which cannot be frozen.
    pub(crate) fn plain(
        store: &mut World,
        original: &Module,
        sites: &Sites,
    ) -> Option<wasmtime::Result<Self>> {
        let imports = imports(store, original)?;
        store.data_mut().control = None;
        Some(Instance::new(&mut *store, original, &imports).map(|instance| Self {
            sites: sites.clone(),
            original: original.clone(),
            resume: None,
            instance,
            imports,
            every: 0,
            freezes: 0,
        }))
    }

    /// The transformed program, its start function run.
    pub(crate) fn start(
        store: &mut World,
        original: &Module,
        run: &Module,
        resume: &Module,
        sites: &Sites,
        every: u64,
    ) -> Option<wasmtime::Result<Self>> {
        let imports = imports(store, original)?;
        let instance = match Instance::new(&mut *store, run, &imports) {
            Ok(instance) => instance,
            Err(error) => return Some(Err(error)),
        };
        let mut program = Self {
            sites: sites.clone(),
            original: original.clone(),
            resume: Some(resume.clone()),
            instance,
            imports,
            every,
            freezes: 0,
        };
        program.arm(store);
        if sites.start.is_some()
            && let Err(error) = program.call(store, abi::START, &[])
        {
            return Some(Err(error));
        }
        Some(Ok(program))
    }

    /// Counts anew.
    pub(crate) fn reset(&self, store: &mut World) {
        self.arm(store);
    }

    fn arm(&self, store: &mut World) {
        let control = self.instance.get_memory(&mut *store, abi::CONTROL).unwrap();
        let count = if self.every == 0 { -1 } else { self.every as i64 };
        control.write(&mut *store, abi::COUNTER.offset, &count.to_le_bytes()).unwrap();
        control.write(&mut *store, abi::LEAVE.offset, &0u32.to_le_bytes()).unwrap();
        store.data_mut().control = Some(control);
    }

    /// Calls an export, through as many freezes and thaws as it takes.
    pub(crate) fn call(
        &mut self,
        store: &mut World,
        name: &str,
        args: &[Val],
    ) -> wasmtime::Result<Vec<Val>> {
        let mut args = args.to_vec();
        loop {
            let function = self.instance.get_func(&mut *store, name).expect("the export is there");
            let ty = function.ty(&*store);
            let mut results: Vec<Val> =
                ty.results().map(|ty| Val::default_for_ty(&ty).unwrap_or(Val::I32(0))).collect();
            function.call(&mut *store, &args, &mut results)?;
            if self.resume.is_none() || self.global(store, abi::STATE) == abi::STATE_RUNNING {
                return Ok(results);
            }
            let entry = self.sites.export(name).or(self.sites.start).unwrap();
            self.move_on(store, entry);
            if self.freezes.is_multiple_of(PATIENCE) {
                self.every += self.every / 2 + 1;
            }
            args = ty.params().map(|ty| Val::default_for_ty(&ty).unwrap()).collect();
        }
    }

    fn global(&self, store: &mut World, name: &str) -> i32 {
        self.instance.get_global(&mut *store, name).unwrap().get(&mut *store).unwrap_i32()
    }

    fn set_global(&self, store: &mut World, name: &str, value: i32) {
        let global = self.instance.get_global(&mut *store, name).unwrap();
        global.set(&mut *store, Val::I32(value)).unwrap();
    }

    /// Freezes into plain data, and thaws that in a fresh instance of the resume form.
    fn move_on(&mut self, store: &mut World, entry: transform::index::FuncIdx) {
        self.freezes += 1;
        assert_eq!(self.global(store, abi::STATE), abi::STATE_UNWINDING);
        let frozen = Frozen::of(store, self);
        let found = self.sites.check_frames(&frozen.frames, frozen.references.len() as u32);
        let found = found.unwrap_or_else(|error| panic!("our own frames are refused: {error}"));
        assert!(self.sites.enters(entry, found[0].function), "the outermost frame is the export's");
        let resume = self.resume.clone().unwrap();
        let host = std::mem::take(store.data_mut());
        let engine = store.engine().clone();
        *store = Store::new(&engine, Host { control: None, ..host });
        // Imported memories, tables and globals belong to the host, so they are made afresh.
        self.imports = imports(store, &self.original).unwrap();
        self.instance = Instance::new(&mut *store, &resume, &self.imports).unwrap();
        frozen.thaw(store, self);
        self.arm(store);
    }

    /// Everything that can be seen from outside.
    pub(crate) fn outcome(
        &self,
        store: &mut World,
        results: wasmtime::Result<Vec<Val>>,
    ) -> Outcome {
        let results = match results {
            Ok(values) => Ok(values.iter().map(show).collect()),
            Err(error) => Err(trap(&error)),
        };
        let exports: Vec<(String, Extern)> = self
            .instance
            .exports(&mut *store)
            .map(|export| (export.name().to_owned(), export.into_extern()))
            .collect();
        let mut outcome = Outcome {
            results,
            memories: Vec::new(),
            globals: Vec::new(),
            tables: Vec::new(),
            log: store.data().log.clone(),
        };
        for (name, item) in exports {
            if name.starts_with(abi::PREFIX) {
                continue;
            }
            match item {
                Extern::Memory(memory) => outcome.memories.push(hash(memory.data(&*store))),
                Extern::Global(global) => outcome.globals.push(show(&global.get(&mut *store))),
                Extern::Table(table) => {
                    let entries: Vec<String> = (0..table.size(&*store))
                        .map(|at| table.get(&mut *store, at).unwrap().is_null().to_string())
                        .collect();
                    outcome.tables.push(entries.join(" "));
                }
                _ => {}
            }
        }
        outcome
    }
}

/// A frozen program as data: nothing of it belongs to an instance.
struct Frozen {
    memories: Vec<Vec<u8>>,
    globals: Vec<Option<Saved>>,
    tables: Vec<Vec<Option<u32>>>,
    dropped: Vec<(String, i32)>,
    frames: Vec<u8>,
    references: Vec<Option<u32>>,
}

enum Saved {
    Value(Val),
    Function(Option<u32>),
}

impl Frozen {
    fn of(store: &mut World, program: &Program) -> Self {
        let instance = program.instance;
        let numbers = Numbers::of(store, program);
        let sites = &program.sites;
        let memories = (0..sites.memories.len() as u32).map(|index| {
            let memory = instance.get_memory(&mut *store, &abi::memory(index)).unwrap();
            memory.data(&*store).to_vec()
        });
        let memories = memories.collect();
        let globals = (0..).zip(&sites.globals).map(|(index, global)| {
            if !global.mutable {
                return None;
            }
            let global = instance.get_global(&mut *store, &abi::global(index)).unwrap();
            Some(match global.get(&mut *store) {
                Val::FuncRef(function) => Saved::Function(numbers.number(store, function)),
                value => Saved::Value(value),
            })
        });
        let globals = globals.collect();
        let tables = (0..sites.tables.len() as u32).map(|index| {
            let table = instance.get_table(&mut *store, &abi::table(index)).unwrap();
            let size = table.size(&*store);
            numbers.entries(store, table, size)
        });
        let tables = tables.collect();
        let names: Vec<String> = instance
            .exports(&mut *store)
            .map(|export| export.name().to_owned())
            .filter(|name| name.starts_with("whimbrel:dropped:"))
            .collect();
        let dropped = names
            .into_iter()
            .map(|name| {
                let value = program.global(store, &name);
                (name, value)
            })
            .collect();
        let top = program.global(store, abi::TOP) as usize;
        let frames = instance.get_memory(&mut *store, abi::FRAMES).unwrap();
        let frames = frames.data(&*store)[..top].to_vec();
        let used = program.global(store, abi::REFERENCES_TOP) as u64;
        let references = instance.get_table(&mut *store, abi::REFERENCES).unwrap();
        let references = numbers.entries(store, references, used);
        Self { memories, globals, tables, dropped, frames, references }
    }

    fn thaw(&self, store: &mut World, program: &Program) {
        let instance = program.instance;
        let numbers = Numbers::of(store, program);
        for (index, bytes) in (0..).zip(&self.memories) {
            let memory = instance.get_memory(&mut *store, &abi::memory(index)).unwrap();
            let missing = (bytes.len() - memory.data_size(&*store)) >> 16;
            memory.grow(&mut *store, missing as u64).unwrap();
            memory.write(&mut *store, 0, bytes).unwrap();
        }
        for (index, saved) in (0..).zip(&self.globals) {
            let Some(saved) = saved else { continue };
            let global = instance.get_global(&mut *store, &abi::global(index)).unwrap();
            let value = match saved {
                Saved::Value(value) => *value,
                Saved::Function(number) => Val::FuncRef(numbers.function(store, *number)),
            };
            global.set(&mut *store, value).unwrap();
        }
        for (index, entries) in (0..).zip(&self.tables) {
            let table = instance.get_table(&mut *store, &abi::table(index)).unwrap();
            numbers.restore(store, table, entries);
        }
        for (name, value) in &self.dropped {
            program.set_global(store, name, *value);
        }
        let restore = instance.get_func(&mut *store, abi::RESTORE).unwrap();
        restore.call(&mut *store, &[], &mut []).unwrap();
        let frames = instance.get_memory(&mut *store, abi::FRAMES).unwrap();
        let missing = self.frames.len().saturating_sub(frames.data_size(&*store)).div_ceil(1 << 16);
        frames.grow(&mut *store, missing as u64).unwrap();
        frames.write(&mut *store, 0, &self.frames).unwrap();
        let references = instance.get_table(&mut *store, abi::REFERENCES).unwrap();
        numbers.restore(store, references, &self.references);
        program.set_global(store, abi::REFERENCES_TOP, self.references.len() as i32);
        program.set_global(store, abi::TOP, self.frames.len() as i32);
        program.set_global(store, abi::STATE, abi::STATE_REWINDING);
        let control = instance.get_memory(&mut *store, abi::CONTROL).unwrap();
        for word in [abi::LOOP, abi::ENTRY] {
            control.write(&mut *store, word.offset, &abi::REWIND.to_le_bytes()).unwrap();
        }
    }
}

/// Functions by number, and numbers by function.
struct Numbers {
    table: Table,
    raw: std::collections::HashMap<usize, u32>,
}

impl Numbers {
    fn of(store: &mut World, program: &Program) -> Self {
        let table = program.instance.get_table(&mut *store, abi::FUNCTIONS).unwrap();
        let mut raw = std::collections::HashMap::new();
        for at in 0..table.size(&*store) {
            if let Some(Ref::Func(Some(function))) = table.get(&mut *store, at) {
                raw.insert(function.to_raw(&mut *store) as usize, at as u32);
            }
        }
        Self { table, raw }
    }
    fn number(&self, store: &mut World, function: Option<Func>) -> Option<u32> {
        function.map(|function| self.raw[&(function.to_raw(&mut *store) as usize)])
    }
    fn function(&self, store: &mut World, number: Option<u32>) -> Option<Func> {
        let number = number?;
        let Some(Ref::Func(function)) = self.table.get(&mut *store, number.into()) else {
            panic!("no function {number}");
        };
        function
    }
    fn entries(&self, store: &mut World, table: Table, size: u64) -> Vec<Option<u32>> {
        (0..size)
            .map(|at| match table.get(&mut *store, at).unwrap() {
                Ref::Func(function) => self.number(store, function),
                other => {
                    assert!(other.is_null(), "a table of external references is empty");
                    None
                }
            })
            .collect()
    }
    fn restore(&self, store: &mut World, table: Table, entries: &[Option<u32>]) {
        let null = Ref::null(table.ty(&*store).element().heap_type());
        let missing = (entries.len() as u64).saturating_sub(table.size(&*store));
        table.grow(&mut *store, missing, null.clone()).unwrap();
        for (at, &entry) in (0..).zip(entries) {
            let function = match entry {
                None => null.clone(),
                some => Ref::Func(self.function(store, some)),
            };
            table.set(&mut *store, at, function).unwrap();
        }
    }
}

/// A module in all its forms.
pub(crate) struct Case {
    pub(crate) engine: Engine,
    pub(crate) original: Module,
    pub(crate) run: Module,
    pub(crate) resume: Module,
    pub(crate) transformed: Transformed,
}

impl Case {
    /// Transforms a module with counted polls; every import may block.
    pub(crate) fn new(engine: &Engine, wasm: &[u8]) -> Result<Self, transform::Error> {
        let options = Options { polls: Polls::Counted, instant_imports: Vec::new() };
        let transformed = transform::transform(wasm, &options)?;
        transform::check::check(wasm, &transformed.sites).unwrap_or_else(|error| panic!("{error}"));
        transformed.validate().unwrap_or_else(|error| panic!("{error}"));
        // What crosses a disk is what is used.
        let decoded = Sites::decode(&transformed.sites.encode()).unwrap();
        assert_eq!(decoded, transformed.sites);
        Ok(Self {
            engine: engine.clone(),
            original: Module::new(engine, wasm).unwrap(),
            run: Module::new(engine, &transformed.run).unwrap(),
            resume: Module::new(engine, &transformed.resume).unwrap(),
            transformed,
        })
    }

    /// Runs calls one after another on the original.
    pub(crate) fn plain(&self, calls: &[(String, Vec<Val>)]) -> Option<Vec<Outcome>> {
        let mut store = Store::new(&self.engine, Host::default());
        let program = Program::plain(&mut store, &self.original, &self.transformed.sites)?;
        Some(outcomes(&mut store, program, calls))
    }

    /// Runs calls on the transformed module, frozen at every so many-th poll. Also returns how
    /// often it was frozen.
    pub(crate) fn frozen(
        &self,
        calls: &[(String, Vec<Val>)],
        every: u64,
        blocking: bool,
    ) -> (Vec<Outcome>, u64) {
        let mut store = Store::new(&self.engine, Host { blocking, ..Host::default() });
        let program = Program::start(
            &mut store,
            &self.original,
            &self.run,
            &self.resume,
            &self.transformed.sites,
            every,
        );
        let mut freezes = 0;
        let program = program.unwrap().inspect(|program| freezes = program.freezes);
        match program {
            Err(error) => (vec![refused(&error, &store)], 0),
            Ok(mut program) => {
                let outcomes = run(&mut store, &mut program, calls);
                (outcomes, program.freezes)
            }
        }
    }

    /// Compares both at several freeze intervals; returns how often the program was frozen.
    pub(crate) fn compare(
        &self,
        calls: &[(String, Vec<Val>)],
        intervals: &[u64],
    ) -> Result<u64, String> {
        let Some(expected) = self.plain(calls) else { return Ok(0) };
        let mut freezes = 0;
        for &every in intervals {
            for blocking in [false, true] {
                let (found, froze) = self.frozen(calls, every, blocking);
                freezes += froze;
                if found != expected {
                    return Err(format!(
                        "every {every} (blocking {blocking}):\nexpected {expected:#?}\nfound {found:#?}"
                    ));
                }
            }
        }
        Ok(freezes)
    }
}

fn refused(error: &wasmtime::Error, store: &World) -> Outcome {
    Outcome {
        results: Err(trap(error)),
        memories: Vec::new(),
        globals: Vec::new(),
        tables: Vec::new(),
        log: store.data().log.clone(),
    }
}

fn outcomes(
    store: &mut World,
    program: wasmtime::Result<Program>,
    calls: &[(String, Vec<Val>)],
) -> Vec<Outcome> {
    match program {
        Err(error) => vec![refused(&error, store)],
        Ok(mut program) => run(store, &mut program, calls),
    }
}

fn run(store: &mut World, program: &mut Program, calls: &[(String, Vec<Val>)]) -> Vec<Outcome> {
    let mut found = Vec::new();
    for (name, args) in calls {
        let results = program.call(store, name, args);
        let stop = results.is_err();
        found.push(program.outcome(store, results));
        if stop {
            break;
        }
    }
    found
}
