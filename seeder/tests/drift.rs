//! Silent changes of every kind, made behind the mirror's back: each is found within its time, counted, and healed.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use gharvest_archive::Archive;
use gharvest_downloader::track;
use gharvest_github::{Client, Config};
use gharvest_github_simulator::{Change, Control, Options as GithubOptions, Simulator, Truth, World as Github};
use gharvest_model::{
    ItemId, QueueName, RepositoryId, RepositoryName, change::same_content, drift::Drift, ledger::NumberState,
    record::Origins, tracking::Tracked,
};
use gharvest_queue::{Policy, Queue, QueueAdmin, clock::ManualClock, model::MemoryQueue};
use gharvest_seeder::{Options, Seeder, snapshots::Snapshots};
use gharvest_service_kit::{cadence::Cadence, settings::DeliveryLog};
use gharvest_state::SqliteState;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const NAME: &str = "lumen/lumen";
const OTHER: &str = "lumen/archive";
const HOUR: i64 = 3600;
/// What a list shows is found within a day and a run; what only a probe shows within the period.
const LIST: i64 = 25 * HOUR;
const PERIOD: i64 = 48 * HOUR;

struct World {
    archive: Archive,
    queue: Arc<MemoryQueue>,
    clock: ManualClock,
    client: Client,
    sweeping: Client,
    control: Control,
    name: RepositoryName,
    id: RepositoryId,
    seeder: Seeder,
    passed: Arc<AtomicI64>,
    _simulator: Simulator,
    _folder: TempDir,
}

