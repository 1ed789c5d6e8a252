//! Whole threads by GraphQL, in REST's shape, at a twentieth of REST's price.
//!
//! [`Client::threads`] asks for a batch of one repository's numbers in one document. GitHub gives a query ten seconds
//! and an unknown amount of work, so the batch adapts: it halves when GitHub gives up or is slow, grows again slowly,
//! and is remembered by repository. Partial answers keep what is whole and ask again for the rest; what fails alone, or
//! has something that GraphQL cannot tell, is to be fetched by REST. Timelines longer than a page are paged, several in
//! one request, and details of entries are asked for once for all threads of a call: so larger calls cost less.
//!
//! What GraphQL cannot give, and REST does, stands in [`gharvest_model::lossy::LOSSY`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use gharvest_model::RepositoryName;
use http::Method;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::{
    document::Schema,
    events::EventType,
    shape::{Place, has_reactions},
};
use crate::{
    Client, Error, ErrorKind, Purpose, Result,
    client::Ask,
    limits::{Reading, retry_after},
    transport::Reply,
    verdict::{Limit, Sent, Verdict, judge_refusal, refused},
};

mod document;
mod events;
mod probe;
mod shape;

pub use probe::{Glimpse, ItemCounts, PROBED_AT_ONCE, PROBED_BLINDLY, Probe};

/// The budget of GraphQL.
pub(crate) const GRAPHQL: &str = "graphql";

/// How many threads are asked for at first.
const FIRST_BATCH: usize = 25;
/// Slow answers alone make no smaller batch.
const SLOW_BATCH: usize = 10;
/// More would come near GitHub's ten seconds on any repository. So many threads cost one point, one more two.
const LARGEST_BATCH: usize = 149;
/// So many failures in a row are an outage, not a matter of size.
const MOST_FAILURES: u32 = 6;
/// A timeline of more pages goes by REST.
const MOST_PAGES: usize = 500;
/// Entries of a page of a timeline.
const PAGE: u64 = 100;
/// What `nodes(ids:)` takes.
const MOST_IDS: usize = 100;
/// So many times that in one request: still a point.
const MOST_LISTS: usize = 12;
/// Long timelines of which a page is asked for in one request.
const MOST_LONG: usize = 10;

/// One thread to fetch.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Its number.
    pub number: u64,
    /// Its issue object, if it is known from one of REST's lists: exact, and the thread then costs half.
    pub issue: Option<Value>,
    /// A pull request's review comments, if all are known from REST's list of them for the whole repository.
    pub review_comments: Option<Vec<Value>>,
}

impl From<u64> for Wanted {
    fn from(number: u64) -> Self {
        Self { number, issue: None, review_comments: None }
    }
}

impl Wanted {
    /// Whether it is a pull request, if that is known.
    fn is_pull(&self) -> Option<bool> {
        self.issue.as_ref().map(|issue| issue.get("pull_request").is_some_and(|pull| !pull.is_null()))
    }

    /// Whether the item was updated since its issue object was read.
    fn is_stale(&self, node: &Value) -> bool {
        let known = self.issue.as_ref().and_then(|issue| issue.get("updated_at"));
        known.is_some_and(|known| node["updatedAt"].is_string() && node["updatedAt"] != *known)
    }
}

/// The answer about one number.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadAnswer {
    /// The number asked for.
    pub number: u64,
    /// What came of it.
    pub outcome: ThreadOutcome,
}

/// What came of one number.
#[derive(Debug, Clone, PartialEq)]
pub enum ThreadOutcome {
    /// The thread.
    Found(Box<ThreadParts>),
    /// GraphQL does not tell a deleted, transferred or hidden item from a number that never was one: ask REST once.
    NotFound,
    /// To be fetched by REST, and why.
    ByRest(String),
}

