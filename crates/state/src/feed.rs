//! How feeds of webhooks are, one value a repository: when its hook was last heard, which the receiver writes, and what the
//! seeder found out from GitHub about deliveries that failed.

use gharvest_model::RepositoryId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Result, State};

/// When a repository's hook was last heard: `feed/heard/{repository}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// When the latest delivery arrived here.
    pub at: Timestamp,
    /// Its event.
    #[serde(default)]
    pub event: String,
    /// Its id.
    #[serde(default)]
    pub delivery: String,
}

/// What became of deliveries that failed: `feed/checked/{repository}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// When GitHub was last asked for them.
    pub checked_at: Option<Timestamp>,
    /// Deliveries that were missed, since this is counted: not those that had arrived after all, or mean nothing to us.
    #[serde(default)]
    pub failures: u64,
    /// How many of them were recovered; the others are lost, and the log says which.
    #[serde(default)]
    pub recovered: u64,
    /// Why failed deliveries cannot be recovered: what is missed is found by polling then.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// What is kept of each feed.
pub trait Kept: Serialize + DeserializeOwned {
    /// What its keys begin with.
    const PREFIX: &'static str;
}

impl Kept for Heard {
    const PREFIX: &'static str = "feed/heard/";
}

impl Kept for Checked {
    const PREFIX: &'static str = "feed/checked/";
}

fn key<K: Kept>(repository: RepositoryId) -> String {
    format!("{}{repository}", K::PREFIX)
}

/// What is kept of a repository's feed. What cannot be read counts as nothing: it is written again.
///
/// # Errors
/// When the state does not answer.
pub async fn get<K: Kept>(state: &dyn State, repository: RepositoryId) -> Result<Option<K>> {
    let stored = state.get(&key::<K>(repository)).await?;
    Ok(stored.and_then(|stored| serde_json::from_slice(&stored.value).ok()))
}

/// Keeps it.
///
/// # Errors
/// When the state does not answer.
pub async fn put<K: Kept>(state: &dyn State, repository: RepositoryId, kept: &K) -> Result<()> {
    let value = serde_json::to_vec(kept).expect("plain data");
    state.put(&key::<K>(repository), &value, None, None).await.map(drop)
}

/// What is kept of all feeds, in no order.
///
/// # Errors
/// When the state does not answer.
pub async fn list<K: Kept>(state: &dyn State) -> Result<Vec<(RepositoryId, K)>> {
    let read = |(key, value): (String, Vec<u8>)| {
        let id = key.strip_prefix(K::PREFIX)?.parse().ok()?;
        Some((RepositoryId(id), serde_json::from_slice(&value).ok()?))
    };
    Ok(state.list(K::PREFIX).await?.into_iter().filter_map(read).collect())
}
