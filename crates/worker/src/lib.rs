//! The one generic loop: permit, lease, heartbeat, handle, settle, drain.
//!
//! The order matters. A permit is taken *before* a lease, so that no more is leased than can be worked on; the permit
//! moves into the batch, so that a panic gives it back. While the [`Handler`] works on a [`Batch`], a heartbeat extends
//! the lease; when heartbeats are lost the work is dropped before the lease ends, so that nobody else's work is
//! disturbed. What the handler answers is settled in one step; what it leaves unanswered, because it panicked or
//! forgot, is a failed attempt with that reason. An error of the queue is waited out, never a reason to stop.
//!
//! At shutdown nothing more is leased, work in hand may go on until [`Options::drain`] is over, and the rest is given
//! back without costing an attempt.
//!
//! Metrics (labels `queue`, and as named): `gharvest_leases_total` (`result`), `gharvest_batch_jobs`,
//! `gharvest_wait_seconds` (`lane`; first trigger to start), `gharvest_run_seconds`, `gharvest_settled_total`
//! (`outcome`), `gharvest_panics_total`, `gharvest_leases_lost_total`, `gharvest_jobs_in_work`,
//! `gharvest_queue_errors_total` (`operation`), `gharvest_queue_up`.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use gharvest_model::QueueName;
use gharvest_queue::{Job, Lease, LeaseReply, LeaseRequest, Queue, Settlement};
use jiff::Timestamp;
use metrics::{counter, gauge, histogram};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

mod backoff;
mod batch;
mod heartbeat;
mod panics;
mod work;

pub use backoff::Backoff;
pub use batch::Batch;
pub use panics::{Panicked, catch};

/// How a loop works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which queue.
    pub queue: QueueName,
    /// Batches in work at once, at least 1, without those that [made room](Batch::make_room).
    pub workers: usize,
    /// Jobs leased at once, all of one repository; at least 1.
    pub batch: usize,
    /// How long a lease lasts without a heartbeat. A heartbeat comes after a third of it; after two thirds without
    /// one the work is dropped.
    pub lease: Duration,
    /// At shutdown, work in hand may take this long.
    pub drain: Duration,
}

/// What is done with jobs.
#[async_trait]
pub trait Handler: fmt::Debug + Send + Sync + 'static {
    /// Works on the jobs of a batch and says how each ended.
    ///
    /// Answers may also be given one by one with [`Batch::settle`], as soon as they are known. A job without an answer
    /// has failed. The future is dropped when the lease is lost or shutdown takes too long, so each step must leave
    /// things as they may stay.
    async fn handle(&self, batch: &Batch) -> Vec<Settlement>;
}

/// Works on a queue until `shutdown`; returns when nothing is in hand any more.
pub async fn run(queue: Arc<dyn Queue>, handler: Arc<dyn Handler>, options: Options, shutdown: CancellationToken) {
    // Alerts on what a counter grows by do not see one that begins with its first failure.
    counter!("gharvest_settled_total", "queue" => options.queue.as_str(), "outcome" => "buried").increment(0);
    counter!("gharvest_panics_total", "queue" => options.queue.as_str()).increment(0);
    let permits = Arc::new(Semaphore::new(options.workers.max(1)));
    let tracker = TaskTracker::new();
    let stop_work = CancellationToken::new();
    let worker = Worker { queue, handler, options, shutdown, stop_work, tracker };
    worker.lease_until_shutdown(&permits).await;
    worker.drain().await;
}

#[derive(Debug)]
struct Worker {
    queue: Arc<dyn Queue>,
    handler: Arc<dyn Handler>,
    options: Options,
    shutdown: CancellationToken,
    /// Cancelled when draining took too long: batches give back what they hold.
    stop_work: CancellationToken,
    tracker: TaskTracker,
}

/// The least time between two leases that found nothing.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

/// A lease with the instant of its request on our own clock: its end is judged by that, never by two hosts' clocks.
struct Leased {
    lease: Lease,
    requested: Instant,
}

