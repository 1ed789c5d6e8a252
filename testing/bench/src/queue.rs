//! The queue on SQLite, over the bare SQLite statements that the same work cannot do without.
//!
//! The bare table has the columns of the queue's, its primary key and one index by which ready jobs are found in order;
//! it is opened by the queue's own function ([`gharvest_queue_sqlite::Bare`]: write-ahead log, a sync at each commit, a
//! thread that brings the log in beside commits) and has transactions of the same size. It has no counters, lanes,
//! fairness, tokens or merging. Each size has files of its own, filled before it is measured.

use std::{
    ops::RangeInclusive,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use gharvest_queue::{LeaseRequest, Outcome, Policy, Pushed, Queue, QueueAdmin, Settled, Settlement, Timing, Trigger};
use gharvest_queue_sqlite::SqliteQueue;
use rusqlite::params;
use tokio::sync::{mpsc, oneshot};

use crate::{
    measure::{Scale, Times, in_turns, rate, timed},
    memory,
    table::Row,
};

/// A range is pushed in transactions of so many numbers.
const RANGE_STEP: u64 = 10_000;
/// The most operations that the queue commits together, and so many callers push at once.
const GROUP: u64 = 256;
/// The repository of all jobs.
const REPOSITORY: RepositoryId = RepositoryId(1);
/// Numbers beyond any that a range holds.
const BEYOND: u64 = 100_000_000;

/// Pushes, leases and finishes at growing sizes.
pub async fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let mut rows = push_range(scale).await?;
    rows.extend(push_singles(scale).await?);
    let usual: &[u64] = &[1_000, 10_000, 100_000, 1_000_000];
    let sizes = match scale.size {
        Some(size) => vec![1_000.min(size), size],
        None => scale.of(vec![1_000, 10_000], usual.to_vec(), [usual, &[10_000_000]].concat()),
    };
    let mut at_sizes = Vec::new();
    for size in sizes {
        at_sizes.push(at_size(scale, size).await?);
    }
    let (smallest, largest) = (&at_sizes[0], &at_sizes[at_sizes.len() - 1]);
    let flat = |what: &str, of: &dyn Fn(&AtSize) -> f64| {
        Row::new(format!("{what}: {} waiting over {}", largest.size, smallest.size), of(largest), "jobs/s")
            .over(format!("the same at {} waiting", smallest.size), of(smallest))
            .at_least(0.7)
    };
    let flat_rows =
        [flat("lease + finish at batch 1", &|at| at.batch_1), flat("lease + finish at batch 50", &|at| at.batch_50)];
    rows.extend(at_sizes.iter().flat_map(|at| at.rows.clone()));
    rows.extend(flat_rows);
    Ok(rows)
}

/// What was measured at one size.
struct AtSize {
    size: u64,
    batch_1: f64,
    batch_50: f64,
    rows: Vec<Row>,
}

async fn push_range(scale: &Scale) -> Result<Vec<Row>> {
    let size = scale.of(10_000, 150_000, 150_000);
    let ours = async || {
        let folder = tempfile::tempdir()?;
        let queue = open(folder.path()).await?;
        Ok(timed(fill(&*queue, 1..=size)).await?.1)
    };
    let bare = async || {
        let folder = tempfile::tempdir()?;
        tokio::task::block_in_place(|| Bare::open(folder.path())?.insert(1..=size, RANGE_STEP))
    };
    let (ours, bare) = in_turns(3, ours, bare).await?;
    Ok(vec![
        Row::new(format!("push_range 1..{size}"), ours.as_secs_f64(), "s").at_most(2.0),
        Row::new(format!("push_range 1..{size}"), rate(size, ours), "jobs/s")
            .over(format!("bare inserts, {RANGE_STEP} a transaction"), rate(size, bare))
            .at_least(0.7),
    ])
}

async fn push_singles(scale: &Scale) -> Result<Vec<Row>> {
    let (alone, together) = (scale.of(50, 2_000, 2_000), scale.of(512, 50_000, 50_000));
    let ours = async |callers: u64, count: u64| {
        let folder = tempfile::tempdir()?;
        let queue = open(folder.path()).await?;
        Ok(timed(push_each(&*queue, callers, count)).await?.1)
    };
    let bare = async |group: u64, count: u64| {
        let folder = tempfile::tempdir()?;
        tokio::task::block_in_place(|| Bare::open(folder.path())?.insert(1..=count, group))
    };
    let handed = async || {
        let folder = tempfile::tempdir()?;
        Ok(timed(hand_over(Bare::open(folder.path())?, alone)).await?.1)
    };
    let one = in_turns(3, async || ours(1, alone).await, handed).await?;
    let direct = bare(1, alone).await?;
    let many = in_turns(3, async || ours(GROUP, together).await, async || bare(GROUP, together).await).await?;
    Ok(vec![
        Row::new("push of one trigger, one caller", rate(alone, one.0), "jobs/s")
            .over("bare inserts, 1 a transaction, by a thread that is asked", rate(alone, one.1))
            .at_least(0.7),
        Row::new("the same inserts without asking a thread", rate(alone, direct), "jobs/s"),
        Row::new(format!("push of one trigger, {GROUP} callers"), rate(together, many.0), "jobs/s")
            .over(format!("bare inserts, {GROUP} a transaction"), rate(together, many.1)),
    ])
}

