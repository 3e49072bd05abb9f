//! What a cancelled call waits for.

use std::fmt;

use super::clock::Monotonic;

/// What a call waits for. Any one of these wakes it; a wait for nothing at all never ends.
///
/// It is not part of a saved process: the call is issued again after a thaw, and says it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// A moment on the process's own clock.
    pub until: Option<Monotonic>,
    /// Standard input has bytes, or its end is known.
    pub stdin: bool,
    /// There is room for output.
    pub output_room: bool,
    /// Effects are no longer held.
    pub effects: bool,
}

impl Wait {
    /// Until standard input has something to read.
    pub const STDIN: Self = Self { until: None, stdin: true, output_room: false, effects: false };
    /// Until there is room for output.
    pub const OUTPUT_ROOM: Self =
        Self { until: None, stdin: false, output_room: true, effects: false };
    /// Until effects are no longer held.
    pub const EFFECTS: Self = Self { until: None, stdin: false, output_room: false, effects: true };
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = vec![];
        if self.until.is_some() {
            words.push("a deadline");
        }
        if self.stdin {
            words.push("input");
        }
        if self.output_room {
            words.push("room for output");
        }
        if self.effects {
            words.push("leave to have effects");
        }
        if words.is_empty() {
            words.push("nothing");
        }
        f.write_str(&words.join(" or "))
    }
}
