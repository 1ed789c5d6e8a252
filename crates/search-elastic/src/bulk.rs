//! Bulk writes: ready-made bytes, each item's result looked at.
//!
//! | answer | what follows |
//! | --- | --- |
//! | item 201 | created |
//! | item 200; 404 of a delete without an error | done |
//! | item 409 | a newer version is stored: stale |
//! | item 429, 503 | sent again |
//! | item 500 | sent again, and refused for good after the third time |
//! | item 400, 413 | refused for good, with the reason |
//! | item 401, 403; 404 with an error | the whole write fails: the operator has to act |
//! | request 413, 400; 429 of several | sent in halves; one alone is refused |
//! | request 429 of one that is larger than the engine's room | refused for good |
//! | request 429 of one, 502, 503, 504, no answer | sent again, with backoff, and in the end an error for later |
//!
//! Writes carry an id and a version, so sending one twice changes nothing. Batches grow by a step while all goes well, and
//! are halved when the engine says that it is too much.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use elasticsearch::http::Method;
use gharvest_search::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{Answer, Client};

/// The most documents of a request.
pub(crate) const MOST_DOCUMENTS: usize = 2_000;
/// Bytes of a request: to begin with and at most, at least, and a step.
pub(crate) const LARGEST_BATCH: usize = 5 << 20;
const SMALLEST_BATCH: usize = 512 << 10;
const BATCH_STEP: usize = 256 << 10;
/// How often a batch is sent before the write fails.
const MOST_ATTEMPTS: u32 = 8;
/// How often a document is sent on which the engine fails, before it is refused.
const MOST_FAILURES: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// The longest id that engines take, in bytes.
const LONGEST_ID: usize = 512;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Writes as the engine takes them, one after another. Documents are written out where they are sent from: they stand
/// in memory once.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// Where each write stands, the break behind its last line included.
    places: Vec<Range<usize>>,
    /// Those that no engine takes: whole requests would fail for them.
    unfit: Vec<usize>,
}

/// The line that says what is to be done.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Action<'a> {
    Index(Target<'a>),
    Delete(Target<'a>),
}

#[derive(Serialize)]
struct Target<'a> {
    _index: &'a str,
    _id: &'a str,
    version: u64,
    /// The same version may come again: a write that was sent twice is no conflict.
    version_type: &'static str,
}

impl<'a> Target<'a> {
    fn new(alias: &'a str, id: &'a str, version: u64) -> Self {
        Self { _index: alias, _id: id, version, version_type: "external_gte" }
    }
}

impl Lines {
    /// Adds a document, which `document` writes out.
    pub(crate) fn index(&mut self, alias: &str, id: &str, version: u64, document: impl FnOnce(&mut Vec<u8>)) {
        let start = self.begin(&Action::Index(Target::new(alias, id, version)), id, version);
        document(&mut self.bytes);
        self.bytes.push(b'\n');
        self.places.push(start..self.bytes.len());
    }

    /// Adds a removal.
    pub(crate) fn delete(&mut self, alias: &str, id: &str, version: u64) {
        let start = self.begin(&Action::Delete(Target::new(alias, id, version)), id, version);
        self.places.push(start..self.bytes.len());
    }

    fn begin(&mut self, action: &Action<'_>, id: &str, version: u64) -> usize {
        if id.len() > LONGEST_ID || i64::try_from(version).is_err() {
            self.unfit.push(self.places.len());
        }
        let start = self.bytes.len();
        serde_json::to_writer(&mut self.bytes, action).expect("an action is plain text");
        self.bytes.push(b'\n');
        start
    }

    /// How many writes there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many bytes they are.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes the largest is.
    #[cfg(test)]
    pub(crate) fn largest(&self) -> usize {
        self.places.iter().map(Range::len).max().unwrap_or_default()
    }

    /// All of them as one request.
    pub(crate) fn into_body(self) -> Bytes {
        self.bytes.into()
    }
}

/// Writes that are being sent.
struct Writes {
    bytes: Bytes,
    places: Vec<Range<usize>>,
}

