//! The SearchIndex port, documents, metrics and the query language.
//!
//! A record becomes documents (`render`), a text becomes a query tree (`query`), and an engine stores the first and
//! answers the second ([`SearchIndex`]). Everything that decides what a user finds is decided here, once; a backend
//! only lowers it.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use gharvest_model::{ItemId, RepositoryId};
use serde::{Deserialize, Serialize};

pub mod contract;
pub mod daily;
pub mod document;
mod error;
mod intervals;
pub mod judged;
pub mod marks;
mod metrics;
pub mod operations;
pub mod query;
pub mod render;
pub mod sample;
pub mod scenario;
pub mod tokens;

pub use error::{Error, ErrorKind, Result};

use document::{DailyDocument, ReleaseDocument, RepositoryDocument, ThreadDocuments, Version};
use query::Query;

/// Who asks: which private repositories may appear in hits, counts, facets and suggestions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Public threads only.
    Public,
    /// Public threads and some private ones, without what became private.
    Some {
        /// Repositories whose private threads are shown as well.
        and: Vec<RepositoryId>,
        /// Repositories of which nothing is shown, whatever their documents say: these may not be made anew yet since
        /// the repository became private.
        except: Vec<RepositoryId>,
    },
    /// Everything.
    All,
}

/// A search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// What is asked.
    pub query: Query,
    /// Who asks.
    pub access: Access,
    /// How many hits, at most 100.
    pub per_page: usize,
    /// Where to begin.
    pub start: Start,
    /// Which facets to count; none is quicker.
    pub facets: Vec<Facet>,
    /// Whether to make snippets.
    pub snippets: bool,
    /// The longest time that the search may take.
    pub timeout: Duration,
}

/// Where a page of hits begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A page for people, from 1; up to 10,000 hits in all.
    Page(usize),
    /// After a cursor of an earlier answer; no end.
    Cursor(String),
}

/// What hits are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Facet {
    /// `repo:`
    Repository,
    /// `is:issue`, `is:pr`
    Kind,
    /// `is:open`, `is:closed`, `is:merged`
    State,
    /// `label:`
    Label,
    /// `author:`
    Author,
    /// `milestone:`
    Milestone,
    /// `created:2024`
    Year,
    /// Opened and closed per month, for the plot of the result over time: values `opened:2024-05`, `closed:2024-05`.
    Month,
}

impl Facet {
    /// Every facet.
    pub const ALL: [Self; 8] = [
        Self::Repository,
        Self::Kind,
        Self::State,
        Self::Label,
        Self::Author,
        Self::Milestone,
        Self::Year,
        Self::Month,
    ];

    /// The qualifier that asks for one of its values: what a click puts into the query. Months have none.
    pub fn qualifier(self) -> Option<&'static str> {
        match self {
            Self::Repository => Some("repo"),
            Self::Kind | Self::State => Some("is"),
            Self::Label => Some("label"),
            Self::Author => Some("author"),
            Self::Milestone => Some("milestone"),
            Self::Year => Some("created"),
            Self::Month => None,
        }
    }
}

/// One value of a facet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacetValue {
    /// The value.
    pub value: String,
    /// How many hits have it.
    pub count: u64,
}

/// A facet's values, most frequent first (years and months: latest first), 20 at most (months: all). Equally frequent
/// ones stand in the order of their letters. A value is what its qualifier takes (`pr`, `2024`), and its count is what
/// asking for it finds: `closed` counts merged ones as well. Values that differ in letter case only are counted apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacetCounts {
    /// Which facet.
    pub facet: Facet,
    /// Its values.
    pub values: Vec<FacetValue>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchReply {
    /// How many items match.
    pub total: u64,
    /// The page of hits.
    pub hits: Vec<Hit>,
    /// The facets asked for.
    pub facets: Vec<FacetCounts>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// One hit.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The item's document as it is stored.
    pub item: document::ItemDocument,
    /// Its score; 0 where the sort is not by relevance.
    pub score: f32,
    /// Where words were found, if asked for.
    pub snippet: Option<Snippet>,
}

