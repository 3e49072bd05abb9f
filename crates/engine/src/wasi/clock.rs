//! The process's own monotonic clock: it goes on while the process is frozen, and never back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Nanoseconds on a process's own monotonic clock, which no other process shares.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Monotonic(pub u64);

/// What a process's clock shows when it starts. Not zero: some programs take zero for "never".
const FIRST: Monotonic = Monotonic(1_000_000_000);

/// A process's monotonic clock, on top of this machine's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What the process's clock showed at `anchor`.
    base: Monotonic,
    /// A moment on this machine's clock.
    anchor: Instant,
}

/// A clock at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedClock {
    /// What it showed when the process was frozen.
    now: Monotonic,
    /// The wall clock then, in nanoseconds since 1970.
    wall: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { base: FIRST, anchor: Instant::now() }
    }

    pub(super) fn resumed(saved: SavedClock, frozen_for: Option<Duration>) -> Self {
        let frozen_for = frozen_for.map_or_else(|| wall().saturating_sub(saved.wall), nanos);
        let base = Monotonic(saved.now.0.saturating_add(frozen_for));
        Self { base, anchor: Instant::now() }
    }

    pub(super) fn saved(self) -> SavedClock {
        SavedClock { now: self.now(), wall: wall() }
    }

    pub(super) fn now(self) -> Monotonic {
        Monotonic(self.base.0.saturating_add(nanos(self.anchor.elapsed())))
    }

    /// How long a process has been alive, frozen time included.
    pub(super) fn age(self) -> Duration {
        Duration::from_nanos(self.now().0.saturating_sub(FIRST.0))
    }

    /// That moment on this machine's clock; `None` if it is too far off to be shown by it.
    pub(super) fn instant(self, at: Monotonic) -> Option<Instant> {
        match at.0.checked_sub(self.base.0) {
            Some(after) => self.anchor.checked_add(Duration::from_nanos(after)),
            None => Some(self.anchor),
        }
    }
}

/// Nanoseconds since 1970, by this machine's wall clock.
pub(super) fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
}

/// A duration in nanoseconds; what exceeds 584 years is that.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
