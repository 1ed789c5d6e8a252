//! The Archive: records and repository data on disk or in object storage, the source of truth.
//!
//! [`Store`] is the port: a handful of primitive operations that a folder and an object store both have.
//! [`Archive`] holds everything else once, for both: the layout, compare and swap on revisions, the ledger, tracking,
//! cursors, keys and the inbox.
//!
//! # Layout
//! ```text
//! archive.json                                id of this archive, format version
//! repositories/{id}/repository.json           GitHub's object, and names it had
//! repositories/{id}/items/{number}.json       one record a thread; .json.zst if compressed
//! repositories/{id}/ledger                    the state of every number, compressed
//! repositories/{id}/ledger.journal            its changes since, in a folder only
//! repositories/{id}/{part}.json               labels, milestones, releases
//! repositories/{id}/{part}.jsonl              a line a day: stars
//! repositories/{id}/removals.jsonl            receipts of what deletion policies took out
//! repositories/{id}/attachments/{number}/…    images of an item, where the operator wants them
//! current/{owner}/{name}                      link to repositories/{id}, lower case
//! tracking.json keys.json                     what is tracked, hashed API keys
//! cursors/{feed}.json                         how far a feed was read: a file each, as many feeds move at once
//! inbox/{repository}-{number}/{delivery}.json facts of one item; those of no item lie in inbox/other
//! staging/                                    files being written, locks
//! staging/hints/{id}/{number}.json            issue bodies seen in lists; may be lost
//! staging/forgotten/{id}                      mark of a repository that was purged, until it is tracked again
//! ```
//! A record keeps the form (plain or compressed) it was first written in: so compare and swap has one file to look at.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gharvest_model::{
    ItemId, RepositoryId, RepositoryName, Revision,
    labels::LabelRenames,
    ledger::NumberState,
    record::{Fact, Visibility},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

mod attachments;
pub mod audit;
mod error;
pub mod import;
mod inbox;
mod ledger;
mod records;
mod removals;
mod repositories;
mod small;
pub mod snapshot;
pub mod store;

use store::{Condition, Durability, Store};

pub use attachments::{attachment_name, image_type};
pub use error::{Error, ErrorKind, Result};
pub use inbox::InboxNames;
pub use records::Stored;

/// The archive of one deployment. Cheap to clone; safe to use from many tasks and processes at once.
#[derive(Debug, Clone)]
pub struct Archive {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    id: String,
    options: Options,
    ledgers: ledger::Writers,
    kept_ledgers: ledger::Kept,
    inbox: inbox::Known,
}

/// The layout's version. A newer one is refused.
const FORMAT: u64 = 1;
/// How often a small file is changed again after somebody else was quicker.
const SWAP_ATTEMPTS: usize = 100;

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Stored under this revision.
    Stored(Revision),
    /// Nothing changed outside volatile paths; no more than new ETags was written.
    Unchanged(Revision),
    /// The same, but parts that had come another way were replaced by REST's fuller form, under the same revision:
    /// the index must be told.
    Filled(Revision),
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
    /// Since when it is certain that GitHub shows it no more: its items have left search. None while it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<Timestamp>,
    /// A version of the daily counts: how often they were written.
    #[serde(default)]
    pub daily_version: u64,
    /// What its labels were called before.
    #[serde(default, skip_serializing_if = "LabelRenames::is_empty")]
    pub label_renames: LabelRenames,
    /// That it became private. Where tokens lose sight of it with that, a webhook alone tells so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_private: Option<HeardPrivate>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, Value>,
}

/// That a repository became private: a webhook's word, or GitHub's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HeardPrivate {
    /// When a webhook said so last, or when GitHub's object was last fetched that said otherwise. GitHub's object counts
    /// for more once it is fetched later than this.
    pub at: Timestamp,
    /// Whether documents in the index may still call it public.
    #[serde(default)]
    pub pending: bool,
}

impl Repository {
    /// Whether only some may see it: GitHub's object says so, or a webhook said so since that was fetched.
    pub fn is_private(&self) -> bool {
        self.repository.get("private").and_then(Value::as_bool).unwrap_or(false) || self.is_heard_private()
    }

    /// Whether a webhook said since the last fetch that it is private.
    pub fn is_heard_private(&self) -> bool {
        self.heard_private.is_some_and(|heard| heard.at >= self.fetched_at)
    }

    /// Who may see what is mirrored of it. What is gone may have become private: GitHub's answer is the same.
    pub fn visibility(&self) -> Visibility {
        if self.is_private() || self.gone_at.is_some() { Visibility::Private } else { Visibility::Public }
    }
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

/// What lists said of an item, kept for its download so that it need not ask again. May be lost.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Hint {
    /// When GitHub was asked for the list: the issue object is not older.
    pub seen_at: Timestamp,
    /// GitHub's issue object.
    pub issue: Value,
    /// A pull request's review comments as far as they were listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub review_comments: Vec<Value>,
    /// Whether these are all of them.
    #[serde(default)]
    pub has_all_review_comments: bool,
    /// When the walk over all items began that listed it and gathers its review comments; none for other lists, whose
    /// hints take the place of a walk's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk: Option<Timestamp>,
}

