//! What must hold: from outputs, guests' journals and disks, never from a machine's beliefs.

use std::collections::{BTreeMap, BTreeSet};

use wire::Write;
use wire::{
    Epoch, GroupId, Key, Offer, Outcome, Owner, Peer, Pid, Place, Record, Report, Section, Ticket,
};

use crate::durable::words_of;
use crate::world::{BIRTH, GuestState, Life, Log, Question, World, peer};

/// What an outside observer has seen.
#[derive(Default)]
pub(crate) struct Truth {
    /// Every process that was started, in order.
    pub(crate) born: Vec<Pid>,
    /// In which of its lives each is.
    pub(crate) lives: BTreeMap<Pid, u64>,
    /// The wishes that have started durable groups.
    pub(crate) durable: BTreeSet<Ticket>,
    /// How many effects of each the world has seen.
    pub(crate) world: BTreeMap<Pid, u64>,
    /// What a guest had written when it ended.
    pub(crate) last_words: BTreeMap<Pid, Vec<u8>>,
    /// Who has ever linked itself to whom, and who has ever ended that: pairs, the lesser first.
    pub(crate) linked: BTreeSet<(Pid, Pid)>,
    pub(crate) unlinked: BTreeSet<(Pid, Pid)>,
    /// How many letters it had sent to each.
    pub(crate) last_sent: BTreeMap<Pid, BTreeMap<Pid, u64>>,
    /// Letters that were noted as delivered: sender, receiver, life, number.
    pub(crate) noted: BTreeSet<(Pid, Pid, wire::Life, u64)>,
    /// No survivor held a valid image after some crash.
    pub(crate) lost: BTreeSet<Pid>,
    /// Somebody wished them killed: a survivor may have an image, and may not run it.
    pub(crate) doomed: BTreeSet<GroupId>,
    /// The wishes that have started groups, and those of them whose groups end with their first member that fails.
    pub(crate) started: BTreeMap<GroupId, Ticket>,
    pub(crate) together: BTreeSet<Ticket>,
    /// Those of them of which a member's failure was told.
    pub(crate) failed: BTreeMap<GroupId, Pid>,
    /// Reported killed, one by one or as a group.
    pub(crate) dead: BTreeSet<Pid>,
    pub(crate) dead_groups: BTreeSet<GroupId>,
    /// Whose home has written down an end.
    pub(crate) ended: BTreeMap<Pid, Outcome>,
    /// Offers of which a node has been told that they run.
    pub(crate) heard_settled: BTreeSet<(usize, Pid, Offer)>,
    /// The epochs in which offers came to run.
    pub(crate) committed: BTreeMap<(Pid, Offer), Epoch>,
    /// Wishes: where they were made, and how often they were reported.
    pub(crate) tickets: BTreeMap<Ticket, (Life, u32)>,
    pub(crate) about: BTreeMap<Ticket, Pid>,
    /// Images on their way into files: with what the guest waited for when it was taken.
    pub(crate) storing: BTreeMap<(usize, Pid), (Section, Option<Question>)>,
    /// Between which nodes each moves, or has moved last.
    pub(crate) moving: BTreeMap<Pid, (usize, usize)>,
    /// Guests take no more steps.
    pub(crate) quiet: bool,
    pub(crate) moves: u64,
    pub(crate) faults: u64,
}

impl Truth {
    /// Whether it begins anew when its node has crashed.
    pub(crate) fn is_durable(&self, pid: Pid) -> bool {
        self.started.get(&pid.group).is_some_and(|ticket| self.durable.contains(ticket))
    }

    /// Whether the group of this process ends with its first member that fails.
    pub(crate) fn end_together(&self, pid: Pid) -> bool {
        self.started.get(&pid.group).is_some_and(|ticket| self.together.contains(ticket))
    }
}

