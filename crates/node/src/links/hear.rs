//! The near end of another member's message link: what it says, message by message.
//!
//! A connection comes in on the runtime that serves everyone, and is heard on the thread of the driver, which must not
//! be woken by way of another. A socket belongs to the runtime that it was made on, so it changes hands here, with the
//! state of its encryption and whatever has been read of it already.

use std::io::{self, Read as _};
use std::net::TcpStream as Socket;

use rustls::ServerConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::listen::READ_BYTES;

/// What stands before a message: its length.
const HEAD_BYTES: usize = 4;

/// A link, `S` being its socket: of no runtime, or of the one that hears it.
pub(super) struct Hearing<S = Socket> {
    socket: S,
    connection: ServerConnection,
    /// What was read from the socket and not decrypted.
    sealed: Vec<u8>,
    /// What was decrypted: messages before this place have been heard.
    plain: Vec<u8>,
    heard: usize,
}

impl Hearing {
    /// Takes a connection from its runtime.
    pub(super) fn new(stream: TlsStream<BufReader<TcpStream>>) -> io::Result<Self> {
        let (buffered, connection) = stream.into_inner();
        let sealed = buffered.buffer().to_vec();
        let socket = buffered.into_inner().into_std()?;
        Ok(Self { socket, connection, sealed, plain: Vec::new(), heard: 0 })
    }

    /// Brings it to the runtime that this is called on.
    pub(super) fn settle(self) -> io::Result<Hearing<TcpStream>> {
        let Self { socket, connection, sealed, plain, heard } = self;
        Ok(Hearing { socket: TcpStream::from_std(socket)?, connection, sealed, plain, heard })
    }
}

impl Hearing<TcpStream> {
    /// The next message; none, when the link has ended.
    ///
    /// # Errors
    ///
    /// What was said is no message, or not encrypted as agreed.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>, String> {
        loop {
            if let Some(end) = self.whole()? {
                let start = std::mem::replace(&mut self.heard, end) + HEAD_BYTES;
                return Ok(Some(&self.plain[start..end]));
            }
            self.plain.drain(..self.heard);
            self.heard = 0;
            if self.unseal().await? {
                continue;
            }
            self.sealed.reserve(READ_BYTES);
            match self.socket.read_buf(&mut self.sealed).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }

    /// Where the next message ends, if all of it is here.
    fn whole(&self) -> Result<Option<usize>, String> {
        let rest = &self.plain[self.heard..];
        let Some((head, rest)) = rest.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if wire::MESSAGE_BYTES_MAX < length {
            return Err(format!("a message of {length} bytes was announced"));
        }
        Ok((length <= rest.len()).then_some(self.heard + HEAD_BYTES + length))
    }

    /// Decrypts what was read. False, if there is nothing more to be had of that.
    async fn unseal(&mut self) -> Result<bool, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let before = self.plain.len();
        let mut sealed = &self.sealed[..];
        loop {
            let state = self.connection.process_new_packets().map_err(|error| said(&error))?;
            let (start, more) = (self.plain.len(), state.plaintext_bytes_to_read());
            self.plain.resize(start + more, 0);
            let read = self.connection.reader().read_exact(&mut self.plain[start..]);
            read.map_err(|error| said(&error))?;
            if sealed.is_empty() {
                break;
            }
            self.connection.read_tls(&mut sealed).map_err(|error| said(&error))?;
        }
        self.sealed.clear();
        // Nothing is said on this end of a link but what encryption itself needs: new keys, above all.
        while self.connection.wants_write() {
            let mut answer = Vec::new();
            self.connection.write_tls(&mut answer).map_err(|error| said(&error))?;
            self.socket.write_all(&answer).await.map_err(|error| said(&error))?;
        }
        Ok(before < self.plain.len())
    }
}
