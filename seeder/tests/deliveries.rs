//! Deliveries that did not arrive, or met no queue: nothing of them is lost.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{sync::Arc, time::Duration};

use gharvest_archive::Archive;
use gharvest_github::{AppInstallation, Client, Config, TokenUse};
use gharvest_github_simulator::{
    Change, Control, Fault as GithubFault, ORGANIZATION_HOOK, Options as GithubOptions, Rule, Simulator, Webhook,
    World as Github,
};
use gharvest_model::{QueueName, RepositoryId, RepositoryName, tracking::Tracked};
use gharvest_queue::{
    Filter, Policy, QueueAdmin,
    clock::ManualClock,
    faulty::{Fault, FaultyQueue},
    model::MemoryQueue,
};
use gharvest_seeder::{
    Options, Seeder,
    deliveries::{MOST_PAGES, Recovery},
    inbox::Inbox,
    snapshots::Snapshots,
};
use gharvest_service_kit::{
    cadence::Cadence,
    settings::{DeliveryLog, Untracked},
};
use gharvest_state::{
    SqliteState, State,
    feed::{self, Checked},
};
use gharvest_webhook_receiver::{Headers, Outcome, Payload, Receiver};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tempfile::TempDir;

const NOW: i64 = 1_800_000_000;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(NOW).unwrap() + SignedDuration::from_mins(minutes)
}

struct World {
    archive: Archive,
    queue: Arc<MemoryQueue>,
    faulty: Arc<FaultyQueue>,
    state: Arc<dyn State>,
    receiver: Receiver,
    client: Client,
    control: Control,
    name: RepositoryName,
    tracked: Tracked,
    _simulator: Simulator,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(|config| Config { tokens: vec!["simulated-token".into()], ..config }).await
    }

    async fn with(adjust: impl FnOnce(Config) -> Config) -> Self {
        Self::with_options(adjust, gharvest_archive::Options::default()).await
    }

    async fn with_inbox(inbox_limit: usize) -> Self {
        let options = gharvest_archive::Options { inbox_limit, ..gharvest_archive::Options::default() };
        Self::with_options(|config| Config { tokens: vec!["simulated-token".into()], ..config }, options).await
    }

    /// With a GitHub on which every delivery fails.
    async fn with_options(adjust: impl FnOnce(Config) -> Config, options: gharvest_archive::Options) -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("file:{}", folder.path().join("archive").display());
        let archive = Archive::open(&url, &options).await.unwrap();
        let queue = MemoryQueue::new(Policy::default(), ManualClock::default()).unwrap();
        let faulty = FaultyQueue::new(Arc::clone(&queue) as _);
        let state: Arc<dyn State> = SqliteState::open(&folder.path().join("state.sqlite")).await.unwrap();
        let name: RepositoryName = "lumen/lumen".parse().unwrap();
        let simulator = Simulator::start(Github::generated(1, name.clone(), 20), GithubOptions::unlimited()).unwrap();
        let control = simulator.control();
        control.freeze(Some(NOW));
        control.set_webhook(Some(Webhook { lost: 1.0, ..Webhook::new("http://127.0.0.1:1/webhooks/github", "s") }));
        let config = Config { api_url: simulator.api_url(), backoff: Duration::from_millis(1), ..Config::default() };
        let client = Client::new(adjust(config)).unwrap();
        let id = RepositoryId(control.repository_id(&name).unwrap());
        let tracked: Tracked = serde_json::from_value(json!({"id": id, "name": name, "since": at(0)})).unwrap();
        archive.track(tracked.clone()).await.unwrap();
        let receiver = Receiver::new(Arc::clone(&faulty) as _, archive.clone(), Untracked::Ignore);
        Self {
            archive,
            queue,
            faulty,
            state,
            receiver,
            client,
            control,
            name,
            tracked,
            _simulator: simulator,
            _folder: folder,
        }
    }

    /// Somebody comments, and the delivery is lost.
    async fn comment(&self, number: u64) {
        self.control.change(&self.name, Change::Comment { number, body: "Hello".to_owned() }).unwrap();
        self.control.webhooks_settled().await;
    }

    async fn recover(&self, minutes: i64) -> u64 {
        self.recover_by(DeliveryLog::Auto, minutes).await
    }

    async fn recover_by(&self, log: DeliveryLog, minutes: i64) -> u64 {
        self.recovery(log, MOST_PAGES).run(&[&self.tracked], at(minutes)).await.unwrap()
    }

    fn recovery(&self, log: DeliveryLog, most_pages: usize) -> Recovery<'_> {
        Recovery {
            archive: &self.archive,
            receiver: &self.receiver,
            state: self.state.as_ref(),
            client: &self.client,
            log,
            most_pages,
        }
    }

    /// A seeder that looks for lost deliveries every five minutes, and for anything else once.
    fn seeder(&self) -> Seeder {
        let never = Duration::from_secs(3650 * 24 * 3600);
        let options = Options {
            reconcile_every: Cadence::Every(never),
            metadata_every: Cadence::Every(never),
            gap_every: Cadence::Every(never),
            deliveries_every: Duration::from_secs(5 * 60),
            deliveries_of: DeliveryLog::Auto,
            untracked: Untracked::Track,
            sweep_period: never,
            sweep_share: 0.2,
            graphql: true,
            snapshots: Snapshots { every: None, folder: None, keep: never },
        };
        let (archive, queue, state) = (self.archive.clone(), Arc::clone(&self.faulty) as _, Arc::clone(&self.state));
        Seeder::new(archive, queue, state, self.client.clone(), options, "test".to_owned())
    }

    /// The numbers whose download waits in the webhook lane.
    async fn numbers(&self) -> Vec<u64> {
        let jobs = self.queue.list(QueueName::Download, &Filter::default(), None, 1000).await.unwrap();
        let number = |job: &gharvest_queue::JobView| job.subject.to_string().split_once('#')?.1.parse().ok();
        let mut numbers: Vec<u64> = jobs.iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    async fn health(&self) -> Checked {
        self.health_of(self.tracked.id).await.unwrap()
    }

    async fn health_of(&self, repository: RepositoryId) -> Option<Checked> {
        feed::get(&*self.state, repository).await.unwrap()
    }

    /// Numbers that can be commented on.
    fn some(&self) -> Vec<u64> {
        self.control.truth_numbers(&self.name).into_iter().take(3).collect()
    }
}

