//! What may happen to a Redis, and what becomes of the queue.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gharvest_model::{Lane, RepositoryId, Subject};
use gharvest_queue::{
    Error, ErrorKind, Lease, ManualClock, Outcome, Policy, Pushed, Queue, QueueAdmin, Settled, Settlement,
};
use gharvest_queue_redis::{RedisQueue, RedisState};
use gharvest_state::State;
use gharvest_testkit::redis::{Make, RedisServer, free_port};
use tokio::sync::mpsc;

use crate::{
    proxy::SlowProxy,
    support::{QUEUE, item, request, trigger},
};

async fn connect(url: &str) -> Arc<RedisQueue> {
    RedisQueue::connect(url, "faults", Policy::default()).await.unwrap()
}

/// Does it again until it is done; every refusal until then must be one that says it is worth a retry.
async fn until_done<T>(what: impl AsyncFn() -> Result<T, Error>) -> T {
    for _ in 0..100_000 {
        match what().await {
            Ok(value) => return value,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::task::yield_now().await;
    }
    panic!("it never recovers");
}

fn finish(lease: &Lease) -> Vec<Settlement> {
    let settlement =
        |subject: &Subject| Settlement { subject: subject.clone(), outcome: Outcome::Finish, follow_up: None };
    lease.jobs.iter().map(|job| settlement(&job.subject)).collect()
}

/// Leases and finishes everything, and says which numbers were handed out.
async fn drain(queue: &RedisQueue, clock: &ManualClock) -> BTreeSet<u64> {
    let mut handed_out = BTreeSet::new();
    loop {
        let reply = until_done(async || queue.lease(&request(50)).await).await;
        let Some(lease) = reply.lease else {
            if queue.counts(QUEUE).await.unwrap().outstanding() == 0 {
                return handed_out;
            }
            clock.advance(Duration::from_secs(3_600));
            continue;
        };
        handed_out.extend(numbers(&lease));
        until_done(async || queue.settle(QUEUE, lease.token, &finish(&lease)).await).await;
    }
}

fn numbers(lease: &Lease) -> Vec<u64> {
    gharvest_queue::contract::numbers(&lease.jobs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_load_loses_nothing_that_was_accepted() {
    let test = "a_restart_under_load_loses_nothing_that_was_accepted";
    // With `everysec` Redis answers before it writes while a slow disk still syncs.
    let always = ["--appendfsync", "always"];
    let Some(mut server) = RedisServer::start(test, &always) else { return };
    let clock = ManualClock::default();
    let url = server.url();
    let queue = RedisQueue::connect_with_clock(&url, "load", Policy::default(), clock.clone()).await.unwrap();
    let (next, over) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let (accepted, mut acceptances) = mpsc::unbounded_channel();
    let pushing = (0..4).map(|_| {
        let (queue, next, over, accepted) = (queue.clone(), next.clone(), over.clone(), accepted.clone());
        tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let number = next.fetch_add(1, Ordering::SeqCst);
                match queue.push(&[trigger(number)], Some(&format!("delivery {number}"))).await {
                    Ok(_) => accepted.send(number).unwrap(),
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let pushing: Vec<_> = pushing.collect();
    let working = tokio::spawn({
        let (queue, over) = (queue.clone(), over.clone());
        async move {
            let mut handed_out = BTreeSet::new();
            while !over.load(Ordering::SeqCst) {
                if let Ok(reply) = queue.lease(&request(5)).await
                    && let Some(lease) = reply.lease
                {
                    handed_out.extend(numbers(&lease));
                    drop(queue.settle(QUEUE, lease.token, &finish(&lease)).await);
                }
                tokio::task::yield_now().await;
            }
            handed_out
        }
    });
    let mut kept = BTreeSet::new();
    for _ in 0..3 {
        for _ in 0..150 {
            kept.insert(acceptances.recv().await.unwrap());
        }
        tokio::task::block_in_place(|| server.crash_and_restart(&always));
        while let Ok(number) = acceptances.try_recv() {
            kept.insert(number);
        }
    }
    for _ in 0..150 {
        kept.insert(acceptances.recv().await.unwrap());
    }
    over.store(true, Ordering::SeqCst);
    for task in pushing {
        task.await.unwrap();
    }
    while let Ok(number) = acceptances.try_recv() {
        kept.insert(number);
    }
    let mut handed_out = working.await.unwrap();
    handed_out.extend(drain(&queue, &clock).await);
    let lost: Vec<u64> = kept.difference(&handed_out).copied().collect();
    assert!(lost.is_empty(), "of {} accepted these were lost: {lost:?}", kept.len());
    assert_eq!(queue.verify().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_sent_them_again() {
    let Some(server) = RedisServer::start("a_server_that_forgot_the_scripts_is_sent_them_again", &[]) else { return };
    let queue = connect(&server.url()).await;
    queue.push(&[trigger(1)], None).await.unwrap();
    assert!(server.command("SCRIPT FLUSH").starts_with("+OK"));
    assert_eq!(queue.push(&[trigger(1)], None).await.unwrap(), [Pushed::Merged]);
}

#[tokio::test]
async fn out_of_memory_refuses_pushes_whole_and_lets_work_drain() {
    let test = "out_of_memory_refuses_pushes_whole_and_lets_work_drain";
    let Some(server) = RedisServer::start(test, &["--maxmemory", "4mb"]) else { return };
    let clock = ManualClock::default();
    let url = server.url();
    let queue = RedisQueue::connect_with_clock(&url, "full", Policy::default(), clock.clone()).await.unwrap();
    let mut repository = 0;
    let error = loop {
        repository += 1;
        let numbers = 1..=10_000;
        match queue.push_range(QUEUE, RepositoryId(repository), numbers, Lane::Backfill).await {
            Ok(_) => assert!(repository < 1_000, "4 MB hold everything"),
            Err(error) => break error,
        }
    };
    assert!(error.is_retryable() && error.to_string().contains("out of memory"), "{error}");
    let before = queue.counts(QUEUE).await.unwrap();
    let error = queue.push(&[trigger(1)], Some("delivery")).await.unwrap_err();
    assert!(error.to_string().contains("raise maxmemory"), "{error}");
    assert_eq!(queue.counts(QUEUE).await.unwrap(), before);
    assert_eq!(queue.verify().await.unwrap(), Vec::<String>::new());
    // Finishing what there is frees memory, and then the refused delivery is no duplicate.
    let state = RedisState::connect(&server.url(), "full").await.unwrap();
    state.put("budget", b"5000", None, None).await.unwrap();
    drain(&queue, &clock).await;
    assert_eq!(queue.push(&[trigger(1)], Some("delivery")).await.unwrap(), [Pushed::New]);
}

#[tokio::test]
async fn a_server_that_is_down_is_said_and_used_again_when_it_is_back() {
    let test = "a_server_that_is_down_is_said_and_used_again_when_it_is_back";
    let Some(mut server) = RedisServer::start(test, &[]) else { return };
    let queue = connect(&server.url()).await;
    queue.push(&[trigger(1)], None).await.unwrap();
    server.crash();
    for _ in 0..3 {
        let error = queue.push(&[trigger(2)], None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("Redis does not do it now"), "{error}");
    }
    server.restart(&[]);
    until_done(async || queue.push(&[trigger(2)], None).await).await;
    // A wait is woken by another process as before.
    let other = connect(&server.url()).await;
    let leased = queue.lease(&request(10)).await.unwrap().lease.unwrap();
    assert_eq!(numbers(&leased), [1, 2]);
    let waiting = tokio::time::timeout(Duration::from_secs(9), queue.wait(QUEUE, None));
    let pushing = async { other.push(&[trigger(3)], None).await.unwrap() };
    let (woken, _) = tokio::join!(waiting, pushing);
    woken.expect("woken before the fallback").unwrap();
}

#[tokio::test]
async fn nobody_there_and_no_address_are_said() {
    let nobody = format!("redis://127.0.0.1:{}/0", free_port());
    let error = RedisQueue::connect(&nobody, "faults", Policy::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    for nonsense in ["redis://", "redis://host:port"] {
        let error = RedisQueue::connect(nonsense, "faults", Policy::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_with_a_sentence() {
    let test = "a_server_that_is_too_old_is_refused_with_a_sentence";
    let Some(server) = RedisServer::start_make(test, Make::Redis6, &[]) else { return };
    let error = RedisQueue::connect(&server.url(), "faults", Policy::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("too old: 7.0 or newer"), "{error}");
    let error = RedisState::connect(&server.url(), "faults").await.unwrap_err();
    assert!(error.to_string().contains("too old: 7.0 or newer"), "{error}");
}

#[tokio::test]
async fn a_server_that_throws_keys_away_is_refused_with_a_sentence() {
    let test = "a_server_that_throws_keys_away_is_refused_with_a_sentence";
    let settings = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let Some(server) = RedisServer::start(test, &settings) else { return };
    let error = RedisQueue::connect(&server.url(), "faults", Policy::default()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("noeviction"), "{error}");
}

#[tokio::test]
async fn a_slow_network_makes_it_slow_and_a_cut_one_is_connected_anew() {
    let test = "a_slow_network_makes_it_slow_and_a_cut_one_is_connected_anew";
    let Some(server) = RedisServer::start(test, &[]) else { return };
    // More than the client library would wait for an answer by itself.
    let proxy = SlowProxy::start(server.port(), Duration::from_millis(350)).await;
    let queue = connect(&proxy.url()).await;
    // What is sent at once is not answered one after another.
    let pushing = (1..=50).map(|number| {
        let queue = queue.clone();
        async move { queue.push(&[trigger(number)], None).await.unwrap() }
    });
    let pushed = tokio::time::timeout(Duration::from_secs(9), futures::future::join_all(pushing)).await;
    assert_eq!(pushed.expect("together, not one by one").len(), 50);
    proxy.cut();
    let lease = until_done(async || queue.lease(&request(5)).await).await.lease.unwrap();
    let settled = until_done(async || queue.settle(QUEUE, lease.token, &finish(&lease)).await).await;
    assert_eq!(settled, [Settled::Finished; 5]);
}

#[tokio::test]
async fn a_failover_to_an_empty_script_cache_goes_on_with_the_replica() {
    let test = "a_failover_to_an_empty_script_cache_goes_on_with_the_replica";
    let Some(mut primary) = RedisServer::start(test, &["--repl-diskless-sync-delay", "0"]) else { return };
    let replica_of = ["--replicaof", "127.0.0.1", &primary.port().to_string()];
    let Some(replica) = RedisServer::start(test, &replica_of) else { return };
    // The replica is named first: it answers, but refuses to write.
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}/0", replica.port(), primary.port());
    let queue = connect(&url).await;
    assert_eq!(queue.push(&[trigger(1)], Some("delivery")).await.unwrap(), [Pushed::New]);
    // A script's writes arrive as one.
    while !replica.command("ZCARD gharvest:{faults}:deliveries").starts_with(":1") {
        tokio::task::yield_now().await;
    }
    primary.crash();
    assert!(replica.command("REPLICAOF NO ONE").starts_with("+OK"));
    let pushed = until_done(async || queue.push(&[trigger(2)], Some("delivery")).await).await;
    assert_eq!(pushed, [Pushed::Duplicate]);
    let lease = queue.lease(&request(5)).await.unwrap().lease.unwrap();
    assert_eq!(lease.jobs[0].subject, item(1));
}

#[tokio::test]
async fn durability_is_what_the_server_is_set_to() {
    let Some(server) = RedisServer::start("durability_is_what_the_server_is_set_to", &[]) else { return };
    let queue = connect(&server.url()).await;
    let settings = [
        ("appendfsync everysec", "up to two seconds, and so does a power cut"),
        ("appendfsync always", "nothing accepted is lost"),
        ("appendfsync no", "set appendfsync everysec"),
        ("appendonly no", "WARNING: this Redis keeps nothing on disk"),
        ("save \"60 1000\"", "WARNING: this Redis keeps snapshots only"),
    ];
    for (setting, expected) in settings {
        assert!(server.command(&format!("CONFIG SET {setting}")).starts_with("+OK"), "{setting}");
        let said = queue.durability().await.unwrap().to_string();
        assert!(said.contains(expected), "{setting}: {said}");
    }
}

#[tokio::test]
async fn work_in_bulk_takes_few_connections_of_its_own_and_makes_them_anew_after_a_restart() {
    let test = "work_in_bulk_takes_few_connections_of_its_own_and_makes_them_anew_after_a_restart";
    let always = ["--appendfsync", "always"];
    let Some(mut server) = RedisServer::start(test, &always) else { return };
    let queue = connect(&server.url()).await;
    let connections = |server: &RedisServer| server.command("CLIENT LIST TYPE normal").matches("age=").count();
    let before = connections(&server);
    queue.push(&[trigger(1)], None).await.unwrap();
    assert_eq!(connections(&server), before, "what is short shares one");
    let ranges = (1..=20).map(|repository| {
        let queue = queue.clone();
        async move { queue.push_range(QUEUE, RepositoryId(repository), 1..=2_000, Lane::Backfill).await.unwrap().new }
    });
    let new: u64 = futures::future::join_all(ranges).await.into_iter().sum();
    assert_eq!(new, 20 * 2_000 - 1);
    let pooled = connections(&server) - before;
    assert!((1..=4).contains(&pooled), "{pooled} connections for work in bulk");
    server.crash_and_restart(&always);
    until_done(async || queue.verify().await).await;
    assert_eq!(queue.purge(QUEUE, &gharvest_queue::Filter::default()).await.unwrap(), 20 * 2_000);
}