impl World {
    /// A copy starts to run: it must be the only one, and behind nothing that was seen.
    pub(crate) fn check_running(&mut self, node: usize, pid: Pid) {
        let running = self.running(pid);
        let guest = &self.nodes[node].guests[&pid];
        let seen = self.truth.world.get(&pid).copied().unwrap_or(0);
        let logs = self.nodes.iter().filter_map(|node| node.logs.get(&pid));
        let durable = self.truth.is_durable(pid);
        let unseen = logs.clone().find(|log| match durable {
            true => {
                words_of(&log.bytes, guest.life).is_none_or(|words| guest.written.len() < words)
            }
            false => !guest.written.starts_with(&log.bytes),
        });
        let problem = if 1 < running.len() {
            format!("two copies of {pid} run, on nodes {running:?}")
        } else if guest.made < seen {
            format!("a copy of {pid} runs that made {} effects; {seen} were seen", guest.made)
        } else if unseen.is_some() {
            format!("a copy of {pid} runs that has not written what its home has")
        } else if let Some(other) = self.unsent(node, pid) {
            format!("a copy of {pid} runs that has not sent what {other} has got")
        } else if self.truth.dead.contains(&pid) || self.truth.dead_groups.contains(&pid.group) {
            format!("{pid} runs on node{node}, after it was reported killed")
        } else if self.truth.ended.contains_key(&pid) {
            format!("{pid} runs on node{node}, after its end was told")
        } else {
            return;
        };
        self.fail(problem);
    }

    pub(crate) fn running(&self, pid: Pid) -> Vec<usize> {
        let runs = |node: &usize| {
            let guest = self.nodes[*node].guests.get(&pid);
            guest.is_some_and(|guest| guest.state == GuestState::Running)
        };
        (0..self.nodes.len()).filter(runs).collect()
    }

    /// Output comes once and in order, and is what the process has written.
    pub(crate) fn check_write(&mut self, node: usize, pid: Pid, offset: u64, bytes: &[u8]) {
        let Some(log) = self.nodes[node].logs.get(&pid) else {
            return self.fail(format!("node{node} writes to no log of {pid}"));
        };
        let length = log.bytes.len() as u64;
        if length != offset {
            return self.fail(format!("output of {pid} at {offset}, its home has {length}"));
        }
        let mut after = log.bytes.clone();
        after.extend_from_slice(bytes);
        // The words of one that has crashed may still be on their way.
        let running = self.running(pid);
        let durable = self.truth.is_durable(pid);
        let known =
            running.iter().map(|node| &self.nodes[*node].guests[&pid]).any(|guest| match durable {
                true => words_of(&after, guest.life).is_some_and(|n| n <= guest.written.len()),
                false => guest.written.starts_with(&after),
            });
        if !known && !running.is_empty() {
            self.fail(format!("the home of {pid} writes what no copy has written"));
        }
    }

    pub(crate) fn check_end(&mut self, node: usize, pid: Pid, outcome: &Outcome) {
        let running = self.running(pid);
        if !running.is_empty() {
            return self.fail(format!("the end of {pid} is told, and it runs on {running:?}"));
        }
        if self.place(pid).owner == Owner::Killed {
            self.marks.mark("killed in its file");
        } else if let Outcome::Lost(_) = outcome {
            let doomed = self.truth.doomed.contains(&pid.group);
            if !doomed
                && !self.truth.lost.contains(&pid)
                && !self.truth.last_words.contains_key(&pid)
            {
                self.fail(format!("{pid} is reported lost, and a survivor held its image"));
            }
        } else if let Some(log) = self.nodes[node].logs.get(&pid)
            && !self.are_last_words(pid, &log.bytes)
        {
            self.fail(format!("the end of {pid} is told before its last words"));
        }
        self.check_linked_end(pid, outcome);
        self.truth.ended.insert(pid, outcome.clone());
        // Who is lost with its node takes nobody.
        let lost = matches!(outcome, Outcome::Lost(_));
        if self.truth.end_together(pid) && outcome.is_failure() && !lost {
            self.truth.failed.insert(pid.group, pid);
            self.marks.mark("a group ends together");
        }
    }

    /// Whether a log holds all that an ended process has written, in this life.
    fn are_last_words(&self, pid: Pid, log: &[u8]) -> bool {
        let Some(words) = self.truth.last_words.get(&pid) else { return false };
        match self.truth.is_durable(pid) {
            true => words_of(log, self.truth.lives[&pid]) == Some(words.len()),
            false => words == log,
        }
    }

