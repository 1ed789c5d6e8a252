//! What an answer means: a fact, a limit, a refused token, a passing failure, or an error.
//!
//! Bodies of refusals are looked at leniently: GitHub and what stands before it also answer with HTML.

use std::time::Duration;

use http::{StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use crate::{
    Answer, ErrorKind, Found,
    base::{Base, cut},
    limits::{Reading, retry_after},
    link::Links,
    resource::PER_PAGE,
    transport::Reply,
};

/// So many entries GitHub puts on a page when it is not asked for a number.
const USUAL_PAGE: usize = 30;

/// What one reply means for the request that asked.
#[derive(Debug)]
pub(crate) enum Verdict<T> {
    /// It is answered.
    Done(T),
    /// The token must wait.
    Limited(Limit),
    /// The token is shown nothing, or may not see it, and another one may: the answer, or the error, if none does.
    Unseen(Result<T, (ErrorKind, String)>),
    /// The token is not accepted; GitHub's reason.
    TokenRefused(String),
    /// Worth another attempt; what to say if it stays so.
    Again(ErrorKind, String),
    /// Not worth another attempt.
    Failed(ErrorKind, String),
}

/// How long a token must wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// GitHub named the time: `Retry-After`.
    Until(Timestamp),
    /// The hour's budget is used up.
    Primary(Reading),
    /// Too fast, too much at once; no time named.
    Secondary,
}

/// What was sent, as far as the answer's meaning depends on it.
#[derive(Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) url: &'a Url,
    /// Under which an address must lie that GitHub gives.
    pub(crate) base: &'a Base,
    /// The token's fingerprint: what the answer's ETag belongs to.
    pub(crate) fingerprint: &'a str,
    /// The ETag that was sent.
    pub(crate) etag: Option<&'a str>,
    pub(crate) now: Timestamp,
    /// From sending to the last byte of the answer.
    pub(crate) took: Duration,
}

/// The meaning of an answer to a REST request.
pub(crate) fn judge(reply: &Reply, sent: &Sent<'_>) -> Verdict<Answer> {
    match reply.status.as_u16() {
        200 => found(reply, sent),
        204 => Verdict::Done(Answer::Found(found_with(Value::Array(Vec::new()), reply, sent))),
        304 if sent.etag.is_some() => Verdict::Done(Answer::NotModified),
        301 | 308 => moved(reply, sent),
        404 => Verdict::Unseen(Ok(Answer::NotFound)),
        410 => gone(&Refusal::of(reply)),
        451 => Verdict::Done(Answer::Blocked { reason: Refusal::of(reply).reason() }),
        _ => judge_refusal(reply, sent.now).unwrap_or_else(|refusal| {
            if let Some(reason) = refusal.block {
                return Verdict::Done(Answer::Blocked { reason });
            }
            refused(reply.status, &refusal)
        }),
    }
}

/// The part that REST and GraphQL share: limits, refused tokens, passing failures. The refusal itself if none of these.
pub(crate) fn judge_refusal<T>(reply: &Reply, now: Timestamp) -> Result<Verdict<T>, Refusal> {
    let refusal = Refusal::of(reply);
    match reply.status.as_u16() {
        401 => Ok(Verdict::TokenRefused(format!("401: {}", refusal.reason()))),
        403 | 429 => limit(reply, &refusal, now).map(Verdict::Limited).ok_or(refusal),
        202 | 408 | 500..=599 => Ok(Verdict::Again(ErrorKind::Unavailable, format!("answered {}", reply.status))),
        200..=399 => Ok(Verdict::Again(ErrorKind::BadAnswer, format!("answered {} unasked", reply.status))),
        _ => Err(refusal),
    }
}

fn limit(reply: &Reply, refusal: &Refusal, now: Timestamp) -> Option<Limit> {
    let told = refusal.text.contains("rate limit") || refusal.text.contains("abuse detection");
    if let Some(until) = retry_after(&reply.headers, now) {
        return Some(Limit::Until(until));
    }
    if refusal.block.is_some() || refusal.is_permission() {
        return None;
    }
    let reading = Reading::of(&reply.headers, now).filter(|reading| reading.remaining == 0);
    match reading {
        Some(reading) if !refusal.text.contains("secondary rate limit") => Some(Limit::Primary(reading)),
        _ if told || reply.status == StatusCode::TOO_MANY_REQUESTS => Some(Limit::Secondary),
        _ => None,
    }
}

