//! A search server that crashes comes back with what it had, and leaves nothing behind at its end.

use gharvest_testkit::SearchServer;
use serde_json::{Value, json};

#[tokio::test]
async fn a_crashed_server_comes_back_with_its_data_on_the_same_address() {
    let name = "a_crashed_server_comes_back_with_its_data_on_the_same_address";
    let Some(mut server) = SearchServer::start(name, &[]) else { return };
    let url = server.url().to_owned();
    let document = format!("{url}/kept/_doc/1");
    // Without kept connections: those to the crashed server are dead.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let stored = client.put(&document).json(&json!({"word": "kept"})).send().await.unwrap();
    assert_eq!(stored.status(), 201);
    server.crash_and_restart();
    assert_eq!(server.url(), url);
    let health = client.get(format!("{url}/_cluster/health/kept?wait_for_status=yellow")).send().await.unwrap();
    assert_eq!(health.status(), 200);
    let found: Value = client.get(&document).send().await.unwrap().json().await.unwrap();
    assert_eq!(found["_source"]["word"], "kept", "{found}");
    drop(server);
    assert!(client.get(&url).send().await.is_err(), "it has ended");
}
