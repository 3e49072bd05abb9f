//! Several processes move to this node together: all of them, or none.
//!
//! The target is asked, so that all that there is to know of the move is in one place, and goes with it. It has each process
//! sent here by an errand of its own. Nothing else is told the others of it, so a source does what it does at any move.
//!
//! ```text
//!  errands ──prepare──▶ Checking … until all are ──▶ Reserved ──▶ Receiving ──▶ Staged … until all are
//!                          │ one is refused             │ one is not offered, or cancelled │
//!                          ▼                            ▼                                 ▼ one question for all records
//!                    refused: it has not stopped     refused, or apart                   Committed, or apart
//! ```
//!
//! No process stops before there is room for all of them. The registry changes all records, or none. A staged image that
//! was not asked for is *apart* when another cannot come: it may be the only one that is left. So its source is asked to give
//! up, and it is dropped when the record says that it has; and if its source is gone, it is committed by itself. That is the
//! one way in which some come and others do not: nothing is lost for the sake of the others.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use wire::{
    Errand, Location, Message, Offer, Owner, Pid, Place, Refusal, Report, Request, Standing, Swap,
    SwapKind, Ticket, Why,
};

use crate::asks::Purpose;
use crate::machine::Timer;
use crate::process::{From, Stage, With};
use crate::{Instant, Machine, Rule, Span, Step, Wish};

/// So many move together at most: their records are changed in one transaction.
pub const TOGETHER_MAX: usize = 1_000;

/// Each of them must have been offered within this, or their node is taken to be silent. The offer itself may take longer:
/// its source gets it ready, and says so.
const HEARD_WITHIN: Span = Span::seconds(10);

/// How often a source that waits for others is told that it is waited for, and one that is apart is asked about.
const REMIND: Span = Span::seconds(1);

/// All that are to come here together.
#[derive(Debug, Default)]
pub(crate) struct Gatherings {
    open: BTreeMap<u64, Gathering>,
    /// Which one a wish is of.
    tickets: BTreeMap<Ticket, (u64, Pid)>,
    next: u64,
}

#[derive(Debug)]
struct Gathering {
    /// Those of which no report has come; while it is open, all that are to come.
    members: BTreeMap<Pid, Ticket>,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// They are on their way.
    Open,
    /// The registry has been asked for all of them, so.
    Asked(Vec<Swap>),
    /// One cannot come.
    Apart,
}

impl Gatherings {
    fn of(&self, pid: Pid) -> Option<u64> {
        self.open
            .iter()
            .find(|(_, gathering)| gathering.members.contains_key(&pid))
            .map(|(id, _)| *id)
    }

    fn is(&self, id: u64, state: &State) -> bool {
        self.open.get(&id).is_some_and(|gathering| gathering.state == *state)
    }
}

impl Machine {
    /// Has all of these come here, or none. Each wish gets its own report.
    pub(crate) fn gather(&mut self, now: Instant, wanted: Vec<(Ticket, Pid)>) {
        let taken = wanted.iter().any(|(_, pid)| self.gatherings.of(*pid).is_some());
        if taken || TOGETHER_MAX < wanted.len() {
            let why = match taken {
                true => Why::Moving,
                false => Why::Unmovable(String::from("more than 1,000 move together")),
            };
            return wanted.into_iter().for_each(|(ticket, _)| {
                self.report_here(ticket, Report::Refused(why.clone()));
            });
        }
        let id = self.gatherings.next;
        self.gatherings.next += 1;
        for (ticket, pid) in &wanted {
            self.gatherings.tickets.insert(*ticket, (id, *pid));
        }
        let members = wanted.iter().map(|(ticket, pid)| (*pid, *ticket)).collect();
        self.gatherings.open.insert(id, Gathering { members, state: State::Open });
        for (ticket, pid) in wanted {
            let here = self.config.me.node;
            self.wish(now, ticket, Wish::Errand(pid, Errand::Move(here)));
        }
        self.arm(now + HEARD_WITHIN, Timer::Gathering(id));
    }

    /// Those of which nothing has been heard are not waited for any longer, and so none of the others is.
    pub(crate) fn gathering_is_late(&mut self, id: u64) {
        if !self.gatherings.is(id, &State::Open) {
            return;
        }
        let members = self.gatherings.open.get(&id).into_iter().flat_map(|all| &all.members);
        let unheard = members.filter(|(pid, _)| !self.incoming.contains_key(pid));
        for ticket in unheard.map(|(_, ticket)| *ticket).collect::<Vec<_>>() {
            let why = self.silent_about(ticket);
            self.report_here(ticket, Report::Refused(why));
        }
    }

