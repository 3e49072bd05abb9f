//! `bench exec`: what freezability costs a program that runs, beside plain Wasmtime and the other ways to stop one.
//!
//! Every variant of a program is run in turn, round after round, so that all see the same machine. What is timed is the
//! program, from its entry point's beginning to its end, in processor time of a thread that is set up alike for all. A row
//! is **the ratio of the least time of a variant to the least of plain Wasmtime**: interference only adds, so the least
//! sample is the one that was interfered with least. Whoever shares the machine's cores leaves them alone for some
//! milliseconds at a time only, so a kernel makes as many rounds as take about that long, and is run often. Real programs
//! take longer; what is left of the interference shows in how far plain Wasmtime is from itself (`again`). Every run has to
//! print what the plain one printed.

mod asyncify;
mod variant;
mod workload;

use std::{collections::BTreeMap, time::Duration};

use variant::{Ran, Ready, Runners, Variant};
use workload::{Kind, Workload};

use crate::{
    report::Report,
    statistics::{geomean, least},
};

/// What of the benchmark to run.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// Fewer rounds: to look, not to publish.
    quick: bool,
    /// Only workloads of these names; all, if there are none.
    only: Vec<String>,
}

impl Choice {
    pub(crate) fn parse(options: &[String]) -> Result<Self, String> {
        let mut choice = Self::default();
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match option.as_str() {
                "--json" => {}
                "--quick" => choice.quick = true,
                "--only" => choice.only.push(options.next().ok_or("--only needs a name")?.clone()),
                other => return Err(format!("unknown option {other}")),
            }
        }
        Ok(choice)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// How often each variant is run.
    fn runs(&self, kind: Kind) -> usize {
        match (self.quick, kind) {
            (true, Kind::Kernel) => 50,
            (true, Kind::Real) => 5,
            (false, Kind::Kernel) => 300,
            (false, Kind::Real) => 25,
        }
    }

    /// How often compilation is timed.
    fn compiles(&self, kind: Kind) -> usize {
        match (self.quick, kind) {
            (true, Kind::Kernel) => 5,
            (true, Kind::Real) => 2,
            (false, Kind::Kernel) => 25,
            (false, Kind::Real) => 9,
        }
    }
}

/// How long one plain run of a kernel is to take.
const RUN_TIME: Duration = Duration::from_millis(5);

/// What is known of one workload after its runs.
struct Found {
    name: &'static str,
    kind: Kind,
    times: BTreeMap<Variant, Duration>,
    code_bytes: BTreeMap<Variant, usize>,
    /// Plain, and Whimbrel's.
    compile: (Duration, Duration),
}

impl Found {
    /// Time as `variant`, to plain.
    fn ratio(&self, variant: Variant) -> Option<f64> {
        Some(self.times.get(&variant)?.as_secs_f64() / self.times[&Variant::Plain].as_secs_f64())
    }
}

pub(crate) fn run(choice: &Choice) -> Result<Report, String> {
    let runners = Runners::new()?;
    let mut found = Vec::new();
    for workload in workload::kernels()?.into_iter().chain(workload::real()?) {
        if choice.wants(workload.name) {
            found.push(
                measure(choice, &runners, &workload)
                    .map_err(|said| format!("{}: {said}", workload.name))?,
            );
        }
    }
    Ok(report(&found))
}

fn measure(choice: &Choice, runners: &Runners, workload: &Workload) -> Result<Found, String> {
    let ready = runners.ready(workload)?;
    let (rounds, first) = calibrate(runners, workload, &ready)?;
    // Early, and in the middle of things.
    let stop_after = first.time / 20;
    let mut samples: BTreeMap<Variant, Vec<Duration>> = BTreeMap::new();
    for turn in 0..choice.runs(workload.kind) {
        for index in 0..Variant::ALL.len() {
            // Each turn another variant goes first.
            let variant = Variant::ALL[(turn + index) % Variant::ALL.len()];
            let Some(ran) = runners.run(&ready, variant, workload.setup(rounds), stop_after)?
            else {
                continue;
            };
            if ran.output != first.output {
                return Err(format!("as {variant} it printed something else than plain"));
            }
            samples.entry(variant).or_default().push(ran.time);
        }
    }
    let found = Found {
        name: workload.name,
        kind: workload.kind,
        times: samples.iter().map(|(variant, samples)| (*variant, least(samples))).collect(),
        code_bytes: Variant::ALL
            .iter()
            .filter_map(|&variant| Some((variant, ready.code_bytes(variant)?)))
            .collect(),
        compile: compile(choice, runners, workload)?,
    };
    found.show();
    Ok(found)
}

