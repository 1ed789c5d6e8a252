//! The `indexer` as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use gharvest_service_kit::{
    process::{CommonArgs, run},
    service::{self, Service},
};

/// Loads archived issues and pull requests into the search engine
#[derive(Debug, Parser)]
#[command(name = "indexer", version)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| async move { service::run(&arguments.common, |settings| settings.indexer.listen.clone(), work).await })
}

async fn work(service: Service) -> anyhow::Result<()> {
    let Service { settings, readiness, shutdown } = service;
    let queue = gharvest_backends::queue(&settings).await?;
    let state = gharvest_backends::state(&settings).await?;
    let archive = gharvest_backends::archive(&settings).await?;
    let index = gharvest_backends::index(&settings).await?;
    gharvest_backends::ensure_index(index.as_ref(), archive.id()).await?;
    let options = gharvest_indexer::Options::new(&settings);
    readiness.set(true);
    gharvest_indexer::run(queue, archive, state, index, options, shutdown).await;
    Ok(())
}
