//! What a first mirror will cost, before it begins, and by which way threads are fetched. The rules are pure functions.
//!
//! | way | calls | points |
//! | --- | --- | --- |
//! | REST | a timeline an item, an object a pull request, review comments of about half of these | none |
//! | GraphQL | a request a batch, one more a lease for details | a hundredth of the connections: one an item, at least one a request |
//!
//! Either way REST's lists give the issue objects and, by GraphQL, all review comments: a call for a hundred. Each
//! number that shows no item is asked for once by REST, which alone tells what became of it; discussions GraphQL tells.

use std::{collections::BTreeMap, time::Duration};

use gharvest_archive::{Archive, Repository};
use gharvest_github::{Answer, Budget, Client, ItemCounts, Purpose, Resource, Sort, Spent, requests_for, spent_so_far};
use gharvest_model::{Kind, RepositoryId, RepositoryName, progress::Completeness, tracking::Tracked};
use gharvest_state::State;
use serde::{Deserialize, Serialize};

use crate::{fetch::kind_of, outcome::Failure, track};

/// Requests for repository data: the repository, labels, milestones, releases.
const CALLS_OF_PARTS: u64 = 4;
/// Requests before a mirror begins: the repository, how many items there are, how many review comments.
const CALLS_OF_PLAN: u64 = 3;
/// Numbers without an item of which one request of GraphQL says whether they are discussions.
const LOOKED_UP_AT_ONCE: u64 = gharvest_github::PROBED_AT_ONCE as u64;
/// Bytes of an average record of an issue, and of a pull request: measured on a repository of 1,825 items.
const BYTES_OF_ISSUE: u64 = 26_000;
const BYTES_OF_PULL: u64 = 83_000;
/// An index takes about this share of its archive.
const INDEX_SHARE: f64 = 0.35;
/// Threads that are usually leased together: each such call of the client asks for its details by itself.
const THREADS_A_LEASE: u64 = 400;
/// Seconds of a REST request, and of GraphQL's work for one thread, before any was measured.
const USUAL_REST_SECONDS: f64 = 0.3;
const USUAL_THREAD_SECONDS: f64 = 0.05;
/// GitHub ends a request after ten seconds, and fifty threads are a usual one: what takes longer for each is the way
/// there, which REST has as well.
const MOST_THREAD_SECONDS: f64 = 0.2;

/// GitHub's largest hourly budget.
const LARGEST_BUDGET: u64 = 15_000;

/// By which way threads are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Many threads in one request.
    Graphql,
    /// Every thread by itself.
    Rest,
}

/// What is left of a resource's budget, all tokens together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Calls or points left in this hour.
    pub remaining: u64,
    /// Calls or points an hour.
    pub limit: u64,
}

impl Left {
    /// The sum over all tokens that work; none if nothing was heard of the resource yet.
    pub fn of(budgets: &[Budget], resource: &str) -> Option<Self> {
        let own = budgets.iter().filter(|budget| budget.resource == resource && budget.trouble.is_none());
        own.map(|budget| Self { remaining: budget.remaining, limit: budget.limit })
            .reduce(|a, b| Self { remaining: a.remaining + b.remaining, limit: a.limit + b.limit })
    }
}

/// What a choice of way depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Situation {
    /// Threads to fetch now.
    pub items: u64,
    /// How many of them are pull requests.
    pub pulls: u64,
    /// Threads that one GraphQL request holds.
    pub batch: u64,
    /// What is left of REST's budget; none if unknown.
    pub core: Option<Left>,
    /// What is left of GraphQL's budget; none if unknown.
    pub graphql: Option<Left>,
    /// Seconds of a REST request lately.
    pub rest_seconds: Option<f64>,
    /// Seconds of a GraphQL request lately, for each thread in it.
    pub thread_seconds: Option<f64>,
}

