//! A component as a process of its own: settings, logs, health and metrics over HTTP, signals, a graceful end.
//!
//! [`run`] is for components that work, [`front`] for those that answer requests. Both take changed settings while they
//! run, as `changes` says.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    Settings,
    changes::{Changes, refuse},
    health::{self, Readiness},
    process::{CommonArgs, Exit, listen, shutdown_on_signals},
    serve::{Limits, serve},
    telemetry,
};

/// After so long settings that were refused are tried again.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// What a component is given to run with.
#[derive(Debug, Clone)]
pub struct Service {
    /// The settings.
    pub settings: Arc<Settings>,
    /// To be set once everything is open and work is wanted; withdrawn by itself at shutdown.
    pub readiness: Readiness,
    /// Cancelled by SIGTERM and SIGINT, and where the settings change.
    pub shutdown: CancellationToken,
}

/// Runs a component until it returns. `/healthz`, `/readyz` and `/metrics` are served on `address` from the first
/// moment, so that a process that cannot open its backends yet is seen to be alive and not ready.
///
/// Where the settings change the component is asked to stop, and called again with the new ones. If it cannot begin
/// with them, it goes on with the former.
pub async fn run<F>(
    common: &CommonArgs,
    address: impl FnOnce(&Settings) -> String,
    component: impl Fn(Service) -> F,
) -> anyhow::Result<Exit>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let loaded = common.start()?;
    let changes = Changes::new(common, &loaded);
    let settings = Arc::new(loaded.settings);
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
    let result = work(Service { settings, readiness, shutdown }, changes, component).await;
    served_until.cancel();
    server.await?;
    result.map(|()| Exit::Done)
}

/// Runs the component with the settings of the moment, until it ends by itself or by shutdown.
async fn work<F>(service: Service, mut changes: Changes, component: impl Fn(Service) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut settings = service.settings.clone();
    let mut former = None;
    loop {
        let stop = service.shutdown.child_token();
        let this = Service { settings: settings.clone(), shutdown: stop.clone(), ..service.clone() };
        let working = component(this);
        tokio::pin!(working);
        let result = tokio::select! {
            result = &mut working => result,
            changed = changes.next() => {
                service.readiness.set(false);
                stop.cancel();
                working.await?;
                if service.shutdown.is_cancelled() {
                    return Ok(());
                }
                former = Some(std::mem::replace(&mut settings, changed.settings));
                continue;
            }
        };
        match (result, former.take()) {
            (Err(error), Some(before)) if !service.readiness.get() && !service.shutdown.is_cancelled() => {
                refuse(&format!("{error:#}"));
                settings = before;
            }
            (result, _) => return result,
        }
    }
}

/// What the routes of a front are made of.
#[derive(Debug, Clone)]
pub struct Front {
    /// The settings.
    pub settings: Arc<Settings>,
    /// Set by itself once the routes are made; withdrawn at shutdown.
    pub readiness: Readiness,
    /// What `/metrics` prints.
    pub metrics: PrometheusHandle,
    /// Cancelled where these routes answer no longer: at shutdown, and where other settings are taken.
    pub shutdown: CancellationToken,
}

/// Serves requests until SIGTERM or SIGINT. Where the settings change the routes are made anew for requests that come
/// from then on, and connections stay; if they cannot be made, the former go on.
///
/// `withdraw` is how long requests are still taken at shutdown after the process says that it is not ready, so that a
/// proxy that asks turns away before anything is refused.
pub async fn front<F>(
    common: &CommonArgs,
    address: impl FnOnce(&Settings) -> String,
    withdraw: impl FnOnce(&Settings) -> Duration,
    limits: Limits,
    routes: impl Fn(Front) -> F + Send + 'static,
) -> anyhow::Result<Exit>
where
    F: Future<Output = anyhow::Result<Router>> + Send + 'static,
{
    let loaded = common.start()?;
    let changes = Changes::new(common, &loaded);
    let settings = Arc::new(loaded.settings);
    let metrics = telemetry::init_metrics()?;
    let shutdown = shutdown_on_signals()?;
    let listener = listen(&address(&settings)).await?;
    let readiness = Readiness::default();
    let withdraw = withdraw(&settings);
    let stop = shutdown.child_token();
    let front = Front { settings, readiness: readiness.clone(), metrics, shutdown: stop.clone() };
    let (current, answering) = watch::channel(routes(front.clone()).await?);
    tracing::info!(address = %listener.local_addr()?, "requests are taken");
    readiness.set(true);
    let follower = tokio::spawn(follow(front, shutdown.clone(), changes, current, routes));
    let ended = CancellationToken::new();
    let end = ended.clone();
    tokio::spawn(async move {
        shutdown.cancelled().await;
        readiness.set(false);
        tokio::time::sleep(withdraw).await;
        end.cancel();
    });
    serve(listener, of_the_moment(answering), limits, ended).await;
    follower.abort();
    Ok(Exit::Done)
}

