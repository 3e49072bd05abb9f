//! Our own guests: the Rust programs under `guests/`, built for WASI when a test or a benchmark asks for one.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Why our own guests are not there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GuestError {
    /// cargo could not build them; most often the target is missing.
    #[error(
        "building the guests failed (is the target installed? `rustup target add wasm32-wasip1`):\n{said}"
    )]
    Build {
        /// What cargo wrote.
        said: String,
    },
    /// There is no guest of that name under `guests/src/bin`.
    #[error("there is no guest called {name}")]
    Unknown {
        /// The name asked for.
        name: String,
    },
}

/// Builds all guests, once per process (cargo finds out what is stale), and returns the directory of their `.wasm` files.
///
/// Only in a working tree: an installed binary has no guests but [`PI`](crate::PI).
pub fn guests() -> Result<&'static Path, GuestError> {
    static BUILT: OnceLock<Result<PathBuf, GuestError>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref().map_err(Clone::clone)
}

/// The path of one of our own guests, `fib` say, built if need be.
pub fn guest(name: &str) -> Result<PathBuf, GuestError> {
    let path = guests()?.join(format!("{name}.wasm"));
    if path.is_file() { Ok(path) } else { Err(GuestError::Unknown { name: name.to_owned() }) }
}

fn build() -> Result<PathBuf, GuestError> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests");
    let target = home.join("target");
    // Under `cargo test` this is the same cargo; the flags that outer builds are given are not the guests'.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--target",
            "wasm32-wasip1",
            "--target-dir",
        ])
        .arg(&target)
        .current_dir(&home)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(target.join("wasm32-wasip1/release")),
        Ok(output) => Err(GuestError::Build {
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
        Err(error) => Err(GuestError::Build { said: format!("cargo does not start: {error}") }),
    }
}
