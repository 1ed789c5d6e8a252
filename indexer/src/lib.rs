//! Index jobs: from the archive to the search engine, and on to whoever watches.
//!
//! A batch of items is read, rendered and applied, then committed together with what other batches applied meanwhile,
//! then told to live readers, and only then settled: what is told is searchable, and what was not told is done again.
//! The next batch is leased when one is applied and waits for its commit: what is leased earlier stands before live
//! changes that come later. Documents that the engine refuses bury their job with the engine's reason. The jobs of
//! parts write a repository's document, its releases and its daily counts. Counting takes long where there are many
//! items: everything else of the batch is settled before, and other batches go on meanwhile.
//!
//! [`rebuild`] fills a new index from the archive while the old one serves; [`verify`] compares both.
//!
//! Metrics: `gharvest_indexed_total` (`result`), `gharvest_index_refused_total`, `gharvest_index_commits_total`,
//! `gharvest_index_commit_seconds`, `gharvest_index_pauses_total`, `gharvest_daily_documents_total`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use fail::fail_point;
use gharvest_archive::Archive;
use gharvest_model::{
    ItemId, Lane, QueueName, RepositoryId, Revision, Subject,
    job::part,
    live::LiveEvent,
    record::{RecordState, RecordText, Visibility},
};
use gharvest_queue::{Job, Outcome, Queue, Scope, Settlement, Timing, Trigger};
use gharvest_search::{
    Applied, SearchIndex,
    document::{ThreadDocuments, Version},
};
use gharvest_service_kit::settings::Settings;
use gharvest_state::State;
use gharvest_worker::{Batch, Handler};
use jiff::Timestamp;
use metrics::counter;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

mod commit;
mod daily;
pub mod outcome;
pub mod rebuild;
mod render;
mod turns;
pub mod verify;

use commit::Committer;
use outcome::{Failure, Verdict, verdict};
use turns::Turns;

/// Batches that may wait for a commit at once. They hold no documents while they wait.
const WAITING_BATCHES: usize = 32;
/// Bytes of documents rendered before they are handed to the engine: bounds memory, whatever the threads are like. The
/// engine's client has some of them a second time as text, and the text of one record stands beside them.
pub(crate) const BYTES_AT_ONCE: usize = 2 << 20;

/// What the indexer is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Batches rendered and applied at once.
    pub workers: usize,
    /// Threads per commit.
    pub batch: usize,
    /// A batch is committed this long after the last commit at the latest.
    pub linger: Duration,
    /// How long a lease lasts without a heartbeat.
    pub lease: Duration,
    /// How long work in hand may take at shutdown.
    pub drain: Duration,
    /// Daily counts of a repository are made anew at most this often, and not for 20 times what the last ones took, unless
    /// somebody asks for that one job; zero is whenever anything changed.
    pub daily_delay: Duration,
}

impl Options {
    /// The options as set.
    pub fn new(settings: &Settings) -> Self {
        let set = &settings.indexer;
        Self {
            workers: set.workers,
            batch: set.batch,
            linger: set.linger,
            lease: set.lease,
            drain: set.drain,
            daily_delay: set.daily_delay,
        }
    }
}

/// Works on the index queue until `shutdown`.
pub async fn run(
    queue: Arc<dyn Queue>,
    archive: Archive,
    state: Arc<dyn State>,
    index: Arc<dyn SearchIndex>,
    options: Options,
    shutdown: CancellationToken,
) {
    let worker = gharvest_worker::Options {
        queue: QueueName::Index,
        workers: options.workers,
        batch: options.batch,
        lease: options.lease,
        drain: options.drain,
    };
    // An alert on what a counter grows by does not see one that begins with its first refusal.
    counter!("gharvest_index_refused_total").increment(0);
    let handler = Arc::new(Indexer::new(Arc::clone(&queue), archive, state, index, options));
    gharvest_worker::run(queue, handler, worker, shutdown).await;
}

