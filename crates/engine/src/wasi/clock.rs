//! The process's own monotonic clock: it goes on while the process is frozen, and never back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Nanoseconds on a process's own monotonic clock, which no other process shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Monotonic(pub(super) u64);

/// What a process's clock shows when it starts. Not zero: some programs take zero for "never".
const FIRST: Monotonic = Monotonic(1_000_000_000);

/// A process's monotonic clock, on top of this machine's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What the process's clock showed at `anchor`.
    base: Monotonic,
    /// A moment on this machine's clock ([`crate::now`]).
    anchor: u64,
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
        Self { base: FIRST, anchor: crate::now() }
    }

    pub(super) fn resumed(saved: SavedClock, frozen_for: Option<Duration>) -> Self {
        let frozen_for = frozen_for.map_or_else(|| wall().saturating_sub(saved.wall), nanos);
        let base = Monotonic(saved.now.0.saturating_add(frozen_for));
        Self { base, anchor: crate::now() }
    }

    pub(super) fn saved(self) -> SavedClock {
        SavedClock { now: self.now(), wall: wall() }
    }

    pub(super) fn now(self) -> Monotonic {
        let elapsed = crate::now().saturating_sub(self.anchor);
        Monotonic(self.base.0.saturating_add(elapsed))
    }

    /// How long the process has been alive, frozen time included.
    pub(super) fn age(self) -> Duration {
        Duration::from_nanos(self.now().0.saturating_sub(FIRST.0))
    }

    /// That moment on this machine's clock: the end of time, if the clock cannot show it.
    pub(super) fn on_host(self, at: Monotonic) -> u64 {
        self.anchor.saturating_add(at.0.saturating_sub(self.base.0))
    }
}

/// Nanoseconds since 1970, by this machine's wall clock.
pub(super) fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
}

/// A duration in nanoseconds; what exceeds 584 years is that.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
