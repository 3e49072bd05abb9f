//! Messages: the host module `whimbrel`, and the same through files for programs that cannot
//! import it (see `place`). `docs/guest-abi.md` is the description for those who write programs.
//!
//! A call that waits for a message, or for room to send one, keeps when it stops waiting as a
//! moment on the process's own clock, and is issued again: time that the process was frozen counts,
//! and a move does not begin the time anew.

use wasmtime::{Caller, Linker};
use wire::{GroupId, NAME_BYTES_MAX, Pid};

use super::View;
use super::abi::{Errno, FdFlags, Preview};
use super::call::{Call, Done, Fault};
use super::clock::Monotonic;
use super::guest::Buffer;
use super::link::serve;
use super::place::PlaceFile;
use super::stream::copy;
use crate::{Order, Received, Unnamed, Unsent, Wait, World};

/// The module that programs import from.
pub(super) const MODULE: &str = "whimbrel";

/// What a function of the module answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Code {
    /// It is done.
    Done = 0,
    /// An address is outside the program's memory.
    Fault = 1,
    /// The time was up first.
    Timeout = 2,
    /// What there is does not fit the room given for it. Nothing was taken.
    Room = 3,
    /// A message is longer than messages are.
    TooLarge = 4,
    /// The process may not send there.
    Denied = 5,
    /// The receiver has ended.
    Gone = 6,
    /// Another process has that name.
    Taken = 7,
    /// Nobody has that name.
    Unknown = 8,
    /// It cannot be a name, or the process has another.
    Unfit = 9,
}

/// What can be asked for about another process.
const ORDERS: [(&str, Order); 4] = [
    ("monitor", Order::Watch),
    ("demonitor", Order::Unwatch),
    ("link", Order::Link),
    ("unlink", Order::Unlink),
];

/// A process's id as the program sees it: group, index, zero.
const PID_BYTES: u32 = 16;

/// Describes a message to the program: group, index, what it is, length, zero.
const INFO_BYTES: u32 = 24;

/// Defines the functions of the module.
pub(super) fn link<T: View>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "self", |caller: Caller<'_, T>, at: u32| {
        answer(caller, |call| call.own_id(at))
    })?;
    linker.func_wrap(
        MODULE,
        "group",
        |caller: Caller<'_, T>, at: u32, room: u32, count_at: u32| {
            answer(caller, |call| call.group_members(at, room, count_at))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "node",
        |caller: Caller<'_, T>, at: u32, room: u32, length_at: u32| {
            answer(caller, |call| call.node_name(at, room, length_at))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "send",
        |caller: Caller<'_, T>, group: u64, index: u32, at: u32, len: u32, timeout: i64| {
            let to = Pid { group: GroupId(group), index };
            answer(caller, |call| call.send(to, Buffer { at, len }, timeout))
        },
    )?;
    for (name, order) in ORDERS {
        linker.func_wrap(MODULE, name, move |caller: Caller<'_, T>, group: u64, index: u32| {
            let about = Pid { group: GroupId(group), index };
            answer(caller, |call| call.order(order, about))
        })?;
    }
    linker.func_wrap(MODULE, "trap_exit", |caller: Caller<'_, T>, traps: u32| {
        let order = if traps == 0 { Order::Untrap } else { Order::Trap };
        answer(caller, |call| call.order(order, call.world.pid()))
    })?;
    linker.func_wrap(MODULE, "register", |caller: Caller<'_, T>, at: u32, len: u32| {
        answer(caller, |call| call.register(Buffer { at, len }))
    })?;
    linker.func_wrap(
        MODULE,
        "whereis",
        |caller: Caller<'_, T>, at: u32, len: u32, pid_at: u32| {
            answer(caller, |call| call.whereis(Buffer { at, len }, pid_at))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "receive",
        |caller: Caller<'_, T>, info_at: u32, at: u32, room: u32, timeout: i64| {
            answer(caller, |call| call.receive(info_at, Buffer { at, len: room }, timeout))
        },
    )?;
    Ok(())
}

impl From<Unnamed> for Code {
    fn from(unnamed: Unnamed) -> Self {
        match unnamed {
            Unnamed::Taken => Self::Taken,
            Unnamed::Unknown => Self::Unknown,
            Unnamed::Unfit => Self::Unfit,
        }
    }
}

