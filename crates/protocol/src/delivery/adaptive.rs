//! `adaptive`: a process keeps books of what each strategy would have cost it, and uses the cheapest.
//!
//! Its node enters each letter that comes from another node and each move, under all strategies at once, with what is
//! known of that very event: where the sender is, how far it has fallen behind, who would have had to be told. After
//! [`WINDOW`] events it weighs. What is older counts half for each window since that had a move in it, so that a flip of
//! the rates shows at once, and seven eighths for each that had none: where moves are rare, the window after one shows
//! what it cost and not how long nothing else happens.
//!
//! What it decides is a hint like everything about places: senders learn of a mailbox from acknowledgements, and whoever
//! has not heard of the change finds the process as anyone does whose address fails.

use alloc::collections::BTreeMap;

use wire::{Acquaintance, Decision, Ledger, Left, Locate, Message, NodeId, Pid, Via};

use super::cost::{self, WORD, Way};
use crate::{Instant, Machine, Note};

/// So many letters and moves are counted before strategies are weighed again.
const WINDOW: u32 = 64;

/// Sooner, as long as it has weighed nothing with a move in it, or when correspondents were told in vain.
const FIRST_WINDOW: u32 = 16;

/// A change must have been worth so many times what it costs, since the last one.
const WORTH: u64 = 2;

/// Each change makes the next one dearer, by this much: two strategies that cost about the same do not take turns.
const RELUCTANCE: u64 = 32;

/// Up to so many changes.
const RELUCTANT_MAX: u64 = 4;

/// What is missed must be as much as so many single events can differ by: a few that come together are chance.
const CAUTION: u64 = 4;

/// When so many have been told of moves without a letter since, correspondents are not told of the next ones.
const IN_VAIN_MAX: u64 = 32;

/// The books know so many of those who write; what others cost is the same under all strategies.
const ACQUAINTANCES_MAX: usize = 1_024;

/// So many chains of forwarders are looked at, or a few less.
const CHAINS_MAX: usize = 8;

/// How often a mailbox would be asked, in microseconds.
const POLL_MICROS: u32 = 20_000;

/// The books of one process.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    ledger: Ledger,
    known: BTreeMap<Pid, Acquaintance>,
    /// Up to when polls have been counted, here.
    polled: Option<Instant>,
}

impl Books {
    /// Those of a process that is born here.
    pub(crate) fn new(node: NodeId) -> Self {
        Self::restored(Ledger {
            using: Locate::Directory,
            mailbox: node,
            node,
            letters: 0,
            moves: 0,
            silent_moves: 0,
            changes: 0,
            window_letters: 0,
            window_moves: 0,
            costs: [0; wire::WAYS],
            weighed: [0; wire::WAYS],
            regrets: [0; wire::WAYS],
            acquaintances: alloc::vec![],
            last: None,
        })
    }

    /// What an image brought.
    pub(crate) fn restored(mut ledger: Ledger) -> Self {
        if ledger.using == Locate::Adaptive {
            ledger.using = Locate::Directory;
        }
        let known = core::mem::take(&mut ledger.acquaintances);
        let known = known.into_iter().take(ACQUAINTANCES_MAX).map(|one| (one.pid, one)).collect();
        Self { ledger, known, polled: None }
    }

    /// What travels in the image, and what operators are shown.
    pub(crate) fn ledger(&self) -> Ledger {
        let acquaintances = self.known.values().copied().collect();
        Ledger { acquaintances, ..self.ledger.clone() }
    }

    pub(crate) fn using(&self) -> Locate {
        self.ledger.using
    }

    /// Whether correspondents are worth telling of the next move. If many were told of moves without a letter since, all
    /// of them would be told in vain again before the books are next looked at.
    pub(crate) fn is_worth_telling(&self) -> bool {
        u64::from(self.ledger.silent_moves) * (self.known.len() as u64) < IN_VAIN_MAX
    }

    /// How others are asked to write to it.
    pub(crate) fn via(&self) -> Option<Via> {
        match self.ledger.using {
            Locate::Mailbox(mailbox) => Some(Via { mailbox, keeps: false }),
            Locate::Pull { mailbox, .. } => Some(Via { mailbox, keeps: true }),
            Locate::Directory | Locate::Update | Locate::Forwarding | Locate::Adaptive => None,
        }
    }