impl Hint {
    /// What a list of items says.
    pub fn new(seen_at: Timestamp, issue: Value) -> Self {
        Self { seen_at, issue, review_comments: Vec::new(), has_all_review_comments: false, walk: None }
    }
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

/// An API key, hashed, or a user whom a proxy names: an entry of `keys.json`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ApiKey {
    /// Names the key for people and for revoking; of a user, what the proxy calls them.
    pub name: String,
    /// SHA-256 of the secret, hex; empty for a user, who has none.
    pub hash: String,
    /// `read`, `operate` or `admin`.
    pub role: String,
    /// Private repositories it may read by the name that they have; `*` for all.
    #[serde(default)]
    pub private: Vec<String>,
    /// Private repositories it may read whatever they are called: those that were known when it was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<RepositoryId>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl ApiKey {
    /// Whether this is a user whom a proxy names, and no key.
    pub fn is_user(&self) -> bool {
        self.hash.is_empty()
    }
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
        Self::with_store(store::open(url, options.stale_after).await?, options).await
    }

    /// Whether there is an archive at an address. Makes none.
    pub async fn exists(url: &str) -> Result<bool> {
        store::holds(url, "archive.json").await
    }

    /// Opens the archive that a store holds, and makes it if there is none.
    pub async fn with_store(store: Arc<dyn Store>, options: &Options) -> Result<Self> {
        let fresh = json!({"id": format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)), "format": FORMAT});
        // Two processes may find nothing: one of them makes it, and both read what was made.
        if store.get("archive.json").await?.is_none() {
            store
                .put("archive.json", to_bytes("archive.json", &fresh)?, Condition::Absent, Durability::Durable)
                .await?;
        }
        let stored: Option<Value> = read_json(&*store, "archive.json").await?;
        let corrupt = || Error::new(ErrorKind::Corrupt, "open", "archive.json", "it has no id or no format version");
        let stored = stored.ok_or_else(corrupt)?;
        let (Some(id), Some(format)) = (stored["id"].as_str(), stored["format"].as_u64()) else {
            return Err(corrupt());
        };
        if format > FORMAT {
            let message = format!("it has format {format}, this program knows up to {FORMAT}: use a newer gharvest");
            return Err(Error::new(ErrorKind::Refused, "open", "archive.json", message));
        }
        let inner = Inner {
            id: id.to_owned(),
            store,
            options: options.clone(),
            ledgers: ledger::Writers::default(),
            kept_ledgers: ledger::Kept::default(),
            inbox: inbox::Known::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The archive's own id, made when it was: indices carry it.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Free space, for the check that pauses the queue before the disk is full.
    pub async fn space(&self) -> Result<Space> {
        Ok(Space { free: self.store().free().await? })
    }

    fn store(&self) -> &dyn Store {
        &*self.inner.store
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        read_json(self.store(), key).await
    }

    /// Writes whatever was there before.
    async fn write<T: Serialize + Sync>(&self, key: &str, value: &T) -> Result<()> {
        self.store().put(key, to_bytes(key, value)?, Condition::Any, Durability::Durable).await.map(|_| ())
    }

    /// Changes a file by compare and swap. `change` answers what to store, or none to leave everything as it is.
    async fn swap(&self, key: &str, change: &(dyn Fn(Option<Bytes>) -> Result<Option<Bytes>> + Sync)) -> Result<bool> {
        for _ in 0..SWAP_ATTEMPTS {
            let (bytes, condition) = match self.store().get(key).await? {
                Some((bytes, version)) => (Some(bytes), Condition::Matches(version)),
                None => (None, Condition::Absent),
            };
            let Some(changed) = change(bytes)? else { return Ok(false) };
            if self.store().put(key, changed, condition, Durability::Durable).await? {
                return Ok(true);
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "change", key, "others were quicker each time; try again"))
    }
}

/// Runs work where it may block. It ends even if nobody waits for it any more.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            Err(Error::new(ErrorKind::Unavailable, "run", "file work", "it was stopped or panicked").with_source(error))
        }
    }
}

async fn read_json<T: DeserializeOwned>(store: &dyn Store, key: &str) -> Result<Option<T>> {
    store.get(key).await?.map(|(bytes, _)| from_bytes(key, &bytes)).transpose()
}

fn from_bytes<'de, T: Deserialize<'de>>(key: &str, bytes: &'de [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| corrupt(key, error))
}

fn corrupt(key: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Corrupt, "read", key, error.to_string()).with_source(error)
}

fn to_bytes<T: Serialize>(key: &str, value: &T) -> Result<Bytes> {
    let bytes = serde_json::to_vec(value);
    Ok(bytes
        .map_err(|error| Error::new(ErrorKind::Refused, "encode", key, error.to_string()).with_source(error))?
        .into())
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
