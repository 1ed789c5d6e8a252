//! Whole threads by GraphQL, in REST's shape, at a twentieth of REST's price.
//!
//! [`Client::threads`] asks for a batch of one repository's numbers in one document. GitHub gives a query ten seconds
//! and an unknown amount of work, so the batch adapts: it halves when GitHub gives up or is slow, grows again slowly,
//! and is remembered by repository. Partial answers keep what is whole and ask again for the rest; what fails alone, or
//! has something that GraphQL cannot tell, is to be fetched by REST. Timelines longer than a page are paged, several in
//! one request, and details of entries are asked for once for all threads of a call: so larger calls cost less. What
//! waits for its details waits as compressed text, and becomes a tree when its turn comes: see [`Threads`]. A thread that
//! is archived comes as cheaply to be compared: [`Listed::archived`].
//!
//! What GraphQL cannot give, and REST does, stands in [`gharvest_model::lossy::LOSSY`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use gharvest_model::{RepositoryId, RepositoryName};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use self::document::Schema;
use crate::{
    Client, Error, ErrorKind, Purpose, Result,
    client::Ask,
    gate::{Gate, MOST_AT_ONCE},
    limits::{Reading, retry_after},
    packed::Packed,
    transport::Reply,
    verdict::{Limit, Sent, Verdict, judge_refusal, refused},
};

mod document;
mod edits;
mod events;
mod held;
mod nodes;
mod probe;
mod shape;
mod threads;

pub use edits::{EDITS_AT_ONCE, Edit, MOST_EDITS, Told};
pub use probe::{Glimpse, ItemCounts, PROBED_AT_ONCE, PROBED_BLINDLY, Probe, Probed};
pub use threads::Threads;

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
/// GitHub allows 60 s of GraphQL's work a minute for each token; two at once, half of it waiting, stay near that. All
/// processes share them, but each has one at least.
const AT_ONCE_A_TOKEN: usize = 2;

/// One thread to fetch.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Its number.
    pub number: u64,
    /// What REST's lists said of it, if they did: exact, and the thread then costs half.
    pub listed: Option<Listed>,
}

impl From<u64> for Wanted {
    fn from(number: u64) -> Self {
        Self { number, listed: None }
    }
}

impl Wanted {
    /// Whether it is a pull request, if that is known.
    fn is_pull(&self) -> Option<bool> {
        self.listed.as_ref().map(|listed| listed.is_pull)
    }

    /// Whether all review comments are known.
    fn knows_comments(&self) -> bool {
        self.listed.as_ref().is_some_and(|listed| listed.review_comments.is_some())
    }

    /// Whether the item was updated since its issue object was read.
    fn is_stale(&self, node: &Value) -> bool {
        let known = self.listed.as_ref().and_then(|listed| listed.updated_at.as_deref());
        known.is_some_and(|known| node["updatedAt"].as_str().is_some_and(|now| now != known))
    }
}

/// What REST said of an item, held as compressed text until it is needed: batches hold hundreds.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    issue: Packed<Value>,
    review_comments: Option<Packed<Vec<Value>>>,
    /// The node ids of review comments that may have changed since.
    older_comments: Vec<String>,
    is_pull: bool,
    updated_at: Option<String>,
}

impl Listed {
    /// The issue object; and a pull request's review comments, if all are known from REST's list of them for the whole
    /// repository.
    pub fn new(issue: &Value, review_comments: Option<&Vec<Value>>) -> Self {
        Self {
            issue: Packed::new(issue),
            review_comments: review_comments.map(Packed::new),
            older_comments: Vec::new(),
            is_pull: issue.get("pull_request").is_some_and(|pull| !pull.is_null()),
            updated_at: issue.get("updated_at").and_then(Value::as_str).map(str::to_owned),
        }
    }