/// How many rounds a kernel makes in the time that a run is to take, and the run that shows it.
fn calibrate(runners: &Runners, workload: &Workload, ready: &Ready) -> Result<(u32, Ran), String> {
    let plain = |rounds| {
        let ran = runners.run(ready, Variant::Plain, workload.setup(rounds), Duration::ZERO)?;
        ran.ok_or_else(|| "plain Wasmtime is always to be had".to_owned())
    };
    let mut rounds = 1;
    loop {
        let ran = plain(rounds)?;
        if workload.kind == Kind::Real {
            return Ok((rounds, ran));
        }
        if ran.time >= RUN_TIME / 2 {
            let exact = f64::from(rounds) * RUN_TIME.as_secs_f64() / ran.time.as_secs_f64();
            let rounds = (exact as u32).max(1);
            return Ok((rounds, plain(rounds)?));
        }
        rounds *= 2;
    }
}

/// The least time that plain Wasmtime and the engine take to compile it, in turn.
fn compile(
    choice: &Choice,
    runners: &Runners,
    workload: &Workload,
) -> Result<(Duration, Duration), String> {
    let mut samples = (Vec::new(), Vec::new());
    for _ in 0..choice.compiles(workload.kind) {
        let (plain, whimbrel) = variant::compile_times(runners, &workload.wasm)?;
        samples.0.push(plain);
        samples.1.push(whimbrel);
    }
    Ok((least(&samples.0), least(&samples.1)))
}

impl Found {
    /// One line on stderr, for who waits.
    fn show(&self) {
        let ratio = |variant| Some(format!("{variant} {:.3}", self.ratio(variant)?));
        let line: Vec<String> = Variant::ALL.into_iter().filter_map(ratio).collect();
        let (plain, whimbrel) = self.compile;
        let compile = whimbrel.as_secs_f64() / plain.as_secs_f64();
        let bytes = |variant| self.code_bytes.get(&variant).copied().unwrap_or_default() as f64;
        let code = bytes(Variant::Whimbrel) / bytes(Variant::Plain);
        let time = self.times[&Variant::Plain];
        eprintln!(
            "{:<13} {time:>8.1?}  {}  code {code:.2}  compile {compile:.2}",
            self.name,
            line.join("  ")
        );
    }
}

fn report(found: &[Found]) -> Report {
    let mut report = Report::new("exec");
    let kernels = || found.iter().filter(|found| found.kind == Kind::Kernel);
    let ratios = |variant| kernels().filter_map(move |found| found.ratio(variant));
    report.push("geomean", geomean(ratios(Variant::Whimbrel)), "ratio");
    report.push("worst", ratios(Variant::Whimbrel).fold(f64::NAN, f64::max), "ratio");
    for found in found.iter().filter(|found| found.kind == Kind::Real) {
        report.push(found.name, found.ratio(Variant::Whimbrel).unwrap_or(f64::NAN), "ratio");
    }
    report.push("thawed-geomean", geomean(ratios(Variant::Thawed)), "ratio");
    // Sizes and compile times are held to a goal over the kernels and SQLite: the rest is rivals' and giants'.
    let sized =
        || found.iter().filter(|found| found.kind == Kind::Kernel || found.name == "sqlite");
    let code =
        |variant| sized().filter_map(|found| found.code_bytes.get(&variant)).sum::<usize>() as f64;
    report.push("code-size", code(Variant::Whimbrel) / code(Variant::Plain), "ratio");
    let compile = |pick: fn(&Found) -> Duration| sized().map(pick).sum::<Duration>().as_secs_f64();
    report.push(
        "compile-time",
        compile(|found| found.compile.1) / compile(|found| found.compile.0),
        "ratio",
    );
    report.push("code-size-thawed", code(Variant::Thawed) / code(Variant::Plain), "ratio");
    for rival in [Variant::Epoch, Variant::Asyncify, Variant::Again] {
        if ratios(rival).next().is_some() {
            report.push(format!("{rival}-geomean"), geomean(ratios(rival)), "ratio");
            report.push(format!("{rival}-worst"), ratios(rival).fold(f64::NAN, f64::max), "ratio");
        }
    }
    for found in found {
        for &variant in &Variant::ALL[1..] {
            let Some(ratio) = found.ratio(variant) else { continue };
            match (variant, found.kind) {
                (Variant::Whimbrel, Kind::Kernel) => report.push(found.name, ratio, "ratio"),
                // It is above already.
                (Variant::Whimbrel, Kind::Real) => {}
                _ => report.push(format!("{}/{variant}", found.name), ratio, "ratio"),
            }
        }
        let code = |variant| found.code_bytes.get(&variant).copied().unwrap_or_default() as f64;
        report.push(
            format!("{}/code-size", found.name),
            code(Variant::Whimbrel) / code(Variant::Plain),
            "ratio",
        );
        let (plain, whimbrel) = found.compile;
        let compile = whimbrel.as_secs_f64() / plain.as_secs_f64();
        report.push(format!("{}/compile-time", found.name), compile, "ratio");
    }
    report
}
