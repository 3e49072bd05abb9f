//! The one binary: the command's words (`cli`) and the daemon (`node`), which know nothing of each other.

#![forbid(unsafe_code)]

mod demo;
mod host;
mod image;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Once for the process, before anyone speaks TLS. A second one would be the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::main(&host::Binary)
}
