//! The message link to one member: a queue, and a task that keeps a connection under it.
//!
//! A link keeps no state. What was in it when it broke is lost, and who said it says it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio_rustls::client::TlsStream;
use wire::{Channel, Envelope, Incarnation, Message, NodeId, Peer};

use super::dial::Dialer;

/// Messages that wait for a connection or for room in it. More are dropped: their senders have
/// them still.
const QUEUE_MAX: usize = 1024;

/// Up to this many bytes are gathered from the queue into one write.
const BATCH_BYTES: usize = 256 << 10;

/// The first pause between calls to a member that does not answer, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The message links of one node, one for each member it has something to say to.
#[derive(Debug)]
pub(crate) struct Messages {
    dialer: Dialer,
    /// Links are started by whoever speaks first, and the registry's thread is no task.
    runtime: Handle,
    links: Mutex<HashMap<NodeId, Link>>,
}

#[derive(Debug)]
struct Link {
    queue: mpsc::Sender<Item>,
    task: AbortHandle,
}

#[derive(Debug)]
enum Item {
    /// For this incarnation, or for whichever answers.
    Say(Option<Incarnation>, Message),
    /// Answered when all before it has been handed to the system.
    Flush(oneshot::Sender<()>),
}

impl Messages {
    /// The links are carried by this runtime.
    pub(crate) fn new(dialer: Dialer, runtime: Handle) -> Arc<Self> {
        Arc::new(Self { dialer, runtime, links: Mutex::default() })
    }

    /// Sends to exactly this incarnation, or not at all.
    pub(crate) fn send(&self, to: Peer, message: Message) {
        self.push(to.node, Item::Say(Some(to.incarnation), message));
    }

    /// Sends to whichever incarnation of the node answers.
    pub(crate) fn send_any(&self, to: NodeId, message: Message) {
        self.push(to, Item::Say(None, message));
    }

    /// Keeps links to these members, and to no others.
    pub(crate) fn keep(&self, members: &[NodeId]) {
        let mut links = self.links.lock().expect("nobody panics in here");
        links.retain(|node, link| {
            let kept = members.contains(node);
            if !kept {
                link.task.abort();
            }
            kept
        });
        for node in members {
            links.entry(*node).or_insert_with(|| self.start(*node));
        }
    }

    /// Waits until all that was said has been handed to the system, but not for absent members.
    pub(crate) async fn flush(&self, patience: Duration) {
        let waits: Vec<_> = {
            let links = self.links.lock().expect("nobody panics in here");
            let ask = |link: &Link| {
                let (done, wait) = oneshot::channel();
                link.queue.try_send(Item::Flush(done)).ok().map(|()| wait)
            };
            links.values().filter_map(ask).collect()
        };
        let all = futures_util::future::join_all(waits);
        let _ = tokio::time::timeout(patience, all).await;
    }

    fn push(&self, to: NodeId, item: Item) {
        let mut links = self.links.lock().expect("nobody panics in here");
        let link = links.entry(to).or_insert_with(|| self.start(to));
        if link.queue.try_send(item).is_err() {
            tracing::debug!(%to, "a message was dropped: the link's queue is full");
        }
    }

    fn start(&self, node: NodeId) -> Link {
        let (queue, items) = mpsc::channel(QUEUE_MAX);
        let link = keep_connected(self.dialer.clone(), node, items);
        let task = self.runtime.spawn(link).abort_handle();
        Link { queue, task }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        for link in self.links.lock().expect("nobody panics in here").values() {
            link.task.abort();
        }
    }
}

/// Connects, sends until that breaks, and connects again, for as long as the link is wanted.
async fn keep_connected(dialer: Dialer, node: NodeId, mut items: mpsc::Receiver<Item>) {
    let (first, longest) = BACK_OFF;
    let mut pause = first;
    loop {
        match dialer.dial(node, Channel::Messages).await {
            Ok((stream, incarnation)) => {
                pause = first;
                tracing::debug!(%node, incarnation = incarnation.0, "link is up");
                let to = Peer { node, incarnation };
                match pump(stream, dialer.identity.peer, to, &mut items).await {
                    Ok(()) => return,
                    Err(error) => tracing::debug!(%node, %error, "link is down"),
                }
            }
            Err(error) => {
                tracing::debug!(%error, "no link");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
    }
}

/// Sends what is in the queue until the queue is gone, or the connection is.
async fn pump(
    stream: TlsStream<TcpStream>,
    from: Peer,
    to: Peer,
    items: &mut mpsc::Receiver<Item>,
) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut buffer = Vec::new();
    let mut flushed = Vec::new();
    loop {
        let item = tokio::select! {
            item = items.recv() => item,
            // The far end says nothing more on this connection: this is its end.
            _ = reader.read_u8() => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        };
        let Some(item) = item else { return Ok(()) };
        gather(item, from, to, &mut buffer, &mut flushed);
        while buffer.len() < BATCH_BYTES
            && let Ok(item) = items.try_recv()
        {
            gather(item, from, to, &mut buffer, &mut flushed);
        }
        writer.write_all(&buffer).await?;
        writer.flush().await?;
        buffer.clear();
        for done in flushed.drain(..) {
            let _: Result<(), ()> = done.send(());
        }
    }
}

fn gather(
    item: Item,
    from: Peer,
    to: Peer,
    buffer: &mut Vec<u8>,
    flushed: &mut Vec<oneshot::Sender<()>>,
) {
    match item {
        Item::Say(incarnation, message) => {
            if incarnation.is_none_or(|wanted| wanted == to.incarnation) {
                let bytes = wire::encode(&Envelope { from, to, message });
                let length = u32::try_from(bytes.len()).expect("messages are bounded");
                buffer.extend_from_slice(&length.to_le_bytes());
                buffer.extend_from_slice(&bytes);
            }
        }
        Item::Flush(done) => flushed.push(done),
    }
}
