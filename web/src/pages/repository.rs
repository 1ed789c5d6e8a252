//! A repository, an owner, and GitHub's lists, which are searches here.

use std::collections::BTreeMap;

use axum::{
    Extension,
    extract::{OriginalUri, Path, State},
    response::{IntoResponse, Redirect, Response},
};
use gharvest_model::{Kind, job::part};
use gharvest_search::document::DailyDocument;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, count, counted, moment, search::results};
use crate::{
    access::Caller,
    error::{ApiError, ApiResult},
    extract::{InPath, Params},
    labels, links, plot,
    requests::{
        RepositoryPath, Visible,
        repositories::{self, LedgerAnswer, RepositoryAnswer, ResponsivenessAnswer},
        search::{self, FacetCount, SearchAnswer, SearchParams},
        visible_repository,
    },
    state::WebState,
};

/// `GET /{owner}`: the owner's repositories.
pub(crate) async fn owner(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    OriginalUri(uri): OriginalUri,
    Path(owner): Path<String>,
) -> ApiResult<Response> {
    let all = repositories::list(&state, &caller).await?.repositories;
    let theirs = |repository: &RepositoryAnswer| {
        repository.full_name.split_once('/').is_some_and(|(login, _)| login.eq_ignore_ascii_case(&owner))
    };
    let found: Vec<RepositoryAnswer> = all.into_iter().filter(theirs).collect();
    if found.is_empty() || (links::is_reserved(&owner) && !uri.path().starts_with("/-/")) {
        return Err(ApiError::not_found(&owner));
    }
    let page = Page {
        title: owner.clone(),
        query: format!("org:{owner} "),
        body: html! {
            h1 { bdi { (owner) } }
            (table(&found))
        },
        ..Page::default()
    };
    Ok(page.into_response())
}

/// Repositories with their completeness.
pub(crate) fn table(repositories: &[RepositoryAnswer]) -> Markup {
    html! {
        div class="scroll" tabindex="0" {
            table class="wide" {
                thead { tr { th scope="col" { "Repository" } th scope="col" class="number" { "Items" } th scope="col" class="number" { "Unknown" } th scope="col" class="number" { "Failed" } th scope="col" class="number" { "Gone" } th scope="col" { "Completeness" } } }
                tbody {
                    @for repository in repositories {
                        @let ledger = &repository.ledger;
                        tr {
                            th scope="row" {
                                a href=(links::repository(&repository.full_name)) { (repository.full_name) }
                                @if repository.private { " " span class="tag" { "private" } }
                                @if repository.archived { " " span class="tag" { "archived" } }
                            }
                            td class="number" { (count(ledger.present)) }
                            td class="number" { (count(ledger.unknown)) }
                            td class="number" { (count(ledger.failed)) }
                            td class="number" { (count(ledger.deleted + ledger.hidden + ledger.transferred)) }
                            td { (completeness(repository)) @if let Some(trouble) = &repository.trouble { " " span class="bad" { (trouble) } } }
                        }
                    }
                }
            }
        }
    }
}

/// What it is if it is not complete, in two words.
pub(crate) fn word(repository: &RepositoryAnswer) -> &'static str {
    if repository.ledger.complete { "stands still" } else { "not complete yet" }
}

fn completeness(repository: &RepositoryAnswer) -> Markup {
    let ledger = &repository.ledger;
    let known = ledger.highest - (ledger.unknown + ledger.failed).min(ledger.highest);
    html! {
        @if ledger.highest == 0 { span class="quiet" { "nothing yet" } }
        @else if repository.complete { span class="good" { "complete" } span class="quiet" { ", every number to " (count(ledger.highest)) " accounted for" } }
        @else if ledger.complete { span class="bad" { (word(repository)) } span class="quiet" { ", every number to " (count(ledger.highest)) " accounted for" } }
        @else { progress max=(ledger.highest) value=(known) aria-label="Numbers accounted for" {} " " (count(known)) " of " (count(ledger.highest)) }
    }
}

