//! An index and a state that fail when told to.

use std::{
    collections::BTreeSet,
    ops::Deref,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};
use gharvest_model::{ItemId, RepositoryId, live::LiveEvent};
use gharvest_search::{
    Access, Applied, Error, ErrorKind, Hit, IndexStatus, Rebuild, Result, SearchIndex, SearchReply, SearchRequest,
    StoredThread, Suggestion,
    document::{DailyDocument, IntervalDocument, ReleaseDocument, RepositoryDocument, ThreadDocuments, Version},
    query::suggest::SuggestRequest,
};
use gharvest_state::{Published, State, Versioned};
use tokio::sync::{Notify, RwLock, watch};

use crate::world::ID;

/// Passes every call on to another index, except for what a test wants to go wrong.
#[derive(Debug)]
pub(crate) struct FaultyIndex {
    inner: Inner,
    pub(crate) faults: Arc<Faults>,
}

/// What goes wrong, for an index and for what is built beside it.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// So many calls of `apply` and `commit` fail as unavailable.
    pub(crate) failures: AtomicU32,
    /// Threads of these numbers are refused.
    pub(crate) refused: Mutex<BTreeSet<u64>>,
    /// Days are refused.
    pub(crate) days_are_refused: AtomicBool,
    /// How often `commit` succeeded.
    pub(crate) commits: AtomicU32,
    /// It says that an earlier version of the program made it.
    pub(crate) is_outdated: AtomicBool,
    /// Told when threads are to be applied.
    pub(crate) asked: Notify,
    /// While a test holds this, nothing is applied.
    pub(crate) held: RwLock<()>,
    /// Told when a repository is to be counted.
    pub(crate) asked_to_count: Notify,
    /// While a test holds this, nothing is counted.
    pub(crate) count_held: RwLock<()>,
    /// The numbers of the threads that were applied, in order.
    pub(crate) applied: watch::Sender<Vec<u64>>,
    /// The next commit finds this folder of the engine missing, once so many threads are applied, and loses them.
    pub(crate) lost: Mutex<Option<(PathBuf, usize)>>,
    /// The daily counts of all items that an index being built had when it took over.
    pub(crate) days_at_swap: Mutex<Vec<DailyDocument>>,
}

/// What calls are passed on to.
#[derive(Debug)]
enum Inner {
    Serving(Arc<dyn SearchIndex>),
    Built(Arc<dyn Rebuild>),
}

impl Deref for Inner {
    type Target = dyn SearchIndex;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Serving(index) => index.as_ref(),
            Self::Built(rebuild) => rebuild.index(),
        }
    }
}

/// A rebuild whose new index fails as the one that serves.
#[derive(Debug)]
struct FaultyRebuild {
    inner: Arc<dyn Rebuild>,
    index: FaultyIndex,
}

#[async_trait]
impl Rebuild for FaultyRebuild {
    fn index(&self) -> &dyn SearchIndex {
        &self.index
    }

    async fn finish(&self) -> Result<()> {
        let days = self.index.daily(ID, "all", Some("")).await?;
        *self.index.faults.days_at_swap.lock().unwrap() = days;
        self.inner.finish().await
    }

    async fn abort(&self) -> Result<()> {
        self.inner.abort().await
    }
}

impl FaultyIndex {
    pub(crate) fn new(inner: Arc<dyn SearchIndex>) -> Arc<Self> {
        Arc::new(Self { inner: Inner::Serving(inner), faults: Arc::default() })
    }

    fn may_fail(&self, operation: &'static str) -> Result<()> {
        let left = self.faults.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
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
        self.faults.asked.notify_one();
        let _open = self.faults.held.read().await;
        self.may_fail("apply")?;
        let numbers: Vec<_> = threads.iter().map(|thread| thread.item.number).collect();
        let refused = self.faults.refused.lock().unwrap().clone();
        let mut applied = Vec::new();
        for thread in threads {
            if refused.contains(&thread.item.number) {
                applied.push(Applied::Refused { id: thread.item.key.clone(), reason: "too odd".into() });
            } else {
                applied.extend(self.inner.apply(vec![thread]).await?);
            }
        }
        self.faults.applied.send_modify(|applied| applied.extend(numbers));
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
        if self.faults.days_are_refused.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Document, "write", "too odd"));
        }
        self.inner.apply_daily(repository, documents, replace).await
    }

    async fn purge_repository(&self, repository: RepositoryId) -> Result<()> {
        self.inner.purge_repository(repository).await
    }

    async fn epoch(&self) -> Result<u64> {
        self.inner.epoch().await
    }

    async fn commit(&self) -> Result<()> {
        self.may_fail("commit")?;
        let lost = self.faults.lost.lock().unwrap().take();
        if let Some((folder, threads)) = lost {
            self.faults.applied.subscribe().wait_for(|applied| applied.len() >= threads).await.unwrap();
            let away = folder.with_extension("away");
            std::fs::rename(&folder, &away).unwrap();
            let committed = self.inner.commit().await;
            std::fs::rename(&away, &folder).unwrap();
            return committed;
        }
        self.inner.commit().await?;
        self.faults.commits.fetch_add(1, Ordering::SeqCst);
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
        let (faults, intervals) = (Arc::clone(&self.faults), self.inner.intervals(repository));
        let held = async move {
            faults.asked_to_count.notify_one();
            let _open = faults.count_held.read().await;
            intervals
        };
        stream::once(held).flatten().boxed()
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

    async fn begin_rebuild(&self, archive: &str) -> Result<Box<dyn Rebuild>> {
        let inner: Arc<dyn Rebuild> = self.inner.begin_rebuild(archive).await?.into();
        let index = FaultyIndex { inner: Inner::Built(Arc::clone(&inner)), faults: Arc::clone(&self.faults) };
        Ok(Box::new(FaultyRebuild { inner, index }))
    }

    async fn status(&self) -> Result<IndexStatus> {
        let status = self.inner.status().await?;
        Ok(IndexStatus { outdated: self.faults.is_outdated.load(Ordering::SeqCst), ..status })
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
