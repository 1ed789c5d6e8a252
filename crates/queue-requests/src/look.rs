//! Looking at jobs.

use std::collections::BTreeMap;

use gharvest_model::{ItemId, ItemRef, Lane, QueueName, RepositoryId, Revision, Subject};
use gharvest_queue::{Counts, JobState, JobView, Scope};
use gharvest_state::{
    State,
    feed::{self, Checked, Heard},
};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{JobFilter, JobStateWord, Jobs, LaneWord, Named, Needs, Problem, QueueWord, Request, Route};

/// Repositories that a status counts one by one.
const MOST_REPOSITORIES: usize = 200;

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
    async fn new(jobs: &Jobs, job: JobView) -> Result<Self, Problem> {
        Ok(Self {
            queue: job.queue,
            subject: job.subject.to_string(),
            title: jobs.title(&job.subject).await?,
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

impl Request for ListParams {
    type Answer = ListAnswer;

    fn names(&self) -> Named<'_> {
        Named::repository(self.repository.as_ref())
    }

    fn route(&self) -> Route {
        Route::Get("/api/v1/jobs".to_owned())
    }

    async fn ask(&self, jobs: &Jobs) -> Result<ListAnswer, Problem> {
        let limit = self.limit.unwrap_or(100);
        if !(1..=1000).contains(&limit) {
            return Err(Problem::Invalid("`limit` is 1 to 1000".to_owned()));
        }
        let filter = JobFilter { repository: self.repository.clone(), lane: self.lane, state: self.state };
        let filter = filter.resolve(jobs).await?;
        let after = self.after.as_deref().map(str::parse::<Subject>).transpose()?;
        let views = jobs.queue.list(self.queue, &filter, after.as_ref(), limit).await?;
        let next = (views.len() == limit).then(|| views.last().map(|job| job.subject.to_string())).flatten();
        let mut answers = Vec::with_capacity(views.len());
        for view in views {
            answers.push(JobAnswer::new(jobs, view).await?);
        }
        Ok(ListAnswer { jobs: answers, next })
    }
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

impl Request for JobPath {
    type Answer = JobAnswer;

    fn names(&self) -> Named<'_> {
        Named { subjects: vec![&self.subject], ..Named::default() }
    }

    fn route(&self) -> Route {
        Route::Get(format!("/api/v1/jobs/{}/{}", self.queue, utf8_percent_encode(&self.subject, NON_ALPHANUMERIC)))
    }

    async fn ask(&self, jobs: &Jobs) -> Result<JobAnswer, Problem> {
        let subject = jobs.subject(&self.subject).await?;
        let job = jobs.queue.job(self.queue, &subject).await?;
        JobAnswer::new(jobs, job.ok_or_else(|| no_job(self))?).await
    }
}

pub(crate) fn no_job(path: &JobPath) -> Problem {
    Problem::NotFound(format!("there is no job `{}` on the queue `{}`", path.subject, path.queue))
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
    /// Jobs finished since the queue was made; 0 for one repository, and where some jobs are hidden from the caller.
    pub finished: u64,
    /// Attempts that failed since the queue was made; 0 for one repository, and where some jobs are hidden from the caller.
    pub retried: u64,
    /// Until when the whole queue is paused.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub paused_until: Option<Timestamp>,
    /// Why it is paused.
    pub paused_reason: Option<String>,
}

impl CountAnswer {
    /// The queue's own counts.
    pub fn new(queue: QueueName, counts: Counts) -> Self {
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

    /// Everything that still wants work: ready, delayed and leased.
    pub fn outstanding(&self) -> u64 {
        self.ready.iter().sum::<u64>() + self.delayed + self.leased
    }
}

impl Request for CountParams {
    type Answer = CountAnswer;

    fn needs(&self) -> Needs {
        if self.repository.is_some() { Needs::Operate } else { Needs::Read }
    }

    fn names(&self) -> Named<'_> {
        Named::repository(self.repository.as_ref())
    }

    fn route(&self) -> Route {
        Route::Get("/api/v1/jobs/counts".to_owned())
    }

    async fn ask(&self, jobs: &Jobs) -> Result<CountAnswer, Problem> {
        let counts = match &self.repository {
            Some(text) => jobs.queue.repository_counts(self.queue, jobs.repository(text).await?).await?,
            None => jobs.queue.counts(self.queue).await?,
        };
        Ok(CountAnswer::new(self.queue, counts))
    }
}

/// How the queues are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusParams {}

/// How the queues are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = JobsStatusAnswer)]
pub struct StatusAnswer {
    /// When this was true, by the queue's clock.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Both queues, in the order of the flow.
    pub queues: Vec<QueueAnswer>,
    /// All pauses in force.
    pub pauses: Vec<PauseInForce>,
    /// What is left of GitHub's budgets, as the processes that ask it last heard.
    pub budgets: Vec<BudgetLeft>,
    /// Processes that let fewer requests in at once, because GitHub refused some as too much.
    #[serde(default)]
    pub narrowed: Vec<Narrowed>,
    /// Hooks of repositories, as far as something is known of them.
    pub feeds: Vec<FeedHealth>,
    /// What a crash of the queue's backend can lose.
    pub durability: String,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueAnswer {
    /// Jobs by state and lane.
    pub counts: CountAnswer,
    /// Lanes with waiting jobs, and since when the oldest waits.
    #[schema(value_type = Vec<Object>)]
    pub oldest: Vec<LaneAge>,
    /// Repositories with jobs; the first 200 tracked ones are counted.
    pub repositories: Vec<RepositoryJobs>,
}

/// Since when a lane's oldest job waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneAge {
    /// Which lane.
    pub lane: Lane,
    /// When its oldest job became due.
    pub since: Timestamp,
}

/// Jobs of a repository on one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryJobs {
    /// `owner/name`.
    pub repository: String,
    /// Ready, delayed and in work.
    pub outstanding: u64,
    /// Failed for good.
    pub buried: u64,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PauseInForce {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// The repository, if it is not the whole queue; by its id where the name is not known.
    pub repository: Option<String>,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// Why.
    pub reason: String,
}

/// What is left of one budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetLeft {
    /// `core`, `graphql` …
    pub resource: String,
    /// Calls an hour.
    pub limit: u64,
    /// Calls left.
    pub remaining: u64,
    /// When it is full again.
    #[schema(value_type = String, format = DateTime)]
    pub reset_at: Timestamp,
}

/// Fewer requests at once than are set, after GitHub refused some as too many or too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Narrowed {
    /// So many requests one process lets in at once now.
    pub at_once: u64,
    /// So many while GitHub refuses none.
    pub of: u64,
    /// When that many are let in again, if GitHub refuses no more.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

/// How a repository's hook is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeedHealth {
    /// `owner/name`.
    #[serde(default)]
    pub repository: String,
    /// When the latest delivery arrived here.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_delivery_at: Option<Timestamp>,
    /// When GitHub was last asked for deliveries that failed.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub checked_at: Option<Timestamp>,
    /// Deliveries that were missed, since this is counted.
    #[serde(default)]
    pub failures: u64,
    /// How many of them were recovered; the others are lost.
    #[serde(default)]
    pub recovered: u64,
    /// Why failed deliveries cannot be recovered: what is missed is found by polling then.
    #[serde(default)]
    pub trouble: Option<String>,
}

