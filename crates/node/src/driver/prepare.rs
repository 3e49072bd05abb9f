//! Before a process is frozen anywhere: is everything here that it needs?

use protocol::Input;
use wire::{Blob, Offer, Peer, Pid, Refusal};

use super::{Attempt, Driver, Event};
use crate::codes::Codes;
use crate::papers::Needs;

impl Driver {
    /// Says what a process needs of a target.
    pub(super) fn describe(&mut self, pid: Pid, offer: Offer) {
        let needs = match self.guests.get(pid) {
            Some(guest) => {
                let needs = guest.process.needs();
                let durable = self.machine.durable(pid).is_some();
                let engine::Needs { code, image_bytes, dirs } = needs;
                let placement = guest.info.placement.clone();
                let needs = Needs { code, image_bytes, dirs, durable, placement };
                Ok(Blob(wire::encode(&needs)))
            }
            None => Err("it is not running here".to_owned()),
        };
        self.inputs.push_back(Input::Described { pid, offer, needs });
    }

    /// Gets ready for a process that may come.
    pub(super) fn prepare(&mut self, from: Peer, pid: Pid, offer: Offer, needs: &Blob) {
        let needs = wire::decode::<Needs>(&needs.0);
        let durable = needs.as_ref().is_ok_and(|needs| needs.durable);
        let attempt = self.arrivals.expect(pid, offer, from, durable);
        let allowed = needs.as_ref().map_or(Ok(()), |it| it.placement.allows(&self.labels));
        let (codes, events) = (self.codes.clone(), self.events.clone());
        self.elsewhere.spawn(async move {
            let result = match (needs, allowed) {
                (_, Err(reason)) => Err(reason),
                (Ok(needs), _) => check(&codes, from, needs).await,
                (Err(error), _) => Err(format!("what it needs cannot be read: {error}")),
            };
            events.send(Event::Prepared(pid, offer, attempt, result.map_err(Refusal::Unfit)));
        });
    }

    pub(super) fn on_prepared(
        &mut self,
        pid: Pid,
        offer: Offer,
        attempt: Attempt,
        result: Result<(), Refusal>,
    ) {
        // An earlier attempt, which was given up, says nothing of this one.
        if !self.arrivals.expects(pid, offer, attempt) {
            return;
        }
        match result {
            Ok(()) => self.feed(Input::Prepared { pid, offer }),
            Err(reason) => {
                self.arrivals.forget(pid, offer);
                self.feed(Input::NotPrepared { pid, offer, reason });
            }
        }
    }
}

async fn check(codes: &Codes, from: Peer, needs: Needs) -> Result<(), String> {
    for dir in &needs.dirs {
        dir.check().map_err(|error| format!("directory {}: {error}", dir.host.display()))?;
    }
    if let Some(available) = memory_available()
        && available < needs.image_bytes
    {
        return Err(format!(
            "it needs {} bytes of memory, {available} are available",
            needs.image_bytes
        ));
    }
    codes.make_ready(from.node, needs.code).await?;
    codes.make_room(needs.code).await;
    Ok(())
}

/// What the system says could be used without swapping, in bytes.
fn memory_available() -> Option<u64> {
    memory("MemAvailable:")
}

/// What the machine has, in bytes.
pub(crate) fn memory_of_machine() -> Option<u64> {
    memory("MemTotal:")
}

fn memory(what: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(what))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
