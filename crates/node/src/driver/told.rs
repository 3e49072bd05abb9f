//! What the machine hears, says and does, written into the chronicle.
//!
//! Moves, decisions, beginnings, ends and members always are. What becomes of letters is for traced groups only: for any
//! other a letter costs a look at an empty set and no more.

use api::{Cause, EventKind, Side};
use protocol::{Input, LetterId, Note, Output, Step};
use wire::{
    Envelope, Mail, Member, MemberStanding, Message, Offer, Peer, Pid, Piece, Reply, Request,
    SwapKind,
};

use super::Driver;
use crate::chronicle::{Entry, Far};

/// What a message is, before who says it to whom.
struct Told {
    kind: EventKind,
    word: &'static str,
    pid: Pid,
    other: Option<Pid>,
    cause: Option<Cause>,
}

impl Told {
    fn new(kind: EventKind, word: &'static str, pid: Pid) -> Self {
        Self { kind, word, pid, other: None, cause: None }
    }

    fn with(self, other: Pid) -> Self {
        Self { other: Some(other), ..self }
    }

    fn of_move(word: &'static str, pid: Pid, offer: Offer) -> Self {
        let cause = Some(Cause::Move { pid, offer: offer.0 });
        Self { cause, ..Self::new(EventKind::Move, word, pid) }
    }
}

impl Driver {
    /// What is about to be fed.
    pub(super) fn tell_input(&mut self, input: &Input) {
        match input {
            Input::Receive(Envelope { from, to, message }) if *to == self.me => {
                if let Some(told) = self.told(*from, message) {
                    let registry = matches!(message, Message::Answer { .. });
                    let far = if registry { Far::Registry } else { Far::Node(from.node) };
                    let text = match message {
                        Message::Answer { reply, .. } => text_of_reply(reply, told.pid),
                        message => message.to_string(),
                    };
                    self.record(told, Side::In, far, text);
                }
            }
            Input::Ended { pid, outcome } => {
                let text = format!("{pid} has ended: {}", wire::Reason::from(outcome));
                self.chronicle(Entry {
                    pid: Some(*pid),
                    ..Entry::new(EventKind::Life, "ended", text)
                });
            }
            _ => (),
        }
    }

    /// What is about to be done.
    pub(super) fn tell_output(&mut self, output: &Output) {
        match output {
            Output::Send(to, message) => {
                if let Some(told) = self.told(self.me, message) {
                    let far = Far::Node(to.node);
                    self.record(told, Side::Out, far, message.to_string());
                }
            }
            Output::Ask(_, request) => {
                if let Some(told) = self.asked(request) {
                    let text = match request {
                        Request::Locate(_) => format!("where is {}?", told.pid),
                        request => request.to_string(),
                    };
                    self.record(told, Side::Out, Far::Registry, text);
                }
            }
            Output::Step(pid, step) => self.tell_step(*pid, *step),
            Output::Start(_, pid) => {
                let text = format!("{pid} begins");
                self.chronicle(Entry {
                    pid: Some(*pid),
                    ..Entry::new(EventKind::Life, "begins", text)
                });
            }
            Output::Down { pid, of, reason, watched } if *watched || self.traces(*pid, *of) => {
                let text = format!("{pid} is told that {of} is down: {reason}");
                let entry = Entry::new(EventKind::Monitor, "down", text);
                self.chronicle(Entry { pid: Some(*pid), other: Some(*of), ..entry });
            }
            Output::Silent { pid, of, silent } => {
                let word = if *silent { "silent" } else { "back" };
                let text = format!("{pid} is told that the node of {of} is {word}");
                let entry = Entry::new(EventKind::Monitor, word, text);
                self.chronicle(Entry { pid: Some(*pid), other: Some(*of), ..entry });
            }
            Output::Note(note) => self.tell_note(note),
            _ => (),
        }
    }