    /// Whether the whole of a process is here: it is, or its image waits to be committed.
    #[must_use]
    pub fn has_whole(&self, pid: Pid) -> bool {
        let staged =
            |incoming: &crate::process::Incoming| matches!(incoming.stage, Stage::Staged(_));
        self.processes.contains_key(&pid) || self.incoming.get(&pid).is_some_and(staged)
    }

    /// With whom a process comes here that is about to.
    pub(crate) fn comes_with(&self, pid: Pid) -> With {
        match self.gatherings.of(pid) {
            Some(id) if self.gatherings.is(id, &State::Open) => With::Others(id),
            _ => With::Alone,
        }
    }

    /// Whether it was to come with others, which cannot.
    pub(crate) fn is_left_by_others(&self, pid: Pid) -> bool {
        self.gatherings.of(pid).is_some_and(|id| self.gatherings.is(id, &State::Apart))
    }

    /// How the errand of one of them has ended.
    pub(crate) fn gathered_one(&mut self, now: Instant, ticket: Ticket, report: &Report) {
        let Some((id, pid)) = self.gatherings.tickets.remove(&ticket) else { return };
        let Some(gathering) = self.gatherings.open.get_mut(&id) else { return };
        gathering.members.remove(&pid);
        let more = !gathering.members.is_empty();
        match report {
            // Here, or no more: it is not waited for.
            Report::Moved(_) | Report::AlreadyThere(_) | Report::Killed if more => (),
            Report::Ended(_) | Report::Lost { .. } | Report::Refused(Why::Unknown) if more => (),
            _ => self.come_apart(now, id),
        }
        if self.gatherings.is(id, &State::Open) {
            self.reserve_all(now, id);
            self.commit_all(now, id);
        }
        self.close_gathering(id);
    }

    /// Forgets a gathering of which all is known.
    fn close_gathering(&mut self, id: u64) {
        let comes = self.incoming.values().any(|incoming| incoming.with == With::Others(id));
        if !comes && self.gatherings.open.get(&id).is_some_and(|g| g.members.is_empty()) {
            self.gatherings.open.remove(&id);
        }
    }

    /// Room for one of them is found: the sources are told when there is room for all.
    pub(crate) fn reserve_all(&mut self, now: Instant, id: u64) {
        let Some(gathering) = self.gatherings.open.get(&id) else { return };
        let members: Vec<Pid> = gathering.members.keys().copied().collect();
        let ready = |pid: &Pid| {
            self.incoming.get(pid).is_some_and(|incoming| {
                let stage = &incoming.stage;
                incoming.with == With::Others(id)
                    && matches!(stage, Stage::Checking { ready: true, found: Some(_) })
            })
        };
        if members.iter().all(ready) {
            members.into_iter().for_each(|pid| self.reserve_one(now, pid));
        }
    }

    /// One of them is staged: the registry is asked when all are.
    pub(crate) fn commit_all(&mut self, now: Instant, id: u64) {
        let Some(gathering) = self.gatherings.open.get(&id) else { return };
        let members: Vec<Pid> = gathering.members.keys().copied().collect();
        let swaps: Option<Vec<Swap>> = members.iter().map(|pid| self.commit_of(*pid)).collect();
        let Some(swaps) = swaps else { return self.remind_soon(now, id) };
        if let Some(gathering) = self.gatherings.open.get_mut(&id) {
            gathering.state = State::Asked(swaps.clone());
        }
        self.ask(now, Purpose::Together(id), Request::SwapAll(swaps));
        members.into_iter().for_each(|pid| self.step(pid, Step::CommitAsked));
    }

    fn remind_soon(&mut self, now: Instant, id: u64) {
        let staged = self.incoming.iter().filter(|(_, incoming)| {
            incoming.with == With::Others(id) && matches!(incoming.stage, Stage::Staged(_))
        });
        for pid in staged.map(|(pid, _)| *pid).collect::<Vec<_>>() {
            self.wake_incoming_at(pid, now + REMIND);
        }
    }

