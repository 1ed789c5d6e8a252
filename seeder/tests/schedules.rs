//! The seeder on a virtual clock: what is pushed when, who leads, and what a failure costs.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use gharvest_archive::{Archive, InboxEntry, LedgerChange};
use gharvest_github::{Client, Config};
use gharvest_github_simulator::{Options as GithubOptions, Simulator, World as Github};
use gharvest_model::{
    ItemId, Lane, QueueName, RepositoryId, Subject, job::part, ledger::NumberState, progress::ItemsCursor,
    record::Fact, tracking::Tracked,
};
use gharvest_queue::{
    Filter, JobState, LeaseRequest, Outcome, Policy, Queue, QueueAdmin, Settlement, Timing, Trigger,
    clock::ManualClock,
    faulty::{Fault, FaultyQueue},
    model::MemoryQueue,
};
use gharvest_seeder::{Options, Run, Seeder, Task, inbox::Inbox, run_now, snapshots::Snapshots};
use gharvest_service_kit::{
    cadence::Cadence,
    settings::{DeliveryLog, Untracked},
};
use gharvest_state::{SqliteState, State};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const ID: RepositoryId = RepositoryId(7);
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

struct World {
    archive: Archive,
    queue: Arc<MemoryQueue>,
    faulty: Arc<FaultyQueue>,
    state: Arc<dyn State>,
    client: Client,
    now: Arc<AtomicI64>,
    _simulator: Simulator,
    folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("file:{}", folder.path().join("archive").display());
        let archive = Archive::open(&url, &gharvest_archive::Options::default()).await.unwrap();
        let queue = MemoryQueue::new(Policy::default(), ManualClock::default()).unwrap();
        let faulty = FaultyQueue::new(Arc::clone(&queue) as _);
        let now = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&now);
        let millis = move || clock.load(Ordering::SeqCst) * 1000;
        let state = SqliteState::open_with_time(&folder.path().join("state.sqlite"), millis).await.unwrap();
        let github = Github::generated(1, "lumen/lumen".parse().unwrap(), 1);
        let simulator = Simulator::start(github, GithubOptions::default()).unwrap();
        let config =
            Config { api_url: simulator.api_url(), tokens: vec!["simulated-token".into()], ..Config::default() };
        let client = Client::new(config).unwrap();
        let world = Self { archive, queue, faulty, state, client, now, _simulator: simulator, folder };
        world.set(1_800_000_000);
        world
    }

    fn snapshots(&self) -> PathBuf {
        self.folder.path().join("snapshots")
    }

    fn seeder(&self, holder: &str) -> Seeder {
        self.seeder_with(holder, self.options())
    }

    fn options(&self) -> Options {
        Options {
            reconcile_every: Cadence::Every(Duration::from_secs(300)),
            metadata_every: Cadence::Every(Duration::from_secs(24 * 3600)),
            gap_every: Cadence::Every(Duration::from_secs(3600)),
            deliveries_every: Duration::from_secs(300),
            deliveries_of: DeliveryLog::Auto,
            untracked: Untracked::Ignore,
            sweep_period: Duration::from_secs(30 * 24 * 3600),
            sweep_share: 0.2,
            graphql: true,
            snapshots: Snapshots {
                every: None,
                folder: Some(self.snapshots()),
                keep: Duration::from_secs(7 * 24 * 3600),
            },
        }
    }

    fn seeder_with(&self, holder: &str, options: Options) -> Seeder {
        let queue = Arc::clone(&self.faulty) as Arc<dyn QueueAdmin>;
        let (archive, state) = (self.archive.clone(), Arc::clone(&self.state));
        Seeder::new(archive, queue, state, self.client.clone(), options, holder.to_owned())
    }

    fn set(&self, second: i64) {
        self.now.store(second, Ordering::SeqCst);
    }

    fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.now.load(Ordering::SeqCst)).unwrap()
    }

    async fn tick(&self, seeder: &mut Seeder) {
        seeder.tick(self.now()).await;
        seeder.settle().await;
    }

    async fn track(&self, id: RepositoryId, complete: bool) {
        let tracked = Tracked {
            id,
            name: format!("owner/name-{id}").parse().unwrap(),
            private: false,
            since: self.now(),
            complete_at: complete.then(|| self.now()),
            trouble: None,
            trouble_since: None,
            deleted: gharvest_model::removal::DeletionPolicy::Keep,
        };
        self.archive.track(tracked).await.unwrap();
        if complete {
            let cursor = ItemsCursor { finished_at: Some(self.now()), ..ItemsCursor::default() };
            let value = serde_json::to_value(cursor).unwrap();
            self.archive.set_cursor(&ItemsCursor::feed(id), value).await.unwrap();
        }
    }

    async fn ledger(&self, number: u64, state: NumberState, hours_ago: i64) {
        let verified_at = self.now() - SignedDuration::from_hours(hours_ago);
        self.archive.update_ledger(ID, &[LedgerChange { number, state, verified_at }]).await.unwrap();
    }

    /// Has something of a repository archived.
    async fn ledger_of(&self, id: RepositoryId, number: u64) {
        let change = LedgerChange { number, state: NumberState::Present, verified_at: self.now() };
        self.archive.update_ledger(id, &[change]).await.unwrap();
    }

    /// A delivery that waits for the queue: the download of item 1.
    async fn spool(&self, delivery: &str) {
        self.spool_of(ID, delivery).await;
    }

    async fn spool_of(&self, id: RepositoryId, delivery: &str) {
        self.spool_item(Subject::item(id, 1), delivery).await;
    }

    async fn spool_item(&self, subject: Subject, delivery: &str) {
        let trigger = Trigger {
            queue: QueueName::Download,
            subject,
            lane: Lane::Webhook,
            timing: Timing::Now,
            reason: "issues".into(),
        };
        let triggers = serde_json::to_value([trigger]).unwrap();
        let entry = InboxEntry { item: None, fact: fact(delivery, self.now()), triggers };
        self.archive.put_inbox(&entry).await.unwrap();
    }

    /// What waits on a queue; taken away.
    async fn take(&self, queue: QueueName) -> Vec<String> {
        let jobs = self.queue.list(queue, &Filter::default(), None, 1000).await.unwrap();
        self.queue.purge(queue, &Filter::default()).await.unwrap();
        let mut subjects: Vec<String> = jobs.iter().map(|job| format!("{} {}", job.lane, job.subject)).collect();
        subjects.sort();
        subjects
    }

    async fn run_of(&self, task: Task) -> Option<Run> {
        let stored = self.state.get(&task.key()).await.unwrap()?;
        Some(serde_json::from_slice(&stored.value).unwrap())
    }
}

