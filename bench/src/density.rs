//! `bench density`: what a process costs that has nothing to do, and how fast many come, wake and go.
//!
//! A daemon with the kernel's default limits starts a hundred thousand processes with one command, as anyone would:
//! guests that wait in `receive` and answer what they get. All are put to sleep; then some are sent a message by a member
//! of their group. A second pair of daemons has ten thousand of them, which leave by one command.
//!
//! # The rows that are held to a bar
//!
//! | row | is | bar |
//! |---|---|---|
//! | `idle-bytes` | what the daemon has grown by, resident, when all of them sleep, for each, beyond the program's own pages | ≤ 8192 |
//! | `spawn-per-s` | processes started / time from the command's start until each has run to its first wait | ≥ 20,000 |
//! | `wake-p99-ms` | from a message to one that sleeps until the answer is there, as the sender sees it | |
//! | `drain-10k-s` | the whole of `whimbrel drain` with ten thousand processes that sleep | ≤ 30 |

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::cluster::{Cluster, NODES, command};
use crate::report::Report;

/// How many there are.
const PROCESSES: u32 = 100_000;

/// How many leave a node.
const DRAINED: u32 = 10_000;

/// How many are woken, one after the other.
const WOKEN: u32 = 2_000;

/// All that is idle sleeps by then; it takes the daemon 5 s to believe that it is.
const QUIET_TIME_MAX: Duration = Duration::from_secs(120);

/// How often a daemon is asked what its processes do: it counts them each time.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) fn run(options: &[String]) -> Result<Report, String> {
    let processes = number(options, "--processes", PROCESSES)?;
    let drained = number(options, "--drained", DRAINED)?;
    let mut report = Report::new("density");
    idle(&mut report, processes)?;
    drain(&mut report, drained)?;
    Ok(report)
}

fn number(options: &[String], name: &str, default: u32) -> Result<u32, String> {
    let Some(at) = options.iter().position(|option| option == name) else { return Ok(default) };
    let value = options.get(at + 1).and_then(|value| value.parse().ok());
    value.filter(|value| *value > 0).ok_or_else(|| format!("{name} wants a number"))
}

fn idle(report: &mut Report, processes: u32) -> Result<(), String> {
    let cluster = Cluster::start(&command()?)?;
    let (wake, pong) = (guest(&cluster, "wake")?, guest(&cluster, "pong")?);
    let daemon = cluster.os_pid(0);
    // Both programs are compiled, and run once, before anything is measured.
    cluster.say(NODES[0], &["run", "-d", &wake, "0", "1", "||", &pong])?;
    let before = quiet(&cluster, NODES[0], 1)?;
    let rss_before = resident(daemon)?;

    let begun = Instant::now();
    // All of them sleep by then, on a machine that is ten times slower than the bar wants it.
    let seconds = (20 + processes / 2000).to_string();
    let (count, woken) = (processes.to_string(), WOKEN.to_string());
    let words = ["run", "-d", "--count", &count, &wake, &seconds, &woken, "||", &pong];
    let waker = cluster.say(NODES[0], &words)?.trim().to_owned();
    let returned = begun.elapsed();
    let all = u64::from(processes) + 1 + before;
    let started = await_doing(&cluster, NODES[0], |doing| {
        doing.waiting + doing.sleeping >= all && doing.running == 0
    })?;
    let took = started.duration_since(begun);
    eprintln!("{processes} processes started in {took:.2?}, the command took {returned:.2?}");
    report.push("spawn-per-s", f64::from(processes) / took.as_secs_f64(), "per s");

    quiet(&cluster, NODES[0], all)?;
    let slept = begun.elapsed();
    let grown = resident(daemon)?.saturating_sub(rss_before) as f64;
    report.push("idle-total-mib", resident(daemon)? as f64 / f64::from(1 << 20), "MiB");
    report.push("idle-mappings", mappings(daemon)? as f64, "count");
    let own = own_pages(&cluster, &waker)?;
    report.push("idle-bytes", grown / f64::from(processes) - own, "bytes");
    report.push("own-pages-bytes", own, "bytes");
    report.push("idle-bytes-all", grown / f64::from(processes), "bytes");
    report.push("all-asleep-s", slept.as_secs_f64(), "s");

    let times = waking(&cluster, &waker)?;
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize] / 1000.0;
    report.push("wake-p50-ms", at(0.5), "ms");
    report.push("wake-p99-ms", at(0.99), "ms");
    report.push("wake-max-ms", at(1.0), "ms");
    Ok(())
}

