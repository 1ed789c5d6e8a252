//! Builds the index anew from the archive, without one call to GitHub and while the old one serves, if there is one.
//!
//! The rebuild writes to the new index alone, and what that refuses is reported. Live indexers write to both meanwhile,
//! and theirs wins whichever comes first: documents of a rebuild are versioned as if they were rendered before it began.
//! So a repository that is renamed or becomes private on the way is in the new index as its live jobs say. What live
//! indexers wrote while the new index was not known to them yet is found afterwards: an item that was downloaded since
//! the begin is verified since then in its ledger, and every such item is indexed again.
//!
//! A record that cannot be read is reported and left out: one damaged file does not keep all others from search. A
//! repository that is forgotten meanwhile is removed again from what was built.

use std::collections::BTreeSet;

use futures::StreamExt;
use gharvest_archive::{Archive, ErrorKind, Repository};
use gharvest_model::{ItemId, RepositoryId, record::RecordText};
use gharvest_search::{Applied, ErrorKind as SearchKind, Rebuild, SearchIndex, document::ThreadDocuments};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

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
    /// Documents that the engine refused: their ids, or their repository's where they are its own, and why.
    pub refused: Vec<(String, String)>,
    /// Files of the archive that could not be read, and why, a sentence each: what they say is not in the index.
    pub unreadable: BTreeSet<String>,
}

/// Items between two commits: bounds memory.
const ITEMS_PER_COMMIT: u64 = 20_000;
/// Clocks of downloaders, of live indexers and of this process may differ by this much.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Builds the index of all repositories in the archive anew and swaps it in. `progress` is told after each step. `stop`
/// gives it up; once the new index has taken over, it is done all the same.
///
/// # Errors
/// When the archive or the engine does not do what it should, another rebuild has begun, or this one is stopped; then the
/// old index stays.
pub async fn rebuild(
    archive: &Archive,
    index: &dyn SearchIndex,
    stop: &CancellationToken,
    progress: &mut (dyn FnMut(&Progress) + Send),
) -> Result<Progress, Failure> {
    begin(archive, index).await?.complete(archive, index, stop, progress).await
}

/// A rebuild that has begun: the new index is there and empty, and live indexers write to it.
#[derive(Debug)]
pub struct Begun {
    /// Before everything that live indexers write to the new index.
    began: Timestamp,
    rebuild: Box<dyn Rebuild>,
}

/// Begins a rebuild of an index.
///
/// # Errors
/// When the engine does not do what it should, or the index is of another archive or a later version.
pub async fn begin(archive: &Archive, index: &dyn SearchIndex) -> Result<Begun, Failure> {
    let began = Timestamp::now() - SKEW;
    Ok(Begun { began, rebuild: index.begin_rebuild(archive.id()).await? })
}

impl Begun {
    /// Fills the new index from the archive and swaps it in; `archive` and `index` are those with which it began.
    ///
    /// # Errors
    /// As for [`rebuild`].
    pub async fn complete(
        self,
        archive: &Archive,
        index: &dyn SearchIndex,
        stop: &CancellationToken,
        progress: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<Progress, Failure> {
        let mut filler = Filler {
            archive,
            index: self.rebuild.index(),
            epoch: 0,
            began: self.began,
            progress,
            filled: BTreeSet::new(),
            waiting: Vec::new(),
            bytes: 0,
            uncommitted: 0,
            done: Progress::default(),
        };
        let filled = stop.run_until_cancelled(filler.fill()).await.unwrap_or(Err(Failure::Stopped));
        let finished = match filled {
            Ok(()) => self.rebuild.finish().await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = finished {
            if let Err(error) = self.rebuild.abort().await {
                tracing::error!(error = %error, "Rebuild cannot be given up, the next one starts over");
            }
            return Err(failure);
        }
        // Live jobs may have counted days by the old intervals until now, and repositories may be forgotten since.
        filler.index = index;
        filler.settle().await?;
        Ok(filler.done)
    }
}

struct Filler<'a> {
    archive: &'a Archive,
    index: &'a dyn SearchIndex,
    /// Of the index when the last commit was done: live indexers write to it as well, and may lose what this wrote.
    epoch: u64,
    began: Timestamp,
    progress: &'a mut (dyn FnMut(&Progress) + Send),
    /// Repositories of which something was written.
    filled: BTreeSet<RepositoryId>,
    waiting: Vec<ThreadDocuments>,
    bytes: usize,
    uncommitted: u64,
    done: Progress,
}

impl Filler<'_> {
    async fn fill(&mut self) -> Result<(), Failure> {
        self.epoch = self.index.epoch().await?;
        for id in self.archive.repositories().await? {
            self.repository(id).await?;
        }
        let items = self.done.items;
        for id in self.archive.repositories().await? {
            // One that is new since then has live jobs for everything but what was stored before those knew of this.
            if self.filled.contains(&id) { self.catch_up(id).await? } else { self.repository(id).await? }
        }
        // An item that was indexed twice is one item.
        self.done.items = items;
        self.commit().await?;
        self.settle().await
    }

