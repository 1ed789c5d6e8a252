//! What a failure means for the job and for the queue: one pure function.

use std::time::Duration;

use gharvest_archive::ErrorKind as ArchiveKind;
use gharvest_github::ErrorKind as GithubKind;
use gharvest_model::{RepositoryId, RepositoryName};
use gharvest_queue::Outcome;
use jiff::{SignedDuration, Timestamp};

/// Why a job could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// GitHub gave no answer about the subject.
    #[error(transparent)]
    Github(#[from] gharvest_github::Error),
    /// The archive could not be read or written.
    #[error(transparent)]
    Archive(#[from] gharvest_archive::Error),
    /// The queue could not take a job.
    #[error(transparent)]
    Queue(#[from] gharvest_queue::Error),
    /// A state of the repository, not of the item: issues disabled, blocked, not to be seen.
    #[error("{0}")]
    Repository(String),
    /// GitHub shows no such repository: it is deleted or private, or the token may not see it.
    #[error("GitHub shows no repository {0}: it is deleted or private, or the token may not see it")]
    Gone(RepositoryName),
    /// Nobody wants it: a webhook's trigger was taken while it could not be known what is tracked.
    #[error("repository {0} is neither tracked nor archived")]
    Untracked(RepositoryId),
    /// Less space is left than the settings ask for.
    #[error("{0}")]
    NoSpace(String),
    /// Answers did not fit each other, because the thing changed meanwhile.
    #[error("{0}")]
    Again(String),
    /// It is known when it can be done: until then the job waits, and nothing else.
    #[error("{reason}: again at {until}")]
    Later {
        /// When.
        until: Timestamp,
        /// Why not now.
        reason: String,
    },
    /// Trying again cannot help.
    #[error("{0}")]
    Hopeless(String),
}

/// What follows from a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It concerns this job alone.
    Job(Outcome),
    /// It concerns all jobs of the queue: all are given back, and nothing is handed out for a while.
    PauseQueue {
        /// For how long.
        pause: Duration,
    },
    /// It concerns all jobs of the repository: the same, and the trouble is noted with the tracked repository.
    PauseRepository {
        /// For how long.
        pause: Duration,
    },
}

/// After this, a repository in trouble is tried again.
pub const REPOSITORY_PAUSE: Duration = Duration::from_secs(3600);
/// After this, tokens that nobody accepts, and full disks, are looked at again.
const ATTENTION_PAUSE: Duration = Duration::from_secs(60);
/// While live work has budget and a backfill has none, the queue is paused in slices of this length: what is live
/// is handed out first after each.
const BACKFILL_SLICE: Duration = Duration::from_secs(2);

/// What a failure means. `live_blocked` says whether work of webhooks and people is out of budget as well.
pub fn verdict(failure: &Failure, now: Timestamp, live_blocked: bool) -> Verdict {
    let retry = |reason: String| Verdict::Job(Outcome::Retry { after: None, reason });
    let bury = |reason: String| Verdict::Job(Outcome::Bury { reason });
    let release = |until: Timestamp| Verdict::Job(Outcome::Release { after: until_then(now, until) });
    match failure {
        Failure::Github(error) => match error.kind() {
            GithubKind::RateLimited { until } => {
                let left = until_then(now, *until);
                Verdict::PauseQueue { pause: if live_blocked { left } else { left.min(BACKFILL_SLICE) } }
            }
            GithubKind::Unauthorized => Verdict::PauseQueue { pause: ATTENTION_PAUSE },
            GithubKind::Forbidden => Verdict::PauseRepository { pause: REPOSITORY_PAUSE },
            GithubKind::Unconfirmed { until } => release(*until),
            GithubKind::Refused => bury(error.to_string()),
            // `Unavailable`, `BadAnswer` and what a later version adds: GitHub may say something else next time.
            _ => retry(error.to_string()),
        },
        Failure::Archive(error) => match error.kind() {
            ArchiveKind::Full | ArchiveKind::Refused => Verdict::PauseQueue { pause: ATTENTION_PAUSE },
            ArchiveKind::Corrupt => bury(error.to_string()),
            _ => retry(error.to_string()),
        },
        Failure::NoSpace(_) => Verdict::PauseQueue { pause: ATTENTION_PAUSE },
        Failure::Repository(_) | Failure::Gone(_) => Verdict::PauseRepository { pause: REPOSITORY_PAUSE },
        Failure::Untracked(_) => Verdict::Job(Outcome::Finish),
        Failure::Queue(error) => retry(error.to_string()),
        Failure::Again(reason) => retry(reason.clone()),
        Failure::Later { until, .. } => release(*until),
        Failure::Hopeless(reason) => bury(reason.clone()),
    }
}

/// At least a second, so that a clock that runs behind GitHub's does not make a busy loop.
pub(crate) fn until_then(now: Timestamp, until: Timestamp) -> Duration {
    let left = until.duration_since(now).max(SignedDuration::from_secs(1));
    left.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn github(kind: GithubKind) -> Failure {
        gharvest_github::Error::new(kind, "issue", "x").into()
    }

    fn archive(kind: ArchiveKind) -> Failure {
        gharvest_archive::Error::new(kind, "write", "k", "x").into()
    }

    #[derive(Debug, PartialEq)]
    enum Class {
        Retry,
        Bury,
        Finish,
        Release(u64),
        Queue(u64),
        Repository,
    }

    fn class(verdict: Verdict) -> Class {
        match verdict {
            Verdict::Job(Outcome::Retry { after: None, reason }) if !reason.is_empty() => Class::Retry,
            Verdict::Job(Outcome::Bury { reason }) if !reason.is_empty() => Class::Bury,
            Verdict::Job(Outcome::Finish) => Class::Finish,
            Verdict::Job(Outcome::Release { after }) => Class::Release(after.as_secs()),
            Verdict::PauseQueue { pause } => Class::Queue(pause.as_secs()),
            Verdict::PauseRepository { pause: REPOSITORY_PAUSE } => Class::Repository,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_failure_has_its_verdict() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |seconds| now + SignedDuration::from_secs(seconds);
        let limited = |seconds| github(GithubKind::RateLimited { until: at(seconds) });
        for (failure, live_blocked, expected) in [
            (limited(600), true, Class::Queue(600)),
            (limited(600), false, Class::Queue(2)),
            (limited(-5), true, Class::Queue(1)),
            (github(GithubKind::Unavailable), false, Class::Retry),
            (github(GithubKind::BadAnswer), false, Class::Retry),
            (github(GithubKind::Unauthorized), false, Class::Queue(60)),
            (github(GithubKind::Forbidden), false, Class::Repository),
            (github(GithubKind::Unconfirmed { until: at(600) }), false, Class::Release(600)),
            (github(GithubKind::Unconfirmed { until: at(-5) }), true, Class::Release(1)),
            (github(GithubKind::Refused), false, Class::Bury),
            (archive(ArchiveKind::Unavailable), false, Class::Retry),
            (archive(ArchiveKind::Full), false, Class::Queue(60)),
            (archive(ArchiveKind::Refused), false, Class::Queue(60)),
            (archive(ArchiveKind::Corrupt), false, Class::Bury),
            (archive(ArchiveKind::Forgotten), false, Class::Retry),
            (Failure::NoSpace("x".into()), false, Class::Queue(60)),
            (Failure::Repository("x".into()), false, Class::Repository),
            (Failure::Gone("a/b".parse().unwrap()), false, Class::Repository),
            (Failure::Untracked(RepositoryId(1)), false, Class::Finish),
            (Failure::Again("x".into()), false, Class::Retry),
            (Failure::Later { until: at(60), reason: "x".into() }, false, Class::Release(60)),
            (Failure::Hopeless("x".into()), false, Class::Bury),
        ] {
            let text = format!("{failure:?}");
            assert_eq!(class(verdict(&failure, now, live_blocked)), expected, "{text}");
        }
    }
}
