//! Whole threads by GraphQL, in REST's shape, at a twentieth of REST's price.
//!
//! [`Client::threads`] asks for a batch of one repository's numbers in one document. GitHub gives a query ten seconds
//! and an unknown amount of work, so the batch adapts: it halves when GitHub gives up or is slow, grows again slowly,
//! and is remembered by repository. Partial answers keep what is whole and ask again for the rest; what fails alone, or
//! has something that GraphQL cannot tell, is to be fetched by REST. Timelines longer than a page are paged.
//!
//! What GraphQL cannot give, and REST does, stands in [`LOSSY`].

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use gharvest_model::RepositoryName;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

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

pub use probe::{Glimpse, Probe};

/// The budget of GraphQL.
pub(crate) const GRAPHQL: &str = "graphql";

/// How many threads are asked for at first.
const FIRST_BATCH: usize = 20;
/// More would come near GitHub's ten seconds on any repository.
const LARGEST_BATCH: usize = 50;
/// An answer that took longer makes the next batch smaller.
const SLOW: Duration = Duration::from_secs(6);
/// An answer that took no longer makes it larger.
const QUICK: Duration = Duration::from_secs(3);
/// So many failures in a row are an outage, not a matter of size.
const MOST_FAILURES: u32 = 6;
/// A timeline of more pages goes by REST.
const MOST_PAGES: usize = 500;
/// What `nodes(ids:)` takes.
const MOST_IDS: usize = 100;

/// One thread to fetch.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Its number.
    pub number: u64,
    /// Its issue object, if it is known from one of REST's lists: exact, and the thread then costs half.
    pub issue: Option<Value>,
}

impl From<u64> for Wanted {
    fn from(number: u64) -> Self {
        Self { number, issue: None }
    }
}

impl Wanted {
    /// Whether it is a pull request, if that is known.
    fn is_pull(&self) -> Option<bool> {
        self.issue.as_ref().map(|issue| issue.get("pull_request").is_some_and(|pull| !pull.is_null()))
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
    /// The timeline.
    pub timeline: Vec<Value>,
    /// The pull request's object. Its `review_comments` is null unless there are none.
    pub pull: Option<Value>,
    /// Empty where it is known that there are none; else to be fetched by REST.
    pub review_comments: Option<Vec<Value>>,
}

/// A field that differs between a thread fetched by GraphQL and one fetched by REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lossy {
    /// Where: `issue.…`, `timeline.EVENT.…`, `pull.…`; `*` stands for every event.
    pub path: &'static str,
    /// What GraphQL gives instead, and why.
    pub reason: &'static str,
}

const fn lossy(path: &'static str, reason: &'static str) -> Lossy {
    Lossy { path, reason }
}

/// All that GraphQL cannot give. Paths of `issue` count only where [`ThreadParts::issue_is_graphql`].
pub const LOSSY: &[Lossy] = &[
    lossy("issue.id", "null for a pull request without an event that tells it: GraphQL has no such field"),
    lossy("issue.body", "null and the empty text are one to GraphQL: always a text"),
    lossy("issue.performed_via_github_app", "null: GraphQL has no such field"),
    lossy("issue.milestone.open_issues", "null: would cost two requests an item"),
    lossy("issue.milestone.closed_issues", "null: would cost two requests an item"),
    lossy("issue.type.created_at", "absent: GraphQL has no such field"),
    lossy("issue.type.updated_at", "absent: GraphQL has no such field"),
    lossy("issue.type.id", "null where the node id is not read"),
    lossy("issue.closed_by", "the actor of the last closing; null for deleted accounts"),
    lossy("issue.pinned_comment", "absent"),
    lossy("issue.issue_field_values", "absent"),
    lossy("issue.sub_issues_summary", "absent on servers whose schema lacks it"),
    lossy("issue.issue_dependencies_summary", "absent on servers whose schema lacks it"),
    lossy("user.user_view_type", "always `public`"),
    lossy("user.avatar_url", "without the part of its query that changes by itself"),
    lossy("timeline.*.performed_via_github_app", "null: GraphQL has no such field"),
    lossy("timeline.(rest only)", "absent: not in GraphQL's unions, as Copilot's events; see `is_told_by_graphql`"),
    lossy("timeline.line-commented", "absent: GraphQL lists every thread, REST only those without a review"),
    lossy("timeline.commented.pin", "null: newer than the supported schema"),
    lossy("timeline.commented.performed_via_github_app", "null: GraphQL has no such field"),
    lossy("timeline.committed.verification.reason", "GraphQL spells some reasons differently"),
    lossy("timeline.cross-referenced.updated_at", "the time of creation: GraphQL has no such field"),
    lossy("timeline.cross-referenced.source.issue", "a live copy of another item: what names it and shows its state"),
    lossy("timeline.labeled.label", "the label as it is now; REST keeps the name and color of then"),
    lossy("timeline.unlabeled.label", "the label as it is now; REST keeps the name and color of then"),
    lossy("timeline.referenced.commit_id", "null where the commit cannot be reached any more"),
    lossy("timeline.head_ref_force_pushed.commit_id", "null where the commit cannot be reached any more"),
    lossy("timeline.review_requested.requested_team", "fewer fields"),
    lossy("timeline.review_request_removed.requested_team", "fewer fields"),
    lossy("timeline.reviewed.commit_id", "null where the commit cannot be reached any more"),
    lossy("timeline.*.sub_issue.repository", "fewer fields"),
    lossy("timeline.*.parent_issue.repository", "fewer fields"),
    lossy("timeline.*.blocked_by.repository", "fewer fields"),
    lossy("timeline.*.blocking.repository", "fewer fields"),
    lossy("timeline.*.issue_type.id", "null where the node id is not read"),
    lossy("pull.head.repo", "fewer fields"),
    lossy("pull.base.repo", "fewer fields"),
    lossy("pull.mergeable", "null: GitHub computes it when asked, and it changes by itself"),
    lossy("pull.rebaseable", "null: as `mergeable`"),
    lossy("pull.mergeable_state", "`unknown`: as `mergeable`"),
    lossy("pull.merge_commit_sha", "null for some: a test merge that changes by itself"),
    lossy("pull.review_comments", "null unless there are none: GraphQL counts threads, not comments"),
    lossy("pull.requested_teams", "fewer fields"),
];

