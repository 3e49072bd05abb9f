//! The yardstick for a round trip: TLS over loopback and nothing else, bare, or with a thread behind each end to which
//! each message is handed and which hands the answer back, as a daemon hands it to the process that it is for.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
    pki_types::ServerName,
};

use super::Measured;
use crate::tls::{Identity, NAME};

/// What goes to the thread that works, and comes back.
type Bytes = Vec<u8>;

/// Round trips of messages of this length.
pub(super) fn measure(handed: bool, size: usize) -> Result<Measured, String> {
    let said = |error: &dyn std::fmt::Display| format!("TLS ping-pong: {error}");
    let identity = Identity::new().map_err(|error| said(&error))?;
    let server = identity.server().map_err(|error| said(&error))?;
    let client = identity.client().map_err(|error| said(&error))?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| said(&error))?;
    let address = listener.local_addr().map_err(|error| said(&error))?;
    let answering = thread::spawn(move || answer(&listener, server, handed, size));
    let trips = ask(address, client, handed, size).map_err(|error| said(&error))?;
    let answered = answering.join().map_err(|_| said(&"the far end panicked"))?;
    answered.map_err(|error| said(&error))?;
    Ok(Measured::of_trips(&trips, None))
}

/// Sends a message, and waits for its like.
fn trip(stream: &mut (impl Read + Write), message: &mut [u8]) -> io::Result<()> {
    stream.write_all(message)?;
    stream.flush()?;
    stream.read_exact(message)
}

fn ask(
    address: SocketAddr,
    config: ClientConfig,
    handed: bool,
    size: usize,
) -> io::Result<Vec<Duration>> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    let mut message = vec![0; size];
    if !handed {
        return super::timed(|| trip(&mut stream, &mut message));
    }
    // The thread that works asks the one that has the socket, and has its answer from it.
    let (to_socket, asked) = mpsc::channel::<Bytes>();
    let (to_work, got) = mpsc::channel::<Bytes>();
    let carrying = thread::spawn(move || {
        for mut message in asked {
            trip(&mut stream, &mut message)?;
            to_work.send(message).map_err(io::Error::other)?;
        }
        io::Result::Ok(())
    });
    let trips = super::timed(|| {
        to_socket.send(std::mem::take(&mut message)).map_err(io::Error::other)?;
        message = got.recv().map_err(io::Error::other)?;
        Ok(())
    });
    drop(to_socket);
    carrying.join().map_err(|_| io::Error::other("a thread panicked"))??;
    trips
}

/// Sends back what comes, until nothing does.
fn answer(
    listener: &TcpListener,
    config: ServerConfig,
    handed: bool,
    size: usize,
) -> io::Result<()> {
    let (socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    let (to_work, asked) = mpsc::channel::<Bytes>();
    let (to_socket, got) = mpsc::channel::<Bytes>();
    let working = thread::spawn(move || asked.into_iter().try_for_each(|it| to_socket.send(it)));
    let mut message = vec![0; size];
    while stream.read_exact(&mut message).is_ok() {
        if handed {
            to_work.send(std::mem::take(&mut message)).map_err(io::Error::other)?;
            message = got.recv().map_err(io::Error::other)?;
        }
        stream.write_all(&message)?;
        stream.flush()?;
    }
    drop(to_work);
    working.join().map_err(|_| io::Error::other("a thread panicked"))?.map_err(io::Error::other)
}
