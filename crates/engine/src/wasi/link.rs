//! The table of functions: what a module may import, with which signature, served by what.

use std::fmt;

use wasmtime::{Linker, Module};

use super::View;

/// The modules whose functions this host serves: preview 1 and preview 0.
pub const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// A function that a module imports from one of [`MODULES`] and that this host does not have.
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

/// Defines every function of both previews.
///
/// # Errors
/// One of them is defined already.
pub fn link<T: View>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let _ = linker;
    Ok(())
}

/// What a module imports from [`MODULES`] that is not there: to be named before anything runs.
#[must_use]
pub fn missing_imports(module: &Module) -> Vec<Missing> {
    let _ = module;
    vec![]
}

/// Defines each of [`missing_imports`] as a function that does nothing but answer `nosys`, with a
/// warning the first time. For programs that import more than they call.
///
/// # Errors
/// One of them is defined already.
pub fn link_stubs<T: View>(linker: &mut Linker<T>, module: &Module) -> wasmtime::Result<()> {
    let _ = (linker, module);
    Ok(())
}
