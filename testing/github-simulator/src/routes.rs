//! Every REST endpoint that is served: GitHub's path and parameters, and what answers.
//!
//! The table is also what a test compares with GitHub's own description of its API.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gharvest_model::Kind;
use serde_json::{Value, json};

use crate::{
    hooks,
    limits::Caller,
    objects::{seconds, time},
    repository::{Gone, ItemQuery, Repository},
    server::Shared,
    state::{Detail, State, View},
    token::Token,
};

/// An endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// The path as GitHub's description writes it.
    pub(crate) template: &'static str,
    /// The query parameters that are served; others are violations.
    pub(crate) parameters: &'static [&'static str],
    pub(crate) answer: fn(&Call<'_>) -> Reply,
}

/// A request on its way to an answer.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) state: &'a State,
    /// The repository that the path names, if it names one.
    pub(crate) repository: Option<&'a Repository>,
    /// What stands in the braces of the template, without owner and name.
    pub(crate) captured: Vec<&'a str>,
    pub(crate) query: &'a [(String, String)],
    /// The path behind the repository, for `Link`.
    pub(crate) rest: &'a str,
    pub(crate) caller: &'a Caller,
    /// Whether the token sees no cross-references.
    pub(crate) blind: bool,
}

/// An answer whose body still has placeholders.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Self { status: 200, body, headers: Vec::new() }
    }

    /// An error in GitHub's form.
    pub(crate) fn error(status: u16, message: &str, page: &str) -> Self {
        let body = json!({
            "message": message,
            "documentation_url": format!("https://docs.github.com/rest{page}"),
            "status": status.to_string(),
        });
        Self { status, body, headers: Vec::new() }
    }

    pub(crate) fn not_found() -> Self {
        Self::error(404, "Not Found", "")
    }

    pub(crate) fn moved(location: String) -> Self {
        let body = json!({
            "message": "Moved Permanently",
            "url": location,
            "documentation_url": "https://docs.github.com/rest/guides/best-practices-for-using-the-rest-api#follow-redirects",
        });
        Self { status: 301, body, headers: vec![("location", location)] }
    }
}

const PAGING: &[&str] = &["per_page", "page"];
const NONE: &[&str] = &[];

/// All endpoints.
pub(crate) const ROUTES: &[Route] = &[
    get("/repos/{owner}/{repo}", NONE, repository),
    get(
        "/repos/{owner}/{repo}/issues",
        &["state", "since", "sort", "direction", "per_page", "page", "after", "labels", "creator"],
        issues,
    ),
    get(
        "/repos/{owner}/{repo}/issues/comments",
        &["sort", "direction", "since", "per_page", "page"],
        all_issue_comments,
    ),
    get("/repos/{owner}/{repo}/issues/events", PAGING, all_issue_events),
    get("/repos/{owner}/{repo}/issues/{issue_number}", NONE, issue),
    get("/repos/{owner}/{repo}/issues/{issue_number}/timeline", &["per_page", "page", "exclude"], timeline),
    get("/repos/{owner}/{repo}/issues/{issue_number}/comments", &["since", "per_page", "page"], issue_comments),
    get("/repos/{owner}/{repo}/issues/{issue_number}/events", PAGING, issue_events),
    get("/repos/{owner}/{repo}/pulls", &["state", "sort", "direction", "per_page", "page"], pulls),
    get(
        "/repos/{owner}/{repo}/pulls/comments",
        &["sort", "direction", "since", "per_page", "page"],
        all_review_comments,
    ),
    get("/repos/{owner}/{repo}/pulls/{pull_number}", NONE, pull),
    get(
        "/repos/{owner}/{repo}/pulls/{pull_number}/comments",
        &["sort", "direction", "since", "per_page", "page"],
        review_comments,
    ),
    get("/repos/{owner}/{repo}/pulls/{pull_number}/reviews", PAGING, reviews),
    get("/repos/{owner}/{repo}/labels", PAGING, labels),
    get("/repos/{owner}/{repo}/milestones", &["state", "sort", "direction", "per_page", "page"], milestones),
    get("/repos/{owner}/{repo}/releases", PAGING, releases),
    get("/repos/{owner}/{repo}/events", PAGING, feed),
    get("/repos/{owner}/{repo}/installation", NONE, installation),
    get("/repos/{owner}/{repo}/hooks", PAGING, hooks::list),
    get("/repos/{owner}/{repo}/hooks/{hook_id}/deliveries", &["per_page", "cursor", "status"], hooks::deliveries),
    get("/repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}", NONE, hooks::delivery),
    get("/orgs/{org}/hooks/{hook_id}/deliveries", &["per_page", "cursor", "status"], hooks::organization_deliveries),
    get("/orgs/{org}/hooks/{hook_id}/deliveries/{delivery_id}", NONE, hooks::organization_delivery),
    get("/app/hook/deliveries", &["per_page", "cursor", "status"], hooks::app_deliveries),
    get("/app/hook/deliveries/{delivery_id}", NONE, hooks::app_delivery),
    Route {
        method: "POST",
        template: "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}/attempts",
        parameters: NONE,
        answer: hooks::redeliver,
    },
    get("/user", NONE, user),
    get("/meta", NONE, meta),
    get("/versions", NONE, versions),
    get("/rate_limit", NONE, rate_limit),
    get("/app/installations", PAGING, installations),
    get("/installation/repositories", PAGING, installation_repositories),
    Route {
        method: "POST",
        template: "/app/installations/{installation_id}/access_tokens",
        parameters: NONE,
        answer: access_token,
    },
];

