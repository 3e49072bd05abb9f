//! Machines to type commands at: each has a home of its own, as if it were another one.

#![allow(dead_code, reason = "each of those who include this uses another part")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A machine with its home and what runs there.
pub(crate) struct Machine {
    pub(crate) name: &'static str,
    home: TempDir,
}

/// What became of a command.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Machine {
    /// Another machine with the same program in its working directory.
    pub(crate) fn new(name: &'static str, program: &[u8]) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("app.wasm"), program).unwrap();
        Self { name, home }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// `whimbrel` with these words.
    pub(crate) fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_whimbrel"));
        command.args(words).current_dir(self.home()).env_clear().env("HOME", self.home());
        // Compiled code serves all of a test's machines.
        command.env("XDG_CACHE_HOME", std::env::temp_dir().join("whimbrel-documents-cache"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a line to its end.
    pub(crate) fn run(&self, line: &str) -> Said {
        let Output { status, stdout, stderr } =
            self.command(line.split_whitespace()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let said = Said {
            code: status.code().expect("it exits by itself"),
            out: text(stdout),
            err: text(stderr),
        };
        eprintln!("{}$ whimbrel {line}\n{}{}→ {}", self.name, said.out, said.err, said.code);
        said
    }

    /// Runs a line that must exit with this; returns its standard output.
    pub(crate) fn check(&self, line: &str, code: i32) -> String {
        let said = self.run(line);
        assert_eq!(said.code, code, "{line}: {}", said.err);
        said.out
    }

    pub(crate) fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.check(&format!("{line} -o json"), 0)).unwrap()
    }

    /// Runs a line again until what it says in JSON will do.
    pub(crate) fn until(
        &self,
        line: &str,
        will_do: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let found = self.json(line);
            if will_do(&found) {
                return found;
            }
            assert!(std::time::Instant::now() < end, "{line} still says {found}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Whatever became of the test, no daemon outlives it.
        let _ = self.command(["node", "stop", "--force"]).output();
    }
}