impl Request for StatusParams {
    type Answer = StatusAnswer;

    fn names(&self) -> Named<'_> {
        Named::default()
    }

    fn route(&self) -> Route {
        Route::Get("/api/v1/jobs/status".to_owned())
    }

    async fn ask(&self, jobs: &Jobs) -> Result<StatusAnswer, Problem> {
        let tracking = jobs.archive.tracking().await?;
        let mut queues = Vec::new();
        for name in QueueName::ALL {
            let oldest = Lane::ALL.into_iter().zip(jobs.queue.oldest(name).await?);
            let oldest = oldest.filter_map(|(lane, since)| Some(LaneAge { lane, since: since? })).collect();
            let mut repositories = Vec::new();
            for tracked in tracking.iter().take(MOST_REPOSITORIES) {
                let counts = jobs.queue.repository_counts(name, tracked.id).await?;
                if counts.outstanding() + counts.buried > 0 {
                    let (outstanding, buried) = (counts.outstanding(), counts.buried);
                    repositories.push(RepositoryJobs { repository: tracked.name.to_string(), outstanding, buried });
                }
            }
            let counts = CountAnswer::new(name, jobs.queue.counts(name).await?);
            queues.push(QueueAnswer { counts, oldest, repositories });
        }
        let names: BTreeMap<_, _> = tracking.iter().map(|tracked| (tracked.id, tracked.name.to_string())).collect();
        Ok(StatusAnswer {
            at: jobs.queue.now().await?,
            queues,
            pauses: pauses(jobs, &names).await?,
            budgets: budgets(jobs).await?,
            narrowed: narrowed(jobs.state.as_ref(), Timestamp::now()).await?,
            feeds: feeds(jobs.state.as_ref(), &names).await?,
            durability: jobs.queue.durability().await?.to_string(),
        })
    }
}

