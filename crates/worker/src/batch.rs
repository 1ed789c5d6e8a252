//! The jobs of one lease, and which of them are still to be answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use gharvest_model::{Lane, QueueName, Subject};
use gharvest_queue::{Job, Lease, Outcome, Queue, Settled, Settlement, Timing, Token};
use gharvest_service_kit::trace;
use metrics::counter;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;

use crate::{Backoff, report};

/// The jobs of one lease.
#[derive(Debug)]
pub struct Batch {
    queue: Arc<dyn Queue>,
    name: QueueName,
    token: Token,
    jobs: Vec<Job>,
    /// Shared with the parts of this batch: an answer counts once.
    unsettled: Arc<Mutex<BTreeSet<Subject>>>,
    /// Of jobs that are traced each by itself; a span ends with its job's answer.
    spans: Arc<Mutex<BTreeMap<Subject, Span>>>,
    /// Its worker's, until it makes room or ends.
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Batch {
    pub(crate) fn new(queue: Arc<dyn Queue>, name: QueueName, lease: Lease, permit: OwnedSemaphorePermit) -> Self {
        let unsettled = lease.jobs.iter().map(|job| job.subject.clone()).collect();
        let spans = if trace::is_on() { spans(name, &lease.jobs) } else { BTreeMap::new() };
        Self {
            queue,
            name,
            token: lease.token,
            jobs: lease.jobs,
            unsettled: Arc::new(Mutex::new(unsettled)),
            spans: Arc::new(Mutex::new(spans)),
            permit: Arc::new(Mutex::new(Some(permit))),
        }
    }

    /// The same lease with one of its jobs only.
    pub(crate) fn only(&self, job: &Job) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            name: self.name,
            token: self.token,
            jobs: vec![job.clone()],
            unsettled: Arc::clone(&self.unsettled),
            spans: Arc::clone(&self.spans),
            permit: Arc::clone(&self.permit),
        }
    }

    /// Says that this batch only waits from now on, so that its worker leases the next one beside it. The lease is kept
    /// and the work waited for as before; how many batches wait so is for the handler to bound.
    pub fn make_room(&self) {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The jobs, first due first; all of one repository or of none.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// The queue that the jobs came from, for pauses.
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }

    /// Which queue that is.
    pub fn queue_name(&self) -> QueueName {
        self.name
    }

    /// The lease's token.
    pub fn token(&self) -> Token {
        self.token
    }

    /// The jobs that have no answer yet.
    pub fn unsettled(&self) -> Vec<Job> {
        let unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        self.jobs.iter().filter(|job| unsettled.contains(&job.subject)).cloned().collect()
    }

    /// Answers for every job that has no answer yet.
    pub fn all_unsettled(&self, outcome: &Outcome) -> Vec<Settlement> {
        let settlement = |job: Job| Settlement { subject: job.subject, outcome: outcome.clone(), follow_up: None };
        self.unsettled().into_iter().map(settlement).collect()
    }

    /// Settles jobs now, in one step. Repeats itself until the queue answers: the heartbeat ends that when the lease
    /// is over. Returns what became of each.
    pub async fn settle(&self, mut settlements: Vec<Settlement>) -> Vec<Settled> {
        if settlements.is_empty() {
            return Vec::new();
        }
        settlements.iter_mut().for_each(|settlement| self.hand_on_trace(settlement));
        let mut backoff = Backoff::default();
        let settled = loop {
            match self.queue.settle(self.name, self.token, &settlements).await {
                Ok(settled) => break settled,
                Err(error) => report(self.name, "settle", &error),
            }
            tokio::time::sleep(backoff.next_pause()).await;
        };
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for (settlement, settled) in settlements.iter().zip(&settled) {
            unsettled.remove(&settlement.subject);
            spans.remove(&settlement.subject);
            log(self.name, settlement, *settled);
        }
        settled
    }

    /// What follows a traced job belongs to its trace.
    fn hand_on_trace(&self, settlement: &mut Settlement) {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let parent = spans.get(&settlement.subject).and_then(trace::parent_of_next);
        if let (Some(parent), Some(next)) = (parent, &mut settlement.follow_up) {
            next.reason = parent;
            // Nothing is kept of the reasons of jobs that are done when there is time.
            next.timing = Timing::Now;
        }
    }
}

/// A span for each job that somebody waits for, or whose trace began before. Jobs of backfills share that of their batch.
fn spans(queue: QueueName, jobs: &[Job]) -> BTreeMap<Subject, Span> {
    let span = |job: &Job| {
        if job.lane > Lane::Manual && !job.reasons.iter().any(|reason| trace::is_parent(reason)) {
            return None;
        }
        let (name, lane) = (queue.as_str(), job.lane.as_str());
        let span =
            tracing::info_span!(parent: None, "job", otel.name = name, job = %job.subject, lane, attempt = job.attempt);
        trace::follow(&span, job.reasons.iter().map(String::as_str));
        Some((job.subject.clone(), span))
    };
    jobs.iter().filter_map(span).collect()
}

fn log(queue: QueueName, settlement: &Settlement, settled: Settled) {
    let (outcome, reason) = match &settlement.outcome {
        Outcome::Finish => ("finish", None),
        Outcome::Retry { reason, .. } => ("retry", Some(reason)),
        Outcome::Bury { reason } => ("bury", Some(reason)),
        Outcome::Release { .. } => ("release", None),
    };
    let label = match settled {
        Settled::Finished => "finished",
        Settled::Waiting if outcome == "retry" => "retried",
        Settled::Waiting if outcome == "release" => "released",
        Settled::Waiting => "again",
        Settled::Buried => "buried",
        Settled::Stale => "stale",
        Settled::Gone => "gone",
    };
    counter!("gharvest_settled_total", "queue" => queue.as_str(), "outcome" => label).increment(1);
    let subject = &settlement.subject;
    match (settled, reason) {
        (Settled::Buried, reason) => {
            let reason = reason.map_or("", String::as_str);
            tracing::error!(job = %subject, reason, "Job buried: it needs a person, see `queue-cli buried list {queue}`");
        }
        (Settled::Stale, _) => tracing::warn!(job = %subject, "Answer came after the lease had ended and was refused"),
        (_, Some(reason)) => tracing::warn!(job = %subject, reason, "Job failed and will be tried again"),
        (..) => tracing::debug!(job = %subject, outcome = label, "Job settled"),
    }
}
