//! What is told while a run goes on, and at its end.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::run::Run;

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What the judge said.
pub(crate) struct Judged {
    /// All of it.
    text: String,
    /// Whether it found nothing wrong, and something to judge.
    is_well: bool,
}

/// The end of the story.
pub(crate) struct Report {
    counts: Vec<(&'static str, u64)>,
    seed: u64,
    seconds: f64,
    namespaces: bool,
    findings: Vec<String>,
    judged: Judged,
}

/// Tells how far the run is, until it has come to its end.
pub(crate) async fn progress(run: &Run, end: impl Future<Output = ()>) {
    let mut messages = Messages::default();
    let mut end = std::pin::pin!(end);
    loop {
        let is_over = tokio::time::timeout(TOLD_EVERY, &mut end).await.is_ok();
        messages.count(&run.journals);
        let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let counts = &run.counts;
        eprintln!(
            "{:4.0} s  {:5} moves ({} refused, {} given up, {} busy, {} void)  {:3} kills  {:3} cuts  \
             {:8} messages  {} processes of {} groups",
            run.since.elapsed().as_secs_f64(),
            of(&counts.moves),
            of(&counts.refused),
            of(&counts.given_up),
            of(&counts.busy),
            of(&counts.void),
            of(&counts.kills),
            of(&counts.cuts),
            messages.total,
            run.living().len(),
            of(&counts.groups),
        );
        if is_over {
            return;
        }
    }
}

/// Counts what the journals say was got, reading each byte once.
#[derive(Default)]
struct Messages {
    read: HashMap<PathBuf, u64>,
    total: u64,
}

impl Messages {
    fn count(&mut self, journals: &Path) {
        let Ok(entries) = std::fs::read_dir(journals) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let from = self.read.entry(path.clone()).or_default();
            let mut text = Vec::new();
            let Ok(mut file) = File::open(&path) else { continue };
            if file.seek(SeekFrom::Start(*from)).is_err() || file.read_to_end(&mut text).is_err() {
                continue;
            }
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            *from += whole as u64;
            let lines = text[..whole].split(|byte| *byte == b'\n');
            self.total += lines.filter(|line| line.starts_with(b"got ")).count() as u64;
        }
    }
}

impl Judged {
    /// Has the judge read the journals.
    pub(crate) fn of(judge: &Path, journals: &Path) -> Result<Self, String> {
        let output = Command::new(judge)
            .arg(journals)
            .output()
            .map_err(|error| format!("{}: {error}", judge.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        Ok(Self { text, is_well: output.status.success() })
    }

    /// `N checked, …` as pairs.
    fn numbers(&self) -> Vec<(String, u64)> {
        let last = self.text.lines().last().unwrap_or_default();
        let pair = |part: &str| {
            let (number, what) = part.trim().split_once(' ')?;
            Some((what.to_owned(), number.parse().ok()?))
        };
        last.split(',').filter_map(pair).collect()
    }
}

impl Report {
    pub(crate) fn new(run: &Run, namespaces: bool, judged: Judged) -> Self {
        let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let counts = &run.counts;
        let counts = vec![
            ("moves", of(&counts.moves)),
            ("moves_refused", of(&counts.refused)),
            ("moves_given_up", of(&counts.given_up)),
            ("moves_busy", of(&counts.busy)),
            ("moves_not_needed", of(&counts.there)),
            ("moves_void", of(&counts.void)),
            ("kills", of(&counts.kills)),
            ("group_kills", of(&counts.group_kills)),
            ("cuts", of(&counts.cuts)),
            ("delays", of(&counts.delays)),
            ("groups", of(&counts.groups)),
        ];
        let seconds = run.since.elapsed().as_secs_f64();
        Self { counts, seed: run.seed, seconds, namespaces, findings: run.findings(), judged }
    }

    pub(crate) fn is_well(&self) -> bool {
        self.judged.is_well && self.findings.is_empty()
    }

    /// On standard output: one object, or words.
    pub(crate) fn show(&self, as_json: bool) {
        if as_json {
            println!("{}", self.json());
            return;
        }
        println!("seed {}, {:.0} s", self.seed, self.seconds);
        for (name, count) in &self.counts {
            println!("{:<16}{count:>8}", name.replace('_', " "));
        }
        if !self.namespaces {
            println!("without network namespaces: links were cut in relays");
        }
        for finding in &self.findings {
            println!("WRONG {finding}");
        }
        print!("{}", self.judged.text);
    }

    fn json(&self) -> Value {
        let mut object = json!({
            "seed": self.seed,
            "seconds": self.seconds,
            "namespaces": self.namespaces,
            "findings": self.findings,
            "judge": self.judged.text.lines().collect::<Vec<_>>(),
            "well": self.is_well(),
        });
        for (name, count) in &self.counts {
            object[*name] = json!(count);
        }
        for (name, count) in self.judged.numbers() {
            object[name] = json!(count);
        }
        object
    }
}
