//! The reference model: the queue in memory, with simple maps and no clever structures. Every backend is compared
//! with it, so it is the specification of all that [`rules`](crate::rules) and [`schedule`](crate::schedule) leave
//! open: which jobs a lease takes, in which order, and what is counted.
//!
//! A lease, step by step:
//! 1. The lease of the same request is given again while it lives.
//! 2. Up to [`SWEPT`] leases that ran out are recovered, those that ended first and with the smaller token first, the
//!    jobs of each in the order of their [`Key`]s.
//! 3. Up to [`PROMOTED`] delayed jobs become ready, those due first and with the smaller key first.
//! 4. While the queue is paused nothing is taken.
//! 5. The lane whose turn it is, then its repository with the smallest (virtual time, id), is chosen among those that
//!    have ready jobs and are not paused. A request for one repository chooses among the lanes where it has some.
//! 6. Jobs of that repository are taken in the order in which they became ready, then from its less urgent lanes in
//!    turn, until there are enough. A suspect is taken alone: if it is first, or else not at all.
//! 7. Each lane is charged for what was taken from it.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{
    Counts, Durability, Extended, Filter, JobView, LeaseReply, LeaseRequest, Paused, Policy, Purged, Pushed, Queue,
    QueueAdmin, RangePushed, Result, Scope, Settled, Settlement, Token, Trigger, check,
    clock::{Clock, timestamp},
    key::Key,
    wake,
};

mod one;

use one::One;

/// The most leases recovered by one lease call.
pub const SWEPT: usize = 10;
/// The most delayed jobs promoted by one lease call.
pub const PROMOTED: usize = 200;
/// The most jobs that one piece of a purge looks at.
pub const PURGED: usize = 1_000;
/// How long delivery ids are remembered, in milliseconds: four days. GitHub redelivers for three.
pub const DELIVERIES_KEPT: i64 = 4 * 86_400_000;

/// The queue in memory: the reference for every backend, and a queue for other crates' tests. Nothing is durable.
#[derive(Debug)]
pub struct MemoryQueue {
    policy: Policy,
    clock: Clock,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Clone, Default)]
struct State {
    download: One,
    index: One,
    /// When each delivery id came.
    deliveries: BTreeMap<String, i64>,
}

impl State {
    fn queue(&mut self, queue: QueueName) -> &mut One {
        match queue {
            QueueName::Download => &mut self.download,
            QueueName::Index => &mut self.index,
        }
    }
}

impl MemoryQueue {
    /// An empty queue with a valid policy.
    pub fn new(policy: Policy, clock: impl Into<Clock>) -> Result<Arc<Self>> {
        policy.validate()?;
        Ok(Arc::new(Self { policy, clock: clock.into(), state: Mutex::default(), changed: Notify::new() }))
    }

