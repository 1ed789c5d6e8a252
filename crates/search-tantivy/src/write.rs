//! Writing: threads as wholes, one step each, with the version checked against what is stored or already given.

use std::collections::HashSet;

use gharvest_model::RepositoryId;
use gharvest_search::{
    Applied, Result,
    document::{DailyDocument, ReleaseDocument, RepositoryDocument, ThreadDocuments, Version},
};
use tantivy::{
    DocAddress, DocSet, Searcher, TERMINATED, TantivyDocument, Term, indexer::UserOperation, schema::IndexRecordOption,
};

use crate::{
    error::{corrupt, from_tantivy},
    generation::{Generation, Writer},
    schema::{Builder, Fields, daily_group, ordinal, releases_group, repository_key},
};

/// Writes to one generation.
pub(crate) struct Writing<'a> {
    pub(crate) generation: &'a Generation,
    pub(crate) fields: &'a Fields,
}

impl Writing<'_> {
    pub(crate) fn threads(&self, threads: &[ThreadDocuments]) -> Result<Vec<Applied>> {
        let mut writer = self.generation.lock_writer()?;
        let searcher = self.generation.searcher();
        threads.iter().map(|thread| self.thread(&mut writer, &searcher, thread)).collect()
    }

    fn thread(&self, writer: &mut Writer, searcher: &Searcher, thread: &ThreadDocuments) -> Result<Applied> {
        let key = &thread.item.key;
        let Some(item) = ordinal(thread.item.id()) else {
            let reason = "the repository's id or the item's number is too large for this index".to_owned();
            return Ok(Applied::Refused { id: key.clone(), reason });
        };
        if self.holds_newer(writer, searcher, key, thread.version.0)? {
            return Ok(Applied::Stale);
        }
        let documents = Builder { fields: self.fields }.thread(item, thread);
        self.replace(writer, [self.fields.item_term(item)], documents)?;
        writer.pending.insert(key.clone(), thread.version.0);
        Ok(Applied::Written)
    }

    /// Whether a newer version is stored, or was given since the last commit. The same version may be written again.
    fn holds_newer(&self, writer: &Writer, searcher: &Searcher, key: &str, version: u64) -> Result<bool> {
        let known = match writer.pending.get(key) {
            Some(version) => Some(*version),
            None => stored_version(searcher, self.fields, key)?,
        };
        Ok(known.is_some_and(|known| known > version))
    }

    /// Removes what has one of the terms and adds documents, in one step of the writer.
    fn replace(
        &self,
        writer: &mut Writer,
        old: impl IntoIterator<Item = Term>,
        documents: Vec<TantivyDocument>,
    ) -> Result<()> {
        let mut operations: Vec<_> = old.into_iter().map(UserOperation::Delete).collect();
        operations.extend(documents.into_iter().map(UserOperation::Add));
        writer.run(operations)
    }

    fn key_term(&self, key: &str) -> Term {
        Term::from_field_text(self.fields.key, key)
    }

    fn group_term(&self, group: &str) -> Term {
        Term::from_field_text(self.fields.group, group)
    }

    pub(crate) fn repositories(&self, repositories: &[RepositoryDocument]) -> Result<()> {
        let mut writer = self.generation.lock_writer()?;
        let searcher = self.generation.searcher();
        for repository in repositories {
            let key = repository_key(repository.repository_id);
            if !self.holds_newer(&writer, &searcher, &key, repository.version)? {
                let document = Builder { fields: self.fields }.repository(repository);
                self.replace(&mut writer, [self.key_term(&key)], vec![document])?;
                writer.pending.insert(key, repository.version);
            }
        }
        Ok(())
    }

    pub(crate) fn releases(
        &self,
        repository: RepositoryId,
        version: Version,
        releases: &[ReleaseDocument],
    ) -> Result<()> {
        let mut writer = self.generation.lock_writer()?;
        let key = releases_group(repository);
        if self.holds_newer(&writer, &self.generation.searcher(), &key, version.0)? {
            return Ok(());
        }
        let builder = Builder { fields: self.fields };
        let mut documents = vec![builder.releases(repository, version.0)];
        documents.extend(releases.iter().map(|release| builder.release(release)));
        self.replace(&mut writer, [self.group_term(&key)], documents)?;
        writer.pending.insert(key, version.0);
        Ok(())
    }

    pub(crate) fn daily(&self, repository: RepositoryId, days: &[DailyDocument], replace: bool) -> Result<()> {
        let mut writer = self.generation.lock_writer()?;
        let searcher = self.generation.searcher();
        let mut newer = Vec::with_capacity(days.len());
        for day in days {
            if replace || !self.holds_newer(&writer, &searcher, &day.key, day.version)? {
                newer.push(day);
            }
        }
        let builder = Builder { fields: self.fields };
        let documents = newer.iter().map(|day| builder.daily(day)).collect();
        if replace {
            self.replace(&mut writer, [self.group_term(&daily_group(repository))], documents)?;
        } else {
            let keys: HashSet<_> = newer.iter().map(|day| &day.key).collect();
            self.replace(&mut writer, keys.into_iter().map(|key| self.key_term(key)), documents)?;
        }
        writer.pending.extend(newer.into_iter().map(|day| (day.key.clone(), day.version)));
        Ok(())
    }

    /// Removes everything of a repository, at once: its versions are forgotten with it.
    pub(crate) fn purge(&self, repository: RepositoryId) -> Result<()> {
        let term = Term::from_field_u64(self.fields.repository_id, repository.0);
        // In one hold of the writer: a failure of somebody else's write in between would take the deletion with it.
        let mut writer = self.generation.lock_writer()?;
        self.replace(&mut writer, [term], Vec::new())?;
        self.generation.commit_writer(&mut writer)
    }
}

/// The document with this key.
pub(crate) fn find(searcher: &Searcher, fields: &Fields, key: &str) -> Result<Option<DocAddress>> {
    let term = Term::from_field_text(fields.key, key);
    for (segment_ord, segment) in (0_u32..).zip(searcher.segment_readers()) {
        let index = segment.inverted_index(fields.key).map_err(from_tantivy("read"))?;
        let postings = index.read_postings(&term, IndexRecordOption::Basic).map_err(|error| corrupt("read", error))?;
        let Some(mut postings) = postings else { continue };
        let mut doc = postings.doc();
        while doc != TERMINATED {
            if !segment.is_deleted(doc) {
                return Ok(Some(DocAddress::new(segment_ord, doc)));
            }
            doc = postings.advance();
        }
    }
    Ok(None)
}

fn stored_version(searcher: &Searcher, fields: &Fields, key: &str) -> Result<Option<u64>> {
    let Some(address) = find(searcher, fields, key)? else { return Ok(None) };
    let columns = searcher.segment_reader(address.segment_ord).fast_fields();
    let versions = columns.u64("version").map_err(from_tantivy("read"))?;
    Ok(versions.first(address.doc_id))
}
