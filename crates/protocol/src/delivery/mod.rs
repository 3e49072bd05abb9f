//! Letters between processes: exactly once and in order per pair, wherever either of them is.
//!
//! The two processes hold the guarantee, no node and no strategy does. Each has a [`Pair`] for each
//! correspondent, which travels in its image: what it has sent and the other has not acknowledged,
//! and the number of the piece that it takes next. A letter is acknowledged when it is in the
//! guest's inbox, which travels too; so at any instant a letter is with its sender, or in the inbox.
//!
//! ```text
//!  guest ──Send──▶ Out: 7 8 9 ──mail(7 8 9)──▶ In: takes 7, 8, 9 ──Inbox──▶ guest
//!                  Out: 8 9   ◀──got 8───────                    ◀──Took─── guest
//!                             ◀──got 10, allowed …
//! ```
//!
//! - `send`: the sender's guest, credit, and what is said and said again.
//! - `receive`: order, repetition, the inbox's bounds.
//! - `seek`: where a correspondent is, if its address fails.
//! - `locate`: what is said of a move, and where a letter is tried first.
//! - `pull`: mailboxes that keep letters until they are polled.
//! - `adaptive`, `cost`: how a process chooses its strategy, and by which model.
//! - `lives`: letters of one life, and for one life.
//! - `transit`: letters that come while a process is on its way.
//! - `ending`: how a process's end is told, after its last letter.
//! - `watch`: who is told of ends that it has nothing else to do with.
//! - `link`: who ends with whom.
//!
//! While a process is muted nothing that it sends or has taken may be seen, and it takes nothing;
//! early letters are held. Between two processes of one node a letter goes into the inbox directly.

mod adaptive;
pub mod cost;
mod ending;
mod link;
mod lives;
mod locate;
mod pair;
mod pull;
mod receive;
mod seek;
mod send;
mod transit;
mod watch;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use wire::{
    Address, Correspondent, Grant, InTransit, Left, Letters, Life, Locate, NodeId, Pid, Reason, Via,
};

pub(crate) use adaptive::Books;
pub(crate) use pair::{Bond, Pair};
pub(crate) use seek::Seek;

use crate::process::{Phase, Process};
use crate::{Instant, Machine, Rule, Span};

/// A process has to do with at most this many others; one more is turned away until some are over.
const CORRESPONDENTS_MAX: usize = 65_536;

/// What a process may send to one that has not said anything yet: enough to ask a question.
const FREE_CREDIT: u64 = 4 << 10;

/// What a process may have in another's inbox and on the way there: a fast link's worth of bytes
/// for a millisecond.
const WINDOW: u64 = 256 << 10;

/// What an inbox holds; a letter that does not fit is turned away. One always fits.
const INBOX_COST_MAX: u64 = 4 << 20;

/// What a process may have sent and not had acknowledged, to all together.
const UNACKNOWLEDGED_COST_MAX: u64 = 4 << 20;

/// So many pieces are held before it is their turn: a longest letter has 16.
const EARLY_MAX: u64 = 64;

/// Early pieces of all senders together; one sender may exceed it, so that some letter is completed.
const EARLY_BYTES_MAX: usize = 8 << 20;

/// Nothing is under way longer than this. What is over is remembered as long.
pub(crate) const AGE_MAX: Span = Span::seconds(600);

/// How many ended processes are remembered: others are said to be no process at all.
const TOMBS_MAX: usize = 16_384;

/// What a process has to do with others.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) life: Life,
    pub(crate) grant: Grant,
    pub(crate) locate: Locate,
    pub(crate) in_transit: InTransit,
    /// Whether the end of a linked process is news, and not its own end.
    pub(crate) traps: bool,
    pub(crate) pairs: BTreeMap<Pid, Pair>,
    /// What letters cost that are not acknowledged.
    unacknowledged: u64,
    /// What letters cost that are in the inbox.
    inbox: u64,
    early_bytes: usize,
    /// Whose early pieces do not count.
    assembling: Option<Pid>,
    /// Who has been turned away, and is told when there is room.
    turned: Vec<Pid>,
    /// When it ended.
    pub(crate) ended_at: Option<Instant>,
    /// Where it has come from, until it speaks here.
    pub(crate) came_from: Option<NodeId>,
    /// Where it has been since all correspondents knew where it was.
    trail: Vec<Left>,
    /// Who has not shown yet that it knows where the process is.
    behind: BTreeSet<Pid>,
    /// When to ask its mailbox next.
    poll_at: Option<Instant>,
    /// What it has counted, if it is adaptive.
    pub(crate) books: Option<Books>,
}

