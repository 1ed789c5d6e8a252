//! A simulated GitHub, a mirror of it, and the comparison of both.

use std::{sync::Arc, time::Duration};

use gharvest_archive::{
    Archive,
    store::{self, Store, faulty::FaultyStore},
};
use gharvest_downloader::{Downloader, Options, track};
use gharvest_github::{Client, Config};
use gharvest_github_simulator::{Control, Options as GithubOptions, Simulator, Truth, World as Github};
use gharvest_model::{
    ItemId, Lane, QueueName, Record, RepositoryId, RepositoryName, Subject, change::same_content, ledger::NumberState,
    record::RecordState,
};
use gharvest_queue::{Counts, Policy, Queue, QueueAdmin, Timing, Trigger, clock::ManualClock, model::MemoryQueue};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub(crate) struct World {
    pub(crate) control: Control,
    pub(crate) name: RepositoryName,
    pub(crate) id: RepositoryId,
    pub(crate) archive: Archive,
    /// What lies below the archive.
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) clock: ManualClock,
    pub(crate) queue: Arc<MemoryQueue>,
    pub(crate) client: Client,
    pub(crate) options: Options,
    pub(crate) simulator: Arc<Simulator>,
    _folder: TempDir,
}

/// The name of the repository that is mirrored, and of a second one that items are transferred to.
pub(crate) const MIRRORED: &str = "lumen/lumen";
pub(crate) const OTHER: &str = "lumen/archive";
/// The first one's name after it was renamed.
pub(crate) const RENAMED: &str = "lumen/lantern";

/// A client with this token that never waits by itself.
pub(crate) fn client(simulator: &Simulator, token: &str) -> Client {
    Client::new(Config { tokens: vec![token.into()], ..config(simulator) }).unwrap()
}

/// The settings of one without a token.
pub(crate) fn config(simulator: &Simulator) -> Config {
    Config {
        api_url: simulator.api_url(),
        points_per_minute: 900_000,
        backoff: Duration::from_millis(1),
        // How quick this machine is must not change what is counted.
        slow_graphql: Duration::from_secs(3600),
        ..Config::default()
    }
}

/// Nothing takes so long: a repository of nearly two thousand items, by REST, in a build that is not optimised.
const PATIENCE: Duration = Duration::from_secs(1_200);

pub(crate) fn github(items: u64) -> Arc<Simulator> {
    let name = MIRRORED.parse().unwrap();
    let world = Github::generated(1, name, items).and_generated(OTHER.parse().unwrap(), 12);
    Arc::new(Simulator::start(world, GithubOptions::unlimited()).unwrap())
}

impl World {
    pub(crate) async fn new(items: u64) -> Self {
        Self::on(github(items)).await
    }

    /// A new mirror of a GitHub that runs already.
    pub(crate) async fn on(simulator: Arc<Simulator>) -> Self {
        Self::of(simulator, MIRRORED.parse().unwrap()).await
    }

    /// The same of this repository.
    pub(crate) async fn of(simulator: Arc<Simulator>, name: RepositoryName) -> Self {
        let control = simulator.control();
        let id = RepositoryId(control.repository_id(&name).unwrap());
        let folder = TempDir::new().unwrap();
        let url = format!("file:{}", folder.path().display());
        let store = FaultyStore::new(store::open(&url, Duration::from_secs(3600)).await.unwrap());
        let below = Arc::clone(&store) as Arc<dyn Store>;
        let archive = Archive::with_store(below, &gharvest_archive::Options::default()).await.unwrap();
        let clock = ManualClock::default();
        let queue = MemoryQueue::new(Policy::default(), clock.clone()).unwrap();
        let client = client(&simulator, "simulated-token");
        let options = Options {
            worker: gharvest_worker::Options {
                queue: QueueName::Download,
                workers: 3,
                batch: 4,
                lease: Duration::from_secs(60),
                drain: Duration::from_secs(5),
            },
            graphql: false,
            max_timeline_pages: 100,
            max_history: 20,
            edits_reserve: 0.5,
            images: Default::default(),
            twins: Default::default(),
            overlap: Duration::from_secs(120),
            min_free_bytes: 0,
            max_attempts: Policy::default().max_attempts,
            max_lost: Policy::default().max_lost,
        };
        Self { simulator, control, name, id, archive, store, clock, queue, client, options, _folder: folder }
    }

