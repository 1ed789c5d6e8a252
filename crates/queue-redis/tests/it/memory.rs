//! What a queue takes in Redis' memory.

use std::time::Duration;

use gharvest_model::{Lane, RepositoryId};
use gharvest_queue::{ManualClock, Policy, Pushed, Queue, QueueAdmin};
use gharvest_queue_redis::RedisQueue;
use gharvest_testkit::redis::{RedisServer, redis_url};

use crate::support::{Namespace, QUEUE, trigger};

fn used_memory(server: &RedisServer) -> u64 {
    let info = server.command("INFO memory");
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    used.trim().parse().unwrap()
}

/// A million with `GHARVEST_TEST_JOBS=1000000`.
#[tokio::test]
async fn a_backfills_job_takes_about_25_bytes() {
    let Some(server) = RedisServer::start("a_backfills_job_takes_about_25_bytes", &["--appendonly", "no"]) else {
        return;
    };
    let jobs = std::env::var("GHARVEST_TEST_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(150_000);
    let queue = RedisQueue::connect(&server.url(), "memory", Policy::default()).await.unwrap();
    let before = used_memory(&server);
    queue.push_range(QUEUE, RepositoryId(1), 1..=jobs, Lane::Backfill).await.unwrap();
    let each = (used_memory(&server) - before) as f64 / jobs as f64;
    println!("{each:.1} bytes a job at {jobs} jobs");
    assert!(each < 30.0, "{each:.1} bytes a job");
    assert_eq!(queue.counts(QUEUE).await.unwrap().ready[Lane::Backfill.index()], jobs);
}

#[tokio::test]
async fn deliveries_are_remembered_for_four_days_and_then_forgotten() {
    let test = "deliveries_are_remembered_for_four_days_and_then_forgotten";
    let Some(url) = redis_url(test) else { return };
    let namespace = Namespace::new(&url);
    let clock = ManualClock::default();
    let connecting = RedisQueue::connect_with_clock(&url, &namespace.name, Policy::default(), clock.clone());
    let queue = connecting.await.unwrap();
    let remembered = || {
        let keys = namespace.keys();
        keys.iter().find(|(key, _)| key.ends_with(":deliveries")).map_or(0, |(_, size)| *size)
    };
    let mut sizes = Vec::new();
    for day in 0..12 {
        for delivery in 0..60 {
            let id = format!("00000000-0000-0000-{day:04}-{delivery:012}");
            assert_eq!(queue.push(&[trigger(1)], Some(&id)).await.unwrap().len(), 1);
            // Redelivered at the last moment at which it is known.
            if day >= 4 {
                let known = format!("00000000-0000-0000-{:04}-{:012}", day - 3, delivery);
                assert_eq!(queue.push(&[trigger(1)], Some(&known)).await.unwrap(), [Pushed::Duplicate]);
            }
        }
        sizes.push(remembered());
        clock.advance(Duration::from_secs(86_400));
    }
    assert!(sizes[11] <= sizes[5] + sizes[5] / 10, "it grows: {sizes:?}");
    let first = "00000000-0000-0000-0000-000000000000";
    assert_ne!(queue.push(&[trigger(1)], Some(first)).await.unwrap(), [Pushed::Duplicate]);
}
