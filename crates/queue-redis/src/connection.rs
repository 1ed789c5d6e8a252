//! The connection to the server that has our keys.
//!
//! All keys share one hash tag, so one server serves a namespace, on a cluster too. A cluster's node that has not our
//! slot says who has it (`MOVED`, nothing was done), and the connections follow.
//!
//! Pushes, leases and settlements of a process share one connection, in which they follow each other without waiting
//! for answers. Work in bulk (ranges, listings, purges, histories) takes a connection of a pool for each step, because
//! answers come in the order of the questions: a page of jobs on a slow network would hold up every lease asked for
//! behind it. The pool asks a connection whether it lives before it is used, which costs as long as a short command
//! itself, and so is not for those.

use std::{
    sync::{
        Arc, Mutex as StdMutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool_redis::{Manager, Pool, PoolError, Runtime};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisError, RedisResult, Script, ServerErrorKind,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::sync::Mutex;

use crate::error::Trouble;

/// A command that takes longer is given up: Redis answers in milliseconds or is in trouble.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same for one answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The same for making a connection.
pub(crate) const CONNECTING: Duration = Duration::from_secs(3);
/// Connections for work in bulk: whoever wants more waits for one.
const POOLED: usize = 4;
/// From node to node this often at most for one command.
const REDIRECTS: usize = 5;

/// Which connection takes a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The one that all short commands share.
    Shared,
    /// One of the pool, for as long as the answer takes.
    Pooled,
}

/// Redis, alone or as a cluster. Clones share the connections.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Where to look for the server, the likeliest first: never empty.
    nodes: StdMutex<Vec<ConnectionInfo>>,
    link: Mutex<Option<Link>>,
    made: AtomicU64,
}

/// A living connection, as far as is known, and the pool of the same server.
#[derive(Debug, Clone)]
struct Link {
    connection: MultiplexedConnection,
    pool: Pool,
    /// Tells it from those before and after it.
    number: u64,
}

impl Connections {
    /// Connects to `redis://…`, to the one of several servers separated by commas that is no replica, or to a cluster
    /// by one or several of its nodes, and checks that the server is fit to keep a queue.
    pub(crate) async fn open(url: &str) -> Result<Self, Trouble> {
        let connections = Self::to(url)?;
        connections.link().await?;
        Ok(connections)
    }