    fn tell_note(&mut self, note: &Note) {
        match note {
            Note::Sent { letter, bytes } => {
                let text = format!("{} sends {} to {}", letter.from, length(*bytes), letter.to);
                self.tell_letter(EventKind::Send, "sent", letter.from, letter, text);
            }
            Note::Delivered { letter, bytes } => {
                let text = format!("{} gets {} of {}", letter.to, length(*bytes), letter.from);
                self.tell_letter(EventKind::Deliver, "delivered", letter.to, letter, text);
            }
            Note::NotTaken { letter, held } => {
                let (word, what) = match held {
                    true => ("early", "is held here until its turn"),
                    false => ("turned-away", "is not taken now: its sender keeps it"),
                };
                let text = format!("a letter of {} to {} {what}", letter.from, letter.to);
                self.tell_letter(EventKind::Hold, word, letter.to, letter, text);
            }
            Note::Within(message) => {
                let far = Far::Node(self.me.node);
                if let Some(told) = self.told(self.me, message) {
                    self.record(told, Side::In, far, message.to_string());
                }
            }
            Note::Decided { pid, decision } => {
                let change = match decision.changed {
                    true => format!("changes from {} to {}", decision.from, decision.to),
                    false => format!("stays with {}", decision.from),
                };
                let (from, to) = decision.costs;
                let text = format!(
                    "{pid} {change}: {} letters, {} moves; {from} against {to}, a change {}",
                    decision.letters, decision.moves, decision.change
                );
                let word = if decision.changed { "changed" } else { "stayed" };
                let entry = Entry::new(EventKind::Decide, word, text);
                self.chronicle(Entry { pid: Some(*pid), ..entry });
            }
        }
    }

    fn tell_letter(
        &mut self,
        kind: EventKind,
        word: &'static str,
        pid: Pid,
        letter: &LetterId,
        text: String,
    ) {
        let LetterId { from, to, life, first, pieces } = *letter;
        let cause = Cause::Letter { from, to, life: life.0, first, pieces };
        let other = if pid == from { to } else { from };
        let entry = Entry::new(kind, word, text);
        self.chronicle(Entry { pid: Some(pid), other: Some(other), cause: Some(cause), ..entry });
    }

    fn tell_step(&mut self, pid: Pid, step: Step) {
        let cause = self.machine.offer(pid).map(|offer| Cause::Move { pid, offer: offer.0 });
        let text = format!("{pid}: {step}");
        let entry = Entry::new(EventKind::Step, step.name(), text);
        self.chronicle(Entry { pid: Some(pid), cause, ..entry });
    }

    /// The members have changed from these to those.
    pub(super) fn tell_members(&mut self, before: &[Member], now: &[Member]) {
        for member in now {
            let old = before.iter().find(|old| old.peer.node == member.peer.node);
            let gone = old.filter(|old| old.peer.incarnation < member.peer.incarnation);
            if let Some(old) = gone.filter(|old| old.peer.incarnation.0 != 0) {
                self.tell_member("gone", old);
            }
            if old.is_some_and(|old| (old.peer, old.standing) == (member.peer, member.standing)) {
                continue;
            }
            self.tell_member(
                match member.standing {
                    MemberStanding::Joined => "joined",
                    MemberStanding::Up => "up",
                    MemberStanding::Silent => "silent",
                    MemberStanding::Lapsed | MemberStanding::Forgotten => "gone",
                },
                member,
            );
        }
    }

    fn tell_member(&mut self, word: &'static str, member: &Member) {
        let text = format!("{} ({}) is {word}", member.name, member.peer);
        let entry = Entry::new(EventKind::Member, word, text);
        self.chronicle(Entry { far: Some(Far::Node(member.peer.node)), ..entry });
    }

    fn record(&mut self, told: Told, side: Side, far: Far, text: String) {
        let Told { kind, word, pid, other, cause } = told;
        // Polls that find nothing are left out after the first.
        if word == "poll" {
            if !self.polled.insert(pid) {
                return;
            }
        } else if !self.polled.is_empty() {
            self.polled.remove(&pid);
            other.map(|other| self.polled.remove(&other));
        }
        let (side, far, pid) = (Some(side), Some(far), Some(pid));
        self.chronicle(Entry { side, far, pid, other, cause, ..Entry::new(kind, word, text) });
    }

    fn chronicle(&mut self, entry: Entry) {
        self.chronicle.record(self.clock.now().0, entry);
    }

    fn traces(&self, one: Pid, other: Pid) -> bool {
        self.machine.traces(one, other)
    }

    /// What a message is, if it is to be told.
    fn told(&self, from: Peer, message: &Message) -> Option<Told> {
        let told = match message {
            Message::Mail(mail) | Message::Relay { mail, .. } => {
                if !self.traces(mail.from, mail.to) {
                    return None;
                }
                of_mail(mail, matches!(message, Message::Relay { .. }))
            }
            Message::Prepare { pid, offer, .. } => Told::of_move("prepare", *pid, *offer),
            Message::Preparing { pid, offer } => Told::of_move("preparing", *pid, *offer),
            Message::Prepared { pid, offer, .. } => Told::of_move("prepared", *pid, *offer),
            Message::Refused { pid, offer, .. } => Told::of_move("refused", *pid, *offer),
            Message::Offer { pid, offer } => Told::of_move("offer", *pid, *offer),
            Message::Settled { pid, offer } => Told::of_move("settled", *pid, *offer),
            Message::Forgotten { pid, offer } => Told::of_move("forgotten", *pid, *offer),
            Message::Cancel { pid, offer } => Told::of_move("cancel", *pid, *offer),
            Message::Dropped { pid, offer } => Told::of_move("dropped", *pid, *offer),
            Message::Answer { reply, .. } => return self.answered(reply),
            message => {
                let told = of_word(from, message)?;
                if !self.traces(told.pid, told.other.unwrap_or(told.pid)) {
                    return None;
                }
                told
            }
        };
        Some(told)
    }

