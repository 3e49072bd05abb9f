//! What a program that runs on Whimbrel is written with: who it is, and messages.
//!
//! ```no_run
//! // Answers each message with its own bytes, until one is empty.
//! loop {
//!     let message = guest::receive();
//!     if message.bytes.is_empty() {
//!         break;
//!     }
//!     guest::send(message.from, &message.bytes).expect("its sender may be answered");
//! }
//! ```
//!
//! Messages from one process to another arrive once each, in the order in which they were sent,
//! wherever the two are and however often they move meanwhile. Nothing is said of the order among
//! messages of different senders. A message that was sent to a process that ends is lost with it.
//!
//! It is `no_std`, with `alloc`. Elsewhere than in WebAssembly it compiles, so that what a program
//! computes can be tested on any machine, and its functions panic: there is nobody to answer.
//! `docs/guest-abi.md` describes what it is made of, for other languages.

#![no_std]
#![warn(missing_docs)]

extern crate alloc;

mod pid;
mod sys;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

pub use pid::{ParsePidError, Pid};
use sys::Code;

/// No message is longer, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What is tried first when a message is received; most are shorter.
const BUFFER_BYTES: usize = 4096;

/// A message, or news of another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it, or whom it is about.
    pub from: Pid,
    /// What it is.
    pub what: What,
    /// Its content. For news it is the reason, as text.
    pub bytes: Vec<u8>,
}

/// Whether something was sent, or is news of a process that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A message.
    Message,
    /// A process that is watched has ended.
    Down,
    /// A process that is watched is on a node that does not answer.
    Silent,
    /// It answers again.
    Back,
    /// News of a kind that this version has no word for.
    Other(u32),
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// It is longer than [`MESSAGE_BYTES_MAX`].
    TooLarge,
    /// The receiver is of a group to which this process may not send.
    Denied,
    /// The receiver has ended. It may have ended before a send that was no error, too: then the
    /// message is lost.
    Gone,
    /// There was no room for it in the time given.
    Full,
}

/// This process's id.
#[must_use]
pub fn this() -> Pid {
    sys::this()
}

/// The processes that were started together, in the order in which they were typed; this one is
/// among them.
#[must_use]
pub fn group() -> Vec<Pid> {
    let mut indices = alloc::vec![0; 16];
    loop {
        let count = sys::group(&mut indices);
        if count <= indices.len() {
            indices.truncate(count);
            let group = this().group;
            return indices.into_iter().map(|index| Pid { group, index }).collect();
        }
        indices.resize(count, 0);
    }
}

/// The name of the node on which this process runs now. It changes with every move.
#[must_use]
pub fn node() -> String {
    let mut name = alloc::vec![0; 64];
    loop {
        let length = sys::node(&mut name);
        if length <= name.len() {
            name.truncate(length);
            return String::from_utf8(name).expect("a node's name is UTF-8");
        }
        name.resize(length, 0);
    }
}

/// Sends a message. Waits for room, if there is none.
///
/// # Errors
///
/// [`SendError`], but not [`SendError::Full`].
pub fn send(to: Pid, bytes: &[u8]) -> Result<(), SendError> {
    sent(sys::send(to, bytes, sys::FOREVER))
}

/// Sends a message. Waits for room, if there is none, but not longer than this.
///
/// # Errors
///
/// [`SendError`].
pub fn send_within(time: Duration, to: Pid, bytes: &[u8]) -> Result<(), SendError> {
    sent(sys::send(to, bytes, nanos(time)))
}

/// Sends a message if there is room for it now.
///
/// # Errors
///
/// [`SendError`].
pub fn try_send(to: Pid, bytes: &[u8]) -> Result<(), SendError> {
    send_within(Duration::ZERO, to, bytes)
}

/// Watches a process: when it ends, [`What::Down`] comes, once, after the last of its messages; at once, if it has ended
/// or never was. Watched twice is watched once.
///
/// # Errors
///
/// [`SendError::Denied`] alone.
pub fn monitor(of: Pid) -> Result<(), SendError> {
    sent(sys::monitor(of))
}

/// Watches it no longer. News of it that has come already is still received.
///
/// # Errors
///
/// [`SendError::Denied`] alone.
pub fn demonitor(of: Pid) -> Result<(), SendError> {
    sent(sys::demonitor(of))
}

