//! The contract of every search engine, on tantivy.
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::sync::Arc;

use gharvest_search::{Access, SearchIndex, query::suggest, sample};
use gharvest_search_tantivy::TantivyIndex;
use jiff::SignedDuration;
use tempfile::TempDir;

async fn fresh() -> (Arc<dyn SearchIndex>, TempDir) {
    let folder = TempDir::new().unwrap();
    let index = TantivyIndex::open(&folder.path().join("index")).await.unwrap();
    (index, folder)
}

gharvest_search::search_contract!(fresh());

/// Where very many words begin as typed, the latest titles are read instead of all terms joined: the answer is the same.
#[tokio::test]
async fn a_beginning_of_very_many_words_completes_to_the_latest_titles_that_have_it() {
    let (index, _folder) = fresh().await;
    index.ensure("archive").await.unwrap();
    let thread = |number: u64, title: &str| {
        let mut item = sample::item(number);
        item.title = title.to_owned();
        item.updated_at += SignedDuration::from_hours(number as i64);
        sample::thread(item, Vec::new(), Vec::new(), 1)
    };
    let titled = |number: u64| match number % 3 {
        0 => thread(number, "Nothing of the kind"),
        _ => thread(number, &format!("It breaks word{number}")),
    };
    index.apply((1..=900).map(titled).collect()).await.unwrap();
    index.commit().await.unwrap();
    let latest = [899, 898, 896, 895, 893];
    assert_eq!(completed(&*index, "wor").await, latest);

    index.apply((901..=1_100).map(|number| thread(number, "Nothing later")).collect()).await.unwrap();
    index.commit().await.unwrap();
    assert_eq!(completed(&*index, "wor").await, latest, "the latest titles have none of these words");
}

/// The numbers of the items that complete what is typed.
async fn completed(index: &dyn SearchIndex, typed: &str) -> Vec<u64> {
    let found = index.suggest(&suggest::at_end(typed), &Access::Public, 5).await.unwrap();
    found.into_iter().filter_map(|suggestion| suggestion.item).map(|item| item.number).collect()
}
