//! `pause` and `resume`

use anyhow::Context;
use clap::Args;
use gharvest_model::{QueueName, RepositoryName};
use gharvest_queue::Scope;
use jiff::Timestamp;

use crate::{Target, output::say, subject::repository};

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// download or index
    queue: QueueName,
    /// Only this repository
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<RepositoryName>,
    /// For how long, as in 30m, 1h or 2d
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = gharvest_service_kit::duration::parse)]
    duration: std::time::Duration,
    /// Why, for whoever looks
    #[arg(long, default_value = "paused by hand")]
    reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// download or index
    queue: QueueName,
    /// Only this repository
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<RepositoryName>,
}

pub(crate) async fn pause(target: &Target, args: &PauseArgs) -> anyhow::Result<()> {
    let scope = scope(target, args.queue, args.repository.as_ref()).await?;
    let now: Timestamp = target.queue.now().await?;
    let until = now.checked_add(args.duration).context("that is too far in the future")?;
    target.queue.pause(&scope, until, &args.reason).await?;
    say(format_args!("paused until {until}; triggers are still accepted, work in hand goes on"));
    Ok(())
}

pub(crate) async fn resume(target: &Target, args: &ResumeArgs) -> anyhow::Result<()> {
    let scope = scope(target, args.queue, args.repository.as_ref()).await?;
    target.queue.resume(&scope).await?;
    say("resumed");
    Ok(())
}

async fn scope(target: &Target, queue: QueueName, name: Option<&RepositoryName>) -> anyhow::Result<Scope> {
    Ok(match name {
        Some(name) => Scope::Repository(queue, repository(&target.archive, name).await?),
        None => Scope::Queue(queue),
    })
}
