//! The Queue port: keyed, coalescing jobs with lanes, leases and fencing tokens.
//!
//! There is one job per (queue, subject). Any number of triggers of a subject makes one job; a trigger that arrives
//! while the job is worked on makes it run once more afterwards. The full semantics, transition by transition, stand
//! in [`Queue`]'s contract and in `model`, the in-memory reference that every backend is compared with.

use std::{fmt, ops::RangeInclusive, time::Duration};

use async_trait::async_trait;
use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::key::{Key, LARGEST, Name};

pub mod check;
pub mod clock;
pub mod contract;
mod error;
pub mod faulty;
pub mod key;
pub mod model;
pub mod property;
pub mod rules;
pub mod schedule;
pub mod wake;

pub use clock::{Clock, ManualClock};
pub use error::{Error, ErrorKind, Result};
pub use faulty::FaultyQueue;
pub use model::MemoryQueue;

/// When a triggered job may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// After the inactivity delay, with a ceiling: for webhooks, which come in bursts.
    Settled,
    /// At once; also ends a wait between retries. For people.
    Now,
    /// At once, but a wait between retries goes on. For schedules and backfills.
    WhenFree,
}

/// One reason to run a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Which queue.
    pub queue: QueueName,
    /// What the job is about.
    pub subject: Subject,
    /// How urgent it is.
    pub lane: Lane,
    /// When it may start.
    pub timing: Timing,
    /// Why, in one word (`issue_comment`, `reconcile`, `cli`, or the `traceparent` of what asked for it): at most
    /// [`Trigger::LONGEST_REASON`] bytes.
    pub reason: String,
}

impl Trigger {
    /// The longest reason, in bytes: a `traceparent` has 55.
    pub const LONGEST_REASON: usize = 64;
}

/// What became of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pushed {
    /// There was no job; now there is one.
    New,
    /// It was merged into a waiting job.
    Merged,
    /// The job is being worked on and will run once more.
    Dirty,
    /// A buried job was revived for one more attempt.
    Revived,
    /// The delivery was seen before; nothing changed.
    Duplicate,
}

/// What became of a range of triggers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangePushed {
    /// Jobs that were made.
    pub new: u64,
    /// Jobs that were there already: waiting, worked on, or buried and now revived.
    pub merged: u64,
}

/// Proof of a lease, strictly increasing per queue: an answer with an older token changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Which queue.
    pub queue: QueueName,
    /// At most this many jobs, at least 1. All of them belong to one repository, or to none.
    pub max: usize,
    /// How long the lease lasts unless it is extended.
    pub hold: Duration,
    /// Only jobs of this repository.
    pub repository: Option<RepositoryId>,
    /// Names the request: asked again with the same id while its lease lives, the queue answers with the same lease.
    /// At most 40 bytes.
    pub request: String,
}

/// What a worker gets.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseReply {
    /// The lease, or none if nothing is due.
    pub lease: Option<Lease>,
    /// When the queue may have work without a push: the first due time, lease end or pause end. Now, without a lease,
    /// where a backend did not get as far as a job in one step.
    pub next_at: Option<Timestamp>,
}

/// The right to work on jobs until a deadline.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// Proof of the lease, one for the batch.
    pub token: Token,
    /// When it ends by the backend's clock.
    pub expires_at: Timestamp,
    /// The jobs, first due first.
    pub jobs: Vec<Job>,
}

/// A leased job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What it is about.
    pub subject: Subject,
    /// The lane it was leased from.
    pub lane: Lane,
    /// 1 at the first attempt.
    pub attempt: u32,
    /// How often a lease of it ran out: a suspect is leased alone.
    pub lost: u32,
    /// The time of the first trigger; none for backfills, which store no times.
    pub first_at: Option<Timestamp>,
    /// The time of the latest trigger; none for backfills.
    pub last_at: Option<Timestamp>,
    /// The union of the triggers' reasons, as far as they were kept.
    pub reasons: Vec<String>,
}

