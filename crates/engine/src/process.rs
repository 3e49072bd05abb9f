//! A handle on a process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use transform::abi;
use wire::{CodeHash, Epoch, Pid, Share};

use crate::body::Body;
use crate::code::Code;
use crate::host::{FREEZE, KILL, Outside};
use crate::mail::{Incoming, Order, Outgoing, Took, Unnamed, What};
use crate::raw::{Budget, Control};
use crate::worker::Scheduler;
use crate::{Dir, Needs, Wait, now};

/// A process that was started or thawed here. A handle: cheap to clone, and harmless to keep after
/// the process has ended or gone.
#[derive(Clone)]
pub struct Process {
    shared: Arc<Shared>,
}

/// What all handles of a process, its worker and its [`crate::Frozen`] share.
pub(crate) struct Shared {
    pub(crate) pid: Pid,
    pub(crate) code: Arc<Code>,
    pub(crate) outside: Arc<Outside>,
    /// While it is where it can run.
    control: Mutex<Option<Control>>,
    budget: Arc<Budget>,
    dirs: Vec<Dir>,
    stand: Mutex<Stand>,
    scheduler: Arc<Scheduler>,
    unwinds: AtomicU64,
    /// When a freeze was asked for; 0: it was not.
    asked: AtomicU64,
    /// How long the last freeze took to come to pass, in nanoseconds; 0: there was none.
    safepoint: AtomicU64,
    /// Bytes of frames at the last unwind.
    frames: AtomicU64,
    /// When it was parked last.
    parked: AtomicU64,
    /// Whether it is in the scheduler's line of those that may be put to sleep; its lock guards this.
    pub(crate) in_line: AtomicBool,
}

/// Where a process is, and its body, if nobody else has it.
pub(crate) enum Stand {
    /// Waits for a worker.
    Queued,
    /// On a worker.
    Running,
    /// Waits for something.
    Parked(Box<Body>, Wait),
    /// With its [`crate::Frozen`].
    Frozen,
    /// Nowhere.
    Ended,
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// On a worker, or waiting for one.
    Running,
    /// Blocked in a host call.
    Waiting(Wait),
    /// The same, and put to sleep: no instance, no mapping, an image in memory.
    Sleeping(Wait),
    /// Asked to freeze, not there yet.
    Freezing,
    /// Frozen.
    Frozen,
    /// Over, or gone elsewhere.
    Ended,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// What it is doing.
    pub status: Status,
    /// Processor time, over all nodes.
    pub cpu: Duration,
    /// How long it was on a worker or ready for one, on this node: the time that it would have computed if nobody had
    /// stood in its way.
    pub busy: Duration,
    /// Bytes of linear memory, over all its memories.
    pub memory_bytes: u64,
    /// How often it has left its worker.
    pub unwinds: u64,
    /// From the last freeze's request to its safepoint.
    pub safepoint: Option<Duration>,
}

