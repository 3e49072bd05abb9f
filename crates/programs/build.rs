//! Compiles the one guest that is part of the binary, with the compiler at hand and no package around it.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "wasm32-wasip1";

fn main() {
    let source = "../../guests/src/bin/pi.rs";
    println!("cargo::rerun-if-changed={source}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("pi.wasm");
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    if !has_target(&rustc) {
        add_target();
    }
    let status = Command::new(rustc)
        .args(["--edition=2024", "--target", TARGET, "--crate-name=pi"])
        .args(["-Copt-level=3", "-Cpanic=abort", "-Clto=fat", "-Cstrip=debuginfo", source, "-o"])
        .arg(&out)
        .status()
        .expect("the compiler that cargo names runs");
    assert!(status.success(), "pi.rs does not compile for {TARGET}");
}

/// Whether the compiler's standard library for guests is there.
fn has_target(rustc: &OsStr) -> bool {
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let directory = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    directory.is_ok_and(|directory| Path::new(&directory).is_dir())
}

/// Installs it, where rustup made the toolchain: `rust-toolchain.toml` names the target, but rustup looks at that only
/// when it installs a toolchain, and a machine may have had this one already, without the target.
fn add_target() {
    println!("cargo::warning=installing the target {TARGET} by rustup");
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    assert!(
        added.is_ok_and(|status| status.success()),
        "guests are compiled for {TARGET}, which this toolchain lacks: `rustup target add {TARGET}`"
    );
}