/// Chooses the way that takes less: of time, and of what is left of the hour. A budget that is used up rules its way
/// out while the other has something left.
pub fn choose(situation: &Situation) -> Way {
    let Situation { items, pulls, batch, core, graphql, .. } = *situation;
    let (rest, points) = (rest_calls(items, pulls), points(items, pulls));
    let requests = items.div_ceil(batch.max(1)) + 1;
    let can = |left: Option<Left>, cost: u64| left.is_none_or(|left| left.remaining >= cost);
    match (can(graphql, points), can(core, rest)) {
        (true, false) => return Way::Graphql,
        (false, true) => return Way::Rest,
        // Nothing is left of either: it waits, for the cheaper one.
        (false, false) => return Way::Graphql,
        (true, true) => {}
    }
    let way_seconds = situation.rest_seconds.unwrap_or(USUAL_REST_SECONDS);
    let thread_seconds = situation.thread_seconds.unwrap_or(USUAL_THREAD_SECONDS).min(MOST_THREAD_SECONDS);
    let rest_effort = rest as f64 * way_seconds + hours_share(core, rest);
    let graphql_effort =
        requests as f64 * way_seconds + items as f64 * thread_seconds + hours_share(graphql, points.max(requests));
    if graphql_effort <= rest_effort { Way::Graphql } else { Way::Rest }
}

/// Whether REST's list of all review comments, of so many pages, is cheaper than a list for each pull request.
pub fn lists_review_comments(pages: u64, pulls: u64) -> bool {
    pages <= pulls.div_ceil(2)
}

/// The share of the hour's rest that a cost takes, as seconds of an hour. A server that allows more than GitHub ever
/// does is not asked more often for that.
fn hours_share(left: Option<Left>, cost: u64) -> f64 {
    let remaining = left.map_or(LARGEST_BUDGET, |left| left.remaining.clamp(1, LARGEST_BUDGET));
    cost as f64 / remaining as f64 * 3600.0
}

/// A timeline each; a pull request its object, and about half of them review comments.
fn rest_calls(items: u64, pulls: u64) -> u64 {
    items + pulls + pulls / 2
}

/// A connection an item, and another a pull request whose review comments are not known; a hundred of them a point.
fn points(items: u64, pulls: u64) -> u64 {
    (items + pulls).div_ceil(100).max(1)
}

/// Requests of GraphQL: the schema, batches, and for each lease its details and what is left of a batch.
fn graphql_requests(issues: u64, pulls: u64) -> u64 {
    let leases = issues.div_ceil(THREADS_A_LEASE) + pulls.div_ceil(THREADS_A_LEASE);
    1 + requests_for(issues + pulls) + 2 * leases
}

/// What a first mirror will cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The repository as GitHub shows it.
    pub repository: Repository,
    /// The figures.
    pub figures: Figures,
    /// How many items the archive has already.
    pub archived: u64,
    /// How many of the numbers that are gone nothing accounts for yet.
    pub gone: u64,
    /// Requests by REST an hour that all tokens allow together.
    pub budget_per_hour: u64,
    /// Points of GraphQL an hour that all tokens allow together; none where nothing comes by it, or there is no limit.
    pub points_per_hour: Option<u64>,
    /// Bytes on disk afterwards, archive and index together; none of what is there already.
    pub disk_bytes: u64,
    /// Whether there is no token: 60 requests an hour.
    pub anonymous: bool,
}

/// The figures of a plan, as the archive keeps them (`plan`): `status` compares them with what happened.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// By which way most threads come.
    pub way: Way,
    /// How many items there are, at most.
    pub items: u64,
    /// How many more numbers there are to account for: deleted, transferred, hidden. Without GraphQL they are among the
    /// items.
    #[serde(default)]
    pub gone: u64,
    /// Requests to GitHub.
    pub calls: u64,
    /// How many of these are GraphQL's.
    #[serde(default)]
    pub graphql: u64,
    /// Points of GraphQL.
    pub points: u64,
    /// How long that takes at this budget, seconds.
    pub seconds: u64,
}

/// The name of the archive's part that holds [`Figures`].
pub const PART: &str = "plan";

