//! tantivy's errors as the port's.

use gharvest_search::{Error, ErrorKind};
use tantivy::TantivyError;

/// Says what failed, and what to do about it.
pub(crate) fn from_tantivy(operation: &'static str) -> impl Fn(TantivyError) -> Error {
    move |error| {
        let kind = match &error {
            TantivyError::DataCorruption(_) | TantivyError::IncompatibleIndex(_) | TantivyError::SchemaError(_) => {
                ErrorKind::Corrupt
            }
            TantivyError::LockFailure(..) => ErrorKind::Refused,
            TantivyError::IoError(error) if is_full(error) => ErrorKind::Full,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, operation, error.to_string()).with_source(error)
    }
}

/// Says which file could not be read or written.
pub(crate) fn from_io(operation: &'static str, path: &std::path::Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |error| {
        let kind = if is_full(&error) { ErrorKind::Full } else { ErrorKind::Unavailable };
        Error::new(kind, operation, format!("{path}: {error}")).with_source(error)
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// A stored document that cannot be read.
pub(crate) fn corrupt(operation: &'static str, message: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        operation,
        format!("{message}; stop what writes the index, and run `gharvest rebuild`"),
    )
}
