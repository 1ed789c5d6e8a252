//! The search index's error.

use std::error::Error as StdError;

/// The result of a search operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The engine does not answer or is busy: try again later.
    Unavailable,
    /// The engine or the index is not one that we can serve.
    Refused,
    /// A failure took with it what was applied and not yet committed: apply it again.
    Lost,
    /// The search took longer than allowed.
    TimedOut,
    /// The index is damaged: rebuild it.
    Corrupt,
    /// One document alone is to blame: the engine refuses it for good, or it is stored and cannot be read.
    Document,
    /// A disk or a limit is full.
    Full,
    /// The request itself is wrong: a cursor that is not ours.
    Invalid,
}

/// An error of a search backend.
#[derive(Debug, thiserror::Error)]
#[error("search index: {operation}: {message}")]
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

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same operation may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Lost | ErrorKind::TimedOut | ErrorKind::Full)
    }
}
