//! What host calls reach: the boundary between the engine and `wasi`.
//!
//! A store holds a [`Host`]: WASI's own state, and a [`World`], through which a host call blocks,
//! writes output, takes input and asks whether its effects are held. The `World` belongs to the
//! engine and outlives every instance of the process.
//!
//! # How a host call blocks
//!
//! It says [`World::block`] and returns anything. The transformed code finds `LEAVE` set, unwinds,
//! and the worker is free. When what was waited for has come, *the same import is called again with
//! the same arguments*. A call that blocks must therefore not have done anything yet, and a
//! relative time must have been turned into a deadline that is kept (see `wasi`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use transform::abi;
use wasmtime::StoreLimits;
use wire::{Epoch, Pid};

use crate::mail::{Incoming, Mail, Order, Outgoing, Received, Took, Unnamed, Unsent};
use crate::raw::Control;
use crate::wasi::{Blocked, View, Wasi};
use crate::{Code, Event, EventSink, Outcome, Stream};

/// How much output may be written and not yet taken care of, before a write blocks.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// How much input is kept that the process has not taken.
pub const INPUT_BYTES_MAX: usize = 1 << 16;

/// What a process that has left its worker waits for. The host call that it was in is issued again
/// when that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until the host's monotonic clock ([`now`]) is at this, in nanoseconds.
    Until(u64),
    /// Until there is input, or its end, or (where given) the clock is at this.
    Stdin(Option<u64>),
    /// Until there is a message for it, or (where given) the clock is at this.
    Message(Option<u64>),
    /// Until there is input, or its end, or a message, or (where given) the clock is at this.
    StdinOrMessage(Option<u64>),
    /// Until some of its output has been taken.
    OutputRoom,
    /// Until there is room to send a message to this process with so many bytes, or (where given)
    /// the clock is at this.
    SendRoom(Pid, usize, Option<u64>),
    /// Until its effects are released.
    Effects,
    /// Until what it asked about a name is answered.
    Answer,
}

/// What a process's input has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// This many bytes are there to be taken; more than none.
    Ready(usize),
    /// Nothing yet.
    Empty,
    /// It has ended.
    Ended,
    /// It may not be taken while effects are held.
    Held,
}

/// The host's monotonic clock, in nanoseconds: what [`Wait`] deadlines are measured on.
///
/// `CLOCK_BOOTTIME`, so that a machine's sleep counts as time passed.
#[must_use]
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// What the calling thread has used of a processor: it stands still while others have the processor.
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.try_into().unwrap_or(0))
}

/// What one of our threads has used of a processor, where the system says.
fn time_of(thread: rustix::thread::Pid) -> Option<Duration> {
    let path = format!("/proc/self/task/{}/schedstat", thread.as_raw_nonzero());
    let text = std::fs::read_to_string(path).ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a process that waits on its worker looks whether it could leave it.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A process is wanted to freeze.
pub(crate) const FREEZE: u32 = 1;

/// A process is wanted to end.
pub(crate) const KILL: u32 = 2;

/// What a store holds.
pub(crate) struct Host {
    pub(crate) wasi: Wasi,
    pub(crate) world: World,
    /// The memory that the program exports, when an instance is there.
    pub(crate) memory: Option<wasmtime::Memory>,
    pub(crate) limits: StoreLimits,
}

/// What the engine lends to host calls.
pub struct World {
    pid: Pid,
    /// What the process was asked to wait for by the host call that is under way.
    wait: Option<Wait>,
    /// The words that stop the instance it is in; none while it is in none.
    pub(crate) control: Option<Control>,
    /// None in tests of host calls alone.
    code: Option<Arc<Code>>,
    /// What its worker had used of a processor when it entered the process.
    since: Option<Duration>,
    shared: Arc<Outside>,
}

/// What a process shares with its handles, from any thread.
pub(crate) struct Outside {
    events: EventSink,
    /// [`FREEZE`] and [`KILL`].
    wants: AtomicU32,
    /// Nanoseconds of processor time, over all nodes, up to when it last left its worker.
    cpu: AtomicU64,
    /// Nanoseconds that it was on a worker or ready for one, here, up to when it last left.
    busy: AtomicU64,
    on: Mutex<Option<Entered>>,
    state: Mutex<State>,
    /// Says that something a process may wait for has changed.
    changed: Condvar,
}

/// A process is on a worker.
#[derive(Clone, Copy)]
struct Entered {
    thread: rustix::thread::Pid,
    /// What the thread had used of a processor when it entered.
    used: Duration,
    at: Instant,
}

struct State {
    /// How many wait for a change. To tell nobody would cost a call of the system for each message.
    watched: usize,
    node: String,
    epoch: Epoch,
    held: bool,
    /// How it ended, if it did so while its effects are held: what it wrote and sent comes first.
    ended: Option<Outcome>,
    streams: Streams,
    mail: Mail,
}

/// Where a process's streams are. Part of its image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Streams {
    /// Bytes of output written since birth.
    pub(crate) written: u64,
    /// Bytes of output taken care of since birth.
    pub(crate) taken: u64,
    /// Output that was written and is held back: the last of what was written.
    pub(crate) unsaid: VecDeque<(Stream, Vec<u8>)>,
    /// Bytes of input fed since birth.
    pub(crate) fed: u64,
    /// Input that was fed and not taken.
    pub(crate) input: VecDeque<u8>,
    /// Whether the input ends there.
    pub(crate) ended: bool,
    /// Nanoseconds of processor time, when it was frozen.
    pub(crate) cpu: u64,
}