    /// The same without connecting: the first command does that.
    pub(crate) fn to(url: &str) -> Result<Self, Trouble> {
        let nodes: Result<Vec<ConnectionInfo>, RedisError> =
            addresses(url).into_iter().map(IntoConnectionInfo::into_connection_info).collect();
        let nodes = nodes?;
        if nodes.is_empty() {
            return Err(Trouble::Unfit("the address of Redis is empty".to_owned()));
        }
        let inner = Inner { nodes: StdMutex::new(nodes), link: Mutex::new(None), made: AtomicU64::new(0) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs the call of a script; one that Redis does not know (a restart, a failover) is sent to it first.
    pub(crate) async fn run<T: FromRedisValue + Send>(
        &self,
        way: Way,
        script: &Script,
        call: &Cmd,
    ) -> Result<T, Trouble> {
        self.patiently(way, Some(script), call).await
    }

    /// Runs one command on the server that the latest script ran on.
    pub(crate) async fn command<T: FromRedisValue + Send>(&self, command: &Cmd) -> Result<T, Trouble> {
        self.patiently(Way::Shared, None, command).await
    }

    /// The known nodes, the likeliest to have our keys first.
    pub(crate) fn nodes(&self) -> Vec<ConnectionInfo> {
        self.inner.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the next command connect anew: something else has seen the server go away.
    pub(crate) async fn reconnect(&self) {
        *self.inner.link.lock().await = None;
    }

    async fn patiently<T: FromRedisValue + Send>(
        &self,
        way: Way,
        script: Option<&Script>,
        command: &Cmd,
    ) -> Result<T, Trouble> {
        match tokio::time::timeout(PATIENCE, self.follow(way, script, command)).await {
            Ok(result) => result,
            Err(_) => Err(RedisError::from((ErrorKind::Io, "no answer in time")).into()),
        }
    }

    async fn follow<T: FromRedisValue + Send>(
        &self,
        way: Way,
        script: Option<&Script>,
        command: &Cmd,
    ) -> Result<T, Trouble> {
        let mut redirects = 0;
        loop {
            let link = self.link().await?;
            let error = match link.answer(way, script, command).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Server(ServerErrorKind::Moved) if redirects < REDIRECTS => {
                    redirects += 1;
                    self.prefer(error.redirect_node().map_or("", |(address, _)| address));
                    self.forget(&link).await;
                }
                // A replica refuses as a whole what would write, and another of the nodes given may not be one.
                ErrorKind::Server(ServerErrorKind::ReadOnly) if redirects < self.nodes().len() => {
                    redirects += 1;
                    self.inner.nodes.lock().unwrap_or_else(PoisonError::into_inner).rotate_left(1);
                    self.forget(&link).await;
                }
                // What was sent may have been done or not, so it is for the caller to say it again.
                ErrorKind::Io
                | ErrorKind::Server(
                    ServerErrorKind::ReadOnly | ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown,
                ) => {
                    self.forget(&link).await;
                    return Err(error.into());
                }
                _ => return Err(error.into()),
            }
        }
    }

    /// The connection, made if there is none. Who comes meanwhile waits for it.
    async fn link(&self) -> Result<Link, Trouble> {
        let mut current = self.inner.link.lock().await;
        if let Some(link) = &*current {
            return Ok(link.clone());
        }
        let mut trouble = None;
        for node in self.nodes() {
            match connect(&node).await {
                Ok((connection, others)) => {
                    self.learn(&node, &others);
                    let number = self.inner.made.fetch_add(1, Ordering::Relaxed);
                    let link = Link { connection, pool: pool(&node)?, number };
                    *current = Some(link.clone());
                    return Ok(link);
                }
                Err(error) => trouble = Some(error),
            }
        }
        Err(trouble.unwrap_or_else(|| Trouble::Unfit("no address of Redis is known".to_owned())))
    }

    async fn forget(&self, link: &Link) {
        let mut current = self.inner.link.lock().await;
        if current.as_ref().is_some_and(|current| current.number == link.number) {
            *current = None;
        }
    }

    /// Looks first at the node that another one named: `HOST:PORT`, or `:PORT` for the same host.
    fn prefer(&self, address: &str) {
        let mut nodes = self.inner.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.first().and_then(|first| at(first, address)) {
            nodes.retain(|known| known.addr() != node.addr());
            nodes.insert(0, node);
        }
    }

    /// Remembers the other nodes of a cluster, for the day when the known ones are gone.
    fn learn(&self, node: &ConnectionInfo, others: &[String]) {
        let mut nodes = self.inner.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        for other in others.iter().filter_map(|address| at(node, address)) {
            if !nodes.iter().any(|known| known.addr() == other.addr()) {
                nodes.push(other);
            }
        }
    }
}

impl Link {
    async fn answer<T: FromRedisValue>(&self, way: Way, script: Option<&Script>, command: &Cmd) -> RedisResult<T> {
        match way {
            Way::Shared => answer(&mut self.connection.clone(), script, command).await,
            Way::Pooled => answer(&mut self.pool.get().await.map_err(unpooled)?, script, command).await,
        }
    }
}

async fn answer<T: FromRedisValue>(
    connection: &mut impl ConnectionLike,
    script: Option<&Script>,
    command: &Cmd,
) -> RedisResult<T> {
    match (command.query_async(connection).await, script) {
        (Err(error), Some(script)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            script.load_async(connection).await?;
            command.query_async(connection).await
        }
        (result, _) => result,
    }
}

/// Connections to a node for work in bulk, made when they are wanted.
fn pool(node: &ConnectionInfo) -> Result<Pool, Trouble> {
    let manager = Manager::new_with_config(node.clone(), limits())?;
    let pool = Pool::builder(manager).max_size(POOLED).runtime(Runtime::Tokio1).wait_timeout(Some(PATIENCE));
    let pool = pool.create_timeout(Some(CONNECTING)).recycle_timeout(Some(CONNECTING)).build();
    Ok(pool.expect("the timeouts of the pool have the runtime that they need"))
}

/// Why there is no connection of the pool, as the connection's own errors are told.
fn unpooled(error: PoolError) -> RedisError {
    match error {
        PoolError::Backend(error) => error,
        other => RedisError::from((ErrorKind::Io, "no connection for work in bulk", other.to_string())),
    }
}

fn limits() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECTING)).set_response_timeout(Some(ANSWER))
}

/// Connects to a node, looks whether it is fit, and asks for the addresses of the others.
async fn connect(node: &ConnectionInfo) -> Result<(MultiplexedConnection, Vec<String>), Trouble> {
    let client = Client::open(node.clone())?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&limits()).await?;
    let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
    fit(&info).map_err(Trouble::Unfit)?;
    let mut others = Vec::new();
    if field(&info, "cluster_enabled") == "1" {
        let nodes: String = redis::cmd("CLUSTER").arg("NODES").query_async(&mut connection).await?;
        others = nodes.lines().filter_map(node_address).collect();
    }
    Ok((connection, others))
}

