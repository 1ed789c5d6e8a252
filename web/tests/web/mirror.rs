//! A small mirror on embedded backends, in a folder of its own.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode, header},
};
use gharvest_archive::{ApiKey, Archive, LedgerChange, Options, Repository, Written};
use gharvest_model::{
    ItemId, ItemRef, Kind, QueueName, Record, RepositoryId, RepositoryName, Revision, Subject,
    ledger::NumberState,
    live::LiveEvent,
    progress::ItemsCursor,
    record::{RecordRepository, Visibility},
    tracking::Tracked,
};
use gharvest_queue::{LeaseRequest, Outcome, Policy, QueueAdmin, Settlement, Timing, Trigger};
use gharvest_queue_sqlite::SqliteQueue;
use gharvest_search::{
    SearchIndex,
    render::{self, RenderContext},
};
use gharvest_search_tantivy::TantivyIndex;
use gharvest_service_kit::{Settings, load::Sources};
use gharvest_state::{SqliteState, State};
use gharvest_web::{Backends, Budget, Clock, OperationError, Operations, WebState, hash_key};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tower::ServiceExt;

/// The time in every test.
pub(crate) const NOW: &str = "2024-06-01T12:00:00Z";

pub(crate) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// To download this number panics.
pub(crate) const PANICS: u64 = 500;

/// Does what an operation would, without GitHub: it knows `octo/new` and nothing else.
#[derive(Debug)]
struct FakeOperations(Archive);

#[async_trait]
impl Operations for FakeOperations {
    async fn track(&self, name: &RepositoryName) -> Result<Tracked, OperationError> {
        if name.key() != "octo/new" {
            return Err(OperationError::NotFound(format!("GitHub knows no {name}")));
        }
        let tracked = tracked(99, name, false);
        self.0.track(tracked.clone()).await.unwrap();
        Ok(tracked)
    }

    async fn untrack(&self, repository: RepositoryId, _: bool) -> Result<(), OperationError> {
        self.0.untrack(repository).await.unwrap();
        Ok(())
    }

    async fn download(&self, item: &ItemRef) -> Result<ItemId, OperationError> {
        assert_ne!(item.number, PANICS, "as if something were wrong with this item");
        Ok(ItemId { repository: RepositoryId(1), number: item.number })
    }

    async fn budgets(&self) -> Vec<Budget> {
        Vec::new()
    }
}

fn tracked(id: u64, name: &RepositoryName, private: bool) -> Tracked {
    serde_json::from_value(json!({"id": id, "name": name, "private": private, "since": NOW})).unwrap()
}

/// A mirror and its web front.
pub(crate) struct Mirror {
    _folder: tempfile::TempDir,
    pub(crate) state: WebState,
    pub(crate) archive: Archive,
    pub(crate) queue: Arc<dyn QueueAdmin>,
    pub(crate) live: Arc<dyn State>,
    pub(crate) index: Arc<dyn SearchIndex>,
}

impl Mirror {
    /// Two repositories, `octo/box` and the private `octo/vault`, with a few threads.
    pub(crate) async fn new() -> Self {
        Self::with_settings(&[]).await
    }

    /// The same with settings, as in `("GHARVEST_WEB__LISTEN", "0.0.0.0:80")`.
    pub(crate) async fn with_settings(environment: &[(&str, &str)]) -> Self {
        let mirror = Self::empty(environment).await;
        mirror.repository(1, "octo/box", false).await;
        mirror.repository(2, "octo/vault", true).await;
        for record in threads() {
            mirror.put(record).await;
        }
        mirror.index.commit().await.unwrap();
        mirror
    }

