//! Every page.

use axum::http::StatusCode;
use gharvest_model::{
    ItemId, Kind, RepositoryId,
    record::{RecordState, Visibility},
};

use crate::mirror::{Mirror, record};

#[tokio::test]
async fn the_home_page_shows_repositories_and_what_changed() {
    let mirror = Mirror::new().await;
    mirror.publish((1, "octo/box"), 1, Visibility::Public).await;
    let home = mirror.get("/").await;
    assert_eq!(home.status, StatusCode::OK);
    for text in ["octo/box", "Event of 1", "Fix the parser", "role=\"search\""] {
        home.shows(text);
    }
}

#[tokio::test]
async fn a_search_lists_hits_with_facets_that_edit_the_query() {
    let mirror = Mirror::new().await;
    let page = mirror.get("/?q=crashes").await;
    page.shows("Crash in <code>parse</code> &lt;b&gt;");
    page.shows("<mark>crashes</mark>");
    page.shows("href=\"/?q=crashes+label%3Abug\"");
    page.shows("href=\"/octo/box/issues/1\"");
    page.hides("Fix the parser");
    mirror.get("/?q=lable:bug").await.shows("Did you mean");
    mirror.get("/?q=nothing-like-this").await.shows("Nothing in this mirror matches");
}

#[tokio::test]
async fn a_query_that_names_a_thread_leads_there() {
    let mirror = Mirror::new().await;
    for query in ["octo/box%231", "https://github.com/octo/box/issues/1", "repo:octo/box+1"] {
        let answer = mirror.get(&format!("/?q={query}")).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, "/octo/box/issues/1"),
            "{query}"
        );
    }
    let commit = mirror.get("/?q=0123456789abcdef").await;
    assert_eq!(commit.header("location"), "/octo/box/pull/2");
}

#[tokio::test]
async fn a_thread_shows_what_was_said_and_done() {
    let mirror = Mirror::new().await;
    let page = mirror.get("/octo/box/issues/1").await;
    for text in [
        "It <em>crashes</em>, see <a href=\"/octo/box/issues/2\">#2</a>",
        "id=\"issuecomment-501\"",
        "Which <strong>version</strong>?",
        "· edited",
        "changed the title from",
        "did something that GitHub calls <code><bdi>from_the_future</bdi></code>",
        "https://github.com/octo/box/issues/1",
        "/api/v1/items/octo/box/1",
        "👍",
        "verified",
    ] {
        page.shows(text);
    }
}

#[tokio::test]
async fn a_review_shows_its_comments_below_the_code() {
    let mirror = Mirror::new().await;
    let page = mirror.get("/octo/box/pull/2").await;
    for text in [
        "approved these changes",
        "src/parse.rs",
        "<span class=\"da\">+b\n</span>",
        "Why <code>unwrap</code>?",
        "id=\"discussion_r801\"",
        "Fix it",
        "<bdi>main</bdi>",
    ] {
        page.shows(text);
    }
}

