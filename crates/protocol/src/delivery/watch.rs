//! Monitors: a process watches another, and is told of its end as news.
//!
//! That one is watched is a piece of the sequence between the two, so that it arrives once, survives the moves of
//! both, and the end comes after it. The watched process says its end as the last piece to whoever watches it. If it is
//! lost with its node nobody says anything: the watcher asks the registry about it whenever something was declared
//! lost, and when it has arrived somewhere itself. A watch belongs to the watcher and is in its image.
//!
//! News of silence is a hint, from what the watcher's node knows of the members: nothing follows from it.

use alloc::vec::Vec;

use wire::{MemberStanding, Pid};

use super::{MaySend, Unsendable};
use crate::process::Phase;
use crate::{Instant, Machine, Output};

impl Machine {
    /// Whether a guest may watch `of` now: as it may send to it, credit and ends apart.
    #[must_use]
    pub fn may_watch(&self, pid: Pid, of: Pid) -> MaySend {
        match self.may_send(pid, of, 0) {
            MaySend::Wait | MaySend::No(Unsendable::Down(_) | Unsendable::Ending) => MaySend::Yes,
            other => other,
        }
    }

    /// A guest watches another. One that is down already is said to be so at once. Its own end is no news to anyone.
    pub(crate) fn guest_watches(&mut self, now: Instant, pid: Pid, of: Pid) {
        if pid == of || self.may_watch(pid, of) != MaySend::Yes {
            return;
        }
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Some(pair) = process.delivery.pair(now, of) else { return };
        if pair.watched {
            return;
        }
        if let Some(reason) = pair.down {
            return self.put(Output::Down { pid, of, reason, watched: true });
        }
        pair.watch();
        self.soil(pid, of);
    }

    /// A guest watches another no longer. That may still say its end, which is then no news.
    pub(crate) fn guest_unwatches(&mut self, pid: Pid, of: Pid) {
        if let Some(pair) = self.pair_of(pid, of) {
            (pair.watched, pair.silent) = (false, false);
        }
    }

    /// What the members are has changed, or a process has arrived: tells watchers whose node is silent, or is not any
    /// more.
    pub(crate) fn tell_of_silence(&mut self, only: Option<Pid>) {
        let Some(news) = &self.news else { return };
        let standing = |node| {
            let member = news.members.iter().find(|member| member.peer.node == node);
            member.map(|member| member.standing)
        };
        let mut told = Vec::new();
        let processes =
            self.processes.iter_mut().filter(|(pid, _)| only.is_none_or(|o| o == **pid));
        for (pid, process) in processes {
            if !matches!(process.phase, Phase::Running | Phase::Preparing(_) | Phase::Freezing(_)) {
                continue;
            }
            for (of, pair) in process.delivery.pairs.iter_mut().filter(|(_, pair)| pair.watched) {
                let Some(at) = pair.at else { continue };
                let silent = match standing(at.peer.node) {
                    Some(MemberStanding::Silent) => true,
                    Some(MemberStanding::Up) => false,
                    // Its end is on the way, or it is found somewhere else.
                    _ => continue,
                };
                if core::mem::replace(&mut pair.silent, silent) != silent {
                    told.push(Output::Silent { pid: *pid, of: *of, silent });
                }
            }
        }
        told.into_iter().for_each(|output| self.put(output));
    }
}
