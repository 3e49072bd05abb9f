//! A move at its target: prepare, stage, commit, run muted, and be released.
//!
//! ```text
//!  (nothing) ──prepare──▶ Checking ──room, owner──▶ Reserved ──offer──▶ Receiving ──image──▶ Staged
//!      ▲                     │ no room, not owner,     │ 5 s, cancel        │ cancel, failed  │
//!      ├─────────────────────┴─────────────────────────┴────────────────────┘                 │
//!      └───────────────────────── the registry says no: it was given up ──────────────────────┤
//!                                                                      yes: (me, e+1)         │
//!  Running ◀── forgotten, or the registry: (me, e+2) ── Muted ◀────────────────────────────────┘
//! ```

use alloc::vec;

use wire::{
    Blob, Epoch, Location, Message, Offer, Outcome, Owner, Peer, Pid, Place, Refusal, Report,
    Request, Section, Standing, Swap, SwapKind, Ticket, Why,
};

use crate::asks::Purpose;
use crate::machine::Timer;
use crate::process::{Floor, From, Incoming, Muted, Phase, Process, Stage, With};
use crate::{Instant, Machine, Output, Rule, Span, Step};

/// A target whose registry does not answer within this refuses: it could not commit.
const REGISTRY_PATIENCE: Span = Span::seconds(1);

/// Room is reserved for this long.
const RESERVED: Span = Span::seconds(5);

/// After this long without `forgotten`, the registry is asked to raise the epoch.
const UNMUTE_PATIENCE: Span = Span::millis(500);

/// Nothing that was said about an offer is under way any more after this.
const FLOORS_KEPT: Span = Span::seconds(600);

impl Machine {
    pub(crate) fn asked_to_prepare(
        &mut self,
        now: Instant,
        from: Peer,
        pid: Pid,
        offer: Offer,
        needs: Blob,
    ) {
        if let Some(reason) = self.unwilling(now, from, pid, offer) {
            return self.send(from, Message::Refused { pid, offer, reason });
        }
        match self.incoming.get(&pid) {
            // Said again.
            Some(incoming) if (incoming.offer, incoming.from) == (offer, From::Node(from)) => {
                let answer = match incoming.stage {
                    Stage::Checking { .. } => Message::Preparing { pid, offer },
                    Stage::Reserved { epoch } => Message::Prepared { pid, offer, epoch },
                    _ => return,
                };
                return self.send(from, answer);
            }
            Some(_) => self.drop_incoming(pid),
            None => (),
        }
        let stage = Stage::Checking { ready: false, found: None };
        let from_node = From::Node(from);
        let with = self.comes_with(pid);
        let coming = Incoming { offer, from: from_node, stage, with, wake_at: None };
        self.incoming.insert(pid, coming);
        self.wake_incoming_at(pid, now + REGISTRY_PATIENCE);
        self.put(Output::Prepare { from, pid, offer, needs });
        self.ask(now, Purpose::Check(pid, offer), Request::Locate(vec![pid]));
    }

    /// Why a process is not taken, if it is not.
    fn unwilling(&mut self, now: Instant, from: Peer, pid: Pid, offer: Offer) -> Option<Refusal> {
        let Some(news) = &self.news else { return Some(Refusal::RegistrySilent) };
        if news.killed.contains(&pid.group) && self.rules.keep(Rule::KilledRunsNot) {
            return Some(Refusal::Killed);
        }
        if self.draining {
            return Some(Refusal::Draining);
        }
        if self.is_left_by_others(pid) {
            return Some(Refusal::Apart);
        }
        if let Some(process) = self.processes.get(&pid) {
            // It comes back before we know that it had left for good. Find out.
            if let Phase::Kept(_) = process.phase {
                self.wake_kept(now, pid);
            }
            return Some(Refusal::Busy);
        }
        if self.below_floor(pid, offer) && !self.is_incoming(pid, offer, from) {
            return Some(Refusal::Busy);
        }
        match self.incoming.get(&pid) {
            Some(Incoming { stage: Stage::Staged(_) | Stage::Claimed(_), .. }) => {
                Some(Refusal::Busy)
            }
            Some(incoming) if offer < incoming.offer => Some(Refusal::Busy),
            _ => None,
        }
    }

    fn is_incoming(&self, pid: Pid, offer: Offer, from: Peer) -> bool {
        let incoming = self.incoming.get(&pid);
        incoming.is_some_and(|i| (i.offer, i.from) == (offer, From::Node(from)))
    }