/// A client of a GitHub that takes connections and never says a word.
fn client_of(silent: &std::net::TcpListener) -> Client {
    let api_url = format!("http://{}", silent.local_addr().unwrap());
    Client::new(Config { api_url, tokens: vec!["simulated-token".into()], ..Config::default() }).unwrap()
}

/// A failure if something that must not wait for GitHub does: four requests of half a minute each.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("nothing waits for GitHub")
}

fn job(part: &str) -> String {
    format!("reconcile 7/{part}")
}

#[tokio::test]
async fn each_task_runs_at_its_time_and_says_so() {
    let world = World::new().await;
    world.track(ID, true).await;
    let mut seeder = world.seeder("a");
    world.tick(&mut seeder).await;
    let all = [part::EDITS, part::LABELS, part::METADATA, part::MILESTONES, part::RELEASES, part::UPDATES].map(job);
    assert_eq!(world.take(QueueName::Download).await, all);
    assert_eq!(world.take(QueueName::Index).await, [job(part::DAILY)]);
    let run = world.run_of(Task::Gaps).await.unwrap();
    assert_eq!((run.last, run.next), (Some(world.now()), world.now() + SignedDuration::from_hours(1)));
    // Exactly one question in five minutes, whatever the second: the one that was said.
    let next = world.run_of(Task::Reconcile).await.unwrap().next;
    let mut pushed = Vec::new();
    for _ in 0..300 {
        world.pass(1);
        world.tick(&mut seeder).await;
        let jobs = world.take(QueueName::Download).await;
        if !jobs.is_empty() {
            assert!(world.now() >= next && world.now() < next + SignedDuration::from_secs(1), "{next}");
        }
        pushed.extend(jobs);
    }
    assert_eq!(pushed, [job(part::UPDATES)]);
    assert_eq!(world.run_of(Task::Reconcile).await.unwrap().next, next + SignedDuration::from_mins(5));
    // Down for three days: everything once.
    world.pass(3 * DAY);
    world.tick(&mut seeder).await;
    assert_eq!(world.take(QueueName::Download).await, all);
    assert_eq!(world.take(QueueName::Index).await, [job(part::DAILY)]);
}

