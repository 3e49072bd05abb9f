//! Workers: threads that run processes, one after the other, for a time slice each.
//!
//! ```text
//!             ┌────────────────── slice over ─────────────────┐
//!             ▼                                               │
//!   start ▶ queued ─────────────▶ running ─── unwound ────────┤
//!   thaw      ▲                      │                        ├──▶ parked (waits for something)
//!             │                      └──▶ ended               │       │
//!             ├───────────────────── what it waited for ──────┼───────┘
//!             └───────────────────── resume ◀── frozen ◀──────┘
//! ```
//!
//! A process that is parked for long, or while mappings are scarce, is put to *sleep*: workers take the
//! one that has waited longest from a line, pack it (see [`crate::packed`]), and park it again. It is
//! roused when it is next run. What it waits for ends its wait as ever, and a freeze finds its image there.
//!
//! A process that is parked or frozen is data: its [`Body`], held by its [`Shared`] or by a
//! [`Frozen`]. One thread, the *clock*, ends waits that have a deadline, and slices: but only of a
//! process that keeps another one waiting, so that a process alone on its worker is never disturbed.

use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::body::Body;
use crate::host::{FREEZE, KILL};
use crate::instance::Stop;
use crate::process::{Shared, Stand};
use crate::raw::mappings;
use crate::{Event, Frozen, Outcome, Wait, now};

/// The native stack of Wasm code that runs from the start.
pub(crate) const RUN_STACK_BYTES: usize = 2 << 20;

/// The native stack of Wasm code that goes on after a stop. Its frames are larger, and those of
/// another target may be larger still: what has fitted there must fit here.
pub(crate) const RESUME_STACK_BYTES: usize = 16 << 20;

/// What host calls and the engine itself need besides.
const HOST_STACK_BYTES: usize = 2 << 20;

/// The native stack of a thread that runs Wasm code.
pub(crate) const THREAD_STACK_BYTES: usize = RESUME_STACK_BYTES + HOST_STACK_BYTES;

/// The queue, the clock, and who is running.
pub(crate) struct Scheduler {
    slice: Duration,
    /// How long a process is parked before it is put to sleep, in nanoseconds.
    sleep_after: u64,
    /// With more mappings than this, those that wait sleep at once.
    mappings_max: usize,
    /// How often requests are repeated, on a target that may lose one (see `pulley`).
    repeat: Option<Duration>,
    state: Mutex<Queue>,
    /// There is something to run, or nothing will come any more.
    ready: Condvar,
    /// There is a new deadline.
    tick: Condvar,
}

struct Queue {
    tasks: VecDeque<Task>,
    running: Vec<Option<Running>>,
    deadlines: BinaryHeap<Deadline>,
    /// Those that were parked and do not sleep, each once; the one that has waited longest first, or
    /// near there.
    line: VecDeque<Weak<Shared>>,
    /// Since when the first of the line waits, at least.
    idle_since: u64,
    /// Whether the last thing done was to put one to sleep: then it is the turn of one that runs.
    put_to_sleep: bool,
    /// How many workers have nothing to do.
    resting: usize,
    /// Whether the clock looks again before any slice is over that began since it last looked.
    ticking: bool,
    stopped: bool,
}

/// A process that is to be run; or that is to be put to sleep, and waits for this.
struct Task {
    shared: Arc<Shared>,
    body: Box<Body>,
    idle: Option<Wait>,
    /// Since when it waits for a worker.
    since: Instant,
}

/// How much of the mappings that the kernel allows a process may be linear memories of processes that
/// could run at once: the rest is for those that run, for images on their way, and for the allocator.
const MAPPINGS_SHARE: usize = 8;

/// What Linux allows unless it is told otherwise.
const MAPPINGS_DEFAULT: usize = 65_530;

struct Running {
    shared: Arc<Shared>,
    since: Instant,
}

/// When a parked process is to be looked at.
struct Deadline {
    at: u64,
    shared: Weak<Shared>,
}

