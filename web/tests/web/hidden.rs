//! What became private, and what an operator learns of it: nothing, from the moment the mirror knows.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use futures::StreamExt;
use gharvest_archive::Repository;
use gharvest_model::{
    ItemId, Kind, QueueName, Record, RepositoryId, Subject,
    record::{RecordRepository, Visibility},
};
use gharvest_queue::JobState;
use gharvest_web::Clock;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::mirror::{Answer, Mirror, NOW, now, record};

const SETTINGS: [(&str, &str); 2] = [("GHARVEST_WEB__LISTEN", "0.0.0.0:8080"), ("GHARVEST_WEB__ANONYMOUS", "public")];

/// The repository that becomes private.
const TURNED: RepositoryId = RepositoryId(3);
/// What its item says; queries have its beginning only, because answers repeat them.
const WORD: &str = "kingfishers";

/// A mirror with a public repository, in which everything says the word; and keys that see it, and that do not.
async fn mirror() -> Mirror {
    let mirror = Mirror::with_settings(&SETTINGS).await;
    mirror.key("some", "read", &["octo/turned"]).await;
    mirror.key("other", "read", &["octo/elsewhere"]).await;
    mirror.key("operator", "operate", &[]).await;
    mirror.repository(TURNED.0, "octo/turned", false).await;
    let mut thread: Record = record(1, 9, Kind::Issue, WORD, WORD);
    thread.repository = RecordRepository { id: TURNED, full_name: "octo/turned".parse().unwrap() };
    thread.issue.as_mut().unwrap()["labels"] = json!([{"name": WORD, "color": "d73a4a"}]);
    mirror.put(thread).await;
    mirror.index.commit().await.unwrap();
    mirror.publish((TURNED.0, "octo/turned"), 9, Visibility::Public).await;
    mirror.publish((1, "octo/box"), 1, Visibility::Public).await;
    mirror
}

const PATHS: [&str; 21] = [
    "/",
    "/?q=kingf*",
    "/?q=is:open&format=atom",
    "/?q=is:open&format=feed",
    "/?q=is:open&format=csv",
    "/?q=is:open&format=ndjson",
    "/status",
    "/octo",
    "/octo/turned",
    "/octo/turned/issues",
    "/octo/turned/issues/9",
    "/api/v1/search",
    "/api/v1/suggest?q=kingf",
    "/api/v1/suggest?q=label:kingf",
    "/api/v1/suggest?q=repo:octo",
    "/api/v1/items/octo/turned/9",
    "/api/v1/items/octo/box/1/similar",
    "/api/v1/repositories",
    "/api/v1/repositories/octo/turned",
    "/api/v1/status",
    "/api/v1/recent",
];

async fn raw(mirror: &Mirror, path: &str, key: Option<&str>) -> StatusCode {
    let mut request = Request::get("/-/data-access").header("x-original-uri", format!("/data/{path}"));
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    mirror.send(request.body(Body::empty()).unwrap()).await.status
}

