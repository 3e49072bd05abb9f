//! What a process keeps about one other: what it has sent there, and what it has got from there.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use wire::{
    Address, Correspondent, Got, Life, PIECE_BYTES_MAX, Pid, Piece, Reason, Share, Undelivered,
    Via, letter_cost,
};

use super::{FREE_CREDIT, WINDOW, newer};
use crate::Instant;

/// How many bytes and pieces go into one message: few enough that nobody waits long behind them.
const BATCH_BYTES_MAX: usize = 64 << 10;
const BATCH_PIECES_MAX: usize = 1_024;

/// A process and one other.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    pub(crate) at: Option<Address>,
    pub(crate) out: Out,
    pub(crate) from: In,
    /// Why nothing can be sent there any more, once that is known. Its own last letters may still
    /// be on their way.
    pub(crate) closed: Option<Reason>,
    /// Why it is no more. Nothing of it is taken after this.
    pub(crate) down: Option<Reason>,
    /// Since when, at least, it is no more.
    pub(crate) over_since: Option<Instant>,
    /// It has said that it moves: letters wait until then, or until it is heard of.
    pub(crate) held_until: Option<Instant>,
    /// Whether it is watched: its end is news to the guest.
    pub(crate) watched: bool,
    /// Whether it may be another life than the one that is known: it is asked until it has been heard of.
    pub(crate) unsure: bool,
    /// Whether the guest was told that its node is silent.
    pub(crate) silent: bool,
    /// Whether it watches, and is told of our end.
    pub(crate) watcher: bool,
    /// Whether the two are linked.
    pub(crate) linked: bool,
    /// The number after that of our last word of that; 0 if there was none.
    pub(crate) link_said: u64,
    /// How it wants to be written to, if not at its address.
    pub(crate) via: Option<Via>,
    /// It is on its way, and nothing more is sent until it is heard of.
    pub(crate) blocked: bool,
    /// Whether it is among those that have something to say.
    pub(crate) dirty: bool,
}

/// What goes to the other.
#[derive(Debug)]
pub(crate) struct Out {
    /// The number of the next piece.
    pub(crate) next: u64,
    /// All before it have been said since the last rewind.
    said: u64,
    /// What is not acknowledged, in order.
    letters: VecDeque<Sent>,
    /// The cost of all letters so far.
    pub(crate) spent: u64,
    /// What they may cost.
    pub(crate) allowed: u64,
    /// Whether an acknowledgement is to be asked for.
    pub(crate) ask: bool,
    pub(crate) retry_at: Option<Instant>,
    /// How often it has been said in vain.
    pub(crate) tries: u32,
}

#[derive(Debug)]
struct Sent {
    first: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Letter(Share),
    Watch,
    Link,
    Unlink(u64),
    End(Reason),
}

/// What comes from the other.
#[derive(Debug, Default)]
pub(crate) struct In {
    /// The life of the other, as far as it is known.
    pub(crate) life: Life,
    /// The number of the piece that is taken next.
    pub(crate) next: u64,
    /// Pieces that came before their turn, or that wait for the rest of their letter.
    pub(crate) early: BTreeMap<u64, Piece>,
    /// What its letters have cost that the guest has taken.
    pub(crate) taken: u64,
    /// What those cost that are in the inbox.
    pub(crate) inbox: u64,
    /// What it was last told it may spend.
    pub(crate) promised: u64,
    /// Whether it is to be told how far we are.
    pub(crate) owed: bool,
    /// When at the latest, if nothing is said to it before.
    pub(crate) tell_at: Option<Instant>,
    /// What its letters had cost, taken or in the inbox, when it was told last.
    pub(crate) told: u64,
    /// Whether something of it was turned away.
    pub(crate) turned: bool,
}

impl Default for Out {
    fn default() -> Self {
        Self {
            next: 0,
            said: 0,
            letters: VecDeque::new(),
            spent: 0,
            allowed: FREE_CREDIT,
            ask: false,
            retry_at: None,
            tries: 0,
        }
    }
}

