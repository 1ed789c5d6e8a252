//! From SQLite's errors to the queue's.

use gharvest_queue::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// A SQLite error as a queue error, with what to do where that is known.
pub(crate) fn from_sqlite(operation: &'static str, error: rusqlite::Error) -> Error {
    let (kind, message) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (ErrorKind::Unavailable, "the disk is full: make room, nothing was lost"),
        Some(ErrorCode::SystemIoFailure) => (ErrorKind::Unavailable, "the disk fails to read or write"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Unavailable, "another process has been writing to the file for too long")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            (ErrorKind::Corrupt, "the file is damaged or no queue: restore it, or move it away and seed anew")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            (ErrorKind::Refused, "the file cannot be written: check its permissions and those of its folder")
        }
        Some(ErrorCode::CannotOpen) => {
            (ErrorKind::Unavailable, "the file cannot be opened: check that its folder exists and can be written")
        }
        Some(_) => (ErrorKind::Unavailable, "SQLite failed"),
        // What is not SQLite's own is a value that did not read back: not what this version writes.
        None => (ErrorKind::Corrupt, "a stored value is not what this version writes"),
    };
    Error::new(kind, operation, message).with_source(error)
}
