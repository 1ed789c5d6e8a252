//! Many archived threads at once, compared with what GraphQL tells of them: for the sweep's rotation.
//!
//! What says the same is verified, and nothing is stored: the record keeps its ETags and what only REST gives. What
//! differs, and what GraphQL does not tell, is fetched by itself like any other item, so that a record never gets less
//! than it had. So is what REST tells for nothing, because its ETags are still worth something; an item whose issue
//! object a list gave meanwhile; one about which a webhook said something; a placeholder of a private twin; and one that
//! was tried before, because the try may have failed of it.
//!
//! Of a lease's records one is in memory at a time; their issue objects and review comments wait as compressed text.

use std::collections::BTreeMap;

use futures::StreamExt;
use gharvest_archive::Repository;
use gharvest_github::{Listed, Purpose};
use gharvest_model::{
    Record,
    change::same_content,
    job::reason::{ROTATION, swept},
    ledger::NumberState,
    record::RecordState,
};
use gharvest_queue::Job;
use gharvest_worker::Batch;
use jiff::Timestamp;

use crate::{
    Downloader, Stopped, Tally,
    fetch::{Fetched, Wanted},
    item::{Round, index_needed, visibility},
    number,
    outcome::Failure,
};

/// Whether a job is to be compared before it is fetched: nobody but the rotation wants it, and nothing came of no try.
pub(crate) fn is_wanted(job: &Job) -> bool {
    job.attempt <= 1 && job.lost == 0 && job.reasons == [swept(ROTATION)]
}

impl Downloader {
    /// Settles the jobs of threads that say the same, and gives back those that are to be fetched by themselves.
    pub(crate) async fn compare<'j>(
        &self,
        batch: &Batch,
        repository: &Repository,
        jobs: &'j [Job],
    ) -> Result<Vec<&'j Job>, Stopped> {
        let mut tally = Tally::default();
        let (mut waiting, mut wanted) = (BTreeMap::new(), Vec::new());
        for job in jobs {
            match self.comparable(repository, job).await {
                Ok(Some(thread)) => {
                    waiting.insert(thread.number, job);
                    wanted.push(thread);
                }
                // Why it cannot be read, its own turn says.
                Ok(None) | Err(_) => tally.again.push(job),
            }
        }
        if wanted.len() > 1 {
            let mut answers = self.fetcher.fetch(&repository.full_name, wanted, Purpose::Backfill);
            while let Some((number, fetched)) = answers.next().await {
                let Some(job) = waiting.remove(&number) else { continue };
                let round = match fetched {
                    Ok(fetched) => self.compared(repository, job, fetched).await,
                    Err(failure) => Err(failure),
                };
                self.settle_round(batch, repository.id, job, round, &mut tally).await;
            }
        }
        tally.again.extend(waiting.into_values());
        tally.stopped.map_or(Ok(tally.again), Err)
    }

    /// What GraphQL is asked about a thread; none if it is to be fetched by itself.
    async fn comparable(&self, repository: &Repository, job: &Job) -> Result<Option<Wanted>, Failure> {
        let (prepared, wanted) = self.prepare(repository, job, number(job)?).await?;
        let is_same_to_compare = |record: &&Record| {
            record.state == RecordState::Present
                && !self.options.twins.is_of_twin(repository, record)
                && self.client.calls_again(record, Purpose::Backfill) > 0
        };
        let known = wanted.known.as_ref().filter(|_| wanted.hint.is_none() && !prepared.has_facts());
        let known = known.filter(is_same_to_compare);
        Ok(known.and_then(|known| {
            let hint = Some(Listed::archived(known.issue.as_ref()?, &known.review_comments));
            Some(Wanted { number: wanted.number, hint, known: None, is_compared: true })
        }))
    }

    /// Accounts for a thread that is as it was; once more, by itself, if it is not.
    async fn compared(&self, repository: &Repository, job: &Job, fetched: Fetched) -> Result<Round, Failure> {
        let Fetched::Thread(thread) = fetched else { return Ok(Round::Again) };
        let (prepared, wanted) = self.prepare(repository, job, number(job)?).await?;
        let Some(known) = wanted.known.filter(|_| wanted.hint.is_none() && !prepared.has_facts()) else {
            return Ok(Round::Again);
        };
        let mut record = self.record_of(repository, &prepared, *thread);
        record.visibility = record.visibility_in(visibility(repository));
        self.withhold(&mut record).await?;
        if !same_content(&known, &record) {
            return Ok(Round::Again);
        }
        self.account(&prepared, NumberState::Present).await?;
        Ok(Round::Done { index: index_needed(job, Some(known.changed_at), Timestamp::now()) })
    }
}