async fn pauses(jobs: &Jobs, names: &BTreeMap<RepositoryId, String>) -> Result<Vec<PauseInForce>, Problem> {
    let pauses = jobs.queue.pauses().await?.into_iter().map(|(scope, paused)| {
        let (queue, repository) = match scope {
            Scope::Queue(queue) => (queue, None),
            Scope::Repository(queue, id) => (queue, Some(names.get(&id).cloned().unwrap_or_else(|| id.to_string()))),
        };
        PauseInForce { queue, repository, until: paused.until, reason: paused.reason }
    });
    Ok(pauses.collect())
}

/// Budgets as processes share them: see the module `sharing` of the client of GitHub. What cannot be read is left out.
async fn budgets(jobs: &Jobs) -> Result<Vec<BudgetLeft>, Problem> {
    let entries = jobs.state.list("budget/").await?;
    let budgets = entries.into_iter().filter_map(|(key, value)| {
        let resource = key.rsplit('/').next()?.to_owned();
        let value: Value = serde_json::from_slice(&value).ok()?;
        Some(BudgetLeft {
            resource,
            limit: value["limit"].as_u64()?,
            remaining: value["remaining"].as_u64()?,
            reset_at: value["reset_at"].as_str()?.parse().ok()?,
        })
    });
    Ok(budgets.collect())
}

/// To what processes narrowed their requests at once: see the module `sharing` of the client of GitHub. What cannot be
/// read is left out.
///
/// # Errors
/// When the state does not answer.
pub async fn narrowed(state: &dyn State, now: Timestamp) -> Result<Vec<Narrowed>, gharvest_state::Error> {
    /// One more request is let in after each quiet minute.
    const WIDENED_EVERY_S: u64 = 60;
    let narrowed = state.list("narrowed/").await?.into_iter().filter_map(|(_, value)| {
        let value: Value = serde_json::from_slice(&value).ok()?;
        let (to, of) = (value["to"].as_u64()?, value["of"].as_u64()?);
        let quiet_from: Timestamp = value["quiet_from"].as_str()?.parse().ok()?;
        let quiet = u64::try_from(now.duration_since(quiet_from).as_secs()).unwrap_or(0);
        let at_once = to.saturating_add(quiet / WIDENED_EVERY_S);
        let widens_for = i64::try_from(of.saturating_sub(to).saturating_mul(WIDENED_EVERY_S)).ok()?;
        let until = quiet_from.checked_add(SignedDuration::from_secs(widens_for)).ok()?;
        (at_once < of).then_some(Narrowed { at_once, of, until })
    });
    Ok(narrowed.collect())
}

