//! The archive's error: what kind, about which object, and is it worth a retry?

use std::error::Error as StdError;

/// The result of an archive operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Storage does not answer: try again later.
    Unavailable,
    /// No space is left, or a limit of ours is reached: pause, and tell a person.
    Full,
    /// No permission, or not an archive.
    Refused,
    /// A stored file is not what this version writes.
    Corrupt,
    /// It is of a repository that was forgotten, and is not tracked again.
    Forgotten,
}

/// An error of the archive.
#[derive(Debug, thiserror::Error)]
#[error("archive: {operation} `{key}`: {message}")]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    key: String,
    message: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error about one object, with a message for people.
    pub fn new(kind: ErrorKind, operation: &'static str, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, operation, key: key.into(), message: message.into(), source: None }
    }

    /// The same with its cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same operation may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Full)
    }
}