    /// The same as an earlier visit stored it: which of the review comments are still there, when they were updated, by
    /// whom they are and how many reacted to them is asked for by id. Of the issue object it is only asked whether it was
    /// updated since.
    pub fn archived(issue: &Value, review_comments: &Vec<Value>) -> Self {
        let ids = review_comments.iter().filter_map(|comment| comment.get("node_id")?.as_str());
        Self { older_comments: ids.map(str::to_owned).collect(), ..Self::new(issue, Some(review_comments)) }
    }

    /// The issue object.
    pub fn issue(&self) -> Value {
        self.issue.open()
    }

    /// All review comments, if they are known.
    pub fn review_comments(&self) -> Option<Vec<Value>> {
        self.review_comments.as_ref().map(Packed::open)
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
    /// It was updated since its issue object was read: to be fetched by REST, and without that object.
    Changed,
    /// To be fetched by REST, and why.
    ByRest(String),
}

/// A thread in REST's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadParts {
    /// Whose it is: who asks by name may be answered about another repository.
    pub repository: Option<RepositoryId>,
    /// The issue object: the one given with [`Wanted`], or GraphQL's.
    pub issue: Value,
    /// Whether `issue` is GraphQL's.
    pub issue_is_graphql: bool,
    /// The timeline; none where GraphQL does not tell enough of some entry, so that REST's is to be fetched.
    pub timeline: Option<Vec<Value>>,
    /// The pull request's object. Its `review_comments` is null unless all are known, its `commits` is null without
    /// the timeline.
    pub pull: Option<Value>,
    /// Those given with [`Wanted`], of archived ones what is still there, as it is now; empty where it is known that there
    /// are none; else to be fetched by REST.
    pub review_comments: Option<Vec<Value>>,
}

/// What a GraphQL reply says.
#[derive(Debug)]
enum Reached {
    /// `data`, perhaps partial, `errors`, and how long GitHub took: waiting for a turn or a budget is not its time.
    Data { data: Data, errors: Vec<Value>, took: Duration },
    /// It was too much work.
    TooMuch(String),
}

/// The fields of `data` as text: an answer may hold a hundred threads, and of those one at a time becomes a tree.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Data(BTreeMap<String, Box<RawValue>>);

impl Data {
    /// A field's value; null if there is none, or none that can be read.
    fn tree(&self, field: &str) -> Value {
        self.0.get(field).map(|text| tree(text)).unwrap_or_default()
    }

    /// All fields' values.
    fn trees(&self) -> Value {
        self.0.iter().map(|(field, text)| (field.clone(), tree(text))).collect()
    }

    /// The fields of a field's object, as text; none if it is not an object.
    fn fields(&self, field: &str) -> Option<Fields<'_>> {
        serde_json::from_str(self.0.get(field)?.get()).ok()
    }

    /// The entries of a field's list, as text.
    fn list(&self, field: &str) -> Vec<Box<RawValue>> {
        self.0.get(field).and_then(|text| serde_json::from_str(text.get()).ok()).unwrap_or_default()
    }

    /// Whether a field is there and null.
    fn is_null(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(|text| text.get() == "null")
    }

    /// Whether nothing that was asked for is answered.
    fn is_empty(&self) -> bool {
        self.0.iter().all(|(field, text)| field == "rateLimit" || text.get() == "null")
    }

    /// How many bytes of text.
    fn size(&self) -> usize {
        self.0.values().map(|text| text.get().len()).sum()
    }
}

/// The fields of an object as text.
type Fields<'d> = BTreeMap<String, &'d RawValue>;

/// The value of a text; null if it cannot be read, as when it is nested too deeply.
fn tree(text: &RawValue) -> Value {
    serde_json::from_str(text.get()).unwrap_or_default()
}

/// What the executor remembers.
#[derive(Debug)]
pub(crate) struct Memory {
    /// An answer that took longer makes the next batch smaller; one that took half as long lets it grow.
    slow: Duration,
    schema: tokio::sync::OnceCell<Schema>,
    sizes: std::sync::Mutex<BTreeMap<String, Size>>,
    /// Who may ask now.
    pub(crate) turns: Arc<Gate>,
}

