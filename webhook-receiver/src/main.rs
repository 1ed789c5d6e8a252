//! The `webhook-receiver` as a process of its own.

use std::{process::ExitCode, sync::Arc};

use axum::Router;
use clap::Parser;
use gharvest_service_kit::{
    health,
    process::{self, CommonArgs},
    serve::Limits,
    service::{self, Front},
};
use gharvest_webhook_receiver::{Receiver, router};

/// Takes GitHub's webhooks and makes what follows from them durable
#[derive(Debug, Parser)]
#[command(name = "webhook-receiver", version)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // 64 KiB of headers and 16 KiB of a body each are 40 MiB, bodies of up to 1 MiB 48, and the longest 50, or 100 while a
    // form is read: within the 256 that docker-compose.yml gives.
    let limits = Limits { connections: 512, ..Limits::default() };
    process::run(|| async move {
        let common = &arguments.common;
        service::front(common, |all| all.webhook.listen.clone(), |all| all.webhook.withdraw, limits, routes).await
    })
}

/// Webhooks, health and metrics share one address: nginx passes on only the first.
async fn routes(front: Front) -> anyhow::Result<Router> {
    let Front { settings, readiness, metrics, shutdown } = front;
    let archive = gharvest_backends::archive(&settings).await?;
    // A receiver that waited for the queue would take nothing meanwhile; this one keeps it in the inbox.
    let queue = gharvest_backends::queue_when_used(&settings).await?;
    let state = gharvest_backends::state_when_used(&settings).await?;
    tokio::spawn(gharvest_backends::watch_queue(Arc::clone(&queue) as _, shutdown));
    let receiver = Receiver::new(queue, archive, settings.webhook.untracked).with_state(state);
    Ok(router(receiver, &settings.webhook).merge(health::router(readiness, metrics)))
}
