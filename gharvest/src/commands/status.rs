//! `gharvest status`: what is mirrored, what waits, what failed.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use gharvest_archive::{Archive, audit::Verdict};
use gharvest_downloader::plan::{self, Figures};
use gharvest_github::{Purpose, Spent};
use gharvest_model::{Lane, QueueName, tracking::Tracked};
use gharvest_queue::{Counts, Filter, JobState, JobView, QueueAdmin};
use gharvest_search::Trouble;
use gharvest_service_kit::{
    process::{CommonArgs, Exit},
    settings::Settings,
};
use gharvest_state::State;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    commands::mirror::planned,
    output::{BOLD, DIM, RED, grouped, json, line, safe},
};

#[derive(Debug, Args)]
#[command(after_help = "Ends with 3 where a repository cannot be read.")]
pub(crate) struct StatusArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// How many failures are shown.
const FAILURES: usize = 10;
/// How long the search engine may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
struct Status {
    repositories: Vec<RepositoryStatus>,
    queues: Vec<QueueStatus>,
    durability: String,
    /// What is wrong with the search engine; none if nothing, and for an embedded index, which has no such trouble.
    index_trouble: Option<Trouble>,
}

#[derive(Debug, Serialize)]
struct RepositoryStatus {
    name: String,
    #[serde(flatten)]
    known: Option<Known>,
    /// Why nothing is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Known {
    #[serde(flatten)]
    verdict: Verdict,
    /// What its first mirror was said to cost; none if it was tracked without a plan.
    plan: Option<Figures>,
    /// What was spent on it, by purpose.
    spent: BTreeMap<Purpose, Spent>,
}

#[derive(Debug, Serialize)]
struct QueueStatus {
    queue: QueueName,
    counts: Counts,
    failures: Vec<JobView>,
}

pub(crate) async fn run(common: &CommonArgs, args: StatusArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let archive = gharvest_backends::existing_archive(&settings).await?;
    let queue = gharvest_backends::queue(&settings).await?;
    let state = gharvest_backends::state(&settings).await?;
    let status = Status {
        repositories: repositories(&archive, state.as_ref()).await?,
        queues: queues(queue.as_ref()).await?,
        durability: queue.durability().await?.to_string(),
        index_trouble: index_trouble(&settings).await,
    };
    if args.json {
        json(&status)?
    } else {
        print(&status)
    }
    let is_known = status.repositories.iter().all(|repository| repository.error.is_none());
    Ok(if is_known { Exit::Done } else { Exit::Differs })
}

/// An engine that is away must not hide the rest.
async fn index_trouble(settings: &Settings) -> Option<Trouble> {
    if gharvest_backends::index_folder(settings).is_some() {
        return None;
    }
    let asked = async { anyhow::Ok(gharvest_backends::index_read_only(settings).await?.status().await?.trouble) };
    let found = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(trouble)) => return trouble,
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => format!("the search engine has not answered for {} s", PATIENCE.as_secs()),
    };
    Some(Trouble { found, remedy: "see what else is wrong: gharvest doctor".to_owned() })
}

/// One that cannot be read must not hide the others.
async fn repositories(archive: &Archive, state: &dyn State) -> anyhow::Result<Vec<RepositoryStatus>> {
    let mut statuses = Vec::new();
    for tracked in archive.tracking().await? {
        let (known, error) = match known(archive, state, &tracked).await {
            Ok(known) => (Some(known), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        statuses.push(RepositoryStatus { name: tracked.name.to_string(), known, error });
    }
    Ok(statuses)
}

async fn known(archive: &Archive, state: &dyn State, tracked: &Tracked) -> anyhow::Result<Known> {
    Ok(Known {
        verdict: archive.verdict(tracked.id, Some(tracked), Timestamp::now()).await?,
        plan: plan::kept(archive, tracked.id).await?,
        spent: plan::spent(archive, state, tracked).await.map_err(|error| anyhow::anyhow!(error))?,
    })
}

async fn queues(queue: &dyn QueueAdmin) -> anyhow::Result<Vec<QueueStatus>> {
    let mut statuses = Vec::new();
    for name in QueueName::ALL {
        let buried = Filter { state: Some(JobState::Buried), ..Filter::default() };
        let failures = queue.list(name, &buried, None, FAILURES).await?;
        statuses.push(QueueStatus { queue: name, counts: queue.counts(name).await?, failures });
    }
    Ok(statuses)
}

fn print(status: &Status) {
    if status.repositories.is_empty() {
        line("nothing is mirrored yet: `gharvest track OWNER/NAME`");
    }
    for RepositoryStatus { name, known, error } in &status.repositories {
        if let Some(error) = error {
            line(format_args!("{BOLD}{name}{BOLD:#}  cannot be read\n  {RED}{}{RED:#}", safe(error)));
        }
        let Some(repository) = known else { continue };
        let Verdict { complete, trouble, counts, .. } = &repository.verdict;
        let word = match complete {
            true => "complete",
            false if repository.verdict.stands_still() => "stands still",
            false => "not complete yet",
        };
        line(format_args!("{BOLD}{name}{BOLD:#}  {word}"));
        line(format_args!(
            "  {} present, {} gone, {} not items, {} unknown, {} failed; highest #{}",
            grouped(counts.present),
            grouped(counts.gone),
            grouped(counts.not_items),
            grouped(counts.unknown),
            grouped(counts.failed),
            counts.highest
        ));
        if let Some(figures) = &repository.plan {
            line(format_args!("  planned: {}", planned(figures)));
        }
        for (purpose, spent) in &repository.spent {
            line(format_args!("  spent, {}: {}", purpose.name(), told(*spent)));
        }
        if let Some(trouble) = trouble {
            line(format_args!("  {RED}{}{RED:#}", safe(trouble)));
        }
    }
    for queue in &status.queues {
        print_queue(queue);
    }
    if let Some(Trouble { found, remedy }) = &status.index_trouble {
        line(format_args!("{BOLD}index{BOLD:#}  {RED}{}{RED:#}: {}", safe(found), safe(remedy)));
    }
    line(format_args!("{DIM}{}{DIM:#}", status.durability));
}

fn told(spent: Spent) -> String {
    format!(
        "{} calls by REST, {} by GraphQL for {} points; {} answered as unchanged, for nothing",
        grouped(spent.calls.saturating_sub(spent.graphql)),
        grouped(spent.graphql),
        grouped(spent.points),
        grouped(spent.unchanged)
    )
}

fn print_queue(queue: &QueueStatus) {
    let counts = &queue.counts;
    let ready = Lane::ALL.into_iter().filter(|lane| counts.ready[lane.index()] > 0);
    let ready: Vec<_> = ready.map(|lane| format!("{lane} {}", grouped(counts.ready[lane.index()]))).collect();
    let ready = if ready.is_empty() { "none".to_owned() } else { ready.join(", ") };
    line(format_args!(
        "{BOLD}{} queue{BOLD:#}  ready: {ready}; delayed {}, in work {}, buried {}",
        queue.queue,
        grouped(counts.delayed),
        grouped(counts.leased),
        grouped(counts.buried)
    ));
    if let Some(paused) = &counts.paused {
        line(format_args!("  {RED}paused until {}: {}{RED:#}", paused.until, safe(&paused.reason)));
    }
    for failure in &queue.failures {
        line(format_args!(
            "  buried {}: {}",
            failure.subject,
            safe(failure.reason.as_deref().unwrap_or("no reason kept"))
        ));
    }
}
