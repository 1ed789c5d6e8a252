//! Everything in whole, slowly: what no other detector sees is found at last.
//!
//! Numbers have their turn in batches, each at its own time of the turn, so that many threads share what a request of
//! GraphQL costs: the downloader compares them before it fetches what differs. Without GraphQL each number is a batch.

use std::time::Duration;

use gharvest_archive::ErrorKind;
use gharvest_github::{Purpose, cost_again};
use gharvest_model::{ItemId, Lane, job::reason::ROTATION, ledger::NumberState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ROTATIONS, Sweep};
use crate::{
    Failure,
    schedule::{earlier, later},
};

/// The archive's part that holds the place.
const PART: &str = "sweep-rotation";
/// Numbers of a batch, and the most of one run but for a batch: what costs nothing is work all the same.
const BATCH: u64 = 400;

/// How far the rotation is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// The last number that was pushed.
    number: u64,
    /// When that one's time was.
    at: Option<Timestamp>,
    /// What the last batch cost beyond its run's share: later runs pay it before they go on.
    #[serde(default)]
    owed: u64,
}

impl Sweep<'_> {
    pub(crate) async fn rotation(&mut self) -> Result<u64, Failure> {
        let mut place: Place = self.load(PART).await?;
        let before = place.clone();
        let paid = place.owed.min(self.left);
        place.owed -= paid;
        self.left -= paid;
        let numbers = self.due(&mut place).await?;
        let pushed = self.push(&numbers, ROTATION, Lane::Backfill, Vec::new()).await?;
        if place != before {
            self.save(PART, &place).await?;
        }
        Ok(pushed)
    }

    /// The items whose time has come, as far as the budget allows: the others' comes later. It begins with the first look.
    async fn due(&mut self, place: &mut Place) -> Result<Vec<u64>, Failure> {
        let ledger = self.archive.ledger(self.tracked.id).await?;
        let (highest, turn) = (ledger.highest(), self.pace.period.saturating_mul(ROTATIONS));
        let size = if self.pace.by_graphql { BATCH } else { 1 };
        // Who did not run for longer makes up for one turn.
        let mut at = place.at.unwrap_or(self.now).max(earlier(self.now, turn));
        let mut numbers = Vec::new();
        while highest > 0 && self.left > 0 && numbers.len() < BATCH as usize {
            let first = place.number % highest;
            // Where one batch ends does not depend on where another did: each has the same time in every turn.
            let last = ((first / size + 1) * size).min(highest);
            let taken = turn.as_secs_f64() * (last - first) as f64 / highest as f64;
            let time = later(at, Duration::try_from_secs_f64(taken).unwrap_or(Duration::MAX));
            if time > self.now {
                break;
            }
            let batch: Vec<u64> =
                (first + 1..=last).filter(|number| ledger.get(*number).state == NumberState::Present).collect();
            let price = self.price(&batch).await?;
            place.owed = price.saturating_sub(self.left);
            self.left = self.left.saturating_sub(price);
            numbers.extend(batch);
            (place.number, at) = (last, time);
        }
        place.at = Some(at);
        Ok(numbers)
    }

    /// What the downloads of items cost while nothing changed.
    async fn price(&self, numbers: &[u64]) -> Result<u64, Failure> {
        if self.pace.by_graphql {
            return Ok(cost_again(numbers.len() as u64));
        }
        let mut calls = 0;
        for number in numbers {
            calls += self.calls(*number).await?;
        }
        Ok(calls)
    }

    /// Calls by REST for an item while nothing changed.
    async fn calls(&self, number: u64) -> Result<u64, Failure> {
        let stored = match self.archive.stored(ItemId { repository: self.tracked.id, number }).await {
            // Its download says so.
            Err(error) if error.kind() == ErrorKind::Corrupt => None,
            stored => stored?,
        };
        let known = stored.as_ref().and_then(|stored| stored.text().ok());
        Ok(known.map_or(1, |known| self.client.calls_again(&known, Purpose::Backfill)))
    }
}