impl World {
    async fn mirrored(items: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("file:{}", folder.path().join("archive").display());
        let archive = Archive::open(&url, &gharvest_archive::Options::default()).await.unwrap();
        let clock = ManualClock::default();
        let queue = MemoryQueue::new(Policy::default(), clock.clone()).unwrap();
        let name: RepositoryName = NAME.parse().unwrap();
        let github = Github::generated(1, name.clone(), items).and_generated(OTHER.parse().unwrap(), 12);
        let simulator = Simulator::start(github, GithubOptions::unlimited()).unwrap();
        let control = simulator.control();
        let config = Config {
            api_url: simulator.api_url(),
            tokens: vec!["simulated-token".into()],
            points_per_minute: 900_000,
            slow_graphql: Duration::from_secs(3600),
            ..Config::default()
        };
        let client = Client::new(config.clone()).unwrap();
        // The sweep's own requests are counted apart from the downloads'.
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
            gap_every: Cadence::Every(never),
            deliveries_every: never,
            deliveries_of: DeliveryLog::Auto,
            sweep_period: Duration::from_secs(PERIOD.unsigned_abs()),
            sweep_share: 0.5,
            snapshots: Snapshots { every: None, folder: None, keep: never },
        };
        let seeder =
            Seeder::new(archive.clone(), Arc::clone(&queue) as _, state, sweeping.clone(), options, "test".to_owned());
        let id = track::track(&archive, &client, queue.as_ref(), &name).await.unwrap().id;
        let world = Self {
            archive,
            queue,
            clock,
            client,
            sweeping,
            control,
            name,
            id,
            seeder,
            passed,
            _simulator: simulator,
            _folder: folder,
        };
        world.download().await;
        let tracked = world.archive.tracking().await.unwrap().remove(0);
        world.archive.track(Tracked { complete_at: Some(Timestamp::now()), ..tracked }).await.unwrap();
        world
    }

    /// Works until the download queue is empty.
    async fn download(&self) {
        let options = gharvest_downloader::Options {
            worker: gharvest_worker::Options {
                queue: QueueName::Download,
                workers: 2,
                batch: 400,
                lease: Duration::from_secs(60),
                drain: Duration::from_secs(5),
            },
            graphql: true,
            max_timeline_pages: 100,
            max_history: 20,
            images: Default::default(),
            overlap: Duration::from_secs(120),
            min_free_bytes: 0,
            max_attempts: 8,
        };
        let shutdown = CancellationToken::new();
        let queue = Arc::clone(&self.queue) as Arc<dyn Queue>;
        let (archive, client) = (self.archive.clone(), self.client.clone());
        let running = tokio::spawn(gharvest_downloader::run(queue, archive, client, options, shutdown.clone()));
        let mut idle = 0;
        loop {
            let counts = self.queue.counts(QueueName::Download).await.unwrap();
            if counts.outstanding() == 0 {
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
    async fn look(&mut self, seconds: i64) {
        let passed = self.passed.fetch_add(seconds, Ordering::SeqCst) + seconds;
        self.seeder.tick(Timestamp::now() + SignedDuration::from_secs(passed)).await;
    }

    async fn pass(&mut self, seconds: i64) {
        self.look(seconds).await;
        self.download().await;
    }

    fn truth(&self, number: u64) -> Truth {
        self.control.truth(&self.name, number).unwrap()
    }

    /// The numbers of items of a kind with something to change, each handed out once.
    fn numbers(&self, suits: impl Fn(&Value, &[Value], &[Value]) -> bool) -> Vec<u64> {
        let present = self.control.truth_numbers(&self.name);
        let suits = |number: &u64| match self.truth(*number) {
            Truth::Present { issue, timeline, review_comments, .. } => suits(&issue, &timeline, &review_comments),
            _ => false,
        };
        present.into_iter().filter(suits).collect()
    }

    async fn is_healed(&self, number: u64) -> bool {
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

/// A silent change, the item on which it is looked for, its kind, and the time within which it is found.
struct Silent {
    change: Change,
    number: u64,
    kind: Drift,
    within: i64,
}

fn changes(world: &World) -> Vec<Silent> {
    let is_pull = |issue: &Value| issue["pull_request"].is_object();
    let commented = |timeline: &[Value]| timeline.iter().find(|entry| entry["event"] == "commented").cloned();
    let mut issues = world
        .numbers(|issue, timeline, _| !is_pull(issue) && commented(timeline).is_some() && issue["locked"] == false)
        .into_iter()
        .filter(|number| *number > 20);
    let mut pulls = world
        .numbers(|issue, _, comments| is_pull(issue) && issue["state"] == "open" && comments.len() < 3)
        .into_iter()
        .filter(|number| *number > 20);
    let mut reviewed = world.numbers(|issue, _, comments| is_pull(issue) && comments.len() >= 3).into_iter();
    let mut open = world
        .numbers(|issue, timeline, _| !is_pull(issue) && issue["state"] == "open" && commented(timeline).is_none())
        .into_iter();
    let silent = |timeline: &[Value]| commented(timeline).is_none();
    let mut closed = world
        .numbers(|issue, timeline, _| !is_pull(issue) && issue["state"] == "closed" && silent(timeline))
        .into_iter();
    let labelled = world.numbers(|issue, timeline, _| {
        !is_pull(issue) && silent(timeline) && issue["state"] == "closed" && issue["labels"][0]["name"].is_string()
    });
    let labelled: Vec<u64> = labelled.into_iter().rev().collect();
    let (mut issue, mut pull) = (|| issues.next().unwrap(), || pulls.next().unwrap());
    let parts = |number| match world.truth(number) {
        Truth::Present { issue, timeline, review_comments, .. } => (issue, timeline, review_comments),
        _ => panic!("#{number} is there"),
    };
    let comment_of = |number| commented(&parts(number).1).unwrap()["id"].as_u64().unwrap();
    let label = parts(labelled[0]).0["labels"][0]["name"].as_str().unwrap().to_owned();
    let mut all = Vec::new();
    let mut add = |number, change, kind, within| all.push(Silent { change, number, kind, within });
    let text = || "Something else".to_owned();
    let number = issue();
    add(number, Change::EditTitle { number, title: text() }, Drift::Title, LIST);
    let number = issue();
    add(number, Change::EditBody { number, body: text() }, Drift::Body, LIST);
    let number = open.next().unwrap();
    add(number, Change::Close { number, reason: Some("completed".to_owned()) }, Drift::State, LIST);
    let number = closed.next().unwrap();
    add(number, Change::Reopen { number }, Drift::State, LIST);
    let number = issue();
    add(number, Change::Label { number, label: "brand new".to_owned() }, Drift::Labels, LIST);
    add(labelled[0], Change::RenameLabel { from: label, to: "renamed label".to_owned() }, Drift::Labels, LIST);
    let number = issue();
    add(number, Change::Milestone { number, title: "some day".to_owned() }, Drift::Milestone, LIST);
    let number = issue();
    add(number, Change::Assign { number, login: "newcomer".to_owned() }, Drift::Assignees, LIST);
    let number = issue();
    add(number, Change::Lock { number, reason: None }, Drift::Lock, LIST);
    let number = issue();
    add(number, Change::React { number }, Drift::Reactions, LIST);
    let number = issue();
    add(number, Change::Comment { number, body: text() }, Drift::CommentAdded, LIST);
    let number = issue();
    add(number, Change::EditComment { number, comment: comment_of(number), body: text() }, Drift::CommentEdited, LIST);
    let number = issue();
    add(number, Change::DeleteComment { number, comment: comment_of(number) }, Drift::CommentDeleted, LIST);
    let number = reviewed.next().unwrap();
    let comment = parts(number).2[0]["id"].as_u64().unwrap();
    add(number, Change::EditReviewComment { number, comment, body: text() }, Drift::CommentEdited, LIST);
    let number = issue();
    add(number, Change::CrossReference { number, from: 1 }, Drift::Reference, PERIOD);
    let number = issue();
    add(number, Change::ReferenceByCommit { number }, Drift::Reference, PERIOD);
    let number = issue();
    add(number, Change::Event { number, event: "subscribed".to_owned() }, Drift::Event, PERIOD);
    let number = issue();
    add(number, Change::DeleteAuthor { number }, Drift::People, LIST);
    let number = pull();
    let from = parts(number).0["user"]["login"].as_str().unwrap().to_owned();
    add(number, Change::RenameUser { from, to: "another-name".to_owned() }, Drift::People, LIST);
    let number = pull();
    add(number, Change::Review { number, state: "approved".to_owned(), body: text() }, Drift::Review, LIST);
    let number = pull();
    add(number, Change::Push { number, message: text() }, Drift::Code, LIST);
    let number = issue();
    add(number, Change::DeleteItem { number }, Drift::Gone, LIST);
    let number = issue();
    add(number, Change::TransferItem { number, to: OTHER.parse().unwrap() }, Drift::Gone, LIST);
    let number = issue();
    add(number, Change::ConvertToDiscussion { number }, Drift::Gone, LIST);
    all
}

#[tokio::test]
async fn every_kind_of_silent_change_is_found_in_its_time_and_healed() {
    let mut world = World::mirrored(260).await;
    // The first looks take what there is for known.
    world.pass(0).await;
    world.pass(HOUR).await;
    assert!(world.archive.audit(world.id).await.unwrap().unwrap().drift.is_empty(), "nothing drifted yet");
    let changes = changes(&world);
    assert!(changes.len() >= 20);
    world.control.change(&world.name, Change::CreateMilestone { title: "some day".to_owned() }).unwrap();
    for silent in &changes {
        world.control.change(&world.name, silent.change.clone()).unwrap();
    }
    let mut open: BTreeMap<u64, &Silent> = changes.iter().map(|silent| (silent.number, silent)).collect();
    let mut passed = 0;
    while !open.is_empty() {
        for (number, silent) in &open {
            assert!(passed < silent.within, "{:?} on #{number} is not found after {passed} s", silent.change);
        }
        world.pass(3 * HOUR).await;
        passed += 3 * HOUR;
        for number in open.keys().copied().collect::<Vec<_>>() {
            if world.is_healed(number).await {
                open.remove(&number);
            }
        }
    }
    let audit = world.archive.audit(world.id).await.unwrap().unwrap();
    for silent in &changes {
        assert!(audit.drift.contains_key(&silent.kind), "{:?} is not reported: {:?}", silent.kind, audit.drift);
    }
    assert_eq!(world.control.violations(), []);
}

#[tokio::test]
async fn verifying_what_is_unchanged_costs_a_fiftieth_of_a_point_an_item() {
    const ITEMS: u64 = 300;
    let mut world = World::mirrored(ITEMS).await;
    world.pass(0).await;
    // The baseline of what came by REST is taken in the first period.
    let verified = |world: &World| {
        let (archive, id) = (world.archive.clone(), world.id);
        async move { archive.audit(id).await.unwrap().unwrap().oldest_verification.unwrap() }
    };
    // What is asked for stays on the queue: downloads would verify by the real clock.
    for _ in 0..20 {
        world.look(3 * HOUR).await;
    }
    let requests = world.control.requests();
    let (before, began) = (world.sweeping.spent().cost(), verified(&world).await);
    for _ in 0..16 {
        world.look(3 * HOUR).await;
    }
    assert!(verified(&world).await > began, "everything was verified once more");
    let cost = (world.sweeping.spent().cost() - before) as f64 / ITEMS as f64;
    // A call and a point a hundred items, and as much for the few that are gone.
    assert!(cost <= 0.06, "{cost} {requests:?} {:?}", world.control.requests());
}
