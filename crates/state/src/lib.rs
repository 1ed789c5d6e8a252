//! The State port: what all processes share and what may be lost.
//!
//! Budgets of tokens, who leads, the live history, the health of feeds. Losing it costs a little work and no data.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use gharvest_model::live::LiveEvent;

pub mod contract;
mod error;
pub mod feed;
mod sqlite;

pub use error::{Error, Result};
pub use sqlite::SqliteState;

/// A value with the version to compare when it is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The stored bytes.
    pub value: Vec<u8>,
    /// Its version; 0 never occurs.
    pub version: u64,
}

/// A live event with its place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its place: strictly increasing, what a reader continues after. Not consecutive: it follows the clock, so that a
    /// place beyond what is stored, from before the state lost its last moments, lies before all that comes.
    pub sequence: u64,
    /// The event.
    pub event: LiveEvent,
}

/// What all processes share and what may be lost.
///
/// # Contract
/// - `put` with a version stores only if that version is still stored (0: nothing is), so updates are never lost.
/// - A value with a time to live is gone after it.
/// - `lead` grants a name to one holder at a time; the holder renews by asking again.
/// - Events are kept in order, the latest [`HISTORY`] of them; a subscriber gets everything after its place that is
///   still kept, then what comes.
#[async_trait]
pub trait State: fmt::Debug + Send + Sync + 'static {
    /// A stored value.
    async fn get(&self, key: &str) -> Result<Option<Versioned>>;

    /// Stores a value, if `expected` is still the stored version (none: in any case). Says whether it did.
    async fn put(&self, key: &str, value: &[u8], expected: Option<u64>, ttl: Option<Duration>) -> Result<bool>;

    /// Removes a value.
    async fn delete(&self, key: &str) -> Result<()>;

    /// All keys with a prefix, and their values, in order; for `status`. Few by design.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>>;

    /// Takes or renews the lead of `name` for `hold`. Says whether `holder` leads.
    async fn lead(&self, name: &str, holder: &str, hold: Duration) -> Result<bool>;

    /// Gives the lead back, if `holder` has it.
    async fn resign(&self, name: &str, holder: &str) -> Result<()>;

    /// Publishes events.
    async fn publish(&self, events: &[LiveEvent]) -> Result<()>;

    /// The latest `limit` events after a place, in order.
    async fn history(&self, after: u64, limit: usize) -> Result<Vec<Published>>;

    /// Events after a place (none: from now on), for ever. A subscriber that is too slow is cut off with an error.
    async fn subscribe(&self, after: Option<u64>) -> Result<BoxStream<'static, Result<Published>>>;
}

/// How many live events are kept.
pub const HISTORY: usize = 10_000;
