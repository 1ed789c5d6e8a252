//! What needs a person, from what queue, archive and GitHub say now.

use std::time::Duration;

use gharvest_archive::Archive;
use gharvest_github::{Client, TokenReport};
use gharvest_model::{QueueName, ledger::NumberState};
use gharvest_queue::{QueueAdmin, Scope};
use gharvest_state::State;
use jiff::Timestamp;

use crate::{Failure, runs, schedule::later};

/// Something that needs a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What it is about; the same as long as it lasts.
    pub about: String,
    /// What is wrong and what to do, in a sentence.
    pub text: String,
}

/// What is too much or too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A job that has been ready for longer waits too long.
    pub lag: Duration,
    /// Downloads are paused below this; half as much more is an alarm.
    pub min_free_bytes: u64,
}

/// All alarms that hold now.
pub async fn alarms(
    queue: &dyn QueueAdmin,
    archive: &Archive,
    state: &dyn State,
    client: &Client,
    limits: &Limits,
    now: Timestamp,
) -> Result<Vec<Alarm>, Failure> {
    let mut alarms = of_queues(queue, limits, now).await?;
    alarms.extend(of_tasks(state).await?);
    alarms.extend(of_disk(archive, limits).await?);
    alarms.extend(of_repositories(archive).await?);
    alarms.extend(of_tokens(client));
    alarms.extend(of_ends(client, now));
    Ok(alarms)
}

fn alarm(about: impl Into<String>, text: impl Into<String>) -> Alarm {
    Alarm { about: about.into(), text: text.into() }
}

async fn of_queues(queue: &dyn QueueAdmin, limits: &Limits, now: Timestamp) -> Result<Vec<Alarm>, Failure> {
    let mut alarms = Vec::new();
    for name in QueueName::ALL {
        let buried = queue.counts(name).await?.buried;
        if buried > 0 {
            let text = format!(
                "{buried} {name} jobs failed for good: see why with `queue-cli buried list`, then revive or drop them."
            );
            alarms.push(alarm(format!("buried/{name}"), text));
        }
        let oldest = queue.oldest(name).await?.into_iter().flatten().min();
        if let Some(oldest) = oldest.filter(|oldest| later(*oldest, limits.lag) <= now) {
            let text =
                format!("A {name} job has been ready since {oldest}: do the workers run, and is a limit reached?");
            alarms.push(alarm(format!("lag/{name}"), text));
        }
    }
    for (scope, paused) in queue.pauses().await? {
        if let Scope::Queue(name) = scope {
            let text = format!("The {name} queue is paused until {}: {}", paused.until, paused.reason);
            alarms.push(alarm(format!("pause/{name}"), text));
        }
    }
    Ok(alarms)
}

/// What the seeder does and fails at: looks at GitHub, and snapshots, of which nobody else would tell.
async fn of_tasks(state: &dyn State) -> Result<Vec<Alarm>, Failure> {
    let failing = runs(state).await?.into_iter().filter_map(|(task, run)| {
        let name = task.as_str();
        let last = run.last.map_or_else(|| "never went well".to_owned(), |last| format!("last went well at {last}"));
        let text = format!("The task `{name}` fails, it {last}: {}", run.error?);
        Some(alarm(format!("task/{name}"), text))
    });
    Ok(failing.collect())
}

async fn of_disk(archive: &Archive, limits: &Limits) -> Result<Option<Alarm>, Failure> {
    let least = limits.min_free_bytes.saturating_add(limits.min_free_bytes / 2);
    let free = archive.space().await?.free.filter(|free| *free < least);
    Ok(free.map(|free| {
        let text = format!(
            "The archive's disk has {} MB left; downloads pause below {} MB: make room.",
            free / 1_000_000,
            limits.min_free_bytes / 1_000_000
        );
        alarm("disk", text)
    }))
}

/// Repositories that cannot be fetched, and numbers that could not be.
async fn of_repositories(archive: &Archive) -> Result<Vec<Alarm>, Failure> {
    let mut alarms = Vec::new();
    for tracked in archive.tracking().await? {
        if let Some(trouble) = &tracked.trouble {
            let text = format!("{} cannot be fetched: {trouble}", tracked.name);
            alarms.push(alarm(format!("repository/{}", tracked.id), text));
        }
        // Until the first mirror is over, numbers are open by nature.
        if tracked.complete_at.is_none() {
            continue;
        }
        let counts = archive.ledger(tracked.id).await?.counts();
        let open = counts[NumberState::Unknown as usize] + counts[NumberState::Failed as usize];
        if open > 0 {
            let text = format!(
                "{open} numbers of {name} are not accounted for: `gharvest audit {name}` lists them.",
                name = tracked.name
            );
            alarms.push(alarm(format!("gaps/{}", tracked.id), text));
        }
    }
    Ok(alarms)
}

/// Tokens that are set aside: as this process knows them.
fn of_tokens(client: &Client) -> Vec<Alarm> {
    let mut alarms: Vec<Alarm> = client
        .budgets()
        .into_iter()
        .filter_map(|budget| {
            let trouble = budget.trouble?;
            let text = format!("GitHub does not take {}: {trouble}. Replace it in [github] tokens.", budget.token);
            Some(alarm(format!("token/{}", budget.token), text))
        })
        .collect();
    alarms.dedup();
    alarms
}

/// Tokens that will end, as GitHub says with each answer.
fn of_ends(client: &Client, now: Timestamp) -> Vec<Alarm> {
    let ending = |token: TokenReport| {
        let day = token.ends_soon(now)?.strftime("%Y-%m-%d");
        let text = format!("GitHub ends {} on {day}: make another one, and put it in [github] tokens.", token.token);
        Some(alarm(format!("token-ends/{}", token.token), text))
    };
    client.tokens().into_iter().filter_map(ending).collect()
}
