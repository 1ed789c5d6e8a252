//! Leases of a queue where much has moved or ended.

use std::time::Duration;

use gharvest_model::{Lane, RepositoryId};
use gharvest_queue::{Filter, ManualClock, Policy, Queue, QueueAdmin, Scope};
use gharvest_queue_redis::RedisQueue;
use gharvest_testkit::redis::redis_url;

use crate::support::{Namespace, QUEUE, item, request};

const REPOSITORY: RepositoryId = RepositoryId(1);

/// One script must not walk past millions of entries: nobody else is answered meanwhile.
#[tokio::test]
async fn a_job_behind_very_many_that_moved_is_found_in_several_steps() {
    let Some(url) = redis_url("a_job_behind_very_many_that_moved_is_found_in_several_steps") else { return };
    let (namespace, clock) = (Namespace::new(&url), ManualClock::default());
    let connecting = RedisQueue::connect_with_clock(&url, &namespace.name, Policy::default(), clock.clone());
    let queue = connecting.await.unwrap();
    queue.push_range(QUEUE, REPOSITORY, 1..=25_000, Lane::Backfill).await.unwrap();
    for numbers in [1..=12_000, 12_002..=24_998] {
        queue.push_range(QUEUE, REPOSITORY, numbers, Lane::Manual).await.unwrap();
    }
    queue.purge(QUEUE, &Filter { lane: Some(Lane::Manual), ..Filter::default() }).await.unwrap();
    let mut leased = Vec::new();
    let mut in_vain = 0;
    while leased.len() < 3 {
        let reply = queue.lease(&request(2)).await.unwrap();
        match reply.lease {
            Some(lease) => leased.extend(lease.jobs.into_iter().map(|job| job.subject)),
            None => {
                assert_eq!(reply.next_at, Some(clock.timestamp()), "there is work");
                queue.wait(QUEUE, reply.next_at).await.unwrap();
                in_vain += 1;
            }
        }
        assert!(in_vain < 5, "{leased:?}");
    }
    assert_eq!(leased, [12_001, 24_999, 25_000].map(item));
    assert!(in_vain > 0, "all was walked past in one step");
    assert_eq!(queue.verify().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pause_that_has_ended_is_not_looked_at_for_ever() {
    let Some(url) = redis_url("a_pause_that_has_ended_is_not_looked_at_for_ever") else { return };
    let (namespace, clock) = (Namespace::new(&url), ManualClock::default());
    let connecting = RedisQueue::connect_with_clock(&url, &namespace.name, Policy::default(), clock.clone());
    let queue = connecting.await.unwrap();
    for (repository, seconds) in [(1, 60), (2, 60), (3, 600)] {
        let until = clock.timestamp() + Duration::from_secs(seconds);
        queue.pause(&Scope::Repository(QUEUE, RepositoryId(repository)), until, "a test").await.unwrap();
    }
    let kept = || namespace.keys().into_iter().filter(|(key, _)| key.contains(":pauses")).count();
    clock.advance(Duration::from_secs(61));
    queue.lease(&request(1)).await.unwrap();
    assert_eq!((queue.pauses().await.unwrap().len(), kept()), (1, 2));
    clock.advance(Duration::from_secs(600));
    queue.lease(&request(1)).await.unwrap();
    assert_eq!(kept(), 0);
}
