//! Where a correspondent is, when its address fails: the registry knows, sooner or later.
//!
//! A sender asks when it has no address, when whoever it wrote to says `astray`, when that
//! incarnation is gone, or when nothing has been heard for a while. A record that still names the
//! place which said `astray` after it was named means that the process has ended there: a place
//! loses a process only after the record has moved on, or at its end.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use wire::{Address, Epoch, Location, Owner, Peer, Pid, Reason, Reply, Request, Standing};

use crate::asks::Purpose;
use crate::machine::{RETRY, Timer};
use crate::{Instant, Machine, Rule, Span};

/// What cannot be found is asked for half as often each time, down to once in 3.2 seconds.
const BACKOFF_MAX: u32 = 4;

/// A correspondent whose place is not known.
#[derive(Debug, Default)]
pub(crate) struct Seek {
    /// Who wants to know.
    seekers: BTreeSet<Pid>,
    /// Where it was not, asked after the last question was begun.
    wrong: Option<Address>,
    tries: u32,
    /// When to ask again; `None` while a question is open.
    again_at: Option<Instant>,
}

impl Machine {
    /// Has the registry asked where `other` is, for `pid`.
    pub(super) fn seek(&mut self, now: Instant, pid: Pid, other: Pid) {
        if !self.rules.keep(Rule::AskWhenLostTrack) {
            return;
        }
        let new = !self.post.seeks.contains_key(&other);
        self.post.seeks.entry(other).or_default().seekers.insert(pid);
        if new {
            self.ask(now, Purpose::Find(other), Request::Locate(vec![other]));
        }
    }

    /// Whoever was written to says that the process is not there.
    pub(crate) fn astray(&mut self, now: Instant, from: Peer, pid: Pid, other: Pid, meant: Epoch) {
        let wrong = Address { epoch: meant, peer: from };
        let asks = self.rules.keep(Rule::AstrayAsks);
        let mailbox = self.mailbox(pid, other);
        let known_here = self.forget_wrong_place(other, wrong);
        let Some(pair) = self.pair_of(pid, other) else { return };
        if pair.closed.is_some() {
            return;
        }
        if pair.at != Some(wrong) {
            if mailbox.is_some() || known_here {
                // It knows no better, or passed it on to a place that was wrong: the next best is where the other was
                // heard of last, or what the registry knows.
                pair.via = None;
                pair.out.tries = 1;
                pair.out.rewind();
                self.soil(pid, other);
            }
            return;
        }
        pair.at = None;
        if !asks {
            return self.correspondent_down(now, pid, other, Reason::NoProcess);
        }
        let new = !self.post.seeks.contains_key(&other);
        self.seek(now, pid, other);
        match self.post.seeks.get_mut(&other) {
            // It has just been asked, knowing this.
            Some(seek) if new => seek.wrong = Some(wrong),
            _ => self.not_there(now, other, wrong),
        }
    }

    /// What was asked before this was known does not count.
    fn not_there(&mut self, now: Instant, other: Pid, wrong: Address) {
        let Some(seek) = self.post.seeks.get_mut(&other) else { return };
        if seek.wrong != Some(wrong) {
            seek.wrong = Some(wrong);
            self.ask_anew(now, other);
        }
    }

    pub(crate) fn wake_seek(&mut self, now: Instant, other: Pid) {
        let Some(seek) = self.post.seeks.get_mut(&other) else { return };
        if seek.again_at.is_some_and(|at| at <= now) {
            seek.again_at = None;
            self.ask(now, Purpose::Find(other), Request::Locate(vec![other]));
        }
    }