/// The handler of index jobs.
#[derive(Debug)]
pub struct Indexer {
    archive: Archive,
    queue: Arc<dyn Queue>,
    state: Arc<dyn State>,
    index: Arc<dyn SearchIndex>,
    committer: Committer,
    /// Taken for the wait for a commit.
    waiting: Semaphore,
    turns: Turns,
}

/// Threads to be applied together.
#[derive(Default)]
struct Waiting {
    /// In the order of the threads, each with what will be told.
    jobs: Vec<(Job, LiveEvent)>,
    threads: Vec<ThreadDocuments>,
    bytes: usize,
}

/// What became of one job, before the commit.
struct Done {
    job: Job,
    result: Result<Option<LiveEvent>, Failure>,
    follow_up: Option<Trigger>,
}

impl Done {
    /// What became of the job of a part; an error is what concerns every job.
    fn of(job: &Job, result: Result<(), Failure>) -> Result<Self, Failure> {
        match result {
            Err(failure) if matches!(verdict(&failure), Verdict::PauseQueue { .. }) => Err(failure),
            result => Ok(Self { job: job.clone(), result: result.map(|()| None), follow_up: None }),
        }
    }
}

#[async_trait]
impl Handler for Indexer {
    async fn handle(&self, batch: &Batch) -> Vec<Settlement> {
        match self.work(batch).await {
            Ok(()) => Vec::new(),
            Err(failure) => self.stop(batch, &failure).await,
        }
    }
}

impl Indexer {
    /// A handler that writes to `index`.
    pub fn new(
        queue: Arc<dyn Queue>,
        archive: Archive,
        state: Arc<dyn State>,
        index: Arc<dyn SearchIndex>,
        options: Options,
    ) -> Self {
        Self {
            archive,
            queue,
            state,
            committer: Committer::new(Arc::clone(&index), options.linger, options.batch),
            index,
            waiting: Semaphore::new(WAITING_BATCHES),
            turns: Turns::new(options.daily_delay),
        }
    }

    async fn work(&self, batch: &Batch) -> Result<(), Failure> {
        let epoch = self.index.epoch().await?;
        let mut done = self.items(batch.jobs()).await?;
        let mut daily = None;
        for job in batch.jobs() {
            match &job.subject {
                Subject::Item(_) => {}
                Subject::Part { repository, part } if part == part::DAILY => daily = Some((job, *repository)),
                _ => done.push(Done::of(job, self.part(job).await)?),
            }
        }
        // One job for the daily counts of the whole batch: its items are of one repository. It may be here already.
        if daily.is_none()
            && let Some(done) = done.iter_mut().find(|done| matches!(&done.result, Ok(Some(_))))
        {
            done.follow_up = daily_trigger(&done.job);
        }
        if !done.is_empty() {
            self.finish(batch, done, epoch).await?;
        }
        let Some((job, repository)) = daily else { return Ok(()) };
        let counted = Done::of(job, self.daily(batch, job, repository).await)?;
        self.tell(batch, vec![counted]).await
    }

    /// Commits what was applied in this epoch of the index, tells of it, and settles.
    async fn finish(&self, batch: &Batch, done: Vec<Done>, epoch: u64) -> Result<(), Failure> {
        fail_point!("indexer-applied");
        let _waiting = self.waiting.acquire().await.expect("the semaphore is never closed");
        batch.make_room();
        if done.iter().any(|done| done.result.is_ok()) {
            self.committer.commit(done.len(), epoch).await?;
        }
        fail_point!("indexer-committed");
        self.tell(batch, done).await
    }

    /// Tells live readers of what is committed, and settles.
    async fn tell(&self, batch: &Batch, done: Vec<Done>) -> Result<(), Failure> {
        let (settlements, events) = split(done);
        // Who dies in between tells them again; told after the settlement they would never be heard of.
        if !events.is_empty() {
            self.state.publish(&events).await?;
        }
        fail_point!("indexer-told");
        batch.settle(settlements).await;
        Ok(())
    }

