//! Everything in whole, slowly: what no other detector sees is found at last.

use std::time::Duration;

use gharvest_model::{Lane, ledger::NumberState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ROTATIONS, Sweep};
use crate::{Failure, schedule::later};

/// The archive's part that holds the place.
const PART: &str = "sweep-rotation";
/// Calls that one item costs; most are answered by 304 and cost nothing.
const CALLS_AN_ITEM: u64 = 3;

/// How far the rotation is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    /// The last number that was pushed.
    number: u64,
    /// When.
    at: Option<Timestamp>,
}

impl Sweep<'_> {
    pub(crate) async fn rotation(&mut self) -> Result<u64, Failure> {
        let mut place: Place = self.load(PART).await?;
        let Some(at) = place.at else {
            return self.save(PART, &Place { number: 0, at: Some(self.now) }).await.map(|()| 0);
        };
        let ledger = self.archive.ledger(self.tracked.id).await?;
        let elapsed = self.now.duration_since(at).as_secs_f64().max(0.0);
        let whole = self.pace.period.as_secs_f64().max(1.0) * f64::from(ROTATIONS);
        let wanted = (elapsed / whole * ledger.highest() as f64) as u64;
        let steps = wanted.min(self.left / CALLS_AN_ITEM).min(ledger.highest());
        if steps == 0 {
            return Ok(0);
        }
        let numbers: Vec<u64> = (0..steps)
            .map(|step| (place.number + step) % ledger.highest() + 1)
            .filter(|number| ledger.get(*number).state == NumberState::Present)
            .collect();
        self.left -= steps * CALLS_AN_ITEM;
        // What these steps stand for: a rest of a step, or what the budget did not allow, comes next time.
        let taken = Duration::from_secs_f64(whole * steps as f64 / ledger.highest() as f64);
        place = Place { number: (place.number + steps) % ledger.highest(), at: Some(later(at, taken).min(self.now)) };
        let pushed = self.push(&numbers, "rotation", Lane::Backfill, Vec::new()).await?;
        self.save(PART, &place).await?;
        Ok(pushed)
    }
}
