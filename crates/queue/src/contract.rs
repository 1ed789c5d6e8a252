//! The behaviours that every backend must show. Declaring one registers it.
//!
//! A backend's test calls `gharvest_queue::queue_contract!(make)` with an async function
//! `fn(Policy, ManualClock) -> Option<Fixture>` that makes an empty queue, or none where the backend is missing on
//! this machine. Each behaviour becomes one named test; after each the queue must verify without a finding.

use std::{any::Any, sync::Arc, time::Duration};

use gharvest_model::{Lane, QueueName, RepositoryId, Subject};

use crate::{
    Counts, Filter, Job, JobState, JobView, Lease, LeaseReply, LeaseRequest, ManualClock, Outcome, Policy, Pushed,
    QueueAdmin, Settled, Settlement, Timing, Token, Trigger,
};

/// Declares behaviours, and the macro that makes a test of each.
macro_rules! behaviours {
    ($d:tt $list:ident in $module:ident: $(async fn $name:ident($fixture:ident) $body:block)*) => {
        $(
            #[doc = concat!("The behaviour `", stringify!($name), "`.")]
            pub async fn $name($fixture: &super::Fixture) $body
        )*

        /// The names of these behaviours, which are those of their tests.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// One test for each of these behaviours.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $list {
            ($d make:path) => {
                $(
                    #[tokio::test]
                    async fn $name() {
                        let clock = $crate::ManualClock::default();
                        if let Some(fixture) = $d make($crate::contract::policy(), clock).await {
                            $crate::contract::$module::$name(&fixture).await;
                            fixture.finish().await;
                        }
                    }
                )*
            };
        }
    };
}

pub mod leasing;
pub mod operating;
pub mod pushing;
pub mod settling;
pub mod sharing;
pub mod waking;

/// One named test for each behaviour of the contract; see [`contract`](crate::contract).
#[macro_export]
macro_rules! queue_contract {
    ($make:path) => {
        $crate::queue_contract_pushing!($make);
        $crate::queue_contract_leasing!($make);
        $crate::queue_contract_settling!($make);
        $crate::queue_contract_sharing!($make);
        $crate::queue_contract_waking!($make);
        $crate::queue_contract_operating!($make);
    };
}

/// The names of all behaviours by part, for the page that lists them.
pub const NAMES: [(&str, &[&str]); 6] = [
    ("Pushing", pushing::NAMES),
    ("Leasing", leasing::NAMES),
    ("Settling", settling::NAMES),
    ("Sharing between lanes and repositories", sharing::NAMES),
    ("Waking", waking::NAMES),
    ("Operating", operating::NAMES),
];

/// The policy of all behaviours.
pub fn policy() -> Policy {
    Policy {
        inactivity_delay: Duration::from_secs(60),
        max_delay: Duration::from_secs(900),
        max_attempts: 4,
        max_lost: 3,
        retry_shortest: Duration::from_secs(15),
        retry_longest: Duration::from_secs(3600),
    }
}

/// How long the leases of the behaviours last.
pub const HOLD: Duration = Duration::from_secs(60);

/// The queue that the behaviours use, unless they say another.
pub const QUEUE: QueueName = QueueName::Download;

/// An empty queue with [`policy`] and a clock to move.
pub struct Fixture {
    /// The queue.
    pub queue: Arc<dyn QueueAdmin>,
    /// Its clock.
    pub clock: ManualClock,
    _kept: Box<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for Fixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fixture").field("queue", &self.queue).field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// An item of repository 1.
pub fn item(number: u64) -> Subject {
    item_of(1, number)
}

/// An item of a repository.
pub fn item_of(repository: u64, number: u64) -> Subject {
    Subject::item(RepositoryId(repository), number)
}

/// A trigger of a subject.
pub fn trigger(subject: Subject, lane: Lane, timing: Timing) -> Trigger {
    Trigger { queue: QUEUE, subject, lane, timing, reason: lane.as_str().to_owned() }
}

/// The numbers of a lease's items, in its order; 0 for other subjects.
pub fn numbers(jobs: &[Job]) -> Vec<u64> {
    jobs.iter().map(|job| if let Subject::Item(item) = &job.subject { item.number } else { 0 }).collect()
}

/// A retry after the queue's own pause.
pub fn retry() -> Outcome {
    Outcome::Retry { after: None, reason: "it failed".to_owned() }
}

impl Fixture {
    /// A fixture; `kept` lives as long as it, for a temporary folder or a server.
    pub fn new(queue: Arc<dyn QueueAdmin>, clock: ManualClock, kept: impl Any + Send + Sync) -> Self {
        Self { queue, clock, _kept: Box::new(kept) }
    }

    /// Checks that the queue's books are in order.
    pub async fn finish(&self) {
        assert_eq!(self.queue.verify().await.expect("verify"), Vec::<String>::new());
    }

    async fn push(&self, subject: Subject, lane: Lane, timing: Timing) -> Pushed {
        self.queue.push(&[trigger(subject, lane, timing)], None).await.expect("push")[0]
    }

    /// A webhook's trigger, which waits for silence.
    async fn webhook(&self, number: u64) -> Pushed {
        self.push(item(number), Lane::Webhook, Timing::Settled).await
    }

    /// A person's trigger.
    async fn manual(&self, number: u64) -> Pushed {
        self.push(item(number), Lane::Manual, Timing::Now).await
    }

    /// A backfill's trigger.
    async fn backfill(&self, number: u64) -> Pushed {
        self.push(item(number), Lane::Backfill, Timing::WhenFree).await
    }

    fn seconds(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn ask(&self, max: usize) -> LeaseReply {
        self.queue.lease(&request(max)).await.expect("lease")
    }

    /// What is leased, which must not be nothing.
    async fn lease(&self, max: usize) -> Lease {
        self.ask(max).await.lease.expect("something to do")
    }

    async fn assert_nothing_to_do(&self) {
        assert_eq!(self.ask(10).await.lease, None);
    }

    async fn settle(&self, token: Token, number: u64, outcome: Outcome) -> Settled {
        let settlement = Settlement { subject: item(number), outcome, follow_up: None };
        self.queue.settle(QUEUE, token, &[settlement]).await.expect("settle")[0]
    }

    /// Leases one job, which must be this item, and settles it.
    async fn run(&self, number: u64, outcome: Outcome) -> Settled {
        let lease = self.lease(1).await;
        assert_eq!(numbers(&lease.jobs), [number]);
        self.settle(lease.token, number, outcome).await
    }

    async fn view(&self, number: u64) -> Option<JobView> {
        self.queue.job(QUEUE, &item(number)).await.expect("job")
    }

    async fn state(&self, number: u64) -> Option<JobState> {
        self.view(number).await.map(|view| view.state)
    }

    async fn counts(&self) -> Counts {
        self.queue.counts(QUEUE).await.expect("counts")
    }

    /// Buries an item, as a worker does.
    async fn bury(&self, number: u64) {
        self.manual(number).await;
        assert_eq!(self.run(number, Outcome::Bury { reason: "hopeless".to_owned() }).await, Settled::Buried);
    }

    async fn listed(&self, filter: &Filter) -> Vec<u64> {
        let views = self.queue.list(QUEUE, filter, None, 1_000).await.expect("list");
        views.iter().map(|view| if let Subject::Item(item) = &view.subject { item.number } else { 0 }).collect()
    }
}

/// A request for any jobs.
pub fn request(max: usize) -> LeaseRequest {
    LeaseRequest { queue: QUEUE, max, hold: HOLD, repository: None, request: String::new() }
}