/// What a node has to do for all its processes.
#[derive(Debug, Default)]
pub(crate) struct Post {
    /// Pairs that have something to say.
    dirty: VecDeque<(Pid, Pid)>,
    pub(crate) seeks: BTreeMap<Pid, Seek>,
    /// Where processes are that have left this node, or have their mailbox here.
    places: BTreeMap<Pid, locate::Known>,
    /// What is kept for processes elsewhere.
    shelf: pull::Shelf,
    /// Where the registry is, as its answers show.
    pub(crate) home: Option<NodeId>,
    tombs: BTreeMap<Pid, Reason>,
    tombs_in_order: VecDeque<(Instant, Pid)>,
}

/// Whether a guest may send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaySend {
    /// Feed it as [`Input::Send`](crate::Input::Send).
    Yes,
    /// When [`Output::SendRoom`](crate::Output::SendRoom) comes, ask again.
    Wait,
    /// Never, and why.
    No(Unsendable),
}

/// Why a letter cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsendable {
    /// The receiver is of another group, to which this process may not send.
    Denied,
    /// It is longer than [`wire::LETTER_BYTES_MAX`].
    TooLong,
    /// The sender has to do with too many already.
    Busy,
    /// The receiver is no more, and its last letter has come.
    Down(Reason),
    /// The receiver takes nothing more, and letters of it are still to come: what is sent to it is lost, and its sender is
    /// told when they are here.
    Ending,
    /// The sender is not here, or not running.
    NotHere,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            life: Life::FIRST,
            grant: Grant::Own,
            locate: Locate::default(),
            in_transit: InTransit::default(),
            traps: false,
            pairs: BTreeMap::new(),
            unacknowledged: 0,
            inbox: 0,
            early_bytes: 0,
            assembling: None,
            turned: Vec::new(),
            ended_at: None,
            came_from: None,
            trail: Vec::new(),
            behind: BTreeSet::new(),
            poll_at: None,
            books: None,
        }
    }
}

impl Delivery {
    /// What an image brought.
    pub(crate) fn restored(letters: Letters) -> Self {
        let (life, grant, locate) = (letters.life, letters.grant, letters.locate);
        let (in_transit, traps) = (letters.in_transit, letters.traps);
        let books = letters.ledger.filter(|_| locate == Locate::Adaptive).map(Books::restored);
        let mut trail = letters.trail;
        trail.truncate(locate::TRAIL_MAX);
        let mut delivery =
            Self { life, grant, locate, in_transit, traps, books, trail, ..Self::default() };
        for correspondent in letters.correspondents.into_iter().take(CORRESPONDENTS_MAX) {
            let pid = correspondent.pid;
            let pair = Pair::restored(correspondent);
            delivery.unacknowledged = delivery.unacknowledged.saturating_add(pair.out.waiting());
            delivery.inbox = delivery.inbox.saturating_add(pair.from.inbox);
            delivery.pairs.insert(pid, pair);
        }
        delivery
    }

    /// As another life: nothing is under way between it and anyone. It watches whom it watched, and is linked to whom it
    /// was.
    pub(crate) fn begin_anew(&mut self, life: Life) {
        let pairs = core::mem::take(&mut self.pairs);
        let (grant, locate, in_transit) = (self.grant.clone(), self.locate, self.in_transit);
        let (trail, books) = (core::mem::take(&mut self.trail), self.books.take());
        let traps = self.traps;
        *self = Self { life, grant, locate, in_transit, traps, trail, books, ..Self::default() };
        for (pid, last) in pairs {
            let mut pair = Pair::default();
            if last.watched {
                pair.watch();
            }
            if last.linked {
                pair.link();
            }
            if last.watched || last.linked {
                self.pairs.insert(pid, pair);
            }
        }
    }

    /// A correspondent began another life. What was kept for the last one goes with it, and what is in the inbox stays.
    /// What it had been.
    fn start_over(&mut self, other: Pid, life: Life) -> Option<Bond> {
        self.drop_early(other);
        self.turned.retain(|turned| *turned != other);
        let pair = self.pairs.get_mut(&other)?;
        self.unacknowledged -= pair.out.clear();
        let (inbox, at, dirty, bond) = (pair.from.inbox, pair.at, pair.dirty, pair.bond());
        let from = pair::In { life, inbox, ..Default::default() };
        *pair = Pair { at, from, dirty, ..Pair::default() };
        Some(bond)
    }

