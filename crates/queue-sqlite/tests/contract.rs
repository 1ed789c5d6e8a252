//! The contract on SQLite.

use gharvest_queue::{ManualClock, Policy, contract::Fixture};
use gharvest_queue_sqlite::SqliteQueue;

async fn make(policy: Policy, clock: ManualClock) -> Option<Fixture> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("queue.sqlite");
    let queue = SqliteQueue::open_with_clock(&path, policy, clock.clone()).await.expect("opening");
    Some(Fixture::new(queue, clock, folder))
}

gharvest_queue::queue_contract!(make);
