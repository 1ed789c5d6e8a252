//! `length` and `status`

use std::time::{Duration, Instant};

use clap::Args;
use gharvest_model::{Lane, QueueName};
use gharvest_queue::{Counts, Paused, Scope};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    Target,
    output::{json, line, safe},
};

#[derive(Debug, Args)]
pub(crate) struct LengthArgs {
    /// download or index
    queue: QueueName,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Again every two seconds, with rates
    #[arg(long)]
    watch: bool,
    /// As JSON, one line each time
    #[arg(long)]
    json: bool,
}

const WATCH_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct Status {
    queues: Vec<(QueueName, Counts)>,
    oldest: Vec<(QueueName, [Option<Timestamp>; 5])>,
    pauses: Vec<(Scope, Paused)>,
    durability: String,
}

pub(crate) async fn length(target: &Target, args: &LengthArgs) -> anyhow::Result<()> {
    line(target.queue.counts(args.queue).await?.outstanding());
    Ok(())
}

pub(crate) async fn status(target: &Target, args: &StatusArgs) -> anyhow::Result<()> {
    let mut before: Option<(Instant, Status)> = None;
    loop {
        let status = read(target).await?;
        if args.json {
            json(&status)?;
        } else {
            if args.watch {
                // Home and clear, as `watch` does.
                line("\u{1b}[H\u{1b}[2J");
            }
            print(&status, before.as_ref().map(|(at, before)| (at.elapsed(), before)));
        }
        if !args.watch {
            return Ok(());
        }
        before = Some((Instant::now(), status));
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

async fn read(target: &Target) -> anyhow::Result<Status> {
    let mut status = Status {
        queues: Vec::new(),
        oldest: Vec::new(),
        pauses: target.queue.pauses().await?,
        durability: target.queue.durability().await?,
    };
    for name in QueueName::ALL {
        status.queues.push((name, target.queue.counts(name).await?));
        status.oldest.push((name, target.queue.oldest(name).await?));
    }
    Ok(status)
}

fn print(status: &Status, before: Option<(Duration, &Status)>) {
    for (index, (queue, counts)) in status.queues.iter().enumerate() {
        line(format_args!("{queue} queue"));
        for lane in Lane::ALL {
            let age = status.oldest[index].1[lane.index()].map(|at| format!("  oldest due {at}")).unwrap_or_default();
            if counts.ready[lane.index()] > 0 {
                line(format_args!("  ready {:<10} {:>10}{age}", lane.as_str(), counts.ready[lane.index()]));
            }
        }
        line(format_args!("  {:<16} {:>10}", "delayed", counts.delayed));
        line(format_args!("  {:<16} {:>10}", "in work", counts.leased));
        line(format_args!("  {:<16} {:>10}", "buried", counts.buried));
        line(format_args!("  {:<16} {:>10}{}", "finished", counts.totals.finished, rate(index, counts, before)));
    }
    for (scope, paused) in &status.pauses {
        line(format_args!("paused: {scope:?} until {}: {}", paused.until, safe(&paused.reason)));
    }
    line(&status.durability);
}

/// Jobs a second since the last look, and when the queue will be empty at that rate.
fn rate(index: usize, counts: &Counts, before: Option<(Duration, &Status)>) -> String {
    let Some((elapsed, before)) = before else { return String::new() };
    let finished = counts.totals.finished.saturating_sub(before.queues[index].1.totals.finished);
    let rate = finished as f64 / elapsed.as_secs_f64().max(0.001);
    if rate <= 0.0 {
        return String::new();
    }
    format!("  {rate:.1}/s, empty in {:.0} s", counts.outstanding() as f64 / rate)
}
