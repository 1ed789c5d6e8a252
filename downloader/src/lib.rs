//! Download jobs: from GitHub to the archive, and on to the index queue.
//!
//! A batch holds jobs of one repository. Jobs of items go through the flow of `item`, those of the sweep's rotation
//! through `compare` before it, jobs of parts through `parts` (the repository's object and its short lists), `walk` (the
//! lists of items) and `edits` (what edited texts said
//! before). What somebody waits for goes first, walks over everything last; when the turn is over, what is left goes
//! back. A failure is judged by [`outcome::verdict`]: it concerns the job, the repository, or the whole
//! queue; then everything in hand is given back and the queue pauses with the reason, so that a limit, a full disk or a
//! lost token never buries a job. A repository that only tokens reserved for live work are shown is not paused: its
//! schedules alone are given back for as long.
//!
//! Of a batch one thread is in memory at a time, however many are fetched together: it is stored and its job settled
//! before the next is made. What waits meanwhile is small.
//!
//! Metrics: `gharvest_downloads_total` (`kind`: item or part; `result`), `gharvest_reconcile_found_total`,
//! `gharvest_drift_total` (`kind`), `gharvest_twins_total` (`result`: taken, kept, missing),
//! `gharvest_edits_left_out_total`, `gharvest_download_pauses_total` (`scope`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use gharvest_archive::{Archive, ErrorKind, LedgerChange, Repository};
use gharvest_github::{Client, Purpose, TokenReport, TokenUse};
use gharvest_model::{
    Lane, QueueName, RepositoryId, Subject,
    job::part,
    ledger::{Entry, NumberState},
};
use gharvest_queue::{Job, Outcome, Queue, Scope, Settlement, Timing, Trigger};
use gharvest_service_kit::settings::Settings;
use gharvest_worker::{Batch, Handler};
use jiff::Timestamp;
use metrics::counter;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod compare;
pub mod deletions;
mod edits;
pub mod fetch;
mod history;
mod images;
mod item;
mod location;
pub mod outcome;
mod parts;
pub mod plan;
mod repository;
pub mod track;
mod twin;
mod unshown;
pub mod walk;

pub use images::ImageOptions;
pub use item::CONFIRM_AFTER;
pub use twin::TwinOptions;

use edits::Walked;
use fetch::{Fetcher, GraphqlFetcher, RestFetcher, Wanted};
use images::Images;
use item::{Elsewhere, Prepared, Round};
use location::Place;
use outcome::{Failure, REPOSITORY_PAUSE, Verdict, verdict};

/// How often a job begins again because somebody else stored a revision meanwhile.
const ROUNDS: usize = 4;
/// So long one lease is worked on: then what is left goes back, and live work has its turn.
const LONGEST_TURN: Duration = Duration::from_secs(15);
/// How long it is believed that a token sees a repository's items.
const SHOWN_FOR: Duration = Duration::from_secs(600);

/// What the downloader is set to.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How the worker loop works.
    pub worker: gharvest_worker::Options,
    /// Whether first mirrors and comparisons use GraphQL: a twentieth of the requests, at the price of the fields that it cannot give.
    pub graphql: bool,
    /// A longer timeline is an error.
    pub max_timeline_pages: usize,
    /// Older texts kept per record.
    pub max_history: usize,
    /// GitHub's edit histories are asked for while more than this share of GraphQL's budget is left; 1 for never.
    pub edits_reserve: f64,
    /// Images that are kept.
    pub images: ImageOptions,
    /// Which items are placeholders, and for what.
    pub twins: TwinOptions,
    /// How far a reconcile looks back behind its cursor.
    pub overlap: Duration,
    /// Free space below which the queue is paused, bytes.
    pub min_free_bytes: u64,
    /// Attempts after which the queue buries a job: the ledger learns it.
    pub max_attempts: u32,
    /// Lost leases after which it does.
    pub max_lost: u32,
}

