//! A log's way to another home: so that a node can be emptied whose disk is to be erased.
//!
//! ```text
//!   old home                              new home                    the process's node
//!   rests: takes nothing, acknowledges nothing
//!   -- its copy --------------------------> on disk, not in use
//!   writes down whose the log is now
//!   -- it is yours -----------------------> opens it
//!   -- home ----------------------------------------------------------> from now on says its output there
//!   <------------------------------------------------------------------ homed
//! ```
//!
//! The copying is the driver's. Of a crash between two lines nothing comes but a log that rests at its old home, or one
//! that the old home, back again, hands on from where it was. Whoever still speaks to the old home is told the new one.

use wire::{Location, NodeId, Owner, Peer, Pid, Request, Standing};

use crate::asks::Purpose;
use crate::machine::Timer;
use crate::output::Log;
use crate::process::Phase;
use crate::{Instant, Machine, Output, Rule};

/// How many processes are asked about at once.
const ASKED_MAX: usize = 4_096;

/// Whose a log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is kept here.
    #[default]
    Here,
    /// It is being copied.
    Rests,
    /// It is another node's. Until the process's node has been told, that may still ask here.
    Handed { to: NodeId, told: bool },
}

impl Machine {
    /// Takes nothing more into a log, so that it can be copied as soon as [`log_rests`](Self::log_rests).
    pub fn rest_log(&mut self, pid: Pid) {
        if let Some(log) = self.logs.get_mut(&pid)
            && log.way == Way::Here
        {
            log.way = Way::Rests;
        }
    }

    /// Whether all that was taken into a log is written down, and nothing more will be: it has ended, or was asked to rest.
    #[must_use]
    pub fn log_rests(&self, pid: Pid) -> bool {
        self.logs.get(&pid).is_none_or(|log| {
            log.way == Way::Rests && log.taken == Some(log.written) && log.concluding == log.ended
        })
    }

    /// A log that was to be handed on stays: output goes on coming here.
    pub fn keep_log(&mut self, pid: Pid) {
        if let Some(log) = self.logs.get_mut(&pid)
            && log.way == Way::Rests
        {
            log.way = Way::Here;
            // Meanwhile its process may have been lost.
            self.look_for_lost(self.now);
        }
    }

    /// The node that keeps a log which was once kept here.
    #[must_use]
    pub fn log_handed_to(&self, pid: Pid) -> Option<NodeId> {
        match self.logs.get(&pid)?.way {
            Way::Handed { to, .. } => Some(to),
            Way::Here | Way::Rests => None,
        }
    }

    /// What the driver has written down: a log is another node's. Also fed at the start.
    pub(crate) fn log_handed(&mut self, now: Instant, pid: Pid, to: NodeId, ended: bool) {
        let told = ended || !self.rules.keep(Rule::HomeTold);
        let log = self.logs.entry(pid).or_default();
        log.way = Way::Handed { to, told };
        let holder = log.holder;
        if told {
            return self.put(Output::LogLeft(pid));
        }
        if let Some(holder) = holder {
            self.send(holder, wire::Message::Home { pid, home: to });
        }
        let again_at = self.later(now);
        self.arm(again_at, Timer::Handed);
    }

    /// Whoever was last heard of may not have the process any more: the registry knows who has.
    pub(crate) fn wake_handed(&mut self, now: Instant) {
        let untold = |log: &Log| matches!(log.way, Way::Handed { told: false, .. });
        let pids = self.logs.iter().filter(|(_, log)| untold(log)).map(|(pid, _)| *pid);
        let pids: alloc::vec::Vec<Pid> = pids.take(ASKED_MAX).collect();
        if pids.is_empty() {
            return;
        }
        if self.news.is_some() && !self.asks.asking(&Purpose::Handed) {
            self.ask(now, Purpose::Handed, Request::Locate(pids));
        }
        if self.rules.keep(Rule::SayAgain) {
            let again_at = self.later(now);
            self.arm(again_at, Timer::Handed);
        }
    }

    pub(crate) fn handed_located(&mut self, found: &[(Pid, Location)]) {
        for (pid, location) in found {
            let Some(to) = self.log_handed_to(*pid) else { continue };
            match (location.standing, location.place.owner) {
                // The new home asks, too, and hears the same.
                (Standing::Lost, _) | (_, Owner::Killed | Owner::File | Owner::Nobody) => {
                    self.log_left(*pid);
                }
                (_, Owner::Node(peer)) => {
                    self.send(peer, wire::Message::Home { pid: *pid, home: to });
                }
            }
        }
    }

