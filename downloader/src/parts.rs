//! The parts of a repository: its own object, and the short lists that belong to it.

use gharvest_archive::Repository;
use gharvest_github::{Answer, Purpose, Resource};
use gharvest_model::{Lane, QueueName, Subject, job::part, ledger::Ledger};
use gharvest_queue::{Timing, Trigger};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Downloader,
    fetch::{list, repository_trouble},
    outcome::Failure,
    repository,
};

/// The most pages of labels, milestones or releases: 100,000 entries.
const MOST_PAGES: usize = 1000;

impl Downloader {
    /// Fetches a repository's object again: [`repository::refresh`].
    pub(crate) async fn refresh(
        &self,
        known: &Repository,
        etag: Option<&str>,
        purpose: Purpose,
    ) -> Result<(Repository, bool), Failure> {
        repository::refresh(&self.archive, &self.client, self.queue.as_ref(), known, etag, purpose).await
    }

    /// Fetches GitHub's repository object, and keeps one line a day of what cannot be had later.
    pub(crate) async fn metadata(
        &self,
        known: &Repository,
        lane: Lane,
        purpose: Purpose,
    ) -> Result<Option<Trigger>, Failure> {
        let etag = known.etag.as_deref();
        let (repository, fetched) = self.refresh(known, etag, purpose).await?;
        let now = Timestamp::now();
        self.archive.put_daily_line(repository.id, "stars", &day(now), &daily_line(&repository, now)).await?;
        if !fetched {
            return Ok(None);
        }
        Ok(Some(index_part(&repository, part::METADATA, lane)))
    }

    /// Fetches a short list as a whole.
    pub(crate) async fn short_list(
        &self,
        repository: &Repository,
        part: &'static str,
        lane: Lane,
        purpose: Purpose,
    ) -> Result<Option<Trigger>, Failure> {
        let name = repository.full_name.clone();
        let resource = match part {
            part::LABELS => Resource::Labels(name),
            part::MILESTONES => Resource::Milestones(name),
            _ => Resource::Releases(name),
        };
        let all = match list(&self.client, resource, MOST_PAGES, purpose).await? {
            Ok(all) => all,
            Err(answer) => return Err(self.not_a_list(repository, &answer, purpose).await),
        };
        let all = Value::Array(all);
        if part == part::LABELS
            && let Some(renames) = self.archive.learn_label_renames(repository.id, &all, Timestamp::now()).await?
        {
            tracing::info!(repo.name = %repository.full_name, "Labels renamed");
            // Any thread may have had the old name. The list is stored last: a crash before finds the renames again.
            repository::index_everything(&self.archive, self.queue.as_ref(), repository.id).await?;
            self.archive.settle_label_renames(repository.id, &renames).await?;
        }
        self.archive.put_part(repository.id, part, &all).await?;
        // Only releases have documents. The index is told each time: it is one cheap job, and an earlier one may have
        // been lost between storing and settling.
        Ok((part == part::RELEASES).then(|| index_part(repository, part, lane)))
    }

    /// Why an answer is not a page of a repository's list. A new name is learnt on the way, for the next attempt.
    pub(crate) async fn not_a_list(&self, repository: &Repository, answer: &Answer, purpose: Purpose) -> Failure {
        if let Some(trouble) = repository_trouble(answer) {
            return trouble;
        }
        if matches!(answer, Answer::Moved { .. } | Answer::NotFound)
            && let Err(failure) = self.refresh(repository, None, purpose).await
        {
            return failure;
        }
        Failure::Again(format!("GitHub answers {answer:?} for a list of {}", repository.full_name))
    }
}

/// The index job of a part of a repository.
fn index_part(repository: &Repository, part: &str, lane: Lane) -> Trigger {
    Trigger {
        queue: QueueName::Index,
        subject: Subject::part(repository.id, part),
        lane,
        timing: Timing::WhenFree,
        reason: "downloaded".to_owned(),
    }
}

/// The UTC day, `2026-11-21`.
fn day(now: Timestamp) -> String {
    now.strftime("%Y-%m-%d").to_string()
}

fn daily_line(repository: &Repository, now: Timestamp) -> Value {
    let count = |field: &str| repository.repository.get(field).cloned().unwrap_or_default();
    json!({
        "day": day(now),
        "stars": count("stargazers_count"),
        "forks": count("forks_count"),
        "open_items": count("open_issues_count"),
    })
}

/// Whether a number that GitHub gave can stand in a ledger; what is beyond is not GitHub's.
pub(crate) fn is_number(number: u64) -> bool {
    (1..=Ledger::LIMIT).contains(&number)
}