/// A piece of text with marked words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snippet {
    /// `title`, `body`, `comment` or `review`.
    pub part: String,
    /// The comment's id, for an anchor, where it is one.
    pub comment_id: Option<u64>,
    /// Text in pieces, in order; the marked ones are hits. Plain text: whoever shows it escapes it.
    pub pieces: Vec<Piece>,
}

/// A piece of a snippet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Whether it is a hit.
    pub hit: bool,
}

/// A completion offered while typing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// What it is: `label`, `author`, `assignee`, `milestone`, `repository`, `item`, or the qualifier asked for.
    pub kind: String,
    /// The value: a label, a login, a title.
    pub value: String,
    /// How many items have it; none for items.
    pub count: Option<u64>,
    /// The item, for kind `item`.
    pub item: Option<ItemSuggestion>,
}

/// An item offered while typing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemSuggestion {
    /// `owner/name`.
    pub repository: String,
    /// Its number.
    pub number: u64,
    /// Its title.
    pub title: String,
}

/// What became of one thread's documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// They are written, and nothing of an older version is left once the batch is committed.
    Written,
    /// The index holds a newer version; nothing was written.
    Stale,
    /// The engine refused a document for good: its id and why.
    Refused {
        /// The document's id.
        id: String,
        /// The engine's reason.
        reason: String,
    },
}

impl Applied {
    /// What became of a thread that was given to the index that serves and to one being built: what the one that serves
    /// says, unless either refuses a document, which would be missing from search now or after the swap.
    pub fn and_in_next(self, next: Self) -> Self {
        match (self, next) {
            (serving, refused @ Self::Refused { .. }) if !matches!(serving, Self::Refused { .. }) => refused,
            (serving, _) => serving,
        }
    }
}

/// What an index says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexStatus {
    /// The engine and its version, as in `tantivy 0.27` or `Elasticsearch 8.19.0`.
    pub engine: String,
    /// The archive it belongs to.
    pub archive: String,
    /// The version of our mapping that it was made with.
    pub mapping: u32,
    /// Whether an earlier version of this program made it, so that it wants a rebuild.
    pub outdated: bool,
    /// Documents by alias, tombstones left out.
    pub documents: Vec<(String, u64)>,
    /// Bytes on disk, where known.
    pub bytes: Option<u64>,
    /// Whether a rebuild is under way.
    pub rebuilding: bool,
    /// What is wrong with the engine that a person has to mend; none if nothing.
    #[serde(default)]
    pub trouble: Option<Trouble>,
}

/// What a person has to mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What is wrong.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

/// The documents of one thread as an index holds them, for `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredThread {
    /// Which item.
    pub item: ItemId,
    /// The version of the item's document.
    pub version: Version,
    /// The digest of the thread that was stored with the item's document; see [`document::ThreadDocuments::digest`].
    pub digest: String,
    /// Ids and digests of all documents found for the thread, the item's own included, in order of id.
    pub documents: Vec<(String, String)>,
}

