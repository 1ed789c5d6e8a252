//! The simulator over its socket, as a client sees it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and say what they skip"
)]

use gharvest_github_simulator::{Change, Fault, Options, Rule, Simulator, Truth, Webhook, World};
use gharvest_model::RepositoryName;
use reqwest::{Response, StatusCode};
use serde_json::Value;

struct Setup {
    simulator: Simulator,
    client: reqwest::Client,
    repository: RepositoryName,
}

fn setup(items: u64) -> Setup {
    setup_with(items, Options::default())
}

fn setup_with(items: u64, options: Options) -> Setup {
    let repository: RepositoryName = "lumen/lumen".parse().unwrap();
    let world = World::generated(7, repository.clone(), items).and_generated("lumen/docs".parse().unwrap(), 20);
    let simulator = Simulator::start(world, options).unwrap();
    let client = reqwest::Client::builder()
        .user_agent("test")
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    Setup { simulator, client, repository }
}

impl Setup {
    async fn get(&self, path: &str) -> Response {
        self.get_as("simulated-1", path).await.unwrap()
    }

    async fn get_as(&self, token: &str, path: &str) -> reqwest::Result<Response> {
        let url = if path.starts_with("http") { path.to_owned() } else { self.simulator.api_url() + path };
        self.client.get(url).bearer_auth(token).send().await
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// All pages of a list, by the links.
    async fn all(&self, path: &str) -> Vec<Value> {
        let mut list = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let response = self.get(&path).await;
            assert_eq!(response.status(), 200, "{path}");
            next = link(&response, "next");
            list.extend(response.json::<Vec<Value>>().await.unwrap());
        }
        list
    }

    fn change(&self, change: Change) {
        self.simulator.control().change(&self.repository, change).unwrap();
    }

    fn violations(&self) -> usize {
        self.simulator.control().violations().len()
    }
}

fn link(response: &Response, rel: &str) -> Option<String> {
    let links = response.headers().get("link")?.to_str().unwrap();
    let found = links.split(", ").find(|link| link.ends_with(&format!("rel=\"{rel}\"")))?;
    Some(found.split(['<', '>']).nth(1).unwrap().to_owned())
}

type Received = tokio::sync::mpsc::UnboundedReceiver<(axum::http::HeaderMap, axum::body::Bytes)>;

