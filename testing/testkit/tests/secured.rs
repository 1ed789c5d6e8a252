//! The set-up of a real engine with security: who gets which key, and what each may do, also through nginx' port 8081.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path, process::Command, sync::Arc};

use gharvest_model::{Lane, QueueName};
use gharvest_search::{
    ErrorKind, SearchIndex,
    operations::{Observation, Seen},
    sample,
};
use gharvest_search_elastic::{ElasticIndex, ElasticOperations, Options};
use gharvest_testkit::{
    SearchServer, checkout,
    nginx::{Nginx, nginx_program},
    search::{PASSWORD, USER},
};
use serde_json::{Value, json};

fn script(name: &str, folder: &Path, url: &str) {
    script_with(name, folder, url, &[]);
}

fn script_with(name: &str, folder: &Path, url: &str, settings: &[(&str, &str)]) {
    let mut command = Command::new("bash");
    command.envs(settings.iter().copied());
    command.arg(checkout().join("scripts").join(name)).arg(folder);
    command
        .env("SECRETS", folder)
        .env("ENGINE_URL", url)
        .env("ENGINE_USER", USER)
        .env("ANONYMOUS", "on")
        .env("PUBLIC_INDICES", "true");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
}

fn secret(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap().trim().to_owned()
}

fn with_key(url: &str, key: &str) -> Options {
    Options { api_key: key.to_owned().into(), ..Options::without_credentials(url, "gharvest") }
}

/// The name by which the seeder writes, as the compose file says it.
const SEEDER: &str = "gharvest-operations";

fn with_password(url: &str, password: &str) -> Options {
    let options = Options::without_credentials(url, "gharvest");
    Options { username: SEEDER.to_owned(), password: password.to_owned().into(), ..options }
}

/// How the system is doing, noted by whom these options name.
async fn note(options: &Options) -> Result<(), gharvest_search::Error> {
    let seen = Seen::Lane { queue: QueueName::Download, lane: Lane::Webhook, ready: 1, lag_seconds: 2 };
    let log = ElasticOperations::open(options, "archive")?;
    log.keep(&[Observation { at: sample::at("2026-11-01T00:00:00Z"), seen }]).await?;
    log.forget(sample::at("2026-11-02T00:00:00Z")).await.map(drop)
}

/// A public thread and a private one, written with the writer's key.
async fn fill(url: &str, key: &str) {
    let options = Options { public: true, ..with_key(url, key) };
    let index: Arc<dyn SearchIndex> = ElasticIndex::open(&options).await.unwrap();
    index.ensure("archive").await.unwrap();
    // Again: as a later version finds it.
    index.ensure("archive").await.unwrap();
    let mut private = sample::item(2);
    (private.private, private.title) = (true, "Nobody may know".to_owned());
    let threads = [sample::item(1), private].map(|item| sample::thread(item, Vec::new(), Vec::new(), 1));
    index.apply(threads.into()).await.unwrap();
    index.commit().await.unwrap();
}

