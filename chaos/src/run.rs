//! What all tasks of a run share: the daemons, the processes, what was counted and what was found wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use api::{CodeHash, GroupId, Outcome, Pid, ProcessSummary};
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::random::Random;

/// So many findings are kept; the rest is as many again.
const FINDINGS_MAX: usize = 200;

/// Whether faults are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Yes.
    Faults,
    /// No more: what was cut is mended, what was killed is started. The dead are still replaced.
    Mended,
    /// Nothing is started any more, and all processes come to their end.
    Quiet,
}

/// How many groups there are at all times, and how many are in each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) groups: usize,
    pub(crate) members: u32,
}

/// A run.
pub(crate) struct Run {
    pub(crate) shape: Shape,
    pub(crate) seed: u64,
    pub(crate) since: Instant,
    pub(crate) cluster: Cluster,
    /// Where the processes write their journals, and see files that tell them to stop.
    pub(crate) journals: PathBuf,
    pub(crate) code: CodeHash,
    /// Messages to each other member in each round, in the middle.
    pub(crate) pace: u64,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) processes: Mutex<BTreeMap<Pid, Option<Outcome>>>,
    pub(crate) groups: Mutex<BTreeMap<GroupId, Group>>,
    /// Where the last move of a process has brought it.
    pub(crate) places: Mutex<BTreeMap<Pid, usize>>,
    pub(crate) counts: Counts,
    /// Processes that a list still showed when all had ended.
    pub(crate) left: Mutex<Vec<ProcessSummary>>,
    findings: Mutex<Vec<String>>,
    streams: AtomicU64,
}

/// A group of processes that the run has started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// None of it has died, and it was not told to stop.
    pub(crate) whole: bool,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) moves: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) given_up: AtomicU64,
    pub(crate) busy: AtomicU64,
    /// The process was there already.
    pub(crate) there: AtomicU64,
    /// It had ended, or whoever was asked did not answer, or did not find it.
    pub(crate) void: AtomicU64,
    pub(crate) kills: AtomicU64,
    pub(crate) group_kills: AtomicU64,
    pub(crate) cuts: AtomicU64,
    pub(crate) delays: AtomicU64,
    pub(crate) groups: AtomicU64,
}

impl Run {
    pub(crate) fn new(
        shape: Shape,
        (seed, pace): (u64, u64),
        cluster: Cluster,
        journals: PathBuf,
        code: CodeHash,
    ) -> Self {
        Self {
            shape,
            seed,
            since: Instant::now(),
            cluster,
            journals,
            code,
            pace,
            phase: watch::channel(Phase::Faults).0,
            processes: Mutex::default(),
            groups: Mutex::default(),
            places: Mutex::default(),
            counts: Counts::default(),
            left: Mutex::default(),
            findings: Mutex::default(),
            streams: AtomicU64::new(0),
        }
    }

    /// A stream of draws that nobody else has. Those of tasks that start with the run are the same under the same seed.
    pub(crate) fn random(&self) -> Random {
        Random::new(self.seed, self.streams.fetch_add(1, Ordering::Relaxed))
    }

    /// Something is wrong, whatever the journals say.
    pub(crate) fn find(&self, what: String) {
        let at = self.since.elapsed().as_secs_f64();
        let line = format!("{at:.1} s: {what}");
        let mut findings = self.findings.lock().expect("nobody panics with it");
        if findings.len() < FINDINGS_MAX {
            eprintln!("WRONG {line}");
            findings.push(line);
        }
    }

    pub(crate) fn findings(&self) -> Vec<String> {
        self.findings.lock().expect("nobody panics with it").clone()
    }

    /// The groups of which nobody has ended.
    pub(crate) fn whole_groups(&self) -> Vec<GroupId> {
        let groups = self.groups.lock().expect("nobody panics with it");
        groups.iter().filter(|(_, group)| group.whole).map(|(id, _)| *id).collect()
    }

    /// Those that have not ended, as far as is known.
    pub(crate) fn living(&self) -> Vec<Pid> {
        let processes = self.processes.lock().expect("nobody panics with it");
        processes.iter().filter(|(_, end)| end.is_none()).map(|(pid, _)| *pid).collect()
    }

    /// Waits until this phase has begun; what comes first of that and the future, as an option.
    pub(crate) async fn unless<T>(
        &self,
        begun: Phase,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            _ = phase.wait_for(|phase| begun <= *phase) => None,
            done = future => Some(done),
        }
    }

    /// Sleeps. False if the time of faults was over first.
    pub(crate) async fn sleeps(&self, time: std::time::Duration) -> bool {
        self.unless(Phase::Mended, tokio::time::sleep(time)).await.is_some()
    }
}
