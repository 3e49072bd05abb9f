//! What goes wrong, and how often: each seed has a bad day of its own kind.

use protocol::{Rng, Span};

/// What goes wrong.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Messages lost, in percent.
    pub loss: u64,
    /// Messages delivered twice, in percent.
    pub repeat: u64,
    /// The longest that most messages take.
    pub delay_max: Span,
    /// Messages that take up to five seconds longer, in percent.
    pub straggle: u64,
    /// Chance that a step of a move is hit by a crash, in percent.
    pub crash: u64,
    /// Chance that a step of a move is hit by a cut link, in percent.
    pub cut: u64,
    /// Streams of images that break, in percent.
    pub breakage: u64,
    /// Targets that refuse, in percent.
    pub refusal: u64,
    /// Nodes that never come back after a crash and are forgotten, in percent of crashes.
    pub forget: u64,
    /// The longest a crashed node stays away.
    pub away_max: Span,
}

impl Faults {
    /// A perfect day.
    pub const NONE: Self = Self {
        loss: 0,
        repeat: 0,
        delay_max: Span::millis(2),
        straggle: 0,
        crash: 0,
        cut: 0,
        breakage: 0,
        refusal: 0,
        forget: 0,
        away_max: Span::millis(1),
    };

    /// A different kind of bad day for each seed.
    pub fn swarm(rng: &mut Rng) -> Self {
        let mut some = |bound: u64| if rng.chance(30) { 0 } else { rng.below(bound) };
        Self {
            loss: some(30),
            repeat: some(50),
            straggle: some(20),
            crash: some(16),
            cut: some(12),
            breakage: some(30),
            refusal: some(15),
            forget: some(40),
            away_max: Span::millis(100 + rng.below(9_000)),
            delay_max: Span::millis(1 << rng.below(10)),
        }
    }
}