/// The worker's word on one job of its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Which job.
    pub subject: Subject,
    /// How it ended.
    pub outcome: Outcome,
    /// A job to push in the same atomic step, on either queue. Only looked at if the settlement is accepted: also of a
    /// job that was removed while it was worked on, because what was done is done, as a record that was stored.
    pub follow_up: Option<Trigger>,
}

/// How work on a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done: the job goes, or waits for its one more run if it became dirty.
    Finish,
    /// Failed: again after a pause, or buried after the last attempt.
    Retry {
        /// Not before this much time; none lets the queue back off exponentially with jitter.
        after: Option<Duration>,
        /// Why, for people; cut to 500 bytes.
        reason: String,
    },
    /// Failed for good.
    Bury {
        /// Why, for people; cut to 500 bytes.
        reason: String,
    },
    /// Given back without costing an attempt: shutdown, a rate limit, a full disk.
    Release {
        /// Not before this much time.
        after: Duration,
    },
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// The job is finished and gone.
    Finished,
    /// The job waits again: dirty, retried or released.
    Waiting,
    /// The job is buried.
    Buried,
    /// Another lease has the job now; nothing changed.
    Stale,
    /// There is no such job any more; nothing changed. A settlement repeated after a lost reply ends here.
    Gone,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extended {
    /// The lease lives on.
    Until(Timestamp),
    /// The lease is lost: stop working on its jobs.
    Lost,
}

/// What is paused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A whole queue.
    Queue(QueueName),
    /// One repository on a queue.
    Repository(QueueName, RepositoryId),
}

/// The delays and limits that all writers of one queue share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A settled trigger waits for this much silence.
    pub inactivity_delay: Duration,
    /// But never longer than this since the first trigger; at least `inactivity_delay`.
    pub max_delay: Duration,
    /// After this many failed attempts a job is buried.
    pub max_attempts: u32,
    /// After this many lost leases a job is buried as poison.
    pub max_lost: u32,
    /// The pause after the first failed attempt; doubles with each, up to `retry_longest`.
    pub retry_shortest: Duration,
    /// The longest pause between attempts.
    pub retry_longest: Duration,
}

impl Default for Policy {
    /// The embedded defaults of the design.
    fn default() -> Self {
        Self {
            inactivity_delay: Duration::from_secs(5),
            max_delay: Duration::from_secs(60),
            max_attempts: 8,
            max_lost: 3,
            retry_shortest: Duration::from_secs(15),
            retry_longest: Duration::from_secs(3600),
        }
    }
}

/// A durable queue of keyed jobs, delivered at least once.
///
/// # Contract
/// - A push is durable when it returns. It merges into a waiting job: the more urgent lane, the earliest ceiling, the
///   latest trigger, the union of reasons. A push to a leased job marks it dirty: finishing it makes it wait again.
/// - A job is in at most one live lease. An expired lease costs an attempt and hands its jobs out again.
/// - Whatever names a lease compares its token; an old token changes nothing and is told so per job.
/// - Lanes share by [`Lane::weight`]; within a lane repositories share equally, and a repository's jobs keep their order.
/// - Counting costs the same at ten jobs and at ten million.
/// - Time is the backend's; tests inject it where the backend is made.
///
/// Errors are few: the backend is away (worth a retry), the request is refused, or stored data is corrupt.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync + 'static {
    /// Pushes triggers in one atomic step. With a delivery id that was seen within four days, nothing changes and
    /// every trigger is [`Pushed::Duplicate`]. Order and number of the reply are those of `triggers`.
    async fn push(&self, triggers: &[Trigger], delivery: Option<&str>) -> Result<Vec<Pushed>>;

    /// Pushes a job for each item number of a range, at once and without times: the cheapest form, for backfills. Jobs
    /// that are there are met as by a trigger: one that is buried is revived for one more attempt.
    async fn push_range(
        &self,
        queue: QueueName,
        repository: RepositoryId,
        numbers: RangeInclusive<u64>,
        lane: Lane,
    ) -> Result<RangePushed>;

    /// Leases due jobs: recovers expired leases, promotes what is due, then takes from the lane and repository whose
    /// turn it is.
    async fn lease(&self, request: &LeaseRequest) -> Result<LeaseReply>;

    /// Extends a lease to `hold` from now.
    async fn extend(&self, queue: QueueName, token: Token, hold: Duration) -> Result<Extended>;

    /// Settles jobs of a lease, each with its follow-up, in one atomic step. The reply is in the order given.
    async fn settle(&self, queue: QueueName, token: Token, settlements: &[Settlement]) -> Result<Vec<Settled>>;

    /// Hands out nothing of the scope until the time given; triggers are still accepted.
    async fn pause(&self, scope: &Scope, until: Timestamp, reason: &str) -> Result<()>;

    /// Ends a pause.
    async fn resume(&self, scope: &Scope) -> Result<()>;

    /// Returns when the queue may have work: something became ready, `until` passed, or a fallback of seconds.
    async fn wait(&self, queue: QueueName, until: Option<Timestamp>) -> Result<()>;

    /// The backend's time.
    async fn now(&self) -> Result<Timestamp>;
}