impl Options {
    /// The options as set.
    pub fn new(settings: &Settings) -> Self {
        let set = &settings.downloader;
        Self {
            worker: gharvest_worker::Options {
                queue: QueueName::Download,
                workers: set.workers,
                batch: set.batch,
                lease: set.lease,
                drain: set.drain,
            },
            graphql: set.graphql,
            max_timeline_pages: set.max_timeline_pages,
            max_history: set.max_history,
            edits_reserve: set.edits_reserve,
            images: ImageOptions { hosts: set.image_hosts.clone(), max_bytes: set.max_image_bytes },
            twins: TwinOptions { twins: set.twins.clone(), titles: set.twin_titles.clone() },
            overlap: settings.seeder.overlap,
            min_free_bytes: settings.archive.min_free_bytes,
            max_attempts: settings.queue.max_attempts,
            max_lost: settings.queue.max_lost,
        }
    }
}

/// The handler of download jobs.
#[derive(Debug)]
pub struct Downloader {
    archive: Archive,
    client: Client,
    queue: Arc<dyn Queue>,
    fetcher: Arc<dyn Fetcher>,
    images: Option<Images>,
    options: Options,
    /// So long one lease is worked on.
    turn: Duration,
    /// Repositories whose items the token was seen to see, and when.
    shown: Mutex<HashMap<RepositoryId, Instant>>,
    /// Repositories that only tokens reserved for live work are shown, and when that was seen.
    live_only: Mutex<HashMap<RepositoryId, Instant>>,
    /// Repositories that were asked for because an item seemed to be another's, and were not, and when.
    identified: Mutex<HashMap<RepositoryId, Instant>>,
    /// Repositories that are not mirrored, to which items were transferred, and when they were asked for: one may become
    /// private, or be shown.
    elsewhere: Mutex<HashMap<Place, (Instant, Elsewhere)>>,
}

/// Works on the download queue until `shutdown`.
pub async fn run(
    queue: Arc<dyn Queue>,
    archive: Archive,
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) {
    let worker = options.worker.clone();
    let handler = Arc::new(Downloader::new(Arc::clone(&queue), archive, client.clone(), options));
    gharvest_worker::run(queue, handler, worker, shutdown).await;
    client.keep_spent().await;
}

#[async_trait]
impl Handler for Downloader {
    async fn handle(&self, batch: &Batch) -> Vec<Settlement> {
        let stop = match self.repository_of(batch).await {
            Ok(repository) => self.handle_jobs(batch, repository).await.err(),
            Err(failure) => Some(Stopped { repository: repository_id(batch), failure, live_only: false }),
        };
        match stop {
            Some(stopped) => self.stop(batch, stopped).await,
            None => Vec::new(),
        }
    }
}

/// The jobs of a batch in the order in which they are worked on: what somebody waits for first, what takes long last.
#[derive(Debug, Default)]
struct Order {
    /// Items of webhooks, people and schedules, one at a time.
    live: Vec<Job>,
    /// The repository's object, its short lists, and what was updated lately.
    parts: Vec<Job>,
    /// Items of first mirrors, many at a time.
    backfill: Vec<Job>,
    /// Items whose turn it is in the sweep's rotation, as many.
    rotation: Vec<Job>,
    /// Items that are asked for one by one, and urgently by nobody.
    single: Vec<Job>,
    /// Walks over everything, which stop when the turn is over and go on in another one.
    walks: Vec<Job>,
}

impl Order {
    fn of(jobs: &[Job]) -> Self {
        let mut order = Self::default();
        for job in jobs {
            let place = match &job.subject {
                Subject::Item(_) if purpose(job.lane) != Purpose::Backfill => &mut order.live,
                Subject::Item(_) if compare::is_wanted(job) => &mut order.rotation,
                // A walk keeps no reasons.
                Subject::Item(_) if job.reasons.is_empty() => &mut order.backfill,
                Subject::Item(_) => &mut order.single,
                _ if is_part(job, part::ITEMS) || is_part(job, part::EDITS) => &mut order.walks,
                _ => &mut order.parts,
            };
            place.push(job.clone());
        }
        order
    }
}

