//! The client's error: what kind, and when is it worth a retry?

use std::error::Error as StdError;

use jiff::Timestamp;

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Every token's budget is used up, or GitHub told us to wait: give the job back until then.
    RateLimited {
        /// When to go on.
        until: Timestamp,
    },
    /// One token is shown nothing, and another that may be shown more cannot be asked before this time: whether there is
    /// something is not known before. It concerns this request alone.
    Unconfirmed {
        /// When to ask again.
        until: Timestamp,
    },
    /// GitHub does not answer, or with 5xx, after the client's own retries.
    Unavailable,
    /// No token is accepted any more: tell a person.
    Unauthorized,
    /// The token lacks a permission.
    Forbidden,
    /// The answer is larger than we take, or not JSON.
    BadAnswer,
    /// GitHub refused the request as wrong, or we refused to send it: a fault of ours, or of an address in an answer.
    Refused,
    /// A setting cannot be used.
    Misconfigured,
}

/// A request that got no answer about its subject.
#[derive(Debug, thiserror::Error)]
#[error("GitHub: {request}: {message}")]
pub struct Error {
    kind: ErrorKind,
    request: String,
    message: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error about one request, with a message for people.
    pub fn new(kind: ErrorKind, request: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, request: request.into(), message: message.into(), source: None }
    }

    /// The same with its cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// When to go on, if that is known.
    pub fn retry_at(&self) -> Option<Timestamp> {
        match self.kind {
            ErrorKind::RateLimited { until } | ErrorKind::Unconfirmed { until } => Some(until),
            _ => None,
        }
    }

    /// What kind of error it is.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }
}