    fn locate(&self, way: Way) -> Locate {
        let mailbox = self.ledger.mailbox;
        match way {
            Way::Directory => Locate::Directory,
            Way::Update => Locate::Update,
            Way::Forwarding => Locate::Forwarding,
            Way::Mailbox => Locate::Mailbox(mailbox),
            Way::Pull => Locate::Pull { mailbox, every_micros: POLL_MICROS },
        }
    }

    /// The way that it uses.
    fn way(&self) -> Way {
        let used = Way::ALL.into_iter().find(|way| self.locate(*way) == self.ledger.using);
        used.unwrap_or(Way::Directory)
    }

    fn enter(&mut self, way: Way, cost: u64) {
        let entry = &mut self.ledger.costs[way as usize];
        *entry = entry.saturating_add(cost);
    }

    /// A letter from another node.
    fn letter(&mut self, pid: Pid, letter: cost::Letter, here: NodeId) {
        for (entry, cost) in self.ledger.costs.iter_mut().zip(letter.costs()) {
            *entry = entry.saturating_add(cost);
        }
        self.ledger.letters += 1;
        self.ledger.silent_moves = 0;
        self.ledger.window_letters += 1;
        self.heard(pid, here);
    }

    /// A letter from this node, which costs the same under all strategies; what its sender was told before does not.
    pub(crate) fn heard_here(&mut self, pid: Pid, here: NodeId) {
        let told = self.known.get(&pid).map_or(0, |one| u64::from(one.due));
        self.enter(Way::Update, told * WORD);
        self.heard(pid, here);
    }

    /// One who writes knows where the process is: the acknowledgement says it.
    pub(crate) fn heard(&mut self, pid: Pid, here: NodeId) {
        let moves = self.ledger.moves;
        if self.known.len() < ACQUAINTANCES_MAX || self.known.contains_key(&pid) {
            self.known.insert(pid, Acquaintance { pid, moves, node: here, due: 0 });
        }
    }

    /// What there is to know of a letter.
    fn case(&self, pid: Pid, sender: NodeId, here: NodeId, trail: &[Left]) -> cost::Letter {
        let mailbox = self.ledger.mailbox;
        let known = self.known.get(&pid).filter(|one| one.moves < self.ledger.moves);
        let mut letter = cost::Letter {
            mailbox_at_sender: mailbox == sender,
            mailbox_here: mailbox == here,
            ..cost::Letter::default()
        };
        if let Some(one) = known {
            letter.behind = one.node != here;
            letter.sender_there = one.node == sender;
            letter.links = links(trail, one.node, here, sender);
            letter.told = u64::from(one.due);
        }
        letter
    }

    /// Polls, had there been any.
    fn polls(&mut self, now: Instant, here: NodeId) {
        let since = self.polled.unwrap_or(now);
        let polls = (now - since).0 / u64::from(POLL_MICROS);
        self.polled = Some(since + crate::Span(polls * u64::from(POLL_MICROS)));
        if self.ledger.mailbox != here {
            self.enter(Way::Pull, polls * WORD);
        }
    }

    /// It has come from `left` to `here`, and each correspondent is at a node.
    fn moved(&mut self, now: Instant, left: NodeId, here: NodeId, others: &[(Pid, NodeId)]) {
        let at_once = u64::from(self.ledger.mailbox != here) * WORD;
        self.enter(Way::Mailbox, at_once);
        self.enter(Way::Pull, at_once);
        for (pid, node) in others {
            let told = u8::from(*node != left) + u8::from(*node != here);
            match self.known.get_mut(pid) {
                // Whether that is worth it shows when it writes.
                Some(one) if one.moves == self.ledger.moves => one.due = told,
                _ => self.enter(Way::Update, u64::from(told) * WORD),
            }
        }
        self.polled = Some(now);
        self.ledger.node = here;
        self.ledger.moves += 1;
        self.ledger.silent_moves = self.ledger.silent_moves.saturating_add(1);
        self.ledger.window_moves += 1;
    }

