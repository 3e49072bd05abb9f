//! How full a node is, and what a process weighs there.

use serde::{Deserialize, Serialize};

/// An amount of what nodes have and processes use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Thousandths of a processor.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
}

/// What a node says of itself when it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// What its processes use, those that it has reserved room for left out.
    pub used: Amount,
    /// What it declares to have. Nothing of either means that it takes no part in that measure.
    pub capacity: Amount,
}

/// Millionths of a node's capacity.
pub type Share = u64;

impl Amount {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory: self.memory.saturating_add(other.memory),
        }
    }

    /// What is left without the other; nothing if that is more.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(other.cpu),
            memory: self.memory.saturating_sub(other.memory),
        }
    }
}

impl Load {
    /// The same node with this much more on it.
    #[must_use]
    pub fn with(self, needs: Amount) -> Self {
        Self { used: self.used.plus(needs), ..self }
    }

    /// The same node with this much less on it.
    #[must_use]
    pub fn without(self, needs: Amount) -> Self {
        Self { used: self.used.less(needs), ..self }
    }

    /// How full it is: by processor or by memory, whichever is the fuller.
    #[must_use]
    pub fn share(self) -> Share {
        share(self.used.cpu, self.capacity.cpu).max(share(self.used.memory, self.capacity.memory))
    }
}

fn share(used: u64, capacity: u64) -> Share {
    used.saturating_mul(1_000_000).checked_div(capacity).unwrap_or(0)
}
