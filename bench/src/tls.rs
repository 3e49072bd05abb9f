//! TLS for yardsticks and rivals: TLS 1.3 as nodes speak it, under a certificate made for the occasion.

use std::sync::Arc;

use rustls::{
    ClientConfig, Error, RootCertStore, ServerConfig, crypto::ring, pki_types::PrivateKeyDer,
};

/// Whom certificates are for.
pub(crate) const NAME: &str = "whimbrel";

/// A key, and the certificate that it signed for itself.
pub(crate) struct Identity(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Identity {
    pub(crate) fn new() -> Result<Self, Error> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
        made.map(Self).map_err(|error| Error::General(error.to_string()))
    }

    /// The certificate and the key as text.
    pub(crate) fn pems(&self) -> (String, String) {
        (self.0.cert.pem(), self.0.signing_key.serialize_pem())
    }

    /// The end that shows the certificate.
    pub(crate) fn server(&self) -> Result<ServerConfig, Error> {
        let key = PrivateKeyDer::try_from(self.0.signing_key.serialize_der());
        let key = key.map_err(|error| Error::General(error.to_owned()))?;
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.0.cert.der().clone()], key)
    }

    /// The end that trusts it.
    pub(crate) fn client(&self) -> Result<ClientConfig, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.cert.der().clone())?;
        Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}
