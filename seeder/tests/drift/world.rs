//! A mirror of a simulated GitHub, and a seeder beside it on a clock of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use gharvest_archive::Archive;
use gharvest_downloader::track;
use gharvest_github::{Client, Config};
use gharvest_github_simulator::{Control, Options as GithubOptions, Simulator, Truth, World as Github};
use gharvest_model::{
    ItemId, Lane, QueueName, RepositoryId, RepositoryName, Subject, change::same_content, ledger::NumberState,
    record::Origins, tracking::Tracked,
};
use gharvest_queue::{
    Counts, Policy, Queue, QueueAdmin, Scope, Timing, Trigger, clock::ManualClock, model::MemoryQueue,
};
use gharvest_seeder::{Options, Seeder, snapshots::Snapshots};
use gharvest_service_kit::{
    cadence::Cadence,
    settings::{DeliveryLog, Untracked},
};
use gharvest_state::SqliteState;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub(crate) const NAME: &str = "lumen/lumen";
pub(crate) const OTHER: &str = "lumen/archive";
pub(crate) const HOUR: i64 = 3600;
pub(crate) const DAY: i64 = 24 * HOUR;
pub(crate) const PERIOD: i64 = 48 * HOUR;

/// What differs between tests.
pub(crate) struct Setting {
    pub(crate) items: u64,
    /// Whether numbers that nobody accounts for are looked for, every hour.
    pub(crate) gaps: bool,
    /// Seconds within which the sweep verifies everything.
    pub(crate) period: i64,
    /// Calls and points an hour that the sweep may cost.
    pub(crate) cost_an_hour: f64,
    /// Whether GitHub has such limits at all.
    pub(crate) limited: bool,
    /// Whether downloads use GraphQL once everything is mirrored.
    pub(crate) graphql: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self { items: 260, gaps: false, period: PERIOD, cost_an_hour: 50_000_000.0, limited: true, graphql: true }
    }
}

pub(crate) struct World {
    pub(crate) archive: Archive,
    pub(crate) queue: Arc<MemoryQueue>,
    clock: ManualClock,
    pub(crate) client: Client,
    pub(crate) sweeping: Client,
    pub(crate) control: Control,
    pub(crate) name: RepositoryName,
    pub(crate) id: RepositoryId,
    graphql: bool,
    seeder: Seeder,
    passed: Arc<AtomicI64>,
    _simulator: Simulator,
    _folder: TempDir,
}

