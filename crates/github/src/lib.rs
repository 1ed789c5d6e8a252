//! The one client of GitHub: tokens, budgets, REST.
//!
//! Every request of every component goes through [`Client`]: so one budget per token and resource is kept, limits are
//! respected before GitHub enforces them, and live triggers go ahead of backfills. Bodies stay raw JSON: typed models
//! lose fields. Redirects are answers, never followed silently.

use std::time::Duration;

use gharvest_model::RepositoryName;
use jiff::Timestamp;
use serde_json::Value;

mod error;

pub use error::{Error, ErrorKind, Result};

/// Whose work a request is; decides who waits when the budget is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// A webhook or a person waits for it: may use the reserve.
    Live,
    /// A schedule.
    Scheduled,
    /// A first mirror or a sweep: waits for both others.
    Backfill,
}

/// What is asked for: each is one documented REST endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `GET /repos/{owner}/{repo}`
    Repository(RepositoryName),
    /// `GET /repos/{owner}/{repo}/issues`, all states.
    Issues {
        /// Which repository.
        repository: RepositoryName,
        /// Only updated since.
        since: Option<Timestamp>,
        /// `created` or `updated`, ascending.
        sort: Sort,
    },
    /// `GET /repos/{owner}/{repo}/issues/{number}`
    Issue(RepositoryName, u64),
    /// `GET /repos/{owner}/{repo}/issues/{number}/timeline`
    Timeline(RepositoryName, u64),
    /// `GET /repos/{owner}/{repo}/pulls/{number}`
    Pull(RepositoryName, u64),
    /// `GET /repos/{owner}/{repo}/pulls/{number}/comments`
    ReviewComments(RepositoryName, u64),
    /// `GET /repos/{owner}/{repo}/labels`
    Labels(RepositoryName),
    /// `GET /repos/{owner}/{repo}/milestones`, all states.
    Milestones(RepositoryName),
    /// `GET /repos/{owner}/{repo}/releases`
    Releases(RepositoryName),
    /// `GET /rate_limit`: free against the primary limit.
    RateLimit,
    /// An address that GitHub gave: `Link` or `Location`. Refused unless it lies under the API's base address.
    Address(String),
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
    /// 301, 302, 307: it is elsewhere. Not followed.
    Moved {
        /// The `Location`, absolute.
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
    /// Its ETag. It holds for the token that asked; the client sends it back with the same token only.
    pub etag: Option<String>,
    /// The address of the next page, for [`Resource::Address`].
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

/// The one client of GitHub. Cheap to clone; all clones share budgets and limits.
#[derive(Debug, Clone)]
pub struct Client {}

impl Client {
    /// Asks for one thing. Waits for budget and pace, retries what is worth it, and answers or fails.
    ///
    /// `etag` is one from an earlier [`Found`]; it makes [`Answer::NotModified`] possible.
    pub async fn get(&self, resource: &Resource, etag: Option<&str>, purpose: Purpose) -> Result<Answer> {
        todo!("{resource:?} {etag:?} {purpose:?}")
    }

    /// The budgets of all tokens as last heard of.
    pub fn budgets(&self) -> Vec<Budget> {
        todo!()
    }

    /// Calls made since the start, by purpose and resource, for plans and metrics.
    pub fn calls(&self) -> u64 {
        todo!()
    }

    /// When work of this purpose may go on, if budgets are used up now: for pausing a queue instead of waiting.
    pub fn blocked_until(&self, purpose: Purpose) -> Option<Timestamp> {
        todo!("{purpose:?}")
    }
}

/// A short wait of the client itself; longer ones are [`ErrorKind::RateLimited`], so that leases are given back.
pub const LONGEST_WAIT: Duration = Duration::from_secs(20);
