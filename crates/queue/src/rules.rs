//! The specification of a job's life, as pure functions: what a trigger, a lease, a settlement and time make of it.
//!
//! A job is absent, [`Delayed`](JobState::Delayed) until its time, [`Ready`](JobState::Ready) in a lane,
//! [`Leased`](JobState::Leased) under a token, perhaps dirty, or [`Buried`](JobState::Buried). Backends store
//! [`Record`]s, or their own form of them, and change them only as these functions do.
//!
//! | from | event | to |
//! | --- | --- | --- |
//! | absent | trigger | delayed or ready |
//! | delayed | trigger | delayed with another time, never beyond the ceiling; or ready |
//! | ready | trigger | ready; a more urgent lane is joined at its tail |
//! | leased | trigger | leased and dirty |
//! | buried | trigger | delayed or ready for one more attempt |
//! | delayed | time | ready |
//! | ready | lease | leased, one attempt more |
//! | leased | finish | absent; if dirty, delayed or ready with fresh attempts |
//! | leased | retry, lease lost | delayed; after the last attempt buried, but if dirty delayed for one more |
//! | leased | bury | buried; if dirty delayed for one more attempt |
//! | leased | release | delayed or ready, the attempt given back |
//! | leased | remove | leased and doomed: absent when it is settled, unless triggered again |
//! | buried | revive | ready in the manual lane with fresh attempts |

use gharvest_model::{Lane, QueueName, Subject};
use serde::{Deserialize, Serialize};

use crate::{
    Job, JobState, JobView, Outcome, Policy, Pushed, Settled, Timing, Trigger,
    check::{LONGEST_FAILURE, cut},
    clock::{milliseconds, timestamp},
};

/// The most reasons kept of one job: the first of them in the order of their bytes.
pub const MOST_REASONS: usize = 8;

/// A due time that never comes: the request has no ceiling but its delays.
pub const NEVER: i64 = i64::MAX;

/// What the triggers of one run ask for, merged. All times are milliseconds since 1970.
///
/// Merging is commutative, associative and idempotent, so the order and number of triggers cannot matter. The default
/// is a backfill's request: due at once, without times and reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The most urgent lane asked for.
    pub lane: Lane,
    /// The first trigger with a time.
    pub first_at: Option<i64>,
    /// The latest trigger with a time.
    pub last_at: Option<i64>,
    /// Due then at the latest: 0 for at once, [`NEVER`] while only the delays count.
    pub hard_due: i64,
    /// Why, sorted, without doubles, at most [`MOST_REASONS`].
    pub reasons: Vec<String>,
}

impl Request {
    /// The request of a backfill: due at once, nothing else is kept.
    pub fn lean(lane: Lane) -> Self {
        Self { lane, first_at: None, last_at: None, hard_due: 0, reasons: Vec::new() }
    }

    /// The request of one trigger.
    pub fn new(trigger: &Trigger, now: i64) -> Self {
        let hard_due = match trigger.timing {
            Timing::WhenFree => return Self::lean(trigger.lane),
            Timing::Now => now,
            Timing::Settled => NEVER,
        };
        let reason = cut(&trigger.reason, Trigger::LONGEST_REASON);
        let reasons = if reason.is_empty() { Vec::new() } else { vec![reason.to_owned()] };
        Self { lane: trigger.lane, first_at: Some(now), last_at: Some(now), hard_due, reasons }
    }

    /// Merges two requests.
    pub fn join(mut self, other: Self) -> Self {
        self.reasons.extend(other.reasons);
        self.reasons.sort();
        self.reasons.dedup();
        self.reasons.truncate(MOST_REASONS);
        Self {
            lane: self.lane.min(other.lane),
            first_at: self.first_at.into_iter().chain(other.first_at).min(),
            last_at: self.last_at.max(other.last_at),
            hard_due: self.hard_due.min(other.hard_due),
            reasons: self.reasons,
        }
    }

    /// When it is due: after silence, but never beyond the ceiling.
    pub fn due(&self, policy: &Policy) -> i64 {
        let silence = self.last_at.map_or(NEVER, |last| last + milliseconds(policy.inactivity_delay));
        let ceiling = self.first_at.map_or(NEVER, |first| first + milliseconds(policy.max_delay));
        self.hard_due.min(silence).min(ceiling)
    }
}

/// A stored job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its state.
    pub state: JobState,
    /// What is asked of the run that waits or is under way.
    pub request: Request,
    /// Attempts made, with the one under way.
    pub attempts: u32,
    /// Leases lost since the last success. More than none makes it a suspect, leased alone.
    pub lost: u32,
    /// A wait between attempts ends then; 0 for none.
    pub not_before: i64,
    /// Delayed: when it may start. Ready: since when, if that is known. Buried: since when. Leased: none.
    pub at: Option<i64>,
    /// The token of the lease that holds it.
    pub token: u64,
    /// What was asked for since the lease began.
    pub dirty: Option<Request>,
    /// Removed while it was worked on: goes when it is settled.
    pub doomed: bool,
    /// Why it failed last.
    pub failure: Option<String>,
}

