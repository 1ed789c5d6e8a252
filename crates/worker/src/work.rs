//! One batch from its lease to its last answer.

use std::{sync::Arc, time::Duration};

use fail::fail_point;
use gharvest_queue::{Job, Outcome, Settlement};
use metrics::{counter, gauge, histogram};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Batch, Handler, Panicked, catch, heartbeat};

/// Giving jobs back at the end of a shutdown may take this long; what could not be given back comes again when its
/// lease runs out.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) batch: Batch,
    pub(crate) hold: Duration,
    pub(crate) requested: Instant,
    pub(crate) stop: CancellationToken,
}

impl Task {
    pub(crate) async fn run(&self) {
        let name = self.batch.queue_name();
        fail_point!("worker-leased");
        let in_work = InWork::new(&self.batch);
        let started = Instant::now();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => self.release().await,
            lost = heartbeat::keep(self.batch.queue(), name, self.batch.token(), self.hold, self.requested) => {
                counter!("gharvest_leases_lost_total", "queue" => name.as_str()).increment(1);
                tracing::warn!(why = ?lost, jobs = self.batch.unsettled().len(), "Lease lost, its work is dropped");
            }
            () = self.handle_and_settle() => {}
        }
        drop(in_work);
        histogram!("gharvest_run_seconds", "queue" => name.as_str()).record(started.elapsed().as_secs_f64());
    }

    async fn handle_and_settle(&self) {
        if let Err(panicked) = self.handle(&self.batch).await {
            let jobs = self.batch.unsettled();
            match jobs.as_slice() {
                [] => {}
                [job] => self.fail(job, &panicked).await,
                jobs => self.handle_one_by_one(jobs).await,
            }
        }
        for job in self.batch.unsettled() {
            self.retry(&job, "the handler gave no answer".to_owned()).await;
        }
    }

    /// After a panic in a batch every job is tried alone, so that only the guilty one pays with an attempt.
    async fn handle_one_by_one(&self, jobs: &[Job]) {
        for job in jobs {
            if let Err(panicked) = self.handle(&self.batch.only(job)).await {
                self.fail(job, &panicked).await;
            }
        }
    }

    async fn handle(&self, batch: &Batch) -> Result<(), Panicked> {
        let settlements = catch(self.handler.handle(batch)).await.inspect_err(|panicked| {
            counter!("gharvest_panics_total", "queue" => batch.queue_name().as_str()).increment(1);
            tracing::error!(error = %panicked, jobs = batch.jobs().len(), "Handler panicked");
        })?;
        fail_point!("worker-handled");
        batch.settle(settlements).await;
        fail_point!("worker-settled");
        Ok(())
    }

    async fn fail(&self, job: &Job, panicked: &Panicked) {
        self.retry(job, panicked.to_string()).await;
    }

    async fn retry(&self, job: &Job, reason: String) {
        let outcome = Outcome::Retry { after: None, reason };
        let settlement = Settlement { subject: job.subject.clone(), outcome, follow_up: None };
        self.batch.settle(vec![settlement]).await;
    }

    async fn release(&self) {
        let settlements = self.batch.all_unsettled(&Outcome::Release { after: Duration::ZERO });
        let jobs = settlements.len();
        if tokio::time::timeout(RELEASE_WITHIN, self.batch.settle(settlements)).await.is_err() {
            tracing::error!(jobs, "Jobs could not be given back, they come again when their lease runs out");
        }
    }
}

/// Counts jobs in work; gives them back to the gauge when dropped, whatever happened.
struct InWork {
    gauge: metrics::Gauge,
    jobs: f64,
}

impl InWork {
    fn new(batch: &Batch) -> Self {
        let gauge = gauge!("gharvest_jobs_in_work", "queue" => batch.queue_name().as_str());
        let jobs = batch.jobs().len() as f64;
        gauge.increment(jobs);
        Self { gauge, jobs }
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.gauge.decrement(self.jobs);
    }
}
