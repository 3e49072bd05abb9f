//! What operators ask for, here and on other nodes: each wish ends in exactly one report.
//!
//! An errand about a process goes to wherever the process is. The asking node looks the place up,
//! says the errand there until it is answered, and looks again if the process has left; the node
//! that has the process remembers how each errand ended, and does it once.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use wire::{
    Errand, Grant, InTransit, Locate, Location, Message, NodeId, Outcome, Owner, Peer, Pid, Reply,
    Report, Request, Standing, Ticket, Why,
};

use crate::asks::Purpose;
use crate::delivery::Books;
use crate::durable::CHECKPOINT_MIN;
use crate::machine::Timer;
use crate::process::{Phase, Process, Wisher};
use crate::{Instant, Machine, Output, Span, Wish};

/// How often a process may not be where it was said to be before nobody believes in it.
const TRIES_MAX: u32 = 5;

/// How long the end of an errand is remembered for a node that did not hear it.
const DONE_KEPT: Span = Span::seconds(60);

/// A start waits this long for an id.
const SPAWN_PATIENCE: Span = Span::seconds(5);

/// A kill of a group waits this long for all members; then it names those that have not answered.
const KILL_PATIENCE: Span = Span::seconds(5);

/// A process is looked for this long while the registry is silent.
const LOOKUP_PATIENCE: Span = Span::seconds(10);

#[derive(Debug, Default)]
pub(crate) struct Errands {
    open: BTreeMap<Ticket, Open>,
    /// How the errands of other nodes ended.
    done: BTreeMap<(Peer, Ticket), (Report, Instant)>,
}

#[derive(Debug)]
enum Open {
    Errand(Pursuit),
    /// A process of this node has been told; it will report.
    Here,
    Kill {
        group: wire::GroupId,
        since: Instant,
        waiting: Vec<NodeId>,
    },
}

#[derive(Debug)]
struct Pursuit {
    pid: Pid,
    errand: Errand,
    since: Instant,
    /// Where the process is said to be.
    at: Option<Peer>,
    /// Whether a node may be busy with it.
    sent: bool,
    tries: u32,
}

/// A process that waits for its id.
#[derive(Debug)]
pub(crate) struct Spawning {
    ticket: Ticket,
    home: NodeId,
    name: Option<String>,
    grant: Grant,
    locate: Locate,
    in_transit: InTransit,
    together: bool,
    durable: Option<Span>,
    members: u32,
    since: Instant,
    pid: Option<Pid>,
}

impl Errands {
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.open.remove(&ticket);
    }

    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.open.keys().copied()
    }
}

impl Machine {
    pub(crate) fn wish(&mut self, now: Instant, ticket: Ticket, wish: Wish) {
        match wish {
            Wish::Spawn { home, name, grant, locate, in_transit, together, durable, members } => {
                self.errands.open.insert(ticket, Open::Here);
                let pid = None;
                self.spawning.push(Spawning {
                    ticket,
                    home,
                    name,
                    grant,
                    locate,
                    in_transit,
                    together,
                    durable: durable.map(|every| every.max(CHECKPOINT_MIN)),
                    members,
                    since: now,
                    pid,
                });
                self.spawn_waiting(now);
            }
            Wish::Errand(pid, _) | Wish::Store(pid) if pid.is_port() => {
                self.report_here(ticket, Report::Refused(Why::Unknown));
            }
            Wish::Errand(pid, errand) => {
                let (at, sent, tries) = (None, false, 0);
                let pursuit = Pursuit { pid, errand, since: now, at, sent, tries };
                self.errands.open.insert(ticket, Open::Errand(pursuit));
                self.pursue(now, ticket);
            }
            Wish::Store(pid) => match self.processes.get(&pid) {
                Some(Process { phase: Phase::Running, doomed: None, outbox, .. })
                    if !outbox.waits_for_home() =>
                {
                    self.errands.open.insert(ticket, Open::Here);
                    self.begin_store(pid, ticket);
                }
                Some(_) => self.report_here(ticket, Report::Refused(Why::Moving)),
                None => self.report_here(ticket, Report::Refused(Why::Unknown)),
            },
            Wish::Thaw(section) => {
                self.errands.open.insert(ticket, Open::Here);
                self.begin_thaw(now, ticket, section);
            }
            Wish::KillGroup(group) => {
                let open = Open::Kill { group, since: now, waiting: vec![] };
                self.errands.open.insert(ticket, open);
                self.pursue(now, ticket);
            }
            Wish::Post(to, letter) => {
                self.errands.open.insert(ticket, Open::Here);
                self.post(now, ticket, to, letter);
            }
            Wish::News => {
                self.news_wished.push(ticket);
                self.ask_for_news(now);
            }
        }
    }