/// Links this process to another: when one of the two ends otherwise than with code 0, the other ends, too, wherever it is;
/// or receives [`What::Down`], if it traps ([`trap_exit`]). With a process that has ended or never was this one ends at
/// once. Linked twice is linked once, from either side.
///
/// # Errors
///
/// [`SendError::Denied`] alone.
pub fn link(to: Pid) -> Result<(), SendError> {
    sent(sys::link(to))
}

/// Ends the link, for both. What the other does not know yet does not concern this process any more.
///
/// # Errors
///
/// [`SendError::Denied`] alone.
pub fn unlink(from: Pid) -> Result<(), SendError> {
    sent(sys::unlink(from))
}

/// Whether the end of a linked process is news to this one, [`What::Down`], instead of its own end. Not so at first.
pub fn trap_exit(traps: bool) {
    sys::trap_exit(traps);
}

/// Why a process does not get a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// Another process has it.
    Taken,
    /// It cannot be a name (of 1 to 255 bytes), or this process has another.
    Unfit,
}

/// Gives this process a name that no other in the cluster has, until it ends. Said again, it has it still. Waits for
/// the registry.
///
/// # Errors
///
/// [`RegisterError`].
pub fn register(name: &str) -> Result<(), RegisterError> {
    match sys::register(name) {
        Code::DONE => Ok(()),
        Code::TAKEN => Err(RegisterError::Taken),
        Code::UNFIT => Err(RegisterError::Unfit),
        code => panic!("whimbrel.register answers {code:?}"),
    }
}

/// The process that has this name now, in the whole cluster. Waits for the registry.
#[must_use]
pub fn whereis(name: &str) -> Option<Pid> {
    match sys::whereis(name) {
        (Code::DONE, pid) => Some(pid),
        (Code::UNKNOWN | Code::UNFIT, _) => None,
        (code, _) => panic!("whimbrel.whereis answers {code:?}"),
    }
}

/// Takes the next message. Waits, if there is none.
#[must_use]
pub fn receive() -> Message {
    let mut bytes = Vec::new();
    let (from, what) = receive_into(&mut bytes);
    Message { from, what, bytes }
}

/// Takes the next message. Waits, if there is none, but not longer than this.
#[must_use]
pub fn receive_within(time: Duration) -> Option<Message> {
    let mut bytes = Vec::new();
    let (from, what) = take(nanos(time), &mut bytes)?;
    Some(Message { from, what, bytes })
}

/// Takes the next message, if there is one now.
#[must_use]
pub fn try_receive() -> Option<Message> {
    receive_within(Duration::ZERO)
}

/// [`receive`], into a buffer that is used again: what was in it is replaced.
pub fn receive_into(bytes: &mut Vec<u8>) -> (Pid, What) {
    take(sys::FOREVER, bytes).expect("it waits for ever")
}

fn take(timeout: i64, bytes: &mut Vec<u8>) -> Option<(Pid, What)> {
    bytes.clear();
    bytes.reserve(BUFFER_BYTES);
    loop {
        let (code, info) = sys::receive(bytes, timeout);
        match code {
            Code::DONE => {
                return Some((Pid { group: info.group, index: info.index }, what(info.what)));
            }
            Code::ROOM => bytes.reserve(info.length as usize),
            Code::TIMEOUT => return None,
            code => panic!("whimbrel.receive answers {code:?}"),
        }
    }
}

fn what(number: u32) -> What {
    match number {
        0 => What::Message,
        1 => What::Down,
        2 => What::Silent,
        3 => What::Back,
        other => What::Other(other),
    }
}

fn sent(code: Code) -> Result<(), SendError> {
    match code {
        Code::DONE => Ok(()),
        Code::TIMEOUT => Err(SendError::Full),
        Code::TOO_LARGE => Err(SendError::TooLarge),
        Code::DENIED => Err(SendError::Denied),
        Code::GONE => Err(SendError::Gone),
        code => panic!("whimbrel.send answers {code:?}"),
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the message is too large",
            Self::Denied => "this process may not send there",
            Self::Gone => "the receiver has ended",
            Self::Full => "there is no room for the message",
        })
    }
}

impl core::error::Error for SendError {}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "another process has that name",
            Self::Unfit => "it cannot be this process's name",
        })
    }
}

impl core::error::Error for RegisterError {}
