//! Durable guests: what lies on a node's disk, and what another life of a guest is.

use protocol::Span;
use wire::{Pid, Section};

use crate::world::{Event, Guest, GuestState, Life, Room, World};

/// The longest that an image takes to the disk.
const DISK_MAX: Span = Span::millis(50);

/// What a guest writes at this place of this life: it says of which life it is, and whether any is missing before it.
pub(crate) fn word(life: u64, at: usize) -> u8 {
    ((life as u8 & 15) << 4) | (at as u8 & 15)
}

/// How much of a log is of this life. Of each life the log holds the first so many words, the lives in order; `None` if
/// it holds anything else.
pub(crate) fn words_of(log: &[u8], life: u64) -> Option<usize> {
    let mut rest = log;
    let mut words = 0;
    for life in 1..=life {
        words = rest.iter().enumerate().take_while(|(at, byte)| **byte == word(life, *at)).count();
        rest = &rest[words..];
    }
    rest.is_empty().then_some(words)
}

impl World {
    /// A guest is frozen for a moment: what it is goes to the disk.
    pub(crate) fn take_image(&mut self, life: Life, pid: Pid) {
        let node = life.0;
        let Some(machine) = &self.nodes[node].machine else { return };
        let Some(guest) = self.nodes[node].guests.get(&pid) else { return };
        let Some(section) = machine.checkpoint(pid) else { return };
        if guest.state != GuestState::Running {
            return;
        }
        let copy = Box::new((guest.clone(), section));
        let attempt = self.next_attempt();
        self.nodes[node].writing.insert(pid, attempt);
        let after = Span::micros(self.rng.below(DISK_MAX.0));
        self.schedule(after, Event::Kept { life, attempt, copy });
    }

    pub(crate) fn image_kept(&mut self, node: usize, attempt: u64, copy: (Guest, Section)) {
        let pid = copy.1.pid;
        if self.nodes[node].writing.get(&pid) == Some(&attempt) {
            self.nodes[node].writing.remove(&pid);
            self.nodes[node].durable.insert(pid, copy);
            self.marks.mark("a checkpoint");
        }
    }

    pub(crate) fn erase(&mut self, node: usize, pid: Pid) {
        self.nodes[node].durable.remove(&pid);
        self.nodes[node].writing.remove(&pid);
    }

    /// What a node finds on its disk when it starts.
    pub(crate) fn stored(&mut self, node: usize) -> Vec<Section> {
        let node = &mut self.nodes[node];
        let mut sections = Vec::new();
        for (pid, (guest, section)) in &node.durable {
            let stage = Some((guest.clone(), section.clone()));
            let room = Room { attempt: 0, from: None, reborn: true, stage };
            node.room.insert((*pid, section.offer), room);
            sections.push(section.clone());
        }
        sections
    }

    /// What a guest is in another life: as its image remembers it, and nobody has said anything to it.
    pub(crate) fn begin_anew(&mut self, pid: Pid, guest: Guest) -> Guest {
        self.marks.mark("a new life");
        let life = self.truth.lives.entry(pid).or_insert(1);
        *life += 1;
        // What its last life did since is not undone.
        let made = self.truth.world.get(&pid).copied().unwrap_or(0);
        let Guest { watching, links, traps, name, asks, .. } = guest;
        Guest { life: *life, made, watching, links, traps, name, asks, ..Guest::new() }
    }
}