impl Sent {
    fn pieces(&self) -> u64 {
        match &self.what {
            What::Letter(share) => share.pieces(),
            What::Watch | What::Link | What::Unlink(_) | What::End(_) => 1,
        }
    }

    fn end(&self) -> u64 {
        self.first.saturating_add(self.pieces())
    }

    fn cost(&self) -> u64 {
        match &self.what {
            What::Letter(share) => letter_cost(share.len()),
            What::Watch | What::Link | What::Unlink(_) | What::End(_) => 0,
        }
    }

    /// One of its pieces.
    fn piece(&self, number: u64) -> Piece {
        let share = match &self.what {
            What::Letter(share) => share,
            What::Watch => return Piece::Watch,
            What::Link => return Piece::Link,
            What::Unlink(taken) => return Piece::Unlink(*taken),
            What::End(reason) => return Piece::End(*reason),
        };
        let start = (number - self.first) as usize * PIECE_BYTES_MAX;
        let end = share.len().min(start + PIECE_BYTES_MAX);
        let part = share.part(start, end);
        if end == share.len() { Piece::Letter(part) } else { Piece::Part(part) }
    }
}

impl Out {
    /// Whether another letter would be more than what is allowed. The last one may exceed it, so
    /// that any letter can be sent.
    pub(crate) fn is_spent(&self) -> bool {
        self.allowed <= self.spent
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// What the letters cost that are not acknowledged.
    pub(crate) fn waiting(&self) -> u64 {
        self.letters.iter().map(Sent::cost).sum()
    }

    pub(crate) fn push(&mut self, share: Share) {
        self.spent = self.spent.saturating_add(letter_cost(share.len()));
        self.append(What::Letter(share));
    }

    pub(crate) fn watch(&mut self) {
        self.append(What::Watch);
    }

    pub(crate) fn link(&mut self) {
        self.append(What::Link);
    }

    pub(crate) fn unlink(&mut self, taken: u64) {
        self.append(What::Unlink(taken));
    }

    pub(crate) fn end(&mut self, reason: Reason) {
        self.append(What::End(reason));
    }

    fn append(&mut self, what: What) {
        let sent = Sent { first: self.next, what };
        self.next = sent.end();
        self.letters.push_back(sent);
    }

    /// A letter has gone into the other's inbox without being kept here.
    pub(crate) fn skip(&mut self, share: &Share) {
        assert!(self.is_empty(), "a letter overtakes another");
        self.spent = self.spent.saturating_add(letter_cost(share.len()));
        self.next = self.next.saturating_add(share.pieces());
        self.said = self.next;
    }

    /// Takes the other's word, and says what the letters have cost that need not be kept any more.
    pub(crate) fn acknowledge(&mut self, got: Got) -> u64 {
        self.allowed = self.allowed.max(got.allowed);
        let mut done = 0;
        while let Some(sent) = self.letters.front()
            && sent.end() <= got.next
        {
            done += sent.cost();
            self.letters.pop_front();
            self.tries = 0;
        }
        self.said = self.said.max(self.acknowledged());
        if got.again {
            self.rewind();
        }
        done
    }

    /// All pieces before this one are acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.letters.front().map_or(self.next, |sent| sent.first)
    }

    /// Nothing will be acknowledged any more. Says what was kept.
    pub(crate) fn clear(&mut self) -> u64 {
        let waited = self.waiting();
        self.letters.clear();
        self.said = self.next;
        waited
    }

    /// Starts again from what is not acknowledged.
    pub(crate) fn rewind(&mut self) {
        self.said = self.acknowledged();
    }

    /// Some pieces that have not been said since the last rewind, and the number of the first of
    /// them. They count as said now.
    pub(crate) fn unsaid(&mut self) -> (u64, Vec<Piece>) {
        let first = self.said;
        let mut pieces = Vec::new();
        let mut bytes = 0;
        let from = self.letters.partition_point(|sent| sent.end() <= first);
        for sent in self.letters.range(from..) {
            while self.said < sent.end() {
                let piece = sent.piece(self.said);
                bytes += piece_bytes(&piece);
                let full = BATCH_BYTES_MAX < bytes || pieces.len() == BATCH_PIECES_MAX;
                if full && !pieces.is_empty() {
                    return (first, pieces);
                }
                pieces.push(piece);
                self.said += 1;
            }
        }
        (first, pieces)
    }
}

