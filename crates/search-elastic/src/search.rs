//! A search: hits, facets, snippets.
//!
//! The order is by (sort value, repository id, number), the larger first of the last two, so ties stand in one order and
//! a cursor is the last hit's values. By relevance the value is the score of the words, times what recency and
//! discussion add; a cursor carries the day from which recency is measured.

use std::{cmp::Reverse, collections::HashMap, time::Duration};

use elasticsearch::http::Method;
use gharvest_search::{
    Error, ErrorKind, Facet, FacetCounts, FacetValue, Hit, Result, SearchReply, SearchRequest, Snippet, Start,
    document::{CommentDocument, ItemDocument},
    marks::{self, Marks},
    query::tree::{Node, Number, SortKey, Time},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    ElasticIndex,
    client::json_body,
    lower::{self, asked},
    read::{document, hits},
    schema::{Sort, number_name, time_name},
};

/// The last hit that a page for people may hold: engines give no more.
const LAST_PAGED_HIT: usize = 10_000;
const LARGEST_PAGE: usize = 100;
/// The most values of a facet, months apart.
const MOST_VALUES: usize = 20;
/// What the answer may take longer than the search.
const GRACE: Duration = Duration::from_secs(2);

/// A cursor: the sort value of the last hit shown, its repository and number, and the day of the first page.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cursor {
    value: f64,
    repository: u64,
    number: u64,
    day: i64,
}

impl Cursor {
    fn print(self) -> String {
        format!("{:x}.{:x}.{:x}.{:x}", self.value.to_bits(), self.repository, self.number, self.day as u64)
    }

    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<u64> = text.split('.').map(|part| u64::from_str_radix(part, 16).ok()).collect::<Option<_>>()?;
        let [value, repository, number, day] = parts[..] else { return None };
        let value = f64::from_bits(value);
        let fits = value.is_finite() && i64::try_from(repository).is_ok() && i64::try_from(number).is_ok();
        let day = i64::try_from(day).ok().filter(|day| *day < 200_000)?;
        fits.then_some(Self { value, repository, number, day })
    }

    fn of(hit: &Value, day: i64) -> Option<Self> {
        let sort = |at: usize| hit.get("sort").and_then(|sort| sort.get(at));
        let (value, repository, number) = (sort(0)?.as_f64()?, sort(1)?.as_u64()?, sort(2)?.as_u64()?);
        Some(Self { value, repository, number, day })
    }
}

/// Which hits are asked.
struct Window {
    skip: usize,
    after: Option<Cursor>,
    size: usize,
    day: i64,
}

impl Window {
    fn of(request: &SearchRequest) -> Result<Self> {
        let per_page = request.per_page.clamp(1, LARGEST_PAGE);
        let today = request.query.now().as_second().div_euclid(86_400).clamp(0, 199_999);
        match &request.start {
            Start::Cursor(text) => {
                let message = "the cursor is not one of ours; begin again without it";
                let cursor = Cursor::parse(text).ok_or_else(|| Error::new(ErrorKind::Invalid, "search", message))?;
                Ok(Self { skip: 0, after: Some(cursor), size: per_page, day: cursor.day })
            }
            Start::Page(page) => {
                let skip = page.saturating_sub(1).saturating_mul(per_page).min(LAST_PAGED_HIT);
                Ok(Self { skip, after: None, size: per_page.min(LAST_PAGED_HIT - skip), day: today })
            }
        }
    }
}

