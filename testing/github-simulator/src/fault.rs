//! Faults by rule: which requests, how often, and what goes wrong.
//!
//! GitHub's GraphQL fails in ways of its own, mostly with HTTP 200. All of them are here:
//!
//! | what GitHub says | by |
//! | --- | --- |
//! | `NOT_FOUND` of a number, a node, a repository | asking for one that is not there |
//! | `FORBIDDEN`, "Something went wrong …", `RESOURCE_LIMITS_EXCEEDED` with 200 and some of the data | [`Fault::Withhold`] |
//! | the same with `"data": null` | [`Fault::Withhold`] of [`Withheld::Everything`] |
//! | "Something went wrong …" with 502, after ten seconds | more work than [`Options::graphql_work`](crate::Options::graphql_work) |
//! | 502, 504 with other JSON, with HTML, with half of a body, no answer | [`Fault::Status`], [`Fault::HtmlPage`], [`Fault::Truncate`], [`Fault::Reset`] |
//! | `RATE_LIMITED` with 200; a primary limit with 403 | [`Options::graphql_limit`](crate::Options::graphql_limit), [`Fault::PrimaryLimit`] |
//! | a secondary limit with 200, 403 or 429 | [`Fault::SecondaryLimit`] |
//! | `MAX_NODE_LIMIT_EXCEEDED`, `MISSING_PAGINATION_BOUNDARIES`, `undefinedField` | documents that are wrong, each a [`Violation`](crate::Violation) |

use gharvest_model::RepositoryName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::change::Change;

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// An error of the server with GitHub's JSON body.
    Status {
        /// 500, 502, 503 …
        status: u16,
    },
    /// An error page that is not JSON.
    HtmlPage {
        /// 502, 403 …
        status: u16,
    },
    /// A redirect by what stands before GitHub.
    Redirect {
        /// 301, 302 …
        status: u16,
        /// The `Location` header.
        location: String,
    },
    /// The connection closes without an answer.
    Reset,
    /// Half of the body, then the connection closes.
    Truncate,
    /// The body comes in sixteen pieces with this pause between them.
    Slow {
        /// Milliseconds between pieces.
        pause_ms: u64,
    },
    /// The answer comes late.
    Latency {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// The caller's hourly budget is used up as of now.
    PrimaryLimit {
        /// Seconds until it is full again.
        reset_in_s: u64,
        /// 403 or 429; also 200 for GraphQL.
        status: u16,
    },
    /// The secondary limit.
    SecondaryLimit {
        /// The `Retry-After` header; without it a minute is meant.
        retry_after_s: Option<u64>,
        /// 403 or 429; also 200 for GraphQL.
        status: u16,
    },
    /// Something happens to the world first; then the request is answered as usual.
    Change {
        /// Where.
        repository: RepositoryName,
        /// What.
        what: Change,
    },
    /// The token stops being valid as of now.
    RevokeToken,
    /// GraphQL answers with HTTP 200, but null for a part of what was asked, and an error for each null. REST is
    /// answered as usual.
    Withhold {
        /// What is null.
        what: Withheld,
        /// What the errors say.
        error: GraphqlError,
    },
}

/// What of a GraphQL answer a fault turns into null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// All of it: `"data": null`.
    Everything,
    /// The repository and types; lists of nodes may not be null.
    Fields,
    /// Items and discussions whose number is a multiple of this, and their nodes.
    Items(u64),
    /// The first entry of a list of such an item.
    Entries(u64),
}

/// Why GraphQL withholds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphqlError {
    /// `FORBIDDEN`: the token may not see it.
    Forbidden,
    /// A timeout, or a fault of GitHub's.
    WentWrong,
    /// `RESOURCE_LIMITS_EXCEEDED`.
    ResourceLimits,
}

impl GraphqlError {
    /// The error as GitHub writes it; a `path` is to be added.
    pub(crate) fn error(self) -> Value {
        match self {
            Self::Forbidden => {
                json!({"type": "FORBIDDEN", "message": "Resource not accessible by personal access token"})
            }
            Self::WentWrong => json!({
                "message": "Something went wrong while executing your query. This may be the result of a timeout, or \
                    it could be a GitHub bug. Please include `51A0:2F3C:1E0B` when reporting this issue.",
            }),
            Self::ResourceLimits => {
                json!({"type": "RESOURCE_LIMITS_EXCEEDED", "message": "Resource limits for this query exceeded."})
            }
        }
    }
}

/// A fault and when it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
    /// Only for paths that contain this; `/repos/` and `/repositories/` forms both occur. A GraphQL request's path is
    /// `/graphql#` and the name of its operation.
    #[serde(default)]
    pub path: Option<String>,
    /// Lets this many matching requests pass first.
    #[serde(default)]
    pub after: u64,
    /// How often at most; `None` for always.
    #[serde(default)]
    pub times: Option<u64>,
    /// How likely, for a matching request; `None` for certain.
    #[serde(default)]
    pub probability: Option<f64>,
}

impl Rule {
    /// A fault that hits the next request of any kind, once.
    pub fn once(fault: Fault) -> Self {
        Self { fault, path: None, after: 0, times: Some(1), probability: None }
    }

    /// A fault that hits every request with this probability.
    pub fn often(fault: Fault, probability: f64) -> Self {
        Self { fault, path: None, after: 0, times: None, probability: Some(probability) }
    }

    /// Only requests whose path contains this text.
    #[must_use]
    pub fn on(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// Only after this many matching requests.
    #[must_use]
    pub fn after(mut self, requests: u64) -> Self {
        self.after = requests;
        self
    }

    /// At most this often.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }
}

/// The rules in force.
#[derive(Debug)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
    random: fastrand::Rng,
    hits: u64,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), random: fastrand::Rng::with_seed(seed), hits: 0 }
    }

    pub(crate) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits
    }

    /// The first fault that hits this request.
    pub(crate) fn strike(&mut self, path: &str) -> Option<Fault> {
        for rule in &mut self.rules {
            if rule.times == Some(0) || rule.path.as_ref().is_some_and(|part| !path.contains(part.as_str())) {
                continue;
            }
            if rule.after > 0 {
                rule.after -= 1;
                continue;
            }
            if rule.probability.is_some_and(|probability| self.random.f64() >= probability) {
                continue;
            }
            if let Some(times) = &mut rule.times {
                *times -= 1;
            }
            self.hits += 1;
            return Some(rule.fault.clone());
        }
        None
    }
}
