//! One request after the other: strictness, budgets, faults, the answer, and how it goes over the wire.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    control,
    fault::{Fault, Faults, GraphqlError, Withheld},
    graphql::Answering,
    limits::{Caller, EVERYTHING, Limits, Refusal},
    lock::Lock,
    options::Options,
    repository::{Repository, Standing},
    routes::{Call, ROUTES, Reply, Route, capture},
    state::{Found, State, View},
    webhook,
};

/// A request that GitHub documents as wrong. Tests fail on any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// `GET`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// What was wrong with it.
    pub problem: String,
}

/// A whole list, and the version of the world that it was gathered at.
type Gathered = (u64, Arc<Vec<serde_json::Value>>);

/// Everything the server and its handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) state: Lock<State>,
    pub(crate) limits: Lock<Limits>,
    pub(crate) faults: Lock<Faults>,
    pub(crate) violations: Lock<Vec<Violation>>,
    pub(crate) requests: Lock<BTreeMap<String, u64>>,
    pub(crate) webhooks: webhook::Sender,
    pub(crate) live: Lock<Option<tokio::task::AbortHandle>>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) tick: AtomicU64,
    pub(crate) in_flight: AtomicUsize,
    /// Lists over whole repositories, which are dear to make, as long as nothing changes.
    pub(crate) gathered: Lock<HashMap<crate::routes::ListKey, Gathered>>,
    /// Which item a node belongs to, for the nodes that GraphQL answers have shown, and for all once another is asked for.
    pub(crate) node_ids: Lock<HashMap<String, (u64, u64)>>,
    /// After how many changes of the world all nodes were gathered there.
    pub(crate) node_ids_at: Lock<Option<u64>>,
    /// What GraphQL was asked, and what it answered, if that is kept.
    pub(crate) exchanges: Lock<Vec<Exchange>>,
}

/// A GraphQL request and its answer.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Exchange {
    /// `query` and `variables`.
    pub request: serde_json::Value,
    /// `data` and `errors`.
    pub answer: serde_json::Value,
}

/// The connection closes without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the simulated connection was reset")]
pub(crate) struct Dropped;

/// What matters of a request, taken apart.
struct Asked {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    text: String,
    token: Option<String>,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    /// Fine-grained tokens see no cross-references.
    fn is_blind(&self) -> bool {
        self.token.as_deref().is_some_and(|token| token.starts_with("github_pat_"))
    }

    /// Where fault rules look: the path, and of GraphQL the operation.
    fn place(&self) -> Cow<'_, str> {
        match self.path.as_str() {
            "/graphql" => format!("/graphql#{}", crate::graphql::operation(&self.body)).into(),
            path => path.into(),
        }
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The longest request body that is read: GraphQL documents are well below.
const LONGEST_BODY: usize = 4 * 1024 * 1024;

impl Shared {
    /// Answers one request, or drops its connection.
    pub(crate) async fn serve<B>(self: &Arc<Self>, request: Request<B>) -> Result<Response<Body>, Dropped>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let body = http_body_util::Limited::new(body, LONGEST_BODY).collect().await.map_err(|_| Dropped)?.to_bytes();
        let asked = Asked {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
            text: head.uri.to_string(),
            token: bearer(&head.headers),
            headers: head.headers,
            body,
        };
        if let Some(path) = asked.path.strip_prefix("/_simulator/") {
            return Ok(control::answer(self, &asked.method, path, &asked.query, &asked.body).await);
        }
        if !is_api(&asked.path) {
            return Ok(crate::pages::answer(self, &asked.path));
        }
        let _flight = Flight::start(&self.in_flight);
        self.api(&asked).await
    }