impl Writes {
    /// The request of some of them: no copy where they stand side by side.
    fn body(&self, batch: &[usize]) -> Bytes {
        let places = || batch.iter().map(|index| &self.places[*index]);
        let is_one_piece = places().zip(places().skip(1)).all(|(one, next)| one.end == next.start);
        match (places().next(), places().last()) {
            (Some(first), Some(last)) if is_one_piece => self.bytes.slice(first.start..last.end),
            _ => places().flat_map(|place| &self.bytes[place.clone()]).copied().collect(),
        }
    }

    /// The id in a write's first line.
    fn id(&self, index: usize) -> String {
        let mut lines = serde_json::Deserializer::from_slice(&self.bytes[self.places[index].clone()]).into_iter();
        let action: Option<Value> = lines.next().and_then(std::result::Result::ok);
        let target = action.as_ref().and_then(Value::as_object).and_then(|action| action.values().next());
        target.and_then(|target| target["_id"].as_str()).unwrap_or_default().to_owned()
    }
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Written where no document was.
    Created,
    /// Written over another document, or deleted.
    Done,
    Stale,
    Refused {
        id: String,
        reason: String,
    },
    /// There is no such alias.
    Missing,
}

impl Outcome {
    /// The id of what is refused.
    pub(crate) fn refused(self) -> Option<String> {
        match self {
            Self::Refused { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// Sends bulk requests, and remembers how large they may be.
#[derive(Debug)]
pub(crate) struct Bulk {
    client: Client,
    batch_bytes: AtomicUsize,
    /// The longest pause before the first repetition.
    first_delay: Duration,
}

/// What became of one request.
enum Sent {
    Items(Vec<Item>),
    /// Too much at once, or one of them is wrong.
    Halve(String),
    /// To be sent again.
    Again(Error),
}

/// What an answer says, by item.
#[derive(Default, Deserialize)]
struct Told {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Item {
    Index(Done),
    Delete(Done),
}

#[derive(Deserialize)]
struct Done {
    status: u16,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
}

impl Bulk {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, batch_bytes: AtomicUsize::new(LARGEST_BATCH), first_delay: FIRST_DELAY }
    }

    /// Writes all of them, in order. The outcomes are in the order given.
    pub(crate) async fn write(&self, lines: Lines) -> Result<Vec<Outcome>> {
        let Lines { bytes, places, unfit } = lines;
        let writes = Writes { bytes: bytes.into(), places };
        let mut outcomes: Vec<Option<Outcome>> = vec![None; writes.places.len()];
        for index in unfit {
            let reason = "its id or version is larger than engines take".to_owned();
            outcomes[index] = Some(Outcome::Refused { id: writes.id(index), reason });
        }
        let mut waiting: VecDeque<usize> = (0..outcomes.len()).filter(|index| outcomes[*index].is_none()).collect();
        let (mut attempt, mut failures) = (0, BTreeMap::new());
        while !waiting.is_empty() {
            let batch = self.next_batch(&mut waiting, &writes);
            let Some((again, why)) = self.batch(&writes, batch, &mut outcomes, &mut failures).await? else {
                attempt = 0;
                continue;
            };
            attempt += 1;
            if attempt >= MOST_ATTEMPTS {
                return Err(why);
            }
            self.back_off(attempt).await;
            again.into_iter().rev().for_each(|index| waiting.push_front(index));
        }
        Ok(outcomes.into_iter().map(|outcome| outcome.expect("every action was sent")).collect())
    }

    fn next_batch(&self, waiting: &mut VecDeque<usize>, writes: &Writes) -> Vec<usize> {
        let limit = self.batch_bytes.load(Ordering::Relaxed);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(index) = waiting.front().copied() {
            bytes += writes.places[index].len();
            if !batch.is_empty() && (bytes > limit || batch.len() >= MOST_DOCUMENTS) {
                break;
            }
            batch.push(index);
            waiting.pop_front();
        }
        batch
    }

    /// Sends a batch, in halves where it must be. Gives back what has to be sent again, and why.
    async fn batch(
        &self,
        writes: &Writes,
        batch: Vec<usize>,
        outcomes: &mut [Option<Outcome>],
        failures: &mut BTreeMap<usize, u32>,
    ) -> Result<Option<(Vec<usize>, Error)>> {
        let mut pending = vec![batch];
        let (mut again, mut why) = (Vec::new(), None);
        while let Some(batch) = pending.pop() {
            match self.send(writes.body(&batch), batch.len()).await? {
                Sent::Items(items) => {
                    let (busy, reason) = sort_out(items, &batch, writes, outcomes, failures)?;
                    again.extend(busy);
                    why = reason.map(later).or(why);
                }
                Sent::Halve(_) if batch.len() > 1 => {
                    self.shrink();
                    let (first, second) = batch.split_at(batch.len() / 2);
                    pending.extend([second.to_vec(), first.to_vec()]);
                }
                Sent::Halve(reason) => {
                    outcomes[batch[0]] = Some(Outcome::Refused { id: writes.id(batch[0]), reason });
                }
                Sent::Again(error) => {
                    again.extend(batch);
                    why = Some(error);
                }
            }
        }
        let Some(why) = why else {
            self.grow();
            return Ok(None);
        };
        self.shrink();
        Ok(Some((again, why)))
    }

    /// Sends a request with so many writes.
    async fn send(&self, body: Bytes, writes: usize) -> Result<Sent> {
        let path =
            "/_bulk?require_alias=true&filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";
        let mut delay_attempt = 0;
        loop {
            let request = Some(("application/x-ndjson", body.clone()));
            let answer: Answer = match self.client.send("write", Method::Post, path, request, TIMEOUT).await {
                Ok(answer) if answer.is_success() => return items(&answer.body, writes),
                Ok(answer) => answer.into(),
                Err(error) => return Ok(Sent::Again(error)),
            };
            match answer.status {
                400 | 413 => return Ok(Sent::Halve(answer.reason())),
                429 if writes > 1 => {
                    self.back_off(1).await;
                    return Ok(Sent::Halve(answer.reason()));
                }
                429 if never_fits(&answer.reason()) => return Ok(Sent::Halve(answer.reason())),
                429 | 502..=504 => {
                    delay_attempt += 1;
                    if delay_attempt >= MOST_ATTEMPTS {
                        return Err(answer.error("write"));
                    }
                    self.back_off(delay_attempt).await;
                }
                500 if delay_attempt < 2 => {
                    delay_attempt += 1;
                    self.back_off(delay_attempt).await;
                }
                _ => return Err(answer.error("write")),
            }
        }
    }

    /// Full jitter: between nothing and the attempt's delay.
    async fn back_off(&self, attempt: u32) {
        let longest = self.first_delay.saturating_mul(1 << attempt.min(10)).min(LONGEST_DELAY);
        tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
    }

    fn shrink(&self) {
        let halve = |bytes: usize| Some((bytes / 2).max(SMALLEST_BATCH));
        // The closure always gives a value, so this cannot fail.
        let _previous = self.batch_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, halve).unwrap_or_default();
    }

    fn grow(&self) {
        let step = |bytes: usize| Some((bytes + BATCH_STEP).min(LARGEST_BATCH));
        let _previous = self.batch_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or_default();
    }
}

/// Whether a request alone is more than the engine takes in at once: asked again it would be rejected each time.
fn never_fits(reason: &str) -> bool {
    let number = |name: &str| {
        let (_, rest) = reason.split_once(name)?;
        rest.split_once('=')?.1.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    number("_operation_bytes").zip(number("max_")).is_some_and(|(bytes, limit)| bytes > limit)
}

fn items(body: &[u8], expected: usize) -> Result<Sent> {
    let Told { items } = serde_json::from_slice(body).unwrap_or_default();
    if items.len() != expected {
        let message =
            format!("the engine answered {} of {expected} writes; a proxy may have cut the answer", items.len());
        return Err(Error::new(ErrorKind::Unavailable, "write", message));
    }
    Ok(Sent::Items(items))
}

/// Why writes wait: too much at once, or a disk that is full.
fn later(reason: String) -> Error {
    let message = format!("the engine cannot write at present ({reason}); it is tried again later");
    Error::new(ErrorKind::Unavailable, "write", message)
}

/// Notes what became of each, and gives back those to be sent again, with the engine's reason. `failures` counts on which
/// the engine failed.
fn sort_out(
    items: Vec<Item>,
    batch: &[usize],
    writes: &Writes,
    outcomes: &mut [Option<Outcome>],
    failures: &mut BTreeMap<usize, u32>,
) -> Result<(Vec<usize>, Option<String>)> {
    let (mut again, mut why) = (Vec::new(), None);
    for (item, index) in items.into_iter().zip(batch) {
        let (Item::Index(done) | Item::Delete(done)) = item;
        if done.status == 500 {
            *failures.entry(*index).or_default() += 1;
        }
        outcomes[*index] = Some(match (done.status, done.error) {
            (201, _) => Outcome::Created,
            (200..=299, _) | (404, None) => Outcome::Done,
            (409, _) => Outcome::Stale,
            (429 | 502..=504, error) => {
                again.push(*index);
                why = Some(format!("{}: {}", done.status, reason(error)));
                continue;
            }
            // A shard that fails may be well in a moment; a document on which the engine always fails is refused.
            (500, error) if failures.get(index).is_some_and(|failures| *failures < MOST_FAILURES) => {
                again.push(*index);
                why = Some(format!("{}: {}", done.status, reason(error)));
                continue;
            }
            (404, Some(_)) => Outcome::Missing,
            (401 | 403, error) => {
                let message = format!(
                    "these credentials may not write ({}); they need monitor on the cluster, and manage, read and write on the indices of [search] index_prefix",
                    reason(error)
                );
                return Err(Error::new(ErrorKind::Refused, "write", message));
            }
            (_, error) => Outcome::Refused { id: writes.id(*index), reason: reason(error) },
        });
    }
    Ok((again, why))
}

fn reason(fault: Option<Fault>) -> String {
    let (kind, reason) = fault.map(|fault| (fault.kind, fault.reason)).unwrap_or_default();
    format!("{}: {}", kind.unwrap_or_default(), reason.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;
    use crate::client::Options;

    /// Answers requests with these statuses and bodies, one connection each; status 0 ends the connection without an
    /// answer. Its address, and the bodies that it got.
    async fn scripted(answers: Vec<(u16, String)>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let mut got = Vec::new();
            for (status, body) in answers {
                let mut stream = listener.accept().await.unwrap().0;
                // A connection without a request only asked whether there is one.
                while stream.peek(&mut [0]).await.is_ok_and(|read| read == 0) {
                    stream = listener.accept().await.unwrap().0;
                }
                got.push(read_body(&mut stream).await);
                if status > 0 {
                    let length = body.len();
                    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                }
            }
            got
        });
        (url, server)
    }

    /// Writes to these addresses, with hardly a pause before it tries again.
    fn bulk(urls: String) -> Bulk {
        let options = Options::without_credentials(&urls, "x");
        Bulk { first_delay: Duration::from_micros(100), ..Bulk::new(Client::new(&options).unwrap()) }
    }

    async fn engine(answers: Vec<(u16, String)>) -> (Bulk, JoinHandle<Vec<String>>) {
        let (url, server) = scripted(answers).await;
        (bulk(url), server)
    }

    async fn read_body(stream: &mut tokio::net::TcpStream) -> String {
        let mut bytes = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap();
            bytes.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return body.to_owned();
            }
        }
    }