/// Jobs by state and lane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Ready jobs by [`Lane::index`].
    pub ready: [u64; 5],
    /// Jobs that wait for their time.
    pub delayed: u64,
    /// Jobs being worked on.
    pub leased: u64,
    /// Jobs that failed for good.
    pub buried: u64,
    /// Totals since the queue was made.
    pub totals: Totals,
    /// Until when the whole queue is paused, and why.
    pub paused: Option<Paused>,
}

impl Counts {
    /// Everything that still wants work: ready, delayed and leased.
    pub fn outstanding(&self) -> u64 {
        self.ready.iter().sum::<u64>() + self.delayed + self.leased
    }
}

/// What a crash of a backend can lose. For people it is one sentence, and a warning where something must be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durability {
    /// What is kept and what is lost, in words.
    pub loss: &'static str,
    /// What to set where a crash may lose all jobs.
    pub remedy: Option<&'static str>,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remedy {
            Some(remedy) => write!(f, "WARNING: {}: {remedy}", self.loss),
            None => f.write_str(self.loss),
        }
    }
}

/// Counters that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Triggers that made a job.
    pub new: u64,
    /// Triggers merged into a waiting job.
    pub merged: u64,
    /// Triggers that marked a leased job dirty.
    pub dirty: u64,
    /// Triggers of deliveries seen before.
    pub duplicate: u64,
    /// Jobs finished.
    pub finished: u64,
    /// Attempts that failed.
    pub retried: u64,
    /// Jobs buried.
    pub buried: u64,
    /// Leases of jobs that ran out.
    pub lost: u64,
    /// Settlements that came too late.
    pub stale: u64,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// When it ends.
    pub until: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// A job's state, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its time.
    Delayed,
    /// Waits for a worker.
    Ready,
    /// Is being worked on.
    Leased,
    /// Failed for good.
    Buried,
}

/// A job as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Which queue.
    pub queue: QueueName,
    /// What it is about.
    pub subject: Subject,
    /// Its state.
    pub state: JobState,
    /// Its lane.
    pub lane: Lane,
    /// Attempts made.
    pub attempts: u32,
    /// Whether it runs once more afterwards.
    pub dirty: bool,
    /// When it may start (delayed), when its lease ends (leased), when it was buried (buried).
    pub at: Option<Timestamp>,
    /// The first trigger's time, where kept.
    pub first_at: Option<Timestamp>,
    /// The latest trigger's time, where kept.
    pub last_at: Option<Timestamp>,
    /// Why it failed last.
    pub reason: Option<String>,
}

/// Which jobs are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this repository.
    pub repository: Option<RepositoryId>,
    /// Only of this lane.
    pub lane: Option<Lane>,
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only items with these numbers.
    pub numbers: Option<RangeInclusive<u64>>,
}