    /// What travels in the image.
    pub(crate) fn letters(&self) -> Letters {
        let pairs = self.pairs.iter();
        let correspondents: Vec<Correspondent> =
            pairs.map(|(pid, pair)| pair.correspondent(*pid)).collect();
        let (life, grant, locate) = (self.life, self.grant.clone(), self.locate);
        let (trail, ledger) = (self.trail.clone(), self.books.as_ref().map(Books::ledger));
        let (in_transit, traps) = (self.in_transit, self.traps);
        Letters { life, grant, locate, in_transit, traps, correspondents, trail, ledger }
    }

    /// How letters find it now.
    pub(crate) fn strategy(&self) -> Locate {
        match (&self.books, self.locate) {
            (Some(books), Locate::Adaptive) => books.using(),
            (None, Locate::Adaptive) => Locate::Directory,
            (_, locate) => locate,
        }
    }

    /// How others are asked to write to it, if they cannot know.
    fn via(&self) -> Option<Via> {
        self.books.as_ref()?.via()
    }

    /// The pair with `other`, if there is one or room for one.
    fn pair(&mut self, now: Instant, other: Pid) -> Option<&mut Pair> {
        if CORRESPONDENTS_MAX <= self.pairs.len() && !self.pairs.contains_key(&other) {
            self.sweep(now);
            if CORRESPONDENTS_MAX <= self.pairs.len() {
                return None;
            }
        }
        Some(self.pairs.entry(other).or_default())
    }

    /// Forgets those that have been over for longer than anything of theirs can be under way.
    fn sweep(&mut self, now: Instant) {
        self.pairs.retain(|_, pair| {
            pair.down.is_none()
                || now - *pair.over_since.get_or_insert(now) < AGE_MAX
                || pair.from.inbox != 0
        });
    }

    /// Nothing is to be delivered to anyone any more.
    fn settled(&self) -> bool {
        self.unacknowledged == 0 && self.pairs.values().all(|pair| pair.out.is_empty())
    }

    /// Whether a letter of this cost fits into the inbox.
    fn has_room(&self, cost: u64) -> bool {
        self.inbox == 0 || self.inbox.saturating_add(cost) <= INBOX_COST_MAX
    }
}

impl Machine {
    /// Whether what a process says may be heard.
    fn speaks(&self, process: &Process) -> bool {
        match process.phase {
            Phase::Running | Phase::Preparing(_) | Phase::Freezing(_) | Phase::Ending => true,
            Phase::Muted(_) => {
                !self.rules.keep(Rule::HoldEffects) || !self.rules.keep(Rule::MutedTakesNothing)
            }
            Phase::Offered(_) | Phase::Storing { .. } | Phase::Kept(_) => false,
        }
    }

    /// Whether letters may be put into its inbox. A frozen guest still takes some: until its image
    /// is asked for.
    fn takes(&self, process: &Process) -> bool {
        match process.phase {
            Phase::Running | Phase::Preparing(_) | Phase::Freezing(_) => true,
            Phase::Muted(_) => !self.rules.keep(Rule::MutedTakesNothing),
            Phase::Offered(_) | Phase::Storing { .. } | Phase::Kept(_) | Phase::Ending => false,
        }
    }

    /// Has what this pair owes said when the driver asks for the next output.
    fn soil(&mut self, pid: Pid, other: Pid) {
        let process = self.processes.get_mut(&pid);
        let pair = process.and_then(|process| process.delivery.pairs.get_mut(&other));
        if let Some(pair) = pair
            && !core::mem::replace(&mut pair.dirty, true)
        {
            self.post.dirty.push_back((pid, other));
        }
    }

    /// Says all that is to be said, so that what came together goes together.
    pub(crate) fn flush_mail(&mut self) -> bool {
        let now = self.now;
        let some = !self.post.dirty.is_empty();
        while let Some((pid, other)) = self.post.dirty.pop_front() {
            self.flush_pair(now, pid, other);
        }
        some
    }

    /// A process may speak and take again: it has arrived, was resumed or released.
    pub(crate) fn mail_goes_on(&mut self, now: Instant, pid: Pid) {
        self.tell_arrived(now, pid);
        self.take_kept(now, pid);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let mut others = Vec::new();
        for (other, pair) in &mut process.delivery.pairs {
            if pair.down.is_none() {
                pair.out.rewind();
                let open = !pair.out.is_empty() || pair.out.is_spent() || pair.from.owed;
                others.push((*other, open, !pair.from.early.is_empty()));
            }
        }
        for (other, open, early) in others {
            if early {
                self.take_early(now, pid, other);
            }
            if open {
                self.soil(pid, other);
            }
        }
        self.look_for_lost_correspondents(now, Some(pid));
        self.tell_of_silence(Some(pid));
    }
}

/// The later of two words about a place.
fn newer(known: Option<Address>, heard: Address) -> bool {
    known.is_none_or(|known| known.epoch < heard.epoch)
}
