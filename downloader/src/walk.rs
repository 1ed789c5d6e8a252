//! Walks over the list of a repository's items: all of them once, and again and again those updated since.
//!
//! Both walks keep their place in a cursor after each page, so that one that was killed goes on where it was. What a
//! page says is durable before the cursor moves: hints, then the ledger, then jobs, then the cursor. So a page read
//! twice changes nothing, and none is left out.

use fail::fail_point;
use gharvest_archive::{Hint, Repository};
use gharvest_github::{Answer, ErrorKind, Found, Purpose, Resource, Sort};
use gharvest_model::{
    ItemId, Lane, QueueName, Subject,
    job::part,
    ledger::NumberState,
    progress::{ItemsCursor, runs},
};
use gharvest_queue::{Timing, Trigger};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Downloader, outcome::Failure, parts::is_number, repository};

/// The place of the walk over updated items: cursor `updates/{repository}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct UpdatesCursor {
    /// The latest `updated_at` that was seen.
    since: Timestamp,
    /// The ETag of the answer to the question after `since`, if that was one page: unchanged costs nothing.
    #[serde(default)]
    etag: Option<String>,
}

/// What of a list entry is looked at.
struct Listed {
    number: u64,
    updated_at: Option<Timestamp>,
    issue: Value,
}

impl Downloader {
    /// Walks the list of all items: keeps their bodies as hints, fills the ledger, pushes a job for each number up to
    /// the highest, those that the list leaves out included.
    pub(crate) async fn walk_items(
        &self,
        repository: &Repository,
        lane: Lane,
        purpose: Purpose,
    ) -> Result<(), Failure> {
        let feed = ItemsCursor::feed(repository.id);
        // A schedule that found the walk unfinished while it was under way asks for nothing new; a person does.
        if lane != Lane::Manual && self.walk_is_finished(&feed).await? {
            return Ok(());
        }
        let mut cursor = self.items_cursor(&feed).await?;
        loop {
            let page = match self.items_page(repository, &cursor, purpose).await {
                // An address kept for too long is refused: the walk begins again.
                Err(Failure::Github(error)) if *error.kind() == ErrorKind::Refused && cursor.next.is_some() => {
                    cursor = new_walk();
                    continue;
                }
                page => page?,
            };
            let listed = listed(page.body);
            cursor.seen += listed.len() as u64;
            self.take_page(repository, listed, lane).await?;
            fail_point!("walk-page-taken");
            cursor.next = page.next;
            if cursor.next.is_none() {
                break;
            }
            self.set_cursor(&feed, &cursor).await?;
        }
        self.push_unknown(repository, lane).await?;
        fail_point!("walk-pushed");
        cursor.finished_at = Some(Timestamp::now());
        self.set_cursor(&feed, &cursor).await
    }

    async fn walk_is_finished(&self, feed: &str) -> Result<bool, Failure> {
        let stored = ItemsCursor::read(self.archive.cursor(feed).await?);
        Ok(stored.is_some_and(|cursor| cursor.finished_at.is_some()))
    }

    async fn items_cursor(&self, feed: &str) -> Result<ItemsCursor, Failure> {
        let stored = ItemsCursor::read(self.archive.cursor(feed).await?);
        Ok(stored.filter(|cursor| cursor.finished_at.is_none()).unwrap_or_else(new_walk))
    }

    async fn items_page(
        &self,
        repository: &Repository,
        cursor: &ItemsCursor,
        purpose: Purpose,
    ) -> Result<Found, Failure> {
        let first = || Resource::Issues { repository: repository.full_name.clone(), since: None, sort: Sort::Created };
        let resource = cursor.next.clone().map_or_else(first, Resource::Address);
        self.page(repository, &resource, None, purpose).await?.ok_or_else(|| unexpected_304(repository))
    }

    /// One page of a list of items; none if it was not modified.
    async fn page(
        &self,
        repository: &Repository,
        resource: &Resource,
        etag: Option<&str>,
        purpose: Purpose,
    ) -> Result<Option<Found>, Failure> {
        match self.client.get(resource, etag, purpose).await? {
            Answer::Found(found) => Ok(Some(found)),
            Answer::NotModified => Ok(None),
            other => Err(self.not_a_list(repository, &other, purpose).await),
        }
    }

