//! Walks over the list of a repository's items: all of them once, and again and again those updated since.
//!
//! The first walk is followed by one over the review comments of all pull requests, where that is cheaper than asking
//! each: pull requests get their jobs afterwards. All walks keep their place in a cursor after each page, so that one
//! that was killed goes on where it was; the first walk gives its lease back when its turn is over. What a page says is
//! written before the cursor moves: hints, then the ledger, then jobs, then the cursor. So a page read twice changes
//! nothing, and none is left out. Hints may be lost, and then cost a request; but one with review comments is durable,
//! because the older one without them would be taken for complete. For the same reason a hint names the walk that it is
//! of, and a walk reads review comments anew that another one read.

use std::collections::{BTreeMap, BTreeSet};

use fail::fail_point;
use gharvest_archive::{Hint, LedgerChange, Repository};
use gharvest_github::{Answer, ErrorKind, Found, Purpose, Resource, Sort, Stretch, Stretched};
use gharvest_model::{
    ItemId, Kind, Lane, QueueName, Subject,
    job::part,
    ledger::NumberState,
    listed::is_same,
    progress::{ItemsCursor, UpdatesCursor},
};
use gharvest_queue::{Timing, Trigger};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    Downloader, edits::Walked, fetch::kind_of, location, outcome::Failure, parts::is_number, plan, repository,
};

/// The place of the walk over review comments: cursor `review-comments/{repository}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct CommentsCursor {
    /// When the walk over all items began that it belongs to: another one's hints have none of these comments.
    #[serde(default)]
    walk: Option<Timestamp>,
    /// When the last comment that was read was updated.
    since: Option<Timestamp>,
    /// Stretches read so far.
    pages: u64,
    is_done: bool,
}

/// Numbers that are pushed in one step, of several pages.
const PUSHED_AT_ONCE: usize = 400;

/// What of a list entry is looked at.
struct Listed {
    number: u64,
    updated_at: Option<Timestamp>,
    issue: Value,
}

impl Downloader {
    /// A turn of the walk over the list of all items: keeps their bodies as hints, fills the ledger, pushes a job for each
    /// number up to the highest, those that the list leaves out included. The turn began with the lease.
    pub(crate) async fn walk_items(
        &self,
        repository: &Repository,
        lane: Lane,
        purpose: Purpose,
        begun: Instant,
    ) -> Result<Walked, Failure> {
        let feed = ItemsCursor::feed(repository.id);
        // A schedule that found the walk unfinished while it was under way asks for nothing new; a person does.
        if lane != Lane::Manual && self.walk_is_finished(&feed).await? {
            return Ok(Walked::Enough);
        }
        let mut cursor = self.items_cursor(&feed).await?;
        if self.list_items(repository, &mut cursor, lane, purpose, begun).await? == Walked::Interrupted {
            return Ok(Walked::Interrupted);
        }
        let mut comments = None;
        if self.waits_for_comments() {
            comments = self.walk_review_comments(repository, &cursor, purpose, begun).await?;
            if comments.is_none() {
                return Ok(Walked::Interrupted);
            }
        }
        cursor.discussions_told = self.push_unknown(repository, &cursor, lane, purpose, comments).await?;
        fail_point!("walk-pushed");
        cursor.finished_at = Some(Timestamp::now());
        self.set_cursor(&feed, &cursor).await?;
        Ok(Walked::Enough)
    }

    /// Whether pull requests wait for the list of all review comments.
    fn waits_for_comments(&self) -> bool {
        self.options.graphql && self.client.can_graphql()
    }

