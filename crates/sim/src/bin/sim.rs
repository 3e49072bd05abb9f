//! Runs seeds. `sim --help` says how.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use protocol::{Rule, Rules};
use sim::{Cells, Marks};

const HELP: &str = "\
Runs the protocol's machines in simulated clusters: one bad day a seed.

Usage: sim [--from N] [--seeds N] [--jobs N] [--mutant RULE] [-o json]
       sim --seed N [--mutant RULE]

      --seed N       run this one, and tell its story
      --from N       the first seed [default: 0]
      --seeds N      how many [default: 10000]
      --jobs N       so many at a time [default: as many as there are processors]
      --mutant RULE  without one rule of the protocol; an unknown one lists them all
  -o json            print what was counted as JSON

Examples:
  sim --seeds 100000
  sim --seed 1071 | less
  sim --mutant letter-once

Exits with 1 at the first violation, and names its seed.";

/// A cell that was hit less often than this shows little.
const HITS_MIN: u64 = 100;

/// What many seeds have shown.
#[derive(Default)]
struct Sum {
    marks: Marks,
    cells: Cells,
    moves: Vec<u64>,
    faults: Vec<u64>,
    events: u64,
    /// The first seed that has failed, and how.
    violation: Option<(u64, String)>,
}

/// What to play.
struct Asked {
    help: bool,
    /// This one alone.
    seed: Option<u64>,
    first: u64,
    seeds: u64,
    jobs: u64,
    rules: Rules,
    json: bool,
}

impl Asked {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let (rules, json) = (Rules::ALL, false);
        let mut asked = Self {
            help: false,
            seed: None,
            first: 0,
            seeds: 10_000,
            jobs: processors,
            rules,
            json,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} of what?"));
            let mut number = || {
                let text = value()?;
                text.parse().map_err(|_| format!("{word} is a number, and `{text}` is none"))
            };
            match word.as_str() {
                "-h" | "--help" => asked.help = true,
                "--seed" => asked.seed = Some(number()?),
                "--from" => asked.first = number()?,
                "--seeds" => asked.seeds = number()?,
                "--jobs" => asked.jobs = number()?.max(1),
                "--mutant" => asked.rules = Rules::without(rule(&value()?)?),
                "-o" => match value()?.as_str() {
                    "json" => asked.json = true,
                    other => return Err(format!("-o is json, not `{other}`")),
                },
                other => return Err(format!("`{other}` is not understood; see sim --help")),
            }
        }
        Ok(asked)
    }
}

fn rule(name: &str) -> Result<Rule, String> {
    let names = || Rule::ALL.iter().map(|rule| rule.name()).collect::<Vec<_>>().join(", ");
    Rule::named(name).ok_or_else(|| format!("no rule is `{name}`; the rules are {}", names()))
}

fn main() -> ExitCode {
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(said) => {
            eprintln!("sim: {said}");
            return ExitCode::from(2);
        }
    };
    let Asked { help, seed, first, seeds, jobs, rules, json } = asked;
    if help {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    std::panic::set_hook(Box::new(|_| ()));
    if let Some(seed) = seed {
        let outcome = sim::run(seed, rules, true);
        println!("{}", outcome.story);
        return verdict(outcome.violation.map(|violation| (seed, violation)).as_ref());
    }
    let began = Instant::now();
    let mut sum = run(first, seeds, jobs, rules);
    sum.moves.sort_unstable();
    sum.faults.sort_unstable();
    if json {
        println!("{}", sum.as_json(first, began.elapsed().as_secs_f64()));
    } else if sum.violation.is_none() {
        sum.print(first, began.elapsed().as_secs_f64());
    }
    verdict(sum.violation.as_ref())
}

