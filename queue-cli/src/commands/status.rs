//! `length` and `status`

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use clap::Args;
use gharvest_model::{Lane, QueueName, RepositoryName};
use gharvest_queue_requests::{CountParams, FeedHealth, Narrowed, QueueAnswer, StatusAnswer, StatusParams};
use jiff::{SignedDuration, Timestamp};

use super::dashboard;
use crate::{
    hand::Hand,
    output::{json, line, safe},
};

#[derive(Debug, Args)]
pub(crate) struct LengthArgs {
    /// download or index
    queue: QueueName,
    /// Only of this repository
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<RepositoryName>,
    /// All counts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Again every two seconds, with rates; in a terminal as a dashboard
    #[arg(long)]
    watch: bool,
    /// As JSON, one line each time
    #[arg(long)]
    json: bool,
}

pub(crate) const WATCH_EVERY: Duration = Duration::from_secs(2);
/// The width of the bars, in characters.
const BAR: u64 = 30;
/// Lines of repositories and of feeds at most.
const MOST_LINES: usize = 20;

pub(crate) async fn length(hand: &Hand, args: &LengthArgs) -> anyhow::Result<()> {
    let repository = args.repository.as_ref().map(ToString::to_string);
    let counts = hand.ask(&CountParams { queue: args.queue, repository }).await?;
    if args.json {
        return json(&counts);
    }
    line(counts.outstanding());
    Ok(())
}

/// How long ago the last look was, and how many jobs of each queue had been finished then: for rates.
type Before = (Duration, Vec<u64>);

