//! Every route of the API.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use gharvest_model::{Kind, record::Visibility};
use gharvest_web::{
    Caller,
    requests::{
        RepositoryPath, deletions,
        items::{self, ItemPath, SimilarParams},
        jobs, live, repositories, search, status, suggest,
    },
};
use serde_json::{Value, json};

use crate::mirror::{Mirror, NOW, PANICS, record};

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
        ("/api/v1/repositories/octo/box/deletions", value(deletions::show(state, &me, &repository).await)),
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

/// Two mirrors alike are asked to change: one over HTTP, the other directly. What they answer, and what has become of
/// them, is the same.
#[tokio::test]
async fn changes_over_http_and_by_direct_calls_do_the_same() {
    let (over_http, direct) = (Mirror::new().await, Mirror::new().await);
    for mirror in [&over_http, &direct] {
        mirror.bury(2).await;
    }
    let (state, me) = (&direct.state, Caller::local());
    let queue = gharvest_model::QueueName::Download;
    let path = ItemPath { owner: "octo".into(), name: "box".into(), number: 7 };
    let new = repositories_path("octo", "new");
    let old = repositories_path("octo", "box");
    let job = |subject: &str| jobs::JobPath { queue, subject: subject.into() };
    let many = jobs::ManyParams { queue, filter: jobs::JobFilter::default(), limit: None, after: None };
    let add: jobs::AddParams = read(json!({"queue": "download", "subjects": ["octo/box#1", "1/labels"]}));
    let all = json!({"queue": "download"});
    let untrack = repositories::UntrackParams::default();
    let rows: Vec<(&str, &str, Value, Value)> = vec![
        ("post", "/api/v1/items/octo/box/7", json!({}), value(items::download(state, &me, &path).await)),
        (
            "post",
            "/api/v1/jobs",
            json!({"queue": "download", "subjects": ["octo/box#1", "1/labels"]}),
            value(jobs::add(state, &me, &add).await),
        ),
        (
            "post",
            "/api/v1/jobs/download/octo%2Fbox%232/retry",
            json!({}),
            value(jobs::retry(state, &me, &job("octo/box#2")).await),
        ),
        (
            "delete",
            "/api/v1/jobs/download/1%2Flabels",
            json!({}),
            value(jobs::remove(state, &me, &job("1/labels")).await.map(|_| ())),
        ),
        ("post", "/api/v1/jobs/revive", all.clone(), value(jobs::revive(state, &me, &many).await)),
        ("post", "/api/v1/jobs/purge", all, value(jobs::purge(state, &me, &many).await)),
        ("put", "/api/v1/repositories/octo/new", json!({}), value(repositories::track(state, &me, &new).await)),
        (
            "put",
            "/api/v1/repositories/octo/box/deletions",
            json!({"policy": "redact"}),
            value(deletions::set(state, &me, &old, &read(json!({"policy": "redact"}))).await),
        ),
        (
            "delete",
            "/api/v1/repositories/octo/box",
            json!({}),
            value(repositories::untrack(state, &me, &old, &untrack).await),
        ),
    ];
    for (method, path, body, expected) in &rows {
        let request = Request::builder()
            .method(method.to_uppercase().as_str())
            .uri(*path)
            .header("content-type", "application/json");
        let answer = over_http.send(request.body(Body::from(body.to_string())).unwrap()).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
        let got = if answer.text.is_empty() { Value::Null } else { answer.json() };
        assert_eq!(got, *expected, "{method} {path}");
    }
    let states = [over_http.get("/api/v1/status").await.json(), direct.get("/api/v1/status").await.json()];
    assert_eq!(states[0]["queues"], states[1]["queues"]);
    assert_eq!(states[0]["repositories"], states[1]["repositories"]);
    // Every operation that changes something has a row here; those on queues share one function with the command line.
    let description = over_http.get("/api/v1/openapi.json").await.json();
    let changing = description["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods
            .as_object()
            .unwrap()
            .keys()
            .filter(|method| *method != "get")
            .map(move |method| format!("{method} {path}"))
    });
    let covered = |operation: &String| {
        let (method, template) = operation.split_once(' ').unwrap();
        rows.iter().any(|(own, path, ..)| *own == method && fits(template, path))
    };
    let changing = changing.filter(|operation| !operation.contains("/api/v1/jobs"));
    let missing: Vec<_> = changing.filter(|operation| !covered(operation)).collect();
    assert_eq!(missing, [""; 0], "without a row");
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len() && template.iter().zip(&path).all(|(part, own)| part.starts_with('{') || part == own)
}