    async fn take_page(&self, repository: &Repository, listed: Vec<Listed>, lane: Lane) -> Result<(), Failure> {
        let mut numbers: Vec<u64> = listed.iter().map(|item| item.number).collect();
        let seen_at = Timestamp::now();
        let hints = listed.into_iter().map(|item| Hint { seen_at, issue: item.issue }).collect();
        self.archive.put_hints(repository.id, hints).await?;
        numbers.sort_unstable();
        let Some(highest) = numbers.last() else { return Ok(()) };
        self.archive.reach(repository.id, *highest).await?;
        for range in runs(&numbers) {
            self.queue.push_range(QueueName::Download, repository.id, range, lane.max(Lane::Backfill)).await?;
        }
        Ok(())
    }

    /// What the list left out and nothing is known of: deleted, transferred, hidden, discussions.
    async fn push_unknown(&self, repository: &Repository, lane: Lane) -> Result<(), Failure> {
        let ledger = self.archive.ledger(repository.id).await?;
        let unknown: Vec<u64> = ledger.numbers(NumberState::Unknown).collect();
        for range in runs(&unknown) {
            self.queue.push_range(QueueName::Download, repository.id, range, lane.max(Lane::Backfill)).await?;
        }
        Ok(())
    }

    /// Asks what was updated since the cursor, with overlap, and pushes a job for whatever differs from its record.
    pub(crate) async fn walk_updates(&self, repository: &Repository, purpose: Purpose) -> Result<(), Failure> {
        let feed = format!("{}/{}", part::UPDATES, repository.id);
        let mut cursor = self.updates_cursor(&feed, repository).await?;
        let since = cursor.since - SignedDuration::try_from(self.options.overlap).unwrap_or_default();
        let name = repository.full_name.clone();
        let mut resource = Resource::Issues { repository: name, since: Some(since), sort: Sort::Updated };
        let mut etag = cursor.etag.take();
        let asked_since = cursor.since;
        for page_number in 1.. {
            let Some(page) = self.page(repository, &resource, etag.take().as_deref(), purpose).await? else {
                return Ok(());
            };
            let listed = listed(page.body);
            if let Some(latest) = listed.iter().filter_map(|item| item.updated_at).max() {
                cursor.since = cursor.since.max(latest);
            }
            self.take_updates(repository, listed).await?;
            let only_page = page_number == 1 && page.next.is_none();
            cursor.etag = page.etag.filter(|_| only_page && cursor.since == asked_since);
            self.set_cursor(&feed, &cursor).await?;
            match page.next {
                Some(next) => resource = Resource::Address(next),
                None => break,
            }
        }
        Ok(())
    }

    async fn updates_cursor(&self, feed: &str, repository: &Repository) -> Result<UpdatesCursor, Failure> {
        let stored = self.archive.cursor(feed).await?.and_then(|cursor| serde_json::from_value(cursor).ok());
        if let Some(cursor) = stored {
            return Ok(cursor);
        }
        // Without a cursor everything since the tracking began is asked for: the walk over all items was later.
        let tracked = repository::tracked(&self.archive, repository.id).await?;
        Ok(UpdatesCursor { since: tracked.map_or_else(Timestamp::now, |tracked| tracked.since), etag: None })
    }

