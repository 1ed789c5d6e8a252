//! Writing threads: replaced as wholes, without a gap and without leftovers.
//!
//! An item's document carries the most children that the thread ever had. It is read by id, written first, with that
//! number raised; then come the children, and tombstones for ordinals that are left over. Whoever is stopped between the
//! two leaves a number that is high enough, and the next write of the thread makes it whole. Every write carries the
//! thread's version, so a late one changes nothing, whichever comes first. A late writer may have written its item before
//! the newer one did, and its children after: so everyone looks once more when done, and who finds a newer item buries
//! what of its own children that one does not have.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;
use elasticsearch::http::Method;
use gharvest_model::RepositoryId;
use gharvest_search::{
    Applied, Error, ErrorKind, Result,
    document::{DailyDocument, ReleaseDocument, RepositoryDocument, ThreadDocuments, Version},
};
use serde_json::{Value, json};

use crate::{
    ElasticIndex,
    body::{self, Children},
    bulk::{Action, Outcome},
    read::Page,
    schema::{Names, Sort},
};

/// What is stored of a thread.
#[derive(Debug, Clone, Copy, Default)]
struct Stored {
    version: u64,
    /// The most that there ever were.
    children: Children,
    /// How many there are in this version.
    counts: Children,
}

/// What [`Stored`] is made of.
const STORED_FIELDS: &str = "_source_includes=meta,comment_documents,event_documents,interval_documents";

/// So many threads are written in two halves at once: with fewer, requests cost more than waiting for them.
const MANY_THREADS: usize = 32;
/// Records count their revisions from one.
const NO_VERSION: u64 = 0;

/// Whether the serving index is written, or the one being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Serving,
    Next,
}

/// A thread's children: sort, id, document.
fn children(thread: &ThreadDocuments) -> impl Iterator<Item = (Sort, &str, Bytes)> {
    let comments = thread.comments.iter().enumerate();
    let comments = comments.map(|(at, one)| (Sort::Comments, one.key.as_str(), body::child(one, at)));
    let events = thread.events.iter().enumerate();
    let events = events.map(|(at, one)| (Sort::Events, one.key.as_str(), body::child(one, at)));
    let intervals = thread.intervals.iter().enumerate();
    let intervals = intervals.map(|(at, one)| (Sort::Intervals, one.key.as_str(), body::child(one, at)));
    comments.chain(events).chain(intervals)
}

/// The writes that put threads into an index that has nothing of them.
pub(crate) fn first_writes(names: &Names, threads: &[ThreadDocuments]) -> Vec<Action> {
    let of = |thread: &ThreadDocuments| {
        let action = |sort: Sort, id: &str, document| Action {
            alias: names.all(sort),
            id: id.to_owned(),
            version: thread.version.0,
            document: Some(document),
        };
        let item = body::item(thread, raised(Children::default(), thread));
        let mut actions = vec![action(Sort::Items, &thread.item.key, item)];
        actions.extend(children(thread).map(|(sort, key, document)| action(sort, key, document)));
        actions
    };
    threads.iter().flat_map(of).collect()
}

/// The version in an engine's reason why it does not read another: `[7:1]: version conflict, current version [3] is
/// different than the one provided [0]`.
fn current_version(reason: &str) -> Option<u64> {
    reason.rsplit_once("current version [")?.1.split_once(']')?.0.parse().ok()
}

impl ElasticIndex {
    fn alias(&self, target: Target, sort: Sort) -> String {
        match target {
            Target::Serving => self.generations.names.all(sort),
            Target::Next => self.generations.names.next(sort),
        }
    }

    async fn targets(&self) -> Result<Vec<Target>> {
        let rebuilding = self.generations.is_rebuilding().await?;
        Ok(if rebuilding { vec![Target::Serving, Target::Next] } else { vec![Target::Serving] })
    }

    pub(crate) async fn write_threads(&self, threads: &[ThreadDocuments]) -> Result<Vec<Applied>> {
        let mut applied = Vec::with_capacity(threads.len());
        let targets = self.targets().await?;
        // A thread that comes twice is written twice, one after the other.
        for round in rounds(threads) {
            let mut outcome = None;
            for target in &targets {
                let written = self.write_round(*target, round).await?;
                outcome.get_or_insert(written);
            }
            applied.extend(outcome.unwrap_or_default());
        }
        Ok(applied)
    }

    /// Writes different threads, many of them in two halves: while the engine has one, the other is made ready.
    async fn write_round(&self, target: Target, threads: &[ThreadDocuments]) -> Result<Vec<Applied>> {
        if threads.len() < MANY_THREADS {
            return self.write_half(target, threads).await;
        }
        let (first, second) = threads.split_at(threads.len() / 2);
        let (first, second) = tokio::join!(self.write_half(target, first), self.write_half(target, second));
        let mut applied = first?;
        applied.extend(second?);
        Ok(applied)
    }

