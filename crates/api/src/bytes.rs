//! Bytes in JSON: as text where they are text, so that a stream can be read with `curl`, and in
//! base 64 (RFC 4648) where they are not.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, of a process's output for example. In JSON a string if they are UTF-8, else
/// `{"base64": "…"}`; a character cut in two by the end of a piece takes the second form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bytes(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form<T> {
    Text(T),
    Encoded { base64: T },
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => Form::Text(text).serialize(serializer),
            Err(_) => Form::Encoded { base64: encode(&self.0).as_str() }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::<String>::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into_bytes())),
            Form::Encoded { base64 } => {
                decode(&base64).map(Self).ok_or_else(|| D::Error::custom("not base 64"))
            }
        }
    }
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0u32, |group, byte| group << 8 | u32::from(*byte));
        for place in 0..4 {
            let digit = group >> (18 - 6 * place) & 63;
            text.push(if place <= chunk.len() { ALPHABET[digit as usize].into() } else { '=' });
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.as_bytes().chunks(4) {
        let mut group = 0u32;
        for char in chunk {
            let digit = ALPHABET.iter().position(|letter| letter == char)?;
            group = group << 6 | digit as u32;
        }
        group <<= 6 * (4 - chunk.len());
        bytes.extend_from_slice(&group.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_either_form() {
        for bytes in [&b""[..], b"digits\n", b"\xff", b"\xff\x00", b"\xff\x00\xfe", b"\xc3"] {
            let json = serde_json::to_string(&Bytes(bytes.to_vec())).unwrap();
            assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap().0, bytes, "{json}");
        }
    }

    #[test]
    fn text_is_text_and_the_rest_is_rfc_4648() {
        let json = |bytes: &[u8]| serde_json::to_string(&Bytes(bytes.to_vec())).unwrap();
        assert_eq!(json("π\n".as_bytes()), r#""π\n""#);
        assert_eq!(json(b"\xfffoobar"), r#"{"base64":"/2Zvb2Jhcg=="}"#);
    }

    #[test]
    fn what_is_not_base_64_is_refused() {
        for text in ["A", "AAA", "AA=A", "A===", "AA*A"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
