//! Images on their way here: who may send which, and the threads that put them into place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use engine::{Engine, Staged, Thaw};
use protocol::Input;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use wire::{Offer, Peer, Pid, Section};

use super::{Driver, Event, Events};
use crate::checkpoints::Checkpoints;
use crate::links::bulk::{CHUNKS_AHEAD, next_header, stream_in};
use crate::papers::{Info, Papers};

/// The offers that are expected, and from whom. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Expected>>);

#[derive(Debug, Default)]
struct Expected {
    offers: HashMap<(Pid, Offer), Expectation>,
    last: Attempt,
}

/// What is known of an image before it comes.
#[derive(Clone, Copy, Debug)]
struct Expectation {
    from: Peer,
    attempt: Attempt,
    /// It has to be on this node's disk before it counts as here.
    durable: bool,
}

/// Tells one preparation for an offer from another: the same offer may be dropped and asked for again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempt(u64);

/// An image that has come to its end.
pub(crate) struct Landing {
    from: Peer,
    key: (Pid, Offer),
    image: Result<(Box<Staged>, Section, Info), String>,
}

impl Arrivals {
    fn table(&self) -> MutexGuard<'_, Expected> {
        self.0.lock().expect("nobody panics in here")
    }

    pub(crate) fn expect(&self, pid: Pid, offer: Offer, from: Peer, durable: bool) -> Attempt {
        let mut table = self.table();
        table.last.0 += 1;
        let attempt = table.last;
        table.offers.insert((pid, offer), Expectation { from, attempt, durable });
        attempt
    }

    pub(crate) fn expects(&self, pid: Pid, offer: Offer, attempt: Attempt) -> bool {
        self.table().offers.get(&(pid, offer)).is_some_and(|expected| expected.attempt == attempt)
    }

    pub(crate) fn forget(&self, pid: Pid, offer: Offer) {
        self.table().offers.remove(&(pid, offer));
    }

    fn expects_from(&self, key: (Pid, Offer), from: Peer) -> bool {
        self.expectation(key, from).is_some()
    }

    fn expectation(&self, key: (Pid, Offer), from: Peer) -> Option<Expectation> {
        self.table().offers.get(&key).copied().filter(|expected| expected.from == from)
    }

    /// Takes images from one connection until it ends, or sends what nobody expects.
    pub(crate) async fn serve(
        &self,
        mut stream: impl AsyncRead + Unpin,
        from: Peer,
        engine: &Engine,
        checkpoints: &Checkpoints,
        events: &Events,
    ) -> Result<(), String> {
        while let Some(key) = next_header(&mut stream).await? {
            let Some(expected) = self.expectation(key, from) else {
                return Err(format!("{} {} is not expected from {from}", key.0, key.1));
            };
            let (chunks, filled) = mpsc::channel(CHUNKS_AHEAD);
            let (emptied, mut empties) = mpsc::channel(CHUNKS_AHEAD + 2);
            let (whole, is_whole) = tokio::sync::oneshot::channel();
            let thaw = Thaw::new(engine).by_move();
            let events = events.clone();
            let disk = expected.durable.then(|| checkpoints.clone());
            tokio::task::spawn_blocking(move || {
                let image = land(thaw, filled, &emptied, is_whole, key, disk);
                events.send(Event::Landed(Landing { from, key, image }));
            });
            let complete = stream_in(&mut stream, &chunks, &mut empties).await;
            drop(chunks);
            let _ = whole.send(complete);
            if !complete {
                return Err(format!("the image of {} {} broke off", key.0, key.1));
            }
        }
        Ok(())
    }
}

/// Puts an image into place as it comes, and verifies it. That of a durable process is on the disk then.
fn land(
    mut thaw: Thaw,
    mut filled: mpsc::Receiver<Vec<u8>>,
    emptied: &mpsc::Sender<Vec<u8>>,
    is_whole: tokio::sync::oneshot::Receiver<bool>,
    (pid, offer): (Pid, Offer),
    disk: Option<Checkpoints>,
) -> Result<(Box<Staged>, Section, Info), String> {
    let part = disk.map(|disk| disk.part(pid, disk.begin(pid))).transpose();
    let on_disk = |error: std::io::Error| format!("its image on this node's disk: {error}");
    let mut part = part.map_err(on_disk)?;
    while let Some(chunk) = filled.blocking_recv() {
        if let Some(part) = &mut part {
            part.push(&chunk).map_err(on_disk)?;
        }
        thaw.push(&chunk).map_err(|error| error.to_string())?;
        let _ = emptied.try_send(chunk);
    }
    if is_whole.blocking_recv() != Ok(true) {
        return Err("the connection broke".to_owned());
    }
    let staged = thaw.finish().map_err(|error| error.to_string())?;
    let papers = Papers::decode(staged.protocol())?;
    if (papers.section.pid, papers.section.offer) != (pid, offer) || papers.copy {
        return Err("the image is of another process or offer".to_owned());
    }
    match part {
        Some(part) => part.finish().map_err(on_disk)?,
        None if papers.section.durable.is_some() => {
            return Err("it is durable, and nobody has said so".to_owned());
        }
        None => (),
    }
    Ok((Box::new(staged), papers.section, papers.info))
}

impl Driver {
    /// An image has come to its end; it counts only if it is still expected.
    pub(super) fn on_landed(&mut self, landing: Landing) {
        let Landing { from, key: (pid, offer), image } = landing;
        if !self.arrivals.expects_from((pid, offer), from) {
            return;
        }
        match image {
            Ok((staged, section, info)) => {
                self.guests.stage(pid, offer, *staged, info);
                self.feed(Input::Staged { from, section });
            }
            Err(error) => {
                tracing::warn!(%pid, %offer, %from, %error, "an image did not arrive");
                self.arrivals.forget(pid, offer);
                self.feed(Input::StageFailed { pid, offer });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::{GroupId, Incarnation, NodeId};

    use super::*;

    #[test]
    fn what_an_earlier_attempt_says_does_not_count() {
        let arrivals = Arrivals::default();
        let key = (Pid { group: GroupId(1), index: 0 }, Offer(1));
        let peer = |node| Peer { node: NodeId(node), incarnation: Incarnation(1) };
        let first = arrivals.expect(key.0, key.1, peer(1), false);
        arrivals.forget(key.0, key.1);
        assert!(!arrivals.expects(key.0, key.1, first));
        let second = arrivals.expect(key.0, key.1, peer(2), false);
        assert!(!arrivals.expects(key.0, key.1, first));
        assert!(arrivals.expects(key.0, key.1, second) && arrivals.expects_from(key, peer(2)));
        assert!(!arrivals.expects_from(key, peer(1)));
    }
}