impl ElasticIndex {
    pub(crate) async fn answer(&self, request: &SearchRequest) -> Result<SearchReply> {
        if request.timeout.is_zero() {
            return Err(timed_out());
        }
        let mut window = Window::of(request)?;
        self.find_place(request, &mut window).await?;
        let mut answer = self.ask_items_as(request, &body(request, &window)).await?;
        let total = answer.pointer("/hits/total/value").and_then(Value::as_u64).unwrap_or_default();
        let facets = request.facets.iter().map(|facet| counts(*facet, &answer)).collect();
        let by_relevance = request.query.sort().key == SortKey::Relevance;
        let found = hits(answer.take());
        // One more than asked says whether there is more; the last page for people has no room for it.
        let has_more = found.len() > window.size
            || (window.size > 0 && window.skip + window.size == LAST_PAGED_HIT && total > LAST_PAGED_HIT as u64);
        let shown = &found[..found.len().min(window.size)];
        let next = shown.last().filter(|_| has_more).and_then(|hit| Cursor::of(hit, window.day));
        let mut hits = Vec::with_capacity(shown.len());
        for hit in shown {
            let score = hit.get("_score").and_then(Value::as_f64).filter(|_| by_relevance).unwrap_or_default() as f32;
            hits.push(Hit { item: document::<ItemDocument>(hit)?, score, snippet: None });
        }
        if request.snippets {
            self.add_snippets(request.query.node(), request.timeout, &mut hits).await?;
        }
        Ok(SearchReply { total, hits, facets, next: next.map(Cursor::print) })
    }

    /// Scores move as documents come and go, all of them together: a cursor by relevance goes on behind the score that
    /// its hit has now. If the hit is gone, behind the one that it had.
    async fn find_place(&self, request: &SearchRequest, window: &mut Window) -> Result<()> {
        let Some(cursor) = window.after.as_mut().filter(|_| request.query.sort().key == SortKey::Relevance) else {
            return Ok(());
        };
        let mut query = lower::search(request.query.node(), &request.access);
        let hit = [json!({"term": {"repository_id": cursor.repository}}), json!({"term": {"number": cursor.number}})];
        if let Some(filter) = query.pointer_mut("/bool/filter").and_then(Value::as_array_mut) {
            filter.extend(hit);
        }
        let body = json!({"query": ranked(query, request, cursor.day), "size": 1, "_source": false});
        let found = hits(self.ask_items_as(request, &body).await?);
        if let Some(score) = found.first().and_then(|hit| hit.get("_score")).and_then(Value::as_f64) {
            cursor.value = score;
        }
        Ok(())
    }

    /// The same query is answered by the same copy of a shard: copies score differently.
    async fn ask_items_as(&self, request: &SearchRequest, body: &Value) -> Result<Value> {
        let node = lower::search(request.query.node(), &request.access).to_string();
        let copy = node.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
        self.ask_sort(Sort::Items, &format!("?preference={copy:x}"), body, request.timeout).await
    }

    /// Searches what readers see of items.
    pub(crate) async fn ask_items(&self, body: &Value, timeout: Duration) -> Result<Value> {
        self.ask_sort(Sort::Items, "", body, timeout).await
    }

    async fn ask_sort(&self, sort: Sort, parameters: &str, body: &Value, timeout: Duration) -> Result<Value> {
        let path = format!("/{}/_search{parameters}", self.generations.names.visible(sort));
        let mut body = body.clone();
        body["timeout"] = format!("{}ms", timeout.as_millis().max(1)).into();
        let client = &self.generations.client;
        let answer = client.ask("search", Method::Post, &path, Some(json_body(&body)), timeout + GRACE).await?;
        let answer = answer.success("search")?;
        if answer.get("timed_out").and_then(Value::as_bool) == Some(true) {
            return Err(timed_out());
        }
        Ok(answer)
    }

    async fn add_snippets(&self, node: &Node, timeout: Duration, hits: &mut [Hit]) -> Result<()> {
        let marked = Marks::of(node);
        if marked.is_empty() {
            return Ok(());
        }
        let parts = marks::asked_parts(node);
        let snippet = |part: &str, comment_id, pieces| Snippet { part: part.to_owned(), comment_id, pieces };
        for hit in hits.iter_mut().filter(|_| parts.body) {
            hit.snippet = marks::cut(&hit.item.body, &marked).map(|pieces| snippet("body", None, pieces));
        }
        if parts.comments {
            let best = self.best_comments(&marked, timeout, hits).await?;
            for hit in hits.iter_mut().filter(|hit| hit.snippet.is_none()) {
                let Some(comment) = best.get(&hit.item.key) else { continue };
                let part = if comment.part == "comment" { "comment" } else { "review" };
                hit.snippet = marks::cut(&comment.body, &marked).map(|pieces| snippet(part, comment.id, pieces));
            }
        }
        for hit in hits.iter_mut().filter(|hit| parts.title && hit.snippet.is_none()) {
            hit.snippet = marks::cut_plain(&hit.item.title, &marked).map(|pieces| snippet("title", None, pieces));
        }
        Ok(())
    }

