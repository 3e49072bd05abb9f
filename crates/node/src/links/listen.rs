//! Where other nodes come in: members by every channel, joiners to ask for a certificate.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use engine::Engine;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use wire::{Channel, Envelope, Message, Peer};

use super::dial::{Dialer, tune};
use super::hear::Hearing;
use super::hello;
use super::messages::Messages;
use crate::checkpoints::Checkpoints;
use crate::driver::{Arrivals, Events};
use crate::seat::Seat;
use crate::trust::{Purpose, peer_node};

/// A caller who does not say who it is within this time is cut off.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);

/// What is read from a socket at once. The TLS library by itself asks for one page at a time, and an
/// image would cost as many calls of the system as it has pages.
pub(super) const READ_BYTES: usize = 64 << 10;

/// So many callers may be in their handshake at a time.
const HANDSHAKES_MAX: usize = 64;

/// Everything that those who come in may reach.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) dialer: Dialer,
    pub(crate) seat: Seat,
    pub(crate) messages: Arc<Messages>,
    /// The thread of the driver and the message links.
    pub(crate) letters: Handle,
    pub(crate) heard: mpsc::Sender<Envelope>,
    pub(crate) arrivals: Arrivals,
    pub(crate) engine: Engine,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) events: Events,
    /// What members may ask.
    pub(crate) members: Router,
    /// What joiners may ask.
    pub(crate) joiners: Router,
}

impl Door {
    /// Lets callers in until the task is ended.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let permit = handshakes.clone().acquire_owned().await.expect("it is never closed");
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, perhaps: those who hold them may let go.
                    tracing::warn!(%error, "a caller was not let in");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let door = self.clone();
            connections.spawn(async move {
                if let Err(error) = door.let_in(stream, permit).await {
                    tracing::warn!(%error, "a connection was refused or broke");
                }
            });
        }
    }

    async fn let_in(
        self,
        stream: TcpStream,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) -> Result<(), String> {
        tune(&stream);
        let greeted = tokio::time::timeout(HANDSHAKE_PATIENCE, self.greet(stream));
        let greeted = greeted.await.map_err(|_| "a caller said nothing".to_owned())??;
        drop(permit);
        match greeted {
            Greeted::Joiner(stream) => serve_http(stream, self.joiners).await,
            Greeted::Member(stream, peer, Channel::Messages) => {
                let hearing = Hearing::new(stream).map_err(|error| error.to_string())?;
                let letters = self.letters.clone();
                letters.spawn(self.hear(hearing, peer)).await.map_err(|error| error.to_string())?
            }
            Greeted::Member(stream, peer, Channel::Bulk) => {
                self.arrivals
                    .serve(stream, peer, &self.engine, &self.checkpoints, &self.events)
                    .await
            }
            Greeted::Member(stream, peer, Channel::Control) => {
                serve_http(stream, self.members.layer(Extension(peer))).await
            }
        }
    }

    async fn greet(&self, stream: TcpStream) -> Result<Greeted, String> {
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)
            .await
            .map_err(|error| error.to_string())?;
        let answer = {
            let said = start.client_hello();
            let names = said.alpn().into_iter().flatten();
            self.dialer.tls().and_then(|tls| tls.answer(names))
        };
        let (purpose, config) = answer.ok_or("a caller came for nothing we know")?;
        let mut stream = start.into_stream(config).await.map_err(|error| error.to_string())?;
        if purpose == Purpose::Join {
            return Ok(Greeted::Joiner(stream));
        }
        let certified =
            peer_node(stream.get_ref().1.peer_certificates()).map_err(|error| error.to_string())?;
        if let Some(home) = self.seat.home()
            && self.dialer.roster.member(certified).is_none()
            && let Some(news) = home.news().await
        {
            // It may have joined a moment ago.
            self.dialer.roster.set(&news.members);
        }
        let Dialer { identity, roster, .. } = &self.dialer;
        let (peer, channel) = hello::answer(&mut stream, identity, roster, certified)
            .await
            .map_err(|error| format!("{certified}: {error}"))?;
        Ok(Greeted::Member(stream, peer, channel))
    }

    /// Hands messages on, questions to the registry to the registry.
    async fn hear(self, hearing: Hearing, peer: Peer) -> Result<(), String> {
        let mut hearing = hearing.settle().map_err(|error| error.to_string())?;
        while let Some(bytes) = hearing.next().await? {
            let envelope: Envelope =
                wire::decode(bytes).map_err(|error| format!("{peer}: {error}"))?;
            if envelope.from != peer || envelope.to != self.dialer.identity.peer {
                tracing::debug!(%envelope, "discarded: between others");
                continue;
            }
            tracing::trace!(%envelope, "heard");
            let home = match &envelope.message {
                Message::Ask { .. } => self.seat.home(),
                _ => None,
            };
            match (envelope.message, home) {
                (Message::Ask { ask, request }, Some(home)) => {
                    let messages = self.messages.clone();
                    home.ask(peer, request, move |reply| {
                        messages.send(peer, Message::Answer { ask, reply });
                    });
                }
                (message, _) => {
                    let envelope = Envelope { message, ..envelope };
                    if self.heard.send(envelope).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

enum Greeted {
    Joiner(TlsStream<BufReader<TcpStream>>),
    Member(TlsStream<BufReader<TcpStream>>, Peer, Channel),
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
) -> Result<(), String> {
    let service = TowerToHyperService::new(router);
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(|error| error.to_string())
}
