//! Images on their way here: who may send which, and the threads that put them into place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use engine::{Engine, Staged, Thaw};
use protocol::Input;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use wire::{Offer, Peer, Pid, Section};

use super::{Driver, Event, Events};
use crate::links::bulk::{CHUNKS_AHEAD, next_header, stream_in};
use crate::papers::{Info, Papers};

/// The offers that are expected, and from whom. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Mutex<HashMap<(Pid, Offer), Peer>>>);

/// An image that has come to its end.
pub(crate) struct Landing {
    from: Peer,
    key: (Pid, Offer),
    image: Result<(Box<Staged>, Section, Info), String>,
}

impl Arrivals {
    fn table(&self) -> MutexGuard<'_, HashMap<(Pid, Offer), Peer>> {
        self.0.lock().expect("nobody panics in here")
    }

    pub(crate) fn expect(&self, pid: Pid, offer: Offer, from: Peer) {
        self.table().insert((pid, offer), from);
    }

    pub(crate) fn expects(&self, pid: Pid, offer: Offer) -> bool {
        self.table().contains_key(&(pid, offer))
    }

    pub(crate) fn forget(&self, pid: Pid, offer: Offer) {
        self.table().remove(&(pid, offer));
    }

    fn expects_from(&self, key: (Pid, Offer), from: Peer) -> bool {
        self.table().get(&key) == Some(&from)
    }

    /// Takes images from one connection until it ends, or sends what nobody expects.
    pub(crate) async fn serve(
        &self,
        mut stream: impl AsyncRead + Unpin,
        from: Peer,
        engine: &Engine,
        events: &Events,
    ) -> Result<(), String> {
        while let Some(key) = next_header(&mut stream).await? {
            if !self.expects_from(key, from) {
                return Err(format!("{} {} is not expected from {from}", key.0, key.1));
            }
            let (chunks, filled) = mpsc::channel(CHUNKS_AHEAD);
            let (emptied, mut empties) = mpsc::channel(CHUNKS_AHEAD + 2);
            let (whole, is_whole) = tokio::sync::oneshot::channel();
            let thaw = Thaw::new(engine).by_move();
            let events = events.clone();
            tokio::task::spawn_blocking(move || {
                let image = land(thaw, filled, &emptied, is_whole, key);
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

/// Puts an image into place as it comes, and verifies it.
fn land(
    mut thaw: Thaw,
    mut filled: mpsc::Receiver<Vec<u8>>,
    emptied: &mpsc::Sender<Vec<u8>>,
    is_whole: tokio::sync::oneshot::Receiver<bool>,
    (pid, offer): (Pid, Offer),
) -> Result<(Box<Staged>, Section, Info), String> {
    while let Some(chunk) = filled.blocking_recv() {
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
