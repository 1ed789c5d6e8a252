//! The web front as a process of its own.

use std::{process::ExitCode, sync::Arc, time::Duration};

use axum::Router;
use clap::Parser;
use gharvest_service_kit::{
    process::{self, CommonArgs},
    serve::Limits,
    service::{self, Front},
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
    process::run(|| async move {
        let common = &arguments.common;
        service::front(common, |all| all.web.listen.clone(), |_| Duration::ZERO, Limits::default(), routes).await
    })
}

async fn routes(front: Front) -> anyhow::Result<Router> {
    let settings = front.settings;
    let archive = gharvest_backends::archive(&settings).await?;
    let queue = gharvest_backends::queue(&settings).await?;
    let state = gharvest_backends::state(&settings).await?;
    let search = gharvest_backends::index_read_only(&settings).await?;
    let github = gharvest_backends::github(&settings, Some(Arc::clone(&state)))?;
    tokio::spawn(gharvest_backends::watch_queue(Arc::clone(&queue) as _, front.shutdown.clone()));
    let operations = GithubOperations::new(archive.clone(), Arc::clone(&queue), Arc::clone(&search), github);
    let backends = Backends { queue, archive, state, search, operations: Arc::new(operations) };
    let mut web = WebState::new(backends, &settings);
    web.metrics = Some(front.metrics);
    web.readiness = front.readiness;
    web.shutdown = front.shutdown;
    gharvest_web::checked_router(web).await
}
