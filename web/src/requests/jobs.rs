//! Jobs: an operator's hand on the queues.

use std::time::Duration;

use gharvest_model::{ItemRef, Lane, QueueName, RepositoryId, RepositoryName, Subject};
use gharvest_queue::{Counts, Filter, JobState, JobView, Pushed, Scope, Timing, Trigger};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    access::{Caller, Role},
    error::{ApiError, ApiResult},
    state::WebState,
};

/// Which jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct JobFilter {
    /// Only of this repository: `owner/name` or its numeric id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Only of this lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<LaneWord>)]
    #[schema(value_type = Option<LaneWord>)]
    pub lane: Option<Lane>,
    /// Only in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<JobStateWord>)]
    #[schema(value_type = Option<JobStateWord>)]
    pub state: Option<JobState>,
}

/// The words for queues, for the API's description.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum QueueWord {
    /// Fetch from GitHub into the archive.
    Download,
    /// Load from the archive into the search engine.
    Index,
}

/// The words for lanes, for the API's description.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum LaneWord {
    /// GitHub told us that something changed.
    Webhook,
    /// A person asked.
    Manual,
    /// A schedule found a difference.
    Reconcile,
    /// A first mirror, or everything once more.
    Backfill,
    /// Finding repositories and packages.
    Discovery,
}

/// The words for states of jobs, for the API's description.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum JobStateWord {
    /// Waits for its time.
    Delayed,
    /// Waits for a worker.
    Ready,
    /// Is being worked on.
    Leased,
    /// Failed for good.
    Buried,
}

impl JobFilter {
    async fn resolve(&self, state: &WebState) -> ApiResult<Filter> {
        let repository = match &self.repository {
            Some(text) => Some(repository_id(state, text).await?),
            None => None,
        };
        Ok(Filter { repository, lane: self.lane, state: self.state })
    }
}

/// A repository named by a person: its numeric id or its name.
async fn repository_id(state: &WebState, text: &str) -> ApiResult<RepositoryId> {
    if let Ok(id) = text.parse() {
        return Ok(RepositoryId(id));
    }
    let name: RepositoryName = text.parse()?;
    state.backends.archive.resolve(&name).await?.ok_or_else(|| ApiError::not_found(&name))
}

/// A subject named by a person: as jobs are named, or `owner/name#123`.
async fn subject(state: &WebState, text: &str) -> ApiResult<Subject> {
    match (text.parse::<Subject>(), text.parse::<ItemRef>()) {
        (Ok(subject), _) => Ok(subject),
        (Err(_), Ok(item)) => {
            let id = state.backends.archive.resolve(&item.repository).await?;
            let id = id.ok_or_else(|| ApiError::not_found(&item.repository))?;
            Ok(Subject::item(id, item.number))
        }
        (Err(error), Err(_)) => Err(error.into()),
    }
}

/// A page of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Which queue.
    #[param(value_type = QueueWord)]
    pub queue: QueueName,
    /// Only of this repository: `owner/name` or its numeric id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Only of this lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<LaneWord>)]
    pub lane: Option<Lane>,
    /// Only in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<JobStateWord>)]
    pub state: Option<JobState>,
    /// Jobs after this subject: the `next` of an earlier answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most this many, 1 to 1000; 100 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

/// Jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListAnswer {
    /// In a stable order.
    pub jobs: Vec<JobAnswer>,
    /// What to give as `after` for the next page, if there may be one.
    pub next: Option<String>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobAnswer {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// What it is about, as jobs are named.
    pub subject: String,
    /// What it is about, for people: `owner/name#123` where the repository's name is known.
    pub title: String,
    /// Its state.
    #[schema(value_type = JobStateWord)]
    pub state: JobState,
    /// Its lane.
    #[schema(value_type = LaneWord)]
    pub lane: Lane,
    /// Attempts made.
    pub attempts: u32,
    /// Whether it runs once more afterwards.
    pub dirty: bool,
    /// When it may start (delayed), when its lease ends (leased), when it was buried (buried).
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// The first trigger's time, where kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub first_at: Option<Timestamp>,
    /// The latest trigger's time, where kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_at: Option<Timestamp>,
    /// Why it failed last.
    pub reason: Option<String>,
}