/// What settling made of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What the worker is told.
    pub settled: Settled,
    /// The job as it goes on, or none if it is gone.
    pub record: Option<Record>,
}

impl Record {
    /// The job that a trigger makes.
    pub fn new(request: Request, now: i64, policy: &Policy) -> Self {
        let mut record = Self {
            state: JobState::Delayed,
            request,
            attempts: 0,
            lost: 0,
            not_before: 0,
            at: None,
            token: 0,
            dirty: None,
            doomed: false,
            failure: None,
        };
        record.place(now, policy);
        record
    }

    /// Whether it waits for a worker, and where.
    pub fn ready_lane(&self) -> Option<Lane> {
        (self.state == JobState::Ready).then_some(self.request.lane)
    }

    /// Puts a job that waits where it belongs: delayed until its time, or ready.
    fn place(&mut self, now: i64, policy: &Policy) {
        let at = self.request.due(policy).max(self.not_before);
        self.token = 0;
        self.state = if at > now { JobState::Delayed } else { JobState::Ready };
        self.at = (at > 0).then_some(at);
    }

    /// Merges a trigger into the job. `hurry` ends a wait between attempts: [`Timing::Now`].
    pub fn trigger(&mut self, request: Request, hurry: bool, now: i64, policy: &Policy) -> Pushed {
        match self.state {
            JobState::Delayed => {
                if hurry {
                    self.not_before = 0;
                }
                self.request = self.request.clone().join(request);
                self.place(now, policy);
                Pushed::Merged
            }
            JobState::Ready => {
                self.request = self.request.clone().join(request);
                Pushed::Merged
            }
            JobState::Leased => {
                self.dirty = Some(match self.dirty.take() {
                    Some(dirty) => dirty.join(request),
                    None => request,
                });
                Pushed::Dirty
            }
            JobState::Buried => {
                // One attempt for each burst of triggers; whether it is a suspect is not forgotten.
                self.attempts = policy.max_attempts - 1;
                self.request = request;
                self.not_before = 0;
                self.place(now, policy);
                Pushed::Revived
            }
        }
    }

    /// Makes a delayed job ready whose time has come; `at` stays, as the time since when it could have started.
    pub fn promote(&mut self) {
        self.state = JobState::Ready;
    }

    /// Leases it.
    pub fn lease(&mut self, token: u64) {
        self.state = JobState::Leased;
        self.token = token;
        self.attempts += 1;
        self.at = None;
        self.not_before = 0;
    }

    /// Settles a leased job. `name` is its subject's text, which the jitter is made of.
    pub fn settle(mut self, outcome: &Outcome, name: &str, now: i64, policy: &Policy) -> Verdict {
        if self.doomed {
            return self.settle_doomed(outcome, now, policy);
        }
        match outcome {
            Outcome::Finish => match self.dirty.take() {
                None => Verdict { settled: Settled::Finished, record: None },
                Some(dirty) => waiting(Self::new(dirty, now, policy)),
            },
            Outcome::Retry { after, reason } => {
                let pause = after.map_or_else(|| backoff(policy, self.attempts, name), milliseconds);
                let last = self.attempts >= policy.max_attempts;
                self.fail(reason, pause, now, policy, last)
            }
            Outcome::Bury { reason } => {
                let pause = backoff(policy, self.attempts, name);
                self.fail(reason, pause, now, policy, true)
            }
            Outcome::Release { after } => {
                self.attempts = self.attempts.saturating_sub(1);
                self.not_before = if after.is_zero() { 0 } else { now + milliseconds(*after) };
                self.join_dirty();
                self.place(now, policy);
                waiting(self)
            }
        }
    }

    /// A removed job goes now, unless a trigger came after the removal: then that begins a new one.
    fn settle_doomed(mut self, outcome: &Outcome, now: i64, policy: &Policy) -> Verdict {
        match self.dirty.take() {
            Some(dirty) => waiting(Self { lost: self.lost, ..Self::new(dirty, now, policy) }),
            None if *outcome == Outcome::Finish => Verdict { settled: Settled::Finished, record: None },
            None => Verdict { settled: Settled::Gone, record: None },
        }
    }

