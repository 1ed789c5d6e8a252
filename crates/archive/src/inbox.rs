//! Hints, which may be lost, and the inbox, which may not.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use gharvest_model::{ItemId, RepositoryId};
use tokio::time::Instant;

use crate::{
    Archive, Error, ErrorKind, Hint, InboxEntry, Result,
    store::{Condition, Durability},
    to_bytes,
};

/// After as many new entries as this part of the limit they are counted again: other processes add and remove as well.
const RECOUNT_SHARE: usize = 100;
/// A full inbox is counted again after this time, and not for each entry that it refuses.
const FULL_FOR: Duration = Duration::from_secs(2);
/// Hints that are written at once.
const AT_ONCE: usize = 16;

/// What this process knows of the inbox: where deliveries lie, and about how many there are.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Inbox>);

#[derive(Debug, Default)]
struct Inbox {
    keys: HashMap<String, String>,
    count: Option<usize>,
    put_since: usize,
    /// When somebody last began to count.
    counted_at: Option<Instant>,
    /// Whether a person was told that it fills up, and nothing changed since.
    alarmed: bool,
}

/// What waits in the inbox, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboxNames {
    /// The ids of the deliveries that told facts of an item.
    pub facts: BTreeMap<ItemId, Vec<String>>,
    /// The ids of entries of no item: deliveries that wait for the queue.
    pub others: Vec<String>,
}

