//! Verifies everything once in a period: what `updated_at` hides is found at last.

use std::time::Duration;

use gharvest_archive::Archive;
use gharvest_model::{
    Lane, QueueName,
    ledger::{Ledger, NumberState},
    progress::runs,
    tracking::Tracked,
};
use gharvest_queue::Queue;
use jiff::Timestamp;

use crate::{Failure, schedule::earlier};

/// Requests that the verification of one item costs on average: its issue, its timeline, half a pull request.
const CALLS_AN_ITEM: f64 = 2.5;

/// How a sweep works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The time between two runs of the sweep.
    pub every: Duration,
    /// Every item is verified once in this time.
    pub period: Duration,
    /// Requests an hour that sweeps may cost.
    pub calls_per_hour: f64,
}

impl Pace {
    /// How many of `numbers` are due in one run.
    fn share(&self, numbers: u64) -> u64 {
        let runs = (self.period.as_secs_f64() / self.every.as_secs_f64().max(1.0)).max(1.0);
        (numbers as f64 / runs).ceil() as u64
    }

    /// How many items the budget bears in one run.
    pub fn affordable(&self) -> u64 {
        (self.calls_per_hour * self.every.as_secs_f64() / 3600.0 / CALLS_AN_ITEM) as u64
    }
}

/// Pushes the numbers of a repository that were verified longest ago, at most `most`. Says how many.
pub async fn sweep(
    archive: &Archive,
    queue: &dyn Queue,
    tracked: &Tracked,
    pace: Pace,
    most: u64,
    now: Timestamp,
) -> Result<u64, Failure> {
    let ledger = archive.ledger(tracked.id).await?;
    let mut numbers = oldest(&ledger, pace, most, now);
    numbers.sort_unstable();
    for range in runs(&numbers) {
        queue.push_range(QueueName::Download, tracked.id, range, Lane::Backfill).await?;
    }
    Ok(numbers.len() as u64)
}

/// The numbers verified longest ago. What was verified within half the period stays out, so that a small repository
/// is not asked for again and again.
fn oldest(ledger: &Ledger, pace: Pace, most: u64, now: Timestamp) -> Vec<u64> {
    let before = earlier(now, pace.period / 2);
    let states = [NumberState::Present, NumberState::Hidden, NumberState::Transferred, NumberState::NotAnItem];
    let mut verified: Vec<(Timestamp, u64)> = states
        .into_iter()
        .flat_map(|state| ledger.numbers(state))
        .filter_map(|number| Some((ledger.get(number).verified_at?, number)))
        .filter(|(at, _)| *at <= before)
        .collect();
    let wanted = usize::try_from(pace.share(ledger.highest()).min(most)).unwrap_or(usize::MAX);
    if wanted < verified.len() && wanted > 0 {
        verified.select_nth_unstable(wanted - 1);
    }
    verified.truncate(wanted);
    verified.into_iter().map(|(_, number)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + day * DAY).unwrap()
    }

    fn pace(hours: u64) -> Pace {
        Pace {
            every: Duration::from_secs(hours * 3600),
            period: Duration::from_secs(30 * DAY.unsigned_abs()),
            calls_per_hour: 1000.0,
        }
    }

    #[test]
    fn the_oldest_are_taken_and_every_number_has_its_turn_within_the_period() {
        let mut ledger = Ledger::default();
        for number in 1..=90 {
            ledger.set(number, NumberState::Present, day(0));
        }
        ledger.set(91, NumberState::Deleted, day(0));
        assert_eq!(oldest(&ledger, pace(24), 1000, day(14)), Vec::<u64>::new(), "verified within half the period");
        let mut at = 15;
        while ledger.oldest_verification() == Some(day(0)) && at < 50 {
            let taken = oldest(&ledger, pace(24), 1000, day(at));
            assert!(taken.len() <= 4, "a thirtieth a day: {}", taken.len());
            for number in taken {
                ledger.set(number, NumberState::Present, day(at));
            }
            ledger.set(91, NumberState::Deleted, day(at));
            at += 1;
        }
        assert!(at <= 15 + 30, "{at}");
    }

    #[test]
    fn the_budget_s_share_bounds_a_run() {
        let mut ledger = Ledger::default();
        for number in 1..=1000 {
            ledger.set(number, NumberState::Present, day(number as i64 % 10));
        }
        let taken = oldest(&ledger, pace(24 * 30), 7, day(40));
        assert_eq!(taken.len(), 7);
        assert!(taken.iter().all(|number| ledger.get(*number).verified_at == Some(day(0))));
        assert_eq!(pace(1).affordable(), 400);
    }
}