impl Worker {
    async fn lease_until_shutdown(&self, permits: &Arc<Semaphore>) {
        let mut backoff = Backoff::default();
        loop {
            let permit = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                permit = Arc::clone(permits).acquire_owned() => permit.expect("the semaphore is never closed"),
            };
            // Dropping a lease call half way is safe: what it leased comes back when its lease runs out. But at a
            // regular shutdown that would be a lease left behind, so the call is always awaited.
            match self.lease_or_wait(&mut backoff).await {
                Some(leased) => self.spawn(leased, permit),
                None if self.shutdown.is_cancelled() => return,
                None => {}
            }
        }
    }

    /// One lease, or a wait until there may be one. A push between the two is not missed: [`Queue::wait`] registers
    /// its interest before it looks.
    async fn lease_or_wait(&self, backoff: &mut Backoff) -> Option<Leased> {
        let (leased, next_at) = self.lease(backoff).await?;
        if leased.is_some() {
            return leased;
        }
        let waiting_since = Instant::now();
        let result = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return None,
            result = self.queue.wait(self.options.queue, next_at) => result,
        };
        if let Err(error) = result {
            self.report("wait", &error);
            self.pause(backoff).await;
        } else if waiting_since.elapsed() < SHORTEST_WAIT {
            // A queue that is woken for nothing, over and over, must not keep a core busy.
            tokio::time::sleep(SHORTEST_WAIT).await;
        }
        None
    }

    /// Asks for a lease until the queue answers or shutdown begins. A repeated request keeps its id, so that a lease
    /// whose reply was lost is found again.
    async fn lease(&self, backoff: &mut Backoff) -> Option<(Option<Leased>, Option<Timestamp>)> {
        let mut request = self.new_request();
        let mut requested = Instant::now();
        loop {
            match self.queue.lease(&request).await {
                Ok(LeaseReply { lease, next_at }) => {
                    backoff.reset();
                    self.count_lease(lease.as_ref());
                    return Some((lease.map(|lease| Leased { lease, requested }), next_at));
                }
                Err(error) => self.report("lease", &error),
            }
            self.pause(backoff).await;
            if self.shutdown.is_cancelled() {
                return None;
            }
            if requested.elapsed() >= self.options.lease / 3 {
                request = self.new_request();
                requested = Instant::now();
            }
        }
    }

    fn new_request(&self) -> LeaseRequest {
        LeaseRequest {
            queue: self.options.queue,
            max: self.options.batch.max(1),
            hold: self.options.lease,
            repository: None,
            request: format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
        }
    }

    async fn pause(&self, backoff: &mut Backoff) {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(backoff.next_pause()) => {}
        }
    }

    fn report(&self, operation: &'static str, error: &gharvest_queue::Error) {
        report(self.options.queue, operation, error);
    }

    fn count_lease(&self, lease: Option<&Lease>) {
        let name = self.options.queue.as_str();
        gauge!("gharvest_queue_up", "queue" => name).set(1.0);
        let result = if lease.is_some() { "jobs" } else { "empty" };
        counter!("gharvest_leases_total", "queue" => name, "result" => result).increment(1);
        let Some(lease) = lease else { return };
        histogram!("gharvest_batch_jobs", "queue" => name).record(lease.jobs.len() as f64);
        for job in &lease.jobs {
            if let Some(waited) = waited_seconds(job) {
                histogram!("gharvest_wait_seconds", "queue" => name, "lane" => job.lane.as_str()).record(waited);
            }
        }
    }

    fn spawn(&self, leased: Leased, permit: OwnedSemaphorePermit) {
        let task = work::Task {
            handler: Arc::clone(&self.handler),
            batch: Batch::new(Arc::clone(&self.queue), self.options.queue, leased.lease, permit),
            hold: self.options.lease,
            requested: leased.requested,
            stop: self.stop_work.clone(),
        };
        let span = tracing::info_span!("batch", queue = %self.options.queue, lease.token = %task.batch.token());
        let work = async move { task.run().await };
        self.tracker.spawn(work.instrument(span));
    }

    /// Lets work in hand finish, then has the rest given back.
    async fn drain(&self) {
        self.tracker.close();
        if tokio::time::timeout(self.options.drain, self.tracker.wait()).await.is_err() {
            self.stop_work.cancel();
            self.tracker.wait().await;
        }
    }
}

fn waited_seconds(job: &Job) -> Option<f64> {
    let waited = Timestamp::now().duration_since(job.first_at?).as_secs_f64();
    Some(waited.max(0.0))
}

fn report(queue: QueueName, operation: &'static str, error: &gharvest_queue::Error) {
    counter!("gharvest_queue_errors_total", "queue" => queue.as_str(), "operation" => operation).increment(1);
    gauge!("gharvest_queue_up", "queue" => queue.as_str()).set(0.0);
    tracing::error!(queue = %queue, operation, error = %error, "Queue does not answer as it should");
}
