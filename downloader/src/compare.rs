//! Many archived threads at once, compared with what GraphQL tells of them: for the sweep's rotation.
//!
//! What says the same is verified, and nothing is stored: the record keeps its ETags and what only REST gives. Some wait
//! for GraphQL. All other jobs are settled as well, each with a follow-up that asks for the same item for another reason,
//! so that it is fetched by itself like any other and never compared twice: a record never gets less than it had. That is
//! what differs, and what GraphQL does not tell; what REST tells for nothing, because its ETags are still worth something;
//! an item whose issue object a list gave meanwhile; one about which a webhook said something; a placeholder of a private
//! twin.
//!
//! Of a lease's records one is in memory at a time; their issue objects and review comments wait as compressed text.

use std::collections::BTreeMap;

use futures::StreamExt;
use gharvest_archive::Repository;
use gharvest_github::{Listed, Purpose};
use gharvest_model::{
    Lane, QueueName, Record,
    change::same_content,
    job::reason::{ROTATION, swept},
    ledger::NumberState,
    record::RecordState,
};
use gharvest_queue::{Job, Outcome, Settlement, Timing, Trigger};
use gharvest_worker::Batch;
use jiff::Timestamp;

use crate::{
    Downloader, Stopped, Tally,
    fetch::Thread,
    item::{Prepared, Round, index_needed},
    number,
    outcome::Failure,
};

/// Whether a job is to be compared before it is fetched: nobody but the rotation wants it, and no worker ended over it.
pub(crate) fn is_wanted(job: &Job) -> bool {
    job.lane == Lane::Backfill && job.attempt <= 1 && job.lost == 0 && job.reasons == [swept(ROTATION)]
}

impl Downloader {
    /// Settles the jobs of threads that say the same, and has the others fetched.
    pub(crate) async fn compare(&self, batch: &Batch, repository: &Repository, jobs: &[Job]) -> Result<(), Stopped> {
        let mut tally = Tally::default();
        let (mut waiting, mut archived) = (BTreeMap::new(), Vec::new());
        for job in jobs {
            match self.comparable(repository, job).await {
                Ok(Some((number, listed))) => {
                    waiting.insert(number, job);
                    archived.push((number, listed));
                }
                // Why it cannot be read, its fetch says.
                Ok(None) | Err(_) => tally.again.push(job),
            }
        }
        let mut answers = self.fetcher.compare(repository, archived);
        while let Some((number, thread)) = answers.next().await {
            let Some(job) = waiting.remove(&number) else { continue };
            let round = match thread {
                Ok(Some(thread)) => self.compared(repository, job, *thread).await,
                Ok(None) => Ok(Round::Again),
                Err(failure) => Err(failure),
            };
            self.settle_round(batch, repository.id, job, round, &mut tally).await;
        }
        drop(answers);
        tally.again.extend(waiting.into_values());
        batch.settle(tally.again.into_iter().map(fetched_by_itself).collect()).await;
        tally.stopped.map_or(Ok(()), Err)
    }

    /// What is known of a thread that can be compared.
    async fn comparable(&self, repository: &Repository, job: &Job) -> Result<Option<(u64, Listed)>, Failure> {
        let number = number(job)?;
        let Some((known, _)) = self.known(repository, job, number).await? else { return Ok(None) };
        let costs = self.client.calls_again(&known, Purpose::Backfill) > 0;
        let is_of_twin = self.options.twins.is_of_twin(repository, &known);
        let Some(issue) = known.issue.as_ref().filter(|_| costs && !is_of_twin) else { return Ok(None) };
        Ok(Some((number, Listed::archived(issue, &known.review_comments))))
    }

    /// A thread's record, unless something newer is known that is to be merged into it.
    async fn known(
        &self,
        repository: &Repository,
        job: &Job,
        number: u64,
    ) -> Result<Option<(Record, Prepared)>, Failure> {
        let (prepared, wanted) = self.prepare(repository, job, number).await?;
        let is_all = wanted.hint.is_none() && !prepared.has_facts();
        let known = wanted.known.filter(|known| is_all && known.state == RecordState::Present);
        Ok(known.map(|known| (known, prepared)))
    }

    /// Accounts for a thread that is as it was; once more, by itself, if it is not.
    async fn compared(&self, repository: &Repository, job: &Job, thread: Thread) -> Result<Round, Failure> {
        let Some((known, prepared)) = self.known(repository, job, number(job)?).await? else {
            return Ok(Round::Again);
        };
        let mut record = self.record_of(repository, &prepared, thread);
        // Who may see the repository makes no other thread.
        record.visibility = known.visibility;
        self.withhold(&mut record).await?;
        let changed_at = known.changed_at;
        // A long thread takes its time: not where other tasks wait for their turn.
        let is_same = tokio::task::spawn_blocking(move || same_content(&known, &record)).await;
        if !is_same.map_err(|error| Failure::Again(format!("the comparison ended unexpectedly: {error}")))? {
            return Ok(Round::Again);
        }
        self.account(&prepared, NumberState::Present).await?;
        Ok(Round::Done { index: index_needed(job, Some(changed_at), Timestamp::now()) })
    }
}

/// The end of a job whose item is to be fetched by itself.
fn fetched_by_itself(job: &Job) -> Settlement {
    let follow_up = Trigger {
        queue: QueueName::Download,
        subject: job.subject.clone(),
        lane: job.lane,
        timing: Timing::Now,
        reason: swept("difference"),
    };
    Settlement { subject: job.subject.clone(), outcome: Outcome::Finish, follow_up: Some(follow_up) }
}
