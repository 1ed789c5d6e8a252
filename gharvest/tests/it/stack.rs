//! The whole stack as the compose file wires it, without containers: from a webhook through nginx to a hit through nginx.

use std::{collections::BTreeSet, path::Path};

use futures::StreamExt as _;
use gharvest_github_simulator::{Change, Webhook, signature};
use gharvest_testkit::{Stack, checkout, redis::free_port, skip};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::scene::{DEADLINE, MIRRORED, Scene, finish, until};

const ITEMS: u64 = 40;
/// What `.env` holds in tests.
const SECRET: &str = "a-secret";
/// Our services that go on, as the compose file names them.
const SERVICES: [&str; 6] = ["downloader", "indexer", "seeder", "web", "webhook-receiver", "webhook-receiver-2"];

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_through_nginx_is_searchable_through_nginx() {
    let test = "a_webhook_through_nginx_is_searchable_through_nginx";
    let scene = Scene::new(ITEMS);
    let github = scene.api_url();
    let Some(mut stack) = Stack::start(
        test,
        &[
            ("GHARVEST_GITHUB__API_URL", &github),
            ("GHARVEST_GITHUB__POINTS_PER_MINUTE", "1000000"),
            ("GITHUB_TOKEN", crate::scene::TOKEN),
            // Instead of a minute of silence.
            ("GHARVEST_QUEUE__INACTIVITY_DELAY", "0s"),
            ("GHARVEST_INDEXER__DAILY_DELAY", "1s"),
            ("GHARVEST_ARCHIVE__MIN_FREE_BYTES", "0"),
            // Nothing but the webhook may find what changes.
            ("GHARVEST_SEEDER__RECONCILE_EVERY", "24h"),
        ],
    ) else {
        return;
    };
    let mut running = stack.running();
    running.sort_unstable();
    assert_eq!(running, SERVICES);
    assert!(SERVICES.iter().all(|service| stack.is_healthy(service)));

    let tracked = finish(tool(&stack, "gharvest", &["track", MIRRORED])).await;
    assert_eq!(tracked.code, Some(0), "{tracked:?}");
    let expected = scene.control.truth_numbers(&scene.called()).len();
    until("everything is found", async || total(&stack, "repo:lumen/lumen").await >= expected as u64).await;

    let url = stack.url();
    let mut events = reqwest::get(format!("{url}/events")).await.unwrap().bytes_stream();
    scene.control.set_webhook(Some(Webhook::new(format!("{url}/webhooks/github"), SECRET)));
    let number = scene.control.truth_numbers(&scene.called())[3];
    let body = "Quicksilver runs through the proxy.".to_owned();
    scene.control.change(&scene.called(), Change::Comment { number, body }).unwrap();
    scene.control.webhooks_settled().await;
    assert!(scene.control.deliveries().iter().all(|delivery| delivery.status_code == 202), "taken through nginx");
    until("what was said is found", async || total(&stack, "quicksilver").await == 1).await;
    let heard = tokio::time::timeout(DEADLINE, async {
        let mut heard = String::new();
        while !heard.contains(&format!("\"number\":{number}")) {
            heard.push_str(&String::from_utf8_lossy(&events.next().await.expect("events go on").unwrap()));
        }
    });
    heard.await.expect("the change is told live through nginx");

    a_delivery_as_large_as_githubs_largest_is_taken(&url).await;
    strangers_read_what_is_public_and_change_nothing(&url).await;
    the_raw_archive_is_served(&stack, number).await;
    a_snapshot_is_made_without_being_asked_for(&stack).await;

    dashboards_are_told_how_the_system_is_doing(&stack).await;
    what_alerts_and_dashboard_ask_for_is_served(&stack).await;
    prometheus_reaches_every_component(&stack).await;
    snapshots_are_for_whom_a_key_lets_in(&stack).await;
    the_set_up_makes_keys_again_that_the_archive_does_not_know(&stack).await;
    every_command_of_the_deployment_page_works(&stack).await;

    logs_are_for_a_person_only_where_one_is_needed_and_say_no_secret(&stack);

    let processes = stack.processes();
    assert_eq!(processes.len(), SERVICES.len() + 1);
    for (service, code) in stack.stop() {
        assert_eq!(code, Some(0), "{service}");
    }
    let left: Vec<_> = processes.iter().filter(|id| Path::new("/proc").join(id.to_string()).is_dir()).collect();
    assert!(left.is_empty(), "{left:?} still run");
    assert_eq!(scene.control.violations(), []);
}

