//! What the web front asks of a process that talks to GitHub.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use gharvest_archive::Archive;
use gharvest_downloader::{outcome::Failure, track};
use gharvest_github::Client;
use gharvest_model::{ItemId, ItemRef, Lane, QueueName, RepositoryId, RepositoryName, Subject, tracking::Tracked};
use gharvest_queue::{QueueAdmin, Timing, Trigger};
use gharvest_search::SearchIndex;

use crate::state::{Budget, OperationError, Operations};

/// Operations over backends, whichever processes share them.
#[derive(Debug)]
pub struct GithubOperations {
    archive: Archive,
    queue: Arc<dyn QueueAdmin>,
    search: Arc<dyn SearchIndex>,
    github: Client,
}

impl GithubOperations {
    /// Operations over these backends.
    pub fn new(archive: Archive, queue: Arc<dyn QueueAdmin>, search: Arc<dyn SearchIndex>, github: Client) -> Self {
        Self { archive, queue, search, github }
    }
}

/// So long a purge waits for work in hand to end: downloaders give a repository back after fifteen seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// So long one request forgets a repository; the web front gives an answer 30 seconds.
const LONGEST_FORGETTING: Duration = Duration::from_secs(25);

/// Forgets a repository, see [`track::forget`], with its documents in an index.
///
/// # Errors
/// When a backend fails, or work on it does not end within `patience`.
pub async fn forget(
    archive: &Archive,
    queue: &dyn QueueAdmin,
    search: &dyn SearchIndex,
    repository: RepositoryId,
    patience: Duration,
) -> anyhow::Result<()> {
    let documents = async {
        search.purge_repository(repository).await?;
        Ok(search.commit().await?)
    };
    track::forget(archive, queue, repository, patience, documents).await
}

#[async_trait]
impl Operations for GithubOperations {
    async fn track(&self, name: &RepositoryName) -> Result<Tracked, OperationError> {
        let tracked = track::track(&self.archive, &self.github, self.queue.as_ref(), name).await;
        tracked.map_err(|failure| match failure {
            Failure::Repository(_) | Failure::Gone(_) => OperationError::NotFound(failure.to_string()),
            Failure::Hopeless(_) => OperationError::Refused(failure.to_string()),
            _ => unavailable(&failure),
        })
    }

    async fn untrack(&self, repository: RepositoryId, purge: bool) -> Result<(), OperationError> {
        if !purge {
            let untracked = track::untrack(&self.archive, self.queue.as_ref(), repository).await;
            return untracked.map(drop).map_err(|failure| unavailable(&failure));
        }
        let forgetting = forget(&self.archive, self.queue.as_ref(), self.search.as_ref(), repository, PATIENCE);
        match tokio::time::timeout(LONGEST_FORGETTING, forgetting).await {
            Ok(forgotten) => forgotten.map_err(|error| OperationError::Unavailable(format!("{error:#}"))),
            Err(_) => Err(OperationError::Unavailable(
                "not all of it is forgotten yet: ask again, and it goes on where it stopped".to_owned(),
            )),
        }
    }

    async fn download(&self, item: &ItemRef) -> Result<ItemId, OperationError> {
        let found = self.archive.resolve(&item.repository).await.map_err(|error| unavailable(&error))?;
        let Some(repository) = found else {
            return Err(OperationError::NotFound(format!("{} is not mirrored: track it first", item.repository)));
        };
        let id = ItemId { repository, number: item.number };
        let trigger = Trigger {
            queue: QueueName::Download,
            subject: Subject::Item(id),
            lane: Lane::Manual,
            timing: Timing::Now,
            reason: "web".to_owned(),
        };
        self.queue.push(&[trigger], None).await.map_err(|error| unavailable(&error))?;
        Ok(id)
    }

    async fn budgets(&self) -> Vec<Budget> {
        let budgets = self.github.budgets().into_iter().map(|budget| Budget {
            token: budget.token,
            resource: budget.resource,
            limit: budget.limit,
            remaining: budget.remaining,
            reset_at: budget.reset_at,
            trouble: budget.trouble,
        });
        budgets.collect()
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> OperationError {
    OperationError::Unavailable(error.to_string())
}
