//! What each location strategy costs, counted with the real machines in a quiet world, beside what the model says.
//!
//! One process moves about; others, each on a node of its own choice, write to it. Every event, a letter or a move, is
//! over before the next one begins, 20 ms later. The same events happen under every strategy.

use protocol::cost::{DETOUR, LETTER, QUESTION, RELAY, WORD};
use protocol::{Rng, Rules, Span, Wish};
use wire::{Errand, Grant, InTransit, Locate, NodeId, Pid};

use crate::Faults;
use crate::letters::HEAD_BYTES;
use crate::meter::Meter;
use crate::world::{World, id};

/// From one event to the next: a mailbox that is polled is polled about once.
const SPACING: Span = Span::millis(20);

/// Where the group is started, and its mailbox is. The registry's home is node 0.
const START: usize = 1;

/// One way for letters to find a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// Ask the registry.
    Directory,
    /// Tell every correspondent.
    Update,
    /// Leave word.
    Forwarding,
    /// A mailbox that passes letters on.
    Mailbox,
    /// A mailbox that is polled.
    Pull,
    /// Whichever is cheapest.
    Adaptive,
}

impl Strategy {
    /// Those that do not choose.
    pub const FIXED: [Self; 5] =
        [Self::Directory, Self::Update, Self::Forwarding, Self::Mailbox, Self::Pull];

    /// The name that operators give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Update => "update",
            Self::Forwarding => "forwarding",
            Self::Mailbox => "mailbox",
            Self::Pull => "mailbox-pull",
            Self::Adaptive => "adaptive",
        }
    }

    fn locate(self) -> Locate {
        let mailbox = id(START);
        match self {
            Self::Directory => Locate::Directory,
            Self::Update => Locate::Update,
            Self::Forwarding => Locate::Forwarding,
            Self::Mailbox => Locate::Mailbox(mailbox),
            Self::Pull => Locate::Pull { mailbox, every_micros: SPACING.0 as u32 },
            Self::Adaptive => Locate::Adaptive,
        }
    }
}

/// How many letters come for how many moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Letters.
    pub letters: u32,
    /// Moves.
    pub moves: u32,
}

impl Ratio {
    /// The other way round.
    #[must_use]
    pub fn flipped(self) -> Self {
        Self { letters: self.moves, moves: self.letters }
    }

    fn share_of_letters(self) -> f64 {
        f64::from(self.letters) / f64::from(self.letters + self.moves)
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.letters, self.moves)
    }
}

/// Who there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// How many write to the process.
    pub correspondents: u32,
    /// On how many nodes all of them are, and move.
    pub nodes: usize,
}

impl Place {
    /// Where this correspondent is: they are dealt out, from the last node down.
    fn node_of(self, correspondent: u32) -> usize {
        self.nodes - 1 - correspondent as usize % self.nodes
    }
}

/// What a stretch of events has cost.
#[derive(Clone, Debug)]
pub struct Counted {
    /// How many events.
    pub events: u64,
    /// What was counted.
    pub meter: Meter,
    /// The most that nodes kept for processes elsewhere, all nodes together.
    pub left_behind: usize,
    /// How often the process changed its strategy.
    pub changes: u64,
}

impl Counted {
    /// Messages and added hops, for each event.
    #[must_use]
    pub fn cost(&self) -> f64 {
        self.meter.cost() as f64 / self.events as f64
    }

    /// How long a letter takes, on the average, beyond one hop.
    #[must_use]
    pub fn latency_micros(&self) -> f64 {
        self.meter.took.0 as f64 / (self.meter.letters.max(1)) as f64
    }
}

/// Runs stretches of events one after the other, each with its ratio and number of events.
///
/// # Errors
/// What went wrong in the world, which is a bug, and the story of the event in which it did.
pub fn count(
    place: Place,
    strategy: Strategy,
    seed: u64,
    stretches: &[(Ratio, u64)],
) -> Result<Vec<Counted>, String> {
    let stage = |story| Stage::begin(place, strategy, seed, story);
    stage(false).and_then(|mut stage| stage.count(seed, stretches)).map_err(|said| {
        let Ok(mut again) = stage(true) else { return said };
        let _ = again.count(seed, stretches);
        format!("{said}\n{}", again.world.story())
    })
}
/// A world with a process that moves and those that write to it.
struct Stage {
    world: World,
    group: Pid,
    place: Place,
    here: usize,
}

