//! Compiles the one guest that is part of the binary, with the compiler at hand and no package around it.

use std::{env, path::PathBuf, process::Command};

fn main() {
    let source = "../../guests/src/bin/pi.rs";
    println!("cargo::rerun-if-changed={source}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("pi.wasm");
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let status = Command::new(rustc)
        .args([
            "--edition=2024",
            "--target=wasm32-wasip1",
            "--crate-name=pi",
            "-Copt-level=3",
            "-Cpanic=abort",
        ])
        .args(["-Clto=fat", "-Cstrip=debuginfo", source, "-o"])
        .arg(&out)
        .status()
        .expect("the compiler that cargo names runs");
    assert!(
        status.success(),
        "pi.rs needs the target wasm32-wasip1: `rustup target add wasm32-wasip1`"
    );
}