impl In {
    /// What the sender may spend, in all.
    pub(crate) fn allowed(&self) -> u64 {
        self.taken.saturating_add(WINDOW)
    }

    /// What its letters have cost so far that it has not been told of.
    pub(crate) fn untold(&self) -> u64 {
        self.taken.saturating_add(self.inbox).saturating_sub(self.told)
    }
}

/// What a process has to do with another beside letters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bond {
    pub(crate) watched: bool,
    pub(crate) linked: bool,
}

impl Pair {
    pub(crate) fn bond(&self) -> Bond {
        Bond { watched: self.watched, linked: self.linked }
    }

    /// Watches, if word of that can still go there.
    pub(crate) fn watch(&mut self) {
        self.watched = true;
        if self.closed.is_none() {
            self.out.watch();
        }
    }

    /// Is linked, as [`Self::watch`].
    pub(crate) fn link(&mut self) {
        self.linked = true;
        if self.closed.is_none() {
            self.out.link();
            self.link_said = self.out.next;
        }
    }

    /// The other is there, unless something newer is known.
    pub(crate) fn heard_at(&mut self, at: Address) {
        if newer(self.at, at) {
            self.at = Some(at);
            self.held_until = None;
        }
    }

    pub(crate) fn restored(of: Correspondent) -> Self {
        let mut out = Out { next: of.acknowledged, ..Out::default() };
        for undelivered in of.undelivered {
            match undelivered {
                Undelivered::Letter(share) => out.push(share),
                Undelivered::Watch => out.watch(),
                Undelivered::Link => out.link(),
                Undelivered::Unlink(taken) => out.unlink(taken),
            }
        }
        out.spent = of.spent;
        out.allowed = of.allowed.max(FREE_CREDIT);
        out.said = of.acknowledged;
        let (life, next, taken, inbox) = (of.life, of.next, of.taken, of.inbox);
        let from = In { life, next, taken, inbox, ..In::default() };
        let (watched, silent, watcher) = (of.watched, of.silent, of.watcher);
        let (linked, link_said) = (of.linked, of.link_said);
        let (at, closed, down, via) = (of.at, of.down, of.down, of.via);
        Self {
            at,
            out,
            from,
            closed,
            down,
            watched,
            silent,
            watcher,
            linked,
            link_said,
            via,
            ..Self::default()
        }
    }

    pub(crate) fn correspondent(&self, pid: Pid) -> Correspondent {
        let undelivered = self.out.letters.iter().filter_map(|sent| match &sent.what {
            What::Letter(share) => Some(Undelivered::Letter(share.clone())),
            What::Watch => Some(Undelivered::Watch),
            What::Link => Some(Undelivered::Link),
            What::Unlink(taken) => Some(Undelivered::Unlink(*taken)),
            // One that has ended does not travel.
            What::End(_) => None,
        });
        Correspondent {
            pid,
            at: self.at,
            acknowledged: self.out.acknowledged(),
            spent: self.out.spent,
            allowed: self.out.allowed,
            undelivered: undelivered.collect(),
            life: self.from.life,
            next: self.from.next,
            taken: self.from.taken,
            inbox: self.from.inbox,
            watched: self.watched,
            silent: self.silent,
            watcher: self.watcher,
            linked: self.linked,
            link_said: self.link_said,
            down: self.down,
            via: self.via,
        }
    }
}

pub(crate) fn piece_bytes(piece: &Piece) -> usize {
    match piece {
        Piece::Part(share) | Piece::Letter(share) => share.len(),
        Piece::Watch | Piece::Link | Piece::Unlink(_) | Piece::End(_) => 0,
    }
}