#[tokio::test]
async fn failed_deliveries_are_read_from_the_log_once() {
    let world = World::new().await;
    let some = world.some();
    world.comment(some[0]).await;
    world.comment(some[1]).await;
    let recovered = world.recover(1).await;
    assert!(recovered >= 2, "{recovered}");
    assert_eq!(world.numbers().await, some[..2]);
    let health = world.health().await;
    assert_eq!((health.failures, health.recovered, health.trouble), (recovered, recovered, None));
    // Nothing new: nothing again, neither soon nor when the log has settled.
    for minutes in [2, 20, 40] {
        assert_eq!(world.recover(minutes).await, 0, "after {minutes} minutes");
    }
    let triggers = world.queue.counts(QueueName::Download).await.unwrap().totals;
    assert_eq!(triggers.duplicate, 0, "what was handled is not even fetched again");
    world.control.freeze(Some(NOW + 45 * 60));
    world.comment(some[2]).await;
    assert!(world.recover(46).await >= 1);
    assert_eq!(world.numbers().await, some);
    assert_eq!(world.control.violations(), []);
}

#[tokio::test]
async fn the_seeder_looks_for_failed_deliveries_at_its_start_and_at_each_turn() {
    let world = World::new().await;
    let (some, mut seeder) = (world.some(), world.seeder());
    world.comment(some[0]).await;
    seeder.tick(at(1)).await;
    seeder.settle().await;
    assert_eq!(world.numbers().await, some[..1]);
    world.control.freeze(Some(NOW + 90));
    world.comment(some[1]).await;
    let mut asked = Vec::new();
    for minutes in 2..=6 {
        let before = world.client.calls();
        seeder.tick(at(minutes)).await;
        seeder.settle().await;
        asked.push(world.client.calls() > before);
    }
    assert_eq!(asked.iter().filter(|asked| **asked).count(), 1, "one turn in five minutes: {asked:?}");
    assert_eq!(world.numbers().await, some[..2]);
}

