//! The command line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cluster::NODES_MAX;

pub(crate) const USAGE: &str = "\
Usage: chaos [--minutes N | --seconds N | --together ROUNDS] [--seed S] [--nodes N] [--pace N] [--loopback] [--json] [--keep] [--log FILTER]";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// How long faults are made.
    pub(crate) time: Duration,
    /// Instead of all that: so often both ends of a conversation are moved at the same instant.
    pub(crate) together: Option<u64>,
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// Messages to each other member in each round of 40 ms, in the middle.
    pub(crate) pace: u64,
    /// No namespaces, even where they can be made.
    pub(crate) loopback: bool,
    /// One object on standard output at the end, and nothing else there.
    pub(crate) json: bool,
    /// Journals and logs stay.
    pub(crate) keep: bool,
    /// What daemons log.
    pub(crate) log: String,
}

impl Choice {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut choice = Self {
            time: Duration::from_secs(600),
            together: None,
            seed: drawn(),
            nodes: 6,
            pace: 8,
            loopback: false,
            json: false,
            keep: false,
            log: "info".to_owned(),
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64, String> {
                let text = words.next().ok_or_else(|| format!("{word} takes a number"))?;
                text.parse().map_err(|_| format!("{word}: `{text}` is no number"))
            };
            match word.as_str() {
                "--minutes" => choice.time = Duration::from_secs(60 * number()?),
                "--seconds" => choice.time = Duration::from_secs(number()?),
                "--together" => choice.together = Some(number()?),
                "--seed" => choice.seed = number()?,
                "--nodes" => choice.nodes = number()? as usize,
                "--pace" => choice.pace = number()?,
                "--loopback" => choice.loopback = true,
                "--json" => choice.json = true,
                "--keep" => choice.keep = true,
                "--log" => choice.log = words.next().cloned().unwrap_or_default(),
                _ => return Err(format!("`{word}` is no option")),
            }
        }
        if !(2..=NODES_MAX).contains(&choice.nodes) {
            return Err(format!("a run has 2 to {NODES_MAX} nodes"));
        }
        Ok(choice)
    }
}

/// A seed that nobody chose: short enough to be typed again.
fn drawn() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_micros() as u64 % 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Choice, String> {
        Choice::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_understood() {
        let choice = parse("--minutes 3 --seed 7 --nodes 4 --json").unwrap();
        assert_eq!((choice.time, choice.seed), (Duration::from_secs(180), 7));
        assert!(choice.json && !choice.loopback && choice.nodes == 4);
        assert_eq!(parse("--seconds 20").unwrap().time, Duration::from_secs(20));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["--minutes", "--minutes many", "--nodes 1", "--nodes 99", "10", "--sed 1"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
