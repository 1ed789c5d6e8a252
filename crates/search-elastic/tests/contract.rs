//! The contract of every search engine, on a real server.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use gharvest_search::SearchIndex;
use gharvest_search_elastic::{ElasticIndex, Options};
use gharvest_testkit::search_server;

/// An index under names of its own on the server that all tests share.
async fn fresh(url: String) -> (Arc<dyn SearchIndex>, ()) {
    let options = Options {
        urls: url,
        username: String::new(),
        password: String::new().into(),
        api_key: String::new().into(),
        ca: None,
        prefix: format!("test-{:016x}", fastrand::u64(..)),
    };
    (ElasticIndex::open(&options).await.unwrap(), ())
}

gharvest_search::search_contract!({
    let Some(url) = search_server("the contract of search engines") else { return };
    fresh(url)
});