    fn below_floor(&self, pid: Pid, offer: Offer) -> bool {
        self.rules.keep(Rule::Floor)
            && self.floors.get(&pid).is_some_and(|floor| offer <= floor.seen)
    }

    fn raise_floor(&mut self, now: Instant, pid: Pid, offer: Offer) -> &mut Floor {
        if self.floors.is_empty() {
            self.arm(now + FLOORS_KEPT, Timer::Floors);
        }
        let fresh = Floor { seen: offer, committed: Offer(0), at: now };
        let floor = self.floors.entry(pid).or_insert(fresh);
        floor.seen = offer.max(floor.seen);
        floor.at = now;
        floor
    }

    pub(crate) fn forget_floors(&mut self, now: Instant) {
        let before = self.floors.len();
        self.floors.retain(|_, floor| now - floor.at < FLOORS_KEPT);
        self.floors_forgotten |= self.floors.len() < before;
        if !self.floors.is_empty() {
            self.arm(now + FLOORS_KEPT, Timer::Floors);
        }
    }

    /// Whether this incarnation may have committed an offer, whatever it holds now.
    fn may_have_committed(&self, pid: Pid, offer: Offer) -> bool {
        self.rules.keep(Rule::CommittedIsNotDropped)
            && match self.floors.get(&pid) {
                Some(floor) => offer <= floor.committed,
                None => self.floors_forgotten && !self.incoming.contains_key(&pid),
            }
    }

    pub(crate) fn room_found(&mut self, now: Instant, pid: Pid, offer: Offer) {
        let Some(Stage::Checking { ready, .. }) = self.stage(pid, offer) else { return };
        *ready = true;
        self.reserve(now, pid);
    }

    pub(crate) fn checked(
        &mut self,
        now: Instant,
        pid: Pid,
        offer: Offer,
        locations: &[(Pid, Location)],
    ) {
        let Some(incoming) = self.incoming.get_mut(&pid).filter(|i| i.offer == offer) else {
            return;
        };
        let From::Node(from) = incoming.from else { return };
        let place = match locations {
            [(p, location)] if *p == pid => location.place,
            _ => return self.drop_incoming(pid),
        };
        let owned = place.owner == Owner::Node(from);
        match &mut incoming.stage {
            Stage::Checking { found, .. } if owned => {
                *found = Some(place.epoch);
                self.reserve(now, pid);
            }
            Stage::Receiving { epoch } => {
                // The source has given it up, and we never heard.
                if !owned || *epoch != place.epoch {
                    self.drop_incoming(pid);
                }
            }
            Stage::Staged(_) if incoming.with == With::Apart => {
                self.checked_apart(now, pid, locations[0].1);
            }
            Stage::Reserved { .. } | Stage::Staged(_) | Stage::Claimed(_) => (),
            Stage::Checking { .. } => {
                self.send(from, Message::Refused { pid, offer, reason: Refusal::NotOwner });
                self.drop_incoming(pid);
            }
        }
    }

    /// Tells the source, once the driver has room and the registry has answered.
    fn reserve(&mut self, now: Instant, pid: Pid) {
        match self.incoming.get(&pid).map(|incoming| incoming.with) {
            Some(With::Others(id)) => self.reserve_all(now, id),
            _ => self.reserve_one(now, pid),
        }
    }

    pub(crate) fn reserve_one(&mut self, now: Instant, pid: Pid) {
        let Some(incoming) = self.incoming.get_mut(&pid) else { return };
        let Stage::Checking { ready: true, found: Some(epoch), .. } = incoming.stage else {
            return;
        };
        let From::Node(from) = incoming.from else { return };
        let offer = incoming.offer;
        incoming.stage = Stage::Reserved { epoch };
        self.wake_incoming_at(pid, now + RESERVED);
        self.send(from, Message::Prepared { pid, offer, epoch });
        self.step(pid, Step::Reserved);
    }

    pub(crate) fn no_room(&mut self, pid: Pid, offer: Offer, reason: Refusal) {
        let Some(Stage::Checking { .. }) = self.stage(pid, offer) else { return };
        if let Some(Incoming { from: From::Node(from), .. }) = self.incoming.get(&pid) {
            let from = *from;
            self.send(from, Message::Refused { pid, offer, reason });
        }
        self.drop_incoming(pid);
    }

