//! The cluster as this node knows it: the first word, leases, who is gone, what is killed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use wire::{
    Generation, GroupId, Incarnation, Member, MemberStanding, News, NodeId, Outcome, Peer, Pid,
    RegistryRefusal, Reply, Report, Request, Why,
};

use crate::asks::Purpose;
use crate::machine::Timer;
use crate::process::{From, Phase, Stage};
use crate::registry::BLOCK_GROUPS;
use crate::{Instant, Machine, Output, Rule, Span};

/// Leases are renewed this often; news come with the answers.
const RENEW: Span = Span::seconds(1);

/// A fenced node stops everything when this long has passed since it *said* what the registry answered last: a second
/// before its lease can be over, and three before the registry calls it gone ([`LAPSE`](crate::registry::LAPSE)), which
/// counts from when it *heard* that. So much may the one be late, and the clocks differ in speed.
const FENCE: Span = Span::seconds(4);

/// What a fenced node knows of its lease.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    /// When the open question that renews it was first asked.
    asked: Instant,
    /// When that was asked which was answered last.
    from: Option<Instant>,
}

impl Machine {
    pub(crate) fn say_first_word(&mut self, now: Instant) {
        let (name, address) = (self.config.name.clone(), self.config.address.clone());
        let claims = self.incoming.values().any(|incoming| incoming.from == From::Disk);
        let fenced = self.config.fenced;
        self.lease.asked = now;
        self.ask(now, Purpose::Start, Request::Start { name, address, claims, fenced });
    }

    pub(crate) fn started(&mut self, now: Instant, news: News) {
        if self.config.fenced && self.lease.asked + FENCE <= now {
            // What was heard may be as old as the question: nothing begins on a lease that may be over.
            return self.say_first_word(now);
        }
        self.renewed();
        self.learn(now, news);
        if !self.expelled {
            self.claim_stored(now);
            self.renew(now);
            self.want_ids(now);
            self.look_for_lost(now);
        }
    }

    /// A name taken meanwhile, say. The operator sees that the registry is not heard of.
    pub(crate) fn not_started(&mut self, now: Instant, reply: &Reply) {
        if let Reply::Refused(RegistryRefusal::NameTaken | RegistryRefusal::BadName) = reply {
            return self.expel();
        }
        self.say_first_word(now);
    }

    pub(crate) fn renew(&mut self, now: Instant) {
        if self.news.is_some() {
            self.ask_for_news(now);
            self.arm(now + RENEW, Timer::Renew);
        }
    }

    /// The lease counts from when it was asked for.
    pub(crate) fn renewed(&mut self) {
        if self.config.fenced {
            self.lease.from = Some(self.lease.asked);
            self.arm(self.lease.asked + FENCE, Timer::Lease);
        }
    }

    /// Stops everything if the lease was not renewed: soon others may have what is here.
    pub(crate) fn wake_lease(&mut self, now: Instant) {
        let over = self.lease.from.is_some_and(|from| from + FENCE <= now);
        if over && self.rules.keep(Rule::FencedStopsFirst) {
            self.lapsed = true;
            self.expel();
        }
    }

    /// Renews the lease; news come with the answer. Before the first word is answered, they come with that.
    pub(crate) fn ask_for_news(&mut self, now: Instant) {
        let Some(news) = &self.news else { return };
        let request = Request::Renew { seen: news.version, handled: self.handled() };
        // One that is still open is older, and says less.
        self.unask(&Purpose::Renew);
        self.lease.asked = now;
        self.ask(now, Purpose::Renew, request);
    }

    /// The answer to a first word or a renewal, with news or without.
    pub(crate) fn heard_news(&mut self) {
        for ticket in core::mem::take(&mut self.news_wished) {
            self.put(Output::Report(ticket, Report::News));
        }
    }

    /// Up to where this node has dealt with who is gone and what is killed.
    fn handled(&self) -> Generation {
        let Some(news) = &self.news else { return Generation(0) };
        let done = !self.rules.keep(Rule::HandledWhenDone) || !self.has_claims();
        // What is not done keeps everything back: goings are rare, and each is soon dealt with.
        if done { news.generation } else { Generation(0) }
    }

    /// Whether anything here may still claim a process from one that is gone, or run one that is
    /// killed.
    fn has_claims(&self) -> bool {
        let claims = self.processes.iter().any(|(pid, process)| match &process.phase {
            Phase::Offered(m) | Phase::Kept(m) => self.gone(m.target) || self.killed(*pid),
            Phase::Ending => false,
            _ => self.killed(*pid),
        });
        claims
            || self.incoming.iter().any(|(pid, incoming)| {
                let disk = incoming.from == From::Disk && self.rules.keep(Rule::ClaimsAreWaitedFor);
                let from_gone = matches!(incoming.from, From::Node(peer) if self.gone(peer));
                let holds = matches!(incoming.stage, Stage::Receiving { .. } | Stage::Staged(_));
                disk || (from_gone && holds) || self.killed(*pid)
            })
    }