    pub(crate) async fn track(&self) {
        track::track(&self.archive, &self.client, self.queue.as_ref(), &self.name).await.unwrap();
    }

    pub(crate) async fn push(&self, subject: Subject, lane: Lane) {
        let timing = Timing::Now;
        let trigger = Trigger { queue: QueueName::Download, subject, lane, timing, reason: "test".into() };
        self.queue.push(&[trigger], None).await.unwrap();
    }

    pub(crate) async fn counts(&self, queue: QueueName) -> Counts {
        self.queue.counts(queue).await.unwrap()
    }

    /// Works until nothing is left to do.
    pub(crate) async fn work(&self) {
        self.work_with(Arc::clone(&self.queue) as _, |counts| counts.outstanding() == 0).await;
    }

    /// Works through another view of the queue until the counts of the download queue are as wanted. Time passes on the
    /// queue's clock whenever nothing can be done at its present time.
    pub(crate) async fn work_with(&self, queue: Arc<dyn Queue>, done: impl Fn(&Counts) -> bool) {
        let shutdown = CancellationToken::new();
        let running = gharvest_downloader::run(
            queue,
            self.archive.clone(),
            self.client.clone(),
            self.options.clone(),
            shutdown.clone(),
        );
        self.until(done, running, shutdown).await;
    }

    /// The same settings with GraphQL, and leases as large as they usually are.
    pub(crate) fn with_graphql(mut self) -> Self {
        self.options.graphql = true;
        self.options.worker.batch = 400;
        self
    }

    pub(crate) fn downloader(&self) -> Downloader {
        Downloader::new(Arc::clone(&self.queue) as _, self.archive.clone(), self.client.clone(), self.options.clone())
    }

    /// Works by this downloader until nothing is left to do.
    pub(crate) async fn work_by(&self, downloader: Downloader) {
        let done = |counts: &Counts| counts.outstanding() == 0;
        self.work_on(Arc::clone(&self.queue) as _, &Arc::new(downloader), done).await;
    }

    /// The same through a view of the queue, until the counts of the download queue are as wanted.
    pub(crate) async fn work_on(
        &self,
        queue: Arc<dyn Queue>,
        downloader: &Arc<Downloader>,
        done: impl Fn(&Counts) -> bool,
    ) {
        let shutdown = CancellationToken::new();
        let worker = self.options.worker.clone();
        let running = gharvest_worker::run(queue, Arc::clone(downloader) as _, worker, shutdown.clone());
        self.until(done, running, shutdown).await;
    }

    /// The same by another worker on the queue, which ends at the shutdown.
    pub(crate) async fn until(
        &self,
        done: impl Fn(&Counts) -> bool,
        running: impl Future<Output = ()> + Send + 'static,
        shutdown: CancellationToken,
    ) {
        let running = tokio::spawn(running);
        let begun = std::time::Instant::now();
        let mut before = Counts::default();
        loop {
            let counts = self.counts(QueueName::Download).await;
            if done(&counts) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "work does not end: {counts:?}");
            if counts.leased == 0 && counts == before {
                self.clock.advance(Duration::from_secs(30));
            }
            before = counts;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        shutdown.cancel();
        running.await.unwrap();
    }

    /// Everything in which archive and ledger differ from what GitHub shows.
    pub(crate) async fn differences(&self) -> Vec<String> {
        let name = self.archive.repository(self.id).await.unwrap().unwrap().full_name;
        let ledger = self.archive.ledger(self.id).await.unwrap();
        let highest = self.control.highest_number(&name);
        let mut differences = Vec::new();
        if ledger.highest() != highest {
            differences.push(format!("the ledger ends at {} instead of {highest}", ledger.highest()));
        }
        for number in 1..=highest {
            let truth = self.control.truth(&name, number).unwrap();
            let record = self.archive.record(ItemId { repository: self.id, number }).await.unwrap();
            let state = ledger.get(number).state;
            let told = match &truth {
                Truth::Present { .. } => match record {
                    None => Some("no record".to_owned()),
                    Some(record) if record.state != RecordState::Present => Some(format!("{:?}", record.state)),
                    Some(record) if !is_as_told(&record, &truth) => {
                        Some(format!("content: {:?}", apart(&record, &truth)))
                    }
                    Some(_) => (state != NumberState::Present).then(|| format!("ledger {state:?}")),
                },
                Truth::Deleted => (state != NumberState::Deleted).then(|| format!("deleted, ledger {state:?}")),
                Truth::Hidden => (state != NumberState::Hidden).then(|| format!("hidden, ledger {state:?}")),
                Truth::NotAnItem => {
                    (state != NumberState::NotAnItem).then(|| format!("a discussion, ledger {state:?}"))
                }
                Truth::Transferred { .. } => {
                    let is_so = record.is_some_and(|record| matches!(record.state, RecordState::Transferred { .. }));
                    (!is_so || state != NumberState::Transferred).then(|| format!("transferred, ledger {state:?}"))
                }
                Truth::Unused => None,
            };
            differences.extend(told.map(|told| format!("#{number}: {told}")));
        }
        differences
    }

