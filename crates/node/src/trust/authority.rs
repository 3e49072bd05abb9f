//! The cluster's certificate authority, and what a node holds from it.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::NodeId;

use super::{Fingerprint, dns_name};
use crate::disk::{DataDir, DiskError, read};

/// How long a node's certificate is good for.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// A certificate is renewed when this little of its life is left: a node that was off for two
/// months still gets in.
pub const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Clocks of members may differ by this much.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// Bytes of an uncompressed point on P-256, which is what a public key is.
const PUBLIC_KEY_BYTES: usize = 65;

/// The key that lets nodes in. It lies with the registry's home.
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What a node shows to others.
#[derive(Debug)]
pub struct Credentials {
    /// The cluster's certificate.
    pub authority: CertificateDer<'static>,
    /// This node's.
    pub certificate: CertificateDer<'static>,
    /// The key of it.
    pub key: PrivateKeyDer<'static>,
}

fn damaged(dir: &Path) -> impl Fn(rcgen::Error) -> DiskError {
    let path = dir.join("ca.key");
    move |error| DiskError::Damaged { path: path.clone(), what: error.to_string() }
}

/// A public key as it came over the wire: not known to be one until it has signed something.
struct PublicKey(Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl Authority {
    /// The authority in this directory, made now if there is none.
    ///
    /// # Errors
    /// If the files are damaged or the disk refuses.
    pub fn open(dir: &DataDir) -> Result<Self, DiskError> {
        if let Some(there) = Self::read(dir.path())? {
            return Ok(there);
        }
        let key = new_key();
        let made = authority_params().self_signed(&key).map_err(damaged(dir.path()))?;
        dir.write("ca.key", key.serialized_der())?;
        dir.write("ca.der", made.der())?;
        Ok(Self { certificate: made.der().clone(), issuer: Issuer::new(authority_params(), key) })
    }

    /// The authority in this directory, if there is one.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, DiskError> {
        let (certificate, key) = (read(&dir.join("ca.der"))?, read(&dir.join("ca.key"))?);
        let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(None) };
        let key = PrivatePkcs8KeyDer::from(key);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256);
        Ok(Some(Self {
            certificate: CertificateDer::from(certificate),
            issuer: Issuer::new(authority_params(), key.map_err(damaged(dir))?),
        }))
    }

    /// Whether a key is that of an authority's certificate.
    #[must_use]
    pub(crate) fn is_key_of(certificate: &[u8], key: &[u8]) -> bool {
        let key = PrivatePkcs8KeyDer::from(key.to_vec());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256);
        // The certificate has the public key in it as it is.
        key.is_ok_and(|key| {
            let public = key.der_bytes();
            certificate.windows(public.len()).any(|part| part == public)
        })
    }

    /// The hash of its certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate for a node, over its public key. `None` if that is no public key.
    #[must_use]
    pub fn certify(
        &self,
        now: Duration,
        node: NodeId,
        public_key: &[u8],
    ) -> Option<CertificateDer<'static>> {
        if public_key.len() != PUBLIC_KEY_BYTES || public_key[0] != 4 {
            return None;
        }
        let mut params = CertificateParams::new(vec![dns_name(node)]).ok()?;
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
        params.not_after = epoch + (now + CERTIFICATE_LIFE);
        params.distinguished_name.push(DnType::CommonName, node.to_string());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.signed_by(&PublicKey(public_key.to_vec()), &self.issuer).ok()?;
        Some(signed.der().clone())
    }
}

impl Credentials {
    /// This node's credentials, if it has them.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn load(dir: &DataDir) -> Result<Option<Self>, DiskError> {
        let files = (dir.read("ca.der")?, dir.read("node.der")?, dir.read("node.key")?);
        let (Some(authority), Some(certificate), Some(key)) = files else { return Ok(None) };
        Ok(Some(Self {
            authority: CertificateDer::from(authority),
            certificate: CertificateDer::from(certificate),
            key: PrivatePkcs8KeyDer::from(key).into(),
        }))
    }

    /// Keeps them for the next start.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn save(&self, dir: &DataDir) -> Result<(), DiskError> {
        dir.write("node.key", self.key.secret_der())?;
        dir.write("ca.der", &self.authority)?;
        dir.write("node.der", &self.certificate)
    }

    /// The hash of the cluster's certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.authority)
    }
}

/// A key for a node: the secret, and the public half that is sent to be certified.
#[must_use]
pub(crate) fn new_node_key() -> (PrivateKeyDer<'static>, Vec<u8>) {
    let key = new_key();
    let public = key.public_key_raw().to_vec();
    (PrivatePkcs8KeyDer::from(key.serialize_der()).into(), public)
}

fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("the system's generator answers")
}

/// The same each time, so that the key alone is enough to sign after a restart.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Whimbrel cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    // The far end is far on purpose: who is a member is said by the member list.
    params.not_after = date_time_ymd(2126, 1, 1);
    params
}
