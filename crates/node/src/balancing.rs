//! How full this node is and what runs here, measured; and what it has in mind to do about it.
//!
//! Nobody is told: whoever decides asks, so that what it decides by is a second old at the most, and so that a cluster of
//! thousands says no more about its load than a small one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::balance::{Amount, Balance, Candidate, Choice, Labels, Load, Survey, Surveyed};
use protocol::{Rng, Span};
use tokio::sync::Mutex as AsyncMutex;
use wire::{NodeId, Pid};

use crate::driver::{Driver, Events};
use crate::papers::Placement;

/// What two looks have between them that are compared, at the least.
const APART: Duration = Duration::from_millis(500);

/// How long the second one is waited for, if there was none lately.
const WINDOW: Duration = Duration::from_secs(1);

/// So many looks are kept.
const LOOKS_MAX: usize = 2;

/// A look that is older says nothing of now.
const STALE: Duration = Duration::from_secs(30);

/// Room is kept for this long for what was admitted and has not come.
const RESERVED: Duration = Duration::from_secs(10);

/// The heaviest processes of a node are what is balanced.
const PROCESSES_MAX: usize = 4_096;

/// How long a process stands still for each mebibyte of its image, if it was not measured here: a hundred megabytes a
/// second, about what the slower of common networks carry.
const PAUSE_PER_MIB: Span = Span::millis(10);

/// Everything that balancing needs to know and to remember.
pub(crate) struct Balancing {
    me: NodeId,
    labels: Labels,
    capacity: Amount,
    /// Earlier looks, the oldest first. Locked while a measurement is made: who comes meanwhile waits.
    looks: AsyncMutex<VecDeque<Look>>,
    plans: Mutex<Plans>,
}

/// The machine, and when room was kept for whom.
pub(crate) struct Plans {
    pub(crate) balance: Balance,
    reserved: BTreeMap<Pid, Instant>,
}

/// From the system's generator.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's generator answers");
    bytes
}

/// Counters at one time.
struct Look {
    at: Instant,
    now: protocol::Instant,
    draining: bool,
    processes: HashMap<Pid, Reading>,
}

struct Reading {
    came: Instant,
    /// How long it was on a processor or ready for one, since then.
    busy: Duration,
    memory: u64,
    idle: bool,
    last_pause: Option<Span>,
    placement: Placement,
    talks: Vec<(Pid, Option<NodeId>, u64)>,
}

impl Balancing {
    /// Of a node with these labels, whose processes run on so many threads.
    pub(crate) fn new(me: NodeId, labels: Labels, workers: Option<usize>) -> Self {
        let processors = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let cpu = workers.unwrap_or_else(processors) as u64 * 1_000;
        let capacity = Amount { cpu, memory: crate::driver::memory_of_machine().unwrap_or(0) };
        let balance = Balance::new(me, Rng::seeded(u64::from_le_bytes(random())));
        let plans = Mutex::new(Plans { balance, reserved: BTreeMap::new() });
        Self { me, labels, capacity, looks: AsyncMutex::default(), plans }
    }

