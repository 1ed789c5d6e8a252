//! Who may see and do what.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use futures::StreamExt;
use gharvest_model::{Kind, Record, RepositoryId, record::Visibility};
use gharvest_web::check_listen;
use serde_json::json;
use tower::ServiceExt;

use crate::mirror::{Mirror, comment, record, user};

const PUBLIC: (&str, &str) = ("GHARVEST_WEB__LISTEN", "0.0.0.0:8080");

#[tokio::test]
async fn an_address_that_others_reach_needs_a_key() {
    let mirror = Mirror::with_settings(&[PUBLIC]).await;
    let refused = check_listen(&mirror.state.settings, None).unwrap_err();
    assert!(refused.contains("gharvest keys add") && refused.contains("0.0.0.0:8080"), "{refused}");
    mirror.key("secret", "read", &[]).await;
    let keys = mirror.archive.keys_ever().await.unwrap();
    assert_eq!(check_listen(&mirror.state.settings, keys.as_deref()), Ok(()));
    assert!(check_listen(&mirror.state.settings, Some(&[])).is_err(), "all were revoked");
    assert_eq!(check_listen(&Mirror::new().await.state.settings, None), Ok(()));
}

#[tokio::test]
async fn without_a_key_nothing_is_shown_unless_the_operator_says_so() {
    let mirror = Mirror::with_settings(&[PUBLIC]).await;
    mirror.key("secret", "read", &[]).await;
    for path in ["/", "/?q=crash", "/octo/box/issues/1", "/status", "/api/v1/search", "/events", "/metrics"] {
        let answer = mirror.get(path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.header("www-authenticate").starts_with("Basic"), "{path}");
        answer.hides("Crash");
    }
    assert_eq!(mirror.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(mirror.get_with("/api/v1/search", "wrong").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(mirror.get_with("/octo/box/issues/1", "secret").await.status, StatusCode::OK);
    // Browsers send what was typed into their own window.
    let basic = Request::get("/").header("authorization", "Basic YW55OnNlY3JldA==").body(Body::empty()).unwrap();
    assert_eq!(mirror.send(basic).await.status, StatusCode::OK);
}

#[tokio::test]
async fn private_threads_are_seen_by_those_who_may_and_by_nobody_else() {
    let mirror = Mirror::with_settings(&[PUBLIC, ("GHARVEST_WEB__ANONYMOUS", "public")]).await;
    mirror.key("some", "read", &["octo/vault"]).await;
    mirror.key("other", "read", &["octo/elsewhere"]).await;
    mirror.publish((2, "octo/vault"), 1, Visibility::Private).await;
    let paths = [
        "/",
        "/?q=secret",
        "/?q=crash&format=atom",
        "/?q=crash&format=csv",
        "/status",
        "/octo",
        "/octo/vault",
        "/octo/vault/issues",
        "/octo/vault/issues/1",
        "/api/v1/search?q=secret",
        "/api/v1/search",
        "/api/v1/suggest?q=secret",
        "/api/v1/suggest?q=repo:octo",
        "/api/v1/items/octo/vault/1",
        "/api/v1/items/octo/box/1/similar",
        "/api/v1/repositories",
        "/api/v1/repositories/octo/vault",
        "/api/v1/status",
        "/api/v1/recent",
    ];
    for path in paths {
        for answer in [mirror.get(path).await, mirror.get_with(path, "other").await] {
            answer.hides("Secret crash");
            answer.hides("Nobody may know");
            answer.hides("Event of 1");
            // An address that was asked for may be named back.
            if !path.contains("vault") {
                answer.hides("vault");
            }
        }
    }
    let total = |answer: crate::mirror::Answer| answer.json()["total"].as_u64();
    assert_eq!(total(mirror.get("/api/v1/search").await), Some(2));
    assert_eq!(total(mirror.get_with("/api/v1/search", "some").await), Some(3));
    mirror.get_with("/octo/vault/issues/1", "some").await.shows("Secret crash");
    mirror.get_with("/api/v1/recent", "some").await.shows("Event of 1");
}

/// A public repository may hold private threads: placeholders with their private twins.
#[tokio::test]
async fn a_private_thread_of_a_public_repository_is_seen_by_those_who_may_see_what_is_private() {
    let mirror = Mirror::with_settings(&[PUBLIC, ("GHARVEST_WEB__ANONYMOUS", "public")]).await;
    mirror.key("some", "read", &["octo/box"]).await;
    mirror.key("other", "read", &[]).await;
    let mut placeholder = record(1, 9, Kind::Issue, "Wait, please.", "Somebody will look at it.");
    placeholder.visibility = Visibility::Private;
    let issue = json!({"title": "Kingfishers", "body": "Nothing but kingfishers."});
    placeholder.twin = Some(json!({"repository": "octo/vault", "number": 4, "issue": issue}));
    mirror.put(placeholder).await;
    mirror.index.commit().await.unwrap();
    for path in
        ["/octo/box/issues/9", "/api/v1/items/octo/box/9", "/?q=kingfishers", "/api/v1/suggest?q=kingf", "/octo/box"]
    {
        let answer = mirror.get(path).await;
        answer.hides("Kingfishers");
        answer.hides("Nothing but");
    }
    let raw = async |path: &str, key: Option<&str>| {
        let mut request =
            Request::get("/-/data-access").header("x-original-uri", format!("/data/current/octo/box/{path}"));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        mirror.send(request.body(Body::empty()).unwrap()).await.status
    };
    for path in ["items/9.json", "items/9.json.zst", "attachments/9/a.png"] {
        assert_eq!(raw(path, None).await, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(raw(path, Some("other")).await, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(raw(path, Some("some")).await, StatusCode::NO_CONTENT, "{path}");
    }
    for path in ["items/1.json", "items/", "repository.json"] {
        assert_eq!(raw(path, None).await, StatusCode::NO_CONTENT, "{path}");
    }
    let page = mirror.get_with("/octo/box/issues/9", "some").await;
    page.shows("Nothing but kingfishers.");
    page.shows("octo/vault#4");
    page.hides("Somebody will look at it.");
    assert_eq!(mirror.get_with("/api/v1/search?q=kingfishers", "some").await.json()["total"], 1);
}

/// nginx asks for those that ask nobody who they are.
#[tokio::test]
async fn dashboards_on_an_engine_without_security_are_for_who_may_see_and_change_everything() {
    let mirror = Mirror::with_settings(&[PUBLIC, ("GHARVEST_WEB__ANONYMOUS", "public")]).await;
    mirror.key("reads", "read", &["*"]).await;
    mirror.key("some", "operate", &["octo/box"]).await;
    mirror.key("all", "operate", &["*"]).await;
    for (key, expected) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some("reads"), StatusCode::FORBIDDEN),
        (Some("some"), StatusCode::FORBIDDEN),
        (Some("all"), StatusCode::NO_CONTENT),
    ] {
        let mut request = Request::get("/-/data-access").header("x-original-uri", "/kibana/app/home");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        assert_eq!(mirror.send(request.body(Body::empty()).unwrap()).await.status, expected, "{key:?}");
    }
}

/// Everything private says this word; queries have its beginning only, because answers repeat them.
const CANARY: &str = "canary7f3";

/// A private thread that says the word in every place.
fn planted() -> Record {
    let mut thread = record(2, 9, Kind::Issue, CANARY, CANARY);
    let object = thread.issue.as_mut().unwrap();
    object["labels"] = json!([{"name": CANARY, "color": "d73a4a"}]);
    object["assignees"] = json!([user(CANARY)]);
    object["user"] = user(CANARY);
    object["milestone"] = json!({"title": CANARY});
    let at = "2024-01-05T00:00:00Z";
    thread.timeline = vec![
        comment(900, CANARY, CANARY, at),
        json!({"event": "labeled", "id": 1, "actor": user(CANARY), "label": {"name": CANARY}, "created_at": at}),
        json!({"event": CANARY, "id": 2, "actor": user(CANARY), "created_at": at}),
    ];
    thread
}

/// Every path that can be asked with GET: pages, and the routes that the description lists.
async fn every_path(mirror: &Mirror) -> Vec<String> {
    let queries = [
        "",
        "canar",
        "label:canar",
        "author:canar",
        "assignee:canar",
        "milestone:canar",
        "repo:octo",
        "crash",
        "sort:updated-desc",
        "is:open@2024-03-01",
    ];
    let mut paths: Vec<String> = [
        "/",
        "/status",
        "/octo",
        "/octo/box",
        "/octo/vault",
        "/octo/vault/issues",
        "/octo/vault/pulls",
        "/octo/vault/issues/9",
        "/octo/vault/pull/9",
        "/octo/box/issues",
        "/octo/box/issues/1",
        "/octo/box/issues/9",
        "/-/octo/vault/issues/9",
        "/-/help/search",
        "/-/opensearch.xml",
        "/healthz",
        "/readyz",
        "/metrics",
        "/-/data-access",
        "/favicon.ico",
        "/octo/vault/issues/9?at=2024-03-01",
    ]
    .map(str::to_owned)
    .to_vec();
    for query in queries {
        for format in ["", "&format=atom", "&format=feed", "&format=csv", "&format=ndjson"] {
            paths.push(format!("/?q={query}{format}&page=1"));
            paths.push(format!("/api/v1/search?q={query}{format}"));
        }
        paths.push(format!("/api/v1/suggest?q={query}"));
    }
    let description = mirror.get_with("/api/v1/openapi.json", "all").await.json();
    for (path, methods) in description["paths"].as_object().unwrap() {
        if methods["get"].is_object() {
            for (name, number, subject) in [("box", "1", "1%231"), ("vault", "9", "2%239")] {
                let path = path.replace("{owner}", "octo").replace("{name}", name).replace("{number}", number);
                let path = path.replace("{queue}", "download").replace("{subject}", subject);
                paths.push(format!("{path}?queue=download&item=octo/{name}%23{number}"));
            }
        }
    }
    paths
}

#[tokio::test]
async fn what_is_private_shows_on_no_route() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let mut mirror = Mirror::with_settings(&[PUBLIC, ("GHARVEST_WEB__ANONYMOUS", "public")]).await;
    mirror.state.metrics = Some(recorder.handle());
    metrics::set_global_recorder(recorder).unwrap();
    metrics::gauge!("gharvest_completeness", "repository" => "octo/vault").set(1.0);
    mirror.key("other", "read", &["octo/elsewhere"]).await;
    mirror.key("operator", "operate", &[]).await;
    mirror.key("all", "admin", &["*"]).await;
    mirror.put(planted()).await;
    mirror.index.commit().await.unwrap();
    mirror.publish((2, "octo/vault"), 9, Visibility::Private).await;
    mirror.publish((1, "octo/box"), 1, Visibility::Public).await;
    mirror.bury_in(2, 9, CANARY).await;
    let paths = every_path(&mirror).await;
    // Who may see it finds it: the word is where it is looked for.
    let shown = async |path: &str| mirror.get_with(path, "all").await.text.contains(CANARY);
    for path in
        ["/octo/vault/issues/9", "/?q=canar*", "/api/v1/suggest?q=label:canar", "/api/v1/items/octo/vault/9", "/status"]
    {
        assert!(shown(path).await || path.contains("canar*"), "{path}");
    }
    assert!(mirror.get_with("/metrics", "all").await.text.contains("octo/vault"));
    for path in &paths {
        for answer in
            [mirror.get(path).await, mirror.get_with(path, "other").await, mirror.get_with(path, "operator").await]
        {
            assert!(!answer.text.contains(CANARY), "{path}: {}", answer.text);
            assert!(path.contains("vault") || !answer.text.contains("vault"), "{path}: {}", answer.text);
            let headers = format!("{:?}", answer.headers);
            assert!(!headers.contains(CANARY), "{path}: {headers}");
        }
    }
    let total = mirror.get("/api/v1/search").await.json();
    assert_eq!(
        (total["total"].clone(), total["facets"]["author"].clone()),
        (json!(2), json!([{"value": "ann", "count": 2}]))
    );
    for accept in [None, Some("other")] {
        let mut request = Request::get("/events?after=0");
        if let Some(key) = accept {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let response = mirror.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let mut body = response.into_body().into_data_stream();
        let mut heard = String::new();
        while !heard.contains("Event of 1") {
            heard.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
        }
        assert!(!heard.contains("Event of 9") && !heard.contains("vault"), "{heard}");
    }
}

#[tokio::test]
async fn changes_need_the_role_for_them() {
    let mut mirror = Mirror::with_settings(&[PUBLIC, ("GHARVEST_WEB__ANONYMOUS", "public")]).await;
    for role in ["read", "operate", "admin"] {
        mirror.key(role, role, &[]).await;
    }
    mirror.key("all", "operate", &["*"]).await;
    let send = async |key: Option<&str>, path: &str| {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let body = json!({"queue": "download", "filter": {"repository": "octo/box"}});
        mirror.send(request.body(Body::from(body.to_string())).unwrap()).await.status
    };
    for (path, operate) in [("/api/v1/jobs/revive", StatusCode::OK), ("/api/v1/jobs/purge", StatusCode::FORBIDDEN)] {
        assert_eq!(send(None, path).await, StatusCode::FORBIDDEN);
        assert_eq!(send(Some("read"), path).await, StatusCode::FORBIDDEN);
        assert_eq!(send(Some("operate"), path).await, operate);
        assert_eq!(send(Some("admin"), path).await, StatusCode::OK);
    }
    assert_eq!(mirror.get("/metrics").await.status, StatusCode::FORBIDDEN);
    assert_eq!(mirror.get_with("/metrics", "operate").await.status, StatusCode::FORBIDDEN, "one is private");
    assert_eq!(mirror.get_with("/metrics", "all").await.status, StatusCode::OK);
    let public = |tracked: &mut gharvest_model::tracking::Tracked| tracked.private = false;
    mirror.archive.change_tracked(RepositoryId(2), &public).await.unwrap();
    mirror.later();
    assert_eq!(mirror.get_with("/metrics", "operate").await.status, StatusCode::OK);
    assert_eq!(mirror.get_with("/metrics", "read").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn other_websites_can_neither_post_nor_rebind() {
    let mirror = Mirror::new().await;
    let post = async |headers: &[(&str, &str)]| {
        let mut request = Request::post("/api/v1/jobs/resume").header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        mirror.send(request.body(Body::from(r#"{"queue":"download"}"#)).unwrap()).await.status
    };
    let host = ("host", "localhost:8080");
    assert_eq!(post(&[host]).await, StatusCode::NO_CONTENT);
    assert_eq!(post(&[host, ("origin", "http://localhost:8080")]).await, StatusCode::NO_CONTENT);
    assert_eq!(post(&[host, ("sec-fetch-site", "same-origin")]).await, StatusCode::NO_CONTENT);
    assert_eq!(post(&[host, ("origin", "https://evil.example")]).await, StatusCode::FORBIDDEN);
    assert_eq!(post(&[host, ("origin", "null")]).await, StatusCode::FORBIDDEN);
    assert_eq!(post(&[host, ("sec-fetch-site", "cross-site")]).await, StatusCode::FORBIDDEN);
    // A name of theirs that leads to this machine.
    let rebound = Request::get("/").header("host", "evil.example").body(Body::empty()).unwrap();
    assert_eq!(mirror.send(rebound).await.status, StatusCode::MISDIRECTED_REQUEST);
    // A proxy on this machine brings strangers.
    let proxied = Request::get("/").header("host", "localhost").header("x-forwarded-for", "192.0.2.1");
    assert_eq!(mirror.send(proxied.body(Body::empty()).unwrap()).await.status, StatusCode::UNAUTHORIZED);
}

/// A proxy with nginx' defaults brings strangers under this machine's name, and no header tells of them.
#[tokio::test]
async fn this_machine_may_do_everything_until_a_key_is_made_or_a_proxy_is_named() {
    async fn role(mirror: &Mirror) -> StatusCode {
        let request = Request::get("/metrics").header("host", "127.0.0.1:8080").body(Body::empty()).unwrap();
        mirror.send(request).await.status
    }
    let mut mirror = Mirror::new().await;
    assert_eq!(role(&mirror).await, StatusCode::OK);
    mirror.key("some", "read", &[]).await;
    mirror.later();
    assert_eq!(role(&mirror).await, StatusCode::UNAUTHORIZED);
    mirror.revoke("some").await;
    mirror.later();
    assert_eq!(role(&mirror).await, StatusCode::UNAUTHORIZED, "no key is left, and strangers are as many");
    for settings in [
        ("GHARVEST_WEB__PUBLIC_URL", "https://gharvest.example.org"),
        ("GHARVEST_WEB__TRUSTED_PROXIES", "127.0.0.1"),
        ("GHARVEST_WEB__USER_HEADER", "x-user"),
    ] {
        assert_eq!(role(&Mirror::with_settings(&[settings]).await).await, StatusCode::UNAUTHORIZED, "{settings:?}");
    }
    let here = [("GHARVEST_WEB__PUBLIC_URL", "http://localhost:8080")];
    assert_eq!(role(&Mirror::with_settings(&here).await).await, StatusCode::OK);
}

#[tokio::test]
async fn a_user_named_by_a_proxy_counts_only_from_the_proxy() {
    let settings = [PUBLIC, ("GHARVEST_WEB__USER_HEADER", "x-user"), ("GHARVEST_WEB__TRUSTED_PROXIES", "192.0.2.9")];
    let mirror = Mirror::with_settings(&settings).await;
    mirror.user("ann", "operate", &["octo/vault"]).await;
    mirror.key("setup-admin", "admin", &["*"]).await;
    let status = async |peer: &str, user: &str| {
        let peer: std::net::SocketAddr = format!("{peer}:1").parse().unwrap();
        let request = Request::get("/octo/vault/issues/1")
            .header("x-user", user)
            .extension(axum::extract::ConnectInfo(peer))
            .body(Body::empty())
            .unwrap();
        mirror.router().oneshot(request).await.unwrap().status()
    };
    assert_eq!(status("192.0.2.9", "ann").await, StatusCode::OK);
    assert_eq!(status("192.0.2.9", "bob").await, StatusCode::NOT_FOUND);
    assert_eq!(status("192.0.2.9", "setup-admin").await, StatusCode::NOT_FOUND, "anybody may be called so there");
    assert_eq!(status("192.0.2.8", "ann").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_browser_may_ask_whether_a_website_may_read() {
    let mirror = Mirror::with_settings(&[("GHARVEST_WEB__CORS_ORIGINS", "https://friend.example")]).await;
    let ask = async |origin: &str, path: &str| {
        let request = Request::options(path).header("origin", origin).header("host", "localhost");
        mirror.send(request.header("access-control-request-method", "GET").body(Body::empty()).unwrap()).await
    };
    let allowed = ask("https://friend.example", "/api/v1/items/octo/box/1").await;
    assert_eq!(allowed.status, StatusCode::NO_CONTENT);
    assert_eq!(allowed.header("access-control-allow-methods"), "GET");
    assert_eq!(allowed.header("vary"), "origin");
    for (origin, path) in [("https://evil.example", "/api/v1/search"), ("https://friend.example", "/octo/box")] {
        assert_eq!(ask(origin, path).await.header("access-control-allow-origin"), "", "{origin} {path}");
    }
}

#[tokio::test]
async fn a_browser_brings_no_key_when_it_asks_whether_a_website_may_read() {
    let friend = "https://friend.example";
    let mirror = Mirror::with_settings(&[PUBLIC, ("GHARVEST_WEB__CORS_ORIGINS", friend)]).await;
    mirror.key("some", "read", &[]).await;
    let ask = async |method: &str, key: Option<&str>| {
        let request = Request::builder().method(method).uri("/api/v1/search").header("origin", friend);
        let request = key.iter().fold(request, |request, key| request.header("authorization", format!("Bearer {key}")));
        let answer = mirror.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("access-control-allow-origin"), friend, "{method} {key:?}");
        answer.status
    };
    assert_eq!(ask("OPTIONS", None).await, StatusCode::NO_CONTENT);
    assert_eq!(ask("GET", Some("some")).await, StatusCode::OK);
    assert_eq!(ask("GET", None).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn named_websites_may_read_the_api() {
    let mirror = Mirror::with_settings(&[("GHARVEST_WEB__CORS_ORIGINS", "https://friend.example")]).await;
    let ask = async |origin: &str| {
        let request = Request::get("/api/v1/search").header("origin", origin).body(Body::empty()).unwrap();
        mirror.send(request).await.header("access-control-allow-origin").to_owned()
    };
    assert_eq!(ask("https://friend.example").await, "https://friend.example");
    assert_eq!(ask("https://evil.example").await, "");
}
