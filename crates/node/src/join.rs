//! How a machine becomes a member, and stays one: founding, joining, renewing.
//!
//! ```text
//!  joiner                          any member                    registry's home
//!    │ TLS; is its cluster the token's? │                               │
//!    │ POST /join secret, name, key ───▶│ passes it on ────────────────▶│ is the token good?
//!    │                                  │                               │ a number, a certificate
//!    │◀──── number, certificate ────────│◀──────────────────────────────│
//! ```

use std::sync::Arc;
use std::time::Duration;

use api::{Error, ErrorCode};
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use wire::{NodeId, Reply};

use crate::clock::unix_now;
use crate::control::{Node, Shared};
use crate::trust::{
    Authority, CERTIFICATE_LIFE, Credentials, Fingerprint, RENEW_BEFORE, Secret, Tls, Token,
    join_connector, new_node_key,
};

/// A request to join is not longer.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// A member that takes longer to let us in is as good as absent.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);

/// What a joiner says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    secret: Secret,
    name: String,
    address: String,
    public_key: Vec<u8>,
}

/// What it gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JoinReply {
    pub(crate) node: NodeId,
    pub(crate) registry: NodeId,
    pub(crate) registry_address: String,
    #[serde(default)]
    pub(crate) term: u64,
    authority: Vec<u8>,
    certificate: Vec<u8>,
}

/// A key to be certified.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CertifyRequest {
    public_key: Vec<u8>,
}

/// Gives certificates out, on the registry's home.
#[derive(Debug)]
pub(crate) struct Certifier(pub(crate) Authority);

impl Certifier {
    /// A certificate for a member's key.
    pub(crate) fn certify(&self, node: NodeId, request: &CertifyRequest) -> Result<Vec<u8>, Error> {
        let refused = || Error::new(ErrorCode::InvalidRequest, "that is no public key");
        let certificate = self.0.certify(unix_now(), node, &request.public_key);
        Ok(certificate.ok_or_else(refused)?.to_vec())
    }
}

/// When a certificate that is made now is to be renewed, in seconds since 1970.
pub(crate) fn renew_at() -> u64 {
    (unix_now() + CERTIFICATE_LIFE - RENEW_BEFORE).as_secs()
}

/// The first member's own credentials.
pub(crate) fn found(authority: &Authority, node: NodeId) -> Credentials {
    let (key, public_key) = new_node_key();
    let certificate = authority.certify(unix_now(), node, &public_key);
    let certificate = certificate.expect("a key that was just made is one");
    Credentials { authority: authority.certificate().clone(), certificate, key }
}

/// The registry was made anew without the key of its last home.
fn no_key() -> Error {
    let words = "the key that lets nodes in was lost with the registry's last home";
    Error::new(ErrorCode::RegistryUnavailable, words)
        .with_hint("put a copy of its `ca.key` into this node's data directory and start it again")
}

/// What joiners may ask: to join.
pub(crate) fn router(node: Shared) -> Router {
    Router::new()
        .route("/join", post(join_in))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(node)
}

async fn join_in(
    State(node): State<Shared>,
    Json(request): Json<JoinRequest>,
) -> crate::control::Answered {
    crate::control::json(node.let_join(request).await?)
}

impl Node {
    /// Makes a joiner a member, at the registry's home.
    pub(crate) async fn let_join(&self, request: JoinRequest) -> Result<JoinReply, Error> {
        let (certifier, home) = (self.seat.certifier(), self.seat.home());
        if home.is_some() && certifier.is_none() {
            return Err(no_key());
        }
        let (Some(certifier), Some(home)) = (certifier, home) else {
            let body = serde_json::to_vec(&request).expect("a request is plain data");
            let path = "/internal/join";
            return self.caller.json(self.seat.node(), hyper::Method::POST, path, body).await;
        };
        let token = request.secret.hash();
        let (name, address) = (request.name, request.address);
        let asked = wire::Request::Join { token, name, address };
        let node = match home.asked(self.me, asked).await {
            Some(Reply::Joined(node)) => node,
            Some(Reply::Refused(refusal)) => return Err(crate::control::of_registry(&refusal)),
            _ => return Err(Error::new(ErrorCode::RegistryUnavailable, "no answer to the join")),
        };
        let certify = CertifyRequest { public_key: request.public_key };
        Ok(JoinReply {
            node,
            registry: self.me.node,
            registry_address: self.address.clone(),
            term: self.seat.at().term,
            authority: certifier.0.certificate().to_vec(),
            certificate: certifier.certify(node, &certify)?,
        })
    }