impl Stage {
    fn begin(place: Place, strategy: Strategy, seed: u64, story: bool) -> Result<Self, String> {
        let faults = Faults { delay_max: Span::micros(1), ..Faults::NONE };
        let mut world = World::new(seed, place.nodes, faults, Rules::ALL, story);
        world.meter = Some(Meter::default());
        let group = Pid { group: wire::GroupId(0), index: 0 };
        let mut stage = Self { world, group, place, here: START };
        stage.pass(Span::seconds(2))?;
        let wish = Wish::Spawn {
            home: id(START),
            name: None,
            grant: Grant::Own,
            locate: strategy.locate(),
            in_transit: InTransit::default(),
            together: false,
            durable: None,
            members: 1 + place.correspondents,
        };
        stage.world.wish(START, wish);
        stage.pass(Span::seconds(1))?;
        stage.group = *stage.world.truth.born.first().ok_or("no group was started")?;
        let group = stage.group;
        if let Some(meter) = &mut stage.world.meter {
            meter.about = Some(group);
        }
        for correspondent in 0..place.correspondents {
            stage.travel(1 + correspondent, place.node_of(correspondent))?;
        }
        // All have written once: nobody asks for the first address while it is counted.
        for correspondent in 0..place.correspondents {
            stage.letter(1 + correspondent)?;
        }
        Ok(stage)
    }

    fn count(&mut self, seed: u64, stretches: &[(Ratio, u64)]) -> Result<Vec<Counted>, String> {
        let place = self.place;
        let mut rng = Rng::seeded(seed);
        let mut counted = Vec::new();
        for (ratio, events) in stretches {
            let before = self.meter().clone();
            let changes = self.changes();
            let mut left_behind = 0;
            for _ in 0..*events {
                let letters = u64::from(ratio.letters);
                if rng.below(letters + u64::from(ratio.moves)) < letters {
                    let sender = 1 + rng.below(u64::from(place.correspondents)) as u32;
                    self.letter(sender)?;
                } else {
                    let others = place.nodes as u64 - 1;
                    let to = (self.here + 1 + rng.below(others) as usize) % place.nodes;
                    self.travel(0, to)?;
                    self.here = to;
                }
                left_behind = left_behind.max(self.left_behind());
            }
            counted.push(Counted {
                events: *events,
                meter: self.meter().since(&before),
                left_behind,
                changes: self.changes() - changes,
            });
        }
        Ok(counted)
    }

    fn pid(&self, index: u32) -> Pid {
        Pid { index, ..self.group }
    }

    fn meter(&self) -> &Meter {
        self.world.meter.as_ref().expect("a world that counts")
    }

    fn changes(&self) -> u64 {
        let machine = self.world.nodes[self.here].machine.as_ref();
        machine.and_then(|machine| machine.ledger(self.group)).map_or(0, |ledger| ledger.changes)
    }

    fn left_behind(&self) -> usize {
        let machines = self.world.nodes.iter().filter_map(|node| node.machine.as_ref());
        machines.map(protocol::Machine::left_behind).sum()
    }

    fn begin_event(&mut self) {
        self.world.hops = 0;
        if let Some(story) = &mut self.world.story {
            story.clear();
        }
    }

    /// Lets time pass.
    fn pass(&mut self, span: Span) -> Result<(), String> {
        let until = self.world.now + span;
        while self.world.step(until) {}
        self.world.now = until;
        match self.world.violation.take() {
            Some(violation) => Err(violation),
            None => Ok(()),
        }
    }

    fn letter(&mut self, sender: u32) -> Result<(), String> {
        let (from, to) = (self.pid(sender), self.group);
        let node = self.place.node_of(sender - 1);
        let arrived = self.meter().letters;
        let now = self.world.now;
        if let Some(meter) = &mut self.world.meter {
            meter.sent = Some(now);
        }
        self.begin_event();
        self.world.guest_writes(node, from, to, HEAD_BYTES);
        self.pass(SPACING)?;
        if let Some(meter) = &mut self.world.meter {
            meter.sent = None;
        }
        let late = self.meter().letters == arrived;
        // One that waits for the next poll.
        if late {
            self.pass(SPACING)?;
        }
        match self.meter().letters - arrived {
            1 => Ok(()),
            letters => Err(format!("{letters} letters arrived, of one that was sent")),
        }
    }

    /// Moves one of them.
    fn travel(&mut self, index: u32, to: usize) -> Result<(), String> {
        let pid = self.pid(index);
        let runs = |world: &World| {
            world.nodes.iter().position(|node| {
                node.guests.get(&pid).is_some_and(|guest| !guest.held && !guest.imaged)
            })
        };
        let from = runs(&self.world).ok_or_else(|| format!("{pid} does not run"))?;
        self.begin_event();
        self.world.wish(from, Wish::Errand(pid, Errand::Move(id(to))));
        self.pass(SPACING)?;
        match runs(&self.world) {
            Some(node) if node == to => Ok(()),
            other => Err(format!("{pid} is at {other:?}, not at {to}")),
        }
    }
}

