//! A component as a process of its own: settings, logs, health and metrics over HTTP, signals, a graceful end.
//!
//! [`run`] is for components that work, [`front`] for those that answer requests. Both take changed settings while they
//! run, as `changes` says.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    Settings,
    changes::Changes,
    health::{self, Readiness},
    process::{CommonArgs, Exit, listen, shutdown_on_signals},
    serve::{Limits, serve},
    telemetry,
};

/// Where a component's address comes from.
const IN_THE_SETTINGS: &str = "in the settings";

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
/// with them, it goes on with the former, and they are tried again.
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
    let listener = listen(&address(&settings), IN_THE_SETTINGS).await?;
    tracing::info!(address = %listener.local_addr()?, "Health and metrics are served");
    let readiness = Readiness::default();
    // Health is served until the work in hand is done: a process that drains is still alive.
    let served_until = CancellationToken::new();
    let router = health::router(readiness.clone(), metrics);
    let server = tokio::spawn(serve(listener, router, Limits::default(), served_until.clone()));
    tokio::spawn(withdraw_at(shutdown.clone(), readiness.clone()));
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
                changes.refuse(&error);
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

/// What a front is at the moment.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// What answers.
    pub routes: Router,
    /// So long after the shutdown begins requests are still taken, while the process says that it is not ready: a proxy
    /// that asks turns away before anything is refused.
    pub withdraw: Duration,
}

/// Serves requests until SIGTERM or SIGINT, and for `withdraw` after. Where the settings change the routes are made anew
/// for requests that come from then on, and connections stay; if they cannot be made, the former go on.
pub async fn front<F>(
    common: &CommonArgs,
    address: impl FnOnce(&Settings) -> String,
    withdraw: fn(&Settings) -> Duration,
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
    let listener = listen(&address(&settings), IN_THE_SETTINGS).await?;
    let readiness = Readiness::default();
    let front = Front { settings, readiness: readiness.clone(), metrics, shutdown: shutdown.child_token() };
    let make = move |front: Front| {
        let withdraw = withdraw(&front.settings);
        let routes = routes(front);
        async move { Ok(Moment { routes: routes.await?, withdraw }) }
    };
    let (current, moments) = watch::channel(make(front.clone()).await?);
    tracing::info!(address = %listener.local_addr()?, "requests are taken");
    readiness.set(true);
    tokio::spawn(withdraw_at(shutdown.clone(), readiness));
    let follower = tokio::spawn(follow(front, shutdown.clone(), changes, current, make));
    serve_moments(listener, moments, limits, shutdown).await;
    follower.abort();
    Ok(Exit::Done)
}

async fn withdraw_at(shutdown: CancellationToken, readiness: Readiness) {
    shutdown.cancelled().await;
    readiness.set(false);
}

/// Follows changed settings.
async fn follow<F>(
    front: Front,
    shutdown: CancellationToken,
    mut changes: Changes,
    current: watch::Sender<Moment>,
    make: impl Fn(Front) -> F,
) where
    F: Future<Output = anyhow::Result<Moment>>,
{
    let mut stop = front.shutdown.clone();
    loop {
        let settings = changes.next().await.settings;
        let next = shutdown.child_token();
        match make(Front { settings, shutdown: next.clone(), ..front.clone() }).await {
            Ok(moment) => {
                drop(current.send_replace(moment));
                stop.cancel();
                stop = next;
            }
            Err(error) => {
                next.cancel();
                changes.refuse(&error);
            }
        }
    }
}

/// Has each request answered by the routes that there are when it comes, until `shutdown` and as long after it as the
/// moment says.
pub async fn serve_moments(
    listener: TcpListener,
    moments: watch::Receiver<Moment>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let ended = CancellationToken::new();
    let end = async {
        shutdown.cancelled().await;
        let withdraw = moments.borrow().withdraw;
        tokio::time::sleep(withdraw).await;
        ended.cancel();
    };
    tokio::join!(end, serve(listener, of_the_moment(moments.clone()), limits, ended.clone()));
}

fn of_the_moment(moments: watch::Receiver<Moment>) -> Router {
    Router::new().fallback(move |request: Request| {
        let routes = moments.borrow().routes.clone();
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
        let make = {
            let asked = Arc::clone(&asked);
            move |front: Front| {
                let mut asked = asked.lock().unwrap();
                asked.push(front.settings.webhook.secrets[0].expose_secret().to_owned());
                let answer =
                    if asked.len() > 2 { Ok(Moment::default()) } else { Err(anyhow::anyhow!("Redis is away")) };
                std::future::ready(answer)
            }
        };
        let (current, mut moments) = watch::channel(Moment::default());
        let follower = tokio::spawn(follow(front, shutdown, changes, current, make));
        fs::write(&file, "[webhook]\nsecrets = [\"second\"]").unwrap();
        moments.changed().await.unwrap();
        assert_eq!(*asked.lock().unwrap(), ["second", "second", "second"]);
        follower.abort();
    }

    /// Settings of a file in a folder, and where changes of it come from.
    fn written(folder: &std::path::Path, text: &str) -> (Arc<Settings>, Changes) {
        fs::write(folder.join("gharvest.toml"), text).unwrap();
        let common = CommonArgs { data_dir: Some(folder.to_owned()), ..CommonArgs::default() };
        let loaded = common.load().unwrap();
        let changes = Changes::new(&common, &loaded);
        (Arc::new(loaded.settings), changes)
    }

    /// The former may hold what was to be replaced: a token that was revoked, an old password.
    #[tokio::test(start_paused = true)]
    async fn a_worker_that_cannot_begin_with_changed_settings_goes_on_and_tries_them_again() {
        let folder = tempfile::tempdir().unwrap();
        let (settings, changes) = written(folder.path(), "[queue]\nnamespace = \"first\"");
        let shutdown = CancellationToken::new();
        let service = Service { settings, readiness: Readiness::default(), shutdown: shutdown.clone() };
        let begun = Mutex::new(Vec::new());
        let (file, end) = (folder.path().join("gharvest.toml"), shutdown.clone());
        let component = |service: Service| {
            let namespace = service.settings.queue.namespace.clone();
            let (turn, is_first) = {
                let mut begun = begun.lock().unwrap();
                begun.push(namespace.clone());
                (begun.len(), namespace == "first")
            };
            let (file, end) = (file.clone(), end.clone());
            async move {
                match turn {
                    1 => fs::write(file, "[queue]\nnamespace = \"second\"").unwrap(),
                    2 => anyhow::bail!("Redis is away"),
                    4 => end.cancel(),
                    _ => assert!(is_first, "it goes on as before"),
                }
                service.readiness.set(true);
                service.shutdown.cancelled().await;
                Ok(())
            }
        };
        work(service, changes, component).await.unwrap();
        assert_eq!(*begun.lock().unwrap(), ["first", "second", "first", "second"]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_taken_for_as_long_after_the_shutdown_as_the_latest_settings_say() {
        let (current, moments) = watch::channel(Moment::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve_moments(listener, moments, Limits::default(), shutdown.clone()));
        drop(current.send_replace(Moment { withdraw: Duration::from_secs(7), ..Moment::default() }));
        let begun = tokio::time::Instant::now();
        shutdown.cancel();
        serving.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 7);
    }
}