    fn writes(count: usize) -> Lines {
        let mut lines = Lines::default();
        for number in 0..count {
            lines.index("a", &format!("id{number}"), 1, |document| document.extend(b"{}"));
        }
        lines
    }

    fn refused(id: &str, reason: &str) -> Outcome {
        Outcome::Refused { id: id.to_owned(), reason: reason.to_owned() }
    }

    fn items(statuses: &[u16]) -> String {
        let item = |status: &u16| match status {
            200..=299 => json!({"index": {"status": status}}),
            _ => json!({"index": {"status": status, "error": {"type": "some_exception", "reason": "why"}}}),
        };
        json!({"errors": true, "items": statuses.iter().map(item).collect::<Vec<_>>()}).to_string()
    }

    #[tokio::test]
    async fn each_item_is_settled_by_its_own_status_and_only_busy_ones_are_sent_again() {
        let answers = vec![(200, items(&[201, 409, 429, 400, 404])), (200, items(&[200]))];
        let (bulk, server) = engine(answers).await;
        let outcomes = bulk.write(writes(5)).await.unwrap();
        let refused = refused("id3", "some_exception: why");
        assert_eq!(outcomes, [Outcome::Created, Outcome::Stale, Outcome::Done, refused, Outcome::Missing]);
        let got = server.await.unwrap();
        assert!(got[1].contains("id2") && !got[1].contains("id0") && !got[1].contains("id3"), "{}", got[1]);
    }

