//! The one binary: the command's words (`cli`) and the daemon (`node`), which know nothing of each other.

#![forbid(unsafe_code)]

mod demo;
mod host;
mod image;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(&host::Binary)
}
