//! Letters between the guests and the machine: what a guest sends is carried to the machine when that
//! allows it, and what the machine has for a guest is put into its inbox.
//!
//! A guest's inbox and outbox are the engine's, and part of the image as they are when it is asked
//! for. What has been carried to the machine is in the machine's section of the same image. So at any
//! moment a letter is in one of the two.

use engine::{Order, Outgoing};
use protocol::{Input, MaySend, Unnamed, Unsendable};
use wire::{Pid, Reason, Share};

use super::Driver;

/// So many letters are put into an inbox together at most: it is locked for so long.
const GATHERED_MAX: usize = 512;

/// Letters on their way into an inbox.
#[derive(Default)]
pub(super) struct Gathered {
    /// Whose inbox, and from whom; none, if there are none.
    to: Option<(Pid, Pid)>,
    letters: Vec<Share>,
}

impl Driver {
    /// Carries what a guest has sent to the machine, as far as that takes it. The rest stays in the
    /// guest's outbox; the machine says when there is room.
    pub(super) fn carry(&mut self, pid: Pid) {
        let Some(guest) = self.guests.get(pid) else { return };
        let (machine, now) = (&mut self.machine, self.clock.now());
        let mut gone = Vec::new();
        guest.process.carry(|message| {
            let may = match message.order {
                Order::Message => machine.may_send(pid, message.to, message.bytes.len()),
                Order::Watch | Order::Link => machine.may_watch(pid, message.to),
                Order::Unwatch
                | Order::Unlink
                | Order::Trap
                | Order::Untrap
                | Order::Register
                | Order::Whereis => MaySend::Yes,
            };
            match may {
                MaySend::Yes => {
                    machine.handle(now, ordered(pid, message));
                    true
                }
                // It is on its way out, or has to do with too many just now.
                MaySend::Wait | MaySend::No(Unsendable::NotHere | Unsendable::Busy) => false,
                MaySend::No(Unsendable::Down(_)) => {
                    gone.push(message.to);
                    true
                }
                // Lost with its receiver, of which the guest hears after the last letter.
                MaySend::No(Unsendable::Ending) => true,
                // The engine knows that, too, and has told the guest.
                MaySend::No(Unsendable::Denied | Unsendable::TooLong) => true,
            }
        });
        gone.into_iter().for_each(|to| guest.process.is_gone(to));
    }

    /// Carries all that a guest has sent that is ending: there is no later, so the machine keeps what it would have
    /// the guest keep.
    pub(super) fn carry_rest(&mut self, pid: Pid) {
        let Some(guest) = self.guests.get(pid) else { return };
        let (machine, now) = (&mut self.machine, self.clock.now());
        guest.process.carry(|message| {
            machine.handle(now, ordered(pid, message));
            true
        });
    }

    /// What a guest has taken from its inbox, told to the machine: those who sent it may send more.
    pub(super) fn take_took(&mut self, pid: Pid) {
        let Some(guest) = self.guests.get(pid) else { return };
        for (from, took) in guest.process.took() {
            let (letters, bytes) = (took.messages, took.bytes);
            self.inputs.push_back(Input::Took { pid, from, letters, bytes });
        }
        self.settle();
    }

    /// A letter for a guest's inbox: those of one sender that follow each other are put there together.
    pub(super) fn gather(&mut self, pid: Pid, from: Pid, letter: Share) {
        let gathered = &mut self.gathered;
        let other = gathered.to != Some((pid, from)) || GATHERED_MAX <= gathered.letters.len();
        if other {
            self.put_in_inbox();
        }
        self.gathered.to = Some((pid, from));
        self.gathered.letters.push(letter);
    }

    /// Puts what was gathered into the guest's inbox. One that has ended needs nothing.
    pub(super) fn put_in_inbox(&mut self) {
        let Some((pid, from)) = self.gathered.to.take() else { return };
        let letters = self.gathered.letters.drain(..);
        let Some(guest) = self.guests.any(pid) else { return };
        if !guest.process.deliver_all(from, engine::What::Message, letters) {
            // The machine counts as the engine does, so this is our fault, and to go on would be to
            // lose a letter that its sender believes delivered.
            tracing::error!(%pid, %from, "an inbox has less room than the protocol believes");
            self.guests.kill(pid);
        }
    }

    /// A correspondent of a guest is no more: news, if it was watched.
    pub(super) fn tell_of_end(&mut self, pid: Pid, of: Pid, reason: Reason, watched: bool) {
        let Some(guest) = self.guests.any(pid) else { return };
        if reason != Reason::Restarted {
            guest.process.is_gone(of);
        }
        if watched {
            self.put_news(pid, of, engine::What::Down, &reason.to_string());
        }
    }

    /// The node of one that is watched is silent, or is heard again.
    pub(super) fn tell_of_silence(&mut self, pid: Pid, of: Pid, silent: bool) {
        let what = if silent { engine::What::Silent } else { engine::What::Back };
        self.put_news(pid, of, what, "");
    }

    /// What a guest asked of a name.
    pub(super) fn tell_of_name(
        &self,
        pid: Pid,
        name: &str,
        register: bool,
        holder: Result<Pid, Unnamed>,
    ) {
        let Some(guest) = self.guests.any(pid) else { return };
        let order = if register { Order::Register } else { Order::Whereis };
        let holder = holder.map_err(|unnamed| match unnamed {
            Unnamed::Taken(_) => engine::Unnamed::Taken,
            Unnamed::Unknown => engine::Unnamed::Unknown,
            Unnamed::Unfit => engine::Unnamed::Unfit,
        });
        guest.process.answer(order, name.as_bytes(), holder);
    }

    fn put_news(&mut self, pid: Pid, of: Pid, what: engine::What, reason: &str) {
        let Some(guest) = self.guests.any(pid) else { return };
        let fits = guest.process.deliver(of, what, Share::from(reason.as_bytes()));
        debug_assert!(fits, "news always fits");
    }
}

/// What a guest wants, as the machine takes it.
fn ordered(pid: Pid, message: &Outgoing) -> Input {
    let to = message.to;
    match message.order {
        Order::Message => Input::Send { pid, to, letter: message.bytes.clone() },
        Order::Watch => Input::Watch { pid, of: to },
        Order::Unwatch => Input::Unwatch { pid, of: to },
        Order::Link => Input::Link { pid, to },
        Order::Unlink => Input::Unlink { pid, from: to },
        Order::Trap | Order::Untrap => Input::Traps { pid, traps: message.order == Order::Trap },
        Order::Register | Order::Whereis => {
            let name = String::from_utf8_lossy(&message.bytes).into_owned();
            Input::Name { pid, name, register: message.order == Order::Register }
        }
    }
}