    /// Reads the list on from its cursor.
    async fn list_items(
        &self,
        repository: &Repository,
        cursor: &mut ItemsCursor,
        lane: Lane,
        purpose: Purpose,
        begun: Instant,
    ) -> Result<Walked, Failure> {
        let feed = ItemsCursor::feed(repository.id);
        let waits = self.waits_for_comments();
        let mut is_kept = cursor.next.is_some();
        let mut ready = Vec::new();
        while !cursor.listed {
            let asked_at = Timestamp::now();
            let page = match self.items_page(repository, cursor, purpose).await {
                // An address kept for too long is refused: the walk begins again. One that GitHub gave just now is
                // refused again.
                Err(Failure::Github(error)) if *error.kind() == ErrorKind::Refused && is_kept => {
                    (*cursor, is_kept) = (new_walk(), false);
                    continue;
                }
                page => page?,
            };
            is_kept = false;
            let listed = listed(page.body);
            cursor.seen += listed.len() as u64;
            cursor.pulls += listed.iter().filter(|item| item.is_pull()).count() as u64;
            ready.extend(self.take_page(repository, listed, asked_at, cursor.started_at, waits).await?);
            fail_point!("walk-page-taken");
            cursor.next = page.next;
            cursor.listed = cursor.next.is_none();
            let is_over = self.is_over(begun);
            // Larger leases are cheaper, so a few pages are pushed at once; the cursor moves when they are.
            if ready.len() >= PUSHED_AT_ONCE || cursor.listed || is_over {
                self.push_numbers(repository, std::mem::take(&mut ready), lane).await?;
                self.set_cursor(&feed, &*cursor).await?;
            }
            if is_over && !cursor.listed {
                return Ok(Walked::Interrupted);
            }
        }
        Ok(Walked::Enough)
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
        let page = |address| Resource::Page(repository.full_name.clone(), address);
        let resource = cursor.next.clone().map_or_else(first, page);
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

    /// Takes a page of the list, asked for then, for the walk that began then, and says which numbers want a job; with
    /// `waits`, pull requests not yet.
    async fn take_page(
        &self,
        repository: &Repository,
        listed: Vec<Listed>,
        asked_at: Timestamp,
        walk: Option<Timestamp>,
        waits: bool,
    ) -> Result<Vec<u64>, Failure> {
        let highest = listed.iter().map(|item| item.number).max();
        let numbers: Vec<u64> =
            listed.iter().filter(|item| !(waits && item.is_pull())).map(|item| item.number).collect();
        let hints = listed.into_iter().map(|item| Hint { walk, ..Hint::new(asked_at, item.issue) }).collect();
        self.archive.put_hints(repository.id, hints).await?;
        if let Some(highest) = highest {
            self.archive.reach(repository.id, highest).await?;
        }
        Ok(numbers)
    }

    async fn push_numbers(&self, repository: &Repository, mut numbers: Vec<u64>, lane: Lane) -> Result<(), Failure> {
        numbers.sort_unstable();
        let trigger = |number: &u64| Trigger {
            queue: QueueName::Download,
            subject: Subject::item(repository.id, *number),
            lane: lane.max(Lane::Backfill),
            timing: Timing::WhenFree,
            reason: String::new(),
        };
        // Many in one step: whoever waits for work leases what is there, and larger leases are cheaper.
        for step in numbers.chunks(PUSHED_AT_ONCE) {
            self.queue.push(&step.iter().map(trigger).collect::<Vec<_>>(), None).await?;
        }
        Ok(())
    }

    /// Pushes what the list left out and nothing is known of: deleted, transferred, hidden; what GraphQL shows to be a
    /// discussion is accounted for at once. And the pull requests that waited for `comments`, whose hints then say whether
    /// all of them were listed. Says up to which number it was told what is a discussion.
    async fn push_unknown(
        &self,
        repository: &Repository,
        cursor: &ItemsCursor,
        lane: Lane,
        purpose: Purpose,
        comments: Option<bool>,
    ) -> Result<u64, Failure> {
        let waited = comments.is_some();
        let ledger = self.archive.ledger(repository.id).await?;
        let highest = ledger.highest();
        let (mut numbers, mut unlisted) = (Vec::new(), Vec::new());
        for number in 1..=highest {
            let is_unknown = ledger.get(number).state == NumberState::Unknown;
            if !(is_unknown || waited) {
                continue;
            }
            match self.archive.hint(ItemId { repository: repository.id, number }).await? {
                Some(hint) if waited && kind_of(&hint.issue) == Kind::PullRequest => {
                    // One that another list put in the walk's place has no comments.
                    let has_all = comments == Some(true) && hint.walk == cursor.started_at;
                    let hint = Hint { has_all_review_comments: has_all, ..hint };
                    self.archive.put_hints(repository.id, vec![hint]).await?;
                    numbers.push(number);
                }
                // Its job was pushed with its page.
                Some(_) => {}
                None if is_unknown => unlisted.push(number),
                None => {}
            }
        }
        // These need not wait for a GraphQL that has no budget.
        self.push_numbers(repository, numbers, lane).await?;
        // A hint goes when its item was stored: the ledger knows those by now.
        let ledger = self.archive.ledger(repository.id).await?;
        unlisted.retain(|number| ledger.get(*number).state == NumberState::Unknown);
        let told = self.discussions(repository, &unlisted, purpose).await?;
        let told = told.unwrap_or_default();
        let discussions_told =
            unlisted.iter().find(|number| !told.contains_key(number)).map_or(highest, |untold| untold - 1);
        let is_discussion = |number: &u64| told.get(number) == Some(&true);
        let verified_at = Timestamp::now();
        let not_items = unlisted.iter().copied().filter(is_discussion).map(|number| LedgerChange {
            number,
            state: NumberState::NotAnItem,
            verified_at,
        });
        self.archive.update_ledger(repository.id, &not_items.collect::<Vec<_>>()).await?;
        unlisted.retain(|number| !is_discussion(number));
        self.push_numbers(repository, unlisted, lane).await?;
        Ok(discussions_told)
    }

    /// Walks the list of the repository's review comments and keeps them with the hints of their pull requests. Says
    /// whether that is now done: not if a list for each pull request is cheaper, or the list cannot be read whole; and
    /// nothing while its turn is over and it is not.
    async fn walk_review_comments(
        &self,
        repository: &Repository,
        items: &ItemsCursor,
        purpose: Purpose,
        begun: Instant,
    ) -> Result<Option<bool>, Failure> {
        let feed = format!("{}/{}", part::REVIEW_COMMENTS, repository.id);
        let walk = items.started_at;
        let stored = self.archive.cursor(&feed).await?.and_then(|cursor| serde_json::from_value(cursor).ok());
        let own = stored.filter(|cursor: &CommentsCursor| cursor.walk == walk);
        let mut cursor = own.unwrap_or_else(|| CommentsCursor { walk, ..CommentsCursor::default() });
        while items.pulls > 0 && !cursor.is_done {
            let Some(stretch) = self.review_comments(repository, cursor.since, purpose).await? else {
                return Ok(Some(false));
            };
            if cursor.pages == 0 && !plan::lists_review_comments(stretch.pages, items.pulls) {
                return Ok(Some(false));
            }
            self.take_review_comments(repository, walk, stretch.entries).await?;
            let (since, pages, is_done) = (stretch.latest, cursor.pages + 1, stretch.is_last);
            cursor = CommentsCursor { walk, since, pages, is_done };
            self.set_cursor(&feed, &cursor).await?;
            if !cursor.is_done && self.is_over(begun) {
                return Ok(None);
            }
        }
        Ok(Some(true))
    }

    /// Review comments updated since a time; none if GitHub cannot show them.
    async fn review_comments(
        &self,
        repository: &Repository,
        since: Option<Timestamp>,
        purpose: Purpose,
    ) -> Result<Option<Stretch>, Failure> {
        let first =
            Resource::AllReviewComments { repository: repository.full_name.clone(), since: Stretch::next_since(since) };
        match self.client.stretch(&first, since, None, purpose).await {
            Ok(Stretched::Read(stretch)) => Ok(Some(stretch)),
            Ok(Stretched::NoList(answer)) => Err(self.not_a_list(repository, &answer, purpose).await),
            Ok(Stretched::NotModified) => Err(unexpected_304(repository)),
            Ok(Stretched::TooLong) => Ok(None),
            // It ends long lists somewhere.
            Err(error) if *error.kind() == ErrorKind::Refused => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps review comments with the hints of their walk, durably: the cursor moves on over them.
    async fn take_review_comments(
        &self,
        repository: &Repository,
        walk: Option<Timestamp>,
        comments: Vec<Value>,
    ) -> Result<(), Failure> {
        let mut by_pull: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        for comment in comments {
            if let Some(number) = pull_of(&comment) {
                by_pull.entry(number).or_default().push(comment);
            }
        }
        let mut hints = Vec::with_capacity(by_pull.len());
        for (number, comments) in by_pull {
            let item = ItemId { repository: repository.id, number };
            let Some(mut hint) = self.archive.hint(item).await?.filter(|hint| hint.walk == walk) else { continue };
            let fresh: BTreeSet<Option<u64>> = comments.iter().map(|comment| comment["id"].as_u64()).collect();
            hint.review_comments.retain(|known| !fresh.contains(&known["id"].as_u64()));
            hint.review_comments.extend(comments);
            // As the list of one pull request has them.
            hint.review_comments.sort_by_key(|comment| (time_of(comment, "created_at"), comment["id"].as_u64()));
            hints.push(hint);
        }
        Ok(self.archive.put_hints_durably(repository.id, hints).await?)
    }

    /// Asks what was updated since the cursor, with overlap, and pushes a job for whatever differs from its record.
    pub(crate) async fn walk_updates(&self, repository: &Repository, purpose: Purpose) -> Result<(), Failure> {
        let feed = UpdatesCursor::feed(repository.id);
        let mut cursor = self.updates_cursor(&feed, repository).await?;
        let since = cursor.since - SignedDuration::try_from(self.options.overlap).unwrap_or_default();
        let name = repository.full_name.clone();
        let mut resource = Resource::Issues { repository: name, since: Some(since), sort: Sort::Updated };
        let mut etag = cursor.etag.clone();
        let asked_since = cursor.since;
        for page_number in 1.. {
            let asked_at = Timestamp::now();
            let Some(page) = self.page(repository, &resource, etag.take().as_deref(), purpose).await? else {
                break;
            };
            let listed = listed(page.body);
            if let Some(latest) = listed.iter().filter_map(|item| item.updated_at).max() {
                cursor.since = cursor.since.max(latest);
            }
            self.take_updates(repository, listed, asked_at).await?;
            let only_page = page_number == 1 && page.next.is_none();
            cursor.etag = page.etag.filter(|_| only_page && cursor.since == asked_since);
            self.set_cursor(&feed, &cursor).await?;
            match page.next {
                Some(next) => resource = resource.next_page(next),
                None => break,
            }
        }
        if cursor.hear(Timestamp::now()) {
            self.set_cursor(&feed, &cursor).await?;
        }
        self.look_back(repository, purpose).await
    }

    /// Asks again what was updated since a time that somebody named. The place stands with that wish, which goes when all
    /// was asked: a walk that did not know of it cannot take it away.
    async fn look_back(&self, repository: &Repository, purpose: Purpose) -> Result<(), Failure> {
        let Some(mut since) = self.archive.look_back_to(repository.id).await? else { return Ok(()) };
        let name = repository.full_name.clone();
        let mut resource = Resource::Issues { repository: name, since: Some(since), sort: Sort::Updated };
        loop {
            let asked_at = Timestamp::now();
            let page = self.page(repository, &resource, None, purpose).await?;
            let page = page.ok_or_else(|| unexpected_304(repository))?;
            let listed = listed(page.body);
            let reached = listed.iter().filter_map(|item| item.updated_at).fold(since, Timestamp::max);
            self.take_updates(repository, listed, asked_at).await?;
            let going_on = page.next.is_some().then_some(reached);
            // Whoever wants another time has pushed another run, which begins there.
            if !self.archive.looked_back(repository.id, since, going_on).await? {
                return Ok(());
            }
            let Some(next) = page.next else { return Ok(()) };
            (since, resource) = (reached, resource.next_page(next));
        }
    }

    async fn updates_cursor(&self, feed: &str, repository: &Repository) -> Result<UpdatesCursor, Failure> {
        if let Some(cursor) = UpdatesCursor::read(self.archive.cursor(feed).await?) {
            return Ok(cursor);
        }
        // Without a cursor everything since the tracking began is asked for: the walk over all items was later.
        let tracked = repository::tracked(&self.archive, repository.id).await?;
        let since = tracked.map_or_else(Timestamp::now, |tracked| tracked.since);
        Ok(UpdatesCursor { since, etag: None, heard_at: None })
    }

    /// Takes a page of what was updated, asked for then.
    async fn take_updates(
        &self,
        repository: &Repository,
        listed: Vec<Listed>,
        asked_at: Timestamp,
    ) -> Result<(), Failure> {
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
            hints.push(Hint::new(asked_at, item.issue));
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

    pub(crate) async fn set_cursor(&self, feed: &str, cursor: &impl Serialize) -> Result<(), Failure> {
        let value = serde_json::to_value(cursor).expect("a cursor is plain data");
        Ok(self.archive.set_cursor(feed, value).await?)
    }
}

impl Listed {
    fn is_pull(&self) -> bool {
        kind_of(&self.issue) == Kind::PullRequest
    }
}

/// The number of the pull request that a review comment belongs to.
fn pull_of(comment: &Value) -> Option<u64> {
    location::parse(comment.get("pull_request_url")?.as_str()?)?.number.filter(|number| is_number(*number))
}

pub(crate) fn time_of(object: &Value, field: &str) -> Option<Timestamp> {
    object.get(field)?.as_str()?.parse().ok()
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
        let updated_at = time_of(&issue, "updated_at");
        Some(Listed { number, updated_at, issue })
    };
    items.into_iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_without_a_usable_number_are_left_out() {
        let body = json!([{"number": 3, "updated_at": "2026-01-01T00:00:00Z"}, {"number": 0}, {"number": "x"},
            {"number": 99_999_999_999_u64}, {}]);
        let listed = listed(body);
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].updated_at, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    }
}
