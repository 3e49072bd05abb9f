//! A token lets one node join, within an hour.
//!
//! It carries the hash of the cluster's certificate, so that a joiner knows whom it talks to
//! before it says the secret. The registry keeps only the secret's hash.

use std::fmt;
use std::str::FromStr;

use wire::TokenHash;

use super::Fingerprint;

const PREFIX: &str = "whimbrel1";

/// What an operator carries from a member to a joiner.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The cluster it opens.
    pub cluster: Fingerprint,
    /// What it opens it with.
    pub secret: Secret,
}

/// The secret half of a token.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Secret(pub [u8; 16]);

/// This text is not a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token looks like {PREFIX}.CLUSTER.SECRET, as `whimbrel token create` prints it")]
pub struct TokenError;

impl Token {
    /// A new token for a cluster.
    #[must_use]
    pub fn new(cluster: Fingerprint) -> Self {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).expect("the system's generator answers");
        Self { cluster, secret: Secret(secret) }
    }
}

impl Secret {
    /// What the registry knows of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(blake3::derive_key("whimbrel 2026 join token", &self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?})", self.cluster.cluster())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.")?;
        self.cluster.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ".")?;
        self.secret.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(cluster), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError);
        };
        Ok(Self { cluster: Fingerprint(from_hex(cluster)?), secret: Secret(from_hex(secret)?) })
    }
}

fn from_hex<const BYTES: usize>(text: &str) -> Result<[u8; BYTES], TokenError> {
    if text.len() != BYTES * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(TokenError);
    }
    let mut bytes = [0; BYTES];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).map_err(|_| TokenError)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_text() {
        let token = Token::new(Fingerprint([7; 32]));
        assert_eq!(token.to_string().parse(), Ok(token));
        for text in ["", "whimbrel1.07.ab", "whimbrel2.x.y", "whimbrel1.é.é"] {
            assert_eq!(text.parse::<Token>(), Err(TokenError), "{text}");
        }
    }

    #[test]
    fn a_token_is_not_logged() {
        let token = Token::new(Fingerprint([7; 32]));
        let secret = token.to_string().rsplit_once('.').unwrap().1.to_owned();
        assert!(!format!("{token:?}").contains(&secret));
    }
}
