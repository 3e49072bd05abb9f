//! `poll_oneoff`: sleep, and wait for input and messages.
//!
//! A relative timeout becomes a deadline when the call is first issued. While it waits, the moment
//! it began is kept, and the call that is issued again counts from there.

use serde::{Deserialize, Serialize};

use super::abi::{Errno, Preview};
use super::call::{Call, Done, Fault, clock_id};
use super::clock::{Monotonic, wall};
use super::place::PlaceFile;
use super::stream::size;
use super::table::Object;
use crate::{Input, Wait};

/// A guest can wait for so many things in one call: more than it can have descriptors, and some
/// clocks. The list of events is made on our side.
const SUBSCRIPTIONS_MAX: u32 = 4096;

/// An event's bytes.
const EVENT_BYTES: u32 = 32;

/// `timeout` is a moment, not a length of time.
const ABSOLUTE: u16 = 1;

/// The other end has nothing more to say.
const HANGUP: u16 = 1;

/// A call that waits: which, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    /// Where its subscriptions are, and how many. The next call is the same one, or the guest was
    /// not unwound; this costs little and says so.
    subscriptions: (u32, u32),
    began: Monotonic,
}

/// What a guest waits for.
struct Subscription {
    user_data: u64,
    to: Topic,
}

#[derive(Clone, Copy)]
enum Topic {
    Clock { clock: u32, timeout: u64, is_absolute: bool },
    Read(u32),
    Write(u32),
}

/// What has come of a subscription.
enum State {
    /// It has come: so many bytes, and flags.
    Ready(u64, u16),
    /// It is an error to wait for it.
    Failed(Errno),
    /// It comes at this moment.
    At(Monotonic),
    /// It comes with the next input.
    WithInput,
    /// It comes with the next message.
    WithMessage,
}