/// Makes the plan of a repository's first mirror. Costs three requests, four where GraphQL does not count items, and one
/// more where the client has not asked yet what the server's GraphQL knows.
pub async fn plan(
    client: &Client,
    archive: &Archive,
    name: &RepositoryName,
    graphql: bool,
    points_per_minute: u32,
) -> Result<Plan, Failure> {
    let repository = track::discover(client, name).await?;
    let way = if graphql && client.can_graphql() { Way::Graphql } else { Way::Rest };
    let size = size(client, &repository, way).await?;
    let here = track::completeness(archive, repository.id).await?;
    let budgets = client.budgets_for(Purpose::Backfill);
    let core = Left::of(&budgets, "core").unwrap_or_else(|| {
        // Nothing was heard of these tokens yet, or the server has no limits.
        let limit = client.calls_an_hour(Purpose::Backfill).max(60);
        Left { remaining: limit, limit }
    });
    let allowed = Allowed { core, graphql: Left::of(&budgets, "graphql"), points_per_minute };
    let missing = size.without(&here);
    let cost = cost(&missing, way);
    let time = time(&cost, way, &missing, &allowed);
    Ok(Plan {
        figures: Figures {
            way,
            items: size.items,
            gone: size.gone,
            calls: cost.calls,
            graphql: cost.graphql,
            points: cost.points,
            seconds: time.as_secs(),
        },
        archived: size.items - missing.items,
        gone: missing.gone,
        budget_per_hour: allowed.core.limit.max(60),
        points_per_hour: allowed.graphql.filter(|_| cost.graphql > 0).map(|left| left.limit),
        disk_bytes: cost.bytes,
        anonymous: !client.can_graphql(),
        repository,
    })
}

/// Keeps the figures of a plan, unless one was kept before: a first mirror has one plan.
pub async fn keep(archive: &Archive, plan: &Plan) -> Result<(), gharvest_archive::Error> {
    let id = plan.repository.id;
    if archive.part(id, PART).await?.is_none() {
        let figures = serde_json::to_value(plan.figures).expect("figures are plain data");
        archive.put_part(id, PART, &figures).await?;
    }
    Ok(())
}

/// The figures that were kept of a repository's first mirror; none if it was never planned.
///
/// # Errors
/// If the archive cannot be read.
pub async fn kept(archive: &Archive, id: RepositoryId) -> Result<Option<Figures>, gharvest_archive::Error> {
    // What another version kept in another form is no plan.
    Ok(archive.part(id, PART).await?.and_then(|figures| serde_json::from_value(figures).ok()))
}