impl Memory {
    pub(crate) fn new(tokens: usize, slow: Duration) -> Self {
        Self {
            slow,
            schema: tokio::sync::OnceCell::new(),
            sizes: std::sync::Mutex::default(),
            // GraphQL's points are counted by GitHub, its requests by the client's own gate.
            turns: Arc::new(Gate::new(MOST_AT_ONCE, AT_ONCE_A_TOKEN * tokens, u32::MAX)),
        }
    }

    /// There are so many tokens now.
    pub(crate) fn allow(&self, tokens: usize) {
        self.turns.allow(AT_ONCE_A_TOKEN * tokens);
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

    /// Fetches threads of one repository, as their answers are asked for. Numbers given twice are asked for once.
    pub fn threads<'a>(&'a self, repository: &'a RepositoryName, wanted: Vec<Wanted>, purpose: Purpose) -> Threads<'a> {
        Threads::new(self, repository, wanted, purpose)
    }

    /// The threads that the next request for this repository would hold: what to lease at once.
    pub fn batch_size(&self, repository: &RepositoryName) -> usize {
        self.inner.graphql.size(repository)
    }

    async fn schema(&self, purpose: Purpose) -> Result<&Schema> {
        let read = || async {
            match self.ask_graphql(document::INTROSPECTION, &json!({}), purpose, true, None).await? {
                // It is read once: half of it would be taken for all.
                Reached::Data { errors, .. } if errors.iter().any(is_too_much) => {
                    Err(Error::new(ErrorKind::Unavailable, "POST /graphql", "answered with half of its schema"))
                }
                Reached::Data { data, .. } => Ok(Schema::of(&data.trees())),
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
            tells_sight: true,
        };
        let _turn = self.inner.graphql.turns.enter(purpose).await;
        let reached = self.inner.ask(&ask, judge).await?;
        if let Reached::Data { data, .. } = &reached {
            self.inner.spend(data.tree("rateLimit")["cost"].as_u64().unwrap_or(1), purpose, repository);
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
    let Body { data, errors } = match serde_json::from_slice(&reply.body) {
        Ok(body) => body,
        Err(error) => return Verdict::Again(ErrorKind::BadAnswer, format!("answered 200 without JSON: {error}")),
    };
    let errors = match errors {
        Value::Array(errors) => errors,
        _ => Vec::new(),
    };
    if let Some(limit) = limit_of(reply, &errors, sent.now) {
        return Verdict::Limited(limit);
    }
    match (data, errors.first()) {
        (None, None) => Verdict::Again(ErrorKind::BadAnswer, "answered 200 without data".to_owned()),
        (None, Some(error)) => {
            let message = crate::base::cut(text(error));
            if errors.iter().any(is_too_much) {
                Verdict::Done(Reached::TooMuch(message))
            } else {
                Verdict::Failed(ErrorKind::Refused, format!("answered with an error: {message}"))
            }
        }
        (Some(data), Some(_)) if data.is_empty() && errors.iter().any(is_too_much) => {
            Verdict::Done(Reached::TooMuch("answered with nothing but limits of resources".to_owned()))
        }
        (Some(data), _) => {
            let is_unseen = data.is_null("repository") && errors.iter().any(hides_repository);
            let reached = Reached::Data { data, errors, took: sent.took };
            if is_unseen { Verdict::Unseen(Ok(reached)) } else { Verdict::Done(reached) }
        }
    }
}

/// Whether an error says that the repository is not there, or may not be seen.
fn hides_repository(error: &Value) -> bool {
    error["path"] == json!(["repository"]) && matches!(error["type"].as_str(), Some("NOT_FOUND" | "FORBIDDEN"))
}

/// An answer's body.
#[derive(Deserialize)]
struct Body {
    data: Option<Data>,
    #[serde(default)]
    errors: Value,
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
