//! The Archive: records and repository data on disk or in object storage, the source of truth.
//!
//! [`Store`] is the port: a handful of primitive operations that a folder and an object store both have.
//! [`Archive`] holds everything else once, for both: the layout, compare and swap on revisions, the ledger, tracking,
//! cursors, keys and the inbox.

use std::{sync::Arc, time::Duration};

use futures::stream::BoxStream;
use gharvest_model::{
    ItemId, Record, RepositoryId, RepositoryName, Revision,
    ledger::{Ledger, NumberState},
    record::Fact,
    tracking::Tracked,
};
use jiff::Timestamp;
use serde_json::Value;

mod error;

pub use error::{Error, ErrorKind, Result};

/// The archive of one deployment. Cheap to clone; safe to use from many tasks and processes at once.
#[derive(Debug, Clone)]
pub struct Archive {
    inner: Arc<()>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Stored under this revision.
    Stored(Revision),
    /// Nothing changed outside volatile paths; nothing was written.
    Unchanged(Revision),
    /// Somebody else stored this revision meanwhile; nothing was written. Read again, fetch again.
    Conflict(Revision),
}

/// GitHub's repository object and what the mirror knows about the repository: `repository.json`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Repository {
    /// GitHub's numeric id.
    pub id: RepositoryId,
    /// Its name now.
    pub full_name: RepositoryName,
    /// Names it had before, latest first.
    #[serde(default)]
    pub former_names: Vec<RepositoryName>,
    /// GitHub's own object, untouched; null until the first fetch.
    #[serde(default)]
    pub repository: Value,
    /// ETag of `repository`, by the token's fingerprint that got it.
    #[serde(default)]
    pub etag: Option<String>,
    /// When it was last fetched.
    pub fetched_at: Timestamp,
    /// A version of the daily counts: how often they were written.
    #[serde(default)]
    pub daily_version: u64,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, Value>,
}

/// A change of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerChange {
    /// Which number.
    pub number: u64,
    /// What became of it.
    pub state: NumberState,
    /// When GitHub said so.
    pub verified_at: Timestamp,
}

/// An issue body seen in a list, kept for the item's download so that it need not ask again. May be lost.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Hint {
    /// When it was seen.
    pub seen_at: Timestamp,
    /// GitHub's issue object.
    pub issue: Value,
}

/// A fact of a webhook waiting in the inbox.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct InboxEntry {
    /// Which item it is about; none for facts of repositories and for whole deliveries waiting for the queue.
    pub item: Option<ItemId>,
    /// The fact.
    pub fact: Fact,
    /// Triggers still to be pushed, if the queue was away when the delivery came; as JSON of the queue's triggers.
    #[serde(default)]
    pub triggers: Value,
}

/// An API key, hashed: an entry of `keys.json`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ApiKey {
    /// Names the key for people and for revoking.
    pub name: String,
    /// SHA-256 of the secret, hex.
    pub hash: String,
    /// `read`, `operate` or `admin`.
    pub role: String,
    /// Private repositories it may read; `*` for all.
    #[serde(default)]
    pub private: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Figures for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes free where the archive is; none if unknown (object storage).
    pub free: Option<u64>,
}

impl Archive {
    /// Opens the archive at `file:FOLDER` or `s3://BUCKET/PREFIX`, and makes it if there is none.
    /// Sweeps staging files older than a day.
    pub async fn open(url: &str, options: &Options) -> Result<Self> {
        todo!("{url} {options:?}")
    }

    /// The archive's own id, made when it was: indices carry it.
    pub fn id(&self) -> &str {
        todo!()
    }

    // Repositories.

    /// A repository's file.
    pub async fn repository(&self, id: RepositoryId) -> Result<Option<Repository>> {
        todo!("{id}")
    }

    /// Stores a repository's file, moves its link in `current/`, and keeps the old name as a redirect until it is
    /// used again.
    pub async fn put_repository(&self, repository: &Repository) -> Result<()> {
        todo!("{repository:?}")
    }

    /// Whose name this is or was: current names before former ones.
    pub async fn resolve(&self, name: &RepositoryName) -> Result<Option<RepositoryId>> {
        todo!("{name}")
    }

    /// A named list of a repository (`labels`, `milestones`, `releases`), as GitHub gave it.
    pub async fn part(&self, id: RepositoryId, part: &str) -> Result<Option<Value>> {
        todo!("{id} {part}")
    }

    /// Stores a named list. Says whether it changed.
    pub async fn put_part(&self, id: RepositoryId, part: &str, value: &Value) -> Result<bool> {
        todo!("{id} {part} {value}")
    }

    /// Appends one line to a named `.jsonl` of a repository, once a `day` (`2026-11-21`): asked again for the same
    /// day it replaces that line.
    pub async fn put_daily_line(&self, id: RepositoryId, part: &str, day: &str, line: &Value) -> Result<()> {
        todo!("{id} {part} {day} {line}")
    }

    /// Removes everything of a repository, records, ledger and links.
    pub async fn purge_repository(&self, id: RepositoryId) -> Result<()> {
        todo!("{id}")
    }