/// A thread in REST's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadParts {
    /// The issue object: the one given with [`Wanted`], or GraphQL's.
    pub issue: Value,
    /// Whether `issue` is GraphQL's.
    pub issue_is_graphql: bool,
    /// The timeline; none where GraphQL does not tell enough of some entry, so that REST's is to be fetched.
    pub timeline: Option<Vec<Value>>,
    /// The pull request's object. Its `review_comments` is null unless all are known, its `commits` is null without
    /// the timeline.
    pub pull: Option<Value>,
    /// Those given with [`Wanted`], or empty where it is known that there are none; else to be fetched by REST.
    pub review_comments: Option<Vec<Value>>,
    /// How many entries GraphQL counts in the timeline: what a later [`Probe`] is compared with.
    pub entries: Option<u64>,
}

/// What a GraphQL reply says.
#[derive(Debug)]
enum Reached {
    /// `data`, perhaps partial, `errors`, and how long GitHub took: waiting for a turn or a budget is not its time.
    Data { data: Value, errors: Vec<Value>, took: Duration },
    /// It was too much work.
    TooMuch(String),
}

/// What the executor remembers.
#[derive(Debug)]
pub(crate) struct Memory {
    /// An answer that took longer makes the next batch smaller; one that took half as long lets it grow.
    slow: Duration,
    schema: tokio::sync::OnceCell<Schema>,
    sizes: std::sync::Mutex<BTreeMap<String, Size>>,
    /// GitHub allows 60 s of GraphQL's work a minute; two at once, half of it waiting, stay near that.
    at_once: tokio::sync::Semaphore,
}

impl Memory {
    pub(crate) fn new(tokens: usize, slow: Duration) -> Self {
        Self {
            slow,
            schema: tokio::sync::OnceCell::new(),
            sizes: std::sync::Mutex::default(),
            at_once: tokio::sync::Semaphore::new(2 * tokens.max(1)),
        }
    }

    /// The number of tokens changed.
    pub(crate) fn allow(&self, before: usize, now: usize) {
        self.at_once.add_permits(2 * now.saturating_sub(before));
        self.at_once.forget_permits(2 * before.saturating_sub(now));
    }

    fn size(&self, repository: &RepositoryName) -> usize {
        let sizes = self.sizes.lock().expect("nothing panics while this is locked");
        sizes.get(&repository.key()).copied().unwrap_or_default().threads
    }

    fn change(&self, repository: &RepositoryName, change: impl Fn(&mut Size)) {
        let mut sizes = self.sizes.lock().expect("nothing panics while this is locked");
        change(sizes.entry(repository.key()).or_default());
    }
}

/// How many threads of a repository one request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    threads: usize,
    /// Whether it was too much once: then it grows slowly.
    careful: bool,
}

impl Default for Size {
    fn default() -> Self {
        Self { threads: FIRST_BATCH, careful: false }
    }
}

impl Size {
    /// After a quick answer: twice as many until it was too much once, then a little more.
    fn grow(&mut self) {
        let more = if self.careful { (self.threads / 10).max(1) } else { self.threads };
        self.threads = (self.threads + more).min(LARGEST_BATCH);
    }

    /// After a slow answer to so many: GitHub bears a few threads in its time, so what is slow about those is the way
    /// there, and smaller batches would only be more of them.
    fn slow_down(&mut self, asked: usize) {
        let few = asked.min(SLOW_BATCH);
        *self = Self { threads: (self.threads.min(asked) / 2).max(few), careful: true };
    }

    /// After a request of so many that was too much.
    fn halve(&mut self, asked: usize) {
        *self = Self { threads: (self.threads.min(asked) / 2).max(1), careful: true };
    }
}

/// In how many requests so many threads of one repository come when GitHub bears them all: batches grow from the first.
pub fn requests_for(threads: u64) -> u64 {
    let (mut size, mut left, mut requests) = (Size::default(), threads, 0);
    while left > 0 {
        left = left.saturating_sub(size.threads as u64);
        size.grow();
        requests += 1;
    }
    requests
}

impl Client {
    /// Whether GraphQL can be used: GitHub answers it only with a token.
    pub fn can_graphql(&self) -> bool {
        !self.inner.is_anonymous()
    }