    async fn api(&self, asked: &Asked) -> Result<Response<Body>, Dropped> {
        if !self.options.latency.is_zero() {
            tokio::time::sleep(self.options.latency).await;
        }
        let Some(caller) = self.limits.lock().caller(asked.token.as_deref(), &self.options) else {
            return Ok(self.finish(asked, &Caller::Anonymous, Reply::error(401, "Bad credentials", "")));
        };
        if let Err(reply) = self.check_form(asked) {
            return Ok(self.finish(asked, &caller, reply));
        }
        if let Some(reply) = self.check_limits(asked, &caller) {
            return Ok(self.finish(asked, &caller, reply));
        }
        let fault = self.faults.lock().strike(&asked.place());
        match fault {
            None => {
                let reply = self.answer(asked, &caller).await;
                Ok(self.finish(asked, &caller, reply))
            }
            Some(fault) => self.fail(asked, &caller, fault).await,
        }
    }

    fn violate(&self, asked: &Asked, problem: String) {
        tracing::warn!(path = asked.text, problem, "the client broke a rule");
        let violation = Violation { method: asked.method.clone(), path: asked.text.clone(), problem };
        self.violations.lock().push(violation);
    }

    /// What GitHub asks of every request, whatever it is about.
    fn check_form(&self, asked: &Asked) -> Result<(), Reply> {
        if asked.header(header::USER_AGENT).is_empty() {
            self.violate(asked, "no User-Agent header".to_owned());
            let message = "Request forbidden by administrative rules. Please make sure your request has a User-Agent \
                header";
            return Err(Reply::error(403, message, ""));
        }
        let version = asked.headers.get("x-github-api-version").and_then(|value| value.to_str().ok());
        if let Some(version) = version.filter(|version| !["2022-11-28", "2026-03-10"].contains(version)) {
            self.violate(asked, format!("unknown API version {version}"));
            return Err(Reply::error(400, "Unsupported API version", "/about-the-rest-api/api-versions"));
        }
        Ok(())
    }

    /// Whether the caller may ask now. Counts the request.
    fn check_limits(&self, asked: &Asked, caller: &Caller) -> Option<Reply> {
        let free = asked.path == "/rate_limit";
        let mut limits = self.limits.lock();
        if let Some((refusal, knows)) =
            limits.waiting(caller, resource_of(&asked.path), &self.options).filter(|_| !free)
        {
            drop(limits);
            if knows {
                self.violate(asked, "a call made while told to wait".to_owned());
            }
            return Some(self.refuse(caller, refusal));
        }
        let points = if asked.method == "GET" || asked.path == "/graphql" { 1 } else { 5 };
        let crowded = self.options.concurrent.is_some_and(|most| self.in_flight.load(Ordering::SeqCst) > most);
        if !limits.count_minute(caller, points, &self.options) || crowded {
            let retry_after = self.options.secondary_retry_after.map(|wait| wait.as_secs().max(1));
            let wait = retry_after.unwrap_or(60);
            let until = limits.now_ms() + wait * 1_000;
            limits.tell(caller, EVERYTHING, until);
            drop(limits);
            return Some(self.refuse(caller, Refusal::Secondary { retry_after }));
        }
        let graphql = asked.path == "/graphql";
        if self.options.hourly && !free && !graphql && !limits.charge(caller, "core", 1, &self.options) {
            let reset = limits.budget(caller, "core", &self.options).reset;
            limits.tell(caller, "core", reset * 1_000);
            drop(limits);
            return Some(self.refuse(caller, Refusal::Primary));
        }
        None
    }

    fn refuse(&self, caller: &Caller, refusal: Refusal) -> Reply {
        let page = "/using-the-rest-api/rate-limits-for-the-rest-api";
        match refusal {
            Refusal::Primary => {
                let whose = match caller {
                    Caller::Anonymous => "127.0.0.1. (But here's the good news: Authenticated requests get a higher \
                        rate limit. Check out the documentation for more details.)"
                        .to_owned(),
                    Caller::User(_) => "user ID 12345678.".to_owned(),
                    Caller::App => "installation ID 1.".to_owned(),
                };
                Reply::error(403, &format!("API rate limit exceeded for {whose}"), page)
            }
            Refusal::Secondary { retry_after } => {
                let message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try \
                    again. If you reach out to GitHub Support for help, please include the request ID 5EC0:DA21.";
                let mut reply = Reply::error(403, message, page);
                if let Some(seconds) = retry_after {
                    reply.headers.push(("retry-after", seconds.to_string()));
                }
                reply
            }
        }
    }

