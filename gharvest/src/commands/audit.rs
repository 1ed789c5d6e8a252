//! `gharvest audit OWNER/NAME…`: what is accounted for, what is not, what drifted and was healed.

use anyhow::Context;
use clap::Args;
use gharvest_archive::audit::{Audit, Verdict};
use gharvest_model::{QueueName, RepositoryId, RepositoryName, Subject};
use gharvest_queue::{Filter, JobState};
use gharvest_service_kit::{
    Settings,
    process::{CommonArgs, Exit},
};
use jiff::Timestamp;

use crate::output::{BOLD, GREEN, RED, grouped, json, line};

/// Runs of numbers, and reasons, that are shown; `--json` has 10,000 runs.
const MOST_LINES: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gharvest audit rust-lang/log             how many numbers, and what became of each
  gharvest audit rust-lang/log --json      the gap report, for programs
  gharvest audit rust-lang/log --badge     the badge, as SVG

Exit code 3 when anything is unaccounted for, or a repository cannot be fetched, or nobody asked GitHub for
a day what is new. `_docs/completeness.md` says how silent changes are found.")]
pub(crate) struct AuditArgs {
    /// Repositories: OWNER/NAME or a GitHub URL; all that are tracked unless named
    #[arg(value_name = "OWNER/NAME")]
    repositories: Vec<RepositoryName>,
    /// As JSON, a line a repository
    #[arg(long, conflicts_with = "badge")]
    json: bool,
    /// The badge of each repository, as SVG
    #[arg(long)]
    badge: bool,
}

pub(crate) async fn run(common: &CommonArgs, args: AuditArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let archive = gharvest_backends::existing_archive(&settings).await?;
    let mut ids = Vec::new();
    for name in &args.repositories {
        let id = archive.resolve(name).await?;
        ids.push(id.with_context(|| format!("{name} is not mirrored: `gharvest mirror {name}` begins it"))?);
    }
    if args.repositories.is_empty() {
        ids.extend(archive.tracking().await?.into_iter().map(|tracked| tracked.id));
    }
    let mut exit = Exit::Done;
    for id in ids {
        let audit =
            archive.audit(id, Timestamp::now()).await?.with_context(|| format!("repository {id} has no data yet"))?;
        match (args.json, args.badge) {
            (true, _) => json(&audit)?,
            (_, true) => line(audit.badge()),
            _ => {
                print(&audit);
                if audit.verdict.counts.failed > 0 {
                    // The queue is another place, and its trouble must not hide the verdict.
                    if let Err(error) = print_reasons(&settings, id).await {
                        line(format_args!("  why they failed is not known: {error:#}"));
                    }
                }
            }
        }
        if !audit.verdict.complete {
            exit = Exit::Differs;
        }
    }
    Ok(exit)
}

/// Why numbers could not be had: their jobs are buried with the reason, until somebody revives or drops them.
async fn print_reasons(settings: &Settings, id: RepositoryId) -> anyhow::Result<()> {
    let queue = gharvest_backends::queue(settings).await?;
    let filter = Filter { repository: Some(id), state: Some(JobState::Buried), ..Filter::default() };
    let buried = queue.list(QueueName::Download, &filter, None, MOST_LINES + 1).await?;
    let more = buried.len() > MOST_LINES;
    for job in buried.into_iter().take(MOST_LINES) {
        if let (Subject::Item(item), Some(reason)) = (job.subject, job.reason) {
            line(format_args!("  #{} failed: {reason}", item.number));
        }
    }
    if more {
        line("  more reasons: queue-cli buried list download");
    }
    Ok(())
}

fn print(audit: &Audit) {
    let Verdict { complete, trouble, counts, oldest_verification, .. } = &audit.verdict;
    let verdict = if *complete {
        format!("{GREEN}complete{GREEN:#}")
    } else if !counts.walked {
        format!("{RED}not complete: the list of items was not read to its end yet{RED:#}")
    } else if let (true, Some(trouble)) = (audit.verdict.stands_still(), trouble) {
        format!("{RED}stands still: {trouble}; what is new since then is not known{RED:#}")
    } else {
        format!("{RED}not complete{RED:#}")
    };
    line(format_args!("{BOLD}{}{BOLD:#}  {verdict}", audit.repository));
    line(format_args!(
        "  {} numbers: {} present, {} gone, {} not items, {} unknown, {} failed",
        grouped(counts.highest),
        grouped(counts.present),
        grouped(counts.gone),
        grouped(counts.not_items),
        grouped(counts.unknown),
        grouped(counts.failed)
    ));
    match oldest_verification {
        Some(at) => line(format_args!("  every number verified since {at}")),
        None => line("  some numbers were never verified"),
    }
    for (what, numbers) in [("unknown", &audit.unknown_numbers), ("failed", &audit.failed_numbers)] {
        for (first, last) in numbers.iter().take(MOST_LINES) {
            let run = if first == last { format!("#{first}") } else { format!("#{first} to #{last}") };
            line(format_args!("  {what}: {run}"));
        }
        if numbers.len() > MOST_LINES {
            line(format_args!("  {what}: {} more runs, see --json", grouped((numbers.len() - MOST_LINES) as u64)));
        }
    }
    for (kind, drifted) in &audit.drift {
        line(format_args!(
            "  drift found and healed: {} {}, last {} (#{})",
            grouped(drifted.count),
            kind.as_str().replace('_', " "),
            drifted.last_at,
            drifted.number
        ));
    }
}