/// Whether a queue may be kept there, by what the server says of itself.
fn fit(info: &str) -> Result<(), String> {
    let version = field(info, "redis_version");
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < 7 {
        return Err(format!("Redis {version} is too old: 7.0 or newer, or Valkey, is needed"));
    }
    let policy = field(info, "maxmemory_policy");
    if policy.starts_with("allkeys") && field(info, "maxmemory") != "0" {
        return Err(format!(
            "this Redis throws keys away when its memory is full (maxmemory-policy {policy}), and jobs with them: set \
             maxmemory-policy noeviction"
        ));
    }
    Ok(())
}

/// A field of what `INFO` answers; empty if there is none.
pub(crate) fn field<'i>(info: &'i str, name: &str) -> &'i str {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().trim()
}

/// The address in a line of what `CLUSTER NODES` answers: `ID HOST:PORT@BUS,NAME FLAGS …`, by name where it has one.
fn node_address(line: &str) -> Option<String> {
    let address = line.split(' ').nth(1)?;
    let (address, rest) = address.split_once('@')?;
    let (host, port) = address.rsplit_once(':')?;
    let name = rest.split(',').nth(1).unwrap_or_default();
    Some(format!("{}:{port}", if name.is_empty() { host } else { name }))
}

/// The settings of a node for another address of the same cluster.
fn at(node: &ConnectionInfo, address: &str) -> Option<ConnectionInfo> {
    let (named, port) = address.rsplit_once(':')?;
    let new_port = port.parse().ok()?;
    let mut new = node.addr().clone();
    match &mut new {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            if !named.is_empty() {
                named.clone_into(host);
            }
            *port = new_port;
        }
        _ => return None,
    }
    Some(node.clone().set_addr(new))
}

/// `redis://a:1,b:2` names several nodes of a cluster; what stands before `@` and after `/` counts for all.
fn addresses(url: &str) -> Vec<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let (user, rest) = rest.rsplit_once('@').map_or((String::new(), rest), |(user, rest)| (format!("{user}@"), rest));
    let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
    hosts.split(',').filter(|host| !host.is_empty()).map(|host| format!("{scheme}://{user}{host}/{database}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_addresses_are_nodes_of_a_cluster() {
        assert_eq!(addresses("redis://a:1,b:2"), ["redis://a:1/", "redis://b:2/"]);
        assert_eq!(addresses("rediss://user:x@a:1,b:2/0"), ["rediss://user:x@a:1/0", "rediss://user:x@b:2/0"]);
        assert!(addresses("redis://").is_empty());
    }

    #[test]
    fn a_node_is_known_by_its_name_or_else_by_its_address() {
        let lines = "07c3 127.0.0.1:30004@31004,host4 slave e7d1 0 1 4 connected\n\
                     67ed 127.0.0.1:30002@31002 master - 0 1 2 connected 5461-10922\n\
                     dead :0@0 master,noaddr - 0 0 0 disconnected\nnonsense";
        let found: Vec<String> = lines.lines().filter_map(node_address).collect();
        assert_eq!(found, ["host4:30004", "127.0.0.1:30002", ":0"]);
    }

    #[test]
    fn another_node_is_reached_as_the_first_one_is() {
        let first = "rediss://user:secret@first:7000/".into_connection_info().unwrap();
        for (address, expected) in [("second:7001", "second:7001"), (":7002", "first:7002"), ("fe80::1:7", "fe80::1:7")]
        {
            let other = at(&first, address).unwrap();
            assert_eq!(other.addr().to_string(), expected);
            assert!(matches!(other.addr(), ConnectionAddr::TcpTls { .. }));
            assert_eq!(other.redis_settings().password(), Some("secret"));
        }
        assert!(at(&first, "no port").is_none());
    }

    #[test]
    fn what_is_not_fit_is_said_in_a_sentence() {
        assert_eq!(fit("redis_version:7.0.15\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n"), Ok(()));
        let old = fit("redis_version:6.2.14\r\n").unwrap_err();
        assert!(old.contains("6.2.14 is too old"), "{old}");
        let forgetful = fit("redis_version:8.2.3\r\nmaxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n").unwrap_err();
        assert!(forgetful.contains("noeviction"), "{forgetful}");
    }
}
