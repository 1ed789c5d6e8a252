//! Everything in whole, slowly: what no other detector sees is found at last.

use std::time::Duration;

use gharvest_github::{PAGE, Purpose};
use gharvest_model::{ItemId, Kind, Lane, Record, ledger::NumberState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ROTATIONS, Sweep};
use crate::{Failure, schedule::later};

/// The archive's part that holds the place.
const PART: &str = "sweep-rotation";
/// The most items of one run: what costs nothing is work all the same.
const MOST: usize = 500;

/// How far the rotation is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    /// The last number that was pushed.
    number: u64,
    /// When.
    at: Option<Timestamp>,
    /// What the last item cost beyond its run's share: later runs pay it before they go on.
    #[serde(default)]
    owed: u64,
}

impl Sweep<'_> {
    pub(crate) async fn rotation(&mut self) -> Result<u64, Failure> {
        let mut place: Place = self.load(PART).await?;
        let Some(at) = place.at else {
            return self.save(PART, &Place { at: Some(self.now), ..place }).await.map(|()| 0);
        };
        let paid = place.owed.min(self.left);
        place.owed -= paid;
        self.left -= paid;
        let ledger = self.archive.ledger(self.tracked.id).await?;
        let elapsed = self.now.duration_since(at).as_secs_f64().max(0.0);
        let whole = self.pace.period.as_secs_f64().max(1.0) * f64::from(ROTATIONS);
        let wanted = ((elapsed / whole * ledger.highest() as f64) as u64).min(ledger.highest());
        let (mut steps, mut numbers) = (0, Vec::new());
        while steps < wanted && self.left > 0 && numbers.len() < MOST {
            let number = (place.number + steps) % ledger.highest() + 1;
            steps += 1;
            if ledger.get(number).state == NumberState::Present {
                numbers.push(number);
                let price = self.price(number).await?;
                place.owed = price.saturating_sub(self.left);
                self.left = self.left.saturating_sub(price);
            }
        }
        if steps == 0 && paid == 0 {
            return Ok(0);
        }
        let pushed = self.push(&numbers, "rotation", Lane::Backfill, Vec::new()).await?;
        if steps > 0 {
            // What these steps stand for: a rest of a step, or what the budget did not allow, comes next time.
            let taken = Duration::from_secs_f64(whole * steps as f64 / ledger.highest() as f64);
            place.at = Some(later(at, taken).min(self.now));
            place.number = (place.number + steps) % ledger.highest();
        }
        self.save(PART, &place).await?;
        Ok(pushed)
    }

    /// What the download of an item costs while nothing changed.
    async fn price(&self, number: u64) -> Result<u64, Failure> {
        let stored = self.archive.stored(ItemId { repository: self.tracked.id, number }).await?;
        // GitHub counts a request that it answers by 304, unless it came with a token, without which there is no GraphQL.
        let is_free = |etag: &str| self.client.is_free(etag, Purpose::Backfill);
        Ok(match &stored {
            Some(stored) => price(&stored.text()?, is_free, self.client.can_graphql()),
            None => 1,
        })
    }
}

/// Calls for a thread as its record knows it. A part with an ETag is answered by 304, which is free if the ETag is; a list
/// of several pages has none, and all of its pages but the last are asked for once more by those just got, which
/// `has_token` makes free.
fn price<E>(record: &Record<E>, is_free: impl Fn(&str) -> bool, has_token: bool) -> u64 {
    let part = |name: &str, entries: usize| {
        let pages = entries.div_ceil(PAGE).max(1) as u64;
        let again = if has_token { 0 } else { pages - 1 };
        let is_known = record.etags.get(name).and_then(Value::as_str).is_some_and(&is_free);
        if is_known { 0 } else { pages + again }
    };
    let mut sum = part("issue", 1) + part("timeline", record.timeline.len());
    if record.kind == Kind::PullRequest {
        sum += part("pull", 1);
        // How many there are stands in the pull request.
        if !record.review_comments.is_empty() {
            sum += part("review_comments", record.review_comments.len());
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use gharvest_model::{RepositoryId, record::RecordRepository};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_price_of_an_item_is_that_of_what_its_record_has_no_etag_for() {
        let record = |kind, etags: &[&str], entries: usize, comments: usize| {
            let repository = RecordRepository { id: RepositoryId(7), full_name: "a/b".parse().unwrap() };
            let mut record: Record<Value> = Record::new(repository, 3, kind, Timestamp::UNIX_EPOCH);
            record.etags = etags.iter().map(|name| ((*name).to_owned(), json!("x"))).collect();
            record.timeline = vec![Value::Null; entries];
            record.review_comments = vec![Value::Null; comments];
            record
        };
        let all = ["issue", "timeline", "pull", "review_comments"];
        let known = record(Kind::PullRequest, &all, 250, 7);
        assert_eq!(price(&known, |_| false, true), 6, "ETags of a token that changed");
        for (what, record, with_token, without) in [
            ("an issue that came by GraphQL", record(Kind::Issue, &[], 3, 0), 2, 2),
            ("an issue without a timeline", record(Kind::Issue, &[], 0, 0), 2, 2),
            ("a pull request", record(Kind::PullRequest, &[], 3, 0), 3, 3),
            ("one with review comments", record(Kind::PullRequest, &[], 3, 7), 4, 4),
            ("what REST gave before", record(Kind::PullRequest, &all, 3, 7), 0, 4),
            ("a long timeline", record(Kind::Issue, &["issue"], 250, 0), 3, 6),
        ] {
            let prices = (price(&record, |etag| etag == "x", true), price(&record, |_| false, false));
            assert_eq!(prices, (with_token, without), "{what}");
        }
    }
}
