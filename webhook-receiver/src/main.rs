//! The `webhook-receiver` as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use gharvest_service_kit::{
    health::{self, Readiness},
    process::{self, CommonArgs, Exit},
    serve::{Limits, serve},
    telemetry,
};
use gharvest_webhook_receiver::{Receiver, router};
use tokio_util::sync::CancellationToken;

/// Takes GitHub's webhooks and makes what follows from them durable
#[derive(Debug, Parser)]
#[command(name = "webhook-receiver", version)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::run(|| run(arguments))
}

/// Webhooks, health and metrics share one address: nginx passes on only the first.
async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let settings = arguments.common.start()?.settings;
    let metrics = telemetry::init_metrics()?;
    let shutdown = process::shutdown_on_signals()?;
    let listener = process::listen(&settings.webhook.listen).await?;
    let queue = gharvest_backends::queue(&settings).await?;
    let archive = gharvest_backends::archive(&settings).await?;
    let state = gharvest_backends::state(&settings).await?;
    let receiver = Receiver::new(queue, archive, settings.webhook.untracked).with_state(state);
    let readiness = Readiness::default();
    let routes = router(receiver, &settings.webhook).merge(health::router(readiness.clone(), metrics));
    // First not ready, then no new connections: a proxy that asks for readiness turns away before anything is refused.
    let (stopping, withdrawn, stop) = (shutdown, readiness.clone(), CancellationToken::new());
    let (stopped, withdraw) = (stop.clone(), settings.webhook.withdraw);
    tokio::spawn(async move {
        stopping.cancelled().await;
        withdrawn.set(false);
        tokio::time::sleep(withdraw).await;
        stopped.cancel();
    });
    tracing::info!(address = %listener.local_addr()?, "deliveries are taken");
    readiness.set(true);
    // With what each may hold this stays well within the memory that docker-compose.yml gives.
    let limits = Limits { connections: 1024, ..Limits::default() };
    serve(listener, routes, limits, stop).await;
    Ok(Exit::Done)
}