    pub(crate) fn wake_incoming(&mut self, now: Instant, pid: Pid) {
        let Some(incoming) = self.incoming.get_mut(&pid) else { return };
        if incoming.wake_at.is_none_or(|at| now < at) {
            return;
        }
        incoming.wake_at = None;
        let offer = incoming.offer;
        if let Stage::Staged(_) = incoming.stage {
            return self.wake_staged(now, pid);
        }
        let From::Node(from) = incoming.from else { return };
        let gone = self.gone(from);
        match self.incoming[&pid].stage {
            // The driver may take its time, the registry may not.
            Stage::Checking { found: None, .. } => {
                self.send(from, Message::Refused { pid, offer, reason: Refusal::RegistrySilent });
                self.drop_incoming(pid);
            }
            Stage::Reserved { .. } => self.drop_incoming(pid),
            // Of one that is gone, only what was in our buffers could still come.
            Stage::Receiving { .. } if gone => self.drop_incoming(pid),
            Stage::Receiving { .. } => {
                self.wake_incoming_at(pid, now + RESERVED);
                self.ask(now, Purpose::Check(pid, offer), Request::Locate(vec![pid]));
            }
            Stage::Checking { .. } | Stage::Staged(_) | Stage::Claimed(_) => (),
        }
    }

    /// The source has frozen the process: the room is used now.
    pub(crate) fn offered(&mut self, now: Instant, from: Peer, pid: Pid, offer: Offer) {
        if self.is_incoming(pid, offer, from)
            && let Some(incoming) = self.incoming.get_mut(&pid)
            && let Stage::Reserved { epoch } = incoming.stage
        {
            incoming.stage = Stage::Receiving { epoch };
            self.wake_incoming_at(pid, now + RESERVED);
        }
    }

    pub(crate) fn staged(&mut self, now: Instant, from: Peer, section: Section) {
        let (pid, offer) = (section.pid, section.offer);
        let expected = self.is_incoming(pid, offer, from)
            && matches!(
                self.stage(pid, offer),
                Some(Stage::Reserved { .. } | Stage::Receiving { .. })
            )
            && section.owner == Owner::Node(from);
        if !expected || self.below_floor(pid, offer) {
            // A stream that nobody waits for, or an image that is not what it was offered as.
            if self.is_incoming(pid, offer, from) {
                return self.drop_incoming(pid);
            }
            return self.put(Output::Discard(pid, offer));
        }
        self.raise_floor(now, pid, offer);
        self.stage_section(section);
        self.step(pid, Step::Staged);
        if let Some(With::Others(id)) = self.incoming.get(&pid).map(|incoming| incoming.with) {
            return self.commit_all(now, id);
        }
        self.ask_to_commit(now, pid);
        self.step(pid, Step::CommitAsked);
    }

    fn stage_section(&mut self, section: Section) {
        if let Some(incoming) = self.incoming.get_mut(&section.pid) {
            incoming.stage = Stage::Staged(section);
        }
    }

    pub(crate) fn ask_to_commit(&mut self, now: Instant, pid: Pid) {
        if let Some(swap) = self.commit_of(pid) {
            self.ask_swap(now, swap);
        }
    }

    pub(crate) fn stage_failed(&mut self, pid: Pid, offer: Offer) {
        if let Some(Stage::Reserved { .. } | Stage::Receiving { .. }) = self.stage(pid, offer) {
            // The driver holds nothing, so there is nothing to discard.
            let incoming = self.incoming.remove(&pid);
            if let Some(Incoming { with: With::Others(id), .. }) = incoming {
                self.come_apart(self.now, id);
            }
        }
    }

    pub(crate) fn cancelled(&mut self, now: Instant, from: Peer, pid: Pid, offer: Offer) {
        if self.processes.contains_key(&pid) || self.may_have_committed(pid, offer) {
            return;
        }
        if let Some(incoming) = self.incoming.get(&pid) {
            let asked = matches!(incoming.stage, Stage::Staged(_));
            if asked && self.rules.keep(Rule::AskedIsBound) {
                // Or it waits for others: they go on without it, and the registry says what becomes of it.
                if let With::Others(id) = incoming.with {
                    self.come_apart(now, id);
                }
                return;
            }
            // What is on the disk here was never offered.
            if incoming.offer <= offer && incoming.from != From::Disk {
                self.drop_incoming(pid);
            }
        }
        if self.rules.keep(Rule::CancelFloor) {
            self.raise_floor(now, pid, offer);
        }
        self.step(pid, Step::Dropped);
        self.send(from, Message::Dropped { pid, offer });
    }

