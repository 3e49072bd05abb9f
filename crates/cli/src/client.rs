//! Speaks HTTP/1.1 to a node's Unix socket: replies, streams of events, and bytes either way.
//!
//! Each request has a connection of its own: they cost microseconds here, and dropping one is how a
//! stream is ended.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::{fs, io};

use api::{Error, ErrorCode, NDJSON, OCTETS, Route};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// The longest line of a stream. Above anything a node says; a bound, because lines are buffered.
const LINE_BYTES_MAX: usize = 64 << 20;

/// The longest path that a Unix socket's address holds, with its end.
const SOCKET_PATH_MAX: usize = 107;

/// Asks one node.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// A stream of events, one JSON value a line.
pub struct Events<T> {
    body: Incoming,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of a line.
    searched: usize,
    event: PhantomData<fn() -> T>,
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

impl Client {
    /// Connects to nothing yet.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks for a reply.
    ///
    /// # Errors
    ///
    /// What the node answered, or that it did not.
    pub async fn reply<T: DeserializeOwned>(
        &self,
        route: Route,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T, Error> {
        self.answer(route, path, json(request)).await
    }

    /// Sends bytes, and asks for one value.
    ///
    /// # Errors
    ///
    /// What the node answered, or that it did not.
    pub async fn give<T: DeserializeOwned>(
        &self,
        route: Route,
        path: &str,
        bytes: Vec<u8>,
    ) -> Result<T, Error> {
        let body = Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync();
        self.answer(route, path, (body, OCTETS)).await
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        route: Route,
        path: &str,
        body: (Body, &str),
    ) -> Result<T, Error> {
        let response = self.send(route, path, body, NDJSON).await?;
        let body = response.into_body().collect().await.map_err(|error| lost(&error))?.to_bytes();
        // An empty reply is `null`.
        let text: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(text).map_err(|error| misspoken(&error))
    }

    /// Asks for a stream of events.
    ///
    /// # Errors
    ///
    /// What the node answered, or that it did not.
    pub async fn events<T: DeserializeOwned>(
        &self,
        route: Route,
        path: &str,
        request: &impl Serialize,
    ) -> Result<Events<T>, Error> {
        Ok(Events::new(self.send(route, path, json(request), NDJSON).await?.into_body()))
    }

    /// Sends bytes as they come, and asks for a stream of events.
    ///
    /// # Errors
    ///
    /// What the node answered, or that it did not.
    pub async fn upload<T, S>(&self, route: Route, path: &str, bytes: S) -> Result<Events<T>, Error>
    where
        T: DeserializeOwned,
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let body = BodyExt::boxed_unsync(StreamBody::new(bytes.map_ok(Frame::data)));
        Ok(Events::new(self.send(route, path, (body, OCTETS), NDJSON).await?.into_body()))
    }

    /// Asks for bytes.
    ///
    /// # Errors
    ///
    /// What the node answered, or that it did not.
    pub async fn download(
        &self,
        route: Route,
        path: &str,
        request: &impl Serialize,
    ) -> Result<Incoming, Error> {
        Ok(self.send(route, path, json(request), OCTETS).await?.into_body())
    }

    async fn send(
        &self,
        route: Route,
        path: &str,
        (body, content): (Body, &str),
        accept: &str,
    ) -> Result<Response<Incoming>, Error> {
        let request = Request::builder()
            .method(route.method.as_str())
            .uri(path)
            .header(HOST, "whimbrel")
            .header(CONTENT_TYPE, content)
            .header(ACCEPT, accept)
            .body(body)
            .expect("routes are well-formed");
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(&error))?;
        // Ends with the response's body, or when that is dropped.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| lost(&error))?.to_bytes();
        Err(serde_json::from_slice(&body).unwrap_or_else(|_| {
            Error::new(ErrorCode::Internal, format!("the node answered {status} to {}", route.path))
        }))
    }

    async fn connect(&self) -> Result<UnixStream, Error> {
        let unreachable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::new(
                ErrorCode::NoDaemon,
                format!("no daemon answers at {}", self.socket.display()),
            ),
            _ => crate::say::io(&self.socket.display().to_string(), &error),
        };
        let (path, _held) = short(&self.socket).map_err(unreachable)?;
        UnixStream::connect(path).await.map_err(unreachable)
    }
}

impl<T: DeserializeOwned> Events<T> {
    fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, event: PhantomData }
    }

    /// The next event; none when the stream has ended. May be dropped at any wait without losing one.
    ///
    /// # Errors
    ///
    /// If the stream breaks off, or holds what is no event.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(line) = self.line()? {
                return serde_json::from_slice(&line).map(Some).map_err(|error| misspoken(&error));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(lost(&error)),
                None => return Ok(None),
            }
        }
    }

    /// The next line of the buffer; empty ones keep a connection alive and say nothing.
    fn line(&mut self) -> Result<Option<BytesMut>, Error> {
        loop {
            let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n')
            else {
                self.searched = self.buffer.len();
                if self.searched > LINE_BYTES_MAX {
                    return Err(Error::new(
                        ErrorCode::Internal,
                        "the node sent a line without end",
                    ));
                }
                return Ok(None);
            };
            let line = self.buffer.split_to(self.searched + end + 1);
            self.searched = 0;
            if line.len() > 1 {
                return Ok(Some(line));
            }
        }
    }
}

/// A path to the same socket that fits an address: a long one goes through its directory's descriptor,
/// which must be held until the socket is connected.
pub(crate) fn short(socket: &Path) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    if socket.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok((socket.to_owned(), None));
    }
    let (Some(parent), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let held = OwnedFd::from(fs::File::open(parent)?);
    let number = std::os::fd::AsRawFd::as_raw_fd(&held);
    Ok((Path::new("/proc/self/fd").join(number.to_string()).join(name), Some(held)))
}

fn json(request: &impl Serialize) -> (Body, &'static str) {
    let text = serde_json::to_vec(request).expect("our types are JSON");
    // `()` stands for no body.
    let text = if text == b"null" { Vec::new() } else { text };
    (
        Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync(),
        "application/json",
    )
}

fn lost(error: &hyper::Error) -> Error {
    Error::new(ErrorCode::NodeUnavailable, format!("the daemon broke off: {error}"))
        .with_hint("`whimbrel status` says whether it still runs; its log says why it does not")
}

fn misspoken(error: &serde_json::Error) -> Error {
    Error::new(ErrorCode::Versions, format!("the daemon's answer is not understood: {error}"))
        .with_hint(
            "`whimbrel version` shows both releases; use the command that came with the daemon",
        )
}