impl Scheduler {
    /// Starts the workers and the clock.
    pub(crate) fn start(
        workers: usize,
        slice: Duration,
        sleep_after: Duration,
        repeat: Option<Duration>,
    ) -> io::Result<Arc<Self>> {
        let workers = workers.max(1);
        let allowed = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        let allowed = allowed.and_then(|text| text.trim().parse().ok()).unwrap_or(MAPPINGS_DEFAULT);
        let scheduler = Arc::new(Self {
            slice,
            sleep_after: u64::try_from(sleep_after.as_nanos()).unwrap_or(u64::MAX),
            // An operator who allows millions has not asked for millions.
            mappings_max: allowed.min(MAPPINGS_DEFAULT) / MAPPINGS_SHARE,
            repeat,
            state: Mutex::new(Queue {
                tasks: VecDeque::new(),
                running: (0..workers).map(|_| None).collect(),
                deadlines: BinaryHeap::new(),
                line: VecDeque::new(),
                idle_since: 0,
                put_to_sleep: false,
                resting: 0,
                ticking: false,
                stopped: false,
            }),
            ready: Condvar::new(),
            tick: Condvar::new(),
        });
        for number in 0..workers {
            let scheduler = scheduler.clone();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .stack_size(THREAD_STACK_BYTES)
                .spawn(move || scheduler.work(number))?;
        }
        let clock = scheduler.clone();
        std::thread::Builder::new().name("clock".into()).spawn(move || clock.keep_time())?;
        Ok(scheduler)
    }

    /// Lets the threads end. What is queued stays so and runs no more.
    pub(crate) fn stop(&self) {
        let mut queue = self.queue();
        queue.stopped = true;
        for running in queue.running.iter().flatten() {
            running.shared.request();
        }
        drop(queue);
        self.ready.notify_all();
        self.tick.notify_all();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, shared: Arc<Shared>, body: Box<Body>) {
        let mut queue = self.queue();
        queue.tasks.push_back(Task { shared, body, idle: None, since: Instant::now() });
        let contended = queue.running.iter().all(Option::is_some);
        // Each of these costs a system call, whether anybody hears it or not.
        let wakes = queue.resting > 0;
        let ticks = contended && !std::mem::replace(&mut queue.ticking, true);
        drop(queue);
        if wakes {
            self.ready.notify_one();
        }
        if ticks {
            self.tick.notify_one();
        }
    }

    /// Sees to it that a parked process is looked at when its wait ends by itself.
    fn remind(&self, at: u64, shared: &Arc<Shared>) {
        self.queue().deadlines.push(Deadline { at, shared: Arc::downgrade(shared) });
        self.tick.notify_one();
    }

    /// Has a process in the line of those that may be put to sleep.
    fn line_up(&self, shared: &Arc<Shared>) {
        let mut queue = self.queue();
        if !shared.in_line.swap(true, Ordering::Relaxed) {
            if queue.line.is_empty() {
                queue.idle_since = shared.parked_at();
                self.tick.notify_one();
            }
            queue.line.push_back(Arc::downgrade(shared));
        }
    }

    fn work(&self, worker: usize) {
        while let Some(task) = self.next(worker) {
            let again = run(self, task);
            let mut queue = self.queue();
            queue.running[worker] = None;
            if let Some(task) = again {
                queue.tasks.push_back(task);
            }
        }
    }

    fn next(&self, worker: usize) -> Option<Task> {
        let mut queue = self.queue();
        loop {
            if queue.stopped {
                return None;
            }
            let scarce = mappings() > self.mappings_max;
            if queue.owes_sleep(scarce, self.sleep_after) {
                let first = queue.line_first();
                drop(queue);
                if let Some(task) = first.and_then(|shared| self.idle(shared, scarce)) {
                    return Some(task);
                }
                queue = self.queue();
                continue;
            }
            queue.put_to_sleep = false;
            if let Some(task) = queue.tasks.pop_front() {
                let (shared, since) = (task.shared.clone(), Instant::now());
                shared.outside.has_been_busy(since - task.since);
                queue.running[worker] = Some(Running { shared, since });
                if !queue.tasks.is_empty() && !std::mem::replace(&mut queue.ticking, true) {
                    // Somebody waits for us from now on.
                    self.tick.notify_one();
                }
                return Some(task);
            }
            queue.resting += 1;
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.resting -= 1;
        }
    }

