//! One call of a guest's: what it may touch, how it can end, and the calls that need no file.

use super::abi::{Errno, Preview};
use super::clock::wall;
use super::guest::Guest;
use super::{Exit, Wasi};
use crate::{Wait, World};

/// A call that is under way. Its methods are the functions of the interface, with their arguments
/// as the guest passed them, in files by theme.
pub(super) struct Call<'a> {
    pub(super) wasi: &'a mut Wasi,
    pub(super) world: &'a mut World,
    pub(super) guest: Guest<'a>,
    pub(super) preview: Preview,
}

/// How a call ends that does not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The guest is told.
    Errno(Errno),
    /// Nothing was done: the call waits, and is issued again.
    Block(Wait),
    /// The process ends.
    Exit(Exit),
}

/// How a call ends.
pub(super) type Done<T = ()> = Result<T, Fault>;

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Errno(errno.into())
    }
}

/// Clocks, by the numbers of the interface.
pub(super) mod clock_id {
    pub(in super::super) const REALTIME: u32 = 0;
    pub(in super::super) const MONOTONIC: u32 = 1;
    pub(in super::super) const PROCESS_CPU_TIME: u32 = 2;
    pub(in super::super) const THREAD_CPU_TIME: u32 = 3;
}

impl Call<'_> {
    /// Waits while the process may not have effects: to be said before the first of them.
    pub(super) fn await_effects(&self) -> Done {
        if self.world.effects_held() { Err(Fault::Block(Wait::Effects)) } else { Ok(()) }
    }

    pub(super) fn args_sizes_get(&mut self, count: u32, bytes: u32) -> Done {
        write_sizes(&mut self.guest, &self.wasi.args, count, bytes)
    }

    pub(super) fn args_get(&mut self, pointers: u32, bytes: u32) -> Done {
        write_strings(&mut self.guest, &self.wasi.args, pointers, bytes)
    }

    pub(super) fn environ_sizes_get(&mut self, count: u32, bytes: u32) -> Done {
        write_sizes(&mut self.guest, &self.wasi.env, count, bytes)
    }

    pub(super) fn environ_get(&mut self, pointers: u32, bytes: u32) -> Done {
        write_strings(&mut self.guest, &self.wasi.env, pointers, bytes)
    }

    pub(super) fn clock_res_get(&mut self, clock: u32, at: u32) -> Done {
        match clock {
            clock_id::REALTIME
            | clock_id::MONOTONIC
            | clock_id::PROCESS_CPU_TIME
            | clock_id::THREAD_CPU_TIME => Ok(self.guest.write_u64(at, 1)?),
            _ => Err(Errno::Invalid.into()),
        }
    }

    pub(super) fn clock_time_get(&mut self, clock: u32, _precision: u64, at: u32) -> Done {
        let time = match clock {
            clock_id::REALTIME => wall(),
            clock_id::MONOTONIC => self.wasi.clock.now().0,
            clock_id::PROCESS_CPU_TIME | clock_id::THREAD_CPU_TIME => {
                let used = self.world.cpu_time().unwrap_or_else(|| self.wasi.clock.age());
                u64::try_from(used.as_nanos()).unwrap_or(u64::MAX)
            }
            _ => return Err(Errno::Invalid.into()),
        };
        Ok(self.guest.write_u64(at, time)?)
    }

    /// Always the node's own generator: a copy of a process must not repeat what another draws.
    pub(super) fn random_get(&mut self, at: u32, len: u32) -> Done {
        getrandom::fill(self.guest.bytes_mut(at, len)?).map_err(|_| Errno::Io)?;
        Ok(())
    }

    pub(super) fn proc_exit(&mut self, code: u32) -> Done {
        Err(Fault::Exit(Exit(code)))
    }

    /// A process gives way when its slice ends, and not for a word: it may have just begun one.
    #[expect(clippy::unused_self, reason = "one shape for all functions")]
    pub(super) fn sched_yield(&mut self) -> Done {
        Ok(())
    }

    /// Nothing can be done with a signal here: the guest's library must end the process itself.
    #[expect(clippy::unused_self, reason = "one shape for all functions")]
    pub(super) fn proc_raise(&mut self, _signal: u32) -> Done {
        Err(Errno::NoSystem.into())
    }

    pub(super) fn sock_accept(&mut self, fd: u32, _flags: u32, _at: u32) -> Done {
        self.no_socket(fd)
    }

    pub(super) fn sock_recv(
        &mut self,
        fd: u32,
        _buffers: u32,
        _count: u32,
        _flags: u32,
        _length_at: u32,
        _flags_at: u32,
    ) -> Done {
        self.no_socket(fd)
    }

    pub(super) fn sock_send(
        &mut self,
        fd: u32,
        _buffers: u32,
        _count: u32,
        _flags: u32,
        _length_at: u32,
    ) -> Done {
        self.no_socket(fd)
    }

    pub(super) fn sock_shutdown(&mut self, fd: u32, _how: u32) -> Done {
        self.no_socket(fd)
    }

    /// No descriptor is a socket yet, which is another thing than not to be open.
    fn no_socket(&self, fd: u32) -> Done {
        self.wasi.table.at(fd)?;
        Err(Errno::NotSocket.into())
    }
}

/// How many strings there are, and how many bytes with a zero after each.
fn write_sizes(guest: &mut Guest<'_>, strings: &[String], count: u32, bytes: u32) -> Done {
    let total: usize = strings.iter().map(|string| string.len() + 1).sum();
    guest.write_u32(count, u32::try_from(strings.len()).map_err(|_| Errno::TooBig)?)?;
    guest.write_u32(bytes, u32::try_from(total).map_err(|_| Errno::TooBig)?)?;
    Ok(())
}

/// The strings one after the other with a zero after each, and a pointer to every one.
fn write_strings(guest: &mut Guest<'_>, strings: &[String], pointers: u32, bytes: u32) -> Done {
    let (mut pointer, mut at) = (pointers, bytes);
    for string in strings {
        guest.write_u32(pointer, at)?;
        guest.write(at, string.as_bytes())?;
        at = at.checked_add(string.len() as u32).ok_or(Errno::Fault)?;
        guest.write(at, &[0])?;
        at = at.checked_add(1).ok_or(Errno::Fault)?;
        pointer = pointer.checked_add(4).ok_or(Errno::Fault)?;
    }
    Ok(())
}