    /// Whether enough has been entered since it last weighed.
    fn is_due(&self) -> bool {
        let events = self.ledger.window_letters.saturating_add(self.ledger.window_moves);
        let new = self.ledger.last.is_none_or(|last| last.moves == 0);
        let in_vain = self.ledger.using == Locate::Update && !self.is_worth_telling();
        let window = if new || in_vain { FIRST_WINDOW } else { WINDOW };
        window <= events
    }

    /// Adds up what each other strategy would have saved in this window; what it would have cost more takes that back,
    /// down to nothing (E. S. Page's cumulative sum, 1954). So a small difference that lasts shows, and chance does not.
    fn regret(&mut self) {
        let old = self.way() as usize;
        let ledger = &mut self.ledger;
        let spent =
            |ledger: &Ledger, way: usize| ledger.costs[way].saturating_sub(ledger.weighed[way]);
        for way in 0..wire::WAYS {
            let (own, other) = (spent(ledger, old), spent(ledger, way));
            ledger.regrets[way] = ledger.regrets[way].saturating_add(own).saturating_sub(other);
        }
    }

    /// Whether a letter that came now would follow a longer way than a question to the registry is worth, wherever it
    /// was sent to. The books know what chains were like when letters came; where one move follows the other, they
    /// have grown since.
    fn chains_have_grown(&self, here: NodeId, trail: &[Left]) -> bool {
        /// A sender of whose node nothing is known: none has this number.
        const ELSEWHERE: NodeId = NodeId(0);
        let moves = u64::from(self.ledger.silent_moves);
        let (mut followed, mut asked) = (0, 0);
        for left in trail.iter().step_by(1 + trail.len() / CHAINS_MAX) {
            followed += links(trail, left.node, here, ELSEWHERE).min(moves) * cost::DETOUR;
            asked += cost::DETOUR + cost::QUESTION;
        }
        asked < followed
    }

    /// Weighs, if it is time: what to change from, and to.
    fn weigh(&mut self, mailbox_lives: bool, grown: bool) -> Option<(Locate, Locate)> {
        if !self.is_due() {
            return None;
        }
        let costs = self.ledger.costs;
        self.regret();
        let (from, old) = (self.ledger.using, self.way());
        let usable = |way: &Way| match way {
            Way::Mailbox | Way::Pull => mailbox_lives,
            Way::Forwarding => *way == old || !grown,
            Way::Directory | Way::Update => true,
        };
        let new = Way::ALL
            .into_iter()
            .filter(usable)
            .min_by_key(|way| (costs[*way as usize], *way != old));
        let new = new.unwrap_or(Way::Directory);
        // Of those who write, so many will while the saving is made.
        let writers = (self.known.len() as u64).min(u64::from(self.ledger.window_letters));
        let change = cost::change(old, new, writers);
        let saving = costs[old as usize].saturating_sub(costs[new as usize]);
        let reluctance = RELUCTANCE * self.ledger.changes.min(RELUCTANT_MAX);
        let chance = CAUTION * cost::spread(old, new, self.known.len() as u64);
        let missed = self.ledger.regrets[new as usize];
        let changed = old != new && WORTH * change + reluctance + chance <= missed && 0 < saving;
        let to = self.locate(new);
        self.ledger.last = Some(Decision {
            from,
            to,
            changed,
            letters: self.ledger.window_letters,
            moves: self.ledger.window_moves,
            costs: (costs[old as usize], costs[new as usize]),
            change,
        });
        let moved = self.ledger.window_moves != 0;
        for cost in &mut self.ledger.costs {
            *cost -= if moved { *cost / 2 } else { *cost / 8 };
        }
        self.ledger.window_letters = 0;
        self.ledger.window_moves = 0;
        self.ledger.weighed = self.ledger.costs;
        if changed {
            self.ledger.regrets = [0; wire::WAYS];
            self.ledger.using = to;
            self.ledger.changes += 1;
        }
        changed.then_some((from, to))
    }
}

