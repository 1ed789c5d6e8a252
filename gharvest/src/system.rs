//! The whole system in one process: all backends, all components.

use std::sync::Arc;

use anyhow::Context;
use gharvest_archive::Archive;
use gharvest_github::Client;
use gharvest_queue::{Queue, QueueAdmin};
use gharvest_search::SearchIndex;
use gharvest_seeder::notify::{self, Watch};
use gharvest_service_kit::{
    Settings,
    serve::{Limits, serve},
};
use gharvest_state::State;
use gharvest_web::{Backends, WebState, operations::GithubOperations};
use gharvest_webhook_receiver::Receiver;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// All backends of one deployment, opened.
#[derive(Debug, Clone)]
pub(crate) struct System {
    pub(crate) settings: Arc<Settings>,
    pub(crate) queue: Arc<dyn QueueAdmin>,
    pub(crate) state: Arc<dyn State>,
    pub(crate) archive: Archive,
    pub(crate) index: Arc<dyn SearchIndex>,
    pub(crate) github: Client,
}

impl System {
    /// Opens everything that the settings name, and makes what is not there yet.
    pub(crate) async fn open(settings: Settings) -> anyhow::Result<Self> {
        let archive = gharvest_backends::archive(&settings).await?;
        let queue = gharvest_backends::queue(&settings).await?;
        let state = gharvest_backends::state(&settings).await?;
        let index = gharvest_backends::index(&settings).await?;
        index.ensure(archive.id()).await.context("making the index")?;
        let github = gharvest_backends::github(&settings, Some(Arc::clone(&state)))?;
        Ok(Self { settings: Arc::new(settings), queue, state, archive, index, github })
    }

    /// Starts downloader, indexer and seeder. They end after `shutdown`, each when its work in hand is done.
    pub(crate) fn start_workers(&self, shutdown: &CancellationToken) -> anyhow::Result<JoinSet<()>> {
        let mut workers = JoinSet::new();
        let queue: Arc<dyn Queue> = Arc::clone(&self.queue) as _;
        workers.spawn(gharvest_downloader::run(
            Arc::clone(&queue),
            self.archive.clone(),
            self.github.clone(),
            gharvest_downloader::Options::new(&self.settings),
            shutdown.clone(),
        ));
        workers.spawn(gharvest_indexer::run(
            Arc::clone(&queue),
            self.archive.clone(),
            Arc::clone(&self.state),
            Arc::clone(&self.index),
            gharvest_indexer::Options::new(&self.settings),
            shutdown.clone(),
        ));
        workers.spawn(gharvest_seeder::run(
            queue,
            self.archive.clone(),
            Arc::clone(&self.state),
            self.github.clone(),
            gharvest_seeder::Options::new(&self.settings),
            shutdown.clone(),
        ));
        let watch = Watch::new(
            Arc::clone(&self.queue),
            self.archive.clone(),
            Arc::clone(&self.state),
            self.github.clone(),
            notify::Options::new(&self.settings),
        )?;
        workers.spawn(notify::run(watch, shutdown.clone()));
        Ok(workers)
    }

    /// Serves pages, API and webhooks on one address until `shutdown`.
    pub(crate) async fn serve_web(
        &self,
        listener: TcpListener,
        metrics: PrometheusHandle,
        shutdown: CancellationToken,
    ) {
        let operations = GithubOperations::new(
            self.archive.clone(),
            Arc::clone(&self.queue),
            Arc::clone(&self.index),
            self.github.clone(),
        );
        let backends = Backends {
            queue: Arc::clone(&self.queue),
            archive: self.archive.clone(),
            state: Arc::clone(&self.state),
            search: Arc::clone(&self.index),
            operations: Arc::new(operations),
        };
        let mut state = WebState::new(backends, &self.settings);
        state.metrics = Some(metrics);
        state.shutdown = shutdown.clone();
        let readiness = state.readiness.clone();
        let receiver =
            Receiver::new(Arc::clone(&self.queue) as _, self.archive.clone(), self.settings.webhook.untracked)
                .with_state(Arc::clone(&self.state));
        let router =
            gharvest_web::router(state).merge(gharvest_webhook_receiver::router(receiver, &self.settings.webhook));
        let stopping = shutdown.clone();
        tokio::spawn(async move {
            stopping.cancelled().await;
            readiness.set(false);
        });
        serve(listener, router, Limits::default(), shutdown).await;
    }
}