impl World {
    /// A whole mirror, of which the seeder knows that it is complete.
    pub(crate) async fn mirrored(setting: Setting) -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("file:{}", folder.path().join("archive").display());
        let archive = Archive::open(&url, &gharvest_archive::Options::default()).await.unwrap();
        let clock = ManualClock::default();
        let queue = MemoryQueue::new(Policy::default(), clock.clone()).unwrap();
        let name: RepositoryName = NAME.parse().unwrap();
        let github = Github::generated(1, name.clone(), setting.items).and_generated(OTHER.parse().unwrap(), 12);
        // A power of two, so that shares of it are exact.
        let limit = 1 << 27;
        let options = GithubOptions { core_limit: limit, hourly: setting.limited, ..GithubOptions::unlimited() };
        let simulator = Simulator::start(github, options).unwrap();
        let control = simulator.control();
        let config = Config {
            api_url: simulator.api_url(),
            tokens: vec!["simulated-token".into()],
            points_per_minute: 900_000,
            slow_graphql: Duration::from_secs(3600),
            ..Config::default()
        };
        let client = Client::new(config.clone()).unwrap();
        // The sweep's own requests are counted apart from the downloads'; the token is the same, and ETags with it.
        let sweeping = Client::new(config).unwrap();
        let passed = Arc::new(AtomicI64::new(0));
        let offset = Arc::clone(&passed);
        let millis = move || Timestamp::now().as_millisecond() + offset.load(Ordering::SeqCst) * 1000;
        let state = SqliteState::open_with_time(&folder.path().join("state.sqlite"), millis).await.unwrap();
        let never = Duration::from_secs(3650 * 24 * 3600);
        let options = Options {
            // Only the sweep is to find what changed.
            reconcile_every: Cadence::Every(never),
            metadata_every: Cadence::Every(never),
            gap_every: Cadence::Every(if setting.gaps { Duration::from_secs(HOUR.unsigned_abs()) } else { never }),
            deliveries_every: never,
            deliveries_of: DeliveryLog::Auto,
            untracked: Untracked::Ignore,
            sweep_period: Duration::from_secs(setting.period.unsigned_abs()),
            sweep_share: setting.cost_an_hour / limit as f64,
            graphql: setting.graphql,
            snapshots: Snapshots { every: None, folder: None, keep: never },
        };
        let seeder =
            Seeder::new(archive.clone(), Arc::clone(&queue) as _, state, sweeping.clone(), options, "test".to_owned());
        let id = track::track(&archive, &client, queue.as_ref(), &name).await.unwrap().id;
        let mut world = Self {
            archive,
            queue,
            clock,
            client,
            sweeping,
            control,
            name,
            id,
            graphql: true,
            seeder,
            passed,
            _simulator: simulator,
            _folder: folder,
        };
        world.download().await;
        world.graphql = setting.graphql;
        let tracked = world.archive.tracking().await.unwrap().remove(0);
        world.archive.track(Tracked { complete_at: Some(Timestamp::now()), ..tracked }).await.unwrap();
        world
    }

    /// Mirrors another repository beside the first.
    pub(crate) async fn mirror(&self, name: &str) -> RepositoryId {
        let name: RepositoryName = name.parse().unwrap();
        let tracked = track::track(&self.archive, &self.client, self.queue.as_ref(), &name).await.unwrap();
        self.download().await;
        self.archive.change_tracked(tracked.id, &|entry| entry.complete_at = Some(Timestamp::now())).await.unwrap();
        tracked.id
    }

    /// Lets time pass until a run of the sweep begins with this repository, and has it run.
    pub(crate) async fn look_beginning_with(&mut self, id: RepositoryId) {
        const RUN: i64 = 600;
        let tracking = self.archive.tracking().await.unwrap();
        let place = tracking.iter().position(|tracked| tracked.id == id).unwrap() as i64;
        let until_next = RUN - self.now().as_second().rem_euclid(RUN);
        let next = (self.now().as_second() + until_next) / RUN;
        let runs = (place - next).rem_euclid(tracking.len() as i64) + tracking.len() as i64;
        self.look(until_next + runs * RUN + 1).await;
    }

    /// Works until the download queue is empty.
    pub(crate) async fn download(&self) {
        self.download_while(|counts, _| counts.outstanding() > 0).await;
    }

    /// Works until the repository's downloads are paused.
    pub(crate) async fn download_until_paused(&self) {
        self.download_while(|_, is_paused| !is_paused).await;
    }

    fn scope(&self) -> Scope {
        Scope::Repository(QueueName::Download, self.id)
    }

    /// Ends a pause before its time.
    pub(crate) async fn resume(&self) {
        self.queue.resume(&self.scope()).await.unwrap();
    }

    async fn download_while(&self, is_wanted: impl Fn(&Counts, bool) -> bool) {
        let options = gharvest_downloader::Options {
            worker: gharvest_worker::Options {
                queue: QueueName::Download,
                workers: 2,
                batch: 400,
                lease: Duration::from_secs(60),
                drain: Duration::from_secs(5),
            },
            graphql: self.graphql,
            max_timeline_pages: 100,
            max_history: 20,
            edits_reserve: 0.5,
            images: Default::default(),
            twins: Default::default(),
            overlap: Duration::from_secs(120),
            min_free_bytes: 0,
            max_attempts: 8,
            max_lost: 3,
        };
        let shutdown = CancellationToken::new();
        let queue = Arc::clone(&self.queue) as Arc<dyn Queue>;
        let (archive, client) = (self.archive.clone(), self.client.clone());
        let running = tokio::spawn(gharvest_downloader::run(queue, archive, client, options, shutdown.clone()));
        let mut idle = 0;
        loop {
            let counts = self.queue.counts(QueueName::Download).await.unwrap();
            let is_paused = self.queue.pauses().await.unwrap().iter().any(|(scope, _)| *scope == self.scope());
            if !is_wanted(&counts, is_paused) {
                break;
            }
            idle = if counts.leased == 0 { idle + 1 } else { 0 };
            if idle > 20 {
                self.clock.advance(Duration::from_secs(60));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        shutdown.cancel();
        running.await.unwrap();
    }

    /// Lets time pass, and the seeder look.
    pub(crate) async fn look(&mut self, seconds: i64) {
        let passed = self.passed.fetch_add(seconds, Ordering::SeqCst) + seconds;
        self.seeder.tick(Timestamp::now() + SignedDuration::from_secs(passed)).await;
        self.seeder.settle().await;
    }

    pub(crate) async fn pass(&mut self, seconds: i64) {
        self.look(seconds).await;
        self.download().await;
    }

    /// The time on the seeder's clock.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.passed.load(Ordering::SeqCst))
    }

    /// Has an item fetched, as a person would.
    pub(crate) async fn push(&self, subject: Subject, lane: Lane) {
        let reason = "test".to_owned();
        let trigger = Trigger { queue: QueueName::Download, subject, lane, timing: Timing::Now, reason };
        self.queue.push(&[trigger], None).await.unwrap();
    }

    pub(crate) fn truth(&self, number: u64) -> Truth {
        self.control.truth(&self.name, number).unwrap()
    }

    /// What GitHub shows of an item's timeline.
    pub(crate) fn timeline(&self, number: u64) -> Vec<Value> {
        match self.truth(number) {
            Truth::Present { timeline, .. } => timeline,
            other => panic!("#{number} is {other:?}"),
        }
    }

    /// The numbers of items of a kind with something to change, each handed out once.
    pub(crate) fn numbers(&self, suits: impl Fn(&Value, &[Value], &[Value]) -> bool) -> Vec<u64> {
        let present = self.control.truth_numbers(&self.name);
        let suits = |number: &u64| match self.truth(*number) {
            Truth::Present { issue, timeline, review_comments, .. } => suits(&issue, &timeline, &review_comments),
            _ => false,
        };
        present.into_iter().filter(suits).collect()
    }

    pub(crate) async fn is_healed(&self, number: u64) -> bool {
        let item = ItemId { repository: self.id, number };
        let record = self.archive.record(item).await.unwrap().unwrap();
        match self.truth(number) {
            Truth::Present { issue, timeline, pull, review_comments } => {
                let mut told = record.clone();
                told.issue = Some(issue);
                told.timeline = timeline;
                told.pull = pull;
                told.review_comments = review_comments;
                told.origin = Origins::default();
                same_content(&record, &told)
            }
            _ => {
                let state = self.archive.ledger(self.id).await.unwrap().get(number).state;
                record.state.is_tombstone() && state != NumberState::Present
            }
        }
    }
}
