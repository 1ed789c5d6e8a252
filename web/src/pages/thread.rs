//! A thread: everything said and done on one item, on one page.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use gharvest_model::{
    Kind, Record, RepositoryName,
    labels::LabelRenames,
    record::{Fact, OlderText},
};
use gharvest_search::{document::WaitingOn, query::edit};
use jiff::{Timestamp, civil::Date};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::{Page, moment, person, search::hit};
use crate::{
    access::Caller,
    code,
    error::{ApiError, ApiResult},
    extract::{InPath, Params},
    icons, labels, links,
    markdown::{self, Pictures, Place},
    requests::{
        items::{self, ItemPath, SimilarParams},
        search::SearchItem,
    },
    state::WebState,
    thread::{Conversation, Entry, Thread, actor, happened_at, text},
};

mod words;

/// Markdown is rendered for this long at most; an honest thread of 1,000 comments takes a tenth of it.
const LONGEST_RENDERING: Duration = Duration::from_secs(3);

/// How a thread is shown.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct ThreadParams {
    /// As of the end of this UTC day; empty for now.
    #[serde(default)]
    at: String,
}

/// `GET /{owner}/{name}/issues/{number}`
pub(crate) async fn issue(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<ItemPath>,
    Params(params): Params<ThreadParams>,
) -> ApiResult<Response> {
    page(state, caller, path, params, Kind::Issue).await
}

/// `GET /{owner}/{name}/pull/{number}`
pub(crate) async fn pull(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<ItemPath>,
    Params(params): Params<ThreadParams>,
) -> ApiResult<Response> {
    page(state, caller, path, params, Kind::PullRequest).await
}

async fn page(
    state: WebState,
    caller: Caller,
    path: ItemPath,
    params: ThreadParams,
    asked: Kind,
) -> ApiResult<Response> {
    let stored = items::record(&state, &caller, &path).await?;
    let record: Record = serde_json::from_slice(&stored.bytes).map_err(|error| {
        tracing::error!(%error, item = %stored.id, "a stored record cannot be read");
        ApiError::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "this record is damaged: `gharvest verify` says more",
        )
    })?;
    let record = record.shown().into_owned();
    let asked_name = path.repository().full_name()?;
    if record.kind != asked || asked_name.key() != stored.repository.key() {
        let path = links::item(&stored.repository.to_string(), record.kind, record.number);
        let query = if params.at.is_empty() {
            String::new()
        } else {
            format!("?{}", links::form_urlencoded(&[("at", &params.at)]))
        };
        return Ok(Redirect::permanent(&format!("{path}{query}")).into_response());
    }
    let at = match params.at.trim() {
        "" => None,
        day => Some(
            day.parse::<Date>()
                .map_err(|_| ApiError::invalid(format!("`{day}` is not a day: expected one such as 2024-01-05")))?,
        ),
    };
    // The engine may be away: the thread is on disk all the same.
    let similar =
        items::similar(&state, &caller, &path, &SimilarParams { limit: Some(5) }).await.map(|answer| answer.items);
    let verified_at = state.backends.archive.ledger(stored.id.repository).await?.get(record.number).verified_at;
    let context = Context {
        github_url: state.github_url.clone(),
        now: state.clock.now(),
        similar: similar.unwrap_or_default(),
        verified_at,
        pictures: Pictures {
            base: format!("/-/{}/{}/attachments", stored.repository, record.number),
            names: state.backends.archive.attachments(stored.id).await?,
        },
    };
    // Rendering a long thread takes a while, and a bug in it must not take more than this request with it.
    let page =
        tokio::task::spawn_blocking(move || render(&record, stored.repository, &stored.label_renames, at, &context))
            .await;
    page.map(IntoResponse::into_response).map_err(|error| {
        tracing::error!(%error, item = %stored.id, "a thread could not be rendered");
        ApiError::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "this thread could not be shown; the log says why")
    })
}

/// What a page says beyond the record.
struct Context {
    github_url: Arc<str>,
    now: Timestamp,
    similar: Vec<SearchItem>,
    verified_at: Option<Timestamp>,
    pictures: Pictures,
}

fn render(
    record: &Record,
    repository: RepositoryName,
    label_renames: &LabelRenames,
    at: Option<Date>,
    context: &Context,
) -> Page {
    let thread = Thread::new(record, repository, label_renames, at);
    let view = View { thread: &thread, context, deadline: Instant::now() + LONGEST_RENDERING };
    Page {
        title: format!("{} · {}#{}", thread.facts.title, thread.repository, record.number),
        body: view.body(),
        live: Some(record.id().to_string()),
        class: "with-side thread",
        ..Page::default()
    }
}