    /// The refusal with this status; where that is 200, as GraphQL says it.
    fn refuse_with(&self, asked: &Asked, caller: &Caller, refusal: Refusal, status: u16) -> Reply {
        let mut reply = Reply { status, ..self.refuse(caller, refusal) };
        if asked.path == "/graphql" && status == 200 {
            let mut error = json!({"message": reply.body["message"]});
            if refusal == Refusal::Primary {
                error["type"] = json!("RATE_LIMITED");
            }
            reply.body = json!({"errors": [error]});
        }
        reply
    }

    /// The answer to a request that no fault hits.
    async fn answer(&self, asked: &Asked, caller: &Caller) -> Reply {
        self.answer_without(asked, caller, None).await
    }

    /// Finds the route and lets it answer, without what a fault withholds.
    async fn answer_without(
        &self,
        asked: &Asked,
        caller: &Caller,
        withheld: Option<(Withheld, GraphqlError)>,
    ) -> Reply {
        if asked.path == "/graphql" && asked.method == "POST" {
            let unseen = self.limits.lock().unseen(asked.token.as_deref());
            let how = Answering { blind: asked.is_blind(), unseen, withheld };
            let (reply, problem) = crate::graphql::answer(self, caller, how, &asked.body);
            if let Some(problem) = problem {
                self.violate(asked, problem);
            }
            if self.options.keep_graphql {
                let request = serde_json::from_slice(&asked.body).unwrap_or_default();
                let answer = reply.body.clone();
                self.exchanges.lock().push(Exchange { request, answer });
            }
            *self.requests.lock().entry("POST /graphql".to_owned()).or_default() += 1;
            return reply;
        }
        let unseen = self.limits.lock().unseen(asked.token.as_deref());
        let state = self.state.lock();
        let (repository, rest) = match locate(&state, &asked.path) {
            Place::Here(repository, _) if unseen.contains(&repository.id) => return Reply::not_found(),
            Place::Moved(id, _) if unseen.contains(&id) => return Reply::not_found(),
            Place::Nowhere => (None, asked.path.as_str()),
            Place::Missing => {
                return if ROUTES.iter().any(|route| capture(route.template, &plain_path(&asked.path)).is_some()) {
                    Reply::not_found()
                } else {
                    self.undocumented(asked)
                };
            }
            Place::Moved(id, rest) => return moved(&state, asked, id, rest),
            Place::Here(repository, rest) => (Some(repository), rest),
        };
        let full = if repository.is_some() { format!("/repos/_/_{rest}") } else { asked.path.clone() };
        let found = ROUTES.iter().find_map(|route| Some((route, capture(route.template, &full)?)));
        let Some((route, captured)) = found.filter(|(route, _)| route.method == asked.method) else {
            return self.undocumented(asked);
        };
        if let Some(reply) = self.check_parameters(asked, route) {
            return reply;
        }
        if let Some(reply) = repository.and_then(|repository| barred(repository, rest)) {
            return reply;
        }
        *self.requests.lock().entry(format!("{} {}", route.method, route.template)).or_default() += 1;
        let captured = if repository.is_some() { captured[2..].to_vec() } else { captured };
        let (query, blind) = (asked.query.as_slice(), asked.is_blind());
        let call = Call { shared: self, state: &state, repository, captured, query, rest, caller, blind };
        (route.answer)(&call)
    }

    fn undocumented(&self, asked: &Asked) -> Reply {
        self.violate(asked, "GitHub documents no such endpoint, or this simulator lacks it".to_owned());
        Reply::not_found()
    }

