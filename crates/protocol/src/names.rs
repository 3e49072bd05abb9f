//! Names that guests ask for: one a process, and each one process's, in the whole cluster.
//!
//! A guest waits for the answer. What stops it before is no matter: it asks again where it goes on, and to ask for a name
//! that is already its own is granted. The name is given back at its end, as one that an operator gave it.

use alloc::string::String;

use wire::{Pid, Reply, Request};

use crate::asks::Purpose;
use crate::process::Phase;
use crate::{Instant, Machine, Output, Unnamed};

impl Machine {
    /// A guest asks.
    pub(crate) fn guest_names(&mut self, now: Instant, pid: Pid, name: String, register: bool) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if let Phase::Ending = process.phase {
            return;
        }
        if !register {
            return self.ask(now, Purpose::GuestName(pid), Request::Lookup(name));
        }
        if process.name.as_ref().is_some_and(|own| *own != name) {
            let holder = Err(Unnamed::Unfit);
            return self.put(Output::Named { pid, name, register, holder });
        }
        // It may have it before it hears so: at its end it is given back either way.
        process.name = Some(name.clone());
        self.ask(now, Purpose::GuestName(pid), Request::Name { name, pid });
    }

    /// The registry answers.
    pub(crate) fn guest_named(&mut self, pid: Pid, request: Request, reply: &Reply) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let (name, register) = match request {
            Request::Name { name, .. } => (name, true),
            Request::Lookup(name) => (name, false),
            _ => return,
        };
        let holder = match reply {
            Reply::Done if register => Ok(pid),
            Reply::Named(holder) if register => Err(Unnamed::Taken(*holder)),
            Reply::Named(holder) => Ok(*holder),
            Reply::Refused(_) if register => Err(Unnamed::Unfit),
            Reply::Refused(_) => Err(Unnamed::Unknown),
            _ => return,
        };
        if register && holder.is_err() {
            process.name = None;
        }
        self.put(Output::Named { pid, name, register, holder });
    }
}