/// GitHub sends 25 MiB at most: as much reaches the receiver through nginx, and more does not.
async fn a_delivery_as_large_as_githubs_largest_is_taken(url: &str) {
    let send = async |bytes: usize| {
        let (begin, end) = ("{\"zen\":\"", "\"}");
        let body = format!("{begin}{}{end}", "x".repeat(bytes - begin.len() - end.len()));
        let delivery = reqwest::Client::new().post(format!("{url}/webhooks/github"));
        let delivery = delivery.header("content-type", "application/json").header("x-github-event", "ping");
        let delivery = delivery.header("x-github-delivery", format!("00000000-0000-0000-0000-{bytes:012}"));
        delivery.header("x-hub-signature-256", signature(SECRET.as_bytes(), body.as_bytes())).body(body).send().await
    };
    let taken = send(25 << 20).await.unwrap();
    assert!(taken.status().is_success(), "{}", taken.status());
    // nginx may close before a client has sent everything.
    let refused = send((25 << 20) + 1).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() == 413));
}

/// `[web] anonymous = public`, behind nginx.
async fn strangers_read_what_is_public_and_change_nothing(url: &str) {
    let client = reqwest::Client::new();
    for (path, status) in [
        ("/", 200),
        ("/lumen/lumen/issues/1", 200),
        ("/status", 200),
        ("/api/v1/openapi.json", 200),
        ("/healthz", 200),
        ("/metrics", 404),
        ("/data/keys.json", 404),
        ("/kibana/", 502),
    ] {
        let answer = client.get(format!("{url}{path}")).send().await.unwrap();
        let is_thread = path.contains("/issues/");
        assert!(answer.status() == status || is_thread && answer.status().is_success(), "{path}: {}", answer.status());
    }
    let pushed = client.post(format!("{url}/api/v1/jobs")).json(&json!({"queue": "download", "subjects": ["1#1"]}));
    let refused = pushed.send().await.unwrap().status().as_u16();
    assert!([401, 403].contains(&refused), "{refused}");
    let forged = client.post(format!("{url}/webhooks/github")).header("x-github-event", "issues");
    let forged = forged.header("x-github-delivery", "00000000-0000-0000-0000-000000000000").body("{}");
    assert_eq!(forged.send().await.unwrap().status(), 401);
}

/// The canaries are the secrets that were really used.
fn logs_are_for_a_person_only_where_one_is_needed_and_say_no_secret(stack: &Stack) {
    for (service, log) in stack.logs() {
        assert!(log.lines().count() > 0, "{service} logs nothing");
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{service}: {line} is not JSON"));
            assert!(line["level"] == "INFO" || line["level"] == "DEBUG", "{service} wants a person: {line}");
        }
        for secret in [SECRET, crate::scene::TOKEN] {
            assert!(!log.contains(secret), "{service} logs a secret: {log}");
        }
    }
}

/// By nginx, whose workers may run as another user than the components.
async fn the_raw_archive_is_served(stack: &Stack, number: u64) {
    let url = stack.url();
    let record = text(format!("{url}/data/current/{MIRRORED}/items/{number}.json")).await;
    assert!(record.contains("Quicksilver"), "{record:.200}");
    let listed = text(format!("{url}/data/current/{MIRRORED}/?format=json")).await;
    assert!(listed.contains("\"ledger"), "{listed:.400}");
    // What a path leads to is not what it names: such a path could lead from a public repository to a private one.
    for path in [
        format!("{MIRRORED}/../lumen/items/{number}.json"),
        format!("{MIRRORED}/%2e%2e/lumen/items/{number}.json"),
        format!("{MIRRORED}/items/..%2fitems/{number}.json"),
    ] {
        let refused = as_written(&url, &format!("/data/current/{path}")).await;
        assert!(refused.starts_with("HTTP/1.1 403"), "{path}: {refused}");
    }
}