#[tokio::test]
async fn what_a_person_wants_now_runs_once_for_every_repository() {
    let world = World::new().await;
    world.track(ID, true).await;
    let mut seeder = world.seeder("a");
    world.tick(&mut seeder).await;
    world.take(QueueName::Download).await;
    world.pass(1);
    world.tick(&mut seeder).await;
    assert_eq!(world.take(QueueName::Download).await, Vec::<String>::new());

    run_now(world.state.as_ref(), Task::Metadata).await.unwrap();
    world.pass(1);
    world.tick(&mut seeder).await;
    let pushed = world.take(QueueName::Download).await;
    assert!(pushed.iter().any(|subject| subject.ends_with("/labels")), "{pushed:?}");
    assert_eq!(world.run_of(Task::Metadata).await.unwrap().last, Some(world.now()));
    world.pass(1);
    world.tick(&mut seeder).await;
    assert_eq!(world.take(QueueName::Download).await, Vec::<String>::new());
}

/// Ticks until a snapshot has been noted that was made after this one.
async fn snapshot_after(world: &World, seeder: &mut Seeder, before: Option<Timestamp>) -> Run {
    let noted = async {
        loop {
            world.tick(seeder).await;
            match world.run_of(Task::Snapshot).await {
                Some(run) if run.last.is_some() && run.last != before => return run,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noted).await.expect("a snapshot is made in time")
}

#[tokio::test]
async fn snapshots_are_made_at_their_time_and_when_somebody_asks() {
    let world = World::new().await;
    let mut options = world.options();
    options.snapshots.every = Some("17 3 * * *".parse().unwrap());
    let mut seeder = world.seeder_with("a", options);
    let first = snapshot_after(&world, &mut seeder, None).await;
    let made = gharvest_archive::snapshot::list(&world.snapshots()).await.unwrap();
    assert_eq!(made.len(), 1, "{made:?}");
    gharvest_archive::snapshot::verify(&made[0].path).await.unwrap();
    assert!(Some(first.next) > first.last && first.next.to_string().ends_with("T03:17:00Z"), "{first:?}");

    // Not again before its time, whoever leads; the file's name is of the real clock, so it is looked for by its run.
    seeder.resign().await;
    let mut options = world.options();
    options.snapshots.every = Some("17 3 * * *".parse().unwrap());
    let mut other = world.seeder_with("b", options);
    world.set(first.next.as_second() - 1);
    world.tick(&mut other).await;
    world.tick(&mut other).await;
    assert_eq!(world.run_of(Task::Snapshot).await.unwrap().last, first.last);
    world.pass(1);
    let second = snapshot_after(&world, &mut other, first.last).await;
    assert_eq!(second.last, Some(first.next));
    run_now(world.state.as_ref(), Task::Snapshot).await.unwrap();
    world.pass(1);
    let third = snapshot_after(&world, &mut other, second.last).await;
    assert_eq!(third.last, Some(world.now()));
}

#[tokio::test]
async fn without_a_schedule_a_snapshot_is_made_only_when_somebody_asks() {
    let world = World::new().await;
    let mut seeder = world.seeder("a");
    world.tick(&mut seeder).await;
    world.tick(&mut seeder).await;
    assert!(!world.snapshots().is_dir());
    run_now(world.state.as_ref(), Task::Snapshot).await.unwrap();
    snapshot_after(&world, &mut seeder, None).await;
    assert_eq!(gharvest_archive::snapshot::list(&world.snapshots()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_seeder_leads_and_another_goes_on_where_it_was() {
    let world = World::new().await;
    world.track(ID, true).await;
    let (mut first, mut second) = (world.seeder("a"), world.seeder("b"));
    world.tick(&mut first).await;
    world.take(QueueName::Download).await;
    world.tick(&mut second).await;
    assert_eq!(world.take(QueueName::Download).await, Vec::<String>::new());
    // The leader dies; its lead runs out, and what it did is known.
    world.pass(31);
    world.tick(&mut second).await;
    let pushed = world.take(QueueName::Download).await;
    assert!(pushed.is_empty() || pushed == [job(part::UPDATES)], "{pushed:?}");
    second.resign().await;
    world.tick(&mut first).await;
    world.pass(DAY);
    world.tick(&mut first).await;
    assert!(world.take(QueueName::Download).await.contains(&job(part::METADATA)));
}

#[tokio::test]
async fn what_a_queue_did_not_take_is_pushed_soon_afterwards() {
    let world = World::new().await;
    world.track(ID, true).await;
    let mut seeder = world.seeder("a");
    for call in 1..=10 {
        world.faulty.fail(call, Fault::Before);
    }
    world.tick(&mut seeder).await;
    assert_eq!(world.take(QueueName::Download).await, Vec::<String>::new());
    while world.faulty.calls() < 10 {
        world.pass(1);
        world.tick(&mut seeder).await;
    }
    world.pass(10);
    world.tick(&mut seeder).await;
    let mut pushed = world.take(QueueName::Download).await;
    pushed.retain(|subject| subject.contains(part::METADATA) || subject.contains(part::UPDATES));
    assert_eq!(pushed, [job(part::METADATA), job(part::UPDATES)]);
}

#[tokio::test]
async fn how_the_last_attempt_failed_is_kept_until_one_does_not() {
    let world = World::new().await;
    world.track(ID, true).await;
    let mut seeder = world.seeder("a");
    world.faulty.fail(1, Fault::Before);
    world.tick(&mut seeder).await;
    let mut failed = Vec::new();
    for task in Task::ALL {
        failed.extend(world.run_of(task).await.filter(|run| run.error.is_some()).map(|run| (task, run)));
    }
    let [(task, run)] = &failed[..] else { panic!("one push failed, and one task with it: {failed:?}") };
    assert_eq!((run.last, run.next), (None, world.now() + SignedDuration::from_secs(10)), "it never ran through");
    world.pass(10);
    world.tick(&mut seeder).await;
    let run = world.run_of(*task).await.unwrap();
    assert_eq!((run.last, &run.error), (Some(world.now()), &None));
}

#[tokio::test]
async fn numbers_that_nobody_accounts_for_are_pushed() {
    let world = World::new().await;
    world.track(ID, true).await;
    world.ledger(1, NumberState::Present, 1).await;
    world.ledger(3, NumberState::Unknown, 23).await;
    world.ledger(4, NumberState::Unknown, 25).await;
    world.ledger(5, NumberState::Failed, 25).await;
    world.archive.reach(ID, 7).await.unwrap();
    let mut seeder = world.seeder("a");
    world.tick(&mut seeder).await;
    let mut pushed = world.take(QueueName::Download).await;
    pushed.retain(|subject| subject.contains('#'));
    assert_eq!(pushed, [2, 4, 5, 6, 7].map(|number| format!("reconcile 7#{number}")));
}

#[tokio::test]
async fn a_repository_that_cannot_be_read_keeps_no_other_from_being_looked_at() {
    let world = World::new().await;
    world.track(ID, true).await;
    world.archive.reach(ID, 1).await.unwrap();
    let other = RepositoryId(8);
    world.track(other, false).await;
    world.archive.reach(other, 1).await.unwrap();
    let damaged = world.folder.path().join(format!("archive/repositories/{ID}/repository.json"));
    std::fs::write(damaged, "{").unwrap();
    let mut seeder = world.seeder("a");
    world.tick(&mut seeder).await;
    let pushed = world.take(QueueName::Download).await;
    assert!(pushed.contains(&"backfill 8#1".to_owned()), "{pushed:?}");
    let run = world.run_of(Task::Gaps).await.unwrap();
    let error = run.error.unwrap();
    assert!(error.contains("1 of 2 repositories") && error.contains("repository.json"), "{error}");
    assert_eq!(run.next, world.now() + SignedDuration::from_mins(10), "every ledger is read each time");
}

#[tokio::test]
async fn who_gives_the_lead_back_shows_nothing_more_of_completeness() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _metrics = metrics::set_default_local_recorder(&recorder);
    let shows = |value: &str| {
        let line = format!("gharvest_completeness{{repository_id=\"{ID}\"}} {value}");
        recorder.handle().render().lines().any(|found| found == line)
    };
    let world = World::new().await;
    world.track(ID, true).await;
    world.ledger_of(ID, 1).await;
    let mut seeder = world.seeder("a");
    world.tick(&mut seeder).await;
    assert!(shows("1"));
    seeder.resign().await;
    assert!(shows("NaN"));
}

#[tokio::test]
async fn a_first_mirror_keeps_its_lane_and_is_noted_when_it_is_complete() {
    let world = World::new().await;
    world.track(ID, false).await;
    world.archive.reach(ID, 2).await.unwrap();
    let mut seeder = world.seeder("a");
    world.tick(&mut seeder).await;
    let pushed = world.take(QueueName::Download).await;
    for subject in ["backfill 7#1", "backfill 7#2", "backfill 7/items"] {
        assert!(pushed.iter().any(|pushed| pushed == subject), "{subject} in {pushed:?}");
    }
    let cursor = ItemsCursor { finished_at: Some(world.now()), ..ItemsCursor::default() };
    let cursor = serde_json::to_value(cursor).unwrap();
    world.archive.set_cursor(&ItemsCursor::feed(ID), cursor).await.unwrap();
    world.ledger(1, NumberState::Present, 0).await;
    world.ledger(2, NumberState::Deleted, 0).await;
    world.pass(HOUR);
    world.tick(&mut seeder).await;
    assert_eq!(world.archive.tracking().await.unwrap()[0].complete_at, Some(world.now()));
}

#[tokio::test]
async fn a_number_that_cannot_be_had_keeps_nobody_from_looking_for_silent_changes() {
    let world = World::new().await;
    world.track(ID, true).await;
    world.archive.change_tracked(ID, &|entry| entry.complete_at = None).await.unwrap();
    world.ledger(1, NumberState::Present, 0).await;
    world.ledger(2, NumberState::Failed, 0).await;
    world.ledger(3, NumberState::Unknown, 0).await;
    let mut seeder = world.seeder("a");
    world.tick(&mut seeder).await;
    assert_eq!(world.archive.tracking().await.unwrap()[0].complete_at, Some(world.now()), "each was looked at once");
    assert!(!world.archive.ledger(ID).await.unwrap().is_complete(), "which does not make it complete");
}

fn fact(delivery: &str, received_at: Timestamp) -> Fact {
    Fact {
        delivery: delivery.into(),
        event: "issues".into(),
        action: "edited".into(),
        received_at,
        actor: None,
        facts: json!({}),
    }
}

/// Facts of an item, that wait.
async fn keep_fact(world: &World, repository: RepositoryId, number: u64) -> ItemId {
    let item = ItemId { repository, number };
    let fact = fact(&format!("of-{repository}-{number}"), world.now());
    world.archive.put_inbox(&InboxEntry { item: Some(item), fact, triggers: Value::Null }).await.unwrap();
    item
}

#[tokio::test]
async fn the_inbox_is_pushed_when_the_queue_is_back_and_facts_are_not_forgotten() {
    let world = World::new().await;
    world.track(ID, true).await;
    world.spool("waiting").await;
    let item = keep_fact(&world, ID, 2).await;
    let mut seeder = world.seeder("a");
    let mut pushed = Vec::new();
    for _ in 0..7 {
        world.tick(&mut seeder).await;
        let mut items = world.take(QueueName::Download).await;
        items.retain(|subject| subject.contains('#'));
        pushed.push(items);
        world.pass(MINUTE);
    }
    assert_eq!(pushed[0], ["webhook 7#1"], "the delivery leaves the inbox, and is not pushed again");
    assert_eq!(pushed[5], ["webhook 7#2"], "its own trigger had five minutes");
    assert_eq!(pushed.concat().len(), 2, "{pushed:?}");
    assert_eq!(world.archive.inbox(item).await.unwrap().len(), 1);
}

#[tokio::test]
async fn facts_of_an_item_that_has_a_job_or_is_in_doubt_are_left_to_who_sees_to_it() {
    let world = World::new().await;
    world.track(ID, true).await;
    let queue = &world.queue;
    for number in 1..=6 {
        keep_fact(&world, ID, number).await;
    }
    for number in [2, 3] {
        queue.push_range(QueueName::Download, ID, number..=number, Lane::Backfill).await.unwrap();
        let request = LeaseRequest {
            queue: QueueName::Download,
            max: 1,
            hold: Duration::from_secs(24 * 3600),
            repository: None,
            request: String::new(),
        };
        let lease = queue.lease(&request).await.unwrap().lease.unwrap();
        if number == 2 {
            let outcome = Outcome::Bury { reason: "hopeless".to_owned() };
            let buried = Settlement { subject: Subject::item(ID, 2), outcome, follow_up: None };
            queue.settle(QueueName::Download, lease.token, &[buried]).await.unwrap();
        }
    }
    queue.push_range(QueueName::Download, ID, 1..=1, Lane::Backfill).await.unwrap();
    world.ledger(4, NumberState::Failed, 1).await;
    world.ledger(5, NumberState::Unknown, 1).await;
    let jobs = async || queue.list(QueueName::Download, &Filter::default(), None, 10).await.unwrap();
    let before = jobs().await;
    assert_eq!(
        before.iter().map(|job| job.state).collect::<Vec<_>>(),
        [JobState::Ready, JobState::Buried, JobState::Leased]
    );
    let mut inbox = Inbox::default();
    let faulty = world.faulty.as_ref();
    assert_eq!(inbox.look(&world.archive, faulty, world.now()).await.unwrap(), 0);
    world.pass(5 * MINUTE);
    assert_eq!(inbox.look(&world.archive, faulty, world.now()).await.unwrap(), 1);
    let after = jobs().await;
    assert_eq!(after[..3], before, "not raised, not revived, not asked for once more");
    assert_eq!(after[3..].iter().map(|job| job.subject.to_string()).collect::<Vec<_>>(), ["7#6"]);
    // What has no job any more is asked for again, and nothing is asked of the queue until then.
    queue.remove(QueueName::Download, &Subject::item(ID, 6)).await.unwrap();
    let calls = faulty.calls();
    for _ in 0..9 {
        world.pass(MINUTE);
        assert_eq!(inbox.look(&world.archive, faulty, world.now()).await.unwrap(), 0);
    }
    assert_eq!(faulty.calls(), calls);
    world.pass(MINUTE);
    assert_eq!(inbox.look(&world.archive, faulty, world.now()).await.unwrap(), 1);
}

#[tokio::test]
async fn the_inbox_keeps_nothing_of_a_repository_that_is_neither_tracked_nor_archived() {
    let world = World::new().await;
    let (archived, unknown) = (RepositoryId(8), RepositoryId(9));
    world.track(ID, true).await;
    world.track(archived, true).await;
    world.ledger_of(archived, 1).await;
    world.archive.untrack(archived).await.unwrap();
    let kept = [keep_fact(&world, ID, 1).await, keep_fact(&world, archived, 1).await];
    keep_fact(&world, unknown, 1).await;
    world.spool_of(unknown, "waiting").await;
    let mut inbox = Inbox::default();
    inbox.look(&world.archive, world.queue.as_ref(), world.now()).await.unwrap();
    let names = world.archive.inbox_names().await.unwrap();
    assert_eq!((names.facts.into_keys().collect::<Vec<_>>(), names.others), (kept.to_vec(), vec![]));
    world.pass(DAY);
    inbox.look(&world.archive, world.queue.as_ref(), world.now()).await.unwrap();
    assert_eq!(world.take(QueueName::Download).await, ["webhook 7#1", "webhook 8#1"]);
}

#[tokio::test]
async fn an_entry_of_the_inbox_that_cannot_be_read_is_said_and_stops_no_other() {
    let world = World::new().await;
    world.track(ID, true).await;
    world.spool("waiting").await;
    let damaged = world.folder.path().join("archive/inbox/other/damaged.json");
    std::fs::write(damaged, "{").unwrap();
    keep_fact(&world, ID, 2).await;
    let mut inbox = Inbox::default();
    for expected in [vec!["webhook 7#1"], vec!["webhook 7#2"]] {
        let looked = inbox.look(&world.archive, world.queue.as_ref(), world.now()).await;
        let error = looked.unwrap_err().to_string();
        assert!(error.contains("1 entries") && error.contains("inbox/other/damaged.json"), "{error}");
        assert_eq!(world.take(QueueName::Download).await, expected);
        world.pass(5 * MINUTE);
    }
}

#[tokio::test]
async fn an_entry_of_the_inbox_that_no_queue_takes_is_said_and_stops_none_behind_it() {
    let world = World::new().await;
    world.track(ID, true).await;
    world.spool_item(Subject::item(ID, u64::MAX), "a-refused").await;
    world.spool("b-good").await;
    let looked = Inbox::default().look(&world.archive, world.queue.as_ref(), world.now()).await;
    let error = looked.unwrap_err().to_string();
    assert!(error.contains("1 entries") && error.contains("a-refused"), "{error}");
    assert_eq!(world.take(QueueName::Download).await, ["webhook 7#1"]);
    assert_eq!(world.archive.inbox_names().await.unwrap().others, ["a-refused"]);
}

#[tokio::test]
async fn a_github_that_hangs_keeps_neither_the_inbox_nor_the_lead_nor_the_end_waiting() {
    let mut world = World::new().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    world.client = client_of(&silent);
    world.track(ID, true).await;
    let (mut seeder, mut other) = (world.seeder("a"), world.seeder("b"));
    soon(seeder.tick(world.now())).await;
    world.spool("waiting").await;
    soon(async {
        let subject = Subject::item(ID, 1);
        while world.queue.job(QueueName::Download, &subject).await.unwrap().is_none() {
            world.pass(20);
            seeder.tick(world.now()).await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(world.client.calls() > 0, "GitHub was asked, and is waited for");
    other.tick(world.now()).await;
    assert!(world.state.lead("seeder", "a", Duration::from_secs(30)).await.unwrap(), "the lead was kept");
    seeder.resign().await;

    let (queue, shutdown) = (Arc::clone(&world.queue) as Arc<dyn QueueAdmin>, CancellationToken::new());
    let (archive, state, client) = (world.archive.clone(), Arc::clone(&world.state), client_of(&silent));
    let running =
        tokio::spawn(gharvest_seeder::run(queue, archive, state, client.clone(), world.options(), shutdown.clone()));
    soon(async {
        while client.calls() == 0 {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
        running.await.unwrap();
    })
    .await;
    assert!(world.state.lead("seeder", "c", Duration::from_secs(30)).await.unwrap(), "the lead was given back");
}