#[tokio::test]
async fn a_thread_as_of_a_date_leaves_out_what_came_later() {
    let mirror = Mirror::new().await;
    let page = mirror.get("/octo/box/issues/1?at=2024-01-05").await;
    page.shows("<h1><bdi>Old name");
    page.shows("As of the end of 2024-01-05");
    page.hides("from_the_future");
    let before = mirror.get("/octo/box/issues/1?at=2023-01-05").await;
    before.shows("this did not exist yet");
    before.hides("It <em>crashes</em>");
    assert_eq!(mirror.get("/octo/box/issues/1?at=yesterday").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn addresses_of_the_other_kind_and_spelling_redirect() {
    let mirror = Mirror::new().await;
    for (path, target) in [
        ("/octo/box/issues/2", "/octo/box/pull/2"),
        ("/octo/box/pull/1?at=2024-01-05", "/octo/box/issues/1?at=2024-01-05"),
    ] {
        let answer = mirror.get(path).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::PERMANENT_REDIRECT, target));
    }
    // An owner named like a page of ours is reached below a dash, everybody else too.
    assert_eq!(mirror.get("/-/octo/box/issues/1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_tombstone_says_what_happened() {
    let mirror = Mirror::new().await;
    let mut gone = record(1, 3, Kind::Issue, "Gone", "Last words");
    gone.state = RecordState::Transferred { to: Some("octo/other#5".to_owned()) };
    mirror.put(gone).await;
    let page = mirror.get("/octo/box/issues/3").await;
    page.shows("moved to octo/other#5");
    page.shows("Last words");
}

#[tokio::test]
async fn what_is_not_mirrored_is_a_page_that_links_to_github() {
    let mirror = Mirror::new().await;
    for path in ["/octo/box/issues/77", "/octo/other", "/octo/box/wiki/Home", "/nobody"] {
        let answer = mirror.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        answer.shows(&format!("href=\"https://github.com{path}\""));
    }
}

#[tokio::test]
async fn repositories_owners_and_lists_have_pages() {
    let mirror = Mirror::new().await;
    let page = mirror.get("/octo/box").await;
    for text in ["A box", "every number to 2 accounted for", "is%3Aissue+is%3Aopen"] {
        page.shows(text);
    }
    mirror.get("/octo").await.shows("octo/box");
    let issues = mirror.get("/octo/box/issues").await;
    issues.shows("Crash in");
    issues.hides("Fix the parser");
    mirror.get("/octo/box/pulls").await.shows("Fix the parser");
    mirror.get("/-/help/search").await.shows("reviewed-by:");
    assert_eq!(mirror.get("/-/opensearch.xml").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_status_page_says_how_webhooks_are() {
    let mirror = Mirror::new().await;
    mirror.get("/status").await.shows("none heard");
    let put = async |key: &str, value: serde_json::Value| {
        mirror.live.put(key, value.to_string().as_bytes(), None, None).await.unwrap();
    };
    put("feed/heard/1", serde_json::json!({"at": "2024-06-01T11:00:00Z", "event": "issues"})).await;
    put("feed/checked/1", serde_json::json!({"failures": 7, "recovered": 6, "trouble": "no token <may>"})).await;
    let page = mirror.get("/status").await;
    page.shows("7 failed, 6 recovered; ");
    page.shows("no token &lt;may&gt;");
    let answer = mirror.get("/api/v1/status").await.json();
    assert_eq!(answer["feeds"][0]["hook"]["last_delivery_at"], "2024-06-01T11:00:00Z");
}

#[tokio::test]
async fn the_status_page_says_when_schedules_ran_and_will() {
    let mirror = Mirror::new().await;
    mirror.get("/status").await.hides("Schedules");
    let run = serde_json::json!({"last": "2024-06-01T11:00:00Z", "next": "2024-06-02T11:00:00Z", "pushed": 1234, "error": "disk <full>"});
    mirror.live.put("schedule/sweep", run.to_string().as_bytes(), None, None).await.unwrap();
    mirror.live.put("schedule/reconcile", b"{}", None, None).await.unwrap();
    let failed = serde_json::json!({"next": "2024-06-01T11:00:10Z", "pushed": 0, "error": "octo/box does not answer"});
    mirror.live.put("schedule/gaps", failed.to_string().as_bytes(), None, None).await.unwrap();
    let page = mirror.get("/status").await;
    page.shows("octo/box does not answer");
    page.shows("never");
    for shown in ["sweep", "2024-06-01T11:00:00Z", "2024-06-02T11:00:00Z", "1,234", "disk &lt;full&gt;"] {
        page.shows(shown);
    }
    let schedules = mirror.get("/api/v1/status").await.json()["schedules"].clone();
    assert_eq!(schedules.as_array().unwrap().len(), 2, "what cannot be read is left out: {schedules}");
    assert_eq!((&schedules[0]["task"], &schedules[0]["last"]), (&"gaps".into(), &serde_json::Value::Null));
    assert_eq!((&schedules[1]["task"], &schedules[1]["pushed"]), (&"sweep".into(), &1234.into()));
}

#[tokio::test]
async fn why_a_schedule_failed_is_told_to_those_who_may_operate_and_see_everything() {
    let mirror = Mirror::with_settings(&[("GHARVEST_WEB__ANONYMOUS", "public")]).await;
    for (key, role, private) in
        [("reader", "read", &["*"][..]), ("operator", "operate", &[]), ("all", "operate", &["*"])]
    {
        mirror.key(key, role, private).await;
    }
    let run = serde_json::json!({"next": "2024-06-01T11:00:10Z", "pushed": 0, "error": "octo/vault: no right"});
    mirror.live.put("schedule/sweep", run.to_string().as_bytes(), None, None).await.unwrap();
    let told = async |key: &str| mirror.get_with("/api/v1/status", key).await.json()["schedules"][0]["error"].clone();
    assert_eq!([told("reader").await, told("operator").await], ["failed", "failed"]);
    assert_eq!(told("all").await, "octo/vault: no right");
}

#[tokio::test]
async fn the_status_page_shows_failures_and_retries_them() {
    let mirror = Mirror::new().await;
    mirror.bury(1).await;
    let page = mirror.get("/status").await;
    page.shows("GitHub &lt;b&gt;broke&lt;/b&gt;");
    page.shows("octo/box#1");
    let request = axum::http::Request::post("/-/jobs/retry")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("host", "127.0.0.1:8080")
        .header("origin", "http://127.0.0.1:8080");
    let answer = mirror.send(request.body("queue=download&subject=1%231".into()).unwrap()).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/status"));
    mirror.get("/status").await.hides("broke");
}

#[tokio::test]
async fn nothing_hostile_survives_on_any_page() {
    let mirror = Mirror::new().await;
    let hostile =
        "<script>alert(1)</script><img src=x onerror=alert(1)><svg onload=alert(1)>\u{202e}\"'><style>*{}</style>";
    let mut thread =
        record(1, 4, Kind::Issue, hostile, &format!("{hostile}\n[x](javascript:alert(1))\n{}", "> ".repeat(30_000)));
    let mut object = thread.issue.clone().unwrap();
    object["labels"] = serde_json::json!([{"name": hostile, "color": hostile}]);
    object["milestone"] = serde_json::json!({"title": hostile});
    object["user"] = serde_json::json!({"login": hostile});
    thread.issue = Some(object);
    let event = |name: &str| {
        serde_json::json!({"event": name, "id": 9, "actor": {"login": hostile}, "created_at": "2024-01-05T00:00:00Z",
        "label": {"name": hostile, "color": hostile}, "rename": {"from": hostile, "to": hostile}, "body": hostile, "commit_id": hostile,
        "assignee": {"login": hostile}, "milestone": {"title": hostile}, "lock_reason": hostile, "state": hostile,
        "source": {"issue": {"number": 1, "title": hostile, "repository": {"full_name": hostile}}}})
    };
    thread.timeline = [
        "commented",
        "labeled",
        "renamed",
        "referenced",
        "assigned",
        "milestoned",
        "locked",
        "cross-referenced",
        "reviewed",
        hostile,
    ]
    .map(event)
    .to_vec();
    mirror.put(thread).await;
    mirror.index.commit().await.unwrap();
    for path in [
        "/octo/box/issues/4",
        "/?q=alert",
        "/octo/box",
        "/octo/box/issues",
        "/",
        "/?q=%3Cscript%3Ealert(1)%3C/script%3E",
    ] {
        let page = mirror.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert_eq!(page.text.matches("<script").count(), 1, "only our own script: {path}");
        for bad in ["<img", "<style", "<svg onload", "onerror=alert(1)>\"", "href=\"javascript:"] {
            page.hides(bad);
        }
        assert!(
            page.header("content-security-policy")
                .starts_with("default-src 'none'; script-src 'self'; style-src 'self'")
        );
    }
}

#[tokio::test]
async fn assets_have_hashed_names_and_are_kept_for_ever() {
    let mirror = Mirror::new().await;
    let home = mirror.get("/").await;
    let start = home.text.find("/-/assets/gharvest.").unwrap();
    let path = home.text[start..].split('"').next().unwrap();
    let asset = mirror.get(path).await;
    assert_eq!(asset.status, StatusCode::OK);
    assert!(asset.header("cache-control").contains("immutable"));
    assert_eq!(mirror.get("/-/assets/gharvest.0000000000.css").await.status, StatusCode::NOT_FOUND);
    assert_eq!(mirror.get("/favicon.ico").await.header("content-type"), "image/svg+xml");
}

#[tokio::test]
async fn a_thread_of_a_thousand_comments_is_whole() {
    let mirror = Mirror::new().await;
    let mut long = record(1, 5, Kind::Issue, "Long", "Begin");
    let comment = |number: u64| {
        serde_json::json!({"event": "commented", "id": number, "user": {"login": "ann"}, "created_at": "2024-01-05T00:00:00Z",
            "body": format!("Comment {number} with `code`, **bold** and #1.\n\n```rust\nlet x = {number};\n```\n")})
    };
    long.timeline = (1..=1000).map(comment).collect();
    mirror.put(long).await;
    let page = mirror.get("/octo/box/issues/5").await;
    page.shows("id=\"issuecomment-1000\"");
    page.hides("takes long");
}

#[tokio::test]
async fn a_kept_image_is_shown_to_whoever_may_see_the_thread() {
    let reached = [("GHARVEST_WEB__LISTEN", "0.0.0.0:8080"), ("GHARVEST_WEB__ANONYMOUS", "public")];
    let mirror = Mirror::with_settings(&reached).await;
    mirror.key("some", "read", &["octo/box"]).await;
    // The first bytes of a GIF are letters, which answers of tests are read as.
    let gif = b"GIF89a";
    let address = "https://img.test/cat.png";
    let name = gharvest_archive::attachment_name(address);
    let item = |number| ItemId { repository: RepositoryId(1), number };
    let body = format!("![a cat]({address}) ![a dog](https://img.test/dog.png)");
    mirror.put(record(1, 70, Kind::Issue, "With a cat", &body)).await;
    let mut private = record(1, 71, Kind::Issue, "With a private cat", &body);
    private.visibility = Visibility::Private;
    mirror.put(private).await;
    for number in [70, 71] {
        mirror.archive.put_attachment(item(number), &name, bytes::Bytes::from_static(gif)).await.unwrap();
    }
    let page = mirror.get("/octo/box/issues/70").await;
    let place = format!("/-/octo/box/70/attachments/{name}");
    page.shows(&format!("<img src=\"{place}\" alt=\"a cat\" loading=\"lazy\">"));
    page.shows("picture: a dog");
    let image = mirror.get(&place).await;
    assert_eq!((image.status, image.header("content-type")), (StatusCode::OK, "image/gif"));
    assert_eq!(image.header("content-security-policy"), "default-src 'none'; sandbox");
    let private = format!("/-/octo/box/71/attachments/{name}");
    assert_eq!(mirror.get(&private).await.status, StatusCode::NOT_FOUND);
    assert_eq!(mirror.get_with(&private, "some").await.status, StatusCode::OK);
    let other = gharvest_archive::attachment_name("https://img.test/dog.png");
    for path in
        [format!("/-/octo/box/70/attachments/{other}"), "/-/octo/box/70/attachments/..%2f..%2frepository.json".into()]
    {
        assert_eq!(mirror.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    // What is no image is not served, however it came there.
    mirror.archive.put_attachment(item(70), &other, bytes::Bytes::from_static(b"<svg/>")).await.unwrap();
    assert_eq!(mirror.get(&format!("/-/octo/box/70/attachments/{other}")).await.status, StatusCode::NOT_FOUND);
}
