//! The authority on members, locations, names and killed groups.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use wire::{
    CodeHash, Epoch, Generation, GroupId, Incarnation, Key, Location, Member, MemberRecord,
    MemberStanding, NAME_BYTES_MAX, News, NodeId, Offer, Owner, Peer, Pid, Place, Record,
    RegistryRefusal, Reply, Request, Standing, Swap, SwapKind, TokenHash, Write,
};

use crate::gather::TOGETHER_MAX;
use crate::{Instant, Rule, Rules, Span};

/// A member that has not been heard of for this long is silent.
pub const LEASE: Span = Span::seconds(5);

/// A fenced member is gone when it has not been heard of for this long: it has stopped by itself a good while before
/// ([`members`](crate::members)), counted from when it said what was heard last.
pub(crate) const LAPSE: Span = Span::seconds(7);

/// How many group ids a block has. One asks for the next block when half of one is left.
pub const BLOCK_GROUPS: u64 = 1_024;

/// A token is good for no longer than this, and remembered as long again: to say that it has expired.
const TOKEN_LIFE: Span = Span::seconds(3_600);

/// The record of an ended process stays for as long as a late question about it may be under way.
const ENDED_KEPT: Span = Span::seconds(600);

/// How many completed kills are remembered.
const KILLS_DONE_MAX: usize = 4_096;

/// How many locations are answered at once; the others are asked for again.
const LOCATE_MAX: usize = 4_096;

/// The registry as a pure function of what it was asked.
///
/// The driver makes the writes durable, in order, before it lets the reply go: a question may be
/// repeated, an answer must not be taken back. The members' leases are not durable: after a start
/// everyone counts as just heard.
#[derive(Debug)]
pub struct Registry {
    rules: Rules,
    members: BTreeMap<NodeId, MemberState>,
    /// By first id: the last, and the incarnation it was given to.
    blocks: BTreeMap<GroupId, (GroupId, Peer)>,
    places: BTreeMap<Pid, Place>,
    names: BTreeMap<String, Pid>,
    killed: BTreeMap<GroupId, Generation>,
    /// Groups of which nothing is left, and since when, for words about them that are still on their way. On disk they
    /// are as those that are being killed: after a start the question is answered once more by everyone.
    kills_done: BTreeSet<GroupId>,
    kills_in_order: VecDeque<(Instant, GroupId)>,
    /// When each token expires.
    tokens: BTreeMap<TokenHash, Instant>,
    /// Told anew by every incarnation, so it needs no disk.
    code: BTreeMap<CodeHash, BTreeSet<Peer>>,
    /// Ended processes, in the order in which their records may go.
    ended: VecDeque<(Instant, Pid)>,
    next_node: u32,
    next_group: u64,
    generation: Generation,
    /// Names the state of affairs that members are told about.
    version: u64,
    writes: Vec<Write>,
}

#[derive(Debug)]
struct MemberState {
    record: MemberRecord,
    heard: Instant,
    standing: MemberStanding,
    handled: Generation,
}

impl Registry {
    /// Starts from the durable records; none at all make an empty registry. `start` is another number for each start,
    /// whatever node it is on: it keeps versions of the news apart.
    ///
    /// `now` may have started anew with the machine; what depends on it is only ever late.
    #[must_use]
    pub fn recover(
        now: Instant,
        start: u64,
        records: impl IntoIterator<Item = (Key, Record)>,
    ) -> Self {
        let mut registry = Self {
            rules: Rules::ALL,
            members: BTreeMap::new(),
            blocks: BTreeMap::new(),
            places: BTreeMap::new(),
            names: BTreeMap::new(),
            killed: BTreeMap::new(),
            kills_done: BTreeSet::new(),
            kills_in_order: VecDeque::new(),
            tokens: BTreeMap::new(),
            code: BTreeMap::new(),
            ended: VecDeque::new(),
            next_node: 1,
            next_group: 1,
            generation: Generation(0),
            version: start << 24,
            writes: Vec::new(),
        };
        for (key, record) in records {
            registry.restore(now, key, record);
        }
        registry
    }

