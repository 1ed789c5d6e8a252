//! The HTTP server of every process: limits on what a stranger can hold, and a graceful end.
//!
//! It speaks HTTP/1.1, whose deadline for headers begins with the connection: one that says nothing is closed. HTTP/2 is
//! for the proxy in front, which also has the certificates that browsers want for it.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Extension, Router, extract::ConnectInfo};
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Sleep, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What one client, or all together, may hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once; more wait to be accepted.
    pub connections: usize,
    /// A request's headers have to be here after this long: slow senders hold nothing.
    pub header_deadline: Duration,
    /// A client that takes nothing of an answer for this long is cut off: slow readers hold nothing.
    pub write_deadline: Duration,
    /// The most bytes of a request's headers.
    pub header_bytes: usize,
    /// After shutdown, requests in hand may take this long.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            header_deadline: Duration::from_secs(10),
            write_deadline: Duration::from_secs(30),
            header_bytes: 64 * 1024,
            drain: Duration::from_secs(10),
        }
    }
}

type Connection = UpgradeableConnection<TokioIo<Patient<TcpStream>>, TowerToHyperService<Router>>;

/// Serves until the token is cancelled, then lets requests in hand finish. The peer's address is an extension,
/// [`ConnectInfo`].
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: CancellationToken) {
    let server = builder(&limits);
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(limits.connections));
    loop {
        let permit = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&permits).acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                wait_after(&error).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone().layer(Extension(ConnectInfo::<SocketAddr>(peer))));
        let stream = Patient { stream, deadline: limits.write_deadline, stalled: None };
        let connection = server.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            if let Err(error) = until_shutdown(connection, &shutdown).await {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!("requests in hand took too long and are cut off");
    }
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_deadline).max_buf_size(limits.header_bytes);
    builder
}

/// Serves a connection; from the shutdown on, only the request in hand.
async fn until_shutdown(connection: Connection, shutdown: &CancellationToken) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// A stream whose writes fail when the other side takes nothing for too long.
struct Patient<S> {
    stream: S,
    deadline: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// What became of a write: one that waits begins to run out of time.
    fn settle<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let deadline = self.deadline;
        ready!(self.stalled.get_or_insert_with(|| Box::pin(sleep(deadline))).as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.settle(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.settle(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.settle(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.settle(context, ended)
    }
}

/// Out of file descriptors is no reason to stop, but one to wait: accepting at once would fail again at once.
async fn wait_after(error: &std::io::Error) {
    tracing::warn!(%error, "a connection cannot be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(router: Router, limits: Limits) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
        (address, shutdown, server)
    }

    async fn answer(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = Vec::new();
        drop(stream.read_to_end(&mut text).await);
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn the_peer_is_known_and_requests_in_hand_finish_at_shutdown() {
        let entered = Arc::new(tokio::sync::Notify::new());
        let leave = Arc::new(tokio::sync::Notify::new());
        let (inside, go) = (Arc::clone(&entered), Arc::clone(&leave));
        let handler = move |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move {
            inside.notify_one();
            go.notified().await;
            peer.ip().to_string()
        };
        let (address, shutdown, server) = start(Router::new().route("/", get(handler)), Limits::default()).await;
        let request =
            tokio::spawn(
                async move { answer(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await },
            );
        entered.notified().await;
        shutdown.cancel();
        leave.notify_one();
        assert!(request.await.unwrap().ends_with("127.0.0.1"));
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_cut_off() {
        /// Says when the answer is given up.
        struct Held(Arc<tokio::sync::Notify>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let given_up = Arc::new(tokio::sync::Notify::new());
        let notice = Arc::clone(&given_up);
        let endless = move || {
            let held = Held(Arc::clone(&notice));
            let part = move |_| {
                let _alive = &held;
                Ok::<_, std::convert::Infallible>(axum::body::Bytes::from_static(&[b'x'; 65_536]))
            };
            let parts = futures::StreamExt::map(futures::stream::repeat(()), part);
            async { axum::body::Body::from_stream(parts) }
        };
        let limits = Limits { write_deadline: Duration::from_millis(50), ..Limits::default() };
        let (address, shutdown, server) = start(Router::new().route("/", get(endless)), limits).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        given_up.notified().await;
        shutdown.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn huge_and_slow_headers_are_cut_off() {
        let limits = Limits { header_deadline: Duration::from_millis(50), ..Limits::default() };
        let (address, shutdown, server) = start(Router::new(), limits).await;
        let mut huge = b"GET / HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
        huge.resize(huge.len() + 100_000, b'a');
        assert!(answer(address, &huge).await.contains("431"));
        // Never finished, or never begun, or begun as HTTP/2 begins. The connection ends by the deadline: this test hangs if
        // there is none.
        for begun in [&b"GET / HTTP/1.1\r\nHost: x\r\n"[..], b"", b"PRI * "] {
            answer(address, begun).await;
        }
        shutdown.cancel();
        server.await.unwrap();
    }
}