/// Why the rest of a batch is not worked on.
struct Stopped {
    repository: Option<RepositoryId>,
    failure: Failure,
    /// Whether live work is shown what schedules are not.
    live_only: bool,
}

/// What came of the jobs of a round.
#[derive(Default)]
struct Tally<'j> {
    /// Whether one was fetched.
    fetched: bool,
    /// What is to be done once more.
    again: Vec<&'j Job>,
    /// The first failure that concerns more than its job.
    stopped: Option<Stopped>,
}

impl Downloader {
    /// A downloader that fetches as the options say.
    pub fn new(queue: Arc<dyn Queue>, archive: Archive, client: Client, options: Options) -> Self {
        let rest = RestFetcher::new(client.clone(), options.max_timeline_pages);
        let fetcher: Arc<dyn Fetcher> =
            if options.graphql { Arc::new(GraphqlFetcher::new(client.clone(), rest)) } else { Arc::new(rest) };
        let images = Images::new(&options.images);
        Self {
            archive,
            client,
            queue,
            fetcher,
            images,
            options,
            turn: LONGEST_TURN,
            shown: Mutex::default(),
            live_only: Mutex::default(),
            identified: Mutex::default(),
            elsewhere: Mutex::default(),
        }
    }

    /// The same with another way to fetch threads.
    pub fn with_fetcher(mut self, fetcher: Arc<dyn Fetcher>) -> Self {
        self.fetcher = fetcher;
        self
    }

    /// The same with turns of another length than fifteen seconds: when one is over, what is left of a lease goes back.
    pub fn with_turn(mut self, turn: Duration) -> Self {
        self.turn = turn;
        self
    }

    /// The repository of a batch. One that is tracked but was never fetched, because a webhook began it, is fetched. An
    /// archive that tracks nothing may be the wrong one: then nothing is dropped.
    async fn repository_of(&self, batch: &Batch) -> Result<Repository, Failure> {
        self.check_space().await?;
        let Some(id) = repository_id(batch) else {
            return Err(Failure::Hopeless("the downloader knows no jobs without a repository".to_owned()));
        };
        if let Some(repository) = self.archive.repository(id).await.map_err(of_repository)? {
            repository::hide(&self.archive, self.queue.as_ref(), &repository).await?;
            return Ok(repository);
        }
        let tracking = self.archive.tracking().await?;
        let Some(tracked) = tracking.iter().find(|tracked| tracked.id == id) else {
            if tracking.is_empty() {
                let reason =
                    format!("repository {id} is not known here, and no other is tracked: is this the archive?");
                return Err(Failure::Hopeless(reason));
            }
            // Also what another archive's receiver pushed where two share a queue.
            let jobs = batch.unsettled().len();
            tracing::warn!(repo.id = %id, jobs, "Jobs of a repository that is neither tracked nor archived are dropped");
            return Err(Failure::Untracked(id));
        };
        let fresh = track::discover(&self.client, &tracked.name).await?;
        if fresh.id != id {
            return Err(Failure::Hopeless(format!("{} is repository {} now, not {id}", tracked.name, fresh.id)));
        }
        self.archive.put_repository(&fresh).await?;
        Ok(fresh)
    }

    async fn check_space(&self) -> Result<(), Failure> {
        let least = self.options.min_free_bytes;
        match self.archive.space().await?.free {
            Some(free) if free < least => Err(Failure::NoSpace(format!(
                "the archive's disk has {} MiB left, [archive] min_free_bytes asks for {} MiB: make room",
                free >> 20,
                least >> 20
            ))),
            _ => Ok(()),
        }
    }

