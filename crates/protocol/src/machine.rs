//! One node: its state, how an input finds its rule, and its timers.
//!
//! The rules themselves are in `source` (freeze, offer, give up, take back), `target` (prepare,
//! stage, commit, release), `output` (a process's output and its home), `handing` (another home), `members` (news, going,
//! kills) and `wishes` (what operators ask for).

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use wire::{
    AskId, Envelope, Epoch, GroupId, Member, Message, News, NodeId, Offer, Owner, Peer, Pid,
    Report, Section, Ticket,
};

use crate::asks::Asks;
use crate::delivery::Post;
use crate::gather::Gatherings;
use crate::handing::Way;
use crate::members::Lease;
use crate::output::Log;
use crate::port::Port;
use crate::process::{Floor, Goal, Incoming, Phase, Process, Stage};
use crate::wishes::{Errands, Spawning};
use crate::{Input, Instant, Output, Rng, Rule, Rules, Span, Step};

/// How long an unanswered message waits before it is said again, and up to a quarter more.
pub(crate) const RETRY: Span = Span::millis(200);

/// What a machine is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node, and the incarnation that it has just raised on disk.
    pub me: Peer,
    /// Its name, for the member list.
    pub name: String,
    /// Where it can be reached, for the member list.
    pub address: String,
    /// Spreads retries.
    pub rng: Rng,
    /// Whose images lie on its disk, written by its earlier incarnations. The driver holds each as a stage, under its
    /// process and offer.
    pub stored: Vec<Section>,
    /// Whether it stops everything when it does not hear of the registry: so that others need not wait for an operator
    /// to say that it is gone.
    pub fenced: bool,
}

/// One incarnation of one node: all processes it has, offers, stages or keeps the output of.
#[derive(Debug)]
pub struct Machine {
    pub(crate) config: Config,
    pub(crate) rules: Rules,
    pub(crate) outputs: VecDeque<Output>,
    /// Messages to this very node.
    local: VecDeque<Message>,
    timers: BTreeSet<(Instant, Timer)>,
    pub(crate) asks: Asks,
    pub(crate) gatherings: Gatherings,
    /// `None` until the registry has answered the first word.
    pub(crate) news: Option<News>,
    /// Who wants to hear of the next answer.
    pub(crate) news_wished: Vec<Ticket>,
    pub(crate) heard: Option<Instant>,
    pub(crate) expelled: bool,
    pub(crate) lease: Lease,
    /// Whether it was its lease that ended it.
    pub(crate) lapsed: bool,
    pub(crate) draining: bool,
    pub(crate) processes: BTreeMap<Pid, Process>,
    pub(crate) incoming: BTreeMap<Pid, Incoming>,
    pub(crate) floors: BTreeMap<Pid, Floor>,
    /// Whether a floor has been forgotten: then this node may have committed an offer and not know
    /// it, and says `dropped` of nothing that it has not held.
    pub(crate) floors_forgotten: bool,
    pub(crate) logs: BTreeMap<Pid, Log>,
    pub(crate) post: Post,
    pub(crate) port: Port,
    /// When the last input came: what is said later was caused by it.
    pub(crate) now: Instant,
    pub(crate) errands: Errands,
    /// Group ids that may be given away: first to last, in blocks.
    pub(crate) ids: VecDeque<(GroupId, GroupId)>,
    pub(crate) spawning: Vec<Spawning>,
    /// Groups whose letters are noted.
    pub(crate) traced: BTreeSet<GroupId>,
}

/// What a timer is about. One that comes early, late or twice does no harm: whoever it wakes looks
/// at its own times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Process(Pid),
    Incoming(Pid),
    Output(Pid),
    /// Whose output is kept elsewhere, and who has not been told.
    Handed,
    Mail(Pid, Pid),
    Seek(Pid),
    Poll(Pid),
    /// When to write an image of a durable process again.
    Checkpoint(Pid),
    Ask(AskId),
    Errand(Ticket),
    /// What operators send.
    Port,
    Renew,
    /// When a fenced node stops, unless its lease is renewed.
    Lease,
    Gathering(u64),
    Spawning,
    Floors,
}

