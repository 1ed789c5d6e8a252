//! `pause` and `resume`

use std::time::Duration;

use clap::Args;
use gharvest_model::{QueueName, RepositoryName};
use gharvest_queue_requests::{PauseParams, ResumeParams};
use jiff::Timestamp;

use crate::{
    hand::Hand,
    output::{json, say},
    when,
};

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// download or index
    queue: QueueName,
    /// Only this repository
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<RepositoryName>,
    /// For how long, as in 30m, 1h or 2d [default: 1h]
    #[arg(long = "for", value_name = "DURATION", value_parser = gharvest_service_kit::duration::parse)]
    duration: Option<Duration>,
    /// Until when: 2030-01-01T00:00:00Z or 'in 2 hours'
    #[arg(long, value_name = "TIME", value_parser = when::future, conflicts_with = "duration")]
    until: Option<Timestamp>,
    /// Why, for whoever looks
    #[arg(long, default_value = "paused by hand")]
    reason: String,
    /// What became of it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// download or index
    queue: QueueName,
    /// Only this repository
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<RepositoryName>,
    /// What was resumed as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn pause(hand: &Hand, args: &PauseArgs) -> anyhow::Result<()> {
    let params = PauseParams {
        queue: args.queue,
        repository: args.repository.as_ref().map(ToString::to_string),
        seconds: args.duration.map(|duration| duration.as_secs()),
        until: args.until,
        reason: args.reason.clone(),
    };
    let answer = hand.ask(&params).await?;
    say(format_args!("paused until {}; triggers are still accepted, work in hand goes on", answer.until));
    if args.json { json(&answer) } else { Ok(()) }
}

pub(crate) async fn resume(hand: &Hand, args: &ResumeArgs) -> anyhow::Result<()> {
    let repository = args.repository.as_ref().map(ToString::to_string);
    let params = ResumeParams { queue: args.queue, repository };
    hand.ask(&params).await?;
    say("resumed");
    if args.json { json(&params) } else { Ok(()) }
}
