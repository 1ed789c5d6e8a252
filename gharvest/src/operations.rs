//! What the web front asks of a process that talks to GitHub.

use async_trait::async_trait;
use gharvest_downloader::{outcome::Failure, track};
use gharvest_model::{ItemId, ItemRef, Lane, QueueName, RepositoryId, RepositoryName, Subject, tracking::Tracked};
use gharvest_queue::{Timing, Trigger};
use gharvest_web::{Budget, OperationError, Operations};

use crate::system::System;

#[derive(Debug)]
pub(crate) struct LocalOperations {
    system: System,
}

impl LocalOperations {
    pub(crate) fn new(system: System) -> Self {
        Self { system }
    }
}

#[async_trait]
impl Operations for LocalOperations {
    async fn track(&self, name: &RepositoryName) -> Result<Tracked, OperationError> {
        let System { archive, github, queue, .. } = &self.system;
        track::track(archive, github, queue.as_ref(), name).await.map_err(|failure| operation_error(&failure))
    }

    async fn untrack(&self, repository: RepositoryId, purge: bool) -> Result<(), OperationError> {
        untrack(&self.system, repository, purge).await.map_err(|error| OperationError::Unavailable(format!("{error:#}")))
    }

    async fn download(&self, item: &ItemRef) -> Result<ItemId, OperationError> {
        let unavailable = |error: &dyn std::fmt::Display| OperationError::Unavailable(error.to_string());
        let found = self.system.archive.resolve(&item.repository).await.map_err(|error| unavailable(&error))?;
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
        self.system.queue.push(&[trigger], None).await.map_err(|error| unavailable(&error))?;
        Ok(id)
    }

    async fn budgets(&self) -> Vec<Budget> {
        let budgets = self.system.github.budgets().into_iter();
        let budgets = budgets.map(|budget| Budget {
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

/// Ends tracking; with `purge`, queues, archive and index forget the repository.
pub(crate) async fn untrack(system: &System, repository: RepositoryId, purge: bool) -> anyhow::Result<()> {
    if purge {
        // The index first: while the archive has it, an interrupted purge can be asked for again.
        system.index.purge_repository(repository).await?;
        system.index.commit().await?;
    }
    track::untrack(&system.archive, system.queue.as_ref(), repository, purge).await?;
    Ok(())
}

fn operation_error(failure: &Failure) -> OperationError {
    match failure {
        Failure::Repository(_) => OperationError::NotFound(failure.to_string()),
        Failure::Hopeless(_) => OperationError::Refused(failure.to_string()),
        _ => OperationError::Unavailable(failure.to_string()),
    }
}