    /// Tells whoever wished. A wisher elsewhere says its errand until it hears this.
    pub(crate) fn report(&mut self, now: Instant, wisher: Wisher, report: Report) {
        match wisher {
            Wisher::Here(ticket) => self.report_here(ticket, report),
            Wisher::There(peer, ticket) => {
                self.errands.done.retain(|_, (_, at)| now - *at < DONE_KEPT);
                self.errands.done.insert((peer, ticket), (report.clone(), now));
                self.send(peer, Message::ErrandDone { ticket, report });
            }
        }
    }

    // Where the wish was made.

    /// Takes the next step towards the process.
    pub(crate) fn pursue(&mut self, now: Instant, ticket: Ticket) {
        let (pid, errand, at) = match self.errands.open.get_mut(&ticket) {
            Some(Open::Errand(pursuit)) => (pursuit.pid, pursuit.errand, pursuit.at),
            Some(Open::Kill { .. }) => return self.pursue_kill(now, ticket),
            Some(Open::Here) | None => return,
        };
        let at = at.filter(|peer| !self.gone(*peer));
        if self.processes.contains_key(&pid) {
            match self.execute(now, pid, errand, Wisher::Here(ticket)) {
                Taken::Yes => {
                    // Unless it was reported at once.
                    if let Some(open) = self.errands.open.get_mut(&ticket) {
                        *open = Open::Here;
                    }
                    return;
                }
                Taken::NotNow => (),
                Taken::Elsewhere => self.look_up(now, ticket, pid),
            }
        } else if let Some(peer) = at {
            self.send(peer, Message::Errand { ticket, pid, errand });
            if let Some(Open::Errand(pursuit)) = self.errands.open.get_mut(&ticket) {
                pursuit.sent = true;
            }
        } else {
            self.look_up(now, ticket, pid);
        }
        let at = self.later(now);
        self.arm(at, Timer::Errand(ticket));
    }

    fn look_up(&mut self, now: Instant, ticket: Ticket, pid: Pid) {
        let Some(Open::Errand(pursuit)) = self.errands.open.get_mut(&ticket) else { return };
        pursuit.at = None;
        if !pursuit.sent && LOOKUP_PATIENCE < now - pursuit.since {
            self.unask(&Purpose::Errand(ticket));
            return self.report_here(ticket, Report::Refused(Why::RegistrySilent));
        }
        self.ask(now, Purpose::Errand(ticket), Request::Locate(vec![pid]));
    }

    pub(crate) fn errand_located(
        &mut self,
        now: Instant,
        ticket: Ticket,
        found: &[(Pid, Location)],
    ) {
        let me = self.config.me;
        let [(_, Location { place, standing })] = found else { return };
        let Some(Open::Errand(pursuit)) = self.errands.open.get_mut(&ticket) else { return };
        let report = match (standing, place.owner) {
            (Standing::Lost, Owner::Node(last)) => Some(Report::Lost { last }),
            (Standing::Up | Standing::Silent, Owner::Node(peer)) if peer != me => {
                pursuit.at = Some(peer);
                return self.pursue(now, ticket);
            }
            // On its way here, or ended here; or a survivor is about to take it back.
            (Standing::Up | Standing::Silent | Standing::Gone, Owner::Node(_)) => None,
            (_, Owner::File) => Some(Report::Refused(Why::InFile)),
            (_, Owner::Nobody | Owner::Killed | Owner::Node(_)) => {
                Some(Report::Refused(Why::Unknown))
            }
        };
        let waits = *standing == Standing::Gone || self.incoming.contains_key(&pursuit.pid);
        pursuit.tries += u32::from(!waits);
        let report = match report {
            None if TRIES_MAX <= pursuit.tries => Some(Report::Refused(Why::Unknown)),
            report => report,
        };
        if let Some(report) = report {
            self.report_here(ticket, report);
        }
    }

