//! Finds what nothing announced and what `updated_at` hides, within a share of the budget and a period.
//!
//! | detector | looks at | costs | finds |
//! | --- | --- | --- | --- |
//! | [`comments`] | comments and review comments updated since the last look, each run | two conditional requests | edited, added |
//! | [`lists`] | every page of the list of items, once a day, by ETag | nothing a page that is the same, else a call | titles, texts, states, labels, milestones, people, reactions, deleted comments, items gone or back |
//! | [`probes`] | every number once a period: `updatedAt`, timeline count and `updatedAt` | a call and a point for up to 149 | references, events, reviews, what came late |
//! | [`rotation`] | every item in whole, once in [`ROTATIONS`] periods | a twentieth of a call and point an item | everything else |
//!
//! What differs is downloaded, with a reason that begins with `sweep`, so that the downloader counts the drift by kind.
//! `_docs/completeness.md` names for each kind of silent change its detector and the time within which it is found.

use std::time::Duration;

use gharvest_archive::{Archive, Hint};
use gharvest_github::Client;
use gharvest_model::{
    Lane, QueueName, Subject,
    job::{part, reason::swept},
    tracking::Tracked,
};
use gharvest_queue::{Queue, Timing, Trigger};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::Failure;

pub mod comments;
pub mod lists;
pub mod probes;
pub mod rotation;

/// In so many periods everything is fetched anew once.
pub const ROTATIONS: u32 = 12;
/// Triggers pushed in one step.
const STEP: usize = 500;

/// How a sweep works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The time between two runs of the sweep.
    pub every: Duration,
    /// Every number is verified once in this time.
    pub period: Duration,
    /// Calls and points an hour that sweeps may cost.
    pub cost_per_hour: f64,
    /// Whether downloads come by GraphQL where that is cheaper.
    pub by_graphql: bool,
}

impl Pace {
    /// How much one run may cost: at least one request of each kind, so that nothing stands still.
    pub fn affordable(&self) -> u64 {
        ((self.cost_per_hour * self.every.as_secs_f64() / 3600.0) as u64).max(4)
    }
}

/// A run of the sweep over one repository.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    pub(crate) archive: &'a Archive,
    pub(crate) queue: &'a dyn Queue,
    pub(crate) client: &'a Client,
    pub(crate) tracked: &'a Tracked,
    pub(crate) pace: Pace,
    pub(crate) now: Timestamp,
    /// What is left of the run's share of the budget.
    pub(crate) left: u64,
}

impl Sweep<'_> {
    /// Looks, and pushes what differs. Says how many jobs were pushed.
    ///
    /// # Errors
    /// The first detector's that failed: it stops none of those behind it.
    pub(crate) async fn run(&mut self) -> Result<u64, Failure> {
        let looks = [self.comments().await, self.lists().await, self.probes().await, self.rotation().await];
        looks.into_iter().sum()
    }

    /// Takes a request's cost out of what is left; false if that is not enough.
    fn spend(&mut self, cost: u64) -> bool {
        let enough = self.left >= cost;
        self.left = self.left.saturating_sub(cost);
        enough
    }

    /// Takes out of what is left what a request cost beyond that.
    fn charge(&mut self, cost: u64) {
        self.left = self.left.saturating_sub(cost);
    }

    /// Takes a call back that was answered by 304: GitHub does not count it.
    fn was_free(&mut self) {
        self.left += 1;
    }

    /// Has numbers downloaded. `by` names the detector; hints spare the downloads a request each.
    async fn push(&self, numbers: &[u64], by: &str, lane: Lane, hints: Vec<Hint>) -> Result<u64, Failure> {
        self.archive.put_hints(self.tracked.id, hints).await?;
        let trigger = |number: &u64| Trigger {
            queue: QueueName::Download,
            subject: Subject::item(self.tracked.id, *number),
            lane,
            // Such a trigger keeps its reason; what waits for free time has none.
            timing: Timing::Now,
            reason: swept(by),
        };
        let triggers: Vec<Trigger> = numbers.iter().map(trigger).collect();
        for step in triggers.chunks(STEP) {
            self.queue.push(step, None).await?;
        }
        Ok(numbers.len() as u64)
    }

    /// Has the repository itself fetched, which has another name.
    async fn ask_for_repository(&self) -> Result<(), Failure> {
        let trigger = Trigger {
            queue: QueueName::Download,
            subject: Subject::part(self.tracked.id, part::METADATA),
            lane: Lane::Reconcile,
            timing: Timing::Now,
            reason: swept("moved"),
        };
        self.queue.push(&[trigger], None).await?;
        Ok(())
    }

    async fn load<T: DeserializeOwned + Default>(&self, part: &str) -> Result<T, Failure> {
        let stored = self.archive.part(self.tracked.id, part).await?;
        // What a newer program wrote, or a damage, only makes the sweep begin again.
        Ok(stored.and_then(|stored| serde_json::from_value(stored).ok()).unwrap_or_default())
    }

    async fn save(&self, part: &str, state: &(impl Serialize + Sync)) -> Result<(), Failure> {
        let state = serde_json::to_value(state).expect("the state of a sweep is plain data");
        self.archive.put_part(self.tracked.id, part, &state).await?;
        Ok(())
    }
}
