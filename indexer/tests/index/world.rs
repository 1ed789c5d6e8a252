//! An archive, an index, and the indexer between them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gharvest_archive::{Archive, LedgerChange, Repository, Written};
use gharvest_indexer::{
    Options,
    verify::{Difference, Step, verify},
};
use gharvest_model::{
    ItemId, Kind, Lane, QueueName, Record, RepositoryId, Subject, ledger::NumberState, record::RecordRepository,
};
use gharvest_queue::{Counts, Policy, Queue as _, QueueAdmin, Timing, Trigger, clock::ManualClock, model::MemoryQueue};
use gharvest_search::SearchIndex;
use gharvest_search_tantivy::TantivyIndex;
use gharvest_state::SqliteState;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::faulty::{FaultyIndex, FaultyState};

pub(crate) const ID: RepositoryId = RepositoryId(7);

pub(crate) struct World {
    pub(crate) archive: Archive,
    pub(crate) index: Arc<FaultyIndex>,
    pub(crate) queue: Arc<MemoryQueue>,
    pub(crate) state: Arc<FaultyState>,
    clock: ManualClock,
    folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let url = format!("file:{}", path("archive").display());
        let archive = Archive::open(&url, &gharvest_archive::Options::default()).await.unwrap();
        let index = open_index(&path("index"), &archive).await;
        let clock = ManualClock::default();
        let queue = MemoryQueue::new(Policy::default(), clock.clone()).unwrap();
        let state = FaultyState::new(SqliteState::open(&path("state.sqlite")).await.unwrap());
        let world = Self { archive, index, queue, state, clock, folder };
        world.archive.put_repository(&repository("owner/name", false)).await.unwrap();
        world
    }

    /// Stores a thread with as many comments, and notes it in the ledger.
    pub(crate) async fn put(&self, number: u64, title: &str, comments: usize) {
        let item = ItemId { repository: ID, number };
        let stored = self.archive.record(item).await.unwrap();
        let mut record = thread(number, title, comments);
        record.revision = stored.map_or_else(Default::default, |stored| stored.revision);
        assert!(matches!(self.archive.put_record(record).await.unwrap(), Written::Stored(_)));
        let change = LedgerChange { number, state: NumberState::Present, verified_at: Timestamp::now() };
        self.archive.update_ledger(ID, &[change]).await.unwrap();
    }

    /// Stores a thread with a body of half a megabyte that was verified long ago.
    pub(crate) async fn put_large(&self, number: u64, title: &str) {
        let mut record = thread(number, title, 0);
        record.issue.as_mut().unwrap()["body"] = format!("some words {}", "-".repeat(550_000)).into();
        assert!(matches!(self.archive.put_record(record).await.unwrap(), Written::Stored(_)));
        let verified_at = Timestamp::now() - SignedDuration::from_hours(24);
        let change = LedgerChange { number, state: NumberState::Present, verified_at };
        self.archive.update_ledger(ID, &[change]).await.unwrap();
    }

    pub(crate) fn index_folder(&self) -> PathBuf {
        self.folder.path().join("index")
    }

    /// Puts something else into the file of a record.
    pub(crate) async fn damage(&self, number: u64, json: &str) {
        let file = format!("archive/repositories/{ID}/items/{number}.json");
        let file = self.folder.path().join(file);
        assert!(file.is_file(), "{} is not there", file.display());
        tokio::fs::write(file, json).await.unwrap();
    }

    pub(crate) async fn push(&self, subject: Subject) {
        self.push_in(Lane::Reconcile, subject).await;
    }

    pub(crate) async fn push_in(&self, lane: Lane, subject: Subject) {
        let (queue, timing) = (QueueName::Index, Timing::WhenFree);
        let trigger = Trigger { queue, subject, lane, timing, reason: "test".into() };
        self.queue.push(&[trigger], None).await.unwrap();
    }

    pub(crate) async fn counts(&self) -> Counts {
        self.queue.counts(QueueName::Index).await.unwrap()
    }

    /// Indexes until nothing is left to do.
    pub(crate) async fn work(&self) {
        self.finish(self.start()).await;
    }

    /// Begins to index, ten items at a time.
    pub(crate) fn start(&self) -> (CancellationToken, JoinHandle<()>) {
        let shutdown = CancellationToken::new();
        let options = Options {
            workers: 1,
            batch: 10,
            linger: Duration::from_millis(5),
            lease: Duration::from_secs(60),
            drain: Duration::from_secs(5),
            daily_delay: Duration::ZERO,
        };
        let running = tokio::spawn(gharvest_indexer::run(
            Arc::clone(&self.queue) as _,
            self.archive.clone(),
            Arc::clone(&self.state) as _,
            Arc::clone(&self.index) as _,
            options,
            shutdown.clone(),
        ));
        (shutdown, running)
    }

    /// Lets what was begun come to its end; time passes on the queue's clock when nothing can be done at present.
    pub(crate) async fn finish(&self, (shutdown, running): (CancellationToken, JoinHandle<()>)) {
        let begun = std::time::Instant::now();
        let mut before = Counts::default();
        loop {
            let counts = self.counts().await;
            if counts.outstanding() == 0 {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "work does not end: {counts:?}");
            if counts.leased == 0 && counts == before {
                self.clock.advance(Duration::from_secs(15));
            }
            before = counts;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        shutdown.cancel();
        running.await.unwrap();
    }

    pub(crate) async fn differences(&self) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut tell = |step: Step<'_>| {
            if let Step::Found(difference) = step {
                found.push(difference.clone());
            }
        };
        verify(&self.archive, self.index.as_ref(), &[ID], &mut tell).await.unwrap();
        found
    }
}

async fn open_index(folder: &Path, archive: &Archive) -> Arc<FaultyIndex> {
    let index = FaultyIndex::new(TantivyIndex::open(folder).await.unwrap());
    index.ensure(archive.id()).await.unwrap();
    index
}

pub(crate) fn repository(name: &str, private: bool) -> Repository {
    Repository {
        id: ID,
        full_name: name.parse().unwrap(),
        former_names: Vec::new(),
        repository: json!({"id": ID.0, "full_name": name, "private": private, "stargazers_count": 3}),
        etag: None,
        fetched_at: Timestamp::now(),
        gone_at: None,
        daily_version: 0,
        label_renames: Default::default(),
        heard_private: None,
        unknown: serde_json::Map::new(),
    }
}

pub(crate) fn thread(number: u64, title: &str, comments: usize) -> Record {
    let name = RecordRepository { id: ID, full_name: "owner/name".parse().unwrap() };
    let mut record = Record::new(name, number, Kind::Issue, Timestamp::now());
    let at = |hour: usize| format!("2026-01-01T{hour:02}:00:00Z");
    record.issue = Some(json!({
        "number": number, "title": title, "body": "text", "state": "open", "user": {"login": "ann", "id": 1},
        "created_at": at(0), "updated_at": at(comments), "labels": [{"name": "bug", "color": "ff0000"}],
        "comments": comments,
    }));
    let comment = |ordinal: usize| -> Value {
        json!({"event": "commented", "id": ordinal, "node_id": format!("IC_{ordinal}"), "body": format!("word {ordinal}"),
            "user": {"login": "bob", "id": 2}, "actor": {"login": "bob", "id": 2}, "created_at": at(ordinal + 1)})
    };
    let labeled = json!({"event": "labeled", "id": 900, "label": {"name": "bug", "color": "ff0000"},
        "actor": {"login": "bob", "id": 2}, "created_at": at(0)});
    record.timeline = std::iter::once(labeled).chain((0..comments).map(comment)).collect();
    record
}
