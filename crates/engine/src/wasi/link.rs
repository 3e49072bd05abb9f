//! The table of functions: what a module may import, with which signature, served by what.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::{Caller, ExternType, FuncType, Linker, Module, Val, ValType};

use super::abi::{Errno, Preview};
use super::call::{Call, Done, Fault};
use super::guest::Guest;
use super::{Blocked, View, messages};

/// The modules whose functions this host serves: preview 1 and preview 0.
pub const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// A function that a module imports from one of [`MODULES`] and that this host does not have, or
/// has with other parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The module it is imported from.
    pub module: String,
    /// The function.
    pub name: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

/// Lists the functions, once: [`FUNCTIONS`] and the definitions are made from the same lines.
macro_rules! functions {
    ($($name:ident($($arg:ident: $type:ident),*);)*) => {
        /// The functions of both previews, with the types of their parameters.
        const FUNCTIONS: &[(&str, &[&str])] = &[$((stringify!($name), &[$(stringify!($type)),*])),*];

        fn define<T: View>(linker: &mut Linker<T>, module: &str, preview: Preview) -> wasmtime::Result<()> {
            $(linker.func_wrap(
                module,
                stringify!($name),
                move |caller: Caller<'_, T>, $($arg: $type),*| {
                    serve(caller, preview, |call| told(call.$name($($arg),*)))
                },
            )?;)*
            Ok(())
        }
    };
}

functions! {
    args_get(pointers: u32, bytes: u32);
    args_sizes_get(count: u32, bytes: u32);
    clock_res_get(clock: u32, at: u32);
    clock_time_get(clock: u32, precision: u64, at: u32);
    environ_get(pointers: u32, bytes: u32);
    environ_sizes_get(count: u32, bytes: u32);
    fd_advise(fd: u32, offset: u64, len: u64, advice: u32);
    fd_allocate(fd: u32, offset: u64, len: u64);
    fd_close(fd: u32);
    fd_datasync(fd: u32);
    fd_fdstat_get(fd: u32, at: u32);
    fd_fdstat_set_flags(fd: u32, flags: u32);
    fd_fdstat_set_rights(fd: u32, rights: u64, inheriting: u64);
    fd_filestat_get(fd: u32, at: u32);
    fd_filestat_set_size(fd: u32, size: u64);
    fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, which: u32);
    fd_pread(fd: u32, buffers: u32, count: u32, offset: u64, read_at: u32);
    fd_prestat_dir_name(fd: u32, at: u32, len: u32);
    fd_prestat_get(fd: u32, at: u32);
    fd_pwrite(fd: u32, buffers: u32, count: u32, offset: u64, written_at: u32);
    fd_read(fd: u32, buffers: u32, count: u32, read_at: u32);
    fd_readdir(fd: u32, at: u32, len: u32, cookie: u64, used_at: u32);
    fd_renumber(from: u32, to: u32);
    fd_seek(fd: u32, offset: i64, whence: u32, at: u32);
    fd_sync(fd: u32);
    fd_tell(fd: u32, at: u32);
    fd_write(fd: u32, buffers: u32, count: u32, written_at: u32);
    path_create_directory(dir: u32, path: u32, len: u32);
    path_filestat_get(dir: u32, lookup: u32, path: u32, len: u32, at: u32);
    path_filestat_set_times(dir: u32, lookup: u32, path: u32, len: u32, accessed: u64, modified: u64, which: u32);
    path_link(old_dir: u32, lookup: u32, old: u32, old_len: u32, new_dir: u32, new: u32, new_len: u32);
    path_open(dir: u32, lookup: u32, path: u32, len: u32, oflags: u32, rights: u64, inheriting: u64, flags: u32, fd_at: u32);
    path_readlink(dir: u32, path: u32, len: u32, at: u32, room: u32, used_at: u32);
    path_remove_directory(dir: u32, path: u32, len: u32);
    path_rename(old_dir: u32, old: u32, old_len: u32, new_dir: u32, new: u32, new_len: u32);
    path_symlink(target: u32, target_len: u32, dir: u32, path: u32, len: u32);
    path_unlink_file(dir: u32, path: u32, len: u32);
    poll_oneoff(subscriptions: u32, events: u32, count: u32, count_at: u32);
    proc_raise(signal: u32);
    random_get(at: u32, len: u32);
    sched_yield();
    sock_accept(fd: u32, flags: u32, at: u32);
    sock_recv(fd: u32, buffers: u32, count: u32, flags: u32, length_at: u32, flags_at: u32);
    sock_send(fd: u32, buffers: u32, count: u32, flags: u32, length_at: u32);
    sock_shutdown(fd: u32, how: u32);
}

