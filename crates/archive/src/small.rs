//! Tracking, cursors, keys: small files changed by compare and swap.

use gharvest_model::{RepositoryId, tracking::Tracked};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{ApiKey, Archive, Result, from_bytes, to_bytes};

impl Archive {
    /// All tracked repositories.
    pub async fn tracking(&self) -> Result<Vec<Tracked>> {
        Ok(self.read("tracking.json").await?.unwrap_or_default())
    }

    /// Adds a tracked repository, or replaces its entry.
    pub async fn track(&self, tracked: Tracked) -> Result<()> {
        self.remember(tracked.id).await?;
        let change = |all: &mut Vec<Tracked>| match all.iter_mut().find(|entry| entry.id == tracked.id) {
            Some(entry) => *entry = tracked.clone(),
            None => all.push(tracked.clone()),
        };
        self.change_list("tracking.json", &change).await.map(|_| ())
    }

    /// Changes the entry of a tracked repository, whoever else changes it at the same time. Says whether it changed.
    pub async fn change_tracked(&self, id: RepositoryId, change: &(dyn Fn(&mut Tracked) + Sync)) -> Result<bool> {
        let change = |all: &mut Vec<Tracked>| all.iter_mut().filter(|entry| entry.id == id).for_each(change);
        self.change_list("tracking.json", &change).await
    }

    /// Adds those repositories that are not tracked yet, all in one step.
    pub async fn track_new(&self, new: &[Tracked]) -> Result<()> {
        for tracked in new {
            self.remember(tracked.id).await?;
        }
        let change = |all: &mut Vec<Tracked>| {
            let known: std::collections::HashSet<_> = all.iter().map(|entry| entry.id).collect();
            all.extend(new.iter().filter(|entry| !known.contains(&entry.id)).cloned());
        };
        self.change_list("tracking.json", &change).await.map(|_| ())
    }

    /// Ends tracking; what was archived stays. Says whether it was tracked.
    pub async fn untrack(&self, id: RepositoryId) -> Result<bool> {
        self.change_list("tracking.json", &|all: &mut Vec<Tracked>| all.retain(|entry| entry.id != id)).await
    }

    /// How far a feed was read; feeds are named `updates/{repository id}` and so on.
    pub async fn cursor(&self, feed: &str) -> Result<Option<Value>> {
        self.read(&format!("cursors/{feed}.json")).await
    }

    /// Stores how far a feed was read; null forgets it.
    pub async fn set_cursor(&self, feed: &str, cursor: Value) -> Result<()> {
        let key = format!("cursors/{feed}.json");
        if cursor.is_null() { self.store().delete(&key).await } else { self.write(&key, &cursor).await }
    }

    /// Changes a cursor to what `change` makes of it, whoever else changes it at the same time; none leaves it as it is.
    /// Says whether it changed.
    pub async fn change_cursor<T: Serialize + DeserializeOwned>(
        &self,
        feed: &str,
        change: &(dyn Fn(Option<T>) -> Option<T> + Sync),
    ) -> Result<bool> {
        let key = format!("cursors/{feed}.json");
        let swap = |stored: Option<bytes::Bytes>| {
            let stored = stored.map(|bytes| from_bytes(&key, &bytes)).transpose()?;
            change(stored).map(|changed| to_bytes(&key, &changed)).transpose()
        };
        self.swap(&key, &swap).await
    }

    /// Has everything asked for again that was updated in a repository since a time, or since an earlier one that somebody
    /// named before. How far its updates were read stays as it is: that is the place of whoever walks over them now.
    pub async fn look_back(&self, id: RepositoryId, since: Timestamp) -> Result<()> {
        let earlier = |wanted: Option<Option<Timestamp>>| {
            let is_earlier = wanted.flatten().is_none_or(|at| since < at);
            is_earlier.then_some(Some(since))
        };
        self.change_cursor(&look_back_feed(id), &earlier).await.map(|_| ())
    }

    /// Since when everything updated in a repository is to be asked for again; none if nobody wants that.
    pub async fn look_back_to(&self, id: RepositoryId) -> Result<Option<Timestamp>> {
        let wanted = self.read::<Option<Timestamp>>(&format!("cursors/{}.json", look_back_feed(id))).await?;
        Ok(wanted.flatten())
    }

    /// Notes that everything from `from` up to `to` was asked for again; with none, all of it. Says no, and changes nothing,
    /// if somebody wants another time meanwhile.
    pub async fn looked_back(&self, id: RepositoryId, from: Timestamp, to: Option<Timestamp>) -> Result<bool> {
        let go_on = |wanted: Option<Option<Timestamp>>| (wanted.flatten() == Some(from)).then_some(to);
        self.change_cursor(&look_back_feed(id), &go_on).await
    }

    /// Forgets how far each feed of a repository was read.
    pub(crate) async fn forget_cursors(&self, id: RepositoryId) -> Result<()> {
        let folders = self.store().list("cursors").await?.into_iter().filter(|name| !name.ends_with(".json"));
        for feed in folders {
            self.store().delete(&format!("cursors/{feed}/{id}.json")).await?;
        }
        Ok(())
    }

    /// All API keys.
    pub async fn keys(&self) -> Result<Vec<ApiKey>> {
        Ok(self.keys_ever().await?.unwrap_or_default())
    }

    /// All API keys; none if none was ever made.
    pub async fn keys_ever(&self) -> Result<Option<Vec<ApiKey>>> {
        self.read("keys.json").await
    }

    /// Replaces all API keys by what `change` makes of them.
    pub async fn update_keys(&self, change: &(dyn Fn(&mut Vec<ApiKey>) + Sync)) -> Result<()> {
        self.change_list("keys.json", change).await.map(|_| ())
    }

    /// Changes a file that holds a list. Says whether it changed.
    async fn change_list<T: Serialize + DeserializeOwned + Clone + PartialEq>(
        &self,
        key: &str,
        change: &(dyn Fn(&mut Vec<T>) + Sync),
    ) -> Result<bool> {
        let swap = |stored: Option<bytes::Bytes>| {
            let before: Vec<T> = stored.map(|bytes| from_bytes(key, &bytes)).transpose()?.unwrap_or_default();
            let mut after = before.clone();
            change(&mut after);
            if after == before { Ok(None) } else { to_bytes(key, &after).map(Some) }
        };
        self.swap(key, &swap).await
    }
}

fn look_back_feed(id: RepositoryId) -> String {
    format!("look-back/{id}")
}
