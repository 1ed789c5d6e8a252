//! The queue on Redis beside BullMQ, on the same server with the same durability (append-only file, a sync a second).
//!
//! Both have jobs with ids of their own and no data, and as many in flight: a batch of 50 of ours against a worker of
//! BullMQ's with 50 at a time. BullMQ runs in Node, as its users run it, pinned by `bullmq/package-lock.json`; npm
//! installs it into the target folder the first time. Without npm ours is measured alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use gharvest_model::{Lane, QueueName, RepositoryId, Subject};
use gharvest_queue::{Policy, Pushed, Queue, Timing, Trigger};
use gharvest_queue_redis::RedisQueue;
use gharvest_testkit::redis::RedisServer;
use serde_json::Value;

use crate::{
    measure::{Scale, Times, in_turns, rate, timed},
    queue::{fill, lease_and_finish, look},
    table::Row,
};

/// Jobs in flight, on both sides.
const IN_FLIGHT: usize = 50;

/// Measures ours, and BullMQ where npm is.
pub async fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let Some(redis) = RedisServer::start("the queue on Redis", &[]) else {
        eprintln!("the queue on Redis is not measured");
        return Ok(Vec::new());
    };
    let bull = Bull::install(&redis)?;
    let mut rows = pushes(scale, &redis, bull.as_ref()).await?;
    rows.extend(work(scale, &redis, bull.as_ref()).await?);
    rows.extend(space(scale, &redis, bull.as_ref()).await?);
    rows.extend(flatness(scale, &redis).await?);
    Ok(rows)
}

/// A queue on an empty server.
async fn fresh(redis: &RedisServer) -> Result<Arc<RedisQueue>> {
    ensure!(redis.command("FLUSHALL").starts_with("+OK"), "Redis was not emptied");
    Ok(RedisQueue::connect(&redis.url(), "bench", Policy::default()).await?)
}

async fn pushes(scale: &Scale, redis: &RedisServer, bull: Option<&Bull<'_>>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let shapes = [
        (format!("push of one trigger, {IN_FLIGHT} at once"), "push", 1, IN_FLIGHT, scale.of(200, 20_000, 20_000)),
        ("push of 50 triggers, one at once".to_owned(), "push-bulk", 50, 1, scale.of(500, 50_000, 50_000)),
    ];
    for (what, theirs, batch, at_once, jobs) in shapes {
        let ours = async || {
            let queue = fresh(redis).await?;
            Ok(timed(push(&*queue, jobs, batch, at_once)).await?.1)
        };
        let theirs = async || bull.map_or(Ok(Duration::MAX), |bull| bull.run_fresh(theirs, jobs, at_once));
        let (ours, theirs) = in_turns(scale.of(1, 3, 3), ours, theirs).await?;
        rows.push(beside(Row::new(what, rate(jobs, ours), "jobs/s"), bull, rate(jobs, theirs), 3.0));
    }
    Ok(rows)
}

async fn work(scale: &Scale, redis: &RedisServer, bull: Option<&Bull<'_>>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (batch, jobs, goal) in
        [(1, scale.of(100, 5_000, 5_000), None), (IN_FLIGHT, scale.of(500, 50_000, 50_000), Some(2.5))]
    {
        let ours = async || {
            let queue = fresh(redis).await?;
            push(&*queue, jobs, 50, 1).await?;
            Ok(timed(lease_and_finish(&*queue, batch, jobs)).await?.1)
        };
        let theirs = async || {
            let Some(bull) = bull else { return Ok(Duration::MAX) };
            bull.run_fresh("push-bulk", jobs, 1)?;
            bull.run("work", jobs, batch)
        };
        let (ours, theirs) = in_turns(scale.of(1, 3, 3), ours, theirs).await?;
        let row = Row::new(format!("lease + finish at batch {batch}"), rate(jobs, ours), "jobs/s");
        rows.push(match goal {
            Some(goal) => beside(row, bull, rate(jobs, theirs), goal),
            None if bull.is_some() => row.over("BullMQ, one job in flight", rate(jobs, theirs)),
            None => row,
        });
    }
    Ok(rows)
}

/// The row beside BullMQ's figure, with the goal that only then can be judged.
fn beside(row: Row, bull: Option<&Bull<'_>>, theirs: f64, goal: f64) -> Row {
    if bull.is_some() { row.over("BullMQ, as many jobs in flight", theirs).at_least(goal) } else { row }
}

/// Redis' memory for waiting jobs.
async fn space(scale: &Scale, redis: &RedisServer, bull: Option<&Bull<'_>>) -> Result<Vec<Row>> {
    let jobs = scale.pick(2_000, 200_000, 1_000_000);
    let queue = fresh(redis).await?;
    let empty = used(redis)?;
    fill(&*queue, 1..=jobs).await?;
    let backfill = (used(redis)? - empty) / jobs as f64;
    let queue = fresh(redis).await?;
    push(&*queue, jobs, 50, 4).await?;
    let triggered = (used(redis)? - empty) / jobs as f64;
    let mut rows = vec![
        Row::new(format!("memory of {jobs} jobs of a backfill, a job"), backfill, "bytes").at_most(40.0),
        Row::new(format!("memory of {jobs} triggered jobs, a job"), triggered, "bytes"),
    ];
    if let Some(bull) = bull {
        bull.run_fresh("push-bulk", jobs, 1)?;
        let theirs = (used(redis)? - empty) / jobs as f64;
        rows = rows.into_iter().map(|row| row.over("BullMQ", theirs)).collect();
    }
    Ok(rows)
}