    fn check_parameters(&self, asked: &Asked, route: &Route) -> Option<Reply> {
        for (key, value) in &asked.query {
            if !route.parameters.contains(&key.as_str()) {
                self.violate(asked, format!("parameter {key} is not documented for {}", route.template));
                return Some(Reply::error(400, &format!("Unknown parameter {key}"), ""));
            }
            let fits = match key.as_str() {
                "state" => ["open", "closed", "all"].contains(&value.as_str()),
                "direction" => ["asc", "desc"].contains(&value.as_str()),
                "since" => crate::objects::seconds(value).is_some(),
                "per_page" | "page" => value.parse::<u32>().is_ok_and(|number| number > 0),
                "sort" => SORTS.contains(&value.as_str()),
                _ => true,
            };
            if !fits {
                self.violate(asked, format!("{key} cannot be {value}"));
                return Some(Reply::error(422, "Validation Failed", ""));
            }
        }
        None
    }

    async fn fail(&self, asked: &Asked, caller: &Caller, fault: Fault) -> Result<Response<Body>, Dropped> {
        match fault {
            Fault::Reset => Err(Dropped),
            Fault::Status { status } => Ok(self.finish(asked, caller, Reply::error(status, "Server Error", ""))),
            Fault::Redirect { status, location } => {
                Ok(self.finish(asked, caller, Reply { status, ..Reply::moved(location) }))
            }
            Fault::HtmlPage { status } => Ok(html(status, "<html><body><h1>Whoa there!</h1>unicorns</body></html>")),
            Fault::Latency { delay_ms } => {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                let reply = self.answer(asked, caller).await;
                Ok(self.finish(asked, caller, reply))
            }
            Fault::Truncate => {
                let reply = self.answer(asked, caller).await;
                Ok(truncated(self.finish(asked, caller, reply)).await)
            }
            Fault::Slow { pause_ms } => {
                let reply = self.answer(asked, caller).await;
                Ok(slowed(self.finish(asked, caller, reply), Duration::from_millis(pause_ms)).await)
            }
            Fault::PrimaryLimit { reset_in_s, status } => {
                let resource = resource_of(&asked.path);
                let mut limits = self.limits.lock();
                limits.exhaust(caller, resource, reset_in_s, &self.options);
                let until = limits.budget(caller, resource, &self.options).reset * 1_000;
                limits.tell(caller, resource, until);
                drop(limits);
                Ok(self.finish(asked, caller, self.refuse_with(asked, caller, Refusal::Primary, status)))
            }
            Fault::SecondaryLimit { retry_after_s, status } => {
                let mut limits = self.limits.lock();
                let until = limits.now_ms() + retry_after_s.unwrap_or(60) * 1_000;
                limits.tell(caller, EVERYTHING, until);
                drop(limits);
                let refusal = Refusal::Secondary { retry_after: retry_after_s };
                Ok(self.finish(asked, caller, self.refuse_with(asked, caller, refusal, status)))
            }
            Fault::Change { repository, what } => {
                if let Err(error) = self.change(&repository, None, what) {
                    tracing::warn!(%error, "a change by a fault rule could not be made");
                }
                let reply = self.answer(asked, caller).await;
                Ok(self.finish(asked, caller, reply))
            }
            Fault::Withhold { what, error } => {
                let reply = self.answer_without(asked, caller, Some((what, error))).await;
                Ok(self.finish(asked, caller, reply))
            }
            Fault::RevokeToken => {
                if let Some(token) = &asked.token {
                    self.limits.lock().revoke(token);
                }
                Ok(self.finish(asked, &Caller::Anonymous, Reply::error(401, "Bad credentials", "")))
            }
        }
    }

