//! `bench move`: what a move costs the process that is moved.
//!
//! Two daemons on loopback, TLS and all, each with a code cache of its own, and the `whimbrel` command to drive them.
//! **Pause** is from the process's last instruction here to its first one there, as the node reports it; a guest that
//! watches the clock measures it from inside as well. **Throughput** is what the pause of a large process is worth
//! beside a plain TLS copy of as many bytes between two threads, made in turn with the moves. First moves, for which
//! the target fetches and compiles the code, stand apart: their pause is no longer than others', their total is.
//!
//! Then, without a network: the time from a request to the safepoint, and a process's way through a file, from the
//! request to freeze to the first word of the thawed process. Both are on one machine with no `fsync`: what is
//! measured is memory and the page cache, not a disk.
//!
//! # The rows that are held to a bar
//!
//! | row | is | bar |
//! |---|---|---|
//! | `pause-small-p50-ms` | median pause of n-body, first move apart | ≤ 5 |
//! | `throughput-256mb-vs-tls` | time of the plain TLS copy / pause, for 256 MB that do not compress | ≥ 0.6 |
//! | `safepoint-p99-ms` | from request to safepoint, over all stops of all programs | ≤ 1 |
//! | `freeze-thaw-small-ms` | median way of n-body through a file | ≤ 1.2 |
//! | `freeze-thaw-17mb-vs-io` | (median way of binary trees through a file − 1 ms) / median time to write and read as many bytes | ≤ 1.5 |
//!
//! The last one is a way of saying "at most 1 ms and 1.5 times writing and reading the same bytes" in one number.

mod freezing;
mod program;
mod tls;

pub(crate) use program::Subject;

use crate::cluster::{Cluster, Moved, command};
use crate::report::Report;

/// How often a small process is moved, and a large one.
const MOVES_SMALL: usize = 100;
const MOVES_LARGE: usize = 9;

/// What can be chosen, in the order in which it is measured.
const PARTS: &[&str] = &[
    "files",
    "safepoints",
    "n-body",
    "pulse",
    "binary-trees",
    "cpython",
    "compressible",
    "random",
];

/// The parts that need nodes.
const MOVED: &[&str] = &["n-body", "pulse", "binary-trees", "cpython", "compressible", "random"];

/// What is measured; all, if nothing is named.
struct Choice<'a>(Vec<&'a str>);

impl<'a> Choice<'a> {
    fn of(options: &'a [String]) -> Result<Self, String> {
        let named: Vec<&str> =
            options.iter().map(String::as_str).filter(|option| !option.starts_with("--")).collect();
        match named.iter().find(|name| !PARTS.contains(name)) {
            Some(unknown) => Err(format!("no part is called {unknown}: {}", PARTS.join(", "))),
            None => Ok(Self(named)),
        }
    }

    fn has(&self, part: &str) -> bool {
        assert!(PARTS.contains(&part), "{part} has a name to choose it by");
        self.0.is_empty() || self.0.contains(&part)
    }

    fn has_any(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.has(part))
    }
}

pub(crate) fn run(options: &[String]) -> Result<Report, String> {
    let choice = Choice::of(options)?;
    let mut report = Report::new("move");
    let python = program::cpython()?;
    without_network(&mut report, &choice, python.as_ref())?;
    if choice.has_any(MOVED) {
        let cluster = Cluster::start(&command()?)?;
        over_network(&mut report, &choice, &cluster, python.as_ref())?;
        report.push("moves-given-up", f64::from(cluster.given_up()), "count");
    }
    Ok(report)
}

fn without_network(
    report: &mut Report,
    choice: &Choice<'_>,
    python: Option<&Subject>,
) -> Result<(), String> {
    let small = program::guest("n-body", "n_body", &["0", "talk"])?;
    let trees = program::guest("binary-trees", "binary_trees", &["0", "20", "talk"])?;
    if choice.has("files") {
        freezing::files(report, "small", &small)?;
        freezing::files(report, "17mb", &trees)?;
    }
    if choice.has("safepoints") {
        let heap = program::guest("heap", "heap", &["16", "random", "0"])?;
        let subjects: Vec<&Subject> = [&small, &trees, &heap].into_iter().chain(python).collect();
        freezing::safepoints(report, &subjects)?;
    }
    Ok(())
}

fn over_network(
    report: &mut Report,
    choice: &Choice<'_>,
    cluster: &Cluster,
    python: Option<&Subject>,
) -> Result<(), String> {
    if choice.has("n-body") {
        let subject = program::guest("n-body", "n_body", &["0", "talk"])?;
        let small = moves(report, cluster, &subject, MOVES_SMALL)?;
        report.push("pause-small-p50-ms", quantile(&small, 0.5, |moved| moved.pause_ms), "ms");
        report.push("pause-small-p99-ms", quantile(&small, 0.99, |moved| moved.pause_ms), "ms");
    }
    if choice.has("pulse") {
        inside(report, cluster)?;
    }
    if choice.has("binary-trees") {
        let subject = program::guest("binary-trees", "binary_trees", &["0", "20"])?;
        moves(report, cluster, &subject, MOVES_SMALL / 4)?;
    }
    if let Some(python) = python.filter(|_| choice.has("cpython")) {
        moves(report, cluster, python, MOVES_SMALL / 2)?;
    }
    if choice.has("compressible") {
        let args = ["256", "compressible", "0", "quiet"];
        let subject = program::guest("heap-compressible", "heap", &args)?;
        moves(report, cluster, &subject, MOVES_LARGE)?;
    }
    if choice.has("random") {
        large(report, cluster)?;
    }
    Ok(())
}

