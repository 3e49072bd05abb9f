//! What a measured program runs in: as little as possible, and the same for every variant.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use wasmtime::{Caller, Engine, Linker, Module, Store};

use super::workload::Workload;
use crate::statistics::thread_time;

/// A program that ran to its end.
pub(super) struct Ran {
    /// Processor time inside its entry point.
    pub(super) time: Duration,
    /// Everything it printed.
    pub(super) output: Vec<u8>,
}

struct Host {
    args: Arc<[String]>,
    output: Vec<u8>,
}

/// Ends a program that calls `proc_exit`.
#[derive(Debug)]
struct Exit(i32);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// Runs `module` from its entry point to its end. Making the instance is not counted.
pub(super) fn run(
    engine: &Engine,
    module: &Module,
    workload: &Workload,
    rounds: u32,
) -> Result<Ran, String> {
    let said = |error: wasmtime::Error| format!("{}: {error:?}", workload.name);
    let mut linker = Linker::new(engine);
    link(&mut linker).map_err(said)?;
    linker.define_unknown_imports_as_traps(module).map_err(said)?;
    let mut store =
        Store::new(engine, Host { args: workload.args(rounds).into(), output: Vec::new() });
    // Far beyond any run: what epoch interruption costs is the looking, not the stopping.
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = linker.instantiate(&mut store, module).map_err(said)?;
    let entry = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(said)?;
    let before = thread_time();
    let ended = entry.call(&mut store, ());
    let time = thread_time() - before;
    match ended {
        Err(error) if !error.is::<Exit>() => Err(said(error)),
        Err(error) if error.downcast_ref::<Exit>().is_some_and(|exit| exit.0 != 0) => {
            Err(said(error))
        }
        _ => Ok(Ran { time, output: store.into_data().output }),
    }
}

fn write(caller: &mut Caller<'_, Host>, at: u32, bytes: &[u8]) -> i32 {
    let memory = caller
        .get_export("memory")
        .and_then(wasmtime::Extern::into_memory)
        .expect("programs have a memory");
    if memory.write(caller, at as usize, bytes).is_ok() { 0 } else { 21 }
}

fn read(caller: &mut Caller<'_, Host>, at: u32, length: u32) -> Vec<u8> {
    let memory = caller
        .get_export("memory")
        .and_then(wasmtime::Extern::into_memory)
        .expect("programs have a memory");
    let mut bytes = vec![0; length as usize];
    memory.read(caller, at as usize, &mut bytes).expect("kernels name memory that they have");
    bytes
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

/// The handful of calls that a kernel makes: its arguments, and one line of output.
fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    const MODULE: &str = "wasi_snapshot_preview1";
    linker.func_wrap(
        MODULE,
        "args_sizes_get",
        |mut caller: Caller<'_, Host>, count: u32, bytes: u32| {
            let args = caller.data().args.clone();
            let length: usize = args.iter().map(|arg| arg.len() + 1).sum();
            write(&mut caller, count, &(args.len() as u32).to_le_bytes())
                | write(&mut caller, bytes, &(length as u32).to_le_bytes())
        },
    )?;
    linker.func_wrap(
        MODULE,
        "args_get",
        |mut caller: Caller<'_, Host>, pointers: u32, mut bytes: u32| {
            let args = caller.data().args.clone();
            for (index, arg) in args.iter().enumerate() {
                write(&mut caller, pointers + 4 * index as u32, &bytes.to_le_bytes());
                write(&mut caller, bytes, arg.as_bytes());
                write(&mut caller, bytes + arg.len() as u32, &[0]);
                bytes += arg.len() as u32 + 1;
            }
            0
        },
    )?;
    linker.func_wrap(
        MODULE,
        "environ_sizes_get",
        |mut caller: Caller<'_, Host>, count: u32, bytes: u32| {
            write(&mut caller, count, &[0; 4]) | write(&mut caller, bytes, &[0; 4])
        },
    )?;
    linker.func_wrap(MODULE, "environ_get", |_: u32, _: u32| 0)?;
    linker.func_wrap(
        MODULE,
        "fd_write",
        |mut caller: Caller<'_, Host>, _fd: u32, buffers: u32, count: u32, written: u32| {
            let mut total = 0;
            for index in 0..count {
                let entry = read(&mut caller, buffers + 8 * index, 8);
                let bytes = read(&mut caller, word(&entry[..4]), word(&entry[4..]));
                total += bytes.len() as u32;
                caller.data_mut().output.extend(bytes);
            }
            write(&mut caller, written, &total.to_le_bytes())
        },
    )?;
    linker.func_wrap(
        MODULE,
        "random_get",
        |mut caller: Caller<'_, Host>, at: u32, length: u32| {
            write(&mut caller, at, &vec![4; length as usize])
        },
    )?;
    linker.func_wrap(
        MODULE,
        "clock_time_get",
        |mut caller: Caller<'_, Host>, _: u32, _: u64, at: u32| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            write(&mut caller, at, &(now.as_nanos() as u64).to_le_bytes())
        },
    )?;
    linker.func_wrap(MODULE, "proc_exit", |code: i32| -> wasmtime::Result<()> {
        Err(Exit(code).into())
    })?;
    Ok(())
}
