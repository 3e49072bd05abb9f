//! One instance of one form of a program: made, entered, and its state taken out again.

use std::collections::HashMap;

use transform::abi;
use wasmtime::{
    AsContextMut, Extern, Func, Global, ModuleExport, Ref, Store, StoreLimits, StoreLimitsBuilder,
    Table, Trap, Val, WasmBacktrace,
};

use wire::image::{State, Value};

use crate::cache::Form;
use crate::code::{Code, Compiled};
use crate::host::Host;
use crate::raw::{Control, Lent, with_memories};
use crate::wasi::Exit;
use crate::{FrameName, Limit, Outcome, TrapReport};

/// How many entries a table may grow to: 16 bytes each, outside of linear memory.
const TABLE_ENTRIES_MAX: usize = 1 << 22;

/// Which entry point a process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The module's start function.
    Start,
    /// `_start`.
    Main,
}

/// What of a program's state is not in its memories.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Values {
    pub(crate) state: State,
    /// Bytes of frames.
    pub(crate) top: u32,
}

/// How a stretch of running came to its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The entry point returned.
    Returned,
    /// The program has unwound; its frames are in place.
    Unwound,
    /// It is over.
    Ended(Outcome),
}

/// Why an instance cannot be what it should. The process is lost, nothing else is.
pub(crate) type Broken = wasmtime::Error;

/// A form of a program with a store of its own.
pub(crate) struct Instance {
    store: Store<Host>,
    instance: wasmtime::Instance,
    form: Form,
}

