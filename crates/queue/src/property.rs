//! Random operations on a backend and the model, compared reply by reply.
//!
//! A backend's test calls [`compare`] from a test of its own with the function that its contract uses. Every failure
//! shrinks to the shortest list of operations that still differs.

use std::{future::Future, ops::RangeInclusive, time::Duration};

use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};

use crate::{
    Filter, JobState, LeaseRequest, ManualClock, MemoryQueue, Outcome, Policy, Queue, QueueAdmin, Scope, Settlement,
    Timing, Token, Trigger,
    clock::timestamp,
    contract::{Fixture, policy},
};

/// One operation. Leases are named by how long ago they were given: 0 is the latest.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Pushes triggers, perhaps as one of a few deliveries.
    Push(Vec<Trigger>, Option<u8>),
    /// Pushes a range.
    PushRange(QueueName, u64, RangeInclusive<u64>, Lane),
    /// Leases, perhaps of one repository, perhaps as one of a few named requests.
    Lease(QueueName, usize, Option<u64>, Option<u8>),
    /// Extends a lease by seconds.
    Extend(usize, u64),
    /// Settles jobs of a lease: each outcome goes to one of its jobs in turn.
    Settle(usize, Vec<(Outcome, Option<Trigger>)>),
    /// Pauses for seconds.
    Pause(Scope, u64),
    /// Resumes.
    Resume(Scope),
    /// Purges what matches.
    Purge(QueueName, Filter),
    /// Removes one job.
    Remove(QueueName, Subject),
    /// Revives what matches.
    Revive(QueueName, Filter, usize),
    /// Lets time pass, in milliseconds.
    Advance(u32),
}

fn queue() -> impl Strategy<Value = QueueName> {
    prop_oneof![4 => Just(QueueName::Download), 1 => Just(QueueName::Index)]
}

/// Ids whose order as texts is not that as numbers.
fn repository() -> impl Strategy<Value = u64> {
    prop_oneof![Just(9_u64), Just(10), Just(100)]
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        8 => (repository(), 1_u64..13).prop_map(|(id, number)| Subject::item(RepositoryId(id), number)),
        1 => repository().prop_map(|id| Subject::part(RepositoryId(id), "labels")),
        1 => prop_oneof![Just("discover:a"), Just("10")].prop_map(|text| Subject::Text(text.to_owned())),
    ]
}

