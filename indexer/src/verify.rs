//! Compares the index with the archive, document by document, in both directions.
//!
//! Each record is rendered again and the digests of all its documents are compared with those of the documents that
//! the index holds; numbers that only one side has are found by walking both in order. Nothing is written.

use std::collections::BTreeMap;

use futures::{StreamExt, stream::BoxStream};
use gharvest_archive::{Archive, Repository};
use gharvest_model::{ItemId, RepositoryId};
use gharvest_search::{
    SearchIndex,
    document::{ThreadDocuments, Version},
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{outcome::Failure, render};

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which item.
    pub item: ItemId,
    /// `owner/name#12`, for people.
    pub name: String,
    /// What differs.
    #[serde(flatten)]
    pub kind: DifferenceKind,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The archive has a record, the index has nothing.
    Missing,
    /// The index has documents, the archive has no record.
    Extra,
    /// The item was indexed at another revision than the stored one. A running index job may be about to do that.
    Outdated {
        /// The revision that the index holds.
        indexed: u32,
        /// The revision that the archive holds.
        stored: u32,
    },
    /// Documents differ: their ids, by what is wrong.
    Documents {
        /// In the index with another content.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        differing: Vec<String>,
        /// Not in the index.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        missing: Vec<String>,
        /// In the index, but no such document belongs to the record.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        extra: Vec<String>,
    },
    /// The record cannot be read.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// What was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Items that either side has.
    pub items: u64,
    /// Documents that records have.
    pub documents: u64,
    /// Items that differ.
    pub differences: u64,
}

/// What is told while comparing.
#[derive(Debug)]
pub enum Step<'a> {
    /// Something differs.
    Found(&'a Difference),
    /// So much was compared; told after each item.
    Compared(Compared),
}

/// Compares all items of `repositories`. Differences are told as they are found, so that a list of any length needs no
/// memory here. An index that an earlier version of the program made is not compared: its documents have another form.
pub async fn verify(
    archive: &Archive,
    index: &dyn SearchIndex,
    repositories: &[RepositoryId],
    tell: &mut (dyn FnMut(Step<'_>) + Send),
) -> Result<Compared, Failure> {
    let status = index.status().await?;
    if status.outdated {
        return Err(Failure::Hopeless(format!(
            "an earlier version of the program made the index, with mapping {}: `gharvest rebuild` makes it anew from the \
             archive, and then it can be compared",
            status.mapping
        )));
    }
    let mut compared = Compared::default();
    for id in repositories {
        let repository = archive.repository(*id).await?;
        let mut verifier = Verifier { archive, index, id: *id, repository, compared: &mut compared, tell };
        verifier.run().await?;
    }
    Ok(compared)
}

struct Verifier<'a> {
    archive: &'a Archive,
    index: &'a dyn SearchIndex,
    id: RepositoryId,
    repository: Option<Repository>,
    compared: &'a mut Compared,
    tell: &'a mut (dyn FnMut(Step<'_>) + Send),
}

impl Verifier<'_> {
    /// Walks the numbers of both sides in order, like merging two sorted lists.
    async fn run(&mut self) -> Result<(), Failure> {
        let mut archived = self.archive.numbers(self.id, 0);
        let mut indexed = self.index.numbers(self.id);
        let mut in_archive = next(&mut archived).await?;
        let mut in_index = next(&mut indexed).await?;
        loop {
            let number = match (in_archive, in_index) {
                (None, None) => return Ok(()),
                (Some(a), Some(i)) => a.min(i),
                (Some(number), None) | (None, Some(number)) => number,
            };
            let kind = match (in_archive == Some(number), in_index == Some(number)) {
                (true, true) => self.compare(number).await?,
                (true, false) => self.lacking(number).await?,
                _ => Some(DifferenceKind::Extra),
            };
            self.told(number, kind);
            if in_archive == Some(number) {
                in_archive = next(&mut archived).await?;
            }
            if in_index == Some(number) {
                in_index = next(&mut indexed).await?;
            }
        }
    }

    fn told(&mut self, number: u64, kind: Option<DifferenceKind>) {
        self.compared.items += 1;
        if let Some(kind) = kind {
            self.compared.differences += 1;
            let item = ItemId { repository: self.id, number };
            let repository = self.repository.as_ref().map(|repository| repository.full_name.to_string());
            let name = repository.map_or_else(|| item.to_string(), |name| format!("{name}#{number}"));
            (self.tell)(Step::Found(&Difference { item, name, kind }));
        }
        (self.tell)(Step::Compared(*self.compared));
    }

    /// The thread as it should be, or why that cannot be said.
    async fn rendered(&self, number: u64) -> Result<Option<ThreadDocuments>, DifferenceKind> {
        let item = ItemId { repository: self.id, number };
        let rendered = async {
            let Some(stored) = self.archive.stored(item).await? else { return Ok(None) };
            Ok::<_, Failure>(Some(render::thread(&stored.text()?, self.repository.as_ref(), Timestamp::now())?))
        };
        let unreadable = |failure: Failure| DifferenceKind::Unreadable { reason: failure.to_string() };
        rendered.await.map_err(unreadable)
    }

    async fn lacking(&self, number: u64) -> Result<Option<DifferenceKind>, Failure> {
        Ok(match self.rendered(number).await {
            // Purged while we looked.
            Ok(None) => None,
            Ok(Some(_)) => Some(DifferenceKind::Missing),
            Err(unreadable) => Some(unreadable),
        })
    }

    async fn compare(&mut self, number: u64) -> Result<Option<DifferenceKind>, Failure> {
        let thread = match self.rendered(number).await {
            Ok(Some(thread)) => thread,
            Ok(None) => return Ok(Some(DifferenceKind::Extra)),
            Err(unreadable) => return Ok(Some(unreadable)),
        };
        let wanted: BTreeMap<String, String> = thread.digests().into_iter().collect();
        self.compared.documents += wanted.len() as u64;
        let item = ItemId { repository: self.id, number };
        let Some(stored) = self.index.thread(item).await? else { return Ok(Some(DifferenceKind::Missing)) };
        let stored_revision = thread.version.revision();
        if stored.version != Version::default() && stored.version.revision() != stored_revision {
            let indexed = stored.version.revision().0;
            return Ok(Some(DifferenceKind::Outdated { indexed, stored: stored_revision.0 }));
        }
        Ok(documents(&wanted, &stored.documents.into_iter().collect()))
    }
}

async fn next<E: Into<Failure>>(numbers: &mut BoxStream<'static, Result<u64, E>>) -> Result<Option<u64>, Failure> {
    numbers.next().await.transpose().map_err(Into::into)
}

fn documents(wanted: &BTreeMap<String, String>, stored: &BTreeMap<String, String>) -> Option<DifferenceKind> {
    let keys = |keys: &mut dyn Iterator<Item = &String>| keys.cloned().collect::<Vec<_>>();
    let differing = keys(
        &mut wanted.iter().filter(|(key, digest)| stored.get(*key).is_some_and(|d| d != *digest)).map(|(key, _)| key),
    );
    let missing = keys(&mut wanted.keys().filter(|key| !stored.contains_key(*key)));
    let extra = keys(&mut stored.keys().filter(|key| !wanted.contains_key(*key)));
    let same = differing.is_empty() && missing.is_empty() && extra.is_empty();
    (!same).then_some(DifferenceKind::Documents { differing, missing, extra })
}
