//! One of a group that write numbered messages to each other and keep journals, for a judge who has nothing else.
//!
//! A member counts what it sends to each other member: 1, 2, 3 … Its journal is a file of its own, opened for
//! appending, outside Whimbrel's reach; a line each:
//!
//! ```text
//! is k3x9.0            the first line
//! sends 2 17           to member 2: nothing above number 17 was sent when this was written
//! got 1 40             of member 1: number 40, after all that stands above
//! bad 1 …              of member 1: something that nobody writes
//! down 1               a send to member 1 has said that it has ended, and the inbox was empty
//! end                  the last line: every other has all that stands under `sends`, or is down
//! ```
//!
//! A process may end at any instant, with its node. So that the journal is true then, too: `sends` is written *before*
//! the first message that it covers can be seen by anyone, `got` *after* the message was taken. What is in the buffer
//! of a process that dies is a claim that was not made. Of the last line a part may stand there: it has no end of line.
//!
//! It stops writing when there is a file `stop` or `stop-GROUP` beside the journals. To each other it then writes its
//! last numbered message, which says that it is; when it has the other's last one, it says so (`bye`, without a number);
//! it ends when it has said and heard that, or the other is down. So whoever has written `end` knows that
//! all others have everything of it, and nothing that happens to it afterwards can take a message back.
//!
//! Arguments: messages to each other per round (0 to twice as many; default 4), a round's milliseconds (default 40).

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use guest::{Pid, SendError, What};
use guests::{Numbers, argument};

const JOURNALS: &str = "/journals";

/// How long a send waits for room. Then the others have their turn.
const ROOM_TIME: Duration = Duration::from_millis(20);

/// How often one that waits for the end of others asks whether they live.
const POKED_EVERY: Duration = Duration::from_millis(500);

/// What a message begins with: what it is, its number, whom it is for.
const HEAD: usize = 1 + 8 + 8 + 4;
const WORD: u8 = 1;
/// A word, and the last one.
const LAST: u8 = 2;
/// I have your last word.
const BYE: u8 = 3;
/// Do you live?
const POKE: u8 = 4;

/// Another member, as this one knows it.
struct Other {
    pid: Pid,
    /// Up to here the journal says `sends`.
    claimed: u64,
    sent: u64,
    /// The number of the last word to it.
    last: Option<u64>,
    said_bye: bool,
    heard_last: bool,
    heard_bye: bool,
    down: bool,
    poked: Instant,
}

struct Member {
    this: Pid,
    others: Vec<Other>,
    journal: File,
    /// Lines that are not in the journal yet.
    lines: String,
    numbers: Numbers,
}