    /// Takes a process to put it to sleep, if it has waited long enough or mappings are scarce.
    fn idle(&self, shared: Arc<Shared>, scarce: bool) -> Option<Task> {
        let waited = now().saturating_sub(shared.parked_at());
        if !scarce && waited < self.sleep_after {
            // It has been busy since it came into the line.
            self.line_up(&shared);
            return None;
        }
        let (body, wait) = shared.take_idle()?;
        Some(Task { shared, body, idle: Some(wait), since: Instant::now() })
    }

    fn keep_time(&self) {
        let mut queue = self.queue();
        while !queue.stopped {
            let due = queue.due();
            if !due.is_empty() {
                drop(queue);
                due.iter().for_each(Shared::nudge);
                queue = self.queue();
                continue;
            }
            let mut timeout = queue.end_slices(self.slice, self.repeat);
            if !queue.line.is_empty() {
                let at = queue.idle_since.saturating_add(self.sleep_after);
                match at.saturating_sub(now()) {
                    // Somebody without anything else to do sees to it.
                    0 => self.ready.notify_one(),
                    left => timeout = timeout.min(Duration::from_nanos(left)),
                }
            }
            let waited = self.tick.wait_timeout(queue, timeout);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Queue {
    /// Whether the next thing to do is to put a process to sleep.
    fn owes_sleep(&self, scarce: bool, sleep_after: u64) -> bool {
        let idle = !self.line.is_empty();
        // Those that run do not wait for all that have come to lie idle at once.
        let turn = !self.put_to_sleep || self.tasks.is_empty();
        idle && (scarce || (turn && now().saturating_sub(self.idle_since) >= sleep_after))
    }

    /// Takes the first from the line.
    fn line_first(&mut self) -> Option<Arc<Shared>> {
        let first = self.line.pop_front()?.upgrade();
        if let Some(first) = &first {
            first.in_line.store(false, Ordering::Relaxed);
        }
        let next = self.line.front().and_then(Weak::upgrade);
        // One that is gone is looked at soon.
        self.idle_since = next.map_or(0, |next| next.parked_at());
        self.put_to_sleep = true;
        first
    }

    /// Whose deadlines are past.
    fn due(&mut self) -> Vec<Arc<Shared>> {
        let now = now();
        let mut due = vec![];
        while let Some(next) = self.deadlines.peek()
            && next.at <= now
        {
            due.extend(self.deadlines.pop().and_then(|deadline| deadline.shared.upgrade()));
        }
        due
    }

    /// Asks those to leave whose slice is over, if anyone waits. Says when to look again.
    fn end_slices(&mut self, slice: Duration, repeat: Option<Duration>) -> Duration {
        // Long enough to cost nothing, and a bound on what a missed wake-up could do.
        let mut timeout = Duration::from_secs(1);
        if let Some(next) = self.deadlines.peek() {
            timeout = timeout.min(Duration::from_nanos(next.at.saturating_sub(now())));
        }
        if let Some(repeat) = repeat {
            let wanted = self.running.iter().flatten().filter(|r| r.shared.outside.wants() != 0);
            wanted.for_each(|running| running.shared.request());
            timeout = timeout.min(repeat);
        }
        self.ticking = !self.tasks.is_empty();
        if !self.ticking {
            return timeout;
        }
        for running in self.running.iter().flatten() {
            let left = slice.saturating_sub(running.since.elapsed());
            if left.is_zero() && running.shared.code.is_resumable() {
                running.shared.request();
            }
            // One that cannot go on after a stop yet is asked when it can.
            timeout = timeout.min(left.max(Duration::from_millis(1)));
        }
        timeout
    }
}

/// Runs a process for a while, or puts it to sleep. Returns it if it is to be run again.
fn run(scheduler: &Scheduler, task: Task) -> Option<Task> {
    let Task { shared, mut body, idle, since: _ } = task;
    if let Some(wait) = idle {
        put_to_sleep(&shared, &mut body);
        return park(scheduler, shared, body, wait);
    }
    shared.set_stand(Stand::Running);
    // What is wanted of one that sleeps is done without waking it.
    if body.is_packed()
        && let Some(wanted) = wanted(&shared)
        && wanted.applies_to(&body)
    {
        return wanted.fulfil(&shared, body);
    }
    match body.rouse() {
        Ok(control) => shared.set_control(Some(control)),
        Err(error) => return end(&shared, body, Outcome::Fault(format!("no memory: {error}"))),
    }
    // First the request is taken back, then what is wanted is looked at: a wish that comes after
    // that sets the request anew.
    shared.withdraw();
    match wanted(&shared) {
        Some(wanted) if wanted.applies_to(&body) => return wanted.fulfil(&shared, body),
        // It has not begun: it freezes at its first safepoint.
        Some(_) => shared.request(),
        None => {}
    }
    let ran = catch_unwind(AssertUnwindSafe(|| body.run()));
    shared.count_unwind();
    match ran {
        Err(panic) => end(&shared, body, Outcome::Fault(words(&*panic))),
        Ok((Stop::Ended(outcome), _)) => end(&shared, body, outcome),
        Ok((Stop::Returned, _)) => unreachable!("a body ends or unwinds"),
        Ok((Stop::Unwound, wait)) => {
            shared.measure(&body);
            if let Some(wanted) = wanted(&shared) {
                wanted.fulfil(&shared, body)
            } else if let Some(wait) = wait {
                if scheduler.sleep_after == 0 {
                    put_to_sleep(&shared, &mut body);
                }
                shared.parks();
                park(scheduler, shared, body, wait)
            } else {
                shared.set_stand(Stand::Queued);
                Some(Task { shared, body, idle: None, since: Instant::now() })
            }
        }
    }
}

/// What somebody wants of a process.
#[derive(Clone, Copy)]
enum Wanted {
    Killed,
    Frozen,
}

fn wanted(shared: &Shared) -> Option<Wanted> {
    match shared.outside.wants() {
        wants if wants & KILL != 0 => Some(Wanted::Killed),
        wants if wants & FREEZE != 0 => Some(Wanted::Frozen),
        _ => None,
    }
}

impl Wanted {
    /// Whether it can be done as the process is: without frames there is nothing to freeze.
    fn applies_to(self, body: &Body) -> bool {
        matches!(self, Self::Killed) || body.frames
    }

    fn fulfil(self, shared: &Arc<Shared>, body: Box<Body>) -> Option<Task> {
        match self {
            Self::Killed => end(shared, body, Outcome::Killed),
            Self::Frozen => freeze(shared, body),
        }
    }
}

/// See [`Body::pack`]. Nobody can ask the instance to stop any more; whoever wants something is
/// heard when the process is parked.
fn put_to_sleep(shared: &Shared, body: &mut Body) {
    shared.set_control(None);
    body.pack();
}

fn park(scheduler: &Scheduler, shared: Arc<Shared>, body: Box<Body>, wait: Wait) -> Option<Task> {
    let awake = body.is_roomed() && body.may_sleep();
    let mut stand = shared.stand();
    // Whoever ends the wait looks for it under this lock: looking again here misses nobody.
    if shared.outside.wants() != 0 || shared.outside.is_over(wait) {
        *stand = Stand::Queued;
        drop(stand);
        return Some(Task { shared, body, idle: None, since: Instant::now() });
    }
    *stand = Stand::Parked(body, wait);
    drop(stand);
    if let Some(deadline) = wait.deadline() {
        scheduler.remind(deadline, &shared);
    }
    if awake {
        scheduler.line_up(&shared);
    }
    None
}

fn freeze(shared: &Arc<Shared>, body: Box<Body>) -> Option<Task> {
    shared.outside.tell_of_all_took(shared.pid);
    shared.freezes();
    let frozen = Frozen::new(shared.clone(), body);
    shared.outside.say(shared.pid, Event::Frozen(frozen));
    None
}

fn end(shared: &Arc<Shared>, body: Box<Body>, outcome: Outcome) -> Option<Task> {
    shared.set_stand(Stand::Ended);
    shared.set_control(None);
    // First its memory, then the word: whoever waits for room knows that it is there.
    drop(body);
    shared.outside.end(shared.pid, outcome);
    None
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without words".to_owned())
}

impl PartialEq for Deadline {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Deadline {}

impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Deadline {
    /// The earliest is the greatest, and so the first of the heap.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.at.cmp(&self.at)
    }
}
