//! `gharvest up`: all components in one process, until it is stopped.

use anyhow::Context;
use clap::Args;
use gharvest_service_kit::{
    process::{self, CommonArgs, Exit, Usage},
    telemetry,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{output::say, system::System};

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
    let mut settings = loaded.settings;
    let shutdown = process::shutdown_on_signals()?;
    let listener = args.web.listen(&mut settings).await?;
    let system = System::open(settings).await?;
    let examined = system.github.clone();
    tokio::spawn(async move { gharvest_backends::examine_tokens(&examined).await });
    let running = Running::start(&system, listener, &shutdown).await?;
    running.until_stopped(&shutdown).await?;
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
        let listener = process::listen(&settings.web.listen).await?;
        settings.web.listen = listener.local_addr().context("the listener has no address")?.to_string();
        Ok(Some(listener))
    }
}

/// All components at work.
pub(crate) struct Running {
    workers: JoinSet<()>,
}

impl Running {
    /// Starts the components, and the web front where there is a listener.
    pub(crate) async fn start(
        system: &System,
        listener: Option<TcpListener>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let metrics = telemetry::init_metrics()?;
        let mut workers = system.start_workers(shutdown)?;
        if let Some(listener) = listener {
            let keys = system.archive.keys().await?;
            gharvest_web::access::check_listen(&system.settings.web, &keys).map_err(Usage)?;
            say(format_args!("web front on http://{}", system.settings.web.listen));
            let (system, shutdown) = (system.clone(), shutdown.clone());
            workers.spawn(async move { system.serve_web(listener, metrics, shutdown).await });
        }
        Ok(Self { workers })
    }

    /// Waits for the end. A component that ends by itself ends the process: half a system looks like a whole one.
    pub(crate) async fn until_stopped(mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let early = self.workers.join_next().await;
        let was_asked = shutdown.is_cancelled();
        shutdown.cancel();
        while self.workers.join_next().await.is_some() {}
        match early {
            Some(Err(error)) => Err(error).context("a component failed"),
            Some(Ok(())) if !was_asked => anyhow::bail!("a component ended by itself: its log says why"),
            _ => Ok(()),
        }
    }
}
