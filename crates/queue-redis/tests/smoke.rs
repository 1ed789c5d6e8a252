//! Random operations on Redis and on the reference model: the same answers.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use gharvest_queue::{
    Filter, LeaseRequest, Outcome, Policy, Queue, QueueAdmin, Scope, Settlement, Timing, Token, Trigger,
    clock::ManualClock, model::MemoryQueue,
};
use gharvest_queue_redis::RedisQueue;
use gharvest_testkit::redis::RedisServer;

fn subject(rng: &mut fastrand::Rng) -> Subject {
    match rng.u8(..10) {
        0 => Subject::part(RepositoryId(rng.u64(9..11)), "labels"),
        1 => Subject::Text(format!("text {}", rng.u8(..2))),
        _ => Subject::item(RepositoryId(rng.u64(9..12)), rng.u64(1..12)),
    }
}

fn trigger(rng: &mut fastrand::Rng) -> Trigger {
    Trigger {
        queue: QueueName::ALL[usize::from(rng.u8(..10) == 0)],
        subject: subject(rng),
        lane: Lane::ALL[rng.usize(..5)],
        timing: [Timing::Settled, Timing::Now, Timing::WhenFree][rng.usize(..3)],
        reason: format!("r{}", rng.u8(..12)),
    }
}

#[tokio::test]
async fn random_operations_do_not_diverge() {
    let Some(server) = RedisServer::start("random_operations_do_not_diverge", &[]) else { return };
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let policy = Policy { max_attempts: 3, max_lost: 2, ..Policy::default() };
        let clock = ManualClock::default();
        let model = MemoryQueue::new(policy.clone(), clock.clone()).unwrap();
        let redis =
            RedisQueue::connect_with_clock(&server.url(), &format!("n{seed}"), policy, clock.clone()).await.unwrap();
        let mut leases: Vec<(QueueName, Token, Vec<Subject>)> = Vec::new();
        for step in 0..150 {
            let queue = QueueName::ALL[usize::from(rng.u8(..10) == 0)];
            let at = format!("seed {seed} step {step}");
            match rng.u8(..20) {
                0..=5 => {
                    let triggers: Vec<_> = (0..rng.usize(1..4)).map(|_| trigger(&mut rng)).collect();
                    let delivery = (rng.u8(..3) == 0).then(|| format!("d{}", rng.u8(..6)));
                    assert_eq!(
                        model.push(&triggers, delivery.as_deref()).await.unwrap(),
                        redis.push(&triggers, delivery.as_deref()).await.unwrap(),
                        "{at}"
                    );
                }
                6 => {
                    let (repository, from) = (RepositoryId(rng.u64(9..12)), rng.u64(1..70));
                    let to = from + rng.u64(..80);
                    let lane = Lane::ALL[rng.usize(..5)];
                    assert_eq!(
                        model.push_range(queue, repository, from..=to, lane).await.unwrap(),
                        redis.push_range(queue, repository, from..=to, lane).await.unwrap(),
                        "{at}"
                    );
                }
                7..=11 => {
                    let request = LeaseRequest {
                        queue,
                        max: rng.usize(1..8),
                        hold: Duration::from_secs(rng.u64(1..90)),
                        repository: (rng.u8(..4) == 0).then(|| RepositoryId(rng.u64(9..12))),
                        request: if rng.bool() { String::new() } else { format!("q{}", rng.u8(..4)) },
                    };
                    let expected = model.lease(&request).await.unwrap();
                    assert_eq!(expected, redis.lease(&request).await.unwrap(), "{at} {request:?}");
                    if let Some(lease) = expected.lease {
                        leases.push((queue, lease.token, lease.jobs.into_iter().map(|job| job.subject).collect()));
                    }
                }
                12..=14 if !leases.is_empty() => {
                    let index = rng.usize(..leases.len());
                    let (queue, token, subjects) = leases[index].clone();
                    let settlements: Vec<_> = subjects
                        .into_iter()
                        .map(|subject| Settlement {
                            subject,
                            outcome: match rng.u8(..6) {
                                0 => Outcome::Retry { after: None, reason: "broken".into() },
                                1 => Outcome::Retry {
                                    after: Some(Duration::from_secs(rng.u64(..30))),
                                    reason: String::new(),
                                },
                                2 => Outcome::Bury { reason: "no".into() },
                                3 => Outcome::Release { after: Duration::from_secs(rng.u64(..3)) },
                                _ => Outcome::Finish,
                            },
                            follow_up: (rng.u8(..4) == 0).then(|| trigger(&mut rng)),
                        })
                        .collect();
                    assert_eq!(
                        model.settle(queue, token, &settlements).await.unwrap(),
                        redis.settle(queue, token, &settlements).await.unwrap(),
                        "{at} {settlements:?}"
                    );
                }
                15 if !leases.is_empty() => {
                    let (queue, token, _) = leases[rng.usize(..leases.len())].clone();
                    let hold = Duration::from_secs(rng.u64(1..60));
                    assert_eq!(
                        model.extend(queue, token, hold).await.unwrap(),
                        redis.extend(queue, token, hold).await.unwrap(),
                        "{at}"
                    );
                }
                16 => {
                    let scope = if rng.bool() {
                        Scope::Queue(queue)
                    } else {
                        Scope::Repository(queue, RepositoryId(rng.u64(9..12)))
                    };
                    if rng.bool() {
                        let until = clock.timestamp() + Duration::from_secs(rng.u64(1..40));
                        model.pause(&scope, until, "why").await.unwrap();
                        redis.pause(&scope, until, "why").await.unwrap();
                    } else {
                        model.resume(&scope).await.unwrap();
                        redis.resume(&scope).await.unwrap();
                    }
                }
                17 => {
                    let subject = subject(&mut rng);
                    assert_eq!(
                        model.remove(queue, &subject).await.unwrap(),
                        redis.remove(queue, &subject).await.unwrap(),
                        "{at}"
                    );
                }
                18 => {
                    let filter = Filter {
                        repository: rng.bool().then(|| RepositoryId(rng.u64(9..12))),
                        lane: rng.bool().then(|| Lane::ALL[rng.usize(..5)]),
                        state: None,
                    };
                    if rng.u8(..4) == 0 {
                        assert_eq!(
                            model.purge(queue, &filter).await.unwrap(),
                            redis.purge(queue, &filter).await.unwrap(),
                            "{at}"
                        );
                    } else {
                        let limit = rng.usize(..4);
                        assert_eq!(
                            model.revive(queue, &filter, limit).await.unwrap(),
                            redis.revive(queue, &filter, limit).await.unwrap(),
                            "{at}"
                        );
                    }
                }
                _ => clock.advance(Duration::from_secs(rng.u64(1..40))),
            }
            compare(&model, &redis, queue, &at).await;
        }
    }
}

async fn compare(model: &Arc<MemoryQueue>, redis: &Arc<RedisQueue>, queue: QueueName, at: &str) {
    assert_eq!(model.counts(queue).await.unwrap(), redis.counts(queue).await.unwrap(), "{at}");
    let all = Filter::default();
    assert_eq!(
        model.list(queue, &all, None, 1000).await.unwrap(),
        redis.list(queue, &all, None, 1000).await.unwrap(),
        "{at}"
    );
    assert_eq!(model.oldest(queue).await.unwrap(), redis.oldest(queue).await.unwrap(), "{at}");
    assert_eq!(model.pauses().await.unwrap(), redis.pauses().await.unwrap(), "{at}");
    let id = RepositoryId(9);
    assert_eq!(
        model.repository_counts(queue, id).await.unwrap(),
        redis.repository_counts(queue, id).await.unwrap(),
        "{at}"
    );
    assert_eq!(redis.verify().await.unwrap(), Vec::<String>::new(), "{at}");
}