/// An address that takes webhooks, and what arrives there. It lives as long as the test's runtime.
async fn receiver() -> (String, Received) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/github", listener.local_addr().unwrap());
    let (sent, received) = tokio::sync::mpsc::unbounded_channel();
    let take = move |headers: axum::http::HeaderMap, body: axum::body::Bytes| {
        let sent = sent.clone();
        async move { drop(sent.send((headers, body))) }
    };
    let router = axum::Router::new().route("/webhooks/github", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

const ISSUES: &str = "/repos/lumen/lumen/issues";

#[tokio::test]
async fn following_links_finds_every_item_once_in_both_orders() {
    let setup = setup(250);
    let truth = setup.simulator.control().truth_numbers(&setup.repository);
    assert_eq!(truth.len(), 250);
    for sort in ["created", "updated"] {
        let list = setup.all(&format!("{ISSUES}?state=all&sort={sort}&direction=asc&per_page=100")).await;
        let mut numbers: Vec<u64> = list.iter().map(|issue| issue["number"].as_u64().unwrap()).collect();
        let keys: Vec<&str> = list.iter().map(|issue| issue[format!("{sort}_at")].as_str().unwrap()).collect();
        assert!(keys.is_sorted(), "{sort}");
        numbers.sort_unstable();
        assert_eq!(numbers, truth, "{sort}");
    }
    assert_eq!(setup.violations(), 0);
}

#[tokio::test]
async fn every_part_of_a_thread_is_what_the_truth_says() {
    let setup = setup(300);
    for number in setup.simulator.control().truth_numbers(&setup.repository).into_iter().take(60) {
        let Some(Truth::Present { issue, timeline, pull, review_comments }) =
            setup.simulator.control().truth(&setup.repository, number)
        else {
            panic!("{number} is no item");
        };
        let shown = setup.json(&format!("{ISSUES}/{number}")).await;
        assert_eq!(shown["title"], issue["title"]);
        assert_eq!(shown["pull_request"].is_object(), pull.is_some());
        let entries = setup.all(&format!("{ISSUES}/{number}/timeline?per_page=100")).await;
        assert_eq!(entries.len(), timeline.len());
        let comments = entries.iter().filter(|entry| entry["event"] == "commented").count();
        assert_eq!(shown["comments"], comments, "number {number}");
        if let Some(pull) = pull {
            let path = format!("/repos/lumen/lumen/pulls/{number}");
            assert_eq!(setup.json(&path).await["title"], pull["title"]);
            assert_eq!(setup.all(&format!("{path}/comments?per_page=100")).await.len(), review_comments.len());
        }
    }
    assert_eq!(setup.violations(), 0);
}

#[tokio::test]
async fn an_unchanged_answer_is_304_for_its_token_and_costs_nothing() {
    let setup = setup(20);
    let first = setup.get(&format!("{ISSUES}/1")).await;
    let etag = first.headers()["etag"].clone();
    let ask = |token: &'static str| {
        let etag = etag.clone();
        let url = format!("{}{ISSUES}/1", setup.simulator.api_url());
        let request = setup.client.get(url).bearer_auth(token).header("if-none-match", etag);
        async move { request.send().await.unwrap() }
    };
    let again = ask("simulated-1").await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(again.headers()["x-ratelimit-remaining"], first.headers()["x-ratelimit-remaining"]);
    assert_eq!(ask("simulated-2").await.status(), StatusCode::OK);
    setup.change(Change::Comment { number: 1, body: "new".to_owned() });
    assert_eq!(ask("simulated-1").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn moved_and_lost_things_answer_as_github_does() {
    let setup = setup(100);
    let id = setup.simulator.control().repository_id(&setup.repository).unwrap();
    setup.change(Change::DeleteItem { number: 3 });
    setup.change(Change::HideItem { number: 4 });
    setup.change(Change::TransferItem { number: 1, to: "lumen/docs".parse().unwrap() });
    let deleted = setup.get(&format!("{ISSUES}/3")).await;
    assert_eq!(deleted.status(), StatusCode::GONE);
    assert_eq!(deleted.json::<Value>().await.unwrap()["message"], "This issue was deleted");
    assert_eq!(setup.get(&format!("{ISSUES}/4")).await.status(), StatusCode::NOT_FOUND);
    let moved = setup.get(&format!("{ISSUES}/1/timeline")).await;
    assert_eq!(moved.status(), StatusCode::MOVED_PERMANENTLY);
    let location = moved.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.contains("/repositories/") && location.ends_with("/timeline"), "{location}");
    assert_eq!(setup.get(&location).await.status(), StatusCode::OK);

    setup.change(Change::RenameRepository { to: "lumen/candela".parse().unwrap() });
    let renamed = setup.get(&format!("{ISSUES}/2")).await;
    assert_eq!(renamed.status(), StatusCode::MOVED_PERMANENTLY);
    let place = renamed.headers()["location"].to_str().unwrap();
    assert_eq!(place, format!("{}/repositories/{id}/issues/2", setup.simulator.api_url()));
    assert!(setup.json(place).await["url"].as_str().unwrap().contains("/repos/lumen/candela/"));

    setup.change(Change::DisableIssues);
    let disabled = setup.get(place).await;
    assert_eq!(disabled.status(), StatusCode::GONE);
    assert!(disabled.json::<Value>().await.unwrap()["message"].as_str().unwrap().starts_with("Issues are disabled"));
    setup.change(Change::BlockRepository { status: 451, reason: "dmca".to_owned() });
    let blocked = setup.get(place).await;
    assert_eq!(blocked.status(), 451);
    assert_eq!(blocked.json::<Value>().await.unwrap()["block"]["reason"], "dmca");
    setup.change(Change::HideRepository);
    assert_eq!(setup.get(place).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(setup.violations(), 0);
}

#[tokio::test]
async fn what_github_does_not_document_is_a_violation() {
    let setup = setup(20);
    for path in ["/repos/lumen/lumen/issues/", "/repos/lumen/lumen/nonsense", "/repos/lumen/lumen/issues?q=x"] {
        let before = setup.violations();
        assert!(setup.get(path).await.status().is_client_error(), "{path}");
        assert_eq!(setup.violations(), before + 1, "{path}");
    }
    let nameless = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = nameless.get(setup.simulator.api_url() + ISSUES).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(setup.violations(), 4);
    assert_eq!(setup.get("/repos/lumen/nowhere/issues/1").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(setup.violations(), 4, "a repository that is not there is no mistake of the client");
}

#[tokio::test]
async fn a_used_up_budget_says_when_to_come_back_and_coming_early_is_a_violation() {
    let options = Options { anonymous_limit: 2, grace: std::time::Duration::ZERO, ..Options::default() };
    let setup = setup_with(20, options);
    let ask = || async { setup.client.get(setup.simulator.api_url() + ISSUES).send().await.unwrap() };
    assert_eq!(ask().await.status(), 200);
    assert_eq!(ask().await.headers()["x-ratelimit-remaining"], "0");
    let refused = ask().await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(refused.json::<Value>().await.unwrap()["message"].as_str().unwrap().starts_with("API rate limit exceeded"));
    assert_eq!(setup.violations(), 0);
    assert_eq!(ask().await.status(), StatusCode::FORBIDDEN);
    assert_eq!(setup.violations(), 1);
    setup.simulator.control().advance(std::time::Duration::from_secs(3_700));
    assert_eq!(ask().await.status(), 200);
}

#[tokio::test]
async fn faults_hit_the_requests_they_are_meant_for() {
    let setup = setup(20);
    let control = setup.simulator.control();
    let path = format!("{ISSUES}/1");
    control.inject(Rule::once(Fault::Status { status: 502 }).on("/issues/1"));
    assert_eq!(setup.get(&format!("{ISSUES}/2")).await.status(), 200);
    assert_eq!(setup.get(&path).await.status(), 502);
    assert_eq!(setup.get(&path).await.status(), 200);
    control.inject(Rule::once(Fault::Reset));
    assert!(setup.get_as("simulated-1", &path).await.is_err());
    control.inject(Rule::once(Fault::Truncate));
    assert!(setup.get(&path).await.bytes().await.is_err());
    control.inject(Rule::once(Fault::Slow { pause_ms: 1 }));
    assert_eq!(setup.get(&path).await.json::<Value>().await.unwrap()["number"], 1);
    control.inject(Rule::once(Fault::SecondaryLimit { retry_after_s: Some(7), status: 429 }));
    let limited = setup.get(&path).await;
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].to_str().unwrap()), (429, "7"));
    assert_eq!(setup.get_as("simulated-other", &path).await.unwrap().status(), 200);
    control.inject(Rule::once(Fault::RevokeToken));
    assert_eq!(setup.get_as("simulated-other", &path).await.unwrap().status(), 401);
    assert_eq!(setup.get_as("simulated-other", &path).await.unwrap().status(), 401);
    assert_eq!(control.fault_hits(), 6);
}

