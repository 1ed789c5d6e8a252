//! An index that fails when told to.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use gharvest_model::{ItemId, RepositoryId};
use gharvest_search::{
    Access, Applied, Error, ErrorKind, Hit, IndexStatus, Result, SearchIndex, SearchReply, SearchRequest, StoredThread,
    Suggestion,
    document::{DailyDocument, IntervalDocument, ReleaseDocument, RepositoryDocument, ThreadDocuments, Version},
    query::suggest::SuggestRequest,
};

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
}

impl FaultyIndex {
    pub(crate) fn new(inner: Arc<dyn SearchIndex>) -> Arc<Self> {
        let (failures, commits) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self { inner, failures, refused: Mutex::default(), commits, is_outdated: AtomicBool::default() })
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
        self.may_fail("apply")?;
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