    /// Works on a batch in its [`Order`] until the turn is over. Something is always begun, so each turn brings something.
    async fn handle_jobs(&self, batch: &Batch, mut repository: Repository) -> Result<(), Stopped> {
        let (id, begun) = (repository.id, Instant::now());
        if let Some(left) = self.schedules_wait(id) {
            batch.settle(schedules_of(batch, left)).await;
        }
        let Order { live, parts, backfill, rotation, mut single, walks } = Order::of(&batch.unsettled());
        let mut has_begun = false;
        let mut goes_on = || !std::mem::replace(&mut has_begun, true) || !self.is_over(begun);
        // Where tokens are reserved for live work, what it is shown says nothing of what schedules would be.
        let says_little = self.reserves_tokens_for_live();
        let tells = |lane: Lane| !(says_little && purpose(lane) == Purpose::Live);
        let mut fetched_items = false;
        for jobs in live.chunks(1).take_while(|_| goes_on()) {
            fetched_items |= self.items(batch, &mut repository, jobs, begun).await? && tells(jobs[0].lane);
        }
        for job in parts.iter().take_while(|_| goes_on()) {
            fetched_items |= self.handle_part(batch, &mut repository, job).await? && tells(job.lane);
        }
        let size = self.fetcher.batch(&repository.full_name, backfill.len(), Purpose::Backfill);
        for jobs in backfill.chunks(size.max(1)).take_while(|_| goes_on()) {
            fetched_items |= self.items(batch, &mut repository, jobs, begun).await?;
        }
        if !self.fetcher.compares(&repository.full_name) {
            single.extend(rotation);
        } else if !rotation.is_empty() && goes_on() {
            self.compare(batch, &repository, &rotation).await?;
        }
        for jobs in single.chunks(1).take_while(|_| goes_on()) {
            fetched_items |= self.items(batch, &mut repository, jobs, begun).await?;
        }
        for job in walks.iter().take_while(|_| goes_on()) {
            match self.walk(&repository, job, begun).await {
                Ok(Walked::Interrupted) => {}
                done => {
                    fetched_items |= done.is_ok() && is_part(job, part::ITEMS) && tells(job.lane);
                    self.settle_one(batch, id, job, done.map(|_| None)).await?;
                }
            }
        }
        if fetched_items {
            let stopped = |failure| Stopped { repository: Some(id), failure, live_only: false };
            self.end_trouble(id).await.map_err(stopped)?;
        }
        if self.is_over(begun) {
            // Given back without an attempt: what is live is leased first.
            batch.settle(batch.all_unsettled(&Outcome::Release { after: Duration::ZERO })).await;
        }
        Ok(())
    }

    /// Fetches a part and settles its job. Says whether it showed items.
    async fn handle_part(&self, batch: &Batch, repository: &mut Repository, job: &Job) -> Result<bool, Stopped> {
        let id = repository.id;
        let done = self.part(repository, job).await;
        let showed_items = done.is_ok() && is_part(job, part::UPDATES);
        self.settle_one(batch, id, job, done).await?;
        if is_part(job, part::METADATA)
            && let Ok(Some(fresh)) = self.archive.repository(id).await
        {
            *repository = fresh;
        }
        Ok(showed_items)
    }

    /// A turn of a walk.
    async fn walk(&self, repository: &Repository, job: &Job, begun: Instant) -> Result<Walked, Failure> {
        if is_part(job, part::ITEMS) {
            self.walk_items(repository, job.lane, purpose(job.lane), begun).await
        } else {
            self.walk_edits(repository, begun).await
        }
    }

    /// Whether a turn that began then is over.
    fn is_over(&self, begun: Instant) -> bool {
        begun.elapsed() > self.turn
    }

    async fn part(&self, repository: &Repository, job: &Job) -> Result<Option<Trigger>, Failure> {
        let Subject::Part { part, .. } = &job.subject else {
            return Err(Failure::Hopeless("the downloader knows no jobs without a repository".to_owned()));
        };
        let purpose = purpose(job.lane);
        match part.as_str() {
            part::METADATA => self.metadata(repository, job.lane, purpose).await,
            part::LABELS => self.short_list(repository, part::LABELS, job.lane, purpose).await,
            part::MILESTONES => self.short_list(repository, part::MILESTONES, job.lane, purpose).await,
            part::RELEASES => self.short_list(repository, part::RELEASES, job.lane, purpose).await,
            part::UPDATES => self.walk_updates(repository, purpose).await.map(|()| None),
            other => Err(Failure::Hopeless(format!("this version knows no part `{other}` of a repository"))),
        }
    }

