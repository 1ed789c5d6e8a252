//! `X-Hub-Signature-256`: HMAC-SHA256 over the raw body, in constant time, against any of several secrets.
//!
//! Source: GitHub, "Validating webhook deliveries".

use gharvest_model::RepositoryName;
use gharvest_service_kit::settings::WebhookSettings;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

/// Secrets of which any may have signed a delivery, so that one can be replaced without losing deliveries.
#[derive(Clone)]
pub struct Secrets(Vec<(Scope, hmac::Key)>);

/// Whose deliveries a secret may sign. Names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Everybody,
    Owner(String),
    Repository(String),
}

impl Scope {
    fn covers(&self, owner: &str, name: Option<&str>) -> bool {
        match (self, name) {
            (Self::Everybody, _) => true,
            (Self::Owner(own), _) => own.eq_ignore_ascii_case(owner),
            (Self::Repository(own), Some(name)) => own.eq_ignore_ascii_case(&format!("{owner}/{name}")),
            (Self::Repository(_), None) => false,
        }
    }
}

/// What a right signature proves: whose deliveries its secret may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed(Vec<Scope>);

impl Signed {
    /// As good as signed, because signatures are not asked for.
    pub(crate) fn unchecked() -> Self {
        Self(vec![Scope::Everybody])
    }

    /// Whether the secret may sign for an owner, or for a repository of its.
    pub(crate) fn covers(&self, owner: &str, name: Option<&str>) -> bool {
        self.0.iter().any(|scope| scope.covers(owner, name))
    }

    /// Whether the secret may sign for a repository.
    pub(crate) fn covers_repository(&self, name: &RepositoryName) -> bool {
        self.covers(name.owner(), Some(name.name()))
    }

    /// Whether the secret may sign for everybody.
    pub(crate) fn covers_everybody(&self) -> bool {
        self.0.contains(&Scope::Everybody)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Prepares the secrets' keys; empty secrets are left out, because they protect nothing.
    pub fn new(secrets: &[SecretString]) -> Self {
        let secrets = secrets.iter().map(|secret| (Scope::Everybody, secret.expose_secret()));
        Self(secrets.filter_map(|(scope, secret)| Some((scope, key(secret)?))).collect())
    }

    /// All secrets of the settings: those for everybody, and those of one owner or repository.
    pub fn of(settings: &WebhookSettings) -> Self {
        let mut all = Self::new(&settings.secrets);
        for text in &settings.secrets_of {
            let Some((name, secret)) = text.expose_secret().split_once('=') else { continue };
            let name = name.trim().to_owned();
            let scope = if name.contains('/') { Scope::Repository(name) } else { Scope::Owner(name) };
            all.0.extend(key(secret).map(|key| (scope, key)));
        }
        all
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the header's value is the signature of the body by some secret, and whose secret that is.
    pub fn verify(&self, header: &str, body: &[u8]) -> Option<Signed> {
        let mut signature = [0; 32];
        hex::decode_to_slice(header.strip_prefix("sha256=")?, &mut signature).ok()?;
        // Every key is tried, so that the time taken does not tell which one matched.
        let matching = self.0.iter().filter(|(_, key)| hmac::verify(key, body, &signature).is_ok());
        let scopes: Vec<_> = matching.map(|(scope, _)| scope.clone()).collect();
        (!scopes.is_empty()).then_some(Signed(scopes))
    }

    /// The header's value for a body, by the first secret: for tests and simulators.
    pub fn sign(&self, body: &[u8]) -> Option<String> {
        self.0.first().map(|(_, key)| format!("sha256={}", hex::encode(hmac::sign(key, body))))
    }
}

fn key(secret: &str) -> Option<hmac::Key> {
    (!secret.is_empty()).then(|| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
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
        assert!(secrets(&["It's a Secret to Everybody"]).verify(HEADER, b"Hello, World!").is_some());
        assert!(secrets(&["old", "It's a Secret to Everybody", "new"]).verify(HEADER, b"Hello, World!").is_some());
    }

    #[test]
    fn anything_else_is_refused() {
        let secrets = secrets(&["It's a Secret to Everybody"]);
        for header in
            ["", "sha256=", "sha256=zz", &HEADER[7..], &HEADER[..70], "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"]
        {
            assert!(secrets.verify(header, b"Hello, World!").is_none(), "{header}");
        }
        assert!(secrets.verify(HEADER, b"Hello, World?").is_none());
        assert!(Secrets::new(&[]).verify(HEADER, b"Hello, World!").is_none());
        assert!(Secrets::new(&[SecretString::from("")]).is_empty());
    }

    #[test]
    fn a_secret_of_somebody_signs_for_nobody_else() {
        for (scope, covered) in [
            (Scope::Everybody, [true, true, true, true]),
            (Scope::Owner("octo".to_owned()), [true, true, true, false]),
            (Scope::Repository("octo/box".to_owned()), [true, false, false, false]),
        ] {
            let signed = Signed(vec![scope.clone()]);
            let asked = [("Octo", Some("Box")), ("octo", Some("vault")), ("octo", None), ("octo-box", Some("box"))];
            assert_eq!(asked.map(|(owner, name)| signed.covers(owner, name)), covered, "{scope:?}");
        }
    }
}