    /// A source lets an image go only on a word that it runs elsewhere.
    pub(crate) fn check_letting_go(&mut self, node: usize, pid: Pid, offer: Offer) {
        let heard = self.truth.heard_settled.contains(&(node, pid, offer));
        let place = self.place(pid);
        let mine = place.owner == Owner::Node(self.peer(node));
        let committed = self.truth.committed.get(&(pid, offer));
        let raised = committed.is_some_and(|epoch| *epoch < place.epoch);
        let moved_on = !mine && (place.offer != offer || raised);
        let rests = matches!(place.owner, Owner::File | Owner::Nobody | Owner::Killed);
        let in_file = self.files.get(&pid).is_some_and(|(_, section)| section.offer == offer);
        // Its target crashed, and a later incarnation of that has begun it anew.
        let begins = place.peer().is_some_and(|owner| {
            !mine && self.nodes[owner.node.0 as usize - 1].durable.contains_key(&pid)
        });
        let held = self.nodes[node].guests.get(&pid).map_or(0, |guest| guest.life);
        if begins || held < self.truth.lives.get(&pid).copied().unwrap_or(0) {
            return;
        }
        if !heard && !moved_on && !rests && !in_file {
            self.fail(format!("node{node} lets go of {pid} {offer}, and nobody said it runs"));
        }
    }

    /// The registry gives nothing to an incarnation that it knows to be gone.
    pub(crate) fn check_owners(&mut self, writes: &[Write]) {
        for write in writes {
            if let Write::Put(Key::Member(node), Record::Member(member)) = write
                && member.lapsed
            {
                self.check_lapsed(Peer { node: *node, incarnation: member.incarnation });
            }
            let Write::Put(Key::Place(pid), Record::Place(place)) = write else { continue };
            if place.owner == Owner::File {
                // It may be thawed, under the same offer, before whoever stored it hears of it.
                self.truth.committed.entry((*pid, place.offer)).or_insert(place.epoch);
            }
            let Some(peer) = place.peer() else { continue };
            if let Some(Record::Member(member)) = self.disk.get(&Key::Member(peer.node))
                && (member.forgotten
                    || peer.incarnation < member.incarnation
                    || (member.lapsed && peer.incarnation == member.incarnation))
            {
                return self.fail(format!("the registry gives {pid} to {peer}, which is gone"));
            }
        }
    }

    /// Whoever is gone by its lease has stopped before.
    fn check_lapsed(&mut self, peer: Peer) {
        let node = &self.nodes[peer.node.0 as usize - 1];
        if node.machine.is_some() && node.incarnation == peer.incarnation.0 {
            return self.fail(format!("{peer} is gone by its lease and has not stopped"));
        }
        self.marks.mark("gone by its lease");
    }

    /// What the registry's disk says.
    pub(crate) fn place(&self, pid: Pid) -> Place {
        if let Some(Record::Place(place)) = self.disk.get(&Key::Place(pid)) {
            return *place;
        }
        let first = Key::Block(GroupId(0));
        let block = self.disk.range(first..=Key::Block(pid.group)).next_back();
        let owner = match block {
            Some((_, Record::Block(_, peer))) => Owner::Node(*peer),
            _ => Owner::Nobody,
        };
        Place { owner, epoch: BIRTH, offer: Offer(0) }
    }

    /// After a crash: which processes have no valid image on any survivor?
    pub(crate) fn note_losses(&mut self) {
        for pid in self.truth.born.clone() {
            let doomed = self.truth.doomed.contains(&pid.group);
            if !doomed && !self.truth.lost.contains(&pid) && !self.has_valid_image(pid) {
                self.truth.lost.insert(pid);
                self.marks.mark("lost with its node");
            }
        }
    }

    /// Whether what an incarnation had is lost, by the registry's disk.
    fn is_settled(&self, peer: Peer) -> bool {
        let record = self.disk.get(&Key::Member(peer.node));
        matches!(record, Some(Record::Member(member)) if peer.incarnation <= member.settled)
    }

