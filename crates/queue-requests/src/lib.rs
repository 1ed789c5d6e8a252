//! What can be asked of the queues: one parameter struct, one function, one route each.
//!
//! Whoever has the backends asks here directly ([`Request::ask`]); everybody else asks the same over HTTP, at
//! [`Request::route`]. The web front serves these routes, and `queue-cli` takes either way.

use std::{future::Future, sync::Arc, time::Duration};

use gharvest_archive::Archive;
use gharvest_model::{InvalidName, Lane, RepositoryId, RepositoryName, Subject};
use gharvest_queue::{Filter, JobState, QueueAdmin};
use gharvest_search::SearchIndex;
use gharvest_state::State;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

mod add;
mod change;
mod look;
mod pieces;
mod subject;

pub use add::{
    AddAllAnswer, AddAllParams, AddAnswer, AddParams, AddedAll, RangeAnswer, RangeParams, SinceAnswer, SinceParams,
};
pub use change::{
    Affected, ManyParams, PauseAnswer, PauseParams, Purge, RemoveAnswer, RemoveParams, Removed, ResumeParams, Revive,
    remove_one,
};
pub use look::{
    BudgetLeft, CountAnswer, CountParams, FeedHealth, ItemParams, JobAnswer, JobPath, LaneAge, LedgerAnswer,
    ListAnswer, ListParams, Narrowed, PauseInForce, QueueAnswer, RecordAnswer, RepositoryJobs, StatusAnswer,
    StatusParams, WhereAnswer, feeds, narrowed,
};
pub use pieces::{InPieces, TURN, whole};
pub use subject::Written;

/// What requests work on.
#[derive(Debug, Clone)]
pub struct Jobs {
    /// Both queues.
    pub queue: Arc<dyn QueueAdmin>,
    /// Names of repositories, ledgers, records.
    pub archive: Archive,
    /// Budgets and the health of feeds.
    pub state: Arc<dyn State>,
    /// The search engine; none where it cannot be opened, which only [`ItemParams`] notices.
    pub search: Option<Arc<dyn SearchIndex>>,
    /// So long one request works before it answers that there is more to do: [`TURN`].
    pub turn: Duration,
}

/// What a request needs its sender to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Read.
    Read,
    /// Add, retry, pause.
    Operate,
    /// Remove and purge.
    Admin,
}

/// How a request is sent over HTTP: GET with the parameters as the query, POST with them as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// A question.
    Get(String),
    /// A change.
    Post(&'static str),
}

/// What a request names, as its sender wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named<'a> {
    /// For [`Jobs::repository`].
    pub repositories: Vec<&'a str>,
    /// For [`Jobs::subject`].
    pub subjects: Vec<&'a str>,
}

impl<'a> Named<'a> {
    /// A repository, if one is named.
    fn repository(text: Option<&'a String>) -> Self {
        Self { repositories: text.map(String::as_str).into_iter().collect(), subjects: Vec::new() }
    }

    /// Subjects.
    fn subjects(texts: &'a [String]) -> Self {
        Self { repositories: Vec::new(), subjects: texts.iter().map(String::as_str).collect() }
    }
}

/// A request on the queues.
pub trait Request: Serialize + Sync {
    /// What is answered.
    type Answer: Serialize + DeserializeOwned + Send;

    /// What its sender has to be allowed.
    fn needs(&self) -> Needs {
        Needs::Operate
    }

    /// What it names: its sender has to be allowed to know of all of that. A change that names nothing is one of every
    /// repository's jobs: its sender has to see all of them.
    fn names(&self) -> Named<'_>;

    /// Where it is asked over HTTP.
    fn route(&self) -> Route;

    /// Does it.
    ///
    /// # Errors
    /// See [`Problem`].
    fn ask(&self, jobs: &Jobs) -> impl Future<Output = Result<Self::Answer, Problem>> + Send;
}

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The request is wrong: says what was expected.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] gharvest_archive::Error),
    /// The queue. What it refuses is [`Self::Invalid`].
    #[error(transparent)]
    Queue(gharvest_queue::Error),
    /// The state.
    #[error(transparent)]
    State(#[from] gharvest_state::Error),
}

impl From<gharvest_queue::Error> for Problem {
    fn from(error: gharvest_queue::Error) -> Self {
        match error.kind() {
            gharvest_queue::ErrorKind::Refused => Self::Invalid(error.to_string()),
            _ => Self::Queue(error),
        }
    }
}

impl From<InvalidName> for Problem {
    fn from(error: InvalidName) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl Jobs {
    /// A repository named by a person: its numeric id or its name.
    pub async fn repository(&self, text: &str) -> Result<RepositoryId, Problem> {
        if let Ok(id) = text.parse() {
            return Ok(RepositoryId(id));
        }
        let name: RepositoryName = text.parse()?;
        let found = self.archive.resolve(&name).await?;
        found.ok_or_else(|| {
            Problem::NotFound(format!("{name} is not in this mirror: `gharvest track {name}` does that"))
        })
    }

    /// A subject named by a person: an item, a part of a repository, or as jobs are named.
    pub async fn subject(&self, text: &str) -> Result<Subject, Problem> {
        Ok(match text.parse::<Written>().map_err(Problem::Invalid)? {
            Written::Item(item) => Subject::item(self.repository(&item.repository.to_string()).await?, item.number),
            Written::Part(name, part) => Subject::part(self.repository(&name.to_string()).await?, &part),
            Written::Subject(subject) => subject,
        })
    }

    /// Refuses a repository that is neither archived nor tracked: a job of it could only be buried.
    pub(crate) async fn check_known(&self, id: RepositoryId) -> Result<(), Problem> {
        let is_archived = self.archive.repository(id).await?.is_some();
        if is_archived || self.archive.tracking().await?.iter().any(|tracked| tracked.id == id) {
            return Ok(());
        }
        Err(Problem::NotFound(format!("repository {id} is not in this mirror: `gharvest track OWNER/NAME` does that")))
    }

    /// The subject with the repository's name where it is known, for people.
    pub async fn title(&self, subject: &Subject) -> Result<String, Problem> {
        let name = match subject.repository() {
            Some(id) => self.archive.repository(id).await?.map(|file| file.full_name),
            None => None,
        };
        Ok(match (subject, name) {
            (Subject::Item(item), Some(name)) => format!("{name}#{}", item.number),
            (Subject::Part { part, .. }, Some(name)) => format!("{name} {part}"),
            (subject, _) => subject.to_string(),
        })
    }
}

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

impl JobFilter {
    async fn resolve(&self, jobs: &Jobs) -> Result<Filter, Problem> {
        let repository = match &self.repository {
            Some(text) => Some(jobs.repository(text).await?),
            None => None,
        };
        Ok(Filter { repository, lane: self.lane, state: self.state, numbers: None })
    }
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
