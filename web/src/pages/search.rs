//! `/`: the search, and what is happening now while nothing is searched for.

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use gharvest_model::Kind;
use gharvest_search::query::{Jump, edit};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{Page, count, moment, person, ticked};
use crate::{
    access::Caller,
    error::ApiResult,
    extract::Params,
    feeds, icons, labels, links,
    plot::{self, Period},
    requests::{
        items::{self, ItemPath},
        live::{self, Change, RecentParams},
        repositories::{self, RepositoryAnswer},
        search::{self, Format, ItemSnippet, Note, SearchAnswer, SearchItem, SearchParams},
    },
    state::WebState,
};

/// `GET /`
pub(crate) async fn page(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<SearchParams>,
) -> ApiResult<Response> {
    if params.format.is_some_and(|format| format != Format::Json) {
        return feeds::respond(&state, &caller, params).await;
    }
    if params.q.trim().is_empty() && params.page.is_none() && params.cursor.is_none() {
        return home(&state, &caller).await;
    }
    if let Some(path) = jump(&state, &caller, &params).await? {
        return Ok(Redirect::to(&path).into_response());
    }
    let answer = search::search(&state, &caller, &params).await?;
    Ok(results(&params, &answer, None, state.clock.now(), state.settings.page_size).into_response())
}

/// The page of hits; a heading stands above it where the search is a list of something.
pub(crate) fn results(
    params: &SearchParams,
    answer: &SearchAnswer,
    heading: Option<Markup>,
    now: Timestamp,
    page_size: usize,
) -> Page {
    let feed = |format: &str| format!("/?{}", links::form_urlencoded(&[("q", &params.q), ("format", format)]));
    // One repository need not be named in every row.
    let several = answer.facets.get("repository").is_none_or(|repositories| repositories.len() != 1);
    Page {
        title: if params.q.is_empty() { "Search".to_owned() } else { params.q.clone() },
        query: params.q.clone(),
        live: Some("search".to_owned()),
        feeds: vec![(feed("atom"), "application/atom+xml"), (feed("feed"), "application/feed+json")],
        class: "with-side",
        body: html! {
            @if let Some(heading) = heading { (heading) }
            div class="columns" {
                div class="results" {
                    (summary(params, answer, &feed))
                    (notes(&params.q, &answer.notes))
                    @if answer.items.is_empty() { (nothing(&params.q)) }
                    @if !answer.items.is_empty() { ol class="hits" data-list { @for item in &answer.items { (hit(item, now, several)) } } }
                    (pager(params, answer, page_size))
                    (plot::opened_and_closed(&periods(answer)))
                }
                (facets(params, answer))
            }
        },
    }
}

fn summary(params: &SearchParams, answer: &SearchAnswer, feed: &dyn Fn(&str) -> String) -> Markup {
    let sorted = params.q.contains("sort:");
    // Where there are no words nothing matches better than the rest.
    let unsaid = if answer.items.iter().any(|item| item.score > 0.0) { "relevance" } else { "created-desc" };
    html! {
        div class="summary" {
            h1 class="total" aria-live="polite" {
                (count(answer.total)) @if answer.total == 1 { " item" } @else { " items" }
                span class="quiet" { " in " (format_args!("{:.1}", answer.took_ms)) " ms" }
            }
            nav class="sorts" aria-label="Order" {
                @for (word, sort) in [("best match", "relevance"), ("newest", "created-desc"), ("updated", "updated-desc"), ("most discussed", "comments-desc")] {
                    @let current = if sorted { edit::is_active(&params.q, "sort", sort) } else { sort == unsaid };
                    a href=(links::search(&edit::with(&params.q, "sort", sort))) aria-current=[current.then_some("true")] rel="nofollow" { (word) }
                }
            }
            nav class="exports" aria-label="Export" {
                a href=(feed("csv")) rel="nofollow" { "CSV" } a href=(feed("ndjson")) rel="nofollow" { "NDJSON" } a href=(feed("atom")) rel="nofollow" { "Atom" }
            }
        }
    }
}

fn notes(query: &str, notes: &[Note]) -> Markup {
    html! {
        @if !notes.is_empty() {
            ul class="notes" aria-label="What was not understood" {
                @for note in notes {
                    li {
                        "Column " (note.column) ": " (ticked(&note.message)) "."
                        @if let Some(suggestion) = &note.suggestion {
                            " Did you mean " a href=(links::search(&corrected(query, note.column, suggestion))) { code { (suggestion) } } "?"
                        }
                    }
                }
            }
        }
    }
}

