//! Observations of the system: once each, by months, never another archive's.

use std::sync::Arc;

use gharvest_model::QueueName;
use gharvest_search::{
    ErrorKind,
    operations::{Observation, OperationsLog, Seen},
};
use gharvest_search_elastic::{ElasticOperations, Options};
use gharvest_testkit::{
    search::{Make, search_server_of},
    search_server,
};
use serde_json::Value;

use crate::options;

fn seen(at: &str, ready: u64) -> Observation {
    let queue = QueueName::Download;
    let (finished, retried) = (None, Some(1));
    Observation {
        at: at.parse().unwrap(),
        seen: Seen::Queue { queue, ready, delayed: 1, leased: 2, buried: 3, lag_seconds: 4, finished, retried },
    }
}

fn log(options: &Options) -> Arc<dyn OperationsLog> {
    ElasticOperations::open(options, "archive").unwrap()
}

async fn ask(url: &str) -> Value {
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

/// When something was seen and how many jobs were ready, in order of time.
async fn kept(url: &str, options: &Options) -> Vec<(String, u64)> {
    let alias = format!("{url}/{}-operations", options.prefix);
    reqwest::Client::new().post(format!("{alias}/_refresh")).send().await.unwrap().error_for_status().unwrap();
    let answer = ask(&format!("{alias}/_search?sort=at&size=100")).await;
    let hits = answer["hits"]["hits"].as_array().unwrap_or_else(|| panic!("{answer}"));
    hits.iter()
        .map(|hit| (hit["_source"]["at"].as_str().unwrap().to_owned(), hit["_source"]["ready"].as_u64().unwrap()))
        .collect()
}

#[tokio::test]
async fn an_observation_kept_twice_is_one_and_old_months_go_as_a_whole() {
    let name = "an_observation_kept_twice_is_one_and_old_months_go_as_a_whole";
    let Some(url) = search_server(name) else { return };
    by_months(&url).await;
}

#[tokio::test]
async fn an_observation_kept_twice_is_one_in_elasticsearch_too() {
    let name = "an_observation_kept_twice_is_one_in_elasticsearch_too";
    let Some(url) = search_server_of(name, Make::Elasticsearch8) else { return };
    by_months(&url).await;
}

async fn by_months(url: &str) {
    let options = options(url);
    let (one, other) = (log(&options), log(&options));
    assert_eq!(one.forget("2030-01-01T00:00:00Z".parse().unwrap()).await.unwrap(), [""; 0], "there is nothing yet");
    let october = [seen("2026-10-31T23:59:00Z", 5), seen("2026-10-31T23:58:00Z", 4)];
    let november = [seen("2026-11-01T00:00:00Z", 6)];
    let (first, second) = tokio::join!(one.keep(&october), other.keep(&october));
    first.unwrap();
    second.unwrap();
    one.keep(&[&october[1..], &november[..]].concat()).await.unwrap();
    let all = [("2026-10-31T23:58:00Z", 4), ("2026-10-31T23:59:00Z", 5), ("2026-11-01T00:00:00Z", 6)];
    let all = all.map(|(at, ready)| (at.to_owned(), ready));
    assert_eq!(kept(url, &options).await, all);

    assert_eq!(one.forget("2026-10-31T23:59:59Z".parse().unwrap()).await.unwrap(), [""; 0]);
    assert_eq!(one.forget("2026-11-01T00:00:00Z".parse().unwrap()).await.unwrap(), ["2026.10"]);
    assert_eq!(kept(url, &options).await, all[2..]);
    // What was removed by hand is made again.
    let month = format!("{url}/{}-operations-2026.11", options.prefix);
    reqwest::Client::new().delete(&month).send().await.unwrap().error_for_status().unwrap();
    one.keep(&november).await.unwrap();
    assert_eq!(kept(url, &options).await, all[2..]);
}

#[tokio::test]
async fn another_archives_log_is_refused_and_nobody_finds_it_below_the_public_names() {
    let name = "another_archives_log_is_refused_and_nobody_finds_it_below_the_public_names";
    let Some(url) = search_server(name) else { return };
    let options = options(&url);
    crate::ensured(&options).await;
    log(&options).keep(&[seen("2026-11-01T00:00:00Z", 6)]).await.unwrap();
    let other = ElasticOperations::open(&options, "other").unwrap();
    let error = other.keep(&[seen("2026-11-01T00:01:00Z", 6)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("belongs to the archive"), "{error}");

    let public = ask(&format!("{url}/_alias/{}-public-*", options.prefix)).await;
    let public: Vec<_> = public.as_object().unwrap().keys().filter(|name| name.contains("operations")).collect();
    assert_eq!(public, [""; 0]);
    // The search index counts, builds and purges without it.
    let status = crate::ensured(&options).await.status().await.unwrap();
    assert!(status.documents.iter().all(|(alias, _)| !alias.contains("operations")), "{status:?}");
}