impl Instance {
    /// Makes an instance in these memories (those of [`crate::layout::Layout::memories`]).
    pub(crate) fn new(
        code: &Code,
        form: Form,
        compiled: &Compiled,
        memories: Vec<Lent>,
        mut host: Host,
    ) -> Result<Self, (Broken, Box<Host>)> {
        host.limits = limits();
        let mut store = Store::new(code.engine(form), host);
        store.limiter(|host| &mut host.limits);
        let made = with_memories(memories, || compiled.pre.instantiate(&mut store));
        match made {
            Ok(instance) => {
                let memory = compiled.exports.memory.as_ref();
                let memory =
                    memory.and_then(|export| instance.get_module_export(&mut store, export));
                store.data_mut().memory = memory.and_then(Extern::into_memory);
                Ok(Self { store, instance, form })
            }
            Err(error) => Err((error, Box::new(store.into_data()))),
        }
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    pub(crate) fn host(&mut self) -> &mut Host {
        self.store.data_mut()
    }

    /// Ends the instance. Its memories are given back.
    pub(crate) fn into_host(mut self) -> Host {
        self.store.data_mut().memory = None;
        self.store.into_data()
    }

    /// Runs the program, from the entry point's beginning, or on from its frames.
    pub(crate) fn enter(
        &mut self,
        code: &Code,
        control: &Control,
        phase: Phase,
        rewind: bool,
    ) -> Result<Stop, Broken> {
        let exports = &self.compiled(code)?.exports;
        let entry = match phase {
            Phase::Main => Some(&exports.entry),
            Phase::Start => exports.start.as_ref(),
        };
        let Some(entry) = entry.map(|entry| self.func(entry)).transpose()? else {
            return Ok(Stop::Returned);
        };
        let state = self.global(&exports.state)?;
        if rewind {
            state.set(&mut self.store, Val::I32(abi::STATE_REWINDING))?;
            control.set(abi::LOOP.offset, abi::REWIND);
            control.set(abi::ENTRY.offset, abi::REWIND);
        }
        let entry = entry.typed::<(), ()>(&self.store)?;
        let result = entry.call(&mut self.store, ());
        let left = state.get(&mut self.store).i32();
        state.set(&mut self.store, Val::I32(abi::STATE_RUNNING))?;
        for word in [abi::LOOP, abi::ENTRY] {
            control.clear(word.offset, abi::REWIND);
        }
        control.clear(abi::LEAVE.offset, u32::MAX);
        Ok(match result {
            Ok(()) if left == Some(abi::STATE_UNWINDING) => Stop::Unwound,
            Ok(()) => Stop::Returned,
            Err(error) => Stop::Ended(outcome(code, &error, left)),
        })
    }

    /// Takes out what is not in memory.
    pub(crate) fn values(&mut self, code: &Code) -> Result<Values, Broken> {
        let compiled = self.compiled(code)?;
        let exports = &compiled.exports;
        let mut names = None;
        let mut values = State::default();
        for (_, export) in &exports.globals {
            let value = self.global(export)?.get(&mut self.store);
            values.globals.push(self.value(code, value, &mut names)?);
        }
        for (index, export) in &exports.tables {
            if !code.layout().tables.get(*index as usize).is_some_and(|table| table.mutable) {
                continue;
            }
            let table = self.table(export)?;
            let size = table.size(&self.store);
            let entries = self.entries(code, table, size, &mut names)?;
            values.tables.push((*index, entries));
        }
        for export in &exports.dropped {
            values.dropped.push(self.number(export)?);
        }
        let top_of_frames = self.number(&exports.top)?.cast_unsigned();
        if let Some((table, top)) = &exports.references {
            let top = self.number(top)?.cast_unsigned();
            let table = self.table(table)?;
            values.references = self.entries(code, table, top.into(), &mut names)?;
        }
        Ok(Values { state: values, top: top_of_frames })
    }

    /// Puts back what [`Instance::values`] took out. Checked against the code before: see `thaw`.
    pub(crate) fn set_values(&mut self, code: &Code, values: &Values) -> Result<(), Broken> {
        let exports = &self.compiled(code)?.exports;
        let Values { state: values, top } = values;
        for ((_, export), value) in exports.globals.iter().zip(&values.globals) {
            let global = self.global(export)?;
            let value = match *value {
                Value::Null => continue,
                Value::I32(value) => Val::I32(value),
                Value::I64(value) => Val::I64(value),
                Value::F32(bits) => Val::F32(bits),
                Value::F64(bits) => Val::F64(bits),
                Value::V128(bits) => Val::V128(bits.into()),
                Value::Func(function) => Val::FuncRef(self.function(code, function)?),
            };
            global.set(&mut self.store, value)?;
        }
        for (index, export) in &exports.tables {
            let layout = &code.layout().tables[*index as usize];
            let saved = values.tables.iter().find(|(saved, _)| saved == index);
            match saved {
                Some((_, entries)) => self.fill(code, export, entries)?,
                None if layout.filled => {}
                None => self.fill(code, export, &layout.entries)?,
            }
        }
        for (export, dropped) in exports.dropped.iter().zip(&values.dropped) {
            self.global(export)?.set(&mut self.store, Val::I32(*dropped))?;
        }
        if let Some((table, in_use)) = &exports.references {
            self.fill(code, table, &values.references)?;
            let entries = Val::I32(i32::try_from(values.references.len())?);
            self.global(in_use)?.set(&mut self.store, entries)?;
        }
        self.global(&exports.top)?.set(&mut self.store, Val::I32(top.cast_signed()))?;
        if let Some(restore) = &exports.restore
            && values.dropped.iter().any(|dropped| *dropped != 0)
        {
            self.func(restore)?.typed::<(), ()>(&self.store)?.call(&mut self.store, ())?;
        }
        Ok(())
    }

    fn compiled<'c>(&self, code: &'c Code) -> Result<&'c Compiled, Broken> {
        match self.form {
            Form::Run => Ok(code.run()),
            Form::Resume => code.resume().map_err(|error| Broken::msg(error.to_string())),
        }
    }

    fn fill(
        &mut self,
        code: &Code,
        export: &ModuleExport,
        entries: &[Option<u32>],
    ) -> Result<(), Broken> {
        let table = self.table(export)?;
        let missing = (entries.len() as u64).saturating_sub(table.size(&self.store));
        if missing > 0 {
            table.grow(&mut self.store, missing, Ref::Func(None))?;
        }
        let functions = self.functions(code)?;
        for (at, entry) in (0..).zip(entries) {
            if let Some(function) = entry {
                let reference =
                    functions.and_then(|all| all.get(&mut self.store, (*function).into()));
                let reference = reference.ok_or_else(|| Broken::msg("no such function"))?;
                table.set(&mut self.store, at, reference)?;
            } else if missing == 0 {
                table.set(&mut self.store, at, Ref::Func(None))?;
            }
        }
        Ok(())
    }

    fn entries(
        &mut self,
        code: &Code,
        table: Table,
        size: u64,
        names: &mut Option<FunctionNumbers>,
    ) -> Result<Vec<Option<u32>>, Broken> {
        let mut entries = vec![];
        for at in 0..size {
            let entry = match table.get(&mut self.store, at) {
                Some(Ref::Func(Some(function))) => {
                    Some(self.function_number(code, function, names)?)
                }
                Some(reference) if reference.is_null() => None,
                _ => return Err(Broken::msg("a table holds what cannot be frozen")),
            };
            entries.push(entry);
        }
        Ok(entries)
    }

    fn value(
        &mut self,
        code: &Code,
        value: Val,
        names: &mut Option<FunctionNumbers>,
    ) -> Result<Value, Broken> {
        Ok(match value {
            Val::I32(value) => Value::I32(value),
            Val::I64(value) => Value::I64(value),
            Val::F32(bits) => Value::F32(bits),
            Val::F64(bits) => Value::F64(bits),
            Val::V128(bits) => Value::V128(bits.into()),
            Val::FuncRef(None) => Value::Func(None),
            Val::FuncRef(Some(function)) => {
                Value::Func(Some(self.function_number(code, function, names)?))
            }
            Val::ExternRef(None) | Val::AnyRef(None) | Val::ExnRef(None) | Val::ContRef(None) => {
                Value::Null
            }
            _ => return Err(Broken::msg("a global holds what cannot be frozen")),
        })
    }

    fn function_number(
        &mut self,
        code: &Code,
        function: Func,
        numbers: &mut Option<FunctionNumbers>,
    ) -> Result<u32, Broken> {
        if numbers.is_none() {
            let functions = self.functions(code)?;
            *numbers = Some(FunctionNumbers::new(&mut self.store, functions));
        }
        let raw = function.to_raw(&mut self.store) as usize;
        let number = numbers.as_ref().and_then(|numbers| numbers.0.get(&raw).copied());
        number.ok_or_else(|| Broken::msg("a reference to a function that cannot be named"))
    }

    fn function(&mut self, code: &Code, number: Option<u32>) -> Result<Option<Func>, Broken> {
        let Some(number) = number else { return Ok(None) };
        let functions = self.functions(code)?;
        match functions.and_then(|all| all.get(&mut self.store, number.into())) {
            Some(Ref::Func(Some(function))) => Ok(Some(function)),
            _ => Err(Broken::msg("no such function")),
        }
    }

    fn functions(&mut self, code: &Code) -> Result<Option<Table>, Broken> {
        let export = self.compiled(code)?.exports.functions.as_ref();
        export.map(|export| self.table(export)).transpose()
    }

    fn number(&mut self, export: &ModuleExport) -> Result<i32, Broken> {
        let value = self.global(export)?.get(&mut self.store).i32();
        value.ok_or_else(|| Broken::msg("a global of ours is no i32"))
    }

    fn global(&mut self, export: &ModuleExport) -> Result<Global, Broken> {
        let found = self.instance.get_module_export(&mut self.store, export);
        found.and_then(Extern::into_global).ok_or_else(|| Broken::msg("an export is no global"))
    }

    fn table(&mut self, export: &ModuleExport) -> Result<Table, Broken> {
        let found = self.instance.get_module_export(&mut self.store, export);
        found.and_then(Extern::into_table).ok_or_else(|| Broken::msg("an export is no table"))
    }

    fn func(&mut self, export: &ModuleExport) -> Result<Func, Broken> {
        let found = self.instance.get_module_export(&mut self.store, export);
        found.and_then(Extern::into_func).ok_or_else(|| Broken::msg("an export is no function"))
    }
}

