//! Builds the index anew from the archive, without one call to GitHub and while the old one serves.
//!
//! Live indexers write to both indices meanwhile. What they wrote while the new index was not known to them yet is
//! found afterwards: an item that was downloaded since the begin is verified since then in its ledger, and every such
//! item is indexed again. Versions decide who wins, so the order does not matter.

use futures::StreamExt;
use gharvest_archive::{Archive, Repository};
use gharvest_model::{ItemId, RepositoryId};
use gharvest_search::{Applied, SearchIndex, document::ThreadDocuments};
use jiff::{SignedDuration, Timestamp};

use crate::{BYTES_AT_ONCE, apply_daily, apply_releases, apply_repository, outcome::Failure, render};

/// How far a rebuild is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The repository being read, `owner/name`.
    pub repository: String,
    /// Repositories done.
    pub repositories: u64,
    /// Items indexed.
    pub items: u64,
    /// Documents that the engine refused: their ids and why.
    pub refused: Vec<(String, String)>,
}

/// Items between two commits: bounds memory.
const ITEMS_PER_COMMIT: u64 = 20_000;
/// Clocks of downloaders and of this process may differ by this much.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Builds the index of all `repositories` anew and swaps it in. `progress` is told after each step.
///
/// Given up on an error: the old index stays.
pub async fn rebuild(
    archive: &Archive,
    index: &dyn SearchIndex,
    repositories: &[RepositoryId],
    progress: &mut (dyn FnMut(&Progress) + Send),
) -> Result<Progress, Failure> {
    index.begin_rebuild(archive.id()).await?;
    match fill(archive, index, repositories, progress).await {
        Ok(done) => {
            index.finish_rebuild().await?;
            // Daily counts are made of the intervals that are served: those of the new index, from now on.
            for id in repositories {
                apply_daily(archive, index, *id).await?;
            }
            index.commit().await?;
            Ok(done)
        }
        Err(failure) => {
            if let Err(error) = index.abort_rebuild().await {
                tracing::error!(error = %error, "Rebuild cannot be given up, the next one starts over");
            }
            Err(failure)
        }
    }
}

async fn fill(
    archive: &Archive,
    index: &dyn SearchIndex,
    repositories: &[RepositoryId],
    progress: &mut (dyn FnMut(&Progress) + Send),
) -> Result<Progress, Failure> {
    let began = Timestamp::now() - SKEW;
    let mut filler = Filler { index, waiting: Vec::new(), bytes: 0, uncommitted: 0, done: Progress::default() };
    for id in repositories {
        let Some(repository) = archive.repository(*id).await? else { continue };
        filler.done.repository = repository.full_name.to_string();
        let mut records = archive.all_stored(*id, 0);
        while let Some(stored) = records.next().await {
            let thread = render::thread(&stored?.text()?, Some(&repository), Timestamp::now())?;
            filler.add(thread, progress).await?;
        }
        filler.flush(progress).await?;
        apply_repository(archive, index, *id).await?;
        apply_releases(archive, index, *id).await?;
        filler.done.repositories += 1;
        progress(&filler.done);
    }
    let items = filler.done.items;
    for id in repositories {
        let Some(repository) = archive.repository(*id).await? else { continue };
        catch_up(archive, &repository, began, &mut filler, progress).await?;
    }
    index.commit().await?;
    // An item that was indexed twice is one item.
    filler.done.items = items;
    Ok(filler.done)
}

/// Indexes again what was downloaded since the rebuild began.
async fn catch_up(
    archive: &Archive,
    repository: &Repository,
    began: Timestamp,
    filler: &mut Filler<'_>,
    progress: &mut (dyn FnMut(&Progress) + Send),
) -> Result<(), Failure> {
    let ledger = archive.ledger(repository.id).await?;
    for number in 1..=ledger.highest() {
        if ledger.get(number).verified_at.is_none_or(|at| at < began) {
            continue;
        }
        let item = ItemId { repository: repository.id, number };
        let Some(stored) = archive.stored(item).await? else { continue };
        let record = stored.text()?;
        if record.changed_at >= began {
            let thread = render::thread(&record, Some(repository), Timestamp::now())?;
            filler.add(thread, progress).await?;
        }
    }
    filler.flush(progress).await
}

struct Filler<'a> {
    index: &'a dyn SearchIndex,
    waiting: Vec<ThreadDocuments>,
    bytes: usize,
    uncommitted: u64,
    done: Progress,
}

impl Filler<'_> {
    async fn add(
        &mut self,
        thread: ThreadDocuments,
        progress: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<(), Failure> {
        self.bytes += thread.size();
        self.waiting.push(thread);
        if self.bytes >= BYTES_AT_ONCE { self.flush(progress).await } else { Ok(()) }
    }

    async fn flush(&mut self, progress: &mut (dyn FnMut(&Progress) + Send)) -> Result<(), Failure> {
        let threads = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let count = threads.len() as u64;
        for applied in self.index.apply(threads).await? {
            if let Applied::Refused { id, reason } = applied {
                tracing::error!(document = id, reason, "Engine refuses a document");
                self.done.refused.push((id, reason));
            }
        }
        self.done.items += count;
        self.uncommitted += count;
        if self.uncommitted >= ITEMS_PER_COMMIT {
            self.index.commit().await?;
            self.uncommitted = 0;
        }
        progress(&self.done);
        Ok(())
    }
}