/// Bare inserts by a thread that owns the connection and is asked for each, as every caller that must not block has to.
async fn hand_over(mut bare: Bare, count: u64) -> Result<()> {
    let (numbers, mut asked) = mpsc::channel::<(u64, oneshot::Sender<Result<Duration>>)>(1);
    std::thread::spawn(move || {
        while let Some((number, done)) = asked.blocking_recv() {
            // Who asked waits for it, or the measurement is over.
            drop(done.send(bare.insert(number..=number, 1)));
        }
    });
    for number in 1..=count {
        let (done, kept) = oneshot::channel();
        numbers.send((number, done)).await.context("the thread of the bare inserts ended")?;
        kept.await??;
    }
    Ok(())
}

async fn push_each(queue: &dyn Queue, callers: u64, count: u64) -> Result<()> {
    let pushes = stream::iter(1..=count).map(|number| async move {
        let pushed = queue.push(&[trigger(number)], None).await?;
        ensure!(pushed == [Pushed::New], "a new trigger was {pushed:?}");
        Ok(())
    });
    pushes.buffer_unordered(callers as usize).try_collect().await
}

fn trigger(number: u64) -> Trigger {
    let subject = Subject::item(REPOSITORY, number);
    Trigger {
        queue: QueueName::Download,
        subject,
        lane: Lane::Webhook,
        timing: Timing::Settled,
        reason: "bench".into(),
    }
}

async fn at_size(scale: &Scale, size: u64) -> Result<AtSize> {
    let folder = tempfile::tempdir()?;
    let before = memory::reset_peak();
    let queue = open(folder.path()).await?;
    fill(&*queue, 1..=size).await?;
    let looks = look_often(&*queue, scale.of(20, 500, 500)).await?;
    let grown = memory::peak().saturating_sub(before);
    let file = std::fs::metadata(folder.path().join("queue.sqlite"))?.len();
    let mut bare = Bare::open(folder.path())?;
    bare.insert(1..=size, RANGE_STEP)?;

    let mut rows = Vec::new();
    let mut rates = [0.0; 2];
    let (mut next, mut bare_next) = (BEYOND, BEYOND);
    // What is taken is put back, so that each round finds as many jobs.
    for (slot, batch, jobs) in [(0, 1, scale.of(20, 400, 400)), (1, 50, scale.of(500, 10_000, 10_000))] {
        let jobs = jobs.min(size);
        let ours = async || {
            let time = timed(lease_and_finish(&*queue, batch, jobs)).await?.1;
            fill(&*queue, next..=next + jobs - 1).await?;
            next += jobs;
            Ok(time)
        };
        let bare = async || {
            let time = tokio::task::block_in_place(|| bare.lease_and_finish(batch, jobs))?;
            bare.insert(bare_next..=bare_next + jobs - 1, RANGE_STEP)?;
            bare_next += jobs;
            Ok(time)
        };
        let (ours, bare) = in_turns(scale.of(1, 3, 3), ours, bare).await?;
        rates[slot] = rate(jobs, ours);
        rows.push(
            Row::new(format!("lease + finish at batch {batch}, {size} waiting"), rate(jobs, ours), "jobs/s")
                .over("bare select and update, then delete", rate(jobs, bare))
                .at_least(if batch == 1 { 0.6 } else { 0.3 }),
        );
    }
    rows.push(Row::new(format!("a status, {size} waiting, p99"), looks.percentile(0.99), "ms").at_most(5.0));
    rows.push(Row::new(format!("memory for {size} waiting"), memory::mebibytes(grown), "MiB").at_most(64.0));
    rows.push(Row::new(format!("file for {size} waiting, a job"), file as f64 / size as f64, "bytes"));
    Ok(AtSize { size, batch_1: rates[0], batch_50: rates[1], rows })
}

async fn open(folder: &Path) -> Result<Arc<SqliteQueue>> {
    Ok(SqliteQueue::open(&folder.join("queue.sqlite"), Policy::default()).await?)
}

/// Pushes a range of numbers that the queue does not have.
pub(crate) async fn fill(queue: &dyn Queue, numbers: RangeInclusive<u64>) -> Result<()> {
    let count = numbers.end() - numbers.start() + 1;
    let pushed = queue.push_range(QueueName::Download, REPOSITORY, numbers, Lane::Backfill).await?;
    ensure!(pushed.new == count, "of {count} new jobs {} were", pushed.new);
    Ok(())
}

async fn look_often(queue: &dyn QueueAdmin, rounds: usize) -> Result<Times> {
    let mut times = Times::default();
    for _ in 0..rounds {
        times.add(timed(look(queue)).await?.1);
    }
    Ok(times)
}

