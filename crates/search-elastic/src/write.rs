//! Writing threads: replaced as wholes, without a gap and without leftovers.
//!
//! An item's document carries the most children that the thread ever had. It is read by id, written first, with that
//! number raised; then come the children, and tombstones for ordinals that are left over. Whoever is stopped between the
//! two leaves a number that is high enough, and the next write of the thread makes it whole. Every write carries the
//! thread's version, so a late one changes nothing, whichever comes first. A late writer may have written its item before
//! the newer one did, after that one had looked. If its children came after, it finds the newer item when it looks once
//! more, as everyone does, and buries what of its own that one does not have. If they came before, the newer writer, which
//! wrote over another item, looks for children beyond the most it knew, and buries those.
//!
//! Threads go in waves, one request each: the children of the items that the waves before brought, then further items,
//! whose children may only come when the engine has accepted them. While the engine has a wave the next one is written
//! out, as if all items of that one were accepted; where one was not, it is written out again. Two halves of the threads
//! go beside each other, so that the engine is not idle between waves, nor with one of its indices alone. So four requests
//! of bounded size are in memory, whatever the threads are like.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use elasticsearch::http::Method;
use futures::future::try_join_all;
use gharvest_model::RepositoryId;
use gharvest_search::{
    Applied, Error, ErrorKind, Result,
    document::{DailyDocument, ReleaseDocument, RepositoryDocument, ThreadDocuments, Version},
    given_up,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    ElasticIndex,
    body::{self, Children},
    bulk::{LARGEST_BATCH, Lines, MOST_DOCUMENTS, Outcome},
    generation::refresh,
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
const STORED_FIELDS: &str = "_source_includes=meta,comment_documents,event_documents,interval_documents&filter_path=docs._id,docs._version,docs._source";
/// What the versions of items are told by.
const VERSION_FIELDS: &str = "_source=false&filter_path=docs._id,docs.error.reason";
/// What is told of documents that are only asked for.
const TAKEN_FIELDS: &str = "_source=false&filter_path=docs._id,docs.error.type";

/// Bytes after which a wave is sent.
const WAVE: usize = 512 << 10;
/// Bytes of items after which a wave takes no more of them: their children are the next one.
const WAVE_ITEMS: usize = 384 << 10;
/// Parts of the threads that are written beside each other.
const BESIDE: usize = 2;
/// How many children beyond those that a writer knew are asked for at once when there is one.
const LEFT_OVER: u64 = 100;
/// Records count their revisions from one.
const NO_VERSION: u64 = 0;

/// An index that is written.
#[derive(Debug)]
struct Target {
    names: Names,
    /// What is built beside the one that serves is given up at times, and what is public goes with its setting: neither is
    /// a failure of a live write.
    may_vanish: bool,
}

impl Target {
    /// One of the indices that are written by who writes by `own` names.
    fn of(own: &Names, names: Names) -> Self {
        Self { may_vanish: own.build.is_none() && (names.is_public || names.build.is_some()), names }
    }

    /// Whether it takes what is private, or no more.
    fn takes(&self, private: bool) -> bool {
        !(self.names.is_public && private)
    }

    /// Whether a thread is a tombstone there.
    fn hides(&self, thread: &ThreadDocuments) -> bool {
        !self.takes(thread.item.private || thread.item.deleted)
    }

    /// How many children of each sort it gets of a thread.
    fn counts(&self, thread: &ThreadDocuments) -> Children {
        if self.hides(thread) { [0; 3] } else { counts(thread) }
    }
}

/// The names under which the documents of threads are written.
struct Aliases {
    items: String,
    children: [String; 3],
}

/// A thread to be written.
struct Fresh<'a> {
    thread: &'a ThreadDocuments,
    /// Its place among those given.
    place: usize,
    /// The most children that there ever were, this version's included.
    most: Children,
    /// Tombstones come in the place of it and its children.
    is_hidden: bool,
    /// The engine has accepted it in the place of another.
    has_replaced: bool,
}

