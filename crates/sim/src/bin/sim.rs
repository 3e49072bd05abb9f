//! Runs seeds: `sim --seeds 100000`, `sim --seed 7` for its story, `sim --mutant NAME`.

use std::process::ExitCode;
use std::time::Instant;

use protocol::{Rule, Rules};
use sim::Marks;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(String::as_str)
    };
    let number = |name: &str| value(name).and_then(|text| text.parse::<u64>().ok());
    let rules = match value("--mutant").map(Rule::named) {
        Some(Some(rule)) => Rules::without(rule),
        Some(None) => {
            let names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
            eprintln!("the rules are: {}", names.join(", "));
            return ExitCode::from(2);
        }
        None => Rules::ALL,
    };
    std::panic::set_hook(Box::new(|_| ()));
    if let Some(seed) = number("--seed") {
        let outcome = sim::run(seed, rules, true);
        println!("{}", outcome.story);
        return verdict(seed, outcome.violation);
    }
    let first = number("--from").unwrap_or(0);
    let seeds = number("--seeds").unwrap_or(10_000);
    let began = Instant::now();
    let mut marks = Marks::default();
    let (mut moves, mut faults) = (Vec::new(), Vec::new());
    for seed in first..first + seeds {
        let outcome = sim::run(seed, rules, false);
        if outcome.violation.is_some() {
            return verdict(seed, outcome.violation);
        }
        marks.add(&outcome.marks);
        moves.push(outcome.moves);
        faults.push(outcome.faults);
    }
    moves.sort_unstable();
    faults.sort_unstable();
    for (mark, times) in marks.iter() {
        println!("{times:>9} {mark}");
    }
    let median = |sorted: &[u64]| sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    println!(
        "{seeds} seeds from {first}, no violation; median {} moves, {} faults at a step; {:.1} s",
        median(&moves),
        median(&faults),
        began.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}

fn verdict(seed: u64, violation: Option<String>) -> ExitCode {
    match violation {
        Some(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