    /// The registry's answer.
    pub(crate) fn found(&mut self, now: Instant, other: Pid, reply: &Reply) {
        let Some(seek) = self.post.seeks.get(&other) else { return };
        let (wrong, seekers) = (seek.wrong, seek.seekers.clone());
        let location = match reply {
            Reply::Locations(found) => found.iter().find(|(pid, _)| *pid == other),
            _ => None,
        };
        let Some((_, Location { place, standing })) = location else {
            return self.seek_later(now, other);
        };
        let reason = match (standing, place.owner) {
            (Standing::Lost, Owner::Node(peer)) => Reason::Lost(peer.node),
            (Standing::Unknown, _) | (_, Owner::Nobody) => Reason::NoProcess,
            (_, Owner::Killed) => Reason::Killed,
            // It waits for its thaw, or for a survivor to take it back.
            (_, Owner::File) | (Standing::Gone, _) => return self.seek_later(now, other),
            (_, Owner::Node(peer)) => {
                let at = Address { epoch: place.epoch, peer };
                let here = self.processes.contains_key(&other);
                if peer == self.config.me && !here {
                    match self.post.tombs.get(&other).copied() {
                        Some(reason) => reason,
                        None if self.incoming.contains_key(&other) => {
                            return self.seek_later(now, other);
                        }
                        None if wrong == Some(at) => Reason::NoProcess,
                        None => return self.not_there(now, other, at),
                    }
                } else if wrong == Some(at) && !here {
                    Reason::NoProcess
                } else {
                    return self.found_at(other, at, seekers);
                }
            }
        };
        self.post.seeks.remove(&other);
        for pid in seekers {
            self.correspondent_down(now, pid, other, reason);
        }
    }

    fn found_at(&mut self, other: Pid, at: Address, seekers: BTreeSet<Pid>) {
        self.post.seeks.remove(&other);
        for pid in seekers {
            if let Some(pair) = self.pair_of(pid, other) {
                pair.heard_at(at);
                pair.out.rewind();
                self.soil(pid, other);
                self.ask_whether_the_same(pid, other);
            }
        }
    }

    /// One that is watched may have begun anew, and know nothing of its watchers: its answer says in which life it is.
    fn ask_whether_the_same(&mut self, pid: Pid, other: Pid) {
        if let Some(pair) = self.pair_of(pid, other).filter(|pair| pair.watched || pair.linked) {
            (pair.unsure, pair.out.ask) = (true, true);
            self.soil(pid, other);
        }
    }

    fn seek_later(&mut self, now: Instant, other: Pid) {
        let jitter = self.config.rng.below(RETRY.0 / 4);
        let Some(seek) = self.post.seeks.get_mut(&other) else { return };
        let at = now + Span((RETRY.0 << seek.tries.min(BACKOFF_MAX)) + jitter);
        seek.tries = seek.tries.saturating_add(1);
        seek.again_at = Some(at);
        self.arm(at, Timer::Seek(other));
    }

    /// Has the registry asked anew: what was asked before may be answered with what was so then.
    fn seek_anew(&mut self, now: Instant, pid: Pid, other: Pid) {
        self.seek(now, pid, other);
        self.ask_anew(now, other);
    }

    fn ask_anew(&mut self, now: Instant, other: Pid) {
        let Some(seek) = self.post.seeks.get_mut(&other) else { return };
        seek.again_at = None;
        self.unask(&Purpose::Find(other));
        self.ask(now, Purpose::Find(other), Request::Locate(vec![other]));
    }

    /// Something was declared lost: perhaps one that a process here has to do with. Whoever is watched may have
    /// moved there since it was heard of.
    pub(crate) fn look_for_lost_correspondents(&mut self, now: Instant, only: Option<Pid>) {
        let looks = self.rules.keep(Rule::WatchedAreLookedFor);
        let (mut lost, mut here) = (Vec::new(), Vec::new());
        let Some(news) = &self.news else { return };
        let is_lost = |peer: Peer| {
            let member = news.members.iter().find(|member| member.peer.node == peer.node);
            member.is_some_and(|member| peer.incarnation <= member.settled)
        };
        let processes = self.processes.iter().filter(|(pid, _)| only.is_none_or(|o| o == **pid));
        for (pid, process) in processes {
            for (other, pair) in &process.delivery.pairs {
                let gone = pair.at.is_some_and(|at| is_lost(at.peer));
                let gone = gone || ((pair.watched || pair.linked) && looks);
                match self.processes.contains_key(other) {
                    _ if !gone || pair.down.is_some() => (),
                    true => here.push((*pid, *other)),
                    false => lost.push((*pid, *other)),
                }
            }
        }
        for (pid, other) in here {
            self.ask_whether_the_same(pid, other);
        }
        for (pid, other) in lost {
            self.seek_anew(now, pid, other);
        }
    }
}
