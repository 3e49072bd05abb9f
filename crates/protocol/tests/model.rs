//! The rules of a move, exhaustively, on two nodes: every order of every step, with crashes, loss,
//! delay, repetition, and questions to the registry that land late or twice.
//!
//! This is a small abstraction of the machine: one process, no time, no output. A message, once
//! said, may arrive at any time, any number of times, or never; so may a compare-and-swap. An effect is anything
//! that others see: `seen` counts them, and each copy knows how many it has made.
//!
//! What must hold: at most one copy runs; no copy runs that has made fewer effects than were seen,
//! or after its end was told; no record names a living node that holds nothing; and from every state in which a survivor holds a valid image, some steps
//! without further crashes let the process run. The last is not expressible to the checker,
//! which explores paths; [`stuck`] computes it backwards over the same state graph.
//!
//! Each rule is named as in `docs/protocol.md`; a mutant lacks one, and must fail.
//! `MODEL_CRASHES`, `MODEL_OFFERS`, `MODEL_EFFECTS` set larger bounds.

use std::collections::{BTreeSet, HashMap, VecDeque};

use protocol::Rule;
use stateright::{Checker as _, Model, Property};

/// One process, two nodes, one registry, and the rule that is broken, if one is.
#[derive(Clone)]
struct Move {
    broken: Option<Rule>,
    crashes: u8,
    offers: u8,
    effects: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    nodes: [Node; 2],
    place: Place,
    said: BTreeSet<Message>,
    asked: BTreeSet<Swap>,
    /// How many effects the world has seen.
    seen: u8,
    ended: bool,
    crashes: u8,
    offers: u8,
    effects: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    up: bool,
    incarnation: u8,
    /// The highest offer that this incarnation has seen.
    floor: u8,
    /// The highest offer that this incarnation has committed.
    committed: u8,
    copy: Copy,
}

