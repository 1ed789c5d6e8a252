//! Comments and review comments that were updated since the last look, for the whole repository at once.

use std::collections::BTreeSet;

use gharvest_github::{Purpose, Resource, Stretch, Stretched};
use gharvest_model::{ItemId, Lane, Record};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Sweep;
use crate::Failure;

/// The archive's part that holds the places.
const PART: &str = "sweep-comments";
/// Stretches of a list read in one run.
const MOST_STRETCHES: usize = 20;

/// How far both lists were read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Places {
    comments: Place,
    review_comments: Place,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    since: Option<Timestamp>,
    /// Of the answer after `since`, if that was one page.
    etag: Option<String>,
}

impl Sweep<'_> {
    pub(crate) async fn comments(&mut self) -> Result<u64, Failure> {
        let mut places: Places = self.load(PART).await?;
        let before = places.clone();
        let name = &self.tracked.name;
        let mut numbers = BTreeSet::new();
        let list = |since| Resource::AllComments { repository: name.clone(), since };
        let comments = self.updated(&mut places.comments, &list, &mut numbers).await;
        let list = |since| Resource::AllReviewComments { repository: name.clone(), since };
        let review_comments = self.updated(&mut places.review_comments, &list, &mut numbers).await;
        // What was read counts, whatever stopped it.
        let numbers: Vec<u64> = numbers.into_iter().collect();
        let pushed = self.push(&numbers, "comments", Lane::Reconcile, Vec::new()).await?;
        if places != before {
            self.save(PART, &places).await?;
        }
        comments.and(review_comments).map(|()| pushed)
    }

    /// Reads one list on from its place, and collects the numbers whose records lack what it says.
    async fn updated(
        &mut self,
        place: &mut Place,
        list: &(dyn Fn(Option<Timestamp>) -> Resource + Sync),
        numbers: &mut BTreeSet<u64>,
    ) -> Result<(), Failure> {
        // The first mirror read everything up to its end.
        let mut since = place.since.unwrap_or(self.tracked.since);
        let mut asked = Some(since - SignedDuration::from_mins(1));
        let mut etag = place.etag.clone();
        for stretch in 0..MOST_STRETCHES {
            if !self.spend(1) {
                break;
            }
            let read =
                self.client.stretch(&list(asked), Some(since), etag.take().as_deref(), Purpose::Backfill).await?;
            let read = match read {
                Stretched::Read(read) => read,
                Stretched::NotModified => {
                    self.was_free();
                    break;
                }
                Stretched::TooLong => {
                    // Nobody writes so much in a second: what was imported in it, the rotation finds.
                    *place = Place { since: Some(since + SignedDuration::from_secs(2)), etag: None };
                    break;
                }
                // What the repository's state is, the other walks say.
                Stretched::NoList(_) => break,
            };
            self.charge(read.calls.saturating_sub(1));
            for comment in &read.entries {
                if let Some(number) = number_of(comment)
                    && self.is_news(number, comment).await?
                {
                    numbers.insert(number);
                }
            }
            let latest = read.latest.unwrap_or(since);
            // The next run asks the same only if nothing was later.
            let etag = read.etag.filter(|_| stretch == 0 && latest == since);
            *place = Place { since: Some(latest), etag };
            if read.is_last {
                break;
            }
            (since, asked) = (latest, Stretch::next_since(read.latest));
        }
        Ok(())
    }

    async fn is_news(&self, number: u64, comment: &Value) -> Result<bool, Failure> {
        let record = self.archive.record(ItemId { repository: self.tracked.id, number }).await?;
        Ok(record.is_none_or(|record| !has(&record, comment)))
    }
}

/// Whether a record has a comment as it is.
fn has(record: &Record, comment: &Value) -> bool {
    let same = |known: &Value| {
        known["id"] == comment["id"]
            && known["body"] == comment["body"]
            && known["updated_at"] == comment["updated_at"]
            && known["reactions"]["total_count"] == comment["reactions"]["total_count"]
    };
    record.timeline.iter().chain(&record.review_comments).any(same)
}

/// The number in a comment's `issue_url` or `pull_request_url`.
fn number_of(comment: &Value) -> Option<u64> {
    let address = comment["issue_url"].as_str().or_else(|| comment["pull_request_url"].as_str())?;
    address.rsplit('/').next()?.parse().ok()
}