    /// The numbers of issues, which can be deleted and transferred as pull requests cannot.
    pub(crate) fn issues(&self) -> Vec<u64> {
        let is_issue =
            |number: &u64| matches!(self.control.truth(&self.name, *number), Some(Truth::Present { pull: None, .. }));
        self.control.truth_numbers(&self.name).into_iter().filter(is_issue).collect()
    }

    /// The items that GitHub shows and that have no index job.
    pub(crate) async fn without_index_job(&self) -> Vec<u64> {
        let mut without = Vec::new();
        for number in self.control.truth_numbers(&self.name) {
            let job = self.queue.job(QueueName::Index, &Subject::item(self.id, number)).await.unwrap();
            if job.is_none() {
                without.push(number);
            }
        }
        without
    }
}

/// None of these, whatever the details.
pub(crate) fn nothing(differences: &[String]) {
    assert!(differences.is_empty(), "{} differences: {differences:#.3000?}", differences.len());
}

/// Where a record and the truth differ, for people who read a failure: the first few paths, volatile ones included.
fn apart(record: &Record, truth: &Truth) -> Vec<String> {
    fn walk(path: &str, a: &serde_json::Value, b: &serde_json::Value, found: &mut Vec<String>) {
        use serde_json::Value::{Array, Object};
        match (a, b) {
            (Object(a), Object(b)) => {
                for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                    let null = serde_json::Value::Null;
                    walk(&format!("{path}/{key}"), a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null), found);
                }
            }
            (Array(a), Array(b)) if a.len() == b.len() => {
                for (at, (a, b)) in a.iter().zip(b).enumerate() {
                    walk(&format!("{path}/{at}"), a, b, found);
                }
            }
            (a, b) if a != b && !path.ends_with("avatar_url") => {
                let cut = |value: &serde_json::Value| value.to_string().chars().take(80).collect::<String>();
                found.push(format!("{path}: {} / {}", cut(a), cut(b)));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Truth::Present { issue, timeline, pull, review_comments } = truth {
        let null = serde_json::Value::Null;
        walk("issue", record.issue.as_ref().unwrap_or(&null), issue, &mut found);
        let told = |entry: &&serde_json::Value| record.timeline.iter().any(|known| known["event"] == entry["event"]);
        let told: Vec<_> = timeline.iter().filter(told).cloned().collect();
        let lengths = format!("timeline {} / {}", record.timeline.len(), told.len());
        found.extend((record.timeline.len() != told.len()).then_some(lengths));
        walk("timeline", &record.timeline.clone().into(), &told.into(), &mut found);
        walk("pull", record.pull.as_ref().unwrap_or(&null), pull.as_ref().unwrap_or(&null), &mut found);
        walk("comments", &record.review_comments.clone().into(), &review_comments.clone().into(), &mut found);
    }
    found.truncate(20);
    found
}

/// Whether a record is what GitHub shows. Addresses carry the repository's name, and a new name is no change of every
/// thread: it is taken for the old one.
fn is_as_told(record: &Record, truth: &Truth) -> bool {
    let old_name = |text: String| text.replace(RENAMED, MIRRORED);
    let stored: Record = serde_json::from_str(&old_name(serde_json::to_string(record).unwrap())).unwrap();
    let mut told = stored.clone();
    let truth: Truth = serde_json::from_str(&old_name(serde_json::to_string(truth).unwrap())).unwrap();
    if let Truth::Present { issue, timeline, pull, review_comments } = truth {
        told.issue = Some(issue);
        told.timeline = timeline;
        told.pull = pull;
        told.review_comments = review_comments;
        // The truth is REST's: what came by GraphQL lacks what it lacks.
        told.origin = gharvest_model::record::Origins::default();
    }
    same_content(&stored, &told)
}