/// What the model says of each event, in messages and added hops. `docs/protocol.md` has the formulas.
#[must_use]
pub fn predict(place: Place, strategy: Strategy, ratio: Ratio) -> f64 {
    let letters = ratio.share_of_letters();
    let moves = 1.0 - letters;
    let of_each = letters / f64::from(place.correspondents);
    let senders = 0..place.correspondents;
    let walk = Walk::new(place.nodes, moves / (moves + of_each));
    let each = senders.map(|sender| {
        let node = place.node_of(sender);
        of_each * per_letter(place, strategy, node, &walk)
            + moves * per_move_and_sender(place, strategy)
    });
    each.sum::<f64>()
        + moves * per_move(place, strategy, of_each, moves)
        + per_event(place, strategy)
}

/// A letter of one on this node, when the process has gone this way since its last.
fn per_letter(place: Place, strategy: Strategy, node: usize, walk: &Walk) -> f64 {
    let n = place.nodes as f64;
    // The process is on the sender's own node, and the letter crosses no wire.
    let apart = 1.0 - 1.0 / n;
    let unless = |condition: bool, cost: u64| if condition { 0.0 } else { cost as f64 };
    // Unless the mailbox is where the process is, which it may be on any node but the sender's.
    let relay = unless(node == START, RELAY) * (1.0 - 1.0 / (n - 1.0));
    let more = match strategy {
        Strategy::Directory => {
            let elsewhere = 1.0 - 1.0 / n;
            walk.behind * (elsewhere * DETOUR as f64 + unless(node == 0, QUESTION))
        }
        Strategy::Update => 0.0,
        Strategy::Forwarding => walk.links * (1.0 - 1.0 / n) * DETOUR as f64,
        Strategy::Mailbox => relay,
        Strategy::Pull => relay + (1.0 - 1.0 / n) * WORD as f64,
        Strategy::Adaptive => return f64::NAN,
    };
    apart * (LETTER as f64 + more)
}

/// What a move costs for each correspondent: two words, but for one on the node that is left or come to.
fn per_move_and_sender(place: Place, strategy: Strategy) -> f64 {
    match strategy {
        Strategy::Update => 2.0 * WORD as f64 * (1.0 - 1.0 / place.nodes as f64),
        _ => 0.0,
    }
}

/// What a move costs besides.
fn per_move(place: Place, strategy: Strategy, of_each: f64, moves: f64) -> f64 {
    let away = 1.0 - 1.0 / place.nodes as f64;
    match strategy {
        Strategy::Mailbox | Strategy::Pull => away * WORD as f64,
        Strategy::Forwarding => {
            // All have written before the next move; then what lies about is collected.
            let all = (1..=place.correspondents).map(|left| {
                let rate = f64::from(left) * of_each;
                rate / (rate + moves)
            });
            let all: f64 = all.product();
            (all * (place.nodes as f64 - 1.0)).min(1.0) * WORD as f64
        }
        Strategy::Directory | Strategy::Update | Strategy::Adaptive => 0.0,
    }
}

/// What time costs: a poll for each event.
fn per_event(place: Place, strategy: Strategy) -> f64 {
    match strategy {
        Strategy::Pull => (1.0 - 1.0 / place.nodes as f64) * WORD as f64,
        _ => 0.0,
    }
}

/// Where a process is that has moved a number of times, each time to any other node, seen from where it was.
struct Walk {
    /// The probability that it is elsewhere.
    behind: f64,
    /// Forwarders on the way there: as each points to where it went from there last, circles are left out.
    links: f64,
}

impl Walk {
    /// One that has moved with the probability `again`, and again with the same, and so on.
    fn new(nodes: usize, again: f64) -> Self {
        // The length of the way without its circles is a chain of its own: one longer, or back to one of its nodes.
        let others = nodes as f64 - 1.0;
        let mut lengths = vec![0.0; nodes + 1];
        lengths[0] = 1.0;
        let (mut behind, mut links, mut reached) = (0.0, 0.0, 1.0);
        let mut settled = false;
        while 1e-9 < reached {
            let length: f64 = lengths.iter().enumerate().map(|(l, p)| l as f64 * p).sum();
            // The way soon forgets where it began: more moves make it no longer.
            let stays = if settled { reached } else { reached * (1.0 - again) };
            behind += stays * (1.0 - lengths[0]);
            links += stays * length;
            reached -= stays;
            let mut next = vec![0.0; nodes + 1];
            for (length, chance) in lengths.iter().enumerate() {
                for earlier in &mut next[..length] {
                    *earlier += chance / others;
                }
                if length < nodes - 1 {
                    next[length + 1] += chance * (others - length as f64) / others;
                }
            }
            let changed = lengths.iter().zip(&next).map(|(before, after)| (before - after).abs());
            settled = changed.fold(0.0, f64::max) < 1e-12;
            lengths = next;
        }
        Self { behind, links }
    }
}

/// The mailbox's node, as members know it.
#[must_use]
pub fn mailbox() -> NodeId {
    id(START)
}