fn found(reply: &Reply, sent: &Sent<'_>) -> Verdict<Answer> {
    let found = match serde_json::from_slice(&reply.body) {
        Ok(body) => found_with(body, reply, sent),
        Err(error) => return Verdict::Again(ErrorKind::BadAnswer, format!("answered 200 without JSON: {error}")),
    };
    // Compression makes an ETag weak, so servers that compare literally send the same thing again.
    let same = |sent: &str, got: &str| strong(sent) == strong(got);
    let unchanged = sent.etag.zip(etag_of(reply)).is_some_and(|(sent, got)| same(sent, got));
    Verdict::Done(if unchanged { Answer::NotModified } else { Answer::Found(found) })
}

fn strong(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

fn etag_of(reply: &Reply) -> Option<&str> {
    reply.headers.get(header::ETAG)?.to_str().ok().filter(|etag| !etag.is_empty() && etag.len() <= 500)
}

fn found_with(body: Value, reply: &Reply, sent: &Sent<'_>) -> Found {
    let links = Links::of(&reply.headers);
    let tells = !is_full_last_page(&body, sent.url, links.next.as_deref());
    let etag = etag_of(reply).filter(|_| tells).map(|etag| format!("{}:{etag}", sent.fingerprint));
    Found { body, etag, next: links.next, last_page: links.last_page }
}

/// Whether a page is full and says of no other behind it. What comes next stands on a new page then: this one stays as
/// it is, so its ETag, which is of its body alone, would say for ever that nothing has come.
fn is_full_last_page(body: &Value, url: &Url, next: Option<&str>) -> bool {
    let asked = url.query_pairs().find_map(|(name, value)| (name == PER_PAGE.0).then(|| value.parse().ok()).flatten());
    let entries = body.as_array().map_or(0, Vec::len);
    next.is_none() && entries >= asked.unwrap_or(USUAL_PAGE)
}

/// A move for good, to an address of the API. Other redirects, which [`judge_refusal`] has tried again, and other
/// addresses are those of what stands before GitHub: a page for signing in, or one that says that it is away.
fn moved(reply: &Reply, sent: &Sent<'_>) -> Verdict<Answer> {
    let again = |why: String| Verdict::Again(ErrorKind::BadAnswer, format!("answered {} {why}", reply.status));
    let location = reply.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let Some(location) = location.and_then(|location| sent.url.join(location).ok()) else {
        return again("without a Location".to_owned());
    };
    match sent.base.admit(location.as_str()) {
        Ok(location) => Verdict::Done(Answer::Moved { location: location.into() }),
        Err(_) => again(format!("with a Location elsewhere, `{}`", cut(location.as_str()))),
    }
}

/// 410 has several meanings; only the words tell them apart, and only these delete anything.
fn gone(refusal: &Refusal) -> Verdict<Answer> {
    if refusal.text.contains("was deleted") {
        Verdict::Done(Answer::Deleted)
    } else if refusal.text.contains("are disabled") {
        Verdict::Done(Answer::IssuesDisabled)
    } else {
        Verdict::Failed(ErrorKind::Refused, format!("answered 410: {}", refusal.reason()))
    }
}

/// What is left of 4xx: a permission, or a fault of ours.
pub(crate) fn refused<T>(status: StatusCode, refusal: &Refusal) -> Verdict<T> {
    let message = format!("answered {}: {}", status.as_u16(), refusal.reason());
    match status {
        StatusCode::FORBIDDEN => Verdict::Unseen(Err((ErrorKind::Forbidden, message))),
        _ => Verdict::Failed(ErrorKind::Refused, message),
    }
}

/// The body of a refusal.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// GitHub's `message`.
    message: Option<String>,
    /// `block.reason`, or the message where a `block` has none.
    block: Option<String>,
    /// The beginning of the message or of the whole body, in lower case, for looking for words.
    text: String,
}

impl Refusal {
    pub(crate) fn of(reply: &Reply) -> Self {
        /// The words that matter stand at the beginning, also of an HTML page.
        const LOOKED_AT: usize = 16 * 1024;
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let message = body["message"].as_str().map(cut);
        let block = body.get("block").filter(|block| block.is_object()).map(|block| {
            block["reason"].as_str().map(cut).or_else(|| message.clone()).unwrap_or_else(|| "unknown".to_owned())
        });
        let start = &reply.body[..reply.body.len().min(LOOKED_AT)];
        let text = message.clone().unwrap_or_else(|| String::from_utf8_lossy(start).into_owned());
        Self { message, block, text: text.to_lowercase() }
    }

    /// What GitHub said, for people.
    pub(crate) fn reason(&self) -> String {
        self.block.clone().or_else(|| self.message.clone()).unwrap_or_else(|| "without a message".to_owned())
    }

    fn is_permission(&self) -> bool {
        self.text.starts_with("resource not accessible") || self.text.contains("saml")
    }
}
