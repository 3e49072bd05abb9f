//! Calls to members.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use wire::{Channel, Incarnation, NodeId};

use super::hello::{self, HelloError, Identity, Roster};
use crate::seat::Seat;
use crate::trust::Tls;

/// A member that takes longer to answer a call is as good as absent.
const CALL_PATIENCE: Duration = Duration::from_secs(5);

/// A connection on which nothing was acknowledged for this long is given up: its machine may be
/// off, and the next one is made anew.
const SILENCE_MAX_MS: u32 = 10_000;

/// What is needed to call a member. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) identity: Identity,
    pub(crate) roster: Roster,
    /// Replaced when the certificate is renewed; none in a node that is alone.
    tls: Arc<RwLock<Option<Tls>>>,
    /// Where the registry is: it must be reachable before there is any news.
    seat: Seat,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nobody knows where it is.
    #[error("{0} is not a member")]
    Unknown(NodeId),
    /// It did not answer in time.
    #[error("{0} does not answer")]
    Silent(NodeId),
    /// It could not be reached, or its certificate is not that of the member.
    #[error("{node} at {address}: {source}")]
    Io {
        /// Who was called.
        node: NodeId,
        /// Where.
        address: String,
        /// What the system or TLS said.
        source: std::io::Error,
    },
    /// It answered, and there is no connection.
    #[error("{0}: {1}")]
    Hello(NodeId, HelloError),
}

impl Dialer {
    pub(crate) fn new(identity: Identity, roster: Roster, tls: Option<Tls>, seat: Seat) -> Self {
        let tls = Arc::new(RwLock::new(tls));
        Self { identity, roster, tls, seat }
    }

    pub(crate) fn tls(&self) -> Option<Tls> {
        self.tls.read().expect("nobody panics in here").clone()
    }

    pub(crate) fn replace_tls(&self, tls: Tls) {
        *self.tls.write().expect("nobody panics in here") = Some(tls);
    }

    /// Connects to a member, and says which incarnation of it answered.
    pub(crate) async fn dial(
        &self,
        node: NodeId,
        channel: Channel,
    ) -> Result<(TlsStream<TcpStream>, Incarnation), CallError> {
        let address = self.address(node).ok_or(CallError::Unknown(node))?;
        let call = self.dial_at(node, &address, channel);
        tokio::time::timeout(CALL_PATIENCE, call).await.map_err(|_| CallError::Silent(node))?
    }

    async fn dial_at(
        &self,
        node: NodeId,
        address: &str,
        channel: Channel,
    ) -> Result<(TlsStream<TcpStream>, Incarnation), CallError> {
        let failed = |source| CallError::Io { node, address: address.to_owned(), source };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        tune(&stream);
        let tls = self.tls().ok_or(CallError::Unknown(node))?;
        let (connector, name) = tls.connector(node);
        let mut stream = connector.connect(name, stream).await.map_err(failed)?;
        let incarnation = hello::call(&mut stream, &self.identity, channel, node)
            .await
            .map_err(|error| CallError::Hello(node, error))?;
        Ok((stream, incarnation))
    }

    fn address(&self, node: NodeId) -> Option<String> {
        let listed = self.roster.member(node).map(|member| member.address);
        listed.or_else(|| {
            let at = self.seat.at();
            (at.node == node).then_some(at.address)
        })
    }
}

/// Small messages go at once; a connection to a machine that is off ends.
pub(crate) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, SILENCE_MAX_MS);
}
