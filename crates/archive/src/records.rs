//! Records: compare and swap on revisions, and scans in the order of numbers.

use std::io::Read as _;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use gharvest_model::{
    ItemId, Record, RepositoryId, Revision, change,
    fill::{self, Gain},
    record::RecordText,
};
use jiff::Timestamp;

use crate::{
    Archive, Error, ErrorKind, Result, Written, blocking, corrupt, from_bytes,
    store::{Condition, Durability, Version},
    to_bytes,
};

/// The largest record after decompression: far above the longest thread, far below memory.
const LARGEST: u64 = 1 << 30;

/// Records that a scan reads ahead: hides the latency of object storage, and holds little in memory.
const READ_AHEAD: usize = 8;

/// A record as it lies in the store.
#[derive(Debug)]
pub struct Stored {
    key: String,
    json: Bytes,
    version: Version,
}

impl Stored {
    /// The record as trees.
    pub fn record(&self) -> Result<Record> {
        from_bytes(&self.key, &self.json)
    }

    /// The record with the entries of its long lists as text: for who needs one of them at a time.
    pub fn text(&self) -> Result<RecordText<'_>> {
        from_bytes(&self.key, &self.json)
    }
}

/// What is to be done with a record.
enum Decision {
    Write { key: String, condition: Condition, bytes: Bytes, written: Written },
    Leave(Written),
}

impl Archive {
    /// A thread's record.
    pub async fn record(&self, item: ItemId) -> Result<Option<Record>> {
        self.stored(item).await?.map(|stored| stored.record()).transpose()
    }

    /// The stored JSON of a record, as it is on disk (decompressed).
    pub async fn record_bytes(&self, item: ItemId) -> Result<Option<Bytes>> {
        Ok(self.stored(item).await?.map(|stored| stored.json))
    }

    /// Stores a record if `record.revision` is still the stored revision ([`Revision::NONE`] for a new one), and if
    /// it changed outside volatile paths. Sets revision and `changed_at` of what it stores. Durable when it returns.
    /// Of one that did not change it keeps, under the same revision, what the stored one lacks ([`fill::fill`]).
    /// [`ErrorKind::Forgotten`] for one of a repository that was purged.
    pub async fn put_record(&self, record: Record) -> Result<Written> {
        let item = record.id();
        let stored = self.stored(item).await?;
        let new_key = keys(item, self.inner.options.compress)[0].clone();
        // A long thread takes its time to be read, compared and written out: not where other tasks wait for their turn.
        let (key, condition, bytes, written) = match blocking(move || decide(stored, record, new_key)).await? {
            Decision::Write { key, condition, bytes, written } => (key, condition, bytes, written),
            Decision::Leave(written) => return Ok(written),
        };
        // One that replaces another cannot be written once that is purged.
        if condition == Condition::Absent {
            self.check_known(item.repository).await?;
        }
        if self.store().put(&key, bytes, condition, Durability::Durable).await? {
            return Ok(written);
        }
        let stored = self.record(item).await?;
        Ok(Written::Conflict(stored.map_or(Revision::NONE, |record| record.revision)))
    }

    /// Removes a record: for deletion policies only.
    pub async fn purge_record(&self, item: ItemId) -> Result<()> {
        for key in keys(item, false) {
            self.store().delete(&key).await?;
        }
        self.purge_attachments(item).await?;
        self.forget_hint(item).await
    }

