//! Questions to the registry: each is asked until it is answered, or nobody wants to know any more.

use alloc::collections::BTreeMap;
use alloc::string::String;

use wire::{AskId, Offer, Pid, RegistryRefusal, Reply, Request, Swap, SwapKind, Ticket};

use crate::machine::Timer;
use crate::{Instant, Machine, Output, Rule};

/// What a question is for. There is one question at a time for each purpose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Start,
    Renew,
    Block,
    Swap(Pid, SwapKind),
    /// All commits of a gathering.
    Together(u64),
    /// Whether the process is its source's to give.
    Check(Pid, Offer),
    /// Whether a process whose image is on this node's disk is still here by its record.
    Claim(Pid),
    /// Whether the record has moved on since the commit.
    Kept(Pid),
    Ended(Pid),
    /// That its group ends with this process.
    Fellows(Pid),
    Errand(Ticket),
    /// What has become of the processes whose output is kept here.
    Logs,
    /// Where the processes are whose output was handed on to another node.
    Handed,
    /// What has become of one of them, of which another node has said the first word.
    Log(Pid),
    /// Where a correspondent is.
    Find(Pid),
    Name(Ticket, Pid),
    Unname(String, Pid),
    /// What a guest asks of a name.
    GuestName(Pid),
    Kill(Ticket),
}

#[derive(Debug, Default)]
pub(crate) struct Asks {
    next: u64,
    asked: BTreeMap<AskId, (Purpose, Request, Instant)>,
    ids: BTreeMap<Purpose, AskId>,
}

impl Asks {
    fn take(&mut self, ask: AskId) -> Option<(Purpose, Request)> {
        let (purpose, request, _) = self.asked.remove(&ask)?;
        self.ids.remove(&purpose);
        Some((purpose, request))
    }

    pub(crate) fn asking(&self, purpose: &Purpose) -> bool {
        self.ids.contains_key(purpose)
    }
}

impl Machine {
    /// Asks, unless this very question is open already.
    pub(crate) fn ask(&mut self, now: Instant, purpose: Purpose, request: Request) {
        if let Some(ask) = self.asks.ids.get(&purpose) {
            if self.asks.asked.get(ask).is_some_and(|(_, open, _)| *open == request) {
                return;
            }
            self.unask(&purpose);
        }
        let ask = AskId(self.asks.next);
        self.asks.next += 1;
        let again_at = self.later(now);
        self.asks.ids.insert(purpose.clone(), ask);
        self.asks.asked.insert(ask, (purpose, request.clone(), again_at));
        self.arm(again_at, Timer::Ask(ask));
        self.put(Output::Ask(ask, request));
    }

    /// Asks for a change of a location record.
    pub(crate) fn ask_swap(&mut self, now: Instant, swap: Swap) {
        self.ask(now, Purpose::Swap(swap.pid, swap.kind), Request::Swap(swap));
    }

    /// Its answer would change nothing any more.
    pub(crate) fn unask(&mut self, purpose: &Purpose) {
        if let Some(ask) = self.asks.ids.remove(purpose) {
            self.asks.asked.remove(&ask);
        }
    }

    pub(crate) fn unask_swaps(&mut self, pid: Pid) {
        for kind in [SwapKind::GiveUp, SwapKind::TakeBack, SwapKind::Raise, SwapKind::Store] {
            self.unask(&Purpose::Swap(pid, kind));
        }
        self.unask(&Purpose::Kept(pid));
    }

    pub(crate) fn ask_again(&mut self, now: Instant, ask: AskId) {
        let later = self.later(now);
        let Some((_, request, again_at)) = self.asks.asked.get_mut(&ask) else { return };
        if now < *again_at || !self.rules.keep(Rule::SayAgain) {
            return;
        }
        *again_at = later;
        let request = request.clone();
        self.put(Output::Ask(ask, request));
        self.arm(later, Timer::Ask(ask));
    }

