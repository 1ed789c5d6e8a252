//! The `seeder` as a process of its own.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use gharvest_seeder::{
    levels::{self, Levels},
    notify::{self, Watch},
    operations::{self, Observer},
};
use gharvest_service_kit::{
    process::{CommonArgs, run},
    service::{self, Service},
};

/// Produces jobs on a schedule, so that nothing is missed that no webhook announced
#[derive(Debug, Parser)]
#[command(name = "seeder", version)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| async move { service::run(&arguments.common, |settings| settings.seeder.listen.clone(), work).await })
}

async fn work(service: Service) -> anyhow::Result<()> {
    let Service { settings, readiness, shutdown } = service;
    let queue = gharvest_backends::queue(&settings).await?;
    let state = gharvest_backends::state(&settings).await?;
    let archive = gharvest_backends::archive(&settings).await?;
    let client = gharvest_backends::github(&settings, Some(Arc::clone(&state)))?;
    let options = gharvest_seeder::Options::new(&settings);
    let watch = Watch::new(
        Arc::clone(&queue),
        archive.clone(),
        Arc::clone(&state),
        client.clone(),
        notify::Options::new(&settings),
    )?;
    let log = gharvest_backends::operations_log(&settings, archive.id()).await?;
    let observer = Observer::new(
        Arc::clone(&queue),
        archive.clone(),
        Arc::clone(&state),
        client.clone(),
        log,
        operations::Options::new(&settings),
    );
    let levels = Levels::new(Arc::clone(&queue), &settings);
    readiness.set(true);
    tokio::join!(
        levels::run(levels, shutdown.clone()),
        gharvest_backends::watch_queue(Arc::clone(&queue) as _, shutdown.clone()),
        operations::run(observer, shutdown.clone()),
        notify::run(watch, shutdown.clone()),
        gharvest_seeder::run(queue, archive, state, client, options, shutdown),
    );
    Ok(())
}
