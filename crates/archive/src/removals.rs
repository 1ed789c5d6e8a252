//! Deletion policies on the archive: receipts of what was taken out, and the tombstones of a repository.

use std::collections::HashSet;

use futures::TryStreamExt as _;
use gharvest_model::{
    ItemId, Record, RepositoryId, Revision,
    removal::{DeletionPolicy, Receipt},
};
use jiff::Timestamp;

use crate::{Archive, Error, ErrorKind, Result, Written, from_bytes, to_bytes};

/// How often a record is read again after somebody else stored a revision meanwhile.
const ATTEMPTS: usize = 10;
/// Receipts that are written at once.
const RECEIPTS_AT_ONCE: usize = 500;

impl Archive {
    /// What becomes of the content of a repository's items that GitHub no longer shows: what tracking says of it.
    pub async fn deletion_policy(&self, id: RepositoryId) -> Result<DeletionPolicy> {
        let tracked = self.tracking().await?.into_iter().find(|tracked| tracked.id == id);
        Ok(tracked.map_or(DeletionPolicy::Keep, |tracked| tracked.deleted))
    }

    /// Takes out of a tombstone, before it is stored, what its repository's policy does not keep; of anything else
    /// nothing.
    pub async fn follow_deletion_policy(&self, record: &mut Record) -> Result<()> {
        if record.state.is_tombstone() {
            let policy = self.deletion_policy(record.repository.id).await?;
            self.follow(policy, record, None).await?;
        }
        Ok(())
    }

    /// Follows a policy in a record that is then to be stored; says whether anything went. Receipt and images come
    /// before the record: after a crash in between, the next attempt makes the receipt true. The revision `noted` has
    /// its receipt already.
    async fn follow(&self, policy: DeletionPolicy, record: &mut Record, noted: Option<Revision>) -> Result<bool> {
        let item = record.id();
        let Some(receipt) = policy.apply(record, Timestamp::now()) else { return Ok(false) };
        if noted != Some(receipt.revision) {
            self.add_receipts(item.repository, &[receipt]).await?;
        }
        self.purge_attachments(item).await?;
        Ok(true)
    }

    /// Notes what is about to be taken out of records. Durable when it returns; the receipt of the same revision again
    /// replaces the first, so that a step repeated after a crash is one line.
    async fn add_receipts(&self, id: RepositoryId, receipts: &[Receipt]) -> Result<()> {
        let key = receipts_key(id);
        let mut new = Vec::new();
        for receipt in receipts {
            new.extend_from_slice(&to_bytes(&key, receipt)?);
            new.push(b'\n');
        }
        let replaced: HashSet<_> = receipts.iter().map(|receipt| (receipt.number, receipt.revision)).collect();
        let change = |stored: Option<bytes::Bytes>| {
            let stored = stored.unwrap_or_default();
            let mut lines = Vec::with_capacity(stored.len() + new.len());
            for kept in stored.split(|byte| *byte == b'\n').filter(|kept| !kept.is_empty()) {
                let known: Receipt = from_bytes(&key, kept)?;
                if !replaced.contains(&(known.number, known.revision)) {
                    lines.extend_from_slice(kept);
                    lines.push(b'\n');
                }
            }
            lines.extend_from_slice(&new);
            Ok(Some(lines.into()))
        };
        self.swap(&key, &change).await.map(|_| ())
    }

    /// All receipts of a repository, in the order of the removals.
    pub async fn receipts(&self, id: RepositoryId) -> Result<Vec<Receipt>> {
        let key = receipts_key(id);
        let Some((stored, _)) = self.store().get(&key).await? else { return Ok(Vec::new()) };
        stored.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| from_bytes(&key, line)).collect()
    }

    /// Follows a policy for every tombstone that a repository has already, one record in memory at a time. Returns the
    /// numbers of the records that changed: their documents are to be made anew.
    pub async fn apply_deletion_policy(&self, id: RepositoryId, policy: DeletionPolicy) -> Result<Vec<u64>> {
        // Each batch of receipts writes the file of all receipts once; the records are read again for it.
        let receipts = self
            .records(id, 0)
            .try_filter_map(|mut record| std::future::ready(Ok(policy.apply(&mut record, Timestamp::now()))));
        let mut batches = receipts.try_chunks(RECEIPTS_AT_ONCE).map_err(|stopped| stopped.1);
        let mut changed = Vec::new();
        while let Some(receipts) = batches.try_next().await? {
            self.add_receipts(id, &receipts).await?;
            for receipt in receipts {
                if self.take_out(ItemId { repository: id, number: receipt.number }, policy, receipt.revision).await? {
                    changed.push(receipt.number);
                }
            }
        }
        Ok(changed)
    }

    /// Follows a policy for one record, of whose revision `noted` there is a receipt; says whether it changed.
    async fn take_out(&self, item: ItemId, policy: DeletionPolicy, noted: Revision) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let Some(mut record) = self.record(item).await? else { return Ok(false) };
            if !self.follow(policy, &mut record, Some(noted)).await? {
                return Ok(false);
            }
            match self.put_record(record).await? {
                Written::Stored(_) => return Ok(true),
                Written::Unchanged(_) | Written::Filled(_) => return Ok(false),
                Written::Conflict(_) => {}
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "redact", item.to_string(), "others were quicker each time; try again"))
    }
}

fn receipts_key(id: RepositoryId) -> String {
    format!("repositories/{id}/removals.jsonl")
}
