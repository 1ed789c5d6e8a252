//! What dashboards are told of the system: what queues, archive and GitHub say, once each, by one of several processes.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gharvest_archive::{Archive, LedgerChange};
use gharvest_github::{Client, Config};
use gharvest_github_simulator::{Options as GithubOptions, Simulator, World as Github};
use gharvest_model::{
    Lane, QueueName, RepositoryId, Subject, ledger::NumberState, removal::DeletionPolicy, tracking::Tracked,
};
use gharvest_queue::{
    LeaseRequest, Outcome, Policy, Queue, Settlement, Timing, Trigger, clock::ManualClock, model::MemoryQueue,
};
use gharvest_search::{
    Error, ErrorKind, Result,
    operations::{Observation, OperationsLog, Seen},
};
use gharvest_seeder::operations::{self, Observer, Options};
use gharvest_state::{
    SqliteState, State,
    feed::{self, Checked},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "simulated-token";

/// A log in memory.
#[derive(Debug, Default)]
struct Log {
    kept: Mutex<BTreeMap<String, Value>>,
    forgotten: Mutex<Vec<Timestamp>>,
    is_broken: AtomicBool,
    refuses_repositories: AtomicBool,
}

#[async_trait]
impl OperationsLog for Log {
    async fn keep(&self, observations: &[Observation]) -> Result<()> {
        let of_repositories = observations.iter().any(|one| matches!(one.seen, Seen::Repository { .. }));
        if self.is_broken.load(Ordering::SeqCst) || of_repositories && self.refuses_repositories.load(Ordering::SeqCst)
        {
            return Err(Error::new(ErrorKind::Unavailable, "operations", "the engine is away"));
        }
        let documents = observations.iter().map(|one| (one.key(), serde_json::to_value(one).unwrap()));
        self.kept.lock().unwrap().extend(documents);
        Ok(())
    }

    async fn forget(&self, oldest: Timestamp) -> Result<Vec<String>> {
        self.forgotten.lock().unwrap().push(oldest);
        Ok(Vec::new())
    }
}

struct World {
    queue: Arc<MemoryQueue>,
    clock: ManualClock,
    archive: Archive,
    state: Arc<dyn State>,
    client: Client,
    log: Arc<Log>,
    _simulator: Simulator,
    folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("file:{}", folder.path().join("archive").display());
        let archive = Archive::open(&url, &gharvest_archive::Options::default()).await.unwrap();
        let state: Arc<dyn State> = SqliteState::open(&folder.path().join("state.sqlite")).await.unwrap();
        let github = Github::generated(1, "lumen/lumen".parse().unwrap(), 1);
        let simulator = Simulator::start(github, GithubOptions::default()).unwrap();
        let config = Config { api_url: simulator.api_url(), tokens: vec![TOKEN.into()], ..Config::default() };
        let client = Client::new(config).unwrap();
        let clock = ManualClock::default();
        let queue = MemoryQueue::new(Policy::default(), clock.clone()).unwrap();
        let log = Arc::new(Log::default());
        Self { queue, clock, archive, state, client, log, _simulator: simulator, folder }
    }

    /// One more process that looks.
    fn observer(&self) -> Observer {
        let options = Options { every: Some("1m".parse().unwrap()), keep: Duration::from_secs(86_400) };
        let (queue, log) = (Arc::clone(&self.queue) as _, Some(Arc::clone(&self.log) as _));
        let state = Arc::clone(&self.state);
        Observer::new(queue, self.archive.clone(), state, self.client.clone(), log, options).unwrap()
    }

    async fn push(&self, lane: Lane, number: u64) {
        let trigger = Trigger {
            queue: QueueName::Download,
            subject: Subject::item(RepositoryId(7), number),
            lane,
            timing: Timing::Now,
            reason: "test".to_owned(),
        };
        self.queue.push(&[trigger], None).await.unwrap();
    }

    async fn settle_next(&self, outcome: Outcome) {
        let request = LeaseRequest {
            queue: QueueName::Download,
            max: 1,
            hold: Duration::from_secs(60),
            request: String::new(),
            repository: None,
        };
        let lease = self.queue.lease(&request).await.unwrap().lease.unwrap();
        let subject = lease.jobs[0].subject.clone();
        let settlement = Settlement { subject, outcome, follow_up: None };
        self.queue.settle(QueueName::Download, lease.token, &[settlement]).await.unwrap();
    }

    async fn track(&self, id: RepositoryId, private: bool, trouble: Option<&str>) {
        let tracked = Tracked {
            id,
            name: format!("owner/name-{id}").parse().unwrap(),
            private,
            since: self.now(),
            complete_at: None,
            trouble: trouble.map(str::to_owned),
            trouble_since: None,
            deleted: DeletionPolicy::Keep,
        };
        self.archive.track(tracked).await.unwrap();
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.now()).unwrap()
    }

    /// How many observations have a key that begins so.
    fn count(&self, beginning: &str) -> usize {
        self.log.kept.lock().unwrap().keys().filter(|key| key.starts_with(beginning)).count()
    }

    fn kept(&self, key: &str, at: Timestamp) -> Value {
        let kept = self.log.kept.lock().unwrap();
        let key = format!("{key}:{}", at.as_second());
        kept.get(&key).unwrap_or_else(|| panic!("{key} is not among {:?}", kept.keys())).clone()
    }
}

