//! `gharvest up`: all components in one process, until it is stopped; changed settings are taken meanwhile.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use gharvest_service_kit::{
    changes::{Change, Changes},
    process::{self, CommonArgs, Exit},
    serve::Limits,
    service::{Moment, serve_moments},
    telemetry,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{commands::rebuild, output::say, system::System};

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) web: WebArgs,
}

/// Where the web front is.
#[derive(Debug, Clone, Args)]
pub(crate) struct WebArgs {
    /// Where the web front listens [default: the settings' 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// No web front
    #[arg(long, conflicts_with = "listen")]
    pub(crate) no_web: bool,
}

pub(crate) async fn run(common: &CommonArgs, args: UpArgs) -> anyhow::Result<Exit> {
    let loaded = common.start()?;
    tracing::debug!(settings = loaded.redacted(), "settings in force");
    let changes = Changes::new(common, &loaded);
    let mut settings = loaded.settings;
    let shutdown = process::shutdown_on_signals()?;
    let listener = args.web.listen(&mut settings).await?;
    let system = System::open(settings).await?;
    let examined = system.github.clone();
    tokio::spawn(async move { gharvest_backends::examine_tokens(&examined).await });
    let running = Running::start(&system, listener, &shutdown).await?;
    running.until_stopped(&shutdown, Some(changes)).await?;
    Ok(Exit::Done)
}

impl WebArgs {
    /// Listens where asked, before anything else is opened: a busy port should not cost a minute.
    pub(crate) async fn listen(
        &self,
        settings: &mut gharvest_service_kit::Settings,
    ) -> anyhow::Result<Option<TcpListener>> {
        if self.no_web {
            return Ok(None);
        }
        if let Some(address) = &self.listen {
            settings.web.listen.clone_from(address);
        }
        let listener = process::listen(&settings.web.listen, "with --listen or in the settings").await?;
        settings.web.listen = listener.local_addr().context("the listener has no address")?.to_string();
        Ok(Some(listener))
    }
}

/// All components at work.
pub(crate) struct Running {
    system: System,
    workers: JoinSet<()>,
    /// Ends these workers and the routes of the moment.
    stop: CancellationToken,
    web: Option<Web>,
}

/// The web front: one listener, and what answers at the moment.
struct Web {
    metrics: PrometheusHandle,
    moment: watch::Sender<Moment>,
    server: JoinHandle<()>,
}

impl Running {
    /// Starts the components, and the web front where there is a listener.
    pub(crate) async fn start(
        system: &System,
        listener: Option<TcpListener>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let metrics = telemetry::init_metrics()?;
        let stop = shutdown.child_token();
        let mut web = None;
        if let Some(listener) = listener {
            let (moment, moments) = watch::channel(system.moment(metrics.clone(), &stop).await?);
            say(format_args!("web front on http://{}", system.settings.web.listen));
            let server = serve_moments(listener, moments, Limits::default(), shutdown.clone());
            web = Some(Web { metrics, moment, server: tokio::spawn(server) });
        }
        rebuild::renew_embedded(system).await?;
        let workers = system.start_workers(&stop)?;
        Ok(Self { system: system.clone(), workers, stop, web })
    }

    /// Waits for the end, and meanwhile takes changed settings. A component that ends by itself ends the process: half
    /// a system looks like a whole one.
    pub(crate) async fn until_stopped(
        mut self,
        shutdown: &CancellationToken,
        mut changes: Option<Changes>,
    ) -> anyhow::Result<()> {
        let early = loop {
            let changed = async {
                match &mut changes {
                    Some(changes) => changes.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                early = self.workers.join_next() => break early,
                change = changed => match self.take(&change, shutdown).await {
                    Ok(mut former) => while let Some(ended) = former.join_next().await {
                        ended.context("a component failed as the settings changed")?;
                    },
                    Err(error) => if let Some(changes) = &mut changes {
                        changes.refuse(&error);
                    },
                },
            }
        };
        let was_asked = shutdown.is_cancelled();
        shutdown.cancel();
        while self.workers.join_next().await.is_some() {}
        if let Some(web) = self.web {
            web.server.await.context("the web front failed")?;
        }
        match early {
            Some(Err(error)) => Err(error).context("a component failed"),
            Some(Ok(())) if !was_asked => anyhow::bail!("a component ended by itself: its log says why"),
            _ => Ok(()),
        }
    }

    /// Begins with other settings before it ends with those so far, so that one that cannot be followed changes
    /// nothing: any number of components may work side by side. Returns the former workers, which finish what they
    /// have in hand.
    async fn take(&mut self, change: &Change, shutdown: &CancellationToken) -> anyhow::Result<JoinSet<()>> {
        let mut settings = (*change.settings).clone();
        // The front stays where it is, and `--listen` said so perhaps.
        settings.web.listen.clone_from(&self.system.settings.web.listen);
        let change = Change { settings: Arc::new(settings), names: change.names.clone() };
        let system = self.system.with(&change).await?;
        let stop = shutdown.child_token();
        let refused = stop.clone().drop_guard();
        let moment = match &self.web {
            Some(web) => Some(system.moment(web.metrics.clone(), &stop).await?),
            None => None,
        };
        system.take_tokens(&change)?;
        let workers = system.start_workers(&stop)?;
        refused.disarm();
        if let (Some(web), Some(moment)) = (&self.web, moment) {
            drop(web.moment.send_replace(moment));
        }
        self.system = system;
        std::mem::replace(&mut self.stop, stop).cancel();
        Ok(std::mem::replace(&mut self.workers, workers))
    }
}
