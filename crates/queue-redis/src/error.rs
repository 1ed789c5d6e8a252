//! Redis' errors as the ports' errors.

use gharvest_queue::{Error, ErrorKind};
use redis::RedisError;

/// Everything that Redis or the network may answer otherwise later is worth a retry; what it says about our scripts is
/// not.
pub(crate) fn queue_error(operation: &'static str, error: RedisError) -> Error {
    let detail = error.to_string();
    if is_out_of_memory(&error) {
        let message = "Redis is out of memory and refuses new jobs: raise maxmemory or let workers drain the queue";
        return Error::new(ErrorKind::Unavailable, operation, message).with_source(error);
    }
    if is_script_fault(&error) {
        return Error::new(ErrorKind::Corrupt, operation, detail).with_source(error);
    }
    Error::new(ErrorKind::Unavailable, operation, format!("Redis does not do it now: {detail}")).with_source(error)
}

fn is_out_of_memory(error: &RedisError) -> bool {
    error.code() == Some("OOM")
}

/// A script that fails inside met data that no version of ours writes.
fn is_script_fault(error: &RedisError) -> bool {
    error.code() == Some("ERR") && error.detail().is_some_and(|detail| detail.contains("script"))
}

/// An answer of another shape than our script gives.
pub(crate) fn unexpected(operation: &'static str, what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        operation,
        format!("Redis answered {what}: is another version at work on these keys?"),
    )
}