    /// The records of a repository in the order of their numbers, after `after`.
    pub fn records(&self, id: RepositoryId, after: u64) -> BoxStream<'static, Result<Record>> {
        self.all_stored(id, after).map(|stored| stored?.record()).boxed()
    }

    /// The same as they lie in the store; a few are read ahead, which their trees would make too much.
    pub fn all_stored(&self, id: RepositoryId, after: u64) -> BoxStream<'static, Result<Stored>> {
        let archive = self.clone();
        let read = move |number| {
            let archive = archive.clone();
            async move { archive.stored(ItemId { repository: id, number }).await }
        };
        // One purged between the listing and its turn is no record any more.
        let stored = self.numbers(id, after).map_ok(read).try_buffered(READ_AHEAD);
        stored.try_filter_map(|stored| std::future::ready(Ok(stored))).boxed()
    }

    /// The numbers that have a record, ascending, after `after`.
    ///
    /// The names are listed and sorted once a stream, eight bytes a number.
    pub fn numbers(&self, id: RepositoryId, after: u64) -> BoxStream<'static, Result<u64>> {
        let archive = self.clone();
        let listed = async move {
            let names = archive.store().list(&format!("repositories/{id}/items")).await?;
            let mut numbers: Vec<u64> =
                names.iter().filter_map(|name| number_of(name)).filter(|number| *number > after).collect();
            numbers.sort_unstable();
            numbers.dedup();
            Ok::<_, Error>(futures::stream::iter(numbers.into_iter().map(Ok)))
        };
        futures::stream::once(listed).try_flatten().boxed()
    }

    /// A thread's record as it lies in the store.
    pub async fn stored(&self, item: ItemId) -> Result<Option<Stored>> {
        for key in keys(item, self.inner.options.compress) {
            if let Some((bytes, version)) = self.store().get(&key).await? {
                return Ok(Some(Stored { json: unpack(&key, bytes)?, key, version }));
            }
        }
        Ok(None)
    }
}

/// Compares a record with the stored one, and makes the bytes to be written.
fn decide(stored: Option<Stored>, mut record: Record, new_key: String) -> Result<Decision> {
    let (key, condition) = match stored {
        None if record.revision != Revision::NONE => return Ok(Decision::Leave(Written::Conflict(Revision::NONE))),
        None => (new_key, Condition::Absent),
        Some(stored) => {
            let before = stored.record()?;
            if before.revision != record.revision {
                return Ok(Decision::Leave(Written::Conflict(before.revision)));
            }
            if change::same_content(&before, &record) {
                return decide_unchanged(stored, before, record);
            }
            (stored.key, Condition::Matches(stored.version))
        }
    };
    let next = record.revision.0.checked_add(1);
    record.revision =
        Revision(next.ok_or_else(|| Error::new(ErrorKind::Refused, "write", &key, "no revision is left"))?);
    record.changed_at = Timestamp::now();
    let bytes = pack(&key, to_bytes(&key, &record)?)?;
    Ok(Decision::Write { key, condition, bytes, written: Written::Stored(record.revision) })
}

/// What says the same is written only if it brings what the stored record lacks.
fn decide_unchanged(stored: Stored, mut before: Record, mut visit: Record) -> Result<Decision> {
    let written = match fill::fill(&mut before, &mut visit) {
        Gain::Nothing => return Ok(Decision::Leave(Written::Unchanged(before.revision))),
        Gain::Etags => Written::Unchanged(before.revision),
        Gain::Form => {
            // A rebuild of the index that has read the record already reads it again.
            before.changed_at = Timestamp::now();
            Written::Filled(before.revision)
        }
    };
    let bytes = pack(&stored.key, to_bytes(&stored.key, &before)?)?;
    Ok(Decision::Write { key: stored.key, condition: Condition::Matches(stored.version), bytes, written })
}

/// Both keys a record may have, the one for new records first.
fn keys(item: ItemId, compress: bool) -> [String; 2] {
    let plain = format!("repositories/{}/items/{}.json", item.repository, item.number);
    let packed = format!("{plain}.zst");
    if compress { [packed, plain] } else { [plain, packed] }
}

pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".zst").unwrap_or(name).strip_suffix(".json")?.parse().ok()
}

fn pack(key: &str, json: Bytes) -> Result<Bytes> {
    if !key.ends_with(".zst") {
        return Ok(json);
    }
    Ok(zstd::encode_all(&*json, 3).map_err(|error| corrupt(key, error))?.into())
}

pub(crate) fn unpack(key: &str, bytes: Bytes) -> Result<Bytes> {
    if !key.ends_with(".zst") {
        return Ok(bytes);
    }
    let mut json = Vec::new();
    let decoder = zstd::Decoder::new(&*bytes).map_err(|error| corrupt(key, error))?;
    decoder.take(LARGEST).read_to_end(&mut json).map_err(|error| corrupt(key, error))?;
    Ok(json.into())
}