    /// Nobody has to be told any more. What still comes is answered as before.
    fn log_left(&mut self, pid: Pid) {
        if let Some(log) = self.logs.get_mut(&pid)
            && let Way::Handed { told, .. } = &mut log.way
            && !core::mem::replace(told, true)
        {
            self.put(Output::LogLeft(pid));
        }
    }

    pub(crate) fn homed(&mut self, pid: Pid) {
        self.log_left(pid);
    }

    /// The process's side: its output is kept elsewhere from now on.
    pub(crate) fn home_arrived(&mut self, now: Instant, from: Peer, pid: Pid, home: NodeId) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        match process.phase {
            Phase::Running | Phase::Preparing(_) | Phase::Freezing(_) | Phase::Ending => (),
            // The image that is on its way names the old home: its next node will be told, or this one when it stays.
            Phase::Offered(_) | Phase::Storing { .. } | Phase::Kept(_) | Phase::Muted(_) => return,
        }
        if process.home == from.node {
            process.home = home;
            process.outbox.rewind();
            process.outbox.announce = true;
            self.flush(now, pid);
        }
        self.send(from, wire::Message::Homed { pid });
    }
}

#[cfg(test)]
mod tests {
    use wire::{Blob, Life, Message, Outcome, Stream};

    use super::*;
    use crate::Input;
    use crate::testing::{drain, machine, peer, pid};

    fn logging() -> (Machine, Pid, (Peer, Life)) {
        let (mut machine, pid, from) = (machine(1), pid(2), (peer(2), Life::FIRST));
        machine.output_arrived(from, pid, 0, 0, Stream::Out, Blob::default());
        machine.log_opened(machine.now, pid, 0, false);
        drain(&mut machine);
        (machine, pid, from)
    }

    fn says(machine: &mut Machine, (from, life): (Peer, Life), pid: Pid, bytes: &[u8]) {
        let bytes = Blob(bytes.to_vec());
        machine.output_arrived((from, life), pid, 0, 0, Stream::Out, bytes);
    }

    #[test]
    fn a_log_rests_when_all_is_written_and_takes_nothing_more() {
        let (mut machine, pid, from) = logging();
        says(&mut machine, from, pid, b"first");
        drain(&mut machine);
        assert!(!machine.log_rests(pid), "nobody asked");
        machine.rest_log(pid);
        assert!(!machine.log_rests(pid), "it is being written to");
        machine.delivered(pid, 5, false);
        assert!(machine.log_rests(pid));
        drain(&mut machine);
        says(&mut machine, from, pid, b"first and second");
        machine.end_arrived(from, pid, 0, 5, Outcome::Code(0));
        assert_eq!(drain(&mut machine), []);
        machine.keep_log(pid);
        says(&mut machine, from, pid, b"first and second");
        assert!(matches!(drain(&mut machine)[..], [Output::Deliver { offset: 5, .. }, ..]));
    }

    #[test]
    fn whoever_speaks_to_the_old_home_is_told_the_new_one() {
        let (mut machine, pid, from) = logging();
        machine.rest_log(pid);
        let home = NodeId(3);
        let told = Output::Send(from.0, Message::Home { pid, home });
        machine.handle(machine.now, Input::LogHanded { pid, to: home, ended: false });
        assert!(drain(&mut machine).contains(&told));
        says(&mut machine, from, pid, b"first");
        assert_eq!(drain(&mut machine), [told]);
        assert_eq!(machine.logs().count(), 0, "it is not kept here");
        machine.homed(pid);
        machine.homed(pid);
        assert_eq!(drain(&mut machine), [Output::LogLeft(pid)]);
    }

    /// It was handed on, and on, and is back.
    #[test]
    fn a_log_that_comes_back_is_written_to_again() {
        let (mut machine, pid, from) = logging();
        machine.rest_log(pid);
        machine.handle(machine.now, Input::LogHanded { pid, to: NodeId(3), ended: false });
        machine.log_opened(machine.now, pid, 5, false);
        assert_eq!(machine.log_handed_to(pid), None);
        drain(&mut machine);
        says(&mut machine, from, pid, b"first and second");
        assert!(matches!(drain(&mut machine)[..], [Output::Deliver { offset: 5, .. }, ..]));
    }
}