    /// The lease ran out without a word from the worker.
    pub fn expire(mut self, name: &str, now: i64, policy: &Policy) -> Verdict {
        self.lost += 1;
        if self.doomed {
            return self.settle_doomed(&Outcome::Release { after: std::time::Duration::ZERO }, now, policy);
        }
        let poison = self.lost >= policy.max_lost;
        let reason = if poison {
            format!("poison: its lease was lost {} times, so it may crash the worker", self.lost)
        } else {
            "lease expired".to_owned()
        };
        let pause = backoff(policy, self.attempts, name);
        let last = poison || self.attempts >= policy.max_attempts;
        self.fail(&reason, pause, now, policy, last)
    }

    /// A failed attempt: wait and try again, or be buried after the last one. A trigger during the attempt always buys
    /// one more.
    fn fail(mut self, reason: &str, pause: i64, now: i64, policy: &Policy, last: bool) -> Verdict {
        self.failure = Some(cut(reason, LONGEST_FAILURE).to_owned());
        if last && self.dirty.is_none() {
            self.state = JobState::Buried;
            self.token = 0;
            self.at = Some(now);
            return Verdict { settled: Settled::Buried, record: Some(self) };
        }
        if last {
            self.attempts = self.attempts.min(policy.max_attempts - 1);
        }
        self.not_before = now + pause;
        self.join_dirty();
        self.place(now, policy);
        waiting(self)
    }

    fn join_dirty(&mut self) {
        if let Some(dirty) = self.dirty.take() {
            self.request = self.request.clone().join(dirty);
        }
    }

    /// Removes the job, or dooms it while it is worked on: triggers so far are forgotten, where only one lane is meant
    /// those of that lane.
    pub fn remove(mut self, lane: Option<Lane>) -> Option<Self> {
        if self.state != JobState::Leased {
            return None;
        }
        self.doomed = true;
        self.dirty = self.dirty.filter(|dirty| lane.is_some_and(|lane| lane != dirty.lane));
        Some(self)
    }

    /// A person wants a buried job tried again: attempts begin anew, but a suspect stays one.
    pub fn revive(&mut self, now: i64) {
        self.attempts = 0;
        self.lost = self.lost.min(1);
        self.not_before = 0;
        self.request.lane = Lane::Manual;
        self.request.first_at = Some(now);
        self.request.last_at = Some(now);
        self.request.hard_due = now;
        self.state = JobState::Ready;
        self.at = Some(now);
    }
}

impl Record {
    /// The job as its worker sees it.
    pub fn job(&self, subject: Subject) -> Job {
        Job {
            subject,
            lane: self.request.lane,
            attempt: self.attempts,
            lost: self.lost,
            first_at: self.request.first_at.map(timestamp),
            last_at: self.request.last_at.map(timestamp),
            reasons: self.request.reasons.clone(),
        }
    }

    /// The job as people see it; `lease_end` is that of the lease that holds it.
    pub fn view(&self, queue: QueueName, subject: Subject, lease_end: Option<i64>) -> JobView {
        let at = match self.state {
            JobState::Delayed | JobState::Buried => self.at,
            JobState::Leased => lease_end,
            JobState::Ready => None,
        };
        JobView {
            queue,
            subject,
            state: self.state,
            lane: self.request.lane,
            attempts: self.attempts,
            dirty: self.dirty.is_some(),
            at: at.map(timestamp),
            first_at: self.request.first_at.map(timestamp),
            last_at: self.request.last_at.map(timestamp),
            reason: self.failure.clone(),
        }
    }
}

fn waiting(record: Record) -> Verdict {
    Verdict { settled: Settled::Waiting, record: Some(record) }
}

/// The pause after a number of attempts, in milliseconds: doubling from `retry_shortest` up to `retry_longest`, of
/// which a part between a half and all, chosen by the job's name, so that jobs that failed together do not return
/// together, and every backend chooses the same.
pub fn backoff(policy: &Policy, attempts: u32, name: &str) -> i64 {
    let doublings = attempts.saturating_sub(1).min(40);
    let full = (i128::from(milliseconds(policy.retry_shortest)) << doublings)
        .min(i128::from(milliseconds(policy.retry_longest)));
    let full = i64::try_from(full).expect("not beyond retry_longest, which fits");
    let half = full / 2;
    half + half / JITTER * jitter(attempts, name) + half % JITTER * jitter(attempts, name) / JITTER
}

const JITTER: i64 = 65_521;

/// Spreads neighbours over the whole range: near the golden section of [`JITTER`].
const SPREAD: i64 = 40_503;

/// A number below [`JITTER`], by arithmetic that is exact in doubles as well. Names that differ in their last digit
/// only, as those of one batch do, get numbers that are far apart.
fn jitter(attempts: u32, name: &str) -> i64 {
    let hash = name.bytes().fold(i64::from(attempts), |hash, byte| (hash * 31 + i64::from(byte)) % JITTER);
    hash * SPREAD % JITTER
}