impl Process {
    /// A process, and with it the handle. It is set going by the scheduler's queue.
    pub(crate) fn launch(
        scheduler: &Arc<Scheduler>,
        pid: Pid,
        outside: Arc<Outside>,
        dirs: Vec<Dir>,
        body: Body,
    ) -> Self {
        let shared = Arc::new(Shared {
            pid,
            code: body.code.clone(),
            outside,
            control: Mutex::default(),
            budget: body.budget.clone(),
            dirs,
            stand: Mutex::new(Stand::Queued),
            scheduler: scheduler.clone(),
            unwinds: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            safepoint: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            in_line: AtomicBool::new(false),
        });
        scheduler.push(shared.clone(), Box::new(body));
        Self { shared }
    }

    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: shared.clone() }
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.shared.pid
    }

    /// Its code's hash.
    #[must_use]
    pub fn code(&self) -> CodeHash {
        self.shared.code.hash()
    }

    /// What a node must have to take it over.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let frames = self.shared.frames.load(Ordering::Relaxed);
        Needs {
            code: self.code(),
            image_bytes: self.shared.budget.used() + frames,
            dirs: self.shared.dirs.clone(),
        }
    }

    /// What it is doing, and has used.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let status = match &*shared.stand() {
            Stand::Ended => Status::Ended,
            Stand::Frozen => Status::Frozen,
            _ if shared.outside.wants() & FREEZE != 0 => Status::Freezing,
            Stand::Parked(body, wait) if body.is_packed() => Status::Sleeping(*wait),
            Stand::Parked(_, wait) => Status::Waiting(*wait),
            Stand::Queued | Stand::Running => Status::Running,
        };
        let safepoint = shared.safepoint.load(Ordering::Relaxed);
        Stats {
            status,
            cpu: shared.outside.cpu_now(),
            busy: shared.outside.busy(),
            memory_bytes: shared.budget.used(),
            unwinds: shared.unwinds.load(Ordering::Relaxed),
            safepoint: (safepoint != 0).then(|| Duration::from_nanos(safepoint)),
        }
    }

    /// Asks it to stop at its next safepoint. [`crate::Event::Frozen`] follows, or
    /// [`crate::Event::Ended`] if it ends first. Without effect on one that is frozen or ended.
    pub fn freeze(&self) {
        let stand = self.shared.stand();
        if matches!(*stand, Stand::Frozen | Stand::Ended) {
            return;
        }
        self.shared.asked.store(now(), Ordering::Relaxed);
        self.shared.outside.want(FREEZE);
        drop(stand);
        self.shared.request();
        Shared::nudge(&self.shared);
    }

    /// Takes back a request to freeze that has not come to pass. Where it came to pass meanwhile,
    /// [`crate::Event::Frozen`] says so, and the caller resumes it.
    pub fn cancel_freeze(&self) {
        self.shared.outside.unwant(FREEZE);
    }

    /// Ends it. [`crate::Event::Ended`] follows, with [`crate::Outcome::Killed`], unless it has
    /// ended and that was said; a frozen one ends when its [`crate::Frozen`] is resumed.
    pub fn kill(&self) {
        self.shared.outside.want(KILL);
        self.shared.outside.kill_ended(self.shared.pid);
        self.shared.request();
        Shared::nudge(&self.shared);
    }

    /// Feeds its standard input. The offset counts the bytes fed since it was born: bytes before
    /// the end of what it was fed are skipped, so that input may be sent again after a move.
    /// Returns the offset after which the next byte is wanted; there is room for
    /// [`crate::INPUT_BYTES_MAX`] bytes beyond what it has taken, and more than that is not kept.
    pub fn stdin(&self, offset: u64, bytes: &[u8]) -> u64 {
        let fed = self.shared.outside.feed(offset, bytes);
        Shared::nudge(&self.shared);
        fed
    }

    /// Says that its standard input ends after what it was fed.
    pub fn stdin_end(&self) {
        self.shared.outside.end_input();
        Shared::nudge(&self.shared);
    }

    /// Says that its output up to this offset has been taken care of. It blocks when
    /// [`crate::OUTPUT_BYTES_MAX`] bytes have not.
    pub fn output_taken(&self, offset: u64) {
        self.shared.outside.output_taken(offset);
        Shared::nudge(&self.shared);
    }

    /// Puts a message into its inbox, which holds [`crate::INBOX_BYTES_MAX`] bytes, counted with
    /// [`crate::MESSAGE_BYTES_EXTRA`] for each message, or one. False if there is no room for it: it
    /// was not taken then. News always fits.
    ///
    /// What is delivered after [`crate::Frozen::image`] is not in that image.
    #[must_use]
    pub fn deliver(&self, from: Pid, what: What, bytes: Share) -> bool {
        self.deliver_all(from, what, std::iter::once(bytes))
    }

    /// [`Process::deliver`], of several from one sender, in order. False if there was no room for one: neither that
    /// nor those after it were taken then.
    #[must_use]
    pub fn deliver_all(&self, from: Pid, what: What, all: impl IntoIterator<Item = Share>) -> bool {
        let messages = all.into_iter().map(|bytes| Incoming { from, what, bytes });
        let delivered = self.shared.outside.deliver(messages);
        Shared::nudge(&self.shared);
        delivered
    }

    /// What it has taken from its inbox, by sender, since this was asked before. Nothing while its
    /// effects are held. [`crate::Event::Took`] says when to ask.
    #[must_use]
    pub fn took(&self) -> Vec<(Pid, Took)> {
        self.shared.outside.took()
    }

    /// Offers each message that it sent, in order, to a carrier, who takes it or leaves it. Those
    /// behind one that is left and to the same receiver are left too. Says how many were taken.
    ///
    /// None is offered while its effects are held. [`crate::Event::Sent`] rings when there are the
    /// first; whoever leaves some has to come back for them. What is carried off after
    /// [`crate::Frozen::image`] is in that image all the same. No image may be taken during the call: what is being
    /// offered would not be in it.
    pub fn carry(&self, takes: impl FnMut(&Outgoing) -> bool) -> usize {
        let taken = self.shared.outside.carry(takes);
        if taken > 0 {
            Shared::nudge(&self.shared);
        }
        taken
    }

    /// Answers what it asked about a name, by an order that was carried off. It need not be asked any more.
    pub fn answer(&self, order: Order, name: &[u8], answer: Result<Pid, Unnamed>) {
        self.shared.outside.answer(order, name, answer);
        Shared::nudge(&self.shared);
    }

    /// Says that a process has ended to which it may send: to send there is an error from now on.
    pub fn is_gone(&self, pid: Pid) {
        self.shared.outside.is_gone(pid);
        Shared::nudge(&self.shared);
    }

    /// Lets what it does be seen: from now on its output is delivered (what was held back, first),
    /// and host calls that change files or take input go on.
    pub fn release_effects(&self) {
        self.shared.outside.release(self.shared.pid);
        Shared::nudge(&self.shared);
    }

    /// Changes the epoch that it reads in `/whimbrel/epoch`.
    pub fn set_epoch(&self, epoch: Epoch) {
        self.shared.outside.set_epoch(epoch);
    }
}