#[tokio::test]
async fn recovered_deliveries_of_an_untracked_repository_have_it_tracked_where_the_setting_says_so() {
    let world = World::with(|config| Config { installations: vec![app()], ..config }).await;
    let (number, other) = (world.some()[0], RepositoryId(world.tracked.id.0 + 1));
    world.comment(number).await;
    // The App's log tells of every repository; only another one is tracked.
    world.archive.untrack(world.tracked.id).await.unwrap();
    let name: RepositoryName = "lumen/other".parse().unwrap();
    world.archive.track(Tracked { id: other, name, ..world.tracked.clone() }).await.unwrap();
    let mut seeder = world.seeder();
    seeder.tick(at(1)).await;
    seeder.settle().await;
    let tracked: Vec<RepositoryId> = world.archive.tracking().await.unwrap().iter().map(|entry| entry.id).collect();
    assert!(tracked.contains(&world.tracked.id), "{tracked:?}");
    assert!(world.numbers().await.contains(&number));
}

#[tokio::test]
async fn a_log_of_many_pages_is_read_to_where_it_was_left() {
    let world = World::new().await;
    let number = world.some()[0];
    for _ in 0..120 {
        world.comment(number).await;
    }
    assert!(world.recover(1).await >= 120);
    assert_eq!(world.recover(2).await, 0);
}

#[tokio::test]
async fn a_log_longer_than_one_look_reads_is_gone_on_with_and_none_of_it_is_passed_over() {
    let world = World::new().await;
    let some = world.some();
    // The oldest is about another item than the hundred behind it.
    world.comment(some[0]).await;
    for _ in 0..104 {
        world.comment(some[1]).await;
    }
    // Settled, so that the cursor goes on; and each look has newer ones as well.
    world.control.freeze(Some(NOW + 30 * 60));
    let look = async |minutes| world.recovery(DeliveryLog::Auto, 1).run(&[&world.tracked], at(minutes)).await.unwrap();
    let mut recovered = look(31).await;
    assert!(!world.numbers().await.contains(&some[0]), "it does not lie on the first page");
    world.comment(some[2]).await;
    for minutes in [36, 41, 46] {
        recovered += look(minutes).await;
    }
    assert_eq!(world.numbers().await, some);
    assert!(recovered >= 106, "{recovered}");
    assert_eq!(world.recover(51).await, 0, "nothing is left, and nothing comes twice");
    assert_eq!(world.health().await.failures, recovered);
}

#[tokio::test]
async fn what_arrived_or_is_too_old_is_left_alone() {
    let world = World::new().await;
    let some = world.some();
    world.comment(some[0]).await;
    world.control.freeze(Some(NOW + 4 * 24 * 3600));
    world.comment(some[1]).await;
    world.recover(4 * 24 * 60 + 1).await;
    assert_eq!(world.numbers().await, some[1..2]);
}

#[tokio::test]
async fn without_the_right_to_see_hooks_polling_is_left_and_the_status_says_so() {
    let world = World::new().await;
    world.control.inject(Rule::often(GithubFault::Status { status: 404 }, 1.0).on("/hooks"));
    world.comment(world.some()[0]).await;
    assert_eq!(world.recover(1).await, 0);
    assert!(world.health().await.trouble.unwrap().contains("found by polling"));
    // Asked for again an hour later, and not at each turn.
    let asked = world.client.calls();
    world.recover(6).await;
    assert_eq!(world.client.calls(), asked);
    assert!(world.health().await.trouble.is_some());
    world.control.clear_faults();
    assert!(world.recover(62).await >= 1);
    assert_eq!(world.health().await.trouble, None);
}

#[tokio::test]
async fn an_organisations_hook_is_read_where_its_ping_was_heard() {
    let world = World::new().await;
    world.control.inject(Rule::often(GithubFault::Status { status: 404 }, 1.0).on("/repos/"));
    let hook = json!({ "hook_id": ORGANIZATION_HOOK, "at": at(0) });
    world.archive.set_cursor("hook/organization/lumen", hook).await.unwrap();
    let some = world.some();
    world.comment(some[0]).await;
    let recovered = world.recover(1).await;
    assert!(recovered >= 1);
    assert_eq!(world.numbers().await, some[..1]);
    let health = world.health().await;
    assert_eq!((health.failures, health.recovered, health.trouble), (recovered, recovered, None));
    // The turns of its other repositories, in the same minute, ask nothing.
    let asked = world.client.calls();
    assert_eq!(world.recover(1).await, 0);
    assert_eq!(world.client.calls(), asked);
    // Only the organisation's owners may read it.
    world.control.inject(Rule::often(GithubFault::Status { status: 404 }, 1.0).on("/orgs/"));
    assert_eq!(world.recover(6).await, 0);
    assert!(world.health().await.trouble.unwrap().contains("admin:org_hook"));
}