    /// Indexes all of a repository, as it is known when each part of it is written.
    async fn repository(&mut self, id: RepositoryId) -> Result<(), Failure> {
        let Some(mut repository) = known(self.archive, id).await? else { return Ok(()) };
        self.filled.insert(id);
        self.done.repository = repository.full_name.to_string();
        let mut records = self.archive.all_stored(id, 0);
        while let Some(stored) = records.next().await {
            let Some(stored) = self.read(stored.map_err(Failure::from))? else { continue };
            let Some(record) = self.read(stored.text().map_err(Failure::from))? else { continue };
            self.add(&record, &repository);
            if self.bytes >= BYTES_AT_ONCE {
                let Some(known) = self.flush(id).await? else { return Ok(()) };
                repository = known;
            }
        }
        if self.flush(id).await?.is_none() {
            return Ok(());
        }
        let written = apply_repository(self.archive, self.index, id, self.began).await;
        self.taken(id, written)?;
        let written = apply_releases(self.archive, self.index, id, self.began).await;
        let taken = self.taken(id, written);
        self.read(taken)?;
        self.done.repositories += 1;
        (self.progress)(&self.done);
        Ok(())
    }

    /// Indexes again what was downloaded since the rebuild began.
    async fn catch_up(&mut self, id: RepositoryId) -> Result<(), Failure> {
        let Some(mut repository) = known(self.archive, id).await? else { return Ok(()) };
        let ledger = self.archive.ledger(id).await.map_err(Failure::from);
        let Some(ledger) = self.read(ledger)? else { return self.repository(id).await };
        for number in 1..=ledger.highest() {
            if ledger.get(number).verified_at.is_none_or(|at| at < self.began) {
                continue;
            }
            let stored = self.archive.stored(ItemId { repository: id, number }).await.map_err(Failure::from);
            let Some(Some(stored)) = self.read(stored)? else { continue };
            let Some(record) = self.read(stored.text().map_err(Failure::from))? else { continue };
            if record.changed_at >= self.began {
                self.add(&record, &repository);
            }
            if self.bytes >= BYTES_AT_ONCE {
                let Some(known) = self.flush(id).await? else { return Ok(()) };
                repository = known;
            }
        }
        self.flush(id).await.map(drop)
    }

    /// Makes the daily counts of what was filled, and removes what was forgotten after its last part was written.
    async fn settle(&mut self) -> Result<(), Failure> {
        self.epoch = self.index.epoch().await?;
        for id in self.filled.clone() {
            if known(self.archive, id).await?.is_some() {
                let written = apply_daily(self.archive, self.index, id).await;
                self.taken(id, written)?;
            } else {
                self.index.purge_repository(id).await?;
            }
        }
        self.commit().await
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        self.index.commit_since(self.epoch).await?;
        self.epoch = self.index.epoch().await?;
        self.uncommitted = 0;
        Ok(())
    }

    /// Notes which of a repository's own documents the engine refuses: that keeps nothing else from search.
    fn taken(&mut self, id: RepositoryId, written: Result<(), Failure>) -> Result<(), Failure> {
        match written {
            Err(Failure::Search(error)) if error.kind() == SearchKind::Document => {
                tracing::error!(repository = %id, error = %error, "Engine refuses a document");
                self.done.refused.push((id.to_string(), error.to_string()));
                Ok(())
            }
            written => written,
        }
    }

    /// What was read; none, with a note of it, where a file is damaged.
    fn read<T>(&mut self, read: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(failure) if is_damage(&failure) => {
                self.note(failure.to_string());
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    fn note(&mut self, unreadable: String) {
        // Whoever was indexed twice is read twice.
        if self.done.unreadable.insert(unreadable.clone()) {
            tracing::error!(reason = unreadable, "File of the archive cannot be read, and is left out of the index");
        }
    }

    fn add(&mut self, record: &RecordText<'_>, repository: &Repository) {
        match render::thread(record, Some(repository), self.began) {
            Ok(thread) => {
                self.bytes += thread.size();
                self.waiting.push(thread);
            }
            Err(error) => self.note(format!("{}: {}", record.id(), Failure::from(error))),
        }
    }

    /// Writes what waits. Gives back the repository as it is now; none if it was forgotten, with all that was written.
    async fn flush(&mut self, id: RepositoryId) -> Result<Option<Repository>, Failure> {
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
            self.commit().await?;
        }
        (self.progress)(&self.done);
        let known = known(self.archive, id).await?;
        if known.is_none() {
            self.index.purge_repository(id).await?;
        }
        Ok(known)
    }
}

/// A repository as the archive has it at this moment; none once it is being forgotten.
async fn known(archive: &Archive, id: RepositoryId) -> Result<Option<Repository>, Failure> {
    Ok(if archive.is_forgotten(id).await? { None } else { archive.repository(id).await? })
}

/// Whether a file of the archive cannot be read, however often it is tried.
fn is_damage(failure: &Failure) -> bool {
    match failure {
        Failure::Archive(error) => error.kind() == ErrorKind::Corrupt,
        Failure::Entry(_) => true,
        _ => false,
    }
}