/// A search engine behind the index.
///
/// # Contract
/// - `apply` replaces threads as wholes; a stale version never replaces a newer one; a thread is never missing from
///   search meanwhile; after `commit` nothing of an older version is left.
/// - What was applied is durable and searchable after `commit`, and not necessarily before. A write or a commit that fails
///   may take with it all that is not committed, whoever applied it. Then the `epoch` is another one, so that all of them
///   are told by `commit_since`, and not only the one whose call failed.
/// - While a rebuild is under way, writes reach both indices, and `apply` tells what either of them refuses; `search` is
///   answered by the old one until the new one takes over.
/// - The same query on the same documents gives the same items, facets and suggestions in every backend, and the same
///   order unless it is by relevance.
#[async_trait]
pub trait SearchIndex: fmt::Debug + Send + Sync + 'static {
    /// Makes the index if there is none. Refuses another archive's index, and one of a newer mapping. An index of an
    /// older mapping says so in `status`; it is rebuilt, not migrated.
    async fn ensure(&self, archive: &str) -> Result<()>;

    /// Writes threads. The reply is in the order given.
    async fn apply(&self, threads: Vec<ThreadDocuments>) -> Result<Vec<Applied>>;

    /// Writes the documents of repositories.
    async fn apply_repositories(&self, documents: Vec<RepositoryDocument>) -> Result<()>;

    /// Replaces the releases of one repository.
    async fn apply_releases(
        &self,
        repository: RepositoryId,
        version: Version,
        documents: Vec<ReleaseDocument>,
    ) -> Result<()>;

    /// Writes daily counts of one repository: all days if `replace`, otherwise those given.
    async fn apply_daily(&self, repository: RepositoryId, documents: Vec<DailyDocument>, replace: bool) -> Result<()>;

    /// Removes everything of a repository.
    async fn purge_repository(&self, repository: RepositoryId) -> Result<()>;

    /// Another number whenever a failure has taken with it what was applied and not yet committed.
    async fn epoch(&self) -> Result<u64>;

    /// Makes everything applied durable and searchable, if nobody else's failure took it before.
    async fn commit(&self) -> Result<()>;

    /// The same for what was applied since the epoch was this one, whoever else writes: it is durable and searchable, or
    /// the error is [`ErrorKind::Lost`].
    async fn commit_since(&self, epoch: u64) -> Result<()> {
        self.commit().await?;
        if self.epoch().await? == epoch {
            return Ok(());
        }
        let message = "a write or a commit failed and took with it what others had applied; apply it again";
        Err(Error::new(ErrorKind::Lost, "commit", message))
    }

    /// Answers a search.
    async fn search(&self, request: &SearchRequest) -> Result<SearchReply>;

    /// Completes the word at the end of a query being typed: qualifiers' values with counts, and items.
    async fn suggest(
        &self,
        request: &query::suggest::SuggestRequest,
        access: &Access,
        limit: usize,
    ) -> Result<Vec<Suggestion>>;

    /// Items like this one, most similar first.
    async fn similar(&self, item: ItemId, access: &Access, limit: usize) -> Result<Vec<Hit>>;

    /// The documents of one thread as the index holds them.
    async fn thread(&self, item: ItemId) -> Result<Option<StoredThread>>;

    /// The numbers of a repository's items that the index holds, tombstones included, ascending.
    fn numbers(&self, repository: RepositoryId) -> BoxStream<'static, Result<u64>>;

    /// The intervals of a repository, in the order of item numbers: what daily counts are made of.
    fn intervals(&self, repository: RepositoryId) -> BoxStream<'static, Result<document::IntervalDocument>>;

    /// Daily counts of a repository for one dimension (`state`, `label` …), all its values or one, in order of days.
    async fn daily(&self, repository: RepositoryId, dimension: &str, value: Option<&str>)
    -> Result<Vec<DailyDocument>>;

    /// A repository's document.
    async fn repository(&self, repository: RepositoryId) -> Result<Option<RepositoryDocument>>;

    /// Begins a rebuild: a new index beside the old one, which may be damaged or missing. A rebuild that is under way, or
    /// was left by a crash, is given up, and whoever is at it is told so by its next write or its end.
    async fn begin_rebuild(&self, archive: &str) -> Result<Box<dyn Rebuild>>;

    /// What the index says of itself.
    async fn status(&self) -> Result<IndexStatus>;
}

/// An index being built beside the one that serves. Dropped before its end it stays, until another rebuild begins.
#[async_trait]
pub trait Rebuild: fmt::Debug + Send + Sync {
    /// The new index alone: what is written to it reaches no other one, and the answers are its own. Writing fails once
    /// another rebuild has begun.
    fn index(&self) -> &dyn SearchIndex;

    /// The new index takes over atomically, and the old one goes, if there is one. Refused once another rebuild has
    /// begun.
    async fn finish(&self) -> Result<()>;

    /// Gives this rebuild up: neither one that has begun since, nor this one once it has taken over.
    async fn abort(&self) -> Result<()>;
}

/// The error of a rebuild that another one has ended.
pub fn given_up(operation: &'static str) -> Error {
    Error::new(ErrorKind::Refused, operation, "this rebuild was given up, because another one has begun since")
}