    #[tokio::test]
    async fn what_no_engine_takes_is_refused_without_a_request() {
        let (bulk, server) = engine(vec![(200, items(&[201, 200]))]).await;
        let mut lines = writes(1);
        lines.index("a", &"x".repeat(LONGEST_ID + 1), 1, |document| document.extend(b"{}"));
        lines.delete("a", "old", 2);
        lines.delete("a", "future", u64::MAX);
        let outcomes = bulk.write(lines).await.unwrap();
        let told = "its id or version is larger than engines take";
        let long = refused(&"x".repeat(LONGEST_ID + 1), told);
        assert_eq!(outcomes, [Outcome::Created, long, Outcome::Done, refused("future", told)]);
        let lines = [
            r#"{"index":{"_index":"a","_id":"id0","version":1,"version_type":"external_gte"}}"#,
            "{}",
            r#"{"delete":{"_index":"a","_id":"old","version":2,"version_type":"external_gte"}}"#,
            "",
        ];
        assert_eq!(server.await.unwrap(), [lines.join("\n")]);
    }

    #[tokio::test]
    async fn a_write_on_which_the_engine_fails_is_sent_again_and_refused_if_it_always_fails() {
        let answers = vec![(200, items(&[500, 500])), (200, items(&[201, 500])), (200, items(&[500]))];
        let (bulk, server) = engine(answers).await;
        let outcomes = bulk.write(writes(2)).await.unwrap();
        assert_eq!(outcomes, [Outcome::Created, refused("id1", "some_exception: why")]);
        assert_eq!(server.await.unwrap().len(), MOST_FAILURES as usize);
    }