    /// Fetches and stores items, each again while its record changes under it or the repository has a new name; not all
    /// if the turn that began then is over. Says whether one was fetched.
    async fn items(
        &self,
        batch: &Batch,
        repository: &mut Repository,
        jobs: &[Job],
        begun: Instant,
    ) -> Result<bool, Stopped> {
        self.expect_failures(repository.id, jobs).await;
        let mut open: Vec<&Job> = jobs.iter().collect();
        let mut fetched = false;
        for _ in 0..ROUNDS {
            if open.is_empty() {
                break;
            }
            let mut tally = Tally::default();
            self.round(batch, repository, &open, begun, &mut tally).await;
            if let Some(stopped) = tally.stopped {
                return Err(stopped);
            }
            fetched |= tally.fetched;
            open = tally.again;
            if let Ok(Some(fresh)) = self.archive.repository(repository.id).await {
                *repository = fresh;
            }
        }
        for job in open {
            let busy = format!("the record was stored by somebody else {ROUNDS} times in a row");
            self.settle_one(batch, repository.id, job, Err(Failure::Again(busy))).await?;
        }
        Ok(fetched)
    }

    /// Prepares jobs, then fetches together what is seen for the first time. What has a record is fetched alone, so that
    /// of those one is held at a time; what else waits is small. Each of these takes its time, so when the turn is over
    /// the others' jobs are left.
    async fn round<'j>(
        &self,
        batch: &Batch,
        repository: &Repository,
        jobs: &[&'j Job],
        begun: Instant,
        tally: &mut Tally<'j>,
    ) {
        let purpose = jobs.iter().map(|job| purpose(job.lane)).min().unwrap_or(Purpose::Backfill);
        let mut unseen = Vec::new();
        for job in jobs {
            if tally.fetched && self.is_over(begun) {
                break;
            }
            let ready = match number(job) {
                Ok(number) => self.prepare(repository, job, number).await,
                Err(failure) => Err(failure),
            };
            match ready {
                Ok((prepared, wanted)) if prepared.has_record() => {
                    self.fetch(batch, repository, vec![(job, prepared, wanted)], purpose, tally).await;
                }
                Ok((prepared, wanted)) => unseen.push((*job, prepared, wanted)),
                Err(failure) => self.settle_round(batch, repository.id, job, Err(failure), tally).await,
            }
        }
        self.fetch(batch, repository, unseen, purpose, tally).await;
    }

    /// Fetches what is prepared; each is stored and settled before the next is made.
    async fn fetch<'j>(
        &self,
        batch: &Batch,
        repository: &Repository,
        ready: Vec<(&'j Job, Prepared, Wanted)>,
        purpose: Purpose,
        tally: &mut Tally<'j>,
    ) {
        let mut wanted = Vec::with_capacity(ready.len());
        let mut waiting = BTreeMap::new();
        for (job, prepared, want) in ready {
            waiting.insert(want.number, (job, prepared));
            wanted.push(want);
        }
        let mut answers = self.fetcher.fetch(&repository.full_name, wanted, purpose);
        while let Some((number, fetched)) = answers.next().await {
            let Some((job, prepared)) = waiting.remove(&number) else { continue };
            let round = match fetched {
                Ok(fetched) => self.finish(repository, job, &prepared, fetched, purpose).await,
                Err(failure) => Err(failure),
            };
            self.settle_round(batch, repository.id, job, round, tally).await;
        }
        for (job, _) in waiting.into_values() {
            let missing = Failure::Again("the fetcher gave fewer answers than it was asked".to_owned());
            self.settle_round(batch, repository.id, job, Err(missing), tally).await;
        }
    }