/// The one function without a result.
const EXIT: &str = "proc_exit";

/// Defines every function of both previews, and those of the module `whimbrel`.
///
/// # Errors
/// One of them is defined already.
pub fn link<T: View>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    for (module, preview) in MODULES.into_iter().zip([Preview::One, Preview::Zero]) {
        define(linker, module, preview)?;
        linker.func_wrap(module, EXIT, move |caller: Caller<'_, T>, code: u32| {
            serve(caller, preview, |call| told(call.proc_exit(code))).map(|_| ())
        })?;
    }
    messages::link(linker)
}

/// What is said to the guest of how a call ended: zero, or an errno.
fn told(done: Done) -> Done<u32> {
    match done {
        Ok(()) => Ok(0),
        Err(Fault::Errno(errno)) => Ok(errno.code().into()),
        Err(fault) => Err(fault),
    }
}

/// Serves one call: lends it the guest's memory, and says to the guest what it answers.
pub(super) fn serve<T: View>(
    mut caller: Caller<'_, T>,
    preview: Preview,
    function: impl Fn(&mut Call<'_>) -> Done<u32>,
) -> wasmtime::Result<u32> {
    let Some(memory) = caller.data().memory() else {
        wasmtime::bail!("the module calls the host and exports no memory");
    };
    loop {
        let (bytes, view) = memory.data_and_store_mut(&mut caller);
        let (wasi, world) = view.wasi();
        let guest = Guest::new(bytes);
        let done = function(&mut Call { wasi, world, guest, preview });
        let wait = match done {
            Ok(answer) => return Ok(answer),
            Err(Fault::Errno(errno)) => return Ok(errno.code().into()),
            Err(Fault::Exit(exit)) => return Err(exit.into()),
            Err(Fault::Block(wait)) => wait,
        };
        match view.block(wait) {
            Blocked::Unwind => return Ok(0),
            Blocked::Again => {}
        }
    }
}

/// What a module imports from [`MODULES`] that is not there: to be named before anything runs.
#[must_use]
pub fn missing_imports(module: &Module) -> Vec<Missing> {
    missing(module).map(|(missing, _)| missing).collect()
}

fn missing(module: &Module) -> impl Iterator<Item = (Missing, FuncType)> {
    let mut seen = HashSet::new();
    module.imports().filter_map(move |import| {
        let (module, name) = (import.module(), import.name());
        let ExternType::Func(function) = import.ty() else { return None };
        if !MODULES.contains(&module) || is_served(name, &function) || !seen.insert((module, name))
        {
            return None;
        }
        Some((Missing { module: module.into(), name: name.into() }, function))
    })
}

/// Whether there is such a function with such a type. Another host's extension may have taken the
/// name for something else.
fn is_served(name: &str, function: &FuncType) -> bool {
    let fits = |types: &[&str]| {
        let wide = |kind| matches!(kind, ValType::I64);
        let narrow = |kind| matches!(kind, ValType::I32);
        function.params().len() == types.len()
            && function.params().zip(types).all(|(found, wanted)| match *wanted {
                "u64" | "i64" => wide(found),
                _ => narrow(found),
            })
    };
    if name == EXIT {
        return fits(&["u32"]) && function.results().len() == 0;
    }
    FUNCTIONS.iter().any(|(served, types)| *served == name && fits(types))
        && function.results().len() == 1
        && function.results().all(|kind| matches!(kind, ValType::I32))
}

/// Defines each of [`missing_imports`] as a function that does nothing but answer `nosys`, with a
/// warning the first time. For programs that import more than they call. Comes after [`link`], and
/// takes the place of a function that is there with another type.
///
/// # Errors
/// Wasmtime refuses a definition.
pub fn link_stubs<T: View>(linker: &mut Linker<T>, module: &Module) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    for (missing, function) in missing(module) {
        let Missing { module, name } = missing.clone();
        let warned = AtomicBool::new(false);
        linker.func_new(&module, &name, function.clone(), move |_, _, results| {
            if !warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(%missing, "the program calls a function that is only a stub");
            }
            for (result, kind) in results.iter_mut().zip(function.results()) {
                *result = stub_result(kind)?;
            }
            Ok(())
        })?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// WASI answers in an `i32`, which is an errno.
fn stub_result(kind: ValType) -> wasmtime::Result<Val> {
    match kind {
        ValType::I32 => Ok(Val::I32(Errno::NoSystem.code().into())),
        kind => match Val::default_for_ty(&kind) {
            Some(value) => Ok(value),
            None => wasmtime::bail!("a stub cannot answer with {kind}"),
        },
    }
}