fn answer<T: View>(
    caller: Caller<'_, T>,
    function: impl Fn(&mut Call<'_>) -> Done<Code>,
) -> wasmtime::Result<u32> {
    let codes = |done: Done<Code>| match done {
        // All that checks of addresses say.
        Err(Fault::Errno(_)) => Ok(Code::Fault as u32),
        done => done.map(|code| code as u32),
    };
    serve(caller, Preview::One, |call| codes(function(call)))
}

impl Call<'_> {
    fn own_id(&mut self, at: u32) -> Done<Code> {
        self.guest.bytes(at, PID_BYTES)?;
        self.write_id(at, self.world.pid())
    }

    fn write_id(&mut self, at: u32, pid: Pid) -> Done<Code> {
        self.guest.write_u64(at, pid.group.0)?;
        self.guest.write_u32(at + 8, pid.index)?;
        self.guest.write_u32(at + 12, 0)?;
        Ok(Code::Done)
    }

    fn register(&mut self, name: Buffer) -> Done<Code> {
        match self.ask(Order::Register, name)? {
            Ok(_) => Ok(Code::Done),
            Err(unnamed) => Ok(unnamed.into()),
        }
    }

    fn whereis(&mut self, name: Buffer, pid_at: u32) -> Done<Code> {
        // Before it is asked: the answer must have somewhere to go.
        self.guest.bytes(pid_at, PID_BYTES)?;
        match self.ask(Order::Whereis, name)? {
            Ok(pid) => self.write_id(pid_at, pid),
            Err(unnamed) => Ok(unnamed.into()),
        }
    }

    fn ask(&mut self, order: Order, name: Buffer) -> Done<Result<Pid, Unnamed>> {
        let name = self.guest.bytes(name.at, name.len)?;
        ask(self.world, order, name).ok_or(Fault::Block(Wait::Answer))
    }

    /// As many indices as there is room for; the count says how many there are.
    fn group_members(&mut self, at: u32, room: u32, count_at: u32) -> Done<Code> {
        let members = self.world.members();
        self.guest.bytes(at, room.checked_mul(4).ok_or(Errno::Fault)?)?;
        self.guest.write_u32(count_at, members.len() as u32)?;
        for (index, place) in members.clone().zip(0..room) {
            self.guest.write_u32(at + 4 * place, index)?;
        }
        Ok(if members.len() > room as usize { Code::Room } else { Code::Done })
    }

    fn node_name(&mut self, at: u32, room: u32, length_at: u32) -> Done<Code> {
        let node = self.world.node();
        self.guest.bytes(at, room)?;
        self.guest.write_u32(length_at, node.len() as u32)?;
        if node.len() > room as usize {
            return Ok(Code::Room);
        }
        self.guest.write(at, node.as_bytes())?;
        Ok(Code::Done)
    }

    fn send(&mut self, to: Pid, message: Buffer, timeout: i64) -> Done<Code> {
        let bytes = self.guest.bytes(message.at, message.len)?;
        match self.world.send(to, bytes) {
            Ok(()) => Ok(Code::Done),
            Err(Unsent::TooLarge) => Ok(Code::TooLarge),
            Err(Unsent::Denied) => Ok(Code::Denied),
            Err(Unsent::Gone) => Ok(Code::Gone),
            Err(Unsent::Full) => {
                let bytes = message.len as usize;
                self.wait_for_mail(timeout, |deadline| Wait::SendRoom(to, bytes, deadline))
            }
        }
    }

    fn order(&mut self, order: Order, about: Pid) -> Done<Code> {
        match self.world.order(order, about) {
            Ok(()) => Ok(Code::Done),
            Err(Unsent::Full) => Err(Fault::Block(Wait::SendRoom(about, 0, None))),
            Err(_) => Ok(Code::Denied),
        }
    }

    fn receive(&mut self, info_at: u32, buffer: Buffer, timeout: i64) -> Done<Code> {
        // Before anything is taken: what is taken must have somewhere to go.
        self.guest.bytes(info_at, INFO_BYTES)?;
        self.guest.bytes(buffer.at, buffer.len)?;
        match self.world.receive(buffer.len as usize) {
            Received::Taken(message) => {
                self.guest.write(buffer.at, &message.bytes)?;
                let length = message.bytes.len() as u32;
                self.write_info(info_at, message.from, message.what as u32, length)?;
                Ok(Code::Done)
            }
            Received::Longer(length) => {
                self.guest.write_u32(info_at + 16, length as u32)?;
                Ok(Code::Room)
            }
            Received::Empty => self.wait_for_mail(timeout, Wait::Message),
        }
    }

    fn write_info(&mut self, at: u32, from: Pid, what: u32, length: u32) -> Result<(), Errno> {
        let mut info = [0; INFO_BYTES as usize];
        info[0..8].copy_from_slice(&from.group.0.to_le_bytes());
        info[8..12].copy_from_slice(&from.index.to_le_bytes());
        info[12..16].copy_from_slice(&what.to_le_bytes());
        info[16..20].copy_from_slice(&length.to_le_bytes());
        self.guest.write(at, &info)
    }

    /// Waits so many nanoseconds from when the call was first issued; for ever, if they are negative.
    fn wait_for_mail(
        &mut self,
        timeout: i64,
        wait: impl FnOnce(Option<u64>) -> Wait,
    ) -> Done<Code> {
        let Ok(timeout) = u64::try_from(timeout) else { return Err(Fault::Block(wait(None))) };
        let now = self.wasi.clock.now();
        let kept = self.world.take_deadline();
        let deadline = kept.unwrap_or_else(|| now.0.saturating_add(timeout));
        if deadline <= now.0 {
            return Ok(Code::Timeout);
        }
        self.world.keep_deadline(deadline);
        Err(Fault::Block(wait(Some(self.wasi.clock.on_host(Monotonic(deadline))))))
    }

    /// A read of the inbox as a file: of one message, and of that no more than there is room for.
    pub(super) fn read_inbox(&mut self, buffers: &[Buffer], waits: bool) -> Done<u32> {
        let room = buffers.iter().map(|buffer| buffer.len as usize).sum();
        if room == 0 {
            return Ok(0);
        }
        match self.world.read_inbox(room) {
            read if !read.is_empty() => copy(&mut self.guest, &read, buffers, 0),
            _ if waits => Err(Fault::Block(Wait::Message(None))),
            _ => Err(Errno::Again.into()),
        }
    }

    /// A write to a file of `/whimbrel`. To one that stands for a process it is a message, or whether it is watched
    /// or linked; to others a name, or whether ends are news. Says what the file is then, and how much was written.
    pub(super) fn write_place(
        &mut self,
        file: PlaceFile,
        flags: FdFlags,
        buffers: &[Buffer],
    ) -> Done<(PlaceFile, u32)> {
        let joined;
        let bytes = match buffers {
            [only] => self.guest.bytes(only.at, only.len)?,
            several => {
                let parts = several.iter().map(|buffer| self.guest.bytes(buffer.at, buffer.len));
                joined = parts.collect::<Result<Vec<_>, _>>()?.concat();
                &joined
            }
        };
        let length = bytes.len();
        let (to, done) = match file {
            PlaceFile::Send(to) => (to, self.world.send(to, bytes)),
            PlaceFile::Monitor(_) | PlaceFile::Link(_) | PlaceFile::TrapExit => {
                let (about, on, off) = match file {
                    PlaceFile::Monitor(of) => (of, Order::Watch, Order::Unwatch),
                    PlaceFile::Link(to) => (to, Order::Link, Order::Unlink),
                    _ => (self.world.pid(), Order::Trap, Order::Untrap),
                };
                match bytes.trim_ascii() {
                    b"1" => (about, self.world.order(on, about)),
                    b"0" => (about, self.world.order(off, about)),
                    _ => return Err(Errno::Invalid.into()),
                }
            }
            PlaceFile::Register | PlaceFile::Whereis(_) => {
                let order = match file {
                    PlaceFile::Register => Order::Register,
                    _ => Order::Whereis,
                };
                let pid = match ask(self.world, order, bytes.trim_ascii()) {
                    Some(Ok(pid)) => pid,
                    Some(Err(Unnamed::Taken)) => return Err(Errno::Exists.into()),
                    Some(Err(Unnamed::Unknown)) => return Err(Errno::NoEntry.into()),
                    Some(Err(Unnamed::Unfit)) => return Err(Errno::Invalid.into()),
                    // What is written again then asks after the same answer.
                    None if flags.has(FdFlags::NONBLOCK) => return Err(Errno::Again.into()),
                    None => return Err(Fault::Block(Wait::Answer)),
                };
                let now = match file {
                    PlaceFile::Register => file,
                    _ => PlaceFile::Whereis(Some(pid)),
                };
                return Ok((now, length as u32));
            }
            _ => return Err(Errno::ReadOnly.into()),
        };
        match done {
            Ok(()) => Ok((file, length as u32)),
            Err(Unsent::TooLarge) => Err(Errno::MessageSize.into()),
            Err(Unsent::Denied) => Err(Errno::Access.into()),
            Err(Unsent::Gone) => Err(Errno::Pipe.into()),
            Err(Unsent::Full) if flags.has(FdFlags::NONBLOCK) => Err(Errno::Again.into()),
            Err(Unsent::Full) => Err(Fault::Block(Wait::SendRoom(to, length, None))),
        }
    }
}

/// Asks for a name, or whose it is. `None` if there is no answer yet.
fn ask(world: &mut World, order: Order, name: &[u8]) -> Option<Result<Pid, Unnamed>> {
    if name.len() > NAME_BYTES_MAX || std::str::from_utf8(name).is_err() {
        return Some(Err(Unnamed::Unfit));
    }
    world.ask(order, name)
}
