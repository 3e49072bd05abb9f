//! Images between nodes, as streams on connections of their own.
//!
//! ```text
//! stream := length header { length chunk } end      lengths are 32 bits, little-endian
//! header := (pid, offer) as a record                 end := length 0
//! ```
//!
//! A stream that breaks off, for whatever reason, is no image. One that nobody expects is closed.
//! Memory pages are copied once out of the frozen mapping and once into the new one; in between are
//! only encryption and the socket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use wire::{Channel, Incarnation, NodeId, Offer, Peer, Pid};

use super::dial::Dialer;

/// A chunk that claims to be longer is a lie.
const CHUNK_BYTES_MAX: u32 = 8 << 20;

/// Chunks between the thread that reads the memory and the socket, and at the far end likewise:
/// enough that neither waits for the other, little enough that memory does not fill.
pub(crate) const CHUNKS_AHEAD: usize = 4;

/// The bulk connections of one node, one for each member it has sent an image to.
#[derive(Debug)]
pub(crate) struct Bulk {
    dialer: Dialer,
    connections: Mutex<HashMap<NodeId, Arc<tokio::sync::Mutex<Option<Connection>>>>>,
}

#[derive(Debug)]
struct Connection {
    stream: TlsStream<TcpStream>,
    incarnation: Incarnation,
}

/// The near end of an image on its way: chunks in, empty ones back to be filled again.
pub(crate) struct Outlet {
    pub(crate) chunks: mpsc::Receiver<Vec<u8>>,
    pub(crate) empties: mpsc::Sender<Vec<u8>>,
}

impl Bulk {
    pub(crate) fn new(dialer: Dialer) -> Arc<Self> {
        Arc::new(Self { dialer, connections: Mutex::default() })
    }

    /// Connects ahead of need, so that the first move does not pay for it.
    pub(crate) async fn warm(&self, to: Peer) {
        let slot = self.slot(to.node);
        let mut slot = slot.lock().await;
        if slot.as_ref().is_none_or(|connection| connection.incarnation != to.incarnation) {
            *slot = self.connect(to).await.ok();
        }
    }

    /// Streams an image to exactly this incarnation. It is whole if `poured` says so once the channel
    /// has ended.
    pub(crate) async fn send(
        &self,
        to: Peer,
        (pid, offer): (Pid, Offer),
        mut outlet: Outlet,
        poured: impl Future<Output = Result<(), String>>,
    ) -> Result<u64, String> {
        let slot = self.slot(to.node);
        let mut slot = slot.lock().await;
        let mut connection = match slot.take() {
            Some(found) if found.incarnation == to.incarnation && is_alive(&found) => found,
            _ => self.connect(to).await?,
        };
        let sent = stream_out(&mut connection.stream, (pid, offer), &mut outlet, poured).await;
        if sent.is_ok() {
            *slot = Some(connection);
        }
        sent.map_err(|error| error.to_string())
    }

    /// Drops connections to nodes that are no members.
    pub(crate) fn keep(&self, members: &[NodeId]) {
        let mut connections = self.connections.lock().expect("nobody panics in here");
        connections.retain(|node, _| members.contains(node));
    }

    async fn connect(&self, to: Peer) -> Result<Connection, String> {
        let dialed = self.dialer.dial(to.node, Channel::Bulk).await;
        let (stream, incarnation) = dialed.map_err(|error| error.to_string())?;
        if incarnation != to.incarnation {
            return Err(format!("{to} has ended"));
        }
        Ok(Connection { stream, incarnation })
    }

    fn slot(&self, node: NodeId) -> Arc<tokio::sync::Mutex<Option<Connection>>> {
        self.connections.lock().expect("nobody panics in here").entry(node).or_default().clone()
    }
}

/// The far end never says anything: what can be read is the connection's end.
fn is_alive(connection: &Connection) -> bool {
    let mut byte = [0];
    let peeked = connection.stream.get_ref().0.try_read(&mut byte);
    matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

async fn stream_out(
    stream: &mut TlsStream<TcpStream>,
    key: (Pid, Offer),
    outlet: &mut Outlet,
    poured: impl Future<Output = Result<(), String>>,
) -> std::io::Result<u64> {
    let header = wire::encode(&key);
    stream.write_u32_le(u32::try_from(header.len()).expect("a header is short")).await?;
    stream.write_all(&header).await?;
    let mut bytes = 0;
    while let Some(chunk) = outlet.chunks.recv().await {
        let length = u32::try_from(chunk.len()).expect("chunks are bounded");
        assert!(0 < length && length <= CHUNK_BYTES_MAX);
        // In one go: by itself the length would be a packet of its own.
        let first = length.to_le_bytes();
        stream.write_all_buf(&mut Buf::chain(&first[..], &chunk[..])).await?;
        bytes += u64::from(length);
        let _ = outlet.empties.try_send(chunk);
    }
    poured.await.map_err(std::io::Error::other)?;
    stream.write_u32_le(0).await?;
    stream.flush().await?;
    Ok(bytes)
}

/// Reads the header of the next stream; `None` at the connection's end.
pub(crate) async fn next_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<(Pid, Offer)>, String> {
    let Ok(length) = stream.read_u32_le().await else { return Ok(None) };
    if 256 < length {
        return Err("a stream's header is too long".to_owned());
    }
    let mut header = vec![0; length as usize];
    stream.read_exact(&mut header).await.map_err(|error| error.to_string())?;
    wire::decode(&header).map(Some).map_err(|error| error.to_string())
}

/// Hands the chunks of one stream on. True if it came to its end; false if nobody takes the chunks
/// any more, or if it breaks off.
pub(crate) async fn stream_in(
    stream: &mut (impl AsyncRead + Unpin),
    chunks: &mpsc::Sender<Vec<u8>>,
    empties: &mut mpsc::Receiver<Vec<u8>>,
) -> bool {
    loop {
        let Ok(length) = stream.read_u32_le().await else { return false };
        if length == 0 {
            return true;
        }
        if CHUNK_BYTES_MAX < length {
            return false;
        }
        let mut chunk = empties.try_recv().unwrap_or_default();
        chunk.resize(length as usize, 0);
        if stream.read_exact(&mut chunk).await.is_err() || chunks.send(chunk).await.is_err() {
            return false;
        }
    }
}