impl World {
    pub(crate) fn new(pid: Pid, code: Arc<Code>, shared: Arc<Outside>) -> Self {
        Self { pid, wait: None, control: None, code: Some(code), since: None, shared }
    }

    /// A world with no process in it, for tests of host calls alone.
    #[cfg(test)]
    pub(crate) fn bare(pid: Pid, shared: Arc<Outside>) -> Self {
        let control = Control::new(65_536).expect("there is room");
        Self { pid, wait: None, control: Some(control), code: None, since: None, shared }
    }

    pub(crate) fn streams(&self) -> Streams {
        self.shared.streams()
    }

    /// A worker enters the process.
    pub(crate) fn enter(&mut self) {
        let since = thread_time();
        self.since = Some(since);
        let thread = rustix::thread::gettid();
        *lock(&self.shared.on) = Some(Entered { thread, used: since, at: Instant::now() });
    }

    /// The worker is out again. Says what the process waits for, if it has left to wait.
    pub(crate) fn leave(&mut self) -> Option<Wait> {
        if let Some(since) = self.since.take() {
            let mut on = lock(&self.shared.on);
            if let Some(entered) = on.take() {
                self.shared.has_been_busy(entered.at.elapsed());
            }
            self.shared.cpu.fetch_add(nanos(thread_time() - since), Ordering::Relaxed);
        }
        self.wait.take()
    }