#[tokio::test]
async fn changes_show_at_once_and_are_announced_signed() {
    let setup = setup(40);
    let (url, mut received) = receiver().await;
    let control = setup.simulator.control();
    control.set_webhook(Some(Webhook::new(url, "secret")));
    let before = setup.json(&format!("{ISSUES}/1")).await;
    setup.change(Change::EditTitle { number: 1, title: "A new title".to_owned() });
    control.webhooks_settled().await;
    let (headers, body) = received.recv().await.unwrap();
    assert_eq!(headers["x-github-event"], "issues");
    let signature = gharvest_github_simulator::signature(b"secret", &body);
    assert_eq!(headers["x-hub-signature-256"], signature.as_str());
    let payload: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(payload["action"], "edited");
    assert_eq!(payload["changes"]["title"]["from"], before["title"]);
    let after = setup.json(&format!("{ISSUES}/1")).await;
    assert_eq!(after["title"], "A new title");
    assert!(after["updated_at"].as_str() > before["updated_at"].as_str());
    setup.change(Change::React { number: 1 });
    assert_eq!(setup.json(&format!("{ISSUES}/1")).await["updated_at"], after["updated_at"]);
    let log = setup.json("/repos/lumen/lumen/hooks/4711/deliveries").await;
    assert_eq!(log.as_array().unwrap().len(), 1);
    let one = setup.json(&format!("/repos/lumen/lumen/hooks/4711/deliveries/{}", log[0]["id"])).await;
    assert_eq!(one["request"]["payload"], payload);
}

#[tokio::test]
async fn other_processes_steer_it_over_http() {
    let setup = setup(30);
    let base = setup.simulator.api_url() + "/_simulator";
    let numbers: Vec<u64> =
        setup.client.get(format!("{base}/truth/lumen/lumen")).send().await.unwrap().json().await.unwrap();
    assert_eq!(numbers.len(), 30);
    let change = Change::Comment { number: 2, body: "over HTTP".to_owned() };
    let made = setup.client.post(format!("{base}/change/lumen/lumen?by=mei")).json(&change).send().await.unwrap();
    let made: Value = made.json().await.unwrap();
    assert_eq!(made[0]["payload"]["comment"]["user"]["login"], "mei");
    let rule = Rule::once(Fault::HtmlPage { status: 403 });
    setup.client.post(format!("{base}/faults")).json(&rule).send().await.unwrap();
    let page = setup.get(ISSUES).await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let truth: Truth =
        setup.client.get(format!("{base}/truth/lumen/lumen/2")).send().await.unwrap().json().await.unwrap();
    assert!(matches!(truth, Truth::Present { pull: Some(_), .. }));
}

#[tokio::test]
async fn the_same_seed_is_the_same_world() {
    let (one, two) = (setup(200), setup(200));
    let control = (one.simulator.control(), two.simulator.control());
    for number in 1..=220 {
        let strip = |truth: Option<Truth>, base: String| serde_json::to_string(&truth).unwrap().replace(&base, "");
        assert_eq!(
            strip(control.0.truth(&one.repository, number), one.simulator.api_url()),
            strip(control.1.truth(&two.repository, number), two.simulator.api_url()),
        );
    }
}

