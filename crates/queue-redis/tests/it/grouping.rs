//! Pushes that wait at the same time.

use futures::future::join_all;
use gharvest_model::{Lane, RepositoryId, Subject};
use gharvest_queue::{Policy, Pushed, Queue, QueueAdmin, Timing, Trigger};
use gharvest_queue_redis::RedisQueue;
use gharvest_testkit::redis::RedisServer;

use crate::support::{QUEUE, trigger};

/// Scripts that a server has run.
fn scripts_run(server: &RedisServer) -> u64 {
    let stats = server.command("INFO commandstats");
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap_or("0,");
    line.split(',').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn many_deliveries_at_once_are_few_scripts_and_each_gets_its_own_answer() {
    let test = "many_deliveries_at_once_are_few_scripts_and_each_gets_its_own_answer";
    let Some(server) = RedisServer::start(test, &["--appendonly", "no"]) else { return };
    let queue = RedisQueue::connect(&server.url(), "together", Policy::default()).await.unwrap();
    queue.push(&[trigger(1)], Some("seen")).await.unwrap();
    let before = scripts_run(&server);
    // Every tenth was seen before, and every seventh brings three triggers.
    let pushes = (0..300_u64).map(|number| {
        let delivery = if number % 10 == 0 { "seen".to_owned() } else { format!("delivery {number}") };
        let triggers: Vec<Trigger> = match number % 7 {
            0 => (0..3).map(|more| trigger(1_000 + 3 * number + more)).collect(),
            _ => vec![trigger(2_000 + number)],
        };
        let queue = queue.clone();
        async move { queue.push(&triggers, Some(&delivery)).await.unwrap() }
    });
    let answers = join_all(pushes).await;
    for (number, answer) in answers.iter().enumerate() {
        let count = if number % 7 == 0 { 3 } else { 1 };
        let expected = if number % 10 == 0 { Pushed::Duplicate } else { Pushed::New };
        assert_eq!(*answer, vec![expected; count], "push {number}");
    }
    let scripts = scripts_run(&server) - before;
    assert!(scripts <= 20, "{scripts} scripts for 300 pushes");
    assert_eq!(queue.verify().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn one_push_of_very_many_triggers_is_one_step() {
    let Some(server) = RedisServer::start("one_push_of_very_many_triggers_is_one_step", &["--appendonly", "no"]) else {
        return;
    };
    let queue = RedisQueue::connect(&server.url(), "many", Policy::default()).await.unwrap();
    // More values for one key than Lua passes to one command.
    let triggers: Vec<Trigger> = (1..=9_000)
        .map(|number| Trigger {
            queue: QUEUE,
            subject: Subject::item(RepositoryId(number % 3 + 1), number),
            lane: Lane::Manual,
            timing: if number % 2 == 0 { Timing::Now } else { Timing::Settled },
            reason: "test".to_owned(),
        })
        .collect();
    assert_eq!(queue.push(&triggers, Some("large")).await.unwrap(), vec![Pushed::New; 9_000]);
    let counts = queue.counts(QUEUE).await.unwrap();
    assert_eq!((counts.ready[Lane::Manual.index()], counts.delayed), (4_500, 4_500));
    assert_eq!(queue.verify().await.unwrap(), Vec::<String>::new());
}
