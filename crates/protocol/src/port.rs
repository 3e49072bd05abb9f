//! A node's port: how something that is no process sends letters, each with an answer.
//!
//! What an operator sends (`whimbrel send`) goes the way of any letter. Its sender is a process that has no guest and
//! never moves: one for each incarnation of a node, of a group of its own, with the index [`PORT_INDEX_MIN`]. Its id
//! is of a block of this incarnation, so that the registry says of it what it says of any process that never moved,
//! and that it is lost when this incarnation is gone. It takes no letters: whoever sends to one is told that there is
//! no such process.
//!
//! ```text
//!  Post(to, letter) ─▶ waits for an id, and for credit ─▶ sent ─▶ acknowledged: Delivered
//!                      10 s: NoRoom, nothing was sent            10 s: Unacknowledged; it is still said
//! ```
//!
//! A letter that was sent and is not acknowledged in time stays with the port as it would with any sender, and arrives
//! once, or never. Only who wished it is not kept waiting.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use wire::{Grant, Locate, PORT_INDEX_MIN, Pid, Reason, Report, Share, Ticket, Why};

use crate::delivery::{MaySend, Unsendable};
use crate::machine::Timer;
use crate::process::Process;
use crate::{Instant, Machine, Span};

/// Who sends is told after this time that no acknowledgement has come.
const PATIENCE: Span = Span::seconds(10);

/// The port of this incarnation, once something was sent from it.
#[derive(Debug, Default)]
pub(crate) struct Port {
    pid: Option<Pid>,
    open: BTreeMap<Ticket, Posting>,
}

/// A letter that somebody waits for.
#[derive(Debug)]
struct Posting {
    to: Pid,
    until: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Waits(Share),
    /// Its last piece is the one before this number.
    Sent(u64),
}

impl Machine {
    /// Somebody who is no process sends a letter.
    pub(crate) fn post(&mut self, now: Instant, ticket: Ticket, to: Pid, letter: Share) {
        let until = now + PATIENCE;
        self.port.open.insert(ticket, Posting { to, until, stage: Stage::Waits(letter) });
        self.arm(until, Timer::Port);
        self.post_waiting(now);
    }

    /// Tells those whose time is over, and sends what can be sent by now.
    pub(crate) fn wake_port(&mut self, now: Instant) {
        let late = self.port.open.iter().filter(|(_, posting)| posting.until <= now);
        let late: Vec<(Ticket, bool)> = late
            .map(|(ticket, posting)| (*ticket, matches!(posting.stage, Stage::Sent(_))))
            .collect();
        for (ticket, sent) in late {
            let why = match (sent, self.port.pid) {
                (true, _) => Why::Unacknowledged,
                (false, Some(_)) => Why::NoRoom,
                (false, None) => Why::NoIds,
            };
            self.posted(ticket, Report::Refused(why));
        }
        self.post_waiting(now);
    }

    /// The receiver of what this port has sent was heard of: its word, or its end.
    pub(crate) fn port_heard(&mut self, now: Instant, pid: Pid, of: Pid) {
        if self.port.pid != Some(pid) {
            return;
        }
        let Some(pair) = self.processes.get(&pid).and_then(|it| it.delivery.pairs.get(&of)) else {
            return;
        };
        let (acknowledged, closed) = (pair.out.acknowledged(), pair.closed);
        let mut done = Vec::new();
        for (ticket, posting) in self.port.open.iter().filter(|(_, posting)| posting.to == of) {
            match (&posting.stage, closed) {
                (_, Some(reason)) => done.push((*ticket, Report::Refused(Why::Down(reason)))),
                (Stage::Sent(end), None) if *end <= acknowledged => {
                    done.push((*ticket, Report::Delivered));
                }
                _ => (),
            }
        }
        done.into_iter().for_each(|(ticket, report)| self.posted(ticket, report));
        self.post_waiting(now);
    }

