//! A GitHub in memory: each request is answered by a closure, and recorded with the time it came.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use gharvest_model::{RepositoryName, live::LiveEvent};
use gharvest_state::{Published, State, Versioned};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use octocrab::OctoBody;

use crate::{Client, Clock, Config, PersonalToken, Resource, transport::Transport};

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) uri: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) at: Timestamp,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The token without `Bearer`, or nothing.
    pub(super) fn token(&self) -> &str {
        self.header("authorization").map_or("", |value| value.strip_prefix("Bearer ").unwrap())
    }
}

/// All requests so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    pub(super) fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

pub(super) type Reply = Response<Full<Bytes>>;

/// An answer with headers and a body.
pub(super) fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::from(body.to_owned())).unwrap()
}

pub(super) fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// Seconds after the start, as an epoch.
pub(super) fn epoch(seconds: i64) -> String {
    (start().as_second() + seconds).to_string()
}

pub(super) fn config(tokens: &[&str]) -> Config {
    Config {
        tokens: tokens.iter().map(|token| PersonalToken::from(*token)).collect(),
        points_per_minute: 600_000,
        ..Config::default()
    }
}

/// A client of a stub on tokio's (paused) time.
pub(super) fn client_of(config: &Config, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Client, Log) {
    client_sharing(config, None, Clock::following_tokio(start()), answer)
}

pub(super) fn client_sharing(
    config: &Config,
    state: Option<Arc<dyn State>>,
    clock: Clock,
    answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> (Client, Log) {
    client_taking(config, state, clock, Duration::ZERO, answer)
}

/// The same with answers that take a time.
pub(super) fn client_taking(
    config: &Config,
    state: Option<Arc<dyn State>>,
    clock: Clock,
    latency: Duration,
    answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> (Client, Log) {
    let log = Log::default();
    let (answer, seen, time) = (Arc::new(answer), log.clone(), clock.clone());
    let service = tower::service_fn(move |request: Request<OctoBody>| {
        let (answer, seen, time) = (Arc::clone(&answer), seen.clone(), time.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let request = Seen { uri: parts.uri.to_string(), headers: parts.headers, body, at: time.now() };
            seen.0.lock().unwrap().push(request.clone());
            let reply = answer(&request);
            if latency > Duration::ZERO {
                tokio::time::sleep(latency).await;
            }
            Ok::<_, Infallible>(reply)
        }
    });
    let transport = Transport::over(service, config.request_timeout, config.max_body_bytes).unwrap();
    (Client::over(transport, config, state, clock).unwrap(), log)
}

pub(super) fn name() -> RepositoryName {
    "rust-lang/log".parse().unwrap()
}

pub(super) fn issue(number: u64) -> Resource {
    Resource::Issue(name(), number)
}

/// What processes share, in memory; only what budgets use.
#[derive(Debug, Default)]
pub(super) struct MemoryState {
    pub(super) values: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Whether it fails at every call.
    pub(super) lost: bool,
}

#[async_trait]
impl State for MemoryState {
    async fn get(&self, key: &str) -> gharvest_state::Result<Option<Versioned>> {
        let values = self.values.lock().unwrap();
        Ok(values.get(key).map(|value| Versioned { value: value.clone(), version: 1 }))
    }

    async fn put(
        &self,
        key: &str,
        value: &[u8],
        _: Option<u64>,
        ttl: Option<Duration>,
    ) -> gharvest_state::Result<bool> {
        assert!(ttl.is_some(), "budgets die with their hour");
        if self.lost {
            return Err(unused());
        }
        self.values.lock().unwrap().insert(key.to_owned(), value.to_vec());
        Ok(true)
    }

    async fn delete(&self, key: &str) -> gharvest_state::Result<()> {
        self.values.lock().unwrap().remove(key);
        Ok(())
    }

    async fn list(&self, prefix: &str) -> gharvest_state::Result<Vec<(String, Vec<u8>)>> {
        if self.lost {
            return Err(unused());
        }
        let values = self.values.lock().unwrap();
        Ok(values
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    async fn lead(&self, _: &str, _: &str, _: Duration) -> gharvest_state::Result<bool> {
        Err(unused())
    }

    async fn resign(&self, _: &str, _: &str) -> gharvest_state::Result<()> {
        Err(unused())
    }

    async fn publish(&self, _: &[LiveEvent]) -> gharvest_state::Result<()> {
        Err(unused())
    }

    async fn history(&self, _: u64, _: usize) -> gharvest_state::Result<Vec<Published>> {
        Err(unused())
    }

    async fn subscribe(
        &self,
        _: Option<u64>,
    ) -> gharvest_state::Result<BoxStream<'static, gharvest_state::Result<Published>>> {
        Err(unused())
    }
}

fn unused() -> gharvest_state::Error {
    gharvest_state::Error::new("test", "budgets do not use this")
}