    /// Fills the body in and adds what every answer carries.
    fn finish(&self, asked: &Asked, caller: &Caller, reply: Reply) -> Response<Body> {
        let version = asked.headers.get("x-github-api-version").and_then(|value| value.to_str().ok());
        let later = version == Some("2026-03-10");
        let pretty =
            ["curl", "Wget", "Safari", "Firefox"].iter().any(|name| asked.header(header::USER_AGENT).contains(name));
        let tick = if self.options.volatile { self.tick.fetch_add(1, Ordering::SeqCst) } else { 0 };
        let state = self.state.lock();
        let viewer = match caller {
            Caller::User(login) => state.people.by_login(login).map(|user| user.id),
            _ => None,
        };
        let at_rest = state.show(reply.body.clone(), View { tick: 0, later, viewer });
        let shown = state.show(reply.body, View { tick, later, viewer });
        drop(state);
        let etag = etag(asked, &at_rest);
        let known = asked.header(header::IF_NONE_MATCH).replace("W/", "");
        let unchanged = reply.status == 200 && asked.method == "GET" && known.split(", ").any(|one| one == etag);
        let mut response = Response::builder().status(if unchanged { 304 } else { reply.status });
        let headers = response.headers_mut().expect("the status is one that HTTP has");
        if unchanged && asked.token.is_some() {
            self.limits.lock().refund(caller, "core");
        }
        let gzip = asked.header(header::ACCEPT_ENCODING).contains("gzip");
        let text = if pretty { serde_json::to_vec_pretty(&shown) } else { serde_json::to_vec(&shown) };
        let text = text.expect("JSON values always have a text");
        let gzip = gzip && text.len() > 1_000 && !unchanged;
        if reply.status == 200 && asked.method == "GET" {
            let weak = if gzip { "W/" } else { "" };
            insert(headers, "etag", &format!("{weak}{etag}"));
        }
        self.common_headers(headers, caller, resource_of(&asked.path));
        for (name, value) in &reply.headers {
            insert(headers, name, value);
        }
        if unchanged {
            return response.body(Body::empty()).expect("a response without a body can be built");
        }
        insert(headers, "content-type", "application/json; charset=utf-8");
        let body = if gzip {
            insert(headers, "content-encoding", "gzip");
            compress(&text)
        } else {
            text
        };
        response.body(Body::from(body)).expect("all headers were checked when inserted")
    }

    fn common_headers(&self, headers: &mut HeaderMap, caller: &Caller, resource: &'static str) {
        if self.options.hourly {
            let budget = self.limits.lock().budget(caller, resource, &self.options);
            for (name, value) in [
                ("x-ratelimit-limit", budget.limit),
                ("x-ratelimit-remaining", budget.remaining()),
                ("x-ratelimit-used", budget.used),
                ("x-ratelimit-reset", budget.reset),
            ] {
                insert(headers, name, &value.to_string());
            }
            insert(headers, "x-ratelimit-resource", resource);
        }
        if let Some(at) = self.limits.lock().ends_at(caller) {
            insert(headers, "github-authentication-token-expiration", &at);
        }
        insert(headers, "x-github-media-type", "github.v3; format=json");
        insert(headers, "x-github-request-id", &format!("51A0:{:X}", self.tick.load(Ordering::SeqCst)));
        insert(headers, "cache-control", "private, max-age=60, s-maxage=60");
        insert(headers, "vary", "Accept, Authorization, Cookie, Accept-Encoding");
    }
}

const SORTS: &[&str] =
    &["created", "updated", "comments", "popularity", "long-running", "due_on", "completeness", "created_at"];

/// Counts a request as under way until dropped.
struct Flight<'a>(&'a AtomicUsize);