    async fn empty(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), environment);
        let archive = Archive::open(&settings.archive_url(), &Options::default()).await.unwrap();
        let file = folder.path().join("queue.sqlite");
        let queue: Arc<dyn QueueAdmin> = SqliteQueue::open(&file, Policy::default()).await.unwrap();
        let live: Arc<dyn State> = SqliteState::open(&file).await.unwrap();
        let index: Arc<dyn SearchIndex> = TantivyIndex::open(&folder.path().join("index")).await.unwrap();
        index.ensure(archive.id()).await.unwrap();
        let backends = Backends {
            queue: queue.clone(),
            archive: archive.clone(),
            state: live.clone(),
            search: index.clone(),
            operations: Arc::new(FakeOperations(archive.clone())),
        };
        let mut state = WebState::new(backends, &settings);
        state.clock = Clock::new(now);
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        state.metrics = Some(recorder.handle());
        Self { _folder: folder, state, archive, queue, live, index }
    }

    pub(crate) async fn repository(&self, id: u64, name: &str, private: bool) {
        let name: RepositoryName = name.parse().unwrap();
        let object =
            json!({"id": id, "full_name": name, "private": private, "description": "A box", "stargazers_count": 7});
        let file = json!({"id": id, "full_name": name, "repository": object, "fetched_at": NOW});
        let file: Repository = serde_json::from_value(file).unwrap();
        self.archive.put_repository(&file).await.unwrap();
        self.archive.track(tracked(id, &name, private)).await.unwrap();
        self.walk(id, Some(now())).await;
    }

    /// Says when the list of a repository's items was read to its end.
    pub(crate) async fn walk(&self, id: u64, finished_at: Option<Timestamp>) {
        let cursor = serde_json::to_value(ItemsCursor { finished_at, ..ItemsCursor::default() }).unwrap();
        self.archive.set_cursor(&ItemsCursor::feed(RepositoryId(id)), cursor).await.unwrap();
    }

    /// Archives and indexes a record; the caller commits.
    pub(crate) async fn put(&self, record: Record) {
        let id = record.id();
        let written = self.archive.put_record(record).await.unwrap();
        assert!(matches!(written, Written::Stored(_)), "{written:?}");
        let change = LedgerChange { number: id.number, state: NumberState::Present, verified_at: now() };
        self.archive.update_ledger(id.repository, &[change]).await.unwrap();
        let stored = self.archive.record(id).await.unwrap().unwrap();
        let context = RenderContext {
            repository: stored.repository.full_name.to_string(),
            archived: false,
            label_renames: Default::default(),
            rendered_at: now(),
        };
        self.index.apply(vec![render::thread(&stored, &context)]).await.unwrap();
    }

    /// Buries a job of an item.
    pub(crate) async fn bury(&self, number: u64) {
        self.bury_in(1, number, "GitHub <b>broke</b>").await;
    }

    /// Buries a job of an item of any repository.
    pub(crate) async fn bury_in(&self, repository: u64, number: u64, reason: &str) {
        let subject = Subject::item(RepositoryId(repository), number);
        let trigger = Trigger {
            queue: QueueName::Download,
            subject: subject.clone(),
            lane: gharvest_model::Lane::Manual,
            timing: Timing::Now,
            reason: "test".to_owned(),
        };
        self.queue.push(&[trigger], None).await.unwrap();
        let request = LeaseRequest {
            queue: QueueName::Download,
            max: 1,
            hold: std::time::Duration::from_secs(60),
            repository: None,
            request: "test".to_owned(),
        };
        let lease = self.queue.lease(&request).await.unwrap().lease.unwrap();
        let outcome = Outcome::Bury { reason: reason.to_owned() };
        let settlement = Settlement { subject, outcome, follow_up: None };
        self.queue.settle(QueueName::Download, lease.token, &[settlement]).await.unwrap();
    }

    /// Publishes a live event of an item.
    pub(crate) async fn publish(&self, repository: (u64, &str), number: u64, visibility: Visibility) {
        self.publish_at(repository, number, visibility, now()).await;
    }

    /// The same of one that happened then.
    pub(crate) async fn publish_at(&self, repository: (u64, &str), number: u64, visibility: Visibility, at: Timestamp) {
        let event = LiveEvent {
            item: ItemId { repository: RepositoryId(repository.0), number },
            repository: repository.1.parse().unwrap(),
            kind: Kind::Issue,
            title: format!("Event of {number}"),
            state: "open".to_owned(),
            revision: Revision(2),
            visibility,
            at,
        };
        self.live.publish(&[event]).await.unwrap();
    }

    /// Makes a file of the archive unreadable.
    pub(crate) fn damage(&self, file: &str) {
        std::fs::write(self._folder.path().join("archive").join(file), "damaged").unwrap();
    }

    /// Lets so much time pass that what is kept of the archive is read again.
    pub(crate) fn later(&mut self) {
        let later = self.state.clock.now() + SignedDuration::from_secs(6);
        self.state.clock = Clock::new(move || later);
    }

    /// Makes an API key.
    pub(crate) async fn key(&self, secret: &str, role: &str, private: &[&str]) {
        self.entry(secret, hash_key(secret), role, private).await;
    }

    /// Makes an entry for a user whom a proxy names.
    pub(crate) async fn user(&self, name: &str, role: &str, private: &[&str]) {
        self.entry(name, String::new(), role, private).await;
    }

    /// Revokes a key or a user.
    pub(crate) async fn revoke(&self, name: &str) {
        self.archive.update_keys(&|keys| keys.retain(|key| key.name != name)).await.unwrap();
    }

    async fn entry(&self, name: &str, hash: String, role: &str, private: &[&str]) {
        let key = ApiKey {
            name: name.to_owned(),
            hash,
            role: role.to_owned(),
            private: private.iter().map(|name| (*name).to_owned()).collect(),
            repositories: Vec::new(),
            created_at: now(),
        };
        self.archive.update_keys(&move |keys| keys.push(key.clone())).await.unwrap();
    }

    /// Makes an API key that reads this private repository, whatever it is called.
    pub(crate) async fn key_of(&self, secret: &str, repository: RepositoryId) {
        self.key(secret, "read", &[]).await;
        let bind = |keys: &mut Vec<ApiKey>| {
            keys.iter_mut().filter(|key| key.name == secret).for_each(|key| key.repositories = vec![repository]);
        };
        self.archive.update_keys(&bind).await.unwrap();
    }

    pub(crate) fn router(&self) -> Router {
        gharvest_web::router(self.state.clone())
    }

    /// The answer to a request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router().oneshot(request).await.unwrap();
        Answer::read(response).await
    }

    /// The answer to a GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// The answer to a GET with a key.
    pub(crate) async fn get_with(&self, path: &str, key: &str) -> Answer {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {key}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// The answer to a POST of JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Self { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        assert!(self.text.contains(text), "`{text}` is not in {}", self.text);
    }

    #[track_caller]
    pub(crate) fn hides(&self, text: &str) {
        assert!(!self.text.contains(text), "`{text}` is in {}", self.text);
    }
}