impl Call<'_> {
    pub(super) fn poll_oneoff(
        &mut self,
        subscriptions: u32,
        events: u32,
        count: u32,
        count_at: u32,
    ) -> Done {
        if count == 0 || count > SUBSCRIPTIONS_MAX {
            return Err(Errno::Invalid.into());
        }
        self.guest.bytes(events, count * EVENT_BYTES)?;
        let began = match self.wasi.waiting {
            Some(Waiting { subscriptions: same, began }) if same == (subscriptions, count) => began,
            _ => self.wasi.clock.now(),
        };
        let (mut happened, mut deadline) = (0, None::<Monotonic>);
        let (mut input, mut message) = (false, false);
        for index in 0..count {
            let subscription = self.subscription(subscriptions, index)?;
            let (errno, bytes, flags) = match self.state(subscription.to, began) {
                State::Ready(bytes, flags) => (0, bytes, flags),
                State::Failed(errno) => (errno.code(), 0, 0),
                State::At(at) => {
                    deadline = Some(deadline.map_or(at, |first| first.min(at)));
                    continue;
                }
                State::WithInput => {
                    input = true;
                    continue;
                }
                State::WithMessage => {
                    message = true;
                    continue;
                }
            };
            let record = subscription.event(errno, bytes, flags);
            self.guest.write(events + happened * EVENT_BYTES, &record)?;
            happened += 1;
        }
        if happened == 0 {
            self.wasi.waiting = Some(Waiting { subscriptions: (subscriptions, count), began });
            let deadline = deadline.map(|at| self.wasi.clock.on_host(at));
            return Err(Fault::Block(match (input, message, deadline) {
                (false, false, Some(deadline)) => Wait::Until(deadline),
                (false, true, deadline) => Wait::Message(deadline),
                (true, true, deadline) => Wait::StdinOrMessage(deadline),
                (_, false, deadline) => Wait::Stdin(deadline),
            }));
        }
        self.wasi.waiting = None;
        Ok(self.guest.write_u32(count_at, happened)?)
    }

    /// Reads a subscription. In preview 0 one to a clock repeats the user data, and what follows
    /// moves down.
    fn subscription(&self, at: u32, index: u32) -> Result<Subscription, Errno> {
        let (bytes, clock) = match self.preview {
            Preview::Zero => (56, 24),
            Preview::One => (48, 16),
        };
        let at = index.checked_mul(bytes).and_then(|offset| at.checked_add(offset));
        let at = at.ok_or(Errno::Fault)?;
        self.guest.bytes(at, bytes)?;
        let to = match self.guest.bytes(at + 8, 1)?[0] {
            0 => Topic::Clock {
                clock: self.guest.u32(at + clock)?,
                timeout: self.guest.u64(at + clock + 8)?,
                is_absolute: self.guest.u16(at + clock + 24)? & ABSOLUTE != 0,
            },
            1 => Topic::Read(self.guest.u32(at + 16)?),
            2 => Topic::Write(self.guest.u32(at + 16)?),
            _ => return Err(Errno::Invalid),
        };
        Ok(Subscription { user_data: self.guest.u64(at)?, to })
    }

    fn state(&self, topic: Topic, began: Monotonic) -> State {
        let at = match topic {
            Topic::Clock { clock, timeout, is_absolute } => match (clock, is_absolute) {
                (clock_id::REALTIME | clock_id::MONOTONIC, false) => {
                    Monotonic(began.0.saturating_add(timeout))
                }
                (clock_id::MONOTONIC, true) => Monotonic(timeout),
                (clock_id::REALTIME, true) => {
                    let now = self.wasi.clock.now();
                    Monotonic(now.0.saturating_add(timeout.saturating_sub(wall())))
                }
                _ => return State::Failed(Errno::Invalid),
            },
            Topic::Read(fd) => return self.can_read(fd),
            Topic::Write(fd) => return self.can_write(fd),
        };
        if at <= self.wasi.clock.now() { State::Ready(0, 0) } else { State::At(at) }
    }

    fn can_read(&self, fd: u32) -> State {
        match self.wasi.table.at(fd).map(|descriptor| &descriptor.object) {
            Err(errno) => State::Failed(errno),
            Ok(Object::Stdin) => match self.world.input() {
                Input::Ready(bytes) => State::Ready(bytes as u64, 0),
                // There is input. To take it is another matter, for the read to wait for.
                Input::Held => State::Ready(1, 0),
                Input::Ended => State::Ready(0, HANGUP),
                Input::Empty => State::WithInput,
            },
            Ok(Object::File(file)) => match size(&file.handle) {
                Ok(size) => State::Ready(size.saturating_sub(file.offset), 0),
                Err(errno) => State::Failed(errno),
            },
            Ok(Object::PlaceFile(PlaceFile::Inbox, _)) => match self.world.inbox_readable() {
                0 => State::WithMessage,
                bytes => State::Ready(bytes as u64, 0),
            },
            Ok(Object::PlaceFile(file, _)) if file.is_written() => {
                State::Failed(Errno::BadDescriptor)
            }
            Ok(Object::PlaceFile(file, offset)) => {
                State::Ready((file.text(self.world).len() as u64).saturating_sub(*offset), 0)
            }
            Ok(Object::Output(_) | Object::Directory(_) | Object::Place(_)) => {
                State::Failed(Errno::BadDescriptor)
            }
        }
    }

    /// A file, an output stream or another's inbox is always said to be ready. A write to a stream whose reader is
    /// behind then waits in the write, where it counts.
    fn can_write(&self, fd: u32) -> State {
        match self.wasi.table.at(fd).map(|descriptor| &descriptor.object) {
            Err(errno) => State::Failed(errno),
            Ok(Object::Output(_) | Object::File(_)) => State::Ready(0, 0),
            Ok(Object::PlaceFile(file, _))
                if file.is_written() || matches!(file, PlaceFile::Whereis(_)) =>
            {
                State::Ready(0, 0)
            }
            Ok(_) => State::Failed(Errno::BadDescriptor),
        }
    }
}

impl Subscription {
    fn event(&self, errno: u16, bytes: u64, flags: u16) -> [u8; EVENT_BYTES as usize] {
        let mut record = [0; EVENT_BYTES as usize];
        record[0..8].copy_from_slice(&self.user_data.to_le_bytes());
        record[8..10].copy_from_slice(&errno.to_le_bytes());
        record[10] = match self.to {
            Topic::Clock { .. } => 0,
            Topic::Read(_) => 1,
            Topic::Write(_) => 2,
        };
        record[16..24].copy_from_slice(&bytes.to_le_bytes());
        record[24..26].copy_from_slice(&flags.to_le_bytes());
        record
    }
}
