//! Begins and ends the mirror of a repository, and says how complete it is.

use std::time::Duration;

use gharvest_archive::{Archive, Repository};
use gharvest_github::{Client, Purpose};
use gharvest_model::{
    Lane, QueueName, RepositoryId, RepositoryName, Subject,
    job::part,
    progress::{Completeness, ItemsCursor},
    removal::DeletionPolicy,
    tracking::Tracked,
};
use gharvest_queue::{Filter, JobState, JobView, Queue, QueueAdmin, Timing, Trigger};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    outcome::Failure,
    repository::{self, Seen},
};

/// How often the queues are asked whether work in hand has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Asks GitHub which repository a name means now. Nothing is stored.
pub async fn discover(client: &Client, name: &RepositoryName) -> Result<Repository, Failure> {
    match repository::ask(client, name, None, Purpose::Live).await? {
        Seen::Repository(found) => repository::from_body(found.body, found.etag, Timestamp::now())
            .ok_or_else(|| Failure::Again(format!("GitHub's object of {name} has no id or no name"))),
        Seen::NotModified => Err(Failure::Again(format!("GitHub answers 304 to an unconditional request for {name}"))),
    }
}

/// Tracks a repository from now on, and pushes the jobs of its first mirror. Tracked already, it only pushes them:
/// what was walked goes on where it was.
pub async fn track(
    archive: &Archive,
    client: &Client,
    queue: &dyn Queue,
    name: &RepositoryName,
) -> Result<Tracked, Failure> {
    let fresh = discover(client, name).await?;
    let known = archive.repository(fresh.id).await?;
    let before = known.as_ref().map(|known| (known.full_name.clone(), known.is_private()));
    let repository = known.map_or(fresh.clone(), |known| repository::merge(&known, fresh));
    archive.remember(repository.id).await?;
    archive.put_repository(&repository).await?;
    let entry = repository::tracked(archive, repository.id).await?;
    let now = (repository.full_name.clone(), repository.is_private());
    let entered = entry.as_ref().map(|entry| (entry.name.clone(), entry.private));
    let differs = [before, entered].into_iter().flatten().any(|then| then != now);
    let is_told = match archive.repository(repository.id).await? {
        Some(stored) => repository::hide(archive, queue, &stored).await?,
        None => false,
    };
    if differs && !is_told {
        repository::index_everything(archive, queue, repository.id).await?;
    }
    let (name, private) = now;
    let tracked = Tracked {
        id: repository.id,
        name,
        private,
        since: entry.as_ref().map_or_else(Timestamp::now, |entry| entry.since),
        complete_at: entry.as_ref().and_then(|entry| entry.complete_at),
        trouble: None,
        trouble_since: None,
        deleted: entry.map_or(DeletionPolicy::Keep, |entry| entry.deleted),
    };
    archive.track(tracked.clone()).await?;
    queue.push(&first_jobs(archive, repository.id).await?, None).await?;
    Ok(tracked)
}

/// The jobs of a first mirror; the walk over all items only until it is finished.
async fn first_jobs(archive: &Archive, id: RepositoryId) -> Result<Vec<Trigger>, Failure> {
    let cursor = ItemsCursor::read(archive.cursor(&ItemsCursor::feed(id)).await?);
    let walked = cursor.is_some_and(|cursor| cursor.finished_at.is_some());
    let last = if walked { part::UPDATES } else { part::ITEMS };
    let parts = [part::METADATA, part::LABELS, part::MILESTONES, part::RELEASES, last];
    let trigger = |part: &str| Trigger {
        queue: QueueName::Download,
        subject: Subject::part(id, part),
        lane: Lane::Manual,
        timing: Timing::Now,
        reason: "track".to_owned(),
    };
    // What tracking stored of the repository is new to the index, and the download finds it unchanged.
    let index = Trigger { queue: QueueName::Index, ..trigger(part::METADATA) };
    Ok(parts.into_iter().map(trigger).chain([index]).collect())
}