    /// The receiver began another life: nobody knows what the last one had.
    pub(crate) fn port_starts_over(&mut self, pid: Pid, of: Pid) {
        if self.port.pid != Some(pid) {
            return;
        }
        let open = self.port.open.iter().filter(|(_, posting)| posting.to == of);
        let sent = open.filter(|(_, posting)| matches!(posting.stage, Stage::Sent(_)));
        for ticket in sent.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            self.posted(ticket, Report::Refused(Why::Down(Reason::Restarted)));
        }
    }

    fn posted(&mut self, ticket: Ticket, report: Report) {
        self.port.open.remove(&ticket);
        self.report_here(ticket, report);
    }

    /// Sends what waits, in the order in which it was wished, as far as there is credit.
    fn post_waiting(&mut self, now: Instant) {
        let waits = self.port.open.iter();
        let waits = waits.filter(|(_, posting)| matches!(posting.stage, Stage::Waits(_)));
        let waits: Vec<(Ticket, Pid)> = waits.map(|(ticket, it)| (*ticket, it.to)).collect();
        let mut left = !waits.is_empty();
        if let (true, Some(port)) = (left, self.open_port(now)) {
            left = false;
            for (ticket, to) in waits {
                left |= !self.post_one(now, port, ticket, to);
            }
        }
        if left {
            let at = self.later(now);
            self.arm(at, Timer::Port);
        }
    }

    /// False if it has to wait.
    fn post_one(&mut self, now: Instant, port: Pid, ticket: Ticket, to: Pid) -> bool {
        let Some(posting) = self.port.open.get_mut(&ticket) else { return true };
        let Stage::Waits(letter) = &posting.stage else { return true };
        let letter = letter.clone();
        let refused = match self.may_send(port, to, letter.len()) {
            MaySend::Wait | MaySend::No(Unsendable::Busy) => return false,
            MaySend::Yes => None,
            MaySend::No(Unsendable::Down(reason)) => Some(Why::Down(reason)),
            MaySend::No(Unsendable::TooLong) => Some(Why::TooLong),
            MaySend::No(Unsendable::Denied | Unsendable::Ending | Unsendable::NotHere) => {
                Some(Why::Down(Reason::NoProcess))
            }
        };
        if let Some(why) = refused {
            self.posted(ticket, Report::Refused(why));
            return true;
        }
        self.guest_sends(now, port, to, letter);
        let sent = self.pair_of(port, to).map_or(0, |pair| pair.out.next);
        if let Some(posting) = self.port.open.get_mut(&ticket) {
            posting.stage = Stage::Sent(sent);
        }
        // It may be in an inbox of this node already.
        self.port_heard(now, port, to);
        true
    }

    /// The port, made when it is needed first. `None` while there is no id for it.
    fn open_port(&mut self, now: Instant) -> Option<Pid> {
        if let Some(pid) = self.port.pid {
            return Some(pid);
        }
        let group = self.next_group();
        if self.news.is_some() {
            self.want_ids(now);
        }
        let pid = Pid { group: group?, index: PORT_INDEX_MIN };
        let mut process = Process::new(self.config.me.node);
        process.delivery.grant = Grant::All;
        process.delivery.locate = Locate::Directory;
        self.processes.insert(pid, process);
        self.port.pid = Some(pid);
        Some(pid)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use wire::{Envelope, Epoch, Got, GroupId, Life, Mail, Message, NodeId};

    use super::*;
    use crate::testing::{drain, machine, peer, pid};
    use crate::{Input, Output, Wish};

    fn with_ids() -> Machine {
        let mut machine = machine(1);
        machine.ids.push_back((GroupId(100), GroupId(2_000)));
        drain(&mut machine);
        machine
    }

    fn post(machine: &mut Machine, ticket: u64, to: Pid, bytes: usize) {
        let letter = Share::from(vec![7; bytes]);
        machine.handle(machine.now, Input::Wish(Ticket(ticket), Wish::Post(to, letter)));
    }

    fn reports(outputs: Vec<Output>) -> Vec<(u64, Report)> {
        let report = |output| match output {
            Output::Report(ticket, report) => Some((ticket.0, report)),
            _ => None,
        };
        outputs.into_iter().filter_map(report).collect()
    }

    #[test]
    fn a_letter_for_a_process_of_this_node_is_delivered_at_once_and_the_port_is_no_process() {
        let mut machine = with_ids();
        machine.processes.insert(pid(7), Process::new(NodeId(1)));
        post(&mut machine, 1, pid(7), 10);
        let outputs = drain(&mut machine);
        let port = Pid { group: GroupId(100), index: PORT_INDEX_MIN };
        let inbox =
            |output: &&Output| matches!(output, Output::Inbox { from, .. } if *from == port);
        assert_eq!(outputs.iter().filter(inbox).count(), 1);
        assert_eq!(reports(outputs), [(1, Report::Delivered)]);
        assert_eq!(machine.processes().map(|status| status.pid).collect::<Vec<_>>(), [pid(7)]);
        // Nobody can send to it, end it or move it.
        let down = MaySend::No(Unsendable::Down(Reason::NoProcess));
        let mut stranger = Process::new(NodeId(1));
        stranger.delivery.grant = Grant::All;
        machine.processes.insert(pid(8), stranger);
        assert_eq!(machine.may_send(pid(8), port, 1), down);
        machine.handle(machine.now, Input::Wish(Ticket(2), Wish::Errand(port, wire::Errand::Kill)));
        assert_eq!(reports(drain(&mut machine)), [(2, Report::Refused(Why::Unknown))]);
    }

    #[test]
    fn one_that_takes_nothing_more_is_sent_nothing_more() {
        let mut machine = with_ids();
        machine.processes.insert(pid(7), Process::new(NodeId(1)));
        post(&mut machine, 1, pid(7), 300 << 10);
        post(&mut machine, 2, pid(7), 1);
        assert_eq!(reports(drain(&mut machine)), [(1, Report::Delivered)]);
        let late = machine.now + PATIENCE;
        machine.handle(late, Input::Wake);
        assert_eq!(reports(drain(&mut machine)), [(2, Report::Refused(Why::NoRoom))]);
        // When it has read, there is room again.
        post(&mut machine, 3, pid(7), 1);
        assert_eq!(reports(drain(&mut machine)), []);
        let port = Pid { group: GroupId(100), index: PORT_INDEX_MIN };
        machine.handle(late, Input::Took { pid: pid(7), from: port, letters: 1, bytes: 300 << 10 });
        let soon = late + crate::machine::RETRY + crate::machine::RETRY;
        machine.handle(soon, Input::Wake);
        assert_eq!(reports(drain(&mut machine)), [(3, Report::Delivered)]);
    }

    #[test]
    fn a_letter_is_delivered_when_its_receiver_says_so_and_not_before() {
        let mut machine = with_ids();
        post(&mut machine, 1, pid(7), 10);
        assert_eq!(reports(drain(&mut machine)), []);
        let port = Pid { group: GroupId(100), index: PORT_INDEX_MIN };
        let said = |machine: &mut Machine, next, now| {
            let got = Got { life: Life(1), next, allowed: 1 << 18, again: false };
            let (first, pieces, got) = (0, Vec::new(), Some(got));
            let (from, to, life) = (pid(7), port, Life(1));
            let (epoch, meant, to_life) = (Epoch(0), Epoch(0), Life(1));
            let (ask, via) = (false, None);
            let mail = Mail { from, life, epoch, to, to_life, meant, first, pieces, ask, got, via };
            let message = Message::Mail(mail);
            machine.handle(now, Input::Receive(Envelope { from: peer(2), to: peer(1), message }));
            reports(drain(machine))
        };
        let now = machine.now;
        assert_eq!(said(&mut machine, 0, now), []);
        assert_eq!(said(&mut machine, 1, now), [(1, Report::Delivered)]);
        assert_eq!(said(&mut machine, 1, now), [], "once");
        post(&mut machine, 2, pid(7), 10);
        drain(&mut machine);
        machine.handle(now + PATIENCE, Input::Wake);
        assert_eq!(reports(drain(&mut machine)), [(2, Report::Refused(Why::Unacknowledged))]);
    }
}
