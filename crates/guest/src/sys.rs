//! The functions that the host offers, made safe: all that is `unsafe` in this crate.
//!
//! The host reads and writes only the bytes that an address and a length beside it name, or the
//! fixed size of a record, and only during the call. Each function here passes the address of a
//! borrow that lives as long as the call, with that borrow's own length, so that the host's reads
//! are of initialised bytes and its writes are of bytes that nobody else looks at.

use alloc::vec::Vec;

use crate::Pid;

/// A timeout that never comes.
pub(crate) const FOREVER: i64 = -1;

/// What a function answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Code(u32);

impl Code {
    pub(crate) const DONE: Self = Self(0);
    pub(crate) const TIMEOUT: Self = Self(2);
    pub(crate) const ROOM: Self = Self(3);
    pub(crate) const TOO_LARGE: Self = Self(4);
    pub(crate) const DENIED: Self = Self(5);
    pub(crate) const GONE: Self = Self(6);
    pub(crate) const TAKEN: Self = Self(7);
    pub(crate) const UNKNOWN: Self = Self(8);
    pub(crate) const UNFIT: Self = Self(9);
}

/// A process, as the host writes it.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct RawPid {
    group: u64,
    index: u32,
    zero: u32,
}

/// What the host says of a message.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Info {
    pub(crate) group: u64,
    pub(crate) index: u32,
    pub(crate) what: u32,
    pub(crate) length: u32,
    zero: u32,
}

pub(crate) fn this() -> Pid {
    let mut pid = RawPid::default();
    host::own_id(&mut pid);
    Pid { group: pid.group, index: pid.index }
}

/// Writes as many indices as there is room for; says how many there are.
pub(crate) fn group(indices: &mut [u32]) -> usize {
    host::group(indices)
}

/// Writes the node's name, if there is room for it; says how long it is.
pub(crate) fn node(name: &mut [u8]) -> usize {
    host::node(name)
}

pub(crate) fn send(to: Pid, bytes: &[u8], timeout: i64) -> Code {
    host::send(to, bytes, timeout)
}

pub(crate) fn monitor(of: Pid) -> Code {
    host::monitor(of)
}

pub(crate) fn demonitor(of: Pid) -> Code {
    host::demonitor(of)
}

pub(crate) fn link(to: Pid) -> Code {
    host::link(to)
}

pub(crate) fn unlink(from: Pid) -> Code {
    host::unlink(from)
}

pub(crate) fn trap_exit(traps: bool) {
    host::trap_exit(traps);
}

pub(crate) fn register(name: &str) -> Code {
    host::register(name.as_bytes())
}

pub(crate) fn whereis(name: &str) -> (Code, Pid) {
    let mut pid = RawPid::default();
    let code = host::whereis(name.as_bytes(), &mut pid);
    (code, Pid { group: pid.group, index: pid.index })
}

/// Takes a message that fits into the room that an empty vector has; what was there before is gone either way. The
/// room is not filled with zeros first: that would cost more than most messages.
pub(crate) fn receive(bytes: &mut Vec<u8>, timeout: i64) -> (Code, Info) {
    bytes.clear();
    let mut info = Info::default();
    (host::receive(&mut info, bytes, timeout), info)
}

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "calls of another module's functions are; see above")]
mod host {
    use alloc::vec::Vec;

    use super::{Code, Info, RawPid};
    use crate::Pid;

    mod import {
        use super::{Code, Info, RawPid};

        #[link(wasm_import_module = "whimbrel")]
        unsafe extern "C" {
            #[link_name = "self"]
            pub(super) fn own_id(at: *mut RawPid) -> Code;
            pub(super) fn group(at: *mut u32, room: usize, count_at: *mut u32) -> Code;
            pub(super) fn node(at: *mut u8, room: usize, length_at: *mut u32) -> Code;
            pub(super) fn send(
                group: u64,
                index: u32,
                at: *const u8,
                length: usize,
                timeout: i64,
            ) -> Code;
            pub(super) fn monitor(group: u64, index: u32) -> Code;
            pub(super) fn demonitor(group: u64, index: u32) -> Code;
            pub(super) fn link(group: u64, index: u32) -> Code;
            pub(super) fn unlink(group: u64, index: u32) -> Code;
            pub(super) fn trap_exit(traps: u32) -> Code;
            pub(super) fn register(at: *const u8, length: usize) -> Code;
            pub(super) fn whereis(at: *const u8, length: usize, pid_at: *mut RawPid) -> Code;
            pub(super) fn receive(
                info_at: *mut Info,
                at: *mut u8,
                room: usize,
                timeout: i64,
            ) -> Code;
        }
    }