    /// Whether a lease of one job would return something now: what must end every wait.
    pub fn would_lease(&self, queue: QueueName) -> bool {
        let now = self.clock.now();
        self.state().queue(queue).clone().lease(&any_job(queue), 1, now, &self.policy).lease.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one operation, and wakes who waits.
    fn change<T>(&self, operation: impl FnOnce(&mut State, i64) -> T) -> T {
        let reply = operation(&mut self.state(), self.clock.now());
        self.changed.notify_waiters();
        reply
    }
}

fn any_job(queue: QueueName) -> LeaseRequest {
    LeaseRequest { queue, max: 1, hold: Duration::from_secs(1), repository: None, request: String::new() }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn push(&self, triggers: &[Trigger], delivery: Option<&str>) -> Result<Vec<Pushed>> {
        let keys = check::triggers(triggers, delivery)?;
        Ok(self.change(|state, now| {
            if let Some(id) = delivery {
                state.deliveries.retain(|_, at| *at > now - DELIVERIES_KEPT);
                if state.deliveries.contains_key(id) {
                    for trigger in triggers {
                        state.queue(trigger.queue).totals.duplicate += 1;
                    }
                    return vec![Pushed::Duplicate; triggers.len()];
                }
                state.deliveries.insert(id.to_owned(), now);
            }
            let pushed = keys.into_iter().zip(triggers);
            pushed.map(|(key, trigger)| state.queue(trigger.queue).push(key, trigger, now, &self.policy)).collect()
        }))
    }

    async fn push_range(
        &self,
        queue: QueueName,
        repository: RepositoryId,
        numbers: RangeInclusive<u64>,
        lane: Lane,
    ) -> Result<RangePushed> {
        check::range(repository, &numbers)?;
        Ok(self.change(|state, now| state.queue(queue).push_range(repository, numbers, lane, now, &self.policy)))
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<LeaseReply> {
        let max = check::lease(request)?;
        Ok(self.change(|state, now| state.queue(request.queue).lease(request, max, now, &self.policy)))
    }

    async fn extend(&self, queue: QueueName, token: Token, hold: Duration) -> Result<Extended> {
        Ok(self.change(|state, now| state.queue(queue).extend(token, hold, now)))
    }

    async fn settle(&self, queue: QueueName, token: Token, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let keys = check::settlements(settlements)?;
        Ok(self.change(|state, now| {
            let mut replies = Vec::with_capacity(settlements.len());
            for (settlement, (key, follow_up)) in settlements.iter().zip(keys) {
                let settled = state.queue(queue).settle(&key, token, &settlement.outcome, now, &self.policy);
                if !matches!(settled, Settled::Stale | Settled::Gone)
                    && let Some((trigger, key)) = settlement.follow_up.as_ref().zip(follow_up)
                {
                    state.queue(trigger.queue).push(key, trigger, now, &self.policy);
                }
                replies.push(settled);
            }
            replies
        }))
    }

    async fn pause(&self, scope: &Scope, until: Timestamp, reason: &str) -> Result<()> {
        check::scope("pause", scope)?;
        self.change(|state, _| {
            let (queue, repository) = split(scope);
            let pause = (until.as_millisecond(), check::cut(reason, check::LONGEST_FAILURE).to_owned());
            state.queue(queue).pauses.insert(repository, pause);
        });
        Ok(())
    }

    async fn resume(&self, scope: &Scope) -> Result<()> {
        check::scope("resume", scope)?;
        self.change(|state, _| {
            let (queue, repository) = split(scope);
            state.queue(queue).pauses.remove(&repository);
        });
        Ok(())
    }

    async fn wait(&self, queue: QueueName, until: Option<Timestamp>) -> Result<()> {
        let outlook = || async move { Ok(self.state().queue(queue).outlook(self.clock.now())) };
        wake::wait(&self.clock, &self.changed, until.map(|until| until.as_millisecond()), outlook).await
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(timestamp(self.clock.now()))
    }
}

/// The queue of a scope, and the repository if only that is meant.
fn split(scope: &Scope) -> (QueueName, Option<u64>) {
    match scope {
        Scope::Queue(queue) => (*queue, None),
        Scope::Repository(queue, repository) => (*queue, Some(repository.0)),
    }
}

#[async_trait]
impl QueueAdmin for MemoryQueue {
    async fn counts(&self, queue: QueueName) -> Result<Counts> {
        let now = self.clock.now();
        let mut state = self.state();
        let one = state.queue(queue);
        Ok(Counts { totals: one.totals, ..one.counts(None, now) })
    }

    async fn repository_counts(&self, queue: QueueName, repository: RepositoryId) -> Result<Counts> {
        Ok(self.state().queue(queue).counts(Some(repository.0), self.clock.now()))
    }

    async fn job(&self, queue: QueueName, subject: &Subject) -> Result<Option<JobView>> {
        let key = Key::new("job", subject)?;
        Ok(self.state().queue(queue).view(queue, &key))
    }

    async fn list(
        &self,
        queue: QueueName,
        filter: &Filter,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<Vec<JobView>> {
        let after = after.map(|subject| Key::new("list", subject)).transpose()?;
        let mut state = self.state();
        let one = state.queue(queue);
        let keys = one.matching(filter).into_iter().filter(|key| after.as_ref().is_none_or(|after| key > after));
        Ok(keys.take(limit).filter_map(|key| one.view(queue, &key)).collect())
    }

    async fn purge_some(&self, queue: QueueName, filter: &Filter, after: Option<&str>) -> Result<Purged> {
        let after = check::place("purge", after)?;
        Ok(self.change(|state, _| state.queue(queue).purge(filter, after.as_ref())))
    }

    async fn remove(&self, queue: QueueName, subject: &Subject) -> Result<bool> {
        let key = Key::new("remove", subject)?;
        Ok(self.change(|state, _| state.queue(queue).remove(&key, None).is_some()))
    }

    async fn revive(&self, queue: QueueName, filter: &Filter, limit: usize) -> Result<u64> {
        Ok(self.change(|state, now| state.queue(queue).revive(filter, limit, now)))
    }

    async fn pauses(&self) -> Result<Vec<(Scope, Paused)>> {
        let now = self.clock.now();
        let mut state = self.state();
        let all = QueueName::ALL.into_iter().flat_map(|queue| {
            let pauses = state.queue(queue).pauses_in_force(now).into_iter();
            pauses.map(move |(repository, paused)| match repository {
                None => (Scope::Queue(queue), paused),
                Some(repository) => (Scope::Repository(queue, RepositoryId(repository)), paused),
            })
        });
        Ok(all.collect())
    }

    async fn oldest(&self, queue: QueueName) -> Result<[Option<Timestamp>; 5]> {
        let oldest = self.state().queue(queue).oldest(self.clock.now());
        Ok(oldest.map(|at| at.map(timestamp)))
    }

    async fn verify(&self) -> Result<Vec<String>> {
        let mut state = self.state();
        Ok(QueueName::ALL.into_iter().flat_map(|queue| state.queue(queue).verify(queue)).collect())
    }

    async fn durability(&self) -> Result<Durability> {
        Ok(Durability { loss: "in memory: everything is lost when the process ends", remedy: None })
    }
}
