//! `bench exec`: what freezability costs a program that runs, beside plain Wasmtime and the other ways to stop one.
//!
//! Every variant of a program is run in turn, round after round, so that all see the same machine. A run is measured in
//! processor time of its thread, inside the program's entry point. A row is **the ratio of the least time of a variant
//! to the least of plain Wasmtime**: interference only adds, so the least sample is the one that was interfered with
//! least. The number of rounds that a kernel makes is set so that a plain run takes some tens of milliseconds.

mod asyncify;
mod host;
mod variant;
mod workload;

use std::{collections::BTreeMap, time::Duration};

use asyncify::Asyncify;
use variant::{Makers, Ready, Variant};
use workload::Workload;

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
    fn runs(&self) -> usize {
        if self.quick { 5 } else { 21 }
    }

    /// How long one plain run is to take.
    fn run_time(&self) -> Duration {
        Duration::from_millis(if self.quick { 15 } else { 40 })
    }
}

/// What is known of one workload after its runs.
struct Found {
    name: &'static str,
    times: BTreeMap<Variant, Duration>,
    compile: BTreeMap<Variant, Duration>,
    code_bytes: BTreeMap<Variant, usize>,
}

impl Found {
    /// Time as `variant`, to plain.
    fn ratio(&self, variant: Variant) -> Option<f64> {
        Some(self.times.get(&variant)?.as_secs_f64() / self.times[&Variant::Plain].as_secs_f64())
    }
}

pub(crate) fn run(choice: &Choice) -> Result<Report, String> {
    let makers = Makers::new(Asyncify::fetch()?)?;
    let mut found = Vec::new();
    for workload in workload::kernels()?.iter().filter(|workload| choice.wants(workload.name)) {
        let ready = ready(&makers, workload)?;
        found.push(measure(choice, workload, &ready)?);
    }
    Ok(report(&found))
}

fn ready(makers: &Makers, workload: &Workload) -> Result<Vec<Ready>, String> {
    let made: Result<Vec<_>, _> =
        Variant::ALL.into_iter().map(|variant| makers.make(variant, workload)).collect();
    Ok(made?.into_iter().flatten().collect())
}

fn measure(choice: &Choice, workload: &Workload, ready: &[Ready]) -> Result<Found, String> {
    let plain = &ready[0];
    let rounds = calibrate(choice, workload, plain)?;
    let expected = host::run(&plain.engine, &plain.module, workload, rounds)?.output;
    let mut samples: BTreeMap<Variant, Vec<Duration>> = BTreeMap::new();
    for turn in 0..choice.runs() {
        for index in 0..ready.len() {
            // Each turn another variant goes first.
            let Ready { variant, engine, module, .. } = &ready[(turn + index) % ready.len()];
            let ran = host::run(engine, module, workload, rounds)?;
            if ran.output != expected {
                return Err(format!(
                    "{} as {variant} printed something else than plain",
                    workload.name
                ));
            }
            samples.entry(*variant).or_default().push(ran.time);
        }
    }
    let found = Found {
        name: workload.name,
        times: samples.iter().map(|(variant, samples)| (*variant, least(samples))).collect(),
        compile: ready.iter().map(|ready| (ready.variant, ready.compile)).collect(),
        code_bytes: ready.iter().map(|ready| (ready.variant, ready.code_bytes())).collect(),
    };
    let line: Vec<String> = Variant::ALL
        .iter()
        .filter_map(|&variant| Some(format!("{variant} {:.3}", found.ratio(variant)?)))
        .collect();
    eprintln!("{:<14} {}", workload.name, line.join("  "));
    Ok(found)
}

/// How many rounds a kernel makes in the time that a run is to take.
fn calibrate(choice: &Choice, workload: &Workload, plain: &Ready) -> Result<u32, String> {
    let mut rounds = 1;
    loop {
        let time = host::run(&plain.engine, &plain.module, workload, rounds)?.time;
        if time >= choice.run_time() / 2 {
            let exact = f64::from(rounds) * choice.run_time().as_secs_f64() / time.as_secs_f64();
            return Ok((exact as u32).max(1));
        }
        rounds *= 2;
    }
}

fn report(found: &[Found]) -> Report {
    let mut report = Report::new("exec");
    let ratios = |variant| found.iter().filter_map(move |found| found.ratio(variant));
    report.push("geomean", geomean(ratios(Variant::Whimbrel)), "ratio");
    report.push("worst", ratios(Variant::Whimbrel).fold(f64::NAN, f64::max), "ratio");
    for rival in [Variant::Epoch, Variant::Asyncify] {
        if ratios(rival).next().is_some() {
            report.push(format!("{rival}-geomean"), geomean(ratios(rival)), "ratio");
        }
    }
    let code = |variant| {
        found.iter().filter_map(|found| found.code_bytes.get(&variant)).sum::<usize>() as f64
    };
    report.push("code-size", code(Variant::Whimbrel) / code(Variant::Plain), "ratio");
    let compile = |variant| {
        found.iter().filter_map(|found| found.compile.get(&variant)).sum::<Duration>().as_secs_f64()
    };
    report.push("compile-time", compile(Variant::Whimbrel) / compile(Variant::Plain), "ratio");
    for found in found {
        for variant in &Variant::ALL[1..] {
            let Some(ratio) = found.ratio(*variant) else { continue };
            let name = match variant {
                Variant::Whimbrel => found.name.to_owned(),
                rival => format!("{}/{rival}", found.name),
            };
            report.push(name, ratio, "ratio");
        }
    }
    report
}
