//! Tokens of GitHub App installations: they live an hour, so they are got and renewed here.
//!
//! The App proves itself with a JWT signed by its private key (RS256, by ring), and gets for each installation a token
//! that works like a personal one. An installation is one budget, however often its token changes; an ETag is bound to
//! the token, and so is worth an hour at most.

use std::{fmt, sync::Mutex};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use ring::{rand::SystemRandom, signature};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{
    Error, ErrorKind, Result, TokenUse,
    credential::{Credential, fingerprint},
    limits::{LONGEST_LIMIT, later},
};

/// One installation of a GitHub App.
#[derive(Debug, Clone)]
pub struct AppInstallation {
    /// The App's client id, or its numeric id.
    pub app: String,
    /// The App's private key as GitHub gives it: PEM, PKCS#1 or PKCS#8.
    pub private_key: SecretString,
    /// The installation's id, the last part of its address in GitHub's settings.
    pub installation: u64,
    /// What work it is for.
    pub used_for: TokenUse,
}

/// How long before its end a token is renewed: longer than any request takes.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// A refused token older than this may just have been revoked: a new one is tried before the installation is set aside.
const YOUNG: SignedDuration = SignedDuration::from_mins(1);

/// An installation and its current token.
pub(crate) struct Installation {
    app: String,
    key: signature::RsaKeyPair,
    /// Tells keys apart without telling them.
    pub(crate) key_fingerprint: String,
    pub(crate) id: u64,
    current: Mutex<Option<Issued>>,
    /// Held while a token is being got, so that it is got once.
    pub(crate) renewal: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Issued {
    credential: Credential,
    at: Timestamp,
    expires_at: Timestamp,
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installation").field("app", &self.app).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Installation {
    pub(crate) fn new(config: &AppInstallation) -> Result<Self> {
        let wrong = |why: &str| {
            let message = format!("the private key of GitHub App `{}` {why}", config.app);
            Error::new(ErrorKind::Misconfigured, "settings", message)
        };
        let (label, der) = pem(config.private_key.expose_secret()).ok_or_else(|| wrong("is not PEM"))?;
        let key = match label.as_str() {
            "RSA PRIVATE KEY" => signature::RsaKeyPair::from_der(&der),
            "PRIVATE KEY" => signature::RsaKeyPair::from_pkcs8(&der),
            _ => return Err(wrong("is not an RSA private key")),
        };
        let key = key.map_err(|error| wrong(&format!("cannot be used: {error}")))?;
        Ok(Self {
            app: config.app.clone(),
            key,
            key_fingerprint: fingerprint(config.private_key.expose_secret().trim()),
            id: config.installation,
            current: Mutex::default(),
            renewal: tokio::sync::Mutex::default(),
        })
    }

    /// How the installation's budget is named in keys.
    pub(crate) fn identity(&self) -> String {
        format!("app-{}-{}", self.app.replace('/', "-"), self.id)
    }

    /// Whether it is the same installation, proved by the same key.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.identity() == other.identity() && self.key_fingerprint == other.key_fingerprint
    }

    /// The current token, also when it is about to end.
    pub(crate) fn known(&self) -> Option<Credential> {
        self.lock().as_ref().map(|issued| issued.credential.clone())
    }

    /// The current token, if it lives long enough.
    pub(crate) fn valid(&self, now: Timestamp) -> Option<Credential> {
        let current = self.lock();
        let lives = |issued: &&Issued| later(now, RENEW_BEFORE) < issued.expires_at;
        current.as_ref().filter(lives).map(|issued| issued.credential.clone())
    }

    /// Forgets a refused token. Says whether a new one is worth trying.
    pub(crate) fn forget(&self, fingerprint: &str, now: Timestamp) -> bool {
        let mut current = self.lock();
        match current.take() {
            Some(issued) if issued.credential.fingerprint == fingerprint => later(issued.at, YOUNG) < now,
            other => {
                *current = other;
                true
            }
        }
    }

    /// Takes in the answer to the request for a token.
    pub(crate) fn issue(&self, body: &[u8], now: Timestamp) -> Option<Credential> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let secret = SecretString::from(body["token"].as_str()?);
        let expires_at: Timestamp = body["expires_at"].as_str()?.parse().ok()?;
        let credential = Credential::bearer(&secret, "the installation's token").ok()?;
        let expires_at = expires_at.min(later(now, LONGEST_LIMIT));
        *self.lock() = Some(Issued { credential: credential.clone(), at: now, expires_at });
        Some(credential)
    }

    /// The App's proof of itself, good for some minutes: the header of the request for a token.
    pub(crate) fn proof(&self, now: Timestamp) -> HeaderValue {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        // A minute back, for clocks that differ; at most ten minutes ahead are allowed.
        let claims = json!({"iat": now.as_second() - 60, "exp": now.as_second() + 540, "iss": self.app});
        let text = format!("{}.{}", encode(&json!({"alg": "RS256", "typ": "JWT"})), encode(&claims));
        let mut signed = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signed)
            .expect("the buffer has the key's length, and the system has randomness");
        let mut header = HeaderValue::from_str(&format!("Bearer {text}.{}", URL_SAFE_NO_PAD.encode(signed)))
            .expect("base64 and dots can stand in a header");
        header.set_sensitive(true);
        header
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Issued>> {
        self.current.lock().expect("nothing panics while a token is looked at")
    }
}

/// The label and content of the first PEM block.
fn pem(text: &str) -> Option<(String, Vec<u8>)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let body: String = body.split_whitespace().collect();
    Some((label.to_owned(), STANDARD.decode(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PKCS1: &str = include_str!("../testdata/app-key.pem");
    const PKCS8: &str = include_str!("../testdata/app-key-pkcs8.pem");

    fn config(private_key: &str) -> AppInstallation {
        AppInstallation {
            app: "Iv1.abc".to_owned(),
            private_key: SecretString::from(private_key),
            installation: 7,
            used_for: TokenUse::Anything,
        }
    }

    #[test]
    fn the_proof_is_signed_by_the_key_and_short_lived() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for private_key in [PKCS1, PKCS8] {
            let installation = Installation::new(&config(private_key)).unwrap();
            let header = installation.proof(now);
            assert!(header.is_sensitive());
            let token = header.to_str().unwrap().strip_prefix("Bearer ").unwrap();
            let (signed, seal) = token.rsplit_once('.').unwrap();
            let public = installation.key.public().as_ref().to_vec();
            signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, public)
                .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(seal).unwrap())
                .unwrap();
            let read =
                |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
            let (head, claims) = signed.split_once('.').unwrap();
            assert_eq!(read(head), json!({"alg": "RS256", "typ": "JWT"}));
            let second = now.as_second();
            assert_eq!(read(claims), json!({"iat": second - 60, "exp": second + 540, "iss": "Iv1.abc"}));
        }
    }

    #[test]
    fn keys_that_are_none_are_refused_without_being_told() {
        for text in [
            "",
            "secret",
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        ] {
            let error = Installation::new(&config(text)).unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Misconfigured);
            assert!(error.to_string().contains("Iv1.abc") && !error.to_string().contains("AAAA"), "{error}");
        }
    }
}