    async fn write_half(&self, target: Target, threads: &[ThreadDocuments]) -> Result<Vec<Applied>> {
        let stored = self.look_up(target, threads.iter()).await?;
        let mut applied = Vec::with_capacity(threads.len());
        let (mut items, mut fresh) = (Vec::new(), Vec::new());
        for (index, thread) in threads.iter().enumerate() {
            let known = stored.get(&thread.item.key).copied().unwrap_or_default();
            if known.version > thread.version.0 {
                applied.push(Applied::Stale);
                continue;
            }
            applied.push(Applied::Written);
            let children = raised(known.children, thread);
            let document = body::item(thread, children);
            items.push(self.action(target, Sort::Items, &thread.item.key, thread.version.0, Some(document)));
            fresh.push((index, children));
        }
        let outcomes = self.bulk.write(&items).await?;
        let mut children = Vec::new();
        let mut owners = Vec::new();
        for ((index, most), outcome) in fresh.into_iter().zip(outcomes) {
            match judged(target, &threads[index].item.key, outcome)? {
                Applied::Written => {
                    let actions = self.children(target, &threads[index], most);
                    owners.extend(std::iter::repeat_n(index, actions.len()));
                    children.extend(actions);
                }
                other => applied[index] = other,
            }
        }
        let outcomes = self.bulk.write(&children).await?;
        for ((action, index), outcome) in children.iter().zip(owners).zip(outcomes) {
            match judged(target, &action.id, outcome)? {
                Applied::Refused { id, reason } => applied[index] = Applied::Refused { id, reason },
                // A newer write of the thread overtook this one, and makes it whole.
                Applied::Stale if applied[index] == Applied::Written => applied[index] = Applied::Stale,
                _ => {}
            }
        }
        self.yield_to_newer(target, threads, &mut applied).await?;
        Ok(applied)
    }

    /// Looks whether a newer writer came in between, and buries what it does not have.
    async fn yield_to_newer(&self, target: Target, threads: &[ThreadDocuments], applied: &mut [Applied]) -> Result<()> {
        let versions = self.versions(target, threads).await?;
        let is_newer =
            |thread: &ThreadDocuments| versions.get(&thread.item.key).is_some_and(|stored| *stored > thread.version.0);
        let overtaken: Vec<_> = threads.iter().zip(applied).filter(|(thread, _)| is_newer(thread)).collect();
        if overtaken.is_empty() {
            return Ok(());
        }
        let stored = self.look_up(target, overtaken.iter().map(|(thread, _)| *thread)).await?;
        let mut graves = Vec::new();
        for (thread, applied) in overtaken {
            let Some(newer) = stored.get(&thread.item.key) else { continue };
            if *applied == Applied::Written {
                *applied = Applied::Stale;
            }
            graves.extend(self.graves(target, thread, newer.version, newer.counts, counts(thread)));
        }
        self.write_all(target, &graves).await.map(drop)
    }

    /// Tombstones for a thread's ordinals from some counts to others.
    fn graves(
        &self,
        target: Target,
        thread: &ThreadDocuments,
        version: u64,
        from: Children,
        to: Children,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        for (((sort, letter), to), from) in Sort::CHILDREN.into_iter().zip(to).zip(from) {
            for ordinal in from..to {
                let key = format!("{}:{letter}{ordinal}", thread.item.key);
                let document = body::gone(&key, thread.item.repository_id.0);
                actions.push(self.action(target, sort, &key, version, Some(document)));
            }
        }
        actions
    }

    fn action(&self, target: Target, sort: Sort, id: &str, version: u64, document: Option<Bytes>) -> Action {
        Action { alias: self.alias(target, sort), id: id.to_owned(), version, document }
    }

    /// What is stored of threads, read by id: also what is not searchable yet.
    async fn look_up(
        &self,
        target: Target,
        threads: impl Iterator<Item = &ThreadDocuments>,
    ) -> Result<HashMap<String, Stored>> {
        let asked = threads.map(|thread| json!({"_id": thread.item.key})).collect();
        let found = self.get_items(target, asked, STORED_FIELDS).await?;
        let stored = found.iter().filter_map(|found| {
            let id = found.get("_id")?.as_str()?.to_owned();
            let count = |pointer: &str| found.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
            let children = [0, 1, 2].map(|at| count(&format!("/_source/meta/children/{at}")));
            let counts = ["comment", "event", "interval"].map(|sort| count(&format!("/_source/{sort}_documents")));
            Some((id, Stored { version: found.get("_version")?.as_u64()?, children, counts }))
        });
        Ok(stored.collect())
    }