/// What `queue-cli status` asks of a queue that works for one repository.
pub(crate) async fn look(queue: &dyn QueueAdmin) -> Result<()> {
    for name in QueueName::ALL {
        queue.counts(name).await?;
        queue.oldest(name).await?;
        queue.repository_counts(name, REPOSITORY).await?;
    }
    queue.pauses().await?;
    Ok(())
}

/// One worker takes so many jobs in batches and finishes them.
pub(crate) async fn lease_and_finish(queue: &dyn Queue, batch: usize, jobs: u64) -> Result<()> {
    let mut done = 0;
    while done < jobs {
        let max = batch.min((jobs - done) as usize);
        done += lease_once(queue, max).await?;
    }
    Ok(())
}

/// Takes up to `max` jobs and finishes them. Says how many.
pub(crate) async fn lease_once(queue: &dyn Queue, max: usize) -> Result<u64> {
    let request = LeaseRequest {
        queue: QueueName::Download,
        max,
        hold: Duration::from_secs(60),
        repository: None,
        request: format!("{:016x}", fastrand::u64(..)),
    };
    let lease = queue.lease(&request).await?.lease.context("there are jobs, but none was leased")?;
    let finished = lease.jobs.iter().map(|job| Settlement {
        subject: job.subject.clone(),
        outcome: Outcome::Finish,
        follow_up: None,
    });
    let settled = queue.settle(QueueName::Download, lease.token, &finished.collect::<Vec<_>>()).await?;
    ensure!(settled.iter().all(|settled| *settled == Settled::Finished), "a job was not finished: {settled:?}");
    Ok(settled.len() as u64)
}

/// A table of jobs without a queue.
struct Bare {
    sqlite: gharvest_queue_sqlite::Bare,
    token: u64,
}

impl Bare {
    fn open(folder: &Path) -> Result<Self> {
        let sqlite = gharvest_queue_sqlite::Bare::open(&folder.join("bare.sqlite"))?;
        sqlite.connection.execute_batch(
            "CREATE TABLE job (
                 queue INTEGER NOT NULL, repository INTEGER NOT NULL, name ANY NOT NULL,
                 state INTEGER NOT NULL, lane INTEGER NOT NULL, attempts INTEGER NOT NULL,
                 at INTEGER, sequence INTEGER NOT NULL, token INTEGER, extra TEXT,
                 PRIMARY KEY (queue, repository, name)
             ) STRICT, WITHOUT ROWID;
             CREATE INDEX ready ON job (queue, repository, lane, sequence) WHERE state = 1;",
        )?;
        Ok(Self { sqlite, token: 0 })
    }

    fn insert(&mut self, numbers: RangeInclusive<u64>, per_transaction: u64) -> Result<Duration> {
        let begun = Instant::now();
        let (mut first, last) = numbers.into_inner();
        while first <= last {
            let end = last.min(first + per_transaction - 1);
            let transaction = self.sqlite.connection.transaction()?;
            {
                let mut insert = transaction.prepare_cached(
                    "INSERT INTO job (queue, repository, name, state, lane, attempts, sequence)
                     VALUES (0, 1, ?1, 1, 3, 0, ?1)",
                )?;
                for number in first..=end {
                    insert.execute([number])?;
                }
            }
            transaction.commit()?;
            self.sqlite.committed();
            first = end + 1;
        }
        Ok(begun.elapsed())
    }

    fn lease_and_finish(&mut self, batch: usize, jobs: u64) -> Result<Duration> {
        let begun = Instant::now();
        let mut done = 0;
        while done < jobs {
            let max = batch.min((jobs - done) as usize);
            let names = self.lease(max)?;
            ensure!(names.len() == max, "the bare table ran out of jobs");
            self.finish(&names)?;
            done += max as u64;
        }
        Ok(begun.elapsed())
    }

    fn lease(&mut self, max: usize) -> Result<Vec<u64>> {
        self.token += 1;
        let transaction = self.sqlite.connection.transaction()?;
        let names: Vec<u64> = transaction
            .prepare_cached(
                "SELECT name FROM job WHERE queue = 0 AND repository = 1 AND lane = 3 AND state = 1
                 ORDER BY sequence LIMIT ?1",
            )?
            .query_map([max], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        {
            let mut update = transaction.prepare_cached(
                "UPDATE job SET state = 2, token = ?2, attempts = attempts + 1
                 WHERE queue = 0 AND repository = 1 AND name = ?1",
            )?;
            for name in &names {
                update.execute(params![name, self.token])?;
            }
        }
        transaction.commit()?;
        self.sqlite.committed();
        Ok(names)
    }

    fn finish(&mut self, names: &[u64]) -> Result<()> {
        let transaction = self.sqlite.connection.transaction()?;
        {
            let mut delete =
                transaction.prepare_cached("DELETE FROM job WHERE queue = 0 AND repository = 1 AND name = ?1")?;
            for name in names {
                delete.execute([name])?;
            }
        }
        transaction.commit()?;
        self.sqlite.committed();
        Ok(())
    }
}
