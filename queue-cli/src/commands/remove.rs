//! `remove` and `purge`

use anyhow::bail;
use clap::Args;
use gharvest_model::{Lane, QueueName, RepositoryName};
use gharvest_queue::{Filter, JobState};
use gharvest_service_kit::process::Usage;

use crate::{
    Target,
    output::{confirm, say},
    subject::{Written, repository},
};

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// download or index
    queue: QueueName,
    /// The jobs' subjects
    #[arg(required = true, value_name = "SUBJECT")]
    subjects: Vec<Written>,
}

#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    /// download or index
    queue: QueueName,
    /// Only of this lane
    #[arg(long)]
    lane: Option<Lane>,
    /// Only of this repository
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<RepositoryName>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn remove(target: &Target, args: &RemoveArgs) -> anyhow::Result<()> {
    let mut missing = 0;
    for written in &args.subjects {
        let subject = written.resolve(&target.archive).await?;
        let in_work = target.queue.job(args.queue, &subject).await?.is_some_and(|job| job.state == JobState::Leased);
        let removed = target.queue.remove(args.queue, &subject).await?;
        missing += u32::from(!removed);
        say(match (removed, in_work) {
            (false, _) => format!("{subject}: no such job"),
            (true, false) => format!("{subject}: removed"),
            (true, true) => format!("{subject}: is being worked on, goes when that is done and does not run again"),
        });
    }
    if missing > 0 {
        bail!("{missing} of {} jobs were not there", args.subjects.len());
    }
    Ok(())
}

pub(crate) async fn purge(target: &Target, args: &PurgeArgs) -> anyhow::Result<()> {
    let id = match &args.repository {
        Some(name) => Some(repository(&target.archive, name).await?),
        None => None,
    };
    let before = target.queue.counts(args.queue).await?;
    let total = before.outstanding() + before.buried;
    if total == 0 {
        bail!(Usage(format!("the {} queue is empty already", args.queue)));
    }
    let lane = args.lane.map(|lane| format!(" of lane {lane}")).unwrap_or_default();
    let of = args.repository.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
    confirm(&format!("Remove all jobs{lane}{of} from the {} queue, which has {total}?", args.queue), args.yes)?;
    let filter = Filter { repository: id, lane: args.lane, state: None };
    let removed = target.queue.purge(args.queue, &filter).await?;
    let after = target.queue.counts(args.queue).await?;
    say(format_args!("{removed} removed; the queue had {total} jobs and has {}", after.outstanding() + after.buried));
    Ok(())
}
