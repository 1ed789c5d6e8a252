//! What a failure means for the job and for the queue: one pure function.

use std::time::Duration;

use gharvest_archive::ErrorKind as ArchiveKind;
use gharvest_queue::Outcome;
use gharvest_search::ErrorKind as SearchKind;

/// Why a job could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The archive could not be read.
    #[error(transparent)]
    Archive(#[from] gharvest_archive::Error),
    /// An entry of a record is no JSON.
    #[error("an entry of the record cannot be read: {0}; restore it from a snapshot, or fetch the item again")]
    Entry(#[from] serde_json::Error),
    /// The engine did not do what it should.
    #[error(transparent)]
    Search(#[from] gharvest_search::Error),
    /// Live readers could not be told.
    #[error(transparent)]
    State(#[from] gharvest_state::Error),
    /// Too early: to be done after this time.
    #[error("to be done in {0:?}")]
    NotYet(Duration),
    /// Somebody wants the rebuild to end before it is done.
    #[error("stopped before it was done: the index that serves stays as it is")]
    Stopped,
    /// Trying again cannot help.
    #[error("{0}")]
    Hopeless(String),
}

/// What follows from a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It concerns the job alone.
    Job(Outcome),
    /// It concerns every job: all are given back, and nothing is handed out for a while.
    PauseQueue {
        /// For how long.
        pause: Duration,
    },
}

/// An engine or a state that does not answer is tried again after this: an outage costs no attempts, however long it is.
const ENGINE_PAUSE: Duration = Duration::from_secs(10);
/// What only a person can change is looked at again after this.
const ATTENTION_PAUSE: Duration = Duration::from_secs(60);

/// What a failure means.
pub fn verdict(failure: &Failure) -> Verdict {
    let retry = |reason: String| Verdict::Job(Outcome::Retry { after: None, reason });
    let bury = |reason: String| Verdict::Job(Outcome::Bury { reason });
    match failure {
        Failure::Search(error) => match error.kind() {
            SearchKind::TimedOut => retry(error.to_string()),
            // Whoever's failure it was pauses the queue, if anybody has to.
            SearchKind::Lost => Verdict::Job(Outcome::Release { after: Duration::ZERO }),
            SearchKind::Document => bury(error.to_string()),
            SearchKind::Unavailable => Verdict::PauseQueue { pause: ENGINE_PAUSE },
            // Refused, corrupt, full, and what a later version adds: no job is to blame.
            _ => Verdict::PauseQueue { pause: ATTENTION_PAUSE },
        },
        Failure::Archive(error) => match error.kind() {
            ArchiveKind::Corrupt => bury(error.to_string()),
            ArchiveKind::Unavailable => retry(error.to_string()),
            _ => Verdict::PauseQueue { pause: ATTENTION_PAUSE },
        },
        Failure::State(_) => Verdict::PauseQueue { pause: ENGINE_PAUSE },
        Failure::NotYet(after) => Verdict::Job(Outcome::Release { after: *after }),
        Failure::Stopped => Verdict::Job(Outcome::Release { after: Duration::ZERO }),
        Failure::Entry(_) | Failure::Hopeless(_) => bury(failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Class {
        Retry,
        Bury,
        Release,
        Queue(u64),
    }

    #[test]
    fn every_failure_has_its_verdict() {
        let search = |kind| Failure::from(gharvest_search::Error::new(kind, "apply", "x"));
        let archive = |kind| Failure::from(gharvest_archive::Error::new(kind, "read", "k", "x"));
        for (failure, expected) in [
            (search(SearchKind::Unavailable), Class::Queue(10)),
            (search(SearchKind::Refused), Class::Queue(60)),
            (search(SearchKind::Corrupt), Class::Queue(60)),
            (search(SearchKind::Full), Class::Queue(60)),
            (search(SearchKind::TimedOut), Class::Retry),
            (search(SearchKind::Lost), Class::Release),
            (search(SearchKind::Document), Class::Bury),
            (archive(ArchiveKind::Unavailable), Class::Retry),
            (archive(ArchiveKind::Corrupt), Class::Bury),
            (archive(ArchiveKind::Refused), Class::Queue(60)),
            (archive(ArchiveKind::Full), Class::Queue(60)),
            (gharvest_state::Error::new("publish", "x").into(), Class::Queue(10)),
            (Failure::NotYet(Duration::from_secs(5)), Class::Release),
            (Failure::Stopped, Class::Release),
            (serde_json::from_str::<()>("x").unwrap_err().into(), Class::Bury),
            (Failure::Hopeless("x".into()), Class::Bury),
        ] {
            let class = match verdict(&failure) {
                Verdict::Job(Outcome::Retry { after: None, .. }) => Class::Retry,
                Verdict::Job(Outcome::Bury { .. }) => Class::Bury,
                Verdict::Job(Outcome::Release { .. }) => Class::Release,
                Verdict::PauseQueue { pause } => Class::Queue(pause.as_secs()),
                other => panic!("{other:?}"),
            };
            assert_eq!(class, expected, "{failure:?}");
        }
    }
}
