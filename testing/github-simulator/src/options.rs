//! How a simulated GitHub behaves.

use std::{net::SocketAddr, time::Duration};

/// An access token that the simulator knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What stands in the `Authorization` header.
    pub value: String,
    /// Whose it is; tokens of one login share a budget, as on GitHub.
    pub login: String,
    /// Calls an hour.
    pub limit: u64,
}

/// How a simulated GitHub behaves. The default is GitHub's documented behaviour on a free port of 127.0.0.1.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen. Port 0 takes a free one.
    pub address: SocketAddr,
    /// Tokens besides [`Options::any_token`]. One that begins with `github_pat_` is fine-grained: it sees no
    /// cross-references.
    pub tokens: Vec<Token>,
    /// Whether any token that begins with `simulated-` is valid, each with a budget of its own. Others answer 401.
    pub any_token: bool,
    /// Whether there are limits by the hour. A GitHub Enterprise without them tells of none: no answer has such headers,
    /// and `/rate_limit` is not found.
    pub hourly: bool,
    /// Calls an hour for a token.
    pub core_limit: u64,
    /// Points an hour for a token on the GraphQL endpoint.
    pub graphql_limit: u64,
    /// Calls an hour for all callers without a token.
    pub anonymous_limit: u64,
    /// How long a budget lasts; an hour on GitHub.
    pub window: Duration,
    /// Points a minute before the secondary limit answers; `None` for no such limit.
    pub points_a_minute: Option<u64>,
    /// Requests at a time before the secondary limit answers; `None` for no such limit.
    pub concurrent: Option<usize>,
    /// Nodes that GitHub gathers for a GraphQL query within its ten seconds: one that needs more ends with 502. `None` for
    /// any number.
    pub graphql_work: Option<usize>,
    /// What `Retry-After` of the secondary limit says; `None` leaves the header out, which means a minute.
    pub secondary_retry_after: Option<Duration>,
    /// A call made while told to wait is a violation only this long after the telling, so that requests which were
    /// under way do not count.
    pub grace: Duration,
    /// Every answer takes at least this long.
    pub latency: Duration,
    /// Seed of fault probabilities and of the webhook sender's losses.
    pub seed: u64,
    /// Whether volatile fields move with every request.
    pub volatile: bool,
    /// Whether [`Control::graphql_exchanges`](crate::Control::graphql_exchanges) keeps what was asked and answered.
    pub keep_graphql: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tokens: Vec::new(),
            any_token: true,
            hourly: true,
            core_limit: 5_000,
            graphql_limit: 5_000,
            anonymous_limit: 60,
            window: Duration::from_secs(3_600),
            points_a_minute: Some(900),
            concurrent: Some(100),
            graphql_work: Some(10_000),
            secondary_retry_after: Some(Duration::from_secs(2)),
            grace: Duration::from_secs(1),
            latency: Duration::ZERO,
            seed: 1,
            volatile: true,
            keep_graphql: false,
        }
    }
}

impl Options {
    /// A GitHub that never says wait, as an Enterprise host without limits: for the demo, benchmarks and most tests.
    pub fn unlimited() -> Self {
        Self {
            core_limit: 100_000_000,
            graphql_limit: 100_000_000,
            anonymous_limit: 100_000_000,
            points_a_minute: None,
            concurrent: None,
            graphql_work: None,
            ..Self::default()
        }
    }
}