impl Fresh<'_> {
    fn item(&self, aliases: &Aliases, lines: &mut Lines) {
        let (thread, most) = (self.thread, self.most);
        let (key, repository) = (&thread.item.key, thread.item.repository_id.0);
        lines.index(&aliases.items, key, thread.version.0, |into| match self.is_hidden {
            true => body::hidden(into, key, repository, Some(most)),
            false => body::item(into, thread, most),
        });
    }

    /// Adds the nth child, or the tombstone in its place where the thread had more once. Says whether there is one.
    fn child(&self, nth: u64, aliases: &Aliases, lines: &mut Lines) -> bool {
        let Some((sort, ordinal)) = sort_and_ordinal(self.most, nth) else { return false };
        let (thread, place) = (self.thread, ordinal as usize);
        match sort {
            _ if self.is_hidden => bury(thread, (sort, ordinal), thread.version.0, aliases, lines),
            0 => self.put(thread.comments.get(place).map(|one| (&one.key, one)), (sort, ordinal), aliases, lines),
            1 => self.put(thread.events.get(place).map(|one| (&one.key, one)), (sort, ordinal), aliases, lines),
            _ => self.put(thread.intervals.get(place).map(|one| (&one.key, one)), (sort, ordinal), aliases, lines),
        }
        true
    }

    fn put(
        &self,
        document: Option<(&String, &impl Serialize)>,
        (sort, ordinal): (usize, u64),
        aliases: &Aliases,
        lines: &mut Lines,
    ) {
        let version = self.thread.version.0;
        let Some((key, document)) = document else {
            return bury(self.thread, (sort, ordinal), version, aliases, lines);
        };
        lines.index(&aliases.children[sort], key, version, |into| body::child(into, document, ordinal));
    }
}

/// Adds the tombstone of a thread's child.
fn bury(thread: &ThreadDocuments, (sort, ordinal): (usize, u64), version: u64, aliases: &Aliases, lines: &mut Lines) {
    let key = child_key(thread, (sort, ordinal));
    let repository = thread.item.repository_id.0;
    lines.index(&aliases.children[sort], &key, version, |into| body::gone(into, &key, repository));
}

fn child_key(thread: &ThreadDocuments, (sort, ordinal): (usize, u64)) -> String {
    format!("{}:{}{ordinal}", thread.item.key, Sort::CHILDREN[sort].1)
}

/// Which child is the nth, where all sorts are counted through.
fn sort_and_ordinal(most: Children, mut nth: u64) -> Option<(usize, u64)> {
    for (sort, most) in most.into_iter().enumerate() {
        if nth < most {
            return Some((sort, nth));
        }
        nth -= most;
    }
    None
}

/// Different threads that are written together.
struct Round<'a> {
    aliases: Aliases,
    fresh: Vec<Fresh<'a>>,
}

/// How much of a round is written out.
#[derive(Clone, Default)]
struct Progress {
    items: usize,
    /// Threads whose items were, and how many of their children.
    children: VecDeque<(usize, u64)>,
}

impl Progress {
    /// Leaves out the children of threads.
    fn forget(&mut self, threads: &BTreeSet<usize>) {
        self.children.retain(|(thread, _)| !threads.contains(thread));
    }
}

/// Writes of one request, and to which thread each belongs.
#[derive(Default)]
struct Wave {
    lines: Lines,
    owners: Vec<Owner>,
}

#[derive(Clone, Copy)]
enum Owner {
    Item(usize),
    Child(usize),
}

impl Wave {
    fn is_full(&self) -> bool {
        self.lines.size() >= WAVE || self.lines.len() >= MOST_DOCUMENTS
    }
}

