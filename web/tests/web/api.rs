//! Every route of the API.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use futures::StreamExt;
use gharvest_model::record::Visibility;
use gharvest_web::{
    Caller,
    requests::{
        items::{self, ItemPath, SimilarParams},
        jobs, live, repositories, search, status, suggest,
    },
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::mirror::{Mirror, NOW};

#[tokio::test]
async fn a_search_answers_as_the_design_says() {
    let mirror = Mirror::new().await;
    let answer = mirror.get("/api/v1/search?q=crashes+is:public").await.json();
    assert_eq!(answer["total"], 1);
    let item = &answer["items"][0];
    for (field, value) in [
        ("repository", json!("octo/box")),
        ("number", json!(1)),
        ("kind", json!("issue")),
        ("state", json!("open")),
        ("author", json!("ann")),
        ("labels", json!([{"name": "bug", "color": "d73a4a"}])),
        ("created_at", json!("2024-01-02T00:00:00Z")),
        ("url", json!("/octo/box/issues/1")),
    ] {
        assert_eq!(item[field], value, "{field}");
    }
    assert_eq!(answer["facets"]["label"], json!([{"value": "bug", "count": 1}]));
    assert!(answer["took_ms"].is_number() && answer["next"].is_null());
    let notes = mirror.get("/api/v1/search?q=lable:bug").await.json()["notes"].clone();
    assert_eq!((notes[0]["column"].clone(), notes[0]["suggestion"].clone()), (json!(1), json!("label:bug")));
}

#[tokio::test]
async fn pages_and_cursors_reach_every_hit() {
    let mirror = Mirror::new().await;
    let first = mirror.get("/api/v1/search?q=sort:created-asc&per_page=1").await.json();
    let next = first["next"].as_str().unwrap();
    let rest = mirror.get(&format!("/api/v1/search?q=sort:created-asc&per_page=1&cursor={next}")).await.json();
    assert_ne!(first["items"][0]["url"], rest["items"][0]["url"]);
    let second = mirror.get("/api/v1/search?q=sort:created-asc&per_page=1&page=2").await.json();
    assert_eq!(second["items"][0]["url"], rest["items"][0]["url"]);
}

#[tokio::test]
async fn limits_are_refused_with_problem_details() {
    let mirror = Mirror::new().await;
    let long = "x".repeat(3000);
    for (path, status) in [
        ("/api/v1/search?per_page=101".to_owned(), StatusCode::BAD_REQUEST),
        ("/api/v1/search?per_page=0".to_owned(), StatusCode::BAD_REQUEST),
        ("/api/v1/search?page=0".to_owned(), StatusCode::BAD_REQUEST),
        ("/api/v1/search?page=100000".to_owned(), StatusCode::BAD_REQUEST),
        ("/api/v1/search?page=x".to_owned(), StatusCode::BAD_REQUEST),
        ("/api/v1/search?cursor=nonsense".to_owned(), StatusCode::BAD_REQUEST),
        (format!("/api/v1/search?q={long}"), StatusCode::URI_TOO_LONG),
        (format!("/api/v1/suggest?q={long}"), StatusCode::URI_TOO_LONG),
        ("/api/v1/items/octo/box/77".to_owned(), StatusCode::NOT_FOUND),
        ("/api/v1/items/octo/box/x".to_owned(), StatusCode::BAD_REQUEST),
        ("/api/v1/items/octo/box/1/similar?limit=0".to_owned(), StatusCode::BAD_REQUEST),
        ("/api/v1/repositories/octo/none".to_owned(), StatusCode::NOT_FOUND),
        ("/api/v1/jobs?queue=none".to_owned(), StatusCode::BAD_REQUEST),
        ("/api/v1/jobs/download/1%239".to_owned(), StatusCode::NOT_FOUND),
        ("/api/v1/nothing".to_owned(), StatusCode::NOT_FOUND),
    ] {
        let answer = mirror.get(&path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        assert_eq!(answer.json()["status"], status.as_u16(), "{path}");
    }
}

#[tokio::test]
async fn a_record_is_served_as_stored_and_not_again() {
    let mirror = Mirror::new().await;
    let answer = mirror.get("/api/v1/items/octo/box/1").await;
    assert_eq!(answer.json()["issue"]["title"], "Crash in `parse` <b>");
    let again = Request::get("/api/v1/items/octo/box/1").header("if-none-match", answer.header("etag"));
    assert_eq!(mirror.send(again.body(Body::empty()).unwrap()).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn http_and_direct_calls_say_the_same() {
    let mirror = Mirror::new().await;
    mirror.publish((1, "octo/box"), 1, Visibility::Public).await;
    mirror.bury(2).await;
    let (state, me) = (&mirror.state, Caller::local());
    let path = ItemPath { owner: "octo".into(), name: "box".into(), number: 1 };
    let repository = path.repository();
    let listed = jobs::ListParams {
        queue: gharvest_model::QueueName::Download,
        repository: None,
        lane: None,
        state: None,
        after: None,
        limit: None,
    };
    let job = jobs::JobPath { queue: listed.queue, subject: "octo/box#2".into() };
    let counted = jobs::CountParams { queue: listed.queue, repository: Some("octo/box".into()) };
    let words = suggest::SuggestParams { q: "label:b".into() };
    let query = search::SearchParams { q: "crash".into(), ..Default::default() };
    let direct: Vec<(&str, Value)> = vec![
        ("/api/v1/search?q=crash", value(search::search(state, &me, &query).await)),
        ("/api/v1/suggest?q=label:b", value(suggest::suggest(state, &me, &words).await)),
        ("/api/v1/items/octo/box/1/similar", value(items::similar(state, &me, &path, &SimilarParams::default()).await)),
        ("/api/v1/repositories", value(repositories::list(state, &me).await)),
        ("/api/v1/repositories/octo/box", value(repositories::show(state, &me, &repository).await)),
        (
            "/api/v1/repositories/octo/box/responsiveness",
            value(repositories::responsiveness(state, &me, &repository).await),
        ),
        ("/api/v1/recent", value(live::recent(state, &me, &live::RecentParams::default()).await)),
        ("/api/v1/status", value(status::status(state, &me).await)),
        ("/api/v1/jobs?queue=download", value(jobs::list(state, &me, &listed).await)),
        ("/api/v1/jobs/download/octo%2Fbox%232", value(jobs::show(state, &me, &job).await)),
        ("/api/v1/jobs/counts?queue=download&repository=octo/box", value(jobs::counts(state, &me, &counted).await)),
    ];
    for (path, mut expected) in direct {
        let answer = mirror.get(path).await;
        let mut got = answer.json();
        for answer in [&mut got, &mut expected] {
            // How long it took, and how full the disk is, differ from one moment to the next.
            answer.as_object_mut().unwrap().remove("took_ms");
            answer.as_object_mut().unwrap().remove("free_bytes");
        }
        assert_eq!(got, expected, "{path}");
    }
}

fn value<T: serde::Serialize>(answer: gharvest_web::ApiResult<T>) -> Value {
    // Through text, as HTTP does: a float of 32 bits becomes another one otherwise.
    serde_json::from_str(&serde_json::to_string(&answer.unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn jobs_are_added_retried_paused_and_removed() {
    let mirror = Mirror::new().await;
    let added =
        mirror.post("/api/v1/jobs", &json!({"queue": "download", "subjects": ["octo/box#1", "1#2", "1/labels"]})).await;
    assert_eq!(added.json()["pushed"], json!(["new", "new", "new"]));
    let wrong = mirror.post("/api/v1/jobs", &json!({"queue": "download", "subjects": ["nonsense"]})).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let counts = mirror.get("/api/v1/jobs/counts?queue=download").await.json();
    assert_eq!(counts["ready"], json!([0, 3, 0, 0, 0]));

    let paused = mirror.post("/api/v1/jobs/pause", &json!({"queue": "download", "seconds": 60, "reason": "tea"})).await;
    assert!(paused.json()["until"].is_string());
    mirror.get("/status").await.shows("tea");
    assert_eq!(mirror.post("/api/v1/jobs/resume", &json!({"queue": "download"})).await.status, StatusCode::NO_CONTENT);

    let remove =
        |subject: &str| Request::delete(format!("/api/v1/jobs/download/{subject}")).body(Body::empty()).unwrap();
    assert_eq!(mirror.send(remove("1%2Flabels")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(mirror.send(remove("1%2Flabels")).await.status, StatusCode::NOT_FOUND);
    let purged =
        mirror.post("/api/v1/jobs/purge", &json!({"queue": "download", "filter": {"repository": "octo/box"}})).await;
    assert_eq!(purged.json(), json!({"jobs": 2}));

    mirror.bury(1).await;
    assert_eq!(mirror.post("/api/v1/jobs/download/1%231/retry", &json!({})).await.json()["pushed"], json!(["revived"]));
    mirror.bury(1).await;
    assert_eq!(mirror.post("/api/v1/jobs/revive", &json!({"queue": "download"})).await.json(), json!({"jobs": 1}));
}

#[tokio::test]
async fn repositories_are_tracked_and_untracked() {
    let mirror = Mirror::new().await;
    let request = |method: &str, path: &str| Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let tracked = mirror.send(request("PUT", "/api/v1/repositories/octo/new")).await;
    assert_eq!((tracked.status, tracked.json()["tracked"].clone()), (StatusCode::OK, json!(true)));
    assert_eq!(mirror.send(request("PUT", "/api/v1/repositories/octo/none")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(mirror.send(request("DELETE", "/api/v1/repositories/octo/box")).await.status, StatusCode::NO_CONTENT);
    mirror.get("/api/v1/repositories").await.hides("octo/box");
    let asked = mirror.post("/api/v1/items/octo/box/7", &json!({})).await;
    assert_eq!(asked.json(), json!({"subject": "1#7"}));
}

#[tokio::test]
async fn a_search_is_a_feed_and_a_file_as_well() {
    let mirror = Mirror::new().await;
    for base in ["/", "/api/v1/search"] {
        let atom = mirror.get(&format!("{base}?q=crash&format=atom")).await;
        assert!(atom.header("content-type").starts_with("application/atom+xml"));
        atom.shows("<title>Crash in `parse` &lt;b&gt;</title>");
        let feed = mirror.get(&format!("{base}?q=crashes&format=feed")).await.json();
        assert_eq!(feed["items"][0]["date_modified"], "2024-05-01T00:00:00Z");
        let csv = mirror.get(&format!("{base}?q=sort:created-asc&format=csv")).await;
        assert_eq!(csv.text.lines().count(), 4, "{}", csv.text);
        let lines = mirror.get(&format!("{base}?q=sort:created-asc&format=ndjson")).await;
        assert!(lines.text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    }
}

#[tokio::test]
async fn live_events_are_replayed_after_the_last_one_heard() {
    let mirror = Mirror::new().await;
    for number in 1..=3 {
        mirror.publish((1, "octo/box"), number, Visibility::Public).await;
    }
    let known = mirror.get("/api/v1/recent?limit=3").await.json()["events"][2]["sequence"].as_u64().unwrap();
    let request = Request::get("/events").header("last-event-id", known.to_string()).body(Body::empty()).unwrap();
    let response = mirror.router().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let mut heard = String::new();
    while !heard.contains("Event of 3") {
        heard.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(!heard.contains("Event of 1") && heard.contains("Event of 2"), "{heard}");
    assert!(heard.contains("event: change") && heard.contains(&format!("id: {}", known + 1)), "{heard}");
    mirror.state.shutdown.cancel();
    while let Some(part) = body.next().await {
        part.unwrap();
    }
}

#[tokio::test]
async fn too_many_live_readers_are_turned_away() {
    let mirror = Mirror::with_settings(&[("GHARVEST_WEB__LIVE_READERS", "1")]).await;
    let request = || Request::get("/events").body(Body::empty()).unwrap();
    let first = mirror.router().oneshot(request()).await.unwrap();
    assert_eq!(mirror.send(request()).await.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(first);
    assert_eq!(mirror.router().oneshot(request()).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_description_lists_every_route() {
    let mirror = Mirror::new().await;
    let api = mirror.get("/api/v1/openapi.json").await.json();
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut routes: Vec<String> = Vec::new();
    for (path, methods) in api["paths"].as_object().unwrap() {
        routes.extend(methods.as_object().unwrap().keys().map(|method| format!("{method} {path}")));
    }
    routes.sort();
    insta::assert_snapshot!(routes.join("\n"));
}

#[tokio::test]
async fn health_is_said_to_everybody() {
    let mirror = Mirror::new().await;
    assert_eq!(mirror.get("/healthz").await.text, "ok\n");
    assert_eq!(mirror.get("/readyz").await.status, StatusCode::OK);
    assert_eq!(mirror.get("/metrics").await.status, StatusCode::OK);
    mirror.state.readiness.set(false);
    assert_eq!(mirror.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(mirror.get("/api/v1/status").await.json()["at"], NOW);
}
