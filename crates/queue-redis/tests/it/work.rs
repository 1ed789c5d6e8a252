//! How much Redis has to do, counted in commands: what costs the same at any size, and what is done in large steps.

use gharvest_model::{Lane, QueueName, RepositoryId};
use gharvest_queue::{Policy, Queue, QueueAdmin};
use gharvest_queue_redis::RedisQueue;
use gharvest_testkit::redis::RedisServer;

use crate::support::QUEUE;

/// Commands that a server has run, those within scripts as well: all, and scripts alone.
fn commands_run(server: &RedisServer) -> (u64, u64) {
    let stats = server.command("INFO commandstats");
    let calls = stats.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name, rest.split(',').next()?.parse::<u64>().ok()?))
    });
    let own = ["info", "client|setinfo", "hello", "ping"];
    let counted: Vec<_> = calls.filter(|(name, _)| !own.contains(name)).collect();
    let scripts = counted.iter().filter(|(name, _)| *name == "evalsha").map(|(_, calls)| calls).sum();
    (counted.iter().map(|(_, calls)| calls).sum(), scripts)
}

/// What `queue-cli status` asks of a queue.
async fn look(queue: &RedisQueue, repository: RepositoryId) {
    for name in QueueName::ALL {
        queue.counts(name).await.unwrap();
        queue.repository_counts(name, repository).await.unwrap();
        queue.oldest(name).await.unwrap();
    }
    queue.pauses().await.unwrap();
    queue.now().await.unwrap();
}

#[tokio::test]
async fn a_look_at_a_queue_costs_the_same_at_any_size_and_a_range_few_scripts() {
    let test = "a_look_at_a_queue_costs_the_same_at_any_size_and_a_range_few_scripts";
    let Some(server) = RedisServer::start(test, &["--appendonly", "no"]) else { return };
    let queue = RedisQueue::connect(&server.url(), "work", Policy::default()).await.unwrap();
    let repository = RepositoryId(1);
    queue.push_range(QUEUE, repository, 1..=10, Lane::Backfill).await.unwrap();
    // Scripts are known afterwards, and no longer sent.
    look(&queue, repository).await;
    let mut costs = Vec::new();
    for last in [100, 60_000] {
        let before = commands_run(&server).1;
        queue.push_range(QUEUE, repository, 1..=last, Lane::Backfill).await.unwrap();
        assert_eq!(commands_run(&server).1 - before, last.div_ceil(512), "scripts for {last} numbers");
        let before = commands_run(&server).0;
        look(&queue, repository).await;
        costs.push(commands_run(&server).0 - before);
    }
    assert!(costs[0] > 10, "commands are counted: {costs:?}");
    assert_eq!(costs[0], costs[1]);
    assert_eq!(queue.counts(QUEUE).await.unwrap().ready[Lane::Backfill.index()], 60_000);
}