    /// Settles a job unless it is to be done once more. When one failure stops the batch, the others in the round still
    /// get their answers: what was fetched is paid for.
    async fn settle_round<'j>(
        &self,
        batch: &Batch,
        repository: RepositoryId,
        job: &'j Job,
        round: Result<Round, Failure>,
        tally: &mut Tally<'j>,
    ) {
        let done = match round {
            Ok(Round::Again) => return tally.again.push(job),
            Ok(Round::Done { index: needed }) => Ok(needed.then(|| index_item(job))),
            Err(failure) => Err(failure),
        };
        tally.fetched |= done.is_ok();
        if let Err(stopped) = self.settle_one(batch, repository, job, done).await {
            tally.stopped.get_or_insert(stopped);
        }
    }

    async fn settle_one(
        &self,
        batch: &Batch,
        repository: RepositoryId,
        job: &Job,
        done: Result<Option<Trigger>, Failure>,
    ) -> Result<(), Stopped> {
        let kind = if matches!(job.subject, Subject::Item(_)) { "item" } else { "part" };
        let result = if done.is_ok() { "done" } else { "failed" };
        counter!("gharvest_downloads_total", "kind" => kind, "result" => result).increment(1);
        let (outcome, follow_up) = match done {
            Ok(follow_up) => (Outcome::Finish, follow_up),
            Err(failure) => match verdict(&failure, Timestamp::now(), self.is_live_blocked()) {
                Verdict::Job(outcome) => {
                    if self.is_buried_by(job, &outcome) {
                        self.note_failed(repository, number(job).ok().into_iter().collect()).await;
                    }
                    (outcome, None)
                }
                verdict => {
                    let is_of_repository = matches!(verdict, Verdict::PauseRepository { .. });
                    let live_only = is_of_repository && self.is_shown_to_live_only(repository, purpose(job.lane)).await;
                    return Err(Stopped { repository: Some(repository), failure, live_only });
                }
            },
        };
        batch.settle(vec![Settlement { subject: job.subject.clone(), outcome, follow_up }]).await;
        Ok(())
    }

    fn is_live_blocked(&self) -> bool {
        self.client.blocked_until(Purpose::Live).is_some_and(|until| until > Timestamp::now())
    }

    /// Whether the queue buries a job if nothing comes of this try.
    fn is_last_try(&self, job: &Job) -> bool {
        job.attempt >= self.options.max_attempts || job.lost + 1 >= self.options.max_lost
    }

    /// Whether the queue buries a job that is answered so.
    fn is_buried_by(&self, job: &Job, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Retry { .. } => job.attempt >= self.options.max_attempts,
            Outcome::Bury { .. } => true,
            Outcome::Finish | Outcome::Release { .. } => false,
        }
    }

    /// Who ends or panics over an item says nothing any more. So of a number that the look for gaps would ask for hourly
    /// otherwise, because nothing is known of it or it failed long ago, the ledger says before the last try that it
    /// failed. All other entries stay: what a 404 means is judged by them, and a job that is given back has not failed.
    async fn expect_failures(&self, repository: RepositoryId, jobs: &[Job]) {
        let last_tries = jobs.iter().filter(|job| self.is_last_try(job));
        let mut numbers: Vec<u64> = last_tries.filter_map(|job| number(job).ok()).collect();
        if numbers.is_empty() {
            return;
        }
        match self.archive.ledger(repository).await {
            Ok(ledger) => numbers.retain(|number| {
                let entry = ledger.get(*number);
                entry == Entry::UNKNOWN || entry.state == NumberState::Failed
            }),
            Err(error) => {
                tracing::error!(repo.id = %repository, error = %error, "Ledger cannot be asked for failed items");
                return;
            }
        }
        self.note_failed(repository, numbers).await;
    }

    /// The ledger says of numbers that they failed, until something comes of a later try.
    async fn note_failed(&self, repository: RepositoryId, numbers: Vec<u64>) {
        let verified_at = Timestamp::now();
        let change = |number| LedgerChange { number, state: NumberState::Failed, verified_at };
        let changes: Vec<LedgerChange> = numbers.into_iter().map(change).collect();
        if let Err(error) = self.archive.update_ledger(repository, &changes).await {
            tracing::error!(repo.id = %repository, error = %error, "Ledger cannot be told of failed items");
        }
    }

    /// Items could be fetched: whatever was wrong with the repository is over.
    async fn end_trouble(&self, id: RepositoryId) -> Result<(), Failure> {
        repository::revive(&self.archive, self.queue.as_ref(), id).await
    }

    /// Gives everything in hand back, and pauses what the failure concerns.
    async fn stop(&self, batch: &Batch, stopped: Stopped) -> Vec<Settlement> {
        let Stopped { repository, failure, live_only } = stopped;
        let reason = failure.to_string();
        if let (Some(id), true) = (repository, live_only) {
            return self.stop_schedules(batch, id, &reason).await;
        }
        let (scope, pause) = match (verdict(&failure, Timestamp::now(), self.is_live_blocked()), repository) {
            (Verdict::Job(outcome), _) => return batch.all_unsettled(&outcome),
            (Verdict::PauseRepository { pause }, Some(id)) => {
                let noted = match &failure {
                    Failure::Gone(_) => {
                        repository::note_gone(&self.archive, &self.client, self.queue.as_ref(), id, &reason).await
                    }
                    _ => repository::note_trouble(&self.archive, id, Some(&reason)).await,
                };
                if let Err(error) = noted {
                    tracing::warn!(repo.id = %id, error = %error, "Tracking entry cannot be updated");
                }
                (Scope::Repository(QueueName::Download, id), pause)
            }
            (Verdict::PauseRepository { pause }, None) | (Verdict::PauseQueue { pause }, _) => {
                (Scope::Queue(QueueName::Download), pause)
            }
        };
        self.pause(&scope, pause, &reason).await;
        batch.all_unsettled(&Outcome::Release { after: Duration::ZERO })
    }

    /// Gives what schedules asked for back for as long as a repository would be paused; what is live goes on.
    async fn stop_schedules(&self, batch: &Batch, id: RepositoryId, reason: &str) -> Vec<Settlement> {
        let trouble = format!("only tokens that are reserved for live work see it, its schedules wait: {reason}");
        if let Err(error) = repository::note_trouble(&self.archive, id, Some(&trouble)).await {
            tracing::warn!(repo.id = %id, error = %error, "Tracking entry cannot be updated");
        }
        batch.settle(schedules_of(batch, REPOSITORY_PAUSE)).await;
        batch.all_unsettled(&Outcome::Release { after: Duration::ZERO })
    }

    fn reserves_tokens_for_live(&self) -> bool {
        self.client.tokens().iter().any(|token: &TokenReport| token.used_for == TokenUse::Live)
    }

    /// Whether a repository that scheduled work is not shown is shown to tokens that are reserved for live work.
    async fn is_shown_to_live_only(&self, id: RepositoryId, purpose: Purpose) -> bool {
        if purpose == Purpose::Live || !self.reserves_tokens_for_live() {
            return false;
        }
        if self.schedules_wait(id).is_some() {
            return true;
        }
        let Ok(Some(repository)) = self.archive.repository(id).await else { return false };
        let shown = repository::shows_items(&self.client, &repository.full_name, Purpose::Live).await;
        let is_shown = matches!(shown, Ok(true));
        if is_shown {
            self.live_only.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Instant::now());
        }
        is_shown
    }

    /// How long a repository's schedules are not tried yet, because only live work is shown it.
    fn schedules_wait(&self, id: RepositoryId) -> Option<Duration> {
        let seen_at = self.live_only.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()?;
        REPOSITORY_PAUSE.checked_sub(seen_at.elapsed()).filter(|left| !left.is_zero())
    }

    async fn pause(&self, scope: &Scope, pause: Duration, reason: &str) {
        let label = if matches!(scope, Scope::Queue(_)) { "queue" } else { "repository" };
        counter!("gharvest_download_pauses_total", "scope" => label).increment(1);
        tracing::warn!(?scope, seconds = pause.as_secs(), reason, "Downloads paused");
        let paused = async {
            let until = self.queue.now().await? + pause;
            self.queue.pause(scope, until, reason).await
        };
        if let Err(error) = paused.await {
            tracing::error!(error = %error, "Queue cannot be paused");
        }
    }

    fn elsewhere(&self) -> MutexGuard<'_, HashMap<Place, (Instant, Elsewhere)>> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the repository anew. What is wrong with it is the error: also that another one has its name.
    async fn has_new_name(&self, repository: &Repository, purpose: Purpose) -> Result<bool, Failure> {
        let (fresh, _) = self.refresh(repository, None, purpose).await?;
        Ok(fresh.full_name != repository.full_name)
    }

    /// Whether an issue object is of another repository, and this one has a new name. One that is gone is the error. It
    /// is asked at most every ten minutes.
    async fn is_misnamed(
        &self,
        repository: &Repository,
        known: Option<&Value>,
        issue: &Value,
        purpose: Purpose,
    ) -> Result<bool, Failure> {
        let lock = || self.identified.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = lock().get(&repository.id).is_some_and(|at| at.elapsed() < SHOWN_FOR);
        if is_fresh || !repository::is_of_another(repository.id, known, issue) {
            return Ok(false);
        }
        if self.has_new_name(repository, purpose).await? {
            return Ok(true);
        }
        lock().insert(repository.id, Instant::now());
        Ok(false)
    }

    /// Whether the token sees items of the repository at all; asked at most every ten minutes.
    async fn shows_items(&self, repository: &Repository, purpose: Purpose) -> Result<bool, Failure> {
        let lock = || self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = lock().get(&repository.id).is_some_and(|at| at.elapsed() < SHOWN_FOR);
        if !fresh {
            if self.has_new_name(repository, purpose).await? {
                return Err(Failure::Again(format!("{} has a new name", repository.full_name)));
            }
            if !repository::shows_items(&self.client, &repository.full_name, purpose).await? {
                return Ok(false);
            }
            lock().insert(repository.id, Instant::now());
        }
        Ok(true)
    }
}