    #[tokio::test]
    async fn a_refused_request_is_sent_in_halves_until_the_culprit_is_alone() {
        let ok = items(&[201]);
        let answers = vec![(413, String::new()), (200, ok), (400, r#"{"error":{"type":"t","reason":"r"}}"#.into())];
        let (bulk, server) = engine(answers).await;
        let outcomes = bulk.write(writes(2)).await.unwrap();
        assert_eq!(outcomes, [Outcome::Created, refused("id1", "400: t: r")]);
        assert_eq!(server.await.unwrap().len(), 3);
        assert!(bulk.batch_bytes.load(Ordering::Relaxed) < LARGEST_BATCH);
    }

    #[tokio::test]
    async fn wrong_credentials_stop_the_write_with_a_sentence() {
        for (answers, word) in
            [(vec![(401, String::new())], "credentials"), (vec![(200, items(&[403]))], "may not write")]
        {
            let (bulk, _server) = engine(answers).await;
            let error = bulk.write(writes(1)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[tokio::test]
    async fn a_busy_engine_is_asked_again() {
        let (bulk, server) = engine(vec![(503, String::new()), (200, items(&[201]))]).await;
        assert_eq!(bulk.write(writes(1)).await.unwrap(), [Outcome::Created]);
        assert_eq!(server.await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_request_that_is_too_much_is_sent_in_halves_and_batches_grow_again() {
        // Four are too much, then two, then three batches pass.
        let busy = || (429, String::new());
        let answers = vec![busy(), busy(), (200, items(&[201])), (200, items(&[201])), (200, items(&[201, 201]))];
        let (bulk, server) = engine(answers).await;
        assert_eq!(bulk.write(writes(4)).await.unwrap(), vec![Outcome::Created; 4]);
        let got = server.await.unwrap();
        let documents: Vec<_> = got.iter().map(|body| body.lines().count() / 2).collect();
        assert_eq!(documents, [4, 2, 1, 1, 2]);
        let shrunk = LARGEST_BATCH / 4;
        assert_eq!(bulk.batch_bytes.load(Ordering::Relaxed), shrunk + BATCH_STEP);
    }

    #[tokio::test]
    async fn a_write_that_stays_refused_as_too_busy_is_for_later_and_one_that_is_too_large_never_passes() {
        let item = || (200, items(&[429]));
        let request = || (429, rejected(10, 500));
        let attempts = MOST_ATTEMPTS as usize;
        for (answers, told) in
            [(vec![item(); attempts], "429: some_exception: why"), (vec![request(); attempts], "operation_bytes=10")]
        {
            let (bulk, server) = engine(answers).await;
            let error = bulk.write(writes(1)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains(told), "{error}");
            assert_eq!(server.await.unwrap().len(), attempts);
        }
        let (bulk, server) = engine(vec![(429, rejected(600, 500))]).await;
        let outcomes = bulk.write(writes(1)).await.unwrap();
        assert!(
            matches!(&outcomes[0], Outcome::Refused { reason, .. } if reason.contains("operation_bytes=600")),
            "{outcomes:?}"
        );
        assert_eq!(server.await.unwrap().len(), 1);
    }

    /// What an engine says when a request is more than it has room for, as recorded.
    fn rejected(bytes: u64, limit: u64) -> String {
        let reason = format!(
            "rejected execution of coordinating operation [coordinating_and_primary_bytes=0, replica_bytes=0, all_bytes=0, coordinating_operation_bytes={bytes}, max_coordinating_and_primary_bytes={limit}]"
        );
        json!({"error": {"type": "es_rejected_execution_exception", "reason": reason}, "status": 429}).to_string()
    }

    #[tokio::test]
    async fn a_lost_connection_loses_no_write_and_a_short_answer_is_an_error() {
        let (bulk, server) = engine(vec![(0, String::new()), (200, items(&[201]))]).await;
        assert_eq!(bulk.write(writes(1)).await.unwrap(), [Outcome::Created]);
        let got = server.await.unwrap();
        assert_eq!(got[0], got[1], "the same write, with the same version, is sent again");
        let (bulk, _server) = engine(vec![(200, items(&[201]))]).await;
        let error = bulk.write(writes(2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("1 of 2"), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_is_down_is_passed_over() {
        let down = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (up, server) = scripted((0..4).map(|_| (200, items(&[201]))).collect()).await;
        let bulk = bulk(format!("http://{down}, {up}"));
        for _ in 0..4 {
            // Two attempts in turn, so the repetition by the bulk itself would show as a shrunk batch.
            assert_eq!(bulk.write(writes(1)).await.unwrap(), [Outcome::Created]);
            assert_eq!(bulk.batch_bytes.load(Ordering::Relaxed), LARGEST_BATCH);
        }
        assert_eq!(server.await.unwrap().len(), 4);
    }

    #[tokio::test]
    async fn an_address_that_never_lets_anybody_in_is_passed_over() {
        // A listener whose queue is full answers no further connection, as a firewall that drops packets.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let address = full.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
        {
            queue.push(stream.unwrap());
        }
        let (up, server) = scripted((0..2).map(|_| (200, items(&[201]))).collect()).await;
        let mut bulk = bulk(format!("http://{address}, {up}"));
        bulk.client.connecting = Duration::from_millis(100);
        for _ in 0..2 {
            assert_eq!(bulk.write(writes(1)).await.unwrap(), [Outcome::Created]);
        }
        assert_eq!(server.await.unwrap().len(), 2);
    }
}
