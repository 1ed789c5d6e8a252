//! A queue that fails when told to, for tests of whoever uses one.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gharvest_model::{QueueName, RepositoryId, Subject};
use jiff::Timestamp;

use crate::{
    Counts, Durability, Error, ErrorKind, Extended, Filter, JobView, LeaseReply, LeaseRequest, Paused, Purged, Pushed,
    Queue, QueueAdmin, RangePushed, Result, Scope, Settled, Settlement, Token, Trigger,
};

/// Whether the failing call took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The backend never saw the call.
    Before,
    /// The backend did what was asked, and its reply was lost.
    After,
}

/// Passes every call on to another queue, but fails chosen ones as [`ErrorKind::Unavailable`].
///
/// Calls are counted from 1; [`Queue::now`] and [`Queue::wait`] are not counted and never fail.
#[derive(Debug)]
pub struct FaultyQueue {
    inner: Arc<dyn QueueAdmin>,
    calls: AtomicU64,
    plan: Mutex<Vec<(u64, Fault)>>,
}

impl FaultyQueue {
    /// A queue that does not fail yet.
    pub fn new(inner: Arc<dyn QueueAdmin>) -> Arc<Self> {
        Arc::new(Self { inner, calls: AtomicU64::new(0), plan: Mutex::new(Vec::new()) })
    }

    /// Lets the `call`-th call fail.
    pub fn fail(&self, call: u64, fault: Fault) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).push((call, fault));
    }

    /// Lets the next call fail.
    pub fn fail_next(&self, fault: Fault) {
        self.fail(self.calls() + 1, fault);
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn pass<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fault = plan.into_iter().find(|(planned, _)| *planned == number).map(|(_, fault)| fault);
        let failed = || Error::new(ErrorKind::Unavailable, operation, format!("call {number} was made to fail"));
        match fault {
            None => call.await,
            Some(Fault::Before) => Err(failed()),
            Some(Fault::After) => {
                call.await?;
                Err(failed())
            }
        }
    }
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn push(&self, triggers: &[Trigger], delivery: Option<&str>) -> Result<Vec<Pushed>> {
        self.pass("push", self.inner.push(triggers, delivery)).await
    }

    async fn push_range(
        &self,
        queue: QueueName,
        repository: RepositoryId,
        numbers: RangeInclusive<u64>,
        lane: gharvest_model::Lane,
    ) -> Result<RangePushed> {
        self.pass("push_range", self.inner.push_range(queue, repository, numbers, lane)).await
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<LeaseReply> {
        self.pass("lease", self.inner.lease(request)).await
    }

    async fn extend(&self, queue: QueueName, token: Token, hold: Duration) -> Result<Extended> {
        self.pass("extend", self.inner.extend(queue, token, hold)).await
    }

    async fn settle(&self, queue: QueueName, token: Token, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.pass("settle", self.inner.settle(queue, token, settlements)).await
    }

    async fn pause(&self, scope: &Scope, until: Timestamp, reason: &str) -> Result<()> {
        self.pass("pause", self.inner.pause(scope, until, reason)).await
    }

    async fn resume(&self, scope: &Scope) -> Result<()> {
        self.pass("resume", self.inner.resume(scope)).await
    }

    async fn wait(&self, queue: QueueName, until: Option<Timestamp>) -> Result<()> {
        self.inner.wait(queue, until).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }
}

#[async_trait]
impl QueueAdmin for FaultyQueue {
    async fn counts(&self, queue: QueueName) -> Result<Counts> {
        self.pass("counts", self.inner.counts(queue)).await
    }

    async fn repository_counts(&self, queue: QueueName, repository: RepositoryId) -> Result<Counts> {
        self.pass("repository_counts", self.inner.repository_counts(queue, repository)).await
    }

    async fn job(&self, queue: QueueName, subject: &Subject) -> Result<Option<JobView>> {
        self.pass("job", self.inner.job(queue, subject)).await
    }

    async fn list(
        &self,
        queue: QueueName,
        filter: &Filter,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<Vec<JobView>> {
        self.pass("list", self.inner.list(queue, filter, after, limit)).await
    }

    async fn purge_some(&self, queue: QueueName, filter: &Filter, after: Option<&str>) -> Result<Purged> {
        self.pass("purge", self.inner.purge_some(queue, filter, after)).await
    }

    async fn remove(&self, queue: QueueName, subject: &Subject) -> Result<bool> {
        self.pass("remove", self.inner.remove(queue, subject)).await
    }

    async fn revive(&self, queue: QueueName, filter: &Filter, limit: usize) -> Result<u64> {
        self.pass("revive", self.inner.revive(queue, filter, limit)).await
    }

    async fn pauses(&self) -> Result<Vec<(Scope, Paused)>> {
        self.pass("pauses", self.inner.pauses()).await
    }

    async fn oldest(&self, queue: QueueName) -> Result<[Option<Timestamp>; 5]> {
        self.pass("oldest", self.inner.oldest(queue)).await
    }

    async fn verify(&self) -> Result<Vec<String>> {
        self.pass("verify", self.inner.verify()).await
    }

    async fn durability(&self) -> Result<Durability> {
        self.pass("durability", self.inner.durability()).await
    }
}
