//! `bench messages`: what it costs one process to tell another something.
//!
//! Two daemons on loopback, TLS and all, and two guests (`rally`) that time themselves. Beside them, in turn and in the
//! same run: Erlang/OTP, core NATS, JetStream, and TLS with nothing else. Everywhere one asks and one answers; each
//! measures the same two things, for messages of 64 bytes and of 4 KiB:
//!
//! - **Round trip**: a message there and back, one at a time; median and 99th percentile.
//! - **One way**: messages as fast as they are taken for a second, until the sender knows that all have arrived. Who has
//!   no acknowledgements of its own is asked for the count at the end; JetStream acknowledges each message that it has
//!   stored (in memory), a window of them under way.
//!
//! Everything is measured [`ROUNDS`] times, the systems in turn; medians are printed.
//!
//! # The rows that are held to a bar
//!
//! | row | is | bar |
//! |---|---|---|
//! | `local-vs-erlang` | messages/s one way, 64 B, on one node / the same between processes of one Erlang node | ≥ 1, or `local-64-msgs-per-s` ≥ 2 million |
//! | `remote-vs-erlang-tls` | messages/s one way between nodes / Erlang's over TLS distribution; the worse size | ≥ 1 |
//! | `remote-vs-jetstream-tls` | the same / JetStream's acknowledged publishes over TLS; the worse size | ≥ 1 |
//! | `rtt-vs-handed-tls` | median round trip between nodes, 64 B / that of TLS whose ends hand each message to another thread and back | ≤ 1.2 |

mod erlang;
mod fetch;
mod nats;
mod node;
mod yardstick;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::report::Report;

/// How often each system is measured; medians are printed.
const ROUNDS: usize = 3;

/// How long messages are.
const SIZES: [usize; 2] = [64, 4096];

/// How many round trips make a measurement, and for how long messages go one way.
const TRIPS: usize = 2_000;
const RUSH: Duration = Duration::from_millis(1_000);

/// What part of that comes before, unmeasured.
const WARM_UP: usize = 4;

/// What can be chosen, in the order in which it is measured.
const PARTS: &[&str] = &["local", "remote", "tls", "erlang", "nats"];

/// What was measured once.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Round trips, median and 99th percentile, in microseconds.
    p50_us: f64,
    p99_us: f64,
    /// One way; none, where that is not measured.
    per_s: Option<f64>,
}

impl Measured {
    /// The line that whoever measures itself prints: two times of round trips, how many messages went one way, and how
    /// long that took, in nanoseconds.
    fn read(line: &str) -> Result<Self, String> {
        let numbers: Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[p50, p99, count, took]) => {
                Ok(Self { p50_us: p50 / 1e3, p99_us: p99 / 1e3, per_s: Some(count / (took / 1e9)) })
            }
            _ => Err(format!("not a measurement: {line:?}")),
        }
    }

    /// Of round trips that were timed here.
    fn of_trips(trips: &[Duration], per_s: Option<f64>) -> Self {
        let at = |share| crate::statistics::quantile(trips, share).as_secs_f64() * 1e6;
        Self { p50_us: at(0.5), p99_us: at(0.99), per_s }
    }
}

/// Whatever carries messages: measured once, for messages of this length.
type System<'a> = (&'static str, Box<dyn Fn(usize) -> Result<Measured, String> + 'a>);

