//! The hand on the simulator: in process by [`Control`], from other processes by HTTP under `/_simulator/`.
//!
//! | request | what |
//! | --- | --- |
//! | `GET truth/{owner}/{name}` | the numbers that show an item |
//! | `GET truth/{owner}/{name}/{number}` | [`Truth`] of one number |
//! | `GET violations`, `DELETE violations` | what the client did wrong |
//! | `GET requests` | how often each endpoint answered |
//! | `POST faults` (a [`Rule`]), `DELETE faults` | what goes wrong from now on |
//! | `POST change/{owner}/{name}?by=LOGIN` (a [`Change`]) | makes a change; answers with its announcements |
//! | `PUT webhook` (a [`Webhook`]), `DELETE webhook` | where deliveries go |
//! | `GET deliveries` | the delivery log, after all were sent |
//! | `POST advance?seconds=N` | moves the clock of budgets and changes |
//! | `POST revoke?token=T` | ends a token |
//! | `POST live?per_minute=N`, `DELETE live` | plausible changes until stopped |

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use gharvest_model::RepositoryName;
use http::{Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    change::{Announcement, Change, ChangeError},
    fault::Rule,
    live,
    repository::Gone,
    server::{Exchange, Shared, Violation},
    state::View,
    webhook::{Delivery, Webhook},
};

/// What GitHub would show of a number if it were asked right now, without paging.
///
/// Volatile fields are at rest here: they differ from answers as `gharvest-model` says they may.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Truth {
    /// An issue or pull request.
    Present {
        /// The issue object.
        issue: Value,
        /// All timeline entries.
        timeline: Vec<Value>,
        /// The pull request object, of a pull request.
        pull: Option<Value>,
        /// All review comments, of a pull request.
        review_comments: Vec<Value>,
    },
    /// Answers 410.
    Deleted,
    /// Answers 404.
    Hidden,
    /// A discussion's number: answers 404 over REST.
    NotAnItem,
    /// Answers 301.
    Transferred {
        /// The address of the new place, in GitHub's numeric form.
        location: String,
    },
    /// Above the highest number.
    Unused,
}

/// A handle on a running simulator. Cheap to clone; usable from any thread.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) shared: Arc<Shared>,
}

impl Control {
    /// Base address of the API, without a slash at the end.
    pub fn api_url(&self) -> String {
        self.shared.state.lock().api_url.clone()
    }

    /// Adds a fault rule. Rules are tried in the order they were added; the first that hits counts.
    pub fn inject(&self, rule: Rule) {
        self.shared.faults.lock().add(rule);
    }

    /// Takes all fault rules away.
    pub fn clear_faults(&self) {
        self.shared.faults.lock().clear();
    }

    /// How many requests a fault has hit.
    pub fn fault_hits(&self) -> u64 {
        self.shared.faults.lock().hits()
    }

    /// Makes a change by somebody of the team, sends its webhooks, and returns what was announced.
    pub fn change(&self, repository: &RepositoryName, change: Change) -> Result<Vec<Announcement>, ChangeError> {
        self.shared.change(repository, None, change)
    }

    /// Makes a change by this person, who is made up if unknown.
    pub fn change_by(
        &self,
        repository: &RepositoryName,
        login: &str,
        change: Change,
    ) -> Result<Vec<Announcement>, ChangeError> {
        self.shared.change(repository, Some(login), change)
    }

    /// What GitHub would show of a number right now. `None` when the world has no such repository.
    pub fn truth(&self, repository: &RepositoryName, number: u64) -> Option<Truth> {
        self.shared.truth(repository, number)
    }

    /// The numbers that show an item, ascending. Empty when the world has no such repository.
    pub fn truth_numbers(&self, repository: &RepositoryName) -> Vec<u64> {
        let state = self.shared.state.lock();
        let found = state.by_name(repository).and_then(|id| state.repositories.get(&id));
        found.map_or_else(Vec::new, |found| found.summaries.keys().copied().collect())
    }

    /// The highest number used so far, by whatever.
    pub fn highest_number(&self, repository: &RepositoryName) -> u64 {
        let state = self.shared.state.lock();
        state.by_name(repository).and_then(|id| state.repositories.get(&id)).map_or(0, |found| found.highest)
    }

    /// The repository's numeric id.
    pub fn repository_id(&self, repository: &RepositoryName) -> Option<u64> {
        self.shared.state.lock().by_name(repository)
    }

