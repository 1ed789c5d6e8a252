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
    Counts, Filter, Policy, Queue, QueueAdmin, Timing, Trigger,
    clock::ManualClock,
    faulty::{Fault, FaultyQueue},
    model::MemoryQueue,
};
use gharvest_seeder::{Options, Run, Seeder, Task, run_now, snapshots::Snapshots};
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
            snapshots: Snapshots {
                every: None,
                folder: Some(self.snapshots()),
                keep: Duration::from_secs(7 * 24 * 3600),
            },
        }
    }

    fn seeder_with(&self, holder: &str, options: Options) -> Seeder {
        let queue = Arc::clone(&self.faulty) as Arc<dyn Queue>;
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

    /// A delivery that waits for the queue: the download of item 1.
    async fn spool(&self, delivery: &str) {
        let trigger = Trigger {
            queue: QueueName::Download,
            subject: Subject::item(ID, 1),
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
    // Exactly one question in five minutes, whatever the second.
    let mut pushed = Vec::new();
    for _ in 0..300 {
        world.pass(1);
        world.tick(&mut seeder).await;
        pushed.extend(world.take(QueueName::Download).await);
    }
    assert_eq!(pushed, [job(part::UPDATES)]);
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

#[tokio::test]
async fn the_inbox_is_pushed_when_the_queue_is_back_and_facts_are_not_forgotten() {
    let world = World::new().await;
    let overdue_at = world.now() - SignedDuration::from_mins(6);
    let about = |number| Some(ItemId { repository: ID, number });
    let overdue = InboxEntry { item: about(2), fact: fact("overdue", overdue_at), triggers: Value::Null };
    let fresh = InboxEntry { item: about(3), fact: fact("fresh", world.now()), triggers: Value::Null };
    world.spool("waiting").await;
    for entry in [&overdue, &fresh] {
        world.archive.put_inbox(entry).await.unwrap();
    }
    let mut seeder = world.seeder("a");
    world.tick(&mut seeder).await;
    let pushed = world.take(QueueName::Download).await;
    assert_eq!(pushed, ["webhook 7#1", "webhook 7#2"]);
    assert_eq!(world.archive.inbox(ItemId { repository: ID, number: 2 }).await.unwrap().len(), 1);
    let counts: Counts = world.queue.counts(QueueName::Download).await.unwrap();
    assert_eq!(counts.outstanding(), 0);
    // The delivery is gone from the inbox: it is not pushed again.
    world.pass(2 * MINUTE);
    world.tick(&mut seeder).await;
    assert_eq!(world.take(QueueName::Download).await, ["webhook 7#2"]);
}

#[tokio::test]
async fn an_entry_of_the_inbox_that_cannot_be_read_is_said_and_stops_no_other() {
    let world = World::new().await;
    let damaged = world.folder.path().join("archive/inbox/7-1");
    std::fs::create_dir_all(&damaged).unwrap();
    std::fs::write(damaged.join("damaged.json"), "{").unwrap();
    world.spool("waiting").await;
    let mut seeder = world.seeder("a");
    world.tick(&mut seeder).await;
    assert_eq!(world.take(QueueName::Download).await, ["webhook 7#1"]);
    let swept = gharvest_seeder::inbox::sweep(&world.archive, world.queue.as_ref(), world.now()).await;
    let error = swept.unwrap_err().to_string();
    assert!(error.contains("1 entries") && error.contains("inbox/7-1/damaged.json"), "{error}");
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

    let (queue, shutdown) = (Arc::clone(&world.queue) as Arc<dyn Queue>, CancellationToken::new());
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
