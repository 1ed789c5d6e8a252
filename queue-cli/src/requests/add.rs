//! Adding jobs.

use futures::TryStreamExt;
use gharvest_model::{
    Lane, QueueName, RepositoryId, Subject, job::part, ledger::Ledger, progress::runs, tracking::Tracked,
};
use gharvest_queue::{Pushed, Timing, Trigger};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Jobs, LaneWord, Problem, QueueWord, Request, Route};

/// The most subjects of one request.
const MOST_SUBJECTS: usize = 1000;

/// Jobs to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddParams {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// What they are about: `owner/name#67`, its GitHub URL, `owner/name/labels`, `12345#67`; at most 1000.
    pub subjects: Vec<String>,
    /// How urgent; `manual` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LaneWord>)]
    pub lane: Option<Lane>,
}

/// What became of triggers, in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddAnswer {
    /// `new`, `merged`, `dirty`, `revived` or `duplicate`.
    #[schema(value_type = Vec<String>)]
    pub pushed: Vec<Pushed>,
}

impl Request for AddParams {
    type Answer = AddAnswer;

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<AddAnswer, Problem> {
        if self.subjects.len() > MOST_SUBJECTS {
            return Err(Problem::Invalid(format!("at most {MOST_SUBJECTS} subjects at once")));
        }
        let mut triggers = Vec::with_capacity(self.subjects.len());
        for text in &self.subjects {
            triggers.push(trigger(self.queue, jobs.subject(text).await?, self.lane.unwrap_or(Lane::Manual)));
        }
        Ok(AddAnswer { pushed: jobs.queue.push(&triggers, None).await? })
    }
}

fn trigger(queue: QueueName, subject: Subject, lane: Lane) -> Trigger {
    Trigger { queue, subject, lane, timing: Timing::Now, reason: "operator".to_owned() }
}

/// A job for every number of a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RangeParams {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// `owner/name` or the numeric id.
    pub repository: String,
    /// The first number.
    pub from: u64,
    /// The last number.
    pub to: u64,
    /// How urgent; `backfill` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LaneWord>)]
    pub lane: Option<Lane>,
}

/// What became of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RangeAnswer {
    /// Jobs that were made.
    pub new: u64,
    /// Jobs that were there already.
    pub merged: u64,
}

/// Refuses what is no range of numbers.
pub(super) fn check_range(from: u64, to: u64) -> Result<(), Problem> {
    if from == 0 || from > to || to > Ledger::LIMIT {
        return Err(Problem::Invalid(format!(
            "{from}..{to} is no range of numbers: expected two numbers, the first not greater, as in `1 91234`"
        )));
    }
    Ok(())
}

impl Request for RangeParams {
    type Answer = RangeAnswer;

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs/range")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<RangeAnswer, Problem> {
        check_range(self.from, self.to)?;
        let id = jobs.repository(&self.repository).await?;
        let lane = self.lane.unwrap_or(Lane::Backfill);
        let pushed = jobs.queue.push_range(self.queue, id, self.from..=self.to, lane).await?;
        Ok(RangeAnswer { new: pushed.new, merged: pushed.merged })
    }
}

/// A job for everything that is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddAllParams {
    /// Only `index`: what is to be downloaded again is said with a range.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
}

/// What became of it, by repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddAllAnswer {
    /// In the order in which they are tracked.
    pub repositories: Vec<AddedAll>,
}

/// The jobs of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddedAll {
    /// `owner/name`.
    pub repository: String,
    /// Jobs that were made for items.
    pub jobs: u64,
}

impl Request for AddAllParams {
    type Answer = AddAllAnswer;

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs/all")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<AddAllAnswer, Problem> {
        if self.queue != QueueName::Index {
            let message = "everything can be added to the index queue only: what is to be downloaded again is said with \
                           a range, as in `queue-cli add-range download mozilla/web-bugs 1 91234`";
            return Err(Problem::Invalid(message.to_owned()));
        }
        let mut repositories = Vec::new();
        for tracked in jobs.archive.tracking().await? {
            let added = add_archived(jobs, &tracked).await?;
            repositories.push(AddedAll { repository: tracked.name.to_string(), jobs: added });
        }
        Ok(AddAllAnswer { repositories })
    }
}

/// Everything on disk, in ranges of what is there, so that a repository of 150,000 items is a second's work.
async fn add_archived(jobs: &Jobs, tracked: &Tracked) -> Result<u64, Problem> {
    let numbers: Vec<u64> = jobs.archive.numbers(tracked.id, 0).try_collect().await?;
    let mut added = 0;
    for range in runs(&numbers) {
        added += jobs.queue.push_range(QueueName::Index, tracked.id, range, Lane::Backfill).await?.new;
    }
    let parts = [part::METADATA, part::RELEASES, part::DAILY];
    let of = |part: &&str| trigger(QueueName::Index, Subject::part(tracked.id, part), Lane::Backfill);
    jobs.queue.push(&parts.iter().map(of).collect::<Vec<_>>(), None).await?;
    Ok(added)
}

/// Asks GitHub what was updated since a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SinceParams {
    /// `owner/name` or the numeric id.
    pub repository: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SinceAnswer {
    /// What became of the job that asks.
    #[schema(value_type = String)]
    pub pushed: Pushed,
}

impl Request for SinceParams {
    type Answer = SinceAnswer;

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs/updated-since")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<SinceAnswer, Problem> {
        let id: RepositoryId = jobs.repository(&self.repository).await?;
        gharvest_downloader::walk::look_back(&jobs.archive, id, self.since).await?;
        let trigger = trigger(QueueName::Download, Subject::part(id, part::UPDATES), Lane::Manual);
        let pushed = jobs.queue.push(&[trigger], None).await?;
        Ok(SinceAnswer { pushed: pushed.first().copied().unwrap_or(Pushed::Merged) })
    }
}
