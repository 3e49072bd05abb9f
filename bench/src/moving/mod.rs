//! `bench move`: what a move costs the process that is moved.
//!
//! Two daemons on loopback, TLS and all, and the `whimbrel` command to drive them. **Pause** is from the process's last
//! instruction here to its first one there, as the node reports it; a guest that watches the clock measures it from
//! inside as well. **Throughput** is what the pause of a large process is worth beside a plain TLS copy of as many bytes
//! between two threads, made in turn with the moves. First moves, which bring the code along, stand apart.
//!
//! Then, without a network: the time from a request to the safepoint, and a process's way through a file.

mod cluster;
mod freezing;
mod program;
mod tls;

use std::path::PathBuf;

use cluster::{Cluster, Moved};
use program::Subject;

use crate::report::Report;

/// How often a small process is moved, and a large one.
const MOVES_SMALL: usize = 100;
const MOVES_LARGE: usize = 9;

pub(crate) fn run(options: &[String]) -> Result<Report, String> {
    let only = |name: &str| {
        !options.iter().any(|option| option == "--only")
            || options.iter().any(|option| option == name)
    };
    let mut report = Report::new("move");
    let python = program::cpython()?;
    if only("freezing") {
        without_network(&mut report, python.as_ref())?;
    }
    if only("moving") {
        let cluster = Cluster::start(&command()?)?;
        over_network(&mut report, &cluster, python.as_ref())?;
        report.push("moves-given-up", f64::from(cluster.given_up()), "count");
    }
    Ok(report)
}

/// The `whimbrel` binary, built beside this one.
fn command() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let command = own.with_file_name("whimbrel");
    if command.is_file() { Ok(command) } else { Err(format!("{} is not built", command.display())) }
}

fn without_network(report: &mut Report, python: Option<&Subject>) -> Result<(), String> {
    let small = program::guest("n-body", "n_body", &["0", "talk"])?;
    let trees = program::guest("binary-trees", "binary_trees", &["0", "20", "talk"])?;
    freezing::files(report, &small, &trees)?;
    let mut subjects = vec![small, trees, program::guest("heap", "heap", &["16", "random", "0"])?];
    if let Some(python) = python {
        subjects.push(Subject {
            wasm: python.wasm.clone(),
            args: python.args.clone(),
            env: python.env.clone(),
            dirs: python.dirs.clone(),
            ..*python
        });
    }
    freezing::safepoints(report, &subjects)
}

fn over_network(
    report: &mut Report,
    cluster: &Cluster,
    python: Option<&Subject>,
) -> Result<(), String> {
    let small =
        moves(report, cluster, &program::guest("n-body", "n_body", &["0", "talk"])?, MOVES_SMALL)?;
    report.push("pause-small-p50-ms", quantile(&small, 0.5, |moved| moved.pause_ms), "ms");
    report.push("pause-small-p99-ms", quantile(&small, 0.99, |moved| moved.pause_ms), "ms");
    inside(report, cluster)?;
    moves(
        report,
        cluster,
        &program::guest("binary-trees", "binary_trees", &["0", "20"])?,
        MOVES_SMALL / 4,
    )?;
    if let Some(python) = python {
        moves(report, cluster, python, MOVES_SMALL / 4)?;
    }
    moves(
        report,
        cluster,
        &program::guest("heap-compressible", "heap", &["256", "compressible", "0", "quiet"])?,
        MOVES_LARGE,
    )?;
    large(report, cluster)
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
