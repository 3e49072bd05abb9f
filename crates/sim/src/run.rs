//! One bad day: a cluster, wishes, faults; then no faults, and the reckoning.

use std::panic::{AssertUnwindSafe, catch_unwind};

use protocol::{Instant, Rng, Rules, Span};

use crate::world::{Event, WishFor, World};
use crate::{Cells, Faults, Marks};

/// Faults end then, and nobody wishes anything more.
const HEALED_AT: Instant = Instant(25_000_000);

/// By then everything must have come to rest but the guests.
const QUIET_AT: Instant = Instant(65_000_000);

/// By then everything that was written must have arrived.
const OVER_AT: Instant = Instant(72_000_000);

/// What one seed has shown.
#[derive(Debug)]
pub struct Outcome {
    /// The first thing that must not be, if there was one.
    pub violation: Option<String>,
    /// Rare things, counted.
    pub marks: Marks,
    /// Offers made.
    pub moves: u64,
    /// Crashes and cuts that hit a step of a move.
    pub faults: u64,
    /// Which of them hit which cell of the table of faults.
    pub cells: Cells,
    /// Events: messages that came, timers, answers of drivers, steps of guests.
    pub events: u64,
    /// What happened, one event a line, if it was wanted.
    pub story: String,
}

/// Runs one seed. A panic of a machine is a violation too.
#[must_use]
pub fn run(seed: u64, rules: Rules, story: bool) -> Outcome {
    let mut rng = Rng::seeded(seed);
    let size = size(&mut rng);
    let faults = Faults::swarm(&mut rng);
    let mut world = World::new(rng.bits(), size, faults, rules, story);
    plan(&mut world, &mut rng, size);
    let day = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    if let Err(panic) = day {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        world.fail(format!("a machine panicked: {}", words.unwrap_or_default()));
    }
    Outcome {
        violation: world.violation.take(),
        moves: world.truth.moves,
        faults: world.truth.faults,
        story: world.story().to_owned(),
        events: world.steps,
        cells: world.cells,
        marks: world.marks,
    }
}

/// Most clusters are small, where those that meet meet again; some are not.
fn size(rng: &mut Rng) -> usize {
    let size = match rng.below(100) {
        0..80 => 3 + rng.below(3),
        80..96 => 6 + rng.below(7),
        _ => 13 + rng.below(38),
    };
    size as usize
}

fn plan(world: &mut World, rng: &mut Rng, size: usize) {
    let some_node = |rng: &mut Rng| rng.below(size as u64) as usize;
    for _ in 0..1 + rng.below(3) {
        let at = Instant::ZERO + Span::millis(1 + rng.below(1_500));
        let wish = Box::new(WishFor::Spawn);
        world.schedule_at(at, Event::Wish { node: some_node(rng), wish });
    }
    for _ in 0..20 + rng.below(28) {
        let at = Instant::ZERO + Span::millis(1_000 + rng.below(22_000));
        let wish = Box::new(match rng.below(100) {
            0..60 => WishFor::Move(some_node(rng)),
            60..64 => WishFor::HandLogs(some_node(rng)),
            64..70 => WishFor::Gather(some_node(rng)),
            70..74 => WishFor::Locate,
            74..84 => WishFor::Spawn,
            84..87 => WishFor::Kill,
            87..89 => WishFor::KillGroup,
            89..94 => WishFor::Store,
            _ => WishFor::Thaw,
        });
        world.schedule_at(at, Event::Wish { node: some_node(rng), wish });
    }
}

fn live(world: &mut World) {
    while world.step(HEALED_AT) {}
    if world.violation.is_some() {
        return;
    }
    world.now = HEALED_AT;
    world.heal();
    while world.step(HEALED_AT + Span::seconds(20)) {}
    thaw_all(world);
    while world.step(QUIET_AT) {}
    world.truth.quiet = true;
    while world.step(OVER_AT) {}
    if world.violation.is_none() {
        world.check_liveness();
    }
}

/// What lies in a file must be able to come back.
fn thaw_all(world: &mut World) {
    let resting: Vec<_> = world
        .files
        .keys()
        .copied()
        .filter(|pid| world.place(*pid).owner == wire::Owner::File)
        .collect();
    let Some(node) = world.nodes.iter().position(|node| node.machine.is_some()) else { return };
    for pid in resting {
        world.thaw(node, pid);
    }
}