    pub(super) fn own_id(pid: &mut RawPid) {
        // SAFETY: the host writes one record, where one is borrowed for writing.
        unsafe { import::own_id(pid) };
    }

    pub(super) fn group(indices: &mut [u32]) -> usize {
        let mut count = 0;
        // SAFETY: the host writes at most as many indices as the slice has, and one count.
        unsafe { import::group(indices.as_mut_ptr(), indices.len(), &mut count) };
        count as usize
    }

    pub(super) fn node(name: &mut [u8]) -> usize {
        let mut length = 0;
        // SAFETY: the host writes at most as many bytes as the slice has, and one length.
        unsafe { import::node(name.as_mut_ptr(), name.len(), &mut length) };
        length as usize
    }

    pub(super) fn send(to: Pid, bytes: &[u8], timeout: i64) -> Code {
        // SAFETY: the host reads the bytes of the slice and keeps no address.
        unsafe { import::send(to.group, to.index, bytes.as_ptr(), bytes.len(), timeout) }
    }

    pub(super) fn monitor(of: Pid) -> Code {
        // SAFETY: no address is passed.
        unsafe { import::monitor(of.group, of.index) }
    }

    pub(super) fn demonitor(of: Pid) -> Code {
        // SAFETY: no address is passed.
        unsafe { import::demonitor(of.group, of.index) }
    }

    pub(super) fn link(to: Pid) -> Code {
        // SAFETY: no address is passed.
        unsafe { import::link(to.group, to.index) }
    }

    pub(super) fn unlink(from: Pid) -> Code {
        // SAFETY: no address is passed.
        unsafe { import::unlink(from.group, from.index) }
    }

    pub(super) fn trap_exit(traps: bool) {
        // SAFETY: no address is passed. There is no other answer than that it is done.
        unsafe { import::trap_exit(u32::from(traps)) };
    }

    pub(super) fn register(name: &[u8]) -> Code {
        // SAFETY: the host reads the bytes of the slice and keeps no address.
        unsafe { import::register(name.as_ptr(), name.len()) }
    }

    pub(super) fn whereis(name: &[u8], pid: &mut RawPid) -> Code {
        // SAFETY: the host reads the bytes of the slice, and writes one record, where one is borrowed for writing.
        unsafe { import::whereis(name.as_ptr(), name.len(), pid) }
    }

    pub(super) fn receive(info: &mut Info, bytes: &mut Vec<u8>, timeout: i64) -> Code {
        let room = bytes.spare_capacity_mut();
        // SAFETY: the host writes at most as many bytes as there is room for, and one record.
        let code = unsafe { import::receive(info, room.as_mut_ptr().cast(), room.len(), timeout) };
        if code == Code::DONE {
            assert!(
                info.length as usize <= bytes.capacity(),
                "the host wrote more than there is room for"
            );
            // SAFETY: the vector was empty, and the host has written so many bytes at its start.
            unsafe { bytes.set_len(info.length as usize) };
        }
        code
    }
}

#[cfg(not(target_family = "wasm"))]
mod host {
    use alloc::vec::Vec;

    use super::{Code, Info, RawPid};
    use crate::Pid;

    fn nobody() -> ! {
        panic!("this is no program on Whimbrel: nobody answers")
    }

    pub(super) fn own_id(_: &mut RawPid) {
        nobody()
    }

    pub(super) fn group(_: &mut [u32]) -> usize {
        nobody()
    }

    pub(super) fn node(_: &mut [u8]) -> usize {
        nobody()
    }

    pub(super) fn send(_: Pid, _: &[u8], _: i64) -> Code {
        nobody()
    }

    pub(super) fn monitor(_: Pid) -> Code {
        nobody()
    }

    pub(super) fn register(_: &[u8]) -> Code {
        nobody()
    }

    pub(super) fn whereis(_: &[u8], _: &mut RawPid) -> Code {
        nobody()
    }

    pub(super) fn demonitor(_: Pid) -> Code {
        nobody()
    }

    pub(super) fn link(_: Pid) -> Code {
        nobody()
    }

    pub(super) fn unlink(_: Pid) -> Code {
        nobody()
    }

    pub(super) fn trap_exit(_: bool) {
        nobody()
    }

    pub(super) fn receive(_: &mut Info, _: &mut Vec<u8>, _: i64) -> Code {
        nobody()
    }
}