/// The query with the word at a column replaced.
fn corrected(query: &str, column: usize, suggestion: &str) -> String {
    let letters: Vec<char> = query.chars().collect();
    let start = column.saturating_sub(1).min(letters.len());
    let end = letters[start..].iter().position(|letter| letter.is_whitespace()).map_or(letters.len(), |at| start + at);
    let before: String = letters[..start].iter().collect();
    let after: String = letters[end..].iter().collect();
    format!("{before}{suggestion}{after}")
}

fn nothing(query: &str) -> Markup {
    html! {
        div class="message" {
            p { "Nothing in this mirror matches." }
            @if !query.is_empty() {
                p { "Every word must occur somewhere in the thread; " code { "OR" } " between words asks for one of them. "
                    a href="/-/help/search" { "All of the language" } " on one page." }
            }
        }
    }
}

/// One hit: a dense row that is one link.
pub(crate) fn hit(item: &SearchItem, now: Timestamp, names_repository: bool) -> Markup {
    let is_pull = item.kind == Kind::PullRequest;
    html! {
        li class="hit" {
            (icons::state(is_pull, &item.state, item.state_reason.as_deref(), item.draft))
            div class="what" {
                p class="title" {
                    a href=(item.url) data-open { bdi { (marked_title(item)) } }
                    @for label in &item.labels { " " (labels::label(&label.name, &label.color, Some(&links::search(&edit::with("", "label", &label.name))))) }
                }
                p class="meta" {
                    @if names_repository { a class="where" href=(links::repository(&item.repository)) { (item.repository) } } "#" (item.number)
                    @if let Some(author) = &item.author { " by " (person(author)) }
                    " · opened " (moment(item.created_at, now))
                    @if let Some(closed) = item.closed_at { " · closed " (moment(closed, now)) }
                    @else if item.updated_at != item.created_at { " · updated " (moment(item.updated_at, now)) }
                    @if let Some(milestone) = &item.milestone { " · milestone " bdi { (milestone) } }
                }
                @if let Some(found) = &item.snippet { (snippet(item, found)) }
            }
            span class="count" {
                @if item.comments > 0 {
                    (icons::comment()) (item.comments) span class="hidden" { " comments" }
                }
            }
        }
    }
}

/// The title, with its hits marked where the snippet is the whole of it.
fn marked_title(item: &SearchItem) -> Markup {
    let found = item.snippet.as_ref().filter(|found| found.part == "title" && !item.title.contains('`'));
    let whole =
        |found: &&ItemSnippet| found.pieces.iter().map(|piece| piece.text.as_str()).collect::<String>() == item.title;
    match found.filter(whole) {
        Some(found) => pieces(found),
        None => ticked(title(&item.title)),
    }
}

fn pieces(found: &ItemSnippet) -> Markup {
    html! { @for piece in &found.pieces { @if piece.hit { mark { (piece.text) } } @else { (piece.text) } } }
}

fn title(title: &str) -> &str {
    if title.trim().is_empty() { "(no title)" } else { title }
}

fn snippet(item: &SearchItem, found: &ItemSnippet) -> Markup {
    // The title is shown with its row already.
    if found.pieces.is_empty() || found.part == "title" {
        return html! {};
    }
    let anchor = match (found.part.as_str(), found.comment_id) {
        ("comment", Some(id)) => Some(format!("{}#issuecomment-{id}", item.url)),
        ("review", Some(id)) => Some(format!("{}#pullrequestreview-{id}", item.url)),
        ("review_comment", Some(id)) => Some(format!("{}#discussion_r{id}", item.url)),
        _ => None,
    };
    let place = found.part.replace('_', " ");
    html! {
        p class="snippet" {
            @if found.part != "body" {
                @match anchor {
                    Some(anchor) => { a class="part" href=(anchor) { (place) } " " },
                    None => { span class="part" { (place) } " " },
                }
            }
            bdi { (pieces(found)) }
        }
    }
}

