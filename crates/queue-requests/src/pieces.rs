//! Requests that may be much work: each answers soon, and says where the next one goes on.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Jobs, Request};

/// So long one request works before it answers that there is more to do: the web front gives an answer 30 seconds, and
/// the step under way is still finished.
pub const TURN: Duration = Duration::from_secs(5);

/// A request whose work may take several.
pub trait InPieces: Request + Sized {
    /// The request that goes on where this answer ended; none if all is done.
    fn rest(&self, answer: &Self::Answer) -> Option<Self>;

    /// Adds the answer of what went on to the one before.
    fn join(answer: &mut Self::Answer, next: Self::Answer);
}

/// Asks until all is done, and gives one answer.
///
/// # Errors
/// The first one that `ask` gives; what was done before stays done.
pub async fn whole<R: InPieces, E>(request: R, ask: impl AsyncFn(&R) -> Result<R::Answer, E>) -> Result<R::Answer, E> {
    let mut answer = ask(&request).await?;
    let mut rest = request.rest(&answer);
    while let Some(request) = rest {
        let next = ask(&request).await?;
        rest = request.rest(&next);
        R::join(&mut answer, next);
    }
    Ok(answer)
}

/// The time that one request has.
pub(crate) struct Turn {
    begun: Instant,
    length: Duration,
}

impl Turn {
    pub(crate) fn begin(jobs: &Jobs) -> Self {
        Self { begun: Instant::now(), length: jobs.turn }
    }

    /// Whether to answer now, with what there is.
    pub(crate) fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.length
    }
}

#[cfg(test)]
mod tests {
    use gharvest_archive::{Archive, Options, Repository};
    use gharvest_model::{Kind, Lane, QueueName, Record, RepositoryId, record::RecordRepository, tracking::Tracked};
    use gharvest_queue::{MemoryQueue, Policy, QueueAdmin};
    use gharvest_state::SqliteState;
    use jiff::Timestamp;
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::{AddAllParams, JobFilter, ManyParams, Problem, Purge, RangeParams, RemoveParams, Revive};

    const ID: RepositoryId = RepositoryId(7);

    /// Jobs whose every request does no more than one step, and the folder that they are kept in.
    async fn jobs() -> (Jobs, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file:{}", folder.path().join("archive").display());
        let jobs = Jobs {
            queue: MemoryQueue::new(Policy::default(), gharvest_queue::Clock::System).unwrap(),
            archive: Archive::open(&url, &Options::default()).await.unwrap(),
            state: SqliteState::open(&folder.path().join("state.sqlite")).await.unwrap(),
            search: None,
            turn: Duration::ZERO,
        };
        (jobs, folder)
    }

    /// The answer, and how many requests it took.
    async fn count<R: InPieces>(jobs: &Jobs, request: R) -> (R::Answer, u32) {
        let asked = std::cell::Cell::new(0);
        let answer = whole(request, async |request: &R| {
            asked.set(asked.get() + 1);
            request.ask(jobs).await
        });
        (answer.await.unwrap(), asked.get())
    }

    async fn outstanding(jobs: &Jobs, queue: QueueName) -> u64 {
        jobs.queue.counts(queue).await.unwrap().outstanding()
    }

    fn range(to: u64) -> RangeParams {
        RangeParams { queue: QueueName::Download, repository: ID.to_string(), from: 1, to, lane: None }
    }

    #[tokio::test]
    async fn a_long_range_is_added_in_several_requests_and_none_is_added_twice() {
        let (jobs, _folder) = jobs().await;
        mirror(&jobs.archive, ID, &[]).await;
        let (answer, requests) = count(&jobs, range(25_000)).await;
        assert_eq!((answer.new, answer.merged, answer.next, requests), (25_000, 0, None, 3));
        assert_eq!(outstanding(&jobs, QueueName::Download).await, 25_000);
    }

