//! A store that fails when it is told to: for tests of whoever uses one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Condition, Durability, Fold, Journal, Mark, Store, Version};
use crate::{Error, ErrorKind, Result};

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails and did nothing.
    Before,
    /// It did its work, and the answer is lost.
    After,
    /// It fails and did nothing, and so does every later call: a crash.
    CrashBefore,
    /// It did its work, then everything fails: a crash.
    CrashAfter,
    /// A write fails because no space is left, and so does every later write. Reads go on.
    Full,
    /// It is never answered, and neither is any later call.
    Hang,
}

/// Passes every call on, until the one that is to fail. Calls count from 1.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    plan: Option<(u64, Fault)>,
    /// Objects whose keys contain this are watched, and were read so often.
    watched: Option<(String, u64)>,
    /// The oldest contents to which a loss of power may take objects back that were written since without a promise.
    lasting: BTreeMap<String, Bytes>,
}

impl FaultyStore {
    /// A store that does not fail yet.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, state: Mutex::default() })
    }

    /// Lets the `call`-th call from now on fail.
    pub fn fail(&self, call: u64, fault: Fault) {
        let mut state = self.state();
        state.plan = Some((state.calls + call, fault));
    }

    /// Lets no call fail any more.
    pub fn recover(&self) {
        self.state().plan = None;
    }

    /// Counts from now on how often objects are read whose keys contain this.
    pub fn watch(&self, part: &str) {
        self.state().watched = Some((part.to_owned(), 0));
    }

    /// How often watched objects were read since [`Self::watch`].
    pub fn reads(&self) -> u64 {
        self.state().watched.as_ref().map_or(0, |(_, reads)| *reads)
    }

    /// Takes everything back that a loss of power may: an object is as it was first written since it was last durable.
    ///
    /// # Errors
    /// When the store below fails.
    pub async fn lose_power(&self) -> Result<()> {
        let lasting = std::mem::take(&mut self.state().lasting);
        for (key, bytes) in lasting {
            if self.inner.get(&key).await?.is_some() {
                self.inner.put(&key, bytes, Condition::Any, Durability::Durable).await?;
            }
        }
        Ok(())
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to happen at the call that is made now.
    fn next(&self, is_write: bool) -> Option<Fault> {
        let mut state = self.state();
        state.calls += 1;
        let (at, fault) = state.plan?;
        match fault {
            _ if state.calls < at => None,
            Fault::Full => is_write.then_some(fault),
            Fault::Before | Fault::After => (state.calls == at).then_some(fault),
            Fault::CrashBefore | Fault::Hang => Some(fault),
            Fault::CrashAfter => Some(if state.calls == at { Fault::After } else { Fault::Before }),
        }
    }

    async fn call<T>(&self, key: &str, is_write: bool, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let planned = || Error::new(ErrorKind::Unavailable, "reach", key, "a planned failure");
        match self.next(is_write) {
            None => work.await,
            Some(Fault::Before | Fault::CrashBefore) => Err(planned()),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Full) => Err(Error::new(ErrorKind::Full, "write", key, "no space is left, as planned")),
            Some(Fault::After | Fault::CrashAfter) => {
                work.await?;
                Err(planned())
            }
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        if let Some((_, reads)) = self.state().watched.as_mut().filter(|(part, _)| key.contains(part.as_str())) {
            *reads += 1;
        }
        self.call(key, false, self.inner.get(key)).await
    }

    async fn put(&self, key: &str, bytes: Bytes, condition: Condition, durability: Durability) -> Result<bool> {
        match durability {
            Durability::Durable => drop(self.state().lasting.remove(key)),
            Durability::MayBeLost => drop(self.state().lasting.entry(key.to_owned()).or_insert_with(|| bytes.clone())),
        }
        self.call(key, true, self.inner.put(key, bytes, condition, durability)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.call(key, true, self.inner.delete(key)).await
    }

    async fn delete_all(&self, folder: &str) -> Result<()> {
        self.call(folder, true, self.inner.delete_all(folder)).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.call(folder, false, self.inner.list(folder)).await
    }

    async fn list_all(&self, folder: &str) -> Result<Vec<String>> {
        self.call(folder, false, self.inner.list_all(folder)).await
    }

    async fn link(&self, key: &str, target: &str) -> Result<()> {
        self.call(key, true, self.inner.link(key, target)).await
    }

    async fn read_link(&self, key: &str) -> Result<Option<String>> {
        self.call(key, false, self.inner.read_link(key)).await
    }

    async fn journal(&self, key: &str, entry: Bytes, fold: Fold) -> Result<()> {
        self.call(key, true, self.inner.journal(key, entry, fold)).await
    }

    async fn read_journal(&self, key: &str, since: Option<&Mark>) -> Result<Journal> {
        self.call(key, false, self.inner.read_journal(key, since)).await
    }

    async fn free(&self) -> Result<Option<u64>> {
        self.inner.free().await
    }
}
