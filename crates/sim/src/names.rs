//! Guests that ask for names: a name is one process's, and who asks is answered.

use protocol::{Input, Unnamed};
use wire::Pid;

use crate::world::{GuestState, Question, World};

/// So many names there are: few enough that they are fought over.
const NAMES: u64 = 3;

impl World {
    /// A guest wants a name, or to know whose it is. It waits for the answer.
    pub(crate) fn guest_asks(&mut self, node: usize, pid: Pid) {
        let name = format!("name{}", self.rng.below(NAMES));
        let register = self.rng.chance(50);
        let Some(guest) = self.nodes[node].guests.get_mut(&pid) else { return };
        if guest.state == GuestState::Running && guest.asks.is_none() {
            guest.asks = Some((name, register));
            self.ask_for_name(node, pid);
        }
    }

    /// It asks, or asks again where it goes on: when it may be heard.
    pub(crate) fn ask_for_name(&mut self, node: usize, pid: Pid) {
        let guest = self.nodes[node].guests.get(&pid);
        let asks = guest.filter(|guest| !guest.held).and_then(|guest| guest.asks.clone());
        if let Some((name, register)) = asks {
            self.feed(node, Input::Name { pid, name, register });
        }
    }

    /// It is answered.
    pub(crate) fn named(
        &mut self,
        node: usize,
        pid: Pid,
        asked: Question,
        holder: Result<Pid, Unnamed>,
    ) {
        let Some(guest) = self.nodes[node].guests.get_mut(&pid) else { return };
        if guest.asks.as_ref() != Some(&asked) {
            return;
        }
        guest.asks = None;
        let (name, register) = asked;
        let own = guest.name.clone();
        match holder {
            Ok(holder) if register => {
                guest.name = Some(name.clone());
                self.marks.mark("a name registered");
                if holder != pid || self.others_with(pid, &name) {
                    self.fail(format!("{pid} is given the name {name}, which another has"));
                }
            }
            Err(Unnamed::Taken(other)) if other == pid || own == Some(name.clone()) => {
                self.fail(format!("{pid} is not given {name}, which it has"));
            }
            Err(Unnamed::Taken(_)) => self.marks.mark("a name taken"),
            Err(Unnamed::Unfit) if own.is_none_or(|own| own == name) => {
                self.fail(format!("{pid} is refused {name}, and has no other"));
            }
            Err(Unnamed::Unfit | Unnamed::Unknown) => (),
            Ok(holder) if !self.truth.lives.contains_key(&holder) => {
                self.fail(format!("{pid} hears that {holder} is {name}, who never was"));
            }
            Ok(_) => self.marks.mark("a name found"),
        }
    }

    fn others_with(&self, pid: Pid, name: &str) -> bool {
        let guests = self.nodes.iter().flat_map(|node| &node.guests);
        let mut running = guests.filter(|(_, guest)| guest.state == GuestState::Running);
        running.any(|(other, guest)| *other != pid && guest.name.as_deref() == Some(name))
    }
}
