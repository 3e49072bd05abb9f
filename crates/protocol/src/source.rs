//! A move at its source: prepare, freeze, offer, and then forget, give up or take back.
//!
//! ```text
//!  Running ──wish──▶ Preparing ──prepared──▶ Freezing ──frozen──▶ Offered ──settled──▶ (forgotten)
//!     ▲                  │ refused, silent                          │  │
//!     ├──────────────────┘                                          │  │ registry: it was committed
//!     ├── dropped by the same incarnation, or the registry: (me, e+1)┘  ▼
//!     └── taken back, its target gone: (me, e+2) ◀────────────────── Kept ──settled──▶ (forgotten)
//!                                                                     └─ record moved on ─▶ (forgotten)
//! ```

use alloc::string::String;
use alloc::vec;

use wire::{
    Address, Blob, Epoch, Location, Message, NodeId, Offer, Owner, Peer, Pid, Place, Refusal,
    Report, Request, Standing, Swap, SwapKind, Ticket, Why,
};

use crate::asks::Purpose;
use crate::process::{Goal, Move, Phase, Wisher};
use crate::{Instant, Machine, Output, Rule, Span, Step};

/// A target may take this long to get ready: it may have to fetch and compile a large program. The
/// process runs meanwhile. One that takes longer has what it made by the next try.
const PREPARE_PATIENCE: Span = Span::seconds(600);

/// A target that gets ready says so, as often as it is asked. One that says nothing for so long is
/// given up, though the registry may hear it.
const SILENCE_PATIENCE: Span = Span::seconds(10);

/// After the last byte was handed over, this long without `settled` and the source cancels.
const SETTLE_PATIENCE: Span = Span::seconds(5);

/// After this long without an answer to `cancel`, the source turns to the registry.
const CANCEL_PATIENCE: Span = Span::seconds(2);

impl Machine {
    /// Starts a move of a process that runs here.
    pub(crate) fn begin_move(&mut self, now: Instant, pid: Pid, to: NodeId, wisher: Wisher) {
        if to == self.config.me.node {
            return self.report(now, wisher, Report::AlreadyThere(to));
        }
        let target = match self.live(to) {
            Ok(target) => target,
            Err(why) => return self.report(now, wisher, Report::Refused(why)),
        };
        let offer = self.next_offer(pid);
        let process = self.processes.get_mut(&pid).expect("the caller has seen it run");
        process.phase = Phase::Preparing(Move::new(now, wisher, target));
        self.put(Output::Describe(pid, offer));
    }

    /// Freezes a process of this node into the file of a wish.
    pub(crate) fn begin_store(&mut self, pid: Pid, ticket: Ticket) {
        let offer = self.next_offer(pid);
        let process = self.processes.get_mut(&pid).expect("the caller has seen it run");
        process.phase = Phase::Freezing(Goal::File(ticket));
        self.put(Output::Freeze(pid, offer));
    }

    fn next_offer(&mut self, pid: Pid) -> Offer {
        let fresh = self.rules.keep(Rule::FreshOffers);
        let process = self.processes.get_mut(&pid).expect("the caller has seen it run");
        // The mutant counts only the offers that succeeded, in the epoch.
        process.offer = if fresh { process.offer.next() } else { Offer(process.epoch.0 / 2 + 1) };
        process.offer
    }

    pub(crate) fn described(
        &mut self,
        now: Instant,
        pid: Pid,
        offer: Offer,
        needs: Result<Blob, String>,
    ) {
        let Some((Phase::Preparing(m), o)) = self.phase(pid) else { return };
        if o != offer {
            return;
        }
        match needs {
            Ok(needs) => {
                m.needs = Some(needs);
                self.say_prepare(now, pid);
                self.step(pid, Step::PrepareAsked);
            }
            Err(words) => self.stay(now, pid, Why::Unmovable(words)),
        }
    }

    fn say_prepare(&mut self, now: Instant, pid: Pid) {
        let Some((Phase::Preparing(m), offer)) = self.phase(pid) else { return };
        let (target, needs) = (m.target, m.needs.clone());
        if let Some(needs) = needs {
            self.send(target, Message::Prepare { pid, offer, needs });
        }
        let at = self.later(now);
        self.wake_process_at(pid, at);
    }

