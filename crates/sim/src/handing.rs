//! Logs that go to another home: what a driver does of it, a step at a time, and what its disk remembers.

use protocol::{Input, Span};
use wire::{NodeId, Pid};

use crate::world::{Event, Life, Log, World, id};

/// How long one step takes at most.
const STEP_MAX: Span = Span::millis(60);

/// How often a log is asked whether it rests.
const LOOKS: u32 = 20;

/// What comes next on a log's way.
#[derive(Clone, Debug)]
pub(crate) enum Hand {
    /// Its copy goes to the new home's disk, if it rests; so many looks are left.
    Copy(u32),
    /// The old home writes down whose it is.
    Mark,
    /// The new home is told that the copy is a log.
    Commit,
    /// The old home hears that it was.
    Committed,
}

/// What stands on the old home's disk of a log that was handed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) to: usize,
    ended: bool,
    committed: bool,
}

impl World {
    /// A node gives all the logs away that it keeps.
    pub(crate) fn hand_logs(&mut self, node: usize, to: usize) {
        if node == to || self.nodes[to].forgotten {
            return;
        }
        let n = &mut self.nodes[node];
        let here = |pid: &&Pid| !n.handed.contains_key(pid) && !n.handing.contains(pid);
        let pids: Vec<Pid> = n.logs.keys().filter(here).copied().collect();
        n.handing.extend(&pids);
        let Some(machine) = &mut n.machine else { return };
        for pid in &pids {
            machine.rest_log(*pid);
        }
        self.drain(node);
        for pid in pids {
            self.hand_soon(self.life(node), pid, to, Hand::Copy(LOOKS));
        }
    }

    fn hand_soon(&mut self, life: Life, pid: Pid, to: usize, step: Hand) {
        let after = Span::micros(self.rng.below(STEP_MAX.0));
        self.schedule(after, Event::Hand { life, pid, to, step });
    }

    pub(crate) fn hand(&mut self, life: Life, pid: Pid, to: usize, step: Hand) {
        let node = life.0;
        let reaches = self.nodes[to].machine.is_some() && !self.is_cut(node, to);
        match step {
            Hand::Copy(looks) => {
                let n = &self.nodes[node];
                let rests = n.machine.as_ref().is_some_and(|machine| machine.log_rests(pid));
                let Some(log) = n.logs.get(&pid).cloned() else { return };
                if rests && reaches && !self.nodes[to].logs.contains_key(&pid) {
                    self.nodes[to].copies.insert((node, pid), log);
                    self.hand_soon(life, pid, to, Hand::Mark);
                } else if rests || looks == 0 {
                    self.keep_log(node, pid);
                } else {
                    self.hand_soon(life, pid, to, Hand::Copy(looks - 1));
                }
            }
            Hand::Mark => {
                let Some(log) = self.nodes[node].logs.get(&pid) else { return };
                let ended = log.end.is_some();
                let handed = Handed { to, ended, committed: false };
                self.nodes[node].handed.insert(pid, handed);
                self.hand_soon(life, pid, to, Hand::Commit);
            }
            Hand::Commit if self.nodes[to].forgotten => {
                // It never used the copy, or it is off for good: the log is here.
                self.nodes[node].handed.remove(&pid);
                self.marks.mark("a log not handed on after all");
                self.keep_log(node, pid);
            }
            Hand::Commit if reaches => {
                if let Some(copy) = self.nodes[to].copies.remove(&(node, pid)) {
                    self.opened_from(to, pid, copy);
                }
                // The answer may be lost.
                let next = if self.rng.chance(70) { Hand::Committed } else { Hand::Commit };
                self.hand_soon(life, pid, to, next);
            }
            Hand::Commit => self.hand_soon(life, pid, to, Hand::Commit),
            Hand::Committed => {
                let Some(handed) = self.nodes[node].handed.get_mut(&pid) else { return };
                handed.committed = true;
                let (to, ended) = (id(to), handed.ended);
                self.nodes[node].handing.remove(&pid);
                self.nodes[node].logs.remove(&pid);
                self.marks.mark("a log handed on");
                self.feed(node, Input::LogHanded { pid, to, ended });
            }
        }
    }

    fn keep_log(&mut self, node: usize, pid: Pid) {
        self.nodes[node].handing.remove(&pid);
        if let Some(machine) = &mut self.nodes[node].machine {
            machine.keep_log(pid);
        }
        self.drain(node);
    }

    /// A copy has become the log.
    fn opened_from(&mut self, node: usize, pid: Pid, copy: Log) {
        let (length, ended) = (copy.bytes.len() as u64, copy.end.is_some());
        self.nodes[node].logs.insert(pid, copy);
        if self.nodes[node].handed.remove(&pid).is_some() {
            self.marks.mark("a log came back");
        }
        self.feed(node, Input::LogOpened { pid, length, ended });
    }

    /// What a node that starts finds of logs that it was handing on.
    pub(crate) fn hand_on(&mut self, node: usize) {
        let life = self.life(node);
        let handed: Vec<_> =
            self.nodes[node].handed.iter().map(|(pid, way)| (*pid, *way)).collect();
        for (pid, Handed { to, ended, committed }) in handed {
            if committed {
                self.feed(node, Input::LogHanded { pid, to: id(to), ended });
                continue;
            }
            self.marks.mark("a log handed on after a restart");
            self.nodes[node].handing.insert(pid);
            if let Some(machine) = &mut self.nodes[node].machine {
                machine.rest_log(pid);
            }
            self.hand_soon(life, pid, to, Hand::Commit);
        }
    }

    /// Whether it is written down that a log is another node's to write.
    pub(crate) fn is_handed(&self, node: usize, pid: Pid) -> bool {
        self.nodes[node].handed.get(&pid).is_some_and(|handed| handed.committed)
    }

    /// An old home has done with a log: nobody is to come to it any more, not even when it is off for good.
    pub(crate) fn log_left(&mut self, node: usize, pid: Pid) {
        let [runs] = self.running(pid)[..] else { return };
        // One from a file or from a disk may know an older home.
        if self.files.contains_key(&pid) || self.truth.is_durable(pid) {
            return;
        }
        if self.home_of(runs, pid) == Some(id(node)) {
            self.fail(format!("node{node} has handed the log of {pid} on, which does not know it"));
        }
    }

    fn home_of(&self, node: usize, pid: Pid) -> Option<NodeId> {
        let machine = self.nodes[node].machine.as_ref()?;
        let status = machine.processes().find(|status| status.pid == pid);
        status?.home
    }
}