    /// Fetches threads of one repository. The order of the answers is not that of the numbers.
    ///
    /// When the budget ends or GitHub fails in the middle, the answers so far are given and the others are missing:
    /// ask again for those. Numbers given twice are asked for once.
    ///
    /// # Errors
    /// As [`Client::get`], when GraphQL told nothing about any number.
    pub async fn threads(
        &self,
        repository: &RepositoryName,
        wanted: &[Wanted],
        purpose: Purpose,
    ) -> Result<Vec<ThreadAnswer>> {
        let mut run = Run { client: self, repository, purpose, answers: Vec::new(), whole: Vec::new(), failures: 0 };
        let worked = match run.work_through(wanted).await {
            Ok(()) => run.finish().await,
            // What came before the failure may need no more.
            Err(error) => run.finish().await.and(Err(error)),
        };
        match worked {
            Err(error) if run.answers.iter().all(|answer| matches!(answer.outcome, ThreadOutcome::ByRest(_))) => {
                Err(error)
            }
            Ok(()) | Err(_) => Ok(run.answers),
        }
    }

    /// The threads that the next request for this repository would hold: what to lease at once.
    pub fn batch_size(&self, repository: &RepositoryName) -> usize {
        self.inner.graphql.size(repository)
    }

    async fn schema(&self, purpose: Purpose) -> Result<&Schema> {
        let read = || async {
            match self.ask_graphql(document::INTROSPECTION, &json!({}), purpose, true, None).await? {
                Reached::Data { data, .. } => Ok(Schema::of(&data)),
                Reached::TooMuch(reason) => Err(Error::new(ErrorKind::Unavailable, "POST /graphql", reason)),
            }
        };
        match self.inner.graphql.schema.get_or_try_init(read).await {
            // A server that does not show its schema gets what every server knows.
            Err(error) if *error.kind() == ErrorKind::Refused => {
                Ok(self.inner.graphql.schema.get_or_init(|| async { Schema::default() }).await)
            }
            other => other,
        }
    }

    /// `repository` is whom the points are counted for.
    async fn ask_graphql(
        &self,
        query: &str,
        variables: &Value,
        purpose: Purpose,
        patient: bool,
        repository: Option<&RepositoryName>,
    ) -> Result<Reached> {
        let body = json!({"query": query, "variables": variables});
        let url = self.inner.base.graphql();
        let ask = Ask {
            method: Method::POST,
            url: &url,
            body: Bytes::from(body.to_string()),
            name: GRAPHQL,
            budget: Some(GRAPHQL),
            purpose,
            etag: None,
            patient,
            repository,
        };
        let _turn = self.inner.graphql.at_once.acquire().await.expect("the semaphore is never closed");
        let reached = self.inner.ask(&ask, judge).await?;
        if let Reached::Data { data, .. } = &reached {
            self.inner.spend(data["rateLimit"]["cost"].as_u64().unwrap_or(1), purpose, repository);
        }
        Ok(reached)
    }
}

/// The meaning of an answer to a GraphQL request: errors also come with 200.
fn judge(reply: &Reply, sent: &Sent<'_>) -> Verdict<Reached> {
    let status = reply.status.as_u16();
    if matches!(status, 502 | 504) {
        return Verdict::Done(Reached::TooMuch(format!("answered {status}")));
    }
    if status != 200 {
        return judge_refusal(reply, sent.now).unwrap_or_else(|refusal| refused(reply.status, &refusal));
    }
    let mut body: Value = match serde_json::from_slice(&reply.body) {
        Ok(body) => body,
        Err(error) => return Verdict::Again(ErrorKind::BadAnswer, format!("answered 200 without JSON: {error}")),
    };
    let errors = match body["errors"].take() {
        Value::Array(errors) => errors,
        _ => Vec::new(),
    };
    if let Some(limit) = limit_of(reply, &errors, sent.now) {
        return Verdict::Limited(limit);
    }
    let data = body["data"].take();
    match errors.first() {
        None if !data.is_object() => Verdict::Again(ErrorKind::BadAnswer, "answered 200 without data".to_owned()),
        Some(error) if !data.is_object() => {
            let message = crate::base::cut(text(error));
            if errors.iter().any(is_too_much) {
                Verdict::Done(Reached::TooMuch(message))
            } else {
                Verdict::Failed(ErrorKind::Refused, format!("answered with an error: {message}"))
            }
        }
        Some(_) if is_empty(&data) && errors.iter().any(is_too_much) => {
            Verdict::Done(Reached::TooMuch("answered with nothing but limits of resources".to_owned()))
        }
        _ => Verdict::Done(Reached::Data { data, errors, took: sent.took }),
    }
}

