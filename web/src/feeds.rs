//! A search as a feed or as a file.

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use maud::{PreEscaped, html};
use serde_json::json;

use crate::{
    access::Caller,
    error::{ApiError, ApiResult},
    links,
    requests::search::{self, Format, LARGEST_PAGE, SearchAnswer, SearchItem, SearchParams},
    state::WebState,
};

/// Answers a search in the format asked for.
pub(crate) async fn respond(state: &WebState, caller: &Caller, params: SearchParams) -> ApiResult<Response> {
    match params.format.unwrap_or(Format::Json) {
        Format::Json => Ok(axum::Json(search::search(state, caller, &params).await?).into_response()),
        Format::Atom => Ok(atom(state, &params, &feed(state, caller, &params).await?)),
        Format::Feed => Ok(json_feed(state, &params, &feed(state, caller, &params).await?)),
        Format::Csv => export(state, caller, params, "text/csv; charset=utf-8", "csv", csv_rows).await,
        Format::Ndjson => export(state, caller, params, "application/x-ndjson", "ndjson", json_lines).await,
    }
}

/// A feed is about what changed last, unless the query has an order of its own.
async fn feed(state: &WebState, caller: &Caller, params: &SearchParams) -> ApiResult<SearchAnswer> {
    let mut params = SearchParams { facets: Some(false), ..params.clone() };
    if !params.q.split_whitespace().any(|word| word.starts_with("sort:")) {
        params.q = format!("{} sort:updated-desc", params.q).trim().to_owned();
    }
    search::search(state, caller, &params).await
}

/// The address under which others reach us.
fn base(state: &WebState) -> String {
    match state.settings.public_url.trim_end_matches('/') {
        "" => format!("http://{}", state.settings.listen),
        url => url.to_owned(),
    }
}

fn atom(state: &WebState, params: &SearchParams, answer: &SearchAnswer) -> Response {
    let base = base(state);
    let updated = answer.items.iter().map(|item| item.updated_at).max().unwrap_or_else(|| state.clock.now());
    let time = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let markup = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"))
        feed xmlns="http://www.w3.org/2005/Atom" {
            title { "gharvest: " (xml_text(&params.q)) }
            id { (base) (links::search(&params.q)) }
            link href=(format_args!("{base}{}", links::search(&params.q))) {}
            updated { (time(updated)) }
            @for item in &answer.items {
                entry {
                    title { (xml_text(&item.title)) }
                    id { (base) (item.url) }
                    link href=(format_args!("{base}{}", item.url)) {}
                    published { (time(item.created_at)) }
                    updated { (time(item.updated_at)) }
                    author { name { (xml_text(item.author.as_deref().unwrap_or("ghost"))) } }
                    @for label in &item.labels { category term=(xml_text(&label.name)) {} }
                    summary { (item.repository) "#" (item.number) ", " (item.state) }
                }
            }
        }
    };
    ([(header::CONTENT_TYPE, "application/atom+xml; charset=utf-8")], markup.into_string()).into_response()
}

/// XML has no way to write most control characters.
fn xml_text(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control() && !matches!(letter, '\u{fffe}' | '\u{ffff}')).collect()
}

/// JSON Feed 1.1.
fn json_feed(state: &WebState, params: &SearchParams, answer: &SearchAnswer) -> Response {
    let base = base(state);
    let item = |item: &SearchItem| {
        json!({
            "id": format!("{base}{}", item.url),
            "url": format!("{base}{}", item.url),
            "title": item.title,
            "content_text": format!("{}#{}, {}", item.repository, item.number, item.state),
            "date_published": item.created_at,
            "date_modified": item.updated_at,
            "authors": item.author.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
            "tags": item.labels.iter().map(|label| &label.name).collect::<Vec<_>>(),
        })
    };
    let feed = json!({
        "version": "https://jsonfeed.org/version/1.1",
        "title": format!("gharvest: {}", params.q),
        "home_page_url": format!("{base}{}", links::search(&params.q)),
        "items": answer.items.iter().map(item).collect::<Vec<_>>(),
    });
    ([(header::CONTENT_TYPE, "application/feed+json; charset=utf-8")], feed.to_string()).into_response()
}