    /// The comment of each hit that matches the words best.
    async fn best_comments(
        &self,
        marked: &Marks,
        timeout: Duration,
        hits: &[Hit],
    ) -> Result<HashMap<String, CommentDocument>> {
        let items: Vec<&str> =
            hits.iter().filter(|hit| hit.snippet.is_none()).map(|hit| hit.item.key.as_str()).collect();
        if items.is_empty() {
            return Ok(HashMap::new());
        }
        let words: Vec<Value> = marked.words().map(|word| json!({"term": {"body": word}})).collect();
        let body = json!({
            "query": {"bool": {"filter": [{"terms": {"item": items}}], "should": words, "minimum_should_match": 1}},
            "collapse": {"field": "item"},
            "size": items.len(),
        });
        let found = self::hits(self.ask_sort(Sort::Comments, "", &body, timeout).await?);
        let comments = found.iter().map(document::<CommentDocument>).collect::<Result<Vec<_>>>()?;
        Ok(comments.into_iter().map(|comment| (comment.item.clone(), comment)).collect())
    }
}

fn timed_out() -> Error {
    Error::new(ErrorKind::TimedOut, "search", "the search took longer than allowed; ask for less")
}

fn body(request: &SearchRequest, window: &Window) -> Value {
    let room = LAST_PAGED_HIT - window.skip;
    let size = if window.size == 0 { 0 } else { (window.size + 1).min(room) };
    let mut body = json!({
        "query": ranked(lower::search(request.query.node(), &request.access), request, window.day),
        "sort": order(request),
        "track_total_hits": true,
        "size": size,
        "_source": {"excludes": ["meta"]},
        "aggs": aggregations(&request.facets),
    });
    match window.after {
        Some(cursor) => {
            let value = if request.query.sort().key == SortKey::Relevance {
                json!(cursor.value)
            } else {
                json!(cursor.value as i64)
            };
            body["search_after"] = json!([value, cursor.repository, cursor.number]);
        }
        None if size > 0 => body["from"] = window.skip.into(),
        None => {}
    }
    body
}

/// What recency and discussion add to a score: up to half as much again for an item updated today, half of that for one
/// of a year ago; and a tenth for each e-fold of comments and reactions.
fn ranked(query: Value, request: &SearchRequest, day: i64) -> Value {
    if request.query.sort().key != SortKey::Relevance {
        return query;
    }
    let origin = Timestamp::from_second(day * 86_400).unwrap_or(Timestamp::UNIX_EPOCH).as_millisecond().to_string();
    json!({"function_score": {
        "query": query,
        "functions": [
            {"weight": 1.0},
            {"exp": {"updated_at": {"origin": origin, "scale": "365d", "decay": 0.5}}, "weight": 0.5},
            {"field_value_factor": {"field": "interactions", "modifier": "ln1p", "missing": 0}, "weight": 0.1},
        ],
        "score_mode": "sum",
        "boost_mode": "multiply",
    }})
}

fn order(request: &SearchRequest) -> Value {
    let sort = request.query.sort();
    let field = match sort.key {
        SortKey::Relevance => "_score".to_owned(),
        SortKey::Created => asked(&time_name(Time::Created)),
        SortKey::Updated => asked(&time_name(Time::Updated)),
        SortKey::Comments => asked(&number_name(Number::Comments)),
        SortKey::Reactions => asked(&number_name(Number::Reactions)),
        SortKey::Interactions => asked(&number_name(Number::Interactions)),
    };
    let direction = if sort.ascending { "asc" } else { "desc" };
    let first = Value::Object(Map::from_iter([(field, json!(direction))]));
    json!([first, {"repository_id": "desc"}, {"number": "desc"}])
}

