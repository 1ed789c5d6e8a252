//! The queue on SQLite, the embedded backend.
//!
//! One file in WAL mode. One thread owns the connection that writes and commits operations in groups, each durable when
//! it is answered; readers have connections of their own and never wait. Several processes may use one file at once:
//! writers take turns, and each notices within a quarter of a second what another pushed. The file must not lie on a
//! network filesystem, because WAL needs shared memory.
//!
//! The rules of a job's life and of scheduling are those of [`gharvest_queue::rules`] and
//! [`gharvest_queue::schedule`]; this crate stores, counts and orders. See `schema.rs` for the tables.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use gharvest_queue::{
    Clock, Counts, Durability, Error, ErrorKind, Extended, Filter, JobView, LeaseReply, LeaseRequest, Paused, Policy,
    Purged, Pushed, Queue, QueueAdmin, RangePushed, Result, Scope, Settled, Settlement, Token, Trigger, check,
    clock::timestamp, key::Key, wake,
};
use jiff::Timestamp;
use tokio::sync::Notify;

mod error;
mod head;
mod readers;
mod row;
mod schema;
mod select;
#[cfg(test)]
mod tests;
mod unit;
mod verify;
mod writer;

use readers::{Keeper, Readers};
use writer::Writer;

/// How many numbers of a range are pushed in one step: other callers get their turn between steps.
const RANGE_STEP: u64 = 10_000;

/// A queue in a SQLite file.
#[derive(Debug)]
pub struct SqliteQueue {
    writer: Writer,
    readers: Arc<Readers>,
    clock: Clock,
    changed: Arc<Notify>,
    _keeper: Keeper,
}

impl SqliteQueue {
    /// Opens the queue in a file, and makes it if there is none; its folder must exist.
    pub async fn open(path: &Path, policy: Policy) -> Result<Arc<Self>> {
        Self::open_with_clock(path, policy, Clock::System).await
    }

    /// The same with a clock of one's own.
    pub async fn open_with_clock(path: &Path, policy: Policy, clock: impl Into<Clock>) -> Result<Arc<Self>> {
        policy.validate()?;
        let clock = clock.into();
        let path = path.to_owned();
        let opening =
            tokio::task::spawn_blocking(move || Self::start(schema::open_writer(&path)?, path, policy, clock));
        opening.await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "open", "opening the queue was interrupted").with_source(error)
        })?
    }
}

impl SqliteQueue {
    fn start(connection: rusqlite::Connection, path: PathBuf, policy: Policy, clock: Clock) -> Result<Arc<Self>> {
        let changed = Arc::new(Notify::new());
        let commits = Arc::new(AtomicU64::new(0));
        let keeper = readers::keep(schema::open_keeper(&path)?, Arc::downgrade(&changed), Arc::clone(&commits))?;
        let signal = Arc::clone(&changed);
        let committed = move || {
            commits.fetch_add(1, Ordering::Relaxed);
            signal.notify_waiters();
        };
        let writer = Writer::start(connection, policy, clock.clone(), committed)?;
        Ok(Arc::new(Self { writer, readers: Readers::new(path), clock, changed, _keeper: keeper }))
    }
}

/// A connection with the settings of the queue's own and a keeper beside it, but without a queue: the bare SQLite that
/// benchmarks measure the queue against.
#[derive(Debug)]
pub struct Bare {
    /// The one connection that writes.
    pub connection: rusqlite::Connection,
    commits: Arc<AtomicU64>,
    _changed: Arc<Notify>,
    _keeper: Keeper,
}

impl Bare {
    /// Opens a file, and makes it if there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let connection = schema::open_bare(path)?;
        let (changed, commits) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
        let keeper = readers::keep(schema::open_keeper(path)?, Arc::downgrade(&changed), Arc::clone(&commits))?;
        Ok(Self { connection, commits, _changed: changed, _keeper: keeper })
    }

    /// Counts a commit: the keeper goes by their number.
    pub fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn push(&self, triggers: &[Trigger], delivery: Option<&str>) -> Result<Vec<Pushed>> {
        let keys = check::triggers(triggers, delivery)?;
        let (triggers, delivery) = (triggers.to_vec(), delivery.map(str::to_owned));
        self.writer.run("push", move |unit| unit.push(&triggers, &keys, delivery.as_deref())).await
    }

    async fn push_range(
        &self,
        queue: QueueName,
        repository: RepositoryId,
        numbers: RangeInclusive<u64>,
        lane: Lane,
    ) -> Result<RangePushed> {
        let mut pushed = RangePushed::default();
        if check::range(repository, &numbers)? == 0 {
            return Ok(pushed);
        }
        let (mut first, last) = numbers.into_inner();
        while first <= last {
            let end = last.min(first + RANGE_STEP - 1);
            let step = self
                .writer
                .run("push_range", move |unit| unit.push_range(queue, repository, first..=end, lane))
                .await?;
            pushed.new += step.new;
            pushed.merged += step.merged;
            first = end + 1;
        }
        Ok(pushed)
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<LeaseReply> {
        let max = check::lease(request)?;
        let request = request.clone();
        self.writer.run("lease", move |unit| unit.lease(&request, max)).await
    }

    async fn extend(&self, queue: QueueName, token: Token, hold: Duration) -> Result<Extended> {
        self.writer.run("extend", move |unit| unit.extend(queue, token, hold)).await
    }

    async fn settle(&self, queue: QueueName, token: Token, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let keys = check::settlements(settlements)?;
        let settlements = settlements.to_vec();
        self.writer.run("settle", move |unit| unit.settle(queue, token, &settlements, &keys)).await
    }

    async fn pause(&self, scope: &Scope, until: Timestamp, reason: &str) -> Result<()> {
        check::scope("pause", scope)?;
        let (queue, repository) = split(scope);
        let reason = check::cut(reason, check::LONGEST_FAILURE).to_owned();
        let until = until.as_millisecond();
        self.writer.run("pause", move |unit| unit.pause(queue, repository, until, &reason)).await
    }

    async fn resume(&self, scope: &Scope) -> Result<()> {
        check::scope("resume", scope)?;
        let (queue, repository) = split(scope);
        self.writer.run("resume", move |unit| unit.resume(queue, repository)).await
    }

    async fn wait(&self, queue: QueueName, until: Option<Timestamp>) -> Result<()> {
        let outlook = || {
            let now = self.clock.now();
            self.readers.read("wait", move |connection| {
                select::outlook(connection, queue, &head::load(connection, queue)?, now)
            })
        };
        wake::wait(&self.clock, &self.changed, until.map(|until| until.as_millisecond()), outlook).await
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(timestamp(self.clock.now()))
    }
}

