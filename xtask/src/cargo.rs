//! Calling cargo, from the workspace's root, with its words passed through.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The root of the working tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_owned()
}

/// cargo, about to be run in the root.
pub(crate) struct Cargo(pub(crate) Command);

/// The same cargo that runs us, with these arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Cargo {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    Cargo(command)
}

impl Cargo {
    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.0.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it to its end; a failure names the step.
    pub(crate) fn run(mut self, step: &str) -> Result<(), String> {
        match self.0.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{step} failed ({status})")),
            Err(error) => Err(format!("{step}: cargo does not start: {error}")),
        }
    }

    /// Runs it and returns what it wrote to stdout.
    pub(crate) fn read(mut self) -> Result<String, String> {
        let output = self.0.output().map_err(|error| format!("cargo does not start: {error}"))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(stderr.trim().to_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
