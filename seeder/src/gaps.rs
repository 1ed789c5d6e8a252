//! Looks for numbers that nobody accounts for, and has them fetched.

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use gharvest_archive::Archive;
use gharvest_model::{
    Lane, QueueName, RepositoryId, Subject,
    job::{part, reason::swept},
    ledger::{Ledger, NumberState},
    progress::runs,
    tracking::Tracked,
};
use gharvest_queue::{Queue, Timing, Trigger};
use jiff::Timestamp;
use metrics::gauge;

use crate::{Failure, schedule::earlier};

/// A number that answered 404 although it was there, and one that failed, are tried again after this time.
pub const AGAIN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Triggers pushed in one step.
const STEP: usize = 500;

/// What a look at one ledger asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Gaps {
    /// Numbers that were never fetched.
    never: Vec<RangeInclusive<u64>>,
    /// Numbers that have waited long enough since GitHub last answered 404 or failed.
    again: Vec<u64>,
}

/// The repositories of which this process shows how complete they are: a gauge stays as it was until it is set.
#[derive(Debug, Default)]
pub struct Shares(Mutex<BTreeSet<RepositoryId>>);

impl Shares {
    /// Shows how complete a repository is, until it is no longer kept.
    fn show(&self, id: RepositoryId, share: f64) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.insert(id);
        set(id, share);
    }

    /// Shows nothing more of other repositories than these.
    pub fn keep(&self, repositories: &BTreeSet<RepositoryId>) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in shown.difference(repositories) {
            set(*id, f64::NAN);
        }
        shown.retain(|id| repositories.contains(id));
    }
}

/// By its id: names change, and one that is private must not outlive what was mirrored of it.
fn set(id: RepositoryId, share: f64) {
    gauge!("gharvest_completeness", "repository_id" => id.to_string()).set(share);
}

/// Looks at a repository's ledger: pushes jobs for what is open, notes when the first mirror is over, and shows its
/// completeness as a metric. Says how many numbers were pushed.
pub async fn check(
    archive: &Archive,
    queue: &dyn Queue,
    shares: &Shares,
    tracked: &Tracked,
    now: Timestamp,
) -> Result<u64, Failure> {
    let verdict = archive.verdict(tracked.id, Some(tracked), now).await?;
    shares.show(tracked.id, verdict.share());
    let (ledger, completeness) = (archive.ledger(tracked.id).await?, verdict.counts);
    let gaps = find(&ledger, now);
    // A number that cannot be had keeps a mirror incomplete, and must not keep it from being swept.
    if completeness.walked && gaps.never.is_empty() && tracked.complete_at.is_none() {
        archive.change_tracked(tracked.id, &|entry| entry.complete_at = Some(now)).await?;
    }
    // Before the first mirror is over its jobs wait in the backfill lane, and must not be raised out of it.
    let lane = if tracked.complete_at.is_some() { Lane::Reconcile } else { Lane::Backfill };
    if !completeness.walked {
        queue.push(&[trigger(Subject::part(tracked.id, part::ITEMS), lane)], None).await?;
    }
    let mut pushed = 0;
    for range in gaps.never {
        pushed += range.end() - range.start() + 1;
        queue.push_range(QueueName::Download, tracked.id, range, lane).await?;
    }
    // Jobs that are buried are revived for one more attempt: so only after a day. What is to be confirmed has a reason,
    // which a range cannot have.
    let again = |number: &u64| again(tracked, *number, ledger.get(*number).state);
    let triggers: Vec<_> = gaps.again.iter().map(again).collect();
    for step in triggers.chunks(STEP) {
        queue.push(step, None).await?;
        pushed += step.len() as u64;
    }
    Ok(pushed)
}

fn find(ledger: &Ledger, now: Timestamp) -> Gaps {
    let before = earlier(now, AGAIN_AFTER);
    let (mut never, mut again) = (Vec::new(), Vec::new());
    for number in ledger.numbers(NumberState::Unknown) {
        match ledger.get(number).verified_at {
            None => never.push(number),
            Some(suspected) if suspected <= before => again.push(number),
            Some(_) => {}
        }
    }
    let failed = ledger.numbers(NumberState::Failed);
    again.extend(failed.filter(|number| ledger.get(*number).verified_at.is_none_or(|at| at <= before)));
    again.sort_unstable();
    Gaps { never: runs(never).collect(), again }
}

/// One more try of a number that failed, or is suspected to be gone: that nobody announced, so it is drift if it is so.
fn again(tracked: &Tracked, number: u64, state: NumberState) -> Trigger {
    let trigger = trigger(Subject::item(tracked.id, number), Lane::Reconcile);
    match state {
        // What waits for free time has no reason.
        NumberState::Unknown => Trigger { timing: Timing::Now, reason: swept("confirm"), ..trigger },
        _ => trigger,
    }
}

fn trigger(subject: Subject, lane: Lane) -> Trigger {
    Trigger { queue: QueueName::Download, subject, lane, timing: Timing::WhenFree, reason: "gap".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_longer_tracked_is_no_longer_shown() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let _metrics = metrics::set_default_local_recorder(&recorder);
        let shares = Shares::default();
        shares.show(RepositoryId(7), 1.0);
        shares.show(RepositoryId(8), 0.5);
        shares.keep(&BTreeSet::from([RepositoryId(7)]));
        let shown = recorder.handle().render();
        for line in ["gharvest_completeness{repository_id=\"7\"} 1", "gharvest_completeness{repository_id=\"8\"} NaN"] {
            assert!(shown.lines().any(|found| found == line), "{line} in {shown}");
        }
    }

    #[test]
    fn numbers_never_fetched_are_pushed_at_once_and_doubtful_ones_after_a_day() {
        let hour = |hour: i64| Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap();
        let mut ledger = Ledger::default();
        ledger.set(1, NumberState::Present, hour(0));
        ledger.set(4, NumberState::Unknown, hour(0));
        ledger.set(5, NumberState::Failed, hour(1));
        ledger.set(6, NumberState::Hidden, hour(0));
        ledger.reach(8);
        let never = vec![2..=3, 7..=8];
        assert_eq!(find(&ledger, hour(23)), Gaps { never: never.clone(), again: vec![] });
        assert_eq!(find(&ledger, hour(24)), Gaps { never: never.clone(), again: vec![4] });
        assert_eq!(find(&ledger, hour(25)), Gaps { never, again: vec![4, 5] });
    }
}
