//! What the client is told at start.

use std::time::Duration;

use secrecy::SecretString;

use crate::AppInstallation;

/// The client's settings. [`Config::default`] is github.com without a token.
#[derive(Debug, Clone)]
pub struct Config {
    /// Base of the REST API. GitHub Enterprise: `https://HOST/api/v3`.
    pub api_url: String,
    /// Personal access tokens. Neither these nor installations: anonymous, 60 calls an hour.
    pub tokens: Vec<SecretString>,
    /// Installations of GitHub Apps, beside the tokens.
    pub installations: Vec<AppInstallation>,
    /// For one request, from the first byte sent to the last byte read.
    pub request_timeout: Duration,
    /// The largest body taken, before and after decompression, bytes.
    pub max_body_bytes: usize,
    /// Requests in flight at once, all tokens together. GitHub allows 100; more is cut to that.
    pub concurrency: usize,
    /// Points a minute, all tokens together: 1 for each request. GitHub's secondary limit is 900.
    pub points_per_minute: u32,
    /// Calls of each token's hourly budget kept for [`crate::Purpose::Live`]; never more than a tenth of the budget.
    pub reserve: u32,
    /// The `User-Agent` header. GitHub refuses requests without one.
    pub user_agent: String,
    /// A GraphQL answer that took longer makes the next batch smaller: GitHub ends queries after ten seconds.
    pub slow_graphql: Duration,
    /// The wait before the first retry of a failed request; each later one is twice as long.
    pub backoff: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_url: "https://api.github.com".to_owned(),
            tokens: Vec::new(),
            installations: Vec::new(),
            request_timeout: Duration::from_secs(30),
            max_body_bytes: 64 * 1024 * 1024,
            concurrency: 8,
            points_per_minute: 700,
            reserve: 200,
            user_agent: "gharvest".to_owned(),
            slow_graphql: Duration::from_secs(6),
            backoff: Duration::from_millis(500),
        }
    }
}
