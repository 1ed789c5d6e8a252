//! Searching.

use std::{collections::BTreeMap, time::Instant};

use gharvest_model::Kind;
use gharvest_search::{
    Facet, Hit, SearchRequest, Start,
    query::{ParseContext, Parsed, Query},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    access::Caller,
    error::{ApiError, ApiResult},
    state::WebState,
};

/// The most hits of one page.
pub const LARGEST_PAGE: usize = 100;

/// The most hits that page numbers reach; a cursor reaches all.
pub const LAST_BY_PAGE: usize = 10_000;

/// What is searched for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SearchParams {
    /// The query, in the language of the search box; empty finds everything.
    #[serde(default)]
    pub q: String,
    /// Hits a page, 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 100)]
    pub per_page: Option<usize>,
    /// The page, from 1; up to 10,000 hits in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1)]
    pub page: Option<usize>,
    /// The `next` of an earlier answer; reaches every hit, and neither skips nor repeats while things change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Whether to count facets; true if not said, unless a cursor is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facets: Option<bool>,
    /// How the answer is written: `json` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One page as JSON.
    Json,
    /// One page as an Atom feed.
    Atom,
    /// One page as a JSON feed.
    Feed,
    /// Every hit as CSV.
    Csv,
    /// Every hit as one JSON object a line.
    Ndjson,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchAnswer {
    /// How many items match.
    pub total: u64,
    /// How long the search took, milliseconds.
    pub took_ms: f64,
    /// The page of hits.
    pub items: Vec<SearchItem>,
    /// Counts by facet: `label`, `author` …; empty where not asked for.
    #[schema(value_type = std::collections::HashMap<String, Vec<FacetCount>>)]
    pub facets: BTreeMap<String, Vec<FacetCount>>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
    /// What was not understood in the query; the rest of it was used.
    pub notes: Vec<Note>,
}

/// One hit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchItem {
    /// `owner/name`.
    pub repository: String,
    /// The number.
    pub number: u64,
    /// `issue` or `pull_request`.
    #[schema(value_type = String)]
    pub kind: Kind,
    /// The title.
    pub title: String,
    /// `open`, `closed` or `merged`.
    pub state: String,
    /// Why it was closed, where GitHub says it.
    pub state_reason: Option<String>,
    /// A draft pull request.
    pub draft: bool,
    /// The author's login.
    pub author: Option<String>,
    /// Labels now.
    pub labels: Vec<ItemLabel>,
    /// Assignees now.
    pub assignees: Vec<String>,
    /// The milestone now.
    pub milestone: Option<String>,
    /// Comments on the conversation.
    pub comments: u32,
    /// Reactions on the item.
    pub reactions: u32,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last updated.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it was closed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
    /// How well it matches; 0 where the sort is not by relevance.
    pub score: f32,
    /// Where words were found.
    pub snippet: Option<ItemSnippet>,
    /// The path of its page.
    pub url: String,
}

/// A label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemLabel {
    /// Its name.
    pub name: String,
    /// Its colour, six hex digits.
    pub color: String,
}

/// A piece of text with marked words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemSnippet {
    /// `title`, `body`, `comment` or `review`.
    pub part: String,
    /// The comment's id, where it is one.
    pub comment_id: Option<u64>,
    /// The text in pieces.
    pub pieces: Vec<SnippetPiece>,
}

/// A piece of a snippet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnippetPiece {
    /// Plain text.
    pub text: String,
    /// Whether it is a hit.
    pub hit: bool,
}

/// One value of a facet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FacetCount {
    /// The value.
    pub value: String,
    /// How many hits have it.
    pub count: u64,
}

/// Something in a query that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Note {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong and what was expected.
    pub message: String,
    /// The nearest known word.
    pub suggestion: Option<String>,
}