/// `GET /{owner}/{name}`
pub(crate) async fn page(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    OriginalUri(uri): OriginalUri,
    InPath(path): InPath<RepositoryPath>,
) -> ApiResult<Response> {
    if links::is_reserved(&path.owner) && !uri.path().starts_with("/-/") {
        return Err(ApiError::not_found(uri.path()));
    }
    let asked = path.full_name()?;
    let visible = visible_repository(&state, &caller, &asked).await?;
    if visible.name.key() != asked.key() {
        return Ok(Redirect::permanent(&links::repository(&visible.name.to_string())).into_response());
    }
    let answer = repositories::show(&state, &caller, &path).await?;
    let figures = Figures::gather(&state, &caller, &visible).await?;
    let page = Page {
        title: answer.full_name.clone(),
        query: format!("repo:{} ", answer.full_name),
        live: Some(format!("{}#", answer.id)),
        class: "with-side",
        body: body(&state, &answer, &figures),
        ..Page::default()
    };
    Ok(page.into_response())
}

/// A count that leads to what it counts.
struct Tile {
    words: &'static str,
    query: &'static str,
    /// None while the engine is away.
    count: Option<u64>,
}

const TILES: [(&str, &str); 4] = [
    ("open issues", "is:issue is:open"),
    ("open pull requests", "is:pr is:open"),
    ("closed issues", "is:issue is:closed"),
    ("merged pull requests", "is:merged"),
];

/// What the page shows beside the repository itself.
struct Figures {
    tiles: Vec<Tile>,
    everything: Option<SearchAnswer>,
    backlog: Vec<(String, u64)>,
    open_pulls: Vec<(String, u64)>,
    /// Open items with each of the most frequent labels, day by day.
    labels_over_time: Vec<(String, Vec<(String, u64)>)>,
    responsiveness: Option<ResponsivenessAnswer>,
    labels: Option<Value>,
    releases: Option<Value>,
}

/// Labels with a plot of their own.
const LABELS_OVER_TIME: usize = 6;

/// What is open at the end of each day, issues and pull requests together.
fn open_of_both_kinds(days: &[DailyDocument]) -> Vec<(String, u64)> {
    let mut open = BTreeMap::<&str, [u64; 2]>::new();
    let (mut issues, mut pulls) = (0, 0);
    for day in days {
        let last = if day.kind == Kind::Issue { &mut issues } else { &mut pulls };
        *last = u64::from(day.open);
        open.insert(&day.day, [issues, pulls]);
    }
    open.into_iter().map(|(day, [issues, pulls])| (day.to_owned(), issues + pulls)).collect()
}

impl Figures {
    async fn gather(state: &WebState, caller: &Caller, visible: &Visible) -> ApiResult<Self> {
        let params = SearchParams { q: format!("repo:{}", visible.name), per_page: Some(1), ..SearchParams::default() };
        // The engine may be away: the archive's part of the page is of use all the same.
        let everything = search::search(state, caller, &params).await.ok();
        let days = state.backends.search.daily(visible.id, "all", None).await.unwrap_or_default();
        let open = |kind| {
            days.iter().filter(|day| day.kind == kind).map(|day| (day.day.clone(), u64::from(day.open))).collect()
        };
        let path = RepositoryPath { owner: visible.name.owner().to_owned(), name: visible.name.name().to_owned() };
        let mut tiles = Vec::with_capacity(TILES.len());
        for (words, query) in TILES {
            let q = format!("repo:{} {query}", visible.name);
            let params = SearchParams { q, per_page: Some(1), facets: Some(false), ..SearchParams::default() };
            let count = search::search(state, caller, &params).await.ok().map(|answer| answer.total);
            tiles.push(Tile { words, query, count });
        }
        let facet = everything.as_ref().and_then(|answer| answer.facets.get("label")).into_iter().flatten();
        let mut labels_over_time = Vec::new();
        for label in facet.take(LABELS_OVER_TIME) {
            let days = state.backends.search.daily(visible.id, "label", Some(&label.value)).await.unwrap_or_default();
            labels_over_time.push((label.value.clone(), open_of_both_kinds(&days)));
        }
        Ok(Self {
            tiles,
            everything,
            labels_over_time,
            responsiveness: repositories::responsiveness(state, caller, &path).await.ok(),
            backlog: open(Kind::Issue),
            open_pulls: open(Kind::PullRequest),
            labels: state.backends.archive.part(visible.id, part::LABELS).await?,
            releases: state.backends.archive.part(visible.id, part::RELEASES).await?,
        })
    }

