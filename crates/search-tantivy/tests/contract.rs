//! The contract of every search engine, on tantivy.
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::sync::Arc;

use gharvest_search::SearchIndex;
use gharvest_search_tantivy::TantivyIndex;
use tempfile::TempDir;

async fn fresh() -> (Arc<dyn SearchIndex>, TempDir) {
    let folder = TempDir::new().unwrap();
    let index = TantivyIndex::open(&folder.path().join("index")).await.unwrap();
    (index, folder)
}

gharvest_search::search_contract!(fresh());
