//! `gharvest track` and `gharvest untrack`: at run time, beside a running `up`.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use gharvest_downloader::track as tracking;
use gharvest_model::RepositoryName;
use gharvest_service_kit::process::{CommonArgs, Exit};

use crate::output::say;

/// So long a purge waits for other processes to end their work on the repository.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(crate) struct TrackArgs {
    /// Repositories: OWNER/NAME or a GitHub URL
    #[arg(required = true, value_name = "OWNER/NAME")]
    repositories: Vec<RepositoryName>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["keep", "purge"]))]
pub(crate) struct UntrackArgs {
    /// The repository
    #[arg(value_name = "OWNER/NAME")]
    repository: RepositoryName,
    /// Keep what is archived, and searchable
    #[arg(long)]
    keep: bool,
    /// Forget everything of it: archive, index, jobs
    #[arg(long)]
    purge: bool,
}

pub(crate) async fn track(common: &CommonArgs, args: TrackArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let archive = gharvest_backends::archive(&settings).await?;
    let queue = gharvest_backends::queue(&settings).await?;
    let state = gharvest_backends::state(&settings).await?;
    let github = gharvest_backends::github(&settings, Some(state))?;
    for name in &args.repositories {
        let tracked = tracking::track(&archive, &github, queue.as_ref(), name).await;
        let tracked = tracked.with_context(|| format!("{name} cannot be tracked"))?;
        say(format_args!("{} is tracked; a running `gharvest up` mirrors it", tracked.name));
    }
    Ok(Exit::Done)
}

pub(crate) async fn untrack(common: &CommonArgs, args: UntrackArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let archive = gharvest_backends::existing_archive(&settings).await?;
    let Some(id) = archive.resolve(&args.repository).await? else { bail!("{} is not mirrored here", args.repository) };
    let queue = gharvest_backends::queue(&settings).await?;
    if !args.purge {
        tracking::untrack(&archive, queue.as_ref(), id).await?;
        say(format_args!("{} is no longer tracked; what is archived stays", args.repository));
        return Ok(Exit::Done);
    }
    // The embedded index has one writer. A running `up` is asked to purge; without one we do it ourselves.
    let index = gharvest_backends::index(&settings)
        .await
        .context("the index is in use: stop `gharvest up` first, or remove the repository on its status page")?;
    index.ensure(archive.id()).await?;
    gharvest_web::operations::forget(&archive, queue.as_ref(), index.as_ref(), id, PATIENCE)
        .await
        .with_context(|| format!("{} is not forgotten", args.repository))?;
    say(format_args!("everything of {} is gone", args.repository));
    Ok(Exit::Done)
}