/// Work on a short queue and on a long one.
async fn flatness(scale: &Scale, redis: &RedisServer) -> Result<Vec<Row>> {
    let (short, long) = (1_000, scale.pick(5_000, 1_000_000, 10_000_000));
    let jobs = scale.of(200, 20_000, 20_000);
    let mut figures = Vec::new();
    for size in [short, long] {
        let queue = fresh(redis).await?;
        let (_, filling) = timed(fill(&*queue, 1..=size)).await?;
        let mut latency = Times::default();
        let mut looks = Times::default();
        let mut worked = Duration::MAX;
        for round in 0..scale.of(1, 3, 3) {
            // As many as are taken lie behind what waits.
            let next = size + 1 + round * jobs;
            fill(&*queue, next..=next + jobs - 1).await?;
            worked = worked.min(timed(lease_and_finish(&*queue, IN_FLIGHT, jobs)).await?.1);
        }
        for number in 0..scale.of(20, 500, 500) {
            let one = 100_000_000 + number;
            latency.add(timed(push(&*queue, 1, 1, 1)).await?.1);
            fill(&*queue, one..=one).await?;
            looks.add(timed(look(&*queue)).await?.1);
        }
        figures.push((rate(size, filling), rate(jobs, worked), latency.percentile(0.99), looks.percentile(0.99)));
    }
    let (at_short, at_long) = (figures[0], figures[1]);
    Ok(vec![
        Row::new(format!("push_range 1..{long}"), at_long.0, "jobs/s"),
        Row::new(format!("lease + finish at batch {IN_FLIGHT}: {long} waiting over {short}"), at_long.1, "jobs/s")
            .over(format!("the same at {short} waiting"), at_short.1)
            .at_least(0.7),
        Row::new(format!("push of one trigger, {long} waiting, p99"), at_long.2, "ms").at_most(5.0),
        Row::new(format!("a status, {long} waiting, p99"), at_long.3, "ms").at_most(5.0),
    ])
}

/// Pushes triggers of other items in batches, so many batches at once.
async fn push(queue: &dyn Queue, jobs: u64, batch: u64, at_once: usize) -> Result<()> {
    let starts = (1..=jobs).step_by(batch as usize);
    let pushes = stream::iter(starts).map(|first| async move {
        let triggers: Vec<_> = (first..=jobs.min(first + batch - 1)).map(trigger).collect();
        let pushed = queue.push(&triggers, None).await?;
        let refused = pushed.iter().find(|pushed| !matches!(pushed, Pushed::New | Pushed::Merged));
        ensure!(refused.is_none(), "a trigger was {refused:?}");
        Ok(())
    });
    pushes.buffer_unordered(at_once).try_collect().await
}

/// A job that may be worked on at once, as BullMQ's.
fn trigger(number: u64) -> Trigger {
    Trigger {
        queue: QueueName::Download,
        subject: Subject::item(RepositoryId(1), number),
        lane: Lane::Manual,
        timing: Timing::Now,
        reason: "bench".into(),
    }
}

/// Bytes that Redis says its data takes.
fn used(redis: &RedisServer) -> Result<f64> {
    let info = redis.command("INFO memory");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.context("Redis says how much memory it uses")?.trim().parse()?)
}

/// BullMQ on a server of ours.
struct Bull<'r> {
    redis: &'r RedisServer,
    port: String,
    folder: PathBuf,
}

impl<'r> Bull<'r> {
    /// Installs what the lock file says into the target folder; none, after saying so, where npm is missing or fails.
    fn install(redis: &'r RedisServer) -> Result<Option<Self>> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| own.join("../../target"), PathBuf::from);
        let folder = target.join("npm").join("bullmq");
        fs::create_dir_all(&folder)?;
        let mut fresh = !folder.join("node_modules").try_exists()?;
        for file in ["package.json", "package-lock.json", "bench.mjs"] {
            let bytes = fs::read(own.join("bullmq").join(file))?;
            fresh |= file != "bench.mjs" && fs::read(folder.join(file)).ok().as_ref() != Some(&bytes);
            fs::write(folder.join(file), bytes)?;
        }
        // Not `npm ci`: it refuses a lock file that lists the native module of some platforms only.
        let install = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"];
        let run = || Command::new("npm").args(install).current_dir(&folder).stdout(Stdio::null()).status();
        let installed = !fresh || run().is_ok_and(|status| status.success());
        if !installed {
            eprintln!("npm cannot install BullMQ: ours is measured alone");
            return Ok(None);
        }
        let url = redis.url();
        let port = url.trim_end_matches("/0").rsplit(':').next().context("a server has a port")?.to_owned();
        Ok(Some(Self { redis, port, folder }))
    }

    /// Runs a script's measurement on an empty server.
    fn run_fresh(&self, what: &str, jobs: u64, at_once: usize) -> Result<Duration> {
        ensure!(self.redis.command("FLUSHALL").starts_with("+OK"), "Redis was not emptied");
        self.run(what, jobs, at_once)
    }

    fn run(&self, what: &str, jobs: u64, at_once: usize) -> Result<Duration> {
        let arguments =
            ["bench.mjs".to_owned(), self.port.clone(), what.to_owned(), jobs.to_string(), at_once.to_string()];
        let output =
            Command::new("node").args(arguments).current_dir(&self.folder).output().context("starting node")?;
        ensure!(output.status.success(), "BullMQ failed: {}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).context("what BullMQ's script says")?;
        Ok(Duration::from_secs_f64(said["seconds"].as_f64().context("BullMQ's script says how long it took")?))
    }
}