struct View<'a> {
    thread: &'a Thread<'a>,
    context: &'a Context,
    deadline: Instant,
}

impl View<'_> {
    fn body(&self) -> Markup {
        let thread = self.thread;
        html! {
            (self.head())
            @if let Some(words) = thread.tombstone() { p class="banner gone" role="note" { (words) " This is the last that was seen of it." } }
            @if let Some(twin) = &thread.record.twin {
                p class="banner" role="note" {
                    "Private: on GitHub everybody sees a placeholder. Title and text are those of "
                    (text(twin, "/repository").unwrap_or("a private repository")) "#" (twin["number"]) "."
                }
            }
            @if let Some(day) = thread.at {
                p class="banner as-of" role="note" {
                    @if thread.existed { "As of the end of " (day.to_string()) " (UTC): " (thread.later) " later events are left out. " }
                    @else { "At the end of " (day.to_string()) " (UTC) this did not exist yet. " }
                    a href=(self.path()) { "Show it as it is now" }
                }
            }
            div class="columns" {
                div class="timeline" data-list {
                    @if thread.existed { (self.opening()) }
                    @for (at, entry) in thread.entries.iter().enumerate() { (self.entry(at, entry)) }
                    @if thread.quiet > 0 { p class="event quiet" { (thread.quiet) " mentions and subscriptions are not shown" } }
                }
                (self.side())
            }
        }
    }

    fn path(&self) -> String {
        links::item(&self.thread.repository.to_string(), self.thread.record.kind, self.thread.record.number)
    }

    fn github(&self) -> String {
        let word = if self.thread.is_pull() { "pull" } else { "issues" };
        format!("{}/{}/{word}/{}", self.context.github_url, self.thread.repository, self.thread.record.number)
    }

    fn head(&self) -> Markup {
        let Thread { record, core, facts, repository, .. } = self.thread;
        let title = if !self.thread.existed {
            "Not there yet"
        } else if facts.title.trim().is_empty() {
            "(no title)"
        } else {
            &facts.title
        };
        let word = if facts.draft && facts.state == "open" { "draft" } else { facts.state.as_str() };
        html! {
            header class="thread-head" {
                p class="crumbs" { a href=(links::repository(&repository.to_string())) { (repository) } }
                h1 { bdi { (super::ticked(title)) } " " span class="number" { "#" (record.number) } }
                p class="meta" {
                    span class=(format_args!("badge {word}")) {
                        (icons::state(self.thread.is_pull(), &facts.state, facts.reason.as_deref(), facts.draft)) (word)
                        @if facts.state == "closed" && matches!(facts.reason.as_deref(), Some("not_planned" | "duplicate")) { " as " (facts.reason.as_deref().unwrap_or("").replace('_', " ")) }
                    }
                    " · "
                    @match self.thread.author() { Some(login) => (person(login)), None => "somebody" }
                    @if let Some(created) = crate::thread::time(core, "/created_at") { " opened this " (moment(created, self.context.now)) }
                    " · " (super::counted(self.thread.comment_count() as u64, "comment"))
                    @if facts.locked { " · locked" }
                    @if let (Some(head), Some(base)) = (self.pull_text("/head/ref"), self.pull_text("/base/ref")) {
                        " · " code { bdi { (base) } } " ← " code { bdi { (head) } }
                    }
                }
            }
        }
    }

    fn pull_text(&self, pointer: &str) -> Option<&str> {
        text(self.thread.record.pull.as_ref()?, pointer)
    }

    fn markdown(&self, source: &str, anchor: &str) -> Markup {
        let place = Place {
            repository: &self.thread.repository,
            github_url: &self.context.github_url,
            pictures: &self.context.pictures,
            anchor,
            deadline: self.deadline,
        };
        html! { div class="markdown" dir="auto" { (markdown::render(source, &place)) } }
    }

    fn opening(&self) -> Markup {
        let id = self.thread.core.get("id").and_then(Value::as_u64).unwrap_or(0);
        let kind = if self.thread.is_pull() { "pullrequest" } else { "issue" };
        self.said(&format!("{kind}-{id}"), self.thread.core, "opened this", self.thread.body())
    }

    /// Something that somebody wrote.
    fn said(&self, anchor: &str, object: &Value, deed: &str, body: &str) -> Markup {
        let at = happened_at(object);
        let edited = crate::thread::time(object, "/updated_at")
            .filter(|edited| deed == "commented" && at.is_some_and(|at| *edited > at));
        let minimized = object.get("minimized").filter(|minimized| !minimized.is_null());
        let of = if deed == "opened this" { "body" } else { text(object, "/node_id").unwrap_or("") };
        let body = self.thread.text_then(of, body);
        let content = html! {
            @if body.trim().is_empty() { p class="quiet" { "No text." } } @else { (self.markdown(body, anchor)) }
            (self.older(of, anchor))
            (reactions(object))
        };
        html! {
            article class="said" id=(anchor) data-item {
                header {
                    @match actor(object) { Some(login) => (person(login)), None => span class="person" { "ghost" } }
                    (association(object))
                    " " span class="quiet" { (deed) " " }
                    @if let Some(at) = at { a class="quiet" href=(format_args!("#{anchor}")) { (moment(at, self.context.now)) } }
                    @if let Some(edited) = edited { span class="quiet" title=(edited.strftime("%Y-%m-%d %H:%M UTC").to_string()) { " · edited" } }
                }
                @match minimized {
                    Some(minimized) => details {
                        summary { "Hidden on GitHub" @if let Some(reason) = text(minimized, "/reason") { " as " (reason) } }
                        (content)
                    },
                    None => (content),
                }
            }
        }
    }

    /// What stood here before somebody edited it.
    fn older(&self, of: &str, anchor: &str) -> Markup {
        let texts = if of.is_empty() { Vec::new() } else { self.thread.older_texts(of) };
        html! {
            @if !texts.is_empty() {
                details class="older" {
                    summary { @if texts.len() == 1 { "Before it was edited" } @else { (texts.len()) " older texts" } }
                    @for (at, older) in texts.iter().enumerate() {
                        p class="quiet" {
                            "until " (moment(older.until, self.context.now))
                            @if let Some(login) = older.by { ", edited by " (person(login)) }
                        }
                        (self.markdown(older.text, &format!("{anchor}-older-{at}")))
                    }
                }
            }
        }
    }

    /// A comment that GitHub does not show any more.
    fn deleted(&self, at: usize, comment: &Value, fact: &Fact) -> Markup {
        let anchor = comment
            .get("id")
            .and_then(Value::as_u64)
            .map_or_else(|| format!("deleted-{at}"), |id| format!("issuecomment-{id}"));
        html! {
            article class="said deleted" id=(anchor) data-item {
                header {
                    @match actor(comment) { Some(login) => (person(login)), None => span class="person" { "ghost" } }
                    " " span class="quiet" { "commented " @if let Some(at) = happened_at(comment) { (moment(at, self.context.now)) } }
                    " " span class="tag" { "deleted" } span class="quiet" { " " (moment(fact.received_at, self.context.now)) @if let Some(login) = &fact.actor { " by " (person(login)) } }
                }
                details { summary { "What it said" } (self.markdown(text(comment, "/body").unwrap_or(""), &anchor)) }
            }
        }
    }

    fn lost(&self, texts: &[&OlderText]) -> Markup {
        html! {
            details class="event" {
                summary { @if texts.len() == 1 { "One text" } @else { (texts.len()) " texts" } " of comments that are gone" }
                @for (at, older) in texts.iter().enumerate() {
                    p class="quiet" { "gone since " (moment(older.replaced_at, self.context.now)) }
                    (self.markdown(&older.text, &format!("lost-{at}")))
                }
            }
        }
    }

    fn entry(&self, at: usize, entry: &Entry<'_>) -> Markup {
        match entry {
            Entry::Deleted(comment, fact) => self.deleted(at, comment, fact),
            Entry::Lost(texts) => self.lost(texts),
            Entry::Comment(comment) => {
                let anchor = match comment.get("id").and_then(Value::as_u64) {
                    Some(id) => format!("issuecomment-{id}"),
                    None => format!("entry-{at}"),
                };
                self.said(&anchor, comment, "commented", text(comment, "/body").unwrap_or(""))
            }
            Entry::Review { review, conversations } => self.review(at, review, conversations),
            Entry::Conversations(conversations) => self.conversations(conversations),
            Entry::Commits(commits) => commit_list(commits),
            Entry::Events(group) => self.event(group),
        }
    }

    fn event(&self, group: &[&Value]) -> Markup {
        let Some(first) = group.first() else { return html! {} };
        let id = first.get("id").and_then(Value::as_u64).map(|id| format!("event-{id}"));
        html! {
            p class="event" id=[id] {
                (icons::dot())
                span { (words::describe(group, &self.thread.repository.to_string(), self.thread.label_renames)) @if let Some(at) = happened_at(first) { " " span class="quiet" { (moment(at, self.context.now)) } } }
            }
        }
    }

    fn review(&self, at: usize, review: &Value, conversations: &[Conversation<'_>]) -> Markup {
        let state = text(review, "/state").unwrap_or("commented").to_lowercase();
        let (class, deed) = match state.as_str() {
            "approved" => ("approved", "approved these changes"),
            "changes_requested" => ("refused", "asked for changes"),
            "dismissed" => ("", "reviewed (dismissed)"),
            "pending" => ("", "began a review"),
            _ => ("", "reviewed"),
        };
        let anchor = match review.get("id").and_then(Value::as_u64) {
            Some(id) => format!("pullrequestreview-{id}"),
            None => format!("entry-{at}"),
        };
        let body = text(review, "/body").unwrap_or("");
        html! {
            section class=(format_args!("review {class}")) {
                @if body.trim().is_empty() {
                    p class="event" id=(anchor) {
                        (icons::dot())
                        span {
                            @match actor(review) { Some(login) => (person(login)), None => span class="person" { "ghost" } }
                            " " span class="deed" { (deed) }
                            @if let Some(at) = happened_at(review) { " " a class="quiet" href=(format_args!("#{anchor}")) { (moment(at, self.context.now)) } }
                        }
                    }
                } @else { (self.said(&anchor, review, deed, body)) }
                (self.conversations(conversations))
            }
        }
    }

    fn conversations(&self, conversations: &[Conversation<'_>]) -> Markup {
        html! { @for conversation in conversations { (self.conversation(conversation)) } }
    }

    fn conversation(&self, conversation: &Conversation<'_>) -> Markup {
        let Some(first) = conversation.comments.first() else { return html! {} };
        let line = first.get("line").or_else(|| first.get("original_line")).and_then(Value::as_u64);
        let outdated = first.get("line").is_some_and(Value::is_null);
        html! {
            section class="conversation" {
                p class="path" {
                    code { bdi { (text(first, "/path").unwrap_or("")) } @if let Some(line) = line { ":" (line) } }
                    @if outdated { span class="quiet" { " outdated" } }
                }
                @if let Some(hunk) = text(first, "/diff_hunk") { (code::hunk(hunk)) }
                @for comment in &conversation.comments {
                    @let anchor = format!("discussion_r{}", comment.get("id").and_then(Value::as_u64).unwrap_or(0));
                    (self.said(&anchor, comment, "commented", text(comment, "/body").unwrap_or("")))
                }
            }
        }
    }

    fn side(&self) -> Markup {
        let Thread { record, facts, repository, .. } = self.thread;
        let here = format!("repo:{repository}");
        let search = |qualifier: &str, value: &str| links::search(&edit::with(&here, qualifier, value));
        let participants = self.thread.participants();
        html! {
            aside aria-label="About this thread" {
                section { h2 { "Labels" }
                    @if facts.labels.is_empty() { p class="quiet" { "None" } }
                    p class="label-list" { @for (name, color) in &facts.labels { (labels::label(name, color, Some(&search("label", name)))) " " } }
                }
                @if !facts.assignees.is_empty() {
                    section { h2 { "Assignees" } p { @for login in &facts.assignees { (person(login)) " " } } }
                }
                @if let Some(milestone) = &facts.milestone {
                    section { h2 { "Milestone" } p { a href=(search("milestone", milestone)) { bdi { (milestone) } } } }
                }
                section { h2 { "Participants " span class="quiet" { (participants.len()) } }
                    p class="people" { @for login in participants.iter().take(60) { (person(login)) " " } }
                }
                (self.linked())
                (self.figures())
                section { h2 { "As of" }
                    form action=(self.path()) method="get" class="as-of" {
                        label for="at" class="hidden" { "Show the thread as of the end of this day (UTC)" }
                        input type="date" id="at" name="at" value=[self.thread.at.map(|day| day.to_string())] max=(self.context.now.strftime("%Y-%m-%d").to_string());
                        button type="submit" { "Show" }
                    }
                }
                section { h2 { "Mirror" }
                    ul class="plain" {
                        li { a rel="noopener noreferrer" href=(self.github()) { "On GitHub" } }
                        li { a href=(links::record(&repository.to_string(), record.number)) { "Raw record" } " " span class="quiet" { "revision " (record.revision) } }
                        li class="quiet" { "changed " (moment(record.changed_at, self.context.now)) }
                        li class="quiet" {
                            @match self.context.verified_at { Some(at) => { "verified " (moment(at, self.context.now)) }, None => "never verified" }
                        }
                    }
                }
                @if !self.context.similar.is_empty() {
                    section { h2 { "Similar" } ol class="hits compact" { @for item in &self.context.similar { (hit(item, self.context.now, true)) } } }
                }
            }
        }
    }

    /// Threads that mention this one.
    fn linked(&self) -> Markup {
        let mentions: Vec<&Value> = self
            .thread
            .record
            .timeline
            .iter()
            .filter(|event| event["event"] == "cross-referenced" && event["source"]["issue"].is_object())
            .take(50)
            .collect();
        html! {
            @if !mentions.is_empty() {
                section { h2 { "Mentioned in" } ul class="plain" { @for event in mentions { li { (words::source(event)) } } } }
            }
        }
    }

    fn figures(&self) -> Markup {
        let figures = self.thread.figures();
        let waiting = match self.thread.metrics.waiting_on {
            Some(WaitingOn::Author) => Some("the author"),
            Some(WaitingOn::Maintainers) => Some("the maintainers"),
            None => None,
        };
        html! {
            // They are of now, so a thread of another day shows none.
            @if self.thread.at.is_none() && (!figures.is_empty() || waiting.is_some()) {
                section { h2 { "Time to" }
                    dl { @for (name, hours) in figures { dt { (name) } dd { (super::hours(hours)) } } }
                    @if let Some(waiting) = waiting { p class="quiet" { "Waits for " (waiting) } }
                }
            }
        }
    }
}

/// What GitHub says of the author's standing; nothing for strangers.
fn association(object: &Value) -> Markup {
    let word = match text(object, "/author_association") {
        Some("OWNER") => "owner",
        Some("MEMBER") => "member",
        Some("COLLABORATOR") => "collaborator",
        Some("CONTRIBUTOR") => "contributor",
        Some("FIRST_TIMER" | "FIRST_TIME_CONTRIBUTOR") => "first time",
        _ => return html! {},
    };
    html! { " " span class="association" { (word) } }
}

fn reactions(object: &Value) -> Markup {
    let known = [
        ("+1", "👍"),
        ("-1", "👎"),
        ("laugh", "😄"),
        ("hooray", "🎉"),
        ("confused", "😕"),
        ("heart", "❤️"),
        ("rocket", "🚀"),
        ("eyes", "👀"),
    ];
    let given: Vec<_> = known
        .into_iter()
        .filter_map(|(name, sign)| {
            let count = object.get("reactions")?.get(name)?.as_u64().filter(|count| *count > 0)?;
            Some((name, sign, count))
        })
        .collect();
    html! {
        @if !given.is_empty() {
            ul class="reactions" aria-label="Reactions" { @for (name, sign, count) in given { li title=(name) { span aria-hidden="true" { (sign) } span class="hidden" { (name) } " " (count) } } }
        }
    }
}

/// Commits pushed one after another, the first lines of their messages.
fn commit_list(commits: &[&Value]) -> Markup {
    let line = |commit: &Value| {
        let sha = text(commit, "/sha").unwrap_or("").to_owned();
        let message = text(commit, "/message").unwrap_or("").lines().next().unwrap_or("").to_owned();
        html! { li { a href=(links::search(&sha)) { code { (sha.get(..10).unwrap_or(&sha)) } } " " bdi { (super::ticked(&message)) } " " span class="quiet" { bdi { (text(commit, "/author/name").unwrap_or("")) } } } }
    };
    let (shown, more) = commits.split_at(commits.len().min(12));
    html! {
        div class="commits" {
            p class="event" { (icons::dot()) span { (commits.len()) @if commits.len() == 1 { " commit" } @else { " commits" } } }
            ul { @for commit in shown { (line(commit)) } }
            @if !more.is_empty() { details { summary { (more.len()) " more" } ul { @for commit in more { (line(commit)) } } } }
        }
    }
}