    fn asked(&self, request: &Request) -> Option<Told> {
        match request {
            Request::Swap(swap) => {
                let word = match swap.kind {
                    SwapKind::Commit => "commit",
                    SwapKind::GiveUp => "give-up",
                    SwapKind::TakeBack => "take-back",
                    SwapKind::Raise => "raise",
                    SwapKind::Store => "store",
                    SwapKind::Thaw => "thaw",
                    SwapKind::Restart => "restart",
                };
                Some(Told::of_move(word, swap.pid, swap.offer))
            }
            Request::Locate(pids) => {
                let traced = pids.iter().find(|pid| self.traces(**pid, **pid))?;
                Some(Told::new(EventKind::Lookup, "locate", *traced))
            }
            _ => None,
        }
    }

    fn answered(&self, reply: &Reply) -> Option<Told> {
        match reply {
            Reply::Swapped(pid, place) => Some(Told::of_move("swapped", *pid, place.offer)),
            Reply::NotSwapped(pid, _) => Some(Told::new(EventKind::Move, "not-swapped", *pid)),
            Reply::Locations(found) => {
                let (pid, _) = found.iter().find(|(pid, _)| self.traces(*pid, *pid))?;
                Some(Told::new(EventKind::Lookup, "located", *pid))
            }
            _ => None,
        }
    }
}

fn of_mail(mail: &Mail, relayed: bool) -> Told {
    let told = |kind, word| Told::new(kind, word, mail.from).with(mail.to);
    let (Mail { from, to, life, first, .. }, pieces) = (mail, mail.pieces.len() as u64);
    if pieces == 0 {
        return told(EventKind::Ack, if mail.ask { "ask" } else { "got" });
    }
    let word = match (mail.pieces.last(), relayed) {
        (Some(Piece::End(_)), _) => "end",
        (Some(Piece::Watch), _) => "watch",
        (Some(Piece::Link), _) => "link",
        (Some(Piece::Unlink(_)), _) => "unlink",
        (_, true) => "relay",
        (_, false) => "mail",
    };
    let cause = Cause::Letter { from: *from, to: *to, life: life.0, first: *first, pieces };
    Told { cause: Some(cause), ..told(EventKind::Hop, word) }
}

/// What nodes tell each other about letters and places.
fn of_word(from: Peer, message: &Message) -> Option<Told> {
    let told = match message {
        Message::Astray { to, pid, .. } => Told::new(EventKind::Redirect, "astray", *pid).with(*to),
        Message::Held { to, pid, .. } => Told::new(EventKind::Hold, "held", *pid).with(*to),
        Message::Leaving { to, pid } => Told::new(EventKind::Hint, "leaving", *pid).with(*to),
        // Its own node says where it is; any other that had it says where it went.
        Message::Place { to, pid, at } => {
            let own = at.peer == from;
            let kind = if own { EventKind::Hint } else { EventKind::Redirect };
            Told::new(kind, "place", *pid).with(*to)
        }
        Message::Moved { pid, .. } => Told::new(EventKind::Hint, "moved", *pid),
        Message::Poll { pid, .. } => Told::new(EventKind::Hint, "poll", *pid),
        Message::Forget { pid, .. } => Told::new(EventKind::Hint, "forget", *pid),
        Message::Down { to, pid, .. } => Told::new(EventKind::Monitor, "down", *pid).with(*to),
        _ => return None,
    };
    Some(told)
}

/// Of a list, what it says of this process.
fn text_of_reply(reply: &Reply, of: Pid) -> String {
    match reply {
        Reply::Locations(found) => {
            let found = found.iter().find(|(pid, _)| *pid == of);
            let location = found.map(|(_, location)| location);
            location.map_or_else(String::new, |location| {
                format!("{of} is at {}, {:?}", location.place, location.standing)
            })
        }
        reply => reply.to_string(),
    }
}

fn length(bytes: usize) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}