    pub(crate) fn learn(&mut self, now: Instant, news: News) {
        let me = self.config.me;
        let mine = news.members.iter().find(|member| member.peer.node == me.node);
        let current = mine.is_some_and(|member| {
            let over = match member.standing {
                MemberStanding::Forgotten => true,
                MemberStanding::Lapsed => member.peer == me,
                MemberStanding::Joined | MemberStanding::Up | MemberStanding::Silent => false,
            };
            member.peer.incarnation <= me.incarnation && !over
        });
        if !current {
            return self.expel();
        }
        let before = self.news.replace(news);
        self.put(Output::Members);
        self.tell_of_silence(None);
        self.let_gone_go(now);
        self.end_killed();
        // Those that lay in files when their group was killed are told of by nobody else.
        let killed = self.news.as_ref().is_some_and(|news| !news.killed.is_empty());
        if killed || self.settled_since(before.as_ref()) {
            self.look_for_lost(now);
            self.look_for_lost_correspondents(now, None);
        }
    }

    fn settled_since(&self, before: Option<&News>) -> bool {
        let settled = |news: &News| -> Vec<(NodeId, Incarnation)> {
            news.members.iter().map(|m| (m.peer.node, m.settled)).collect()
        };
        match (before, &self.news) {
            (Some(before), Some(news)) => settled(before) != settled(news),
            _ => true,
        }
    }

    /// Whoever waits for one that is gone need not wait for its answer.
    fn let_gone_go(&mut self, now: Instant) {
        let waits = self
            .processes
            .iter()
            .filter(|(_, process)| process.target().is_some_and(|target| self.gone(target)));
        let waits: Vec<Pid> = waits.map(|(pid, _)| *pid).collect();
        for pid in waits {
            match self.phase(pid) {
                Some((Phase::Preparing(_), _)) => self.wake_preparing(now, pid),
                Some((Phase::Offered(_), _)) => self.wake_offered(now, pid),
                Some((Phase::Kept(_), _)) => self.wake_kept(now, pid),
                _ => (),
            }
        }
        let reserved = self.incoming.iter().filter(|(_, incoming)| {
            let gone = matches!(incoming.from, From::Node(peer) if self.gone(peer));
            gone && matches!(incoming.stage, Stage::Checking { .. } | Stage::Reserved { .. })
        });
        for pid in reserved.map(|(pid, _)| *pid).collect::<Vec<_>>() {
            self.drop_incoming(pid);
        }
    }

    fn end_killed(&mut self) {
        let here = self.processes.keys().copied().filter(|pid| self.killed(*pid));
        for pid in here.collect::<Vec<_>>() {
            self.doom(pid, Outcome::Killed);
        }
        let coming = self.incoming.iter().filter(|(pid, incoming)| {
            // Once the commit is asked for, only the answer counts.
            self.killed(**pid) && !matches!(incoming.stage, Stage::Staged(_))
        });
        for pid in coming.map(|(pid, _)| *pid).collect::<Vec<_>>() {
            self.drop_incoming(pid);
        }
    }

