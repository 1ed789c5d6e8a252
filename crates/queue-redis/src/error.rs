//! Redis' errors as the ports' errors.

use gharvest_queue::{Error, ErrorKind};
use redis::RedisError;

/// What stands between us and Redis.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Redis or the network says so.
    Redis(RedisError),
    /// The server is there, but not fit; the sentence says what to do.
    Unfit(String),
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

/// Everything that Redis or the network may answer otherwise later is worth a retry; what it says about our scripts is
/// not.
pub(crate) fn queue_error(operation: &'static str, trouble: Trouble) -> Error {
    let (kind, message) = said(&trouble);
    match trouble {
        Trouble::Redis(error) => Error::new(kind, operation, message).with_source(error),
        Trouble::Unfit(_) => Error::new(kind, operation, message),
    }
}

/// The same for the state.
pub(crate) fn state_error(operation: &'static str, trouble: Trouble) -> gharvest_state::Error {
    let (_, message) = said(&trouble);
    match trouble {
        Trouble::Redis(error) => gharvest_state::Error::new(operation, message).with_source(error),
        Trouble::Unfit(_) => gharvest_state::Error::new(operation, message),
    }
}

fn said(trouble: &Trouble) -> (ErrorKind, String) {
    let error = match trouble {
        Trouble::Unfit(sentence) => return (ErrorKind::Refused, sentence.clone()),
        Trouble::Redis(error) => error,
    };
    if error.code() == Some("OOM") {
        let message = "Redis is out of memory and refuses new jobs: raise maxmemory or let workers drain the queue";
        return (ErrorKind::Unavailable, message.to_owned());
    }
    if error.kind() == redis::ErrorKind::InvalidClientConfig {
        return (ErrorKind::Refused, format!("not an address of Redis: {error}"));
    }
    if is_script_fault(error) {
        return (ErrorKind::Corrupt, error.to_string());
    }
    (ErrorKind::Unavailable, format!("Redis does not do it now: {error}"))
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
