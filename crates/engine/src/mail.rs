//! A process's messages: those it was given and has not taken, and those it sent and nobody has
//! taken from it. Both are part of its image.
//!
//! ```text
//!   node ── deliver ──▶ inbox ── receive ──▶ program ── send ──▶ outbox ── carry ──▶ node
//! ```
//!
//! A message's bytes are copied out of the program's memory once and into another's once; between
//! the two they are shared. The node is not told of each message: it is rung for when there is
//! something to carry ([`crate::Event::Sent`]), and when much was taken from the inbox
//! ([`crate::Event::Took`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use wire::{Grant, GroupId, LETTER_BYTES_MAX, Pid, Share};

/// No message is longer.
pub const MESSAGE_BYTES_MAX: usize = LETTER_BYTES_MAX;

/// How much an inbox holds: several of the largest messages, so that one sender of such does not
/// keep the others out. News is not counted: there is little of it.
pub const INBOX_BYTES_MAX: usize = 4 << 20;

/// How much may be sent and not carried off by the node, before a send blocks.
pub const OUTBOX_BYTES_MAX: usize = 2 << 20;

/// How much of that may be for one receiver, so that one that takes nothing does not hold up the
/// others. One message for it always fits.
pub const OUTBOX_BYTES_EACH_MAX: usize = 512 << 10;

/// The node is told what was taken from an inbox when it is so much: often enough for whoever
/// waits for room, seldom enough to cost nothing.
const TOOK_BYTES: u64 = 32 << 10;

/// So many processes are known to have ended; the node knows them all.
const GONE_MAX: usize = 1024;

/// So many processes can be started together.
pub const MEMBERS_MAX: usize = 1 << 20;

/// What a message counts for beside its content: short ones take room too.
pub const MESSAGE_BYTES_EXTRA: usize = 64;

/// What lies in an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Who sent it, or whom it is about.
    pub from: Pid,
    /// What it is.
    pub what: What,
    /// Its content. For news it is the reason, as text.
    pub bytes: Share,
}

/// What lies in an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Whom it is for, or about.
    pub to: Pid,
    /// What it is.
    pub order: Order,
    /// Its content; only messages have any.
    pub bytes: Share,
}

/// What the node is to do with what lies in an outbox. All of it goes the one way, so that it is done in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Carry a message there.
    Message,
    /// Put the news of its end into the inbox, when it comes.
    Watch,
    /// Do so no longer.
    Unwatch,
    /// Give the process this name. The answer is [`crate::Process::answer`].
    Register,
    /// Say whose name this is. The answer is [`crate::Process::answer`].
    Whereis,
    /// Have each of the two end with the other, unless that ends well.
    Link,
    /// Do so no longer.
    Unlink,
    /// Put the end of a linked process into the inbox as news from now on, and do not end the process with it. It is about
    /// the process itself.
    Trap,
    /// Do so no longer.
    Untrap,
}

/// Why a question about a name has no process for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unnamed {
    /// Another process has that name.
    Taken,
    /// Nobody has that name.
    Unknown,
    /// It cannot be a name; or the process has another.
    Unfit,
}

/// A question about a name that a process waits for the answer of. In its image; asked anew where that is thawed, since
/// nobody knows how far it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    order: Order,
    name: Vec<u8>,
    answer: Option<Result<Pid, Unnamed>>,
}

/// Where questions go: no process has this id.
const NOBODY: Pid = Pid { group: GroupId(0), index: 0 };

/// Whether something in an inbox was sent, or is news of a process that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u32)]
pub enum What {
    /// A message.
    Message = 0,
    /// A process that is watched has ended; its content is the reason.
    Down = 1,
    /// A process that is watched is on a node that does not answer.
    Silent = 2,
    /// It answers again.
    Back = 3,
}

/// What was taken from an inbox of one sender's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// How many messages.
    pub messages: u64,
    /// How long they were together.
    pub bytes: u64,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// It is longer than [`MESSAGE_BYTES_MAX`].
    TooLarge,
    /// The receiver is of a group to which this process may not send.
    Denied,
    /// The receiver has ended, as far as is known here.
    Gone,
    /// There is no room for it now.
    Full,
}