    fn facet(&self, name: &str) -> &[FacetCount] {
        self.everything.as_ref().and_then(|answer| answer.facets.get(name)).map(Vec::as_slice).unwrap_or_default()
    }

    fn color(&self, label: &str) -> &str {
        let labels = self.labels.as_ref().and_then(Value::as_array).into_iter().flatten();
        labels.filter(|known| known["name"] == label).find_map(|known| known["color"].as_str()).unwrap_or("")
    }
}

fn body(state: &WebState, answer: &RepositoryAnswer, figures: &Figures) -> Markup {
    let now = state.clock.now();
    let name = &answer.full_name;
    let search = |rest: &str| links::search(&format!("repo:{name} {rest}"));
    html! {
        header class="thread-head" {
            h1 { bdi { (name) } }
            p class="meta" {
                @if let Some(description) = &answer.description { bdi { (description) } br; }
                (counted(answer.stars, "star")) " · " (counted(answer.forks, "fork"))
                @if let Some(language) = &answer.language { " · " (language) }
                @if answer.private { " · private" } @if answer.archived { " · archived" } @if !answer.tracked { " · not followed any more" }
                @if !answer.former_names.is_empty() { " · formerly " (answer.former_names.join(", ")) }
            }
        }
        @if let Some(trouble) = &answer.trouble { p class="banner gone" { (trouble) } }
        div class="columns" {
            div {
                ul class="tiles" {
                    @for tile in &figures.tiles {
                        li { a href=(search(tile.query)) { @if let Some(number) = tile.count { strong { (count(number)) } " " } (tile.words) } }
                    }
                }
                @if figures.backlog.len() > 1 { section { h2 { "Open issues" } (plot::line(&figures.backlog, "open issues")) } }
                @if figures.open_pulls.len() > 1 { section { h2 { "Open pull requests" } (plot::line(&figures.open_pulls, "open pull requests")) } }
                @if let Some(everything) = &figures.everything {
                    section { h2 { "Opened and closed" } (plot::opened_and_closed(&super::search::periods(everything))) }
                }
                @if let Some(answer) = &figures.responsiveness { (responsiveness(answer)) }
                (labels_over_time(figures, &search))
                (releases(figures.releases.as_ref(), now))
            }
            aside {
                section { h2 { "Completeness" } p { (completeness(answer)) } (ledger(&answer.ledger, now)) p { a href=(links::audit(name)) { "Audit" } } }
                section { h2 { "Labels" } ul class="plain counted" {
                    @for value in figures.facet("label") {
                        li { (labels::label(&value.value, figures.color(&value.value), Some(&search(&gharvest_search::query::edit::with("", "label", &value.value))))) span class="count" { (count(value.count)) } }
                    }
                } }
                section { h2 { "People" } ul class="plain counted" {
                    @for value in figures.facet("author") {
                        li { a href=(search(&format!("author:{}", value.value))) { bdi { (value.value) } } span class="count" { (count(value.count)) } }
                    }
                } }
                section { h2 { "Elsewhere" } ul class="plain" {
                    li { a rel="noopener noreferrer" href=(format_args!("{}/{name}", state.github_url)) { "On GitHub" } }
                    li { a href=(format_args!("{}/issues", links::repository(name))) { "All issues" } }
                    li { a href=(format_args!("{}/pulls", links::repository(name))) { "All pull requests" } }
                } }
            }
        }
    }
}

fn labels_over_time(figures: &Figures, search: &dyn Fn(&str) -> String) -> Markup {
    let plotted: Vec<_> = figures.labels_over_time.iter().filter(|(_, days)| days.len() > 1).collect();
    html! {
        @if !plotted.is_empty() {
            section {
                h2 { "Labels over time" }
                div class="multiples" {
                    @for (label, days) in plotted {
                        div {
                            (labels::label(label, figures.color(label), Some(&search(&gharvest_search::query::edit::with("", "label", label)))))
                            (plot::line(days, "open"))
                        }
                    }
                }
            }
        }
    }
}

