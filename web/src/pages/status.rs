//! `/status`: how everything is, and the buttons that put it right.

use axum::{Extension, Form, extract::State, response::Redirect};
use gharvest_model::{Lane, QueueName};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{Page, count, moment, span};
use crate::{
    access::{Caller, Role},
    error::ApiResult,
    requests::{
        jobs::{self, FeedHealth, JobAnswer, JobFilter, JobPath, ManyParams},
        status::{self, CostAnswer, FeedAnswer, IndexAnswer, QueueStatus, ScheduleAnswer, StatusAnswer},
    },
    state::WebState,
};

/// `GET /status`
pub(crate) async fn page(State(state): State<WebState>, Extension(caller): Extension<Caller>) -> ApiResult<Page> {
    let answer = status::status(&state, &caller).await?;
    Ok(Page {
        title: "Status".to_owned(),
        live: Some("status".to_owned()),
        body: body(&answer, caller.is(Role::Operate)),
        ..Page::default()
    })
}

fn body(status: &StatusAnswer, may_operate: bool) -> Markup {
    let complete = status.repositories.iter().filter(|repository| repository.complete).count();
    html! {
        h1 { "Status" }
        p class="lead" {
            (complete) " of " (status.repositories.len()) " repositories complete · "
            @match status.last_change_at { Some(at) => { "last change " (moment(at, status.at)) }, None => "no change seen yet" }
            @if let Some(free) = status.free_bytes { " · " (bytes(free)) " free" }
            " · version " (status.version)
        }
        section { h2 { "Queues" } (queues(&status.queues, status.at)) p class="figures quiet" { (status.durability) } }
        @if may_operate { (failures(&status.failures, status.at)) }
        section { h2 { "Repositories" } (super::repository::table(&status.repositories)) }
        (feeds(&status.feeds, status.at))
        (schedules(&status.schedules, status.at))
        (budgets(status))
        (costs(&status.costs))
        (index(status.index.as_ref()))
    }
}

fn queues(queues: &[QueueStatus], now: Timestamp) -> Markup {
    html! {
        div class="scroll" tabindex="0" {
            table class="wide" {
                thead { tr {
                    th scope="col" { "Queue" }
                    @for lane in Lane::ALL { th scope="col" class="number" { (lane) } }
                    @for word in ["delayed", "in work", "failed", "done", "a minute"] { th scope="col" class="number" { (word) } }
                    th scope="col" { "Oldest" }
                } }
                tbody {
                    @for queue in queues {
                        @let counts = &queue.counts;
                        tr {
                            th scope="row" { (counts.queue)
                                @if let Some(until) = counts.paused_until { " " span class="bad" { "paused until " (moment(until, now)) " " (counts.paused_reason.as_deref().unwrap_or("")) } }
                            }
                            @for number in counts.ready { td class="number" { (count(number)) } }
                            td class="number" { (count(counts.delayed)) }
                            td class="number" { (count(counts.leased)) }
                            td class=(if counts.buried > 0 { "number bad" } else { "number" }) { (count(counts.buried)) }
                            td class="number" { (count(counts.finished)) }
                            td class="number" { @match queue.finished_a_minute { Some(rate) => (rate), None => "–" } }
                            td { @match queue.oldest.iter().min_by_key(|age| age.since) {
                                Some(age) => { (span(now.duration_since(age.since).as_secs().max(0).unsigned_abs())) " (" (age.lane) ")" },
                                None => span class="quiet" { "nothing waits" },
                            } }
                        }
                    }
                }
            }
        }
    }
}