impl Filter {
    /// Where the jobs that may match lie in the order of keys: behind the first one, and not behind the second.
    pub fn bounds(&self) -> (Key, Key) {
        let place = |repository, number| Key { repository, name: Name::Number(number) };
        let Some(RepositoryId(repository)) = self.repository else {
            return (place(0, 0), place(LARGEST + 1, 0));
        };
        match &self.numbers {
            None => (place(repository, 0), place(repository.saturating_add(1), 0)),
            Some(numbers) => (place(repository, numbers.start().saturating_sub(1)), place(repository, *numbers.end())),
        }
    }

    /// Whether a job is meant.
    pub fn matches(&self, subject: &Subject, lane: Lane, state: JobState) -> bool {
        let number = if let Subject::Item(item) = subject { Some(item.number) } else { None };
        self.repository.is_none_or(|wanted| wanted == subject.repository().unwrap_or(RepositoryId(0)))
            && self.lane.is_none_or(|wanted| wanted == lane)
            && self.state.is_none_or(|wanted| wanted == state)
            && self.numbers.as_ref().is_none_or(|wanted| number.is_some_and(|number| wanted.contains(&number)))
    }
}

/// What one piece of a purge did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// Jobs that are gone.
    pub removed: u64,
    /// Jobs that are being worked on: they go when they are settled.
    pub doomed: u64,
    /// Where the next piece begins, in the backend's own words; none after the last one.
    pub next: Option<String>,
}

/// What operators do; workers cannot call it.
#[async_trait]
pub trait QueueAdmin: Queue {
    /// Counts by state and lane.
    async fn counts(&self, queue: QueueName) -> Result<Counts>;

    /// Counts of one repository (totals are those of the queue, zero here).
    async fn repository_counts(&self, queue: QueueName, repository: RepositoryId) -> Result<Counts>;

    /// One job, or none.
    async fn job(&self, queue: QueueName, subject: &Subject) -> Result<Option<JobView>>;

    /// Up to `limit` jobs in a stable order, after the subject given.
    async fn list(
        &self,
        queue: QueueName,
        filter: &Filter,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<Vec<JobView>>;

    /// Removes jobs that match, from where an earlier piece with this filter ended. A call looks at a bounded number of
    /// jobs, however few of them match, so that nobody waits for it long. One being worked on is removed when it is settled, and so is what was asked for since its lease began, but for a trigger
    /// of another lane than the filter's.
    ///
    /// A job is judged and removed in one atomic step: what no longer matches when its turn comes stays as it is.
    async fn purge_some(&self, queue: QueueName, filter: &Filter, after: Option<&str>) -> Result<Purged>;

    /// Removes all jobs that match, piece by piece. Says how many, with those being worked on.
    async fn purge(&self, queue: QueueName, filter: &Filter) -> Result<u64> {
        let (mut jobs, mut after) = (0, None);
        loop {
            let piece = self.purge_some(queue, filter, after.as_deref()).await?;
            jobs += piece.removed + piece.doomed;
            after = piece.next;
            if after.is_none() {
                return Ok(jobs);
            }
        }
    }

    /// Removes one job, or marks it for removal while it is worked on. Says whether there was one.
    async fn remove(&self, queue: QueueName, subject: &Subject) -> Result<bool>;

    /// Makes buried jobs ready again with fresh attempts, up to `limit`, in the manual lane. Says how many.
    async fn revive(&self, queue: QueueName, filter: &Filter, limit: usize) -> Result<u64>;

    /// All pauses in force.
    async fn pauses(&self) -> Result<Vec<(Scope, Paused)>>;

    /// When the oldest ready or overdue job became due, per lane where known.
    async fn oldest(&self, queue: QueueName) -> Result<[Option<Timestamp>; 5]>;

    /// Recounts everything and compares with the counters; what differs, in words. Offline work, for `doctor`.
    async fn verify(&self) -> Result<Vec<String>>;

    /// What a crash of the backend can lose.
    async fn durability(&self) -> Result<Durability>;
}