    pub(crate) fn errand_done(&mut self, now: Instant, ticket: Ticket, report: Report) {
        let Some(Open::Errand(pursuit)) = self.errands.open.get_mut(&ticket) else { return };
        pursuit.sent = false;
        if let Report::Refused(Why::Unknown) = report {
            // It has left meanwhile, or it has ended.
            pursuit.at = None;
            pursuit.tries += 1;
            if pursuit.tries < TRIES_MAX {
                let at = self.later(now);
                return self.arm(at, Timer::Errand(ticket));
            }
        }
        self.report_here(ticket, report);
    }

    /// Why an errand has come to nothing, if nothing has been heard of it.
    pub(crate) fn silent_about(&self, ticket: Ticket) -> Why {
        match self.errands.open.get(&ticket) {
            Some(Open::Errand(Pursuit { at: Some(peer), .. })) => Why::TargetSilent(peer.node),
            _ => Why::RegistrySilent,
        }
    }

    fn pursue_kill(&mut self, now: Instant, ticket: Ticket) {
        let Some(Open::Kill { group, since, waiting }) = self.errands.open.get(&ticket) else {
            return;
        };
        let (group, since) = (*group, *since);
        if KILL_PATIENCE < now - since {
            let report = match self.asks.asking(&Purpose::Kill(ticket)) {
                true => Report::Refused(Why::RegistrySilent),
                false => Report::GroupKilling(group, waiting.clone()),
            };
            return self.report_here(ticket, report);
        }
        self.ask(now, Purpose::Kill(ticket), Request::KillGroup(group));
        let at = self.later(now);
        self.arm(at, Timer::Errand(ticket));
    }

    pub(crate) fn killing(&mut self, _now: Instant, ticket: Ticket, reply: Reply) {
        let Some(Open::Kill { group, waiting, .. }) = self.errands.open.get_mut(&ticket) else {
            return;
        };
        match reply {
            Reply::Killing(killed, left) if killed == *group => {
                let done = left.is_empty();
                *waiting = left;
                if done {
                    self.report_here(ticket, Report::GroupKilled(killed));
                }
            }
            _ => self.report_here(ticket, Report::Refused(Why::Unknown)),
        }
    }

    /// The process that these had been told of has left: look for it again.
    pub(crate) fn pursue_again(&mut self, now: Instant, wishers: &[Wisher]) {
        // Wishers elsewhere repeat themselves.
        for wisher in wishers {
            if let Wisher::Here(ticket) = wisher {
                self.arm(now, Timer::Errand(*ticket));
            }
        }
    }

    // Where the process is.

    pub(crate) fn errand_arrived(
        &mut self,
        now: Instant,
        from: Peer,
        ticket: Ticket,
        pid: Pid,
        errand: Errand,
    ) {
        let wisher = Wisher::There(from, ticket);
        if let Some((report, _)) = self.errands.done.get(&(from, ticket)) {
            let report = report.clone();
            return self.send(from, Message::ErrandDone { ticket, report });
        }
        match self.processes.get(&pid) {
            // Said again, while it is being done.
            Some(process)
                if process.wisher() == Some(wisher) || process.killers.contains(&wisher) => {}
            Some(_) => {
                if let Taken::Elsewhere = self.execute(now, pid, errand, wisher) {
                    self.send_unknown(from, ticket);
                }
            }
            // The commit will be answered soon; the errand comes again.
            None if self.incoming.contains_key(&pid) => (),
            None => self.send_unknown(from, ticket),
        }
    }

    /// Not remembered: the process may come here yet.
    fn send_unknown(&mut self, to: Peer, ticket: Ticket) {
        let report = Report::Refused(Why::Unknown);
        self.send(to, Message::ErrandDone { ticket, report });
    }