/// What was spent on a repository, by purpose, under all the names that it had: what its plan is compared with.
///
/// # Errors
/// If the archive or the state cannot be read.
pub async fn spent(
    archive: &Archive,
    state: &dyn State,
    tracked: &Tracked,
) -> Result<BTreeMap<Purpose, Spent>, Box<dyn std::error::Error + Send + Sync>> {
    let former = archive.repository(tracked.id).await?.map_or_else(Vec::new, |found| found.former_names);
    let mut sum: BTreeMap<Purpose, Spent> = BTreeMap::new();
    for name in former.iter().chain([&tracked.name]) {
        for (purpose, spent) in spent_so_far(state, name).await? {
            *sum.entry(purpose).or_default() += spent;
        }
    }
    Ok(sum)
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Size {
    items: u64,
    /// Numbers that show neither an item nor a discussion.
    gone: u64,
    /// Discussions, which share the numbers.
    discussions: u64,
    pages: u64,
    pull_share: f64,
    /// Pages of the list of all review comments.
    comment_pages: u64,
}

impl Size {
    fn of(items: u64, pulls: u64) -> Self {
        let pull_share = pulls as f64 / items.max(1) as f64;
        Self { items, gone: 0, discussions: 0, pages: items.div_ceil(100).max(1), pull_share, comment_pages: 0 }
    }

    fn counted(counts: &ItemCounts) -> Self {
        let (gone, discussions) = (counts.gone(), counts.discussions);
        Self { gone, discussions, ..Self::of(counts.items(), counts.pulls) }
    }

    /// The size without the numbers that are accounted for already; the lists are read all the same. Where only the
    /// highest number is known, what is no item was counted among the items.
    fn without(mut self, here: &Completeness) -> Self {
        let mut among_items = here.present;
        for (part, known) in [(&mut self.gone, here.gone), (&mut self.discussions, here.not_items)] {
            among_items += known.saturating_sub(*part);
            *part = part.saturating_sub(known);
        }
        self.items = self.items.saturating_sub(among_items);
        self
    }

    fn pulls(&self) -> u64 {
        (self.items as f64 * self.pull_share).round() as u64
    }
}

async fn size(client: &Client, repository: &Repository, way: Way) -> Result<Size, Failure> {
    let name = &repository.full_name;
    let counted = match way {
        // Where GraphQL fails, REST says what is wrong.
        Way::Graphql => client.count_items(name, Purpose::Live).await.ok().flatten(),
        Way::Rest => None,
    };
    let mut size = match counted {
        Some(counts) => Size::counted(&counts),
        None => size_by_rest(client, name).await?,
    };
    let comments = Resource::AllReviewComments { repository: name.clone(), since: None };
    if let Answer::Found(found) = client.get(&comments, None, Purpose::Live).await? {
        size.comment_pages = found.last_page.unwrap_or(1);
    }
    Ok(size)
}

/// Without GraphQL: the highest number says how many items there are at most, the oldest page what they are.
async fn size_by_rest(client: &Client, name: &RepositoryName) -> Result<Size, Failure> {
    let list = Resource::Issues { repository: name.clone(), since: None, sort: Sort::Created };
    let Answer::Found(found) = client.get(&list, None, Purpose::Live).await? else { return Ok(Size::of(0, 0)) };
    let sample = found.body.as_array().map(Vec::as_slice).unwrap_or_default();
    let pulls = sample.iter().filter(|issue| kind_of(issue) == Kind::PullRequest).count() as u64;
    if found.next.is_none() {
        return Ok(Size::of(sample.len() as u64, pulls));
    }
    let newest = Resource::NewestIssue(name.clone());
    let highest = match client.get(&newest, None, Purpose::Live).await? {
        Answer::Found(found) => found.body[0]["number"].as_u64(),
        _ => None,
    };
    let items = highest.unwrap_or(0).max(sample.len() as u64);
    Ok(Size::of(items, items * pulls / sample.len().max(1) as u64))
}

struct Cost {
    /// Requests, GraphQL's among them.
    calls: u64,
    graphql: u64,
    points: u64,
    bytes: u64,
}

impl Cost {
    fn requests_a_point(&self) -> f64 {
        self.graphql as f64 / self.points.max(1) as f64
    }
}

fn cost(size: &Size, way: Way) -> Cost {
    let (items, pulls) = (size.items, size.pulls());
    let lists = CALLS_OF_PLAN + CALLS_OF_PARTS + size.pages + size.gone;
    let (calls, graphql, points) = match way {
        Way::Rest => (lists + rest_calls(items, pulls), 0, 0),
        Way::Graphql => {
            let looked_up = (size.gone + size.discussions).div_ceil(LOOKED_UP_AT_ONCE);
            let requests = graphql_requests(items - pulls.min(items), pulls) + looked_up;
            let (comments, connections) = if lists_review_comments(size.comment_pages, pulls) {
                (size.comment_pages, points(items, 0))
            } else {
                (pulls / 2, points(items, pulls))
            };
            (lists + comments + requests, requests, connections.max(requests))
        }
    };
    let bytes = (items - pulls.min(items)) * BYTES_OF_ISSUE + pulls * BYTES_OF_PULL;
    Cost { calls, graphql, points, bytes: (bytes as f64 * (1.0 + INDEX_SHARE)) as u64 }
}

/// What may be spent: each resource has a budget of its own, and all requests together a pace.
struct Allowed {
    core: Left,
    graphql: Option<Left>,
    points_per_minute: u32,
}

/// What is left of this hour's budgets goes at the pace of the secondary limit, the rest at that of the budget which takes
/// longer: both fill at the same time. GraphQL takes its own time, two requests at once.
fn time(cost: &Cost, way: Way, size: &Size, allowed: &Allowed) -> Duration {
    let beyond_core = Beyond::of(cost.calls - cost.graphql.min(cost.calls), allowed.core);
    // Of what no budget was heard of, none is used up.
    let beyond_graphql = allowed.graphql.map_or(Beyond::default(), |graphql| Beyond::of(cost.points, graphql));
    let later = beyond_core.cost + (beyond_graphql.cost as f64 * cost.requests_a_point()) as u64;
    let now = cost.calls.saturating_sub(later);
    let at_once = now as f64 * 60.0 / f64::from(allowed.points_per_minute.max(1));
    let threads = match way {
        Way::Graphql => size.items as f64 * USUAL_THREAD_SECONDS / 2.0,
        Way::Rest => 0.0,
    };
    Duration::from_secs_f64(at_once.max(threads) + beyond_core.seconds.max(beyond_graphql.seconds))
}

/// What a cost takes beyond what is left of the hour.
#[derive(Default)]
struct Beyond {
    /// Calls or points.
    cost: u64,
    /// How long the budget takes to give that many.
    seconds: f64,
}

impl Beyond {
    fn of(cost: u64, left: Left) -> Self {
        let cost = cost.saturating_sub(left.remaining);
        Self { cost, seconds: cost as f64 * 3600.0 / left.limit.max(1) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(remaining: u64) -> Left {
        Left { remaining, limit: 5000 }
    }

    fn left(remaining: u64) -> Option<Left> {
        Some(full(remaining))
    }

    fn situation() -> Situation {
        Situation {
            items: 100,
            pulls: 50,
            batch: 50,
            core: left(5000),
            graphql: left(5000),
            rest_seconds: Some(0.1),
            thread_seconds: Some(0.06),
        }
    }

    #[test]
    fn the_way_is_that_of_less_effort_and_never_that_of_an_empty_budget() {
        let base = situation();
        for (what, situation, expected) in [
            ("both have budget", base, Way::Graphql),
            (
                "the budget has no end",
                Situation { core: left(100_000_000), graphql: left(100_000_000), rest_seconds: Some(0.001), ..base },
                Way::Graphql,
            ),
            (
                "nothing is known",
                Situation { core: None, graphql: None, rest_seconds: None, thread_seconds: None, ..base },
                Way::Graphql,
            ),
            ("GraphQL is used up", Situation { graphql: left(1), ..base }, Way::Rest),
            ("REST is used up", Situation { core: left(10), ..base }, Way::Graphql),
            ("both are used up", Situation { core: left(0), graphql: left(0), ..base }, Way::Graphql),
            (
                "everything is very slow, a loaded machine",
                Situation { rest_seconds: Some(2.0), thread_seconds: Some(3.0), ..base },
                Way::Graphql,
            ),
            (
                "GraphQL is very slow, REST has more budget than any token",
                Situation { thread_seconds: Some(90.0), core: left(100_000_000), batch: 10, ..base },
                Way::Graphql,
            ),
            (
                "GraphQL is slow, and short",
                Situation { thread_seconds: Some(0.2), core: left(15_000), graphql: left(40), ..base },
                Way::Rest,
            ),
            (
                "GraphQL is slow, but REST is short",
                Situation { thread_seconds: Some(1.2), core: left(300), ..base },
                Way::Graphql,
            ),
            ("one issue", Situation { items: 1, pulls: 0, batch: 1, ..base }, Way::Rest),
        ] {
            assert_eq!(choose(&situation), expected, "{what}");
        }
    }

    #[test]
    fn review_comments_are_listed_for_all_where_that_is_cheaper() {
        assert!(lists_review_comments(61, 1308));
        assert!(lists_review_comments(0, 0));
        assert!(!lists_review_comments(600, 1000));
    }

    #[test]
    fn the_cost_counts_pages_timelines_and_pull_requests() {
        let size = Size { items: 1000, gone: 0, discussions: 0, pages: 10, pull_share: 0.4, comment_pages: 20 };
        let rest = cost(&size, Way::Rest);
        assert_eq!((rest.calls, rest.points), (7 + 10 + 1000 + 400 + 200, 0));
        assert_eq!(rest.bytes, ((600 * BYTES_OF_ISSUE + 400 * BYTES_OF_PULL) as f64 * 1.35) as u64);
        let graphql = cost(&size, Way::Graphql);
        // The schema, batches of 25, 50, 100, and six of up to 149; an issue's and a pull request's leases, two and one.
        let requests = 1 + 9 + 2 * 3;
        assert_eq!((graphql.calls, graphql.points), (7 + 10 + 20 + requests, requests));
        assert!((graphql.calls + graphql.points) as f64 <= 0.1 * 1000.0);
        // Each number that is gone is a call, and GraphQL says of 149 at once which are discussions.
        let with_gaps = cost(&Size { gone: 150, discussions: 10, ..size }, Way::Graphql);
        assert_eq!((with_gaps.calls, with_gaps.points), (graphql.calls + 150 + 2, graphql.points + 2));
        assert_eq!(with_gaps.bytes, graphql.bytes, "what is gone has no record");
    }

    #[test]
    fn what_is_accounted_for_is_asked_for_no_more() {
        let counted = Size { gone: 30, discussions: 20, ..Size::of(100, 40) };
        let left = |size: Size, present, not_items, gone| {
            let left = size.without(&Completeness { present, not_items, gone, ..Completeness::default() });
            (left.items, left.discussions, left.gone)
        };
        assert_eq!(left(counted, 0, 0, 0), (100, 20, 30));
        assert_eq!(left(counted, 90, 5, 12), (10, 15, 18), "each of its own kind");
        assert_eq!(left(counted, 100, 20, 30), (0, 0, 0));
        assert_eq!(left(counted, 500, 500, 500), (0, 0, 0));
        // By REST all 150 numbers count as items.
        assert_eq!(left(Size::of(150, 60), 90, 5, 12), (43, 0, 0));
    }

    #[test]
    fn time_is_that_of_the_pace_while_there_is_budget_and_of_the_budget_afterwards() {
        let size = Size { items: 0, gone: 0, discussions: 0, pages: 1, pull_share: 0.0, comment_pages: 0 };
        let time = |calls, remaining| {
            let cost = Cost { calls, graphql: 0, points: 0, bytes: 0 };
            time(&cost, Way::Rest, &size, &Allowed { core: full(remaining), graphql: None, points_per_minute: 700 })
        };
        assert_eq!(time(700, 5000), Duration::from_secs(60));
        assert_eq!(time(5700, 700), Duration::from_secs(60 + 3600));
    }

    #[test]
    fn each_resource_waits_for_its_own_budget() {
        let size = Size { items: 0, gone: 0, discussions: 0, pages: 1, pull_share: 0.0, comment_pages: 0 };
        let time = |rest: u64, graphql: u64, points, core, points_left: Option<u64>| {
            let cost = Cost { calls: rest + graphql, graphql, points, bytes: 0 };
            let graphql = points_left.and_then(left);
            time(&cost, Way::Graphql, &size, &Allowed { core: full(core), graphql, points_per_minute: 700 }).as_secs()
        };
        assert_eq!(time(350, 350, 350, 400, Some(400)), 60, "together they have a pace, and each its budget");
        assert_eq!(time(350, 350, 350, 400, None), 60, "a server without a limit");
        assert_eq!(time(0, 5700, 5700, 0, Some(700)), 60 + 3600, "REST's budget is of no account");
        assert_eq!(time(5700, 0, 0, 700, Some(0)), 60 + 3600, "nor GraphQL's");
        assert_eq!(time(5350, 1350, 1350, 350, Some(350)), 60 + 3600, "both are waited for at the same time");
        assert_eq!(time(0, 1400, 5700, 5000, Some(700)), 14 + 3600, "a request may cost several points");
    }

    #[test]
    fn a_large_repository_takes_a_day_and_a_half_by_rest_and_an_hour_by_graphql() {
        let size = Size { pages: 1_500, comment_pages: 300, ..Size::of(150_000, 15_000) };
        let fresh = Allowed { core: full(5000), graphql: left(5000), points_per_minute: 700 };
        let hours = |way| time(&cost(&size, way), way, &size, &fresh).as_secs_f64() / 3600.0;
        assert!((33.0..36.0).contains(&hours(Way::Rest)), "{}", hours(Way::Rest));
        // 150,000 threads take GitHub itself so long; no budget is used up.
        assert!((1.0..1.1).contains(&hours(Way::Graphql)), "{}", hours(Way::Graphql));
    }
}