/// Makes the routes anew at each change. Settings that nothing could be made of are tried again: what they name may have
/// been away for a moment, and nobody changes a file twice to be heard.
async fn follow<F>(
    front: Front,
    shutdown: CancellationToken,
    mut changes: Changes,
    current: watch::Sender<Router>,
    routes: impl Fn(Front) -> F,
) where
    F: Future<Output = anyhow::Result<Router>>,
{
    let mut stop = front.shutdown.clone();
    let mut refused = None;
    loop {
        let settings = tokio::select! {
            changed = changes.next() => changed.settings,
            Some(again) = later(refused.take()) => again,
        };
        let next = shutdown.child_token();
        match routes(Front { settings: settings.clone(), shutdown: next.clone(), ..front.clone() }).await {
            Ok(routes) => {
                drop(current.send_replace(routes));
                stop.cancel();
                stop = next;
            }
            Err(error) => {
                next.cancel();
                refuse(&format!("{error:#}; tried again in {} s", REFUSED_AGAIN.as_secs()));
                refused = Some(settings);
            }
        }
    }
}

/// Refused settings, after a pause.
async fn later(refused: Option<Arc<Settings>>) -> Option<Arc<Settings>> {
    if refused.is_some() {
        tokio::time::sleep(REFUSED_AGAIN).await;
    }
    refused
}

/// Each request is answered by the routes that there are when it comes.
pub fn of_the_moment(routes: watch::Receiver<Router>) -> Router {
    Router::new().fallback(move |request: Request| {
        let routes = routes.borrow().clone();
        async move { routes.oneshot(request).await }
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Mutex};

    use secrecy::ExposeSecret;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_that_comes_while_a_backend_is_away_is_taken_once_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gharvest.toml");
        fs::write(&file, "[webhook]\nsecrets = [\"first\"]").unwrap();
        let common = CommonArgs { config: Some(file.clone()), data_dir: Some(folder.path().to_owned()), log: None };
        let loaded = common.load().unwrap();
        let changes = Changes::new(&common, &loaded);
        let shutdown = CancellationToken::new();
        let front = Front {
            settings: Arc::new(loaded.settings),
            readiness: Readiness::default(),
            metrics: metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle(),
            shutdown: shutdown.clone(),
        };
        // Away when it is asked first, and second; what it was asked for.
        let asked = Arc::new(Mutex::new(Vec::new()));
        let routes = {
            let asked = Arc::clone(&asked);
            move |front: Front| {
                let mut asked = asked.lock().unwrap();
                asked.push(front.settings.webhook.secrets[0].expose_secret().to_owned());
                let answer = if asked.len() > 2 { Ok(Router::new()) } else { Err(anyhow::anyhow!("Redis is away")) };
                std::future::ready(answer)
            }
        };
        let (current, mut answering) = watch::channel(Router::new());
        let follower = tokio::spawn(follow(front, shutdown, changes, current, routes));
        fs::write(&file, "[webhook]\nsecrets = [\"second\"]").unwrap();
        answering.changed().await.unwrap();
        assert_eq!(*asked.lock().unwrap(), ["second", "second", "second"]);
        follower.abort();
    }
}