/// What the inbox has for a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The first message, which is taken.
    Taken(Incoming),
    /// The first message is longer than the buffer: so long. It stays.
    Longer(usize),
    /// Nothing.
    Empty,
}

/// Both boxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    /// The indices of those that were started together with it, itself among them.
    pub(crate) members: Range<u32>,
    pub(crate) grant: Grant,
    /// How many messages it was given since birth.
    given: u64,
    /// How many it sent since birth.
    sent: u64,
    inbox: VecDeque<Incoming>,
    inbox_bytes: usize,
    /// How much of the first message, in the form in which a file shows it, was read already.
    read: usize,
    outbox: VecDeque<Outgoing>,
    outbox_bytes: usize,
    /// How much of that is for whom. Both count what is being offered to a carrier, too.
    outbox_each: BTreeMap<Pid, usize>,
    /// What was taken from the inbox and the node was not told of.
    took: BTreeMap<Pid, Took>,
    /// How much that counts for. None, once the node was rung for.
    took_bytes: Option<u64>,
    /// Who has ended. Not in an image: whoever sends to one of them is told again.
    gone: VecDeque<Pid>,
    /// When the call that waits for mail stops waiting, on the process's own clock.
    pub(crate) deadline: Option<u64>,
    question: Option<Question>,
}

/// What is offered to a carrier.
pub(crate) struct Load(VecDeque<Outgoing>);

/// What became of a load.
pub(crate) struct Carried {
    left: VecDeque<Outgoing>,
    /// How much was taken, by receiver.
    taken: BTreeMap<Pid, usize>,
    count: usize,
}

impl Load {
    /// See [`crate::Process::carry`].
    pub(crate) fn offer(self, mut takes: impl FnMut(&Outgoing) -> bool) -> Carried {
        let mut carried = Carried { left: VecDeque::new(), taken: BTreeMap::new(), count: 0 };
        let mut stuck = BTreeSet::new();
        for message in self.0 {
            if (!stuck.is_empty() && stuck.contains(&message.to)) || !takes(&message) {
                stuck.insert(message.to);
                carried.left.push_back(message);
            } else {
                *carried.taken.entry(message.to).or_default() += weight(&message.bytes);
                carried.count += 1;
            }
        }
        carried
    }
}

impl Carried {
    /// How many messages were taken.
    pub(crate) fn taken(&self) -> usize {
        self.count
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    members: Range<u32>,
    grant: Grant,
    given: u64,
    sent: u64,
    read: u64,
    deadline: Option<u64>,
    took: Vec<(Pid, Took)>,
    question: Option<Question>,
    /// With the lengths of the contents, which follow one after the other: first these …
    inbox: Vec<(Pid, What, u32)>,
    /// … then these.
    outbox: Vec<(Pid, Order, u32)>,
}

impl Mail {
    pub(crate) fn new(members: Range<u32>, grant: Grant) -> Self {
        Self {
            members,
            grant,
            given: 0,
            sent: 0,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            read: 0,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            outbox_each: BTreeMap::new(),
            took: BTreeMap::new(),
            took_bytes: Some(0),
            gone: VecDeque::new(),
            deadline: None,
            question: None,
        }
    }

    /// Puts a message into the inbox. False if there is no room for it.
    pub(crate) fn deliver(&mut self, message: Incoming) -> bool {
        let bytes = inbox_weight(&message);
        if self.inbox_bytes != 0 && bytes != 0 && self.inbox_bytes + bytes > INBOX_BYTES_MAX {
            return false;
        }
        self.inbox_bytes += bytes;
        self.given += 1;
        self.inbox.push_back(message);
        true
    }

    pub(crate) fn receive(&mut self, room: usize) -> Received {
        let Some(first) = self.inbox.front() else { return Received::Empty };
        self.deadline = None;
        match first.bytes.len() {
            bytes if bytes > room => Received::Longer(bytes),
            _ => Received::Taken(self.take_first()),
        }
    }