/// All measurements, by system and size.
type Results = BTreeMap<(&'static str, usize), Vec<Measured>>;

/// What is started once for all rounds; whatever was not chosen is not.
struct Rivals {
    nodes: Option<node::Nodes>,
    erlang: Option<erlang::Erlang>,
    nats: Option<nats::Nats>,
}

pub(crate) fn run(options: &[String]) -> Result<Report, String> {
    let chosen: Vec<&str> =
        options.iter().map(String::as_str).filter(|option| !option.starts_with("--")).collect();
    if let Some(unknown) = chosen.iter().find(|name| !PARTS.contains(name)) {
        return Err(format!("no part is called {unknown}: {}", PARTS.join(", ")));
    }
    let has = |part: &str| chosen.is_empty() || chosen.contains(&part);
    let rivals = Rivals {
        nodes: (has("local") || has("remote")).then(node::Nodes::start).transpose()?,
        erlang: has("erlang").then(erlang::Erlang::fetch).transpose()?,
        nats: has("nats").then(nats::Nats::start).transpose()?,
    };
    let mut systems: Vec<System<'_>> = Vec::new();
    if let Some(nodes) = &rivals.nodes {
        if has("local") {
            systems.push(("local", Box::new(|size| nodes.measure(false, size))));
        }
        if has("remote") {
            systems.push(("remote", Box::new(|size| nodes.measure(true, size))));
        }
    }
    if has("tls") {
        systems.push(("bare-tls", Box::new(|size| yardstick::measure(false, size))));
        systems.push(("handed-tls", Box::new(|size| yardstick::measure(true, size))));
    }
    if let Some(erlang) = &rivals.erlang {
        use erlang::Way;
        systems.push(("erlang-local", Box::new(|size| erlang.measure(Way::Local, size))));
        systems.push(("erlang-plain", Box::new(|size| erlang.measure(Way::Plain, size))));
        systems.push(("erlang-tls", Box::new(|size| erlang.measure(Way::Tls, size))));
    }
    if let Some(nats) = &rivals.nats {
        systems.push(("nats-tls", Box::new(|size| nats.measure_core(size))));
        systems.push(("jetstream-tls", Box::new(|size| nats.measure_jetstream(size))));
    }
    report(&measure(&systems)?)
}

/// In turn, so that a machine that slows down does so for all.
fn measure(systems: &[System<'_>]) -> Result<Results, String> {
    let mut results = Results::new();
    for round in 1..=ROUNDS {
        for (name, system) in systems {
            for size in SIZES {
                let measured = system(size).map_err(|said| format!("{name}, {size} B: {said}"))?;
                let Measured { p50_us, p99_us, per_s } = measured;
                let rate = per_s.map_or(String::new(), |rate| format!("{rate:>12.0} messages/s"));
                eprintln!(
                    "{round}/{ROUNDS} {name:<14}{size:>5} B  p50 {p50_us:>7.1} µs  p99 {p99_us:>7.1} µs{rate}"
                );
                results.entry((*name, size)).or_default().push(measured);
            }
        }
    }
    Ok(results)
}

fn report(results: &Results) -> Result<Report, String> {
    let mut report = Report::new("messages");
    for ((name, size), measured) in results {
        let per_s = median(measured.iter().filter_map(|one| one.per_s));
        if let Some(per_s) = per_s {
            report.push(format!("{name}-{size}-msgs-per-s"), per_s, "msgs/s");
        }
        let p50 = median(measured.iter().map(|one| one.p50_us));
        let p99 = median(measured.iter().map(|one| one.p99_us));
        for (share, time) in [("p50", p50), ("p99", p99)] {
            report.push(format!("{name}-{size}-rtt-{share}-us"), time.unwrap_or(f64::NAN), "us");
        }
    }
    let rate = |name, size| {
        let measured = results.get(&(name, size))?;
        median(measured.iter().filter_map(|one| one.per_s))
    };
    let ahead = |one, other, size| Some(rate(one, size)? / rate(other, size)?);
    let worse = |one, other| {
        let ratios = SIZES.into_iter().filter_map(|size| ahead(one, other, size));
        ratios.min_by(f64::total_cmp)
    };
    let trip = |name| {
        let measured = results.get(&(name, SIZES[0]))?;
        median(measured.iter().map(|one| one.p50_us))
    };
    let held = [
        ("local-vs-erlang", ahead("local", "erlang-local", SIZES[0])),
        ("remote-vs-erlang-tls", worse("remote", "erlang-tls")),
        ("remote-vs-jetstream-tls", worse("remote", "jetstream-tls")),
        (
            "rtt-vs-handed-tls",
            trip("remote").zip(trip("handed-tls")).map(|(one, other)| one / other),
        ),
    ];
    for (name, ratio) in held {
        if let Some(ratio) = ratio {
            report.push(name, ratio, "ratio");
        }
    }
    Ok(report)
}

/// How long each of so many round trips takes, after some that do not count.
fn timed(mut trip: impl FnMut() -> std::io::Result<()>) -> std::io::Result<Vec<Duration>> {
    for _ in 0..TRIPS / WARM_UP {
        trip()?;
    }
    let once = |_| {
        let begun = Instant::now();
        trip()?;
        Ok(begun.elapsed())
    };
    (0..TRIPS).map(once).collect()
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