/// Ends tracking and removes the repository's downloads; what is archived stays. Says whether it was tracked.
///
/// What the index has not heard yet it still hears: also that the repository became private, which a download would have
/// passed on.
pub async fn untrack(archive: &Archive, queue: &dyn QueueAdmin, id: RepositoryId) -> Result<bool, Failure> {
    let was_tracked = archive.untrack(id).await?;
    queue.purge(QueueName::Download, &all_of(id)).await?;
    if let Some(repository) = archive.repository(id).await? {
        repository::hide(archive, queue, &repository).await?;
    }
    Ok(was_tracked)
}

fn all_of(id: RepositoryId) -> Filter {
    Filter { repository: Some(id), ..Filter::default() }
}

async fn remove_jobs(queue: &dyn QueueAdmin, id: RepositoryId) -> Result<(), Failure> {
    for name in QueueName::ALL {
        queue.purge(name, &all_of(id)).await?;
    }
    Ok(())
}

/// Forgets a repository: `documents` removes what the index has of it.
///
/// The order is what keeps it gone: nothing new begins, what is in hand ends, then the index, which is filled from the
/// archive, and the archive last. While the archive knows its name, what was interrupted can be asked for again.
///
/// # Errors
/// When a backend fails, and when after `patience` something of it is still worked on; then index and archive are as
/// they were.
pub async fn forget(
    archive: &Archive,
    queue: &dyn QueueAdmin,
    id: RepositoryId,
    patience: Duration,
    documents: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    archive.untrack(id).await?;
    remove_jobs(queue, id).await?;
    drain(queue, id, patience).await?;
    documents.await?;
    archive.purge_repository(id).await?;
    // What was asked for meanwhile, by somebody who did not know yet.
    Ok(remove_jobs(queue, id).await?)
}

/// Waits until nothing of a repository is worked on, and removes what arrives until then: what is done in the meantime
/// asks for what follows from it.
async fn drain(queue: &dyn QueueAdmin, id: RepositoryId, patience: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let held = held(queue, id).await?;
        if held == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            anyhow::bail!(
                "{held} of its jobs are still worked on, and nothing new of it begins: ask again in a minute"
            );
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        remove_jobs(queue, id).await?;
    }
}

/// Jobs of a repository, but for those whose lease has ended: their worker is dead, or too late. The queues are asked in
/// the order of the work, so that what a download leaves behind is seen.
async fn held(queue: &dyn QueueAdmin, id: RepositoryId) -> Result<usize, Failure> {
    let filter = all_of(id);
    let (now, mut held) = (queue.now().await?, 0);
    for name in QueueName::ALL {
        let jobs = queue.list(name, &filter, None, usize::MAX).await?;
        let is_held = |job: &&JobView| job.state != JobState::Leased || job.at.is_some_and(|end| end > now);
        held += jobs.iter().filter(is_held).count();
    }
    Ok(held)
}

