//! Removing, reviving and pausing jobs.

use std::time::Duration;

use gharvest_model::{QueueName, Subject};
use gharvest_queue::{Filter, JobState, Purged, Scope};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    InPieces, JobFilter, JobPath, Jobs, Named, Needs, Problem, QueueWord, Request, Route, add::check_range,
    look::no_job, pieces::Turn,
};

/// The longest pause: a year.
const LONGEST_PAUSE: u64 = 365 * 24 * 3600;

/// The most buried jobs that one request revives.
const MOST_REVIVED: usize = 10_000;

/// How many are revived in one step.
const REVIVED_AT_ONCE: usize = 1_000;

/// How many jobs something was done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Affected {
    /// How many.
    pub jobs: u64,
    /// There is more to do: what to give as `after` in the same request. Of revived jobs only that there may be more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Jobs of a queue, chosen by a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManyParams {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// Which jobs; all if empty.
    #[serde(default)]
    pub filter: JobFilter,
    /// At most this many, for reviving; 10,000 if not said, and one request revives no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// For removing: the `next` of an earlier answer, to go on there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Makes buried jobs ready again with fresh attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revive(pub ManyParams);

impl Request for Revive {
    type Answer = Affected;

    fn names(&self) -> Named<'_> {
        Named::repository(self.0.filter.repository.as_ref())
    }

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs/revive")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<Affected, Problem> {
        let filter = self.0.filter.resolve(jobs).await?;
        let (most, turn) = (self.limit().min(MOST_REVIVED), Turn::begin(jobs));
        let mut answer = Affected { jobs: 0, next: None };
        loop {
            let limit = (most as u64 - answer.jobs).min(REVIVED_AT_ONCE as u64);
            let revived = jobs.queue.revive(self.0.queue, &filter, limit as usize).await?;
            answer.jobs += revived;
            if revived < limit || answer.jobs >= self.limit() as u64 {
                return Ok(answer);
            }
            if answer.jobs >= most as u64 || turn.is_over() {
                answer.next = Some("buried".to_owned());
                return Ok(answer);
            }
        }
    }
}

impl Revive {
    fn limit(&self) -> usize {
        self.0.limit.unwrap_or(MOST_REVIVED)
    }
}

impl InPieces for Revive {
    fn rest(&self, answer: &Affected) -> Option<Self> {
        let left = self.limit().saturating_sub(usize::try_from(answer.jobs).unwrap_or(usize::MAX));
        answer.next.as_ref().map(|_| Self(ManyParams { limit: Some(left), ..self.0.clone() }))
    }

    fn join(answer: &mut Affected, next: Affected) {
        *answer = Affected { jobs: answer.jobs + next.jobs, next: next.next };
    }
}

/// Removes all jobs that match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Purge(pub ManyParams);

impl Request for Purge {
    type Answer = Affected;

    fn needs(&self) -> Needs {
        Needs::Admin
    }

    fn names(&self) -> Named<'_> {
        Named::repository(self.0.filter.repository.as_ref())
    }

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs/purge")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<Affected, Problem> {
        let filter = self.0.filter.resolve(jobs).await?;
        let purged = purge(jobs, self.0.queue, &filter, self.0.after.as_deref()).await?;
        Ok(Affected { jobs: purged.removed + purged.doomed, next: purged.next })
    }
}

impl InPieces for Purge {
    fn rest(&self, answer: &Affected) -> Option<Self> {
        answer.next.clone().map(|next| Self(ManyParams { after: Some(next), ..self.0.clone() }))
    }

    fn join(answer: &mut Affected, next: Affected) {
        *answer = Affected { jobs: answer.jobs + next.jobs, next: next.next };
    }
}

/// Removes what matches until the turn is over.
async fn purge(jobs: &Jobs, queue: QueueName, filter: &Filter, after: Option<&str>) -> Result<Purged, Problem> {
    let turn = Turn::begin(jobs);
    let mut sum = Purged { next: after.map(str::to_owned), ..Purged::default() };
    loop {
        let piece = jobs.queue.purge_some(queue, filter, sum.next.as_deref()).await?;
        sum.removed += piece.removed;
        sum.doomed += piece.doomed;
        sum.next = piece.next;
        if sum.next.is_none() || turn.is_over() {
            return Ok(sum);
        }
    }
}

/// Removes one job; one being worked on goes when it is settled.
///
/// # Errors
/// When there is none.
pub async fn remove_one(jobs: &Jobs, path: &JobPath) -> Result<(), Problem> {
    let subject = jobs.subject(&path.subject).await?;
    if jobs.queue.remove(path.queue, &subject).await? { Ok(()) } else { Err(no_job(path)) }
}

/// Jobs to remove: named ones, or those of a range of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemoveParams {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// What they are about; at most 1000.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Instead of subjects: the repository of a range, `owner/name` or its numeric id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The first number of the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The last number of the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Of a range: the `next` of an earlier answer, to go on there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl RemoveParams {
    /// The most subjects of one request.
    pub const MOST_SUBJECTS: usize = 1000;

    /// Nothing yet to remove from a queue.
    pub fn new(queue: QueueName) -> Self {
        Self { queue, subjects: Vec::new(), repository: None, from: None, to: None, after: None }
    }
}

