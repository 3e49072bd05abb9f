//! Letters that come while their receiver is on its way: frozen at its source, staged or muted at its target.
//!
//! It takes nothing then. Where letters wait is the group's choice (`--in-transit`): with their sender, which says them
//! again; with their sender, which is blocked; or with the node that they have come to, which passes them on when it
//! knows where to. The sender keeps them in any case until they are acknowledged.

use wire::{Address, InTransit, Mail, Message, Peer, Pid};

use crate::machine::Timer;
use crate::process::{Incoming, Stage};
use crate::{Instant, Machine, Rule, Span};

/// What somebody else keeps is said again after this: many times what a move takes.
const HELD_RETRY: Span = Span::seconds(2);

impl Machine {
    /// A letter for a process whose image is under way, from here or to here.
    pub(super) fn in_transit(&mut self, now: Instant, from: Peer, mail: Mail) {
        let (to, pid) = (mail.from, mail.to);
        if mail.pieces.is_empty() {
            return;
        }
        let kept = match self.policy(pid) {
            None | Some(InTransit::SenderKeeps) => return,
            Some(InTransit::SenderBlocks) => false,
            Some(InTransit::NodeKeeps) => {
                if !self.keep_for(now, from, mail) {
                    return;
                }
                true
            }
        };
        self.send(from, Message::Held { to, pid, kept });
    }

    /// A letter has come early, to a copy that is muted: it is held, and not acknowledged.
    pub(super) fn held_muted(&mut self, from: Peer, to: Pid, pid: Pid) {
        let kept = match self.policy(pid) {
            None | Some(InTransit::SenderKeeps) => return,
            Some(policy) => policy == InTransit::NodeKeeps,
        };
        self.send(from, Message::Held { to, pid, kept });
    }

    fn policy(&self, pid: Pid) -> Option<InTransit> {
        if let Some(process) = self.processes.get(&pid) {
            return Some(process.delivery.in_transit);
        }
        match self.incoming.get(&pid) {
            Some(Incoming { stage: Stage::Staged(section), .. }) => {
                Some(section.letters.in_transit)
            }
            _ => None,
        }
    }

    /// It takes letters again, here.
    pub(super) fn take_kept(&mut self, now: Instant, pid: Pid) {
        for (origin, mail) in self.kept_for(now, pid) {
            self.mail_arrived(now, origin, mail);
        }
    }

    /// It runs there.
    pub(crate) fn pass_on_kept(&mut self, now: Instant, pid: Pid, at: Address) {
        for (origin, mail) in self.kept_for(now, pid) {
            let mail = Mail { meant: at.epoch, ..mail };
            self.send(at.peer, Message::Relay { origin, keep: false, mail });
        }
    }

    /// A correspondent is on its way.
    pub(crate) fn heard_held(&mut self, now: Instant, pid: Pid, other: Pid, kept: bool) {
        let repeats = self.rules.keep(Rule::HeldIsRepeated);
        let Some(pair) = self.pair_of(pid, other) else { return };
        if pair.out.is_empty() || pair.closed.is_some() {
            return;
        }
        if !kept {
            pair.blocked = true;
            return;
        }
        let at = if repeats { now + HELD_RETRY } else { Instant(u64::MAX) };
        pair.out.retry_at = Some(at);
        self.arm(at, Timer::Mail(pid, other));
    }
}