    /// The registry says yes to a commit or a thaw: it runs.
    pub(crate) fn committed(&mut self, now: Instant, pid: Pid, swap: Swap, place: Place) {
        let Some(incoming) = self.incoming.get(&pid).filter(|i| i.offer == swap.offer) else {
            return;
        };
        let Stage::Staged(_) = incoming.stage else { return };
        let Some(Incoming { from, stage: Stage::Staged(section), .. }) = self.incoming.remove(&pid)
        else {
            return;
        };
        let (offer, epoch) = (section.offer, place.epoch);
        self.raise_floor(now, pid, offer).committed = offer;
        let held = matches!(from, From::Node(_)) && self.rules.keep(Rule::HoldEffects);
        let phase = match from {
            From::Node(source) => Phase::Muted(Muted { source, since: now, raising: false }),
            From::File(_) | From::Disk => Phase::Running,
        };
        let process = match from {
            From::Disk => Process::reborn(section, epoch, self.rules.keep(Rule::WritesOn)),
            From::Node(_) | From::File(_) => Process::arrived(section, epoch, phase),
        };
        self.processes.insert(pid, process);
        self.put(Output::Run { pid, offer, epoch, held });
        match from {
            From::Node(_) => {
                self.step(pid, Step::Committed);
                self.say_settled(now, pid);
                self.step(pid, Step::Settled);
            }
            From::File(ticket) => {
                self.step(pid, Step::Thawed);
                self.report_here(ticket, Report::Thawed { epoch });
            }
            From::Disk => self.step(pid, Step::Restarted),
        }
        match from {
            From::File(_) => self.checkpoint_soon(now, pid),
            From::Node(_) | From::Disk => self.checkpoint_later(now, pid),
        }
        self.flush(now, pid);
        if !held {
            self.mail_goes_on(now, pid);
        }
        if self.killed(pid) {
            self.doom(pid, Outcome::Killed);
        }
    }

    /// The registry says no: the offer was given up, or the file thawed elsewhere.
    pub(crate) fn not_committed(&mut self, now: Instant, pid: Pid, swap: Swap, location: Location) {
        let staged = matches!(self.stage(pid, swap.offer), Some(Stage::Staged(_)));
        if !staged {
            return;
        }
        // The file is there before the record names it. Until the record is past what was expected,
        // a repetition of the question may still find a yes.
        if !self.is_final_no(&swap, location) && self.rules.keep(Rule::NoIsPast) {
            let at = self.later(now);
            return self.wake_incoming_at(pid, at);
        }
        if let Some(Incoming { from: From::File(ticket), .. }) = self.incoming.get(&pid) {
            let ticket = *ticket;
            self.report_here(ticket, Report::AlreadyThawed);
        }
        self.drop_incoming(pid);
    }

    /// Whether what the registry says means that it will never say yes.
    pub(crate) fn is_final_no(&self, swap: &Swap, location: Location) -> bool {
        let place = location.place;
        let past =
            swap.epoch < place.epoch || (swap.epoch == place.epoch && swap.owner != place.owner);
        match location.standing {
            // Nobody is left who could write the file into the record.
            Standing::Gone if swap.kind == SwapKind::Thaw => true,
            // What was found a moment ago has changed: somebody else took it.
            _ if swap.kind == SwapKind::Restart => true,
            Standing::Lost | Standing::Unknown => true,
            _ => past || self.killed(swap.pid),
        }
    }

    fn say_settled(&mut self, now: Instant, pid: Pid) {
        let Some((Phase::Muted(muted), offer)) = self.phase(pid) else { return };
        let source = muted.source;
        // A new incarnation of the source holds nothing, and says so.
        let source = self.current(source.node).unwrap_or(source);
        self.send(source, Message::Settled { pid, offer });
        let at = self.later(now);
        self.wake_process_at(pid, at);
    }

    pub(crate) fn wake_muted(&mut self, now: Instant, pid: Pid) {
        self.say_settled(now, pid);
        let Some((Phase::Muted(muted), offer)) = self.phase(pid) else { return };
        if now - muted.since < UNMUTE_PATIENCE {
            return;
        }
        let first = !core::mem::replace(&mut muted.raising, true);
        let epoch = self.processes[&pid].epoch;
        if !self.rules.keep(Rule::RaiseWhenSilent) {
            return self.release(now, pid, epoch);
        }
        let me = Owner::Node(self.config.me);
        let kind = SwapKind::Raise;
        self.ask_swap(now, Swap { pid, kind, owner: me, epoch, to: me, offer });
        if first {
            self.step(pid, Step::RaiseAsked);
        }
    }

