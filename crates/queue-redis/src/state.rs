//! The State port on Redis.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use gharvest_model::live::LiveEvent;
use gharvest_queue::clock::{Clock, milliseconds};
use gharvest_state::{Error, HISTORY, Published, Result, State, Versioned};
use redis::{FromRedisValue, Script};
use tokio::sync::Notify;

use crate::{
    connection::{Connections, Way},
    error::state_error,
    listener::Listener,
    scripts::CLOCK,
};

/// Events published, or fetched for a subscriber, at once: within what one Lua call may pass.
const EVENTS_AT_ONCE: usize = 500;
/// A subscriber looks again after this long even if nothing was heard.
const FALLBACK: Duration = Duration::from_secs(10);
/// What tells leads from values, among the names.
const LEAD: &str = "\u{1}lead/";
/// And values from leads, so that no value's name can look like a lead.
const VALUE: &str = "\u{2}";

/// The state on Redis.
#[derive(Debug, Clone)]
pub struct RedisState {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connections: Connections,
    script: Script,
    reading: Script,
    prefix: String,
    clock: Clock,
    heard: Arc<Notify>,
    _listener: Listener,
}

impl RedisState {
    /// Connects as [`crate::RedisQueue::connect`] does.
    pub async fn connect(url: &str, namespace: &str) -> Result<Arc<Self>> {
        Self::connect_with_clock(url, namespace, Clock::System).await
    }

    /// The same with a clock of a test's own.
    pub async fn connect_with_clock(url: &str, namespace: &str, clock: impl Into<Clock>) -> Result<Arc<Self>> {
        let connections = Connections::open(url).await.map_err(|trouble| state_error("connect", trouble))?;
        let state = Self::over(connections, namespace, clock.into());
        // Says at once whether there is a Redis.
        state.inner.last().await?;
        Ok(Arc::new(state))
    }

    /// Connects once it is used, as [`crate::RedisQueue::connect_later`] does.
    ///
    /// # Errors
    /// When the address cannot be right.
    pub fn connect_later(url: &str, namespace: &str) -> Result<Arc<Self>> {
        let connections = Connections::to(url).map_err(|trouble| state_error("connect", trouble))?;
        Ok(Arc::new(Self::over(connections, namespace, Clock::System)))
    }