#[tokio::test]
async fn what_was_recovered_before_an_error_is_counted() {
    let world = World::new().await;
    let some = world.some();
    world.comment(some[0]).await;
    world.comment(some[1]).await;
    world.control.inject(Rule::often(GithubFault::Status { status: 502 }, 1.0).after(1).on("/deliveries/"));
    world.recover(1).await;
    let first = world.health().await;
    assert!(first.trouble.is_some() && first.recovered >= 1, "{first:?}");
    world.control.clear_faults();
    let second = world.recover(2).await;
    let health = world.health().await;
    assert_eq!((health.recovered, health.trouble), (first.recovered + second, None));
    assert_eq!(world.numbers().await, some[..2]);
}

#[tokio::test]
async fn what_was_missed_and_not_recovered_is_lost_and_nothing_else_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _metrics = metrics::set_default_local_recorder(&recorder);
    let world = World::new().await;
    for number in world.some() {
        world.comment(number).await;
    }
    let log = world.control.deliveries();
    // One had arrived, though GitHub heard no answer; one is listed and never shown.
    let (arrived, hidden) = (&log[0], &log[1]);
    let said = arrived.announcement.payload.to_string();
    let payload = Payload::read("application/json", said.as_bytes()).unwrap();
    let headers = Headers { event: &arrived.announcement.event, delivery: &arrived.guid, hook: None };
    assert_eq!(world.receiver.receive(headers, &payload).await.unwrap().outcome, Outcome::Queued);
    let not_found = GithubFault::Status { status: 404 };
    world.control.inject(Rule::often(not_found, 1.0).on(&format!("/deliveries/{}", hidden.id)));
    let others = log.len() as u64 - 2;
    assert_eq!(world.recover(1).await, others);
    let health = world.health().await;
    assert_eq!((health.failures, health.recovered), (others, others), "{health:?}");
    assert!(health.trouble.unwrap().contains(&hidden.guid), "it may be shown later");
    assert_eq!(world.recover(20).await, 0);
    let health = world.health().await;
    assert_eq!((health.failures, health.recovered, health.trouble), (others + 1, others, None));
    let metrics = recorder.handle().render();
    assert!(metrics.contains("gharvest_webhook_recovered_total{outcome=\"lost\"} 1"), "{metrics}");
    assert_eq!(world.recover(40).await, 0);
    assert_eq!(world.health().await.failures, others + 1, "it is counted once");
}

#[tokio::test]
async fn a_recovered_delivery_whose_facts_have_no_room_stops_no_other() {
    let world = World::with_inbox(0).await;
    let some = world.some();
    let edit = Change::EditTitle { number: some[0], title: "Another title".to_owned() };
    world.control.change(&world.name, edit).unwrap();
    world.comment(some[1]).await;
    assert!(world.recover(1).await >= 1);
    assert!(world.health().await.trouble.unwrap().contains("inbox"));
    assert_eq!(world.numbers().await, some[..2], "the download of the first did not wait");
}

#[tokio::test]
async fn an_outage_of_github_is_the_feeds_trouble_and_passes() {
    let world = World::new().await;
    world.comment(world.some()[0]).await;
    world.control.inject(Rule::often(GithubFault::Status { status: 502 }, 1.0));
    assert_eq!(world.recover(1).await, 0);
    assert!(world.health().await.trouble.unwrap().contains("502"));
    world.control.clear_faults();
    assert!(world.recover(2).await >= 1);
    assert_eq!(world.health().await.trouble, None);
}

#[tokio::test]
async fn a_silent_github_is_asked_for_two_repositories_and_not_for_all() {
    let world = World::new().await;
    let all: Vec<Tracked> = (1..=20).map(|id| Tracked { id: RepositoryId(id), ..world.tracked.clone() }).collect();
    let all: Vec<&Tracked> = all.iter().collect();
    let look = async || world.recovery(DeliveryLog::Hooks, MOST_PAGES).run(&all, at(1)).await.unwrap();
    let silence = Rule::often(GithubFault::Status { status: 502 }, 1.0);
    // One alone is that one's trouble: its request and the retries of it.
    world.control.inject(silence.clone().times(4));
    look().await;
    assert_eq!(
        world.health_of(RepositoryId(1)).await.unwrap().trouble.map(|trouble| trouble.contains("502")),
        Some(true)
    );
    assert_eq!(world.health_of(RepositoryId(20)).await.unwrap().trouble, None);
    world.control.inject(silence);
    let before = world.client.calls();
    look().await;
    assert_eq!(world.client.calls() - before, 8);
}