    /// Ends a process as soon as it is ours to end, so. What was the first to doom it counts.
    pub(crate) fn doom(&mut self, pid: Pid, outcome: Outcome) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let first = process.doomed.is_none();
        process.doomed.get_or_insert(outcome);
        let runs = match process.phase {
            Phase::Running | Phase::Preparing(_) | Phase::Freezing(_) | Phase::Muted(_) => true,
            Phase::Offered(_) | Phase::Storing { .. } | Phase::Kept(_) | Phase::Ending => false,
        };
        if first && runs && process.ended.is_none() {
            self.put(Output::Kill(pid));
        }
    }

    /// Whether the group of this process is killed, as far as this node knows.
    pub(crate) fn killed(&self, pid: Pid) -> bool {
        let known = self.news.as_ref().is_some_and(|news| news.killed.contains(&pid.group));
        known && !pid.is_port() && self.rules.keep(Rule::KilledRunsNot)
    }

    /// Whether this incarnation is gone, on evidence: a newer one has started, the operator has said so, or it was
    /// fenced and its lease is over. One that has never been heard of may just be new.
    pub(crate) fn gone(&self, peer: Peer) -> bool {
        self.member(peer.node).is_some_and(|member| match member.standing {
            MemberStanding::Forgotten => true,
            MemberStanding::Lapsed => peer.incarnation <= member.peer.incarnation,
            MemberStanding::Joined | MemberStanding::Up | MemberStanding::Silent => {
                peer.incarnation < member.peer.incarnation
            }
        })
    }

    /// The incarnation of a node that is up; or why there is none.
    pub(crate) fn live(&self, node: NodeId) -> Result<Peer, Why> {
        let member = self.member(node).ok_or(Why::NoMember(node))?;
        match member.standing {
            MemberStanding::Up => Ok(member.peer),
            MemberStanding::Silent | MemberStanding::Lapsed => Err(Why::TargetSilent(node)),
            MemberStanding::Joined | MemberStanding::Forgotten => Err(Why::NoMember(node)),
        }
    }

    /// The newest incarnation of a node that is known.
    pub(crate) fn current(&self, node: NodeId) -> Option<Peer> {
        self.member(node).map(|member| member.peer)
    }

    pub(crate) fn forgotten_node(&self, node: NodeId) -> bool {
        self.member(node).is_some_and(|member| member.standing == MemberStanding::Forgotten)
    }

    fn member(&self, node: NodeId) -> Option<&Member> {
        let members = &self.news.as_ref()?.members;
        let at = members.binary_search_by_key(&node, |member| member.peer.node).ok()?;
        members.get(at)
    }

    pub(crate) fn want_ids(&mut self, now: Instant) {
        let left: u64 = self.ids.iter().map(|(first, last)| last.0 + 1 - first.0).sum();
        if left <= BLOCK_GROUPS / 2 {
            self.ask(now, Purpose::Block, Request::Block);
        }
    }

    pub(crate) fn got_block(&mut self, now: Instant, first: GroupId, last: GroupId) {
        if first <= last {
            self.ids.push_back((first, last));
        }
        self.spawn_waiting(now);
    }

    pub(crate) fn next_group(&mut self) -> Option<GroupId> {
        let (first, last) = self.ids.front_mut()?;
        let group = *first;
        first.0 += 1;
        if last < first {
            self.ids.pop_front();
        }
        Some(group)
    }

    /// This incarnation was declared gone: others may have what it had. It ends.
    pub(crate) fn expel(&mut self) {
        self.expelled = true;
        for pid in self.processes.keys() {
            self.outputs.push_back(Output::Kill(*pid));
        }
        for (pid, incoming) in &self.incoming {
            self.outputs.push_back(Output::Discard(*pid, incoming.offer));
        }
        for ticket in self.errands.tickets() {
            let report = Report::Refused(Why::Expelled);
            self.outputs.push_back(Output::Report(ticket, report));
        }
        self.processes.clear();
        self.incoming.clear();
        self.ids = VecDeque::new();
        self.outputs.push_back(Output::Expelled);
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;

    use wire::{AskId, Ticket};

    use super::*;
    use crate::testing::{drain, machine, peer};
    use crate::{Input, Wish};

    fn news(version: u64, nodes: &[u32]) -> News {
        let member = |node: &u32| Member {
            peer: peer(*node),
            name: String::new(),
            address: String::new(),
            standing: MemberStanding::Up,
            settled: Incarnation(0),
            fenced: false,
        };
        let members = nodes.iter().map(member).collect();
        News { version, generation: Generation(0), members, killed: vec![] }
    }

    /// The question that the registry was asked last.
    fn asked(machine: &mut Machine, what: fn(&Request) -> bool) -> AskId {
        let asks = drain(machine).into_iter().filter_map(|output| match output {
            Output::Ask(ask, request) if what(&request) => Some(ask),
            _ => None,
        });
        asks.last().expect("it asks")
    }

    #[test]
    fn who_wishes_for_news_hears_of_one_that_has_just_joined() {
        let mut machine = machine(1);
        let now = machine.now;
        let start = asked(&mut machine, |request| matches!(request, Request::Start { .. }));
        machine.answered(now, start, Reply::News(Some(news(1, &[1]))));
        let periodic = asked(&mut machine, |request| matches!(request, Request::Renew { .. }));
        machine.answered(now, periodic, Reply::News(None));
        drain(&mut machine);

        machine.handle(now, Input::Wish(Ticket(7), Wish::News));
        let renewal = asked(&mut machine, |request| matches!(request, Request::Renew { .. }));
        assert_eq!(machine.live(NodeId(2)), Err(Why::NoMember(NodeId(2))));
        machine.answered(now, renewal, Reply::News(Some(news(2, &[1, 2]))));
        assert_eq!(machine.live(NodeId(2)), Ok(peer(2)));
        assert!(drain(&mut machine).contains(&Output::Report(Ticket(7), Report::News)));
        // Nothing new is an answer too.
        machine.handle(now, Input::Wish(Ticket(8), Wish::News));
        let renewal = asked(&mut machine, |request| matches!(request, Request::Renew { .. }));
        machine.answered(now, renewal, Reply::News(None));
        assert!(drain(&mut machine).contains(&Output::Report(Ticket(8), Report::News)));
    }
}
