//! A panic of a handler is a failed attempt, never the end of the process.

use std::{any::Any, panic::AssertUnwindSafe};

use futures::{Future, FutureExt};

/// What a panic said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(pub String);

/// Runs a future; a panic in it becomes an error.
///
/// Unwind safety is asserted: what a handler shares is behind locks that ignore poison, or in the archive.
pub async fn catch<F: Future>(future: F) -> Result<F::Output, Panicked> {
    AssertUnwindSafe(future).catch_unwind().await.map_err(|payload| Panicked(message(payload.as_ref())))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