    /// How much of a processor the process has used, if it is on a worker, which counts. Asking costs a call of the
    /// system.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let now = thread_time() - self.since?;
        Some(Duration::from_nanos(self.shared.cpu()) + now)
    }

    /// Waits on the worker, while the resume form is not compiled yet and the process could not go
    /// on after an unwind. Says whether the wait is over.
    fn wait_here(&self, wait: Wait) -> bool {
        let mut state = self.shared.state();
        loop {
            if state.is_over(wait) {
                return true;
            }
            let resumable = self.code.as_ref().is_none_or(|code| code.is_resumable());
            if self.shared.wants() != 0 || resumable {
                return false;
            }
            let timeout = wait.deadline().map_or(LOOK_AGAIN, |deadline| {
                LOOK_AGAIN.min(Duration::from_nanos(deadline.saturating_sub(now())))
            });
            state.watched += 1;
            let waited = self.shared.changed.wait_timeout(state, timeout);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.watched -= 1;
        }
    }

    /// Whose world it is.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The name of the node it runs on.
    #[must_use]
    pub fn node(&self) -> String {
        self.shared.state().node.clone()
    }

    /// The process's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.state().epoch
    }

    /// Blocks the process: after this, the host call returns anything, and is issued again when
    /// what is waited for has come. Only for imports that may block (see `transform`).
    pub fn block(&mut self, wait: Wait) {
        self.wait = Some(wait);
        let control = self.control.as_ref().expect("it is in an instance");
        control.set(abi::LEAVE.offset, 1);
    }

    /// Whether what the process does may not be seen yet. A host call that changes a file or takes
    /// input then blocks on [`Wait::Effects`].
    #[must_use]
    pub fn effects_held(&self) -> bool {
        self.shared.state().held
    }

    /// Writes output; says how many of the bytes were written. If that is none, the call blocks:
    /// on [`Wait::OutputRoom`], which ends as well when held output is released.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> usize {
        self.shared.write(self.pid, stream, bytes)
    }

    /// What the input has to give.
    #[must_use]
    pub fn input(&self) -> Input {
        self.shared.state().input()
    }

    /// Takes input: what there is, at most `bytes.len()`. Says how much that was; none if
    /// [`World::input`] says anything but [`Input::Ready`].
    pub fn take_input(&mut self, bytes: &mut [u8]) -> usize {
        self.shared.take_input(self.pid, bytes)
    }

    /// The indices of the processes that were started together with it, itself among them.
    #[must_use]
    pub fn members(&self) -> std::ops::Range<u32> {
        self.shared.state().mail.members.clone()
    }

    /// Says whether it may send this at all, apart from room.
    ///
    /// # Errors
    ///
    /// [`Unsent`], but not [`Unsent::Full`].
    pub fn may_send(&self, to: Pid, bytes: usize) -> Result<(), Unsent> {
        self.shared.state().mail.may_send(self.pid.group, to, bytes)
    }

    /// Sends a message. It leaves the node when effects are not held.
    ///
    /// # Errors
    ///
    /// [`Unsent`]; if it is [`Unsent::Full`], the call blocks on [`Wait::SendRoom`].
    pub fn send(&mut self, to: Pid, bytes: &[u8]) -> Result<(), Unsent> {
        self.shared.send(self.pid, to, Order::Message, bytes)
    }

    /// Has the node do something about another process, or about this one: [`Order::Watch`] to [`Order::Untrap`]. It is done
    /// in order with what is sent.
    ///
    /// # Errors
    ///
    /// [`Unsent::Denied`] and [`Unsent::Full`], as for [`World::send`].
    pub fn order(&mut self, order: Order, about: Pid) -> Result<(), Unsent> {
        self.shared.send(self.pid, about, order, &[])
    }

    /// Asks for a name, or whose it is: [`Order::Register`] or [`Order::Whereis`]. `None` if there is no answer yet: the
    /// call blocks on [`Wait::Answer`] then.
    pub fn ask(&mut self, order: Order, name: &[u8]) -> Option<Result<Pid, Unnamed>> {
        self.shared.ask(self.pid, order, name)
    }

    /// Takes the first message from the inbox, if it is not longer than this.
    pub fn receive(&mut self, room: usize) -> Received {
        self.shared.of_inbox(self.pid, |mail| mail.receive(room))
    }

    /// Reads from the first message in the inbox as from a file, at most so many bytes; none, if
    /// there is no message.
    pub fn read_inbox(&mut self, bytes_max: usize) -> Vec<u8> {
        self.shared.of_inbox(self.pid, |mail| mail.read(bytes_max))
    }

    /// How many bytes [`World::read_inbox`] would give at most.
    #[must_use]
    pub fn inbox_readable(&self) -> usize {
        self.shared.state().mail.readable()
    }

    /// Keeps, over its being issued again, when the call that waits for mail stops waiting: a
    /// moment on the process's own clock. The call takes it back when it ends.
    pub fn keep_deadline(&mut self, deadline: u64) {
        self.shared.state().mail.deadline = Some(deadline);
    }

    /// The deadline that was kept. It is not kept any more.
    pub fn take_deadline(&mut self) -> Option<u64> {
        self.shared.state().mail.deadline.take()
    }
}

