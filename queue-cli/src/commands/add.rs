//! `add`, `add-range`, `add-updated-since`

use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use futures::TryStreamExt;
use gharvest_model::{Lane, QueueName, RepositoryId, RepositoryName, Subject, job::part, ledger::Ledger};
use gharvest_queue::{Pushed, Timing, Trigger};
use gharvest_service_kit::process::Usage;
use jiff::Timestamp;

use crate::{
    Target,
    output::say,
    subject::{Written, repository},
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
}

#[derive(Debug, Args)]
pub(crate) struct AddRangeArgs {
    /// download or index
    queue: QueueName,
    /// The repository
    #[arg(value_name = "OWNER/NAME")]
    repository: RepositoryName,
    /// The first number
    from: u64,
    /// The last number
    to: u64,
    /// How urgent
    #[arg(long, default_value_t = Lane::Backfill)]
    lane: Lane,
}

#[derive(Debug, Args)]
pub(crate) struct AddUpdatedSinceArgs {
    /// Only `download`: GitHub is asked what was updated
    queue: QueueName,
    /// The repository
    #[arg(value_name = "OWNER/NAME")]
    repository: RepositoryName,
    /// The time, as in 2021-12-01T00:00:00Z
    since: Timestamp,
}

pub(crate) async fn add(target: &Target, args: AddArgs) -> anyhow::Result<()> {
    if args.all {
        return add_all(target, args.queue).await;
    }
    let mut triggers = Vec::with_capacity(args.subjects.len());
    for written in &args.subjects {
        triggers.push(trigger(args.queue, written.resolve(&target.archive).await?, args.lane));
    }
    for (pushed, written) in target.queue.push(&triggers, None).await?.into_iter().zip(&triggers) {
        say(format_args!("{} {}: {}", args.queue, written.subject, outcome(pushed)));
    }
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

fn trigger(queue: QueueName, subject: Subject, lane: Lane) -> Trigger {
    Trigger { queue, subject, lane, timing: Timing::Now, reason: "cli".to_owned() }
}

/// Everything on disk, in ranges of what is there, so that a repository of 150,000 items is a second's work.
async fn add_all(target: &Target, queue: QueueName) -> anyhow::Result<()> {
    if queue != QueueName::Index {
        bail!(Usage("--all is for the index queue: what is to be downloaded again is said with add-range".to_owned()));
    }
    for tracked in target.archive.tracking().await? {
        let mut numbers = target.archive.numbers(tracked.id, 0);
        let mut range: Option<(u64, u64)> = None;
        let mut added = 0;
        while let Some(number) = numbers.try_next().await? {
            range = match range {
                Some((first, last)) if last + 1 == number => Some((first, number)),
                Some((first, last)) => {
                    added += push_range(target, queue, tracked.id, first, last, Lane::Backfill).await?;
                    Some((number, number))
                }
                None => Some((number, number)),
            };
        }
        if let Some((first, last)) = range {
            added += push_range(target, queue, tracked.id, first, last, Lane::Backfill).await?;
        }
        let parts = [part::METADATA, part::RELEASES, part::DAILY];
        let triggers: Vec<_> =
            parts.iter().map(|part| trigger(queue, Subject::part(tracked.id, part), Lane::Backfill)).collect();
        target.queue.push(&triggers, None).await?;
        say(format_args!("{}: {added} jobs added", tracked.name));
    }
    Ok(())
}

async fn push_range(
    target: &Target,
    queue: QueueName,
    id: RepositoryId,
    first: u64,
    last: u64,
    lane: Lane,
) -> anyhow::Result<u64> {
    let pushed = target.queue.push_range(queue, id, first..=last, lane).await?;
    Ok(pushed.new)
}

pub(crate) async fn add_range(target: &Target, args: AddRangeArgs) -> anyhow::Result<()> {
    if args.from == 0 || args.from > args.to || args.to > Ledger::LIMIT {
        bail!(Usage(format!(
            "{}..{} is no range of numbers: expected two numbers, the first not greater, as in `1 91234`",
            args.from, args.to
        )));
    }
    let id = repository(&target.archive, &args.repository).await?;
    let before = target.queue.counts(args.queue).await?.outstanding();
    let pushed = target.queue.push_range(args.queue, id, args.from..=args.to, args.lane).await?;
    let after = target.queue.counts(args.queue).await?.outstanding();
    say(format_args!(
        "{} added, {} were there; the {} queue had {before} jobs and has {after}",
        pushed.new, pushed.merged, args.queue
    ));
    Ok(())
}

pub(crate) async fn add_updated_since(target: &Target, args: AddUpdatedSinceArgs) -> anyhow::Result<()> {
    if args.queue != QueueName::Download {
        bail!(Usage(
            "only the download queue knows what was updated: `queue-cli add index --all` indexes again".to_owned()
        ));
    }
    let id = repository(&target.archive, &args.repository).await?;
    gharvest_downloader::walk::look_back(&target.archive, id, args.since)
        .await
        .context("the feed's cursor cannot be set back")?;
    target.queue.push(&[trigger(QueueName::Download, Subject::part(id, part::UPDATES), Lane::Manual)], None).await?;
    say(format_args!("{} will be asked what was updated since {}", args.repository, args.since));
    Ok(())
}