    /// Renders and applies all items of a batch, a bounded number of bytes at a time.
    async fn items(&self, jobs: &[Job]) -> Result<Vec<Done>, Failure> {
        let mut done = Vec::with_capacity(jobs.len());
        let mut waiting = Waiting::default();
        for job in jobs {
            let Subject::Item(item) = &job.subject else { continue };
            match self.rendered(*item).await {
                Ok(Some((event, thread))) => {
                    waiting.bytes += thread.size();
                    waiting.jobs.push((job.clone(), event));
                    waiting.threads.push(thread);
                }
                // The record was purged since: there is nothing to say of it.
                Ok(None) => done.push(Done { job: job.clone(), result: Ok(None), follow_up: None }),
                Err(failure) if matches!(verdict(&failure), Verdict::PauseQueue { .. }) => return Err(failure),
                Err(failure) => done.push(Done { job: job.clone(), result: Err(failure), follow_up: None }),
            }
            if waiting.bytes >= BYTES_AT_ONCE {
                done.extend(self.apply(std::mem::take(&mut waiting)).await?);
            }
        }
        done.extend(self.apply(waiting).await?);
        Ok(done)
    }

    /// The documents of an item and what will be told of it; the record itself goes at once.
    async fn rendered(&self, item: ItemId) -> Result<Option<(LiveEvent, ThreadDocuments)>, Failure> {
        // The version of the documents: before the repository is read, so that no older state of it ever wins.
        let now = Timestamp::now();
        let Some(stored) = self.archive.stored(item).await? else { return Ok(None) };
        let repository = self.archive.repository(item.repository).await?;
        let record = stored.text()?;
        let thread = render::thread(&record, repository.as_ref(), now)?;
        Ok(Some((live_event(&record, &thread), thread)))
    }

    async fn apply(&self, Waiting { jobs, threads, .. }: Waiting) -> Result<Vec<Done>, Failure> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let applied = self.index.apply(threads).await?;
        if applied.len() != jobs.len() {
            return Err(Failure::Hopeless(format!("{} threads got {} answers", jobs.len(), applied.len())));
        }
        let done = jobs.into_iter().zip(applied).map(|((job, event), applied)| {
            let (label, result) = match applied {
                Applied::Written => ("written", Ok(Some(event))),
                // Written before, as by a run that came no further: nobody may know of it yet.
                Applied::Stale => ("stale", Ok(Some(event))),
                Applied::Refused { id, reason } => {
                    counter!("gharvest_index_refused_total").increment(1);
                    ("refused", Err(Failure::Hopeless(format!("the engine refuses document {id}: {reason}"))))
                }
            };
            counter!("gharvest_indexed_total", "result" => label).increment(1);
            Done { job, result, follow_up: None }
        });
        Ok(done.collect())
    }

    async fn part(&self, job: &Job) -> Result<(), Failure> {
        let Subject::Part { repository, part } = &job.subject else {
            return Err(Failure::Hopeless("the indexer knows no jobs without a repository".to_owned()));
        };
        match part.as_str() {
            part::METADATA => apply_repository(&self.archive, self.index.as_ref(), *repository, Timestamp::now()).await,
            part::RELEASES => apply_releases(&self.archive, self.index.as_ref(), *repository, Timestamp::now()).await,
            other => Err(Failure::Hopeless(format!("this version knows no part `{other}` of a repository to index"))),
        }
    }

    /// Counts what is committed, and commits that, with what others wrote meanwhile. Items of other batches that are not
    /// yet committed bring a job like this one when they are.
    async fn daily(&self, batch: &Batch, job: &Job, id: RepositoryId) -> Result<(), Failure> {
        let count = async {
            let epoch = self.index.epoch().await?;
            apply_daily(&self.archive, self.index.as_ref(), id).await?;
            fail_point!("indexer-counted");
            Ok(epoch)
        };
        let commit = async |epoch| Ok(self.committer.commit(1, epoch).await?);
        self.turns.count(id, job.lane <= Lane::Manual, || batch.make_room(), count, commit).await
    }

    /// Gives everything in hand back and pauses the queue; or answers all jobs alike.
    async fn stop(&self, batch: &Batch, failure: &Failure) -> Vec<Settlement> {
        match verdict(failure) {
            Verdict::Job(outcome) => batch.all_unsettled(&outcome),
            Verdict::PauseQueue { pause } => {
                self.pause(pause, &failure.to_string()).await;
                batch.all_unsettled(&Outcome::Release { after: Duration::ZERO })
            }
        }
    }

    async fn pause(&self, pause: Duration, reason: &str) {
        counter!("gharvest_index_pauses_total").increment(1);
        tracing::error!(seconds = pause.as_secs(), reason, "Indexing paused");
        let paused = async {
            let until = self.queue.now().await? + pause;
            self.queue.pause(&Scope::Queue(QueueName::Index), until, reason).await
        };
        if let Err(error) = paused.await {
            tracing::error!(error = %error, "Queue cannot be paused");
        }
    }
}

