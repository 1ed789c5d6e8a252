//! Begins and ends the mirror of a repository, and says how complete it is.

use gharvest_archive::{Archive, Repository};
use gharvest_github::{Client, Purpose};
use gharvest_model::{
    Lane, QueueName, RepositoryId, RepositoryName, Subject,
    job::part,
    progress::{Completeness, ItemsCursor},
    removal::DeletionPolicy,
    tracking::Tracked,
};
use gharvest_queue::{Filter, Queue, QueueAdmin, Timing, Trigger};
use jiff::Timestamp;

use crate::{
    outcome::Failure,
    repository::{self, Seen},
};

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
    let before = known.as_ref().map(|known| (known.full_name.clone(), repository::is_private(known)));
    let repository = known.map_or(fresh.clone(), |known| repository::merge(&known, fresh));
    archive.put_repository(&repository).await?;
    let entry = repository::tracked(archive, repository.id).await?;
    let now = (repository.full_name.clone(), repository::is_private(&repository));
    let entered = entry.as_ref().map(|entry| (entry.name.clone(), entry.private));
    if [before, entered].into_iter().flatten().any(|then| then != now) {
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

/// Ends tracking and removes the repository's jobs. With `purge` the archive forgets it as well; its documents are
/// the index's to remove. Says whether it was tracked.
pub async fn untrack(
    archive: &Archive,
    queue: &dyn QueueAdmin,
    id: RepositoryId,
    purge: bool,
) -> Result<bool, Failure> {
    let was_tracked = archive.untrack(id).await?;
    let filter = Filter { repository: Some(id), ..Filter::default() };
    for name in QueueName::ALL {
        queue.purge(name, &filter).await?;
    }
    if purge {
        for feed in [part::ITEMS, part::UPDATES, part::REVIEW_COMMENTS] {
            archive.set_cursor(&format!("{feed}/{id}"), serde_json::Value::Null).await?;
        }
        archive.purge_repository(id).await?;
    }
    Ok(was_tracked)
}

/// Says how complete a repository is, from the archive alone.
pub async fn completeness(archive: &Archive, id: RepositoryId) -> Result<Completeness, gharvest_archive::Error> {
    let cursor = ItemsCursor::read(archive.cursor(&ItemsCursor::feed(id)).await?);
    Ok(Completeness::new(&*archive.ledger(id).await?, cursor.as_ref()))
}
