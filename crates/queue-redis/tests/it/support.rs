//! Servers and namespaces for tests.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use gharvest_queue::{LeaseRequest, ManualClock, Policy, Queue, Timing, Trigger, contract, contract::Fixture};
use gharvest_queue_redis::{RedisQueue, RedisState};
use gharvest_testkit::redis::{Make, redis_cluster, redis_url, redis_url_of};

pub(crate) const QUEUE: QueueName = QueueName::Download;

/// Where a suite runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// The installed Redis, or the one that the environment names.
    Redis,
    /// A newer Redis.
    Redis8,
    /// Valkey.
    Valkey,
    /// A cluster of three nodes.
    Cluster,
}

impl Place {
    pub(crate) fn url(self, test: &str) -> Option<String> {
        match self {
            Self::Redis => redis_url(test),
            Self::Redis8 => redis_url_of(test, Make::Redis8),
            Self::Valkey => redis_url_of(test, Make::Valkey),
            Self::Cluster => redis_cluster(test),
        }
    }

    pub(crate) async fn queue(self, policy: Policy, clock: ManualClock) -> Option<Fixture> {
        let url = self.url(&test_name())?;
        let namespace = Namespace::new(&url);
        let queue = RedisQueue::connect_with_clock(&url, &namespace.name, policy, clock.clone()).await.unwrap();
        Some(Fixture::new(queue, clock, namespace))
    }

    pub(crate) async fn state(self) -> Option<gharvest_state::contract::Fixture> {
        let url = self.url(&test_name())?;
        let namespace = Namespace::new(&url);
        let clock = ManualClock::default();
        let state = RedisState::connect_with_clock(&url, &namespace.name, clock.clone()).await.unwrap();
        let (counted, of) = (url.clone(), namespace.name.clone());
        let stored = move || names(&counted, &of);
        Some(gharvest_state::contract::Fixture::new(state, move |by| clock.advance(by), stored, namespace))
    }
}

/// How many values the state of a namespace has, on whichever node of a cluster has them.
pub(crate) fn names(url: &str, namespace: &str) -> usize {
    let count = |node: &str| -> redis::RedisResult<usize> {
        let mut connection = redis::Client::open(node)?.get_connection()?;
        redis::cmd("ZCARD").arg(format!("gharvest:{{{namespace}}}:state:names")).query(&mut connection)
    };
    count(url).unwrap_or_else(|error| {
        let (node, _) = error.redirect_node().unwrap();
        count(&format!("redis://{node}")).unwrap()
    })
}

/// The harness names a test's thread after it.
fn test_name() -> String {
    std::thread::current().name().unwrap_or("a test of queue-redis").to_owned()
}

/// Two queues of one namespace, as two processes have them: what one pushes wakes the other, long before a wait ends by
/// itself.
pub(crate) async fn wakes_another_process(place: Place) {
    let Some(url) = place.url(&test_name()) else { return };
    let namespace = Namespace::new(&url);
    let here = RedisQueue::connect(&url, &namespace.name, Policy::default()).await.unwrap();
    let there = RedisQueue::connect(&url, &namespace.name, Policy::default()).await.unwrap();
    let mut waiting = std::pin::pin!(here.wait(QUEUE, None));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "there was nothing to wake for");
    there.push(&[trigger(1)], None).await.unwrap();
    let woken = tokio::time::timeout(Duration::from_secs(8), waiting).await;
    woken.expect("woken before the fallback").unwrap();
}

/// A namespace that nothing else uses. What it holds on somebody's own server goes with it.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    url: String,
}

impl Namespace {
    pub(crate) fn new(url: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { name, url: url.to_owned() }
    }

    /// Its keys and how much memory each takes.
    pub(crate) fn keys(&self) -> Vec<(String, u64)> {
        let mut connection = redis::Client::open(self.url.as_str()).unwrap().get_connection().unwrap();
        let pattern = format!("gharvest:{{{}}}:*", self.name);
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut connection).unwrap();
        let size = |key: &String| redis::cmd("MEMORY").arg("USAGE").arg(key).query(&mut connection).unwrap();
        let sizes: Vec<u64> = keys.iter().map(size).collect();
        keys.into_iter().zip(sizes).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::env::var_os("GHARVEST_TEST_REDIS_URL").is_none() || std::thread::panicking() {
            return;
        }
        let Ok(mut connection) = redis::Client::open(self.url.as_str()).and_then(|client| client.get_connection())
        else {
            return;
        };
        for (key, _) in self.keys() {
            drop(redis::cmd("DEL").arg(key).exec(&mut connection));
        }
    }
}

pub(crate) fn item(number: u64) -> Subject {
    Subject::item(RepositoryId(1), number)
}

pub(crate) fn trigger(number: u64) -> Trigger {
    contract::trigger(item(number), Lane::Webhook, Timing::Now)
}

pub(crate) fn request(max: usize) -> LeaseRequest {
    LeaseRequest { queue: QUEUE, max, hold: Duration::from_secs(60), repository: None, request: String::new() }
}