/// Whether GraphQL has a type for this event of REST's timeline. What it has none for is missing without a trace.
pub fn is_told_by_graphql(event: &str) -> bool {
    events::EVENT_TYPES.iter().any(|kind| kind.rest == event)
}

/// What a GraphQL reply says.
#[derive(Debug)]
enum Reached {
    /// `data`, perhaps partial, and `errors`.
    Data { data: Value, errors: Vec<Value> },
    /// It was too much work.
    TooMuch(String),
}

/// What the executor remembers.
#[derive(Debug)]
pub(crate) struct Memory {
    schema: tokio::sync::OnceCell<Schema>,
    sizes: std::sync::Mutex<BTreeMap<String, usize>>,
    /// GitHub allows 60 s of GraphQL's work a minute; two at once, half of it waiting, stay near that.
    at_once: tokio::sync::Semaphore,
}

impl Memory {
    pub(crate) fn new(tokens: usize) -> Self {
        Self {
            schema: tokio::sync::OnceCell::new(),
            sizes: std::sync::Mutex::default(),
            at_once: tokio::sync::Semaphore::new(2 * tokens.max(1)),
        }
    }

    fn size(&self, repository: &RepositoryName) -> usize {
        let sizes = self.sizes.lock().expect("nothing panics while this is locked");
        sizes.get(&repository.key()).copied().unwrap_or(FIRST_BATCH)
    }

