//! The processes that are on this node, in whatever state: those that run, those that are frozen
//! for an offer, those whose image is here and does not run yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{EventSink, Frozen, Process, Staged};
use protocol::Input;
use tokio::sync::{Notify, mpsc};
use wire::{Blob, CHUNK_BYTES_MAX, Epoch, NodeId, Offer, Outcome, Owner, Pid, Section, Stream};

use super::{Driver, Event, Events};
use crate::papers::{Info, Papers};

/// Tells one stay of a process on this node from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LifeHere(u64);

/// A process that runs here.
pub(crate) struct Guest {
    pub(crate) process: Process,
    pub(crate) info: Arc<Info>,
    pub(crate) epoch: Epoch,
    /// When it came here.
    pub(crate) came: Instant,
    /// Told when it has taken input.
    pub(crate) input_taken: Arc<Notify>,
    life: LifeHere,
    /// The offer that it is being frozen for.
    freezing: Option<Offer>,
    copying: Option<Copying>,
    killed: bool,
    /// Output that has been given to the machine.
    written: u64,
}

/// A process whose image is being taken while it is about to go on.
struct Copying {
    goal: CopyGoal,
    frozen: Option<Frozen>,
}

/// A process that stands still until its node has stopped.
pub(super) struct Resting(#[expect(dead_code, reason = "kept for what its end would do")] Frozen);

/// What the image is for.
#[derive(Clone)]
enum CopyGoal {
    /// A file, and another process: somewhere takes it.
    File(mpsc::Sender<Vec<u8>>),
    /// This node's disk, and another life of it.
    Disk,
}

/// A process that is frozen for an offer.
pub(crate) struct Held {
    pub(crate) frozen: Frozen,
    guest: Guest,
}

/// All of them.
pub(crate) struct Guests {
    running: HashMap<Pid, Guest>,
    frozen: HashMap<(Pid, Offer), Held>,
    staged: HashMap<(Pid, Offer), (Staged, Info)>,
    events: Events,
    next_life: u64,
}

impl Guests {
    pub(crate) fn new(events: Events) -> Self {
        let (running, frozen, staged) = Default::default();
        Self { running, frozen, staged, events, next_life: 0 }
    }

    /// Those that run.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Pid, &Guest)> {
        self.running.iter().map(|(pid, guest)| (*pid, guest))
    }

    pub(crate) fn get(&self, pid: Pid) -> Option<&Guest> {
        self.running.get(&pid)
    }

    /// A guest in whatever state it is here, frozen ones too.
    pub(crate) fn any(&self, pid: Pid) -> Option<&Guest> {
        let held = || self.frozen.iter().find(|((held, _), _)| *held == pid);
        self.get(pid).or_else(|| held().map(|(_, held)| &held.guest))
    }

    pub(crate) fn held(&self, pid: Pid, offer: Offer) -> Option<&Held> {
        self.frozen.get(&(pid, offer))
    }

    /// The stack of a process, if it is frozen here.
    pub(crate) fn stack(&self, pid: Pid) -> Option<Vec<engine::FrameName>> {
        let held = self.frozen.iter().find(|((held, _), _)| *held == pid);
        held.map(|(_, held)| held.frozen.stack())
    }

    pub(crate) fn stage(&mut self, pid: Pid, offer: Offer, staged: Staged, info: Info) {
        self.staged.insert((pid, offer), (staged, info));
    }

    pub(crate) fn take_stage(&mut self, pid: Pid, offer: Offer) -> Option<(Staged, Info)> {
        self.staged.remove(&(pid, offer))
    }

    /// Lets go of whatever is held for an offer.
    /// True if it was a process, as an image or frozen.
    pub(crate) fn discard(&mut self, pid: Pid, offer: Offer) -> bool {
        let staged = self.staged.remove(&(pid, offer)).is_some();
        self.frozen.remove(&(pid, offer)).is_some() || staged
    }

    /// A name for a stay that begins, and where what it says goes.
    pub(crate) fn new_life(&mut self) -> (LifeHere, EventSink) {
        let life = LifeHere(self.next_life);
        self.next_life += 1;
        let events = self.events.clone();
        (life, Arc::new(move |pid, event| events.send(Event::Said(pid, life, event))))
    }

    pub(crate) fn insert(
        &mut self,
        pid: Pid,
        (life, epoch): (LifeHere, Epoch),
        process: Process,
        info: Arc<Info>,
    ) {
        let guest = Guest {
            process,
            info,
            epoch,
            came: Instant::now(),
            input_taken: Arc::default(),
            life,
            freezing: None,
            copying: None,
            killed: false,
            written: 0,
        };
        self.running.insert(pid, guest);
    }

    pub(crate) fn freeze(&mut self, pid: Pid, offer: Offer) {
        if let Some(guest) = self.running.get_mut(&pid) {
            guest.freezing = Some(offer);
            guest.process.freeze();
        }
    }

    /// Freezes a process, writes its image, lets it go on. False if it is not here, or being frozen
    /// already.
    pub(crate) fn copy(&mut self, pid: Pid, chunks: mpsc::Sender<Vec<u8>>) -> bool {
        self.take_image(pid, CopyGoal::File(chunks))
    }

    /// Freezes a process, takes its image for this node's disk, lets it go on. Not if that is done already.
    pub(crate) fn checkpoint(&mut self, pid: Pid) {
        self.take_image(pid, CopyGoal::Disk);
    }

    fn take_image(&mut self, pid: Pid, goal: CopyGoal) -> bool {
        let Some(guest) = self.running.get_mut(&pid) else { return false };
        if guest.freezing.is_some() || guest.copying.is_some() {
            return false;
        }
        guest.copying = Some(Copying { goal, frozen: None });
        guest.process.freeze();
        true
    }

    pub(crate) fn resume(&mut self, pid: Pid, offer: Offer, epoch: Epoch) {
        match self.frozen.remove(&(pid, offer)) {
            Some(Held { frozen, mut guest }) => {
                guest.epoch = epoch;
                guest.freezing = None;
                guest.process.set_epoch(epoch);
                self.running.insert(pid, guest);
                frozen.resume();
            }
            // Resumed before it had come to a halt.
            None => {
                if let Some(guest) = self.running.get_mut(&pid) {
                    guest.epoch = epoch;
                    guest.freezing = None;
                    guest.process.set_epoch(epoch);
                    guest.process.cancel_freeze();
                }
            }
        }
    }

    /// Ends a process. One that is frozen to leave is let go; the others say when they have ended.
    pub(crate) fn kill(&mut self, pid: Pid) {
        self.frozen.retain(|(held, _), _| *held != pid);
        self.staged.retain(|(held, _), _| *held != pid);
        if let Some(guest) = self.running.get_mut(&pid) {
            guest.killed = true;
            guest.process.kill();
            // It stands still for its image alone: it goes on, to its end.
            if let Some(Copying { frozen: Some(frozen), .. }) = guest.copying.take() {
                frozen.resume();
            }
        }
    }

    pub(crate) fn kill_all(&mut self) {
        self.frozen.clear();
        self.staged.clear();
        for guest in self.running.values() {
            guest.process.kill();
        }
        self.running.clear();
    }
}

