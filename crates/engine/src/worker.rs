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
//! A process that is parked or frozen is data: its [`Body`], held by its [`Shared`] or by a
//! [`Frozen`]. One thread, the *clock*, ends waits that have a deadline, and slices: but only of a
//! process that keeps another one waiting, so that a process alone on its worker is never disturbed.

use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::body::Body;
use crate::host::{FREEZE, KILL};
use crate::instance::Stop;
use crate::process::{Shared, Stand};
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
    /// How many workers wait for a task.
    idle: usize,
    stopped: bool,
}

/// A process that is to be run.
struct Task {
    shared: Arc<Shared>,
    body: Box<Body>,
}

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
        repeat: Option<Duration>,
    ) -> io::Result<Arc<Self>> {
        let workers = workers.max(1);
        let scheduler = Arc::new(Self {
            slice,
            repeat,
            state: Mutex::new(Queue {
                tasks: VecDeque::new(),
                running: (0..workers).map(|_| None).collect(),
                deadlines: BinaryHeap::new(),
                idle: 0,
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
        // Once told, the clock looks again by itself for as long as anyone waits.
        let first = queue.tasks.is_empty();
        queue.tasks.push_back(Task { shared, body });
        let contended = first && queue.running.iter().all(Option::is_some);
        let idle = queue.idle > 0;
        drop(queue);
        if idle {
            self.ready.notify_one();
        }
        if contended {
            self.tick.notify_one();
        }
    }

    /// Sees to it that a parked process is looked at when its wait ends by itself.
    fn remind(&self, at: u64, shared: &Arc<Shared>) {
        self.queue().deadlines.push(Deadline { at, shared: Arc::downgrade(shared) });
        self.tick.notify_one();
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
            if let Some(task) = queue.tasks.pop_front() {
                let shared = task.shared.clone();
                queue.running[worker] = Some(Running { shared, since: Instant::now() });
                if !queue.tasks.is_empty() {
                    // Somebody waits for us from now on.
                    self.tick.notify_one();
                }
                return Some(task);
            }
            queue.idle += 1;
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
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
            let timeout = queue.end_slices(self.slice, self.repeat);
            let waited = self.tick.wait_timeout(queue, timeout);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Queue {
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
    fn end_slices(&self, slice: Duration, repeat: Option<Duration>) -> Duration {
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
        if self.tasks.is_empty() {
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

/// Runs a process for a while. Returns it if it is to be run again.
fn run(scheduler: &Scheduler, task: Task) -> Option<Task> {
    let Task { shared, mut body } = task;
    shared.set_stand(Stand::Running);
    // First the request is taken back, then what is wanted is looked at: a wish that comes after
    // that sets the request anew.
    shared.withdraw();
    let wants = shared.outside.wants();
    if wants & KILL != 0 {
        return end(&shared, body, Outcome::Killed);
    }
    if wants & FREEZE != 0 {
        if body.frames {
            return freeze(&shared, body);
        }
        // It has not begun: it freezes at its first safepoint.
        shared.request();
    }
    let ran = catch_unwind(AssertUnwindSafe(|| body.run()));
    shared.count_unwind();
    match ran {
        Err(panic) => end(&shared, body, Outcome::Fault(words(&*panic))),
        Ok((Stop::Ended(outcome), _)) => end(&shared, body, outcome),
        Ok((Stop::Returned, _)) => unreachable!("a body ends or unwinds"),
        Ok((Stop::Unwound, wait)) => {
            shared.measure(&body);
            let wants = shared.outside.wants();
            if wants & KILL != 0 {
                end(&shared, body, Outcome::Killed)
            } else if wants & FREEZE != 0 {
                freeze(&shared, body)
            } else if let Some(wait) = wait {
                park(scheduler, shared, body, wait)
            } else {
                shared.set_stand(Stand::Queued);
                Some(Task { shared, body })
            }
        }
    }
}

fn park(scheduler: &Scheduler, shared: Arc<Shared>, body: Box<Body>, wait: Wait) -> Option<Task> {
    let mut stand = shared.stand();
    // Whoever ends the wait looks for it under this lock: looking again here misses nobody.
    if shared.outside.wants() != 0 || shared.outside.is_over(wait) {
        *stand = Stand::Queued;
        drop(stand);
        return Some(Task { shared, body });
    }
    *stand = Stand::Parked(body, wait);
    drop(stand);
    if let Some(deadline) = wait.deadline() {
        scheduler.remind(deadline, &shared);
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
