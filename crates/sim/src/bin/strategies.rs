//! `cargo xtask bench strategies`: what each location strategy costs, predicted and counted.
//!
//! `--json` prints rows for machines, `--svg FILE` draws, `--only WORDS` takes the points whose names have
//! them, as in `16 nodes, 8 correspondents`, `--seed N` draws other events.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;

use sim::strategies::{Counted, Place, Ratio, Strategy, count, predict};

#[path = "strategies/chart.rs"]
mod chart;

/// Events that adaptive processes have to find out what is cheapest. Fixed strategies have them, too.
const FIRST: u64 = 1_000;

/// Events before a flip of the ratio, and after it.
const FLIPPED: u64 = 4_000;

const NODES: [usize; 3] = [3, 16, 50];
const CORRESPONDENTS: [u32; 3] = [1, 8, 32];
const RATIOS: [(u32, u32); 7] =
    [(1, 1_000), (1, 100), (1, 10), (1, 1), (10, 1), (100, 1), (1_000, 1)];

/// What the figures must not exceed.
const EXCESS_MAX: f64 = 1.05;
const FLIP_EXCESS_MAX: f64 = 1.25;
const FLIP_CHANGES_MAX: u64 = 2;

/// So much for each event is not counted against a process that has to find out.
const ALLOWANCE: f64 = 0.02;

const SEED: u64 = 7;

const USAGE: &str = "usage: strategies [--json] [--svg FILE] [--only WORDS] [--seed N]";

/// What to run, and what to make of it.
struct Choice {
    json: bool,
    svg: Option<String>,
    only: String,
    seed: u64,
}

impl Choice {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut choice = Self { json: false, svg: None, only: String::new(), seed: SEED };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--json" => choice.json = true,
                "--svg" => choice.svg = Some(value()?),
                "--only" => choice.only = value()?,
                "--seed" => {
                    let text = value()?;
                    choice.seed = text.parse().map_err(|_| format!("`{text}` is no number"))?;
                }
                _ => return Err(format!("`{argument}` means nothing here\n{USAGE}")),
            }
        }
        Ok(choice)
    }
}

/// One place and ratio, or one flip, under all strategies.
struct Point {
    place: Place,
    stretches: Vec<(Ratio, u64)>,
    fixed: Vec<(Strategy, Vec<Counted>)>,
    adaptive: Vec<Counted>,
}

