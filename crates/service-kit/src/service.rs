//! A component as a process of its own: settings, logs, health and metrics over HTTP, signals, a graceful end.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    health::{self, Readiness},
    process::{CommonArgs, Exit, listen, shutdown_on_signals},
    serve::{Limits, serve},
    telemetry,
};

/// What a component is given to run with.
#[derive(Debug, Clone)]
pub struct Service {
    /// The settings.
    pub settings: Arc<Settings>,
    /// To be set once everything is open and work is wanted; withdrawn by itself at shutdown.
    pub readiness: Readiness,
    /// Cancelled by SIGTERM and SIGINT.
    pub shutdown: CancellationToken,
}

/// Runs a component until it returns. `/healthz`, `/readyz` and `/metrics` are served on `address` from the first
/// moment, so that a process that cannot open its backends yet is seen to be alive and not ready.
pub async fn run<F>(
    common: &CommonArgs,
    address: impl FnOnce(&Settings) -> String,
    component: impl FnOnce(Service) -> F,
) -> anyhow::Result<Exit>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let settings = Arc::new(common.start()?.settings);
    let metrics = telemetry::init_metrics()?;
    let shutdown = shutdown_on_signals()?;
    let listener = listen(&address(&settings)).await?;
    tracing::info!(address = %listener.local_addr()?, "Health and metrics are served");
    let readiness = Readiness::default();
    // Health is served until the work in hand is done: a process that drains is still alive.
    let served_until = CancellationToken::new();
    let router = health::router(readiness.clone(), metrics);
    let server = tokio::spawn(serve(listener, router, Limits::default(), served_until.clone()));
    let (stopping, withdrawn) = (shutdown.clone(), readiness.clone());
    tokio::spawn(async move {
        stopping.cancelled().await;
        withdrawn.set(false);
    });
    let result = component(Service { settings, readiness, shutdown }).await;
    served_until.cancel();
    server.await?;
    result.map(|()| Exit::Done)
}