impl Outside {
    pub(crate) fn new(
        events: EventSink,
        place: crate::Place,
        held: bool,
        streams: Streams,
        mail: Mail,
    ) -> Arc<Self> {
        let crate::Place { node, epoch } = place;
        let cpu = AtomicU64::new(streams.cpu);
        let state = State { watched: 0, node, epoch, held, ended: None, streams, mail };
        let (wants, changed) = (AtomicU32::new(0), Condvar::new());
        let (busy, on) = (AtomicU64::new(0), Mutex::new(None));
        Arc::new(Self { events, wants, cpu, busy, on, state: Mutex::new(state), changed })
    }

    /// What the process is wanted to do.
    pub(crate) fn wants(&self) -> u32 {
        self.wants.load(Ordering::SeqCst)
    }

    pub(crate) fn want(&self, bits: u32) {
        self.wants.fetch_or(bits, Ordering::SeqCst);
        // Whoever waits looks at this under the lock.
        self.has_changed(self.state());
    }

    pub(crate) fn unwant(&self, bits: u32) {
        self.wants.fetch_and(!bits, Ordering::SeqCst);
    }

    /// Processor time up to when it last left its worker, in nanoseconds.
    pub(crate) fn cpu(&self) -> u64 {
        self.cpu.load(Ordering::Relaxed)
    }

