//! The newest major versions: that they are known, and that what differs most between versions holds.

use gharvest_search::contract;
use gharvest_testkit::search::{Make, search_server_of};

use crate::contract::fresh;

async fn serves(test: &str, make: Make, engine: &str) {
    let Some(url) = search_server_of(test, make) else { return };
    let (index, ()) = fresh(url.clone()).await;
    contract::every_scenario_is_answered(&*index).await;
    assert!(index.status().await.unwrap().engine.starts_with(engine), "{:?}", index.status().await);
    let (index, ()) = fresh(url.clone()).await;
    contract::a_rebuild_serves_the_old_index_until_it_is_finished(&*index).await;
    let (index, ()) = fresh(url.clone()).await;
    contract::replacing_leaves_nothing_behind(&*index).await;
    let (index, ()) = fresh(url.clone()).await;
    contract::extra_comes_back_as_given_and_is_not_searched(&*index).await;
    let (index, ()) = fresh(url).await;
    contract::pages_and_cursors_show_every_item_once(&*index).await;
}

#[tokio::test]
async fn elasticsearch_9_serves() {
    serves("elasticsearch_9_serves", Make::Elasticsearch9, "Elasticsearch 9.").await;
}

#[tokio::test]
async fn opensearch_3_serves() {
    serves("opensearch_3_serves", Make::OpenSearch3, "OpenSearch 3.").await;
}
