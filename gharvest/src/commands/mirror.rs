//! `gharvest mirror OWNER/NAME…`: the plan, the backfill with its progress, then the changes.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use gharvest_downloader::{plan, track};
use gharvest_model::{Lane, QueueName, RepositoryId, RepositoryName, Subject, job::part};
use gharvest_queue::{Filter, JobState, Timing, Trigger};
use gharvest_service_kit::{
    changes::Changes,
    process::{self, CommonArgs, Exit},
};
use tokio_util::sync::CancellationToken;

use crate::{
    commands::up::{Running, WebArgs},
    output::{bytes, grouped, rough, say},
    progress::Progress,
    system::System,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gharvest mirror rust-lang/log            then http://127.0.0.1:8080
  gharvest mirror rust-lang/log --once     stop when it is complete; exit code 0 only then")]
pub(crate) struct MirrorArgs {
    /// Repositories: OWNER/NAME or a GitHub URL
    #[arg(required = true, value_name = "OWNER/NAME")]
    repositories: Vec<RepositoryName>,
    /// Stop when everything is mirrored and searchable; exit code 1 if something could not be had
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    web: WebArgs,
}

/// Failed jobs that are tried again in one step of the queue.
const REVIVED_AT_ONCE: usize = 10_000;
/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn run(common: &CommonArgs, args: MirrorArgs) -> anyhow::Result<Exit> {
    let loaded = common.start_quietly()?;
    let changes = Changes::new(common, &loaded);
    let mut settings = loaded.settings;
    let shutdown = process::shutdown_on_signals()?;
    let listener = args.web.listen(&mut settings).await?;
    let system = System::open(settings).await?;
    let mut ids = Vec::new();
    for name in &args.repositories {
        let plan = announce(&system, name).await?;
        let tracked = track::track(&system.archive, &system.github, system.queue.as_ref(), name).await;
        let id = tracked.with_context(|| format!("{name} cannot be tracked"))?.id;
        revive(&system, id).await?;
        ids.push(id);
        plan::keep(&system.archive, &plan).await.with_context(|| format!("the plan of {name} cannot be kept"))?;
    }
    let running = Running::start(&system, listener, &shutdown).await?;
    let followed = async {
        let exit = tokio::select! {
            exit = follow(&system, &ids, args.once, &shutdown) => exit,
            () = shutdown.cancelled() => Ok(Exit::Done),
        };
        if args.once || exit.is_err() {
            shutdown.cancel();
        }
        exit
    };
    let (exit, ended) = tokio::join!(followed, running.until_stopped(&shutdown, Some(changes)));
    ended?;
    let exit = exit?;
    if args.once { finish_once(&system, &ids).await } else { Ok(exit) }
}

/// A person who mirrors again wants what failed to be tried again.
async fn revive(system: &System, id: RepositoryId) -> anyhow::Result<()> {
    let buried = Filter { repository: Some(id), state: Some(JobState::Buried), ..Filter::default() };
    let mut revived = 0;
    for queue in QueueName::ALL {
        loop {
            let count = system.queue.revive(queue, &buried, REVIVED_AT_ONCE).await?;
            revived += count;
            if count < REVIVED_AT_ONCE as u64 {
                break;
            }
        }
    }
    if revived > 0 {
        say(format_args!("jobs that failed before and are tried again: {}", grouped(revived)));
    }
    Ok(())
}

/// The plan: what it will cost before it begins.
async fn announce(system: &System, name: &RepositoryName) -> anyhow::Result<plan::Plan> {
    let (graphql, pace) = (system.settings.downloader.graphql, system.settings.github.points_per_minute);
    let plan = plan::plan(&system.github, &system.archive, name, graphql, pace).await;
    let plan = plan.with_context(|| format!("{name} cannot be mirrored"))?;
    for line in words(&plan) {
        say(line);
    }
    Ok(plan)
}

/// A plan for people, line by line.
fn words(plan: &plan::Plan) -> Vec<String> {
    let mut lines = Vec::new();
    if plan.anonymous {
        lines.push(
            "no token: GitHub allows 60 calls an hour. Set GITHUB_TOKEN for 5,000; see `gharvest settings`.".to_owned(),
        );
    }
    let archived =
        if plan.archived > 0 { format!(", {} of them here already", grouped(plan.archived)) } else { String::new() };
    let gone = match plan.gone {
        0 => String::new(),
        gone => format!(", {} more numbers to account for", grouped(gone)),
    };
    let points = plan.points_per_hour.map(|points| format!(" and {} points", grouped(points))).unwrap_or_default();
    lines.push(format!("{}: about {} items{archived}{gone}", plan.repository.full_name, grouped(plan.figures.items)));
    lines.push(format!(
        "  {}; {} calls{points} an hour are allowed; about {} on disk",
        planned(&plan.figures),
        grouped(plan.budget_per_hour),
        bytes(plan.disk_bytes)
    ));
    lines
}

/// A plan's figures by resource.
pub(crate) fn planned(figures: &plan::Figures) -> String {
    let rest = figures.calls.saturating_sub(figures.graphql);
    let graphql = if figures.graphql > 0 {
        format!(", about {} by GraphQL for {} points", grouped(figures.graphql), grouped(figures.points))
    } else {
        String::new()
    };
    format!("about {} calls by REST{graphql}, about {}", grouped(rest), rough(figures.seconds))
}

/// Shows progress until everything is mirrored and searchable; then, unless it is once only, until the end.
pub(crate) async fn follow(
    system: &System,
    ids: &[RepositoryId],
    once: bool,
    shutdown: &CancellationToken,
) -> anyhow::Result<Exit> {
    let mut progress = Progress::new("items");
    // Daily counts wait for a quiet minute: a person need not.
    let waits_for_delayed = once;
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let settled = loop {
        look.tick().await;
        let so_far = so_far(system, ids, waits_for_delayed).await?;
        progress.set(so_far.searchable(), so_far.total, &note(system, &so_far).await?);
        if once {
            count_now(system, &so_far.rests).await?;
        }
        if so_far.is_settled() {
            break so_far;
        }
    };
    progress.finish();
    if !once {
        let verdict = match settled.open() {
            0 => "complete".to_owned(),
            open => format!("{} numbers could not be had, `gharvest audit` says which and why", grouped(open)),
        };
        say(format_args!("{verdict}; following changes until stopped (Ctrl-C)"));
        shutdown.cancelled().await;
    }
    Ok(Exit::Done)
}

/// How far a mirror is.
struct SoFar {
    total: u64,
    accounted: u64,
    walked: bool,
    downloads: u64,
    indexes: u64,
    /// Repositories that have one job left, which waits.
    rests: Vec<RepositoryId>,
}

impl SoFar {
    /// Numbers whose documents are searchable: those accounted for whose index job is done.
    fn searchable(&self) -> u64 {
        self.accounted.saturating_sub(self.indexes)
    }

    /// Numbers of which nothing certain is known.
    fn open(&self) -> u64 {
        self.total - self.accounted
    }

    /// Nothing is left to do: complete, or what is missing is buried.
    fn is_settled(&self) -> bool {
        self.walked && self.downloads == 0 && self.indexes == 0
    }
}

async fn so_far(system: &System, ids: &[RepositoryId], waits_for_delayed: bool) -> anyhow::Result<SoFar> {
    let mut sum = SoFar { total: 0, accounted: 0, walked: true, downloads: 0, indexes: 0, rests: Vec::new() };
    for id in ids {
        // The queue first: a job that is done meanwhile counts as outstanding, never the other way round.
        let downloads = system.queue.repository_counts(QueueName::Download, *id).await?.outstanding();
        let index = system.queue.repository_counts(QueueName::Index, *id).await?;
        if downloads == 0 && index.outstanding() == 1 && index.delayed == 1 {
            sum.rests.push(*id);
        }
        sum.downloads += downloads;
        sum.indexes += index.outstanding() - if waits_for_delayed { 0 } else { index.delayed };
        let completeness = track::completeness(&system.archive, *id).await?;
        sum.total += completeness.highest;
        sum.accounted += completeness.accounted();
        sum.walked &= completeness.walked;
    }
    Ok(sum)
}

/// Has the daily counts made now that alone are left: they rest for the sake of other work. Those that failed wait for
/// their next attempt.
async fn count_now(system: &System, repositories: &[RepositoryId]) -> anyhow::Result<()> {
    for id in repositories {
        let subject = Subject::part(*id, part::DAILY);
        let job = system.queue.job(QueueName::Index, &subject).await?;
        if job.is_some_and(|job| job.state == JobState::Delayed && job.reason.is_none()) {
            let (queue, reason) = (QueueName::Index, "mirrored".to_owned());
            let trigger = Trigger { queue, subject, lane: Lane::Manual, timing: Timing::Now, reason };
            system.queue.push(&[trigger], None).await?;
        }
    }
    Ok(())
}

async fn note(system: &System, so_far: &SoFar) -> anyhow::Result<String> {
    let pauses = system.queue.pauses().await?;
    if let Some((_, paused)) = pauses.first() {
        let seconds = paused.until.duration_since(jiff::Timestamp::now()).as_secs().max(0);
        return Ok(format!("paused for {}: {}", rough(seconds.unsigned_abs()), paused.reason));
    }
    if !so_far.walked {
        return Ok("reading the list of items".to_owned());
    }
    let budgets = system.github.budgets();
    let left: u64 = budgets.iter().filter(|budget| budget.resource == "core").map(|budget| budget.remaining).sum();
    Ok(if left > 0 { format!("{} calls left this hour", grouped(left)) } else { String::new() })
}

/// The exit code of `--once`: done only if every number is accounted for.
async fn finish_once(system: &System, ids: &[RepositoryId]) -> anyhow::Result<Exit> {
    let mut incomplete = Vec::new();
    for id in ids {
        let tracked = system.archive.tracking().await?.into_iter().find(|tracked| tracked.id == *id);
        let verdict = system.archive.verdict(*id, tracked.as_ref(), jiff::Timestamp::now()).await?;
        let found = verdict.counts;
        let name =
            system.archive.repository(*id).await?.map_or_else(|| id.to_string(), |found| found.full_name.to_string());
        say(format_args!(
            "{name}: {} present, {} gone, {} not items, {} unknown, {} failed",
            grouped(found.present),
            grouped(found.gone),
            grouped(found.not_items),
            grouped(found.unknown),
            grouped(found.failed)
        ));
        if !verdict.complete {
            incomplete.push(name);
        }
    }
    if incomplete.is_empty() {
        return Ok(Exit::Done);
    }
    anyhow::bail!("not complete: {}. Run it again to go on; `gharvest status` says what failed", incomplete.join(", "))
}

#[cfg(test)]
mod tests {
    use gharvest_downloader::plan::{Figures, Plan, Way};
    use serde_json::json;

    use super::*;

    fn said(figures: Figures, more: impl Fn(&mut Plan)) -> String {
        let repository = json!({"id": 7, "full_name": "octo/box", "fetched_at": "2024-01-01T00:00:00Z"});
        let mut plan = Plan {
            repository: serde_json::from_value(repository).unwrap(),
            figures,
            archived: 0,
            gone: 0,
            budget_per_hour: 5_000,
            points_per_hour: None,
            disk_bytes: 500_000,
            anonymous: false,
        };
        more(&mut plan);
        words(&plan).join("\n")
    }

    #[test]
    fn a_plan_says_what_a_small_and_a_large_mirror_will_take() {
        let small = Figures { way: Way::Rest, items: 12, gone: 0, calls: 36, graphql: 0, points: 0, seconds: 36 };
        let without_token = said(small, |plan| (plan.anonymous, plan.budget_per_hour) = (true, 60));
        insta::assert_snapshot!(without_token, @r"
        no token: GitHub allows 60 calls an hour. Set GITHUB_TOKEN for 5,000; see `gharvest settings`.
        octo/box: about 12 items
          about 36 calls by REST, about 36 s; 60 calls an hour are allowed; about 500.0 kB on disk
        ");
        let large = Figures {
            way: Way::Graphql,
            items: 150_000,
            gone: 1_200,
            calls: 4_850,
            graphql: 1_850,
            points: 1_900,
            seconds: 3_750,
        };
        let begun = said(large, |plan| {
            (plan.archived, plan.gone, plan.points_per_hour, plan.disk_bytes) =
                (40_000, 900, Some(5_000), 7_600_000_000);
        });
        insta::assert_snapshot!(begun, @r"
        octo/box: about 150,000 items, 40,000 of them here already, 900 more numbers to account for
          about 3,000 calls by REST, about 1,850 by GraphQL for 1,900 points, about 62 min; 5,000 calls and 5,000 points an hour are allowed; about 7.6 GB on disk
        ");
        let by_rest = Figures { way: Way::Rest, graphql: 0, points: 0, calls: 400_000, seconds: 280_000, ..large };
        insta::assert_snapshot!(said(by_rest, |plan| plan.disk_bytes = 1_500_000_000_000), @r"
        octo/box: about 150,000 items
          about 400,000 calls by REST, about 3 days; 5,000 calls an hour are allowed; about 1.5 TB on disk
        ");
    }
}
