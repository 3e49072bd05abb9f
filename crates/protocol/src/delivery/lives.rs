//! Letters are of one life of their sender, and for one life of their receiver.
//!
//! Exactly once, in order holds within a life of both. A process that begins anew has heard from nobody and has said
//! nothing: its correspondents learn of it by its first word, or because it answers with its life to a letter that was
//! for an earlier one, or for none that its sender knew. They are told `down(restarted)`, drop what they kept for the last life, and start over.

use wire::{Address, Life, Mail, Pid, Reason};

use crate::process::Phase;
use crate::{Instant, Machine, Rule};

impl Machine {
    /// Whether a letter, or what is said with one, is between the lives that there are now. Whoever hears here of a new
    /// life of its correspondent starts over with it.
    pub(super) fn is_between_lives(&mut self, now: Instant, from: Address, mail: &Mail) -> bool {
        let (apart, over) = (Rule::LivesApart, Rule::NewLifeStartsOver);
        let (apart, over) = (self.rules.keep(apart), self.rules.keep(over));
        let (pid, other) = (mail.to, mail.from);
        let Some(process) = self.processes.get_mut(&pid) else { return false };
        if matches!(process.phase, Phase::Ending) && !process.delivery.pairs.contains_key(&other) {
            return true;
        }
        let mine = process.delivery.life;
        let muted = matches!(process.phase, Phase::Muted(_));
        let Some(pair) = process.delivery.pair(now, other) else { return false };
        if pair.at.is_none_or(|at| at.epoch <= from.epoch) {
            pair.unsure = false;
        }
        match pair.from.life {
            known if mail.life < known => return false,
            Life::UNKNOWN => pair.from.life = mail.life,
            known if known < mail.life && pair.down.is_none() && over => {
                // A muted copy may tell its guest nothing; this is said again.
                if muted {
                    return false;
                }
                self.starts_over(pid, other, mail.life);
            }
            _ => (),
        }
        // Whoever does not know of a later life may have said the same to an earlier one, and may yet hear of that one:
        // it would start over, and this one would have taken some.
        let first = (mail.to_life, mine) == (Life::UNKNOWN, Life::FIRST);
        if mail.to_life == mine || first || !apart {
            return true;
        }
        if let Some(pair) = self.pair_of(pid, other) {
            // The answer says in which life this one is.
            pair.heard_at(from);
            pair.from.owed = true;
            self.soil(pid, other);
        }
        false
    }

    fn starts_over(&mut self, pid: Pid, other: Pid, life: Life) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let bond = process.delivery.start_over(other, life).unwrap_or_default();
        self.tell_down(pid, other, Reason::Restarted, bond);
        self.port_starts_over(pid, other);
    }
}