fn text(error: &Value) -> &str {
    error["message"].as_str().unwrap_or("without a message")
}

fn limit_of(reply: &Reply, errors: &[Value], now: Timestamp) -> Option<Limit> {
    let primary = errors.iter().any(|error| error["type"] == "RATE_LIMITED" || error["type"] == "RATE_LIMIT");
    let secondary = errors.iter().any(|error| text(error).to_lowercase().contains("secondary rate limit"));
    if !(primary || secondary) {
        return None;
    }
    let told = retry_after(&reply.headers, now).map(Limit::Until);
    let used_up = Reading::of(&reply.headers, now).filter(|reading| reading.remaining == 0 && !secondary);
    Some(told.or(used_up.map(Limit::Primary)).unwrap_or(Limit::Secondary))
}

/// Whether nothing that was asked for is answered.
fn is_empty(data: &Value) -> bool {
    data.as_object().is_none_or(|data| data.iter().all(|(field, value)| field == "rateLimit" || value.is_null()))
}

fn is_too_much(error: &Value) -> bool {
    let told = text(error).to_lowercase();
    matches!(error["type"].as_str(), Some("RESOURCE_LIMITS_EXCEEDED" | "MAX_NODE_LIMIT_EXCEEDED" | "INTERNAL"))
        || ["something went wrong", "timeout", "timed out", "in time", "resource limits"]
            .iter()
            .any(|word| told.contains(word))
}

/// One call of [`Client::threads`].
struct Run<'a> {
    client: &'a Client,
    repository: &'a RepositoryName,
    purpose: Purpose,
    answers: Vec<ThreadAnswer>,
    /// Threads whose details are not asked for yet, each with GraphQL's repository.
    whole: Vec<Raw<'a>>,
    /// Failed requests in a row.
    failures: u32,
}

/// A thread as it came, before its shape is REST's.
struct Raw<'a> {
    wanted: &'a Wanted,
    node: Value,
    repository: Arc<Value>,
    entries: Vec<Value>,
    /// How many entries GraphQL counts.
    count: Option<u64>,
    /// The cursor of the timeline's next page.
    next: Option<String>,
    /// That page could not be had, entries came or went meanwhile, or REST's pages are cheaper.
    stuck: bool,
}

impl<'a> Run<'a> {
    async fn work_through(&mut self, wanted: &'a [Wanted]) -> Result<()> {
        let unique: BTreeMap<u64, &Wanted> = wanted.iter().map(|wanted| (wanted.number, wanted)).collect();
        let mut waiting: Vec<&Wanted> = unique.into_values().collect();
        waiting.reverse();
        while !waiting.is_empty() {
            let size = self.client.batch_size(self.repository).min(waiting.len());
            let batch = waiting.split_off(waiting.len() - size);
            let again = self.batch(&batch).await?;
            waiting.extend(again);
        }
        Ok(())
    }

