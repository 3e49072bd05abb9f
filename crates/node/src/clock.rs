//! The node's clock, as the protocol counts time.

use std::time::{Duration, SystemTime};

use protocol::Instant;

/// Microseconds since 1970 at the node's start, and from then on those of the monotonic clock that
/// also counts while the machine sleeps: what the registry writes down means the same after a
/// restart, and time never goes back within a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What to add to the monotonic clock, in microseconds.
    offset: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let micros = u64::try_from(unix_now().as_micros()).unwrap_or(u64::MAX);
        Self { offset: micros.saturating_sub(engine::now() / 1_000) }
    }

    pub(crate) fn now(self) -> Instant {
        Instant(engine::now() / 1_000 + self.offset)
    }

    /// How long from now until then; nothing if it has passed.
    pub(crate) fn until(self, then: Instant) -> Duration {
        Duration::from_micros(then.since(self.now()).0)
    }
}

/// Since 1970, by the wall clock.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
