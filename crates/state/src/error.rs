//! The state's error.

use std::error::Error as StdError;

/// The result of a state operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The backend of the state does not answer, or answers something else. Always worth a later retry.
#[derive(Debug, thiserror::Error)]
#[error("state {operation}: {message}")]
pub struct Error {
    operation: &'static str,
    message: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a message for people.
    pub fn new(operation: &'static str, message: impl Into<String>) -> Self {
        Self { operation, message: message.into(), source: None }
    }

    /// The same with its cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error about a file.
    pub(crate) fn at(self, path: &std::path::Path) -> Self {
        Self::new(self.operation, format!("`{}` cannot be used", path.display())).with_source(self)
    }
}