    /// Fetches one batch; gives back what is to be asked for again.
    async fn batch(&mut self, batch: &[&'a Wanted]) -> Result<Vec<&'a Wanted>> {
        let schema = self.client.schema(self.purpose).await?;
        let query = document::threads(batch, schema);
        let variables = json!({"owner": self.repository.owner(), "name": self.repository.name()});
        let alone = batch.len() == 1;
        match self.client.ask_graphql(&query, &variables, self.purpose, alone, self.label()).await {
            Ok(Reached::Data { data, errors, took }) => {
                self.failures = 0;
                let again = self.take(batch, data, &errors);
                let slow = self.client.inner.graphql.slow;
                self.client.inner.took_threads(batch.len(), took);
                self.client.inner.graphql.change(self.repository, |size| match took {
                    _ if !again.is_empty() => size.halve(batch.len()),
                    _ if took > slow => size.slow_down(batch.len()),
                    // A short batch says nothing about larger ones.
                    _ if took <= slow / 2 && batch.len() >= size.threads => size.grow(),
                    _ => {}
                });
                Ok(if alone { self.by_rest_all(again, "it fails alone") } else { again })
            }
            Ok(Reached::TooMuch(reason)) => self.smaller(batch, &reason, None).await,
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::BadAnswer) => {
                let reason = error.to_string();
                self.smaller(batch, &reason, Some(error)).await
            }
            Err(error) => Err(error),
        }
    }

    /// After a failure: half as many, or by REST what fails alone; an error when nothing works any more.
    async fn smaller(&mut self, batch: &[&'a Wanted], reason: &str, error: Option<Error>) -> Result<Vec<&'a Wanted>> {
        self.failures += 1;
        metrics::counter!("gharvest_github_batches_halved_total").increment(1);
        if self.failures > MOST_FAILURES {
            let unavailable = || Error::new(ErrorKind::Unavailable, "POST /graphql", reason);
            return Err(error.unwrap_or_else(unavailable));
        }
        self.client.inner.graphql.change(self.repository, |size| size.halve(batch.len()));
        if batch.len() == 1 {
            return Ok(self.by_rest_all(batch.to_vec(), reason));
        }
        tokio::time::sleep(self.client.inner.backoff(self.failures)).await;
        Ok(batch.to_vec())
    }

    fn by_rest_all(&mut self, all: Vec<&Wanted>, reason: &str) -> Vec<&'a Wanted> {
        for wanted in all {
            self.answer(wanted.number, ThreadOutcome::ByRest(reason.to_owned()));
        }
        Vec::new()
    }

    fn answer(&mut self, number: u64, outcome: ThreadOutcome) {
        self.answers.push(ThreadAnswer { number, outcome });
    }

    /// Takes what is whole; gives back what is to be asked for again.
    fn take(&mut self, batch: &[&'a Wanted], mut data: Value, errors: &[Value]) -> Vec<&'a Wanted> {
        let mut answered = data["repository"].take();
        if !answered.is_object() {
            return self.by_rest_all(batch.to_vec(), "GraphQL does not know the repository");
        }
        let nodes: Vec<Value> = batch.iter().map(|wanted| answered[format!("i{}", wanted.number)].take()).collect();
        let repository = Arc::new(answered);
        let mut again = Vec::new();
        for (wanted, mut node) in batch.iter().zip(nodes) {
            let alias = format!("i{}", wanted.number);
            let own = errors.iter().find(|error| error["path"][1] == alias.as_str());
            match own {
                None if node.is_object() && wanted.is_stale(&node) => {
                    self.answer(wanted.number, ThreadOutcome::ByRest("it changed since the list was read".to_owned()));
                }
                None if node.is_object() => {
                    let (entries, count, next) = take_entries(&mut node);
                    let repository = Arc::clone(&repository);
                    self.whole.push(Raw { wanted, node, repository, entries, count, next, stuck: false });
                }
                Some(error) if node.is_null() && error["type"] == "NOT_FOUND" => {
                    self.answer(wanted.number, ThreadOutcome::NotFound);
                }
                Some(error) if error["type"] == "FORBIDDEN" => {
                    self.answer(wanted.number, ThreadOutcome::ByRest(crate::base::cut(text(error))));
                }
                _ => again.push(*wanted),
            }
        }
        again
    }

    /// Pages what is long, asks for details, and gives everything REST's shape.
    async fn finish(&mut self) -> Result<()> {
        let mut threads = std::mem::take(&mut self.whole);
        let result = match self.read_on(&mut threads).await {
            Ok(()) => {
                let ids = threads.iter().flat_map(Raw::details).collect();
                self.details(ids).await
            }
            Err(error) => Err(error),
        };
        let (details, result) = match result {
            Ok(details) => (Some(details), Ok(())),
            Err(error) => (None, Err(error)),
        };
        for mut thread in threads {
            let is_paged = thread.next.is_some() && thread.rest_timeline().is_none();
            let needs_more = is_paged || !thread.details().is_empty();
            let outcome = match (&details, thread.by_rest()) {
                (_, Some(reason)) => ThreadOutcome::ByRest(reason),
                (None, None) if needs_more => continue,
                (details, None) => match thread.fill_in(details.as_ref().unwrap_or(&BTreeMap::new())) {
                    Ok(()) => ThreadOutcome::Found(Box::new(self.shape(&thread))),
                    Err(reason) => ThreadOutcome::ByRest(reason),
                },
            };
            self.answer(thread.wanted.number, outcome);
        }
        result
    }

    /// Reads long timelines to their ends, a page of several in one request. One whose page fails keeps its cursor and
    /// goes by REST.
    async fn read_on(&self, threads: &mut [Raw<'a>]) -> Result<()> {
        let schema = self.client.schema(self.purpose).await?;
        for _ in 0..MOST_PAGES {
            let mut long: Vec<&mut Raw<'a>> =
                threads.iter_mut().filter(|thread| thread.next.is_some() && thread.rest_timeline().is_none()).collect();
            if long.is_empty() {
                return Ok(());
            }
            // A page by REST costs one call, one of several timelines by GraphQL a call and a point together.
            let pages = |thread: &&mut Raw<'a>| thread.count.map_or(2, |count| count.div_ceil(PAGE));
            let (all, most) = (long.iter().map(pages).sum::<u64>(), long.iter().map(pages).max().unwrap_or(0));
            if all <= 2 * most.saturating_sub(1) {
                long.iter_mut().for_each(|thread| thread.stuck = true);
                continue;
            }
            for some in long.chunks_mut(MOST_LONG) {
                self.read_pages(some, schema).await?;
            }
        }
        Ok(())
    }

    async fn read_pages(&self, threads: &mut [&mut Raw<'a>], schema: &Schema) -> Result<()> {
        let pages: Vec<(u64, bool, &str)> = threads
            .iter()
            .map(|thread| (thread.wanted.number, thread.is_pull(), thread.next.as_deref().unwrap_or_default()))
            .collect();
        let query = document::pages(&pages, schema);
        let variables = json!({"owner": self.repository.owner(), "name": self.repository.name()});
        let mut repository = match self.client.ask_graphql(&query, &variables, self.purpose, true, self.label()).await {
            Ok(Reached::Data { mut data, errors, .. }) if errors.is_empty() => data["repository"].take(),
            Ok(_) => Value::Null,
            Err(error) if *error.kind() == ErrorKind::Unavailable => Value::Null,
            Err(error) => return Err(error),
        };
        for thread in threads {
            let node = &mut repository[format!("i{}", thread.wanted.number)];
            let (entries, count, next) = take_entries(node);
            let is_as_before = count == thread.count && node["updatedAt"] == thread.node["updatedAt"];
            if entries.is_empty() || next == thread.next || !is_as_before {
                thread.stuck = true;
            } else {
                thread.entries.extend(entries);
                thread.next = next;
            }
        }
        Ok(())
    }

    /// Parents of commits and counts of reactions, by node id. What fails alone is missing.
    async fn details(&self, ids: Vec<String>) -> Result<BTreeMap<String, Value>> {
        let mut details = BTreeMap::new();
        let mut waiting: Vec<Vec<String>> = ids.chunks(MOST_IDS * MOST_LISTS).map(<[String]>::to_vec).collect();
        while let Some(mut ids) = waiting.pop() {
            let lists: Vec<&[String]> = ids.chunks(MOST_IDS).collect();
            let variables: Map<String, Value> =
                lists.iter().enumerate().map(|(place, list)| (format!("l{place}"), json!(list))).collect();
            let query = document::details(lists.len());
            match self.client.ask_graphql(&query, &json!(variables), self.purpose, true, self.label()).await? {
                Reached::Data { mut data, errors, .. } => {
                    for (place, list) in lists.iter().enumerate() {
                        let found = data[format!("l{place}")].as_array_mut().map(std::mem::take).unwrap_or_default();
                        // Asked ids and nodes correspond by place: an id may come back in its newer form.
                        let found = list.iter().cloned().zip(found);
                        details.extend(found.filter(|(_, node)| node.is_object()));
                    }
                    let asked = ids.len();
                    ids.retain(|id| !details.contains_key(id));
                    // What fitted is kept, the rest asked for again while that makes it less.
                    if errors.iter().any(is_too_much) && (1..asked).contains(&ids.len()) {
                        waiting.push(ids);
                    }
                }
                Reached::TooMuch(_) if ids.len() > 1 => {
                    let half = ids.split_off(ids.len() / 2);
                    waiting.extend([ids, half]);
                }
                Reached::TooMuch(_) => {}
            }
        }
        Ok(details)
    }

    fn label(&self) -> Option<&'a RepositoryName> {
        Some(self.repository)
    }

    fn shape(&self, thread: &Raw<'_>) -> ThreadParts {
        let place = Place {
            api: self.client.inner.base.to_text(),
            repository: (*thread.repository).clone(),
            number: thread.wanted.number,
            pull: thread.is_pull(),
        };
        let timeline = thread.rest_timeline().is_none().then(|| thread.timeline(&place));
        let known = thread.wanted.issue.clone();
        let issue_is_graphql = known.is_none();
        let issue = known.unwrap_or_else(|| place.issue_object(&thread.node, timeline.as_deref().unwrap_or_default()));
        let pull = place.pull.then(|| place.pull_object(&issue, &thread.node));
        let pull = pull.map(|pull| with_counts(pull, timeline.as_deref(), thread.wanted.review_comments.as_deref()));
        let none = thread.node["reviewThreads"]["totalCount"] == 0;
        let review_comments = thread.wanted.review_comments.clone().or_else(|| none.then(Vec::new));
        ThreadParts { issue, issue_is_graphql, timeline, pull, review_comments, entries: thread.count }
    }
}

impl Raw<'_> {
    fn is_pull(&self) -> bool {
        self.node["__typename"] == "PullRequest"
    }

    /// The timeline in REST's shape.
    fn timeline(&self, place: &Place) -> Vec<Value> {
        let comments = self.wanted.review_comments.as_deref().unwrap_or_default();
        let entry = |entry: &Value| match entry["__typename"].as_str() {
            Some("PullRequestReviewThread") if is_old_thread(&entry["id"]) => {
                Some(shape::line_comments(entry, comments))
            }
            _ => place.entry(type_of(entry)?, entry),
        };
        self.entries.iter().filter_map(entry).collect()
    }

    /// Why the whole thread goes by REST, if it does: without its issue object the timeline alone is not enough.
    fn by_rest(&self) -> Option<String> {
        self.rest_timeline().filter(|_| self.wanted.issue.is_none())
    }

    /// Why the timeline goes by REST, if it does.
    fn rest_timeline(&self) -> Option<String> {
        if self.stuck {
            return Some(
                "a page of its timeline fails, it changes while it is read, or REST's pages are cheaper".to_owned(),
            );
        }
        let knows_comments = self.wanted.review_comments.is_some();
        self.entries.iter().find_map(|entry| needs_rest(entry, knows_comments))
    }

    /// Whether somebody may be asked for a review: no event says so, and then nobody is, or the events are not known.
    fn may_have_requests(&self) -> bool {
        let is_request = |entry: &Value| entry["__typename"] == "ReviewRequestedEvent";
        self.is_pull() && (self.rest_timeline().is_some() || self.entries.iter().any(is_request))
    }

    /// The node ids of which more must be known.
    fn details(&self) -> Vec<String> {
        if self.by_rest().is_some() {
            return Vec::new();
        }
        let entries = if self.rest_timeline().is_some() { &[] } else { self.entries.as_slice() };
        let entries = entries.iter().filter_map(|entry| match entry["__typename"].as_str() {
            Some("PullRequestCommit") => entry["prCommit"]["id"].as_str(),
            Some("PullRequestReviewThread") if is_old_thread(&entry["id"]) => entry["id"].as_str(),
            _ if has_reactions(&entry["reactionGroups"]) => entry["id"].as_str(),
            _ => None,
        });
        let is_needed = has_reactions(&self.node["reactionGroups"]) || self.may_have_requests();
        let own = is_needed.then(|| self.node["id"].as_str()).flatten();
        entries.chain(own).map(str::to_owned).collect()
    }

    /// Puts details where they belong; the error is the reason for going by REST.
    fn fill_in(&mut self, details: &BTreeMap<String, Value>) -> Result<(), String> {
        let detail = |id: &Value, key: &str| {
            let detail = id.as_str().and_then(|id| details.get(id)).map(|detail| detail[key].clone());
            detail.filter(|detail| !detail.is_null()).ok_or_else(|| format!("its {key} cannot be read"))
        };
        let may_have_requests = self.may_have_requests();
        let entries = if self.rest_timeline().is_some() { &mut [] } else { self.entries.as_mut_slice() };
        for entry in entries {
            if entry["__typename"] == "PullRequestCommit" {
                entry["prCommit"]["parents"] = detail(&entry["prCommit"]["id"], "parents")?;
            } else if entry["__typename"] == "PullRequestReviewThread" && is_old_thread(&entry["id"]) {
                entry["comments"] = detail(&entry["id"], "comments")?;
            } else if has_reactions(&entry["reactionGroups"]) {
                entry["reactionGroups"] = detail(&entry["id"], "reactionGroups")?;
            }
        }
        if has_reactions(&self.node["reactionGroups"]) {
            self.node["reactionGroups"] = detail(&self.node["id"], "reactionGroups")?;
        }
        if may_have_requests {
            self.node["reviewRequests"] = detail(&self.node["id"], "reviewRequests")?;
        }
        Ok(())
    }
}

/// What the counts of a pull request's object follow from: GitHub's own count of commits is that of the timeline's.
fn with_counts(mut pull: Value, timeline: Option<&[Value]>, review_comments: Option<&[Value]>) -> Value {
    if let Some(timeline) = timeline {
        pull["commits"] = json!(timeline.iter().filter(|entry| entry["event"] == "committed").count());
    }
    if let Some(comments) = review_comments {
        pull["review_comments"] = json!(comments.len());
    }
    pull
}

/// The entries of a node's timeline, how many GraphQL counts, and the cursor of the next page.
fn take_entries(node: &mut Value) -> (Vec<Value>, Option<u64>, Option<String>) {
    let key = if node.get("prItems").is_some() { "prItems" } else { "timelineItems" };
    let mut connection = node[key].take();
    let next = match connection["pageInfo"]["hasNextPage"].as_bool() {
        Some(true) => connection["pageInfo"]["endCursor"].as_str().map(str::to_owned),
        _ => None,
    };
    let count = connection["totalCount"].as_u64();
    let entries = connection["nodes"].as_array_mut().map(std::mem::take).unwrap_or_default();
    (entries, count, next)
}

fn type_of(entry: &Value) -> Option<&'static EventType> {
    EventType::of(entry["__typename"].as_str()?)
}

/// Why a thread with this entry goes by REST, if it does.
fn needs_rest(entry: &Value, knows_comments: bool) -> Option<String> {
    let name = entry["__typename"].as_str().unwrap_or("nothing");
    match type_of(entry) {
        None => Some(format!("its timeline has `{}`, which is not known here", crate::base::cut(name))),
        Some(kind) if kind.needs_rest(entry) => Some(format!("GraphQL does not tell enough of `{name}`")),
        // Of the threads of old reviews REST shows the comments; their ids have the old form with a version.
        Some(kind) if kind.graphql == "PullRequestReviewThread" && is_old_thread(&entry["id"]) && !knows_comments => {
            Some("GraphQL does not tell enough of comments without a review".to_owned())
        }
        Some(_) => None,
    }
}

fn is_old_thread(id: &Value) -> bool {
    let id = id.as_str().and_then(crate::node_id::NodeId::parse);
    id.is_some_and(|id| id.parts.len() == 2 && id.type_name == "PullRequestReviewThread")
}