impl JobAnswer {
    async fn new(state: &WebState, job: JobView) -> ApiResult<Self> {
        let file = match job.subject.repository() {
            Some(id) => state.backends.archive.repository(id).await?,
            None => None,
        };
        let title = match (&job.subject, file) {
            (Subject::Item(item), Some(file)) => format!("{}#{}", file.full_name, item.number),
            (Subject::Part { part, .. }, Some(file)) => format!("{} {part}", file.full_name),
            (subject, _) => subject.to_string(),
        };
        Ok(Self {
            queue: job.queue,
            subject: job.subject.to_string(),
            title,
            state: job.state,
            lane: job.lane,
            attempts: job.attempts,
            dirty: job.dirty,
            at: job.at,
            first_at: job.first_at,
            last_at: job.last_at,
            reason: job.reason,
        })
    }
}

/// Jobs of a queue.
pub async fn list(state: &WebState, caller: &Caller, params: &ListParams) -> ApiResult<ListAnswer> {
    caller.require(Role::Operate)?;
    let limit = params.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(ApiError::invalid("`limit` is 1 to 1000"));
    }
    let filter = JobFilter { repository: params.repository.clone(), lane: params.lane, state: params.state };
    let filter = filter.resolve(state).await?;
    let after = params.after.as_deref().map(str::parse::<Subject>).transpose()?;
    let views = state.backends.queue.list(params.queue, &filter, after.as_ref(), limit).await?;
    let next = (views.len() == limit).then(|| views.last().map(|job| job.subject.to_string())).flatten();
    let mut jobs = Vec::with_capacity(views.len());
    for view in views {
        jobs.push(JobAnswer::new(state, view).await?);
    }
    Ok(ListAnswer { jobs, next })
}

/// A job in a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct JobPath {
    /// Which queue.
    #[param(value_type = QueueWord)]
    pub queue: QueueName,
    /// What it is about, percent-encoded: `12345#67`, `12345/labels` or `owner/name#67`.
    pub subject: String,
}

/// One job.
pub async fn show(state: &WebState, caller: &Caller, path: &JobPath) -> ApiResult<JobAnswer> {
    caller.require(Role::Operate)?;
    let subject = subject(state, &path.subject).await?;
    let job = state.backends.queue.job(path.queue, &subject).await?;
    JobAnswer::new(state, job.ok_or_else(|| no_job(path))?).await
}

fn no_job(path: &JobPath) -> ApiError {
    ApiError::new(
        axum::http::StatusCode::NOT_FOUND,
        format!("there is no job `{}` on the queue `{}`", path.subject, path.queue),
    )
}

/// A job to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddParams {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// What they are about: `12345#67`, `12345/labels` or `owner/name#67`; at most 1000.
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

/// Adds jobs.
pub async fn add(state: &WebState, caller: &Caller, params: &AddParams) -> ApiResult<AddAnswer> {
    caller.require(Role::Operate)?;
    if params.subjects.len() > 1000 {
        return Err(ApiError::invalid("at most 1000 subjects at once"));
    }
    let mut triggers = Vec::with_capacity(params.subjects.len());
    for text in &params.subjects {
        triggers.push(Trigger {
            queue: params.queue,
            subject: subject(state, text).await?,
            lane: params.lane.unwrap_or(Lane::Manual),
            timing: Timing::Now,
            reason: "api".to_owned(),
        });
    }
    Ok(AddAnswer { pushed: state.backends.queue.push(&triggers, None).await? })
}

/// How many jobs something was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Affected {
    /// How many.
    pub jobs: u64,
}

/// Removes a job; one being worked on goes when it is settled.
pub async fn remove(state: &WebState, caller: &Caller, path: &JobPath) -> ApiResult<()> {
    caller.require(Role::Admin)?;
    let subject = subject(state, &path.subject).await?;
    let was_there = state.backends.queue.remove(path.queue, &subject).await?;
    if was_there { Ok(()) } else { Err(no_job(path)) }
}