fn lane() -> impl Strategy<Value = Lane> {
    proptest::sample::select(Lane::ALL.to_vec())
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let timing = prop_oneof![Just(Timing::Settled), Just(Timing::Now), Just(Timing::WhenFree)];
    (queue(), subject(), lane(), timing, "[a-d]{0,2}").prop_map(|(queue, subject, lane, timing, reason)| Trigger {
        queue,
        subject,
        lane,
        timing,
        reason,
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let after = |seconds: u64| Duration::from_secs(seconds);
    prop_oneof![
        4 => Just(Outcome::Finish),
        2 => (proptest::option::of(0_u64..200), "[a-z]{0,5}")
            .prop_map(move |(seconds, reason)| Outcome::Retry { after: seconds.map(after), reason }),
        1 => "[a-z]{0,5}".prop_map(|reason| Outcome::Bury { reason }),
        2 => (0_u64..3).prop_map(move |seconds| Outcome::Release { after: after(seconds * 20) }),
    ]
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        queue().prop_map(Scope::Queue),
        (queue(), repository()).prop_map(|(queue, id)| Scope::Repository(queue, RepositoryId(id))),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let states = vec![JobState::Delayed, JobState::Ready, JobState::Leased, JobState::Buried];
    let repository = proptest::option::of(repository().prop_map(RepositoryId));
    let numbers = proptest::option::weighted(0.2, (1_u64..13, 0_u64..5).prop_map(|(first, more)| first..=first + more));
    (repository, proptest::option::of(lane()), proptest::option::of(proptest::sample::select(states)), numbers)
        .prop_map(|(repository, lane, state, numbers)| Filter { repository, lane, state, numbers })
}

fn operation() -> impl Strategy<Value = Operation> {
    let settled = (outcome(), proptest::option::weighted(0.2, trigger()));
    prop_oneof![
        10 => (proptest::collection::vec(trigger(), 1..4), proptest::option::weighted(0.2, 0_u8..3))
            .prop_map(|(triggers, delivery)| Operation::Push(triggers, delivery)),
        2 => (queue(), repository(), 1_u64..8, 0_u64..8, lane())
            .prop_map(|(queue, id, first, more, lane)| Operation::PushRange(queue, id, first..=first + more, lane)),
        12 => (queue(), 1_usize..7, proptest::option::weighted(0.2, repository()),
               proptest::option::weighted(0.2, 0_u8..2))
            .prop_map(|(queue, max, id, request)| Operation::Lease(queue, max, id, request)),
        1 => (0_usize..3, 1_u64..100).prop_map(|(lease, seconds)| Operation::Extend(lease, seconds)),
        8 => (0_usize..4, proptest::collection::vec(settled, 1..6))
            .prop_map(|(lease, outcomes)| Operation::Settle(lease, outcomes)),
        1 => (scope(), 0_u64..200).prop_map(|(scope, seconds)| Operation::Pause(scope, seconds)),
        1 => scope().prop_map(Operation::Resume),
        1 => (queue(), filter()).prop_map(|(queue, filter)| Operation::Purge(queue, filter)),
        1 => (queue(), subject()).prop_map(|(queue, subject)| Operation::Remove(queue, subject)),
        1 => (queue(), filter(), 0_usize..5)
            .prop_map(|(queue, filter, limit)| Operation::Revive(queue, filter, limit)),
        6 => prop_oneof![0_u32..1_000, 1_000_u32..100_000, Just(60_000_u32), 1_000_000_u32..4_000_000]
            .prop_map(Operation::Advance),
    ]
}

/// Runs `cases` random lists of operations against the queue that `make` makes and the model.
///
/// # Panics
/// When they differ, with the shortest list found. A queue that `make` cannot make here is skipped.
pub fn compare<F>(cases: u32, make: impl Fn(Policy, ManualClock) -> F)
where
    F: Future<Output = Option<Fixture>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime for the test");
    let config = Config { cases, max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() };
    let run = |operations: Vec<Operation>| {
        runtime.block_on(async {
            let clock = ManualClock::default();
            let Some(fixture) = make(policy(), clock.clone()).await else { return Ok(()) };
            let model = MemoryQueue::new(policy(), clock.clone()).expect("a valid policy");
            let mut pair = Pair { fixture: &fixture, model: &model, clock: &clock, leases: Vec::new() };
            for operation in &operations {
                pair.step(operation)
                    .await
                    .map_err(|TestFailure(message)| TestCaseError::fail(format!("{operation:?}: {message}")))?;
            }
            let problems = fixture.queue.verify().await.map_err(|error| TestCaseError::fail(error.to_string()))?;
            if problems.is_empty() { Ok(()) } else { Err(TestCaseError::fail(problems.join("; "))) }
        })
    };
    let strategy = proptest::collection::vec(operation(), 1..120);
    if let Err(failure) = TestRunner::new(config).run(&strategy, run) {
        panic!("the backend and the model differ: {failure}");
    }
}

struct TestFailure(String);

/// Both queues, and what was leased.
struct Pair<'t> {
    fixture: &'t Fixture,
    model: &'t MemoryQueue,
    clock: &'t ManualClock,
    leases: Vec<(QueueName, Token, Vec<Subject>)>,
}

/// Does the same to both queues and fails if they say different things.
macro_rules! both {
    ($pair:expr, $queue:ident => $call:expr) => {{
        let backend = {
            let $queue = &$pair.fixture.queue;
            $call.await.map_err(|error| TestFailure(error.to_string()))?
        };
        let model = {
            let $queue = $pair.model;
            $call.await.map_err(|error| TestFailure(error.to_string()))?
        };
        if backend != model {
            return Err(TestFailure(format!("the backend says {backend:?}, the model {model:?}")));
        }
        backend
    }};
}