/// What a node holds of the process. `made`: the effects that the copy remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Copy {
    None,
    Running { made: u8, epoch: u8, offer: u8, muted: bool },
    Offered { made: u8, epoch: u8, offer: u8, to: Peer },
    Staged { made: u8, epoch: u8, offer: u8, from: Peer },
    Kept { made: u8, epoch: u8, offer: u8, to: Peer, taking_back: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Peer {
    node: usize,
    incarnation: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    owner: Peer,
    epoch: u8,
    offer: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Message {
    to: Peer,
    from: Peer,
    offer: u8,
    word: Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Word {
    /// The offer, with the image.
    Image {
        made: u8,
        epoch: u8,
    },
    Settled,
    Forgotten,
    Cancel,
    Dropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Swap {
    by: Peer,
    kind: Kind,
    owner: Peer,
    epoch: u8,
    offer: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Commit,
    GiveUp,
    Raise,
    TakeBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Crash(usize),
    Restart(usize),
    Effect(usize),
    End(usize),
    Offer(usize),
    GiveUpByTime(usize),
    ReleaseByTime(usize),
    Say(Message),
    Ask(Swap),
    Hear(Message),
    /// The registry gets a question; its answer arrives, or does not.
    Land(Swap, bool),
}

impl Swap {
    fn result(self) -> Place {
        Place { owner: self.by, epoch: self.epoch + 1, offer: self.offer }
    }
}

impl State {
    fn peer(&self, node: usize) -> Peer {
        Peer { node, incarnation: self.nodes[node].incarnation }
    }

    fn current(&self, peer: Peer) -> bool {
        self.nodes[peer.node].up && self.peer(peer.node) == peer
    }

    fn running(&self) -> impl Iterator<Item = Copy> + '_ {
        let up = self.nodes.iter().filter(|node| node.up).map(|node| node.copy);
        up.filter(|copy| matches!(copy, Copy::Running { .. }))
    }

    /// Whether a survivor holds an image from which the process could rightly go on.
    fn has_valid_image(&self) -> bool {
        let place = self.place;
        (0..2).filter(|node| self.nodes[*node].up).any(|node| {
            let me = self.peer(node);
            let committed =
                |to, epoch, offer| place == Place { owner: to, epoch: epoch + 1, offer };
            let (made, valid) = match self.nodes[node].copy {
                Copy::None => return false,
                Copy::Running { made, .. } => (made, place.owner == me),
                Copy::Offered { made, epoch, offer, to } => {
                    (made, place.owner == me || committed(to, epoch, offer))
                }
                Copy::Staged { made, epoch, offer, from } => {
                    let waiting = (place.owner, place.epoch) == (from, epoch);
                    (made, waiting || committed(me, epoch, offer))
                }
                Copy::Kept { made, epoch, offer, to, .. } => (made, committed(to, epoch, offer)),
            };
            valid && made == self.seen
        })
    }

    fn lives_on(&self) -> bool {
        self.ended || self.running().any(|copy| matches!(copy, Copy::Running { muted: false, .. }))
    }
}

impl Move {
    fn keep(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    /// What a node may do by itself.
    fn own_steps(&self, s: &State, node: usize, actions: &mut Vec<Action>) {
        let (me, other) = (s.peer(node), s.peer(1 - node));
        let say = |word, offer| Action::Say(Message { to: other, from: me, offer, word });
        let ask =
            |kind, owner, epoch, offer| Action::Ask(Swap { by: me, kind, owner, epoch, offer });
        match s.nodes[node].copy {
            Copy::None => (),
            Copy::Running { epoch, offer, muted: true, .. } => {
                actions.push(say(Word::Settled, offer));
                actions.push(ask(Kind::Raise, me, epoch, offer));
                if !self.keep(Rule::RaiseWhenSilent) {
                    actions.push(Action::ReleaseByTime(node));
                }
            }
            Copy::Running { .. } => {
                if 0 < s.effects {
                    actions.push(Action::Effect(node));
                }
                if 0 < s.offers {
                    actions.push(Action::Offer(node));
                }
                actions.push(Action::End(node));
            }
            Copy::Offered { epoch, offer, to, .. } => {
                let word = Word::Cancel;
                actions.push(Action::Say(Message { to, from: me, offer, word }));
                if other != to {
                    actions.push(say(Word::Cancel, offer));
                }
                actions.push(ask(Kind::GiveUp, me, epoch, offer));
                if !self.keep(Rule::GiveUpByAnswer) {
                    actions.push(Action::GiveUpByTime(node));
                }
            }
            Copy::Staged { epoch, offer, from, .. } => {
                actions.push(ask(Kind::Commit, from, epoch, offer));
            }
            Copy::Kept { epoch, offer, to, .. } => {
                if !s.current(to) || !self.keep(Rule::Evidence) {
                    actions.push(ask(Kind::TakeBack, to, epoch + 1, offer));
                }
            }
        }
    }

    /// A node hears a message. `None` if that changes nothing.
    fn hear(&self, mut s: State, m: Message) -> Option<State> {
        let node = m.to.node;
        if !s.nodes[node].up || (self.keep(Rule::BindIncarnation) && s.peer(node) != m.to) {
            return None;
        }
        let me = s.peer(node);
        let answer_to = s.peer(1 - node);
        let n = &mut s.nodes[node];
        let reply = |word| Message { to: answer_to, from: me, offer: m.offer, word };
        match (m.word, n.copy) {
            (Word::Image { made, epoch }, Copy::None) => {
                if self.keep(Rule::Floor) && m.offer <= n.floor {
                    return None;
                }
                n.floor = n.floor.max(m.offer);
                n.copy = Copy::Staged { made, epoch, offer: m.offer, from: m.from };
            }
            (Word::Settled, Copy::Kept { offer, taking_back: true, .. })
                if offer == m.offer && self.keep(Rule::TakeBackIsBound) =>
            {
                return None;
            }
            (Word::Settled, Copy::Kept { offer, .. } | Copy::Offered { offer, .. })
                if offer == m.offer =>
            {
                n.copy = Copy::None;
                s.said.insert(reply(Word::Forgotten));
            }
            (Word::Settled, _) if self.keep(Rule::AnswerForgotten) => {
                s.said.insert(reply(Word::Forgotten));
            }
            (Word::Forgotten, Copy::Running { made, epoch, offer, muted: true })
                if offer == m.offer =>
            {
                n.copy = Copy::Running { made, epoch, offer, muted: false };
            }
            // It has asked for the commit, as every stage does at once.
            (Word::Cancel, Copy::Staged { .. }) if self.keep(Rule::AskedIsBound) => return None,
            (Word::Cancel, Copy::None | Copy::Staged { .. }) => {
                if self.keep(Rule::CommittedIsNotDropped) && m.offer <= n.committed {
                    return None;
                }
                if self.keep(Rule::CancelFloor) {
                    n.floor = n.floor.max(m.offer);
                }
                n.copy = Copy::None;
                s.said.insert(reply(Word::Dropped));
            }
            (Word::Dropped, Copy::Offered { made, epoch, offer, to })
                if offer == m.offer && (to == m.from || !self.keep(Rule::DroppedBySame)) =>
            {
                n.copy = Copy::Running { made, epoch, offer, muted: false };
            }
            (Word::Image { .. } | Word::Settled | Word::Forgotten, _) => return None,
            (Word::Cancel | Word::Dropped, _) => return None,
        }
        Some(s)
    }

    /// The registry compares and swaps; whoever asked hears the answer, or does not.
    fn land(&self, mut s: State, swap: Swap, heard: bool) -> State {
        let gone = s.peer(swap.by.node) != swap.by || !s.nodes[swap.by.node].up;
        let evidence =
            swap.kind != Kind::TakeBack || !s.current(swap.owner) || !self.keep(Rule::Evidence);
        let refuses = gone && self.keep(Rule::GoneAsksNothing);
        let hit = (s.place.owner, s.place.epoch) == (swap.owner, swap.epoch);
        let said = s.place == swap.result() && self.keep(Rule::AlreadyCounts);
        let yes = !refuses && (said || (hit && evidence));
        if yes {
            s.place = swap.result();
        }
        // No evidence yet is no answer about the record.
        if heard && s.current(swap.by) && (yes || !hit) {
            self.answered(&mut s, swap, yes);
        }
        s
    }

    fn answered(&self, s: &mut State, swap: Swap, yes: bool) {
        let (me, place) = (swap.by, s.place);
        let other = s.peer(1 - me.node);
        let node = &mut s.nodes[me.node];
        let runs = |made, epoch, muted| Copy::Running { made, epoch, offer: swap.offer, muted };
        let committed = |to, epoch| place == Place { owner: to, epoch, offer: swap.offer };
        match (swap.kind, node.copy) {
            (Kind::Commit, Copy::Staged { made, offer, .. }) if offer == swap.offer => {
                if !yes {
                    node.copy = Copy::None;
                    return;
                }
                node.committed = node.committed.max(offer);
                node.copy = runs(made, place.epoch, self.keep(Rule::HoldEffects));
                let word = Word::Settled;
                s.said.insert(Message { to: other, from: me, offer, word });
            }
            (Kind::GiveUp, Copy::Offered { made, epoch, offer, to }) if offer == swap.offer => {
                node.copy = if yes || (place.owner == me && self.keep(Rule::TakeEpochFound)) {
                    runs(made, place.epoch, false)
                } else if place.owner == me {
                    return;
                } else if committed(to, epoch + 1) && self.keep(Rule::KeepUntilSettled) {
                    Copy::Kept { made, epoch, offer, to, taking_back: false }
                } else {
                    Copy::None
                };
            }
            (Kind::Raise, Copy::Running { made, epoch, offer, muted: true })
                if yes && (offer, epoch) == (swap.offer, swap.epoch) =>
            {
                node.copy = runs(made, place.epoch, false);
            }
            (Kind::TakeBack, Copy::Kept { made, offer, .. }) if offer == swap.offer => {
                let mine = yes || place.owner == me;
                node.copy = if mine { runs(made, place.epoch, false) } else { Copy::None };
            }
            _ => (),
        }
    }
}

impl Model for Move {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = Node { up: true, incarnation: 0, floor: 0, committed: 0, copy: Copy::None };
        let mut nodes = [node.clone(), node];
        nodes[0].copy = Copy::Running { made: 0, epoch: 0, offer: 0, muted: false };
        let owner = Peer { node: 0, incarnation: 0 };
        vec![State {
            nodes,
            place: Place { owner, epoch: 0, offer: 0 },
            said: BTreeSet::new(),
            asked: BTreeSet::new(),
            seen: 0,
            ended: false,
            crashes: self.crashes,
            offers: self.offers,
            effects: self.effects,
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        for node in 0..2 {
            if !s.nodes[node].up {
                actions.push(Action::Restart(node));
                continue;
            }
            if 0 < s.crashes {
                actions.push(Action::Crash(node));
            }
            self.own_steps(s, node, actions);
        }
        actions.extend(s.said.iter().map(|message| Action::Hear(*message)));
        for swap in &s.asked {
            actions.extend([Action::Land(*swap, true), Action::Land(*swap, false)]);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut s = before.clone();
        match action {
            Action::Crash(node) => {
                s.crashes -= 1;
                let incarnation = s.nodes[node].incarnation;
                let copy = Copy::None;
                s.nodes[node] = Node { up: false, incarnation, floor: 0, committed: 0, copy };
            }
            Action::Restart(node) => {
                s.nodes[node].up = true;
                s.nodes[node].incarnation += 1;
            }
            Action::Effect(node) => {
                if let Copy::Running { made, .. } = &mut s.nodes[node].copy {
                    *made += 1;
                }
                s.seen += 1;
                s.effects -= 1;
            }
            Action::End(node) => {
                s.nodes[node].copy = Copy::None;
                s.ended = true;
            }
            Action::Offer(node) => {
                let Copy::Running { made, epoch, offer, .. } = s.nodes[node].copy else {
                    return None;
                };
                let fresh = self.keep(Rule::FreshOffers);
                let offer = if fresh { offer + 1 } else { epoch / 2 + 1 };
                let (from, to) = (s.peer(node), s.peer(1 - node));
                s.nodes[node].copy = Copy::Offered { made, epoch, offer, to };
                s.said.insert(Message { to, from, offer, word: Word::Image { made, epoch } });
                s.offers -= 1;
            }
            Action::GiveUpByTime(node) => {
                if let Copy::Offered { made, epoch, offer, .. } = s.nodes[node].copy {
                    s.nodes[node].copy = Copy::Running { made, epoch, offer, muted: false };
                }
            }
            Action::ReleaseByTime(node) => {
                if let Copy::Running { muted, .. } = &mut s.nodes[node].copy {
                    *muted = false;
                }
            }
            Action::Say(message) => {
                s.said.insert(message);
            }
            Action::Ask(swap) => {
                s.asked.insert(swap);
                if let Copy::Kept { taking_back, .. } = &mut s.nodes[swap.by.node].copy {
                    *taking_back |= swap.kind == Kind::TakeBack;
                }
            }
            Action::Hear(message) => s = self.hear(s, message)?,
            Action::Land(swap, heard) => s = self.land(s, swap, heard),
        }
        // What nobody will listen to is forgotten, to keep the space small.
        if self.keep(Rule::BindIncarnation) {
            let now = [s.peer(0), s.peer(1)];
            s.said.retain(|message| {
                message.to == now[message.to.node] || !before_now(message.to, now)
            });
        }
        if self.keep(Rule::GoneAsksNothing) {
            let now = [s.peer(0), s.peer(1)];
            let up = [s.nodes[0].up, s.nodes[1].up];
            s.asked.retain(|swap| swap.by == now[swap.by.node] && up[swap.by.node]);
        }
        (s != *before).then_some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one copy runs", |_, s: &State| s.running().count() <= 1),
            Property::always("nothing seen is undone", |_, s: &State| {
                s.running().all(|copy| match copy {
                    Copy::Running { made, .. } => s.seen <= made && !s.ended,
                    _ => true,
                })
            }),
            Property::always("the record names nobody who holds nothing", |_, s: &State| {
                let owner = s.place.owner;
                s.ended || !s.current(owner) || s.nodes[owner.node].copy != Copy::None
            }),
        ]
    }
}

fn before_now(peer: Peer, now: [Peer; 2]) -> bool {
    peer.incarnation < now[peer.node].incarnation
}

/// How a state could come about without the registry: only what nodes say to each other.
fn without_registry(action: &Action) -> bool {
    !matches!(action, Action::Crash(_) | Action::Land(..))
}

fn without_crashes(action: &Action) -> bool {
    !matches!(action, Action::Crash(_))
}

/// States that satisfy `from` and cannot reach `to` by the allowed steps.
fn stuck(
    model: &Move,
    allowed: fn(&Action) -> bool,
    from: impl Fn(&State) -> bool,
    to: impl Fn(&State) -> bool,
) -> Option<State> {
    let mut states = model.init_states();
    let mut number: HashMap<State, u32> = HashMap::from([(states[0].clone(), 0)]);
    let mut edges = Vec::new();
    let mut queue = VecDeque::from([0u32]);
    let mut actions = Vec::new();
    while let Some(at) = queue.pop_front() {
        let state = states[at as usize].clone();
        actions.clear();
        model.actions(&state, &mut actions);
        for action in &actions {
            let Some(next) = model.next_state(&state, *action) else { continue };
            let fresh = states.len() as u32;
            let next_number = *number.entry(next.clone()).or_insert(fresh);
            if next_number == fresh {
                states.push(next);
                queue.push_back(fresh);
            }
            if allowed(action) {
                edges.push((next_number, at));
            }
        }
    }
    edges.sort_unstable();
    let mut reaches = vec![false; states.len()];
    let mut todo: Vec<u32> =
        (0..states.len() as u32).filter(|n| to(&states[*n as usize])).collect();
    for n in &todo {
        reaches[*n as usize] = true;
    }
    while let Some(n) = todo.pop() {
        let first = edges.partition_point(|(next, _)| *next < n);
        for (_, before) in edges[first..].iter().take_while(|(next, _)| *next == n) {
            if !std::mem::replace(&mut reaches[*before as usize], true) {
                todo.push(*before);
            }
        }
    }
    println!("{} states", states.len());
    states.into_iter().zip(reaches).find(|(s, reaches)| !reaches && from(s)).map(|(s, _)| s)
}

/// What is wrong, if anything is.
fn fault(model: &Move) -> Option<String> {
    let checker = model.clone().checker().threads(1).spawn_bfs().join();
    if let Some((name, path)) = checker.discoveries().into_iter().next() {
        let steps: Vec<String> =
            path.into_actions().iter().map(|action| format!("  {action:?}")).collect();
        return Some(format!("{name} fails after:\n{}", steps.join("\n")));
    }
    if let Some(state) = stuck(model, without_crashes, State::has_valid_image, State::lives_on) {
        return Some(format!("a survivor's image never runs: {state:#?}"));
    }
    let muted = |s: &State| {
        s.nodes.iter().all(|node| node.up)
            && s.running().any(|copy| matches!(copy, Copy::Running { muted: true, .. }))
            && s.nodes.iter().all(|n| !matches!(n.copy, Copy::Kept { taking_back: true, .. }))
    };
    stuck(model, without_registry, muted, State::lives_on)
        .map(|state| format!("held back for ever without the registry: {state:#?}"))
}

fn bound(name: &str, otherwise: u8) -> u8 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn all_rules_together_are_safe_and_live() {
    let crashes = bound("MODEL_CRASHES", 1);
    let offers = bound("MODEL_OFFERS", 2);
    let effects = bound("MODEL_EFFECTS", 1);
    let model = Move { broken: None, crashes, offers, effects };
    assert_eq!(fault(&model), None);
}

#[test]
fn without_any_of_these_rules_it_fails() {
    let mut standing = Vec::new();
    for (rule, crashes, offers) in NEEDED {
        let model = Move { broken: Some(*rule), crashes: *crashes, offers: *offers, effects: 1 };
        match fault(&model) {
            Some(fault) => println!("{rule}: {fault}\n"),
            None => standing.push(rule),
        }
    }
    assert!(standing.is_empty(), "nothing shows that these are needed: {standing:?}");
}

/// Rules, and the smallest number of crashes and offers that shows each.
const NEEDED: &[(Rule, u8, u8)] = &[
    (Rule::HoldEffects, 1, 1),
    (Rule::GiveUpByAnswer, 0, 1),
    (Rule::DroppedBySame, 1, 1),
    (Rule::Evidence, 0, 1),
    (Rule::Floor, 0, 1),
    (Rule::CancelFloor, 0, 1),
    (Rule::AskedIsBound, 0, 1),
    (Rule::CommittedIsNotDropped, 0, 1),
    (Rule::AlreadyCounts, 0, 1),
    (Rule::TakeEpochFound, 1, 2),
    (Rule::RaiseWhenSilent, 1, 1),
    (Rule::AnswerForgotten, 1, 1),
    (Rule::KeepUntilSettled, 1, 1),
    (Rule::TakeBackIsBound, 1, 1),
    (Rule::FreshOffers, 0, 2),
];
