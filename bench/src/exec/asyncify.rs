//! The rival from Binaryen: polls at every loop and function entry, then `wasm-opt --asyncify`.
//!
//! Asyncify itself inserts no polls, so they are inserted here: an atomic load of a word that is always zero and, if it
//! were not, a call of an import that Asyncify is told may unwind. The word lies at an address below all data, and the
//! import is one that the program has already, so that no index in it changes.

use std::{path::PathBuf, process::Command};

use programs::Package;
use wasm_encoder::{
    BlockType, CodeSection, Function, Instruction, MemArg, Module, reencode,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::{FunctionBody, Operator, Parser, Payload, TypeRef};

use super::workload::Workload;

/// Binaryen as npm has it. Only the benchmark needs it.
const BINARYEN: Package = Package {
    name: "binaryen",
    version: "132.0.0",
    directory: "binaryen-132.0.0",
    files: &[
        ("bin/wasm-opt", "12b54eecb8646be666b766be603df9cebe97de50e2893036d3793a8780680f57"),
        ("bin/package.json", "a3d8ddcdd474541ae5091c53e0990fa7aa1f014b53b3ea909166d8814d6f6657"),
    ],
    archives: &[],
};

/// What programs below use and `wasm-opt` does not take for granted.
const FEATURES: [&str; 8] = [
    "--enable-threads",
    "--enable-bulk-memory",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-simd",
    "--enable-multivalue",
    "--enable-reference-types",
];

/// Below where linkers put data, above the null page's first words.
const WORD_ADDRESS: i32 = 16;

/// `wasm-opt`, ready to be called.
pub(super) struct Asyncify {
    wasm_opt: PathBuf,
}

impl Asyncify {
    /// Fetches Binaryen; nothing, with a word on stderr, where it is not to be had.
    pub(super) fn fetch() -> Result<Option<Self>, String> {
        let fetched = BINARYEN.fetch(&programs::cache_dir(), &mut |step| {
            if let programs::Progress::Fetching { package } = step {
                eprintln!("fetching {package} from npm");
            }
        });
        match fetched {
            Ok(home) => Ok(Some(Self { wasm_opt: home.join("bin/wasm-opt") })),
            Err(error) if error.is_absent() => {
                eprintln!("bench: no rows for Asyncify: {error}");
                Ok(None)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The program with polls, asyncified and optimised as Binaryen's own advice has it.
    pub(super) fn apply(&self, workload: &Workload) -> Result<Vec<u8>, String> {
        let said = |what: &dyn std::fmt::Display| format!("{} for Asyncify: {what}", workload.name);
        let (polled, import) = with_polls(&workload.wasm).map_err(|error| said(&error))?;
        let directory = tempfile::tempdir().map_err(|error| said(&error))?;
        let (input, output) = (directory.path().join("in.wasm"), directory.path().join("out.wasm"));
        std::fs::write(&input, polled).map_err(|error| said(&error))?;
        let ran = Command::new("node")
            .arg(&self.wasm_opt)
            .args(FEATURES)
            .args(["--asyncify", &format!("--pass-arg=asyncify-imports@{import}"), "-O2"])
            .arg(&input)
            .arg("-o")
            .arg(&output)
            .output()
            .map_err(|error| said(&error))?;
        if !ran.status.success() {
            return Err(said(&String::from_utf8_lossy(&ran.stderr)));
        }
        std::fs::read(&output).map_err(|error| said(&error))
    }
}

/// The module with a poll at each entry and loop header, and `MODULE.NAME` of the import that the polls call.
fn with_polls(wasm: &[u8]) -> Result<(Vec<u8>, String), reencode::Error> {
    let (callee, import) = pollable(wasm)?;
    let mut module = Module::new();
    Polls { callee }.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok((module.finish(), import))
}

/// An import of type `(i32, i32) -> i32` that WASI programs have: its function index and its name.
fn pollable(wasm: &[u8]) -> Result<(u32, String), reencode::Error> {
    let mut index = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::ImportSection(imports) = payload? else { continue };
        for import in imports.into_imports() {
            let import = import?;
            if let TypeRef::Func(_) = import.ty {
                if import.name == "environ_get" {
                    return Ok((index, format!("{}.{}", import.module, import.name)));
                }
                index += 1;
            }
        }
    }
    panic!("a WASI program imports environ_get");
}

/// Copies a module, putting a poll where one belongs.
struct Polls {
    callee: u32,
}

impl Reencode for Polls {
    type Error = std::convert::Infallible;

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: FunctionBody<'_>,
    ) -> Result<(), reencode::Error> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        self.poll(&mut function);
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let operator = operators.read()?;
            let loops = matches!(operator, Operator::Loop { .. });
            function.instruction(&RoundtripReencoder.instruction(operator)?);
            if loops {
                self.poll(&mut function);
            }
        }
        code.function(&function);
        Ok(())
    }
}

impl Polls {
    fn poll(&self, function: &mut Function) {
        function
            .instruction(&Instruction::I32Const(WORD_ADDRESS))
            .instruction(&Instruction::I32AtomicLoad(MemArg {
                offset: 0,
                align: 2,
                memory_index: 0,
            }))
            .instruction(&Instruction::If(BlockType::Empty))
            .instruction(&Instruction::I32Const(0))
            .instruction(&Instruction::I32Const(0))
            .instruction(&Instruction::Call(self.callee))
            .instruction(&Instruction::Drop)
            .instruction(&Instruction::End);
    }
}
