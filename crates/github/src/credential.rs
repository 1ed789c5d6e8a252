//! What goes into the `Authorization` header, and how it is named without being told.

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::{Error, ErrorKind, Result, app::Installation};

/// A secret ready to be sent. Its `Debug` shows no secret: the header's value is marked sensitive.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) authorization: HeaderValue,
    /// The beginning of the secret's SHA-256: which token an ETag belongs to, without telling the token.
    pub(crate) fingerprint: String,
    /// Whether it is a fine-grained personal token.
    pub(crate) is_fine_grained: bool,
}

impl Credential {
    /// A bearer token. `name` names it in the error about characters that cannot stand in a header.
    pub(crate) fn bearer(secret: &SecretString, name: &str) -> Result<Self> {
        let secret = secret.expose_secret().trim();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {secret}")).map_err(|_| {
            Error::new(ErrorKind::Misconfigured, "settings", format!("{name} has characters that no token has"))
        })?;
        authorization.set_sensitive(true);
        Ok(Self { authorization, fingerprint: fingerprint(secret), is_fine_grained: secret.starts_with("github_pat_") })
    }

    /// Whether a text contains the secret. What is shorter than any real token is a word in every message.
    pub(crate) fn is_told_by(&self, text: &str) -> bool {
        let value = self.authorization.to_str().unwrap_or_default();
        value.strip_prefix("Bearer ").is_some_and(|secret| secret.len() >= 8 && text.contains(secret))
    }
}

/// Where a token's credential comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Nobody: requests without a token.
    Anonymous,
    /// A personal access token.
    Fixed(Credential),
    /// An installation of a GitHub App, whose token changes every hour.
    Installation(Box<Installation>),
}

impl Source {
    /// What was last used, as far as known.
    pub(crate) fn known(&self) -> Option<Credential> {
        match self {
            Self::Anonymous => None,
            Self::Fixed(credential) => Some(credential.clone()),
            Self::Installation(installation) => installation.known(),
        }
    }

    /// Whether both are the same secret.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anonymous, Self::Anonymous) => true,
            (Self::Fixed(one), Self::Fixed(other)) => one.fingerprint == other.fingerprint,
            (Self::Installation(one), Self::Installation(other)) => one.is_same(other),
            _ => false,
        }
    }

    /// Whether an ETag with this fingerprint was got with it.
    pub(crate) fn owns(&self, fingerprint: &str) -> bool {
        match self {
            Self::Anonymous => fingerprint == ANONYMOUS,
            _ => self.known().is_some_and(|credential| credential.fingerprint == fingerprint),
        }
    }
}

/// How requests without a token are named in keys and ETags.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// The first 12 hexadecimal digits of the SHA-256 of a secret.
pub(crate) fn fingerprint(secret: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, secret.as_bytes());
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