/// The queue of a scope, and the repository if only that is meant.
fn split(scope: &Scope) -> (QueueName, Option<u64>) {
    match scope {
        Scope::Queue(queue) => (*queue, None),
        Scope::Repository(queue, repository) => (*queue, Some(repository.0)),
    }
}

#[async_trait]
impl QueueAdmin for SqliteQueue {
    async fn counts(&self, queue: QueueName) -> Result<Counts> {
        let now = self.clock.now();
        self.readers.read("counts", move |connection| select::counts(connection, queue, None, now)).await
    }

    async fn repository_counts(&self, queue: QueueName, repository: RepositoryId) -> Result<Counts> {
        let now = self.clock.now();
        let counts = move |connection: &_| select::counts(connection, queue, Some(repository.0), now);
        self.readers.read("repository_counts", counts).await
    }

    async fn job(&self, queue: QueueName, subject: &Subject) -> Result<Option<JobView>> {
        let key = Key::new("job", subject)?;
        let job = move |connection: &_| match select::job(connection, queue, &key)? {
            None => Ok(None),
            Some(stored) => select::view(connection, queue, &key, &stored).map(Some),
        };
        self.readers.read("job", job).await
    }

    async fn list(
        &self,
        queue: QueueName,
        filter: &Filter,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<Vec<JobView>> {
        let after = after.map(|subject| Key::new("list", subject)).transpose()?;
        let filter = filter.clone();
        let list = move |connection: &_| {
            let jobs = select::list(connection, queue, &filter, after.as_ref(), limit)?;
            jobs.iter().map(|(key, stored)| select::view(connection, queue, key, stored)).collect()
        };
        self.readers.read("list", list).await
    }

    async fn purge_some(&self, queue: QueueName, filter: &Filter, after: Option<&str>) -> Result<Purged> {
        let (filter, after) = (filter.clone(), check::place("purge", after)?);
        self.writer.run("purge", move |unit| unit.purge(queue, &filter, after.as_ref())).await
    }

    async fn remove(&self, queue: QueueName, subject: &Subject) -> Result<bool> {
        let key = Key::new("remove", subject)?;
        self.writer.run("remove", move |unit| unit.remove(queue, &key)).await
    }

    async fn revive(&self, queue: QueueName, filter: &Filter, limit: usize) -> Result<u64> {
        let filter = filter.clone();
        self.writer.run("revive", move |unit| unit.revive(queue, &filter, limit)).await
    }

    async fn pauses(&self) -> Result<Vec<(Scope, Paused)>> {
        let now = self.clock.now();
        let pauses = move |connection: &_| {
            let mut all = Vec::new();
            for queue in QueueName::ALL {
                all.extend(select::pauses(connection, queue, now)?.into_iter().map(|(repository, paused)| {
                    let scope = repository
                        .map_or(Scope::Queue(queue), |repository| Scope::Repository(queue, RepositoryId(repository)));
                    (scope, paused)
                }));
            }
            Ok(all)
        };
        self.readers.read("pauses", pauses).await
    }

    async fn oldest(&self, queue: QueueName) -> Result<[Option<Timestamp>; 5]> {
        let now = self.clock.now();
        let oldest = self.readers.read("oldest", move |connection| select::oldest(connection, queue, now)).await?;
        Ok(oldest.map(|at| at.map(timestamp)))
    }

    async fn verify(&self) -> Result<Vec<String>> {
        self.readers.read("verify", verify::verify).await
    }

    async fn durability(&self) -> Result<Durability> {
        let loss = "SQLite with synchronous=FULL: nothing accepted is lost, by a crash of the process or by a power \
                    cut, if the disk keeps what it says it wrote";
        Ok(Durability { loss, remedy: None })
    }
}