    /// What the client did that GitHub documents as wrong. A test asserts that this is empty.
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.violations.lock().clone()
    }

    /// Forgets violations that a test provoked on purpose.
    pub fn clear_violations(&self) {
        self.shared.violations.lock().clear();
    }

    /// How often each endpoint answered, by `GET /repos/{owner}/{repo}/…`.
    pub fn requests(&self) -> std::collections::BTreeMap<String, u64> {
        self.shared.requests.lock().clone()
    }

    /// What GraphQL was asked and what it answered, if [`Options::keep_graphql`](crate::Options::keep_graphql) is set.
    pub fn graphql_exchanges(&self) -> Vec<Exchange> {
        self.shared.exchanges.lock().clone()
    }

    /// Sends every later change's deliveries there; `None` sends nothing.
    pub fn set_webhook(&self, webhook: Option<Webhook>) {
        self.shared.webhooks.aim(webhook);
    }

    /// Waits until every delivery so far was sent or lost.
    pub async fn webhooks_settled(&self) {
        self.shared.webhooks.settled().await;
    }

    /// The delivery log, newest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.webhooks.log()
    }

    /// Moves the clock: budgets refill, waits end, later changes carry later times.
    pub fn advance(&self, by: Duration) {
        self.shared.limits.lock().advance(by);
        self.shared.state.lock().shift += by.as_secs() as i64;
    }

    /// Lets the world's own clock stand still at a second since 1970, for changes with known times. Budgets go on.
    pub fn freeze(&self, at: Option<i64>) {
        let mut state = self.shared.state.lock();
        state.frozen = at;
        state.shift = 0;
    }

    /// Makes a token known, or changes its budget. `limit` is in calls an hour.
    pub fn allow_token(&self, token: &str, login: &str, limit: u64) {
        self.shared.limits.lock().allow(token, login, limit);
    }

    /// Answers to tokens of this login say from now on when they end, as in `2026-12-24 18:00:00 UTC`.
    pub fn end_tokens_of(&self, login: &str, at: &str) {
        self.shared.limits.lock().end(login, at);
    }

    /// From now on the token is not shown this repository, whatever is asked about it: 404, and null by GraphQL.
    pub fn blind_token(&self, token: &str, repository: &RepositoryName) {
        if let Some(id) = self.repository_id(repository) {
            self.shared.limits.lock().blind(token, id);
        }
    }

    /// From now on the token answers 401.
    pub fn revoke_token(&self, token: &str) {
        self.shared.limits.lock().revoke(token);
    }

    /// Makes plausible changes everywhere, this many a minute, until [`Control::stop_live`].
    pub fn live(&self, per_minute: f64) {
        let task = self.shared.runtime.spawn(live::run(self.clone(), per_minute));
        if let Some(old) = self.shared.live.lock().replace(task.abort_handle()) {
            old.abort();
        }
    }

    /// Ends [`Control::live`].
    pub fn stop_live(&self) {
        if let Some(task) = self.shared.live.lock().take() {
            task.abort();
        }
    }

    /// The repositories by their present names.
    pub fn repositories(&self) -> Vec<RepositoryName> {
        let state = self.shared.state.lock();
        let names = state.repositories.values().filter_map(|found| RepositoryName::new(&found.owner, &found.name).ok());
        names.collect()
    }
}

impl Shared {
    pub(crate) fn change(
        &self,
        repository: &RepositoryName,
        by: Option<&str>,
        change: Change,
    ) -> Result<Vec<Announcement>, ChangeError> {
        let mut state = self.state.lock();
        let announcements = state.change(repository, by, change)?;
        let now = state.now();
        state.remember(&announcements, now);
        // Under the state's lock, so that deliveries leave in the order of their changes.
        self.webhooks.send(&announcements, now);
        Ok(announcements)
    }

    pub(crate) fn truth(&self, repository: &RepositoryName, number: u64) -> Option<Truth> {
        let state = self.state.lock();
        let found = state.repositories.get(&state.by_name(repository)?)?;
        if let Some(thread) = found.thread(&state.people, number) {
            let thread = thread.into_owned();
            let show = |value| state.show(value, View::default());
            return Some(Truth::Present {
                issue: show(thread.issue),
                timeline: thread.timeline.into_iter().map(show).collect(),
                pull: thread.pull.map(show),
                review_comments: thread.review_comments.into_iter().map(show).collect(),
            });
        }
        Some(match found.gone.get(&number) {
            None if number > found.highest || number == 0 => Truth::Unused,
            None | Some(Gone::Hidden) => Truth::Hidden,
            Some(Gone::Deleted) => Truth::Deleted,
            Some(Gone::Discussion) => Truth::NotAnItem,
            Some(gone @ Gone::Transferred { .. }) => match state.transfer_target(*gone) {
                Some((target, number)) => {
                    Truth::Transferred { location: state.by_id_url(target, &format!("/issues/{number}")) }
                }
                None => Truth::Hidden,
            },
        })
    }
}

