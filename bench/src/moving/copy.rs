//! The yardstick for a move: the same bytes over loopback through TLS and nothing else.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
    pki_types::ServerName,
};

use crate::tls::{Identity, NAME};

/// How much is written at a time: enough that a call costs nothing beside its encryption.
const PIECE: usize = 256 * 1024;

/// How long it takes to bring `bytes` bytes from one thread to another: TLS 1.3 as nodes speak it, the first byte
/// written to the last one read. `content` is sent over and over, so that the source is memory.
pub(crate) fn copy(content: &[u8], bytes: u64) -> Result<Duration, String> {
    let said = |error: &dyn std::fmt::Display| format!("raw TLS copy: {error}");
    let identity = Identity::new().map_err(|error| said(&error))?;
    let server = identity.server().map_err(|error| said(&error))?;
    let client = identity.client().map_err(|error| said(&error))?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| said(&error))?;
    let address = listener.local_addr().map_err(|error| said(&error))?;
    let receiver = thread::spawn(move || receive(&listener, server, bytes));
    let sent = send(address, client, content, bytes).map_err(|error| said(&error))?;
    let received = receiver
        .join()
        .map_err(|_| said(&"the receiver panicked"))?
        .map_err(|error| said(&error))?;
    Ok(received - sent)
}

/// Returns the moment before the first byte is written.
fn send(
    address: std::net::SocketAddr,
    config: ClientConfig,
    content: &[u8],
    bytes: u64,
) -> io::Result<Instant> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    // One byte there and back, so that the handshake is over before the clock starts.
    stream.write_all(&[0])?;
    stream.read_exact(&mut [0])?;
    let start = Instant::now();
    let mut left = bytes;
    for piece in content.chunks(PIECE).cycle() {
        let length = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        stream.write_all(&piece[..length])?;
        left -= length as u64;
        if left == 0 {
            break;
        }
    }
    stream.flush()?;
    Ok(start)
}

/// Returns the moment after the last byte is read.
fn receive(listener: &TcpListener, config: ServerConfig, bytes: u64) -> io::Result<Instant> {
    let (socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.read_exact(&mut [0])?;
    stream.write_all(&[0])?;
    stream.flush()?;
    let mut buffer = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= length as u64;
    }
    Ok(Instant::now())
}