/// Tries a job again at once, whatever it waits for; a buried one is revived.
pub async fn retry(state: &WebState, caller: &Caller, path: &JobPath) -> ApiResult<AddAnswer> {
    show(state, caller, path).await?;
    let params = AddParams { queue: path.queue, subjects: vec![path.subject.clone()], lane: None };
    add(state, caller, &params).await
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
    /// At most this many, for reviving; 10,000 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Makes buried jobs ready again with fresh attempts.
pub async fn revive(state: &WebState, caller: &Caller, params: &ManyParams) -> ApiResult<Affected> {
    caller.require(Role::Operate)?;
    let filter = params.filter.resolve(state).await?;
    let limit = params.limit.unwrap_or(10_000);
    Ok(Affected { jobs: state.backends.queue.revive(params.queue, &filter, limit).await? })
}

/// Removes all jobs that match.
pub async fn purge(state: &WebState, caller: &Caller, params: &ManyParams) -> ApiResult<Affected> {
    caller.require(Role::Admin)?;
    let filter = params.filter.resolve(state).await?;
    Ok(Affected { jobs: state.backends.queue.purge(params.queue, &filter).await? })
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
    /// For how many seconds; an hour if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
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

async fn scope(state: &WebState, queue: QueueName, repository: Option<&str>) -> ApiResult<Scope> {
    Ok(match repository {
        Some(text) => Scope::Repository(queue, repository_id(state, text).await?),
        None => Scope::Queue(queue),
    })
}

/// Hands out nothing of a queue, or of a repository on it, for a while.
pub async fn pause(state: &WebState, caller: &Caller, params: &PauseParams) -> ApiResult<PauseAnswer> {
    caller.require(Role::Operate)?;
    let seconds = params.seconds.unwrap_or(3600);
    if seconds > 365 * 24 * 3600 {
        return Err(ApiError::invalid("a pause lasts a year at most"));
    }
    let scope = scope(state, params.queue, params.repository.as_deref()).await?;
    let until =
        state.backends.queue.now().await?.checked_add(Duration::from_secs(seconds)).map_err(ApiError::invalid)?;
    let reason: String = params.reason.chars().take(200).collect();
    state.backends.queue.pause(&scope, until, &reason).await?;
    Ok(PauseAnswer { until })
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

/// Ends a pause.
pub async fn resume(state: &WebState, caller: &Caller, params: &ResumeParams) -> ApiResult<()> {
    caller.require(Role::Operate)?;
    let scope = scope(state, params.queue, params.repository.as_deref()).await?;
    Ok(state.backends.queue.resume(&scope).await?)
}

/// What to count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CountParams {
    /// Which queue.
    #[param(value_type = QueueWord)]
    pub queue: QueueName,
    /// Only this repository: `owner/name` or its numeric id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

/// Jobs by state and lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountAnswer {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// Ready jobs by lane: webhook, manual, reconcile, backfill, discovery.
    pub ready: [u64; 5],
    /// Jobs that wait for their time.
    pub delayed: u64,
    /// Jobs being worked on.
    pub leased: u64,
    /// Jobs that failed for good.
    pub buried: u64,
    /// Jobs finished since the queue was made; 0 for one repository.
    pub finished: u64,
    /// Attempts that failed since the queue was made; 0 for one repository.
    pub retried: u64,
    /// Until when the whole queue is paused.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub paused_until: Option<Timestamp>,
    /// Why it is paused.
    pub paused_reason: Option<String>,
}

impl CountAnswer {
    pub(super) fn new(queue: QueueName, counts: Counts) -> Self {
        Self {
            queue,
            ready: counts.ready,
            delayed: counts.delayed,
            leased: counts.leased,
            buried: counts.buried,
            finished: counts.totals.finished,
            retried: counts.totals.retried,
            paused_until: counts.paused.as_ref().map(|paused| paused.until),
            paused_reason: counts.paused.map(|paused| paused.reason),
        }
    }
}

/// Counts jobs; costs the same at ten and at ten million.
pub async fn counts(state: &WebState, caller: &Caller, params: &CountParams) -> ApiResult<CountAnswer> {
    caller.require(if params.repository.is_some() { Role::Operate } else { Role::Read })?;
    let queue = &state.backends.queue;
    let counts = match &params.repository {
        Some(text) => queue.repository_counts(params.queue, repository_id(state, text).await?).await?,
        None => queue.counts(params.queue).await?,
    };
    Ok(CountAnswer::new(params.queue, counts))
}
