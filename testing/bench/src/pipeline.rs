//! The whole pipeline: from a simulated GitHub that answers at once, through download queue, archive and index queue,
//! to searchable; over its slowest stage alone.
//!
//! Measured one after the other on the same generated repository:
//! 1. the downloader alone: walk, fetch, write records, push index jobs that nobody takes;
//! 2. the indexer alone, on the archive and the index jobs that the first left;
//! 3. both at once, as `gharvest mirror` runs them.
//!
//! Two limits are printed. The slowest stage alone is what a pipeline tends to on a machine with a core to spare for
//! each stage. On a small machine the stages share the cores, so nothing can be quicker than the processor time of all
//! of them (the simulated GitHub's included, which runs beside as a process of its own) spread over all cores. The goal
//! is judged against the lower of the two limits, which is the one that holds on this machine.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use gharvest_archive::Archive;
use gharvest_downloader::track;
use gharvest_github::Client;
use gharvest_github_simulator::{Options, Simulator, World};
use gharvest_indexer::verify::{Step, verify};
use gharvest_model::{QueueName, RepositoryId, RepositoryName, Subject, job::part};
use gharvest_queue::{JobState, Queue, QueueAdmin};
use gharvest_search::SearchIndex;
use gharvest_service_kit::{Settings, load::Sources};
use gharvest_state::State;
use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    measure::{Scale, rate},
    memory,
    table::Row,
};

/// The share of the limit that the whole should reach.
const GOAL: f64 = 0.7;
const REPOSITORY: &str = "orchard/harvester";
/// How often it is looked whether everything is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Serves the simulated GitHub from this process: prints its address, and ends with standard input.
#[allow(clippy::print_stdout, reason = "the process that started this one reads it")]
pub fn simulate(items: u64) -> Result<()> {
    let simulator = Simulator::start(World::generated(7, REPOSITORY.parse()?, items), Options::unlimited())?;
    println!("{}", simulator.api_url());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    simulator.shutdown();
    Ok(())
}

/// Runs the stages alone, then together.
pub async fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let items = scale.pick(150, 4_000, 10_000);
    let github = Github::start(items)?;
    let apart = tempfile::tempdir()?;
    let system = System::open(apart.path(), &github.url).await?;
    let id = system.track().await?;
    let download = system.run(&github, id, Stages { download: true, index: false }).await?;
    let index = system.run(&github, id, Stages { download: false, index: true }).await?;
    system.check(id).await?;
    drop(system);

    let together = tempfile::tempdir()?;
    let system = System::open(together.path(), &github.url).await?;
    let id = system.track().await?;
    let whole = system.run(&github, id, Stages { download: true, index: true }).await?;
    system.check(id).await?;
    drop(system);
    let mut rows = rates(items, &download, &index, &whole);
    for (what, folder) in [("archive", "archive"), ("index", "index")] {
        let bytes = memory::size_of(&together.path().join(folder))?;
        rows.push(Row::new(format!("{what} on disk, an item"), bytes as f64 / items as f64 / 1024.0, "KiB"));
    }
    Ok(rows)
}

fn rates(items: u64, download: &Run, index: &Run, whole: &Run) -> Vec<Row> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let slowest = rate(items, download.time.max(index.time));
    let shared = rate(items, (download.processor + index.processor).div_f64(cores));
    let measured = rate(items, whole.time);
    let row = || Row::new(format!("whole pipeline, {items} items"), measured, "items/s");
    let by_stage = row().over("the slowest stage alone", slowest);
    let by_processor = row().over(format!("processor time of all stages over {cores} cores"), shared);
    let (by_stage, by_processor) = if slowest <= shared {
        (by_stage.at_least(GOAL), by_processor)
    } else {
        (by_stage, by_processor.at_least(GOAL))
    };
    let per_item = |run: &Run| run.processor.as_secs_f64() * 1000.0 / items as f64;
    vec![
        Row::new("downloader alone", rate(items, download.time), "items/s"),
        Row::new("indexer alone", rate(items, index.time), "items/s"),
        by_stage,
        by_processor,
        Row::new("processor time an item, downloader and GitHub", per_item(download), "ms"),
        Row::new("processor time an item, indexer", per_item(index), "ms"),
        Row::new("processor time an item, whole", per_item(whole), "ms"),
        Row::new("peak memory, downloader", memory::mebibytes(download.peak), "MiB"),
        Row::new("peak memory, whole", memory::mebibytes(whole.peak), "MiB"),
    ]
}

/// The simulated GitHub in a process of its own.
struct Github {
    url: String,
    child: Child,
    _stdin: Option<ChildStdin>,
}

impl Github {
    fn start(items: u64) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--simulate", &items.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the simulated GitHub")?;
        let stdin = child.stdin.take();
        let mut url = String::new();
        BufReader::new(child.stdout.take().context("standard output is a pipe")?).read_line(&mut url)?;
        Ok(Self { url: url.trim().trim_end_matches('/').to_owned(), child, _stdin: stdin })
    }
}