/// How many forwarders are asked on the way from one node to another.
fn links(trail: &[Left], from: NodeId, to: NodeId, sender: NodeId) -> u64 {
    let (mut at, mut links) = (from, 0);
    for _ in 0..trail.len() {
        if at == to {
            break;
        }
        let Some(left) = trail.iter().find(|left| left.node == at) else { break };
        // What left the sender's own node is known there: nobody before it is asked.
        links = if at == sender { 0 } else { links + 1 };
        at = left.to;
    }
    // Where word of it is missing, the registry is asked: that costs about as much as one more.
    links + u64::from(at != to)
}

impl Machine {
    /// What an adaptive process has counted and decided.
    #[must_use]
    pub fn ledger(&self, pid: Pid) -> Option<Ledger> {
        Some(self.processes.get(&pid)?.delivery.books.as_ref()?.ledger())
    }

    /// Enters a letter that came from another node.
    pub(super) fn count_letter(&mut self, now: Instant, pid: Pid, from: Pid, sender: NodeId) {
        let here = self.config.me.node;
        let home = self.post.home;
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let delivery = &mut process.delivery;
        let Some(books) = &mut delivery.books else { return };
        if sender == here {
            return books.heard_here(from, here);
        }
        let mut letter = books.case(from, sender, here, &delivery.trail);
        letter.sender_at_home = home == Some(sender);
        books.polls(now, here);
        books.letter(from, letter, here);
        self.weigh(now, pid);
    }

    /// Enters a move.
    pub(super) fn count_move(&mut self, now: Instant, pid: Pid, left: NodeId) {
        let here = self.config.me.node;
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let delivery = &mut process.delivery;
        let Some(books) = &mut delivery.books else { return };
        let pairs = delivery.pairs.iter().filter(|(_, pair)| pair.down.is_none());
        let others = pairs.filter_map(|(other, pair)| Some((*other, pair.at?.peer.node)));
        let others: alloc::vec::Vec<_> = others.collect();
        books.moved(now, left, here, &others);
        self.weigh(now, pid);
    }

