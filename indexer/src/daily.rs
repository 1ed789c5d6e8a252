//! Writes the daily counts of a repository: all are made anew from its intervals, and the days that changed written.
//!
//! One series (a dimension and a value of it) is compared at a time, so that memory does not grow with the years. A day
//! that the index has and the intervals no longer give is set to zero: engines forget versions of deleted documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use futures::StreamExt;
use gharvest_archive::Archive;
use gharvest_model::{RepositoryId, record::Visibility};
use gharvest_search::{
    SearchIndex,
    daily::{Builder, DailyContext},
    document::DailyDocument,
};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::outcome::Failure;

/// Documents written in one step.
const STEP: usize = 5000;

/// A dimension and a value of it.
type Series = (String, String);

/// How far the daily counts of a repository are: cursor `daily/{repository}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct DailyCursor {
    /// The version of the last write.
    version: u64,
    /// The series that were written: one that is no more is set to zero.
    #[serde(default)]
    series: BTreeSet<Series>,
}

/// Makes the counts of a repository anew and writes the days that changed, without a commit. Says how many.
pub(crate) async fn refresh(
    archive: &Archive,
    index: &dyn SearchIndex,
    id: RepositoryId,
    now: Timestamp,
) -> Result<u64, Failure> {
    let feed = format!("daily/{id}");
    if archive.repository(id).await?.is_none() {
        return Ok(0);
    }
    let DailyCursor { version, series: mut gone } = begin(archive, &feed).await?;
    let Some(repository) = archive.repository(id).await? else { return Ok(0) };
    let mut builder = Builder::new();
    let mut intervals = index.intervals(id);
    while let Some(interval) = intervals.next().await {
        builder.add(interval?);
    }
    let context = DailyContext {
        repository_id: id,
        repository: repository.full_name.to_string(),
        private: repository.visibility() == Visibility::Private,
        version,
    };
    let mut writer = Writer { index, context: context.clone(), waiting: Vec::new(), written: 0 };
    let mut written = BTreeSet::new();
    let mut rows = builder.finish(context, now.to_zoned(TimeZone::UTC).date()).peekable();
    while let Some(first) = rows.next() {
        let series = (first.dimension.clone(), first.value.clone());
        let mut fresh = vec![first];
        while let Some(row) = rows.next_if(|row| row.dimension == series.0 && row.value == series.1) {
            fresh.push(row);
        }
        writer.write(&series, fresh).await?;
        gone.remove(&series);
        written.insert(series);
    }
    for series in &gone {
        writer.write(series, Vec::new()).await?;
    }
    writer.flush().await?;
    let settle = |stored: Option<DailyCursor>| {
        let mut cursor = stored.unwrap_or_default();
        // A later count may have written them again.
        if cursor.version == version {
            cursor.series.retain(|series| !gone.contains(series));
        }
        cursor.series.extend(written.iter().cloned());
        Some(cursor)
    };
    archive.change_cursor(&feed, &settle).await?;
    Ok(writer.written)
}

/// Moves the version before anything is read: a run after a crash, and one that began while this one stood still, write
/// with a higher one.
async fn begin(archive: &Archive, feed: &str) -> Result<DailyCursor, Failure> {
    let begun = Mutex::new(DailyCursor::default());
    let begin = |stored: Option<DailyCursor>| {
        let mut cursor = stored.unwrap_or_default();
        cursor.version += 1;
        *begun.lock().unwrap_or_else(PoisonError::into_inner) = cursor.clone();
        Some(cursor)
    };
    archive.change_cursor(feed, &begin).await?;
    Ok(begun.into_inner().unwrap_or_else(PoisonError::into_inner))
}

struct Writer<'a> {
    index: &'a dyn SearchIndex,
    context: DailyContext,
    waiting: Vec<DailyDocument>,
    written: u64,
}

impl Writer<'_> {
    /// Writes the days of one series that differ from the index.
    async fn write(&mut self, series: &Series, fresh: Vec<DailyDocument>) -> Result<(), Failure> {
        let (dimension, value) = series;
        let stored = self.index.daily(self.context.repository_id, dimension, Some(value)).await?;
        let mut stored: BTreeMap<String, DailyDocument> =
            stored.into_iter().map(|document| (document.key.clone(), document)).collect();
        for document in fresh {
            let differs = stored.remove(&document.key).is_none_or(|stored| !is_same(&stored, &document));
            self.waiting.extend(differs.then_some(document));
        }
        for stored in stored.into_values() {
            let zero = self.zero(&stored);
            self.waiting.extend((!is_same(&stored, &zero)).then_some(zero));
        }
        if self.waiting.len() >= STEP { self.flush().await } else { Ok(()) }
    }

    fn zero(&self, stored: &DailyDocument) -> DailyDocument {
        DailyDocument {
            repository: self.context.repository.clone(),
            private: self.context.private,
            open: 0,
            opened: 0,
            closed: 0,
            merged: 0,
            reopened: 0,
            version: self.context.version,
            ..stored.clone()
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let documents = std::mem::take(&mut self.waiting);
        self.written += documents.len() as u64;
        if !documents.is_empty() {
            self.index.apply_daily(self.context.repository_id, documents, false).await?;
        }
        Ok(())
    }
}

/// Whether two documents say the same; their versions say when it was said.
fn is_same(stored: &DailyDocument, fresh: &DailyDocument) -> bool {
    DailyDocument { version: fresh.version, ..stored.clone() } == *fresh
}
