//! The queue's error: what kind, and is it worth a retry?

use std::error::Error as StdError;

/// The result of a queue operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The backend does not answer, is full or is busy: try again later.
    Unavailable,
    /// The request cannot be served as it is.
    Refused,
    /// Stored data is not what this version writes.
    Corrupt,
}

/// An error of a queue backend.
#[derive(Debug, thiserror::Error)]
#[error("queue {operation}: {message}")]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a message for people.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self { kind, operation, message: message.into(), source: None }
    }

    /// The same with its cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same failure for another caller of the same operation; its cause stays with the first.
    pub fn again(&self) -> Self {
        Self::new(self.kind, self.operation, self.message.clone())
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }
}
