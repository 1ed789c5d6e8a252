//! A person is told of what needs one: once it has held, by one of several processes, and again if nobody took it.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State as Kept,
    http::StatusCode,
    routing::{get, post},
};
use gharvest_archive::Archive;
use gharvest_github::{Client, Config};
use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use gharvest_queue::{
    Filter, LeaseRequest, Outcome, Policy, Queue, QueueAdmin, Settlement, Timing, Trigger, clock::ManualClock,
    model::MemoryQueue,
};
use gharvest_seeder::notify::{
    Options, Watch,
    alarms::{Limits, alarms},
};
use gharvest_state::{SqliteState, State};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where notifications go.
#[derive(Debug, Default)]
struct Inbox {
    messages: Mutex<Vec<Value>>,
    pings: Mutex<usize>,
    is_broken: AtomicBool,
}

async fn take(Kept(inbox): Kept<Arc<Inbox>>, Json(message): Json<Value>) -> StatusCode {
    if inbox.is_broken.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY;
    }
    inbox.messages.lock().unwrap().push(message);
    StatusCode::OK
}

async fn ping(Kept(inbox): Kept<Arc<Inbox>>) {
    *inbox.pings.lock().unwrap() += 1;
}

struct World {
    inbox: Arc<Inbox>,
    queue: Arc<MemoryQueue>,
    archive: Archive,
    state: Arc<dyn State>,
    options: Options,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("file:{}", folder.path().join("archive").display());
        let archive = Archive::open(&url, &gharvest_archive::Options::default()).await.unwrap();
        let state: Arc<dyn State> = SqliteState::open(&folder.path().join("state.sqlite")).await.unwrap();
        let inbox = Arc::new(Inbox::default());
        let routes = Router::new().route("/told", post(take)).route("/ping", get(ping)).with_state(Arc::clone(&inbox));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let options = Options {
            url: Some(format!("http://{address}/told").into()),
            ping_url: Some(format!("http://{address}/ping").into()),
            after: Duration::from_secs(900),
            remind_every: Duration::from_secs(86_400),
            limits: Limits { lag: Duration::from_secs(3_600), min_free_bytes: 0 },
        };
        let queue = MemoryQueue::new(Policy::default(), ManualClock::default()).unwrap();
        Self { inbox, queue, archive, state, options, _folder: folder }
    }

    /// One more process that watches.
    fn watch(&self) -> Watch {
        let client = Client::new(Config::default()).unwrap();
        let (queue, state) = (Arc::clone(&self.queue) as _, Arc::clone(&self.state));
        Watch::new(queue, self.archive.clone(), state, client, self.options.clone()).unwrap()
    }

    async fn bury_a_job(&self) {
        let subject = Subject::item(RepositoryId(7), 1);
        let trigger = Trigger {
            queue: QueueName::Download,
            subject: subject.clone(),
            lane: Lane::Manual,
            timing: Timing::Now,
            reason: "test".to_owned(),
        };
        self.queue.push(&[trigger], None).await.unwrap();
        let request = LeaseRequest {
            queue: QueueName::Download,
            max: 1,
            hold: Duration::from_secs(60),
            request: String::new(),
            repository: None,
        };
        let lease = self.queue.lease(&request).await.unwrap().lease.unwrap();
        let outcome = Outcome::Bury { reason: "hopeless".to_owned() };
        let settlement = Settlement { subject, outcome, follow_up: None };
        self.queue.settle(QueueName::Download, lease.token, &[settlement]).await.unwrap();
    }

    /// What was told since the last time: the event and what it is about.
    fn told(&self) -> Vec<(String, String)> {
        let messages = std::mem::take(&mut *self.inbox.messages.lock().unwrap());
        let text = |message: &Value, field: &str| message[field].as_str().unwrap().to_owned();
        messages.iter().map(|message| (text(message, "event"), text(message, "about"))).collect()
    }

    fn pings(&self) -> usize {
        *self.inbox.pings.lock().unwrap()
    }
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_mins(minutes)
}

fn of_buried(event: &str) -> Vec<(String, String)> {
    vec![(event.to_owned(), "buried/download".to_owned())]
}