impl From<Hit> for SearchItem {
    fn from(hit: Hit) -> Self {
        let Hit { item, score, snippet } = hit;
        let colors = item.label_colors.into_iter().chain(std::iter::repeat_with(String::new));
        let labels = item.labels.into_iter().zip(colors).map(|(name, color)| ItemLabel { name, color }).collect();
        Self {
            url: crate::links::item(&item.repository, item.kind, item.number),
            repository: item.repository,
            number: item.number,
            kind: item.kind,
            title: item.title,
            state: item.state,
            state_reason: item.state_reason,
            draft: item.draft,
            author: item.author,
            labels,
            assignees: item.assignees,
            milestone: item.milestone,
            comments: item.comments,
            reactions: item.reactions,
            created_at: item.created_at,
            updated_at: item.updated_at,
            closed_at: item.closed_at,
            score,
            snippet: snippet.map(|snippet| ItemSnippet {
                part: snippet.part,
                comment_id: snippet.comment_id,
                pieces: snippet
                    .pieces
                    .into_iter()
                    .map(|piece| SnippetPiece { text: piece.text, hit: piece.hit })
                    .collect(),
            }),
        }
    }
}

/// Answers a search.
pub async fn search(state: &WebState, caller: &Caller, params: &SearchParams) -> ApiResult<SearchAnswer> {
    let started = Instant::now();
    let (request, notes) = prepare(state, caller, params).await?;
    let reply = state.backends.search.search(&request).await?;
    metrics::histogram!("gharvest_web_search_seconds").record(started.elapsed().as_secs_f64());
    Ok(SearchAnswer {
        total: reply.total,
        took_ms: (started.elapsed().as_secs_f64() * 10_000.0).round() / 10.0,
        items: reply.hits.into_iter().map(SearchItem::from).collect(),
        facets: reply.facets.into_iter().map(|facet| (facet_name(facet.facet), counts(facet.values))).collect(),
        next: reply.next,
        notes,
    })
}

fn counts(values: Vec<gharvest_search::FacetValue>) -> Vec<FacetCount> {
    values.into_iter().map(|value| FacetCount { value: value.value, count: value.count }).collect()
}

/// A facet's name in answers.
pub fn facet_name(facet: Facet) -> String {
    serde_json::to_value(facet).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Checks the limits and builds what the engine is asked.
async fn prepare(state: &WebState, caller: &Caller, params: &SearchParams) -> ApiResult<(SearchRequest, Vec<Note>)> {
    let per_page = params.per_page.unwrap_or(state.settings.page_size);
    if !(1..=LARGEST_PAGE).contains(&per_page) {
        return Err(ApiError::invalid(format!("`per_page` is 1 to {LARGEST_PAGE}")));
    }
    let start = match (&params.cursor, params.page) {
        (Some(_), Some(_)) => return Err(ApiError::invalid("give `page` or `cursor`, not both")),
        (Some(cursor), None) => Start::Cursor(cursor.clone()),
        (None, page) => Start::Page(checked_page(page.unwrap_or(1), per_page)?),
    };
    let wants_facets = params.facets.unwrap_or(params.cursor.is_none());
    let (query, notes) = parse(state, &params.q)?;
    let request = SearchRequest {
        query,
        access: caller.search_access(state).await?,
        per_page,
        start,
        facets: if wants_facets { Facet::ALL.to_vec() } else { Vec::new() },
        snippets: true,
        timeout: state.search_timeout,
    };
    Ok((request, notes))
}

fn checked_page(page: usize, per_page: usize) -> ApiResult<usize> {
    match page.checked_mul(per_page) {
        Some(last) if page > 0 && last < LAST_BY_PAGE + per_page => Ok(page),
        _ => Err(ApiError::invalid(format!(
            "`page` reaches {LAST_BY_PAGE} hits, from page 1: go on with `cursor`, which has no end"
        ))),
    }
}

/// Parses what somebody typed; too long a text is refused before anything looks at it.
pub(crate) fn parse(state: &WebState, text: &str) -> ApiResult<(Query, Vec<Note>)> {
    let limit = state.settings.max_query_bytes;
    if text.len() > limit {
        return Err(ApiError::new(
            axum::http::StatusCode::URI_TOO_LONG,
            format!("a query is {limit} bytes at most, and this one has {}", text.len()),
        ));
    }
    let Parsed { query, notes } = Query::parse(text, &ParseContext { now: state.clock.now(), me: None });
    let notes = notes.into_iter();
    Ok((
        query,
        notes.map(|note| Note { column: note.column, message: note.message, suggestion: note.suggestion }).collect(),
    ))
}