/// Answers for what schedules asked for and nothing was said about: to be tried again after this time.
fn schedules_of(batch: &Batch, after: Duration) -> Vec<Settlement> {
    let scheduled = batch.unsettled().into_iter().filter(|job| purpose(job.lane) != Purpose::Live);
    let outcome = Outcome::Release { after };
    scheduled.map(|job| Settlement { subject: job.subject, outcome: outcome.clone(), follow_up: None }).collect()
}

fn is_part(job: &Job, name: &str) -> bool {
    matches!(&job.subject, Subject::Part { part, .. } if part == name)
}

fn repository_id(batch: &Batch) -> Option<RepositoryId> {
    batch.jobs().first()?.subject.repository()
}

/// Nothing of a repository can be stored whose own file is damaged, and no job of it is to blame.
fn of_repository(error: gharvest_archive::Error) -> Failure {
    match error.kind() {
        ErrorKind::Corrupt => Failure::Repository(error.to_string()),
        _ => error.into(),
    }
}

fn number(job: &Job) -> Result<u64, Failure> {
    match &job.subject {
        Subject::Item(item) if parts::is_number(item.number) => Ok(item.number),
        other => Err(Failure::Hopeless(format!("{other} is not a number that GitHub can have given"))),
    }
}

/// Whose work a lane is.
fn purpose(lane: Lane) -> Purpose {
    match lane {
        Lane::Webhook | Lane::Manual => Purpose::Live,
        Lane::Reconcile => Purpose::Scheduled,
        Lane::Backfill | Lane::Discovery => Purpose::Backfill,
    }
}

/// The index job of an item that was stored, in the lane of its download.
fn index_item(job: &Job) -> Trigger {
    Trigger {
        queue: QueueName::Index,
        subject: job.subject.clone(),
        lane: job.lane,
        timing: Timing::WhenFree,
        reason: "downloaded".to_owned(),
    }
}
