//! A receiver on an in-memory queue and an archive in a folder of its own.

use std::{
    collections::BTreeMap,
    io::Write,
    ops::RangeInclusive,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use gharvest_archive::{
    Archive, InboxEntry, Options,
    store::{self, faulty::FaultyStore},
};
use gharvest_model::{Lane, QueueName, RepositoryId, tracking::Tracked};
use gharvest_queue::{
    Extended, Filter, LeaseReply, LeaseRequest, Policy, Pushed, Queue, QueueAdmin, RangePushed, Scope, Settled,
    Settlement, Token, Trigger,
    clock::ManualClock,
    faulty::{Fault, FaultyQueue},
    model::MemoryQueue,
};
use gharvest_service_kit::{load::Sources, settings::WebhookSettings};
use gharvest_webhook_receiver::{Receiver, router, signature::Secrets};
use http_body_util::BodyExt;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// The repository that is tracked.
pub(crate) const TRACKED: u64 = 9;
/// The hook's secret.
pub(crate) const SECRET: &str = "correct-horse";

pub(crate) struct Scene {
    pub(crate) archive: Archive,
    /// What lies below the archive.
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) queue: Arc<MemoryQueue>,
    pub(crate) faulty: Arc<FaultyQueue>,
    pub(crate) router: Router,
    _folder: TempDir,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(&[("GHARVEST_WEBHOOK__SECRETS", SECRET)]).await
    }

    /// A receiver with these settings.
    pub(crate) async fn with(environment: &[(&str, &str)]) -> Self {
        Self::with_archive(environment, &Options::default()).await
    }

    pub(crate) async fn with_archive(environment: &[(&str, &str)], options: &Options) -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("file:{}", folder.path().display());
        let store = FaultyStore::new(store::open(&url, options.stale_after).await.unwrap());
        let archive = Archive::with_store(Arc::clone(&store) as _, options).await.unwrap();
        track(&archive, TRACKED, "octo/box").await;
        let queue = MemoryQueue::new(Policy::default(), ManualClock::default()).unwrap();
        let faulty = FaultyQueue::new(Arc::clone(&queue) as _);
        let settings = settings(environment);
        let receiver = Receiver::new(Arc::clone(&faulty) as _, archive.clone(), settings.untracked);
        Self { archive, store, queue, faulty, router: router(receiver, &settings), _folder: folder }
    }

    /// Delivers a payload signed with [`SECRET`].
    pub(crate) async fn deliver(&self, event: &str, id: &str, payload: &Value) -> Answer {
        self.send(signed(event, id, payload.to_string().into_bytes(), SECRET)).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.router, request).await
    }

    /// Lets the next pushes fail.
    pub(crate) fn queue_away(&self, pushes: u64) {
        for call in 1..=pushes {
            self.faulty.fail(self.faulty.calls() + call, Fault::Before);
        }
    }

    /// The subjects that wait on the download queue.
    pub(crate) async fn jobs(&self) -> Vec<String> {
        let jobs = self.queue.list(QueueName::Download, &Filter::default(), None, 1000).await.unwrap();
        jobs.iter().map(|job| job.subject.to_string()).collect()
    }

    /// How many triggers reached the queue.
    pub(crate) async fn triggers(&self) -> u64 {
        let totals = self.queue.counts(QueueName::Download).await.unwrap().totals;
        totals.new + totals.merged + totals.dirty
    }

    pub(crate) async fn inbox(&self) -> Vec<InboxEntry> {
        use futures::TryStreamExt;
        self.archive.inbox_all().try_collect().await.unwrap()
    }
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let retry_after = parts.headers.get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
    Answer { status: parts.status, json: serde_json::from_str(&text).unwrap_or(Value::String(text)), retry_after }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) json: Value,
    pub(crate) retry_after: Option<String>,
}

impl Answer {
    /// Status and outcome in one.
    pub(crate) fn said(&self) -> (u16, &str) {
        (self.status.as_u16(), self.json["outcome"].as_str().unwrap_or_default())
    }
}

