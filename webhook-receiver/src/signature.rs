//! `X-Hub-Signature-256`: HMAC-SHA256 over the raw body, in constant time, against any of several secrets.
//!
//! Source: GitHub, "Validating webhook deliveries".

use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

/// Secrets of which any may have signed a delivery, so that one can be replaced without losing deliveries.
#[derive(Clone)]
pub struct Secrets(Vec<hmac::Key>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Prepares the secrets' keys; empty secrets are left out, because they protect nothing.
    pub fn new(secrets: &[SecretString]) -> Self {
        let keys = secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty());
        Self(keys.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the header's value is the signature of the body by any of the secrets.
    pub fn verify(&self, header: &str, body: &[u8]) -> bool {
        let Some(signature) = header.strip_prefix("sha256=").and_then(|text| hex::decode(text).ok()) else {
            return false;
        };
        // Every key is tried, so that the time taken does not tell which one matched.
        self.0.iter().fold(false, |found, key| hmac::verify(key, body, &signature).is_ok() | found)
    }

    /// The header's value for a body, by the first secret: for tests and simulators.
    pub fn sign(&self, body: &[u8]) -> Option<String> {
        self.0.first().map(|key| format!("sha256={}", hex::encode(hmac::sign(key, body))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub's published test vector.
    const HEADER: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn secrets(texts: &[&str]) -> Secrets {
        Secrets::new(&texts.iter().map(|text| SecretString::from(*text)).collect::<Vec<_>>())
    }

    #[test]
    fn the_published_vector_passes_with_any_of_several_secrets() {
        assert!(secrets(&["It's a Secret to Everybody"]).verify(HEADER, b"Hello, World!"));
        assert!(secrets(&["old", "It's a Secret to Everybody", "new"]).verify(HEADER, b"Hello, World!"));
    }

    #[test]
    fn anything_else_is_refused() {
        let secrets = secrets(&["It's a Secret to Everybody"]);
        for header in
            ["", "sha256=", "sha256=zz", &HEADER[7..], &HEADER[..70], "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"]
        {
            assert!(!secrets.verify(header, b"Hello, World!"), "{header}");
        }
        assert!(!secrets.verify(HEADER, b"Hello, World?"));
        assert!(!Secrets::new(&[]).verify(HEADER, b"Hello, World!"));
        assert!(Secrets::new(&[SecretString::from("")]).is_empty());
    }
}
