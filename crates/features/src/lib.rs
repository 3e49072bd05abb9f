//! Nothing but dependencies: one set of features, whichever members of the workspace are built.
//!
//! Cargo unites features over the packages that one command selects, so `cargo test -p engine` and
//! `cargo build` would each compile Wasmtime, at seven minutes apiece. The crates above Wasmtime
//! depend on this one, which switches on the union of what any of them or their tests need.