    fn take_first(&mut self) -> Incoming {
        let first = self.inbox.pop_front().expect("the inbox has a message");
        self.read = 0;
        if first.what == What::Message {
            let bytes = inbox_weight(&first);
            self.inbox_bytes -= bytes;
            let took = self.took.entry(first.from).or_default();
            took.messages += 1;
            took.bytes += first.bytes.len() as u64;
            self.took_bytes = self.took_bytes.map(|before| before + bytes as u64);
        }
        first
    }

    /// Whether the node is to be rung for: it is owed word of what was taken, and this is `much` of
    /// it, or anything. Once, until it comes.
    pub(crate) fn rings_for_took(&mut self, much: bool) -> bool {
        let enough = if much { TOOK_BYTES } else { 1 };
        let rings = self.took_bytes.is_some_and(|bytes| bytes >= enough);
        if rings {
            self.took_bytes = None;
        }
        rings
    }

    /// What was taken, by sender, since this was asked before.
    pub(crate) fn took(&mut self) -> Vec<(Pid, Took)> {
        self.took_bytes = Some(0);
        std::mem::take(&mut self.took).into_iter().collect()
    }

    pub(crate) fn has_messages(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// How many bytes a read of the inbox as a file would give at most.
    pub(crate) fn readable(&self) -> usize {
        self.inbox.front().map_or(0, |first| shown(first).len() + first.bytes.len() - self.read)
    }

    /// Reads from the first message, in the form in which a file shows it: a line that says what it
    /// is, from whom, and how long, then its content. What is left of it comes with the next read;
    /// no read gives bytes of two.
    pub(crate) fn read(&mut self, bytes_max: usize) -> Vec<u8> {
        let Some(first) = self.inbox.front() else { return vec![] };
        let head = shown(first);
        let head_left = head.as_bytes().get(self.read..).unwrap_or_default();
        let rest = &first.bytes[self.read.saturating_sub(head.len())..];
        let mut read = head_left[..head_left.len().min(bytes_max)].to_vec();
        read.extend_from_slice(&rest[..rest.len().min(bytes_max - read.len())]);
        self.read += read.len();
        if self.read == head.len() + first.bytes.len() {
            self.take_first();
        }
        read
    }

    /// Says whether this may be sent by a process of that group, apart from room.
    pub(crate) fn may_send(&self, own: GroupId, to: Pid, bytes: usize) -> Result<(), Unsent> {
        if bytes > MESSAGE_BYTES_MAX {
            return Err(Unsent::TooLarge);
        }
        if to.is_port() {
            return Err(Unsent::Gone);
        }
        let granted = to.group == own || self.grant.covers(to.group);
        match granted {
            false => Err(Unsent::Denied),
            true if self.gone.contains(&to) => Err(Unsent::Gone),
            true => Ok(()),
        }
    }

    /// Whether there is room to send so much, or no use in waiting for it.
    pub(crate) fn has_send_room(&self, to: Pid, bytes: usize) -> bool {
        let bytes = bytes + MESSAGE_BYTES_EXTRA;
        let each = self.outbox_each.get(&to).map_or(0, |before| before + bytes);
        let all = if self.outbox_bytes == 0 { 0 } else { self.outbox_bytes + bytes };
        (each <= OUTBOX_BYTES_EACH_MAX && all <= OUTBOX_BYTES_MAX) || self.gone.contains(&to)
    }

    pub(crate) fn send(&mut self, to: Pid, order: Order, bytes: &[u8]) {
        self.deadline = None;
        self.outbox_bytes += weight(bytes);
        *self.outbox_each.entry(to).or_default() += weight(bytes);
        self.sent += 1;
        self.outbox.push_back(Outgoing { to, order, bytes: bytes.into() });
    }

    /// The answer to a question about a name, if it is here. Otherwise it is asked, unless that has been done.
    pub(crate) fn ask(&mut self, order: Order, name: &[u8]) -> Option<Result<Pid, Unnamed>> {
        let same = |question: &&mut Question| question.order == order && question.name == name;
        if let Some(question) = self.question.as_mut().filter(same) {
            let answer = question.answer?;
            self.question = None;
            return Some(answer);
        }
        self.question = Some(Question { order, name: name.to_vec(), answer: None });
        self.send(NOBODY, order, name);
        None
    }

    /// Answers a question. One that is not asked any more needs none.
    pub(crate) fn answer(&mut self, order: Order, name: &[u8], answer: Result<Pid, Unnamed>) {
        let question = self.question.as_mut();
        if let Some(question) = question.filter(|q| q.order == order && q.name == name) {
            question.answer.get_or_insert(answer);
        }
    }

    /// Whether the process need not wait for an answer.
    pub(crate) fn has_answer(&self) -> bool {
        self.question.as_ref().is_none_or(|question| question.answer.is_some())
    }

    /// A process has ended: it is sent nothing any more.
    pub(crate) fn is_gone(&mut self, pid: Pid) {
        if !self.gone.contains(&pid) {
            if self.gone.len() == GONE_MAX {
                self.gone.pop_front();
            }
            self.gone.push_back(pid);
        }
    }

    /// As another life: no message has come, and what was not carried off is sent as new. News stays.
    pub(crate) fn begin_anew(&mut self) {
        let first_is_news = self.inbox.front().is_some_and(|first| first.what != What::Message);
        self.read = if first_is_news { self.read } else { 0 };
        self.inbox.retain(|incoming| incoming.what != What::Message);
        self.inbox_bytes = self.inbox.iter().map(inbox_weight).sum();
        self.took.clear();
        self.took_bytes = Some(0);
    }

    pub(crate) fn has_sent(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Takes out what was sent, to be offered to a carrier. It goes on to take room.
    pub(crate) fn load(&mut self) -> Load {
        Load(std::mem::take(&mut self.outbox))
    }

    /// Puts back what was left of a load, before what was sent since.
    pub(crate) fn unload(&mut self, carried: Carried) {
        let Carried { mut left, taken, .. } = carried;
        if !left.is_empty() {
            left.append(&mut self.outbox);
            self.outbox = left;
        }
        for (to, bytes) in taken {
            self.outbox_bytes -= bytes;
            if let Some(each) = self.outbox_each.get_mut(&to) {
                *each -= bytes;
                if *each == 0 {
                    self.outbox_each.remove(&to);
                }
            }
        }
    }

    pub(crate) fn save(&self) -> Vec<u8> {
        let length = |bytes: &[u8]| bytes.len() as u32;
        let inbox = self.inbox.iter();
        let saved = Saved {
            members: self.members.clone(),
            grant: self.grant.clone(),
            given: self.given,
            sent: self.sent,
            read: self.read as u64,
            deadline: self.deadline,
            took: self.took.iter().map(|(pid, took)| (*pid, *took)).collect(),
            question: self.question.clone(),
            inbox: inbox.map(|m| (m.from, m.what, length(&m.bytes))).collect(),
            outbox: self.outbox.iter().map(|m| (m.to, m.order, length(&m.bytes))).collect(),
        };
        let mut bytes = postcard::to_extend(&saved, vec![]);
        let bytes = bytes.as_mut().expect("plain data of known lengths is always written");
        self.inbox.iter().for_each(|message| bytes.extend_from_slice(&message.bytes));
        self.outbox.iter().for_each(|message| bytes.extend_from_slice(&message.bytes));
        std::mem::take(bytes)
    }

    /// What [`Mail::save`] has written.
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self, &'static str> {
        let (saved, mut contents) =
            postcard::take_from_bytes::<Saved>(bytes).map_err(|_| "it does not decode")?;
        let Saved { members, grant, given, sent, read, deadline, took, question, inbox, outbox } =
            saved;
        if members.len() > MEMBERS_MAX {
            return Err("more members than a group is started with");
        }
        let mut mail = Self::new(members, grant);
        let mut content = |length: u32| {
            let length = length as usize;
            if length > MESSAGE_BYTES_MAX || length > contents.len() {
                return Err("a message of a length that cannot be");
            }
            let (content, rest) = contents.split_at(length);
            contents = rest;
            Ok(content)
        };
        for (from, what, length) in inbox {
            if !mail.deliver(Incoming { from, what, bytes: content(length)?.into() }) {
                return Err("more messages than an inbox holds");
            }
        }
        for (to, order, length) in outbox {
            let content = content(length)?;
            if !mail.has_send_room(to, content.len()) {
                return Err("more messages than an outbox holds");
            }
            // A question that was not carried off is asked when the call is issued again.
            if to != NOBODY {
                mail.send(to, order, content);
            }
        }
        mail.question = question.filter(|question| question.answer.is_some());
        if !contents.is_empty() {
            return Err("bytes are left over");
        }
        if given < mail.given || sent < mail.sent {
            return Err("counts that cannot be");
        }
        let read = usize::try_from(read).map_err(|_| "a position that cannot be")?;
        if read > 0 && read >= mail.readable() {
            return Err("a position that cannot be");
        }
        // The node there is rung for at once: it may have been waited for where this was frozen.
        let took_bytes = if took.is_empty() { 0 } else { TOOK_BYTES };
        (mail.took, mail.took_bytes) = (took.into_iter().collect(), Some(took_bytes));
        (mail.given, mail.sent, mail.read, mail.deadline) = (given, sent, read, deadline);
        Ok(mail)
    }
}

/// What a message counts for in an inbox.
fn inbox_weight(message: &Incoming) -> usize {
    if message.what == What::Message { weight(&message.bytes) } else { 0 }
}

fn weight(bytes: &[u8]) -> usize {
    bytes.len() + MESSAGE_BYTES_EXTRA
}

/// The line that stands before a message where it is read from a file.
fn shown(message: &Incoming) -> String {
    format!("{} {} {}\n", message.what, message.from, message.bytes.len())
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message => "message",
            Self::Down => "down",
            Self::Silent => "silent",
            Self::Back => "back",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Pid = Pid { group: GroupId(1), index: 1 };

    fn carry(mail: &mut Mail, takes: impl FnMut(&Outgoing) -> bool) -> usize {
        let carried = mail.load().offer(takes);
        let taken = carried.taken();
        mail.unload(carried);
        taken
    }

    fn message(bytes: &[u8]) -> Incoming {
        Incoming { from: PEER, what: What::Message, bytes: bytes.into() }
    }

    fn full_of_everything() -> Mail {
        let mut mail = Mail::new(0..2, Grant::Groups(vec![GroupId(9)]));
        for text in ["one", "", "three"] {
            assert!(mail.deliver(message(text.as_bytes())));
        }
        assert_eq!(mail.read(4), b"mess");
        mail.send(PEER, Order::Message, b"four");
        mail.send(PEER, Order::Watch, b"");
        mail.deadline = Some(7);
        mail
    }

    fn none() -> Mail {
        Mail::new(0..0, Grant::Own)
    }

    #[test]
    fn a_question_is_asked_once_and_again_where_it_is_thawed() {
        let mut mail = full_of_everything();
        let ask = |mail: &mut Mail| mail.ask(Order::Whereis, b"web");
        assert_eq!((ask(&mut mail), ask(&mut mail)), (None, None));
        let questions = |mail: &Mail| mail.outbox.iter().filter(|sent| sent.to == NOBODY).count();
        assert_eq!((questions(&mail), mail.has_answer()), (1, false));
        let mut thawed = Mail::restore(&mail.save()).expect("it is whole");
        assert_eq!(
            (questions(&thawed), thawed.has_answer()),
            (0, true),
            "the call is issued again"
        );
        assert_eq!((ask(&mut thawed), questions(&thawed)), (None, 1));
        mail.answer(Order::Register, b"web", Ok(PEER));
        mail.answer(Order::Whereis, b"other", Ok(PEER));
        assert_eq!(ask(&mut mail), None, "that was to other questions");
        mail.answer(Order::Whereis, b"web", Ok(PEER));
        mail = Mail::restore(&mail.save()).expect("it is whole");
        assert_eq!(ask(&mut mail), Some(Ok(PEER)), "an answer travels");
        assert_eq!(ask(&mut mail), None, "and is good for one question");
    }

    #[test]
    fn another_life_keeps_the_news_and_what_was_not_carried_off() {
        let mut mail = full_of_everything();
        mail.deliver(Incoming { from: PEER, what: What::Down, bytes: b"normal"[..].into() });
        let sent = mail.outbox.clone();
        mail.begin_anew();
        let kept: Vec<What> = mail.inbox.iter().map(|incoming| incoming.what).collect();
        assert_eq!(kept, [What::Down]);
        assert_eq!((mail.inbox_bytes, mail.read), (0, 0), "news counts for nothing");
        assert_eq!(mail.outbox, sent);
        assert_eq!(Mail::restore(&mail.save()).map(|mail| mail.inbox.len()), Ok(1));
    }

    #[test]
    fn an_inbox_is_bounded_and_the_node_is_told_what_was_taken() {
        let mut mail = none();
        let large = vec![7; MESSAGE_BYTES_MAX];
        assert!((0..3).all(|_| mail.deliver(message(&large))));
        assert!(!mail.deliver(message(&large)), "four would not fit with what they count beside");
        let news = Incoming { what: What::Down, ..message(b"normal") };
        assert!(mail.deliver(news), "news always fits");
        assert!(!mail.rings_for_took(false));
        for _ in 0..4 {
            assert!(matches!(mail.receive(MESSAGE_BYTES_MAX), Received::Taken(_)));
        }
        assert!(mail.rings_for_took(true));
        assert!(!mail.rings_for_took(true), "once");
        let took = Took { messages: 3, bytes: 3 << 20 };
        assert_eq!(mail.took(), [(PEER, took)]);
        assert!(mail.deliver(message(b"short")));
        mail.receive(9);
        assert!(!mail.rings_for_took(true), "this is little");
        assert!(mail.rings_for_took(false));
    }

    #[test]
    fn short_messages_count_too() {
        let mut mail = none();
        let given = std::iter::repeat_with(|| mail.deliver(message(b""))).take_while(|kept| *kept);
        assert_eq!(given.count(), INBOX_BYTES_MAX / MESSAGE_BYTES_EXTRA);
    }

    #[test]
    fn a_message_stays_that_is_longer_than_the_buffer() {
        let mut mail = none();
        assert_eq!(mail.receive(4), Received::Empty);
        mail.deliver(message(b"hello"));
        assert_eq!(mail.receive(4), Received::Longer(5));
        assert_eq!(mail.receive(5), Received::Taken(message(b"hello")));
    }

    #[test]
    fn a_file_shows_one_message_a_read_however_it_is_cut() {
        let mut mail = none();
        for text in ["one", "", "three"] {
            mail.deliver(message(text.as_bytes()));
        }
        let expected = ["message 0001.1 3\none", "message 0001.1 0\n", "message 0001.1 5\nthree"];
        let mut whole = mail.clone();
        for text in expected {
            assert_eq!(whole.readable(), text.len());
            assert_eq!(whole.read(1000), text.as_bytes());
        }
        assert_eq!((whole.readable(), whole.has_messages()), (0, false));
        for cut in 1..20 {
            let mut mail = mail.clone();
            let reads = std::iter::repeat_with(|| mail.read(cut)).take_while(|r| !r.is_empty());
            assert_eq!(reads.collect::<Vec<_>>().concat(), expected.concat().as_bytes());
        }
    }

    #[test]
    fn what_is_sent_is_bounded_for_each_and_for_all() {
        let mut mail = none();
        let to = |index| Pid { index, ..PEER };
        let half = vec![7; OUTBOX_BYTES_EACH_MAX / 2 - MESSAGE_BYTES_EXTRA];
        for index in 0..4 {
            for _ in 0..2 {
                assert!(mail.has_send_room(to(index), half.len()));
                mail.send(to(index), Order::Message, &half);
            }
            assert!(!mail.has_send_room(to(index), 0));
        }
        assert!(!mail.has_send_room(to(4), 0), "it is full for all");
        assert_eq!(carry(&mut mail, |message| message.to == to(2)), 2);
        assert!(!mail.has_send_room(to(1), 0) && mail.has_send_room(to(2), half.len()));
        mail.is_gone(to(1));
        assert!(mail.has_send_room(to(1), 0), "nobody waits for one that is gone");
        assert_eq!(mail.may_send(PEER.group, to(1), 0), Err(Unsent::Gone));
    }

    #[test]
    fn what_is_left_for_one_is_not_overtaken() {
        let mut mail = none();
        for (index, text) in [(1, "a"), (2, "b"), (1, "cc"), (2, "d"), (1, "e")] {
            mail.send(Pid { index, ..PEER }, Order::Message, text.as_bytes());
        }
        let carry = |mail: &mut Mail, takes: &dyn Fn(&Outgoing) -> bool| {
            let mut taken = String::new();
            carry(mail, |message| {
                let takes = takes(message);
                if takes {
                    taken += str::from_utf8(&message.bytes).expect("text");
                }
                takes
            });
            taken
        };
        assert_eq!(carry(&mut mail, &|message| message.bytes.len() == 1), "abd");
        assert_eq!(carry(&mut mail, &|message| message.bytes.len() == 1), "", "e stays behind cc");
        assert_eq!(carry(&mut mail, &|_| true), "cce");
        assert!(!mail.has_sent());
        assert_eq!((mail.outbox_bytes, mail.outbox_each.len()), (0, 0));
    }

    #[test]
    fn who_may_send_to_whom() {
        let mail = full_of_everything();
        let to = |group| Pid { group: GroupId(group), index: 3 };
        assert_eq!(mail.may_send(GroupId(1), to(1), MESSAGE_BYTES_MAX), Ok(()));
        assert_eq!(mail.may_send(GroupId(1), to(1), MESSAGE_BYTES_MAX + 1), Err(Unsent::TooLarge));
        assert_eq!(mail.may_send(GroupId(1), to(9), 0), Ok(()));
        assert_eq!(mail.may_send(GroupId(1), to(8), 0), Err(Unsent::Denied));
    }

    #[test]
    fn mail_comes_back_from_its_bytes() {
        let mail = full_of_everything();
        assert_eq!(Mail::restore(&mail.save()).as_ref(), Ok(&mail));
        assert_eq!(Mail::restore(&[]), Err("it does not decode"));
        let mut taken = mail;
        taken.receive(9);
        let mut thawed = Mail::restore(&taken.save()).expect("it is mail");
        assert!(thawed.rings_for_took(true));
        assert_eq!(thawed.took(), taken.took());
    }

    #[test]
    fn hostile_bytes_are_refused_and_never_panic() {
        let saved = full_of_everything().save();
        for length in 1..saved.len() {
            assert!(Mail::restore(&saved[..length]).is_err(), "{length}");
        }
        assert!(Mail::restore(&[&saved[..], b"x"].concat()).is_err());
        for at in 0..saved.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, saved[at] ^ 1] {
                let mut bytes = saved.clone();
                bytes[at] = value;
                if let Ok(mail) = Mail::restore(&bytes) {
                    assert!(mail.read <= mail.readable() + mail.read);
                }
            }
        }
        let mut long = full_of_everything();
        long.inbox.extend((0..5).map(|_| message(&vec![0; MESSAGE_BYTES_MAX])));
        long.given += 5;
        assert_eq!(Mail::restore(&long.save()), Err("more messages than an inbox holds"));
    }
}
