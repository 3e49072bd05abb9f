//! The contract between transformed code and the host that runs it: names, words and duties.
//!
//! Every name here is an export of both forms unless it says otherwise. See the crate's first page
//! for the tables and the order of events.

/// A 32-bit little-endian word that the host and the guest share.
///
/// Each word stands in a cache line of its own, because the host writes it from another thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The exported memory it lies in: one page, which never grows.
    pub memory: &'static str,
    /// Its offset in that memory, in bytes.
    pub offset: usize,
}

/// What all our exports begin with. A module that already exports such a name is refused.
pub const PREFIX: &str = "whimbrel:";

/// The memory of the control words.
pub const CONTROL: &str = "whimbrel:control";

/// Tested at loop headers: bits [`REQUEST`] and [`REWIND`].
pub const LOOP: Word = Word { memory: CONTROL, offset: 0 };

/// Tested at function entries: bits [`REQUEST`] and [`REWIND`].
///
/// A word of its own, so that an entry poll and a loop's poll have nothing in common that the
/// compiler could keep in a register across the loop.
pub const ENTRY: Word = Word { memory: CONTROL, offset: 64 };

/// A host function that wants to block writes 1 here and returns at once with dummy results.
///
/// The guest tests it after each call of an import that may block, and unwinds. After the thaw the
/// same import is called again with the same arguments. The host clears the word when the unwind
/// is over. Only the host writes it.
pub const LEAVE: Word = Word { memory: CONTROL, offset: 128 };

/// [`Polls::Counted`](crate::Polls::Counted) only: a 64-bit word that each poll counts down; the poll that makes it zero fires.
pub const COUNTER: Word = Word { memory: CONTROL, offset: 192 };

/// Bit of [`LOOP`] and [`ENTRY`]: stop at the next safepoint.
///
/// The host sets it with an atomic *or*, from any thread, and clears it with an atomic *and* before
/// the program continues.
pub const REQUEST: u32 = 1;

/// Bit of [`LOOP`] and [`ENTRY`]: a thaw is under way.
///
/// The host sets it in both words before it re-enters a resume form. The guest clears it, with an
/// atomic *and*, when the innermost frame is restored, so that a request that arrives during the
/// rewind survives and is answered at the next poll.
pub const REWIND: u32 = 2;

/// The growable memory that frames are written to.
pub const FRAMES: &str = "whimbrel:frames";

/// Mutable `i32` global: bytes of [`FRAMES`] in use.
pub const TOP: &str = "whimbrel:top";

/// Mutable `i32` global: [`STATE_RUNNING`], [`STATE_UNWINDING`] or [`STATE_REWINDING`].
pub const STATE: &str = "whimbrel:state";

/// The program runs, or has returned for good.
pub const STATE_RUNNING: i32 = 0;

/// The program has written its frames, or is doing so; results are dummies.
pub const STATE_UNWINDING: i32 = 1;

/// The program is reading its frames.
pub const STATE_REWINDING: i32 = 2;

/// Table of `funcref`, indexed by function: what can be in a table or a global, so that the host
/// can name a function reference by its number. Functions that cannot escape are null.
pub const FUNCTIONS: &str = "whimbrel:functions";

/// Table of `funcref`: function references that were live in frames. A frame holds the position.
///
/// The host saves the first [`REFERENCES_TOP`] entries as function numbers, and puts them back,
/// with that global, before the thaw.
pub const REFERENCES: &str = "whimbrel:references";

/// Mutable `i32` global: entries of [`REFERENCES`] in use.
pub const REFERENCES_TOP: &str = "whimbrel:references-top";

/// The original start function, if there was one. The host calls it before anything else; it may
/// suspend like any other export.
pub const START: &str = "whimbrel:start";

/// Resume form only: drops each passive segment whose *dropped* global is not zero. Always there.
pub const RESTORE: &str = "whimbrel:restore";

/// The export of memory `index` of the original module.
pub fn memory(index: u32) -> String {
    format!("whimbrel:memory:{index}")
}

/// The export of mutable global `index` of the original module.
pub fn global(index: u32) -> String {
    format!("whimbrel:global:{index}")
}

/// The export of table `index` of the original module.
pub fn table(index: u32) -> String {
    format!("whimbrel:table:{index}")
}

/// Mutable `i32` global: not zero when passive data segment `index` was dropped.
pub fn dropped_data(index: u32) -> String {
    format!("whimbrel:dropped:data:{index}")
}

/// Mutable `i32` global: not zero when passive element segment `index` was dropped.
pub fn dropped_element(index: u32) -> String {
    format!("whimbrel:dropped:elem:{index}")
}

/// The header that ends each frame: function and site, both `u32` little-endian.
pub const HEADER_BYTES: u32 = 8;
