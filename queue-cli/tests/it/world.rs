//! A small deployment in a folder of its own, and a web front on it.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use gharvest_archive::{ApiKey, Archive, LedgerChange, Repository};
use gharvest_model::{
    ItemId, ItemRef, Kind, Lane, QueueName, Record, RepositoryId, RepositoryName, Subject, ledger::NumberState,
    record::RecordRepository, tracking::Tracked,
};
use gharvest_queue::{LeaseRequest, Outcome, QueueAdmin, Settlement, Timing, Trigger};
use gharvest_service_kit::{Settings, load::Sources};
use gharvest_web::{Backends, Budget, OperationError, Operations, WebState, hash_key};
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The repository that is mirrored.
pub(crate) const ID: RepositoryId = RepositoryId(7);

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) settings: Settings,
    pub(crate) archive: Archive,
    pub(crate) queue: Arc<dyn QueueAdmin>,
}

fn at() -> Timestamp {
    "2024-06-01T12:00:00Z".parse().unwrap()
}

impl World {
    /// `mozilla/web-bugs` with items 1 to 3 archived, and nothing on the queues.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let archive = gharvest_backends::archive(&settings).await.unwrap();
        let queue = gharvest_backends::queue(&settings).await.unwrap();
        let world = Self { folder, settings, archive, queue };
        world.mirror().await;
        world
    }

    async fn mirror(&self) {
        let name: RepositoryName = "mozilla/web-bugs".parse().unwrap();
        let file = json!({"id": ID, "full_name": name, "repository": {"id": ID}, "fetched_at": at()});
        self.archive.put_repository(&serde_json::from_value::<Repository>(file).unwrap()).await.unwrap();
        let tracked: Tracked = serde_json::from_value(json!({"id": ID, "name": name, "since": at()})).unwrap();
        self.archive.track(tracked).await.unwrap();
        for number in 1..=3 {
            let repository = RecordRepository { id: ID, full_name: name.clone() };
            let mut record = Record::new(repository, number, Kind::Issue, at());
            record.issue = Some(json!({"number": number, "title": "A bug"}));
            self.archive.put_record(record).await.unwrap();
        }
        let change = |number| LedgerChange { number, state: NumberState::Present, verified_at: at() };
        self.archive.update_ledger(ID, &[change(1), change(2), change(3)]).await.unwrap();
    }

    /// Leases the next download job.
    async fn lease(&self) -> (gharvest_queue::Token, Subject) {
        let request = LeaseRequest {
            queue: QueueName::Download,
            max: 1,
            hold: Duration::from_secs(600),
            repository: None,
            request: format!("test-{}", fastrand::u64(..)),
        };
        let lease = self.queue.lease(&request).await.unwrap().lease.unwrap();
        (lease.token, lease.jobs[0].subject.clone())
    }

    async fn push(&self, number: u64) {
        let trigger = Trigger {
            queue: QueueName::Download,
            subject: Subject::item(ID, number),
            lane: Lane::Webhook,
            timing: Timing::Now,
            reason: "test".to_owned(),
        };
        self.queue.push(&[trigger], None).await.unwrap();
    }

    /// A job that failed for good.
    pub(crate) async fn bury(&self, number: u64) {
        self.push(number).await;
        let (token, subject) = self.lease().await;
        let outcome = Outcome::Bury { reason: "GitHub \u{1b}[31mbroke".to_owned() };
        let settlement = Settlement { subject, outcome, follow_up: None };
        self.queue.settle(QueueName::Download, token, &[settlement]).await.unwrap();
    }

    /// A job that is being worked on.
    pub(crate) async fn work_on(&self, number: u64) {
        self.push(number).await;
        self.lease().await;
    }

    /// Makes an API key.
    pub(crate) async fn key(&self, secret: &str, role: &str) {
        let key = ApiKey {
            name: secret.to_owned(),
            hash: hash_key(secret),
            role: role.to_owned(),
            private: Vec::new(),
            repositories: Vec::new(),
            created_at: at(),
        };
        self.archive.update_keys(&move |keys| keys.push(key.clone())).await.unwrap();
    }

    /// Makes the index, which has nothing in it.
    pub(crate) async fn index(&self) {
        let index = gharvest_backends::index(&self.settings).await.unwrap();
        index.ensure(self.archive.id()).await.unwrap();
        index.commit().await.unwrap();
    }

    /// Serves the web front until dropped.
    pub(crate) async fn serve(&self) -> Served {
        let backends = Backends {
            queue: Arc::clone(&self.queue),
            archive: self.archive.clone(),
            state: gharvest_backends::state(&self.settings).await.unwrap(),
            search: gharvest_backends::index_read_only(&self.settings).await.unwrap(),
            operations: Arc::new(NoOperations),
        };
        let state = WebState::new(backends, &self.settings);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), state.shutdown.clone());
        tokio::spawn(gharvest_web::serve_on(listener, state));
        Served { address, stop }
    }
}

/// A web front; stopped when dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn settings(folder: &Path) -> Settings {
    let sources = Sources { config: None, data_dir: Some(folder.to_owned()), ..Sources::default() };
    sources.load().unwrap().settings
}

/// What needs GitHub is not asked here.
#[derive(Debug)]
struct NoOperations;

fn refused() -> OperationError {
    OperationError::Refused("not here".to_owned())
}

#[async_trait]
impl Operations for NoOperations {
    async fn track(&self, _: &RepositoryName) -> Result<Tracked, OperationError> {
        Err(refused())
    }

    async fn untrack(&self, _: RepositoryId, _: bool) -> Result<(), OperationError> {
        Err(refused())
    }

    async fn download(&self, _: &ItemRef) -> Result<ItemId, OperationError> {
        Err(refused())
    }

    async fn budgets(&self) -> Vec<Budget> {
        Vec::new()
    }
}