    // Records.

    /// A thread's record.
    pub async fn record(&self, item: ItemId) -> Result<Option<Record>> {
        todo!("{item}")
    }

    /// The stored JSON of a record, as it is on disk (decompressed).
    pub async fn record_bytes(&self, item: ItemId) -> Result<Option<bytes::Bytes>> {
        todo!("{item}")
    }

    /// Stores a record if `record.revision` is still the stored revision ([`Revision::NONE`] for a new one), and if
    /// it changed outside volatile paths. Sets revision and `changed_at` of what it stores. Durable when it returns.
    pub async fn put_record(&self, record: Record) -> Result<Written> {
        todo!("{record:?}")
    }

    /// Removes a record: for deletion policies only.
    pub async fn purge_record(&self, item: ItemId) -> Result<()> {
        todo!("{item}")
    }

    /// The records of a repository in the order of their numbers, after `after`, one at a time.
    pub fn records(&self, id: RepositoryId, after: u64) -> BoxStream<'static, Result<Record>> {
        todo!("{id} {after}")
    }

    /// The numbers that have a record, ascending, after `after`.
    pub fn numbers(&self, id: RepositoryId, after: u64) -> BoxStream<'static, Result<u64>> {
        todo!("{id} {after}")
    }

    // The ledger.

    /// A repository's ledger; empty if there is none.
    pub async fn ledger(&self, id: RepositoryId) -> Result<Ledger> {
        todo!("{id}")
    }

    /// Applies changes to the ledger, durably; every number below one that is new appears as unknown.
    pub async fn update_ledger(&self, id: RepositoryId, changes: &[LedgerChange]) -> Result<()> {
        todo!("{id} {changes:?}")
    }

    /// Makes the ledger reach `highest`.
    pub async fn reach(&self, id: RepositoryId, highest: u64) -> Result<()> {
        todo!("{id} {highest}")
    }

    // Tracking, cursors, keys: small files changed by compare and swap.

    /// All tracked repositories.
    pub async fn tracking(&self) -> Result<Vec<Tracked>> {
        todo!()
    }

    /// Adds a tracked repository, or replaces its entry.
    pub async fn track(&self, tracked: Tracked) -> Result<()> {
        todo!("{tracked:?}")
    }

    /// Ends tracking; what was archived stays. Says whether it was tracked.
    pub async fn untrack(&self, id: RepositoryId) -> Result<bool> {
        todo!("{id}")
    }

    /// How far a feed was read; feeds are named `updates/{repository id}` and so on.
    pub async fn cursor(&self, feed: &str) -> Result<Option<Value>> {
        todo!("{feed}")
    }

    /// Stores how far a feed was read; null forgets it.
    pub async fn set_cursor(&self, feed: &str, cursor: Value) -> Result<()> {
        todo!("{feed} {cursor}")
    }

    /// All API keys.
    pub async fn keys(&self) -> Result<Vec<ApiKey>> {
        todo!()
    }

    /// Replaces all API keys by what `change` makes of them.
    pub async fn update_keys(&self, change: &(dyn Fn(&mut Vec<ApiKey>) + Sync)) -> Result<()> {
        let _ = change;
        todo!()
    }

    // Hints and the inbox.

    /// Keeps issue bodies seen in a list.
    pub async fn put_hints(&self, id: RepositoryId, hints: Vec<Hint>) -> Result<()> {
        todo!("{id} {hints:?}")
    }

    /// The hint of one item, if there is one.
    pub async fn hint(&self, item: ItemId) -> Result<Option<Hint>> {
        todo!("{item}")
    }

    /// Removes an item's hint.
    pub async fn forget_hint(&self, item: ItemId) -> Result<()> {
        todo!("{item}")
    }

    /// Keeps a fact durably. Refused with [`ErrorKind::Full`] beyond the inbox's limit.
    pub async fn put_inbox(&self, entry: &InboxEntry) -> Result<()> {
        todo!("{entry:?}")
    }

    /// The facts waiting for one item, oldest first.
    pub async fn inbox(&self, item: ItemId) -> Result<Vec<InboxEntry>> {
        todo!("{item}")
    }

    /// All entries, a page at a time: for pushing what waits for the queue, and for `status`.
    pub fn inbox_all(&self) -> BoxStream<'static, Result<InboxEntry>> {
        todo!()
    }

    /// Removes an entry by its delivery id.
    pub async fn remove_inbox(&self, delivery: &str) -> Result<()> {
        todo!("{delivery}")
    }

    /// Free space, for the check that pauses the queue before the disk is full.
    pub async fn space(&self) -> Result<Space> {
        todo!()
    }
}

/// How an archive is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether records are compressed with zstd (`{number}.json.zst`); both forms are always read.
    pub compress: bool,
    /// The most entries the inbox takes.
    pub inbox_limit: usize,
    /// Staging files older than this are swept at opening.
    pub stale_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { compress: false, inbox_limit: 100_000, stale_after: Duration::from_secs(24 * 3600) }
    }
}
