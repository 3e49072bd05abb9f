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

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned as _;

    use wire::{NodeId, Outcome};

    use super::*;
    use crate::Input;
    use crate::machine::RETRY;
    use crate::process::Process;
    use crate::testing::{drain, machine, pid};

    /// The registry may hear the question after the name was given back, and would give it to nobody.
    #[test]
    fn who_ends_while_it_waits_asks_no_more_and_gives_back_what_it_may_have_been_given() {
        let mut machine = machine(1);
        let (mut now, web) = (machine.now, "web".to_owned());
        machine.processes.insert(pid(7), Process::new(NodeId(1)));
        machine.handle(now, Input::Name { pid: pid(7), name: web.clone(), register: true });
        machine.handle(now, Input::Ended { pid: pid(7), outcome: Outcome::Code(0) });
        let ask = |request| move |output: &Output| matches!(output, Output::Ask(_, asked) if *asked == request);
        let back = ask(Request::Unname { name: web.clone(), pid: pid(7) });
        assert!(drain(&mut machine).iter().any(back));
        let again = ask(Request::Name { name: web, pid: pid(7) });
        for _ in 0..3 {
            now = now + RETRY + RETRY;
            machine.handle(now, Input::Wake);
            assert!(!drain(&mut machine).iter().any(&again));
        }
    }
}
