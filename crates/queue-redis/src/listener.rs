//! The subscription that wakes who waits.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use redis::{Client, ConnectionInfo, RedisResult, aio::PubSub};
use tokio::{sync::Notify, task::JoinHandle};

use crate::connection::{CONNECTING, Connections};

/// After this long without a message the subscription is made anew: a dead connection is as quiet as an idle one.
const QUIET: Duration = Duration::from_secs(60);
/// Between attempts to subscribe, doubling.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Listens on a channel for as long as it lives, and says so after each message and each (re)connect.
#[derive(Debug)]
pub(crate) struct Listener {
    task: JoinHandle<()>,
}

impl Listener {
    /// Subscribes to `channel`; `heard` is called with each message, and without one when messages may have been lost.
    pub(crate) fn start(
        connections: Connections,
        channel: String,
        heard: impl Fn(Option<String>) + Send + Sync + 'static,
    ) -> Self {
        Self { task: tokio::spawn(async move { listen(&connections, &channel, &heard).await }) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(connections: &Connections, channel: &str, heard: &(impl Fn(Option<String>) + Sync)) {
    let (shortest, longest) = PAUSES;
    let mut pause = shortest;
    let mut turn = 0;
    loop {
        // Any node of a cluster tells what is published on another.
        let nodes = connections.nodes();
        let subscribing = subscribe(nodes[turn % nodes.len()].clone(), channel);
        if let Ok(Ok(subscription)) = tokio::time::timeout(CONNECTING, subscribing).await {
            pause = shortest;
            heard(None);
            if hear(subscription, heard).await {
                continue;
            }
            // The other connection has most likely ended as well; who finds out by a command loses it.
            connections.reconnect().await;
        }
        turn += 1;
        metrics::counter!("gharvest_redis_reconnects_total").increment(1);
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
        pause = (pause * 2).min(longest);
    }
}

async fn subscribe(node: ConnectionInfo, channel: &str) -> RedisResult<PubSub> {
    let mut subscription = Client::open(node)?.get_async_pubsub().await?;
    subscription.subscribe(channel).await?;
    Ok(subscription)
}

/// Passes messages on until there are none for a while (true) or the connection ends (false).
async fn hear(mut subscription: PubSub, heard: &(impl Fn(Option<String>) + Sync)) -> bool {
    let mut messages = subscription.on_message();
    while let Ok(message) = tokio::time::timeout(QUIET, messages.next()).await {
        let Some(message) = message else { return false };
        heard(message.get_payload().ok());
    }
    true
}

/// One signal a queue.
#[derive(Debug, Default, Clone)]
pub(crate) struct Signals {
    pub(crate) download: Arc<Notify>,
    pub(crate) index: Arc<Notify>,
}