impl Round<'_> {
    /// The next wave; an empty one at the end.
    fn wave(&self, progress: &mut Progress) -> Wave {
        let mut wave = Wave::default();
        while !wave.is_full()
            && let Some((thread, nth)) = progress.children.front_mut()
        {
            if self.fresh[*thread].child(*nth, &self.aliases, &mut wave.lines) {
                wave.owners.push(Owner::Child(*thread));
                *nth += 1;
            } else {
                progress.children.pop_front();
            }
        }
        let enough = wave.lines.size() + WAVE_ITEMS;
        while !wave.is_full()
            && wave.lines.size() < enough
            && let Some(fresh) = self.fresh.get(progress.items)
        {
            fresh.item(&self.aliases, &mut wave.lines);
            wave.owners.push(Owner::Item(progress.items));
            progress.children.push_back((progress.items, 0));
            progress.items += 1;
        }
        wave
    }

    /// Notes what became of a wave. Gives back the threads whose items were not accepted: their children must not come.
    fn settle(
        &mut self,
        target: &Target,
        owners: &[Owner],
        outcomes: Vec<Outcome>,
        applied: &mut [Applied],
    ) -> Result<BTreeSet<usize>> {
        let mut lost = BTreeSet::new();
        for (owner, outcome) in owners.iter().zip(outcomes) {
            let is_replaced = outcome == Outcome::Done;
            let outcome = judged(target, outcome)?;
            let (Owner::Item(thread) | Owner::Child(thread)) = *owner;
            if let Owner::Item(_) = owner {
                self.fresh[thread].has_replaced = is_replaced;
                if outcome != Applied::Written {
                    lost.insert(thread);
                }
            }
            let applied = &mut applied[self.fresh[thread].place];
            // A stale child: a newer write of the thread overtook this one, and makes it whole.
            if *applied == Applied::Written || matches!(outcome, Applied::Refused { .. }) {
                *applied = outcome;
            }
        }
        Ok(lost)
    }
}

/// The requests that put threads into an index that has nothing of them, each as large as requests are to begin with.
pub(crate) fn first_requests(names: &Names, threads: &[ThreadDocuments]) -> Vec<Bytes> {
    let aliases = aliases(|sort| names.all(sort));
    let (mut bodies, mut lines) = (Vec::new(), Lines::default());
    for thread in threads {
        let fresh = Fresh { thread, place: 0, most: counts(thread), is_hidden: false, has_replaced: false };
        fresh.item(&aliases, &mut lines);
        let mut nth = 0;
        while fresh.child(nth, &aliases, &mut lines) {
            nth += 1;
        }
        if lines.size() >= LARGEST_BATCH || lines.len() >= MOST_DOCUMENTS {
            bodies.push(std::mem::take(&mut lines).into_body());
        }
    }
    bodies.push(lines.into_body());
    bodies.retain(|body| !body.is_empty());
    bodies
}

fn aliases(alias: impl Fn(Sort) -> String) -> Aliases {
    Aliases { items: alias(Sort::Items), children: Sort::CHILDREN.map(|(sort, _)| alias(sort)) }
}

/// The version in an engine's reason why it does not read another: `[7:1]: version conflict, current version [3] is
/// different than the one provided [0]`.
fn current_version(reason: &str) -> Option<u64> {
    reason.rsplit_once("current version [")?.1.split_once(']')?.0.parse().ok()
}

impl ElasticIndex {
    /// The index that serves, what is public of it, and what is being built. An index that is asked for by the names of its
    /// build is alone with what is public of it.
    async fn targets(&self) -> Result<Vec<Target>> {
        let names = &self.generations.names;
        let beside = match names.build {
            Some(_) => self.generations.has_public.then(|| names.of_public()).into_iter().collect(),
            None => self.generations.beside().await?,
        };
        let all = std::iter::once(names.clone()).chain(beside);
        Ok(all.map(|one| Target::of(names, one)).collect())
    }

    /// Makes what was written searchable.
    pub(crate) async fn refresh_written(&self) -> Result<()> {
        let written: Vec<_> = self.targets().await?.into_iter().map(|target| target.names).collect();
        refresh(&self.generations.client, &written).await
    }

    pub(crate) async fn write_threads(&self, threads: &[ThreadDocuments]) -> Result<Vec<Applied>> {
        let mut applied = Vec::with_capacity(threads.len());
        if threads.is_empty() {
            return Ok(applied);
        }
        let targets = self.targets().await?;
        // A thread that comes twice is written twice, one after the other.
        for round in rounds(threads) {
            let mut answers: Option<Vec<Applied>> = None;
            for target in &targets {
                let parts = round.chunks(round.len().div_ceil(BESIDE)).map(|part| self.write_round(target, part));
                let written = try_join_all(parts).await?.concat();
                answers = Some(match answers {
                    Some(serving) => {
                        serving.into_iter().zip(written).map(|(serving, next)| serving.and_in_next(next)).collect()
                    }
                    None => written,
                });
            }
            applied.extend(answers.unwrap_or_default());
        }
        Ok(applied)
    }

