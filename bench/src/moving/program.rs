//! What is moved.

use std::{fs, time::Duration};

use engine::Dir;

/// A program that goes on until it is ended, and prints a line once it is in the middle of its work.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) wasm: Vec<u8>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) dirs: Vec<Dir>,
    /// How long it still takes after that line.
    pub(crate) warm_up: Duration,
}

/// A loop with lists, text and numbers, for ever.
const PYTHON: &str = "\
print('ready', flush=True)
n = 0
kept = []
while True:
    n += 1
    kept.append('%d' % (n * n))
    if len(kept) > 20000:
        kept = sorted(kept)[:1000]
";

/// One of our own guests.
pub(super) fn guest(name: &'static str, guest: &str, args: &[&str]) -> Result<Subject, String> {
    let path = programs::guest(guest).map_err(|error| error.to_string())?;
    let wasm = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let args = [guest].iter().chain(args).map(|&arg| arg.to_owned()).collect();
    Ok(Subject { name, wasm, args, env: Vec::new(), dirs: Vec::new(), warm_up: Duration::ZERO })
}

/// CPython; nothing, with a word on stderr, where npm is absent.
pub(super) fn cpython() -> Result<Option<Subject>, String> {
    let real = match programs::fetch(&mut |_| {}) {
        Ok(real) => real,
        Err(error) if error.is_absent() => {
            eprintln!("bench: no rows for CPython: {error}");
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    let program = real.cpython();
    let wasm =
        fs::read(&program.wasm).map_err(|error| format!("{}: {error}", program.wasm.display()))?;
    let dirs = program.dirs.into_iter().map(|dir| Dir {
        host: dir.host,
        guest: dir.guest,
        read_only: true,
    });
    Ok(Some(Subject {
        name: "cpython",
        wasm,
        args: ["python", "-c", PYTHON].map(str::to_owned).into(),
        env: program.env,
        dirs: dirs.collect(),
        warm_up: Duration::from_millis(100),
    }))
}
