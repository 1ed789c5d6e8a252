//! The search index on Elasticsearch 8/9 or OpenSearch 2/3.
//!
//! Only requests that all of them answer alike are sent: no scripts, no `_update`, `_reindex` or `_delete_by_query`.
//! Documents are written by bulk `index` with external versions alone, so that a late write never wins; what is gone
//! becomes a tombstone that the readers' aliases leave out, because engines forget the versions of deleted documents.
//! The modules hold the rest: `schema` the indices, `write` how a thread is replaced, `generation` how an index is built
//! anew, `lower` what a query becomes, `operations` where observations of the system are kept.

mod body;
mod bulk;
mod client;
mod engine;
mod generation;
mod lower;
mod operations;
mod read;
mod schema;
mod search;
mod suggest;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
pub use client::Options;
use futures::stream::BoxStream;
use gharvest_model::{ItemId, RepositoryId};
use gharvest_search::{
    Access, Applied, Hit, IndexStatus, Rebuild, Result, SearchIndex, SearchReply, SearchRequest, StoredThread,
    Suggestion,
    document::{DailyDocument, IntervalDocument, ReleaseDocument, RepositoryDocument, ThreadDocuments, Version},
    query::suggest::SuggestRequest,
};

pub use operations::ElasticOperations;

use bulk::Bulk;
use client::Client;
use engine::Engine;
use generation::Generations;
use schema::Names;

/// The index on one cluster. Any number of processes may write and read it at once.
#[derive(Debug)]
pub struct ElasticIndex {
    engine: Engine,
    generations: Generations,
    bulk: Bulk,
}

impl ElasticIndex {
    /// Reaches the engine and asks what it is. Refuses one that cannot be served, and wrong credentials.
    pub async fn open(options: &Options) -> Result<Arc<dyn SearchIndex>> {
        let client = Client::new(options)?;
        let engine = engine::detect(&client).await?;
        let names = Names::new(&options.prefix);
        let bulk = Bulk::new(client.clone());
        Ok(Arc::new(Self { engine, bulk, generations: Generations { client, names, has_public: options.public } }))
    }

    /// An index that is built beside this one, alone.
    fn of_build(&self, build: i64) -> Self {
        let names = self.generations.names.of_build(build);
        Self {
            engine: self.engine.clone(),
            bulk: Bulk::new(self.generations.client.clone()),
            generations: Generations { names, ..self.generations.clone() },
        }
    }
}

/// An index being built.
#[derive(Debug)]
struct ElasticRebuild {
    /// By the names of the index that serves.
    generations: Generations,
    build: i64,
    index: ElasticIndex,
}

/// The bulk requests that put threads into an index that has nothing of them, ready made: what sending alone costs is
/// measured with them.
pub fn bulk_bodies(prefix: &str, threads: &[ThreadDocuments]) -> Vec<Bytes> {
    write::first_requests(&Names::new(prefix), threads)
}

#[async_trait]
impl SearchIndex for ElasticIndex {
    async fn ensure(&self, archive: &str) -> Result<()> {
        self.generations.ensure(archive).await
    }

    async fn apply(&self, threads: Vec<ThreadDocuments>) -> Result<Vec<Applied>> {
        self.write_threads(&threads).await
    }

    async fn apply_repositories(&self, documents: Vec<RepositoryDocument>) -> Result<()> {
        self.write_repositories(&documents).await
    }

    async fn apply_releases(
        &self,
        repository: RepositoryId,
        version: Version,
        documents: Vec<ReleaseDocument>,
    ) -> Result<()> {
        self.write_releases(repository, version, &documents).await
    }

    async fn apply_daily(&self, repository: RepositoryId, documents: Vec<DailyDocument>, replace: bool) -> Result<()> {
        self.write_daily(repository, &documents, replace).await
    }

    async fn purge_repository(&self, repository: RepositoryId) -> Result<()> {
        self.purge(repository).await
    }

    /// Always the same one: what the engine has accepted is durable.
    async fn epoch(&self) -> Result<u64> {
        Ok(0)
    }

    async fn commit(&self) -> Result<()> {
        self.refresh_written().await
    }

    async fn search(&self, request: &SearchRequest) -> Result<SearchReply> {
        self.answer(request).await
    }

    async fn suggest(&self, request: &SuggestRequest, access: &Access, limit: usize) -> Result<Vec<Suggestion>> {
        self.complete(request, access, limit).await
    }

    async fn similar(&self, item: ItemId, access: &Access, limit: usize) -> Result<Vec<Hit>> {
        self.alike(item, access, limit).await
    }

    async fn thread(&self, item: ItemId) -> Result<Option<StoredThread>> {
        self.read_thread(item).await
    }

    fn numbers(&self, repository: RepositoryId) -> BoxStream<'static, Result<u64>> {
        self.read_numbers(repository)
    }

    fn intervals(&self, repository: RepositoryId) -> BoxStream<'static, Result<IntervalDocument>> {
        self.read_intervals(repository)
    }

    async fn daily(
        &self,
        repository: RepositoryId,
        dimension: &str,
        value: Option<&str>,
    ) -> Result<Vec<DailyDocument>> {
        self.read_daily(repository, dimension, value).await
    }

    async fn repository(&self, repository: RepositoryId) -> Result<Option<RepositoryDocument>> {
        self.read_repository(repository).await
    }

    async fn begin_rebuild(&self, archive: &str) -> Result<Box<dyn Rebuild>> {
        let build = self.generations.begin_rebuild(archive).await?;
        Ok(Box::new(ElasticRebuild { generations: self.generations.clone(), build, index: self.of_build(build) }))
    }

    async fn status(&self) -> Result<IndexStatus> {
        self.generations.status(&self.engine).await
    }
}

#[async_trait]
impl Rebuild for ElasticRebuild {
    fn index(&self) -> &dyn SearchIndex {
        &self.index
    }

    async fn finish(&self) -> Result<()> {
        self.generations.finish_rebuild(self.build).await
    }

    async fn abort(&self) -> Result<()> {
        self.generations.abort_rebuild(self.build).await
    }
}