fn main() -> ExitCode {
    let (each, round): (u64, u64) = (argument(0, 4), argument(1, 40));
    let this = guest::this();
    let path = format!("{JOURNALS}/{this}");
    let journal = match OpenOptions::new().create(true).append(true).open(&path) {
        Ok(journal) => journal,
        Err(error) => {
            eprintln!("chatter: {path}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let others = guest::group().into_iter().filter(|pid| *pid != this).map(Other::new).collect();
    let numbers = Numbers(this.group ^ u64::from(this.index) << 48);
    let mut member = Member { this, others, journal, lines: format!("is {this}\n"), numbers };
    let stops = [format!("{JOURNALS}/stop"), group_stop(this)];
    let mut stopping = false;
    loop {
        stopping = stopping || stops.iter().any(|stop| Path::new(stop).exists());
        member.claim(each, stopping);
        member.flush();
        member.write(stopping);
        if stopping && member.others.iter().all(Other::is_done) {
            break;
        }
        member.listen(Duration::from_millis(round));
    }
    member.lines.push_str("end\n");
    member.flush();
    println!("{this} has ended");
    ExitCode::SUCCESS
}

/// The file that tells one group to stop: named as its processes are, without the index.
fn group_stop(this: Pid) -> String {
    let name = this.to_string();
    let group = name.split('.').next().unwrap_or_default();
    format!("{JOURNALS}/stop-{group}")
}

impl Other {
    fn new(pid: Pid) -> Self {
        Self {
            pid,
            claimed: 0,
            sent: 0,
            last: None,
            said_bye: false,
            heard_last: false,
            heard_bye: false,
            down: false,
            poked: Instant::now(),
        }
    }

    fn is_done(&self) -> bool {
        self.down || (self.said_bye && self.heard_bye)
    }
}

impl Member {
    /// Says in the journal what will be sent next.
    fn claim(&mut self, each: u64, stopping: bool) {
        for other in self.others.iter_mut().filter(|other| !other.down && other.last.is_none()) {
            let more = self.numbers.draw() % (2 * each + 1);
            // What found no room in the round before comes first.
            other.claimed = match stopping {
                true => other.claimed + 1,
                false => other.claimed.max(other.sent + more),
            };
            other.last = stopping.then_some(other.claimed);
            self.lines.push_str(&format!("sends {} {}\n", other.pid.index, other.claimed));
        }
    }

    /// Puts the lines into the journal, and returns when they are there.
    fn flush(&mut self) {
        // Nobody else writes to this file: what is written in two parts is whole all the same.
        self.journal.write_all(self.lines.as_bytes()).expect("the journal can be written");
        self.lines.clear();
    }

    /// Sends what was claimed, as far as there is room.
    fn write(&mut self, stopping: bool) {
        for at in 0..self.others.len() {
            while self.others[at].sent < self.others[at].claimed && !self.others[at].down {
                let other = &self.others[at];
                let number = other.sent + 1;
                let what = if other.last == Some(number) { LAST } else { WORD };
                if !self.send(at, what, number) {
                    break;
                }
                self.others[at].sent = number;
            }
            if stopping {
                self.take_leave(at);
            }
        }
    }

    /// Says what has to be said without a number.
    fn take_leave(&mut self, at: usize) {
        let other = &self.others[at];
        if other.down || other.last != Some(other.sent) {
            return;
        }
        if other.heard_last && !other.said_bye {
            self.others[at].said_bye = self.send(at, BYE, 0);
        } else if !other.is_done() && other.poked.elapsed() >= POKED_EVERY {
            self.others[at].poked = Instant::now();
            self.send(at, POKE, 0);
        }
    }

    /// Whether it was sent. If not, there was no room, or the receiver is down now.
    fn send(&mut self, at: usize, what: u8, number: u64) -> bool {
        let to = self.others[at].pid;
        let bytes = content(what, number, to);
        match guest::send_within(ROOM_TIME, to, &bytes) {
            Ok(()) => true,
            Err(SendError::Full) => false,
            Err(SendError::Gone) => {
                // What came of it before is older than this news.
                while let Some(message) = guest::try_receive() {
                    self.take(message.from, message.what, &message.bytes);
                }
                self.others[at].down = true;
                self.lines.push_str(&format!("down {}\n", to.index));
                false
            }
            Err(error) => panic!("to {to}: {error}"),
        }
    }

    /// Takes what comes, for so long.
    fn listen(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let Some(message) = guest::receive_within(left) else { return };
            self.take(message.from, message.what, &message.bytes);
        }
    }

    fn take(&mut self, from: Pid, what: What, bytes: &[u8]) {
        if what != What::Message {
            return;
        }
        let place = self.others.iter().position(|other| other.pid == from);
        let Some((kind, number)) = read(bytes, self.this).filter(|_| place.is_some()) else {
            let shown = &bytes[..bytes.len().min(HEAD)];
            self.lines.push_str(&format!("bad {} {from} {} {shown:?}\n", from.index, bytes.len()));
            return;
        };
        let other = &mut self.others[place.expect("it was found")];
        match kind {
            WORD | LAST => {
                self.lines.push_str(&format!("got {} {number}\n", from.index));
                other.heard_last |= kind == LAST;
            }
            BYE => other.heard_bye = true,
            _ => {}
        }
    }
}

/// How long the filling of a message is: mostly short, sometimes of several pieces.
fn filling(number: u64) -> usize {
    let drawn = Numbers(number).draw();
    match drawn % 2048 {
        0 => 150_000,
        1..32 => (drawn >> 32) as usize % 10_000,
        _ => (drawn >> 32) as usize % 40,
    }
}

fn content(what: u8, number: u64, to: Pid) -> Vec<u8> {
    let mut bytes = vec![what];
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&to.group.to_le_bytes());
    bytes.extend_from_slice(&to.index.to_le_bytes());
    // Each byte depends on its place, so that pieces that changed places would be seen.
    bytes.extend((0..filling(number)).map(|at| (number as usize + at + at / 251) as u8));
    bytes
}

/// What it is, and its number, if it is a message of ours to this member.
fn read(bytes: &[u8], this: Pid) -> Option<(u8, u64)> {
    let head = bytes.get(..HEAD)?;
    let number = u64::from_le_bytes(head[1..9].try_into().ok()?);
    (bytes == content(head[0], number, this) && (WORD..=POKE).contains(&head[0]))
        .then_some((head[0], number))
}
