//! Starting and stopping.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
        mpsc,
    },
    thread::JoinHandle,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio_util::sync::CancellationToken;

use crate::{
    control::Control, fault::Faults, limits::Limits, lock::Lock, options::Options, server::Shared, webhook,
    world::World,
};

/// A running simulated GitHub. Stops when dropped.
///
/// It runs on threads of its own: a test that pauses tokio's clock does not pause GitHub.
#[derive(Debug)]
pub struct Simulator {
    control: Control,
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Builds the world and begins to answer. Takes a fraction of a second for thousands of items.
    ///
    /// Fails when the address is taken, or a recorded folder cannot be read.
    pub fn start(world: World, options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = world.build(format!("http://{address}"))?;
        let stop = CancellationToken::new();
        let (ready, started) = mpsc::channel();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("github-simulator".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async {
                let shared = Arc::new(Shared {
                    limits: Lock::new(Limits::new(&options)),
                    faults: Lock::new(Faults::new(options.seed)),
                    webhooks: webhook::Sender::start(options.seed),
                    options,
                    state: Lock::new(state),
                    violations: Lock::default(),
                    requests: Lock::new(BTreeMap::new()),
                    live: Lock::default(),
                    runtime: tokio::runtime::Handle::current(),
                    tick: AtomicU64::new(1),
                    in_flight: AtomicUsize::new(0),
                    gathered: Lock::default(),
                    node_ids: Lock::default(),
                    node_ids_at: Lock::default(),
                    exchanges: Lock::default(),
                });
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => {
                        if ready.send(Ok(Control { shared: shared.clone() })).is_ok() {
                            accept(listener, shared, stopped).await;
                        }
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
            runtime.shutdown_background();
        })?;
        let control = started.recv().map_err(|_| io::Error::other("the simulator's thread ended at once"))??;
        Ok(Self { control, address, stop, thread: Some(thread) })
    }

    /// A handle for faults, changes and the truth.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Base address of the API, without a slash at the end.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Base address of the web pages, without a slash at the end.
    pub fn web_url(&self) -> String {
        self.api_url()
    }

    /// Stops answering and waits for the threads to end. Dropping does the same.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the simulator's thread panicked");
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.end();
    }
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the simulator failed");
                    continue;
                }
            },
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let shared = shared.clone();
                async move { shared.serve(request).await }
            });
            let served = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            if let Err(error) = served {
                tracing::debug!(error, "a connection to the simulator ended early");
            }
        });
    }
}
