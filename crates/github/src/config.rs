//! What the client is told at start.

use std::time::Duration;

use secrecy::SecretString;

use crate::{AppInstallation, Purpose};

/// What work a token is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenUse {
    /// Whatever comes.
    #[default]
    Anything,
    /// [`Purpose::Live`] only: webhooks and people have it for themselves.
    Live,
    /// Everything but [`Purpose::Live`]: schedules and first mirrors cannot be pushed aside.
    Scheduled,
}

impl TokenUse {
    pub(crate) fn serves(self, purpose: Purpose) -> bool {
        match self {
            Self::Anything => true,
            Self::Live => purpose == Purpose::Live,
            Self::Scheduled => purpose != Purpose::Live,
        }
    }
}

/// A personal access token, classic or fine-grained.
#[derive(Debug, Clone)]
pub struct PersonalToken {
    /// The token.
    pub secret: SecretString,
    /// What work it is for.
    pub used_for: TokenUse,
}

impl From<SecretString> for PersonalToken {
    fn from(secret: SecretString) -> Self {
        Self { secret, used_for: TokenUse::Anything }
    }
}

impl From<&str> for PersonalToken {
    fn from(secret: &str) -> Self {
        SecretString::from(secret).into()
    }
}

/// The client's settings. [`Config::default`] is github.com without a token.
#[derive(Debug, Clone)]
pub struct Config {
    /// Base of the REST API. GitHub Enterprise: `https://HOST/api/v3`.
    pub api_url: String,
    /// Personal access tokens. Neither these nor installations: anonymous, 60 calls an hour.
    pub tokens: Vec<PersonalToken>,
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
