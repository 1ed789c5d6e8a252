//! The web front as a process of its own.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use gharvest_service_kit::{
    process::{self, CommonArgs, Exit},
    telemetry,
};
use gharvest_web::{Backends, WebState, operations::GithubOperations};

/// Search pages, JSON API and live feed of a gharvest mirror.
#[derive(Debug, Parser)]
#[command(name = "web", version)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::run(|| run(arguments))
}

async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let settings = arguments.common.start()?.settings;
    let metrics = telemetry::init_metrics()?;
    let archive = gharvest_backends::archive(&settings).await?;
    let queue = gharvest_backends::queue(&settings).await?;
    let state = gharvest_backends::state(&settings).await?;
    let search = gharvest_backends::index_read_only(&settings).await?;
    let github = gharvest_backends::github(&settings, Some(Arc::clone(&state)))?;
    let operations = GithubOperations::new(archive.clone(), Arc::clone(&queue), Arc::clone(&search), github);
    let backends = Backends { queue, archive, state, search, operations: Arc::new(operations) };
    let mut web = WebState::new(backends, &settings);
    web.metrics = Some(metrics);
    web.shutdown = process::shutdown_on_signals()?;
    gharvest_web::run(web).await?;
    Ok(Exit::Done)
}
