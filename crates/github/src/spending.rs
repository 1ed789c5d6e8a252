//! What was spent, kept for everybody to see.
//!
//! Each process writes what it spent on each repository since its start under a key of its own,
//! `spent/{repository}/{process}`; the sum of these is what was spent in all. Losing this state loses a comparison of
//! plan and outcome, and nothing else.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use gharvest_model::RepositoryName;
use gharvest_state::State;
use tokio::time::Instant;

use crate::{Client, Purpose, Spent, sharing, spent::Ledger};

const PREFIX: &str = "spent/";
const WRITE_EVERY: Duration = Duration::from_secs(5);
const KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// Writes what one process spends.
#[derive(Debug)]
pub(crate) struct Spending {
    state: Option<Arc<dyn State>>,
    process: String,
    written_at: Mutex<Option<Instant>>,
}

impl Spending {
    pub(crate) fn new(state: Option<Arc<dyn State>>) -> Self {
        Self { state, process: format!("{:016x}", fastrand::u64(..)), written_at: Mutex::default() }
    }

    /// Writes what changed, if it is time to.
    pub(crate) async fn write_if_due(&self, ledger: &Ledger) {
        if self.state.is_some() && sharing::is_due(&self.written_at, WRITE_EVERY) {
            self.write(ledger).await;
        }
    }

    async fn write(&self, ledger: &Ledger) {
        let Some(state) = &self.state else { return };
        for (owner, spent) in ledger.changed() {
            let value = serde_json::to_vec(&spent).expect("figures are plain data");
            let key = format!("{PREFIX}{owner}/{}", self.process);
            if let Err(error) = state.put(&key, &value, None, Some(KEPT_FOR)).await {
                ledger.changed_again(&owner);
                return sharing::report(&error);
            }
        }
    }
}

impl Client {
    /// Writes at once what was spent and not written yet: before a process ends. Without shared state nothing is kept.
    pub async fn keep_spent(&self) {
        self.inner.spending.write(&self.inner.spent).await;
    }
}

/// What all processes spent on a repository in the last 90 days, by purpose; the latest few seconds may be missing.
///
/// # Errors
/// If the state does not answer.
pub async fn spent_so_far(
    state: &dyn State,
    repository: &RepositoryName,
) -> gharvest_state::Result<BTreeMap<Purpose, Spent>> {
    let mut sum: BTreeMap<Purpose, Spent> = BTreeMap::new();
    for (_, value) in state.list(&format!("{PREFIX}{}/", repository.key())).await? {
        // What a newer version wrote counts for nothing.
        let spent: BTreeMap<Purpose, Spent> = serde_json::from_slice(&value).unwrap_or_default();
        for (purpose, spent) in spent {
            *sum.entry(purpose).or_default() += spent;
        }
    }
    Ok(sum)
}
