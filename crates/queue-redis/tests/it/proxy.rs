//! A slow network: a proxy on loopback that delays what passes, and can cut it.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};

/// Delays each piece in either direction. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct SlowProxy {
    address: SocketAddr,
    cuts: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl SlowProxy {
    pub(crate) async fn start(port: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cuts, watching) = watch::channel(0);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mut cut = watching.clone();
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let (near, far) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = pass(near.0, far.1, delay) => {}
                        () = pass(far.0, near.1, delay) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, cuts, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Cuts all connections that there are.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for SlowProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let mut piece = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(delay).await;
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
