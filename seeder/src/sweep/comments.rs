//! Comments and review comments that were updated since the last look, for the whole repository at once.

use std::collections::BTreeSet;

use gharvest_github::{Answer, Found, Purpose, Resource};
use gharvest_model::{ItemId, Lane, Record};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Sweep;
use crate::Failure;

/// The archive's part that holds the places.
const PART: &str = "sweep-comments";
/// Pages read in one run.
const MOST_PAGES: usize = 20;

/// How far both lists were read.
#[derive(Debug, Default, Serialize, Deserialize)]
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
        let before = (places.comments.clone(), places.review_comments.clone());
        let name = self.tracked.name.clone();
        let own = name.clone();
        let mut numbers = BTreeSet::new();
        let comments = move |since| Resource::AllComments { repository: own.clone(), since };
        places.comments = self.updated(places.comments, &comments, &mut numbers).await?;
        let comments = move |since| Resource::AllReviewComments { repository: name.clone(), since };
        places.review_comments = self.updated(places.review_comments, &comments, &mut numbers).await?;
        let numbers: Vec<u64> = numbers.into_iter().collect();
        let pushed = self.push(&numbers, "comments", Lane::Reconcile, Vec::new()).await?;
        let after = (&places.comments, &places.review_comments);
        if (&before.0, &before.1) != after {
            self.save(PART, &places).await?;
        }
        Ok(pushed)
    }

    /// Reads one list from its place on, and collects the numbers whose records lack what it says.
    async fn updated(
        &mut self,
        mut place: Place,
        resource: &(dyn Fn(Option<Timestamp>) -> Resource + Sync),
        numbers: &mut BTreeSet<u64>,
    ) -> Result<Place, Failure> {
        // The first mirror read everything up to its end.
        let asked_since = place.since.unwrap_or(self.tracked.since) - SignedDuration::from_mins(1);
        let mut next = resource(Some(asked_since));
        let mut etag = place.etag.take();
        let mut since = place.since.unwrap_or(self.tracked.since);
        for page in 1..=MOST_PAGES {
            if !self.spend(1) {
                break;
            }
            let found = match self.client.get(&next, etag.as_deref(), Purpose::Backfill).await? {
                Answer::Found(found) => found,
                Answer::NotModified => {
                    self.was_free();
                    place.etag = etag;
                    break;
                }
                // What the repository's state is, the other walks say.
                _ => break,
            };
            etag = None;
            let Found { body, etag: fresh, next: more, .. } = found;
            for comment in body.as_array().into_iter().flatten() {
                let updated = comment["updated_at"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
                since = since.max(updated.unwrap_or(since));
                if let Some(number) = number_of(comment)
                    && self.is_news(number, comment).await?
                {
                    numbers.insert(number);
                }
            }
            place.etag = fresh.filter(|_| page == 1 && more.is_none() && Some(since) == place.since);
            place.since = Some(since);
            match more {
                Some(address) => next = next.next_page(address),
                None => break,
            }
        }
        Ok(place)
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