impl Shared {
    pub(crate) fn stand(&self) -> MutexGuard<'_, Stand> {
        self.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_stand(&self, stand: Stand) {
        *self.stand() = stand;
    }

    fn control(&self) -> MutexGuard<'_, Option<Control>> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is where it can run, and can be stopped there; or it is not, and nobody can.
    pub(crate) fn set_control(&self, control: Option<Control>) {
        *self.control() = control;
    }

    /// Asks the program to unwind at its next safepoint.
    pub(crate) fn request(&self) {
        if let Some(control) = &*self.control() {
            control.set(abi::LOOP.offset, abi::REQUEST);
            control.set(abi::ENTRY.offset, abi::REQUEST);
        }
    }

    /// Takes [`Shared::request`] back.
    pub(crate) fn withdraw(&self) {
        if let Some(control) = &*self.control() {
            control.clear(abi::LOOP.offset, abi::REQUEST);
            control.clear(abi::ENTRY.offset, abi::REQUEST);
        }
    }

    /// Notes that it is parked from now on, and says since when it is not disturbed.
    pub(crate) fn parks(&self) {
        self.parked.store(now(), Ordering::Relaxed);
    }

    /// When it was parked last.
    pub(crate) fn parked_at(&self) -> u64 {
        self.parked.load(Ordering::Relaxed)
    }

    /// Takes the body of a process that is parked where it could run, to be put to sleep.
    pub(crate) fn take_idle(&self) -> Option<(Box<Body>, Wait)> {
        let mut stand = self.stand();
        if !matches!(&*stand, Stand::Parked(body, _) if body.is_roomed() && body.may_sleep()) {
            return None;
        }
        match std::mem::replace(&mut *stand, Stand::Queued) {
            Stand::Parked(body, wait) => Some((body, wait)),
            _ => unreachable!("it was just parked"),
        }
    }

    /// Lets a parked process go on if what it waits for has come, or if something is wanted of it.
    pub(crate) fn nudge(shared: &Arc<Self>) {
        let mut stand = shared.stand();
        let Stand::Parked(_, wait) = &*stand else { return };
        if shared.outside.wants() == 0 && !shared.outside.is_over(*wait) {
            return;
        }
        let Stand::Parked(body, _) = std::mem::replace(&mut *stand, Stand::Queued) else {
            unreachable!("it was just parked")
        };
        drop(stand);
        shared.scheduler.push(shared.clone(), body);
    }

    /// A frozen process goes on.
    pub(crate) fn resume(shared: &Arc<Self>, body: Box<Body>) {
        // First, since what it says itself comes after it.
        shared.outside.ring(shared.pid);
        shared.set_stand(Stand::Queued);
        shared.scheduler.push(shared.clone(), body);
    }

    /// A freeze comes to pass.
    pub(crate) fn freezes(&self) {
        *self.stand() = Stand::Frozen;
        self.outside.unwant(FREEZE);
        let asked = self.asked.swap(0, Ordering::Relaxed);
        if asked != 0 {
            self.safepoint.store(now().saturating_sub(asked).max(1), Ordering::Relaxed);
        }
    }

    pub(crate) fn count_unwind(&self) {
        self.unwinds.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how large the frames are.
    pub(crate) fn measure(&self, body: &Body) {
        self.frames.store(body.frames_bytes_max(), Ordering::Relaxed);
    }
}