    async fn take_updates(&self, repository: &Repository, listed: Vec<Listed>) -> Result<(), Failure> {
        let seen_at = Timestamp::now();
        let (mut hints, mut triggers) = (Vec::new(), Vec::new());
        let highest = listed.iter().map(|item| item.number).max();
        for item in listed {
            let record = self.archive.record(ItemId { repository: repository.id, number: item.number }).await?;
            let stored = record.filter(|record| !record.state.is_tombstone());
            if stored.as_ref().and_then(|record| record.issue.as_ref()).is_some_and(|known| is_same(known, &item.issue))
            {
                continue;
            }
            triggers.push(Trigger {
                queue: QueueName::Download,
                subject: Subject::item(repository.id, item.number),
                lane: Lane::Reconcile,
                timing: Timing::WhenFree,
                reason: "reconcile".to_owned(),
            });
            hints.push(Hint { seen_at, issue: item.issue });
        }
        if let Some(highest) = highest {
            self.archive.reach(repository.id, highest).await?;
        }
        if !triggers.is_empty() {
            metrics::counter!("gharvest_reconcile_found_total").increment(triggers.len() as u64);
            self.archive.put_hints(repository.id, hints).await?;
            self.queue.push(&triggers, None).await?;
        }
        Ok(())
    }

    async fn set_cursor(&self, feed: &str, cursor: &impl Serialize) -> Result<(), Failure> {
        let value = serde_json::to_value(cursor).expect("a cursor is plain data");
        Ok(self.archive.set_cursor(feed, value).await?)
    }
}

/// Sets the cursor of a repository's updates back, so that the next walk asks for everything updated since then.
pub async fn look_back(
    archive: &gharvest_archive::Archive,
    repository: gharvest_model::RepositoryId,
    since: Timestamp,
) -> gharvest_archive::Result<()> {
    let cursor = serde_json::to_value(UpdatesCursor { since, etag: None }).expect("a cursor is plain data");
    archive.set_cursor(&format!("{}/{repository}", part::UPDATES), cursor).await
}

fn new_walk() -> ItemsCursor {
    ItemsCursor { started_at: Some(Timestamp::now()), ..ItemsCursor::default() }
}

fn unexpected_304(repository: &Repository) -> Failure {
    Failure::Again(format!("GitHub answers 304 to an unconditional request for the list of {}", repository.full_name))
}

fn listed(body: Value) -> Vec<Listed> {
    let Value::Array(items) = body else { return Vec::new() };
    let entry = |issue: Value| {
        let number = issue.get("number").and_then(Value::as_u64).filter(|number| is_number(*number))?;
        let updated_at = issue.get("updated_at").and_then(Value::as_str).and_then(|text| text.parse().ok());
        Some(Listed { number, updated_at, issue })
    };
    items.into_iter().filter_map(entry).collect()
}

/// What a list entry shows of a thread's changes. Only fields that lists and single answers surely share are compared:
/// a difference between the two forms must not cause a download at each round.
fn is_same(known: &Value, listed: &Value) -> bool {
    ["/updated_at", "/state", "/title", "/comments", "/locked", "/reactions/total_count", "/milestone/title"]
        .iter()
        .all(|field| known.pointer(field) == listed.pointer(field))
        && label_names(known) == label_names(listed)
}

fn label_names(issue: &Value) -> Vec<&str> {
    let labels = issue.get("labels").and_then(Value::as_array).into_iter().flatten();
    labels.filter_map(|label| label.as_str().or_else(|| label.get("name")?.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_differs_from_its_record_by_what_people_see() {
        let known = json!({"updated_at": "a", "state": "open", "title": "t", "comments": 1, "labels": [{"name": "bug"}],
            "closed_by": null, "reactions": {"total_count": 0}});
        assert!(is_same(
            &known,
            &json!({"updated_at": "a", "state": "open", "title": "t", "comments": 1,
            "labels": ["bug"], "reactions": {"total_count": 0}})
        ));
        for (field, value) in [
            ("updated_at", json!("b")),
            ("title", json!("x")),
            ("labels", json!([])),
            ("reactions", json!({"total_count": 1})),
        ] {
            let mut listed = known.clone();
            listed[field] = value;
            assert!(!is_same(&known, &listed), "{field}");
        }
    }

    #[test]
    fn entries_without_a_usable_number_are_left_out() {
        let body = json!([{"number": 3, "updated_at": "2026-01-01T00:00:00Z"}, {"number": 0}, {"number": "x"},
            {"number": 99_999_999_999_u64}, {}]);
        let listed = listed(body);
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].updated_at, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    }
}
