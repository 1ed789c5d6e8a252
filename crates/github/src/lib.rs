//! The one client of GitHub: tokens, budgets, REST, and whole threads by GraphQL.
//!
//! Every request of every component goes through [`Client`]: so one budget per token and resource is kept, limits are
//! respected before GitHub enforces them, and live triggers go ahead of backfills. Bodies stay raw JSON: typed models
//! lose fields. Redirects are answers, never followed silently.
//!
//! A request goes through these modules in this order: `resource` gives its address under the `base`; `tokens` says
//! whether some budget bears it, and `sharing` asks other processes; it passes the `gate` (how many at once, how many a
//! minute, who first); `transport` sends it once; `verdict` says what the answer means; `client` is the loop.
//!
//! Metrics: `gharvest_github_requests_total{resource,purpose,status}`, `gharvest_github_request_seconds{resource,purpose}`,
//! `gharvest_github_wait_seconds{purpose}`, `gharvest_github_limits_total{limit}`,
//! `gharvest_github_concurrency` (requests let in at once: fewer for a while after a secondary limit),
//! `gharvest_github_budget_remaining{token,resource}`, `gharvest_github_budget_limit{token,resource}`,
//! `gharvest_github_budget_reset_timestamp_seconds{token,resource}` (what the two say holds until then),
//! `gharvest_github_calls_total{repository,purpose}`,
//! `gharvest_github_unchanged_total{repository,purpose}`, `gharvest_github_points_total{repository,purpose}`, `gharvest_github_batches_halved_total`
//! (requests that brought nothing, so that the next one is smaller),
//! `gharvest_github_tokens_refused_total`, `gharvest_github_token_accepted{token}` (0 while it is set aside), `gharvest_github_sharing_failures_total`.

use std::time::Duration;

use gharvest_model::{RepositoryId, RepositoryName};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod app;
mod base;
mod client;
mod clock;
mod config;
mod credential;
mod error;
mod gate;
mod graphql;
mod limits;
mod link;
mod node_id;
mod packed;
mod price;
mod resource;
mod sharing;
mod sight;
mod spending;
mod spent;
mod stretch;
#[cfg(test)]
mod tests;
mod tokens;
mod transport;
mod verdict;

pub use app::AppInstallation;
pub use client::Client;
pub use clock::Clock;
pub use config::{Config, PersonalToken, TokenUse};
pub use error::{Error, ErrorKind, Result};
pub use graphql::{
    EDITS_AT_ONCE, Edit, Glimpse, ItemCounts, Listed, MOST_EDITS, PROBED_AT_ONCE, PROBED_BLINDLY, Probe, Probed,
    ThreadAnswer, ThreadOutcome, ThreadParts, Threads, Told, Wanted, requests_for,
};
pub use node_id::{NodeId, Part as NodeIdPart};
pub use price::cost_again;
pub use resource::PAGE;
pub use spending::spent_so_far;
pub use spent::{Speeds, Spent};
pub use stretch::{Stretch, Stretched};

/// Whose work a request is; decides who waits when the budget is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A webhook or a person waits for it: may use the reserve.
    Live,
    /// A schedule.
    Scheduled,
    /// A first mirror or a sweep: waits for both others.
    Backfill,
}

impl Purpose {
    /// The name in metrics and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Scheduled => "scheduled",
            Self::Backfill => "backfill",
        }
    }
}

/// What is asked for: each is one documented REST endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `GET /repos/{owner}/{repo}`
    Repository(RepositoryName),
    /// `GET /repositories/{id}`: whatever its name is now.
    RepositoryById(RepositoryId),
    /// `GET /repos/{owner}/{repo}/issues`, all states.
    Issues {
        /// Which repository.
        repository: RepositoryName,
        /// Only updated since.
        since: Option<Timestamp>,
        /// `created` or `updated`, ascending.
        sort: Sort,
    },
    /// `GET /repos/{owner}/{repo}/issues` by creation, descending, one: the item of the highest number.
    NewestIssue(RepositoryName),
    /// `GET /repos/{owner}/{repo}/issues/{number}`
    Issue(RepositoryName, u64),
    /// `GET /repos/{owner}/{repo}/issues/{number}/timeline`
    Timeline(RepositoryName, u64),
    /// `GET /repos/{owner}/{repo}/pulls/{number}`
    Pull(RepositoryName, u64),
    /// `GET /repos/{owner}/{repo}/pulls/{number}/comments`
    ReviewComments(RepositoryName, u64),
    /// `GET /repos/{owner}/{repo}/issues/comments`: those of all items, by when they were updated, ascending.
    AllComments {
        /// Which repository.
        repository: RepositoryName,
        /// Only updated since.
        since: Option<Timestamp>,
    },
    /// `GET /repos/{owner}/{repo}/pulls/comments`: the review comments of all pull requests, as [`Self::AllComments`].
    AllReviewComments {
        /// Which repository.
        repository: RepositoryName,
        /// Only updated since.
        since: Option<Timestamp>,
    },
    /// `GET /repos/{owner}/{repo}/labels`
    Labels(RepositoryName),
    /// `GET /repos/{owner}/{repo}/milestones`, all states.
    Milestones(RepositoryName),
    /// `GET /repos/{owner}/{repo}/releases`
    Releases(RepositoryName),
    /// `GET /repos/{owner}/{repo}/hooks`: for who administrates the repository.
    Hooks(RepositoryName),
    /// `GET /repos/{owner}/{repo}/hooks/{hook_id}/deliveries`: the log of three days, newest first.
    Deliveries(RepositoryName, u64),
    /// `GET /repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}`: one of them with its payload.
    Delivery(RepositoryName, u64, u64),
    /// `GET /orgs/{org}/hooks/{hook_id}/deliveries`: the same of an organisation's hook, for its owners.
    OrganizationDeliveries(String, u64),
    /// `GET /orgs/{org}/hooks/{hook_id}/deliveries/{delivery_id}`: one of them with its payload.
    OrganizationDelivery(String, u64, u64),
    /// `GET /app/hook/deliveries`: the log of an App's hook, for [`Client::get_as_app`].
    AppDeliveries,
    /// `GET /app/hook/deliveries/{delivery_id}`: one of them with its payload, for [`Client::get_as_app`].
    AppDelivery(u64),
    /// `GET /meta`: what GitHub says of itself, shown to everybody.
    Meta,
    /// `GET /rate_limit`: free against the primary limit.
    RateLimit,
    /// An address that GitHub gave: `Link` or `Location`. Refused unless it lies under the API's base address.
    Address(String),
    /// The same of a further page of this repository's list: it is counted as the repository's, whose name such an
    /// address does not have.
    Page(RepositoryName, String),
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// By creation, ascending: numbers ascend.
    Created,
    /// By update, ascending.
    Updated,
}

