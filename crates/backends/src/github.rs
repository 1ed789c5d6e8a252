//! The client of GitHub as set.

use std::sync::Arc;

use anyhow::Context;
use gharvest_github::{Client, Config};
use gharvest_service_kit::Settings;
use gharvest_state::State;

/// Makes the client; its budgets are shared through the state.
pub fn github(settings: &Settings, state: Option<Arc<dyn State>>) -> anyhow::Result<Client> {
    let github = &settings.github;
    let config = Config {
        api_url: github.api_url.clone(),
        tokens: github.tokens.clone(),
        request_timeout: github.request_timeout,
        max_body_bytes: github.max_body_bytes,
        concurrency: github.concurrency,
        points_per_minute: github.points_per_minute,
        reserve: github.reserve,
        user_agent: github.user_agent.clone(),
        ..Config::default()
    };
    Client::with_state(config, state).context("setting up the client of GitHub")
}