impl InboxNames {
    /// How many entries wait.
    pub fn count(&self) -> usize {
        self.facts.values().map(Vec::len).sum::<usize>() + self.others.len()
    }
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Archive {
    /// Keeps issue bodies seen in a list.
    pub async fn put_hints(&self, id: RepositoryId, hints: Vec<Hint>) -> Result<()> {
        self.write_hints(id, hints, Durability::MayBeLost).await
    }

    /// Keeps hints that hold more than those in whose place they are put: after a loss of power a hint may be gone, but it
    /// is not the older one.
    pub async fn put_hints_durably(&self, id: RepositoryId, hints: Vec<Hint>) -> Result<()> {
        self.write_hints(id, hints, Durability::Durable).await
    }

    async fn write_hints(&self, id: RepositoryId, hints: Vec<Hint>, durability: Durability) -> Result<()> {
        let put = |hint: Hint| async move {
            let Some(number) = hint.issue["number"].as_u64() else { return Ok(()) };
            let key = hint_key(ItemId { repository: id, number });
            self.store().put(&key, to_bytes(&key, &hint)?, Condition::Any, durability).await.map(|_| ())
        };
        let puts = futures::stream::iter(hints).map(put).buffer_unordered(AT_ONCE);
        puts.try_for_each(|()| std::future::ready(Ok(()))).await
    }

    /// The hint of one item, if there is one.
    pub async fn hint(&self, item: ItemId) -> Result<Option<Hint>> {
        match self.read(&hint_key(item)).await {
            // A crash may leave a part of it: then it is lost, as a hint may be.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            hint => hint,
        }
    }

    /// Removes an item's hint.
    pub async fn forget_hint(&self, item: ItemId) -> Result<()> {
        self.store().delete(&hint_key(item)).await
    }

    /// Keeps a fact durably. Refused with [`ErrorKind::Full`] beyond the inbox's limit.
    pub async fn put_inbox(&self, entry: &InboxEntry) -> Result<()> {
        let delivery = &entry.fact.delivery;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if delivery.is_empty() || delivery.len() > 100 || !delivery.bytes().all(is_plain) {
            let shown = delivery.chars().take(100).collect::<String>().escape_debug().to_string();
            return Err(Error::new(ErrorKind::Refused, "keep", shown, "not a delivery id"));
        }
        let limit = self.inner.options.inbox_limit;
        let key = entry_key(entry.item, delivery);
        let waiting = self.waiting(limit).await?;
        self.inner.inbox.lock().watch(waiting, limit);
        if waiting >= limit && self.store().get(&key).await?.is_none() {
            let message = format!("the inbox holds its limit of {limit} facts: see why downloads do not get on");
            return Err(Error::new(ErrorKind::Full, "keep", key, message));
        }
        let bytes = to_bytes(&key, entry)?;
        let is_new = self.store().put(&key, bytes.clone(), Condition::Absent, Durability::Durable).await?;
        if !is_new {
            self.store().put(&key, bytes, Condition::Any, Durability::Durable).await?;
        }
        let mut known = self.inner.inbox.lock();
        if is_new {
            known.count = known.count.map(|count| count + 1);
            known.put_since += 1;
        }
        known.remember(delivery, key, limit);
        Ok(())
    }

    /// The facts waiting for one item, oldest first.
    pub async fn inbox(&self, item: ItemId) -> Result<Vec<InboxEntry>> {
        let mut entries = Vec::new();
        for key in self.inbox_keys(&folder(Some(item))).await? {
            entries.extend(self.inbox_entry(&key).await?);
        }
        entries.sort_by(|a, b| (a.fact.received_at, &a.fact.delivery).cmp(&(b.fact.received_at, &b.fact.delivery)));
        Ok(entries)
    }

    /// What waits in the inbox, by name: not one entry is read.
    pub async fn inbox_names(&self) -> Result<InboxNames> {
        let mut names = InboxNames::default();
        for path in self.store().list_all("inbox").await? {
            let Some((folder, delivery)) = path.strip_suffix(".json").and_then(|path| path.split_once('/')) else {
                continue;
            };
            match item_of(folder) {
                Some(item) => names.facts.entry(item).or_default().push(delivery.to_owned()),
                None => names.others.push(delivery.to_owned()),
            }
        }
        names.facts.values_mut().for_each(|deliveries| deliveries.sort_unstable());
        names.others.sort_unstable();
        Ok(names)
    }

    /// All entries. One that cannot be read is an error in its place, and those after it follow.
    pub fn inbox_all(&self) -> BoxStream<'static, Result<InboxEntry>> {
        let archive = self.clone();
        let keys = async move {
            let names = archive.inbox_names().await?;
            let others = names.others.iter().map(|delivery| entry_key(None, delivery));
            let facts = |(item, deliveries): (&ItemId, &Vec<String>)| {
                deliveries.iter().map(|delivery| entry_key(Some(*item), delivery)).collect::<Vec<_>>()
            };
            let keys: Vec<String> = names.facts.iter().flat_map(facts).chain(others).collect();
            Ok::<_, Error>(futures::stream::iter(keys.into_iter().map(move |key| Ok((archive.clone(), key)))))
        };
        let entry = |(archive, key): (Self, String)| async move { archive.inbox_entry(&key).await };
        futures::stream::once(keys).try_flatten().try_filter_map(entry).boxed()
    }

    /// An entry of no item, by its delivery id: one that [`InboxNames::others`] names.
    pub async fn inbox_other(&self, delivery: &str) -> Result<Option<InboxEntry>> {
        self.inbox_entry(&entry_key(None, delivery)).await
    }

    /// The most entries that the inbox takes.
    pub fn inbox_limit(&self) -> usize {
        self.inner.options.inbox_limit
    }

    /// Removes all facts of a repository's items.
    pub async fn purge_inbox(&self, id: RepositoryId) -> Result<()> {
        for folder in self.store().list("inbox").await? {
            if item_of(&folder).is_some_and(|item| item.repository == id) {
                self.store().delete_all(&format!("inbox/{folder}")).await?;
            }
        }
        self.inner.inbox.lock().count = None;
        Ok(())
    }