/// Answers a request to `/_simulator/{path}`.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    method: &str,
    path: &str,
    query: &[(String, String)],
    body: &Bytes,
) -> Response<Body> {
    if (method, path) == ("GET", "deliveries") {
        shared.webhooks.settled().await;
    }
    match act(shared, method, path, query, body) {
        Ok(value) => respond(StatusCode::OK, &value),
        Err((status, message)) => respond(status, &json!({"message": message})),
    }
}

type Refused = (StatusCode, String);

fn act(
    shared: &Arc<Shared>,
    method: &str,
    path: &str,
    query: &[(String, String)],
    body: &Bytes,
) -> Result<Value, Refused> {
    let parameter = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let parts: Vec<&str> = path.split('/').collect();
    match (method, parts.as_slice()) {
        ("GET", ["truth", owner, name]) => {
            let state = shared.state.lock();
            let id = state.by_name(&named(owner, name)?).ok_or_else(|| missing(owner, name))?;
            let numbers = state.repositories.get(&id).map(|found| found.summaries.keys().copied().collect::<Vec<_>>());
            Ok(json!(numbers))
        }
        ("GET", ["truth", owner, name, number]) => {
            let number = number.parse().map_err(|_| bad("the number is no number"))?;
            let truth = shared.truth(&named(owner, name)?, number).ok_or_else(|| missing(owner, name))?;
            Ok(json!(truth))
        }
        ("GET", ["violations"]) => Ok(json!(*shared.violations.lock())),
        ("DELETE", ["violations"]) => {
            shared.violations.lock().clear();
            Ok(Value::Null)
        }
        ("GET", ["requests"]) => Ok(json!(*shared.requests.lock())),
        ("POST", ["faults"]) => {
            let rule: Rule = parse(body)?;
            shared.faults.lock().add(rule);
            Ok(Value::Null)
        }
        ("DELETE", ["faults"]) => {
            shared.faults.lock().clear();
            Ok(Value::Null)
        }
        ("POST", ["change", owner, name]) => {
            let change: Change = parse(body)?;
            let made = shared.change(&named(owner, name)?, parameter("by"), change);
            made.map(|made| json!(made)).map_err(|error| (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
        }
        ("PUT", ["webhook"]) => {
            let webhook: Webhook = parse(body)?;
            shared.webhooks.aim(Some(webhook));
            Ok(Value::Null)
        }
        ("DELETE", ["webhook"]) => {
            shared.webhooks.aim(None);
            Ok(Value::Null)
        }
        ("GET", ["deliveries"]) => Ok(json!(shared.webhooks.log())),
        ("POST", ["advance"]) => {
            let seconds: u64 =
                parameter("seconds").and_then(|text| text.parse().ok()).ok_or_else(|| bad("seconds=N"))?;
            shared.limits.lock().advance(Duration::from_secs(seconds));
            shared.state.lock().shift += seconds as i64;
            Ok(Value::Null)
        }
        ("POST", ["revoke"]) => {
            shared.limits.lock().revoke(parameter("token").ok_or_else(|| bad("token=T"))?);
            Ok(Value::Null)
        }
        ("POST", ["live"]) => {
            let rate = parameter("per_minute").and_then(|text| text.parse().ok()).ok_or_else(|| bad("per_minute=N"))?;
            Control { shared: shared.clone() }.live(rate);
            Ok(Value::Null)
        }
        ("DELETE", ["live"]) => {
            Control { shared: shared.clone() }.stop_live();
            Ok(Value::Null)
        }
        _ => Err((StatusCode::NOT_FOUND, format!("the simulator has no {method} {path}"))),
    }
}

fn bad(message: &str) -> Refused {
    (StatusCode::BAD_REQUEST, message.to_owned())
}

fn missing(owner: &str, name: &str) -> Refused {
    (StatusCode::NOT_FOUND, format!("the world has no repository {owner}/{name}"))
}

fn named(owner: &str, name: &str) -> Result<RepositoryName, Refused> {
    RepositoryName::new(owner, name).map_err(|error| bad(&error.to_string()))
}

fn parse<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))
}

pub(crate) fn respond(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