const fn get(template: &'static str, parameters: &'static [&'static str], answer: fn(&Call<'_>) -> Reply) -> Route {
    Route { method: "GET", template, parameters, answer }
}

/// The parts of a path that stand in the braces of a template. `None` when it does not fit.
pub(crate) fn capture<'a>(template: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut captured = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(captured),
            (Some(part), Some(text)) if part.starts_with('{') && !text.is_empty() => {
                // Where a number belongs, a word is another endpoint.
                if (part.ends_with("_number}") || part.ends_with("_id}")) && text.parse::<u64>().is_err() {
                    return None;
                }
                captured.push(text);
            }
            (Some(part), Some(text)) if part == text => {}
            _ => return None,
        }
    }
}

impl Call<'_> {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, place: usize) -> u64 {
        self.captured.get(place).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn repository(&self) -> &Repository {
        self.repository.expect("the router answers this route only with a repository")
    }

    /// 1 to 100, 30 unless told.
    pub(crate) fn per_page(&self) -> usize {
        self.parameter("per_page").and_then(|text| text.parse().ok()).unwrap_or(30).clamp(1, 100)
    }

    fn page(&self) -> usize {
        self.parameter("page").and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
    }

    fn since(&self) -> Option<i64> {
        self.parameter("since").and_then(seconds)
    }

    fn descending(&self, default: bool) -> bool {
        self.parameter("direction").map_or(default, |direction| direction == "desc")
    }

    /// An address of another page of this list: GitHub's numeric form, all parameters kept.
    pub(crate) fn address(&self, changes: &[(&str, String)]) -> String {
        let mut query = form_urlencoded(self.query, changes);
        if !query.is_empty() {
            query.insert(0, '?');
        }
        match self.repository {
            Some(repository) => self.state.by_id_url(repository.id, &format!("{}{query}", self.rest)),
            None => format!("{}{}{query}", self.state.api_url, self.rest),
        }
    }

    /// One page of a list whose length is known, with all four links.
    pub(crate) fn paged(&self, list: Vec<Value>) -> Reply {
        let (per_page, page) = (self.per_page(), self.page());
        let last = list.len().div_ceil(per_page).max(1);
        let shown: Vec<Value> = list.into_iter().skip((page - 1) * per_page).take(per_page).collect();
        let mut links = Vec::new();
        let mut link = |rel: &str, to: usize| {
            links.push(format!("<{}>; rel=\"{rel}\"", self.address(&[("page", to.to_string())])));
        };
        if page > 1 {
            link("prev", (page - 1).min(last));
        }
        if page < last {
            link("next", page + 1);
            link("last", last);
        }
        if page > 1 {
            link("first", 1);
        }
        let mut reply = Reply::ok(Value::Array(shown));
        if !links.is_empty() {
            reply.headers.push(("link", links.join(", ")));
        }
        reply
    }

    /// The item that the path names, or why it is not shown.
    fn item(&self, number: u64) -> Result<u64, Reply> {
        let repository = self.repository();
        if repository.summaries.contains_key(&number) {
            return Ok(number);
        }
        Err(match repository.gone.get(&number) {
            Some(Gone::Deleted) => Reply::error(410, "This issue was deleted", "/issues/issues#get-an-issue"),
            Some(gone @ Gone::Transferred { .. }) => match self.state.transfer_target(*gone) {
                Some((target, number)) => {
                    let tail = self.rest.splitn(4, '/').nth(3).map_or(String::new(), |tail| format!("/{tail}"));
                    Reply::moved(self.state.by_id_url(target, &format!("/issues/{number}{tail}")))
                }
                None => Reply::not_found(),
            },
            _ => Reply::not_found(),
        })
    }

    /// Only pull requests have addresses below `/pulls`.
    fn pull_item(&self, number: u64) -> Result<u64, Reply> {
        match self.repository().summaries.get(&number) {
            Some(summary) if summary.kind == Kind::PullRequest => Ok(number),
            _ => Err(Reply::not_found()),
        }
    }

    fn thread(&self, number: u64) -> crate::render::Thread {
        self.repository().thread(&self.state.people, number).expect("the number was looked up before").into_owned()
    }
}