    fn over(connections: Connections, namespace: &str, clock: Clock) -> Self {
        let prefix = format!("gharvest:{{{namespace}}}:");
        let heard = Arc::new(Notify::new());
        let hearing = Arc::clone(&heard);
        let channel = format!("{prefix}state:live");
        let listener = Listener::start(connections.clone(), channel, move |_| hearing.notify_waiters());
        let body = [CLOCK, include_str!("scripts/state.lua")].concat();
        let inner = Inner {
            connections,
            // Small and bounded, and workers need it to drain a queue that has filled the memory.
            script: Script::new(&format!("#!lua flags=allow-oom\n{body}")),
            reading: Script::new(&format!("#!lua flags=no-writes\n{body}")),
            prefix,
            clock,
            heard,
            _listener: listener,
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    async fn run<T: FromRedisValue + Send>(
        &self,
        script: &Script,
        operation: &'static str,
        arguments: &[&[u8]],
    ) -> Result<T> {
        // Values are short; lists and histories are not.
        let way = if matches!(operation, "list" | "history" | "following") { Way::Pooled } else { Way::Shared };
        let now = match &self.clock {
            Clock::System => String::new(),
            Clock::Manual(clock) => clock.now().to_string(),
        };
        let mut call = redis::cmd("EVALSHA");
        call.arg(script.get_hash()).arg(1).arg(&self.prefix).arg(now).arg(operation);
        for argument in arguments {
            call.arg(*argument);
        }
        self.connections.run(way, script, &call).await.map_err(|trouble| state_error(operation, trouble))
    }

    async fn texts(&self, operation: &'static str, after: u64, limit: usize) -> Result<Vec<String>> {
        let arguments = [after.to_string(), limit.to_string()];
        self.run(&self.reading, operation, &[arguments[0].as_bytes(), arguments[1].as_bytes()]).await
    }

    /// The first events after a place, and the last place whose event is not kept any more.
    async fn following(&self, after: u64) -> Result<(u64, Vec<Published>)> {
        let texts = self.texts("following", after, EVENTS_AT_ONCE).await?;
        let (dropped, events) = texts.split_first().ok_or_else(unreadable)?;
        let events = events.iter().map(|event| published(event)).collect::<Result<_>>()?;
        Ok((dropped.parse().map_err(|_| unreadable())?, events))
    }

    async fn last(&self) -> Result<u64> {
        let reply: Vec<String> = self.run(&self.reading, "last", &[]).await?;
        Ok(reply.first().and_then(|last| last.parse().ok()).unwrap_or(0))
    }
}

fn published(text: &str) -> Result<Published> {
    let parsed = text.split_once('|').and_then(|(sequence, event)| {
        Some(Published { sequence: sequence.parse().ok()?, event: serde_json::from_str(event).ok()? })
    });
    parsed.ok_or_else(unreadable)
}

fn unreadable() -> Error {
    Error::new("history", "an event that cannot be read: is another version at work on these keys?")
}

fn named(kind: &str, name: &str) -> Vec<u8> {
    format!("{kind}{name}").into_bytes()
}

#[async_trait]
impl State for RedisState {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        let inner = &self.inner;
        let reply: Vec<Vec<u8>> = inner.run(&inner.reading, "get", &[&named(VALUE, key)]).await?;
        let [value, version] = reply.as_slice() else { return Ok(None) };
        let version = std::str::from_utf8(version).ok().and_then(|version| version.parse().ok());
        Ok(version.map(|version| Versioned { value: value.clone(), version }))
    }

    async fn put(&self, key: &str, value: &[u8], expected: Option<u64>, ttl: Option<Duration>) -> Result<bool> {
        let inner = &self.inner;
        let expected = expected.map(|version| version.to_string()).unwrap_or_default();
        let ttl = ttl.map(|ttl| milliseconds(ttl).to_string()).unwrap_or_default();
        let arguments: [&[u8]; 4] = [&named(VALUE, key), value, expected.as_bytes(), ttl.as_bytes()];
        let reply: Vec<String> = inner.run(&inner.script, "put", &arguments).await?;
        Ok(reply == ["1"])
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let inner = &self.inner;
        inner.run::<Vec<String>>(&inner.script, "delete", &[&named(VALUE, key)]).await.map(drop)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let inner = &self.inner;
        let reply: Vec<Vec<u8>> = inner.run(&inner.reading, "list", &[&named(VALUE, prefix)]).await?;
        let pairs = reply.chunks_exact(2).map(|pair| {
            let name = String::from_utf8_lossy(&pair[0]);
            (name.strip_prefix(VALUE).unwrap_or(&name).to_owned(), pair[1].clone())
        });
        Ok(pairs.collect())
    }

    async fn lead(&self, name: &str, holder: &str, hold: Duration) -> Result<bool> {
        let inner = &self.inner;
        let hold = milliseconds(hold).to_string();
        let arguments: [&[u8]; 3] = [&named(LEAD, name), holder.as_bytes(), hold.as_bytes()];
        let reply: Vec<String> = inner.run(&inner.script, "lead", &arguments).await?;
        Ok(reply == ["1"])
    }

    async fn resign(&self, name: &str, holder: &str) -> Result<()> {
        let inner = &self.inner;
        let arguments: [&[u8]; 2] = [&named(LEAD, name), holder.as_bytes()];
        inner.run::<Vec<String>>(&inner.script, "resign", &arguments).await.map(drop)
    }

    async fn publish(&self, events: &[LiveEvent]) -> Result<()> {
        let inner = &self.inner;
        let most = HISTORY.to_string();
        for chunk in events.chunks(EVENTS_AT_ONCE) {
            let texts: serde_json::Result<Vec<String>> = chunk.iter().map(serde_json::to_string).collect();
            let texts = texts.map_err(|error| Error::new("publish", error.to_string()))?;
            let mut arguments = vec![most.as_bytes()];
            arguments.extend(texts.iter().map(String::as_bytes));
            inner.run::<Vec<String>>(&inner.script, "publish", &arguments).await?;
        }
        inner.heard.notify_waiters();
        Ok(())
    }

    async fn history(&self, after: u64, limit: usize) -> Result<Vec<Published>> {
        let texts = self.inner.texts("history", after, limit.min(HISTORY)).await?;
        texts.iter().map(|event| published(event)).collect()
    }

    async fn subscribe(&self, after: Option<u64>) -> Result<BoxStream<'static, Result<Published>>> {
        // Who names no place is in time from the first event on.
        let began = after.is_none();
        let after = match after {
            Some(after) => after,
            None => self.inner.last().await?,
        };
        let reader = Reader { inner: Arc::clone(&self.inner), after, fetched: VecDeque::new(), began };
        Ok(futures::stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(event) => Some((Ok(event), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed())
    }
}

/// A subscriber's place in the history.
struct Reader {
    inner: Arc<Inner>,
    after: u64,
    fetched: VecDeque<Published>,
    /// The first events may begin later than asked for: what is no longer kept was missed before subscribing.
    began: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<Published> {
        loop {
            if let Some(event) = self.fetched.pop_front() {
                self.after = event.sequence;
                return Ok(event);
            }
            // Interest is registered before the history is read, so that nothing in between is missed.
            let inner = Arc::clone(&self.inner);
            let mut heard = std::pin::pin!(inner.heard.notified());
            heard.as_mut().enable();
            let (dropped, events) = inner.following(self.after).await?;
            if self.began && dropped > self.after {
                return Err(Error::new("subscribe", "the subscriber is too slow: events it had not read are gone"));
            }
            self.began = true;
            self.fetched = events.into();
            if self.fetched.is_empty() {
                drop(tokio::time::timeout(FALLBACK, heard).await);
            }
        }
    }
}
