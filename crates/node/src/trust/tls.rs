//! TLS as nodes use it: both ends certified by the cluster, except while joining.
//!
//! A connection says what it is for by its ALPN name, before anything is accepted from it:
//! `whimbrel/1` must come with a member's certificate, `whimbrel-join/1` comes with none and may
//! only ask to join.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::TlsConnector;
use wire::NodeId;

use super::{Credentials, Fingerprint, dns_name};

const MEMBER: &[u8] = b"whimbrel/1";
const JOIN: &[u8] = b"whimbrel-join/1";

/// What a caller came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is a member, and shows a certificate.
    Member,
    /// It wants to become one.
    Join,
}

/// One node's credentials made ready for connections.
#[derive(Clone, Debug)]
pub struct Tls {
    client: Arc<ClientConfig>,
    member: Arc<ServerConfig>,
    join: Arc<ServerConfig>,
}

/// Why credentials cannot be used, or a connection was refused.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The library refused.
    #[error(transparent)]
    Tls(#[from] Error),
    /// A certificate has no node number in it.
    #[error("the certificate names no node of a whimbrel cluster")]
    NoNode,
}

impl Tls {
    /// Prepares both ends.
    ///
    /// # Errors
    /// If the certificate does not fit the key.
    pub fn new(credentials: &Credentials) -> Result<Self, TlsError> {
        let roots = Arc::new(roots(&credentials.authority)?);
        let chain = || vec![credentials.certificate.clone(), credentials.authority.clone()];
        let provider = provider();

        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain(), credentials.key.clone_key())?;
        client.alpn_protocols = vec![MEMBER.to_vec()];
        client.enable_sni = true;

        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let server = || {
            ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&rustls::version::TLS13])
        };
        let mut member = server()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain(), credentials.key.clone_key())?;
        member.alpn_protocols = vec![MEMBER.to_vec()];
        // Nothing is gained by resuming a session between daemons, and tickets cost a round.
        member.send_tls13_tickets = 0;

        let mut join = server()?
            .with_no_client_auth()
            .with_single_cert(chain(), credentials.key.clone_key())?;
        join.alpn_protocols = vec![JOIN.to_vec()];

        Ok(Self { client: Arc::new(client), member: Arc::new(member), join: Arc::new(join) })
    }

    /// Calls this member: whoever answers must be it.
    #[must_use]
    pub fn connector(&self, node: NodeId) -> (TlsConnector, ServerName<'static>) {
        (TlsConnector::from(self.client.clone()), server_name(node))
    }

    /// How to answer a caller who offers these ALPN names; `None` if they say nothing we know.
    pub fn answer<'a>(
        &self,
        mut offered: impl Iterator<Item = &'a [u8]>,
    ) -> Option<(Purpose, Arc<ServerConfig>)> {
        offered.find_map(|name| match name {
            MEMBER => Some((Purpose::Member, self.member.clone())),
            JOIN => Some((Purpose::Join, self.join.clone())),
            _ => None,
        })
    }
}

/// Calls any member of the cluster with this id, showing no certificate.
///
/// # Errors
/// If the library refuses.
pub fn join_connector(
    cluster: Fingerprint,
) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
    let verifier = Arc::new(ByClusterHash { cluster, provider: provider() });
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    client.alpn_protocols = vec![JOIN.to_vec()];
    Ok((TlsConnector::from(Arc::new(client)), server_name(NodeId(0))))
}

/// The node that a verified certificate stands for.
///
/// # Errors
/// If it stands for none.
pub fn peer_node(chain: Option<&[CertificateDer<'_>]>) -> Result<NodeId, TlsError> {
    let certificate = chain.and_then(<[_]>::first).ok_or(TlsError::NoNode)?;
    let certificate = webpki::EndEntityCert::try_from(certificate).map_err(|_| TlsError::NoNode)?;
    let number = certificate.valid_dns_names().find_map(|name| {
        name.strip_prefix('n')?.strip_suffix(".node.whimbrel")?.parse::<u32>().ok()
    });
    number.map(NodeId).ok_or(TlsError::NoNode)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn server_name(node: NodeId) -> ServerName<'static> {
    ServerName::try_from(dns_name(node)).expect("a node's name is a DNS name")
}

fn roots(authority: &CertificateDer<'static>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(roots)
}

/// Trusts the cluster whose certificate has the hash that the token carries, and any node of it:
/// a joiner knows an address, not a number.
#[derive(Debug)]
struct ByClusterHash {
    cluster: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByClusterHash {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let foreign = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let authority = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == self.cluster)
            .ok_or_else(foreign)?;
        let node = peer_node(Some(std::slice::from_ref(end_entity))).map_err(|_| foreign())?;
        WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots(&authority.clone().into_owned())?),
            self.provider.clone(),
        )
        .build()
        .map_err(|error| Error::General(error.to_string()))?
        .verify_server_cert(end_entity, &[], &server_name(node), ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("nodes speak TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