    fn has_valid_image(&self, pid: Pid) -> bool {
        let place = self.place(pid);
        if place.owner == Owner::File {
            return self.files.contains_key(&pid);
        }
        if place.peer().is_some_and(|owner| self.is_settled(owner)) {
            return false;
        }
        if let Owner::Node(owner) = place.owner
            && let node = &self.nodes[owner.node.0 as usize - 1]
            && node.durable.contains_key(&pid)
            && !node.forgotten
            && (node.machine.is_none() || node.room.iter().any(|((p, _), r)| *p == pid && r.reborn))
        {
            return true;
        }
        let next = Epoch(place.epoch.0.wrapping_sub(1));
        (0..self.nodes.len()).filter(|node| self.nodes[*node].machine.is_some()).any(|node| {
            let me = Owner::Node(peer(node, self.nodes[node].incarnation));
            let held = self.nodes[node].guests.get(&pid).is_some_and(|guest| match guest.state {
                GuestState::Running => place.owner == me,
                GuestState::Frozen(offer) => place.owner == me || place.offer == offer,
            });
            held || self.nodes[node].room.iter().any(|((p, offer), room)| {
                let section = room.stage.as_ref().map(|(_, section)| section);
                *p == pid
                    && section.is_some_and(|section| {
                        (place.owner, place.epoch) == (section.owner, section.epoch)
                            || (place.owner, place.offer, next) == (me, *offer, section.epoch)
                    })
            })
        })
    }

    pub(crate) fn check_report(&mut self, ticket: Ticket, report: &Report) {
        let Some((_, times)) = self.truth.tickets.get_mut(&ticket) else {
            return self.fail(format!("wish {} was never made", ticket.0));
        };
        *times += 1;
        if *times != 1 {
            return self.fail(format!("wish {} is reported twice", ticket.0));
        }
        match report {
            Report::Killed => {
                if let Some(pid) = self.truth.about.get(&ticket).copied() {
                    self.truth.dead.insert(pid);
                    self.check_dead(pid);
                }
            }
            Report::GroupKilled(group) => {
                self.truth.dead_groups.insert(*group);
                let members = self.truth.born.iter().copied().filter(|pid| pid.group == *group);
                for pid in members.collect::<Vec<_>>() {
                    self.check_dead(pid);
                }
            }
            _ => (),
        }
    }

    fn check_dead(&mut self, pid: Pid) {
        let running = self.running(pid);
        if !running.is_empty() {
            self.fail(format!("{pid} is reported killed, and runs on {running:?}"));
        }
    }

    /// Faults are over, and time has passed.
    pub(crate) fn check_liveness(&mut self) {
        for pid in self.truth.born.clone() {
            if let Some(problem) = self.unlively(pid).or_else(|| self.undelivered(pid)) {
                return self.fail(problem);
            }
        }
        let unreported =
            self.truth.tickets.iter().find(|(_, (life, times))| *times == 0 && self.lives(*life));
        if let Some((ticket, _)) = unreported {
            let ticket = ticket.0;
            self.fail(format!("wish {ticket} was never reported"));
        }
    }

    fn unlively(&self, pid: Pid) -> Option<String> {
        let running = self.running(pid);
        let mut logs = self.nodes.iter().filter(|n| n.machine.is_some());
        if let [node] = running[..] {
            if let Some(failed) = self.truth.failed.get(&pid.group) {
                return Some(format!("{pid} runs, though its group was to end with {failed}"));
            }
            let guest = &self.nodes[node].guests[&pid];
            if guest.held {
                return Some(format!("{pid} still holds its effects back"));
            }
            let durable = self.truth.is_durable(pid);
            let whole = |log: &Log| match durable {
                true => words_of(&log.bytes, guest.life) == Some(guest.written.len()),
                false => log.bytes == guest.written,
            };
            let delivered = logs.any(|n| n.logs.get(&pid).is_some_and(whole));
            return (!delivered && !guest.written.is_empty())
                .then(|| format!("output of {pid} is missing at its home"));
        }
        if self.truth.ended.contains_key(&pid) {
            return None;
        }
        let location = self.registry.as_ref().map(|registry| registry.locate(pid))?;
        let known_lost = location.standing == wire::Standing::Lost;
        let may_be_lost = self.truth.lost.contains(&pid) || self.truth.doomed.contains(&pid.group);
        // Its home would say so, if its home were not off for good.
        let home_off = logs.all(|n| n.logs.get(&pid).is_none_or(|log| log.end.is_some()));
        if may_be_lost && known_lost && home_off {
            return None;
        }
        if matches!(location.place.owner, Owner::Nobody | Owner::Killed) && home_off {
            return None;
        }
        Some(format!(
            "{pid} does not run: its record says {} {:?}; {}",
            location.place,
            location.standing,
            if may_be_lost { "its loss was not reported" } else { "a survivor held its image" }
        ))
    }
}