    /// As [`recover`](Self::recover), with some rules broken.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn mutant(
        now: Instant,
        start: u64,
        records: impl IntoIterator<Item = (Key, Record)>,
        rules: Rules,
    ) -> Self {
        Self { rules, ..Self::recover(now, start, records) }
    }

    fn restore(&mut self, now: Instant, key: Key, record: Record) {
        match (key, record) {
            (Key::Counters, Record::Counters { next_node, next_group, generation }) => {
                self.next_node = next_node;
                self.next_group = next_group;
                self.generation = generation;
            }
            (Key::Member(node), Record::Member(record)) => {
                let standing = match record {
                    MemberRecord { forgotten: true, .. } => MemberStanding::Forgotten,
                    MemberRecord { lapsed: true, .. } => MemberStanding::Lapsed,
                    MemberRecord { incarnation: Incarnation(0), .. } => MemberStanding::Joined,
                    _ => MemberStanding::Up,
                };
                let handled = Generation(0);
                self.members.insert(node, MemberState { record, heard: now, standing, handled });
            }
            (Key::Block(first), Record::Block(last, peer)) => {
                self.blocks.insert(first, (last, peer));
            }
            (Key::Place(pid), Record::Place(place)) => {
                self.places.insert(pid, place);
                if let Owner::Nobody | Owner::Killed = place.owner {
                    self.ended.push_back((now + ENDED_KEPT, pid));
                }
            }
            (Key::Name(name), Record::Name(pid)) => {
                self.names.insert(name, pid);
            }
            (Key::Killed(group), Record::Killed(generation)) => {
                self.killed.insert(group, generation);
            }
            (Key::Token(hash), Record::Token { expires_micros }) => {
                // A clock that began anew must not make a token live longer.
                self.tokens.insert(hash, Instant(expires_micros).min(now + TOKEN_LIFE));
            }
            // A record under a key of another kind was never written by us; it says nothing.
            _ => (),
        }
    }

    /// Answers `from`, whose identity the link vouches for. For a [`Request::Join`] of a machine
    /// that is no member yet, `from` is the member that passes it on.
    pub fn apply(&mut self, now: Instant, from: Peer, request: Request) -> (Reply, Vec<Write>) {
        self.refresh(now);
        let reply = match request {
            Request::Start { name, address, claims, fenced } => {
                self.start(now, from, (name, address), claims, fenced)
            }
            // Whoever founds the cluster is nobody yet.
            Request::Join { token, name, address } => self.join(now, token, name, address),
            request => match self.standing(from) {
                Standing::Unknown => Reply::Refused(RegistryRefusal::NotMember),
                Standing::Gone | Standing::Lost if self.rules.keep(Rule::GoneAsksNothing) => {
                    Reply::Refused(RegistryRefusal::Gone)
                }
                _ => self.answer(now, from, request),
            },
        };
        (reply, core::mem::take(&mut self.writes))
    }

    /// The state of affairs, for `status` and `nodes` on the registry's own node.
    #[must_use]
    pub fn news(&self) -> News {
        let member = |(node, state): (&NodeId, &MemberState)| Member {
            peer: Peer { node: *node, incarnation: state.record.incarnation },
            name: state.record.name.clone(),
            address: state.record.address.clone(),
            standing: state.standing,
            settled: state.record.settled,
            fenced: state.record.fenced,
        };
        News {
            version: self.version,
            generation: self.generation,
            members: self.members.iter().map(member).collect(),
            killed: self.killed.keys().copied().collect(),
        }
    }

    fn answer(&mut self, now: Instant, from: Peer, request: Request) -> Reply {
        match request {
            Request::Join { .. } | Request::Start { .. } => unreachable!("answered before"),
            Request::Renew { seen, handled } => self.renew(now, from, seen, handled),
            Request::Block => self.block(from),
            Request::Swap(swap) => self.swap(from, swap),
            Request::SwapAll(swaps) => self.swap_all(from, &swaps),
            Request::Ended { pid, epoch } => self.end(now, from, pid, epoch),
            Request::Locate(mut pids) => {
                pids.truncate(LOCATE_MAX);
                Reply::Locations(pids.into_iter().map(|pid| (pid, self.locate(pid))).collect())
            }
            Request::Name { name, pid } => self.name(name, pid),
            Request::Unname { name, pid } => {
                if self.names.get(&name) == Some(&pid) {
                    self.names.remove(&name);
                    self.writes.push(Write::Delete(Key::Name(name)));
                }
                Reply::Done
            }
            Request::Lookup(name) => match self.names.get(&name) {
                Some(pid) if !self.is_over(*pid) => Reply::Named(*pid),
                _ => Reply::Refused(RegistryRefusal::Unknown),
            },
            Request::KillGroup(group) => self.kill(now, group),
            Request::Forget(node) => self.forget(now, node),
            Request::Token { hash, life_micros } => {
                self.forget_tokens(now);
                let expires = now + Span(life_micros).min(TOKEN_LIFE);
                self.tokens.insert(hash, expires);
                let record = Record::Token { expires_micros: expires.micros() };
                self.writes.push(Write::Put(Key::Token(hash), record));
                Reply::Done
            }
            Request::HasCode(hash) => {
                self.code.entry(hash).or_default().insert(from);
                Reply::Done
            }
            Request::WhoHasCode(hash) => {
                let holders = self.code.get(&hash).into_iter().flatten().copied();
                Reply::Code(holders.filter(|peer| self.standing(*peer) == Standing::Up).collect())
            }
        }
    }

    /// Tokens that expired long ago are as good as unknown.
    fn forget_tokens(&mut self, now: Instant) {
        let old = |expires: &Instant| *expires + TOKEN_LIFE <= now;
        let olds: Vec<TokenHash> =
            self.tokens.iter().filter(|(_, at)| old(at)).map(|(hash, _)| *hash).collect();
        for hash in olds {
            self.tokens.remove(&hash);
            self.writes.push(Write::Delete(Key::Token(hash)));
        }
    }

    fn join(&mut self, now: Instant, token: TokenHash, name: String, address: String) -> Reply {
        if !fits(&name) || !fits(&address) {
            return Reply::Refused(RegistryRefusal::BadName);
        }
        // The very first member founds the cluster: there is nobody who could have made a token.
        let founds = self.members.is_empty();
        match self.tokens.get(&token) {
            None if !founds => return Reply::Refused(RegistryRefusal::Token),
            Some(expires) if *expires <= now => {
                return Reply::Refused(RegistryRefusal::TokenExpired);
            }
            _ => (),
        }
        if self.name_taken(&name, None) {
            return Reply::Refused(RegistryRefusal::NameTaken);
        }
        if self.tokens.remove(&token).is_some() {
            self.writes.push(Write::Delete(Key::Token(token)));
        }
        let node = NodeId(self.next_node);
        self.next_node += 1;
        self.write_counters();
        let record = MemberRecord {
            name,
            address,
            incarnation: Incarnation(0),
            forgotten: false,
            departed: Generation(0),
            settled: Incarnation(0),
            fenced: false,
            lapsed: false,
        };
        let standing = MemberStanding::Joined;
        let handled = self.generation;
        self.members.insert(node, MemberState { record, heard: now, standing, handled });
        self.write_member(node);
        self.version += 1;
        Reply::Joined(node)
    }

    /// A first word, or a repetition of one. An older incarnation than the newest is refused.
    fn start(
        &mut self,
        now: Instant,
        from: Peer,
        (name, address): (String, String),
        claims: bool,
        fenced: bool,
    ) -> Reply {
        let claims = claims && self.rules.keep(Rule::ClaimsAreWaitedFor);
        let taken = self.name_taken(&name, Some(from.node));
        let generation = self.generation;
        let Some(state) = self.members.get_mut(&from.node) else {
            return Reply::Refused(RegistryRefusal::NotMember);
        };
        let lapsed = state.record.lapsed && from.incarnation == state.record.incarnation;
        if state.record.forgotten || lapsed || from.incarnation < state.record.incarnation {
            return Reply::Refused(RegistryRefusal::Gone);
        }
        if !fits(&name) || !fits(&address) {
            return Reply::Refused(RegistryRefusal::BadName);
        }
        if taken {
            return Reply::Refused(RegistryRefusal::NameTaken);
        }
        let first = state.record.incarnation == Incarnation(0);
        state.heard = now;
        if state.record.incarnation < from.incarnation {
            state.record.incarnation = from.incarnation;
            state.record.name = name;
            state.record.address = address;
            state.record.fenced = fenced;
            state.record.lapsed = false;
            state.standing = MemberStanding::Up;
            // It holds nothing yet, so it has dealt with all that was: unless it has images on its disk.
            state.handled = match claims {
                true => Generation(0),
                false => Generation(generation.0 + u64::from(!first)),
            };
            self.version += 1;
            if first {
                self.write_member(from.node);
            } else {
                self.departed(now, from.node);
            }
        }
        Reply::News(Some(self.news()))
    }

    fn renew(&mut self, now: Instant, from: Peer, seen: u64, handled: Generation) -> Reply {
        if let Some(state) = self.members.get_mut(&from.node) {
            state.heard = now;
            state.handled = state.handled.max(handled.min(self.generation));
        }
        self.refresh(now);
        self.settle(now);
        Reply::News((seen != self.version).then(|| self.news()))
    }

    fn block(&mut self, from: Peer) -> Reply {
        let first = GroupId(self.next_group);
        let last = GroupId(self.next_group + BLOCK_GROUPS - 1);
        self.next_group += BLOCK_GROUPS;
        self.blocks.insert(first, (last, from));
        self.write_counters();
        self.writes.push(Write::Put(Key::Block(first), Record::Block(last, from)));
        Reply::Block(first, last)
    }

    /// The heart of the matter: compare, and swap.
    fn swap(&mut self, from: Peer, swap: Swap) -> Reply {
        if !swap_is_due(from, &swap, self.rules) {
            return Reply::Refused(RegistryRefusal::Unknown);
        }
        match self.judge(&swap) {
            Judged::Said => Reply::Swapped(swap.pid, swap.result()),
            Judged::No(location) => Reply::NotSwapped(swap.pid, location),
            Judged::Due => {
                self.put_place(swap.pid, swap.result());
                Reply::Swapped(swap.pid, swap.result())
            }
        }
    }

    /// Either all of these, or none.
    fn swap_all(&mut self, from: Peer, swaps: &[Swap]) -> Reply {
        let due =
            |swap: &Swap| swap.kind == SwapKind::Commit && swap_is_due(from, swap, self.rules);
        let mut pids: Vec<Pid> = swaps.iter().map(|swap| swap.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        if TOGETHER_MAX < swaps.len() || pids.len() < swaps.len() || !swaps.iter().all(due) {
            return Reply::Refused(RegistryRefusal::Unknown);
        }
        let judged: Vec<Judged> = swaps.iter().map(|swap| self.judge(swap)).collect();
        let against = swaps.iter().zip(&judged).filter_map(|(swap, judged)| match judged {
            Judged::No(location) => Some((swap.pid, *location)),
            Judged::Said | Judged::Due => None,
        });
        let against: Vec<_> = against.collect();
        if !against.is_empty() && self.rules.keep(Rule::AllOrNone) {
            return Reply::NotSwappedAll(against);
        }
        for (swap, judged) in swaps.iter().zip(&judged) {
            if let Judged::Due = judged {
                self.put_place(swap.pid, swap.result());
            }
        }
        Reply::SwappedAll(swaps.iter().map(|swap| (swap.pid, swap.result())).collect())
    }

    fn judge(&self, swap: &Swap) -> Judged {
        let location = self.locate(swap.pid);
        let place = location.place;
        if place == swap.result() && self.rules.keep(Rule::AlreadyCounts) {
            return Judged::Said;
        }
        let expected = (place.owner, place.epoch) == (swap.owner, swap.epoch);
        let allowed = match (swap.kind, location.standing) {
            (_, Standing::Lost | Standing::Unknown) => false,
            (SwapKind::TakeBack, standing) => {
                standing == Standing::Gone || !self.rules.keep(Rule::Evidence)
            }
            (SwapKind::Commit | SwapKind::Store | SwapKind::Thaw | SwapKind::Restart, _) => {
                // Over or not: a word that was long on its way must not find that all is forgotten.
                let group = &swap.pid.group;
                let killed = self.killed.contains_key(group) || self.kills_done.contains(group);
                !killed || !self.rules.keep(Rule::KilledRunsNot)
            }
            _ => true,
        };
        if expected && allowed { Judged::Due } else { Judged::No(location) }
    }

    fn end(&mut self, now: Instant, from: Peer, pid: Pid, epoch: Epoch) -> Reply {
        if let Some(place) = self.places.get(&pid)
            && place.owner == Owner::Node(from)
            && epoch <= place.epoch
        {
            let (epoch, offer) = (place.epoch.next(), place.offer);
            self.put_place(pid, Place { owner: Owner::Nobody, epoch, offer });
            self.ended.push_back((now + ENDED_KEPT, pid));
        }
        Reply::Done
    }

    fn name(&mut self, name: String, pid: Pid) -> Reply {
        if !fits(&name) {
            return Reply::Refused(RegistryRefusal::BadName);
        }
        match self.names.get(&name) {
            Some(holder) if *holder != pid && !self.is_over(*holder) => Reply::Named(*holder),
            Some(holder) if *holder == pid => Reply::Done,
            _ => {
                self.names.insert(name.clone(), pid);
                self.writes.push(Write::Put(Key::Name(name), Record::Name(pid)));
                Reply::Done
            }
        }
    }

    /// Whether a process is known to have ended, however.
    fn is_over(&self, pid: Pid) -> bool {
        let Location { place, standing } = self.locate(pid);
        matches!(place.owner, Owner::Nobody | Owner::Killed) || standing == Standing::Lost
    }

    fn kill(&mut self, now: Instant, group: GroupId) -> Reply {
        let known = self.blocks.range(..=group).next_back();
        if known.is_none_or(|(_, (last, _))| *last < group) {
            return Reply::Refused(RegistryRefusal::Unknown);
        }
        if self.kills_done.contains(&group) {
            return Reply::Killing(group, Vec::new());
        }
        if !self.killed.contains_key(&group) {
            self.raise_generation();
            self.killed.insert(group, self.generation);
            self.writes.push(Write::Put(Key::Killed(group), Record::Killed(self.generation)));
            // Nobody would answer for those that lie in files.
            let first = Pid { group, index: 0 };
            let last = Pid { group, index: u32::MAX };
            let resting = self.places.range(first..=last).filter(|(_, p)| p.owner == Owner::File);
            for (pid, place) in resting.map(|(pid, place)| (*pid, *place)).collect::<Vec<_>>() {
                let epoch = place.epoch.next();
                self.put_place(pid, Place { owner: Owner::Killed, epoch, ..place });
                self.ended.push_back((now + ENDED_KEPT, pid));
            }
        }
        let since = self.killed[&group];
        Reply::Killing(group, self.waiting_for(since))
    }

    fn forget(&mut self, now: Instant, node: NodeId) -> Reply {
        let Some(state) = self.members.get_mut(&node) else {
            return Reply::Refused(RegistryRefusal::Unknown);
        };
        match state.standing {
            MemberStanding::Forgotten => Reply::Done,
            MemberStanding::Up => Reply::Refused(RegistryRefusal::StillUp),
            MemberStanding::Joined | MemberStanding::Silent | MemberStanding::Lapsed => {
                state.record.forgotten = true;
                state.standing = MemberStanding::Forgotten;
                self.departed(now, node);
                Reply::Done
            }
        }
    }

    /// Where a process is, and how its owner is.
    #[must_use]
    pub fn locate(&self, pid: Pid) -> Location {
        let place = self.places.get(&pid).copied().or_else(|| {
            let (_, (last, peer)) = self.blocks.range(..=pid.group).next_back()?;
            let owner = Owner::Node(*peer);
            (pid.group <= *last).then_some(Place { owner, epoch: Epoch(0), offer: Offer(0) })
        });
        match place {
            Some(place @ Place { owner: Owner::Node(peer), .. }) => {
                Location { place, standing: self.standing(peer) }
            }
            Some(place) => Location { place, standing: Standing::Rests },
            None => Location {
                place: Place { owner: Owner::Nobody, epoch: Epoch(0), offer: Offer(0) },
                standing: Standing::Unknown,
            },
        }
    }

    /// How an incarnation is.
    fn standing(&self, peer: Peer) -> Standing {
        let Some(MemberState { record, standing, .. }) = self.members.get(&peer.node) else {
            return Standing::Unknown;
        };
        match standing {
            _ if peer.incarnation <= record.settled => Standing::Lost,
            _ if peer.incarnation < record.incarnation => Standing::Gone,
            MemberStanding::Forgotten => Standing::Gone,
            MemberStanding::Lapsed if peer.incarnation == record.incarnation => Standing::Gone,
            MemberStanding::Silent => Standing::Silent,
            MemberStanding::Joined | MemberStanding::Up | MemberStanding::Lapsed => Standing::Up,
        }
    }

    /// An incarnation of `node` is gone: everyone has to deal with that.
    fn departed(&mut self, now: Instant, node: NodeId) {
        self.raise_generation();
        let generation = self.generation;
        if let Some(state) = self.members.get_mut(&node) {
            state.record.departed = generation;
        }
        self.write_member(node);
        self.settle(now);
    }

    /// What incarnations had that are gone is lost as soon as nobody can claim it any more; a kill
    /// is over as soon as nobody can run it any more.
    fn settle(&mut self, now: Instant) {
        let handled = match self.rules.keep(Rule::LostTogether) {
            true => self.handled_by_all(),
            false => self.generation,
        };
        let due = |(node, state): (&NodeId, &MemberState)| {
            let record = &state.record;
            // With a node that is forgotten all its incarnations go, those too whose first word never came here.
            let gone = match (record.forgotten, record.lapsed) {
                (true, _) => Incarnation(u64::MAX),
                (false, true) => record.incarnation,
                (false, false) => Incarnation(record.incarnation.0 - 1),
            };
            let due = record.settled < gone
                && record.departed <= handled
                && record.departed != Generation(0);
            due.then_some((*node, gone))
        };
        // A member that has not started has nothing to lose, unless it is only its first word that never came here.
        let started = self
            .members
            .iter()
            .filter(|(_, s)| s.record.forgotten || s.record.incarnation != Incarnation(0));
        let due: Vec<_> = started.filter_map(due).collect();
        for (node, gone) in &due {
            if let Some(state) = self.members.get_mut(node) {
                state.record.settled = *gone;
            }
            self.write_member(*node);
        }
        let over: Vec<_> =
            self.killed.iter().filter(|(_, since)| **since <= handled).map(|(g, _)| *g).collect();
        for group in &over {
            self.killed.remove(group);
            self.kills_done.insert(*group);
            self.kills_in_order.push_back((now, *group));
        }
        self.forget_kills(now);
        if !due.is_empty() {
            self.drop_lost_names();
        }
        self.version += u64::from(!due.is_empty() || !over.is_empty());
    }

    /// Nothing that was said of a group before its kill was over is under way any more.
    fn forget_kills(&mut self, now: Instant) {
        while let Some((at, group)) = self.kills_in_order.front().copied()
            && (at + ENDED_KEPT <= now || KILLS_DONE_MAX < self.kills_in_order.len())
        {
            self.kills_in_order.pop_front();
            self.kills_done.remove(&group);
            self.writes.push(Write::Delete(Key::Killed(group)));
        }
    }

    fn drop_lost_names(&mut self) {
        let lost = |pid: &Pid| self.locate(*pid).standing == Standing::Lost;
        let names = self.names.iter().filter(|(_, pid)| lost(pid));
        for name in names.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.names.remove(&name);
            self.writes.push(Write::Delete(Key::Name(name)));
        }
    }

    fn handled_by_all(&self) -> Generation {
        let counted = self.members.values().filter(|state| counts(state));
        counted.map(|state| state.handled).min().unwrap_or(self.generation)
    }

    fn waiting_for(&self, since: Generation) -> Vec<NodeId> {
        let waiting = |(_, s): &(&NodeId, &MemberState)| counts(s) && s.handled < since;
        self.members.iter().filter(waiting).map(|(node, _)| *node).collect()
    }

    /// Notices who has fallen silent or is back, and what has expired.
    fn refresh(&mut self, now: Instant) {
        for state in self.members.values_mut() {
            let standing = match state.standing {
                MemberStanding::Up if LEASE < now - state.heard => MemberStanding::Silent,
                MemberStanding::Silent if now - state.heard <= LEASE => MemberStanding::Up,
                same => same,
            };
            self.version += u64::from(standing != state.standing);
            state.standing = standing;
        }
        self.end_leases(now);
        while let Some((at, pid)) = self.ended.front().copied()
            && at <= now
        {
            self.ended.pop_front();
            self.places.remove(&pid);
            self.writes.push(Write::Delete(Key::Place(pid)));
        }
    }

    /// Who was fenced and has not been heard of for long is gone: it has stopped by itself.
    fn end_leases(&mut self, now: Instant) {
        let over = self.members.iter().filter(|(_, state)| {
            let fenced = state.record.fenced || !self.rules.keep(Rule::OnlyFencedLapse);
            fenced && state.standing == MemberStanding::Silent && LAPSE < now - state.heard
        });
        for node in over.map(|(node, _)| *node).collect::<Vec<_>>() {
            if let Some(state) = self.members.get_mut(&node) {
                state.record.lapsed = true;
                state.standing = MemberStanding::Lapsed;
            }
            self.departed(now, node);
        }
    }

    fn name_taken(&self, name: &str, by_other_than: Option<NodeId>) -> bool {
        let has = |state: &MemberState| !state.record.forgotten && state.record.name == name;
        self.members.iter().any(|(node, state)| Some(*node) != by_other_than && has(state))
    }

    fn raise_generation(&mut self) {
        self.generation.0 += 1;
        self.version += 1;
        self.write_counters();
    }

    fn put_place(&mut self, pid: Pid, place: Place) {
        self.places.insert(pid, place);
        self.writes.push(Write::Put(Key::Place(pid), Record::Place(place)));
    }

    fn write_member(&mut self, node: NodeId) {
        if let Some(state) = self.members.get(&node) {
            let record = Record::Member(state.record.clone());
            self.writes.push(Write::Put(Key::Member(node), record));
        }
    }

    fn write_counters(&mut self) {
        let record = Record::Counters {
            next_node: self.next_node,
            next_group: self.next_group,
            generation: self.generation,
        };
        self.writes.push(Write::Put(Key::Counters, record));
    }
}

