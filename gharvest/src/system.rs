//! The whole system in one process: all backends, all components.

use std::{sync::Arc, time::Duration};

use gharvest_archive::Archive;
use gharvest_github::Client;
use gharvest_queue::{Queue, QueueAdmin};
use gharvest_search::{SearchIndex, operations::OperationsLog};
use gharvest_seeder::{
    levels::{self, Levels},
    notify::{self, Watch},
    operations::{self, Observer},
};
use gharvest_service_kit::{Settings, changes::Change, process::Usage, service::Moment};
use gharvest_state::State;
use gharvest_web::{Backends, WebState, operations::GithubOperations};
use gharvest_webhook_receiver::Receiver;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// All backends of one deployment, opened.
#[derive(Debug, Clone)]
pub(crate) struct System {
    pub(crate) settings: Arc<Settings>,
    pub(crate) queue: Arc<dyn QueueAdmin>,
    pub(crate) state: Arc<dyn State>,
    pub(crate) archive: Archive,
    pub(crate) index: Arc<dyn SearchIndex>,
    /// None where the index is embedded.
    pub(crate) operations: Option<Arc<dyn OperationsLog>>,
    pub(crate) github: Client,
}

impl System {
    /// Opens everything that the settings name, and makes what is not there yet.
    pub(crate) async fn open(settings: Settings) -> anyhow::Result<Self> {
        let archive = gharvest_backends::archive(&settings).await?;
        let queue = gharvest_backends::queue(&settings).await?;
        let state = gharvest_backends::state(&settings).await?;
        let index = gharvest_backends::index(&settings).await?;
        gharvest_backends::ensure_index(index.as_ref(), archive.id()).await?;
        let operations = gharvest_backends::operations_log(&settings, archive.id()).await?;
        let github = gharvest_backends::github(&settings, Some(Arc::clone(&state)))?;
        Ok(Self { settings: Arc::new(settings), queue, state, archive, index, operations, github })
    }

    /// The same system with other settings. What they do not concern stays open: the embedded index has one owner.
    pub(crate) async fn with(&self, change: &Change) -> anyhow::Result<Self> {
        let mut system = Self { settings: Arc::clone(&change.settings), ..self.clone() };
        if change.is_in("archive") {
            system.archive = gharvest_backends::archive(&system.settings).await?;
        }
        if change.is_in("queue") {
            system.queue = gharvest_backends::queue(&system.settings).await?;
            system.state = gharvest_backends::state(&system.settings).await?;
        }
        if change.is_in("archive") || change.is_in("search") {
            if change.is_in("search") {
                system.index = gharvest_backends::index(&system.settings).await?;
            }
            gharvest_backends::ensure_index(system.index.as_ref(), system.archive.id()).await?;
            system.operations = gharvest_backends::operations_log(&system.settings, system.archive.id()).await?;
        }
        if change.is_in("queue") || (change.is_in("github") && !changes_only_tokens(change)) {
            system.github = gharvest_backends::github(&system.settings, Some(Arc::clone(&system.state)))?;
        }
        Ok(system)
    }

    /// Has a client that stays use the tokens of changed settings, the last step that may refuse them: who still has work
    /// in hand goes on with the new ones as well, and what is known of budgets stays.
    pub(crate) fn take_tokens(&self, change: &Change) -> anyhow::Result<()> {
        let is_same_client = change.is_in("github") && !change.is_in("queue") && changes_only_tokens(change);
        if is_same_client { gharvest_backends::set_tokens(&self.github, &self.settings) } else { Ok(()) }
    }

    /// Starts downloader, indexer and seeder. They end after `shutdown`, each when its work in hand is done.
    pub(crate) fn start_workers(&self, shutdown: &CancellationToken) -> anyhow::Result<JoinSet<()>> {
        // Settings that cannot be followed are refused before anything begins.
        let watch = Watch::new(
            Arc::clone(&self.queue),
            self.archive.clone(),
            Arc::clone(&self.state),
            self.github.clone(),
            notify::Options::new(&self.settings),
        )?;
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
            Arc::clone(&self.queue),
            self.archive.clone(),
            Arc::clone(&self.state),
            self.github.clone(),
            gharvest_seeder::Options::new(&self.settings),
            shutdown.clone(),
        ));
        workers.spawn(notify::run(watch, shutdown.clone()));
        workers.spawn(levels::run(Levels::new(Arc::clone(&self.queue), &self.settings), shutdown.clone()));
        let observer = Observer::new(
            Arc::clone(&self.queue),
            self.archive.clone(),
            Arc::clone(&self.state),
            self.github.clone(),
            self.operations.clone(),
            operations::Options::new(&self.settings),
        );
        workers.spawn(operations::run(observer, shutdown.clone()));
        Ok(workers)
    }

    /// Pages, API and webhooks, until `shutdown`. Refused where they would be open to others with nobody named.
    pub(crate) async fn moment(
        &self,
        metrics: PrometheusHandle,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Moment> {
        let keys = self.archive.keys_ever().await?;
        gharvest_web::access::check_listen(&self.settings.web, keys.as_deref()).map_err(Usage)?;
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
        let stopping = shutdown.clone();
        tokio::spawn(async move {
            stopping.cancelled().await;
            readiness.set(false);
        });
        let webhook = &self.settings.webhook;
        let routes = gharvest_web::router(state).merge(gharvest_webhook_receiver::router(receiver, webhook));
        // Where no delivery can come, nobody who stops this has to wait.
        let withdraw = if webhook.takes_deliveries() { webhook.withdraw } else { Duration::ZERO };
        Ok(Moment { routes, withdraw })
    }
}

/// Whether of `[github]` nothing but tokens and the App is different.
fn changes_only_tokens(change: &Change) -> bool {
    let is_token = |name: &str| ["[github] tokens", "[github] app"].iter().any(|token| name.starts_with(token));
    change.names.iter().filter(|name| name.starts_with("[github]")).all(|name| is_token(name))
}
