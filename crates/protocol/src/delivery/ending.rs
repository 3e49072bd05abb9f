//! How a process's end is told: after its last letter, once, and for good.
//!
//! To everyone that it has written to, and that watches it, the end is the last piece of the sequence,
//! repeated until it is acknowledged. To those that have only written to it, it is said once, and again to each letter
//! that still comes. The record says that a process has ended only after all that.

use alloc::vec::Vec;

use wire::{Life, Message, Outcome, Peer, Pid, Reason};

use super::{AGE_MAX, Bond, TOMBS_MAX};
use crate::process::Phase;
use crate::{Instant, Machine, Output, Rule};

impl Machine {
    /// A process here has ended.
    pub(crate) fn mail_ends(&mut self, now: Instant, pid: Pid, outcome: &Outcome) {
        let reason = Reason::from(outcome);
        let told = self.rules.keep(Rule::WatchersAreTold);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let delivery = &mut process.delivery;
        delivery.ended_at = Some(now);
        let mut others = Vec::new();
        for (other, pair) in &mut delivery.pairs {
            if pair.down.is_some() {
                continue;
            }
            let concerned = pair.watcher || pair.linked;
            let written = pair.out.next != 0;
            // The mutant tells only those that it has written to.
            if concerned && !written && !told {
                continue;
            }
            let hears = written || concerned;
            if hears && pair.closed.is_none() {
                pair.out.end(reason);
            }
            others.push((*other, pair.out.next == 0, pair.from.owed, pair.at));
        }
        for (other, silent, owed, at) in others {
            // Who hears of the end without a piece of the sequence hears before it how far that one has come.
            if silent && owed {
                self.flush_pair(now, pid, other);
            }
            match (self.processes.contains_key(&other), at) {
                (true, _) if silent => self.answer_ended(self.config.me, pid, other),
                (_, Some(at)) if silent => self.answer_ended(at.peer, pid, other),
                _ => self.soil(pid, other),
            }
        }
    }

    /// Tells a correspondent of a process that has ended here.
    pub(super) fn answer_ended(&mut self, peer: Peer, pid: Pid, other: Pid) {
        let Some(process) = self.processes.get(&pid).filter(|process| process.told) else { return };
        let Some(outcome) = &process.ended else { return };
        let (life, reason) = (process.delivery.life, Reason::from(outcome));
        let sent = process.delivery.pairs.get(&other).map_or(0, |pair| pair.out.next);
        self.say_down(peer, other, pid, life, reason, sent);
    }

    pub(super) fn say_down(
        &mut self,
        peer: Peer,
        to: Pid,
        pid: Pid,
        life: Life,
        reason: Reason,
        sent: u64,
    ) {
        self.send(peer, Message::Down { to, pid, life, reason, sent });
    }

    /// A correspondent takes nothing more. Its own letters up to `sent` may still come.
    pub(crate) fn heard_down(
        &mut self,
        now: Instant,
        pid: Pid,
        other: Pid,
        reason: Reason,
        sent: u64,
    ) {
        let in_order = self.rules.keep(Rule::EndAfterLast);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        // One that is muted or frozen hears it again when it writes again.
        if !matches!(
            process.phase,
            Phase::Running | Phase::Preparing(_) | Phase::Freezing(_) | Phase::Ending
        ) {
            return;
        }
        let Some(pair) = process.delivery.pairs.get_mut(&other) else { return };
        if pair.from.next < sent && in_order {
            pair.closed = Some(reason);
            process.delivery.unacknowledged -= pair.out.clear();
            if !matches!(process.phase, Phase::Ending) {
                self.put(Output::SendRoom(pid));
            }
            self.port_heard(now, pid, other);
            return self.bury(now, pid);
        }
        self.correspondent_down(now, pid, other, reason);
    }

    /// A correspondent is no more, and all of it that is delivered has been.
    pub(super) fn correspondent_down(
        &mut self,
        now: Instant,
        pid: Pid,
        other: Pid,
        reason: Reason,
    ) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if matches!(
            process.phase,
            Phase::Muted(_) | Phase::Offered(_) | Phase::Storing { .. } | Phase::Kept(_)
        ) {
            return;
        }
        let Some(pair) = process.delivery.pairs.get_mut(&other) else { return };
        if pair.down.is_some() {
            return;
        }
        let bond = pair.bond();
        (pair.watched, pair.linked) = (false, false);
        pair.closed = Some(reason);
        pair.down = Some(reason);
        pair.over_since = Some(now);
        process.delivery.unacknowledged -= pair.out.clear();
        process.delivery.drop_early(other);
        self.tell_down(pid, other, reason, bond);
        self.port_heard(now, pid, other);
        self.bury(now, pid);
    }

    /// A guest is told of an end, and ends with it if the two were linked.
    pub(super) fn tell_down(&mut self, pid: Pid, of: Pid, reason: Reason, bond: Bond) {
        let Some(process) = self.processes.get(&pid) else { return };
        if matches!(process.phase, Phase::Ending) {
            return;
        }
        let watched = bond.watched || (bond.linked && process.delivery.traps);
        self.put(Output::Down { pid, of, reason, watched });
        self.put(Output::SendRoom(pid));
        if bond.linked {
            self.ends_with(pid, of, reason);
        }
    }

    /// Whether an ended process has nothing more to say to others.
    pub(crate) fn mail_is_settled(&self, now: Instant, pid: Pid) -> bool {
        let settled = !self.rules.keep(Rule::EndedWhenDelivered);
        self.processes.get(&pid).is_none_or(|process| {
            let delivery = &process.delivery;
            let late = delivery.ended_at.is_some_and(|at| AGE_MAX < now - at);
            settled || late || delivery.settled()
        })
    }

    /// Remembers how a process has ended, for those who still write to it.
    pub(crate) fn entomb(&mut self, now: Instant, pid: Pid, reason: Reason) {
        let post = &mut self.post;
        while let Some((at, first)) = post.tombs_in_order.front().copied()
            && (AGE_MAX < now - at || TOMBS_MAX <= post.tombs_in_order.len())
        {
            post.tombs_in_order.pop_front();
            post.tombs.remove(&first);
        }
        if post.tombs.insert(pid, reason).is_none() {
            post.tombs_in_order.push_back((now, pid));
        }
    }
}
