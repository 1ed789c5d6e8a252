//! A whole gharvest on embedded backends, beside a simulated GitHub in a process of its own.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
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
use gharvest_queue::{Filter, JobState, Queue, QueueAdmin};
use gharvest_search::SearchIndex;
use gharvest_service_kit::{Settings, load::Sources};
use gharvest_state::State;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::memory;

/// The repository that a simulated GitHub shows.
pub(crate) const REPOSITORY: &str = "orchard/harvester";
/// How often it is looked whether everything is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// What a simulated GitHub shows, and how it behaves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Shown {
    /// So many generated items, unless there is a recording.
    pub items: u64,
    /// The folder of a recorded repository.
    pub recording: Option<PathBuf>,
    /// Every answer takes at least so many milliseconds.
    pub latency_ms: u64,
    /// GitHub's own limits; else none.
    pub limited: bool,
}

/// Serves a simulated GitHub from this process: prints its address, and ends with standard input.
///
/// # Errors
/// If the recording cannot be read.
#[allow(clippy::print_stdout, reason = "the process that started this one reads it")]
pub fn simulate(shown: &Shown) -> Result<()> {
    let name: RepositoryName = REPOSITORY.parse()?;
    let world = match &shown.recording {
        Some(folder) => World::recorded(folder, name),
        None => World::generated(7, name, shown.items),
    };
    let options = if shown.limited { Options::default() } else { Options::unlimited() };
    let simulator = Simulator::start(world, Options { latency: Duration::from_millis(shown.latency_ms), ..options })?;
    println!("{}", simulator.api_url());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    simulator.shutdown();
    Ok(())
}

/// The simulated GitHub in a process of its own.
pub(crate) struct Github {
    pub(crate) url: String,
    child: Child,
    _stdin: Option<ChildStdin>,
}

impl Github {
    pub(crate) fn start(shown: &Shown) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--simulate", &serde_json::to_string(shown)?])
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

/// gharvest's defaults, for a GitHub on this machine.
pub(crate) fn settings(folder: &Path, api_url: &str) -> Result<Settings> {
    let environment = std::collections::BTreeMap::new();
    let sources = Sources { config: None, data_dir: Some(folder.to_owned()), environment };
    let mut settings = sources.load()?.settings;
    api_url.clone_into(&mut settings.github.api_url);
    settings.github.tokens = vec![SecretString::from("simulated-bench")];
    settings.archive.min_free_bytes = 0;
    Ok(settings)
}

/// Which components run.
#[derive(Clone, Copy)]
pub(crate) struct Stages {
    pub(crate) download: bool,
    pub(crate) index: bool,
}

/// What a run took.
pub(crate) struct Run {
    pub(crate) time: Duration,
    /// Of this process and the simulated GitHub.
    pub(crate) processor: Duration,
    pub(crate) peak: u64,
}

/// The embedded backends, as `gharvest` opens them.
pub(crate) struct System {
    settings: Settings,
    pub(crate) queue: Arc<dyn QueueAdmin>,
    state: Arc<dyn State>,
    pub(crate) archive: Archive,
    index: Arc<dyn SearchIndex>,
    pub(crate) github: Client,
}

impl System {
    pub(crate) async fn open(settings: Settings) -> Result<Self> {
        let archive = gharvest_backends::archive(&settings).await?;
        let queue = gharvest_backends::queue(&settings).await?;
        let state = gharvest_backends::state(&settings).await?;
        let index = gharvest_backends::index(&settings).await?;
        index.ensure(archive.id()).await?;
        let github = gharvest_backends::github(&settings, Some(Arc::clone(&state)))?;
        Ok(Self { settings, queue, state, archive, index, github })
    }

    pub(crate) async fn track(&self) -> Result<RepositoryId> {
        let name: RepositoryName = REPOSITORY.parse()?;
        let tracked = track::track(&self.archive, &self.github, &*self.queue, &name).await;
        Ok(tracked.map_err(|failure| anyhow::anyhow!("tracking {name}: {failure}"))?.id)
    }

    /// Runs the stages until they have nothing more to do.
    pub(crate) async fn run(&self, github: &Github, id: RepositoryId, stages: Stages) -> Result<Run> {
        memory::reset_peak();
        let processor_before = processor_time(github);
        let begun = Instant::now();
        let shutdown = CancellationToken::new();
        let mut workers = self.start(stages, &shutdown);
        self.until(id, stages).await?;
        let time = begun.elapsed();
        let processor = processor_time(github).saturating_sub(processor_before);
        let peak = memory::peak();
        shutdown.cancel();
        while let Some(ended) = workers.join_next().await {
            ended.context("a component panicked")?;
        }
        Ok(Run { time, processor, peak })
    }

    /// Waits until other processes have nothing more to do.
    pub(crate) async fn until_done(&self, id: RepositoryId) -> Result<()> {
        self.until(id, Stages { download: true, index: true }).await
    }

    async fn until(&self, id: RepositoryId, stages: Stages) -> Result<()> {
        let begun = Instant::now();
        while !self.is_done(id, stages).await? {
            ensure!(
                begun.elapsed() < PATIENCE,
                "the pipeline does not end: {:?}",
                self.queue.counts(QueueName::Download).await?
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
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

    /// Everything is mirrored.
    pub(crate) async fn is_complete(&self, id: RepositoryId) -> Result<()> {
        let completeness = track::completeness(&self.archive, id).await?;
        ensure!(completeness.is_complete(), "the mirror is not complete: {completeness:?}");
        Ok(())
    }

    /// Takes all jobs of the repository off the queues.
    pub(crate) async fn forget_jobs(&self, id: RepositoryId) -> Result<()> {
        let filter = Filter { repository: Some(id), ..Filter::default() };
        for name in QueueName::ALL {
            self.queue.purge(name, &filter).await?;
        }
        Ok(())
    }

    /// Everything is mirrored, and every document is what its record says.
    pub(crate) async fn check(&self, id: RepositoryId) -> Result<()> {
        self.is_complete(id).await?;
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