fn settings(folder: &Path, environment: &[(&str, &str)]) -> Settings {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sources = Sources { config: None, data_dir: Some(folder.to_owned()), environment };
    sources.load().unwrap().settings
}

pub(crate) fn user(login: &str) -> Value {
    json!({"login": login, "type": "User"})
}

/// A comment of a timeline.
pub(crate) fn comment(id: u64, login: &str, body: &str, at: &str) -> Value {
    json!({"event": "commented", "id": id, "user": user(login), "actor": user(login), "body": body, "created_at": at})
}

/// An empty record of an item of `octo/box` (1) or `octo/vault` (2).
pub(crate) fn record(repository: u64, number: u64, kind: Kind, title: &str, body: &str) -> Record {
    let (name, visibility) = match repository {
        2 => ("octo/vault", Visibility::Private),
        _ => ("octo/box", Visibility::Public),
    };
    let repository = RecordRepository { id: RepositoryId(repository), full_name: name.parse().unwrap() };
    let mut record = Record::new(repository, number, kind, now());
    record.visibility = visibility;
    record.issue = Some(json!({
        "id": 1000 + number, "number": number, "title": title, "body": body, "state": "open", "user": user("ann"),
        "labels": [{"name": "bug", "color": "d73a4a"}], "assignees": [], "comments": 0, "author_association": "MEMBER",
        "created_at": "2024-01-02T00:00:00Z", "updated_at": "2024-05-01T00:00:00Z",
        "reactions": {"+1": 2, "heart": 0, "total_count": 2},
    }));
    record
}

fn threads() -> Vec<Record> {
    let mut crash = record(1, 1, Kind::Issue, "Crash in `parse` <b>", "It *crashes*, see #2 and @bob.");
    crash.timeline = vec![
        json!({"event": "commented", "id": 501, "user": user("bob"), "actor": user("bob"), "body": "Which **version**?",
            "created_at": "2024-01-03T00:00:00Z", "updated_at": "2024-01-04T00:00:00Z"}),
        json!({"event": "labeled", "id": 601, "actor": user("bob"), "label": {"name": "bug", "color": "d73a4a"},
            "created_at": "2024-02-01T00:00:00Z"}),
        json!({"event": "renamed", "id": 602, "actor": user("ann"), "rename": {"from": "Old name", "to": "Crash in `parse` <b>"},
            "created_at": "2024-02-02T00:00:00Z"}),
        json!({"event": "from_the_future", "id": 603, "actor": user("ann"), "created_at": "2024-02-03T00:00:00Z"}),
    ];
    let mut fix = record(1, 2, Kind::PullRequest, "Fix the parser", "Fixes #1");
    fix.pull = Some(json!({"merged": false, "head": {"ref": "fix"}, "base": {"ref": "main"}}));
    fix.timeline = vec![
        json!({"event": "committed", "sha": "0123456789abcdef0123456789abcdef01234567", "message": "Fix it\n\nwell",
            "author": {"name": "Ann", "date": "2024-01-02T01:00:00Z"}, "committer": {"date": "2024-01-02T01:00:00Z"}}),
        json!({"event": "reviewed", "id": 701, "user": user("bob"), "state": "approved", "body": "",
            "submitted_at": "2024-01-05T00:00:00Z"}),
    ];
    fix.review_comments = vec![json!({
        "id": 801, "pull_request_review_id": 701, "path": "src/parse.rs", "line": 3, "body": "Why `unwrap`?",
        "diff_hunk": "@@ -1,2 +1,3 @@\n a\n+b", "user": user("bob"), "created_at": "2024-01-05T00:00:00Z",
    })];
    let secret = record(2, 1, Kind::Issue, "Secret crash", "Nobody may know.");
    vec![crash, fix, secret]
}