/// What became of jobs to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemoveAnswer {
    /// How many went at once.
    pub removed: u64,
    /// How many are being worked on: they go when that is done, and do not run again.
    pub in_work: u64,
    /// What became of each subject, in the order given; empty for a range.
    pub jobs: Vec<Removed>,
    /// There is more of the range: what to give as `after` in the same request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What became of a job to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Removed {
    /// It is gone.
    Removed,
    /// It is being worked on, goes when that is done, and does not run again.
    InWork,
    /// There was none.
    Missing,
}

impl Request for RemoveParams {
    type Answer = RemoveAnswer;

    fn needs(&self) -> Needs {
        Needs::Admin
    }

    fn names(&self) -> Named<'_> {
        Named { subjects: Named::subjects(&self.subjects).subjects, ..Named::repository(self.repository.as_ref()) }
    }

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs/remove")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<RemoveAnswer, Problem> {
        let mut answer = RemoveAnswer { removed: 0, in_work: 0, jobs: Vec::new(), next: None };
        match (&self.repository, self.from, self.to) {
            (None, None, None) if (1..=Self::MOST_SUBJECTS).contains(&self.subjects.len()) => {
                for text in &self.subjects {
                    let subject = jobs.subject(text).await?;
                    let removed = self.remove(jobs, &subject, &mut answer).await?;
                    answer.jobs.push(removed);
                }
            }
            (Some(repository), Some(from), Some(to)) if self.subjects.is_empty() => {
                check_range(from, to)?;
                let repository = Some(jobs.repository(repository).await?);
                let filter = Filter { repository, numbers: Some(from..=to), ..Filter::default() };
                let purged = purge(jobs, self.queue, &filter, self.after.as_deref()).await?;
                (answer.removed, answer.in_work, answer.next) = (purged.removed, purged.doomed, purged.next);
            }
            _ => {
                let message = "expected 1 to 1000 subjects, or a repository with the first and last number of a range";
                return Err(Problem::Invalid(message.to_owned()));
            }
        }
        Ok(answer)
    }
}

impl RemoveParams {
    async fn remove(&self, jobs: &Jobs, subject: &Subject, answer: &mut RemoveAnswer) -> Result<Removed, Problem> {
        let in_work = jobs.queue.job(self.queue, subject).await?.is_some_and(|job| job.state == JobState::Leased);
        Ok(match jobs.queue.remove(self.queue, subject).await? {
            false => Removed::Missing,
            true if in_work => {
                answer.in_work += 1;
                Removed::InWork
            }
            true => {
                answer.removed += 1;
                Removed::Removed
            }
        })
    }
}

impl InPieces for RemoveParams {
    fn rest(&self, answer: &RemoveAnswer) -> Option<Self> {
        answer.next.clone().map(|next| Self { after: Some(next), ..self.clone() })
    }

    fn join(answer: &mut RemoveAnswer, next: RemoveAnswer) {
        answer.removed += next.removed;
        answer.in_work += next.in_work;
        answer.jobs.extend(next.jobs);
        answer.next = next.next;
    }
}

/// What to pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PauseParams {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// Only this repository: `owner/name` or its numeric id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// For how many seconds; an hour if neither this nor `until` is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Until when, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PauseAnswer {
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

async fn scope(jobs: &Jobs, queue: QueueName, repository: Option<&str>) -> Result<Scope, Problem> {
    Ok(match repository {
        Some(text) => Scope::Repository(queue, jobs.repository(text).await?),
        None => Scope::Queue(queue),
    })
}

impl Request for PauseParams {
    type Answer = PauseAnswer;

    fn names(&self) -> Named<'_> {
        Named::repository(self.repository.as_ref())
    }

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs/pause")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<PauseAnswer, Problem> {
        let now = jobs.queue.now().await?;
        let seconds = self.seconds.unwrap_or(3600).min(LONGEST_PAUSE + 1);
        let later = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        let until = self.until.unwrap_or_else(|| later(seconds));
        if until <= now || until > later(LONGEST_PAUSE) {
            return Err(Problem::Invalid(format!("a pause ends in the future, and lasts a year at most: not {until}")));
        }
        let scope = scope(jobs, self.queue, self.repository.as_deref()).await?;
        let reason: String = self.reason.chars().take(200).collect();
        jobs.queue.pause(&scope, until, &reason).await?;
        Ok(PauseAnswer { until })
    }
}

/// What to resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResumeParams {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// Only this repository: `owner/name` or its numeric id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

impl Request for ResumeParams {
    type Answer = ();

    fn names(&self) -> Named<'_> {
        Named::repository(self.repository.as_ref())
    }

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs/resume")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<(), Problem> {
        let scope = scope(jobs, self.queue, self.repository.as_deref()).await?;
        Ok(jobs.queue.resume(&scope).await?)
    }
}
