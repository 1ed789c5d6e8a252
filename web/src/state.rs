//! What the web front is made of: the ports it reads, its settings, its clock.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use gharvest_archive::{ApiKey, Archive, ErrorKind};
use gharvest_model::{ItemId, ItemRef, RepositoryId, RepositoryName, record::Visibility, tracking::Tracked};
use gharvest_queue::QueueAdmin;
use gharvest_search::SearchIndex;
use gharvest_service_kit::{Settings, health::Readiness, settings::WebSettings};
use gharvest_state::State;
use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{live::Readers, rates::Rates};

/// What only a process that talks to GitHub can do. The composition root implements it.
#[async_trait]
pub trait Operations: fmt::Debug + Send + Sync + 'static {
    /// Asks GitHub for the repository, tracks it and pushes its first jobs. Tracking it again changes nothing.
    async fn track(&self, name: &RepositoryName) -> Result<Tracked, OperationError>;

    /// Ends tracking; with `purge` everything of the repository goes, from queues, archive and index.
    async fn untrack(&self, repository: RepositoryId, purge: bool) -> Result<(), OperationError>;

    /// Pushes a download job in the manual lane for an item named by a person, with a record or without.
    async fn download(&self, item: &ItemRef) -> Result<ItemId, OperationError>;

    /// The budgets of all tokens as last heard of; empty where that is not known.
    async fn budgets(&self) -> Vec<Budget>;
}

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// GitHub, or the archive, knows no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done as asked.
    #[error("{0}")]
    Refused(String),
    /// Something needed does not answer: try again later.
    #[error("{0}")]
    Unavailable(String),
}

/// What is left of one token's budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Budget {
    /// The token's name for people; never the token.
    pub token: String,
    /// `core`, `graphql` …
    pub resource: String,
    /// Calls an hour.
    pub limit: u64,
    /// Calls left.
    pub remaining: u64,
    /// When it is full again.
    #[schema(value_type = String, format = DateTime)]
    pub reset_at: Timestamp,
    /// Why the token is set aside, if it is.
    pub trouble: Option<String>,
}

/// The ports behind the pages.
#[derive(Debug, Clone)]
pub struct Backends {
    /// Both queues, with an operator's verbs.
    pub queue: Arc<dyn QueueAdmin>,
    /// Records and repository data.
    pub archive: Archive,
    /// Live events and what else may be lost.
    pub state: Arc<dyn State>,
    /// The search engine.
    pub search: Arc<dyn SearchIndex>,
    /// What needs GitHub.
    pub operations: Arc<dyn Operations>,
}

/// A clock that tests can set.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Everything that a request may touch. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WebState {
    /// The ports.
    pub backends: Backends,
    /// `[web]`
    pub settings: Arc<WebSettings>,
    /// Base of GitHub's pages, no trailing slash.
    pub github_url: Arc<str>,
    /// The longest time for one search.
    pub search_timeout: Duration,
    /// The time.
    pub clock: Clock,
    /// Whether the process wants work.
    pub readiness: Readiness,
    /// What `/metrics` prints; none for an empty page.
    pub metrics: Option<PrometheusHandle>,
    /// Cancelled when the process stops: ends live streams, which would otherwise never end.
    pub shutdown: CancellationToken,
    /// Who listens to live events.
    pub(crate) readers: Readers,
    /// What the queues did lately.
    pub(crate) rates: Rates,
    keys: Arc<Cached<Vec<ApiKey>>>,
    standings: Arc<Cached<Standings>>,
}

/// Every repository that is tracked, or was and is archived still.
pub(crate) type Standings = HashMap<RepositoryId, Standing>;

/// Who may know of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Its name now; none if its file cannot be read.
    pub(crate) name: Option<RepositoryName>,
    pub(crate) visibility: Visibility,
    pub(crate) is_tracked: bool,
}

/// Reads from the archive who may know of each repository: of one that is not tracked, what its file says. One whose file
/// cannot be read counts as private.
pub(crate) async fn standings(archive: &Archive) -> gharvest_archive::Result<Standings> {
    let standing = |tracked: Tracked| {
        let visibility = tracked.visibility();
        (tracked.id, Standing { name: Some(tracked.name), visibility, is_tracked: true })
    };
    let mut all: Standings = archive.tracking().await?.into_iter().map(standing).collect();
    for id in archive.repositories().await? {
        if all.contains_key(&id) {
            continue;
        }
        let standing = match archive.repository(id).await {
            Ok(None) => continue,
            Ok(Some(file)) => Standing { visibility: file.visibility(), name: Some(file.full_name), is_tracked: false },
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                Standing { name: None, visibility: Visibility::Private, is_tracked: false }
            }
            Err(error) => return Err(error),
        };
        all.insert(id, standing);
    }
    Ok(all)
}

/// API keys and what is tracked are read from the archive at most this often: for so long at most a revoked key works,
/// and search and live events show what became private.
const CACHED_FOR: Duration = Duration::from_secs(5);

/// What was last read from the archive, and when.
#[derive(Debug)]
struct Cached<T>(Mutex<Option<(Timestamp, Arc<T>)>>);

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Cached<T> {
    fn fresh(&self, now: Timestamp) -> Option<Arc<T>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (read_at, value) = kept.as_ref()?;
        (age(*read_at, now) < CACHED_FOR).then(|| Arc::clone(value))
    }

    fn read_at(&self) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(read_at, _)| *read_at)
    }

    fn keep(&self, read_at: Timestamp, value: T) -> Arc<T> {
        let value = Arc::new(value);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((read_at, Arc::clone(&value)));
        value
    }
}

impl WebState {
    /// The state of a web front over these backends.
    pub fn new(backends: Backends, settings: &Settings) -> Self {
        let readiness = Readiness::default();
        readiness.set(true);
        Self {
            backends,
            readers: Readers::new(settings.web.live_readers, settings.web.live_readers_per_client),
            rates: Rates::default(),
            settings: Arc::new(settings.web.clone()),
            github_url: settings.github.web_url.trim_end_matches('/').into(),
            search_timeout: settings.search.timeout,
            clock: Clock::new(Timestamp::now),
            readiness,
            metrics: None,
            shutdown: CancellationToken::new(),
            keys: Arc::default(),
            standings: Arc::default(),
        }
    }

    /// All API keys, as of a few seconds ago at most.
    pub(crate) async fn keys(&self) -> gharvest_archive::Result<Arc<Vec<ApiKey>>> {
        let now = self.clock.now();
        match self.keys.fresh(now) {
            Some(keys) => Ok(keys),
            None => Ok(self.keys.keep(now, self.backends.archive.keys().await?)),
        }
    }

    /// Who may know of each repository, as of a few seconds ago at most.
    pub(crate) async fn standings(&self) -> gharvest_archive::Result<Arc<Standings>> {
        let now = self.clock.now();
        match self.standings.fresh(now) {
            Some(standings) => Ok(standings),
            None => Ok(self.standings.keep(now, standings(&self.backends.archive).await?)),
        }
    }

    /// The same for who is told of something that happened then in a repository: if that is not known, the archive is
    /// asked again unless it was since.
    pub(crate) async fn standings_for(
        &self,
        repository: RepositoryId,
        then: Timestamp,
    ) -> gharvest_archive::Result<Arc<Standings>> {
        let standings = self.standings().await?;
        if standings.contains_key(&repository) || self.standings.read_at().is_some_and(|read_at| read_at > then) {
            return Ok(standings);
        }
        let now = self.clock.now();
        Ok(self.standings.keep(now, self::standings(&self.backends.archive).await?))
    }
}

/// How long ago something was; nothing for the future.
fn age(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}
