//! What letters cost: messages on the wire, hops and time, counted as they happen.

use std::collections::BTreeMap;

use protocol::{Instant, Span};
use wire::{Message, Pid, Reply, Request};

/// Counts what strategies cause, and letters themselves.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// Messages between nodes, by what they are for.
    pub messages: BTreeMap<&'static str, u64>,
    /// Messages that letters waited for, beyond one each.
    pub hops: u64,
    /// Letters that have arrived.
    pub letters: u64,
    /// How long they took together.
    pub took: Span,
    /// When the one that is under way was sent. Outside of that, questions to the registry are a move's own.
    pub(crate) sent: Option<Instant>,
    /// Whose polls count. A group that polls does so in all its members, and the others are not what is measured.
    pub(crate) about: Option<Pid>,
}

impl Meter {
    pub(crate) fn count(&mut self, message: &Message) {
        let what = match message {
            Message::Mail(mail) if mail.pieces.is_empty() => "acknowledgement",
            Message::Mail(_) => "letter",
            Message::Relay { .. } => "relay",
            Message::Astray { .. } => "astray",
            Message::Leaving { .. } => "leaving",
            Message::Place { .. } => "place",
            Message::Moved { .. } => "moved",
            Message::Poll { pid, .. } if Some(*pid) == self.about => "poll",
            Message::Forget { .. } => "forget",
            Message::Ask { request: Request::Locate(_), .. } if self.sent.is_some() => "ask",
            Message::Answer { reply: Reply::Locations(_), .. } if self.sent.is_some() => "answer",
            _ => return,
        };
        *self.messages.entry(what).or_default() += 1;
    }

    pub(crate) fn arrived(&mut self, now: Instant, hops: u32) {
        self.letters += 1;
        self.hops += u64::from(hops.saturating_sub(1));
        if let Some(sent) = self.sent {
            self.took = Span(self.took.0 + (now - sent).0);
        }
    }

    /// Messages on the wire and added hops.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.messages.values().sum::<u64>() + self.hops
    }

    /// What was counted since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |what| earlier.messages.get(what).copied().unwrap_or(0);
        Self {
            messages: self.messages.iter().map(|(what, n)| (*what, n - before(*what))).collect(),
            hops: self.hops - earlier.hops,
            letters: self.letters - earlier.letters,
            took: Span(self.took.0 - earlier.took.0),
            sent: None,
            about: self.about,
        }
    }
}
