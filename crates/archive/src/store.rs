//! The port below the archive: what a folder and an object store both can do.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Error, ErrorKind, Result};

pub mod contract;
pub mod faulty;
pub mod folder;
pub mod object;

/// An object's version, as its store tells versions apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);

/// When a put takes effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Any,
    /// Only if there is no such object.
    Absent,
    /// Only if the object still has this version.
    Matches(Version),
}

/// What an answer promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After `Ok` a crash of the machine loses nothing.
    Durable,
    /// Written whole or not at all, but a crash may lose it.
    MayBeLost,
}

/// Up to where a journal was read: the same place in every process that reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Which journal, or which version of an object without one: never used again for another content.
    pub generation: String,
    /// How many bytes of the journal were read.
    pub length: u64,
}

/// The object that a journal belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// The reader has it, with every entry up to the mark it gave.
    Known,
    /// As it is stored; none if only the journal is there, or nothing.
    Read(Option<Bytes>),
}

/// An object with a journal, as of one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// What the entries are to be applied to.
    pub base: Base,
    /// The entries after the base, in their order, without what separates them.
    pub entries: Bytes,
    /// Where to go on reading; none if that cannot be told.
    pub mark: Option<Mark>,
}

/// Makes a new object of the old one and the entries of its journal.
pub type Fold = Arc<dyn Fn(Option<Bytes>, Bytes) -> Result<Bytes> + Send + Sync>;

/// Named objects, written whole.
///
/// # Contract
/// - Keys are components joined by `/`; [`check_key`] says which are refused, before anything is touched.
/// - Readers see an object as one put wrote it, never a mixture and never a part.
/// - Of several puts racing with `Absent` or the same `Matches`, one takes effect, also across processes.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The object and its version; none if there is none.
    async fn get(&self, key: &str) -> Result<Option<(Bytes, Version)>>;

    /// Writes the object. `false` if the condition did not hold; then nothing was written.
    async fn put(&self, key: &str, bytes: Bytes, condition: Condition, durability: Durability) -> Result<bool>;

    /// Removes the object; none there is no error.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Removes everything below a folder.
    async fn delete_all(&self, folder: &str) -> Result<()>;

    /// The names directly below a folder, objects and folders, in no order; nothing for a folder that is not there.
    async fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// The paths of all objects below a folder, relative to it, in no order; nothing for a folder that is not there.
    async fn list_all(&self, folder: &str) -> Result<Vec<String>>;

    /// Points `key` to another key, atomically replacing what it pointed to.
    async fn link(&self, key: &str, target: &str) -> Result<()>;

    /// The key that `key` points to.
    async fn read_link(&self, key: &str) -> Result<Option<String>>;

    /// Adds an entry to the object's journal, durably. Backends without appending fold it in at once; the others fold
    /// when the journal has grown. Entries may be folded in twice after a crash, in their order.
    async fn journal(&self, key: &str, entry: Bytes, fold: Fold) -> Result<()>;

    /// The object and the entries of its journal. Of somebody who read up to `since` only what came after is read, if
    /// that can be told.
    async fn read_journal(&self, key: &str, since: Option<&Mark>) -> Result<Journal>;

    /// Free bytes; none if unknown.
    async fn free(&self) -> Result<Option<u64>>;
}

/// Opens the store at `file:FOLDER` or `s3://BUCKET/PREFIX`; of a folder, sweeps staged files older than `stale_after`.
pub async fn open(url: &str, stale_after: Duration) -> Result<Arc<dyn Store>> {
    if let Some(folder) = folder_of(url) {
        Ok(Arc::new(folder::FolderStore::open(folder, stale_after).await?))
    } else if url.starts_with("s3://") {
        Ok(Arc::new(object::BucketStore::open(url)?))
    } else {
        Err(Error::new(ErrorKind::Refused, "open", url, "expected file:FOLDER or s3://BUCKET/PREFIX"))
    }
}

/// Whether there is an object in the store at an address, of which nothing is made.
pub async fn holds(url: &str, key: &str) -> Result<bool> {
    match folder_of(url) {
        Some(folder) => folder::holds(folder, key).await,
        None => Ok(open(url, Duration::MAX).await?.get(key).await?.is_some()),
    }
}

fn folder_of(url: &str) -> Option<&Path> {
    let folder = url.strip_prefix("file:")?;
    Some(Path::new(folder.strip_prefix("//").unwrap_or(folder)))
}

/// Refuses keys that could leave the archive's folder, or that not every file system can hold.
pub fn check_key(key: &str) -> Result<()> {
    let fine = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.len() <= 200
            && !part.chars().any(|character| character.is_control() || matches!(character, '\\' | ':'))
    };
    if key.split('/').all(fine) {
        return Ok(());
    }
    let shown: String = key.chars().take(100).collect();
    Err(Error::new(ErrorKind::Refused, "name", shown.escape_debug().to_string(), "not a name that can be stored"))
}