    /// Writes different threads.
    async fn write_round(&self, target: &Target, threads: &[ThreadDocuments]) -> Result<Vec<Applied>> {
        let stored = self.look_up(target, threads.iter()).await?;
        let mut applied = Vec::with_capacity(threads.len());
        let mut round = Round { aliases: aliases(|sort| target.names.all(sort)), fresh: Vec::new() };
        for (place, thread) in threads.iter().enumerate() {
            let known = stored.get(&thread.item.key).copied().unwrap_or_default();
            let is_stale = known.version > thread.version.0;
            applied.push(if is_stale { Applied::Stale } else { Applied::Written });
            if !is_stale {
                let most = raised(known.children, target.counts(thread));
                let is_hidden = target.hides(thread);
                round.fresh.push(Fresh { thread, place, most, is_hidden, has_replaced: false });
            }
        }
        let mut progress = Progress::default();
        let mut wave = round.wave(&mut progress);
        while !wave.owners.is_empty() {
            let mut ahead = progress.clone();
            let (outcomes, next) = tokio::join!(self.bulk.write(wave.lines), async { round.wave(&mut ahead) });
            let lost = round.settle(target, &wave.owners, outcomes?, &mut applied)?;
            (progress, wave) = if lost.is_empty() {
                (ahead, next)
            } else {
                progress.forget(&lost);
                let wave = round.wave(&mut progress);
                (progress, wave)
            };
        }
        self.bury_left_over(target, &round).await?;
        self.yield_to_newer(target, threads, &mut applied).await?;
        Ok(applied)
    }

    /// Buries children of older writers who wrote after this one had looked, and before it wrote. Theirs come in order, so
    /// the first place that was never taken ends a sort, but for one that the engine refused. Who wrote a thread's item first needs not look: the item of an
    /// older writer is refused then, and no child of it comes.
    async fn bury_left_over(&self, target: &Target, round: &Round<'_>) -> Result<()> {
        let replaced = round.fresh.iter().filter(|fresh| fresh.has_replaced);
        let mut ends: Vec<_> =
            replaced.flat_map(|fresh| (0..3).map(move |sort| (fresh, sort, fresh.most[sort]))).collect();
        let mut width = 1;
        while !ends.is_empty() {
            let mut ids = Vec::new();
            for &(fresh, sort, first) in &ends {
                ids.extend((first..first + width).map(|nth| (sort, child_key(fresh.thread, (sort, nth)))));
            }
            let taken = self.are_taken(target, &round.aliases, &ids).await?;
            let mut graves = Lines::default();
            let mut further = Vec::new();
            for ((fresh, sort, first), taken) in ends.into_iter().zip(taken.chunks(width as usize)) {
                let left = taken.iter().take_while(|taken| **taken).count() as u64;
                for ordinal in first..first + left {
                    bury(fresh.thread, (sort, ordinal), fresh.thread.version.0, &round.aliases, &mut graves);
                }
                if left == width {
                    further.push((fresh, sort, first + width));
                }
            }
            self.write_all(target, graves).await?;
            (ends, width) = (further, LEFT_OVER);
        }
        Ok(())
    }

    /// Looks whether a newer writer came in between, and buries what it does not have.
    async fn yield_to_newer(
        &self,
        target: &Target,
        threads: &[ThreadDocuments],
        applied: &mut [Applied],
    ) -> Result<()> {
        let versions = self.versions(target, threads).await?;
        let is_newer =
            |thread: &ThreadDocuments| versions.get(&thread.item.key).is_some_and(|stored| *stored > thread.version.0);
        let overtaken: Vec<_> = threads.iter().zip(applied).filter(|(thread, _)| is_newer(thread)).collect();
        if overtaken.is_empty() {
            return Ok(());
        }
        let stored = self.look_up(target, overtaken.iter().map(|(thread, _)| *thread)).await?;
        let aliases = aliases(|sort| target.names.all(sort));
        let mut graves = Lines::default();
        for (thread, applied) in overtaken {
            let Some(newer) = stored.get(&thread.item.key) else { continue };
            if *applied == Applied::Written {
                *applied = Applied::Stale;
            }
            for (sort, count) in target.counts(thread).into_iter().enumerate() {
                for ordinal in newer.counts[sort]..count {
                    bury(thread, (sort, ordinal), newer.version, &aliases, &mut graves);
                }
            }
        }
        self.write_all(target, graves).await.map(drop)
    }