    /// The versions of threads' items.
    ///
    /// Whoever reads by id what was written just now makes the engine refresh first, which costs a good part of the
    /// write. A read of a version that no item has is refused before that, and the reason tells the version there is.
    async fn versions(&self, target: Target, threads: &[ThreadDocuments]) -> Result<HashMap<String, u64>> {
        let asked = |key: &str| json!({"_id": key, "version": NO_VERSION, "version_type": "external"});
        let asked: Vec<_> = threads.iter().map(|thread| asked(&thread.item.key)).collect();
        let found = self.get_items(target, asked, "_source=false").await?;
        let refused = |found: &Value| Some(found.get("error")?.get("reason")?.as_str()?.to_owned());
        let mut versions = HashMap::new();
        let mut untold = Vec::new();
        for (thread, found) in threads.iter().zip(&found) {
            match refused(found).map(|reason| current_version(&reason)) {
                Some(Some(version)) => drop(versions.insert(thread.item.key.clone(), version)),
                // An engine that says it in other words.
                Some(None) => untold.push(thread),
                None => {}
            }
        }
        if !untold.is_empty() {
            let stored = self.look_up(target, untold.into_iter()).await?;
            versions.extend(stored.into_iter().map(|(key, stored)| (key, stored.version)));
        }
        Ok(versions)
    }

    /// Items by id, an answer for each that was asked for.
    async fn get_items(&self, target: Target, asked: Vec<Value>, source: &str) -> Result<Vec<Value>> {
        let path = format!("/{}/_mget?{source}", self.alias(target, Sort::Items));
        let asked = json!({"docs": asked});
        let answer = self.generations.client.find("write", Method::Post, &path, Some(&asked)).await?;
        match answer.map(|mut answer| answer["docs"].take()) {
            Some(Value::Array(found)) => Ok(found),
            None if target == Target::Next => Ok(Vec::new()),
            _ => Err(missing()),
        }
    }

    /// A thread's children, and what stays where it had more.
    fn children(&self, target: Target, thread: &ThreadDocuments, most: Children) -> Vec<Action> {
        let version = thread.version.0;
        let child =
            |(sort, key, document): (Sort, &str, Bytes)| self.action(target, sort, key, version, Some(document));
        let mut actions: Vec<_> = children(thread).map(child).collect();
        actions.extend(self.graves(target, thread, version, counts(thread), most));
        actions
    }

    pub(crate) async fn write_repositories(&self, documents: &[RepositoryDocument]) -> Result<()> {
        for target in self.targets().await? {
            let actions: Vec<_> = documents
                .iter()
                .map(|one| {
                    self.action(target, Sort::Repositories, &one.key, one.version, Some(body::with(one, &Value::Null)))
                })
                .collect();
            self.write_all(target, &actions).await?;
        }
        Ok(())
    }

    pub(crate) async fn write_releases(
        &self,
        repository: RepositoryId,
        version: Version,
        documents: &[ReleaseDocument],
    ) -> Result<()> {
        for target in self.targets().await? {
            // A document that says how new the list is: an older list changes nothing.
            let marker = format!("{repository}:r");
            let action =
                self.action(target, Sort::Releases, &marker, version.0, Some(body::gone(&marker, repository.0)));
            if self.write_all(target, &[action]).await? == [Outcome::Stale] {
                continue;
            }
            let kept: BTreeSet<&str> = documents.iter().map(|one| one.key.as_str()).chain([marker.as_str()]).collect();
            let mut actions: Vec<_> = documents
                .iter()
                .map(|one| {
                    self.action(target, Sort::Releases, &one.key, version.0, Some(body::with(one, &Value::Null)))
                })
                .collect();
            actions.extend(self.bury(target, Sort::Releases, repository, version.0, &kept).await?);
            self.write_all(target, &actions).await?;
        }
        Ok(())
    }

    pub(crate) async fn write_daily(
        &self,
        repository: RepositoryId,
        documents: &[DailyDocument],
        replace: bool,
    ) -> Result<()> {
        for target in self.targets().await? {
            let mut actions: Vec<_> = documents
                .iter()
                .map(|one| self.action(target, Sort::Daily, &one.key, one.version, Some(body::with(one, &Value::Null))))
                .collect();
            if replace {
                let kept = documents.iter().map(|one| one.key.as_str()).collect();
                let version = documents.iter().map(|one| one.version).max().unwrap_or_default();
                actions.extend(self.bury(target, Sort::Daily, repository, version, &kept).await?);
            }
            self.write_all(target, &actions).await?;
        }
        Ok(())
    }

