//! An index and a state that fail when told to.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use gharvest_model::{ItemId, RepositoryId, live::LiveEvent};
use gharvest_search::{
    Access, Applied, Error, ErrorKind, Hit, IndexStatus, Result, SearchIndex, SearchReply, SearchRequest, StoredThread,
    Suggestion,
    document::{DailyDocument, IntervalDocument, ReleaseDocument, RepositoryDocument, ThreadDocuments, Version},
    query::suggest::SuggestRequest,
};
use gharvest_state::{Published, State, Versioned};
use tokio::sync::{Notify, RwLock};

/// Passes every call on to another index, except for what a test wants to go wrong.
#[derive(Debug)]
pub(crate) struct FaultyIndex {
    inner: Arc<dyn SearchIndex>,
    /// So many calls of `apply` and `commit` fail as unavailable.
    pub(crate) failures: AtomicU32,
    /// Threads of these numbers are refused.
    pub(crate) refused: Mutex<BTreeSet<u64>>,
    /// How often `commit` succeeded.
    pub(crate) commits: AtomicU32,
    /// It says that an earlier version of the program made it.
    pub(crate) is_outdated: AtomicBool,
    /// Told when threads are to be applied.
    pub(crate) asked: Notify,
    /// While a test holds this, nothing is applied.
    pub(crate) held: RwLock<()>,
    /// The numbers of the threads that were applied, in order.
    pub(crate) applied: Mutex<Vec<u64>>,
}

impl FaultyIndex {
    pub(crate) fn new(inner: Arc<dyn SearchIndex>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            failures: AtomicU32::default(),
            refused: Mutex::default(),
            commits: AtomicU32::default(),
            is_outdated: AtomicBool::default(),
            asked: Notify::new(),
            held: RwLock::default(),
            applied: Mutex::default(),
        })
    }

    fn may_fail(&self, operation: &'static str) -> Result<()> {
        let left = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Err(Error::new(ErrorKind::Unavailable, operation, "made to fail")),
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl SearchIndex for FaultyIndex {
    async fn ensure(&self, archive: &str) -> Result<()> {
        self.inner.ensure(archive).await
    }

    async fn apply(&self, threads: Vec<ThreadDocuments>) -> Result<Vec<Applied>> {
        self.asked.notify_one();
        let _open = self.held.read().await;
        self.may_fail("apply")?;
        self.applied.lock().unwrap().extend(threads.iter().map(|thread| thread.item.number));
        let refused = self.refused.lock().unwrap().clone();
        let mut applied = Vec::new();
        for thread in threads {
            if refused.contains(&thread.item.number) {
                applied.push(Applied::Refused { id: thread.item.key.clone(), reason: "too odd".into() });
            } else {
                applied.extend(self.inner.apply(vec![thread]).await?);
            }
        }
        Ok(applied)
    }

    async fn apply_repositories(&self, documents: Vec<RepositoryDocument>) -> Result<()> {
        self.inner.apply_repositories(documents).await
    }

    async fn apply_releases(
        &self,
        repository: RepositoryId,
        version: Version,
        documents: Vec<ReleaseDocument>,
    ) -> Result<()> {
        self.inner.apply_releases(repository, version, documents).await
    }

    async fn apply_daily(&self, repository: RepositoryId, documents: Vec<DailyDocument>, replace: bool) -> Result<()> {
        self.inner.apply_daily(repository, documents, replace).await
    }

    async fn purge_repository(&self, repository: RepositoryId) -> Result<()> {
        self.inner.purge_repository(repository).await
    }

    async fn commit(&self) -> Result<()> {
        self.may_fail("commit")?;
        self.inner.commit().await?;
        self.commits.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn search(&self, request: &SearchRequest) -> Result<SearchReply> {
        self.inner.search(request).await
    }

    async fn suggest(&self, request: &SuggestRequest, access: &Access, limit: usize) -> Result<Vec<Suggestion>> {
        self.inner.suggest(request, access, limit).await
    }

    async fn similar(&self, item: ItemId, access: &Access, limit: usize) -> Result<Vec<Hit>> {
        self.inner.similar(item, access, limit).await
    }

    async fn thread(&self, item: ItemId) -> Result<Option<StoredThread>> {
        self.inner.thread(item).await
    }

    fn numbers(&self, repository: RepositoryId) -> BoxStream<'static, Result<u64>> {
        self.inner.numbers(repository)
    }

    fn intervals(&self, repository: RepositoryId) -> BoxStream<'static, Result<IntervalDocument>> {
        self.inner.intervals(repository)
    }

    async fn daily(
        &self,
        repository: RepositoryId,
        dimension: &str,
        value: Option<&str>,
    ) -> Result<Vec<DailyDocument>> {
        self.inner.daily(repository, dimension, value).await
    }

    async fn repository(&self, repository: RepositoryId) -> Result<Option<RepositoryDocument>> {
        self.inner.repository(repository).await
    }

    async fn begin_rebuild(&self, archive: &str) -> Result<()> {
        self.inner.begin_rebuild(archive).await
    }

    async fn finish_rebuild(&self) -> Result<()> {
        self.inner.finish_rebuild().await
    }

    async fn abort_rebuild(&self) -> Result<()> {
        self.inner.abort_rebuild().await
    }

    async fn status(&self) -> Result<IndexStatus> {
        let status = self.inner.status().await?;
        Ok(IndexStatus { outdated: self.is_outdated.load(Ordering::SeqCst), ..status })
    }
}

/// Passes every call on to another state, but for publishing while it is to fail.
#[derive(Debug)]
pub(crate) struct FaultyState {
    inner: Arc<dyn State>,
    /// So many calls of `publish` fail.
    pub(crate) failures: AtomicU32,
}

impl FaultyState {
    pub(crate) fn new(inner: Arc<dyn State>) -> Arc<Self> {
        Arc::new(Self { inner, failures: AtomicU32::default() })
    }
}

#[async_trait]
impl State for FaultyState {
    async fn get(&self, key: &str) -> gharvest_state::Result<Option<Versioned>> {
        self.inner.get(key).await
    }

    async fn put(
        &self,
        key: &str,
        value: &[u8],
        expected: Option<u64>,
        ttl: Option<Duration>,
    ) -> gharvest_state::Result<bool> {
        self.inner.put(key, value, expected, ttl).await
    }

    async fn delete(&self, key: &str) -> gharvest_state::Result<()> {
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str) -> gharvest_state::Result<Vec<(String, Vec<u8>)>> {
        self.inner.list(prefix).await
    }

    async fn lead(&self, name: &str, holder: &str, hold: Duration) -> gharvest_state::Result<bool> {
        self.inner.lead(name, holder, hold).await
    }

    async fn resign(&self, name: &str, holder: &str) -> gharvest_state::Result<()> {
        self.inner.resign(name, holder).await
    }

    async fn publish(&self, events: &[LiveEvent]) -> gharvest_state::Result<()> {
        let left = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Err(gharvest_state::Error::new("publish", "made to fail")),
            Err(_) => self.inner.publish(events).await,
        }
    }

    async fn history(&self, after: u64, limit: usize) -> gharvest_state::Result<Vec<Published>> {
        self.inner.history(after, limit).await
    }

    async fn subscribe(
        &self,
        after: Option<u64>,
    ) -> gharvest_state::Result<BoxStream<'static, gharvest_state::Result<Published>>> {
        self.inner.subscribe(after).await
    }
}