fn drain(report: &mut Report, processes: u32) -> Result<(), String> {
    let cluster = Cluster::start(&command()?)?;
    let pong = guest(&cluster, "pong")?;
    let count = processes.to_string();
    cluster.say(NODES[0], &["run", "-d", "--on", NODES[1], "--count", &count, &pong])?;
    quiet(&cluster, NODES[1], u64::from(processes))?;
    let begun = Instant::now();
    cluster.say(NODES[0], &["drain", NODES[1]])?;
    let took = begun.elapsed();
    eprintln!("{processes} processes left in {took:.2?}");
    report.push("drain-10k-s", took.as_secs_f64() * 10_000.0 / f64::from(processes), "s");
    let here = status(&cluster, NODES[0])?;
    if here.total() != u64::from(processes) {
        return Err(format!("{} of {processes} processes have arrived", here.total()));
    }
    Ok(())
}

/// What the processes of a node are doing.
#[derive(Clone, Copy, Debug, Default)]
struct Doing {
    running: u64,
    waiting: u64,
    sleeping: u64,
    moving: u64,
}

impl Doing {
    fn total(self) -> u64 {
        self.running + self.waiting + self.sleeping + self.moving
    }
}

fn status(cluster: &Cluster, node: &str) -> Result<Doing, String> {
    let told = cluster.say(node, &["status", "-o", "json"])?;
    let reply: Value = serde_json::from_str(&told).map_err(|error| format!("{told}: {error}"))?;
    let count = |name: &str| {
        reply["doing"][name].as_u64().ok_or_else(|| format!("no count of {name} in {reply}"))
    };
    Ok(Doing {
        running: count("running")?,
        waiting: count("waiting")?,
        sleeping: count("sleeping")?,
        moving: count("moving")?,
    })
}

/// Waits until a node's processes do that, and says when it was asked for it.
fn await_doing(
    cluster: &Cluster,
    node: &str,
    that: impl Fn(Doing) -> bool,
) -> Result<Instant, String> {
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        let doing = status(cluster, node)?;
        if that(doing) {
            return Ok(asked);
        }
        if begun.elapsed() > QUIET_TIME_MAX {
            return Err(format!("the processes of {node} do not come to rest: {doing:?}"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits until all processes of a node sleep, at least so many; says how many there are.
fn quiet(cluster: &Cluster, node: &str, least: u64) -> Result<u64, String> {
    await_doing(cluster, node, |doing| doing.total() >= least && doing.sleeping == doing.total())?;
    Ok(status(cluster, node)?.total())
}

/// The times that the waker saw, in microseconds, sorted.
fn waking(cluster: &Cluster, waker: &str) -> Result<Vec<f64>, String> {
    let followed = cluster
        .words(NODES[0], &["logs", "-f", waker])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    let line = String::from_utf8_lossy(&followed.stdout).into_owned();
    let times: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    if times.len() == WOKEN as usize { Ok(times) } else { Err(format!("it said: {line}")) }
}

/// How many bytes of pages one of the group has for itself, as its image has them.
fn own_pages(cluster: &Cluster, waker: &str) -> Result<f64, String> {
    let group = waker.split('.').next().unwrap_or(waker);
    let file = cluster.scratch().join("one.img");
    let file = file.to_string_lossy();
    cluster.say(NODES[0], &["freeze", "--copy", &format!("{group}.1"), "-o", &file])?;
    Ok(fs::metadata(&*file).map_err(|error| error.to_string())?.len() as f64)
}

fn guest(cluster: &Cluster, name: &str) -> Result<String, String> {
    let built = programs::guest(name).map_err(|error| error.to_string())?;
    let here = cluster.scratch().join(format!("{name}.wasm"));
    fs::copy(&built, &here).map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(here.to_string_lossy().into_owned())
}

/// How much memory a process of the system has, in bytes.
fn resident(os_pid: u32) -> Result<u64, String> {
    let text = of_proc(os_pid, "status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kilobytes.map(|kilobytes: u64| kilobytes * 1024).ok_or_else(|| format!("no VmRSS in {text}"))
}

fn mappings(os_pid: u32) -> Result<usize, String> {
    Ok(of_proc(os_pid, "maps")?.lines().count())
}

fn of_proc(os_pid: u32, what: &str) -> Result<String, String> {
    let path = Path::new("/proc").join(os_pid.to_string()).join(what);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}