    /// Everyone knows where it is: forwarders would be collected now.
    pub(super) fn count_collection(&mut self, pid: Pid, forwarders: u64) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if let Some(books) = &mut process.delivery.books {
            books.enter(Way::Forwarding, forwarders * WORD);
        }
    }

    fn weigh(&mut self, now: Instant, pid: Pid) {
        let Some(process) = self.processes.get(&pid) else { return };
        let Some(books) = process.delivery.books.as_ref().filter(|books| books.is_due()) else {
            return;
        };
        let mailbox_lives = self.live(books.ledger.mailbox).is_ok();
        let grown = books.chains_have_grown(self.config.me.node, &process.delivery.trail);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Some(books) = &mut process.delivery.books else { return };
        let change = books.weigh(mailbox_lives, grown);
        let (mailbox, last, epoch) = (books.ledger.mailbox, books.ledger.last, process.epoch);
        if let Some(decision) = last {
            self.note(Note::Decided { pid, decision });
        }
        let Some((from, to)) = change else { return };
        let at = wire::Address { epoch, peer: self.config.me };
        let told = matches!(to, Locate::Mailbox(_));
        let gives_up_keeping = matches!(from, Locate::Pull { .. });
        if let Some(mailbox) = self.current(mailbox).filter(|_| told || gives_up_keeping) {
            // What is kept comes with a last poll, and what follows is passed on.
            if gives_up_keeping {
                self.send(mailbox, Message::Poll { pid, epoch });
            }
            self.send(mailbox, Message::Moved { pid, at });
        }
        self.start_polling(now, pid);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::testing::pid;

    const BORN: NodeId = NodeId(9);
    const SENDERS: u32 = 100;

    fn node(number: u64) -> NodeId {
        NodeId(1 + (number % 8) as u32)
    }

    /// A process that moves among eight nodes; writers are on nodes of their own.
    struct Life {
        books: Books,
        here: NodeId,
        moves: u64,
        trail: Vec<Left>,
    }

    impl Life {
        fn new() -> Self {
            Self { books: Books::new(BORN), here: BORN, moves: 0, trail: vec![] }
        }

        fn moves(&mut self) {
            self.moves += 1;
            let left = core::mem::replace(&mut self.here, node(self.moves));
            let others: Vec<_> =
                self.books.known.keys().map(|pid| (*pid, NodeId(SENDERS))).collect();
            self.trail.retain(|old| old.node != left && old.node != self.here);
            self.trail.push(Left { node: left, to: self.here, forwards: false });
            self.books.moved(Instant(self.moves * 100), left, self.here, &others);
            self.weighs();
        }

        fn hears(&mut self, from: u64) {
            let letter = self.books.case(pid(from), NodeId(SENDERS), self.here, &self.trail);
            self.books.letter(pid(from), letter, self.here);
            self.weighs();
        }

        fn weighs(&mut self) {
            let grown = self.books.chains_have_grown(self.here, &self.trail);
            self.books.weigh(true, grown);
        }

        /// Rounds of so many letters, by these many in turn, and so many moves.
        fn goes_on(&mut self, rounds: u64, letters: u64, writers: u64, moves: u64) {
            let mut writer = 0;
            for _ in 0..rounds {
                for _ in 0..letters {
                    writer = (writer + 1) % writers;
                    self.hears(writer);
                }
                for _ in 0..moves {
                    self.moves();
                }
            }
        }
    }

    #[test]
    fn who_moves_much_says_nothing_and_who_is_written_to_much_says_where_it_is() {
        let mut life = Life::new();
        life.goes_on(100, 10, 1, 1);
        assert_eq!(life.books.using(), Locate::Update);
        let before = life.books.ledger().changes;
        life.goes_on(10, 1, 1, 100);
        assert_eq!(life.books.using(), Locate::Directory);
        assert!(life.books.ledger().changes - before <= 2);
    }

    #[test]
    fn many_that_write_seldom_are_served_by_a_mailbox() {
        let mut life = Life::new();
        // Each has fallen six moves behind when it writes again.
        life.goes_on(100, 4, 24, 1);
        assert_eq!(life.books.using(), Locate::Mailbox(BORN));
        assert_eq!(life.books.via(), Some(Via { mailbox: BORN, keeps: false }));
        let said = life.books.ledger().last.expect("a decision");
        assert!(said.costs.1 <= said.costs.0, "{said:?}");
    }

    #[test]
    fn without_moves_nothing_changes() {
        let mut life = Life::new();
        life.goes_on(1_000, 1, 8, 0);
        assert_eq!(life.books.ledger().changes, 0);
        assert_eq!(life.books.using(), Locate::Directory);
    }

    #[test]
    fn the_books_travel() {
        let mut life = Life::new();
        life.goes_on(30, 4, 8, 1);
        let ledger = life.books.ledger();
        assert_eq!(Books::restored(ledger.clone()).ledger(), ledger);
        let liar = Ledger { using: Locate::Adaptive, ..ledger };
        assert_eq!(Books::restored(liar).using(), Locate::Directory);
    }

    #[test]
    fn a_few_dear_letters_are_chance() {
        let mut life = Life::new();
        life.goes_on(3, 1, 1, 100);
        assert_eq!(life.books.ledger().changes, 0);
        assert_eq!(life.books.using(), Locate::Directory);
    }

    #[test]
    fn who_moves_on_and_on_does_not_leave_word() {
        let mut life = Life::new();
        let grown = |life: &Life| life.books.chains_have_grown(life.here, &life.trail);
        life.goes_on(4, 10, 1, 1);
        assert!(!grown(&life), "each chain has been one long");
        for _ in 0..7 {
            life.moves();
        }
        assert!(grown(&life), "they are as long as there are nodes");
    }

    #[test]
    fn forwarders_are_counted_along_the_chain() {
        let left = |node, to| Left { node: NodeId(node), to: NodeId(to), forwards: true };
        let trail = [left(1, 2), left(2, 3), left(3, 4)];
        let count = |from, to, sender| links(&trail, NodeId(from), NodeId(to), NodeId(sender));
        assert_eq!(count(1, 4, 9), 3);
        assert_eq!(count(1, 4, 2), 1, "the sender's own node knows better than those before it");
        assert_eq!(count(4, 4, 9), 0);
        assert_eq!(count(7, 4, 9), 1, "where word is missing");
    }
}
