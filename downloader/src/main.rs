//! The `downloader` as a process of its own.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use gharvest_service_kit::{
    process::{CommonArgs, run},
    service::{self, Service},
};

/// Downloads issues and pull requests from GitHub into the archive
#[derive(Debug, Parser)]
#[command(name = "downloader", version)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| async move { service::run(&arguments.common, |settings| settings.downloader.listen.clone(), work).await })
}

async fn work(service: Service) -> anyhow::Result<()> {
    let Service { settings, readiness, shutdown } = service;
    let queue = gharvest_backends::queue(&settings).await?;
    let state = gharvest_backends::state(&settings).await?;
    let archive = gharvest_backends::archive(&settings).await?;
    let client = gharvest_backends::github(&settings, Some(Arc::clone(&state)))?;
    let options = gharvest_downloader::Options::new(&settings);
    let examined = client.clone();
    tokio::spawn(async move { gharvest_backends::examine_tokens(&examined).await });
    readiness.set(true);
    gharvest_downloader::run(queue, archive, client, options, shutdown).await;
    Ok(())
}
