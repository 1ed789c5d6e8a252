//! How the system itself is doing over time, for dashboards.
//!
//! Unlike everything else in the engine this is not made from the archive: what was observed once cannot be made again,
//! and is forgotten by whole months. Engines that no dashboard reads have no such log: their users have `/status`.

use std::fmt;

use async_trait::async_trait;
use gharvest_model::{Lane, QueueName, RepositoryId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Something seen at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When, as a whole minute, or a whole hour for repositories.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub seen: Seen,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Seen {
    /// A queue.
    Queue {
        /// Which.
        queue: QueueName,
        /// Jobs that a worker may take.
        ready: u64,
        /// Jobs that wait for their time.
        delayed: u64,
        /// Jobs being worked on.
        leased: u64,
        /// Jobs that failed for good.
        buried: u64,
        /// How many seconds the oldest ready job has waited, 0 if there is none.
        lag_seconds: u64,
        /// Jobs finished since the observation before; none at the first.
        #[serde(skip_serializing_if = "Option::is_none")]
        finished: Option<u64>,
        /// Attempts that failed since the observation before; none at the first.
        #[serde(skip_serializing_if = "Option::is_none")]
        retried: Option<u64>,
    },
    /// A lane of a queue.
    Lane {
        /// Of which queue.
        queue: QueueName,
        /// Which.
        lane: Lane,
        /// Jobs that a worker may take.
        ready: u64,
        /// How many seconds the oldest of them has waited, 0 if there is none.
        lag_seconds: u64,
    },
    /// A repository.
    Repository {
        /// Which.
        repository_id: RepositoryId,
        /// `owner/name` at that time.
        repository: String,
        /// Whether it is private.
        private: bool,
        /// The share of its numbers that are accounted for, 0 to 1.
        completeness: f64,
        /// Numbers of which nothing is known, and those that could not be fetched.
        unaccounted: u64,
        /// Numbers that could not be fetched.
        failed: u64,
        /// Deliveries of its webhook that GitHub says failed, since that is counted.
        missed_deliveries: u64,
        /// Those of them that were recovered.
        recovered_deliveries: u64,
        /// Why it cannot be fetched; none if it can.
        #[serde(skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// A budget of a token.
    Budget {
        /// The token's name for people: `token 1`. Never the token.
        token: String,
        /// `core`, `graphql` or `search`.
        resource: String,
        /// Calls or points an hour.
        limit: u64,
        /// Those left in this hour.
        remaining: u64,
        /// Those used in this hour.
        used: u64,
        /// Why the token is set aside; none if it is not.
        #[serde(skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
}

impl Observation {
    /// Names the observation: the same thing seen at the same moment is one observation, however often it is kept.
    pub fn key(&self) -> String {
        let what = match &self.seen {
            Seen::Queue { queue, .. } => format!("queue:{queue}"),
            Seen::Lane { queue, lane, .. } => format!("lane:{queue}:{lane}"),
            Seen::Repository { repository_id, .. } => format!("repository:{repository_id}"),
            Seen::Budget { token, resource, .. } => format!("budget:{token}:{resource}"),
        };
        format!("{what}:{}", self.at.as_second())
    }
}

/// Keeps observations where dashboards find them.
#[async_trait]
pub trait OperationsLog: fmt::Debug + Send + Sync {
    /// Keeps these. One with a key that is there takes its place, so keeping them twice changes nothing.
    async fn keep(&self, observations: &[Observation]) -> Result<()>;

    /// Forgets whole months that ended before this, or at it. Says which, as `2026.11`.
    async fn forget(&self, oldest: Timestamp) -> Result<Vec<String>>;
}
