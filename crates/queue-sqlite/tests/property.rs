//! Random operations on SQLite and the model.

use gharvest_queue::{ManualClock, Policy, contract::Fixture};
use gharvest_queue_sqlite::SqliteQueue;

async fn make(policy: Policy, clock: ManualClock) -> Option<Fixture> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("queue.sqlite");
    let queue = SqliteQueue::open_with_clock(&path, policy, clock.clone()).await.expect("opening");
    Some(Fixture::new(queue, clock, folder))
}

/// More cases with `PROPTEST_CASES`.
#[test]
fn sqlite_and_the_model_never_differ() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60);
    gharvest_queue::property::compare(cases, make);
}