fn main() -> ExitCode {
    let ran = Choice::parse(std::env::args().skip(1))
        .and_then(|choice| Ok((run_all(&choice.only, choice.seed)?, choice)));
    let ((steady, flips), choice) = match ran {
        Ok(ran) => ran,
        Err(said) => {
            eprintln!("strategies: {said}");
            return ExitCode::FAILURE;
        }
    };
    let verdicts = verdicts(&steady, &flips);
    if choice.json {
        print!("{}", as_json(&steady, &verdicts));
    } else {
        print!("{}", as_table(&steady, &flips, &verdicts));
    }
    if let Some(file) = choice.svg {
        let panels: Vec<_> = steady.iter().map(|point| point.panel()).collect();
        if let Err(error) = std::fs::write(&file, chart::draw(&panels)) {
            eprintln!("strategies: {file}: {error}");
            return ExitCode::FAILURE;
        }
        eprintln!("drawn to {file}");
    }
    match verdicts.iter().find(|verdict| verdict.max < verdict.value) {
        Some(broken) => {
            let Verdict { name, value, max, at, .. } = broken;
            eprintln!("strategies: {name} is {value:.3}, more than {max}, at {at}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

impl Point {
    fn new(place: Place, stretches: Vec<(Ratio, u64)>) -> Self {
        Self { place, stretches, fixed: vec![], adaptive: vec![] }
    }

    fn steady(place: Place, ratio: Ratio) -> Self {
        let events = 1_000 + 3 * u64::from(ratio.letters.max(ratio.moves));
        Self::new(place, vec![(ratio, FIRST), (ratio, events)])
    }

    fn flip(place: Place, ratio: Ratio) -> Self {
        Self::new(place, vec![(ratio, FLIPPED), (ratio.flipped(), FLIPPED)])
    }

    fn run(&mut self, seed: u64) -> Result<(), String> {
        let run = |strategy| count(self.place, strategy, seed, &self.stretches);
        let fixed = Strategy::FIXED.into_iter().map(|strategy| Ok((strategy, run(strategy)?)));
        self.fixed = fixed.collect::<Result<_, String>>().map_err(|said| self.with(&said))?;
        self.adaptive = run(Strategy::Adaptive).map_err(|said| self.with(&said))?;
        Ok(())
    }

    fn with(&self, said: &str) -> String {
        format!("{}: {said}", self.name())
    }

    fn name(&self) -> String {
        let Place { correspondents, nodes } = self.place;
        let (ratio, _) = self.stretches[0];
        format!("{nodes} nodes, {correspondents} correspondents, {ratio}")
    }

    /// The best of a stretch.
    fn best(&self, stretch: usize) -> f64 {
        let costs = self.fixed.iter().map(|(_, counted)| counted[stretch].cost());
        costs.fold(f64::INFINITY, f64::min)
    }

    /// How many times the best `adaptive` has cost in a stretch.
    fn excess(&self, stretch: usize) -> f64 {
        let cost = self.adaptive[stretch].cost() - ALLOWANCE;
        if cost <= 0.0 { 0.0 } else { cost / self.best(stretch).max(f64::MIN_POSITIVE) }
    }

    fn panel(&self) -> chart::Point {
        let (ratio, _) = self.stretches[0];
        let fixed = self.fixed.iter().map(|(strategy, counted)| {
            (strategy.name(), counted[1].cost(), Some(predict(self.place, *strategy, ratio)))
        });
        let adaptive = ("adaptive", self.adaptive[1].cost(), None);
        chart::Point {
            nodes: self.place.nodes,
            correspondents: self.place.correspondents,
            ratio: ratio.to_string(),
            costs: fixed.chain([adaptive]).collect(),
        }
    }
}

/// A figure that has a bound.
struct Verdict {
    name: &'static str,
    unit: &'static str,
    value: f64,
    max: f64,
    at: String,
}

fn run_all(only: &str, seed: u64) -> Result<(Vec<Point>, Vec<Point>), String> {
    let mut steady = Vec::new();
    let mut flips = Vec::new();
    for nodes in NODES {
        for correspondents in CORRESPONDENTS {
            let place = Place { correspondents, nodes };
            for (letters, moves) in RATIOS {
                let ratio = Ratio { letters, moves };
                steady.push(Point::steady(place, ratio));
                // Of rarer events there are too few in a run of this length.
                if matches!(letters.max(moves), 10 | 100) {
                    flips.push(Point::flip(place, ratio));
                }
            }
        }
    }
    let some = |points: Vec<Point>| {
        points.into_iter().filter(|point| point.name().contains(only)).collect::<Vec<_>>()
    };
    Ok((run_points(some(steady), seed)?, run_points(some(flips), seed)?))
}

/// Runs points side by side; what they show does not depend on that.
fn run_points(points: Vec<Point>, seed: u64) -> Result<Vec<Point>, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let count = points.len();
    let waiting: Mutex<VecDeque<_>> = Mutex::new(points.into_iter().enumerate().collect());
    let done: Mutex<Vec<(usize, Result<Point, String>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("nobody panics").pop_front();
                    let Some((number, mut point)) = next else { return };
                    let ran = point.run(seed).map(|()| point);
                    let mut done = done.lock().expect("nobody panics");
                    done.push((number, ran));
                    eprint!("\r{}/{count} ", done.len());
                }
            });
        }
    });
    eprint!("\r");
    let mut done = done.into_inner().expect("nobody panics");
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, ran)| ran).collect()
}

fn verdicts(steady: &[Point], flips: &[Point]) -> Vec<Verdict> {
    let largest = |name, unit, max, points: &[Point], of: &dyn Fn(&Point) -> f64| {
        let values = points.iter().map(|point| (of(point), point.name()));
        let (value, at) = values
            .fold((0.0, String::new()), |most, next| if most.0 < next.0 { next } else { most });
        Verdict { name, unit, value, max, at }
    };
    let changes_max = FLIP_CHANGES_MAX as f64;
    vec![
        largest("adaptive-excess", "ratio", EXCESS_MAX, steady, &|point| point.excess(1)),
        largest("adaptive-excess-at-first", "ratio", f64::INFINITY, steady, &|point| {
            point.excess(0)
        }),
        largest("flip-excess", "ratio", FLIP_EXCESS_MAX, flips, &|point| {
            point.excess(0).max(point.excess(1))
        }),
        largest("flip-changes-max", "changes", changes_max, flips, &|point| {
            point.adaptive[1].changes as f64
        }),
    ]
}

