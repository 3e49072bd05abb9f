//! What is run.

use std::{fs, path::PathBuf};

/// A program and how to make it work for a while.
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) wasm: Vec<u8>,
}

/// Our own kernels, each of which takes a number of rounds.
const KERNELS: [&str; 11] = [
    "fib",
    "matmul",
    "sieve",
    "sha2",
    "sort",
    "hash_map",
    "n_body",
    "binary_trees",
    "formatting",
    "fannkuch",
    "interpreter",
];

pub(super) fn kernels() -> Result<Vec<Workload>, String> {
    KERNELS.into_iter().map(|name| Ok(Workload { name, wasm: read(guest(name)?)? })).collect()
}

impl Workload {
    pub(super) fn args(&self, rounds: u32) -> Vec<String> {
        vec![self.name.to_owned(), rounds.to_string()]
    }
}

fn guest(name: &str) -> Result<PathBuf, String> {
    programs::guest(name).map_err(|error| error.to_string())
}

fn read(path: PathBuf) -> Result<Vec<u8>, String> {
    fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
}
