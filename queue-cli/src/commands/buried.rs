//! `buried list|show|revive|drop`

use anyhow::bail;
use clap::{Args, Subcommand};
use gharvest_model::{QueueName, RepositoryName};
use gharvest_queue::JobState;
use gharvest_queue_requests::{CountParams, JobFilter, JobPath, ListParams, ManyParams, Purge, Revive, Written};

use crate::{
    hand::Hand,
    output::{confirm, json, line, safe, say},
};

#[derive(Debug, Args)]
pub(crate) struct BuriedArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List them with their reasons
    List {
        /// download or index
        queue: QueueName,
        /// Only of this repository
        #[arg(long, value_name = "OWNER/NAME")]
        repository: Option<RepositoryName>,
        /// How many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// As JSON, one line a job
        #[arg(long)]
        json: bool,
    },
    /// Everything known of one
    Show {
        /// download or index
        queue: QueueName,
        /// The job's subject
        subject: Written,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give them fresh attempts
    Revive {
        /// download or index
        queue: QueueName,
        /// Only of this repository
        #[arg(long, value_name = "OWNER/NAME")]
        repository: Option<RepositoryName>,
        /// At most this many
        #[arg(long, default_value_t = 10_000)]
        limit: usize,
        /// What became of it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget them
    Drop {
        /// download or index
        queue: QueueName,
        /// Only of this repository
        #[arg(long, value_name = "OWNER/NAME")]
        repository: Option<RepositoryName>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// What became of it as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn buried(hand: &Hand, args: BuriedArgs) -> anyhow::Result<()> {
    match args.verb {
        Verb::List { queue, repository, limit, json } => list(hand, queue, repository.as_ref(), limit, json).await,
        Verb::Show { queue, subject, json } => show(hand, queue, &subject, json).await,
        Verb::Revive { queue, repository, limit, json: as_json } => {
            let before = count(hand, queue, repository.as_ref()).await?;
            let answer = hand.ask_whole(Revive(many(queue, repository.as_ref(), Some(limit)))).await?;
            let after = count(hand, queue, repository.as_ref()).await?;
            say(format_args!("{} revived; {before} were buried and {after} are", answer.jobs));
            if as_json { json(&answer) } else { Ok(()) }
        }
        Verb::Drop { queue, repository, yes, json: as_json } => {
            let before = count(hand, queue, repository.as_ref()).await?;
            let of = repository.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
            confirm(&format!("Forget the {before} buried jobs{of} of the {queue} queue?"), yes)?;
            let answer = hand.ask_whole(Purge(many(queue, repository.as_ref(), None))).await?;
            let after = count(hand, queue, repository.as_ref()).await?;
            say(format_args!("{} forgotten; {before} were buried and {after} are", answer.jobs));
            if as_json { json(&answer) } else { Ok(()) }
        }
    }
}

fn many(queue: QueueName, repository: Option<&RepositoryName>, limit: Option<usize>) -> ManyParams {
    let repository = repository.map(ToString::to_string);
    let filter = JobFilter { repository, lane: None, state: Some(JobState::Buried) };
    ManyParams { queue, filter, limit, after: None }
}

async fn count(hand: &Hand, queue: QueueName, repository: Option<&RepositoryName>) -> anyhow::Result<u64> {
    Ok(hand.ask(&CountParams { queue, repository: repository.map(ToString::to_string) }).await?.buried)
}

async fn list(
    hand: &Hand,
    queue: QueueName,
    repository: Option<&RepositoryName>,
    limit: usize,
    as_json: bool,
) -> anyhow::Result<()> {
    let (mut left, mut after) = (limit, None);
    while left > 0 {
        let params = ListParams {
            queue,
            repository: repository.map(ToString::to_string),
            lane: None,
            state: Some(JobState::Buried),
            after,
            limit: Some(left.min(1000)),
        };
        let page = hand.ask(&params).await?;
        left -= page.jobs.len();
        for job in &page.jobs {
            if as_json {
                json(job)?;
                continue;
            }
            let at = job.at.map(|at| at.to_string()).unwrap_or_default();
            let reason = safe(job.reason.as_deref().unwrap_or("no reason kept"));
            line(format_args!("{}\t{at}\t{} attempts\t{reason}", safe(&job.title), job.attempts));
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

async fn show(hand: &Hand, queue: QueueName, subject: &Written, as_json: bool) -> anyhow::Result<()> {
    let job = hand.ask(&JobPath { queue, subject: subject.to_string() }).await?;
    if job.state != JobState::Buried {
        bail!("{} is not buried but {:?}", job.title, job.state);
    }
    if as_json {
        return json(&job);
    }
    let time = |at: Option<jiff::Timestamp>| at.map_or_else(|| "not known".to_owned(), |at| at.to_string());
    line(format_args!("{} ({})", safe(&job.title), job.subject));
    line(format_args!("buried    {}", time(job.at)));
    line(format_args!("lane      {}", job.lane));
    line(format_args!("attempts  {}", job.attempts));
    line(format_args!("triggers  {} to {}", time(job.first_at), time(job.last_at)));
    line(format_args!("reason    {}", safe(job.reason.as_deref().unwrap_or("no reason kept"))));
    Ok(())
}