    /// Tombstones for a repository's documents that are not kept; of at least their own version.
    async fn bury(
        &self,
        target: Target,
        sort: Sort,
        repository: RepositoryId,
        version: u64,
        kept: &BTreeSet<&str>,
    ) -> Result<Vec<Action>> {
        let mut actions = Vec::new();
        for (id, stored) in self.ids(target, sort, repository).await? {
            if !kept.contains(id.as_str()) {
                let document = body::gone(&id, repository.0);
                actions.push(self.action(target, sort, &id, stored.max(version), Some(document)));
            }
        }
        Ok(actions)
    }

    /// Ids and versions of all of a repository's documents of a sort.
    async fn ids(&self, target: Target, sort: Sort, repository: RepositoryId) -> Result<Vec<(String, u64)>> {
        let alias = self.alias(target, sort);
        self.generations.client.find("write", Method::Post, &format!("/{alias}/_refresh"), None).await?;
        let mut page = Page {
            alias,
            query: json!({"term": {"repository_id": repository.0}}),
            sort: json!([{"key": "asc"}]),
            source: json!(false),
            after: None,
        };
        let mut ids = Vec::new();
        while let Some(hits) = page.next(&self.generations.client).await? {
            ids.extend(
                hits.iter()
                    .filter_map(|hit| Some((hit.get("_id")?.as_str()?.to_owned(), hit.get("_version")?.as_u64()?))),
            );
        }
        Ok(ids)
    }

    async fn write_all(&self, target: Target, actions: &[Action]) -> Result<Vec<Outcome>> {
        let outcomes = self.bulk.write(actions).await?;
        for (action, outcome) in actions.iter().zip(&outcomes) {
            if let Applied::Refused { id, reason } = judged(target, &action.id, outcome.clone())? {
                return Err(Error::new(
                    ErrorKind::Refused,
                    "write",
                    format!("the engine refuses the document {id}: {reason}"),
                ));
            }
        }
        Ok(outcomes)
    }

    /// Removes everything of a repository, and its versions: it may come back with any.
    pub(crate) async fn purge(&self, repository: RepositoryId) -> Result<()> {
        for target in self.targets().await? {
            for sort in Sort::ALL {
                let ids = self.ids(target, sort, repository).await?;
                let delete = |(id, version): (String, u64)| self.action(target, sort, &id, version, None);
                self.write_all(target, &ids.into_iter().map(delete).collect::<Vec<_>>()).await?;
            }
            let aliases: Vec<_> = Sort::ALL.into_iter().map(|sort| self.alias(target, sort)).collect();
            self.forget_deleted(&aliases.join(",")).await?;
        }
        Ok(())
    }

    /// Engines remember versions of deleted documents for `index.gc_deletes`; a refresh after it forgets them. Their
    /// clock for this moves in steps of 200 ms.
    async fn forget_deleted(&self, aliases: &str) -> Result<()> {
        let client = &self.generations.client;
        let settings = format!("/{aliases}/_settings?ignore_unavailable=true");
        let refresh = format!("/{aliases}/_refresh?ignore_unavailable=true");
        client.json("purge", Method::Put, &settings, Some(&json!({"index": {"gc_deletes": "0s"}}))).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let refreshed = client.json("purge", Method::Post, &refresh, None).await;
        client.json("purge", Method::Put, &settings, Some(&json!({"index": {"gc_deletes": null}}))).await?;
        refreshed.map(drop)
    }
}

/// Runs of threads in which none comes twice.
fn rounds(threads: &[ThreadDocuments]) -> Vec<&[ThreadDocuments]> {
    let mut rounds = Vec::new();
    let (mut start, mut seen) = (0, BTreeSet::new());
    for (index, thread) in threads.iter().enumerate() {
        if !seen.insert(&thread.item.key) {
            rounds.push(&threads[start..index]);
            (start, seen) = (index, BTreeSet::from([&thread.item.key]));
        }
    }
    rounds.push(&threads[start..]);
    rounds
}

fn counts(thread: &ThreadDocuments) -> Children {
    [thread.comments.len() as u64, thread.events.len() as u64, thread.intervals.len() as u64]
}

fn raised(known: Children, thread: &ThreadDocuments) -> Children {
    let counts = counts(thread);
    std::array::from_fn(|sort| known[sort].max(counts[sort]))
}

/// What an outcome means for the thread. An index being built may vanish: it was swapped or given up meanwhile.
fn judged(target: Target, id: &str, outcome: Outcome) -> Result<Applied> {
    match outcome {
        Outcome::Done => Ok(Applied::Written),
        Outcome::Stale => Ok(Applied::Stale),
        Outcome::Refused(reason) => Ok(Applied::Refused { id: id.to_owned(), reason }),
        Outcome::Missing if target == Target::Next => Ok(Applied::Written),
        Outcome::Missing => Err(missing()),
    }
}

pub(crate) fn missing() -> Error {
    Error::new(ErrorKind::Corrupt, "write", "the index is missing; `ensure` makes it, then rebuild it")
}
