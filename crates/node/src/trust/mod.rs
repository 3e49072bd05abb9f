//! Who is a member: the cluster's own certificate authority, node certificates, tokens, and TLS
//! over them.
//!
//! The first node makes the authority. A joiner proves itself with a token, and knows the cluster
//! by the hash of its certificate, which the token carries; in return it gets a certificate with
//! its node number in it. From then on both ends of every connection show one from the first byte.
//! The authority says who was let in; the member list says who still is.

mod authority;
mod tls;
mod token;

pub(crate) use authority::new_node_key;
pub use authority::{Authority, CERTIFICATE_LIFE, Credentials, RENEW_BEFORE};
pub use tls::{Purpose, Tls, TlsError, join_connector, peer_node};
pub use token::{Secret, Token, TokenError};

use wire::ClusterId;

/// The BLAKE3 hash of a cluster's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// That of this certificate.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(*blake3::hash(certificate).as_bytes())
    }

    /// What nodes call the cluster among themselves.
    #[must_use]
    pub fn cluster(self) -> ClusterId {
        let (id, _) = self.0.split_first_chunk().expect("16 is less than 32");
        ClusterId(*id)
    }
}

/// A cluster's id as people read it.
#[must_use]
pub fn cluster_text(id: ClusterId) -> String {
    id.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The DNS name that stands for a node in its certificate.
pub(crate) fn dns_name(node: wire::NodeId) -> String {
    format!("n{}.node.whimbrel", node.0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio_rustls::{LazyConfigAcceptor, TlsConnector};
    use wire::NodeId;

    use super::*;
    use crate::disk::DataDir;

    fn now() -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
    }

    fn tls(authority: &Authority, node: NodeId, now: Duration) -> Tls {
        let (key, public) = new_node_key();
        let certificate = authority.certify(now, node, &public).unwrap();
        let authority = authority.certificate().clone();
        Tls::new(&Credentials { authority, certificate, key }).unwrap()
    }

    /// Connects; says what came of it at the caller, or at the one who answers.
    async fn meet(
        (connector, name): (TlsConnector, rustls::pki_types::ServerName<'static>),
        answerer: &Tls,
    ) -> Result<(Purpose, Option<NodeId>), String> {
        let (near, far) = duplex(1 << 16);
        let caller = async {
            let mut stream = connector.connect(name, near).await.map_err(|e| e.to_string())?;
            // In TLS 1.3 a caller learns that its certificate was refused when it first reads.
            stream.read_u8().await.map_err(|e| e.to_string())
        };
        let answer = async {
            let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), far)
                .await
                .map_err(|e| e.to_string())?;
            let hello = start.client_hello();
            let (purpose, config) = answerer.answer(hello.alpn().unwrap()).unwrap();
            let mut stream = start.into_stream(config).await.map_err(|e| e.to_string())?;
            stream.write_all(b"!").await.map_err(|e| e.to_string())?;
            Ok((purpose, peer_node(stream.get_ref().1.peer_certificates()).ok()))
        };
        let (heard, answered) = tokio::join!(caller, answer);
        heard.and(answered)
    }

    #[tokio::test]
    async fn members_know_each_other_by_number() {
        let dir = DataDir::ephemeral().unwrap();
        let authority = Authority::open(&dir).unwrap();
        let one = tls(&authority, NodeId(1), now());
        // As after a restart: the key alone is enough to go on signing.
        let two = tls(&Authority::open(&dir).unwrap(), NodeId(2), now());
        let met = meet(one.connector(NodeId(2)), &two).await;
        assert_eq!(met, Ok((Purpose::Member, Some(NodeId(1)))));
        let met = meet(one.connector(NodeId(3)), &two).await.unwrap_err();
        assert!(met.contains("not valid for name"), "{met}");
    }

    #[tokio::test]
    async fn a_foreign_certificate_is_refused_by_both_ends() {
        let (dir, elsewhere) = (DataDir::ephemeral().unwrap(), DataDir::ephemeral().unwrap());
        let one = tls(&Authority::open(&dir).unwrap(), NodeId(1), now());
        let authority = Authority::open(&elsewhere).unwrap();
        let foreign = tls(&authority, NodeId(2), now());
        let met = meet(one.connector(NodeId(2)), &foreign).await.unwrap_err();
        assert!(met.contains("invalid peer certificate"), "{met}");
        let trusting =
            join_connector(Fingerprint::of(Authority::open(&dir).unwrap().certificate()));
        let met = meet(trusting.unwrap(), &foreign).await.unwrap_err();
        assert!(met.contains("invalid peer certificate: UnknownIssuer"), "{met}");
    }

    #[tokio::test]
    async fn an_old_certificate_is_refused() {
        let dir = DataDir::ephemeral().unwrap();
        let authority = Authority::open(&dir).unwrap();
        let one = tls(&authority, NodeId(1), now());
        let old = tls(&authority, NodeId(2), now() - CERTIFICATE_LIFE - Duration::from_secs(60));
        let met = meet(old.connector(NodeId(1)), &one).await.unwrap_err();
        assert!(met.to_lowercase().contains("expired"), "{met}");
    }

    #[tokio::test]
    async fn a_joiner_knows_the_cluster_by_its_hash() {
        let dir = DataDir::ephemeral().unwrap();
        let authority = Authority::open(&dir).unwrap();
        let one = tls(&authority, NodeId(1), now());
        let met = meet(join_connector(authority.fingerprint()).unwrap(), &one).await;
        assert_eq!(met, Ok((Purpose::Join, None)));
    }
}