    fn resize(&self, repository: &RepositoryName, change: impl Fn(usize) -> usize) {
        let mut sizes = self.sizes.lock().expect("nothing panics while this is locked");
        let size = sizes.entry(repository.key()).or_insert(FIRST_BATCH);
        *size = change(*size).clamp(1, LARGEST_BATCH);
    }
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
        let mut run = Run { client: self, repository, purpose, answers: Vec::new(), failures: 0 };
        match run.work_through(wanted).await {
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
            match self.ask_graphql(document::INTROSPECTION, &json!({}), purpose, true).await? {
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

    async fn ask_graphql(&self, query: &str, variables: &Value, purpose: Purpose, patient: bool) -> Result<Reached> {
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
        };
        let _turn = self.inner.graphql.at_once.acquire().await.expect("the semaphore is never closed");
        let reached = self.inner.ask(&ask, judge).await?;
        if let Reached::Data { data, .. } = &reached {
            self.inner.spend(data["rateLimit"]["cost"].as_u64().unwrap_or(1), purpose);
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
        _ => Verdict::Done(Reached::Data { data, errors }),
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
    /// Failed requests in a row.
    failures: u32,
}

/// A thread as it came, before its shape is REST's.
struct Raw<'a> {
    wanted: &'a Wanted,
    node: Value,
    entries: Vec<Value>,
    /// The cursor of the timeline's next page.
    next: Option<String>,
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
        let started = tokio::time::Instant::now();
        let alone = batch.len() == 1;
        match self.client.ask_graphql(&query, &variables, self.purpose, alone).await {
            Ok(Reached::Data { data, errors }) => {
                self.failures = 0;
                let again = self.take(batch, data, &errors, schema).await?;
                let took = started.elapsed();
                self.client.inner.graphql.resize(self.repository, |size| match took {
                    _ if took > SLOW || !again.is_empty() => size / 2,
                    // A short batch says nothing about larger ones.
                    _ if took <= QUICK && batch.len() >= size => size + 2,
                    _ => size,
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
        self.client.inner.graphql.resize(self.repository, |size| size.min(batch.len()) / 2);
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
    async fn take(
        &mut self,
        batch: &[&'a Wanted],
        mut data: Value,
        errors: &[Value],
        schema: &Schema,
    ) -> Result<Vec<&'a Wanted>> {
        let mut repository = data["repository"].take();
        if !repository.is_object() {
            return Ok(self.by_rest_all(batch.to_vec(), "GraphQL does not know the repository"));
        }
        let (mut whole, mut again) = (Vec::new(), Vec::new());
        for wanted in batch {
            let alias = format!("i{}", wanted.number);
            let own: Vec<&Value> = errors.iter().filter(|error| error["path"][1] == alias.as_str()).collect();
            let mut node = repository[&alias].take();
            match own.first() {
                None if node.is_object() => {
                    let (entries, next) = take_entries(&mut node);
                    whole.push(Raw { wanted, node, entries, next });
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
        self.finish(whole, &repository, schema).await?;
        Ok(again)
    }

    /// Pages what is long, asks for details, and gives everything REST's shape.
    async fn finish(&mut self, threads: Vec<Raw<'a>>, repository: &Value, schema: &Schema) -> Result<()> {
        let mut complete = Vec::new();
        for mut thread in threads {
            match self.read_on(&mut thread, schema).await? {
                Ok(()) => complete.push(thread),
                Err(reason) => self.answer(thread.wanted.number, ThreadOutcome::ByRest(reason)),
            }
        }
        let ids = complete.iter().flat_map(|thread| thread.details()).collect();
        let details = self.details(ids).await?;
        for mut thread in complete {
            let outcome = match thread.fill_in(&details) {
                Ok(()) => ThreadOutcome::Found(Box::new(self.shape(&thread, repository))),
                Err(reason) => ThreadOutcome::ByRest(reason),
            };
            self.answer(thread.wanted.number, outcome);
        }
        Ok(())
    }

    /// Reads the timeline to its end. The inner error is the reason for going by REST.
    async fn read_on(&self, thread: &mut Raw<'a>, schema: &Schema) -> Result<Result<(), String>> {
        for _ in 0..MOST_PAGES {
            if let Some(reason) = thread.entries.iter().find_map(needs_rest) {
                return Ok(Err(reason));
            }
            let Some(cursor) = thread.next.take() else { return Ok(Ok(())) };
            let query = document::page(thread.wanted.number, thread.is_pull(), schema);
            let variables = json!({"owner": self.repository.owner(), "name": self.repository.name(), "after": cursor});
            let alias = format!("i{}", thread.wanted.number);
            match self.client.ask_graphql(&query, &variables, self.purpose, true).await {
                Ok(Reached::Data { mut data, errors }) if errors.is_empty() => {
                    let (entries, next) = take_entries(&mut data["repository"][&alias]);
                    if entries.is_empty() || next.as_ref() == Some(&cursor) {
                        return Ok(Err("a page of its timeline is empty".to_owned()));
                    }
                    thread.entries.extend(entries);
                    thread.next = next;
                }
                Ok(_) => return Ok(Err("a page of its timeline fails".to_owned())),
                Err(error) if *error.kind() == ErrorKind::Unavailable => return Ok(Err(error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(Err("its timeline is too long".to_owned()))
    }

    /// Parents of commits and counts of reactions, by node id. What fails alone is missing.
    async fn details(&self, ids: Vec<String>) -> Result<BTreeMap<String, Value>> {
        let mut details = BTreeMap::new();
        let mut waiting: Vec<Vec<String>> = ids.chunks(MOST_IDS).map(<[String]>::to_vec).collect();
        while let Some(mut ids) = waiting.pop() {
            match self.client.ask_graphql(document::DETAILS, &json!({"ids": ids}), self.purpose, true).await? {
                Reached::Data { mut data, .. } => {
                    let found = data["nodes"].as_array_mut().map(std::mem::take).unwrap_or_default();
                    // Asked ids and nodes correspond by place: an id may come back in its newer form.
                    details.extend(ids.into_iter().zip(found).filter(|(_, node)| node.is_object()));
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

    fn shape(&self, thread: &Raw<'_>, repository: &Value) -> ThreadParts {
        let place = Place {
            api: self.client.inner.base.to_text(),
            repository: repository.clone(),
            number: thread.wanted.number,
            pull: thread.is_pull(),
        };
        let timeline: Vec<Value> =
            thread.entries.iter().filter_map(|entry| place.entry(type_of(entry)?, entry)).collect();
        let known = thread.wanted.issue.clone();
        let issue_is_graphql = known.is_none();
        let issue = known.unwrap_or_else(|| place.issue_object(&thread.node, &timeline));
        let pull = place.pull.then(|| place.pull_object(&issue, &thread.node));
        let none = thread.node["reviewThreads"]["totalCount"] == 0;
        ThreadParts { issue, issue_is_graphql, timeline, pull, review_comments: none.then(Vec::new) }
    }
}

impl Raw<'_> {
    fn is_pull(&self) -> bool {
        self.node["__typename"] == "PullRequest"
    }

    /// The node ids of which more must be known.
    fn details(&self) -> Vec<String> {
        let entries = self.entries.iter().filter_map(|entry| match entry["__typename"].as_str() {
            Some("PullRequestCommit") => entry["prCommit"]["id"].as_str(),
            _ if has_reactions(&entry["reactionGroups"]) => entry["id"].as_str(),
            _ => None,
        });
        let own = has_reactions(&self.node["reactionGroups"]).then(|| self.node["id"].as_str()).flatten();
        entries.chain(own).map(str::to_owned).collect()
    }

    /// Puts details where they belong; the error is the reason for going by REST.
    fn fill_in(&mut self, details: &BTreeMap<String, Value>) -> Result<(), String> {
        let detail = |id: &Value, key: &str| {
            let detail = id.as_str().and_then(|id| details.get(id)).map(|detail| detail[key].clone());
            detail.filter(|detail| !detail.is_null()).ok_or_else(|| format!("its {key} cannot be read"))
        };
        for entry in &mut self.entries {
            if entry["__typename"] == "PullRequestCommit" {
                entry["prCommit"]["parents"] = detail(&entry["prCommit"]["id"], "parents")?;
            } else if has_reactions(&entry["reactionGroups"]) {
                entry["reactionGroups"] = detail(&entry["id"], "reactionGroups")?;
            }
        }
        if has_reactions(&self.node["reactionGroups"]) {
            self.node["reactionGroups"] = detail(&self.node["id"], "reactionGroups")?;
        }
        Ok(())
    }
}

/// The entries of a node's timeline, and the cursor of the next page.
fn take_entries(node: &mut Value) -> (Vec<Value>, Option<String>) {
    let key = if node.get("prItems").is_some() { "prItems" } else { "timelineItems" };
    let mut connection = node[key].take();
    let next = match connection["pageInfo"]["hasNextPage"].as_bool() {
        Some(true) => connection["pageInfo"]["endCursor"].as_str().map(str::to_owned),
        _ => None,
    };
    let entries = connection["nodes"].as_array_mut().map(std::mem::take).unwrap_or_default();
    (entries, next)
}

fn type_of(entry: &Value) -> Option<&'static EventType> {
    EventType::of(entry["__typename"].as_str()?)
}

/// Why a thread with this entry goes by REST, if it does.
fn needs_rest(entry: &Value) -> Option<String> {
    let name = entry["__typename"].as_str().unwrap_or("nothing");
    match type_of(entry) {
        None => Some(format!("its timeline has `{}`, which is not known here", crate::base::cut(name))),
        Some(kind) if kind.needs_rest() => Some(format!("GraphQL does not tell enough of `{name}`")),
        // Of the threads of old reviews REST shows the comments; their ids have the old form with a version.
        Some(kind) if kind.graphql == "PullRequestReviewThread" && is_old_thread(&entry["id"]) => {
            Some("GraphQL does not tell enough of comments without a review".to_owned())
        }
        Some(_) => None,
    }
}

fn is_old_thread(id: &Value) -> bool {
    let id = id.as_str().and_then(crate::node_id::NodeId::parse);
    id.is_some_and(|id| id.parts.len() == 2 && id.type_name == "PullRequestReviewThread")
}