#[tokio::test]
async fn queues_and_lanes_are_noted_each_minute_with_what_was_done_since() {
    let world = World::new().await;
    let observer = world.observer();
    world.push(Lane::Webhook, 1).await;
    world.settle_next(Outcome::Finish).await;
    let first = world.now();
    observer.look(first).await;
    let minute = |at: Timestamp| Timestamp::from_second(at.as_second() / 60 * 60).unwrap();
    let seen = world.kept("queue:download", minute(first));
    assert_eq!((&seen["finished"], &seen["ready"], &seen["lag_seconds"]), (&Value::Null, &json!(0), &json!(0)));

    for number in 2..=4 {
        world.push(Lane::Webhook, number).await;
    }
    world.settle_next(Outcome::Finish).await;
    world.settle_next(Outcome::Bury { reason: "hopeless".to_owned() }).await;
    world.push(Lane::Backfill, 9).await;
    world.clock.advance(Duration::from_secs(90));
    let second = world.now();
    // By another process, which takes over where the first one was.
    let stop = CancellationToken::new();
    stop.cancel();
    operations::run(Some(observer), stop).await;
    world.observer().look(second).await;
    let expected = json!({
        "at": minute(second), "about": "queue", "queue": "download", "ready": 2, "delayed": 0, "leased": 0, "buried": 1,
        "lag_seconds": 90, "finished": 1, "retried": 0,
    });
    assert_eq!(world.kept("queue:download", minute(second)), expected);
    let lane = |lane: &str| world.kept(&format!("lane:download:{lane}"), minute(second));
    assert_eq!((&lane("webhook")["ready"], &lane("webhook")["lag_seconds"]), (&json!(1), &json!(90)));
    assert_eq!((&lane("backfill")["ready"], &lane("manual")["ready"]), (&json!(1), &json!(0)));
    assert_eq!(world.kept("queue:index", minute(second))["ready"], 0);
}

#[tokio::test]
async fn repositories_are_noted_once_an_hour_and_private_ones_are_marked() {
    let world = World::new().await;
    let (open, closed) = (RepositoryId(7), RepositoryId(8));
    let hour = Timestamp::from_second(1_800_000_000 / 3600 * 3600).unwrap();
    let observer = world.observer();
    observer.look(hour).await;
    world.track(open, false, None).await;
    world.track(closed, true, Some("451: blocked")).await;
    let change = |number, state| LedgerChange { number, state, verified_at: world.now() };
    let changes = [change(1, NumberState::Present), change(3, NumberState::Failed), change(4, NumberState::Present)];
    world.archive.update_ledger(open, &changes).await.unwrap();
    let checked = Checked { failures: 5, recovered: 4, ..Checked::default() };
    feed::put(&*world.state, open, &checked).await.unwrap();
    // New ones are seen at once.
    for minutes in [1, 2, 59] {
        observer.look(hour + SignedDuration::from_mins(minutes)).await;
    }
    let expected = json!({
        "at": hour, "about": "repository", "repository_id": 7, "repository": "owner/name-7", "private": false,
        "completeness": 0.5, "unaccounted": 2, "failed": 1, "missed_deliveries": 5, "recovered_deliveries": 4,
    });
    assert_eq!(world.kept("repository:7", hour), expected);
    let seen = world.kept("repository:8", hour);
    assert_eq!((&seen["private"], &seen["trouble"]), (&json!(true), &json!("451: blocked")));
    let count = || world.count("repository:");
    assert_eq!(count(), 2);
    observer.look(hour + SignedDuration::from_mins(60)).await;
    assert_eq!(count(), 4);
    let day = SignedDuration::from_hours(24);
    assert_eq!(*world.log.forgotten.lock().unwrap(), [hour - day, hour + SignedDuration::from_hours(1) - day]);
}