impl Guest {
    /// The time it has computed, wherever it was.
    pub(crate) fn cpu(&self) -> Duration {
        self.info.cpu + self.process.stats().cpu
    }

    /// Its info as it goes elsewhere.
    fn travelling(&self) -> Info {
        Info { cpu: self.cpu(), moves: self.info.moves + 1, ..(*self.info).clone() }
    }
}

impl Held {
    /// The papers that go with its image.
    pub(crate) fn papers(&self, section: Section) -> Papers {
        let mut info = self.guest.travelling();
        if section.owner == Owner::File {
            info.moves -= 1;
        }
        Papers { section, info, copy: false }
    }
}

impl Driver {
    /// A process has said something.
    pub(super) fn on_said(&mut self, pid: Pid, life: LifeHere, event: engine::Event) {
        let Some(guest) = self.guests.running.get_mut(&pid).filter(|guest| guest.life == life)
        else {
            return;
        };
        match event {
            engine::Event::Output { stream, offset, bytes } => {
                guest.written = offset + bytes.len() as u64;
                let stream = match stream {
                    engine::Stream::Out => Stream::Out,
                    engine::Stream::Err => Stream::Err,
                };
                for piece in bytes.chunks(CHUNK_BYTES_MAX) {
                    let bytes = Blob(piece.to_vec());
                    self.feed(Input::Wrote { pid, stream, bytes });
                }
                self.take_output(pid);
            }
            engine::Event::InputTaken { .. } => guest.input_taken.notify_waiters(),
            engine::Event::Sent => {
                self.carry(pid);
                self.settle();
            }
            engine::Event::Took => self.take_took(pid),
            engine::Event::Frozen(frozen) => self.on_frozen(pid, frozen),
            engine::Event::Ended(outcome) => {
                if outcome != engine::Outcome::Killed {
                    self.carry_rest(pid);
                }
                self.guests.running.remove(&pid);
                self.awaits_no_image(pid);
                self.feed(Input::Ended { pid, outcome: outcome_of(outcome) });
            }
        }
    }

    /// Lets a process write on, if the machine has room for what it writes.
    pub(super) fn take_output(&mut self, pid: Pid) {
        if let Some(guest) = self.guests.get(pid)
            && 0 < self.machine.output_room(pid)
        {
            guest.process.output_taken(guest.written);
        }
    }

    /// A process that came from elsewhere may have been waiting for room there.
    pub(super) fn take_all_output(&mut self, pid: Pid) {
        if let Some(guest) = self.guests.get(pid)
            && 0 < self.machine.output_room(pid)
        {
            guest.process.output_taken(u64::MAX);
        }
    }