fn feeds(feeds: &[FeedAnswer], now: Timestamp) -> Markup {
    let when = |at: Option<Timestamp>, never: &str| html! { @match at { Some(at) => (moment(at, now)), None => span class="quiet" { (never) } } };
    html! {
        @if !feeds.is_empty() {
            section {
                h2 { "Feeds" }
                div class="scroll" tabindex="0" role="region" aria-label="Feeds" {
                    table class="wide" {
                        thead { tr { th scope="col" { "Repository" } th scope="col" { "Changes read until" } th scope="col" { "Last change here" } th scope="col" { "Webhook" } } }
                        tbody {
                            @for feed in feeds {
                                tr { th scope="row" { (feed.repository) } td { (when(feed.read_until, "not read yet")) } td { (when(feed.last_change_at, "none seen")) } td { (hook(feed.hook.as_ref(), now)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// When a repository's hook was last heard, and what became of deliveries that failed.
fn hook(hook: Option<&FeedHealth>, now: Timestamp) -> Markup {
    html! {
        @match hook {
            None => span class="quiet" { "none heard" },
            Some(hook) => {
                @match hook.last_delivery_at {
                    Some(at) => { "heard " (moment(at, now)) }
                    None => span class="quiet" { "none heard" },
                }
                @if hook.failures > 0 { ", " (count(hook.failures)) " failed, " (count(hook.recovered)) " recovered" }
                @if let Some(trouble) = &hook.trouble { "; " span class="quiet" { (trouble) } }
            }
        }
    }
}

fn schedules(schedules: &[ScheduleAnswer], now: Timestamp) -> Markup {
    html! {
        @if !schedules.is_empty() {
            section {
                h2 { "Schedules" }
                div class="scroll" tabindex="0" role="region" aria-label="Schedules" {
                    table class="wide" {
                        thead { tr { th scope="col" { "Task" } th scope="col" { "Last run" } th scope="col" { "Next" } th scope="col" class="number" { "Jobs pushed" } th scope="col" { "Trouble" } } }
                        tbody {
                            @for task in schedules {
                                tr {
                                    th scope="row" { (task.task) }
                                    td { @match task.last { Some(last) => (moment(last, now)), None => "never" } }
                                    td { (moment(task.next, now)) }
                                    td class="number" { (count(task.pushed)) }
                                    td { @if let Some(error) = &task.error { span class="bad" { (error) } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn failures(failures: &[JobAnswer], now: Timestamp) -> Markup {
    html! {
        section {
            h2 { "Failures" }
            @if failures.is_empty() { p class="quiet" { "None." } } @else {
                div class="scroll" tabindex="0" {
                    table class="wide" {
                        thead { tr { th scope="col" { "Job" } th scope="col" { "Queue" } th scope="col" class="number" { "Attempts" } th scope="col" { "Since" } th scope="col" { "Reason" } th scope="col" { span class="hidden" { "Again" } } } }
                        tbody {
                            @for job in failures {
                                tr {
                                    th scope="row" { bdi { (job.title) } }
                                    td { (job.queue) }
                                    td class="number" { (job.attempts) }
                                    td { @if let Some(at) = job.at { (moment(at, now)) } }
                                    td { bdi { (job.reason.as_deref().unwrap_or("")) } }
                                    td { form method="post" action="/-/jobs/retry" {
                                        input type="hidden" name="queue" value=(job.queue);
                                        input type="hidden" name="subject" value=(job.subject);
                                        button type="submit" { "Try again" span class="hidden" { ": " (job.title) } }
                                    } }
                                }
                            }
                        }
                    }
                }
                @for queue in QueueName::ALL {
                    @if failures.iter().any(|job| job.queue == queue) {
                        form class="inline" method="post" action="/-/jobs/revive" {
                            input type="hidden" name="queue" value=(queue);
                            button type="submit" { "Try all of " (queue) " again" }
                        }
                    }
                }
            }
        }
    }
}

fn budgets(status: &StatusAnswer) -> Markup {
    html! {
        @if !status.budgets.is_empty() || !status.narrowed.is_empty() {
            section {
                h2 { "GitHub's budget" }
                ul class="plain" {
                    @for budget in &status.budgets {
                        li {
                            (budget.token) ", " (budget.resource) ": "
                            meter min="0" max=(budget.limit) value=(budget.remaining) aria-label=(format_args!("{} left", budget.token)) {}
                            " " (count(budget.remaining)) " of " (count(budget.limit)) " left, full again " (moment(budget.reset_at, status.at))
                            @if let Some(trouble) = &budget.trouble { " " span class="bad" { (trouble) } }
                        }
                    }
                    @for narrowed in &status.narrowed {
                        li { span class="bad" {
                            "GitHub refused requests as too much: " (narrowed.at_once) " of " (narrowed.of)
                            " at once for now, all again " (moment(narrowed.until, status.at))
                        } }
                    }
                }
            }
        }
    }
}

/// What each first mirror was said to cost, beside what was spent.
fn costs(costs: &[CostAnswer]) -> Markup {
    let row = |what: Markup, rest: u64, graphql: u64, points: u64| {
        html! { tr { (what) td class="number" { (count(rest)) } td class="number" { (count(graphql)) } td class="number" { (count(points)) } } }
    };
    html! {
        @if !costs.is_empty() {
            section {
                h2 { "Planned and spent" }
                div class="scroll" tabindex="0" role="region" aria-label="Planned and spent" {
                    table class="wide" {
                        thead { tr { th scope="col" { "Repository" } th scope="col" { "For" } th scope="col" class="number" { "Calls by REST" } th scope="col" class="number" { "Calls by GraphQL" } th scope="col" class="number" { "Points" } } }
                        tbody {
                            @for cost in costs {
                                @if let Some(plan) = &cost.planned {
                                    (row(html! { th scope="row" { (cost.repository) } td { "planned: the first mirror" } }, plan.rest, plan.graphql, plan.points))
                                }
                                @for (purpose, spent) in &cost.spent {
                                    (row(html! { th scope="row" { (cost.repository) } td { "spent: " (purpose) } }, spent.rest, spent.graphql, spent.points))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn index(index: Option<&IndexAnswer>) -> Markup {
    html! {
        section {
            h2 { "Index" }
            @match index {
                None => p class="bad" { "The search engine does not answer." },
                Some(index) => {
                    p {
                        (index.engine)
                        @if let Some(size) = index.bytes { " · " (bytes(size)) }
                        @if index.rebuilding { " · being rebuilt" }
                    }
                    @if let Some(trouble) = &index.trouble { p class="bad" { (trouble.found) ": " (trouble.remedy) } }
                    @if !index.documents.is_empty() { dl { @for documents in &index.documents { dt { (documents.alias) } dd { (count(documents.count)) } } } }
                }
            }
        }
    }
}

/// Bytes in their largest unit.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `POST /-/jobs/retry`, from the button beside a failure.
pub(crate) async fn retry(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Form(path): Form<JobPath>,
) -> ApiResult<Redirect> {
    jobs::retry(&state, &caller, &path).await?;
    Ok(Redirect::to("/status"))
}

/// A form with one queue.
#[derive(Debug, Deserialize)]
pub(crate) struct QueueForm {
    queue: QueueName,
}

/// `POST /-/jobs/revive`, from the button below the failures.
pub(crate) async fn revive(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    Form(form): Form<QueueForm>,
) -> ApiResult<Redirect> {
    let params = ManyParams { queue: form.queue, filter: JobFilter::default(), limit: None, after: None };
    jobs::revive(&state, &caller, &params).await?;
    Ok(Redirect::to("/status"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::status::TroubleAnswer;

    #[test]
    fn what_is_wrong_with_the_engine_is_shown_with_what_to_do() {
        let trouble = |found: &str| TroubleAnswer { found: found.to_owned(), remedy: "make room".to_owned() };
        let mut answer = IndexAnswer {
            engine: "Elasticsearch 8.19.0".to_owned(),
            documents: Vec::new(),
            bytes: None,
            rebuilding: false,
            trouble: Some(trouble("2 indices <take> no writes")),
        };
        let shown = index(Some(&answer)).into_string();
        assert!(shown.contains(r#"<p class="bad">2 indices &lt;take&gt; no writes: make room</p>"#), "{shown}");
        answer.trouble = None;
        assert!(!index(Some(&answer)).into_string().contains("bad"));
    }
}