    pub(crate) fn wake_preparing(&mut self, now: Instant, pid: Pid) {
        let Some((Phase::Preparing(m), offer)) = self.phase(pid) else { return };
        let target = m.target;
        let late = PREPARE_PATIENCE < now - m.wished || SILENCE_PATIENCE < now - m.heard;
        if self.gone(target) {
            self.stay(now, pid, Why::TargetGone(target));
        } else if late || self.live(target.node).is_err() {
            // Its reservation would run out by itself; this is kinder.
            self.send(target, Message::Cancel { pid, offer });
            self.stay(now, pid, Why::TargetSilent(target.node));
        } else {
            self.say_prepare(now, pid);
        }
    }

    /// The target has heard, and gets ready; or holds the image, and waits for others that come with it.
    pub(crate) fn preparing(&mut self, now: Instant, from: Peer, pid: Pid, offer: Offer) {
        if let Some((Phase::Preparing(m) | Phase::Offered(m), o)) = self.phase(pid)
            && (m.target, o) == (from, offer)
        {
            m.heard = now;
        }
    }

    /// The move ends before anything was frozen.
    fn stay(&mut self, now: Instant, pid: Pid, why: Why) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let wisher = process.wisher();
        process.phase = Phase::Running;
        if let Some(wisher) = wisher {
            self.report(now, wisher, Report::Refused(why));
        }
    }

    pub(crate) fn refused(
        &mut self,
        now: Instant,
        from: Peer,
        pid: Pid,
        offer: Offer,
        reason: Refusal,
    ) {
        if let Some((Phase::Preparing(m), o)) = self.phase(pid)
            && (m.target, o) == (from, offer)
        {
            return self.stay(now, pid, Why::Target(from.node, reason));
        }
        // A refusal of a `prepare` that was said again may come late and means nothing any more. But this one holds the image,
        // and does not ask for it. Should this node go before the record says that the move is given
        // up, it will: so nothing but the record counts.
        if let Some((Phase::Offered(m), o)) = self.phase(pid)
            && (m.target, o) == (from, offer)
            && reason == Refusal::Apart
        {
            m.trouble.get_or_insert(Why::Target(from.node, reason));
            self.ask_to_give_up(now, pid);
        }
    }

    pub(crate) fn prepared(
        &mut self,
        now: Instant,
        from: Peer,
        pid: Pid,
        offer: Offer,
        found: Epoch,
    ) {
        let takes = self.rules.keep(Rule::TakeEpochFound);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Phase::Preparing(m) = &mut process.phase else { return };
        if (m.target, process.offer) != (from, offer) || m.needs.is_none() {
            return;
        }
        if takes {
            process.epoch = process.epoch.max(found);
        }
        let wisher = m.wisher;
        let wished = m.wished;
        let m = Move { wished, prepared: now, ..Move::new(now, wisher, from) };
        process.phase = Phase::Freezing(Goal::Node(m));
        self.tell_leaving(pid);
        self.put(Output::Freeze(pid, offer));
    }

    pub(crate) fn frozen(&mut self, now: Instant, pid: Pid, offer: Offer) {
        let me = self.config.me;
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if process.offer != offer || !matches!(process.phase, Phase::Freezing(_)) {
            return;
        }
        if process.doomed.is_some() {
            return self.end_frozen(now, pid);
        }
        let epoch = process.epoch;
        let travels = self.rules.keep(Rule::OutputTravels);
        let letters_travel = self.rules.keep(Rule::LettersTravel);
        let mut section = process.section(pid, Owner::Node(me), epoch);
        if !travels {
            section.acknowledged = process.outbox.written();
            section.output.clear();
        }
        if !letters_travel {
            section.letters.forget_unacknowledged();
        }
        match core::mem::replace(&mut process.phase, Phase::Running) {
            Phase::Freezing(Goal::Node(m)) => {
                let target = m.target;
                process.phase = Phase::Offered(Move { frozen: now, ..m });
                self.step(pid, Step::Frozen);
                self.send(target, Message::Offer { pid, offer });
                self.put(Output::Transfer { section, to: target });
                self.step(pid, Step::Offered);
                let at = self.later(now);
                self.wake_process_at(pid, at);
            }
            Phase::Freezing(Goal::File(ticket)) => {
                process.phase = Phase::Storing { ticket, stored: false };
                section.owner = Owner::File;
                section.epoch = epoch.next();
                self.step(pid, Step::Frozen);
                self.put(Output::Store { ticket, section });
                if !self.rules.keep(Rule::FileThenRecord) {
                    self.ask_store(now, pid, offer, epoch);
                }
            }
            other => process.phase = other,
        }
    }

    pub(crate) fn stored(&mut self, now: Instant, pid: Pid, offer: Offer) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Phase::Storing { stored, .. } = &mut process.phase else { return };
        if process.offer == offer {
            *stored = true;
            let epoch = process.epoch;
            self.step(pid, Step::Stored);
            self.ask_store(now, pid, offer, epoch);
        }
    }

    fn ask_store(&mut self, now: Instant, pid: Pid, offer: Offer, epoch: Epoch) {
        let (owner, to, kind) = (Owner::Node(self.config.me), Owner::File, SwapKind::Store);
        self.ask_swap(now, Swap { pid, kind, owner, epoch, to, offer });
    }

    pub(crate) fn transferred(&mut self, now: Instant, pid: Pid, offer: Offer, bytes: u64) {
        if let Some((Phase::Offered(m), o)) = self.phase(pid)
            && o == offer
        {
            m.bytes = bytes;
            m.transferred = Some(now);
        }
    }

    pub(crate) fn transfer_failed(&mut self, now: Instant, pid: Pid, offer: Offer, words: String) {
        match self.phase(pid) {
            Some((Phase::Offered(m), o)) if o == offer && m.trouble.is_none() => {
                m.trouble = Some(Why::Transfer(words));
                self.wake_offered(now, pid);
            }
            // Once the record was asked to name the file, only the answer counts.
            Some((Phase::Storing { stored: false, .. }, o)) if o == offer => {
                let epoch = self.processes[&pid].epoch;
                self.run_again(now, pid, epoch, Step::Resumed, Why::Transfer(words));
            }
            _ => (),
        }
    }

    pub(crate) fn wake_offered(&mut self, now: Instant, pid: Pid) {
        let at = self.later(now);
        self.wake_process_at(pid, at);
        let by_answer = self.rules.keep(Rule::GiveUpByAnswer);
        let Some((Phase::Offered(m), offer)) = self.phase(pid) else { return };
        let (target, cancelled) = (m.target, m.cancelled);
        let late = m.transferred.is_some_and(|at| SETTLE_PATIENCE < now - at.max(m.heard));
        if self.gone(target) {
            self.trouble(pid, Why::TargetGone(target));
            return self.ask_to_give_up(now, pid);
        }
        if late || self.live(target.node).is_err() {
            self.trouble(pid, Why::TargetSilent(target.node));
        }
        let Some((Phase::Offered(m), _)) = self.phase(pid) else { return };
        if m.trouble.is_none() {
            return;
        }
        m.cancelled.get_or_insert(now);
        self.send(target, Message::Cancel { pid, offer });
        match cancelled {
            None => self.step(pid, Step::Cancelled),
            Some(since) if CANCEL_PATIENCE < now - since && !by_answer => {
                let epoch = self.processes[&pid].epoch;
                let why = Why::TargetSilent(target.node);
                self.run_again(now, pid, epoch, Step::Resumed, why);
            }
            Some(since) if CANCEL_PATIENCE < now - since => self.ask_to_give_up(now, pid),
            Some(_) => (),
        }
    }

    fn trouble(&mut self, pid: Pid, why: Why) {
        if let Some((Phase::Offered(m), _)) = self.phase(pid) {
            m.trouble.get_or_insert(why);
        }
    }

    fn ask_to_give_up(&mut self, now: Instant, pid: Pid) {
        let Some(process) = self.processes.get(&pid) else { return };
        let (epoch, offer) = (process.epoch, process.offer);
        let first = !self.asks.asking(&Purpose::Swap(pid, SwapKind::GiveUp));
        let me = Owner::Node(self.config.me);
        let swap = Swap { pid, kind: SwapKind::GiveUp, owner: me, epoch, to: me, offer };
        self.ask_swap(now, swap);
        if first {
            self.step(pid, Step::GiveUpAsked);
        }
    }

    pub(crate) fn dropped(&mut self, now: Instant, from: Peer, pid: Pid, offer: Offer) {
        let same = self.rules.keep(Rule::DroppedBySame);
        let Some((Phase::Offered(m), o)) = self.phase(pid) else { return };
        let by_target = m.target == from || (!same && m.target.node == from.node);
        // Who has not cancelled has no answer to expect.
        if by_target && o == offer && m.cancelled.is_some() {
            let why = m.trouble.clone().unwrap_or(Why::TargetSilent(from.node));
            let epoch = self.processes[&pid].epoch;
            self.run_again(now, pid, epoch, Step::Resumed, why);
        }
    }

    /// The target says that it runs: whatever image of that offer is here may go.
    pub(crate) fn settled(&mut self, now: Instant, from: Peer, pid: Pid, offer: Offer) {
        let holds = self.processes.get(&pid).is_some_and(|process| process.holds(offer));
        let taking_back = self.asks.asking(&Purpose::Swap(pid, SwapKind::TakeBack));
        if holds && taking_back && self.rules.keep(Rule::TakeBackIsBound) {
            // Whoever said it is gone, and the record may name us already.
            return;
        }
        match holds {
            true => {
                self.let_go(now, pid);
                self.step(pid, Step::Forgetting);
                self.send(from, Message::Forgotten { pid, offer });
                self.step(pid, Step::Forgotten);
            }
            false if self.rules.keep(Rule::AnswerForgotten) => {
                self.send(from, Message::Forgotten { pid, offer });
            }
            false => (),
        }
    }

    /// The process runs elsewhere, and nothing here is needed for that.
    fn let_go(&mut self, now: Instant, pid: Pid) {
        self.unask_swaps(pid);
        let Some(process) = self.processes.remove(&pid) else { return };
        let offer = process.offer;
        self.put(Output::Discard(pid, offer));
        if let Phase::Offered(m) | Phase::Kept(m) = &process.phase {
            let at = Address { epoch: process.epoch.next(), peer: m.target };
            self.leave_forwarder(now, pid, process.delivery.strategy(), at);
            self.pass_on_kept(now, pid, at);
            let moved = m.moved(now, self.config.me.node, offer);
            self.report(now, m.wisher, Report::Moved(moved));
        }
        self.pursue_again(now, &process.killers);
    }

    /// The frozen process goes on here.
    fn run_again(&mut self, now: Instant, pid: Pid, epoch: Epoch, step: Step, why: Why) {
        self.unask_swaps(pid);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.epoch = epoch;
        let (offer, wisher, doomed) = (process.offer, process.wisher(), process.doomed.is_some());
        if doomed {
            return self.end_frozen(now, pid);
        }
        if let Some(wisher) = wisher {
            self.report(now, wisher, Report::GivenUp(why));
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.phase = Phase::Running;
        }
        self.put(Output::Resume { pid, offer, epoch });
        self.step(pid, step);
        self.flush(now, pid);
        self.mail_goes_on(now, pid);
    }

    pub(crate) fn wake_kept(&mut self, now: Instant, pid: Pid) {
        let at = self.later(now);
        self.wake_process_at(pid, at);
        let Some((Phase::Kept(m), offer)) = self.phase(pid) else { return };
        let target = m.target;
        let epoch = self.processes[&pid].epoch;
        if !self.gone(target) && self.rules.keep(Rule::Evidence) {
            return self.ask(now, Purpose::Kept(pid), Request::Locate(vec![pid]));
        }
        let first = !self.asks.asking(&Purpose::Swap(pid, SwapKind::TakeBack));
        self.ask_swap(
            now,
            Swap {
                pid,
                kind: SwapKind::TakeBack,
                owner: Owner::Node(target),
                epoch: epoch.next(),
                to: Owner::Node(self.config.me),
                offer,
            },
        );
        if first {
            self.step(pid, Step::TakeBackAsked);
        }
    }

    /// While the record is what the commit made it, the image is kept.
    pub(crate) fn kept_located(&mut self, now: Instant, pid: Pid, found: &[(Pid, Location)]) {
        let Some((Phase::Kept(m), offer)) = self.phase(pid) else { return };
        let target = m.target;
        let epoch = self.processes[&pid].epoch.next();
        let committed = Place { owner: Owner::Node(target), epoch, offer };
        match found {
            [(p, location)] if *p == pid => match location.place == committed {
                true if location.standing == Standing::Gone => self.wake_kept(now, pid),
                true => (),
                // The take-back was granted; its answer is on the way, or will be asked for again.
                false if location.place.owner == Owner::Node(self.config.me) => (),
                false => self.let_go(now, pid),
            },
            _ => (),
        }
    }

    /// The registry says yes to something this node asked as a source.
    pub(crate) fn source_swapped(&mut self, now: Instant, pid: Pid, swap: Swap, place: Place) {
        let Some(process) = self.processes.get(&pid) else { return };
        if process.offer != swap.offer {
            return;
        }
        match (swap.kind, &process.phase) {
            (SwapKind::GiveUp, Phase::Offered(m)) => {
                let why = m.trouble.clone().unwrap_or(Why::TargetSilent(m.target.node));
                self.run_again(now, pid, place.epoch, Step::Resumed, why);
            }
            (SwapKind::TakeBack, Phase::Kept(m)) => {
                let why = Why::TargetGone(m.target);
                self.run_again(now, pid, place.epoch, Step::TakenBack, why);
            }
            (SwapKind::GiveUp, Phase::Storing { .. }) => {
                let why = Why::Transfer(String::from("the registry refused the file"));
                self.run_again(now, pid, place.epoch, Step::Resumed, why);
            }
            (SwapKind::Store, Phase::Storing { ticket, .. }) => {
                self.in_file(pid, *ticket, swap);
            }
            _ => (),
        }
    }

    /// The registry says no, and how things are instead.
    pub(crate) fn source_not_swapped(
        &mut self,
        now: Instant,
        pid: Pid,
        swap: Swap,
        location: Location,
    ) {
        let me = Owner::Node(self.config.me);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if process.offer != swap.offer {
            return;
        }
        let place = location.place;
        let mine = place.owner == me;
        match (swap.kind, &process.phase) {
            (SwapKind::GiveUp, Phase::Offered(m))
                if mine && self.rules.keep(Rule::TakeEpochFound) =>
            {
                let why = m.trouble.clone().unwrap_or(Why::TargetSilent(m.target.node));
                self.run_again(now, pid, place.epoch, Step::Resumed, why);
            }
            (SwapKind::GiveUp, Phase::Offered(_)) if mine => (),
            (SwapKind::GiveUp, Phase::Offered(m)) => {
                let committed = Place {
                    owner: Owner::Node(m.target),
                    epoch: swap.epoch.next(),
                    offer: swap.offer,
                };
                if place == committed && self.rules.keep(Rule::KeepUntilSettled) {
                    self.keep(now, pid);
                } else {
                    self.let_go(now, pid);
                }
            }
            (SwapKind::TakeBack, Phase::Kept(m)) if mine => {
                let why = Why::TargetGone(m.target);
                self.run_again(now, pid, place.epoch, Step::TakenBack, why);
            }
            // With the record as expected there is no evidence yet; else the target has gone on.
            (SwapKind::TakeBack, Phase::Kept(_))
                if (place.owner, place.epoch) != (swap.owner, swap.epoch) =>
            {
                self.let_go(now, pid);
            }
            (SwapKind::Store | SwapKind::GiveUp, Phase::Storing { .. }) if mine => {
                // A repetition of the question may still be granted, unless the record moves on.
                if swap.kind == SwapKind::Store && place.epoch <= swap.epoch {
                    return self.ask_to_give_up(now, pid);
                }
                let why = Why::Transfer(String::from("the registry refused the file"));
                self.run_again(now, pid, place.epoch, Step::Resumed, why);
            }
            // Nobody else could have changed the record: it named the file, and has moved on.
            (SwapKind::Store | SwapKind::GiveUp, Phase::Storing { ticket, .. }) => {
                let ticket = *ticket;
                self.in_file(pid, ticket, swap);
            }
            _ => (),
        }
    }

    fn in_file(&mut self, pid: Pid, ticket: Ticket, swap: Swap) {
        self.unask_swaps(pid);
        self.step(pid, Step::InFile);
        self.put(Output::Discard(pid, swap.offer));
        self.processes.remove(&pid);
        self.report_here(ticket, Report::Stored { epoch: swap.epoch.next() });
    }

    fn keep(&mut self, now: Instant, pid: Pid) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        match core::mem::replace(&mut process.phase, Phase::Running) {
            Phase::Offered(m) => process.phase = Phase::Kept(m),
            other => process.phase = other,
        }
        self.step(pid, Step::Kept);
        self.wake_kept(now, pid);
    }

    /// A process that is to end and is frozen here: it takes no further step.
    fn end_frozen(&mut self, now: Instant, pid: Pid) {
        let Some(process) = self.processes.get(&pid) else { return };
        let outcome = process.doomed.clone().unwrap_or(wire::Outcome::Killed);
        if let Some(wisher) = process.wisher() {
            self.report(now, wisher, Report::Ended(outcome.clone()));
        }
        self.put(Output::Kill(pid));
        self.finish(now, pid, outcome);
    }

    /// Where a process is in its move, and by which offer.
    pub(crate) fn phase(&mut self, pid: Pid) -> Option<(&mut Phase, Offer)> {
        self.processes.get_mut(&pid).map(|process| (&mut process.phase, process.offer))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;

    use wire::{Generation, Incarnation, Member, MemberStanding, News};

    use super::*;
    use crate::process::Process;
    use crate::testing::{drain, machine, peer, pid};

    /// A process of node 1 that has been asked to go to node 2.
    fn preparing() -> (Machine, Pid) {
        let mut machine = machine(1);
        let members = [1, 2].map(|node| Member {
            peer: peer(node),
            name: String::new(),
            address: String::new(),
            standing: MemberStanding::Up,
            settled: Incarnation(0),
            fenced: false,
        });
        let (generation, killed) = (Generation(1), vec![]);
        machine.news = Some(News { version: 1, generation, members: members.into(), killed });
        let pid = pid(1);
        machine.processes.insert(pid, Process::new(NodeId(1)));
        machine.begin_move(machine.now, pid, NodeId(2), Wisher::Here(Ticket(0)));
        machine.described(machine.now, pid, Offer(1), Ok(Blob::default()));
        (machine, pid)
    }

    /// Whether the move still waits for its target after so many seconds, in each of which this happens.
    fn waits(seconds: u64, each: impl Fn(&mut Machine, Instant, Pid)) -> bool {
        let (mut machine, pid) = preparing();
        let begun = machine.now;
        for second in 1..=seconds {
            let now = begun + Span::seconds(second);
            each(&mut machine, now, pid);
            machine.wake_preparing(now, pid);
            drain(&mut machine);
        }
        matches!(machine.processes[&pid].phase, Phase::Preparing(_))
    }

    #[test]
    fn a_target_that_says_that_it_gets_ready_is_waited_for_and_a_silent_one_is_not() {
        let says = |machine: &mut Machine, now, pid| machine.preparing(now, peer(2), pid, Offer(1));
        assert!(waits(120, says));
        assert!(!waits(601, says), "but not for ever");
        assert!(waits(9, |_, _, _| ()));
        assert!(!waits(11, |_, _, _| ()));
        let other =
            |machine: &mut Machine, now, pid| machine.preparing(now, peer(2), pid, Offer(2));
        assert!(!waits(11, other), "what is said of another offer does not count");
    }
}