/// A process as `ps` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which process.
    pub pid: Pid,
    /// In which epoch; for an image on its way here, the epoch it had.
    pub epoch: Epoch,
    /// How many offers it has made.
    pub offer: Offer,
    /// What it does here.
    pub condition: Condition,
    /// Where its output is kept.
    pub home: Option<NodeId>,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What it waits for, if it waits for another node or the registry.
    pub waits: Option<Waits>,
}

/// What a process does on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// It runs.
    Running,
    /// It runs; a target has been asked whether it would take it.
    Preparing(Peer),
    /// It is being frozen, for a node or a file.
    Freezing,
    /// It is frozen here and offered.
    Offered(Peer),
    /// It is frozen here; its image goes into a file.
    Storing,
    /// It runs there; its image is kept here until that is settled.
    Kept(Peer),
    /// Room is reserved for it, or its image is on its way.
    Reserved(Peer),
    /// Its image is here, and the commit has been asked for.
    Staged(Peer),
    /// It runs, and what others could see is held back until its source has answered.
    Muted(Peer),
    /// It has ended; the last of its output is on its way.
    Ending,
}

/// What a process waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waits {
    /// An answer of this node.
    Node(Peer),
    /// An answer of the registry.
    Registry,
}

impl Machine {
    /// Starts an incarnation. Its first output asks the registry for the state of the cluster;
    /// until that is answered it takes and starts nothing.
    #[must_use]
    pub fn new(now: Instant, config: Config) -> Self {
        let mut machine = Self {
            config,
            rules: Rules::ALL,
            outputs: VecDeque::new(),
            local: VecDeque::new(),
            timers: BTreeSet::new(),
            asks: Asks::default(),
            gatherings: Gatherings::default(),
            news: None,
            news_wished: Vec::new(),
            heard: None,
            lease: Lease::default(),
            lapsed: false,
            expelled: false,
            draining: false,
            processes: BTreeMap::new(),
            incoming: BTreeMap::new(),
            floors: BTreeMap::new(),
            floors_forgotten: false,
            logs: BTreeMap::new(),
            post: Post::default(),
            port: Port::default(),
            now,
            errands: Errands::default(),
            ids: VecDeque::new(),
            spawning: Vec::new(),
            traced: BTreeSet::new(),
        };
        machine.take_stored();
        machine.say_first_word(now);
        machine
    }