fn responsiveness(answer: &ResponsivenessAnswer) -> Markup {
    let hours = |hours: Option<f32>| hours.map_or_else(|| "–".to_owned(), super::hours);
    html! {
        @if answer.issues > 0 {
            section {
                h2 { "Answers, by month of opening (the latest " (count(answer.issues as u64)) " issues)" }
                div class="scroll" tabindex="0" { table class="wide" {
                    thead { tr { th scope="col" { "Month" } @for word in ["opened", "first answer p50", "p90", "close p50", "p90"] { th scope="col" class="number" { (word) } } } }
                    tbody { @for month in answer.months.iter().take(12) { tr {
                        th scope="row" { (month.month) }
                        td class="number" { (month.opened) }
                        @for value in [month.response_p50, month.response_p90, month.close_p50, month.close_p90] { td class="number" { (hours(value)) } }
                    } } }
                } }
            }
        }
    }
}

fn ledger(ledger: &LedgerAnswer, now: jiff::Timestamp) -> Markup {
    let rows = [
        ("present", ledger.present),
        ("deleted", ledger.deleted),
        ("moved", ledger.transferred),
        ("hidden", ledger.hidden),
        ("discussions", ledger.not_an_item),
        ("unknown", ledger.unknown),
        ("failed", ledger.failed),
    ];
    html! {
        dl {
            @for (word, number) in rows.into_iter().filter(|(_, number)| *number > 0) { dt { (word) } dd { (count(number)) } }
            @if let Some(at) = ledger.oldest_verification { dt { "oldest check" } dd { (moment(at, now)) } }
        }
    }
}

fn releases(releases: Option<&Value>, now: jiff::Timestamp) -> Markup {
    let releases: Vec<&Value> = releases.and_then(Value::as_array).into_iter().flatten().take(10).collect();
    html! {
        @if !releases.is_empty() {
            section { h2 { "Releases" } ul class="plain" {
                @for release in releases {
                    li {
                        @let name = release["name"].as_str().filter(|name| !name.is_empty()).or(release["tag_name"].as_str()).unwrap_or("");
                        @match release["html_url"].as_str().filter(|url| url.starts_with("https://")) {
                            Some(url) => a rel="noopener noreferrer" href=(url) { bdi { (name) } },
                            None => bdi { (name) },
                        }
                        @if release["prerelease"] == true { " " span class="tag" { "pre-release" } }
                        @if let Some(at) = crate::thread::time(release, "/published_at") { " " span class="quiet" { (moment(at, now)) } }
                    }
                }
            } }
        }
    }
}

/// `GET /{owner}/{name}/issues`
pub(crate) async fn issues(
    state: State<WebState>,
    caller: Extension<Caller>,
    path: InPath<RepositoryPath>,
    params: Params<SearchParams>,
) -> ApiResult<Response> {
    list(state, caller, path, params, "is:issue").await
}

/// `GET /{owner}/{name}/pulls`
pub(crate) async fn pulls(
    state: State<WebState>,
    caller: Extension<Caller>,
    path: InPath<RepositoryPath>,
    params: Params<SearchParams>,
) -> ApiResult<Response> {
    list(state, caller, path, params, "is:pr").await
}

async fn list(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<RepositoryPath>,
    Params(mut params): Params<SearchParams>,
    kind: &str,
) -> ApiResult<Response> {
    let visible = visible_repository(&state, &caller, &path.full_name()?).await?;
    // Without a query GitHub's lists show what is open; a query given there says everything but the repository.
    let rest = if params.q.trim().is_empty() { format!("{kind} is:open") } else { params.q.clone() };
    params.q = format!("repo:{} {rest}", visible.name);
    let answer = search::search(&state, &caller, &params).await?;
    let word = if kind == "is:pr" { "Pull requests" } else { "Issues" };
    let name = visible.name.to_string();
    let heading = html! { p class="crumbs" { a href=(links::repository(&name)) { (name) } " / " (word) } };
    Ok(results(&params, &answer, Some(heading), state.clock.now(), state.settings.page_size).into_response())
}
