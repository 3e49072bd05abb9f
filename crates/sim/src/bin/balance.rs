//! `cargo xtask bench balance`: thousands of nodes even out their load, each by itself.
//!
//! `--json` prints rows for machines, `--svg FILE` draws, `--nodes N` and `--seed N` choose.

use std::fmt::Write as _;
use std::process::ExitCode;

use protocol::balance::SLACK;
use sim::balance::{Moment, Story, heaviest, play};

const USAGE: &str = "\
Simulates nodes that even out their load, each by itself, by the rules of protocol::balance.

Usage: balance [--nodes N] [--seed N] [--json] [--svg FILE]

      --nodes N   how many nodes [default: 4000]
      --seed N    of what is drawn [default: 1]
      --json      print rows for machines
      --svg FILE  draw how full the nodes are over time

Exits with 1 if the load does not come to rest.
";

/// Processes for each node, in the mean.
const EACH: usize = 24;

/// So many of a hundred processes talk to three others.
const TALKERS: u64 = 20;

const SECONDS: u64 = 900;

/// In this last part of the time hardly anybody is to move.
const QUIET: u64 = 120;

/// So many of a thousand processes may, in each minute of it.
const RESTLESS_MAX: f64 = 2.0;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut nodes, mut seed, mut json, mut svg) = (4_000_usize, 1_u64, false, None);
    while let Some(word) = arguments.next() {
        let read = match word.as_str() {
            "--nodes" => number(arguments.next()).map(|it| nodes = it as usize),
            "--seed" => number(arguments.next()).map(|it| seed = it),
            "--svg" => arguments.next().map(|it| svg = Some(it)),
            "--json" => {
                json = true;
                Some(())
            }
            "--help" | "-h" => {
                print!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ => None,
        };
        if read.is_none() || nodes < 2 {
            eprint!("balance: `{word}` is not understood\n\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    let story = Story { nodes, processes: nodes * EACH, talkers: TALKERS, seconds: SECONDS };
    if !json {
        println!("{nodes} nodes, {} processes, seed {seed}", story.processes);
    }
    let moments = play(story, seed);
    let rows = rows(&moments, story.processes);
    if json {
        println!("{}", as_json(&rows));
    } else {
        print!("{}", as_table(&moments, &rows));
    }
    if let Some(file) = svg {
        if let Err(error) = std::fs::write(&file, draw(&moments, nodes)) {
            eprintln!("balance: {file}: {error}");
            return ExitCode::FAILURE;
        }
        eprintln!("drawn to {file}");
    }
    let value = |name: &str| rows.iter().find(|row| row.0 == name).map_or(0.0, |row| row.1);
    if value("converged-s") < 0.0 || RESTLESS_MAX < value("moves-at-rest") {
        eprintln!("balance: the load does not come to rest");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn number(word: Option<String>) -> Option<u64> {
    word?.parse().ok()
}

/// A name, a value and its unit.
type Row = (&'static str, f64, &'static str);

fn rows(moments: &[Moment], processes: usize) -> Vec<Row> {
    // For the sake of talk a node may be fuller than others by that much.
    let even = |moment: &&Moment| moment.most <= moment.mean + SLACK + heaviest();
    let last_uneven = moments.iter().rposition(|moment| !even(&moment));
    let converged = match last_uneven.map_or(0, |at| at + 1) {
        at if at < moments.len() => moments[at].second as f64,
        _ => -1.0,
    };
    let sum = |count: fn(&Moment) -> u64| moments.iter().map(count).sum::<u64>() as f64;
    let quiet = &moments[moments.len() - QUIET as usize..];
    let restless = quiet.iter().map(|moment| moment.moves).sum::<u64>() as f64;
    let (first, last) = (&moments[0], &moments[moments.len() - 1]);
    let (processes, minutes) = (processes as f64, QUIET as f64 / 60.0);
    vec![
        ("converged-s", converged, "s"),
        ("full-mean", last.mean as f64 / 1e4, "%"),
        ("full-p99", last.p99 as f64 / 1e4, "%"),
        ("full-most", last.most as f64 / 1e4, "%"),
        ("moves-per-process", sum(|it| it.moves) / processes, ""),
        ("returns-per-process", sum(|it| it.returns) / processes, ""),
        ("moves-at-rest", restless / minutes / processes * 1e3, "per minute and 1,000 processes"),
        ("talk-apart", last.apart as f64 / first.apart.max(1) as f64, "of the beginning's"),
    ]
}

fn as_json(rows: &[Row]) -> String {
    let row = |(name, value, unit): &Row| {
        format!("{{\"name\":\"{name}\",\"value\":{value:.4},\"unit\":\"{unit}\"}}")
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    format!("{{\"bench\":\"balance\",\"rows\":[{}]}}", rows.join(","))
}

fn as_table(moments: &[Moment], rows: &[Row]) -> String {
    let percent = |share: u64| share as f64 / 1e4;
    let mut text =
        String::from("\n   at s   least %    mean %     99 %    most %   moves/s  apart\n");
    for chunk in moments.chunks(60) {
        let Moment { second, least, mean, p99, most, apart, .. } = chunk[0];
        let moves = chunk.iter().map(|it| it.moves).sum::<u64>() as f64 / chunk.len() as f64;
        let _ = writeln!(
            text,
            "{second:>7} {:>9.1} {:>9.1} {:>8.1} {:>9.1} {moves:>9.1} {apart:>6}",
            percent(least),
            percent(mean),
            percent(p99),
            percent(most),
        );
    }
    text.push('\n');
    for (name, value, unit) in rows {
        let _ = writeln!(text, "{name:<20} {value:>9.3} {unit}");
    }
    text
}

const SIZE: (f64, f64) = (720.0, 300.0);
const LEFT: f64 = 46.0;
const BOTTOM: f64 = 270.0;
const TOP: f64 = 34.0;

/// How full the nodes are over time, and as bars how many moves end in each second.
fn draw(moments: &[Moment], nodes: usize) -> String {
    let most = moments.iter().map(|it| it.most).max().unwrap_or(1).max(1) as f64;
    let busiest = moments.iter().map(|it| it.moves).max().unwrap_or(1).max(1) as f64;
    let x = |at: usize| LEFT + at as f64 * (SIZE.0 - LEFT - 10.0) / moments.len() as f64;
    let y = |part: f64| BOTTOM - part * (BOTTOM - TOP);
    let (width, height) = SIZE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"10\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"14\" font-weight=\"bold\">{nodes} nodes even out their load, each by itself</text>\n"
    );
    for (at, moment) in moments.iter().enumerate() {
        let top = y(moment.moves as f64 / busiest);
        let _ = writeln!(svg, "<path d=\"M{:.1} {BOTTOM}V{top:.1}\" stroke=\"#dddddd\"/>", x(at));
    }
    let lines = [
        ("fullest", "#ee6677"),
        ("99 of 100", "#ccaa22"),
        ("mean", "#222222"),
        ("emptiest", "#4477aa"),
    ];
    let shares = |it: &Moment| [it.most, it.p99, it.mean, it.least];
    for (number, (name, colour)) in lines.into_iter().enumerate() {
        let mut path = String::new();
        for (at, moment) in moments.iter().enumerate() {
            let pen = if at == 0 { 'M' } else { 'L' };
            let _ =
                write!(path, "{pen}{:.1} {:.1}", x(at), y(shares(moment)[number] as f64 / most));
        }
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\"/>");
        let at = LEFT + number as f64 * 90.0;
        let _ = writeln!(
            svg,
            "<path d=\"M{at} 25h14\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"28\">{name}</text>",
            at + 18.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"28\">bars: moves a second, {busiest} at the most</text>",
        LEFT + 380.0
    );
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>",
            LEFT - 4.0,
            y(part) + 3.0,
            part * most / 1e4
        );
    }
    for at in (0..moments.len()).step_by(60) {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{at} s</text>",
            x(at),
            BOTTOM + 14.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}