/// The receiver's settings with these variables set.
pub(crate) fn settings(environment: &[(&str, &str)]) -> WebhookSettings {
    let environment: BTreeMap<_, _> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sources = Sources { config: None, data_dir: Some(std::env::temp_dir().join("none")), environment };
    sources.load().unwrap().settings.webhook
}

pub(crate) fn tracked(id: u64, name: &str) -> Tracked {
    Tracked {
        id: RepositoryId(id),
        name: name.parse().unwrap(),
        private: false,
        since: Timestamp::UNIX_EPOCH,
        complete_at: None,
        trouble: None,
        trouble_since: None,
        deleted: gharvest_model::removal::DeletionPolicy::Keep,
    }
}

pub(crate) async fn track(archive: &Archive, id: u64, name: &str) {
    archive.track(tracked(id, name)).await.unwrap();
}

/// GitHub's signature of a body.
pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    Secrets::new(&[SecretString::from(secret)]).sign(body).unwrap()
}

/// A delivery as GitHub sends it.
pub(crate) fn signed(event: &str, id: &str, body: Vec<u8>, secret: &str) -> Request<Body> {
    let signature = signature(secret, &body);
    unsigned(event, id).header("x-hub-signature-256", signature).body(Body::from(body)).unwrap()
}

pub(crate) fn unsigned(event: &str, id: &str) -> axum::http::request::Builder {
    Request::post("/webhooks/github")
        .header("content-type", "application/json")
        .header("x-github-event", event)
        .header("x-github-delivery", id)
}

/// An event of issue 4 of the tracked repository.
pub(crate) fn issue(action: &str) -> Value {
    json!({"action": action, "repository": {"id": TRACKED, "full_name": "octo/box", "default_branch": "main"},
        "issue": {"number": 4}, "sender": {"login": "ann"}})
}

/// What all tests of this program log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log;

static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

impl Log {
    /// Begins to listen; lines of other tests come in between.
    pub(crate) fn listen() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let subscriber = tracing_subscriber::fmt().with_writer(|| Log).with_ansi(false).without_time().finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        Self
    }

    /// The lines that contain a text.
    pub(crate) fn lines(self, with: &str) -> Vec<String> {
        let text = String::from_utf8(LOGGED.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A queue whose host went away without a word: no push is ever answered.
#[derive(Debug)]
pub(crate) struct HangingQueue;

#[async_trait]
impl Queue for HangingQueue {
    async fn push(&self, _: &[Trigger], _: Option<&str>) -> gharvest_queue::Result<Vec<Pushed>> {
        std::future::pending().await
    }

    async fn push_range(
        &self,
        _: QueueName,
        _: RepositoryId,
        _: RangeInclusive<u64>,
        _: Lane,
    ) -> gharvest_queue::Result<RangePushed> {
        std::future::pending().await
    }

    async fn lease(&self, _: &LeaseRequest) -> gharvest_queue::Result<LeaseReply> {
        std::future::pending().await
    }

    async fn extend(&self, _: QueueName, _: Token, _: Duration) -> gharvest_queue::Result<Extended> {
        std::future::pending().await
    }

    async fn settle(&self, _: QueueName, _: Token, _: &[Settlement]) -> gharvest_queue::Result<Vec<Settled>> {
        std::future::pending().await
    }

    async fn pause(&self, _: &Scope, _: Timestamp, _: &str) -> gharvest_queue::Result<()> {
        std::future::pending().await
    }

    async fn resume(&self, _: &Scope) -> gharvest_queue::Result<()> {
        std::future::pending().await
    }

    async fn wait(&self, _: QueueName, _: Option<Timestamp>) -> gharvest_queue::Result<()> {
        std::future::pending().await
    }

    async fn now(&self) -> gharvest_queue::Result<Timestamp> {
        std::future::pending().await
    }
}
