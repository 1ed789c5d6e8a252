//! `buried list|show|revive|drop`

use anyhow::bail;
use clap::{Args, Subcommand};
use gharvest_model::{QueueName, RepositoryName};
use gharvest_queue::{Filter, JobState};

use crate::{
    Target,
    output::{confirm, json, line, safe, say},
    subject::{Written, repository, shown},
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
    },
    /// Give them fresh attempts
    Revive {
        /// download or index
        queue: QueueName,
        /// Only of this repository
        #[arg(long, value_name = "OWNER/NAME")]
        repository: Option<RepositoryName>,
        /// At most this many
        #[arg(long, default_value_t = 1000)]
        limit: usize,
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
    },
}

pub(crate) async fn buried(target: &Target, args: BuriedArgs) -> anyhow::Result<()> {
    match args.verb {
        Verb::List { queue, repository, limit, json } => list(target, queue, repository.as_ref(), limit, json).await,
        Verb::Show { queue, subject } => show(target, queue, &subject).await,
        Verb::Revive { queue, repository, limit } => {
            let filter = filter(target, repository.as_ref()).await?;
            let before = target.queue.counts(queue).await?.buried;
            let revived = target.queue.revive(queue, &filter, limit).await?;
            say(format_args!("{revived} of {before} revived"));
            Ok(())
        }
        Verb::Drop { queue, repository, yes } => {
            let filter = filter(target, repository.as_ref()).await?;
            let before = target.queue.counts(queue).await?.buried;
            confirm(&format!("Forget buried jobs of the {queue} queue, which has {before}?"), yes)?;
            let dropped = target.queue.purge(queue, &filter).await?;
            say(format_args!("{dropped} of {before} forgotten"));
            Ok(())
        }
    }
}

async fn filter(target: &Target, name: Option<&RepositoryName>) -> anyhow::Result<Filter> {
    let id = match name {
        Some(name) => Some(repository(&target.archive, name).await?),
        None => None,
    };
    Ok(Filter { repository: id, lane: None, state: Some(JobState::Buried) })
}

async fn list(
    target: &Target,
    queue: QueueName,
    name: Option<&RepositoryName>,
    limit: usize,
    as_json: bool,
) -> anyhow::Result<()> {
    let filter = filter(target, name).await?;
    for job in target.queue.list(queue, &filter, None, limit).await? {
        if as_json {
            json(&job)?;
            continue;
        }
        let at = job.at.map(|at| at.to_string()).unwrap_or_default();
        let reason = safe(job.reason.as_deref().unwrap_or("no reason kept"));
        line(format_args!("{}\t{at}\t{} attempts\t{reason}", shown(&target.archive, &job.subject).await, job.attempts));
    }
    Ok(())
}

async fn show(target: &Target, queue: QueueName, subject: &Written) -> anyhow::Result<()> {
    let subject = subject.resolve(&target.archive).await?;
    match target.queue.job(queue, &subject).await? {
        Some(job) if job.state == JobState::Buried => json(&job),
        Some(job) => bail!("{subject} is not buried but {:?}", job.state),
        None => bail!("{subject}: no such job"),
    }
}
