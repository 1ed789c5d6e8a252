//! The search index on real servers: OpenSearch, which has everything, and Elasticsearch; of both the newest major version
//! too where a newer Java is found.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod contract;
mod engine;
mod newer;
mod operations;
mod public;

use std::sync::Arc;

use gharvest_search::SearchIndex;
use gharvest_search_elastic::{ElasticIndex, Options};

/// Without credentials, under names of its own.
fn options(url: &str) -> Options {
    Options::without_credentials(url, &format!("test-{:016x}", fastrand::u64(..)))
}

async fn ensured(options: &Options) -> Arc<dyn SearchIndex> {
    let index = ElasticIndex::open(options).await.unwrap();
    index.ensure("archive").await.unwrap();
    index
}