    /// What is stored of threads, read by id: also what is not searchable yet.
    async fn look_up(
        &self,
        target: &Target,
        threads: impl Iterator<Item = &ThreadDocuments>,
    ) -> Result<HashMap<String, Stored>> {
        let asked = threads.map(|thread| json!({"_id": thread.item.key})).collect();
        let found = self.get(target, asked, STORED_FIELDS).await?;
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
    async fn versions(&self, target: &Target, threads: &[ThreadDocuments]) -> Result<HashMap<String, u64>> {
        let asked = |key: &str| json!({"_id": key, "version": NO_VERSION, "version_type": "external"});
        let asked: Vec<_> = threads.iter().map(|thread| asked(&thread.item.key)).collect();
        let found = self.get(target, asked, VERSION_FIELDS).await?;
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

    /// Whether each id of a child has a document or a tombstone; asked as in [`Self::versions`], and for the same reason.
    async fn are_taken(&self, target: &Target, aliases: &Aliases, ids: &[(usize, String)]) -> Result<Vec<bool>> {
        let asked = |(sort, key): &(usize, String)| json!({"_index": aliases.children[*sort], "_id": key, "version": NO_VERSION, "version_type": "external"});
        let found = self.get(target, ids.iter().map(asked).collect(), TAKEN_FIELDS).await?;
        let is_taken = |found: &Value| match found["error"]["type"].as_str() {
            Some("version_conflict_engine_exception") => Ok(true),
            None | Some("index_not_found_exception") => Ok(false),
            Some(other) => {
                Err(Error::new(ErrorKind::Unavailable, "write", format!("a document cannot be read: {other}")))
            }
        };
        let mut taken: Vec<_> = found.iter().map(is_taken).collect::<Result<_>>()?;
        taken.resize(ids.len(), false);
        Ok(taken)
    }

    /// Documents by id, items where no other index is said: an answer for each that was asked for, or none of an index that
    /// has vanished.
    async fn get(&self, target: &Target, asked: Vec<Value>, source: &str) -> Result<Vec<Value>> {
        let path = format!("/{}/_mget?{source}", target.names.all(Sort::Items));
        let asked = json!({"docs": asked});
        let answer = self.generations.client.find("write", Method::Post, &path, Some(&asked)).await?;
        match answer.map(|mut answer| answer["docs"].take()) {
            Some(Value::Array(found)) => Ok(found),
            None if target.may_vanish => Ok(Vec::new()),
            _ => Err(missing(&target.names)),
        }
    }

    pub(crate) async fn write_repositories(&self, documents: &[RepositoryDocument]) -> Result<()> {
        for target in &self.targets().await? {
            let alias = target.names.all(Sort::Repositories);
            let mut lines = Lines::default();
            for one in documents {
                lines.index(&alias, &one.key, one.version, |into| match target.takes(one.private) {
                    true => body::plain(into, one),
                    false => body::hidden(into, &one.key, one.repository_id.0, None),
                });
            }
            let outcomes = self.write_all(target, lines).await?;
            // Who comes late does not know whether the repository is private now.
            let written = documents.iter().zip(outcomes).filter(|(_, outcome)| *outcome != Outcome::Stale);
            for (one, _) in written {
                if !target.takes(one.private) {
                    for sort in Sort::ALL {
                        self.hide(target, one.repository_id, sort, u64::MAX).await?;
                    }
                } else if target.names.is_public {
                    self.show_days(target, one.repository_id).await?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn write_releases(
        &self,
        repository: RepositoryId,
        version: Version,
        documents: &[ReleaseDocument],
    ) -> Result<()> {
        for target in &self.targets().await? {
            let alias = target.names.all(Sort::Releases);
            // A document that says how new the list is: an older list changes nothing.
            let marker = format!("{repository}:r");
            let mut first = Lines::default();
            first.index(&alias, &marker, version.0, |into| body::gone(into, &marker, repository.0));
            if self.write_all(target, first).await? == [Outcome::Stale] {
                continue;
            }
            let shown: Vec<_> = documents.iter().filter(|one| target.takes(one.private)).collect();
            let kept: BTreeSet<&str> = shown.iter().map(|one| one.key.as_str()).chain([marker.as_str()]).collect();
            let mut lines = Lines::default();
            for one in shown {
                lines.index(&alias, &one.key, version.0, |into| body::plain(into, one));
            }
            self.bury_others(target, Sort::Releases, repository, version.0, &kept, &mut lines).await?;
            self.write_all(target, lines).await?;
        }
        Ok(())
    }

    pub(crate) async fn write_daily(
        &self,
        repository: RepositoryId,
        documents: &[DailyDocument],
        replace: bool,
    ) -> Result<()> {
        let mut targets = self.targets().await?;
        // Who counts writes what differs from the index of everything: that gets a day when what is public has it.
        targets.sort_by_key(|target| !target.names.is_public);
        let version = documents.iter().map(|one| one.version).max().unwrap_or_default();
        let (mut written, mut refused) = (Ok(()), BTreeSet::new());
        for target in &targets {
            let alias = target.names.all(Sort::Daily);
            let mut lines = Lines::default();
            let shown: Vec<_> = documents.iter().filter(|one| target.takes(one.private)).collect();
            for one in shown.iter().filter(|one| !refused.contains(&one.key)) {
                lines.index(&alias, &one.key, one.version, |into| body::plain(into, one));
            }
            if shown.len() < documents.len() {
                self.hide(target, repository, Sort::Daily, version).await?;
            } else if replace {
                let kept = documents.iter().map(|one| one.key.as_str()).collect();
                self.bury_others(target, Sort::Daily, repository, version, &kept, &mut lines).await?;
            }
            // A document that is refused keeps the others from no index.
            let outcomes = self.bulk.write(lines).await?;
            written = written.and(none_refused(target, &outcomes));
            refused.extend(outcomes.into_iter().filter_map(Outcome::refused));
        }
        written
    }

    /// Makes tombstones of a private repository's documents of a sort that are older than a version, each in the version
    /// that it has. What somebody writes meanwhile who took the repository for public is mended by the jobs of its threads,
    /// which come after.
    async fn hide(&self, target: &Target, repository: RepositoryId, sort: Sort, before: u64) -> Result<()> {
        let all = self.documents(target, sort, repository).await?;
        let living = json!({"bool": {"filter": [all.query], "must_not": [{"term": {"q.gone": true}}]}});
        let mut page = Page { query: living, source: json!(["meta"]), ..all };
        while let Some(hits) = page.next(&self.generations.client).await? {
            let mut lines = Lines::default();
            for hit in &hits {
                let version = hit["_version"].as_u64().filter(|version| *version < before);
                let (Some(id), Some(version)) = (hit["_id"].as_str(), version) else { continue };
                let children = serde_json::from_value(hit["_source"]["meta"]["children"].clone()).ok();
                lines.index(&page.alias, id, version, |into| body::hidden(into, id, repository.0, children));
            }
            self.write_all(target, lines).await?;
        }
        Ok(())
    }

    /// Brings days back that became tombstones while their repository was private, from the index of everything: who counts
    /// finds them there as they were, and writes nothing. Those that are private there are written by who counts next.
    async fn show_days(&self, target: &Target, repository: RepositoryId) -> Result<()> {
        let all = self.documents(target, Sort::Daily, repository).await?;
        let mut page = Page { query: json!({"bool": {"filter": [all.query, {"term": {"q.gone": true}}]}}), ..all };
        let everything = Names { is_public: false, ..target.names.clone() }.all(Sort::Daily);
        while let Some(ids) = self.ids(&mut page).await? {
            let asked = json!({"ids": ids.into_iter().map(|(id, _)| id).collect::<Vec<_>>()});
            let path = format!("/{everything}/_mget");
            let found = self.generations.client.find("write", Method::Post, &path, Some(&asked)).await?;
            let found = found.as_ref().and_then(|found| found["docs"].as_array()).into_iter().flatten();
            let mut lines = Lines::default();
            for day in found.filter(|day| day["_source"]["private"] == false) {
                let (Some(id), Some(version)) = (day["_id"].as_str(), day["_version"].as_u64()) else { continue };
                lines.index(&page.alias, id, version, |into| body::plain(into, &day["_source"]));
            }
            self.write_all(target, lines).await?;
        }
        Ok(())
    }

    /// Adds tombstones for a repository's documents that are not kept; of at least their own version.
    async fn bury_others(
        &self,
        target: &Target,
        sort: Sort,
        repository: RepositoryId,
        version: u64,
        kept: &BTreeSet<&str>,
        lines: &mut Lines,
    ) -> Result<()> {
        let alias = target.names.all(sort);
        let mut page = self.documents(target, sort, repository).await?;
        while let Some(ids) = self.ids(&mut page).await? {
            for (id, stored) in ids.into_iter().filter(|(id, _)| !kept.contains(id.as_str())) {
                lines.index(&alias, &id, stored.max(version), |into| body::gone(into, &id, repository.0));
            }
        }
        Ok(())
    }

    /// All of a repository's documents of a sort, for [`Self::ids`].
    async fn documents(&self, target: &Target, sort: Sort, repository: RepositoryId) -> Result<Page> {
        let alias = target.names.all(sort);
        self.generations.client.find("write", Method::Post, &format!("/{alias}/_refresh"), None).await?;
        Ok(Page {
            alias,
            query: json!({"term": {"repository_id": repository.0}}),
            sort: json!([{"key": "asc"}]),
            source: json!(false),
            after: None,
        })
    }

    /// Ids and versions of the next page, none at the end: a repository may have more than fit in memory.
    async fn ids(&self, page: &mut Page) -> Result<Option<Vec<(String, u64)>>> {
        let hits = page.next(&self.generations.client).await?;
        let id = |hit: &Value| Some((hit.get("_id")?.as_str()?.to_owned(), hit.get("_version")?.as_u64()?));
        Ok(hits.map(|hits| hits.iter().filter_map(id).collect()))
    }

    async fn write_all(&self, target: &Target, lines: Lines) -> Result<Vec<Outcome>> {
        let outcomes = self.bulk.write(lines).await?;
        none_refused(target, &outcomes)?;
        Ok(outcomes)
    }

    /// Removes everything of a repository, and its versions: it may come back with any.
    pub(crate) async fn purge(&self, repository: RepositoryId) -> Result<()> {
        for target in &self.targets().await? {
            for sort in Sort::ALL {
                let mut page = self.documents(target, sort, repository).await?;
                while let Some(ids) = self.ids(&mut page).await? {
                    let mut lines = Lines::default();
                    ids.iter().for_each(|(id, version)| lines.delete(&page.alias, id, *version));
                    self.write_all(target, lines).await?;
                }
            }
            let aliases: Vec<_> = Sort::ALL.into_iter().map(|sort| target.names.all(sort)).collect();
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

fn raised(known: Children, counts: Children) -> Children {
    std::array::from_fn(|sort| known[sort].max(counts[sort]))
}

/// What an outcome means for the thread. What is missing in a build that may vanish has been given up with it.
fn judged(target: &Target, outcome: Outcome) -> Result<Applied> {
    match outcome {
        Outcome::Created | Outcome::Done => Ok(Applied::Written),
        Outcome::Stale => Ok(Applied::Stale),
        Outcome::Refused { id, reason } => Ok(Applied::Refused { id, reason }),
        Outcome::Missing if target.may_vanish => Ok(Applied::Written),
        Outcome::Missing => Err(missing(&target.names)),
    }
}

/// Says which document was refused first, if there is one.
fn none_refused(target: &Target, outcomes: &[Outcome]) -> Result<()> {
    for outcome in outcomes {
        if let Applied::Refused { id, reason } = judged(target, outcome.clone())? {
            let message = format!("the engine refuses the document {id}: {reason}");
            return Err(Error::new(ErrorKind::Document, "write", message));
        }
    }
    Ok(())
}

/// What it means that an index is missing.
pub(crate) fn missing(names: &Names) -> Error {
    match names.build {
        Some(_) => given_up("write"),
        None => Error::new(ErrorKind::Corrupt, "write", "the index is missing; make it anew: gharvest rebuild"),
    }
}

#[cfg(test)]
mod tests {
    use gharvest_search::sample;

    use super::*;

    fn thread(number: u64, comments: usize, text: &str) -> ThreadDocuments {
        let item = sample::item(number);
        let comments = (0..comments).map(|ordinal| sample::comment(&item, ordinal, text)).collect();
        sample::thread(item, comments, Vec::new(), 1)
    }

    #[test]
    fn threads_of_any_size_go_in_waves_of_bounded_size_each_child_after_its_item() {
        let long = "word ".repeat(10_000);
        let mut threads: Vec<_> = (2..500).map(|number| thread(number, 3, "A few words.")).collect();
        threads.insert(100, thread(1, 300, &long));
        let fresh = |(place, thread)| Fresh {
            thread,
            place,
            most: [counts(thread)[0] + 1, 0, 2],
            is_hidden: false,
            has_replaced: false,
        };
        let fresh: Vec<_> = threads.iter().enumerate().map(fresh).collect();
        let round = Round { aliases: aliases(|sort| sort.name().to_owned()), fresh };
        let (mut progress, mut items, mut children) = (Progress::default(), BTreeSet::new(), vec![0; threads.len()]);
        let mut waves = 0;
        loop {
            let wave = round.wave(&mut progress);
            if wave.owners.is_empty() {
                break;
            }
            waves += 1;
            let largest = wave.lines.largest();
            assert!(wave.lines.size() < WAVE + largest, "wave {waves} has {} bytes", wave.lines.size());
            let mut brought = Vec::new();
            for owner in &wave.owners {
                match owner {
                    Owner::Item(thread) => brought.push(*thread),
                    Owner::Child(thread) => {
                        assert!(items.contains(thread), "a child of {thread} comes before its item");
                        children[*thread] += 1;
                    }
                }
            }
            items.extend(brought);
        }
        assert_eq!(items.len(), threads.len());
        let expected: Vec<_> = round.fresh.iter().map(|fresh| fresh.most.iter().sum::<u64>()).collect();
        assert_eq!(children, expected, "every child comes once, and a tombstone for each that is no more");
        assert!((30..40).contains(&waves), "{waves} waves for 15 MB");
    }

    #[test]
    fn a_refused_document_is_alone_to_blame_and_a_missing_index_is_not_its_fault() {
        let serving = Target { names: Names::new("x"), may_vanish: false };
        let refused = Outcome::Refused { id: "1:d:x".into(), reason: "why".into() };
        none_refused(&serving, &[Outcome::Done, Outcome::Stale]).unwrap();
        let error = none_refused(&serving, &[Outcome::Done, refused]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Document);
        assert!(error.to_string().contains("1:d:x: why"), "{error}");
        assert_eq!(none_refused(&serving, &[Outcome::Missing]).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn whoever_writes_live_can_lose_what_is_public_and_what_is_built_but_not_what_serves() {
        let serving = Names::new("x");
        let may_vanish = |own: &Names, names: Names| Target::of(own, names).may_vanish;
        assert!(!may_vanish(&serving, serving.clone()));
        assert!(may_vanish(&serving, serving.of_public()), "another process took the setting back");
        let built = serving.of_build(1);
        assert!(may_vanish(&serving, built.clone()) && may_vanish(&serving, built.of_public()));
        assert!(!may_vanish(&built, built.clone()) && !may_vanish(&built, built.of_public()));
    }

    #[test]
    fn the_children_of_an_item_that_was_not_accepted_do_not_come() {
        let threads = [thread(1, 2, "x"), thread(2, 2, "x"), thread(3, 2, "x")];
        let fresh =
            |(place, thread)| Fresh { thread, place, most: counts(thread), is_hidden: false, has_replaced: false };
        let fresh = threads.iter().enumerate().map(fresh).collect();
        let mut round = Round { aliases: aliases(|sort| sort.name().to_owned()), fresh };
        let mut applied = vec![Applied::Written; 3];
        let mut progress = Progress::default();
        let wave = round.wave(&mut progress);
        let refused = Outcome::Refused { id: "1:1".into(), reason: "why".into() };
        let outcomes = vec![refused, Outcome::Done, Outcome::Stale];
        let serving = Target { names: Names::new("x"), may_vanish: false };
        let lost = round.settle(&serving, &wave.owners, outcomes, &mut applied).unwrap();
        progress.forget(&lost);
        let wave = round.wave(&mut progress);
        assert!(matches!(*wave.owners, [Owner::Child(1), Owner::Child(1)]));
        let refused = Applied::Refused { id: "1:1".into(), reason: "why".into() };
        assert_eq!(applied, [refused, Applied::Written, Applied::Stale]);
        let lost = round.settle(&serving, &wave.owners, vec![Outcome::Stale, Outcome::Done], &mut applied);
        assert_eq!((lost.unwrap().len(), &applied[1]), (0, &Applied::Stale), "a newer write of it makes it whole");
    }
}