fn pager(params: &SearchParams, answer: &SearchAnswer, page_size: usize) -> Markup {
    let per_page = params.per_page.unwrap_or(page_size);
    let page = params.page.unwrap_or(1);
    let last = usize::try_from(answer.total).unwrap_or(usize::MAX).min(search::LAST_BY_PAGE).div_ceil(per_page);
    let address = |page: usize| {
        let mut pairs = vec![("q", params.q.clone()), ("page", page.to_string())];
        pairs.extend(params.per_page.map(|per_page| ("per_page", per_page.to_string())));
        format!("/?{}", url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
    };
    html! {
        @if last > 1 {
            nav class="pager" aria-label="Pages of hits" {
                @if page > 1 { a rel="prev" href=(address(page - 1)) { "Previous" } }
                span { "Page " (page) " of " (count(last as u64)) }
                @if page < last { a rel="next" href=(address(page + 1)) { "Next" } }
            }
        }
    }
}

/// Facets shown, in this order: name, heading, qualifier.
const FACETS: [(&str, &str, &str); 7] = [
    ("state", "State", "is"),
    ("kind", "Kind", "is"),
    ("label", "Label", "label"),
    ("author", "Author", "author"),
    ("milestone", "Milestone", "milestone"),
    ("repository", "Repository", "repo"),
    ("year", "Opened", "created"),
];

fn facets(params: &SearchParams, answer: &SearchAnswer) -> Markup {
    html! {
        aside class="facets" aria-label="Narrow the search" {
            @for (name, heading, qualifier) in FACETS {
                @let values = answer.facets.get(name).map(Vec::as_slice).unwrap_or_default();
                @if !values.is_empty() {
                    section {
                        h2 { (heading) }
                        ul {
                            @for value in values {
                                @let word = match value.value.as_str() { "pull_request" => "pr", word => word };
                                @let active = edit::is_active(&params.q, qualifier, word);
                                @let query = if active { edit::without(&params.q, qualifier, word) } else { edit::with(&params.q, qualifier, word) };
                                li {
                                    a href=(links::search(&query)) aria-current=[active.then_some("true")] rel="nofollow" {
                                        span class="value" { bdi { (value.value.replace('_', " ")) } }
                                        span class="count" { @if active { "×" } @else { (count(value.count)) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The months of the answer without gaps, as far back as ten years.
pub(crate) fn periods(answer: &SearchAnswer) -> Vec<Period> {
    let mut months = std::collections::BTreeMap::<&str, Period>::new();
    for value in answer.facets.get("month").into_iter().flatten() {
        let Some((what, month)) = value.value.split_once(':') else { continue };
        let period = months.entry(month).or_insert_with(|| Period { name: month.to_owned(), ..Period::default() });
        match what {
            "opened" => period.opened = value.count,
            _ => period.closed = value.count,
        }
    }
    let (Some(first), Some(last)) = (months.keys().next(), months.keys().next_back()) else { return Vec::new() };
    let mut all: Vec<Period> = month_names(first, last)
        .map(|name| months.get(name.as_str()).cloned().unwrap_or(Period { name, ..Period::default() }))
        .collect();
    all.split_off(all.len().saturating_sub(120))
}

/// Names of months from one to another, both included.
fn month_names(first: &str, last: &str) -> impl Iterator<Item = String> {
    let number = |month: &str| -> Option<i64> {
        let (year, month) = month.split_once('-')?;
        Some(year.parse::<i64>().ok()? * 12 + month.parse::<i64>().ok()? - 1)
    };
    let (from, to) = (number(first).unwrap_or(0), number(last).unwrap_or(-1));
    // Times of strangers may lie anywhere; a plot of a thousand years helps nobody.
    (from.max(to - 1200)..=to).map(|month| format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1))
}

/// Where a query leads that names one thread, repository or commit.
async fn jump(state: &WebState, caller: &Caller, params: &SearchParams) -> ApiResult<Option<String>> {
    if params.page.is_some() || params.cursor.is_some() {
        return Ok(None);
    }
    let (query, _) = search::parse(state, &params.q)?;
    match query.jump() {
        Some(Jump::Item(item)) => {
            let path = ItemPath {
                owner: item.repository.owner().to_owned(),
                name: item.repository.name().to_owned(),
                number: item.number,
            };
            let exists = items::record(state, caller, &path).await.is_ok();
            Ok(exists.then(|| links::item(&item.repository.to_string(), Kind::Issue, item.number)))
        }
        Some(Jump::Repository(name)) => {
            let visible = super::super::requests::visible_repository(state, caller, name).await;
            Ok(visible.is_ok().then(|| links::repository(&name.to_string())))
        }
        Some(Jump::Number(number)) => jump_to_number(state, caller, *number).await,
        Some(Jump::Commit(_)) => {
            let answer = search::search(state, caller, &SearchParams { facets: Some(false), ..params.clone() }).await?;
            Ok(answer.items.into_iter().next().filter(|_| answer.total == 1).map(|item| item.url))
        }
        None => Ok(None),
    }
}

/// A bare number leads somewhere if only one repository is mirrored.
async fn jump_to_number(state: &WebState, caller: &Caller, number: u64) -> ApiResult<Option<String>> {
    let repositories = repositories::list(state, caller).await?.repositories;
    let [only] = &repositories[..] else { return Ok(None) };
    let Some((owner, name)) = only.full_name.split_once('/') else { return Ok(None) };
    let path = ItemPath { owner: owner.to_owned(), name: name.to_owned(), number };
    let exists = items::record(state, caller, &path).await.is_ok();
    Ok(exists.then(|| links::item(&only.full_name, Kind::Issue, number)))
}

async fn home(state: &WebState, caller: &Caller) -> ApiResult<Response> {
    let now = state.clock.now();
    let repositories = repositories::list(state, caller).await?.repositories;
    let recent = live::recent(state, caller, &RecentParams { limit: Some(12) }).await?.events;
    let params = SearchParams {
        q: "sort:updated-desc".to_owned(),
        per_page: Some(15),
        facets: Some(false),
        ..SearchParams::default()
    };
    // The engine may be away or empty: the rest of the page is still of use.
    let latest = search::search(state, caller, &params).await.map(|answer| answer.items).unwrap_or_default();
    let several = repositories.len() != 1;
    let page = Page {
        title: "Search".to_owned(),
        live: Some("home".to_owned()),
        class: "with-side",
        body: html! {
            h1 class="hidden" { "Search" }
            div class="columns" {
                div {
                    section { h2 { "Latest updates" } @if latest.is_empty() { p class="quiet" { "Nothing is indexed yet." } }
                        ol class="hits" data-list { @for item in &latest { (hit(item, now, several)) } } }
                }
                aside {
                    section { h2 { "Repositories" } (repository_list(&repositories)) }
                    section { h2 { "Happening now" } (changes(&recent, now)) }
                    (examples())
                }
            }
        },
        ..Page::default()
    };
    Ok(page.into_response())
}

fn repository_list(repositories: &[RepositoryAnswer]) -> Markup {
    html! {
        @if repositories.is_empty() {
            p class="quiet" { "None yet. " code { "gharvest track OWNER/NAME" } " adds one." }
        }
        ul class="plain" {
            @for repository in repositories {
                li {
                    a href=(links::repository(&repository.full_name)) { (repository.full_name) }
                    span class="quiet" { " " (count(repository.ledger.present)) " items" @if !repository.complete { ", " (super::repository::word(repository)) } }
                }
            }
        }
    }
}

/// What changed lately; the script adds to it.
pub(crate) fn changes(changes: &[Change], now: Timestamp) -> Markup {
    html! {
        ol class="changes plain" data-changes aria-live="off" {
            @for change in changes {
                li {
                    (icons::state(change.kind == Kind::PullRequest, &change.state, None, false))
                    " " a href=(change.url) { bdi { (ticked(title(&change.title))) } }
                    span class="quiet" { " #" (change.number) " · " (moment(change.at, now)) }
                }
            }
        }
        @if changes.is_empty() { p class="quiet" data-empty { "Nothing changed since this was started." } }
    }
}

fn examples() -> Markup {
    let examples = [
        ("is:open sort:reactions-desc", "most wanted"),
        ("is:pr is:open review:none", "waits for a review"),
        ("is:issue is:open waiting:maintainers", "waits for an answer"),
        ("is:open open-for:>1y", "open for more than a year"),
        ("is:open@2024-01-01", "open when 2024 began"),
    ];
    html! {
        section {
            h2 { "Try" }
            ul class="plain" { @for (query, words) in examples { li { a href=(links::search(query)) { code { (query) } } br; span class="quiet" { (words) } } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_replaces_the_wrong_word_only() {
        assert_eq!(corrected("is:open lable:bug x", 9, "label:bug"), "is:open label:bug x");
        assert_eq!(corrected("is:opne", 1, "is:open"), "is:open");
    }

    #[test]
    fn months_have_no_gaps() {
        assert_eq!(month_names("2023-11", "2024-02").collect::<Vec<_>>(), ["2023-11", "2023-12", "2024-01", "2024-02"]);
        assert_eq!(month_names("x", "y").count(), 0);
    }
}