/// The answer to a path as it is written: clients would make another one of it.
async fn as_written(url: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The seeder's first one comes at its start, as none has ever been made.
async fn a_snapshot_is_made_without_being_asked_for(stack: &Stack) {
    let asked = finish(tool(stack, "gharvest", &["schedules", "run", "snapshot"])).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let folder = stack.data_dir().join("archive/snapshots");
    until("a snapshot is there", async || folder.join("latest").is_file()).await;
    let verified = finish(tool(stack, "gharvest", &["snapshot", "verify"])).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// The seeder's first look comes at its start.
async fn dashboards_are_told_how_the_system_is_doing(stack: &Stack) {
    let count = async |about: &str| {
        let found = reqwest::get(format!("{}/gharvest-operations/_count?q=about:{about}", stack.engine_url())).await;
        let found: Value = found.unwrap().json().await.unwrap();
        found["count"].as_u64().unwrap_or_default()
    };
    until("queues and budgets are noted", async || count("queue").await >= 2 && count("budget").await >= 1).await;
    until("five lanes of two queues are", async || count("lane").await >= 10).await;
}

/// Metrics that are there only once something has gone wrong, or had to wait.
const AFTER_A_FAULT: [&str; 3] =
    ["gharvest_drift_total", "gharvest_github_token_accepted", "gharvest_github_wait_seconds_bucket"];

/// A series as Prometheus writes it, and its labels but for those that say who was asked.
fn series(text: &str) -> (&str, BTreeSet<&str>) {
    let (name, labels) = text.trim_end_matches('}').split_once('{').unwrap_or((text, ""));
    let labels = labels.split(',').filter(|label| !label.is_empty() && !label.starts_with("instance="));
    (name, labels.collect())
}

/// Each metric of the rules and of Grafana's dashboard is one that a component really prints, and what the tests of the
/// rules are fed has the labels that it is printed with.
async fn what_alerts_and_dashboard_ask_for_is_served(stack: &Stack) {
    let seeder = format!("{}/metrics", stack.service_url("seeder").unwrap());
    let noted = async || text(seeder.clone()).await.contains("gharvest_snapshot_timestamp_seconds");
    until("the snapshot is noted", noted).await;
    let mut served = String::new();
    let (client, key) = (reqwest::Client::new(), operators_key(stack));
    for service in SERVICES {
        // The front's names repositories, so it wants one.
        let asked = client.get(format!("{}/metrics", stack.service_url(service).unwrap())).bearer_auth(&key);
        served.push_str(&asked.send().await.unwrap().text().await.unwrap());
    }
    let asked = ["scripts/prometheus/gharvest.rules.yml", "scripts/grafana/gharvest.json"]
        .map(|path| std::fs::read_to_string(checkout().join(path)).unwrap());
    let words =
        asked.iter().flat_map(|text| text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_'));
    let asked: BTreeSet<_> = words.filter(|word| word.starts_with("gharvest_")).collect();
    let is_served = |metric: &str| {
        served.lines().any(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' '])))
    };
    let missing: Vec<_> = asked.iter().filter(|metric| !AFTER_A_FAULT.contains(metric) && !is_served(metric)).collect();
    assert!(asked.len() >= 20 && missing.is_empty(), "of {asked:?} nobody serves {missing:?}");
    let printed: Vec<_> =
        served.lines().filter_map(|line| line.rsplit_once(' ')).map(|(text, _)| series(text)).collect();
    let fed = std::fs::read_to_string(checkout().join("testing/testkit/tests/alerts.yml")).unwrap();
    let fed = fed.split("series: '").skip(1).map(|rest| series(rest.split('\'').next().unwrap()));
    let of_ours = fed.filter(|(name, _)| name.starts_with("gharvest_") && !AFTER_A_FAULT.contains(name));
    let unknown: Vec<_> = of_ours.filter(|series| !printed.contains(series)).collect();
    assert!(unknown.is_empty(), "nobody prints {unknown:?} with these labels: {printed:?}");
}

/// The key that the set-up made.
fn operators_key(stack: &Stack) -> String {
    std::fs::read_to_string(stack.make_keys(&[]).join("admin.key")).unwrap().trim().to_owned()
}

/// With the shipped configuration, where names are addresses and fifteen seconds are one; as by docker-compose.metrics.yml.
async fn prometheus_reaches_every_component(stack: &Stack) {
    let test = "prometheus_reaches_every_component";
    if Command::new("prometheus").arg("--version").output().await.is_err() {
        return skip(test, "no prometheus: install Debian's package prometheus");
    }
    let key = stack.make_keys(&[("METRICS", "on")]).join("metrics/metrics.key").display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let shipped = checkout().join("scripts/prometheus");
    let mut settings = std::fs::read_to_string(shipped.join("prometheus.yml")).unwrap();
    settings = settings.replace("15s", "1s").replace("/keys/metrics.key", &key);
    for service in SERVICES {
        let here = stack.service_url(service).unwrap().replace("http://", "");
        let at = settings.find(&format!("\"{service}:")).expect("it is asked") + 1;
        let end = at + settings[at..].find('"').unwrap();
        settings.replace_range(at..end, &here);
    }
    std::fs::write(folder.path().join("prometheus.yml"), settings).unwrap();
    std::fs::copy(shipped.join("gharvest.rules.yml"), folder.path().join("gharvest.rules.yml")).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("prometheus");
    command.arg(format!("--web.listen-address={address}")).args(["--config.file=prometheus.yml", "--log.level=warn"]);
    command.arg("--storage.tsdb.path=data");
    let _prometheus = command.current_dir(folder.path()).kill_on_drop(true).spawn().unwrap();
    let up = async || {
        let asked = reqwest::get(format!("http://{address}/api/v1/query?query=sum(up{{job=%22gharvest%22}})")).await;
        let Ok(answer) = asked else { return String::new() };
        let found: Value = answer.json().await.unwrap_or_default();
        found["data"]["result"][0]["value"][1].as_str().unwrap_or_default().to_owned()
    };
    until("Prometheus reaches everything", async || up().await == SERVICES.len().to_string()).await;
}