/// How the hooks of these repositories are: what the receiver heard last, and what the seeder found out from GitHub.
///
/// # Errors
/// When the state does not answer.
pub async fn feeds(
    state: &dyn State,
    names: &BTreeMap<RepositoryId, String>,
) -> Result<Vec<FeedHealth>, gharvest_state::Error> {
    let mut feeds: BTreeMap<RepositoryId, FeedHealth> = BTreeMap::new();
    for (id, Checked { checked_at, failures, recovered, trouble }) in feed::list(state).await? {
        feeds.insert(id, FeedHealth { checked_at, failures, recovered, trouble, ..FeedHealth::default() });
    }
    for (id, Heard { at, .. }) in feed::list(state).await? {
        feeds.entry(id).or_default().last_delivery_at = Some(at);
    }
    let named =
        |(id, health): (RepositoryId, FeedHealth)| Some(FeedHealth { repository: names.get(&id)?.clone(), ..health });
    Ok(feeds.into_iter().filter_map(named).collect())
}

/// Where is an item?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ItemParams {
    /// `owner/name#123` or its GitHub URL.
    pub item: String,
}

/// Where an item is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhereAnswer {
    /// `owner/name#123`
    pub item: String,
    /// As jobs name it.
    pub subject: String,
    /// Its job on the download queue.
    pub download: Option<JobAnswer>,
    /// Its job on the index queue.
    pub index: Option<JobAnswer>,
    /// What the ledger says.
    #[schema(value_type = Object)]
    pub ledger: LedgerAnswer,
    /// Its record, if there is one.
    #[schema(value_type = Option<Object>)]
    pub record: Option<RecordAnswer>,
    /// The revision in the search index; none if it is not there.
    #[schema(value_type = Option<u32>)]
    pub indexed: Option<Revision>,
    /// Why the search index was not asked.
    pub index_trouble: Option<String>,
}

/// What the ledger says of a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerAnswer {
    /// What became of the number.
    pub state: gharvest_model::ledger::NumberState,
    /// When GitHub last said so.
    pub verified_at: Option<Timestamp>,
}

/// What matters of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordAnswer {
    /// Its version.
    pub revision: Revision,
    /// Whether GitHub still shows the item.
    pub state: gharvest_model::record::RecordState,
    /// When this revision was fetched.
    pub fetched_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

impl Request for ItemParams {
    type Answer = WhereAnswer;

    fn names(&self) -> Named<'_> {
        Named { subjects: vec![&self.item], ..Named::default() }
    }

    fn route(&self) -> Route {
        Route::Get("/api/v1/jobs/item".to_owned())
    }

    async fn ask(&self, jobs: &Jobs) -> Result<WhereAnswer, Problem> {
        let item: ItemRef = self.item.parse()?;
        let repository = jobs.repository(&item.repository.to_string()).await?;
        let (id, subject) = (ItemId { repository, number: item.number }, Subject::item(repository, item.number));
        let job = async |queue| match jobs.queue.job(queue, &subject).await? {
            Some(view) => JobAnswer::new(jobs, view).await.map(Some),
            None => Ok(None),
        };
        let ledger = jobs.archive.ledger(repository).await?.get(item.number);
        let record = jobs.archive.record(id).await?.map(|record| RecordAnswer {
            revision: record.revision,
            state: record.state,
            fetched_at: record.fetched_at,
            changed_at: record.changed_at,
        });
        let (indexed, index_trouble) = match &jobs.search {
            None => (None, Some("the search index cannot be opened here".to_owned())),
            Some(search) => match search.thread(id).await {
                Ok(found) => (found.map(|thread| thread.version.revision()), None),
                Err(error) => (None, Some(error.to_string())),
            },
        };
        Ok(WhereAnswer {
            item: item.to_string(),
            subject: subject.to_string(),
            download: job(QueueName::Download).await?,
            index: job(QueueName::Index).await?,
            ledger: LedgerAnswer { state: ledger.state, verified_at: ledger.verified_at },
            record,
            indexed,
            index_trouble,
        })
    }
}