    fn on_frozen(&mut self, pid: Pid, frozen: Frozen) {
        let Some(guest) = self.guests.running.get_mut(&pid) else { return };
        if guest.killed {
            // It had come to a halt before it heard of that; it goes on, to its end.
            return frozen.resume();
        }
        if let Some(offer) = guest.freezing {
            if let Some(copying) = guest.copying.take() {
                // The move has come first; the copy can be asked for again.
                drop(copying);
            }
            let guest = self.guests.running.remove(&pid).expect("it was just there");
            self.awaits_no_image(pid);
            self.guests.frozen.insert((pid, offer), Held { frozen, guest });
            self.feed(Input::Frozen { pid, offer });
        } else if guest.copying.is_some() {
            self.pour_copy(pid, frozen);
        } else {
            frozen.resume();
        }
    }

    /// Takes the image of a process that has been frozen for that alone.
    fn pour_copy(&mut self, pid: Pid, frozen: Frozen) {
        let Some(guest) = self.guests.running.get_mut(&pid) else { return };
        let Some(goal) = guest.copying.as_ref().map(|copying| copying.goal.clone()) else { return };
        let (info, life) = (Info { cpu: guest.cpu(), ..(*guest.info).clone() }, guest.life);
        let papers = match goal {
            CopyGoal::File(_) => {
                let section = copy_section(pid, guest.epoch, self.me.node);
                Some(Papers { section, info, copy: true })
            }
            CopyGoal::Disk => {
                let section = self.machine.checkpoint(pid);
                section.map(|section| Papers { section, info, copy: false })
            }
        };
        let Some(papers) = papers else {
            // What has begun meanwhile makes another image of it.
            guest.copying = None;
            self.awaits_no_image(pid);
            return frozen.resume();
        };
        let image = frozen.image(self.stamp(&papers.section), papers.encode());
        let guest = self.guests.running.get_mut(&pid).expect("it was just there");
        let Some(copying) = &mut guest.copying else { return };
        copying.frozen = Some(frozen);
        let (events, checkpoints) = (self.events.clone(), self.checkpoints.clone());
        let attempt = matches!(goal, CopyGoal::Disk).then(|| checkpoints.begin(pid));
        let write = tokio::task::spawn_blocking(move || {
            let mut kept = Vec::new();
            let poured = super::outputs::pour(image, |chunk| match &goal {
                CopyGoal::File(chunks) => chunks.blocking_send(chunk).is_ok(),
                CopyGoal::Disk => {
                    kept.push(chunk);
                    true
                }
            });
            if let (Ok(()), CopyGoal::File(chunks)) = (&poured, &goal) {
                // The image is whole.
                let _ = chunks.blocking_send(Vec::new());
            }
            // It goes on while the disk works.
            events.send(Event::Copied(pid, life));
            match (attempt, poured) {
                (Some(attempt), Ok(())) => checkpoints.write(pid, attempt, &kept),
                (Some(attempt), Err(error)) => {
                    checkpoints.failed(pid, attempt, &std::io::Error::other(error));
                }
                (None, _) => (),
            }
        });
        if let Some(last) = &mut self.last_images {
            last.writes.push(write);
        }
    }

    /// The node stops, and need not wait for an image of this process: there is one, or there will be none.
    fn awaits_no_image(&mut self, pid: Pid) {
        if let Some(last) = &mut self.last_images {
            last.awaited.remove(&pid);
        }
    }

    /// The copy is written: the process goes on, or into the move that has been asked for.
    pub(super) fn on_copied(&mut self, pid: Pid, life: LifeHere) {
        let guest = self.guests.running.get_mut(&pid).filter(|guest| guest.life == life);
        let copying = guest.and_then(|guest| guest.copying.take());
        if let Some(Copying { frozen: Some(frozen), goal }) = copying {
            if let (Some(last), CopyGoal::Disk) = (&mut self.last_images, &goal)
                && last.awaited.remove(&pid)
            {
                return last.resting.push(Resting(frozen));
            }
            drop(goal);
            self.on_frozen(pid, frozen);
        }
    }

    pub(super) fn stamp(&self, section: &Section) -> engine::Stamp {
        engine::Stamp { node: self.name.clone(), epoch: section.epoch, offer: section.offer }
    }
}

/// What stands in the image of a copy where a process that moves has its section.
fn copy_section(pid: Pid, epoch: Epoch, home: NodeId) -> Section {
    Section {
        pid,
        offer: Offer(0),
        owner: Owner::Nobody,
        epoch,
        home,
        name: None,
        together: false,
        durable: None,
        acknowledged: 0,
        output: Vec::new(),
        letters: wire::Letters::default(),
    }
}

fn outcome_of(outcome: engine::Outcome) -> Outcome {
    match outcome {
        engine::Outcome::Exit(code) => Outcome::Code(code),
        engine::Outcome::Trap(report) => {
            let lines = report.backtrace.iter().map(|frame| format!("\n{frame}"));
            Outcome::Trap(std::iter::once(report.message.clone()).chain(lines).collect())
        }
        engine::Outcome::Killed => Outcome::Killed,
        engine::Outcome::Limit(limit) => Outcome::Limit(limit.to_string()),
        engine::Outcome::Fault(what) => Outcome::Trap(format!("fault of the engine: {what}")),
    }
}