#[tokio::test]
async fn each_key_of_the_set_up_does_what_it_is_for_and_nothing_else() {
    let test = "each_key_of_the_set_up_does_what_it_is_for_and_nothing_else";
    let (Some(program), Some(server)) = (nginx_program(test), SearchServer::start_secure(test)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    script("setup-secrets", &secrets, server.url());
    fs::write(secrets.join("engine/elastic.password"), format!("{PASSWORD}\n")).unwrap();
    // As the seeder finds an engine that is not prepared yet: once it is, the same password does.
    let seeder = with_password(server.url(), &secret(&secrets, "seeder/engine.password"));
    assert_eq!(note(&seeder).await.unwrap_err().kind(), ErrorKind::Refused);
    script("setup-engine", &secrets, server.url());
    let keys = made(&secrets);
    let [writer, reader, public, token] = &keys[..] else { panic!("{keys:?}") };
    fill(server.url(), writer).await;
    note(&seeder).await.unwrap();
    for key in [reader, public] {
        note(&with_key(server.url(), key)).await.unwrap_err();
    }

    let nginx_folder = folder.path().join("nginx");
    fs::create_dir_all(&nginx_folder).unwrap();
    let names = [
        ("https://elasticsearch:9200", server.url().to_owned()),
        ("/secrets/ca.crt", secrets.join("reader/ca.crt").display().to_string()),
        ("/data/archive", nginx_folder.display().to_string()),
        ("http://web:8080", server.url().to_owned()),
        ("http://webhook-receivers:8081", server.url().to_owned()),
        ("http://kibana:5601", server.url().to_owned()),
    ];
    let names: Vec<_> = names.map(|(name, here)| (name.to_owned(), here)).into();
    let nginx = Nginx::start(&program, &nginx_folder, &names);
    let client = reqwest::Client::new();
    let ask = async |key: &str, method: &str, path: &str| {
        let request = client.request(method.parse().unwrap(), format!("{}{path}", nginx.engine_url()));
        let request = request.header("authorization", format!("ApiKey {key}"));
        let request = if method == "GET" { request } else { request.json(&json!({"query": {"match_all": {}}})) };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let found: Value = answer.json().await.unwrap_or_default();
        (status, found["hits"]["total"]["value"].as_u64())
    };
    assert_eq!(ask(reader, "POST", "/gharvest-items/_search").await, (200, Some(2)));
    assert_eq!(ask(reader, "GET", "/gharvest-items/_mapping").await.0, 200);
    assert_eq!(ask(public, "POST", "/gharvest-public-items/_search").await, (200, Some(1)));
    assert_eq!(ask(public, "GET", "/gharvest-public-items/_mapping").await.0, 200);
    // Where a filter would be passed by: what is private is not there at all.
    let told = async |key: &str, path: &str| {
        let request = client.get(format!("{}{path}", nginx.engine_url()));
        let answer = request.header("authorization", format!("ApiKey {key}")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let terms = "_search?source_content_type=application/json&source={\"size\":0,\"aggs\":{\"all\":{\"terms\":{\"field\":\"title.raw\",\"min_doc_count\":0}}}}";
    for path in [
        "_doc/1:1",
        "_doc/1:2",
        "_source/1:2",
        "_mget?source_content_type=application/json&source={\"ids\":[\"1:2\"]}",
        terms,
    ] {
        let (status, said) = told(public, &format!("/gharvest-public-items/{path}")).await;
        assert!(status == 200 && !said.contains("Nobody"), "{path}: {status} {said}");
        let (status, said) = told(reader, &format!("/gharvest-items/{path}")).await;
        assert!(status == 200 && (said.contains("Nobody") || path == "_doc/1:1"), "{path}: {status} {said}");
    }
    for path in [
        "/gharvest-items/_search",
        "/gharvest-items-all/_search",
        "/gharvest-items-v3-0/_search",
        "/gharvest-items-public-all/_search",
        "/gharvest-items-public-v3-0/_search",
    ] {
        assert_eq!(ask(public, "POST", path).await.0, 403, "{path}");
    }
    let operations = "/gharvest-operations/_search";
    assert_eq!(ask(reader, "POST", operations).await.0, 200);
    assert_eq!(ask(public, "POST", operations).await.0, 403);
    // Whatever it may see is public, asked for by whatever pattern.
    assert_eq!(ask(public, "POST", "/*/_search").await.1.unwrap_or_default(), 1);
    assert_eq!(ask("d3Jvbmc6a2V5", "POST", "/gharvest-public-items/_search").await.0, 401);
    assert_eq!(ask(writer, "PUT", "/gharvest-items/_doc/x").await.0, 403, "nginx lets nobody write");

    // Without nginx before it.
    let direct = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    let write = |key: &str| {
        let url = format!("{}/gharvest-items-all/_doc/x", server.url());
        client.put(url).header("authorization", format!("ApiKey {key}")).json(&json!({}))
    };
    assert_eq!(direct(write(reader)).await, 403);
    assert_eq!(direct(write(public)).await, 403);
    let searched = client.get(format!("{}/gharvest-items-all/_search", server.url()));
    assert_eq!(direct(searched.basic_auth(SEEDER, Some(secret(&secrets, "seeder/engine.password")))).await, 403);
    let who = client.get(format!("{}/_security/_authenticate", server.url()));
    assert_eq!(direct(who.try_clone().unwrap().bearer_auth(token)).await, 200);
}

/// The files of keys and the token that the set-up leaves, with how each is sent.
const MADE: [(&str, &str); 4] = [
    ("writer/api.key", "ApiKey"),
    ("reader/api.key", "ApiKey"),
    ("reader/public.key", "ApiKey"),
    ("kibana/kibana.token", "Bearer"),
];

/// What each file holds.
fn made(secrets: &Path) -> Vec<String> {
    MADE.iter().map(|(file, _)| secret(secrets, file)).collect()
}

/// What the engine says to each of these values.
async fn statuses(url: &str, values: &[String]) -> Vec<u16> {
    let mut found = Vec::new();
    for ((_, scheme), value) in MADE.iter().zip(values) {
        let who = reqwest::Client::new().get(format!("{url}/_security/_authenticate"));
        let answer = who.header("authorization", format!("{scheme} {value}")).send().await.unwrap();
        found.push(answer.status().as_u16());
    }
    found
}

/// An index is disposable, and so is the engine's data: what lies in the volumes of secrets is of no use to a new one.
#[tokio::test]
async fn what_a_new_engine_does_not_know_is_made_again_and_all_can_be_replaced() {
    let test = "what_a_new_engine_does_not_know_is_made_again_and_all_can_be_replaced";
    let Some(server) = SearchServer::start_secure(test) else { return };
    let (url, folder) = (server.url(), tempfile::tempdir().unwrap());
    let secrets = folder.path();
    script("setup-secrets", secrets, url);
    fs::write(secrets.join("engine/elastic.password"), format!("{PASSWORD}\n")).unwrap();
    // As the volumes of a stack whose former engine is gone.
    let foreign = ["d3Jvbmc6a2V5", "d3Jvbmc6a2V5", "d3Jvbmc6a2V5", "AAEAAWVsYXN0aWM"];
    for ((file, _), value) in MADE.iter().zip(foreign) {
        fs::write(secrets.join(file), format!("{value}\n")).unwrap();
    }
    script("setup-engine", secrets, url);
    let first = made(secrets);
    assert_eq!(statuses(url, &first).await, [200; 4]);
    script("setup-engine", secrets, url);
    assert_eq!(made(secrets), first, "what the engine knows stays");

    // One that was made when a file had been removed is known as well, and nobody has it any more.
    fs::remove_file(secrets.join("reader/public.key")).unwrap();
    script("setup-engine", secrets, url);
    let second = made(secrets);
    script_with("setup-engine", secrets, url, &[("ROTATE", "on"), ("GRACE", "0")]);
    let third = made(secrets);
    assert_eq!(statuses(url, &first).await, [401; 4]);
    assert_eq!(statuses(url, &second).await, [401; 4]);
    assert_eq!(statuses(url, &third).await, [200; 4]);
    fill(url, &third[0]).await;
}

/// What Kibana makes of the roles that `setup-dashboards` brings.
async fn make_role(url: &str, name: &str, indices: &str) {
    let role = json!({"indices": [{"names": [indices], "privileges": ["read", "view_index_metadata"]}]});
    let role = reqwest::Client::new().put(format!("{url}/_security/role/{name}")).json(&role);
    role.basic_auth(USER, Some(PASSWORD)).send().await.unwrap().error_for_status().unwrap();
}

#[tokio::test]
async fn people_and_guests_look_at_what_their_role_says_and_keep_their_own_passwords() {
    let test = "people_and_guests_look_at_what_their_role_says_and_keep_their_own_passwords";
    let Some(server) = SearchServer::start_secure(test) else { return };
    let (url, folder) = (server.url(), tempfile::tempdir().unwrap());
    let secrets = folder.path();
    script("setup-secrets", secrets, url);
    fs::write(secrets.join("engine/elastic.password"), format!("{PASSWORD}\n")).unwrap();
    script("setup-engine", secrets, url);
    fill(url, &secret(secrets, "writer/api.key")).await;
    note(&with_password(url, &secret(secrets, "seeder/engine.password"))).await.unwrap();
    make_role(url, "gharvest-reader", "gharvest-*").await;
    make_role(url, "gharvest-public", "gharvest-public-*").await;
    let client = reqwest::Client::new();
    let ask = async |name: &str, password: &str, method: &str, path: &str| {
        let request = client.request(method.parse().unwrap(), format!("{url}{path}"));
        let request = request.basic_auth(name, Some(password)).json(&json!({}));
        request.send().await.unwrap().status().as_u16()
    };
    let guest = secret(secrets, "kibana/anonymous.password");
    let person = secret(secrets, "engine/reader.password");
    for (path, of_guests) in [
        ("/gharvest-public-items/_search", 200),
        ("/gharvest-items/_search", 403),
        ("/gharvest-operations/_search", 403),
    ] {
        assert_eq!(ask("gharvest-anonymous", &guest, "POST", path).await, of_guests, "{path}");
        assert_eq!(ask("reader", &person, "POST", path).await, 200, "{path}");
    }
    assert_eq!(ask("reader", &person, "PUT", "/gharvest-items-all/_doc/x").await, 403);
    assert_eq!(ask("reader", &person, "PUT", "/_security/role/more").await, 403);

    let changed = client.put(format!("{url}/_security/user/reader/_password")).json(&json!({"password": "of-my-own"}));
    changed.basic_auth(USER, Some(PASSWORD)).send().await.unwrap().error_for_status().unwrap();
    script("setup-secrets", secrets, url);
    script("setup-engine", secrets, url);
    assert_eq!(ask("reader", "of-my-own", "POST", "/gharvest-items/_search").await, 200);
    assert_eq!(ask("reader", &person, "POST", "/gharvest-items/_search").await, 401);
}