    fn execute(&mut self, now: Instant, pid: Pid, errand: Errand, wisher: Wisher) -> Taken {
        let Some(process) = self.processes.get_mut(&pid) else { return Taken::Elsewhere };
        match (&process.phase, errand) {
            (Phase::Kept(_), _) => Taken::Elsewhere,
            (Phase::Ending, _) if !process.told => Taken::NotNow,
            (Phase::Ending, _) => {
                let outcome = process.ended.clone().unwrap_or(Outcome::Killed);
                self.report(now, wisher, Report::Ended(outcome));
                Taken::Yes
            }
            // Where its output goes on is not in its image.
            (Phase::Running | Phase::Preparing(_), Errand::Locate(locate)) => {
                self.relocate(now, pid, locate);
                self.report(now, wisher, Report::Located);
                Taken::Yes
            }
            // Its image may be on its way.
            (_, Errand::Locate(_)) => Taken::NotNow,
            (Phase::Running, Errand::Move(_))
                if process.doomed.is_some() || process.outbox.waits_for_home() =>
            {
                Taken::NotNow
            }
            (Phase::Running, Errand::Move(to)) => {
                self.begin_move(now, pid, to, wisher);
                Taken::Yes
            }
            // It is moved on when its last move is over.
            (Phase::Muted(_), Errand::Move(_)) => Taken::NotNow,
            (_, Errand::Move(_)) => {
                self.report(now, wisher, Report::Refused(Why::Moving));
                Taken::Yes
            }
            // Who is to end it is not decided yet.
            (Phase::Offered(_) | Phase::Storing { .. }, Errand::Kill) => Taken::NotNow,
            (_, Errand::Kill) => {
                process.killers.push(wisher);
                self.doom(pid, Outcome::Killed);
                Taken::Yes
            }
        }
    }

    // Starts.

    /// Gives ids to whoever waits for one.
    pub(crate) fn spawn_waiting(&mut self, now: Instant) {
        for mut spawning in core::mem::take(&mut self.spawning) {
            let ticket = spawning.ticket;
            if spawning.pid.is_none() {
                let group = self.next_group();
                spawning.pid = group.map(|group| Pid { group, index: 0 });
            }
            match (spawning.pid, &spawning.name) {
                (None, _) if SPAWN_PATIENCE < now - spawning.since => {
                    self.report_here(ticket, Report::Refused(Why::NoIds));
                }
                (Some(_), Some(_)) if SPAWN_PATIENCE < now - spawning.since => {
                    self.report_here(ticket, Report::Refused(Why::RegistrySilent));
                }
                (Some(pid), None) => self.spawn(now, spawning, pid),
                (Some(pid), Some(name)) => {
                    let request = Request::Name { name: name.clone(), pid };
                    self.ask(now, Purpose::Name(ticket, pid), request);
                    self.spawning.push(spawning);
                }
                (None, _) => self.spawning.push(spawning),
            }
        }
        if !self.spawning.is_empty() {
            let at = self.later(now);
            self.arm(at, Timer::Spawning);
        }
        if self.news.is_some() {
            self.want_ids(now);
        }
    }

    pub(crate) fn named(&mut self, now: Instant, ticket: Ticket, pid: Pid, reply: &Reply) {
        let Some(at) = self.spawning.iter().position(|spawning| spawning.ticket == ticket) else {
            return;
        };
        let spawning = self.spawning.swap_remove(at);
        match reply {
            Reply::Done => self.spawn(now, spawning, pid),
            Reply::Named(holder) => {
                self.report_here(ticket, Report::Refused(Why::NameTaken(*holder)));
            }
            _ => self.report_here(ticket, Report::Refused(Why::Unknown)),
        }
    }

    fn spawn(&mut self, now: Instant, spawning: Spawning, pid: Pid) {
        let Spawning {
            ticket,
            home,
            mut name,
            grant,
            locate,
            in_transit,
            together,
            durable,
            members,
            ..
        } = spawning;
        let members: Vec<_> = (0..members.max(1)).map(|index| Pid { index, ..pid }).collect();
        // All of them are here before the first one runs, and can be sent to.
        for member in &members {
            let mut process = Process::new(home);
            process.name = name.take();
            process.together = together;
            process.durable = durable;
            process.delivery.grant = grant.clone();
            process.delivery.locate = locate;
            process.delivery.in_transit = in_transit;
            if locate == Locate::Adaptive {
                process.delivery.books = Some(Books::new(self.config.me.node));
            }
            process.outbox.announce = true;
            self.processes.insert(*member, process);
            self.put(Output::Start(ticket, *member));
            self.checkpoint_soon(now, *member);
        }
        self.report_here(ticket, Report::Spawned(pid));
        for member in members {
            self.tell_arrived(now, member);
            self.flush(now, member);
        }
    }
}

/// What became of an errand where the process is.
enum Taken {
    /// It is being done, or has been reported.
    Yes,
    /// The process is between two places; ask again.
    NotNow,
    /// It runs elsewhere.
    Elsewhere,
}