pub(crate) async fn status(hand: &Hand, args: &StatusArgs) -> anyhow::Result<()> {
    // Both ends: keys are read from the one, and the other is drawn on.
    if args.watch && !args.json && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        return dashboard::watch(hand).await;
    }
    let mut before: Option<(Instant, Vec<u64>)> = None;
    loop {
        let status = hand.ask(&StatusParams {}).await?;
        if args.json {
            json(&status)?;
        } else {
            let before = before.take().map(|(at, finished)| (at.elapsed(), finished));
            let text = render(&status, before.as_ref());
            // Home, the lines with what is right of them cleared, then everything below: nothing flickers.
            let text = if args.watch { format!("\u{1b}[H{}\u{1b}[J", text.replace('\n', "\u{1b}[K\n")) } else { text };
            line(text.trim_end_matches('\n'));
        }
        if !args.watch {
            return Ok(());
        }
        let finished = status.queues.iter().map(|queue| queue.counts.finished).collect();
        before = Some((Instant::now(), finished));
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn render(status: &StatusAnswer, before: Option<&Before>) -> String {
    let mut lines = Vec::new();
    for (index, queue) in status.queues.iter().enumerate() {
        let rate = before.and_then(|(elapsed, finished)| rate(queue, finished.get(index).copied()?, *elapsed));
        queue_lines(queue, status.at, rate.as_deref().unwrap_or_default(), &mut lines);
    }
    for pause in &status.pauses {
        let of = pause.repository.as_deref().map(|name| format!(" of {name}")).unwrap_or_default();
        lines.push(format!("paused: the {} queue{of} until {}: {}", pause.queue, pause.until, safe(&pause.reason)));
    }
    for budget in &status.budgets {
        let bar = bar(budget.remaining, budget.limit);
        let full = budget.reset_at;
        lines.push(format!(
            "budget {:<9} {bar} {} of {} calls left, full again {full}",
            budget.resource, budget.remaining, budget.limit
        ));
    }
    lines.extend(status.narrowed.iter().map(narrowed_line));
    lines.extend(status.feeds.iter().take(MOST_LINES).map(|feed| feed_line(feed, status.at)));
    lines.push(status.durability.clone());
    lines.push(String::new());
    lines.join("\n")
}

fn queue_lines(queue: &QueueAnswer, now: Timestamp, rate: &str, lines: &mut Vec<String>) {
    let counts = &queue.counts;
    lines.push(format!("{} queue", counts.queue));
    let most = counts.ready.iter().copied().max().unwrap_or(0);
    for lane in Lane::ALL {
        let ready = counts.ready[lane.index()];
        let oldest = queue.oldest.iter().find(|oldest| oldest.lane == lane);
        let age = oldest.map(|oldest| format!("  oldest due {} ago", age(oldest.since, now))).unwrap_or_default();
        if ready > 0 {
            lines.push(format!("  ready {:<10} {ready:>10} {}{age}", lane.as_str(), bar(ready, most)));
        }
    }
    for (name, count) in [("delayed", counts.delayed), ("in work", counts.leased), ("buried", counts.buried)] {
        lines.push(format!("  {name:<16} {count:>10}"));
    }
    lines.push(format!("  {:<16} {:>10}{rate}", "finished", counts.finished));
    let mut repositories: Vec<_> = queue.repositories.iter().collect();
    repositories.sort_by_key(|repository| std::cmp::Reverse(repository.outstanding));
    for repository in repositories.iter().take(MOST_LINES) {
        let buried = if repository.buried > 0 { format!(", {} buried", repository.buried) } else { String::new() };
        lines.push(format!("  {:<16} {:>10}{buried}", repository.repository, repository.outstanding));
    }
}

pub(crate) fn narrowed_line(narrowed: &Narrowed) -> String {
    let Narrowed { at_once, of, until } = narrowed;
    format!("GitHub refused requests as too much: {at_once} of {of} at once for now, all again {until}")
}

fn feed_line(feed: &FeedHealth, now: Timestamp) -> String {
    let heard =
        feed.last_delivery_at.map_or_else(|| "never heard".to_owned(), |at| format!("heard {} ago", age(at, now)));
    let trouble = feed.trouble.as_deref().map(|trouble| format!("; {}", safe(trouble))).unwrap_or_default();
    format!(
        "hook of {}: {heard}, {} deliveries failed, {} recovered{trouble}",
        feed.repository, feed.failures, feed.recovered
    )
}

/// Jobs a second since the last look, and when the queue will be empty at that rate.
fn rate(queue: &QueueAnswer, before: u64, elapsed: Duration) -> Option<String> {
    let rate = finished_a_second(queue, before, elapsed);
    Some(format!("  {rate:.1}/s, empty in {}", until_empty(queue.counts.outstanding(), rate)?))
}

/// Jobs finished a second since the last look, when so many had been finished.
pub(crate) fn finished_a_second(queue: &QueueAnswer, before: u64, elapsed: Duration) -> f64 {
    queue.counts.finished.saturating_sub(before) as f64 / elapsed.as_secs_f64().max(0.001)
}

/// How long so many jobs take at this rate; none if nothing goes on.
pub(crate) fn until_empty(jobs: u64, rate: f64) -> Option<String> {
    (rate > 0.0).then(|| short(SignedDuration::from_secs_f64((jobs as f64 / rate).min(1e9))))
}

fn bar(part: u64, whole: u64) -> String {
    let filled = (u128::from(part) * u128::from(BAR)).div_ceil(u128::from(whole.max(1))).min(u128::from(BAR)) as usize;
    format!("{:<width$}", "▇".repeat(filled), width = BAR as usize)
}

pub(crate) fn age(at: Timestamp, now: Timestamp) -> String {
    short(now.duration_since(at))
}

/// The two largest units: `3h 12m`.
fn short(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A status with something of everything.
    pub(crate) fn example() -> StatusAnswer {
        let counts = |queue: &str, ready: [u64; 5]| json!({"queue": queue, "ready": ready, "delayed": 3, "leased": 2, "buried": 1, "finished": 1000, "retried": 0});
        let status = json!({
            "at": "2024-06-01T12:00:00Z",
            "queues": [
                {"counts": counts("download", [10, 0, 0, 90_000, 0]),
                    "oldest": [{"lane": "webhook", "since": "2024-06-01T11:58:30Z"},
                        {"lane": "backfill", "since": "2024-05-29T09:00:00Z"}],
                    "repositories": [{"repository": "octo/box", "outstanding": 15, "buried": 0},
                        {"repository": "mozilla/web-bugs", "outstanding": 90_000, "buried": 1}]},
                {"counts": counts("index", [0; 5]), "oldest": [], "repositories": []}],
            "pauses": [{"queue": "index", "repository": "octo/box", "until": "2024-06-01T13:00:00Z", "reason": "tea\u{7}"}],
            "budgets": [{"resource": "core", "limit": 5000, "remaining": 1250, "reset_at": "2024-06-01T12:40:00Z"}],
            "narrowed": [{"at_once": 3, "of": 8, "until": "2024-06-01T12:05:00Z"}],
            "feeds": [{"repository": "octo/box", "last_delivery_at": "2024-06-01T08:48:00Z", "failures": 7, "recovered": 6},
                {"repository": "mozilla/web-bugs", "trouble": "no token may read this repository's hooks"}],
            "durability": "nothing is lost",
        });
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn a_status_shows_rates_ages_budgets_and_hooks() {
        let status = example();
        insta::assert_snapshot!(render(&status, Some(&(Duration::from_secs(100), vec![0, 1000]))));
    }
}