fn as_table(steady: &[Point], flips: &[Point], verdicts: &[Verdict]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Cost: messages on the wire and added hops for each event (a letter or a move): counted (predicted).\n"
    );
    let _ = write!(out, "{:>5} {:>4} {:>7}", "nodes", "from", "ratio");
    for strategy in Strategy::FIXED {
        let _ = write!(out, " {:>16}", strategy.name());
    }
    let _ = writeln!(out, " {:>8} {:>6}  best", "adaptive", "excess");
    for point in steady {
        let Place { correspondents, nodes } = point.place;
        let (ratio, _) = point.stretches[0];
        let _ = write!(out, "{nodes:>5} {correspondents:>4} {:>7}", ratio.to_string());
        for (strategy, counted) in &point.fixed {
            let predicted = predict(point.place, *strategy, ratio);
            let both = format!("{:.3} ({predicted:.3})", counted[1].cost());
            let _ = write!(out, " {both:>16}");
        }
        let best = point
            .fixed
            .iter()
            .min_by(|(_, one), (_, other)| one[1].cost().total_cmp(&other[1].cost()));
        let best = best.map_or("", |(strategy, _)| strategy.name());
        let cost = point.adaptive[1].cost();
        let _ = writeln!(out, " {cost:>8.3} {:>6.3}  {best}", point.excess(1));
    }
    let _ = writeln!(
        out,
        "\nAdded latency of a letter, in microseconds (a hop takes 50), and what nodes keep for others:\n"
    );
    for point in steady {
        let Place { correspondents, nodes } = point.place;
        let (ratio, _) = point.stretches[0];
        let _ = write!(out, "{nodes:>5} {correspondents:>4} {:>7}", ratio.to_string());
        let adaptive = (Strategy::Adaptive, point.adaptive.clone());
        for (_, counted) in point.fixed.iter().chain([&adaptive]) {
            let Counted { left_behind, .. } = counted[1];
            let both = format!("{:.0}, {left_behind}", counted[1].latency_micros());
            let _ = write!(out, " {both:>16}");
        }
        out.push('\n');
    }
    let _ = writeln!(
        out,
        "\nA flip of the ratio in mid-run: the excess before and after, and changes after.\n"
    );
    for point in flips {
        let changes = point.adaptive[1].changes;
        let (before, after) = (point.excess(0), point.excess(1));
        let _ = writeln!(out, "{:<42} {before:>6.3} {after:>6.3} {changes:>2}", point.name());
    }
    out.push('\n');
    for Verdict { name, value, max, at, .. } in verdicts {
        let _ = writeln!(out, "{name:<26} {value:>6.3}  at most {max}; at {at}");
    }
    out
}

fn as_json(steady: &[Point], verdicts: &[Verdict]) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: f64, unit: &str| {
        rows.push(format!(r#"{{"name":"{name}","value":{value:.4},"unit":"{unit}"}}"#));
    };
    for Verdict { name, value, unit, .. } in verdicts {
        row(name, *value, unit);
    }
    for point in steady {
        let Place { correspondents, nodes } = point.place;
        let (ratio, _) = point.stretches[0];
        let adaptive = (Strategy::Adaptive, point.adaptive.clone());
        for (strategy, counted) in point.fixed.iter().chain([&adaptive]) {
            let name = format!("n{nodes}.c{correspondents}.{ratio}.{}", strategy.name());
            row(&format!("{name}.cost"), counted[1].cost(), "messages and hops/event");
            if *strategy != Strategy::Adaptive {
                let predicted = predict(point.place, *strategy, ratio);
                row(&format!("{name}.predicted"), predicted, "messages and hops/event");
            }
            row(&format!("{name}.latency"), counted[1].latency_micros(), "us");
            row(&format!("{name}.left-behind"), counted[1].left_behind as f64, "entries");
        }
    }
    format!("{{\"bench\":\"strategies\",\"rows\":[{}]}}\n", rows.join(","))
}
