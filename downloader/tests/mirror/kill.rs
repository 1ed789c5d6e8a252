//! A queue at which the process that uses it is killed.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gharvest_model::{Lane, QueueName, RepositoryId};
use gharvest_queue::{
    Extended, LeaseReply, LeaseRequest, Pushed, Queue, RangePushed, Result, Scope, Settled, Settlement, Token, Trigger,
};
use jiff::Timestamp;
use tokio::sync::Notify;

/// Passes calls on until one of them: from there on no call returns, as if the process had been killed just before it,
/// or just after it took effect.
#[derive(Debug)]
pub(crate) struct KillingQueue {
    inner: Arc<dyn Queue>,
    calls: AtomicU64,
    at: u64,
    after: bool,
    /// How many triggers each push had.
    pub(crate) pushes: Mutex<Vec<usize>>,
    /// How many leases were given.
    pub(crate) leases: AtomicU64,
    pub(crate) killed: Notify,
}

impl KillingQueue {
    pub(crate) fn new(inner: Arc<dyn Queue>, at: u64, after: bool) -> Arc<Self> {
        Arc::new(Self {
            inner,
            calls: AtomicU64::new(0),
            at,
            after,
            pushes: Mutex::default(),
            leases: AtomicU64::new(0),
            killed: Notify::new(),
        })
    }

    /// One that only counts.
    pub(crate) fn never(inner: Arc<dyn Queue>) -> Arc<Self> {
        Self::new(inner, u64::MAX, false)
    }

    async fn pass<T>(&self, call: impl Future<Output = T>) -> T {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if number < self.at {
            return call.await;
        }
        if number == self.at {
            if self.after {
                call.await;
            }
            self.killed.notify_one();
        }
        std::future::pending().await
    }
}

#[async_trait]
impl Queue for KillingQueue {
    async fn push(&self, triggers: &[Trigger], delivery: Option<&str>) -> Result<Vec<Pushed>> {
        self.pushes.lock().unwrap().push(triggers.len());
        self.pass(self.inner.push(triggers, delivery)).await
    }

    async fn push_range(
        &self,
        queue: QueueName,
        repository: RepositoryId,
        numbers: RangeInclusive<u64>,
        lane: Lane,
    ) -> Result<RangePushed> {
        self.pass(self.inner.push_range(queue, repository, numbers, lane)).await
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<LeaseReply> {
        let reply = self.pass(self.inner.lease(request)).await?;
        self.leases.fetch_add(u64::from(reply.lease.is_some()), Ordering::SeqCst);
        Ok(reply)
    }

    async fn extend(&self, queue: QueueName, token: Token, hold: Duration) -> Result<Extended> {
        self.inner.extend(queue, token, hold).await
    }

    async fn settle(&self, queue: QueueName, token: Token, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.pass(self.inner.settle(queue, token, settlements)).await
    }

    async fn pause(&self, scope: &Scope, until: Timestamp, reason: &str) -> Result<()> {
        self.pass(self.inner.pause(scope, until, reason)).await
    }

    async fn resume(&self, scope: &Scope) -> Result<()> {
        self.pass(self.inner.resume(scope)).await
    }

    async fn wait(&self, queue: QueueName, until: Option<Timestamp>) -> Result<()> {
        self.inner.wait(queue, until).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }
}