/// Whether a member can hold anything.
fn counts(state: &MemberState) -> bool {
    !state.record.forgotten && !state.record.lapsed && state.record.incarnation != Incarnation(0)
}

fn fits(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
}

/// What becomes of a change of a record.
enum Judged {
    /// The record says so already.
    Said,
    /// It may be made.
    Due,
    /// It may not: this is what the record says.
    No(Location),
}

/// Whether it is this asker's to ask for this swap.
fn swap_is_due(from: Peer, swap: &Swap, rules: Rules) -> bool {
    let me = Owner::Node(from);
    match swap.kind {
        SwapKind::Commit | SwapKind::TakeBack => {
            swap.to == me && swap.owner != me && matches!(swap.owner, Owner::Node(_))
        }
        SwapKind::GiveUp | SwapKind::Raise => swap.owner == me && swap.to == me,
        SwapKind::Store => swap.owner == me && swap.to == Owner::File,
        SwapKind::Thaw => swap.owner == Owner::File && swap.to == me,
        // That it asks is the evidence that its earlier incarnations are over.
        SwapKind::Restart => {
            let earlier = matches!(swap.owner, Owner::Node(last)
                if last.node == from.node && last.incarnation < from.incarnation);
            swap.to == me && (earlier || !rules.keep(Rule::RestartByRecord))
        }
    }
}