    /// Renews this node's certificate, and says when it is to be renewed next.
    pub(crate) async fn renew(&self) -> Result<Credentials, Error> {
        let (key, public_key) = new_node_key();
        let request = CertifyRequest { public_key };
        let certificate = match self.seat.certifier() {
            Some(certifier) => certifier.certify(self.me.node, &request)?,
            None if self.seat.is_here() => return Err(no_key()),
            None => {
                let body = serde_json::to_vec(&request).expect("a request is plain data");
                let path = "/internal/certify";
                self.caller.json(self.seat.node(), hyper::Method::POST, path, body).await?
            }
        };
        let authority = self.authority.read().expect("nobody panics in here").clone();
        let authority = CertificateDer::from(authority.unwrap_or_default());
        Ok(Credentials { authority, certificate: CertificateDer::from(certificate), key })
    }
}

/// Joins through a member: proves nothing before the member has proved that it is of the token's
/// cluster.
pub(crate) async fn join(
    at: &str,
    token: &Token,
    name: &str,
    address: impl FnOnce(&TcpStream) -> String,
) -> Result<(Credentials, JoinReply, String), Error> {
    let joining = ask(at, token, name, address);
    let silent = |_| Error::new(ErrorCode::NodeUnavailable, format!("{at} does not answer"));
    tokio::time::timeout(JOIN_PATIENCE, joining).await.map_err(silent)?
}

async fn ask(
    at: &str,
    token: &Token,
    name: &str,
    address: impl FnOnce(&TcpStream) -> String,
) -> Result<(Credentials, JoinReply, String), Error> {
    let unreachable = |error: std::io::Error| {
        let foreign = error.to_string().contains("certificate");
        let code = if foreign { ErrorCode::ForeignCertificate } else { ErrorCode::NodeUnavailable };
        let message = match foreign {
            true => format!("{at} is not of the cluster that the token is for: {error}"),
            false => format!("{at}: {error}"),
        };
        Error::new(code, message)
    };
    let stream = TcpStream::connect(at).await.map_err(unreachable)?;
    let address = address(&stream);
    let (connector, server) = join_connector(token.cluster)
        .map_err(|error| Error::new(ErrorCode::Internal, error.to_string()))?;
    let stream = connector.connect(server, stream).await.map_err(unreachable)?;

    let (key, public_key) = new_node_key();
    let request = JoinRequest {
        secret: token.secret.clone(),
        name: name.to_owned(),
        address: address.clone(),
        public_key,
    };
    let broken = |error: &dyn std::fmt::Display| {
        Error::new(ErrorCode::NodeUnavailable, format!("{at}: {error}"))
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    tokio::spawn(connection);
    let body = serde_json::to_vec(&request).expect("a request is plain data");
    let request = hyper::Request::post("/join")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .expect("our own paths are well-formed");
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), REQUEST_BYTES_MAX);
    let body = body.collect().await.map_err(|error| broken(&error))?.to_bytes();
    if !status.is_success() {
        return Err(serde_json::from_slice(&body).unwrap_or_else(|error| broken(&error)));
    }
    let reply: JoinReply = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
    if Fingerprint::of(&reply.authority) != token.cluster {
        let message = format!("{at} answered with the certificate of another cluster");
        return Err(Error::new(ErrorCode::ForeignCertificate, message));
    }
    let credentials = Credentials {
        authority: CertificateDer::from(reply.authority.clone()),
        certificate: CertificateDer::from(reply.certificate.clone()),
        key,
    };
    Ok((credentials, reply, address))
}

/// Renews the certificate for as long as the node lives.
pub(crate) async fn keep_certified(
    node: Arc<Node>,
    first: u64,
    renewed: impl Fn(Credentials, u64) -> Result<Tls, String>,
    use_it: impl Fn(Tls),
) {
    let mut at = first;
    loop {
        let wait = Duration::from_secs(at).saturating_sub(unix_now());
        // A clock that is set must not make us late: looked at each hour at least.
        tokio::time::sleep(wait.min(Duration::from_secs(3600))).await;
        if unix_now().as_secs() < at {
            continue;
        }
        let done = match node.renew().await {
            Ok(credentials) => {
                at = renew_at();
                renewed(credentials, at).map(&use_it)
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the certificate was not renewed; it will be tried again");
            at = unix_now().as_secs() + 3600;
        }
    }
}
