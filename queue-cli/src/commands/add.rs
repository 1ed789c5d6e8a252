//! `add`, `add-range`, `add-updated-since`

use anyhow::bail;
use clap::{ArgGroup, Args};
use gharvest_model::{Lane, QueueName, RepositoryName};
use gharvest_queue::Pushed;
use gharvest_queue_requests::{AddAllParams, AddParams, CountParams, RangeParams, SinceParams, Written};
use gharvest_service_kit::process::Usage;
use jiff::Timestamp;

use crate::{
    hand::Hand,
    output::{json, say},
    when,
};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["subjects", "all"]))]
pub(crate) struct AddArgs {
    /// download or index
    queue: QueueName,
    /// Items (OWNER/NAME#NUMBER or a GitHub URL) or parts of repositories (OWNER/NAME/labels)
    #[arg(value_name = "SUBJECT")]
    subjects: Vec<Written>,
    /// Every archived item of every repository; for the index queue
    #[arg(long)]
    all: bool,
    /// How urgent
    #[arg(long, default_value_t = Lane::Manual)]
    lane: Lane,
    /// What became of it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AddRangeArgs {
    /// download or index
    queue: QueueName,
    /// The repository
    #[arg(value_name = "OWNER/NAME")]
    repository: RepositoryName,
    /// The first number
    #[arg(value_parser = number)]
    from: u64,
    /// The last number
    #[arg(value_parser = number)]
    to: u64,
    /// How urgent
    #[arg(long, default_value_t = Lane::Backfill)]
    lane: Lane,
    /// What became of it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AddUpdatedSinceArgs {
    /// Only `download`: GitHub is asked what was updated
    queue: QueueName,
    /// The repository
    #[arg(value_name = "OWNER/NAME")]
    repository: RepositoryName,
    /// Since when: 2021-12-01T00:00:00Z, 2021-12-01 or '3 days ago'
    #[arg(value_parser = when::time)]
    since: Timestamp,
    /// What became of it as JSON
    #[arg(long)]
    json: bool,
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number: expected one as in `91234`"))
}

pub(crate) async fn add(hand: &Hand, args: AddArgs) -> anyhow::Result<()> {
    if args.all {
        let before = outstanding(hand, args.queue).await?;
        let answer = hand.ask_whole(AddAllParams { queue: args.queue, after: None }).await?;
        for added in &answer.repositories {
            say(format_args!("{}: {} jobs added", added.repository, added.jobs));
        }
        let after = outstanding(hand, args.queue).await?;
        say(format_args!("the {} queue had {before} jobs and has {after}", args.queue));
        return if args.json { json(&answer) } else { Ok(()) };
    }
    let before = outstanding(hand, args.queue).await?;
    // As many as one request takes; all were checked when they were read.
    for subjects in args.subjects.chunks(1000) {
        let subjects: Vec<String> = subjects.iter().map(Written::to_string).collect();
        let params = AddParams { queue: args.queue, subjects, lane: Some(args.lane) };
        let answer = hand.ask(&params).await?;
        for (pushed, subject) in answer.pushed.iter().zip(&params.subjects) {
            say(format_args!("{subject}: {}", outcome(*pushed)));
        }
        if args.json {
            json(&answer)?;
        }
    }
    let after = outstanding(hand, args.queue).await?;
    say(format_args!("the {} queue had {before} jobs and has {after}", args.queue));
    Ok(())
}

fn outcome(pushed: Pushed) -> &'static str {
    match pushed {
        Pushed::New => "added",
        Pushed::Merged => "merged into the job that waits already",
        Pushed::Dirty => "being worked on, runs once more afterwards",
        Pushed::Revived => "revived for another attempt",
        Pushed::Duplicate => "seen before",
    }
}

async fn outstanding(hand: &Hand, queue: QueueName) -> anyhow::Result<u64> {
    Ok(hand.ask(&CountParams { queue, repository: None }).await?.outstanding())
}

pub(crate) async fn add_range(hand: &Hand, args: AddRangeArgs) -> anyhow::Result<()> {
    let before = outstanding(hand, args.queue).await?;
    let repository = args.repository.to_string();
    let params = RangeParams { queue: args.queue, repository, from: args.from, to: args.to, lane: Some(args.lane) };
    let answer = hand.ask_whole(params).await?;
    let after = outstanding(hand, args.queue).await?;
    say(format_args!(
        "{} added, {} were there; the {} queue had {before} jobs and has {after}",
        answer.new, answer.merged, args.queue
    ));
    if args.json { json(&answer) } else { Ok(()) }
}

pub(crate) async fn add_updated_since(hand: &Hand, args: AddUpdatedSinceArgs) -> anyhow::Result<()> {
    if args.queue != QueueName::Download {
        bail!(Usage(
            "only the download queue knows what was updated: `queue-cli add index --all` indexes again".to_owned()
        ));
    }
    let answer = hand.ask(&SinceParams { repository: args.repository.to_string(), since: args.since }).await?;
    say(format_args!("{} will be asked what was updated since {}", args.repository, args.since));
    if args.json { json(&answer) } else { Ok(()) }
}