fn repositories_path(owner: &str, name: &str) -> RepositoryPath {
    RepositoryPath { owner: owner.into(), name: name.into() }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_things_change() {
    for sort in ["created-asc", "created-desc", "updated-desc", "comments-desc", "relevance"] {
        let mirror = Mirror::new().await;
        let numbered = |number: u64, day: u64| {
            let mut thread = record(1, number, Kind::Issue, &format!("Walked {number}"), "walked");
            thread.issue.as_mut().unwrap()["updated_at"] = json!(format!("2024-05-{day:02}T00:00:00Z"));
            thread
        };
        for number in 100..140 {
            mirror.put(numbered(number, number % 20 + 1)).await;
        }
        mirror.index.commit().await.unwrap();
        let mut seen = Vec::new();
        let mut next = String::new();
        for turn in 0.. {
            let page = mirror.get(&format!("/api/v1/search?q=walked+sort:{sort}&per_page=6{next}")).await.json();
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()));
            let Some(cursor) = page["next"].as_str() else { break };
            next = format!("&cursor={cursor}");
            // New ones come, and one that is there already is updated.
            mirror.put(numbered(200 + turn, 28)).await;
            let id = record(1, 101, Kind::Issue, "", "").id();
            let mut changed = mirror.archive.record(id).await.unwrap().unwrap();
            changed.issue.as_mut().unwrap()["updated_at"] = json!(format!("2024-05-29T00:00:{turn:02}Z"));
            mirror.put(changed).await;
            mirror.index.commit().await.unwrap();
        }
        let unchanged = (100..140).filter(|number| *number != 101);
        for number in unchanged {
            let times = seen.iter().filter(|seen| **seen == number).count();
            assert_eq!(times, 1, "{number} by {sort}: {seen:?}");
        }
    }
}

fn value<T: serde::Serialize>(answer: gharvest_web::ApiResult<T>) -> Value {
    // Through text, as HTTP does: a float of 32 bits becomes another one otherwise.
    serde_json::from_str(&serde_json::to_string(&answer.unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn the_status_shows_what_was_planned_beside_what_was_spent() {
    let mirror = Mirror::new().await;
    let planned = json!({"way": "graphql", "items": 1825, "calls": 171, "graphql": 61, "points": 62, "seconds": 90});
    mirror.archive.put_part(gharvest_model::RepositoryId(1), "plan", &planned).await.unwrap();
    for (process, calls) in [("one", 1_000), ("two", 234)] {
        let spent = json!({"backfill": {"calls": calls, "graphql": 100, "unchanged": 7, "points": 40}});
        let key = format!("spent/octo/box/{process}");
        mirror.live.put(&key, spent.to_string().as_bytes(), None, None).await.unwrap();
    }
    let cost = mirror.get("/api/v1/status").await.json()["costs"][0].clone();
    let expected = json!({
        "repository": "octo/box",
        "planned": {"items": 1825, "rest": 110, "graphql": 61, "points": 62, "seconds": 90},
        "spent": {"backfill": {"rest": 1034, "graphql": 200, "points": 80, "unchanged": 14}},
    });
    assert_eq!(cost, expected);
    let page = mirror.get("/status").await;
    page.shows("planned: the first mirror");
    page.shows("1,034");
}

#[tokio::test]
async fn the_status_shows_how_far_refusals_narrowed_the_requests_at_once() {
    let mut mirror = Mirror::new().await;
    // Requests about jobs go by the time of day.
    mirror.state.clock = gharvest_web::Clock::new(jiff::Timestamp::now);
    let now = jiff::Timestamp::now();
    let ago = |minutes| (now - jiff::SignedDuration::from_mins(minutes)).to_string();
    // One was refused a little more than two minutes ago, the other is as wide as before again.
    for (process, quiet_from) in [("one", ago(2)), ("two", ago(9))] {
        let value = json!({"to": 2, "of": 8, "quiet_from": quiet_from}).to_string();
        mirror.live.put(&format!("narrowed/{process}"), value.as_bytes(), None, None).await.unwrap();
    }
    mirror.live.put("narrowed/newer", b"{}", None, None).await.unwrap();
    for route in ["/api/v1/status", "/api/v1/jobs/status"] {
        let narrowed = mirror.get(route).await.json()["narrowed"].clone();
        assert_eq!(narrowed.as_array().map(Vec::len), Some(1), "{route}: {narrowed}");
        assert_eq!((&narrowed[0]["at_once"], &narrowed[0]["of"]), (&json!(4), &json!(8)), "{route}");
    }
    mirror.get("/status").await.shows("4 of 8 at once for now");
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
async fn a_repository_whose_file_is_damaged_is_listed_in_trouble_and_hides_no_other() {
    let mirror = Mirror::new().await;
    let track = Request::builder().method("PUT").uri("/api/v1/repositories/octo/new").body(Body::empty()).unwrap();
    assert_eq!(mirror.send(track).await.status, StatusCode::OK);
    mirror.damage("repositories/1/repository.json");
    let listed = mirror.get("/api/v1/repositories").await.json();
    let of = |name: &str| {
        let entries = listed["repositories"].as_array().unwrap();
        entries
            .iter()
            .find(|entry| entry["full_name"] == name)
            .unwrap_or_else(|| panic!("{name} is not in {listed}"))
            .clone()
    };
    let damaged = of("octo/box");
    assert_eq!(damaged["complete"], json!(false));
    assert!(damaged["trouble"].as_str().unwrap().contains("repository.json"), "{damaged}");
    assert_eq!(of("octo/new")["tracked"], json!(true));
}

#[tokio::test]
async fn a_panic_is_one_answer_of_500_and_the_next_request_is_answered() {
    let mirror = Mirror::new().await;
    let failed = mirror.post(&format!("/api/v1/items/octo/box/{PANICS}"), &json!({})).await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    failed.hides("as if something were wrong");
    assert_eq!(mirror.post("/api/v1/items/octo/box/7", &json!({})).await.status, StatusCode::OK);
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