/// Runs seeds, so many at a time. What they show together does not depend on that; if one fails, the others end.
fn run(first: u64, seeds: u64, jobs: u64, rules: Rules) -> Sum {
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let sum = Mutex::new(Sum::default());
    let shows = std::io::stderr().is_terminal();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(seeds) {
            scope.spawn(|| {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && number < seeds
                {
                    let seed = first + number;
                    let outcome = sim::run(seed, rules, false);
                    let mut sum = sum.lock().expect("nobody panics in here");
                    sum.add(seed, outcome);
                    if sum.violation.is_some() {
                        next.store(seeds, Ordering::Relaxed);
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if shows && done % 100 == 0 {
                        let _ = write!(std::io::stderr(), "\r{done} of {seeds} seeds ");
                    }
                }
            });
        }
    });
    if shows {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    sum.into_inner().expect("nobody panics in there")
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: sim::Outcome) {
        self.marks.add(&outcome.marks);
        self.cells.add(&outcome.cells);
        self.moves.push(outcome.moves);
        self.faults.push(outcome.faults);
        self.events += outcome.events;
        if let Some(violation) = outcome.violation
            && self.violation.as_ref().is_none_or(|(other, _)| seed < *other)
        {
            self.violation = Some((seed, violation));
        }
    }

    fn print(&self, first: u64, seconds: f64) {
        for (mark, times) in self.marks.iter() {
            println!("{times:>9} {mark}");
        }
        println!("\nFaults at steps of moves, by whom they hit (docs/protocol.md):\n");
        let heads = ["source killed", "target killed", "home killed", "link cut"];
        println!(
            "{:<18} {:>13} {:>13} {:>13} {:>13}",
            "step", heads[0], heads[1], heads[2], heads[3]
        );
        for (step, [source, target, home, link]) in self.cells.rows() {
            println!("{step:<18} {source:>13} {target:>13} {home:>13} {link:>13}");
        }
        let seldom: Vec<_> = self.seldom().collect();
        if !seldom.is_empty() {
            println!("\nhit less than {HITS_MIN} times: {}", seldom.join(", "));
        }
        println!(
            "\n{} seeds from {first}, {} events, no violation; median {} moves, {} faults at a step, {} and {} in all; \
             {seconds:.1} s, {:.1} million events a second",
            self.moves.len(),
            self.events,
            median(&self.moves),
            median(&self.faults),
            self.moves.iter().sum::<u64>(),
            self.faults.iter().sum::<u64>(),
            self.events as f64 / seconds / 1e6,
        );
    }

    fn seldom(&self) -> impl Iterator<Item = String> + '_ {
        let heads = ["source", "target", "home", "link"];
        self.cells.rows().flat_map(move |(step, counts)| {
            let seldom = heads.into_iter().zip(counts).filter(|(_, times)| *times < HITS_MIN);
            seldom.map(move |(head, times)| format!("{step} / {head} ({times})"))
        })
    }

    fn as_json(&self, first: u64, seconds: f64) -> String {
        let cells = self.cells.rows().map(|(step, [source, target, home, link])| {
            format!(r#"{{"step":"{step}","source":{source},"target":{target},"home":{home},"link":{link}}}"#)
        });
        let cells: Vec<_> = cells.collect();
        let violation = match &self.violation {
            Some((seed, words)) => format!(r#"{{"seed":{seed},"words":{words:?}}}"#),
            None => "null".to_owned(),
        };
        format!(
            r#"{{"from":{first},"seeds":{},"events":{},"median_moves":{},"median_faults":{},"moves":{},"faults":{},"seconds":{seconds:.1},"violation":{violation},"cells":[{}]}}"#,
            self.moves.len(),
            self.events,
            median(&self.moves),
            median(&self.faults),
            self.moves.iter().sum::<u64>(),
            self.faults.iter().sum::<u64>(),
            cells.join(",")
        )
    }
}

fn median(sorted: &[u64]) -> u64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn verdict(violation: Option<&(u64, String)>) -> ExitCode {
    match violation {
        Some((seed, violation)) => {
            // Standard output may have been JSON.
            eprintln!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