fn split(done: Vec<Done>) -> (Vec<Settlement>, Vec<LiveEvent>) {
    let mut events = Vec::new();
    let settlement = |Done { job, result, follow_up }: Done| {
        let outcome = match result {
            Ok(event) => {
                events.extend(event);
                Outcome::Finish
            }
            Err(failure) => match verdict(&failure) {
                Verdict::Job(outcome) => outcome,
                Verdict::PauseQueue { .. } => Outcome::Release { after: Duration::ZERO },
            },
        };
        Settlement { subject: job.subject, outcome, follow_up }
    };
    (done.into_iter().map(settlement).collect(), events)
}

fn live_event(record: &RecordText<'_>, thread: &ThreadDocuments) -> LiveEvent {
    let state = match &record.state {
        RecordState::Present => thread.item.state.as_str(),
        RecordState::Deleted => "deleted",
        RecordState::Hidden => "hidden",
        RecordState::Transferred { .. } => "transferred",
    };
    LiveEvent {
        item: record.id(),
        // As rendered: the record may be from before a rename.
        repository: thread.item.repository.parse().unwrap_or_else(|_| record.repository.full_name.clone()),
        kind: record.kind,
        title: thread.item.title.clone(),
        state: state.to_owned(),
        revision: record.revision,
        visibility: if thread.item.private { Visibility::Private } else { Visibility::Public },
        at: Timestamp::now(),
    }
}

/// The job that makes the daily counts anew: settled, so that a stream of changes makes few of them.
fn daily_trigger(job: &Job) -> Option<Trigger> {
    Some(Trigger {
        queue: QueueName::Index,
        subject: Subject::part(job.subject.repository()?, part::DAILY),
        lane: job.lane.max(Lane::Reconcile),
        timing: Timing::Settled,
        reason: "indexed".to_owned(),
    })
}

/// Writes a repository's document, without a commit. `at`, which is before it is read, is its version: who may see it
/// changes without a fetch.
async fn apply_repository(
    archive: &Archive,
    index: &dyn SearchIndex,
    id: RepositoryId,
    at: Timestamp,
) -> Result<(), Failure> {
    if let Some(repository) = archive.repository(id).await? {
        let version = Version::new(Revision(1), at);
        index.apply_repositories(vec![render::repository(&repository, version)]).await?;
    }
    Ok(())
}

/// Writes the documents of a repository's releases, without a commit; `at` as for the repository's own.
async fn apply_releases(
    archive: &Archive,
    index: &dyn SearchIndex,
    id: RepositoryId,
    at: Timestamp,
) -> Result<(), Failure> {
    let (Some(repository), Some(releases)) = (archive.repository(id).await?, archive.part(id, part::RELEASES).await?)
    else {
        return Ok(());
    };
    let version = Version::new(Revision(1), at);
    let documents = render::releases(&repository, &releases, version);
    Ok(index.apply_releases(id, version, documents).await?)
}

/// Makes a repository's daily counts anew, without a commit.
async fn apply_daily(archive: &Archive, index: &dyn SearchIndex, id: RepositoryId) -> Result<(), Failure> {
    let written = daily::refresh(archive, index, id, Timestamp::now()).await?;
    counter!("gharvest_daily_documents_total").increment(written);
    Ok(())
}