/// What GitHub said. Everything that is a fact about the thing asked for is an answer, not an error.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// 200.
    Found(Found),
    /// 304.
    NotModified,
    /// 301, 308: it is elsewhere for good. Not followed.
    Moved {
        /// The `Location`, absolute, under the API's base address.
        location: String,
    },
    /// 410 "This issue was deleted".
    Deleted,
    /// 410 "Issues are disabled for this repo": a state of the repository, no item changes.
    IssuesDisabled,
    /// 404: gone, hidden or never there.
    NotFound,
    /// 451, or 403 with a `block`: a state of the repository, no item changes.
    Blocked {
        /// `dmca`, `tos`, `unavailable`, or GitHub's message.
        reason: String,
    },
}

/// A 200.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The body.
    pub body: Value,
    /// Its ETag. It holds for the token that asked; the client sends it back with the same token only. None of a list's
    /// last page that is full: what is added to the list would stand behind it, and not change it.
    pub etag: Option<String>,
    /// The address of the next page, for [`Resource::Page`].
    pub next: Option<String>,
    /// The number of the last page, where GitHub says it: how long a list is.
    pub last_page: Option<u64>,
}

/// What is left of the budgets.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// The token's name for people: `token 1`, its user, or `anonymous`. Never the token.
    pub token: String,
    /// `core`, `graphql` …
    pub resource: String,
    /// Calls an hour.
    pub limit: u64,
    /// Calls left.
    pub remaining: u64,
    /// When it is full again.
    pub reset_at: Timestamp,
    /// Why the token is set aside, if it is.
    pub trouble: Option<String>,
}

/// What a token is, and how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenReport {
    /// Its name for people: `token 1`, `installation 7`, or `anonymous`. Never the token.
    pub token: String,
    /// What it is.
    pub kind: TokenKind,
    /// What work it is for.
    pub used_for: TokenUse,
    /// The scopes that GitHub says it has; none before it was used, and for what has no scopes.
    pub scopes: Option<Vec<String>>,
    /// When it ends, as GitHub said at its last answer; none for tokens without an end, and for installations'.
    pub ends_at: Option<Timestamp>,
    /// Why it is set aside, if it is.
    pub trouble: Option<String>,
}

/// A token that ends within so long wants to be replaced.
const ENDING: SignedDuration = SignedDuration::from_hours(14 * 24);

impl TokenReport {
    /// When it ends, if that is within two weeks or was already: time to put another one in its place.
    pub fn ends_soon(&self, now: Timestamp) -> Option<Timestamp> {
        self.ends_at.filter(|at| at.duration_since(now) <= ENDING)
    }

    /// What it cannot see, for people.
    pub fn blindness(&self) -> &'static str {
        let sees_private = |scopes: &Vec<String>| scopes.iter().any(|scope| scope == "repo");
        match self.kind {
            TokenKind::Anonymous => "sees public repositories only, 60 calls an hour",
            TokenKind::Classic if self.scopes.as_ref().is_some_and(sees_private) => "sees what its user sees",
            TokenKind::Classic => "sees public repositories only, without the scope `repo`",
            // Backups made with such tokens lack nearly all cross-references: see github-metadata-backup's README.
            TokenKind::FineGrained => {
                "sees the repositories that it was given, and may miss events of timelines, mostly cross-references"
            }
            TokenKind::Installation => "sees the repositories that the App is installed on",
        }
    }
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// No token at all.
    Anonymous,
    /// A classic personal access token, or another that belongs to a user.
    Classic,
    /// A fine-grained personal access token.
    FineGrained,
    /// An installation of a GitHub App.
    Installation,
}

/// The repository that the node id of an issue or a pull request says it belongs to; none where it does not say so.
///
/// GitHub calls node ids opaque, so this is a hint: ask for the repository before anything follows from it.
pub fn repository_in(node_id: &str) -> Option<RepositoryId> {
    let read = node_id::NodeId::parse(node_id).filter(|read| matches!(read.type_name.as_str(), "I" | "PR"))?;
    match read.parts[..] {
        [node_id::Part::Number(repository), node_id::Part::Number(_)] => Some(RepositoryId(repository)),
        _ => None,
    }
}

/// A short wait of the client itself; longer ones are [`ErrorKind::RateLimited`], so that leases are given back.
pub const LONGEST_WAIT: Duration = Duration::from_secs(20);