/// Numbers of functions by their address in one store.
struct FunctionNumbers(HashMap<usize, u32>);

impl FunctionNumbers {
    fn new(mut store: impl AsContextMut, functions: Option<Table>) -> Self {
        let Some(table) = functions else { return Self(HashMap::new()) };
        let size = table.size(&store);
        let mut numbers = HashMap::new();
        for number in 0..size {
            if let Some(Ref::Func(Some(function))) = table.get(&mut store, number) {
                let raw = function.to_raw(&mut store) as usize;
                numbers.insert(raw, u32::try_from(number).expect("functions have 32-bit numbers"));
            }
        }
        Self(numbers)
    }
}

fn limits() -> StoreLimits {
    StoreLimitsBuilder::new().table_elements(TABLE_ENTRIES_MAX).build()
}

/// What an error that a call ended with means.
pub(crate) fn outcome(code: &Code, error: &Broken, state: Option<i32>) -> Outcome {
    if let Some(exit) = error.downcast_ref::<Exit>() {
        return Outcome::Exit(exit.0);
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::StackOverflow) {
        return Outcome::Limit(Limit::Stack);
    }
    // The transformed code traps while it unwinds if and only if the frames have no room.
    if trap.is_some() && state == Some(abi::STATE_UNWINDING) {
        return Outcome::Limit(Limit::Frames);
    }
    let Some(trap) = trap else {
        return Outcome::Fault(format!("{error:#}"));
    };
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let frames = backtrace.map(WasmBacktrace::frames).unwrap_or_default();
    let backtrace = frames.iter().map(|frame| code.function(frame.func_index())).collect();
    Outcome::Trap(TrapReport { message: trap.to_string(), backtrace })
}

/// The stack that frames show, innermost first.
pub(crate) fn stack(code: &Code, frames: &[u8], references: u32) -> Result<Vec<FrameName>, String> {
    let frames = code.sites().check_frames(frames, references).map_err(|e| e.to_string())?;
    Ok(frames.iter().rev().map(|frame| code.function(frame.function.0)).collect())
}
