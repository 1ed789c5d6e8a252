//! Connections: a pool for commands, and one subscription a process for waking.

use std::{sync::Arc, time::Duration};

use deadpool_redis::{
    Pool, PoolError, Runtime,
    cluster::{self as cluster_pool, Pool as ClusterPool},
};
use futures::StreamExt;
use redis::{ErrorKind, FromRedisValue, RedisError, ScriptInvocation};
use tokio::{sync::Notify, task::JoinHandle};

/// Commands in flight at once in one process.
const POOL_SIZE: usize = 16;

/// A command that takes longer is given up: Redis answers in milliseconds or is in trouble.
const PATIENCE: Duration = Duration::from_secs(15);

/// Redis, alone or as a cluster.
#[derive(Clone)]
pub(crate) enum Connections {
    Single(Pool),
    Cluster(ClusterPool),
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl Connections {
    /// Connects to `redis://…`; several addresses separated by commas are nodes of a cluster.
    pub(crate) fn new(url: &str) -> Result<Self, RedisError> {
        let urls: Vec<String> = addresses(url);
        if urls.len() > 1 {
            let config = cluster_pool::Config {
                pool: Some(deadpool_redis::PoolConfig::new(POOL_SIZE)),
                ..cluster_pool::Config::from_urls(urls)
            };
            return Ok(Self::Cluster(config.create_pool(Some(Runtime::Tokio1)).map_err(|error| bad_address(&error))?));
        }
        let mut config = deadpool_redis::Config::from_url(url);
        config.pool = Some(deadpool_redis::PoolConfig::new(POOL_SIZE));
        Ok(Self::Single(config.create_pool(Some(Runtime::Tokio1)).map_err(|error| bad_address(&error))?))
    }

    /// Runs a script; one that Redis does not know (a restart, a failover) is sent again.
    pub(crate) async fn run<T: FromRedisValue + Send>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        within(async {
            match self {
                Self::Single(pool) => invocation.invoke_async(&mut pool.get().await.map_err(pool_error)?).await,
                Self::Cluster(pool) => invocation.invoke_async(&mut pool.get().await.map_err(pool_error)?).await,
            }
        })
        .await
    }

    /// Runs one command.
    pub(crate) async fn command<T: FromRedisValue + Send>(&self, command: &redis::Cmd) -> Result<T, RedisError> {
        within(async {
            match self {
                Self::Single(pool) => command.query_async(&mut pool.get().await.map_err(pool_error)?).await,
                Self::Cluster(pool) => command.query_async(&mut pool.get().await.map_err(pool_error)?).await,
            }
        })
        .await
    }
}

async fn within<T>(work: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(RedisError::from((ErrorKind::Io, "no answer in time"))),
    }
}

/// `redis://a:1,b:2` names the nodes of a cluster.
fn addresses(url: &str) -> Vec<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    rest.split(',').filter(|address| !address.is_empty()).map(|address| format!("{scheme}://{address}")).collect()
}

fn bad_address(error: &impl std::fmt::Display) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, "not an address of Redis", error.to_string()))
}

fn pool_error(error: PoolError) -> RedisError {
    match error {
        PoolError::Backend(error) => error,
        other => RedisError::from((ErrorKind::Io, "no connection", other.to_string())),
    }
}

/// Listens on a channel for as long as it lives, and notifies after each message and each (re)connect.
#[derive(Debug)]
pub(crate) struct Listener {
    task: JoinHandle<()>,
}

impl Listener {
    /// Subscribes to `channel`; `heard` is called with each message, and without one when messages may have been lost.
    pub(crate) fn start(
        url: &str,
        channel: String,
        heard: impl Fn(Option<String>) + Send + 'static,
    ) -> Result<Self, RedisError> {
        let first = addresses(url).into_iter().next().unwrap_or_default();
        let client = redis::Client::open(first)?;
        let task = tokio::spawn(async move {
            let mut pause = Duration::from_millis(50);
            loop {
                if let Ok(mut subscription) = client.get_async_pubsub().await
                    && subscription.subscribe(&channel).await.is_ok()
                {
                    pause = Duration::from_millis(50);
                    heard(None);
                    let mut messages = subscription.on_message();
                    while let Some(message) = messages.next().await {
                        heard(message.get_payload().ok());
                    }
                }
                metrics::counter!("gharvest_redis_reconnects_total").increment(1);
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        });
        Ok(Self { task })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One signal a queue.
#[derive(Debug, Default, Clone)]
pub(crate) struct Signals {
    pub(crate) download: Arc<Notify>,
    pub(crate) index: Arc<Notify>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_addresses_are_nodes_of_a_cluster() {
        assert_eq!(addresses("redis://a:1,b:2"), ["redis://a:1", "redis://b:2"]);
        assert_eq!(addresses("rediss://user:x@a:1/0"), ["rediss://user:x@a:1/0"]);
    }
}
