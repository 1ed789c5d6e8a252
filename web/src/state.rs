//! What the web front is made of: the ports it reads, its settings, its clock.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use gharvest_archive::{ApiKey, Archive};
use gharvest_model::{ItemId, ItemRef, RepositoryId, RepositoryName, tracking::Tracked};
use gharvest_queue::QueueAdmin;
use gharvest_search::SearchIndex;
use gharvest_service_kit::{Settings, health::Readiness, settings::WebSettings};
use gharvest_state::State;
use jiff::{SignedDuration, Timestamp};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    known::{Standings, standings},
    live::Readers,
    rates::Rates,
};

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
    keys: Arc<Cached<Option<Vec<ApiKey>>>>,
    standings: Arc<Cached<Standings>>,
}

/// All API keys; none if none was ever made.
pub(crate) type Keys = Arc<Option<Vec<ApiKey>>>;

/// API keys and what is tracked are read from the archive at most this often: for so long at most a revoked key works,
/// and search and live events show what became private.
const CACHED_FOR: Duration = Duration::from_secs(5);

/// How far the clocks of two machines may be apart.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(30);

/// What was last read from the archive, and when that began. Who asks while it is read waits for it.
#[derive(Debug)]
struct Cached<T>(tokio::sync::Mutex<Option<(Timestamp, Arc<T>)>>);

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::default())
    }
}

impl<T> Cached<T> {
    /// What was read a few seconds ago at most, if it will do; else what `read` says now.
    async fn get(
        &self,
        clock: &Clock,
        will_do: impl Fn(Timestamp, &T) -> bool,
        read: impl Future<Output = gharvest_archive::Result<T>>,
    ) -> gharvest_archive::Result<Arc<T>> {
        let mut kept = self.0.lock().await;
        let now = clock.now();
        if let Some((read_at, value)) = &*kept
            && age(*read_at, now) < CACHED_FOR
            && will_do(*read_at, value)
        {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(read.await?);
        *kept = Some((now, Arc::clone(&value)));
        Ok(value)
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

    /// All API keys, as of a few seconds ago at most; none if none was ever made.
    pub(crate) async fn keys(&self) -> gharvest_archive::Result<Keys> {
        self.keys.get(&self.clock, |_, _| true, self.backends.archive.keys_ever()).await
    }

    /// Who may know of each repository, as of a few seconds ago at most.
    pub(crate) async fn standings(&self) -> gharvest_archive::Result<Arc<Standings>> {
        self.standings.get(&self.clock, |_, _| true, standings(&self.backends.archive)).await
    }

    /// The same for who is told of something that happened then in a repository, by another machine's clock: if that is
    /// not known, the archive is asked again unless it was since.
    pub(crate) async fn standings_for(
        &self,
        repository: RepositoryId,
        then: Timestamp,
    ) -> gharvest_archive::Result<Arc<Standings>> {
        let since = self.clock.now().min(then + CLOCKS_DIFFER);
        let will_do = |read_at, standings: &Standings| standings.contains_key(&repository) || read_at > since;
        self.standings.get(&self.clock, will_do, standings(&self.backends.archive)).await
    }
}

/// How long ago something was; nothing for the future.
fn age(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_many_ask_for_at_once_is_read_once() {
        let (cached, reads) = (Cached::default(), AtomicUsize::new(0));
        let clock = Clock::new(|| Timestamp::UNIX_EPOCH);
        let read = async || {
            tokio::task::yield_now().await;
            Ok(reads.fetch_add(1, Ordering::SeqCst))
        };
        let get = || cached.get(&clock, |_, _| true, read());
        let got = futures::future::join_all((0..5).map(|_| get())).await;
        assert!(got.into_iter().all(|got| *got.unwrap() == 0));
        let since = Timestamp::UNIX_EPOCH;
        let asked_anew = cached.get(&clock, |read_at, _| read_at > since, read()).await.unwrap();
        assert_eq!(*asked_anew, 1, "what was read before will not do");
    }
}