    pub(crate) fn answered(&mut self, now: Instant, ask: AskId, reply: Reply) {
        let Some((purpose, request)) = self.asks.take(ask) else { return };
        self.heard = Some(now);
        if let Reply::Refused(RegistryRefusal::Gone | RegistryRefusal::NotMember) = reply {
            return self.expel();
        }
        match (purpose, reply) {
            (Purpose::Start, Reply::News(Some(news))) => {
                self.started(now, news);
                self.heard_news();
            }
            (Purpose::Start, reply) => self.not_started(now, &reply),
            (Purpose::Renew, reply) => {
                self.renewed();
                if let Reply::News(Some(news)) = reply {
                    self.learn(now, news);
                }
                self.heard_news();
            }
            (Purpose::Block, Reply::Block(first, last)) => self.got_block(now, first, last),
            (Purpose::Swap(pid, _), Reply::Swapped(_, place)) => {
                let Request::Swap(swap) = request else { return };
                self.swapped(now, pid, swap, place);
            }
            (Purpose::Swap(pid, _), Reply::NotSwapped(_, location)) => {
                let Request::Swap(swap) = request else { return };
                self.not_swapped(now, pid, swap, location);
            }
            (Purpose::Together(id), Reply::SwappedAll(places)) => {
                let Request::SwapAll(swaps) = request else { return };
                self.committed_all(now, id, swaps, &places);
            }
            (Purpose::Together(id), Reply::NotSwappedAll(because)) => {
                let Request::SwapAll(swaps) = request else { return };
                self.not_committed_all(now, id, &swaps, &because);
            }
            (Purpose::Check(pid, offer), Reply::Locations(found)) => {
                self.checked(now, pid, offer, &found);
            }
            (Purpose::Claim(pid), Reply::Locations(found)) => self.claim_located(now, pid, &found),
            (Purpose::Kept(pid), Reply::Locations(found)) => self.kept_located(now, pid, &found),
            (Purpose::Errand(ticket), Reply::Locations(found)) => {
                self.errand_located(now, ticket, &found);
            }
            (Purpose::Logs | Purpose::Log(_), Reply::Locations(found)) => self.logs_located(&found),
            (Purpose::Handed, Reply::Locations(found)) => self.handed_located(&found),
            (Purpose::Find(pid), reply) => self.found(now, pid, &reply),
            (Purpose::Ended(pid), _) => self.end_recorded(now, pid),
            (Purpose::Fellows(pid), _) => self.tell_end(now, pid),
            (Purpose::Name(ticket, pid), reply) => self.named(now, ticket, pid, &reply),
            (Purpose::Kill(ticket), reply) => self.killing(now, ticket, reply),
            (Purpose::GuestName(pid), reply) => self.guest_named(pid, request, &reply),
            (Purpose::Unname(..), _) => (),
            // An answer that does not fit its question is no answer.
            (Purpose::Block | Purpose::Swap(..) | Purpose::Check(..) | Purpose::Claim(_), _) => (),
            (Purpose::Kept(_) | Purpose::Errand(_) | Purpose::Logs | Purpose::Log(_), _) => (),
            (Purpose::Together(_) | Purpose::Handed, _) => (),
        }
    }
}

impl Machine {
    fn swapped(&mut self, now: Instant, pid: Pid, swap: Swap, place: wire::Place) {
        match swap.kind {
            SwapKind::Commit | SwapKind::Thaw | SwapKind::Restart => {
                self.committed(now, pid, swap, place);
            }
            SwapKind::Raise => self.raised(now, pid, swap, place),
            SwapKind::GiveUp | SwapKind::TakeBack | SwapKind::Store => {
                self.source_swapped(now, pid, swap, place);
            }
        }
    }

    fn not_swapped(&mut self, now: Instant, pid: Pid, swap: Swap, location: wire::Location) {
        match swap.kind {
            SwapKind::Commit | SwapKind::Thaw | SwapKind::Restart => {
                self.not_committed(now, pid, swap, location);
            }
            SwapKind::Raise => self.not_raised(now, pid, swap),
            SwapKind::GiveUp | SwapKind::TakeBack | SwapKind::Store => {
                self.source_not_swapped(now, pid, swap, location);
            }
        }
    }
}