impl Pair<'_> {
    async fn step(&mut self, operation: &Operation) -> Result<(), TestFailure> {
        self.apply(operation).await?;
        for name in QueueName::ALL {
            both!(self, queue => queue.counts(name));
            both!(self, queue => queue.list(name, &Filter::default(), None, 1_000));
            both!(self, queue => queue.oldest(name));
            for id in [9, 10, 100] {
                both!(self, queue => queue.repository_counts(name, RepositoryId(id)));
            }
            self.check_wake(name).await?;
        }
        both!(self, queue => queue.pauses());
        Ok(())
    }

    /// Whenever a lease would find something, a wait ends at once.
    async fn check_wake(&self, name: QueueName) -> Result<(), TestFailure> {
        if !self.model.would_lease(name) {
            return Ok(());
        }
        let waiting = tokio::time::timeout(Duration::from_secs(5), self.fixture.queue.wait(name, None));
        match waiting.await {
            Ok(waited) => waited.map_err(|error| TestFailure(error.to_string())),
            Err(_) => Err(TestFailure(format!("there is work on {name}, but a wait does not end"))),
        }
    }

    async fn apply(&mut self, operation: &Operation) -> Result<(), TestFailure> {
        match operation {
            Operation::Push(triggers, delivery) => {
                let delivery = delivery.map(|id| format!("delivery-{id}"));
                both!(self, queue => queue.push(triggers, delivery.as_deref()));
            }
            Operation::PushRange(name, id, numbers, lane) => {
                both!(self, queue => queue.push_range(*name, RepositoryId(*id), numbers.clone(), *lane));
            }
            Operation::Lease(name, max, id, request) => self.lease(*name, *max, *id, *request).await?,
            Operation::Extend(back, seconds) => {
                if let Some((name, token, _)) = self.leased(*back) {
                    both!(self, queue => queue.extend(name, token, Duration::from_secs(*seconds)));
                }
            }
            Operation::Settle(back, outcomes) => self.settle(*back, outcomes).await?,
            Operation::Pause(scope, seconds) => {
                let until = timestamp(self.clock.now() + i64::try_from(*seconds).unwrap_or(0) * 1_000);
                both!(self, queue => queue.pause(scope, until, "paused"));
            }
            Operation::Resume(scope) => both!(self, queue => queue.resume(scope)),
            Operation::Purge(name, filter) => {
                both!(self, queue => queue.purge(*name, filter));
            }
            Operation::Remove(name, subject) => {
                both!(self, queue => queue.remove(*name, subject));
            }
            Operation::Revive(name, filter, limit) => {
                both!(self, queue => queue.revive(*name, filter, *limit));
            }
            Operation::Advance(by) => self.clock.advance(Duration::from_millis(u64::from(*by))),
        }
        Ok(())
    }

    async fn lease(
        &mut self,
        name: QueueName,
        max: usize,
        id: Option<u64>,
        request: Option<u8>,
    ) -> Result<(), TestFailure> {
        let request = LeaseRequest {
            queue: name,
            max,
            hold: Duration::from_secs(60),
            repository: id.map(RepositoryId),
            request: request.map(|id| format!("request-{id}")).unwrap_or_default(),
        };
        let reply = both!(self, queue => queue.lease(&request));
        if let Some(lease) = reply.lease {
            let subjects = lease.jobs.into_iter().map(|job| job.subject).collect();
            self.leases.push((name, lease.token, subjects));
        }
        Ok(())
    }

    fn leased(&self, back: usize) -> Option<(QueueName, Token, Vec<Subject>)> {
        self.leases.iter().rev().nth(back).cloned()
    }

    async fn settle(&self, back: usize, outcomes: &[(Outcome, Option<Trigger>)]) -> Result<(), TestFailure> {
        let Some((name, token, subjects)) = self.leased(back) else { return Ok(()) };
        let settlements: Vec<_> = subjects
            .into_iter()
            .zip(outcomes)
            .map(|(subject, (outcome, follow_up))| Settlement {
                subject,
                outcome: outcome.clone(),
                follow_up: follow_up.clone(),
            })
            .collect();
        both!(self, queue => queue.settle(name, token, &settlements));
        Ok(())
    }
}