#[tokio::test]
async fn a_lost_delivery_can_be_asked_for_again() {
    let setup = setup(20);
    let control = setup.simulator.control();
    let (url, mut received) = receiver().await;
    control.set_webhook(Some(Webhook { lost: 1.0, ..Webhook::new(url.clone(), "") }));
    setup.change(Change::Comment { number: 1, body: "lost".to_owned() });
    control.webhooks_settled().await;
    let log = setup.json("/repos/lumen/lumen/hooks/4711/deliveries").await;
    assert_eq!(log[0]["status"], "failed to connect to host");
    control.set_webhook(Some(Webhook { doubled: 1.0, ..Webhook::new(url, "") }));
    let path = format!("/repos/lumen/lumen/hooks/4711/deliveries/{}/attempts", log[0]["id"]);
    let asked = setup.client.post(setup.simulator.api_url() + &path).bearer_auth("simulated-1").send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::ACCEPTED);
    for _ in 0..2 {
        let (headers, _) = received.recv().await.unwrap();
        assert_eq!(headers["x-github-delivery"], log[0]["guid"].as_str().unwrap());
        assert!(!headers.contains_key("x-hub-signature-256"));
    }
}

#[tokio::test]
async fn too_many_points_a_minute_meet_the_secondary_limit() {
    let setup = setup_with(20, Options { points_a_minute: Some(3), ..Options::default() });
    // Eight requests cannot be spread over minutes so that none of them has four.
    let mut refused = None;
    for _ in 0..8 {
        let answer = setup.get(ISSUES).await;
        if answer.status() == StatusCode::FORBIDDEN {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.headers()["retry-after"], "2");
    assert_ne!(refused.headers()["x-ratelimit-remaining"], "0");
    let message: Value = refused.json().await.unwrap();
    assert!(message["message"].as_str().unwrap().starts_with("You have exceeded a secondary rate limit"));
}

#[tokio::test]
async fn the_world_can_change_in_the_middle_of_a_client_s_work() {
    let setup = setup(20);
    let what = Change::DeleteItem { number: 2 };
    let fault = Fault::Change { repository: setup.repository.clone(), what };
    setup.simulator.control().inject(Rule::once(fault).on("/issues/2/timeline"));
    assert_eq!(setup.get(&format!("{ISSUES}/2")).await.status(), StatusCode::OK);
    assert_eq!(setup.get(&format!("{ISSUES}/2/timeline")).await.status(), StatusCode::GONE);
    assert_eq!(setup.simulator.control().truth(&setup.repository, 2), Some(Truth::Deleted));
}

#[tokio::test]
async fn a_living_project_keeps_announcing_changes_until_it_is_stopped() {
    let setup = setup(60);
    let control = setup.simulator.control();
    let (url, mut received) = receiver().await;
    control.set_webhook(Some(Webhook::new(url, "secret")));
    control.live(60_000.0);
    let mut events = std::collections::BTreeSet::new();
    while events.len() < 4 {
        let (headers, _) = received.recv().await.unwrap();
        events.insert(headers["x-github-event"].to_str().unwrap().to_owned());
    }
    control.stop_live();
}

#[tokio::test]
async fn pull_requests_move_where_nothing_changed() {
    let setup = setup(40);
    setup.change(Change::OpenPull { title: "Volatile".to_owned(), body: None });
    let number = setup.simulator.control().highest_number(&setup.repository);
    let path = format!("/repos/lumen/lumen/pulls/{number}");
    let mut states = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let pull = setup.json(&path).await;
        states.insert((pull["mergeable"].to_string(), pull["base"]["repo"]["stargazers_count"].as_u64()));
    }
    assert_eq!(states.len(), 3, "{states:?}");
}

#[tokio::test]
async fn an_app_gets_a_long_token_for_an_hour() {
    let setup = setup(20);
    let url = setup.simulator.api_url() + "/app/installations/1/access_tokens";
    let made = setup.client.post(url).bearer_auth("eyJ.eyJ.sig").send().await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    let token = made.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("ghs_") && token.len() > 255);
    assert_eq!(setup.get_as(&token, ISSUES).await.unwrap().status(), StatusCode::OK);
    assert_eq!(setup.get_as("ghs_unknown", ISSUES).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_program_says_when_it_is_ready() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_github-simulator"))
        .args(["--items", "20", "--repository", "lumen/lumen", "--repository", "lumen/docs"])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let line = BufReader::new(program.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
    let url = line.strip_prefix("READY ").unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let numbers: Vec<u64> =
        client.get(format!("{url}/_simulator/truth/lumen/docs")).send().await.unwrap().json().await.unwrap();
    assert_eq!(numbers.len(), 20);
    program.kill().await.unwrap();
}