    #[tokio::test]
    async fn a_long_purge_and_a_long_range_to_remove_take_several_requests() {
        let (jobs, _folder) = jobs().await;
        mirror(&jobs.archive, ID, &[]).await;
        count(&jobs, range(5_500)).await;
        let remove = RemoveParams {
            repository: Some(ID.to_string()),
            from: Some(3_001),
            to: Some(6_000),
            ..RemoveParams::new(QueueName::Download)
        };
        let (answer, requests) = count(&jobs, remove).await;
        assert_eq!((answer.removed, answer.in_work, requests), (2_500, 0, 3));
        let filter = JobFilter { repository: Some(ID.to_string()), ..JobFilter::default() };
        let purge = ManyParams { queue: QueueName::Download, filter, limit: None, after: None };
        let (answer, requests) = count(&jobs, Purge(purge.clone())).await;
        assert_eq!((answer.jobs, answer.next.is_none(), requests), (3_000, true, 4));
        assert_eq!(outstanding(&jobs, QueueName::Download).await, 0);
        let elsewhere = Purge(ManyParams { after: Some("nonsense".to_owned()), ..purge });
        assert!(matches!(elsewhere.ask(&jobs).await, Err(Problem::Invalid(_))));
    }

    #[tokio::test]
    async fn more_buried_jobs_than_one_request_revives_are_revived() {
        let (jobs, _folder) = jobs().await;
        let revive = |limit| {
            Revive(ManyParams {
                queue: QueueName::Download,
                filter: JobFilter::default(),
                limit: Some(limit),
                after: None,
            })
        };
        bury(jobs.queue.as_ref(), 2_500).await;
        let (answer, requests) = count(&jobs, revive(2_200)).await;
        assert_eq!((answer.jobs, requests), (2_200, 3));
        let (answer, requests) = count(&jobs, revive(10_000)).await;
        assert_eq!((answer.jobs, requests), (300, 1));
    }

    async fn bury(queue: &dyn QueueAdmin, jobs: u64) {
        queue.push_range(QueueName::Download, ID, 1..=jobs, Lane::Backfill).await.unwrap();
        let request = gharvest_queue::LeaseRequest {
            queue: QueueName::Download,
            max: 1_000,
            hold: Duration::from_secs(60),
            repository: None,
            request: String::new(),
        };
        while let Some(lease) = queue.lease(&request).await.unwrap().lease {
            let outcome = gharvest_queue::Outcome::Bury { reason: "hopeless".to_owned() };
            let settlement = |job: &gharvest_queue::Job| gharvest_queue::Settlement {
                subject: job.subject.clone(),
                outcome: outcome.clone(),
                follow_up: None,
            };
            let settlements: Vec<_> = lease.jobs.iter().map(settlement).collect();
            queue.settle(QueueName::Download, lease.token, &settlements).await.unwrap();
        }
    }

    #[tokio::test]
    async fn everything_archived_is_added_repository_by_repository() {
        let (jobs, _folder) = jobs().await;
        for (id, numbers) in [(9, vec![1, 2, 3, 7]), (7, vec![5, 8])] {
            mirror(&jobs.archive, RepositoryId(id), &numbers).await;
        }
        // What is tracked no more is kept, and searchable.
        jobs.archive.untrack(RepositoryId(9)).await.unwrap();
        let (answer, requests) = count(&jobs, AddAllParams { queue: QueueName::Index, after: None }).await;
        let added: Vec<_> = answer.repositories.iter().map(|added| (added.repository.as_str(), added.jobs)).collect();
        assert_eq!(added, [("octo/r7", 2), ("octo/r9", 4)]);
        assert!(requests >= 4, "one step each: {requests}");
        // And the three parts of each.
        assert_eq!(outstanding(&jobs, QueueName::Index).await, 6 + 6);
    }

    async fn mirror(archive: &Archive, id: RepositoryId, numbers: &[u64]) {
        let at = Timestamp::UNIX_EPOCH;
        let name = format!("octo/r{id}");
        let file = json!({"id": id, "full_name": name, "repository": {"id": id}, "fetched_at": at});
        archive.put_repository(&serde_json::from_value::<Repository>(file).unwrap()).await.unwrap();
        let tracked: Tracked = serde_json::from_value(json!({"id": id, "name": name, "since": at})).unwrap();
        archive.track(tracked).await.unwrap();
        for number in numbers {
            let repository = RecordRepository { id, full_name: name.parse().unwrap() };
            let mut record = Record::new(repository, *number, Kind::Issue, at);
            record.issue = Some(json!({"number": number}));
            archive.put_record(record).await.unwrap();
        }
    }
}