/// Its ledger cannot be read, say.
#[tokio::test]
async fn a_repository_that_fails_is_left_out_and_costs_no_count_and_no_hour() {
    let world = World::new().await;
    let (whole, broken) = (RepositoryId(7), RepositoryId(8));
    world.track(whole, false, None).await;
    world.track(broken, false, None).await;
    let ledger = world.folder.path().join(format!("archive/repositories/{broken}/ledger"));
    std::fs::create_dir_all(ledger.parent().unwrap()).unwrap();
    std::fs::write(ledger, "this is no ledger").unwrap();
    world.archive.ledger(broken).await.unwrap_err();
    let observer = world.observer();
    let hour = Timestamp::from_second(1_800_000_000 / 3600 * 3600).unwrap();
    observer.look(hour).await;
    assert_eq!(world.kept("repository:7", hour)["repository_id"], 7);
    assert_eq!(world.count("repository:"), 1, "the other one is left out");
    let day = SignedDuration::from_hours(24);
    assert_eq!(*world.log.forgotten.lock().unwrap(), [hour - day]);

    for minutes in 1..=2 {
        let at = hour + SignedDuration::from_mins(minutes);
        world.push(Lane::Manual, 1).await;
        world.settle_next(Outcome::Finish).await;
        observer.look(at).await;
        assert_eq!(world.kept("queue:download", at)["finished"], 1, "{minutes}");
    }
    assert_eq!(world.log.forgotten.lock().unwrap().len(), 1, "once an hour");
}

/// The engine fails after the first half of a look.
#[tokio::test]
async fn what_was_noted_is_not_counted_again_if_the_rest_of_the_look_fails() {
    let world = World::new().await;
    world.track(RepositoryId(7), false, None).await;
    let observer = world.observer();
    let at = |minutes| Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_mins(minutes);
    world.log.refuses_repositories.store(true, Ordering::SeqCst);
    for minutes in 0..=2 {
        world.push(Lane::Manual, 1).await;
        world.settle_next(Outcome::Finish).await;
        observer.look(at(minutes)).await;
    }
    assert_eq!(world.count("repository:"), 0);
    let finished = |minutes| world.kept("queue:download", at(minutes))["finished"].clone();
    assert_eq!([finished(0), finished(1), finished(2)], [Value::Null, json!(1), json!(1)]);
    world.log.refuses_repositories.store(false, Ordering::SeqCst);
    observer.look(at(3)).await;
    assert_eq!(world.count("repository:"), 1, "the hour is noted late");
}

/// As after a restart, which looks at once.
#[tokio::test]
async fn a_second_look_in_one_minute_loses_nothing_that_was_done_meanwhile() {
    let world = World::new().await;
    let observer = world.observer();
    let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
    observer.look(at(0)).await;
    for seconds in [60, 75, 119] {
        world.push(Lane::Manual, 1).await;
        world.settle_next(Outcome::Finish).await;
        observer.look(at(seconds)).await;
    }
    assert_eq!(world.kept("queue:download", at(60))["finished"], 1);
    observer.look(at(120)).await;
    assert_eq!(world.kept("queue:download", at(120))["finished"], 2);
}

#[tokio::test]
async fn budgets_are_as_github_says_and_name_the_token_without_its_secret() {
    let world = World::new().await;
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    world.observer().look(at).await;
    let seen = world.kept("budget:token 1:core", at);
    let number = |field: &str| seen[field].as_u64().unwrap_or_else(|| panic!("{seen}"));
    assert!(number("limit") > 0, "{seen}");
    assert_eq!(number("used"), number("limit") - number("remaining"));
    let all = format!("{:?}", world.log.kept.lock().unwrap());
    assert!(!all.contains(TOKEN), "{all}");
}

#[tokio::test]
async fn one_of_several_looks_and_what_could_not_be_kept_is_not_lost() {
    let world = World::new().await;
    let (leader, other) = (world.observer(), world.observer());
    let at = |minutes| Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_mins(minutes);
    let count = || world.count("queue:");
    leader.look(at(0)).await;
    other.look(at(1)).await;
    assert_eq!(count(), 2, "the other stands by");
    leader.look(at(0)).await;
    assert_eq!(count(), 2, "the same look again is none");

    world.push(Lane::Manual, 1).await;
    world.settle_next(Outcome::Finish).await;
    world.log.is_broken.store(true, Ordering::SeqCst);
    leader.look(at(2)).await;
    world.log.is_broken.store(false, Ordering::SeqCst);
    leader.look(at(3)).await;
    assert_eq!(world.kept("queue:download", at(3))["finished"], 1, "it counts since the last that was kept");
}

#[tokio::test(start_paused = true)]
async fn without_an_engine_that_keeps_it_nobody_looks() {
    let world = World::new().await;
    let options = Options { every: Some("1m".parse().unwrap()), keep: Duration::from_secs(1) };
    let new = |log, options| {
        let (queue, state) = (Arc::clone(&world.queue) as _, Arc::clone(&world.state));
        Observer::new(queue, world.archive.clone(), state, world.client.clone(), log, options)
    };
    assert!(new(None, options.clone()).is_none());
    let log: Arc<dyn OperationsLog> = Arc::clone(&world.log) as _;
    assert!(new(Some(log), Options { every: None, ..options }).is_none());
    let stop = CancellationToken::new();
    stop.cancel();
    operations::run(None, stop).await;
}