    /// As [`new`](Self::new), with some rules broken.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn mutant(now: Instant, config: Config, rules: Rules) -> Self {
        Self { rules, ..Self::new(now, config) }
    }

    /// Feeds one event. Follow it with [`poll`](Self::poll) until `None`.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.expelled {
            return;
        }
        self.now = now;
        self.dispatch(now, input);
        self.receive_local(now);
    }

    /// The next thing to do, or `None` when the node is waiting.
    pub fn poll(&mut self) -> Option<Output> {
        // Letters go out last, so that those of many inputs go together.
        while self.outputs.is_empty() && !self.expelled && self.flush_mail() {
            self.receive_local(self.now);
        }
        self.outputs.pop_front()
    }

    fn receive_local(&mut self, now: Instant) {
        let me = self.config.me;
        while let Some(message) = self.local.pop_front() {
            self.note_within(&message);
            self.receive(now, me, message);
        }
    }

    /// When to feed [`Input::Wake`], if nothing happens first.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at).filter(|_| !self.expelled)
    }

    /// Every process that this node has anything to do with, the output it keeps apart. Its port is none.
    pub fn processes(&self) -> impl Iterator<Item = Status> + '_ {
        let here = self.processes.iter().filter(|(pid, _)| !pid.is_port());
        let here = here.map(|(pid, process)| self.status(*pid, process));
        here.chain(self.incoming.iter().map(|(pid, incoming)| incoming.status(*pid)))
    }

    /// Every member of the cluster, as of the last news from the registry.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        self.news.as_ref().map_or(&[], |news| &news.members)
    }

    /// How many bytes of output a process may still write before its home has acknowledged some.
    #[must_use]
    pub fn output_room(&self, pid: Pid) -> usize {
        self.processes.get(&pid).map_or(0, |process| process.outbox.room())
    }

    /// How often an image of this process is written to this node's disk, in milliseconds, if it is.
    #[must_use]
    pub fn durable(&self, pid: Pid) -> Option<u64> {
        let every = self.processes.get(&pid)?.durable?;
        Some(every.0 / 1_000)
    }

    /// In which of its lives a process is, if it is here.
    #[must_use]
    pub fn life(&self, pid: Pid) -> Option<u64> {
        self.processes.get(&pid).map(|process| process.delivery.life.0)
    }

    /// What belongs into an image of a running process that is written to this node's disk now. `None` if there is
    /// nothing to write: it does not run, or others may not see yet what it does.
    #[must_use]
    pub fn checkpoint(&self, pid: Pid) -> Option<Section> {
        let process = self.processes.get(&pid)?;
        let runs = matches!(process.phase, Phase::Running | Phase::Preparing(_));
        let writes = runs && process.durable.is_some() && !process.outbox.waits_for_home();
        let me = Owner::Node(self.config.me);
        writes.then(|| process.section(pid, me, process.epoch))
    }

    /// With whom a process has to do: where each is, as far as it is known, and how many pieces of letters have gone there
    /// and come from there since they know each other.
    pub fn talks(&self, pid: Pid) -> impl Iterator<Item = (Pid, Option<NodeId>, u64)> + '_ {
        let pairs = self.processes.get(&pid).into_iter().flat_map(|it| &it.delivery.pairs);
        pairs.map(|(other, pair)| {
            let here = self.processes.contains_key(other).then_some(self.config.me.node);
            let at = here.or_else(|| pair.at.map(|address| address.peer.node));
            (*other, at, pair.out.next.saturating_add(pair.from.next))
        })
    }

    /// Whether its lease is over, and with it this incarnation.
    #[must_use]
    pub fn has_lapsed(&self) -> bool {
        self.lapsed
    }

    /// How long ago the registry last answered.
    #[must_use]
    pub fn registry_heard(&self, now: Instant) -> Option<Span> {
        self.heard.map(|at| now - at)
    }

    /// The newest offer of a process that is here, or on its way here.
    #[must_use]
    pub fn offer(&self, pid: Pid) -> Option<Offer> {
        let here = self.processes.get(&pid).map(|process| process.offer);
        here.or_else(|| self.incoming.get(&pid).map(|incoming| incoming.offer))
    }

    /// Takes no more processes from others, so that it can be emptied.
    pub fn drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// The processes whose output this node keeps: where each was last heard of.
    pub fn logs(&self) -> impl Iterator<Item = (Pid, Option<Peer>)> + '_ {
        let here = self.logs.iter().filter(|(_, log)| !matches!(log.way, Way::Handed { .. }));
        here.map(|(pid, log)| (*pid, log.holder))
    }

    /// Everything that can happen, and whose it is.
    fn dispatch(&mut self, now: Instant, input: Input) {
        match input {
            Input::Receive(Envelope { from, to, message }) => {
                let meant = to == self.config.me
                    || (!self.rules.keep(Rule::BindIncarnation) && to.node == self.config.me.node);
                if meant {
                    self.receive(now, from, message);
                }
            }
            Input::Wake => self.wake(now),
            Input::Wish(ticket, wish) => self.wish(now, ticket, wish),
            Input::Described { pid, offer, needs } => self.described(now, pid, offer, needs),
            Input::Frozen { pid, offer } => self.frozen(now, pid, offer),
            Input::Transferred { pid, offer, bytes } => self.transferred(now, pid, offer, bytes),
            Input::TransferFailed { pid, offer, reason } => {
                self.transfer_failed(now, pid, offer, reason);
            }
            Input::Stored { pid, offer } => self.stored(now, pid, offer),
            Input::Prepared { pid, offer } => self.room_found(now, pid, offer),
            Input::NotPrepared { pid, offer, reason } => self.no_room(pid, offer, reason),
            Input::Staged { from, section } => self.staged(now, from, section),
            Input::StageFailed { pid, offer } => self.stage_failed(pid, offer),
            Input::Wrote { pid, stream, bytes } => self.wrote(now, pid, stream, &bytes.0),
            Input::Ended { pid, outcome } => self.ended(now, pid, outcome),
            Input::Send { pid, to, letter } => self.guest_sends(now, pid, to, letter),
            Input::Watch { pid, of } => self.guest_watches(now, pid, of),
            Input::Gather(wanted) => self.gather(now, wanted),
            Input::Link { pid, to } => self.guest_links(now, pid, to),
            Input::Unlink { pid, from } => self.guest_unlinks(pid, from),
            Input::Traps { pid, traps } => self.guest_traps(pid, traps),
            Input::Unwatch { pid, of } => self.guest_unwatches(pid, of),
            Input::Name { pid, name, register } => self.guest_names(now, pid, name, register),
            Input::Took { pid, from, letters, bytes } => {
                self.guest_took(pid, from, letters, bytes);
            }
            Input::LogOpened { pid, length, ended } => self.log_opened(now, pid, length, ended),
            Input::Delivered { pid, length, ended } => self.delivered(pid, length, ended),
            Input::LogHanded { pid, to, ended } => self.log_handed(now, pid, to, ended),
        }
    }

    /// Every message, and whose it is.
    fn receive(&mut self, now: Instant, from: Peer, message: Message) {
        match message {
            Message::Prepare { pid, offer, needs } => {
                self.asked_to_prepare(now, from, pid, offer, needs);
            }
            Message::Preparing { pid, offer } => self.preparing(now, from, pid, offer),
            Message::Prepared { pid, offer, epoch } => self.prepared(now, from, pid, offer, epoch),
            Message::Refused { pid, offer, reason } => self.refused(now, from, pid, offer, reason),
            Message::Offer { pid, offer } => self.offered(now, from, pid, offer),
            Message::Settled { pid, offer } => self.settled(now, from, pid, offer),
            Message::Forgotten { pid, offer } => self.forgotten(now, from, pid, offer),
            Message::Cancel { pid, offer } => self.cancelled(now, from, pid, offer),
            Message::Dropped { pid, offer } => self.dropped(now, from, pid, offer),
            Message::Output { pid, life, offset, base, stream, bytes } => {
                self.output_arrived((from, life), pid, offset, base, stream, bytes);
            }
            Message::Ended { pid, life, offset, base, outcome } => {
                self.end_arrived((from, life), pid, base, offset, outcome);
            }
            Message::Acknowledged { pid, offset, ended } => {
                self.acknowledged(now, pid, offset, ended);
            }
            Message::Home { pid, home } => self.home_arrived(now, from, pid, home),
            Message::Homed { pid } => self.homed(pid),
            Message::Errand { ticket, pid, errand } => {
                self.errand_arrived(now, from, ticket, pid, errand);
            }
            Message::ErrandDone { ticket, report } => self.errand_done(now, ticket, report),
            Message::Answer { ask, reply } => {
                self.post.home = Some(from.node);
                self.answered(now, ask, reply);
            }
            Message::Mail(mail) => self.mail_arrived(now, from, mail),
            Message::Leaving { to, pid } => self.heard_leaving(now, from, to, pid),
            Message::Place { to, pid, at } => self.heard_place(to, pid, at),
            Message::Held { to, pid, kept } => self.heard_held(now, to, pid, kept),
            Message::Moved { pid, at } => self.moved(now, pid, at),
            Message::Relay { origin, keep, mail } => self.relayed(now, from, origin, keep, mail),
            Message::Poll { pid, epoch } => self.polled(now, from, pid, epoch),
            Message::Forget { pid, epoch } => self.forget_place(pid, epoch),
            Message::Astray { to, pid, meant } => self.astray(now, from, to, pid, meant),
            Message::Down { to, pid, reason, sent, .. } => {
                self.heard_down(now, to, pid, reason, sent);
            }
            // For the registry, which the driver finds on the home's node.
            Message::Ask { .. } => (),
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some(&(at, timer)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            match timer {
                Timer::Process(pid) => self.wake_process(now, pid),
                Timer::Incoming(pid) => self.wake_incoming(now, pid),
                Timer::Output(pid) => self.wake_output(now, pid),
                Timer::Handed => self.wake_handed(now),
                Timer::Mail(pid, other) => self.wake_mail(now, pid, other),
                Timer::Seek(other) => self.wake_seek(now, other),
                Timer::Poll(pid) => self.wake_poll(now, pid),
                Timer::Checkpoint(pid) => self.wake_checkpoint(now, pid),
                Timer::Ask(ask) => self.ask_again(now, ask),
                Timer::Errand(ticket) => self.pursue(now, ticket),
                Timer::Port => self.wake_port(now),
                Timer::Renew => self.renew(now),
                Timer::Lease => self.wake_lease(now),
                Timer::Spawning => self.spawn_waiting(now),
                Timer::Gathering(id) => self.gathering_is_late(id),
                Timer::Floors => self.forget_floors(now),
            }
        }
    }

    pub(crate) fn arm(&mut self, at: Instant, timer: Timer) {
        self.timers.insert((at, timer));
    }

    /// When to say again what is said now.
    pub(crate) fn later(&mut self, now: Instant) -> Instant {
        now + Span(RETRY.0 + self.config.rng.below(RETRY.0 / 4))
    }

    pub(crate) fn wake_process_at(&mut self, pid: Pid, at: Instant) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.wake_at = Some(at);
            self.arm(at, Timer::Process(pid));
        }
    }

    fn wake_process(&mut self, now: Instant, pid: Pid) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if process.wake_at.is_none_or(|at| now < at) || !self.rules.keep(Rule::SayAgain) {
            return;
        }
        process.wake_at = None;
        match &process.phase {
            Phase::Preparing(_) => self.wake_preparing(now, pid),
            Phase::Offered(_) => self.wake_offered(now, pid),
            Phase::Kept(_) => self.wake_kept(now, pid),
            Phase::Muted(_) => self.wake_muted(now, pid),
            Phase::Running | Phase::Freezing(_) | Phase::Storing { .. } | Phase::Ending => (),
        }
    }

    pub(crate) fn send(&mut self, to: Peer, message: Message) {
        match to == self.config.me {
            true => self.local.push_back(message),
            false => self.outputs.push_back(Output::Send(to, message)),
        }
    }

    pub(crate) fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn step(&mut self, pid: Pid, step: Step) {
        self.outputs.push_back(Output::Step(pid, step));
    }

    /// Ends a wish of this node.
    pub(crate) fn report_here(&mut self, ticket: Ticket, report: Report) {
        self.errands.forget(ticket);
        self.gathered_one(self.now, ticket, &report);
        self.outputs.push_back(Output::Report(ticket, report));
    }

    fn status(&self, pid: Pid, process: &Process) -> Status {
        let (condition, waits) = match &process.phase {
            Phase::Running => (Condition::Running, None),
            Phase::Preparing(m) => (Condition::Preparing(m.target), Some(Waits::Node(m.target))),
            Phase::Freezing(Goal::Node(_) | Goal::File(_)) => (Condition::Freezing, None),
            Phase::Offered(m) => {
                let silent = m.cancelled.is_some() || self.gone(m.target);
                let waits = if silent { Waits::Registry } else { Waits::Node(m.target) };
                (Condition::Offered(m.target), Some(waits))
            }
            Phase::Storing { stored, .. } => {
                (Condition::Storing, stored.then_some(Waits::Registry))
            }
            Phase::Kept(m) => (Condition::Kept(m.target), Some(Waits::Node(m.target))),
            Phase::Muted(m) => (Condition::Muted(m.source), Some(Waits::Node(m.source))),
            Phase::Ending => (Condition::Ending, None),
        };
        let (epoch, offer) = (process.epoch, process.offer);
        let (home, name) = (Some(process.home), process.name.clone());
        Status { pid, epoch, offer, condition, home, name, waits }
    }
}

impl Incoming {
    fn status(&self, pid: Pid) -> Status {
        let from = match self.from {
            crate::process::From::Node(peer) => Some(peer),
            crate::process::From::File(_) | crate::process::From::Disk => None,
        };
        let here = Peer { node: NodeId(0), incarnation: wire::Incarnation(0) };
        let from = from.unwrap_or(here);
        let (epoch, condition, waits) = match &self.stage {
            Stage::Checking { found, .. } => {
                (found.unwrap_or_default(), Condition::Reserved(from), None)
            }
            Stage::Claimed(section) => {
                (section.epoch, Condition::Staged(from), Some(Waits::Registry))
            }
            Stage::Reserved { epoch } => (*epoch, Condition::Reserved(from), None),
            Stage::Receiving { epoch } => {
                (*epoch, Condition::Reserved(from), Some(Waits::Node(from)))
            }
            Stage::Staged(section) => {
                (section.epoch, Condition::Staged(from), Some(Waits::Registry))
            }
        };
        Status { pid, epoch, offer: self.offer, condition, home: None, name: None, waits }
    }
}