impl Drop for Github {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Which components run.
#[derive(Clone, Copy)]
struct Stages {
    download: bool,
    index: bool,
}

/// What a run took.
struct Run {
    time: Duration,
    /// Of this process and the simulated GitHub.
    processor: Duration,
    peak: u64,
}

/// The embedded backends, as `gharvest` opens them.
struct System {
    settings: Settings,
    queue: Arc<dyn QueueAdmin>,
    state: Arc<dyn State>,
    archive: Archive,
    index: Arc<dyn SearchIndex>,
    github: Client,
}

impl System {
    async fn open(folder: &Path, api_url: &str) -> Result<Self> {
        let settings = settings(folder, api_url)?;
        let archive = gharvest_backends::archive(&settings).await?;
        let queue = gharvest_backends::queue(&settings).await?;
        let state = gharvest_backends::state(&settings).await?;
        let index = gharvest_backends::index(&settings).await?;
        index.ensure(archive.id()).await?;
        let github = gharvest_backends::github(&settings, Some(Arc::clone(&state)))?;
        Ok(Self { settings, queue, state, archive, index, github })
    }

    async fn track(&self) -> Result<RepositoryId> {
        let name: RepositoryName = REPOSITORY.parse()?;
        let tracked = track::track(&self.archive, &self.github, &*self.queue, &name).await;
        Ok(tracked.map_err(|failure| anyhow::anyhow!("tracking {name}: {failure}"))?.id)
    }

    /// Runs the stages until they have nothing more to do.
    async fn run(&self, github: &Github, id: RepositoryId, stages: Stages) -> Result<Run> {
        memory::reset_peak();
        let processor_before = processor_time(github);
        let begun = Instant::now();
        let shutdown = CancellationToken::new();
        let mut workers = self.start(stages, &shutdown);
        while !self.is_done(id, stages).await? {
            ensure!(
                begun.elapsed() < PATIENCE,
                "the pipeline does not end: {:?}",
                self.queue.counts(QueueName::Download).await?
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let time = begun.elapsed();
        let processor = processor_time(github).saturating_sub(processor_before);
        let peak = memory::peak();
        shutdown.cancel();
        while let Some(ended) = workers.join_next().await {
            ended.context("a component panicked")?;
        }
        Ok(Run { time, processor, peak })
    }

    fn start(&self, stages: Stages, shutdown: &CancellationToken) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        let queue: Arc<dyn Queue> = Arc::clone(&self.queue) as _;
        if stages.download {
            workers.spawn(gharvest_downloader::run(
                Arc::clone(&queue),
                self.archive.clone(),
                self.github.clone(),
                gharvest_downloader::Options::new(&self.settings),
                shutdown.clone(),
            ));
        }
        if stages.index {
            workers.spawn(gharvest_indexer::run(
                queue,
                self.archive.clone(),
                Arc::clone(&self.state),
                Arc::clone(&self.index),
                gharvest_indexer::Options::new(&self.settings),
                shutdown.clone(),
            ));
        }
        workers
    }

    /// Daily counts wait for a quiet minute: everything else is waited for.
    async fn is_done(&self, id: RepositoryId, stages: Stages) -> Result<bool> {
        if stages.download && self.queue.counts(QueueName::Download).await?.outstanding() > 0 {
            return Ok(false);
        }
        if stages.index {
            let daily = self.queue.job(QueueName::Index, &Subject::part(id, part::DAILY)).await?;
            let daily = u64::from(daily.is_some_and(|job| job.state == JobState::Delayed));
            if self.queue.counts(QueueName::Index).await?.outstanding() > daily {
                return Ok(false);
            }
        }
        Ok(track::completeness(&self.archive, id).await?.is_complete())
    }

    /// Everything is mirrored, and every document is what its record says.
    async fn check(&self, id: RepositoryId) -> Result<()> {
        let completeness = track::completeness(&self.archive, id).await?;
        ensure!(completeness.is_complete(), "the mirror is not complete: {completeness:?}");
        let mut differences = Vec::new();
        let mut tell = |step: Step<'_>| {
            if let Step::Found(difference) = step {
                differences.push(format!("{difference:?}"));
            }
        };
        let compared = verify(&self.archive, &*self.index, &[id], &mut tell).await;
        let compared = compared.map_err(|failure| anyhow::anyhow!("comparing index and archive: {failure}"))?;
        ensure!(compared.items > 0 && differences.is_empty(), "index and archive differ: {compared:?} {differences:?}");
        Ok(())
    }
}

fn processor_time(github: &Github) -> Duration {
    let of = |process| memory::processor_time(process).unwrap_or_default();
    of(std::process::id()) + of(github.child.id())
}

/// Defaults for a GitHub on this machine without limits.
fn settings(folder: &Path, api_url: &str) -> Result<Settings> {
    let environment = std::collections::BTreeMap::new();
    let sources = Sources { config: None, data_dir: Some(folder.to_owned()), environment };
    let mut settings = sources.load()?.settings;
    api_url.clone_into(&mut settings.github.api_url);
    settings.github.tokens = vec![SecretString::from("simulated-bench")];
    settings.github.points_per_minute = u32::MAX;
    settings.github.concurrency = 16;
    settings.downloader.workers = 8;
    settings.archive.min_free_bytes = 0;
    Ok(settings)
}