impl<'a> Flight<'a> {
    fn start(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Where a path leads.
enum Place<'a> {
    /// To no repository: `/user`, `/meta` …
    Nowhere,
    /// To a repository that is not there.
    Missing,
    Moved(u64, &'a str),
    Here(&'a Repository, &'a str),
}

fn locate<'a>(state: &'a State, path: &'a str) -> Place<'a> {
    if let Some(rest) = path.strip_prefix("/repositories/") {
        let (id, _) = rest.split_once('/').unwrap_or((rest, ""));
        let found = id.parse().ok().and_then(|id: u64| state.repositories.get(&id));
        return found.map_or(Place::Missing, |found| Place::Here(found, &rest[id.len()..]));
    }
    let Some(rest) = path.strip_prefix("/repos/") else { return Place::Nowhere };
    let mut parts = rest.splitn(3, '/');
    let (owner, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let rest = &rest[(owner.len() + 1 + name.len()).min(rest.len())..];
    match state.find(owner, name) {
        None => Place::Missing,
        Some(Found::Moved(id)) => Place::Moved(id, rest),
        Some(Found::Here(id)) => Place::Here(&state.repositories[&id], rest),
    }
}

/// A path with its repository replaced, to look for its route.
fn plain_path(path: &str) -> String {
    let skip = if path.starts_with("/repositories/") { 3 } else { 4 };
    let rest: Vec<&str> = path.split('/').skip(skip).collect();
    if rest.is_empty() { "/repos/_/_".to_owned() } else { format!("/repos/_/_/{}", rest.join("/")) }
}

fn moved(state: &State, asked: &Asked, id: u64, rest: &str) -> Reply {
    let query = asked.text.split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
    match state.repositories.get(&id) {
        Some(target) if target.standing != Standing::Unseen => {
            Reply::moved(state.by_id_url(id, &format!("{rest}{query}")))
        }
        _ => Reply::not_found(),
    }
}

/// Why a repository as a whole gives no answer.
fn barred(repository: &Repository, rest: &str) -> Option<Reply> {
    match &repository.standing {
        Standing::Unseen => return Some(Reply::not_found()),
        Standing::Blocked { status, reason } => {
            let mut reply = Reply::error(*status, "Repository access blocked", "");
            reply.body["block"] = json!({
                "reason": reason,
                "created_at": "2026-10-01T00:00:00Z",
                "html_url": "https://github.com/tos",
            });
            return Some(reply);
        }
        Standing::Public => {}
    }
    let issues = rest == "/issues" || rest.starts_with("/issues/");
    (issues && !repository.issues_enabled)
        .then(|| Reply::error(410, "Issues are disabled for this repo", "/issues/issues"))
}

/// API paths begin with a word that no owner has.
fn is_api(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    [
        "repos",
        "repositories",
        "user",
        "users",
        "meta",
        "versions",
        "rate_limit",
        "app",
        "installation",
        "graphql",
        "search",
        "orgs",
        "events",
        "api",
        "notifications",
    ]
    .contains(&first)
}

fn resource_of(path: &str) -> &'static str {
    if path == "/graphql" { "graphql" } else { "core" }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let token = value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("token ")).unwrap_or(value);
    Some(token.to_owned())
}

/// GitHub's ETag depends on the Accept header, the token and the body.
fn etag(asked: &Asked, body: &Value) -> String {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    digest.update(asked.header(header::ACCEPT).as_bytes());
    digest.update(b":");
    digest.update(asked.token.as_deref().unwrap_or_default().as_bytes());
    digest.update(b":");
    digest.update(body.to_string().as_bytes());
    format!("\"{}\"", hex::encode(digest.finish()))
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn compress(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("writing into memory does not fail")
}

pub(crate) fn html(status: u16, text: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    insert(response.headers_mut(), "content-type", "text/html; charset=utf-8");
    response
}

/// Half of the body, under a length that promises all of it.
async fn truncated(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let bytes = all_of(body).await;
    insert(&mut head.headers, "content-length", &bytes.len().max(1).to_string());
    let half = bytes.slice(..bytes.len() / 2);
    // A pause, so that head and half are on their way before the connection breaks.
    let pieces = stream::iter([Some(half), None]).then(|piece| async {
        match piece {
            Some(half) => Ok(half),
            None => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::other("the simulated body ends here"))
            }
        }
    });
    Response::from_parts(head, Body::from_stream(pieces))
}

async fn slowed(response: Response<Body>, pause: Duration) -> Response<Body> {
    let (head, body) = response.into_parts();
    let bytes = all_of(body).await;
    let step = bytes.len().div_ceil(16).max(1);
    let pieces = stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = rest.split_to(step.min(rest.len()));
        Some((Ok::<_, Infallible>(piece), rest))
    });
    Response::from_parts(head, Body::from_stream(pieces))
}

async fn all_of(body: Body) -> Bytes {
    body.collect().await.map(|all| all.to_bytes()).unwrap_or_default()
}