/// As `docker compose up` runs it again and again.
async fn the_set_up_makes_keys_again_that_the_archive_does_not_know(stack: &Stack) {
    let client = reqwest::Client::new();
    let made = || operators_key(stack);
    let snapshots = async |key: &str| {
        let asked = client.get(format!("{}/data/snapshots/", stack.url())).bearer_auth(key).send().await;
        asked.unwrap().status().as_u16()
    };
    let first = made();
    until("the key is known", async || snapshots(&first).await == 200).await;
    assert_eq!(made(), first);
    let revoked = finish(tool(stack, "gharvest", &["keys", "revoke", "setup-admin"])).await;
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let second = made();
    assert_ne!(second, first);
    until("the new key is known", async || snapshots(&second).await == 200).await;
    assert_eq!(snapshots(&first).await, 401);
}

/// By basic authentication through nginx, as browsers and `wget` do: the key is the password.
async fn snapshots_are_for_whom_a_key_lets_in(stack: &Stack) {
    let made = finish(tool(stack, "gharvest", &["keys", "add", "archivist", "--private", "*"])).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let client = reqwest::Client::new();
    let ask = async |key: Option<&str>, path: &str| {
        let request = client.get(format!("{}{path}", stack.url()));
        let request = if key.is_some() { request.basic_auth("anybody", key) } else { request };
        request.send().await.unwrap().status().as_u16()
    };
    let key = made.stdout.trim();
    // Keys are read again every few seconds.
    until("the key is known", async || ask(Some(key), "/data/snapshots/").await == 200).await;
    assert_eq!(ask(Some(key), "/data/snapshots/latest").await, 200);
    assert_eq!(ask(Some(key), "/data/inbox/").await, 404);
    assert_eq!(ask(Some("gharvest_wrong"), "/data/snapshots/").await, 401);
    // Browsers and `wget` bring a key once they are asked for one.
    let asked = client.get(format!("{}/data/snapshots/latest", stack.url())).send().await.unwrap();
    assert_eq!(asked.status(), 401);
    assert!(asked.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"), "{asked:?}");
}

/// What `_docs/deployment.md` tells a new operator to type, but what is the container engine's or the system's own.
async fn every_command_of_the_deployment_page_works(stack: &Stack) {
    let page = std::fs::read_to_string(checkout().join("_docs/deployment.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(checkout().join(".env.example"), folder.path().join(".env.example")).unwrap();
    let mut done = 0;
    for line in blocks.flat_map(str::lines) {
        let words: Vec<String> = line
            .split_whitespace()
            .map(|word| word.trim_matches('\'').replace("OWNER/NAME", MIRRORED))
            .map(|word| word.replace("http://127.0.0.1:8080", &stack.url()))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let command = match &words[..] {
            ["docker", "compose", "run", "--rm", service @ ("gharvest" | "queue-cli"), args @ ..] => {
                tool(stack, service, args)
            }
            [program @ ("cp" | "openssl" | "curl"), args @ ..] => {
                let mut command = Command::new(program);
                command.args(args).current_dir(folder.path());
                command
            }
            ["docker" | "sudo" | "git" | "cargo" | "scripts/stack" | "scripts/upgrade", ..] => continue,
            _ => panic!("nobody knows how to try `{line}`"),
        };
        let finished = finish(command).await;
        // What doctor finds in this set-up is another test's matter; that it looks is this one's.
        let is_doctor = words.contains(&"doctor") && finished.code == Some(3);
        assert!(finished.code == Some(0) || is_doctor, "{line}: {finished:?}");
        done += 1;
    }
    assert!(done >= 11, "{done} commands");
    assert!(folder.path().join(".env").is_file());
}

/// A run-once tool with the settings of the compose file.
fn tool(stack: &Stack, service: &str, args: &[&str]) -> Command {
    let mut command = Command::from(stack.command(service, service));
    command.args(args).kill_on_drop(true);
    command
}

async fn total(stack: &Stack, query: &str) -> u64 {
    let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/search", stack.url()), [("q", query)]).unwrap();
    let found: Value = serde_json::from_str(&text(url.to_string()).await).unwrap_or_default();
    found["total"].as_u64().unwrap_or_default()
}

async fn text(url: String) -> String {
    reqwest::get(url).await.unwrap().text().await.unwrap()
}
