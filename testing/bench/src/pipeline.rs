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
//!
//! Where a recorded repository is found, it is mirrored as well: its figures are those of real threads.

use std::path::{Path, PathBuf};

use anyhow::Result;
use gharvest_model::ledger::NumberState;
use gharvest_service_kit::Settings;
use gharvest_testkit::recorded_data;

use crate::{
    measure::{Scale, rate},
    memory,
    system::{self, Github, Run, Shown, Stages, System},
    table::Row,
};

/// The share of the limit that the whole should reach.
const GOAL: f64 = 0.7;

/// Runs the stages alone, then together.
pub async fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let items = scale.pick(150, 4_000, 10_000);
    let github = Github::start(&Shown { items, ..Shown::default() })?;
    let apart = tempfile::tempdir()?;
    let system = System::open(settings(apart.path(), &github.url)?).await?;
    let id = system.track().await?;
    let download = system.run(&github, id, Stages { download: true, index: false }).await?;
    let index = system.run(&github, id, Stages { download: false, index: true }).await?;
    system.check(id).await?;
    drop(system);

    let together = tempfile::tempdir()?;
    let system = System::open(settings(together.path(), &github.url)?).await?;
    let id = system.track().await?;
    let whole = system.run(&github, id, Stages { download: true, index: true }).await?;
    system.check(id).await?;
    drop(system);
    let mut rows = rates(items, &download, &index, &whole);
    for (what, folder) in [("archive", "archive"), ("index", "index")] {
        let bytes = memory::size_of(&together.path().join(folder))?;
        rows.push(Row::new(format!("{what} on disk, an item"), bytes as f64 / items as f64 / 1024.0, "KiB"));
    }
    if !scale.quick
        && let Some(recording) = recorded_data("the pipeline of a recorded repository")
    {
        rows.extend(recorded(recording).await?);
    }
    Ok(rows)
}

async fn recorded(recording: PathBuf) -> Result<Vec<Row>> {
    let github = Github::start(&Shown { recording: Some(recording), ..Shown::default() })?;
    let folder = tempfile::tempdir()?;
    let system = System::open(settings(folder.path(), &github.url)?).await?;
    let id = system.track().await?;
    let whole = system.run(&github, id, Stages { download: true, index: true }).await?;
    system.check(id).await?;
    let items = system.archive.ledger(id).await?.numbers(NumberState::Present).count() as u64;
    drop(system);
    let row = |what: &str, measured, unit: &str| Row::new(format!("recorded, {items} items: {what}"), measured, unit);
    let mut rows = vec![
        row("whole pipeline", rate(items, whole.time), "items/s"),
        row("peak memory", memory::mebibytes(whole.peak), "MiB"),
    ];
    for what in ["archive", "index"] {
        rows.push(row(what, memory::mebibytes(memory::size_of(&folder.path().join(what))?), "MiB"));
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

/// Defaults but for the pace: this GitHub has no limits.
fn settings(folder: &Path, api_url: &str) -> Result<Settings> {
    let mut settings = system::settings(folder, api_url)?;
    settings.github.points_per_minute = u32::MAX;
    settings.github.concurrency = 16;
    settings.downloader.workers = 8;
    Ok(settings)
}