#[tokio::test]
async fn one_of_several_tells_of_a_buried_job_and_of_its_end() {
    let world = World::new().await;
    let (leader, other) = (world.watch(), world.watch());
    leader.look(at(0)).await;
    assert_eq!((world.told(), world.pings()), (vec![], 1));
    world.bury_a_job().await;
    for minute in [1, 2, 15] {
        leader.look(at(minute)).await;
        other.look(at(minute)).await;
    }
    assert_eq!((world.told(), world.pings()), (vec![], 4), "it has not held long enough, and one alone looks");
    leader.look(at(16)).await;
    let message = world.inbox.messages.lock().unwrap()[0].clone();
    assert_eq!(message["since"], json!(at(1)));
    assert_eq!(message["archive"], json!(world.archive.id()));
    let text = message["text"].as_str().unwrap();
    assert!(text.contains("1 download jobs failed for good") && text.contains("queue-cli buried list"), "{text}");
    assert_eq!(world.told(), of_buried("alarm"));
    leader.look(at(17)).await;
    assert_eq!(world.told(), []);
    world.queue.purge(QueueName::Download, &Filter::default()).await.unwrap();
    leader.look(at(18)).await;
    assert_eq!(world.told(), of_buried("resolved"));
}

#[tokio::test]
async fn what_nobody_took_is_told_again_and_a_restart_repeats_nothing() {
    let world = World::new().await;
    world.bury_a_job().await;
    let watch = world.watch();
    watch.look(at(0)).await;
    world.inbox.is_broken.store(true, Ordering::SeqCst);
    watch.look(at(20)).await;
    world.inbox.is_broken.store(false, Ordering::SeqCst);
    assert_eq!(world.told(), []);
    watch.look(at(21)).await;
    assert_eq!(world.told(), of_buried("alarm"));
    // Stopped like a process: the lead is given back, and another takes over.
    let shutdown = tokio_util::sync::CancellationToken::new();
    shutdown.cancel();
    gharvest_seeder::notify::run(watch, shutdown).await;
    world.watch().look(at(22)).await;
    assert_eq!(world.told(), []);
}

#[tokio::test]
async fn an_address_that_never_answers_keeps_no_process_from_its_end() {
    let mut world = World::new().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.options.ping_url = Some(format!("http://{}/ping", silent.local_addr().unwrap()).into());
    let shutdown = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(gharvest_seeder::notify::run(world.watch(), shutdown.clone()));
    let _asked = silent.accept().await.unwrap();
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("nobody waits for an answer").unwrap();
    assert!(world.state.lead("notify", "another", Duration::from_secs(60)).await.unwrap(), "the lead was given back");
}

#[tokio::test]
async fn a_token_that_ends_within_two_weeks_is_told_by_name() {
    let world = World::new().await;
    let github = gharvest_github_simulator::World::generated(1, "lumen/lumen".parse().unwrap(), 1);
    let simulator =
        gharvest_github_simulator::Simulator::start(github, gharvest_github_simulator::Options::unlimited());
    let simulator = simulator.unwrap();
    simulator.control().allow_token("simulated-ending", "ann", 5000);
    simulator.control().end_tokens_of("ann", "2027-02-01 06:00:00 +0100");
    let tokens = vec!["simulated-ending".into()];
    let client = Client::new(Config { api_url: simulator.api_url(), tokens, ..Config::default() }).unwrap();
    client.refresh_budgets().await.unwrap();
    let told = async |now: &str| {
        let (limits, state) = (&world.options.limits, world.state.as_ref());
        let alarms = alarms(world.queue.as_ref(), &world.archive, state, &client, limits, now.parse().unwrap()).await;
        alarms.unwrap().into_iter().map(|alarm| (alarm.about, alarm.text)).collect::<Vec<_>>()
    };
    assert_eq!(told("2027-01-18T04:59:59Z").await, []);
    let [(about, text)] = &told("2027-01-18T05:00:00Z").await[..] else { panic!("one alarm") };
    assert_eq!(about, "token-ends/token 1");
    assert!(text.contains("2027-02-01") && !text.contains("simulated-ending"), "{text}");
}

#[tokio::test]
async fn a_task_that_fails_is_told_with_its_reason_and_when_it_last_went_well() {
    let world = World::new().await;
    let fails = json!({ "last": at(0), "next": at(10), "pushed": 0, "error": "there is no room" });
    world.state.put("schedule/snapshot", fails.to_string().as_bytes(), None, None).await.unwrap();
    let goes_well = json!({ "last": at(0), "next": at(10), "pushed": 3 });
    world.state.put("schedule/gaps", goes_well.to_string().as_bytes(), None, None).await.unwrap();
    let watch = world.watch();
    for minutes in [0, 15] {
        watch.look(at(minutes)).await;
    }
    let messages = world.inbox.messages.lock().unwrap();
    let [message] = &messages[..] else { panic!("one message: {messages:?}") };
    let text = message["text"].as_str().unwrap();
    assert_eq!(message["about"], "task/snapshot");
    assert!(text.contains("there is no room") && text.contains("2027-01-15"), "{text}");
}