/// Turns a page of hits into lines; the first page brings the heading.
type Lines = fn(&[SearchItem], bool) -> Vec<u8>;

/// Every hit, a page at a time, so that memory stays the same however many there are.
async fn export(
    state: &WebState,
    caller: &Caller,
    params: SearchParams,
    content_type: &'static str,
    extension: &str,
    lines: Lines,
) -> ApiResult<Response> {
    let params = SearchParams { per_page: Some(LARGEST_PAGE), facets: Some(false), page: None, ..params };
    // The first page is asked for here, so that a refusal still has its status.
    let first = search::search(state, caller, &params).await?;
    let head = Bytes::from(lines(&first.items, true));
    let rest = Rest { state: state.clone(), caller: caller.clone(), params, lines };
    let pages = stream::try_unfold((rest, first.next), |(rest, next)| async move {
        let Some(cursor) = next else { return Ok::<_, ApiError>(None) };
        let params = SearchParams { cursor: Some(cursor), ..rest.params.clone() };
        let answer = search::search(&rest.state, &rest.caller, &params).await?;
        let bytes = Bytes::from((rest.lines)(&answer.items, false));
        Ok(Some((bytes, (rest, answer.next))))
    });
    let body = Body::from_stream(stream::StreamExt::chain(stream::once(async { Ok(head) }), pages));
    let disposition = format!("attachment; filename=\"gharvest.{extension}\"");
    Ok(([(header::CONTENT_TYPE, content_type.to_owned()), (header::CONTENT_DISPOSITION, disposition)], body)
        .into_response())
}

struct Rest {
    state: WebState,
    caller: Caller,
    params: SearchParams,
    lines: Lines,
}

fn json_lines(items: &[SearchItem], _: bool) -> Vec<u8> {
    let mut lines = Vec::new();
    for item in items {
        serde_json::to_writer(&mut lines, item).expect("an item has no map with keys that are not strings");
        lines.push(b'\n');
    }
    lines
}

const COLUMNS: [&str; 13] = [
    "repository",
    "number",
    "kind",
    "title",
    "state",
    "state_reason",
    "author",
    "labels",
    "assignees",
    "milestone",
    "comments",
    "created_at",
    "updated_at",
];

fn csv_rows(items: &[SearchItem], first: bool) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |row: &[String; 13]| writer.write_record(row).expect("writing to memory cannot fail");
    if first {
        write(&COLUMNS.map(str::to_owned));
    }
    for item in items {
        let labels: Vec<&str> = item.labels.iter().map(|label| label.name.as_str()).collect();
        write(&[
            item.repository.clone(),
            item.number.to_string(),
            item.kind.to_string(),
            not_a_formula(&item.title),
            item.state.clone(),
            item.state_reason.clone().unwrap_or_default(),
            not_a_formula(item.author.as_deref().unwrap_or_default()),
            not_a_formula(&labels.join(", ")),
            not_a_formula(&item.assignees.join(", ")),
            not_a_formula(item.milestone.as_deref().unwrap_or_default()),
            item.comments.to_string(),
            item.created_at.to_string(),
            item.updated_at.to_string(),
        ]);
    }
    writer.into_inner().expect("flushing to memory cannot fail")
}

/// Spreadsheets run cells that begin like a formula; an apostrophe makes them text.
fn not_a_formula(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_cannot_become_a_formula_or_break_a_feed() {
        assert_eq!(not_a_formula("=1+1"), "'=1+1");
        assert_eq!(not_a_formula("a=1"), "a=1");
        assert_eq!(xml_text("a\u{0}b\u{b}c"), "abc");
    }
}
