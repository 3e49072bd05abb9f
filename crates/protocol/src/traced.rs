//! What a machine tells of itself beside doing it: notes for whoever watches.
//!
//! Most of what happens on a node can be read off its inputs and outputs. Notes say the rest: which number
//! a letter has, that one was not taken, what a node says to itself, what an adaptive process has decided. Nothing follows from a
//! note. Those about letters are made for traced groups only, so that a letter of any other costs one look at an
//! empty set.

use wire::{Decision, GroupId, Life, Message, Pid};

use crate::{Machine, Output};

/// So many groups are traced at once; one more is not.
pub const TRACED_MAX: usize = 64;

/// A letter's place in all that its sender has sent to its receiver: the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    /// Who has sent it.
    pub from: Pid,
    /// To whom.
    pub to: Pid,
    /// In which life of the sender.
    pub life: Life,
    /// The number of its first piece.
    pub first: u64,
    /// How many pieces there are, of it and of those that go with it.
    pub pieces: u64,
}

/// Something that inputs and outputs do not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A process has sent a letter.
    Sent {
        /// Which.
        letter: LetterId,
        /// How long it is.
        bytes: usize,
    },
    /// It is in its receiver's inbox.
    Delivered {
        /// Which.
        letter: LetterId,
        /// How long it is.
        bytes: usize,
    },
    /// Nothing of it was put into the inbox: it is early, its receiver cannot take anything now, or there is no room.
    NotTaken {
        /// Which.
        letter: LetterId,
        /// It is held until its turn. Otherwise it was turned away, and its sender says it again.
        held: bool,
    },
    /// The node has said this to itself.
    Within(Message),
    /// An adaptive process has weighed the strategies.
    Decided {
        /// Which.
        pid: Pid,
        /// What came of it.
        decision: Decision,
    },
}

impl Machine {
    /// Has letters of a group noted, or no longer. False if too many groups are traced already.
    pub fn trace(&mut self, group: GroupId, on: bool) -> bool {
        if !on {
            self.traced.remove(&group);
            return true;
        }
        let room = self.traced.len() < TRACED_MAX || self.traced.contains(&group);
        if room {
            self.traced.insert(group);
        }
        room
    }

    /// Whether what one of these has to do with the other is noted.
    #[must_use]
    pub fn traces(&self, one: Pid, other: Pid) -> bool {
        !self.traced.is_empty()
            && (self.traced.contains(&one.group) || self.traced.contains(&other.group))
    }

    /// The groups whose letters are noted.
    pub fn traced(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.traced.iter().copied()
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.put(Output::Note(note));
    }

    /// Notes what the node is about to hear from itself, if it has to do with a traced group.
    pub(crate) fn note_within(&mut self, message: &Message) {
        if self.traced.is_empty() {
            return;
        }
        let pids = match message {
            Message::Mail(mail) | Message::Relay { mail, .. } => (mail.from, mail.to),
            Message::Astray { to, pid, .. }
            | Message::Held { to, pid, .. }
            | Message::Leaving { to, pid }
            | Message::Place { to, pid, .. }
            | Message::Down { to, pid, .. } => (*pid, *to),
            Message::Moved { pid, .. }
            | Message::Poll { pid, .. }
            | Message::Forget { pid, .. } => (*pid, *pid),
            _ => return,
        };
        if self.traces(pids.0, pids.1) {
            self.note(Note::Within(message.clone()));
        }
    }
}
