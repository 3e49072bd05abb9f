//! What a process that chooses its strategy for itself has counted. It travels in the image, so that a move, of all
//! things, does not make it forget.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{Locate, NodeId, Pid};

/// How many strategies are weighed against each other.
pub const WAYS: usize = 5;

/// What a process has counted, and what it has decided. Costs are in messages and hops; see `docs/protocol.md`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ledger {
    /// What it uses now: never `Adaptive`.
    pub using: Locate,
    /// The mailbox that it would use: where it was born.
    pub mailbox: NodeId,
    /// Where it was when it last counted.
    pub node: NodeId,
    /// Letters that came from other nodes, in all.
    pub letters: u64,
    /// Moves, in all.
    pub moves: u64,
    /// Moves since the last letter.
    pub silent_moves: u32,
    /// How often it has changed its strategy.
    pub changes: u64,
    /// Letters since it last weighed.
    pub window_letters: u32,
    /// Moves since it last weighed.
    pub window_moves: u32,
    /// What each strategy would have cost it, the past at less weight: `directory`, `update`, `forwarding`, `mailbox`,
    /// mailbox pull.
    pub costs: [u64; WAYS],
    /// What stood there when it last weighed.
    pub weighed: [u64; WAYS],
    /// How much less each would have cost than what is used, since the last change; never less than nothing.
    pub regrets: [u64; WAYS],
    /// Who has written to it, and how far each has fallen behind.
    pub acquaintances: Vec<Acquaintance>,
    /// Its last decision.
    pub last: Option<Decision>,
}

/// One who writes to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acquaintance {
    /// Who.
    pub pid: Pid,
    /// At how many moves it last heard from the process.
    pub moves: u64,
    /// Where the process was then.
    pub node: NodeId,
    /// What telling it of the first move since would have cost, in messages.
    pub due: u8,
}

/// A decision, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decision {
    /// What was used until then.
    pub from: Locate,
    /// What was cheapest; if it was not worth a change, `from` is still used.
    pub to: Locate,
    /// Whether it changed.
    pub changed: bool,
    /// How many letters had come in the window.
    pub letters: u32,
    /// How many moves there were in it.
    pub moves: u32,
    /// What `from` costs by the books, and what `to` does.
    pub costs: (u64, u64),
    /// What a change costs.
    pub change: u64,
}

/// A node that a process has left, and where it went from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Left {
    /// The node that it left.
    pub node: NodeId,
    /// Where it went.
    pub to: NodeId,
    /// Whether that node keeps word of it.
    pub forwards: bool,
}
