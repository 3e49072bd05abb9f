//! The ways to run a program that are held against each other.

use std::{
    fmt,
    time::{Duration, Instant},
};

use wasmtime::{Config, Engine, Module};

use super::{asyncify::Asyncify, workload::Workload};

/// A way to run a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Variant {
    /// Wasmtime as it comes: what all ratios are to.
    Plain,
    /// The run form of our transform.
    Whimbrel,
    /// Wasmtime's own interruption by epochs, which can only pre-empt.
    Epoch,
    /// Binaryen's Asyncify, with polls at loops and entries: the ancestor.
    Asyncify,
}

impl Variant {
    pub(super) const ALL: [Self; 4] = [Self::Plain, Self::Whimbrel, Self::Epoch, Self::Asyncify];
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Whimbrel => "whimbrel",
            Self::Epoch => "epoch",
            Self::Asyncify => "asyncify",
        })
    }
}

/// A program made ready for one variant.
pub(super) struct Ready {
    pub(super) variant: Variant,
    pub(super) engine: Engine,
    pub(super) module: Module,
    /// From the program's bytes to machine code, our transform included.
    pub(super) compile: Duration,
}

impl Ready {
    /// Bytes of machine code.
    pub(super) fn code_bytes(&self) -> usize {
        self.module.text().len()
    }
}

/// Wasmtime with the settings that the engine runs programs with.
fn settings() -> Config {
    let mut config = Config::new();
    config
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_multi_memory(true)
        .wasm_tail_call(true)
        .wasm_extended_const(true)
        .memory_reservation(4 << 30);
    config
}

pub(super) struct Makers {
    plain: Engine,
    epoch: Engine,
    asyncify: Option<Asyncify>,
}

impl Makers {
    pub(super) fn new(asyncify: Option<Asyncify>) -> Result<Self, String> {
        let engine =
            |config: &Config| Engine::new(config).map_err(|error| format!("wasmtime: {error:?}"));
        let mut epoch = settings();
        epoch.epoch_interruption(true);
        Ok(Self { plain: engine(&settings())?, epoch: engine(&epoch)?, asyncify })
    }

    /// Makes `workload` ready to run as `variant`; nothing where that variant is not to be had.
    pub(super) fn make(
        &self,
        variant: Variant,
        workload: &Workload,
    ) -> Result<Option<Ready>, String> {
        let prepared = match (variant, &self.asyncify) {
            (Variant::Asyncify, None) => return Ok(None),
            // What Binaryen takes is not counted: nobody would run it where programs are started.
            (Variant::Asyncify, Some(asyncify)) => Some(asyncify.apply(workload)?),
            _ => None,
        };
        let wasm = prepared.as_deref().unwrap_or(&workload.wasm);
        let engine = if variant == Variant::Epoch { &self.epoch } else { &self.plain };
        let start = Instant::now();
        let module = match variant {
            Variant::Whimbrel => Module::new(engine, transformed(wasm)?.run),
            _ => Module::new(engine, wasm),
        };
        let module =
            module.map_err(|error| format!("{} as {variant}: {error:?}", workload.name))?;
        Ok(Some(Ready { variant, engine: engine.clone(), module, compile: start.elapsed() }))
    }
}

fn transformed(wasm: &[u8]) -> Result<transform::Transformed, String> {
    transform::transform(wasm, &transform::Options::default()).map_err(|error| error.to_string())
}
