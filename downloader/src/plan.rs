//! What a first mirror will cost, before it begins.

use std::time::Duration;

use gharvest_archive::{Archive, Repository};
use gharvest_github::{Answer, Client, Purpose, Resource, Sort};
use gharvest_model::{Kind, RepositoryName};
use serde_json::Value;

use crate::{fetch::kind_of, outcome::Failure, track};

/// Requests for repository data: the repository, labels, milestones, releases.
const CALLS_OF_PARTS: u64 = 4;
/// Bytes of an average record of an issue, and of a pull request: measured on a repository of 1,825 items.
const BYTES_OF_ISSUE: u64 = 26_000;
const BYTES_OF_PULL: u64 = 83_000;
/// An index takes about this share of its archive.
const INDEX_SHARE: f64 = 0.35;

/// What a first mirror will cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The repository as GitHub shows it.
    pub repository: Repository,
    /// How many items there are, at most.
    pub items: u64,
    /// How many of them the archive has already.
    pub archived: u64,
    /// Requests to GitHub.
    pub calls: u64,
    /// Requests an hour that all tokens allow together.
    pub budget_per_hour: u64,
    /// How long that takes at this budget.
    pub time: Duration,
    /// Bytes on disk afterwards, archive and index together; none of what is there already.
    pub disk_bytes: u64,
    /// Whether there is no token: 60 requests an hour.
    pub anonymous: bool,
}

/// Makes the plan of a repository's first mirror. Costs two requests.
pub async fn plan(
    client: &Client,
    archive: &Archive,
    name: &RepositoryName,
    points_per_minute: u32,
) -> Result<Plan, Failure> {
    let repository = track::discover(client, name).await?;
    let list = Resource::Issues { repository: repository.full_name.clone(), since: None, sort: Sort::Created };
    let (mut pages, mut pull_share, mut items) = (1, 0.5, 0);
    if let Answer::Found(found) = client.get(&list, None, Purpose::Live).await? {
        let sample = found.body.as_array().map(Vec::as_slice).unwrap_or_default();
        let pulls = sample.iter().filter(|issue| kind_of(issue) == Kind::PullRequest).count();
        pull_share = pulls as f64 / sample.len().max(1) as f64;
        pages = found.last_page.unwrap_or(1);
        items = (pages - 1) * 100 + if pages == 1 { sample.len() as u64 } else { 100 };
        if found.next.is_some() && found.last_page.is_none() {
            // GitHub does not say how long the list is: open items are all that is known.
            items = repository.repository.get("open_issues_count").and_then(Value::as_u64).unwrap_or(0).max(items);
        }
    }
    let archived = track::completeness(archive, repository.id).await?.accounted();
    let budgets = client.budgets();
    let core: Vec<_> = budgets.iter().filter(|budget| budget.resource == "core" && budget.trouble.is_none()).collect();
    let budget_per_hour = core.iter().map(|budget| budget.limit).sum::<u64>().max(60);
    let remaining = core.iter().map(|budget| budget.remaining).sum();
    let cost = cost(items.saturating_sub(archived), pages, pull_share);
    Ok(Plan {
        items,
        archived,
        calls: cost.calls,
        budget_per_hour,
        time: time(cost.calls, remaining, budget_per_hour, points_per_minute),
        disk_bytes: cost.bytes,
        anonymous: core.iter().all(|budget| budget.token == "anonymous"),
        repository,
    })
}

struct Cost {
    calls: u64,
    bytes: u64,
}

/// A list page serves a hundred items; each item has a timeline, a pull request its object, and about half of them
/// review comments.
fn cost(items: u64, pages: u64, pull_share: f64) -> Cost {
    let pulls = (items as f64 * pull_share).round() as u64;
    let calls = CALLS_OF_PARTS + pages + items + pulls + pulls / 2;
    let bytes = (items - pulls) * BYTES_OF_ISSUE + pulls * BYTES_OF_PULL;
    Cost { calls, bytes: (bytes as f64 * (1.0 + INDEX_SHARE)) as u64 }
}

/// What is left of this hour's budget goes at the pace of the secondary limit, the rest at that of the budget.
fn time(calls: u64, remaining: u64, per_hour: u64, points_per_minute: u32) -> Duration {
    let now = calls.min(remaining);
    let later = calls - now;
    let at_once = now as f64 * 60.0 / f64::from(points_per_minute.max(1));
    Duration::from_secs_f64(at_once + later as f64 * 3600.0 / per_hour.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_counts_pages_timelines_and_pull_requests() {
        let cost = cost(1000, 10, 0.4);
        assert_eq!(cost.calls, 4 + 10 + 1000 + 400 + 200);
        assert_eq!(cost.bytes, ((600 * BYTES_OF_ISSUE + 400 * BYTES_OF_PULL) as f64 * 1.35) as u64);
    }

    #[test]
    fn time_is_that_of_the_pace_while_there_is_budget_and_of_the_budget_afterwards() {
        assert_eq!(time(700, 5000, 5000, 700), Duration::from_secs(60));
        assert_eq!(time(5700, 700, 5000, 700), Duration::from_secs(60 + 3600));
    }
}
