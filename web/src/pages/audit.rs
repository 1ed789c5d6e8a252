//! `/-/{owner}/{name}/audit`: what is accounted for, what is not, and what drifted and was healed.

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{Page, count, counted, moment};
use crate::{
    access::Caller,
    error::ApiResult,
    extract::InPath,
    links,
    requests::{
        RepositoryPath,
        audit::{self, AuditAnswer},
    },
    state::WebState,
};

/// Runs of numbers shown at once; the gap report has 10,000.
const RUNS_SHOWN: usize = 100;

/// `GET /-/{owner}/{name}/audit`
pub(crate) async fn page(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<RepositoryPath>,
) -> ApiResult<Response> {
    let answer = audit::audit(&state, &caller, &path).await?;
    if !answer.repository.eq_ignore_ascii_case(&path.full_name()?.to_string()) {
        return Ok(Redirect::permanent(&links::audit(&answer.repository)).into_response());
    }
    let page = Page {
        title: format!("Audit of {}", answer.repository),
        query: format!("repo:{} ", answer.repository),
        body: body(&state, &answer),
        ..Page::default()
    };
    Ok(page.into_response())
}

fn body(state: &WebState, answer: &AuditAnswer) -> Markup {
    let now = state.clock.now();
    let name = &answer.repository;
    html! {
        p class="crumbs" { a href=(links::repository(name)) { (name) } " / Audit" }
        h1 { "Audit" }
        p class="lead" { (verdict(answer)) }
        section { h2 { "Numbers" } (numbers(answer, now)) }
        (runs(state, name, "Unknown", &answer.unknown_numbers))
        (runs(state, name, "Failed", &answer.failed_numbers))
        section { h2 { "Silent changes found and healed" } (drift(answer, now)) }
        section { h2 { "Elsewhere" } ul class="plain" {
            li { a href=(links::gap_report(name)) { "Gap report as JSON" } }
            li { img src=(links::badge(name)) alt="badge" width="130" height="20"; " " code { (links::badge(name)) } }
        } }
    }
}

fn verdict(answer: &AuditAnswer) -> Markup {
    let open = answer.unknown + answer.failed;
    html! {
        @if answer.complete { span class="good" { "Complete" } ": every number to " (count(answer.highest)) " is accounted for." }
        @else if !answer.walked { span class="bad" { "Not complete" } ": the list of items was not read to its end yet." }
        @else if open > 0 { span class="bad" { "Not complete" } ": " (counted(open, "number")) " not accounted for." }
        @else if let Some(trouble) = &answer.trouble {
            span class="bad" { "Stands still" } ": " (trouble) ". Every number to " (count(answer.highest)) " is accounted for; what is new is not known."
        }
    }
}

fn numbers(answer: &AuditAnswer, now: Timestamp) -> Markup {
    let gone = |state: &str| answer.gone_by_state.get(state).copied().unwrap_or(0);
    let rows = [
        ("highest", answer.highest),
        ("present", answer.present),
        ("deleted", gone("deleted")),
        ("moved", gone("transferred")),
        ("hidden", gone("hidden")),
        ("discussions", answer.not_items),
        ("unknown", answer.unknown),
        ("failed", answer.failed),
    ];
    html! {
        dl {
            @for (word, number) in rows { dt { (word) } dd { (count(number)) } }
            dt { "oldest check" }
            dd { @match answer.oldest_verification { Some(at) => (moment(at, now)), None => "some numbers were never checked" } }
        }
    }
}

fn runs(state: &WebState, name: &str, word: &str, runs: &[[u64; 2]]) -> Markup {
    html! {
        @if !runs.is_empty() {
            section { h2 { (word) } ul class="plain" {
                @for [first, last] in runs.iter().take(RUNS_SHOWN) {
                    li {
                        (on_github(state, name, *first))
                        @if first != last { " to " (on_github(state, name, *last)) }
                    }
                }
                @if runs.len() > RUNS_SHOWN { li { (counted((runs.len() - RUNS_SHOWN) as u64, "more run")) ", see the gap report" } }
            } }
        }
    }
}

/// What we do not have may be looked at where it came from.
fn on_github(state: &WebState, name: &str, number: u64) -> Markup {
    html! { a rel="noopener noreferrer" href=(format_args!("{}/{name}/issues/{number}", state.github_url)) { "#" (number) } }
}

fn drift(answer: &AuditAnswer, now: Timestamp) -> Markup {
    html! {
        @if answer.drift.is_empty() { p class="quiet" { "none so far" } }
        @else {
            div class="scroll" tabindex="0" { table class="wide" {
                thead { tr { th scope="col" { "What" } th scope="col" class="number" { "Found" } th scope="col" { "Last" } th scope="col" { "Where" } } }
                tbody { @for (kind, drifted) in &answer.drift { tr {
                    th scope="row" { (kind.replace('_', " ")) }
                    td class="number" { (count(drifted.count)) }
                    td { (moment(drifted.last_at, now)) }
                    td { a href=(format_args!("{}/issues/{}", links::repository(&answer.repository), drifted.number)) { "#" (drifted.number) } }
                } } }
            } }
        }
    }
}
