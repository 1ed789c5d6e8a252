//! `gharvest healthcheck URL`: for containers, whose image has no other program that could ask.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use gharvest_service_kit::process::Exit;

/// Below the time that `docker-compose.yml` gives the whole check.
const PATIENCE: Duration = Duration::from_secs(4);

#[derive(Debug, Args)]
#[command(after_help = "Example: gharvest healthcheck http://127.0.0.1:8084/readyz")]
pub(crate) struct HealthcheckArgs {
    /// What to ask: /healthz or /readyz of a component
    url: reqwest::Url,
}

/// Done if the answer is a success; else the error says what came instead.
pub(crate) async fn run(args: HealthcheckArgs) -> anyhow::Result<Exit> {
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
    let answer = client.get(args.url.clone()).send().await.with_context(|| format!("{} does not answer", args.url))?;
    if !answer.status().is_success() {
        bail!("{} answers {}", args.url, answer.status());
    }
    Ok(Exit::Done)
}
