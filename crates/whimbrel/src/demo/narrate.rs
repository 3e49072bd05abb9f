//! The demonstration's voice: lines that stay, and on a terminal one line that changes.

use std::io::{IsTerminal, Write};

/// Tells what happens. Lines go to standard output, the one that changes to standard error.
pub(super) struct Narrator {
    terminal: bool,
    /// The changing line is on the screen.
    shown: bool,
}

impl Narrator {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown: false }
    }

    /// A line that stays.
    pub(super) fn say(&mut self, line: &str) {
        self.clear();
        let mut stdout = std::io::stdout().lock();
        // A reader that has gone away does not stop the show: the daemons still end in order.
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }

    /// The line that changes; nothing where there is no terminal.
    pub(super) fn show(&mut self, line: &str) {
        if !self.terminal {
            return;
        }
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "\r\x1b[2K{line}").and_then(|()| stderr.flush());
        self.shown = true;
    }

    /// Removes the line that changes.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[2K").and_then(|()| stderr.flush());
        }
    }
}
