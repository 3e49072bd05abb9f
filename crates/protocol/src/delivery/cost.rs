//! What each strategy costs, per event: the model that adaptive processes decide by, and that
//! `cargo xtask bench strategies` holds against what was counted.
//!
//! Cost is messages on the wire and added hops: a message is one between two nodes, whatever it is for; an added hop is
//! a message that a letter waits for on its way, beyond the first. `docs/protocol.md` has these formulas with the
//! reasons.

use wire::WAYS;

/// The strategies that are weighed, in the order in which the books have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Ask the registry.
    Directory,
    /// Tell every correspondent.
    Update,
    /// Leave word where it went.
    Forwarding,
    /// A mailbox that passes letters on.
    Mailbox,
    /// A mailbox that is polled.
    Pull,
}

impl Way {
    /// All of them. A tie is the first one's.
    pub const ALL: [Self; WAYS] =
        [Self::Directory, Self::Update, Self::Forwarding, Self::Mailbox, Self::Pull];
}

/// A letter and its acknowledgement, which every strategy pays between two nodes.
pub const LETTER: u64 = 2;

/// A letter to a place that its receiver has left, and the word that it is not there, or where it went: two messages,
/// and the letter waits for both.
pub const DETOUR: u64 = 4;

/// A question to the registry and its answer: two messages, and the letter waits for both.
pub const QUESTION: u64 = 4;

/// A letter that goes by way of a third node: one more message, and one more hop.
pub const RELAY: u64 = 2;

/// A message for which no letter waits: `leaving`, `place`, `moved`, `poll`, `forget`.
pub const WORD: u64 = 1;

/// What is known of a letter between two nodes, as far as strategies differ by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// The receiver is not where its sender heard of it last.
    pub behind: bool,
    /// The sender is on the node where it heard of the receiver last: what is not here is seen without a message.
    pub sender_there: bool,
    /// The sender's node is the registry's home: a question costs nothing.
    pub sender_at_home: bool,
    /// Forwarders on the way from there, those on the sender's own node left out.
    pub links: u64,
    /// What has been said to this sender of moves since it wrote last, by `update`.
    pub told: u64,
    /// The mailbox is on the sender's node.
    pub mailbox_at_sender: bool,
    /// The mailbox is on the receiver's node.
    pub mailbox_here: bool,
}

impl Letter {
    /// What it costs under each strategy.
    #[must_use]
    pub fn costs(self) -> [u64; WAYS] {
        let relay = if self.mailbox_at_sender || self.mailbox_here { 0 } else { RELAY };
        let poll = if self.mailbox_here { 0 } else { WORD };
        Way::ALL.map(|way| {
            let more = match way {
                Way::Directory if self.behind => {
                    let detour = if self.sender_there { 0 } else { DETOUR };
                    let question = if self.sender_at_home { 0 } else { QUESTION };
                    detour + question
                }
                Way::Directory => 0,
                Way::Update => self.told * WORD,
                Way::Forwarding if self.behind => self.links * DETOUR,
                Way::Forwarding => 0,
                Way::Mailbox => relay,
                // It is polled when the letter has been taken, too.
                Way::Pull => relay + poll,
            };
            LETTER + more
        })
    }
}

/// What a change from one strategy to another costs in a window, with so many who write in it: their next letters still
/// go by the mailbox that is given up; a new mailbox is told. Never less than [`CHANGE_MIN`].
#[must_use]
pub fn change(from: Way, to: Way, writers: u64) -> u64 {
    let mailbox = |way| matches!(way, Way::Mailbox | Way::Pull);
    let old = if mailbox(from) { writers * RELAY } else { 0 };
    let new = if mailbox(to) { WORD } else { 0 };
    (old + new).max(CHANGE_MIN)
}

/// How much a change may seem to save for a single reason, with so many correspondents: by a letter to a place that its
/// receiver has left; by a move of which all correspondents were told twice, if the old strategy tells them; and by one
/// after which all were behind, if the new one does not leave it to them to find the receiver.
#[must_use]
pub fn spread(old: Way, new: Way, correspondents: u64) -> u64 {
    let letter = DETOUR + QUESTION;
    let leaves_it_to_them = matches!(new, Way::Directory | Way::Forwarding);
    if old != Way::Update && leaves_it_to_them {
        return letter;
    }
    letter.max(2 * WORD * correspondents)
}

/// Less than this no change is worth: two strategies that cost the same would take turns.
pub const CHANGE_MIN: u64 = 4;
