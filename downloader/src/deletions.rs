//! What becomes of items that GitHub no longer shows: a repository's deletion policy, followed for those gone already
//! and for those to come.

use gharvest_archive::Archive;
use gharvest_model::{Lane, QueueName, RepositoryId, Subject, removal::DeletionPolicy};
use gharvest_queue::{Queue, Timing, Trigger};

use crate::outcome::Failure;

/// Index jobs pushed at once.
const PUSHED_AT_ONCE: usize = 1_000;

/// Sets the deletion policy of a tracked repository and follows it for the tombstones that are there already; their
/// documents are made anew. What an earlier policy took out does not come back. Returns how many records changed, or
/// none if the repository is not tracked.
///
/// The policy stands before the first record is touched: interrupted, it can be set again and goes on.
pub async fn set_policy(
    archive: &Archive,
    queue: &dyn Queue,
    id: RepositoryId,
    policy: DeletionPolicy,
) -> Result<Option<u64>, Failure> {
    if !archive.tracking().await?.iter().any(|tracked| tracked.id == id) {
        return Ok(None);
    }
    archive.change_tracked(id, &|entry| entry.deleted = policy).await?;
    let changed = archive.apply_deletion_policy(id, policy).await?;
    for numbers in changed.chunks(PUSHED_AT_ONCE) {
        let triggers: Vec<Trigger> = numbers.iter().map(|number| index(id, *number)).collect();
        queue.push(&triggers, None).await?;
    }
    Ok(Some(changed.len() as u64))
}

fn index(id: RepositoryId, number: u64) -> Trigger {
    Trigger {
        queue: QueueName::Index,
        subject: Subject::item(id, number),
        lane: Lane::Manual,
        timing: Timing::Now,
        reason: "deletion policy".to_owned(),
    }
}