fn form_urlencoded(query: &[(String, String)], changes: &[(&str, String)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in query.iter().filter(|(key, _)| changes.iter().all(|(changed, _)| changed != key)) {
        text.append_pair(key, value);
    }
    for (key, value) in changes {
        text.append_pair(key, value);
    }
    text.finish()
}

fn repository(call: &Call<'_>) -> Reply {
    Reply::ok(call.state.repository_object(call.repository(), Detail::Full, 0))
}

const TOO_DEEP: &str = "Pagination with the page parameter is not supported for large datasets, please use cursor \
    based pagination (after/before)";

/// Issues and pull requests. Pages are cursors: `after` stands for the last item's place in the order.
fn issues(call: &Call<'_>) -> Reply {
    let (per_page, page) = (call.per_page(), call.page());
    let after = call.parameter("after").map(Cursor::parse);
    if after == Some(None) {
        return Reply::error(422, "Invalid cursor", "/issues/issues#list-repository-issues");
    }
    if after.is_none() && (page - 1) * per_page >= 10_000 {
        return Reply::error(422, TOO_DEEP, "/issues/issues#list-repository-issues");
    }
    let query =
        ItemQuery { open: open_filter(call), since: call.since(), kind: None, ascending: !call.descending(true) };
    let ordered = ordered(call, &query);
    let start = match after.flatten() {
        Some(cursor) => ordered.partition_point(|place| cursor.covers(*place, query.ascending)),
        None => (page - 1) * per_page,
    };
    let end = (start + per_page).min(ordered.len());
    let shown = ordered.get(start..end).unwrap_or_default();
    let people = &call.state.people;
    let list = shown.iter().filter_map(|(_, number)| call.repository().issue(people, *number)).collect();
    let mut reply = Reply::ok(Value::Array(list));
    if let Some(last) = shown.last().filter(|_| end < ordered.len()) {
        let next = call.address(&[("after", Cursor(*last).text()), ("page", (page + 1).to_string())]);
        reply.headers.push(("link", format!("<{next}>; rel=\"next\"")));
    }
    reply
}

fn open_filter(call: &Call<'_>) -> Option<bool> {
    match call.parameter("state").unwrap_or("open") {
        "all" => None,
        state => Some(state == "open"),
    }
}

/// The items a list shows, each with what it is sorted by.
fn ordered(call: &Call<'_>, query: &ItemQuery) -> Vec<(i64, u64)> {
    let repository = call.repository();
    let sort = call.parameter("sort").unwrap_or("created");
    let takes = |number: &u64| query.takes(&repository.summaries[number]) && (!filtered(call) || passes(call, *number));
    let mut list: Vec<(i64, u64)> = match sort {
        "updated" => {
            let from = (query.since.unwrap_or(i64::MIN), 0);
            repository.by_update.range(from..).filter(|(_, number)| takes(number)).copied().collect()
        }
        "comments" => {
            let mut list: Vec<(i64, u64)> = repository
                .summaries
                .iter()
                .filter(|(number, _)| takes(number))
                .map(|(number, summary)| (i64::from(summary.comments), *number))
                .collect();
            list.sort_unstable();
            list
        }
        _ => {
            repository.summaries.keys().filter(|number| takes(number)).map(|number| (*number as i64, *number)).collect()
        }
    };
    if !query.ascending {
        list.reverse();
    }
    list
}

fn filtered(call: &Call<'_>) -> bool {
    call.parameter("labels").is_some() || call.parameter("creator").is_some()
}

fn passes(call: &Call<'_>, number: u64) -> bool {
    let Some(issue) = call.repository().issue(&call.state.people, number) else { return false };
    let issue = call.state.show(json!({"labels": issue["labels"], "user": issue["user"]}), Default::default());
    let has =
        |name: &str| issue["labels"].as_array().is_some_and(|list| list.iter().any(|label| label["name"] == name));
    call.parameter("labels").is_none_or(|names| names.split(',').all(has))
        && call.parameter("creator").is_none_or(|login| issue["user"]["login"] == login)
}

/// A place in an ordered list, opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor((i64, u64));

impl Cursor {
    fn text(self) -> String {
        URL_SAFE_NO_PAD.encode(format!("cursor:v2:{}:{}", self.0.0, self.0.1))
    }

    fn parse(text: &str) -> Option<Self> {
        let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (key, number) = plain.strip_prefix("cursor:v2:")?.split_once(':')?;
        Some(Self((key.parse().ok()?, number.parse().ok()?)))
    }

    /// Whether this place was shown already.
    fn covers(self, place: (i64, u64), ascending: bool) -> bool {
        if ascending { place <= self.0 } else { place >= self.0 }
    }
}

fn issue(call: &Call<'_>) -> Reply {
    match call.item(call.number(0)) {
        Ok(number) => Reply::ok(call.repository().issue(&call.state.people, number).unwrap_or_default()),
        Err(reply) => reply,
    }
}

fn timeline(call: &Call<'_>) -> Reply {
    match call.item(call.number(0)) {
        Ok(number) => {
            let excluded: Vec<&str> = call.parameter("exclude").map_or(Vec::new(), |list| list.split(',').collect());
            let mut entries = call.thread(number).timeline;
            entries.retain(|entry| entry["event"].as_str().is_none_or(|event| !excluded.contains(&event)));
            entries.retain(|entry| !(call.blind && entry["event"] == "cross-referenced"));
            call.paged(entries)
        }
        Err(reply) => reply,
    }
}

fn comments_of(thread: crate::render::Thread) -> impl Iterator<Item = Value> {
    thread.timeline.into_iter().filter(|entry| entry["event"] == "commented").map(|mut comment| {
        if let Value::Object(comment) = &mut comment {
            comment.shift_remove("event");
            comment.shift_remove("actor");
        }
        comment
    })
}

fn updated_since(value: &Value, since: Option<i64>) -> bool {
    since.is_none_or(|since| value["updated_at"].as_str().and_then(seconds).is_none_or(|at| at >= since))
}

fn issue_comments(call: &Call<'_>) -> Reply {
    match call.item(call.number(0)) {
        Ok(number) => {
            let since = call.since();
            call.paged(comments_of(call.thread(number)).filter(|comment| updated_since(comment, since)).collect())
        }
        Err(reply) => reply,
    }
}

const LIMITED: &str = "In order to keep the API fast for everyone, pagination is limited for this resource. Check the \
    rel=last link relation in the Link response header to see how far back you can traverse.";

/// A list over the whole repository: at most 30,000 entries can be paged through.
fn limited(call: &Call<'_>, mut list: Vec<Value>) -> Reply {
    if (call.page() - 1) * call.per_page() >= 30_000 {
        return Reply::error(422, LIMITED, "");
    }
    list.truncate(30_000);
    call.paged(list)
}

/// Entries of all threads that may have one updated since, sorted as asked.
fn gathered(call: &Call<'_>, what: &'static str, entries: impl Fn(crate::render::Thread) -> Vec<Value>) -> Reply {
    let key = if call.parameter("sort") == Some("updated") { "updated_at" } else { "created_at" };
    let descending = call.parameter("sort").is_some() && call.descending(true);
    let asked = (call.repository().id, what, call.since(), key, descending);
    let version = call.state.changes;
    let known = call.shared.gathered.lock().get(&asked).filter(|(then, _)| *then == version).cloned();
    let list = known.map_or_else(|| Arc::new(gather(call, key, descending, entries)), |(_, list)| list);
    let mut kept = call.shared.gathered.lock();
    kept.retain(|_, (then, _)| *then == version);
    kept.insert(asked, (version, Arc::clone(&list)));
    drop(kept);
    limited(call, list.to_vec())
}

/// Repository, what is listed, since when, by which time, descending.
pub(crate) type ListKey = (u64, &'static str, Option<i64>, &'static str, bool);

fn gather(
    call: &Call<'_>,
    key: &str,
    descending: bool,
    entries: impl Fn(crate::render::Thread) -> Vec<Value>,
) -> Vec<Value> {
    let since = call.since();
    let repository = call.repository();
    let mut list: Vec<Value> = repository
        .summaries
        .keys()
        .flat_map(|number| entries(call.thread(*number)))
        .filter(|entry| updated_since(entry, since))
        .collect();
    list.sort_by(|a, b| (a[key].as_str(), a["id"].as_u64()).cmp(&(b[key].as_str(), b["id"].as_u64())));
    if descending {
        list.reverse();
    }
    list
}

fn all_issue_comments(call: &Call<'_>) -> Reply {
    gathered(call, "comments", |thread| comments_of(thread).collect())
}

fn all_review_comments(call: &Call<'_>) -> Reply {
    gathered(call, "review comments", |thread| thread.review_comments)
}

/// What the events endpoints leave out: timeline-only entries.
fn is_event(entry: &Value) -> bool {
    const TIMELINE_ONLY: &[&str] = &[
        "commented",
        "committed",
        "cross-referenced",
        "reviewed",
        "line-commented",
        "commit-commented",
        "unsubscribed",
    ];
    entry["event"].as_str().is_some_and(|event| !TIMELINE_ONLY.contains(&event))
}

fn issue_events(call: &Call<'_>) -> Reply {
    match call.item(call.number(0)) {
        Ok(number) => call.paged(call.thread(number).timeline.into_iter().filter(is_event).collect()),
        Err(reply) => reply,
    }
}

fn all_issue_events(call: &Call<'_>) -> Reply {
    let repository = call.repository();
    let mut list = Vec::new();
    for number in repository.summaries.keys() {
        let thread = call.thread(*number);
        for mut event in thread.timeline.into_iter().filter(is_event) {
            event["issue"] = json!(Token::Issue(repository.id, *number).text());
            list.push(event);
        }
    }
    list.sort_by(|a, b| b["created_at"].as_str().cmp(&a["created_at"].as_str()));
    limited(call, list)
}

/// Keys that only the single pull request has.
pub(crate) const DETAILS: &[&str] = &[
    "merged",
    "mergeable",
    "rebaseable",
    "mergeable_state",
    "merged_by",
    "comments",
    "review_comments",
    "maintainer_can_modify",
    "commits",
    "additions",
    "deletions",
    "changed_files",
];

fn pulls(call: &Call<'_>) -> Reply {
    let created = call.parameter("sort").unwrap_or("created") == "created";
    let query = ItemQuery {
        open: open_filter(call),
        since: None,
        kind: Some(Kind::PullRequest),
        ascending: !call.descending(created),
    };
    let (per_page, page) = (call.per_page(), call.page());
    let ordered = ordered(call, &query);
    let shown = (page - 1) * per_page..(page * per_page).min(ordered.len());
    let list = ordered
        .iter()
        .enumerate()
        .map(|(place, (_, number))| {
            if !shown.contains(&place) {
                return Value::Null;
            }
            let mut pull = call.thread(*number).pull.unwrap_or_default();
            if let Value::Object(pull) = &mut pull {
                pull.retain(|key, _| !DETAILS.contains(&key.as_str()));
            }
            // Only lists show whose part a team is.
            pull["requested_teams"].as_array_mut().into_iter().flatten().for_each(|team| team["parent"] = Value::Null);
            pull
        })
        .collect();
    call.paged(list)
}

fn pull(call: &Call<'_>) -> Reply {
    match call.pull_item(call.number(0)) {
        Ok(number) => Reply::ok(call.thread(number).pull.unwrap_or_default()),
        Err(reply) => reply,
    }
}

fn review_comments(call: &Call<'_>) -> Reply {
    match call.pull_item(call.number(0)) {
        Ok(number) => {
            let since = call.since();
            let mut list = call.thread(number).review_comments;
            list.retain(|comment| updated_since(comment, since));
            call.paged(list)
        }
        Err(reply) => reply,
    }
}

fn reviews(call: &Call<'_>) -> Reply {
    let number = match call.pull_item(call.number(0)) {
        Ok(number) => number,
        Err(reply) => return reply,
    };
    let reviews = call.thread(number).timeline.into_iter().filter(|entry| entry["event"] == "reviewed");
    let list = reviews.map(|mut review| {
        review["state"] = json!(review["state"].as_str().unwrap_or_default().to_uppercase());
        if let Value::Object(review) = &mut review {
            review.shift_remove("event");
            review.shift_remove("updated_at");
        }
        review
    });
    call.paged(list.collect())
}

fn labels(call: &Call<'_>) -> Reply {
    call.paged(call.repository().labels.values().cloned().collect())
}

fn milestones(call: &Call<'_>) -> Reply {
    let state = call.parameter("state").unwrap_or("open");
    let repository = call.repository();
    let wanted = repository.milestones.iter().filter(|(_, milestone)| state == "all" || milestone["state"] == state);
    call.paged(wanted.map(|(number, _)| json!(Token::Milestone(repository.id, *number).text())).collect())
}

fn releases(call: &Call<'_>) -> Reply {
    call.paged(call.repository().releases.clone())
}

/// The newest events, at most 300.
fn feed(call: &Call<'_>) -> Reply {
    let mut reply = call.paged(call.repository().feed.iter().take(300).cloned().collect());
    reply.headers.push(("x-poll-interval", "60".to_owned()));
    reply
}

fn user(call: &Call<'_>) -> Reply {
    let Caller::User(login) = call.caller else {
        return Reply::error(401, "Requires authentication", "/users/users#get-the-authenticated-user");
    };
    let user = crate::people::User { id: 12_345_678, login: login.clone(), kind: "User" };
    let mut object = user.object(View::default());
    let more = json!({
        "name": null, "company": null, "blog": "", "location": null, "email": null, "hireable": null, "bio": null,
        "twitter_username": null, "public_repos": 3, "public_gists": 0, "followers": 1, "following": 1,
        "created_at": time(crate::script::WORLD_START), "updated_at": time(crate::script::WORLD_END),
    });
    crate::state::extend(&mut object, more);
    Reply::ok(object)
}

fn meta(_: &Call<'_>) -> Reply {
    Reply::ok(json!({
        "verifiable_password_authentication": false,
        "hooks": ["127.0.0.1/32", "::1/128"],
        "web": ["127.0.0.1/32"],
        "api": ["127.0.0.1/32"],
    }))
}

fn versions(_: &Call<'_>) -> Reply {
    Reply::ok(json!(["2022-11-28", "2026-03-10"]))
}

fn rate_limit(call: &Call<'_>) -> Reply {
    if !call.shared.options.hourly {
        return Reply::error(404, "Rate limiting is not enabled.", "/rate-limit");
    }
    let mut limits = call.shared.limits.lock();
    let mut entry = |resource| {
        let budget = limits.budget(call.caller, resource, &call.shared.options);
        json!({
            "limit": budget.limit,
            "remaining": budget.remaining(),
            "reset": budget.reset,
            "used": budget.used,
        })
    };
    let (core, graphql) = (entry("core"), entry("graphql"));
    let search = json!({"limit": 30, "remaining": 30, "reset": core["reset"], "used": 0});
    Reply::ok(json!({"resources": {"core": core, "search": search, "graphql": graphql}, "rate": core}))
}

fn is_app(call: &Call<'_>) -> Result<(), Reply> {
    if *call.caller == Caller::App {
        return Ok(());
    }
    Err(Reply::error(401, "A JSON web token could not be decoded", "/apps/apps"))
}

fn installation_object(call: &Call<'_>) -> Value {
    let owner = call
        .state
        .repositories
        .values()
        .next()
        .map_or(Value::Null, |repository| json!(Token::Owner(repository.id, "").text()));
    json!({
        "id": 1,
        "account": owner,
        "access_tokens_url": Token::Api("/app/installations/1/access_tokens").text(),
        "repositories_url": Token::Api("/installation/repositories").text(),
        "html_url": Token::Web("/organizations/lumen/settings/installations/1").text(),
        "app_id": 1,
        "target_id": 1,
        "target_type": "Organization",
        "permissions": {"issues": "read", "metadata": "read", "pull_requests": "read"},
        "events": ["issues", "issue_comment", "pull_request"],
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "single_file_name": null,
        "repository_selection": "all",
        "app_slug": "mirror",
        "suspended_at": null,
        "suspended_by": null,
    })
}

fn installation(call: &Call<'_>) -> Reply {
    is_app(call).map_or_else(|reply| reply, |()| Reply::ok(installation_object(call)))
}

fn installations(call: &Call<'_>) -> Reply {
    is_app(call).map_or_else(|reply| reply, |()| call.paged(vec![installation_object(call)]))
}

fn installation_repositories(call: &Call<'_>) -> Reply {
    let all: Vec<Value> = call.state.repositories.keys().map(|id| json!(Token::RepositoryObject(*id).text())).collect();
    let count = all.len();
    let mut reply = call.paged(all);
    reply.body = json!({"total_count": count, "repositories": reply.body});
    reply
}

/// An installation token: much longer than forty characters, good for an hour.
fn access_token(call: &Call<'_>) -> Reply {
    if let Err(reply) = is_app(call) {
        return reply;
    }
    if call.captured.first() != Some(&"1") {
        return Reply::not_found();
    }
    let mut limits = call.shared.limits.lock();
    let now = limits.now_ms() / 1_000;
    let token = format!("ghs_1_{}{}", crate::random::sha(now, &[1]), crate::random::sha(now, &[2]).repeat(6));
    limits.allow(&token, "installation 1", call.shared.options.core_limit);
    let body = json!({
        "token": token,
        "expires_at": time(now as i64 + 3_600),
        "permissions": {"issues": "read", "metadata": "read", "pull_requests": "read"},
        "repository_selection": "all",
    });
    Reply { status: 201, body, headers: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_capture_numbers_only_where_numbers_belong() {
        let template = "/repos/{owner}/{repo}/issues/{issue_number}";
        assert_eq!(capture(template, "/repos/a/b/issues/7"), Some(vec!["a", "b", "7"]));
        assert_eq!(capture(template, "/repos/a/b/issues/comments"), None);
        assert_eq!(capture(template, "/repos/a/b/issues/7/"), None);
        assert_eq!(capture(template, "/repos//b/issues/7"), None);
    }

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = Cursor((1_700_000_000, 42));
        assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
        assert_eq!(Cursor::parse("nonsense"), None);
    }
}