/// Everything that a reader of `/events` is told from a place on to the event of `octo/box`.
async fn replayed(mirror: &Mirror, key: &str, after: u64) -> String {
    let request = Request::get(format!("/events?after={after}")).header("authorization", format!("Bearer {key}"));
    let response = mirror.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    let mut heard = String::new();
    while !heard.contains("Event of 1") {
        heard.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    heard
}

/// Nothing of it is told to those who may not see it, all of it to those who may.
async fn is_hidden(mirror: &Mirror, searched: bool) {
    for path in PATHS {
        for answer in
            [mirror.get(path).await, mirror.get_with(path, "other").await, mirror.get_with(path, "operator").await]
        {
            answer.hides(WORD);
            answer.hides("Event of 9");
            assert!(path.contains("turned") || !answer.text.contains("turned"), "{path}: {}", answer.text);
        }
    }
    for path in ["current/octo/turned/items/9.json", "current/octo/turned/repository.json", "current/octo/"] {
        assert_eq!(raw(mirror, path, None).await, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(raw(mirror, path, Some("other")).await, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(raw(mirror, "current/octo/turned/items/9.json", Some("some")).await, StatusCode::NO_CONTENT);
    let total = mirror.get("/api/v1/search").await.json()["total"].clone();
    assert_eq!(total, 2);
    assert!(!replayed(mirror, "other", 0).await.contains("turned"));
    assert!(replayed(mirror, "some", 0).await.contains("Event of 9"));
    mirror.get_with("/octo/turned/issues/9", "some").await.shows(WORD);
    if searched {
        assert_eq!(mirror.get_with("/api/v1/search", "some").await.json()["total"], 3);
        mirror.get_with("/api/v1/suggest?q=label:kingf", "some").await.shows(WORD);
    }
}

#[tokio::test]
async fn what_became_private_is_hidden_while_index_and_history_say_otherwise() {
    let mut mirror = mirror().await;
    mirror.get("/octo/turned/issues/9").await.shows(WORD);
    assert_eq!(mirror.get("/api/v1/search").await.json()["total"], 3);
    assert!(replayed(&mirror, "other", 0).await.contains("Event of 9"));
    // As a webhook tells: no document and no event was made anew since.
    let later = now() + SignedDuration::from_secs(10);
    mirror.archive.hear_private(TURNED, later).await.unwrap();
    mirror.state.clock = Clock::new(move || later);
    is_hidden(&mirror, true).await;
}

#[tokio::test]
async fn what_github_calls_private_is_hidden_from_the_moment_its_file_says_so() {
    let mut mirror = mirror().await;
    let mut file = mirror.archive.repository(TURNED).await.unwrap().unwrap();
    file.repository["private"] = true.into();
    mirror.archive.put_repository(&file).await.unwrap();
    mirror.later();
    is_hidden(&mirror, true).await;
}

#[tokio::test]
async fn what_github_shows_no_more_is_hidden_because_it_may_be_private() {
    let mut mirror = mirror().await;
    let gone = |entry: &mut gharvest_model::tracking::Tracked| {
        entry.trouble = Some("gone from GitHub since 2024-05-01".into())
    };
    mirror.archive.change_tracked(TURNED, &gone).await.unwrap();
    let file = mirror.archive.repository(TURNED).await.unwrap().unwrap();
    mirror.archive.put_repository(&Repository { gone_at: Some(now()), ..file }).await.unwrap();
    mirror.state.clock = Clock::new(|| now() + SignedDuration::from_secs(10));
    is_hidden(&mirror, false).await;
}

#[tokio::test]
async fn a_key_for_the_present_name_hears_events_from_before_a_rename() {
    let mirror = mirror().await;
    mirror.publish((TURNED.0, "octo/before"), 9, Visibility::Private).await;
    let names = async |key: &str| {
        let recent = mirror.get_with("/api/v1/recent", key).await.json();
        recent["events"].as_array().unwrap().iter().filter(|event| event["repository"] == "octo/before").count()
    };
    mirror.key("former", "read", &["octo/before"]).await;
    assert_eq!((names("some").await, names("other").await, names("former").await), (1, 0, 0));
}

#[tokio::test]
async fn what_became_private_stays_hidden_when_it_is_tracked_no_more() {
    let mut mirror = mirror().await;
    let later = now() + SignedDuration::from_secs(10);
    mirror.archive.hear_private(TURNED, later).await.unwrap();
    mirror.archive.untrack(TURNED).await.unwrap();
    mirror.state.clock = Clock::new(move || later);
    is_hidden(&mirror, true).await;
}

#[tokio::test]
async fn events_of_what_was_forgotten_are_heard_by_nobody_who_may_not_see_everything() {
    let mirror = mirror().await;
    mirror.key("everything", "read", &["*"]).await;
    mirror.publish((TURNED.0, "octo/turned"), 9, Visibility::Private).await;
    mirror.archive.untrack(TURNED).await.unwrap();
    mirror.archive.purge_repository(TURNED).await.unwrap();
    for key in ["some", "other"] {
        let recent = mirror.get_with("/api/v1/recent", key).await;
        recent.hides("Event of 9");
        recent.shows("Event of 1");
        assert!(!replayed(&mirror, key, 0).await.contains("turned"), "{key}");
    }
    mirror.get_with("/api/v1/recent", "everything").await.shows("Event of 9");
}

#[tokio::test]
async fn a_repository_that_is_tracked_while_somebody_listens_is_heard_at_once() {
    let mirror = mirror().await;
    let last = mirror.get("/api/v1/recent").await.json()["events"][0]["sequence"].clone();
    mirror.repository(4, "octo/new", false).await;
    mirror.publish((4, "octo/new"), 4, Visibility::Public).await;
    mirror.publish((1, "octo/box"), 1, Visibility::Public).await;
    let heard = replayed(&mirror, "other", last.as_u64().unwrap()).await;
    assert!(heard.contains("Event of 4"), "{heard}");
}

/// The indexer's clock may be behind.
#[tokio::test]
async fn what_is_tracked_since_the_archive_was_read_is_heard_whatever_the_clock_of_who_tells() {
    let mirror = mirror().await;
    let last = mirror.get("/api/v1/recent").await.json()["events"][0]["sequence"].clone();
    mirror.repository(4, "octo/new", false).await;
    mirror.publish_at((4, "octo/new"), 4, Visibility::Public, now() - SignedDuration::from_secs(20)).await;
    mirror.publish((1, "octo/box"), 1, Visibility::Public).await;
    let heard = replayed(&mirror, "other", last.as_u64().unwrap()).await;
    assert!(heard.contains("Event of 4"), "{heard}");
}

#[tokio::test]
async fn a_key_goes_with_the_repository_and_not_with_its_name() {
    let mirror = mirror().await;
    mirror.key_of("by-id", TURNED).await;
    mirror.key("by-name", "read", &["octo/turned"]).await;
    let file = mirror.archive.repository(TURNED).await.unwrap().unwrap();
    let fetched_at = now() + SignedDuration::from_secs(1);
    let renamed = Repository { full_name: "octo/renamed".parse().unwrap(), fetched_at, ..file };
    mirror.archive.put_repository(&renamed).await.unwrap();
    let rename = |entry: &mut gharvest_model::tracking::Tracked| {
        (entry.name, entry.private) = ("octo/renamed".parse().unwrap(), true);
    };
    mirror.archive.change_tracked(TURNED, &rename).await.unwrap();
    // The old name still leads there, and then to another repository.
    for _ in 0..2 {
        for (key, expected) in [("by-id", StatusCode::NO_CONTENT), ("by-name", StatusCode::FORBIDDEN)] {
            assert_eq!(raw(&mirror, "current/octo/renamed/items/9.json", Some(key)).await, expected, "{key}");
        }
        let seen = async |key: &str| mirror.get_with("/octo/renamed/issues/9", key).await.status;
        assert_eq!((seen("by-id").await, seen("by-name").await), (StatusCode::OK, StatusCode::NOT_FOUND));
        mirror.repository(5, "octo/turned", true).await;
    }
    assert_eq!(raw(&mirror, "current/octo/turned/repository.json", Some("by-id")).await, StatusCode::FORBIDDEN);
    assert_eq!(raw(&mirror, "current/octo/turned/repository.json", Some("by-name")).await, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_private_repository_that_is_tracked_no_more_is_private_still() {
    let mut mirror = mirror().await;
    mirror.archive.untrack(RepositoryId(2)).await.unwrap();
    for path in ["current/", "current/octo/", "current/octo/vault/repository.json"] {
        assert_eq!(raw(&mirror, path, Some("operator")).await, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(mirror.get_with("/metrics", "operator").await.status, StatusCode::FORBIDDEN);
    mirror.archive.purge_repository(RepositoryId(2)).await.unwrap();
    mirror.later();
    assert_eq!(raw(&mirror, "current/", Some("operator")).await, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn receipts_of_what_was_taken_out_are_for_operators_as_a_file_too() {
    let mirror = mirror().await;
    assert_eq!(raw(&mirror, "current/octo/box/removals.jsonl", None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(raw(&mirror, "current/octo/box/removals.jsonl", Some("some")).await, StatusCode::FORBIDDEN);
    assert_eq!(raw(&mirror, "current/octo/box/removals.jsonl", Some("operator")).await, StatusCode::NO_CONTENT);
    assert_eq!(raw(&mirror, "current/octo/vault/removals.jsonl", Some("operator")).await, StatusCode::FORBIDDEN);
}

/// A request as an operator who sees nothing private.
async fn operate(mirror: &Mirror, method: Method, path: &str, body: &Value) -> Answer {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.header("authorization", "Bearer admin");
    mirror.send(request.body(Body::from(body.to_string())).unwrap()).await
}

/// Every request on jobs that names a repository or a subject of it, by its name and by its id.
fn requests(name: &str, id: u64) -> Vec<(Method, String, Value)> {
    let queue = "download";
    let get = |path: String| (Method::GET, path, Value::Null);
    let post = |path: &str, body: Value| (Method::POST, format!("/api/v1/jobs{path}"), body);
    let encoded = name.replace('/', "%2F");
    let mut all = vec![
        get(format!("/api/v1/jobs/item?item={encoded}%239")),
        get(format!("/api/v1/jobs/download/{encoded}%239")),
        get(format!("/api/v1/jobs/download/{id}%239")),
        (Method::DELETE, format!("/api/v1/jobs/download/{id}%239"), Value::Null),
        post(&format!("/download/{id}%239/retry"), Value::Null),
    ];
    for text in [name.to_owned(), id.to_string()] {
        let (item, part) = (format!("{text}#9"), format!("{text}/labels"));
        all.extend([
            get(format!("/api/v1/jobs/counts?queue={queue}&repository={text}")),
            get(format!("/api/v1/jobs?queue={queue}&repository={text}")),
            post("", json!({"queue": queue, "subjects": [item]})),
            post("", json!({"queue": queue, "subjects": ["octo/box#1", part]})),
            post("/range", json!({"queue": queue, "repository": text, "from": 1, "to": 3})),
            post("/updated-since", json!({"repository": text, "since": NOW})),
            post("/remove", json!({"queue": queue, "subjects": [item]})),
            post("/remove", json!({"queue": queue, "repository": text, "from": 1, "to": 20})),
            post("/revive", json!({"queue": queue, "filter": {"repository": text}})),
            post("/purge", json!({"queue": queue, "filter": {"repository": text}})),
            post("/pause", json!({"queue": queue, "repository": text})),
            post("/resume", json!({"queue": queue, "repository": text})),
        ]);
    }
    all
}

#[tokio::test]
async fn requests_on_jobs_answer_of_a_hidden_repository_as_of_one_that_is_not_there() {
    let mirror = mirror().await;
    mirror.key("admin", "admin", &[]).await;
    mirror.bury_in(2, 9, "secret").await;
    mirror.bury_in(1, 1, "known").await;
    let hidden = requests("octo/vault", 2);
    for (there, missing) in hidden.into_iter().zip(requests("octo/missing", 88)) {
        let (method, path, body) = there;
        let answer = operate(&mirror, method.clone(), &path, &body).await;
        let expected = operate(&mirror, missing.0, &missing.1, &missing.2).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path} {body}: {}", answer.text);
        // Apart from what was asked for, which is named back.
        let alike = answer
            .text
            .replace("octo/vault", "octo/missing")
            .replace("\"2", "\"88")
            .replace("jobs/download/2", "jobs/download/88");
        assert_eq!(alike, expected.text, "{method} {path} {body}");
    }
    let vault = mirror.queue.repository_counts(QueueName::Download, RepositoryId(2)).await.unwrap();
    assert_eq!((vault.buried, vault.outstanding()), (1, 0), "nothing was done to it");
    assert!(mirror.queue.pauses().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_operator_counts_and_changes_only_jobs_of_what_they_see() {
    let mirror = mirror().await;
    mirror.key("admin", "admin", &[]).await;
    for number in [7, 8, 9] {
        mirror.bury_in(2, number, "secret").await;
    }
    mirror.bury_in(1, 1, "known").await;
    mirror.bury_in(1, 2, "known").await;
    for path in ["/api/v1/jobs/counts?queue=download", "/api/v1/status", "/api/v1/jobs/status"] {
        for key in ["other", "operator"] {
            let answer = mirror.get_with(path, key).await;
            if answer.status == StatusCode::FORBIDDEN {
                continue;
            }
            let json = answer.json();
            let counts = if json["queues"].is_array() { &json["queues"][0]["counts"] } else { &json };
            assert_eq!((&counts["buried"], &counts["finished"]), (&json!(2), &json!(0)), "{path} {key}");
        }
    }
    // Page by page, to the end.
    let (mut path, mut seen) = ("/api/v1/jobs?queue=download&limit=1".to_owned(), Vec::new());
    loop {
        let page = mirror.get_with(&path, "operator").await.json();
        seen.extend(page["jobs"].as_array().unwrap().iter().map(|job| job["subject"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        assert!(next.starts_with("1#"), "{next}");
        path = format!("/api/v1/jobs?queue=download&limit=1&after={}", next.replace('#', "%23"));
    }
    assert_eq!(seen, ["1#1", "1#2"]);
    // What names no repository would be done to the hidden one as well.
    for (path, body) in [
        ("all", json!({"queue": "index"})),
        ("revive", json!({"queue": "download"})),
        ("purge", json!({"queue": "download"})),
        ("pause", json!({"queue": "download"})),
        ("resume", json!({"queue": "download"})),
    ] {
        let answer = operate(&mirror, Method::POST, &format!("/api/v1/jobs/{path}"), &body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(answer.text.contains("name a repository"), "{path}: {}", answer.text);
    }
    assert!(mirror.queue.pauses().await.unwrap().is_empty());
    let own = |limit: u64| json!({"queue": "download", "limit": limit, "filter": {"repository": "octo/box"}});
    let revived = operate(&mirror, Method::POST, "/api/v1/jobs/revive", &own(1)).await;
    assert_eq!(revived.json()["jobs"], 1);
    let purged = operate(&mirror, Method::POST, "/api/v1/jobs/purge", &own(10)).await;
    assert_eq!(purged.json()["jobs"], 2);
    let vault = mirror.queue.repository_counts(QueueName::Download, RepositoryId(2)).await.unwrap();
    assert_eq!((vault.buried, vault.outstanding()), (3, 0));
}

#[tokio::test]
async fn where_a_private_thread_of_a_public_repository_is_is_told_to_who_may_see_it() {
    let mirror = mirror().await;
    mirror.key("admin", "admin", &[]).await;
    mirror.key("all", "operate", &["octo/box"]).await;
    let mut placeholder = record(1, 9, Kind::Issue, "Wait, please.", "Somebody will look at it.");
    placeholder.visibility = Visibility::Private;
    mirror.put(placeholder).await;
    mirror.bury(9).await;
    for path in ["/api/v1/jobs/item?item=octo/box%239", "/api/v1/jobs/download/1%239"] {
        assert_eq!(mirror.get_with(path, "operator").await.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(mirror.get_with(path, "all").await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(mirror.get_with("/api/v1/jobs?queue=download", "operator").await.json()["jobs"], json!([]));
    let subject = Subject::Item(ItemId { repository: RepositoryId(1), number: 9 });
    let job = mirror.queue.job(QueueName::Download, &subject).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Buried);
}

#[tokio::test]
async fn what_says_nothing_mirrored_is_served_while_the_archive_is_away() {
    let mirror = mirror().await;
    mirror.damage("keys.json");
    for path in ["/healthz", "/readyz", "/-/help/search"] {
        assert_eq!(mirror.get(path).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/metrics", "/api/v1/search"] {
        assert!(mirror.get(path).await.status.is_server_error(), "{path}");
    }
}

#[tokio::test]
async fn an_owner_named_like_an_open_path_is_not_open() {
    let mirror = Mirror::with_settings(&SETTINGS[..1]).await;
    mirror.key("some", "read", &[]).await;
    mirror.repository(5, "help/desk", false).await;
    mirror.repository(6, "assets/store", false).await;
    for path in ["/-/help/desk", "/-/assets/store/issues", "/-/assets/store/1/attachments/a.png"] {
        assert_eq!(mirror.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}