    /// It was on a worker, or ready for one, for this long.
    pub(crate) fn has_been_busy(&self, time: Duration) {
        self.busy.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// How long it was on a worker or ready for one, up to now.
    pub(crate) fn busy(&self) -> Duration {
        let on = lock(&self.on);
        let now = on.map(|entered| entered.at.elapsed()).unwrap_or_default();
        Duration::from_nanos(self.busy.load(Ordering::Relaxed)) + now
    }

    /// Processor time up to now, asked from another thread than its worker.
    pub(crate) fn cpu_now(&self) -> Duration {
        // Under the lock, it neither enters nor leaves.
        let on = lock(&self.on);
        let now = on.and_then(|entered| time_of(entered.thread)?.checked_sub(entered.used));
        Duration::from_nanos(self.cpu()) + now.unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Tells whoever waits for that.
    fn has_changed(&self, state: MutexGuard<'_, State>) {
        let watched = state.watched > 0;
        drop(state);
        if watched {
            self.changed.notify_all();
        }
    }

    /// Events of one process are said one after the other: by its worker, or by nobody.
    pub(crate) fn say(&self, pid: Pid, event: Event) {
        (self.events)(pid, event);
    }

    fn write(&self, pid: Pid, stream: Stream, bytes: &[u8]) -> usize {
        let mut state = self.state();
        let room = OUTPUT_BYTES_MAX.saturating_sub(
            usize::try_from(state.streams.written - state.streams.taken).unwrap_or(usize::MAX),
        );
        let bytes = &bytes[..bytes.len().min(room)];
        if bytes.is_empty() {
            return 0;
        }
        let offset = state.streams.written;
        state.streams.written += bytes.len() as u64;
        if state.held {
            state.streams.unsaid.push_back((stream, bytes.to_vec()));
        } else {
            // Said under the lock, so that a release on another thread cannot come between.
            self.say(pid, Event::Output { stream, offset, bytes: bytes.to_vec() });
        }
        bytes.len()
    }

    fn take_input(&self, pid: Pid, bytes: &mut [u8]) -> usize {
        let mut state = self.state();
        if state.held {
            return 0;
        }
        let count = bytes.len().min(state.streams.input.len());
        for (byte, taken) in bytes.iter_mut().zip(state.streams.input.drain(..count)) {
            *byte = taken;
        }
        if count > 0 {
            let offset = state.streams.fed - state.streams.input.len() as u64;
            self.say(pid, Event::InputTaken { offset });
        }
        count
    }

    /// Feeds input; see [`crate::Process::stdin`].
    pub(crate) fn feed(&self, offset: u64, bytes: &[u8]) -> u64 {
        let mut state = self.state();
        let streams = &mut state.streams;
        // What is before the end of what was fed is a repetition; what is after it leaves a gap.
        if offset <= streams.fed && !streams.ended {
            let skip = usize::try_from(streams.fed - offset).unwrap_or(usize::MAX);
            let room = INPUT_BYTES_MAX.saturating_sub(streams.input.len());
            let fresh = bytes.get(skip..).unwrap_or_default();
            let fresh = &fresh[..fresh.len().min(room)];
            streams.input.extend(fresh);
            streams.fed += fresh.len() as u64;
        }
        let fed = streams.fed;
        self.has_changed(state);
        fed
    }

    pub(crate) fn end_input(&self) {
        let mut state = self.state();
        state.streams.ended = true;
        self.has_changed(state);
    }

    pub(crate) fn output_taken(&self, offset: u64) {
        let mut state = self.state();
        let streams = &mut state.streams;
        streams.taken = streams.taken.max(offset.min(streams.written));
        self.has_changed(state);
    }

    fn send(&self, pid: Pid, to: Pid, order: Order, bytes: &[u8]) -> Result<(), Unsent> {
        let mut state = self.state();
        match state.mail.may_send(pid.group, to, bytes.len()) {
            // Nothing can be sent there, but that it has ended can be told.
            Err(Unsent::Gone) if order != Order::Message => (),
            may => may?,
        }
        if !state.mail.has_send_room(to, bytes.len()) {
            return Err(Unsent::Full);
        }
        let had_sent = state.mail.has_sent();
        state.mail.send(to, order, bytes);
        let rings = !had_sent && !state.held;
        // Whoever is woken by it wants this lock at once.
        drop(state);
        if rings {
            self.say(pid, Event::Sent);
        }
        Ok(())
    }

    fn ask(&self, pid: Pid, order: Order, name: &[u8]) -> Option<Result<Pid, Unnamed>> {
        let mut state = self.state();
        let had_sent = state.mail.has_sent();
        let answer = state.mail.ask(order, name);
        let rings = !had_sent && state.mail.has_sent() && !state.held;
        drop(state);
        if rings {
            self.say(pid, Event::Sent);
        }
        answer
    }

    /// See [`crate::Process::answer`].
    pub(crate) fn answer(&self, order: Order, name: &[u8], answer: Result<Pid, Unnamed>) {
        let mut state = self.state();
        state.mail.answer(order, name, answer);
        self.has_changed(state);
    }

    /// Does something that may take messages from the inbox.
    fn of_inbox<T>(&self, pid: Pid, take: impl FnOnce(&mut Mail) -> T) -> T {
        let mut state = self.state();
        let taken = take(&mut state.mail);
        self.tell_of_took(pid, &mut state, true);
        taken
    }

    fn tell_of_took(&self, pid: Pid, state: &mut State, much: bool) {
        if !state.held && state.mail.rings_for_took(much) {
            self.say(pid, Event::Took);
        }
    }

    /// Says that messages were taken, however few, before it is said that the process is frozen.
    pub(crate) fn tell_of_all_took(&self, pid: Pid) {
        self.tell_of_took(pid, &mut self.state(), false);
    }

    /// See [`crate::Process::deliver_all`].
    pub(crate) fn deliver(&self, messages: impl Iterator<Item = Incoming>) -> bool {
        let mut state = self.state();
        let mut messages = messages;
        let delivered = messages.all(|message| state.mail.deliver(message));
        self.has_changed(state);
        delivered
    }

    /// See [`crate::Process::took`].
    pub(crate) fn took(&self) -> Vec<(Pid, Took)> {
        let mut state = self.state();
        if state.held { vec![] } else { state.mail.took() }
    }

    pub(crate) fn is_gone(&self, pid: Pid) {
        let mut state = self.state();
        state.mail.is_gone(pid);
        self.has_changed(state);
    }

    /// See [`crate::Process::carry`].
    pub(crate) fn carry(&self, takes: impl FnMut(&Outgoing) -> bool) -> usize {
        let mut state = self.state();
        if state.held {
            return 0;
        }
        let load = state.mail.load();
        // The process goes on sending meanwhile.
        drop(state);
        let carried = load.offer(takes);
        let taken = carried.taken();
        let mut state = self.state();
        state.mail.unload(carried);
        self.has_changed(state);
        taken
    }

    /// Rings for what was sent and not taken, if there is something.
    pub(crate) fn ring(&self, pid: Pid) {
        let state = self.state();
        if !state.held && state.mail.has_sent() {
            self.say(pid, Event::Sent);
        }
    }

    pub(crate) fn mail(&self) -> Vec<u8> {
        self.state().mail.save()
    }

    pub(crate) fn set_epoch(&self, epoch: Epoch) {
        self.state().epoch = epoch;
    }

    /// Says what was held back, and holds nothing back from now on.
    pub(crate) fn release(&self, pid: Pid) {
        let mut state = self.state();
        let unsaid = std::mem::take(&mut state.streams.unsaid);
        let bytes: usize = unsaid.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut offset = state.streams.written - bytes as u64;
        for (stream, bytes) in unsaid {
            let length = bytes.len() as u64;
            self.say(pid, Event::Output { stream, offset, bytes });
            offset += length;
        }
        state.held = false;
        if state.mail.has_sent() {
            self.say(pid, Event::Sent);
        }
        self.tell_of_took(pid, &mut state, true);
        if let Some(outcome) = state.ended.take() {
            self.say(pid, Event::Ended(outcome));
        }
        self.has_changed(state);
    }

    /// Says that it has ended: now, or when its effects are released. One that is killed says it at once, and what
    /// was held back is never said.
    pub(crate) fn end(&self, pid: Pid, outcome: Outcome) {
        let mut state = self.state();
        let killed = self.wants() & KILL != 0;
        if state.held && !killed {
            state.ended = Some(outcome);
        } else {
            state.streams.unsaid.clear();
            // How it ended while nothing could be seen of that, nobody saw: it has been killed.
            let outcome = if state.held { Outcome::Killed } else { outcome };
            self.say(pid, Event::Ended(outcome));
        }
    }

    /// It is killed: if it has ended and that was not said, it has been killed instead.
    pub(crate) fn kill_ended(&self, pid: Pid) {
        let mut state = self.state();
        if state.ended.take().is_some() {
            state.streams.unsaid.clear();
            self.say(pid, Event::Ended(Outcome::Killed));
        }
    }

    pub(crate) fn streams(&self) -> Streams {
        Streams { cpu: self.cpu(), ..self.state().streams.clone() }
    }

    /// Whether what was waited for has come.
    pub(crate) fn is_over(&self, wait: Wait) -> bool {
        self.state().is_over(wait)
    }
}

impl View for Host {
    fn wasi(&mut self) -> (&mut Wasi, &mut World) {
        (&mut self.wasi, &mut self.world)
    }

    fn memory(&self) -> Option<wasmtime::Memory> {
        self.memory
    }

    fn block(&mut self, wait: Wait) -> Blocked {
        if self.world.wait_here(wait) {
            return Blocked::Again;
        }
        self.world.block(wait);
        Blocked::Unwind
    }
}

impl Wait {
    /// When it ends by itself, if it does.
    pub(crate) fn deadline(self) -> Option<u64> {
        match self {
            Self::Until(deadline) => Some(deadline),
            Self::Stdin(deadline)
            | Self::Message(deadline)
            | Self::StdinOrMessage(deadline)
            | Self::SendRoom(_, _, deadline) => deadline,
            Self::OutputRoom | Self::Effects | Self::Answer => None,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl State {
    fn is_over(&self, wait: Wait) -> bool {
        if wait.deadline().is_some_and(|deadline| now() >= deadline) {
            return true;
        }
        let has_input = || matches!(self.input(), Input::Ready(_) | Input::Ended);
        match wait {
            Wait::Until(_) => false,
            Wait::Stdin(_) => has_input(),
            Wait::Message(_) => self.mail.has_messages(),
            Wait::StdinOrMessage(_) => has_input() || self.mail.has_messages(),
            Wait::SendRoom(to, bytes, _) => self.mail.has_send_room(to, bytes),
            Wait::OutputRoom => self.streams.written - self.streams.taken < OUTPUT_BYTES_MAX as u64,
            Wait::Effects => !self.held,
            Wait::Answer => self.mail.has_answer(),
        }
    }

    fn input(&self) -> Input {
        match self.streams.input.len() {
            0 if self.streams.ended => Input::Ended,
            0 => Input::Empty,
            _ if self.held => Input::Held,
            bytes => Input::Ready(bytes),
        }
    }
}