fn app() -> AppInstallation {
    AppInstallation {
        app: "Iv1.gharvest".to_owned(),
        private_key: include_str!("../../crates/github/testdata/app-key.pem").into(),
        installation: 1,
        used_for: TokenUse::Anything,
    }
}

#[tokio::test]
async fn where_an_app_gives_the_tokens_only_the_hooks_may_be_asked() {
    let world = World::with(|config| Config { installations: vec![app()], ..config }).await;
    world.control.inject(Rule::often(GithubFault::Status { status: 404 }, 1.0).on("/app/hook"));
    let number = world.some()[0];
    world.comment(number).await;
    assert_eq!(world.recover(1).await, 0, "the App has no webhook");
    assert!(world.recover_by(DeliveryLog::Hooks, 2).await >= 1);
    assert_eq!(world.numbers().await, [number]);
    assert_eq!(world.health().await.trouble, None);
}

#[tokio::test]
async fn an_app_that_is_asked_for_and_missing_is_said() {
    let world = World::new().await;
    world.comment(world.some()[0]).await;
    assert_eq!(world.recover_by(DeliveryLog::App, 1).await, 0);
    let trouble = world.health().await.trouble.unwrap();
    assert!(trouble.contains("there is no GitHub App") && trouble.contains("found by polling"), "{trouble}");
    assert!(world.recover_by(DeliveryLog::Hooks, 2).await >= 1);
}

#[tokio::test]
async fn an_app_reads_its_own_log() {
    let world = World::with(|config| Config { installations: vec![app()], ..config }).await;
    let number = world.some()[0];
    world.comment(number).await;
    let recovered = world.recover(1).await;
    assert!(recovered >= 1);
    assert_eq!(world.numbers().await, [number]);
    assert_eq!((world.health().await.recovered, world.recover(2).await), (recovered, 0));
    assert_eq!(world.control.violations(), []);
}

#[tokio::test]
async fn a_recovered_delivery_that_cannot_be_kept_is_tried_again() {
    let world = World::new().await;
    let number = world.some()[0];
    world.comment(number).await;
    // The queue is away: it is spooled like any other delivery.
    for call in 1..=10 {
        world.faulty.fail(call, Fault::Before);
    }
    assert!(world.recover(1).await >= 1);
    assert_eq!(world.numbers().await, Vec::<u64>::new());
    while world.faulty.calls() < 10 {
        drop(world.faulty.counts(QueueName::Download).await);
    }
    Inbox::default().look(&world.archive, world.faulty.as_ref(), at(1)).await.unwrap();
    assert_eq!(world.numbers().await, [number]);
}

#[tokio::test]
async fn a_spooled_delivery_is_pushed_under_its_own_id() {
    let world = World::new().await;
    let body = json!({"action": "opened", "issue": {"number": 4},
        "repository": {"id": world.tracked.id, "full_name": "lumen/lumen"}});
    let payload = Payload::read("application/json", body.to_string().as_bytes()).unwrap();
    let deliver = async || {
        let headers = Headers { event: "issues", delivery: "d-1", hook: None };
        world.receiver.receive(headers, &payload).await.unwrap().outcome
    };
    world.faulty.fail_next(Fault::Before);
    assert_eq!(deliver().await, Outcome::Spooled);
    assert_eq!(Inbox::default().look(&world.archive, world.faulty.as_ref(), at(0)).await.unwrap(), 1);
    assert_eq!(world.numbers().await, [4]);
    assert_eq!(
        Inbox::default().look(&world.archive, world.faulty.as_ref(), at(0)).await.unwrap(),
        0,
        "it left the inbox"
    );
    assert_eq!(deliver().await, Outcome::Duplicate, "sent again by GitHub, it causes nothing more");
    // The other way round: GitHub sends it again before the inbox is looked at.
    let again = Headers { event: "issues", delivery: "d-2", hook: None };
    world.faulty.fail_next(Fault::Before);
    assert_eq!(world.receiver.receive(again, &payload).await.unwrap().outcome, Outcome::Spooled);
    assert_eq!(world.receiver.receive(again, &payload).await.unwrap().outcome, Outcome::Queued);
    Inbox::default().look(&world.archive, world.faulty.as_ref(), at(0)).await.unwrap();
    let totals = world.queue.counts(QueueName::Download).await.unwrap().totals;
    assert_eq!((totals.new + totals.merged, totals.duplicate), (2, 2));
}