/// Moves a subject to and fro; returns the later moves.
fn moves(
    report: &mut Report,
    cluster: &Cluster,
    subject: &Subject,
    count: usize,
) -> Result<Vec<Moved>, String> {
    let pid = cluster.run(subject)?;
    let first = cluster.move_on(&pid, 0)?;
    let later =
        (1..=count).map(|times| cluster.move_on(&pid, times)).collect::<Result<Vec<_>, _>>()?;
    cluster.kill(&pid)?;
    rows(report, subject.name, &first, &later);
    Ok(later)
}

fn rows(report: &mut Report, name: &str, first: &Moved, later: &[Moved]) {
    report.push(format!("{name}/first-pause-ms"), first.pause_ms, "ms");
    report.push(format!("{name}/first-total-ms"), first.total_ms, "ms");
    report.push(format!("{name}/pause-p50-ms"), quantile(later, 0.5, |moved| moved.pause_ms), "ms");
    report.push(
        format!("{name}/pause-p99-ms"),
        quantile(later, 0.99, |moved| moved.pause_ms),
        "ms",
    );
    report.push(format!("{name}/total-p50-ms"), quantile(later, 0.5, |moved| moved.total_ms), "ms");
    report.push(
        format!("{name}/image-bytes"),
        quantile(later, 0.5, |moved| moved.image_bytes as f64),
        "bytes",
    );
    let pause = quantile(later, 0.5, |moved| moved.pause_ms);
    eprintln!("{name:<18} pause {pause:.2} ms, first {:.2} ms", first.pause_ms);
}

/// A heap that cannot be compressed, each move beside a raw copy of as many bytes.
fn large(report: &mut Report, cluster: &Cluster) -> Result<(), String> {
    let subject = program::guest("heap-random", "heap", &["256", "random", "0", "quiet"])?;
    let pid = cluster.run(&subject)?;
    let first = cluster.move_on(&pid, 0)?;
    let content: Vec<u8> = (0..16_u64 << 20)
        .map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect();
    let (mut later, mut raw) = (Vec::new(), Vec::new());
    for times in 1..=MOVES_LARGE {
        let moved = cluster.move_on(&pid, times)?;
        raw.push(tls::copy(&content, moved.image_bytes)?.as_secs_f64() * 1000.0);
        later.push(moved);
    }
    cluster.kill(&pid)?;
    rows(report, subject.name, &first, &later);
    raw.sort_by(f64::total_cmp);
    let (raw, bytes) =
        (raw[raw.len() / 2], quantile(&later, 0.5, |moved| moved.image_bytes as f64));
    let pause = quantile(&later, 0.5, |moved| moved.pause_ms);
    let mib_per_s = |ms: f64| bytes / f64::from(1 << 20) / (ms / 1000.0);
    report.push("tls-256mb-mib-per-s", mib_per_s(raw), "MiB/s");
    report.push("throughput-256mb-mib-per-s", mib_per_s(pause), "MiB/s");
    report.push("throughput-256mb-vs-tls", raw / pause, "ratio");
    let total = quantile(&later, 0.5, |moved| moved.total_ms);
    report.push("throughput-256mb-total-vs-tls", raw / total, "ratio");
    Ok(())
}

/// Pauses as a process sees them that reads the clock all the time: of all gaps it saw, as many as it was moved, the
/// longest.
fn inside(report: &mut Report, cluster: &Cluster) -> Result<(), String> {
    let subject = program::guest("pulse", "pulse", &["300"])?;
    let pid = cluster.run(&subject)?;
    let count = MOVES_SMALL / 2;
    for times in 0..=count {
        cluster.move_on(&pid, times)?;
    }
    let logs = cluster.logs(&pid)?;
    cluster.kill(&pid)?;
    let mut gaps: Vec<f64> = logs.lines().filter_map(|line| line.parse().ok()).collect();
    gaps.sort_by(|one, other| other.total_cmp(one));
    // The longest is the first move's, which waits for code.
    let gaps: Vec<f64> = gaps.into_iter().skip(1).take(count).collect();
    let median = gaps.get(gaps.len() / 2).copied().ok_or("the guest saw no gap")?;
    report.push("pause-small-inside-p50-ms", median / 1000.0, "ms");
    Ok(())
}

fn quantile(moves: &[Moved], share: f64, value: impl Fn(&Moved) -> f64) -> f64 {
    let mut values: Vec<f64> = moves.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
