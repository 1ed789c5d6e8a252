//! Every fault of the loop, with a queue in memory, on paused time.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use gharvest_queue::{
    Counts, JobState, LeaseRequest, Outcome, Policy, Queue, QueueAdmin, Settled, Settlement, Timing, Trigger,
    clock::ManualClock,
    faulty::{Fault, FaultyQueue},
    model::MemoryQueue,
};
use gharvest_worker::{Batch, Handler, Options, run};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const QUEUE: QueueName = QueueName::Download;
const LEASE: Duration = Duration::from_secs(60);

/// A queue, a loop on it, and the hands of a test on both.
struct World {
    clock: ManualClock,
    queue: Arc<MemoryQueue>,
    faulty: Arc<FaultyQueue>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl World {
    fn start(handler: Arc<dyn Handler>, change: impl FnOnce(&mut Options)) -> Self {
        let clock = ManualClock::default();
        let queue = MemoryQueue::new(Policy::default(), clock.clone()).unwrap();
        let faulty = FaultyQueue::new(Arc::clone(&queue) as Arc<dyn QueueAdmin>);
        let shutdown = CancellationToken::new();
        let mut options = Options { queue: QUEUE, workers: 2, batch: 10, lease: LEASE, drain: Duration::from_secs(20) };
        change(&mut options);
        let running = tokio::spawn(run(Arc::clone(&faulty) as Arc<dyn Queue>, handler, options, shutdown.clone()));
        Self { clock, queue, faulty, shutdown, running }
    }

    async fn push(&self, numbers: impl IntoIterator<Item = u64>) {
        let trigger = |number| Trigger {
            queue: QUEUE,
            subject: subject(number),
            lane: Lane::Manual,
            timing: Timing::Now,
            reason: "test".into(),
        };
        let triggers: Vec<_> = numbers.into_iter().map(trigger).collect();
        self.queue.push(&triggers, None).await.unwrap();
    }

    async fn counts(&self) -> Counts {
        self.queue.counts(QUEUE).await.unwrap()
    }

    /// Lets the loop work until the counts are as wanted; a wrong end hangs on nothing but fails.
    async fn until(&self, wanted: impl Fn(&Counts) -> bool) -> Counts {
        for _ in 0..100_000 {
            let counts = self.counts().await;
            if wanted(&counts) {
                return counts;
            }
            tokio::task::yield_now().await;
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        panic!("{:?} is not what was waited for", self.counts().await);
    }

    async fn stop(self) -> Counts {
        self.shutdown.cancel();
        self.running.await.unwrap();
        self.queue.counts(QUEUE).await.unwrap()
    }
}

fn subject(number: u64) -> Subject {
    Subject::item(RepositoryId(7), number)
}

fn number(subject: &Subject) -> u64 {
    match subject {
        Subject::Item(item) => item.number,
        other => panic!("{other}"),
    }
}

fn finish(subject: &Subject) -> Settlement {
    Settlement { subject: subject.clone(), outcome: Outcome::Finish, follow_up: None }
}

/// Finishes what is given, except that some numbers panic and some get no answer.
#[derive(Debug, Default)]
struct Finisher {
    panics: Vec<u64>,
    forgets: Vec<u64>,
    seen: Mutex<Vec<u64>>,
    largest: AtomicUsize,
}

#[async_trait]
impl Handler for Finisher {
    async fn handle(&self, batch: &Batch) -> Vec<Settlement> {
        self.largest.fetch_max(batch.jobs().len(), Ordering::SeqCst);
        let mut settlements = Vec::new();
        for job in batch.jobs() {
            let number = number(&job.subject);
            assert!(!self.panics.contains(&number), "number {number} is poison");
            self.seen.lock().unwrap().push(number);
            if !self.forgets.contains(&number) {
                settlements.push(finish(&job.subject));
            }
        }
        settlements
    }
}

/// Says when it begins, and finishes when it is let go.
#[derive(Debug)]
struct Gate {
    begun: Semaphore,
    open: Semaphore,
    settled: Mutex<Vec<Settled>>,
    dropped: Arc<AtomicUsize>,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Semaphore::new(0),
            open: Semaphore::new(0),
            settled: Mutex::default(),
            dropped: Arc::default(),
        })
    }

    async fn begun(&self) {
        self.begun.acquire().await.unwrap().forget();
    }
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Handler for Gate {
    async fn handle(&self, batch: &Batch) -> Vec<Settlement> {
        let guard = CountDrop(Arc::clone(&self.dropped));
        self.begun.add_permits(1);
        self.open.acquire().await.unwrap().forget();
        let settlements = batch.jobs().iter().map(|job| finish(&job.subject)).collect();
        let settled = batch.settle(settlements).await;
        self.settled.lock().unwrap().extend(settled);
        drop(guard);
        Vec::new()
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_are_handled_in_batches_and_finished() {
    let finisher = Arc::new(Finisher::default());
    let world = World::start(Arc::clone(&finisher) as _, |_| {});
    world.push(1..=25).await;
    let counts = world.until(|counts| counts.totals.finished == 25).await;
    assert_eq!(counts.outstanding(), 0);
    assert_eq!(finisher.largest.load(Ordering::SeqCst), 10);
    world.push([26]).await;
    world.until(|counts| counts.totals.finished == 26).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_only_the_guilty_job_an_attempt_and_the_loop_goes_on() {
    let finisher = Arc::new(Finisher { panics: vec![3], ..Finisher::default() });
    let world = World::start(Arc::clone(&finisher) as _, |_| {});
    world.push(1..=5).await;
    let counts = world.until(|counts| counts.totals.finished == 4 && counts.totals.retried == 1).await;
    assert_eq!((counts.delayed, counts.buried), (1, 0));
    let job = world.queue.job(QUEUE, &subject(3)).await.unwrap().unwrap();
    assert!(job.reason.as_deref().unwrap().contains("number 3 is poison"), "{job:?}");
    world.push([6]).await;
    world.until(|counts| counts.totals.finished == 5).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_without_an_answer_has_failed() {
    let world = World::start(Arc::new(Finisher { forgets: vec![2], ..Finisher::default() }), |_| {});
    world.push(1..=2).await;
    world.until(|counts| counts.totals.finished == 1 && counts.totals.retried == 1).await;
    let job = world.queue.job(QUEUE, &subject(2)).await.unwrap().unwrap();
    assert_eq!((job.state, job.reason.as_deref()), (JobState::Delayed, Some("the handler gave no answer")));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_is_leased_than_there_are_workers() {
    let gate = Gate::new();
    let world = World::start(Arc::clone(&gate) as _, |options| options.batch = 1);
    world.push(1..=5).await;
    gate.begun().await;
    gate.begun().await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.counts().await.leased, 2);
    gate.open.add_permits(5);
    world.until(|counts| counts.totals.finished == 5).await;
    world.stop().await;
}

/// Waits for something outside, and makes room meanwhile.
#[derive(Debug)]
struct Waiter(Arc<Gate>);

#[async_trait]
impl Handler for Waiter {
    async fn handle(&self, batch: &Batch) -> Vec<Settlement> {
        batch.make_room();
        self.0.handle(batch).await
    }
}

#[tokio::test(start_paused = true)]
async fn beside_a_batch_that_only_waits_the_next_one_is_leased() {
    let gate = Gate::new();
    let world = World::start(Arc::new(Waiter(Arc::clone(&gate))), |options| (options.batch, options.workers) = (1, 1));
    world.push(1..=3).await;
    for _ in 0..3 {
        gate.begun().await;
    }
    assert_eq!(world.counts().await.leased, 3);
    gate.open.add_permits(3);
    world.until(|counts| counts.totals.finished == 3).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_lease_alive_for_as_long_as_the_work_takes() {
    let gate = Gate::new();
    let world = World::start(Arc::clone(&gate) as _, |_| {});
    world.push([1]).await;
    gate.begun().await;
    for _ in 0..30 {
        world.clock.advance(LEASE / 3);
        tokio::time::advance(LEASE / 3).await;
        tokio::task::yield_now().await;
    }
    gate.open.add_permits(1);
    let counts = world.until(|counts| counts.totals.finished == 1).await;
    assert_eq!(counts.totals.lost, 0);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn work_is_dropped_before_its_lease_ends_when_heartbeats_are_lost() {
    let gate = Gate::new();
    let world = World::start(Arc::clone(&gate) as _, |options| options.workers = 1);
    world.push([1]).await;
    gate.begun().await;
    let calls = world.faulty.calls();
    for call in 1..=1000 {
        world.faulty.fail(calls + call, Fault::Before);
    }
    let begun = tokio::time::Instant::now();
    while gate.dropped.load(Ordering::SeqCst) == 0 {
        tokio::time::advance(Duration::from_millis(100)).await;
        tokio::task::yield_now().await;
        assert!(begun.elapsed() < LEASE, "the work outlived its lease");
    }
    assert!(begun.elapsed() >= LEASE / 2, "dropped after {:?}", begun.elapsed());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_worker_changes_nothing_and_the_next_one_finishes() {
    let gate = Gate::new();
    let world = World::start(Arc::clone(&gate) as _, |options| options.workers = 1);
    world.push([1]).await;
    gate.begun().await;
    // The queue's clock runs on while the worker stands still: its lease ends without its knowledge.
    world.clock.advance(LEASE * 2);
    let other = LeaseRequest { queue: QUEUE, max: 1, hold: LEASE, repository: None, request: "other".into() };
    assert!(world.queue.lease(&other).await.unwrap().lease.is_none(), "a lost job waits before it is handed out");
    world.clock.advance(Duration::from_secs(3600));
    let lease = world.queue.lease(&other).await.unwrap().lease.unwrap();
    gate.open.add_permits(1);
    while gate.settled.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*gate.settled.lock().unwrap(), [Settled::Stale]);
    let settled = world.queue.settle(QUEUE, lease.token, &[finish(&subject(1))]).await.unwrap();
    assert_eq!(settled, [Settled::Finished]);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_said_to_be_lost_stops_its_work() {
    let gate = Gate::new();
    let world = World::start(Arc::clone(&gate) as _, |options| options.workers = 1);
    world.push([1]).await;
    gate.begun().await;
    world.clock.advance(LEASE * 2);
    let other = LeaseRequest { queue: QUEUE, max: 1, hold: LEASE, repository: None, request: "other".into() };
    world.queue.lease(&other).await.unwrap();
    tokio::time::advance(LEASE / 3 + Duration::from_millis(1)).await;
    while gate.dropped.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.counts().await.totals.finished, 0);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_work_in_hand_finish() {
    let gate = Gate::new();
    let world = World::start(Arc::clone(&gate) as _, |options| options.batch = 1);
    world.push(1..=5).await;
    gate.begun().await;
    gate.begun().await;
    world.shutdown.cancel();
    gate.open.add_permits(2);
    let counts = world.stop().await;
    assert_eq!((counts.totals.finished, counts.leased, counts.ready[Lane::Manual.index()]), (2, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn what_outlasts_the_drain_is_given_back_without_costing_an_attempt() {
    let gate = Gate::new();
    let world = World::start(Arc::clone(&gate) as _, |_| {});
    world.push(1..=3).await;
    gate.begun().await;
    let queue = Arc::clone(&world.queue);
    let begun = tokio::time::Instant::now();
    let counts = world.stop().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
    assert_eq!((counts.leased, counts.totals.retried, counts.outstanding()), (0, 0, 3));
    assert_eq!(queue.job(QUEUE, &subject(1)).await.unwrap().unwrap().attempts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_without_work_ends_at_once() {
    let world = World::start(Arc::new(Finisher::default()), |_| {});
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let begun = tokio::time::Instant::now();
    world.stop().await;
    assert!(begun.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn every_call_to_the_queue_may_fail_before_or_after_it_took_effect() {
    for fault in [Fault::Before, Fault::After] {
        for call in 1..=8 {
            let finisher = Arc::new(Finisher::default());
            let world = World::start(Arc::clone(&finisher) as _, |options| options.batch = 2);
            world.faulty.fail(call, fault);
            world.push(1..=6).await;
            let counts = world.until(|counts| counts.totals.finished == 6).await;
            assert_eq!((counts.outstanding(), counts.buried, counts.totals.lost), (0, 0, 0), "{fault:?} {call}");
            let mut seen = finisher.seen.lock().unwrap().clone();
            seen.sort_unstable();
            assert_eq!(seen, [1, 2, 3, 4, 5, 6], "{fault:?} {call}: a lost reply handed a job out twice");
            world.stop().await;
        }
    }
}