    /// A staged one waits for others, or is apart from them.
    pub(crate) fn wake_staged(&mut self, now: Instant, pid: Pid) {
        let Some(incoming) = self.incoming.get(&pid) else { return };
        let (with, offer) = (incoming.with, incoming.offer);
        let From::Node(source) = incoming.from else { return self.ask_to_commit(now, pid) };
        match with {
            With::Alone => self.ask_to_commit(now, pid),
            With::Others(id) => match self.gatherings.open.get(&id).map(|g| g.state.clone()) {
                Some(State::Asked(swaps)) => {
                    self.ask(now, Purpose::Together(id), Request::SwapAll(swaps));
                }
                _ => {
                    self.send(source, Message::Preparing { pid, offer });
                    self.wake_incoming_at(pid, now + REMIND);
                }
            },
            With::Apart => {
                self.send(source, Message::Refused { pid, offer, reason: Refusal::Apart });
                self.ask(now, Purpose::Check(pid, offer), Request::Locate([pid].into()));
                self.wake_incoming_at(pid, now + REMIND);
            }
        }
    }

    /// What the registry says of one that is apart.
    pub(crate) fn checked_apart(&mut self, now: Instant, pid: Pid, location: Location) {
        let Some(swap) = self.commit_of(pid) else { return };
        let place = location.place;
        if (place.owner, place.epoch) != (swap.owner, swap.epoch) {
            // Its source has given it up.
            return self.drop_incoming(pid);
        }
        if location.standing == Standing::Gone
            && let Some(incoming) = self.incoming.get_mut(&pid)
        {
            incoming.with = With::Alone;
            self.ask_to_commit(now, pid);
        }
    }

    /// One of them cannot come: the others stay where they are.
    pub(crate) fn come_apart(&mut self, now: Instant, id: u64) {
        // Once the registry is asked, only its answer counts.
        if self.gatherings.is(id, &State::Open) {
            self.leave_each_other(now, id);
        }
    }

    fn leave_each_other(&mut self, now: Instant, id: u64) {
        if let Some(gathering) = self.gatherings.open.get_mut(&id) {
            gathering.state = State::Apart;
        }
        let keeps = self.rules.keep(Rule::ApartIsKept);
        let incoming =
            self.incoming.iter().filter(|(_, incoming)| incoming.with == With::Others(id));
        let all: Vec<(Pid, Offer, From, bool)> = incoming
            .map(|(pid, incoming)| {
                let staged = matches!(incoming.stage, Stage::Staged(_));
                (*pid, incoming.offer, incoming.from, staged)
            })
            .collect();
        for (pid, offer, from, staged) in all {
            if let Some(incoming) = self.incoming.get_mut(&pid) {
                incoming.with = With::Apart;
            }
            if staged && keeps {
                self.wake_staged(now, pid);
                continue;
            }
            if let From::Node(source) = from {
                self.send(source, Message::Refused { pid, offer, reason: Refusal::Apart });
            }
            self.drop_incoming(pid);
        }
    }

    /// All records were changed.
    pub(crate) fn committed_all(
        &mut self,
        now: Instant,
        id: u64,
        swaps: Vec<Swap>,
        places: &[(Pid, Place)],
    ) {
        let places: BTreeMap<Pid, Place> = places.iter().copied().collect();
        for swap in swaps {
            if let Some(place) = places.get(&swap.pid) {
                self.committed(now, swap.pid, swap, *place);
            }
        }
        self.close_gathering(id);
    }

    /// None was, because of these.
    pub(crate) fn not_committed_all(
        &mut self,
        now: Instant,
        id: u64,
        swaps: &[Swap],
        because: &[(Pid, Location)],
    ) {
        let because: BTreeMap<Pid, Location> = because.iter().copied().collect();
        let never = swaps.iter().filter(|swap| {
            because.get(&swap.pid).is_some_and(|location| self.is_final_no(swap, *location))
        });
        let never: Vec<Pid> = never.map(|swap| swap.pid).collect();
        if never.is_empty() {
            let at = self.later(now);
            return swaps.iter().take(1).for_each(|swap| self.wake_incoming_at(swap.pid, at));
        }
        never.into_iter().for_each(|pid| self.drop_incoming(pid));
        self.leave_each_other(now, id);
        self.close_gathering(id);
    }

    /// The commit of a staged process.
    pub(crate) fn commit_of(&self, pid: Pid) -> Option<Swap> {
        let incoming = self.incoming.get(&pid)?;
        let Stage::Staged(section) = &incoming.stage else { return None };
        let kind = match (incoming.from, section.owner) {
            (From::Disk, _) => SwapKind::Restart,
            (_, Owner::File) => SwapKind::Thaw,
            (_, Owner::Node(_) | Owner::Nobody | Owner::Killed) => SwapKind::Commit,
        };
        let (owner, epoch, offer) = (section.owner, section.epoch, section.offer);
        let to = Owner::Node(self.config.me);
        Some(Swap { pid, kind, owner, epoch, to, offer })
    }
}
