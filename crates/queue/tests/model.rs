//! The contract on the reference model.

use gharvest_queue::{ManualClock, MemoryQueue, Policy, contract::Fixture};

async fn make(policy: Policy, clock: ManualClock) -> Option<Fixture> {
    let queue = MemoryQueue::new(policy, clock.clone()).expect("a valid policy");
    Some(Fixture::new(queue, clock, ()))
}

gharvest_queue::queue_contract!(make);