/// Says how complete a repository is, from the archive alone.
pub async fn completeness(archive: &Archive, id: RepositoryId) -> Result<Completeness, gharvest_archive::Error> {
    let cursor = ItemsCursor::read(archive.cursor(&ItemsCursor::feed(id)).await?);
    Ok(Completeness::new(&*archive.ledger(id).await?, cursor.as_ref()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gharvest_archive::Options;
    use gharvest_queue::{LeaseRequest, ManualClock, MemoryQueue, Outcome, Policy, Settled, Settlement, Token};
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    const ID: RepositoryId = RepositoryId(7);

    struct Scene {
        archive: Archive,
        queue: Arc<MemoryQueue>,
        clock: ManualClock,
        _folder: TempDir,
    }

    impl Scene {
        /// A repository that is tracked, with a download in hand and three more jobs.
        async fn new() -> (Self, Token) {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("file:{}", folder.path().display());
            let archive = Archive::open(&url, &Options::default()).await.unwrap();
            let file = json!({"id": ID, "full_name": "a/b", "repository": {}, "fetched_at": Timestamp::UNIX_EPOCH});
            archive.put_repository(&serde_json::from_value::<Repository>(file).unwrap()).await.unwrap();
            let tracked = json!({"id": ID, "name": "a/b", "since": Timestamp::UNIX_EPOCH});
            archive.track(serde_json::from_value(tracked).unwrap()).await.unwrap();
            let clock = ManualClock::default();
            let queue = MemoryQueue::new(Policy::default(), clock.clone()).unwrap();
            queue.push_range(QueueName::Download, ID, 1..=3, Lane::Backfill).await.unwrap();
            queue.push_range(QueueName::Index, ID, 1..=1, Lane::Backfill).await.unwrap();
            let request = LeaseRequest {
                queue: QueueName::Download,
                max: 1,
                hold: Duration::from_secs(60),
                repository: None,
                request: String::new(),
            };
            let token = queue.lease(&request).await.unwrap().lease.unwrap().token;
            (Self { archive, queue, clock, _folder: folder }, token)
        }

        async fn jobs(&self) -> u64 {
            let mut jobs = 0;
            for name in QueueName::ALL {
                jobs += self.queue.counts(name).await.unwrap().outstanding();
            }
            jobs
        }

        async fn is_known(&self) -> bool {
            self.archive.repository(ID).await.unwrap().is_some()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_repository_is_forgotten_when_the_work_in_hand_has_ended() {
        let (scene, token) = Scene::new().await;
        let purged = std::sync::atomic::AtomicBool::new(false);
        let documents = async {
            assert_eq!(scene.jobs().await, 0, "an indexer could bring them back");
            purged.store(true, std::sync::atomic::Ordering::SeqCst);
            anyhow::Ok(())
        };
        let is_purged = || purged.load(std::sync::atomic::Ordering::SeqCst);
        let patience = Duration::from_secs(600);
        let mut forgetting = std::pin::pin!(forget(&scene.archive, scene.queue.as_ref(), ID, patience, documents));
        let early = tokio::time::timeout(Duration::from_secs(60), &mut forgetting).await;
        assert!(early.is_err() && !is_purged() && scene.is_known().await, "a downloader is at work");
        assert_eq!(scene.jobs().await, 1, "nothing new of it begins");
        // Its record is stored, and it asks for the index, which is removed before the documents are.
        let index = Trigger {
            queue: QueueName::Index,
            subject: Subject::item(ID, 1),
            lane: Lane::Backfill,
            timing: Timing::Now,
            reason: "stored".to_owned(),
        };
        let subject = Subject::item(ID, 1);
        let done = Settlement { subject, outcome: Outcome::Finish, follow_up: Some(index) };
        assert_eq!(scene.queue.settle(QueueName::Download, token, &[done]).await.unwrap(), [Settled::Finished]);
        assert_eq!(scene.jobs().await, 1);
        forgetting.await.unwrap();
        assert!(is_purged() && !scene.is_known().await);
        assert_eq!(scene.archive.tracking().await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_is_kept_is_indexed_to_its_end_though_it_is_not_tracked_any_more() {
        let (scene, _token) = Scene::new().await;
        scene.archive.hear_private(ID, Timestamp::now()).await.unwrap();
        assert!(untrack(&scene.archive, scene.queue.as_ref(), ID).await.unwrap());
        let jobs = async |name| {
            let jobs = scene.queue.list(name, &all_of(ID), None, 10).await.unwrap();
            jobs.iter().map(|job| job.subject.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(jobs(QueueName::Download).await, ["7#1"], "the one in hand goes when it is settled");
        assert_eq!(jobs(QueueName::Index).await, ["7#1", "7/daily", "7/metadata", "7/releases"]);
        let heard = scene.archive.repository(ID).await.unwrap().unwrap().heard_private.unwrap();
        assert!(!heard.pending, "the index is told that it is private");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_not_end_is_named_and_nothing_is_removed() {
        let (scene, _token) = Scene::new().await;
        let patience = Duration::from_secs(15);
        let documents = async { anyhow::bail!("the index is purged while somebody is at work") };
        let error = forget(&scene.archive, scene.queue.as_ref(), ID, patience, documents).await.unwrap_err();
        assert!(error.to_string().starts_with("1 of its jobs are still worked on"), "{error}");
        assert!(scene.is_known().await);
        // A lease that has ended holds nobody up, and what was begun is brought to its end.
        scene.clock.advance(Duration::from_secs(61));
        forget(&scene.archive, scene.queue.as_ref(), ID, patience, async { Ok(()) }).await.unwrap();
        assert!(!scene.is_known().await);
    }
}