    pub(crate) fn forgotten(&mut self, now: Instant, from: Peer, pid: Pid, offer: Offer) {
        if let Some((Phase::Muted(muted), o)) = self.phase(pid)
            && (muted.source.node, o) == (from.node, offer)
        {
            let epoch = self.processes[&pid].epoch;
            self.release(now, pid, epoch);
        }
    }

    pub(crate) fn raised(&mut self, now: Instant, pid: Pid, swap: Swap, place: Place) {
        if let Some(process) = self.processes.get(&pid)
            && let Phase::Muted(_) = process.phase
            && (process.offer, process.epoch) == (swap.offer, swap.epoch)
        {
            self.release(now, pid, place.epoch);
        }
    }

    /// Our own record says another owner: we were declared gone and replaced, and this copy, of
    /// which nobody has seen anything, must end.
    pub(crate) fn not_raised(&mut self, now: Instant, pid: Pid, swap: Swap) {
        if let Some((Phase::Muted(_), offer)) = self.phase(pid)
            && offer == swap.offer
        {
            self.put(Output::Kill(pid));
            self.erase(pid);
            if let Some(process) = self.processes.remove(&pid) {
                self.pursue_again(now, &process.killers);
            }
        }
    }

    fn release(&mut self, now: Instant, pid: Pid, epoch: Epoch) {
        self.unask_swaps(pid);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.epoch = epoch;
        process.phase = Phase::Running;
        let ended = process.ended.take();
        self.put(Output::Release(pid, epoch));
        self.step(pid, Step::Released);
        match ended {
            Some(outcome) => self.finish(now, pid, outcome),
            None => {
                self.flush(now, pid);
                self.mail_goes_on(now, pid);
            }
        }
    }

    /// Stages a process from a file, for the wish that names it.
    pub(crate) fn begin_thaw(&mut self, now: Instant, ticket: Ticket, section: Section) {
        let (pid, offer) = (section.pid, section.offer);
        let refusal = match () {
            () if section.owner != Owner::File => Some(Report::AlreadyThawed),
            () if self.processes.contains_key(&pid) => Some(Report::AlreadyThawed),
            () if self.incoming.contains_key(&pid) => Some(Report::Refused(Why::Moving)),
            () if self.killed(pid) => Some(Report::Refused(Why::GroupKilled)),
            () => None,
        };
        if let Some(report) = refusal {
            self.put(Output::Discard(pid, offer));
            return self.report_here(ticket, report);
        }
        let epoch = section.epoch;
        let owner = section.owner;
        let stage = Stage::Staged(section);
        let from = From::File(ticket);
        let with = With::Alone;
        self.incoming.insert(pid, Incoming { offer, from, stage, with, wake_at: None });
        self.ask_to_commit(now, pid);
        if !self.rules.keep(Rule::ThawBySwap) {
            let to = Owner::Node(self.config.me);
            let swap = Swap { pid, kind: SwapKind::Thaw, owner, epoch, to, offer };
            self.committed(now, pid, swap, swap.result());
        }
    }

    /// Lets go of whatever is held of a process that was to come.
    pub(crate) fn drop_incoming(&mut self, pid: Pid) {
        if let Some(incoming) = self.incoming.remove(&pid) {
            self.unask(&Purpose::Check(pid, incoming.offer));
            self.unask(&Purpose::Swap(pid, SwapKind::Commit));
            self.unask(&Purpose::Swap(pid, SwapKind::Thaw));
            self.unask(&Purpose::Swap(pid, SwapKind::Restart));
            self.unask(&Purpose::Claim(pid));
            self.put(Output::Discard(pid, incoming.offer));
            if let With::Others(id) = incoming.with {
                self.come_apart(self.now, id);
            }
        }
    }

    fn stage(&mut self, pid: Pid, offer: Offer) -> Option<&mut Stage> {
        self.incoming.get_mut(&pid).filter(|i| i.offer == offer).map(|i| &mut i.stage)
    }

    pub(crate) fn wake_incoming_at(&mut self, pid: Pid, at: Instant) {
        if let Some(incoming) = self.incoming.get_mut(&pid) {
            incoming.wake_at = Some(at);
            self.arm(at, Timer::Incoming(pid));
        }
    }
}