fn aggregations(facets: &[Facet]) -> Value {
    let mut aggregations = Map::new();
    for facet in facets {
        let by_value = |field: &str| json!({"terms": {"field": field, "size": MOST_VALUES, "order": [{"_count": "desc"}, {"_key": "asc"}]}});
        let by_time = |field: &str, interval: &str, format: &str| json!({"date_histogram": {"field": field, "calendar_interval": interval, "format": format, "min_doc_count": 1}});
        match facet {
            Facet::Year => aggregations.insert("year".into(), by_time("created_at", "year", "yyyy")),
            Facet::Month => {
                aggregations.insert("opened".into(), by_time("created_at", "month", "yyyy-MM"));
                aggregations.insert("closed".into(), by_time("closed_at", "month", "yyyy-MM"))
            }
            Facet::Repository => aggregations.insert("repository".into(), by_value("repository")),
            Facet::Kind => aggregations.insert("kind".into(), by_value("kind")),
            Facet::State => aggregations.insert("state".into(), by_value("state")),
            Facet::Label => aggregations.insert("label".into(), by_value("labels")),
            Facet::Author => aggregations.insert("author".into(), by_value("author")),
            Facet::Milestone => aggregations.insert("milestone".into(), by_value("milestone")),
        };
    }
    aggregations.into()
}

/// The buckets of an aggregation.
pub(crate) fn buckets(answer: &Value, name: &str) -> Vec<(String, u64)> {
    let buckets = answer.pointer(&format!("/aggregations/{name}/buckets")).and_then(Value::as_array);
    let pair = |bucket: &Value| {
        let key = bucket.get("key_as_string").or_else(|| bucket.get("key"))?.as_str()?.to_owned();
        Some((key, bucket.get("doc_count")?.as_u64()?))
    };
    buckets.into_iter().flatten().filter_map(pair).collect()
}

fn counts(facet: Facet, answer: &Value) -> FacetCounts {
    let values = match facet {
        Facet::Repository => buckets(answer, "repository"),
        Facet::Label => buckets(answer, "label"),
        Facet::Author => buckets(answer, "author"),
        Facet::Milestone => buckets(answer, "milestone"),
        Facet::Kind => {
            let short = |kind: String| if kind == "pull_request" { "pr".to_owned() } else { kind };
            most_frequent_first(buckets(answer, "kind").into_iter().map(|(kind, count)| (short(kind), count)).collect())
        }
        Facet::State => states(&buckets(answer, "state")),
        Facet::Year => buckets(answer, "year").into_iter().rev().take(MOST_VALUES).collect(),
        Facet::Month => months(answer),
    };
    FacetCounts { facet, values: values.into_iter().map(|(value, count)| FacetValue { value, count }).collect() }
}

/// As `is:closed` finds merged ones as well, so does its count.
fn states(counted: &[(String, u64)]) -> Vec<(String, u64)> {
    let count = |state: &str| counted.iter().find(|(name, _)| name == state).map_or(0, |(_, count)| *count);
    let (open, closed, merged) = (count("open"), count("closed"), count("merged"));
    let all = [("open", open), ("closed", closed + merged), ("merged", merged)];
    most_frequent_first(
        all.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), count)).collect(),
    )
}

fn most_frequent_first(mut values: Vec<(String, u64)>) -> Vec<(String, u64)> {
    values.sort_by(|one, other| (Reverse(one.1), &one.0).cmp(&(Reverse(other.1), &other.0)));
    values
}

/// Latest first; of one month, what was opened before what was closed.
fn months(answer: &Value) -> Vec<(String, u64)> {
    let of = |name: &'static str| buckets(answer, name).into_iter().map(move |(month, count)| (month, name, count));
    let mut months: Vec<_> = of("opened").chain(of("closed")).collect();
    months.sort_by(|one, other| (&other.0, other.1).cmp(&(&one.0, one.1)));
    months.into_iter().map(|(month, name, count)| (format!("{name}:{month}"), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_printing_and_others_are_refused() {
        let cursor = Cursor { value: 1.5, repository: 7, number: 12, day: 19_000 };
        assert_eq!(Cursor::parse(&cursor.print()), Some(cursor));
        for text in ["", "x", "1.2", "1.2.3.4.5", "1.2.3.ffffffffffffffff", "7ff0000000000000.1.1.1", "é"] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }
}