    /// What this node is labelled with.
    pub(crate) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// What was decided so far.
    pub(crate) fn plans(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How full this node is now, and with what. Takes a second if nobody has asked lately. `None` if the node ends.
    pub(crate) async fn survey(&self, events: &Events) -> Option<Survey> {
        let mut looks = self.looks.lock().await;
        looks.retain(|look| look.at.elapsed() < STALE);
        if looks.iter().all(|look| look.at.elapsed() < APART) {
            looks.push_back(events.look(Look::take).await?);
            tokio::time::sleep(WINDOW).await;
        }
        let now = events.look(Look::take).await?;
        let far = |look: &&Look| APART <= now.at.saturating_duration_since(look.at);
        let before = looks.iter().rfind(far).unwrap_or(&now);
        let survey = self.compare(before, &now);
        if looks.back().is_none_or(|last| APART <= last.at.elapsed()) {
            looks.push_back(now);
        }
        // The last one, which may be too new for who asks next, and the one before.
        while LOOKS_MAX < looks.len() {
            looks.pop_front();
        }
        Some(survey)
    }

    fn compare(&self, before: &Look, now: &Look) -> Survey {
        let mut processes: Vec<Surveyed> = now
            .processes
            .iter()
            .map(|(pid, reading)| {
                self.measure(*pid, before.processes.get(pid), before, reading, now)
            })
            .collect();
        let used = processes.iter().fold(Amount::default(), |sum, it| sum.plus(it.candidate.needs));
        let heavy = |it: &Surveyed| (it.candidate.needs.cpu, it.candidate.needs.memory);
        processes.sort_by_key(|it| (std::cmp::Reverse(heavy(it)), it.candidate.pid));
        processes.truncate(PROCESSES_MAX);
        Survey {
            node: self.me,
            load: Load { used, capacity: self.capacity },
            labels: self.labels.clone(),
            draining: now.draining,
            processes,
        }
    }

    fn measure(
        &self,
        pid: Pid,
        earlier: Option<&Reading>,
        before: &Look,
        reading: &Reading,
        now: &Look,
    ) -> Surveyed {
        // One that has gone and come back since is new.
        let earlier = earlier.filter(|it| it.came == reading.came);
        let (since, busy) = match earlier {
            Some(earlier) => (before.at, earlier.busy),
            None => (reading.came, Duration::ZERO),
        };
        let elapsed = now.at.saturating_duration_since(since).as_micros().max(1);
        let rate = |count: u128| u64::try_from(count / elapsed).unwrap_or(u64::MAX);
        let busy = reading.busy.saturating_sub(busy);
        let mut talks = Vec::new();
        let mut talk: BTreeMap<NodeId, u64> = BTreeMap::new();
        for (other, at, letters) in &reading.talks {
            let had = earlier.and_then(|it| it.talks.iter().find(|(pid, ..)| pid == other));
            // Who was not known before has said it all since, or brought the count along: that is not known.
            let Some((.., had)) = had else { continue };
            let often = rate(u128::from(letters.saturating_sub(*had)) * 1_000_000);
            if 0 < often {
                talks.push((*other, often));
                *at.map_or(&mut 0, |at| talk.entry(at).or_default()) += often;
            }
        }
        let staying = now.at.saturating_duration_since(reading.came).as_micros();
        let staying = Span(u64::try_from(staying).unwrap_or(u64::MAX).min(now.now.0));
        let estimate = Span((reading.memory >> 20).saturating_mul(PAUSE_PER_MIB.0));
        let Placement { pin, avoid, affinity } = reading.placement.clone();
        let candidate = Candidate {
            pid,
            // It has one thread; who has just come may look busier.
            needs: Amount {
                cpu: rate(busy.as_micros() * 1_000).min(1_000),
                memory: reading.memory,
            },
            image_bytes: reading.memory,
            idle: reading.idle,
            since: protocol::Instant(now.now.0 - staying.0),
            last_pause: reading.last_pause.unwrap_or(estimate),
            pin,
            avoid,
            affinity,
            talk,
        };
        Surveyed { candidate, talks }
    }
}

impl Plans {
    /// Whether to take what another node would send, given what is here.
    pub(crate) fn admit(&mut self, source: NodeId, survey: &Survey, choice: &Choice) -> bool {
        let here = |pid: &Pid| survey.processes.iter().any(|it| it.candidate.pid == *pid);
        let over = |pid: &Pid, since: &Instant| RESERVED < since.elapsed() || here(pid);
        let over: Vec<Pid> =
            self.reserved.iter().filter(|(pid, at)| over(pid, at)).map(|(pid, _)| *pid).collect();
        for pid in over {
            self.reserved.remove(&pid);
            self.balance.arrived(pid);
        }
        let admitted = !survey.draining && self.balance.admit(source, survey.load, choice);
        if admitted {
            self.reserved.insert(choice.pid, Instant::now());
        }
        admitted
    }
}

impl Look {
    fn take(driver: &mut Driver) -> Self {
        let machine = &driver.machine;
        let read = |(pid, guest): (Pid, &crate::driver::Guest)| {
            let stats = guest.process.stats();
            let idle =
                matches!(stats.status, engine::Status::Waiting(_) | engine::Status::Sleeping(_));
            let last_pause = driver.last_moves.get(&pid).map(|it| Span::micros(it.pause_us));
            let reading = Reading {
                came: guest.came,
                busy: stats.busy,
                memory: stats.memory_bytes,
                idle,
                last_pause,
                placement: guest.info.placement.clone(),
                talks: machine.talks(pid).filter(|(other, ..)| !other.is_port()).collect(),
            };
            (pid, reading)
        };
        let processes = driver.guests.all().map(read).collect();
        let (at, now) = (Instant::now(), driver.clock.now());
        Self { at, now, draining: driver.draining, processes }
    }
}
