//! Durable processes: an image on the node's disk, and a new life from it when the node has crashed.
//!
//! ```text
//!  Running ──every so often──▶ Checkpoint, the image replaces the last one
//!
//!  crash, start: Claimed ──the record names an earlier incarnation of this node──▶ Staged ──swap──▶ Running, a new life
//!                   └────── it names another owner, or none: it is elsewhere, or has ended ──▶ (nothing)
//! ```
//!
//! An image on disk is a claim like one that a source keeps: what the earlier incarnation had is not declared lost
//! before this one has said that it has dealt with its own going. A source that still holds an image of the process may
//! take it back meanwhile, in its old life; the record decides.

use alloc::vec;
use alloc::vec::Vec;

use wire::{Location, Owner, Pid, Request};

use crate::asks::Purpose;
use crate::machine::Timer;
use crate::process::{From, Incoming, Stage, With};
use crate::{Instant, Machine, Output, Rule, Span};

/// An image is not written more often than this.
pub(crate) const CHECKPOINT_MIN: Span = Span::millis(10);

impl Machine {
    /// What lies on this node's disk is expected here before anything else is.
    pub(crate) fn take_stored(&mut self) {
        for section in core::mem::take(&mut self.config.stored) {
            let (pid, offer) = (section.pid, section.offer);
            let stage = Stage::Claimed(section);
            let (from, with) = (From::Disk, With::Alone);
            self.incoming.insert(pid, Incoming { offer, from, stage, with, wake_at: None });
        }
    }

    /// The registry has heard of this incarnation: what lies on its disk may be begun anew.
    pub(crate) fn claim_stored(&mut self, now: Instant) {
        let claimed = self.incoming.iter();
        let claimed = claimed.filter(|(_, incoming)| matches!(incoming.stage, Stage::Claimed(_)));
        for pid in claimed.map(|(pid, _)| *pid).collect::<Vec<_>>() {
            self.ask(now, Purpose::Claim(pid), Request::Locate(vec![pid]));
        }
    }

    /// Where the record says that it is.
    pub(crate) fn claim_located(&mut self, now: Instant, pid: Pid, found: &[(Pid, Location)]) {
        let by_record = self.rules.keep(Rule::RestartByRecord);
        let (me, killed) = (self.config.me, self.killed(pid));
        let Some(incoming) = self.incoming.get_mut(&pid) else { return };
        let Stage::Claimed(section) = &mut incoming.stage else { return };
        let [(located, Location { place, .. })] = found else { return };
        let was_here = matches!(place.owner, Owner::Node(last)
            if (last.node == me.node || !by_record) && last != me);
        if *located != pid || !was_here || killed {
            return self.drop_incoming(pid);
        }
        (section.owner, section.epoch) = (place.owner, place.epoch);
        let section = section.clone();
        if let Some(incoming) = self.incoming.get_mut(&pid) {
            incoming.stage = Stage::Staged(section);
        }
        self.ask_to_commit(now, pid);
    }

    /// A durable process has come to run here: its image is written soon, for the first time.
    pub(crate) fn checkpoint_soon(&mut self, now: Instant, pid: Pid) {
        if let Some(process) = self.processes.get_mut(&pid)
            && process.durable.is_some()
        {
            process.checkpoint_at = Some(now);
            self.arm(now, Timer::Checkpoint(pid));
        }
    }

    /// Its image is on the disk, and will be written again when that has become old.
    pub(crate) fn checkpoint_later(&mut self, now: Instant, pid: Pid) {
        if let Some(process) = self.processes.get_mut(&pid)
            && let Some(every) = process.durable
        {
            process.checkpoint_at = Some(now + every);
            self.arm(now + every, Timer::Checkpoint(pid));
        }
    }

    pub(crate) fn wake_checkpoint(&mut self, now: Instant, pid: Pid) {
        let due = self.processes.get(&pid).and_then(|process| process.checkpoint_at);
        if due.is_none_or(|at| now < at) {
            return;
        }
        if self.checkpoint(pid).is_some() {
            self.put(Output::Checkpoint(pid));
        }
        self.checkpoint_later(now, pid);
    }

    /// Nobody may begin it anew from here: it has ended, or is elsewhere.
    pub(crate) fn erase(&mut self, pid: Pid) {
        if self.processes.get(&pid).is_some_and(|process| process.durable.is_some()) {
            self.put(Output::Erase(pid));
        }
    }
}