    /// Removes an entry by its delivery id.
    pub async fn remove_inbox(&self, delivery: &str) -> Result<()> {
        let known = self.inner.inbox.lock().keys.get(delivery).cloned();
        let key = match known {
            Some(key) => key,
            None => match self.find_delivery(delivery).await? {
                Some(key) => key,
                None => return Ok(()),
            },
        };
        self.store().delete(&key).await?;
        let mut known = self.inner.inbox.lock();
        known.keys.remove(delivery);
        known.count = known.count.map(|count| count.saturating_sub(1));
        Ok(())
    }

    /// Looks through all names: only for a delivery that this process has neither kept nor read.
    async fn find_delivery(&self, delivery: &str) -> Result<Option<String>> {
        let names = self.inbox_names().await?;
        let mut facts = names.facts.iter().filter(|(_, deliveries)| deliveries.iter().any(|known| known == delivery));
        let is_other = names.others.iter().any(|known| known == delivery);
        let item = facts.next().map(|(item, _)| *item);
        Ok((item.is_some() || is_other).then(|| entry_key(item, delivery)))
    }

    async fn inbox_keys(&self, folder: &str) -> Result<Vec<String>> {
        let mut names = self.store().list(&format!("inbox/{folder}")).await?;
        names.sort_unstable();
        Ok(names
            .into_iter()
            .filter(|name| name.ends_with(".json"))
            .map(|name| format!("inbox/{folder}/{name}"))
            .collect())
    }

    async fn inbox_entry(&self, key: &str) -> Result<Option<InboxEntry>> {
        let entry: Option<InboxEntry> = self.read(key).await?;
        if let Some(entry) = &entry {
            self.inner.inbox.lock().remember(&entry.fact.delivery, key.to_owned(), self.inner.options.inbox_limit);
        }
        Ok(entry)
    }

    /// About how many entries wait; where that reaches the limit, exact two seconds ago at the latest.
    async fn waiting(&self, limit: usize) -> Result<usize> {
        if let Some(count) = self.inner.inbox.lock().counted(limit) {
            return Ok(count);
        }
        let count = self.inbox_names().await?.count();
        let mut known = self.inner.inbox.lock();
        known.count = Some(count);
        known.put_since = 0;
        Ok(count)
    }
}

impl Inbox {
    /// The count, unless it is the caller's turn to count.
    fn counted(&mut self, limit: usize) -> Option<usize> {
        let is_fresh = |count: usize| match count < limit {
            true => self.put_since < limit / RECOUNT_SHARE,
            false => self.counted_at.is_some_and(|at| at.elapsed() < FULL_FOR),
        };
        let count = self.count.filter(|count| is_fresh(*count));
        if count.is_none() {
            self.counted_at = Some(Instant::now());
        }
        count
    }

    /// Raises the alarm when the inbox gets nine tenths full, once until there is room again.
    fn watch(&mut self, waiting: usize, limit: usize) {
        let is_filling = waiting >= limit - limit / 10;
        if is_filling && !self.alarmed {
            tracing::error!(
                inbox.waiting = waiting,
                inbox.limit = limit,
                "Inbox is filling up, beyond its limit webhooks are refused: see why downloads do not get on"
            );
        }
        self.alarmed = is_filling;
    }

    fn remember(&mut self, delivery: &str, key: String, limit: usize) {
        if self.keys.len() >= limit {
            self.keys.clear();
        }
        self.keys.insert(delivery.to_owned(), key);
    }
}

fn folder(item: Option<ItemId>) -> String {
    item.map_or_else(|| "other".to_owned(), |item| format!("{}-{}", item.repository, item.number))
}

/// The item of a folder of the inbox, if it is one of an item.
fn item_of(folder: &str) -> Option<ItemId> {
    let (repository, number) = folder.split_once('-')?;
    Some(ItemId { repository: RepositoryId(repository.parse().ok()?), number: number.parse().ok()? })
}

fn entry_key(item: Option<ItemId>, delivery: &str) -> String {
    format!("inbox/{}/{delivery}.json", folder(item))
}

fn hint_key(item: ItemId) -> String {
    format!("staging/hints/{}/{}.json", item.repository, item.number)
}
