//! What is on disk: one writer, any readers, and rebuilds that a crash cannot spoil.
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::{fs, path::Path, sync::Arc, time::Duration};

use gharvest_search::{
    Access, ErrorKind, SearchIndex, SearchRequest, Start,
    document::ThreadDocuments,
    query::{ParseContext, Query},
    sample::{at, item, thread},
};
use gharvest_search_tantivy::TantivyIndex;
use tempfile::TempDir;

const ARCHIVE: &str = "archive";

fn titled(number: u64, title: &str) -> ThreadDocuments {
    let mut document = item(number);
    document.title = title.to_owned();
    thread(document, Vec::new(), Vec::new(), 1)
}

async fn found(index: &TantivyIndex, text: &str) -> Vec<u64> {
    let context = ParseContext { now: at("2024-06-15T12:00:00Z"), me: None };
    let request = SearchRequest {
        query: Query::parse(text, &context).query,
        access: Access::Public,
        per_page: 100,
        start: Start::Page(1),
        facets: Vec::new(),
        snippets: false,
        timeout: Duration::from_secs(30),
    };
    let mut found: Vec<_> = index.search(&request).await.unwrap().hits.iter().map(|hit| hit.item.number).collect();
    found.sort_unstable();
    found
}

async fn filled(folder: &Path) -> Arc<TantivyIndex> {
    let index = TantivyIndex::open(folder).await.unwrap();
    index.ensure(ARCHIVE).await.unwrap();
    index.apply(vec![titled(1, "one"), titled(2, "two")]).await.unwrap();
    index.commit().await.unwrap();
    index
}

/// The generations on disk, and the one that is named.
fn generations(folder: &Path) -> (Vec<String>, String) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.filter(|name| name.starts_with('g')).collect();
    names.sort_unstable();
    (names, fs::read_to_string(folder.join("current")).unwrap())
}

#[tokio::test]
async fn a_second_writer_is_refused_and_readers_are_not() {
    let folder = TempDir::new().unwrap();
    let index = filled(folder.path()).await;
    let error = TantivyIndex::open(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let reader = TantivyIndex::open_read_only(folder.path()).await.unwrap();
    assert_eq!(found(&reader, "").await, [1, 2]);
    drop(index);
    let again = TantivyIndex::open(folder.path()).await.unwrap();
    assert_eq!(found(&again, "").await, [1, 2]);
}

#[tokio::test]
async fn a_reader_follows_commits_and_rebuilds_and_never_writes() {
    let folder = TempDir::new().unwrap();
    let writer = filled(folder.path()).await;
    let reader = TantivyIndex::open_read_only(folder.path()).await.unwrap();
    writer.apply(vec![titled(3, "three")]).await.unwrap();
    assert_eq!(found(&reader, "").await, [1, 2]);
    writer.commit().await.unwrap();
    assert_eq!(found(&reader, "").await, [1, 2, 3]);
    let rebuild = writer.begin_rebuild(ARCHIVE).await.unwrap();
    rebuild.index().apply(vec![titled(4, "four")]).await.unwrap();
    rebuild.finish().await.unwrap();
    assert_eq!(found(&reader, "").await, [4]);
    assert_eq!(reader.apply(vec![titled(5, "five")]).await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(reader.commit().await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(reader.begin_rebuild(ARCHIVE).await.unwrap_err().kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn a_reader_may_come_before_there_is_an_index() {
    let folder = TempDir::new().unwrap();
    let reader = TantivyIndex::open_read_only(folder.path()).await.unwrap();
    assert_eq!(reader.ensure(ARCHIVE).await.unwrap_err().kind(), ErrorKind::Refused);
    let _writer = filled(folder.path()).await;
    assert_eq!(found(&reader, "").await, [1, 2]);
}

#[tokio::test]
async fn what_was_not_committed_is_lost_and_can_be_written_again() {
    let folder = TempDir::new().unwrap();
    let index = filled(folder.path()).await;
    index.apply(vec![titled(3, "three")]).await.unwrap();
    drop(index);
    let index = TantivyIndex::open(folder.path()).await.unwrap();
    index.ensure(ARCHIVE).await.unwrap();
    assert_eq!(found(&index, "").await, [1, 2]);
    index.apply(vec![titled(3, "three")]).await.unwrap();
    index.commit().await.unwrap();
    assert_eq!(found(&index, "").await, [1, 2, 3]);
}

#[tokio::test]
async fn a_crash_during_a_rebuild_leaves_the_old_index() {
    let folder = TempDir::new().unwrap();
    let index = filled(folder.path()).await;
    let rebuild = index.begin_rebuild(ARCHIVE).await.unwrap();
    index.apply(vec![titled(3, "three")]).await.unwrap();
    index.commit().await.unwrap();
    assert_eq!(generations(folder.path()).0.len(), 2);
    drop(rebuild);
    drop(index);
    let index = TantivyIndex::open(folder.path()).await.unwrap();
    assert_eq!(generations(folder.path()), (vec!["g1".to_owned()], "g1".to_owned()));
    assert!(!index.status().await.unwrap().rebuilding);
    assert_eq!(found(&index, "").await, [1, 2, 3]);
}

#[tokio::test]
async fn a_crash_after_the_swap_leaves_the_new_index() {
    let folder = TempDir::new().unwrap();
    let index = filled(folder.path()).await;
    let rebuild = index.begin_rebuild(ARCHIVE).await.unwrap();
    rebuild.index().apply(vec![titled(7, "seven")]).await.unwrap();
    rebuild.index().commit().await.unwrap();
    drop((rebuild, index));
    // The pointer was replaced, and the process died before it removed the old folder.
    fs::write(folder.path().join("current"), "g2").unwrap();
    let index = TantivyIndex::open(folder.path()).await.unwrap();
    assert_eq!(generations(folder.path()), (vec!["g2".to_owned()], "g2".to_owned()));
    assert_eq!(found(&index, "").await, [7]);
}

#[tokio::test]
async fn a_finished_rebuild_leaves_one_generation() {
    let folder = TempDir::new().unwrap();
    let index = filled(folder.path()).await;
    for expected in ["g2", "g3"] {
        let rebuild = index.begin_rebuild(ARCHIVE).await.unwrap();
        rebuild.index().apply(vec![titled(1, "one")]).await.unwrap();
        rebuild.finish().await.unwrap();
        assert_eq!(generations(folder.path()), (vec![expected.to_owned()], expected.to_owned()));
    }
}

#[tokio::test]
async fn an_index_of_another_mapping_or_engine_asks_for_a_rebuild_and_gets_it() {
    for (field, value) in [("mapping", "0"), ("engine", "\"tantivy 0.1\"")] {
        let folder = TempDir::new().unwrap();
        drop(filled(folder.path()).await);
        let path = folder.path().join("g1/generation.json");
        let mut description: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        description[field] = serde_json::from_str(value).unwrap();
        fs::write(&path, description.to_string()).unwrap();
        let index = TantivyIndex::open(folder.path()).await.unwrap();
        index.ensure(ARCHIVE).await.unwrap();
        assert_eq!(index.status().await.unwrap().mapping, 0, "{field}");
        let error = index.apply(vec![titled(1, "one")]).await.unwrap_err();
        assert!(error.to_string().contains("gharvest rebuild"), "{error}");
        let rebuild = index.begin_rebuild(ARCHIVE).await.unwrap();
        rebuild.index().apply(vec![titled(1, "one")]).await.unwrap();
        rebuild.finish().await.unwrap();
        assert_eq!(index.status().await.unwrap().mapping, 3);
        assert_eq!(found(&index, "one").await, [1]);
    }
}

#[tokio::test]
async fn a_rebuild_that_another_one_ends_leaves_no_files() {
    let folder = TempDir::new().unwrap();
    let index = filled(folder.path()).await;
    let first = index.begin_rebuild(ARCHIVE).await.unwrap();
    first.index().apply(vec![titled(3, "three")]).await.unwrap();
    let second = index.begin_rebuild(ARCHIVE).await.unwrap();
    assert_eq!(generations(folder.path()).0, ["g1", "g3"]);
    assert_eq!(first.index().commit().await.unwrap_err().kind(), ErrorKind::Refused);
    // Live writes go on: what is given up is none of theirs.
    index.apply(vec![titled(4, "four")]).await.unwrap();
    index.commit().await.unwrap();
    second.finish().await.unwrap();
    assert_eq!(generations(folder.path()), (vec!["g3".to_owned()], "g3".to_owned()));
    assert_eq!(found(&index, "").await, [4]);
}

#[tokio::test]
async fn an_index_of_a_later_build_is_refused() {
    let folder = TempDir::new().unwrap();
    drop(filled(folder.path()).await);
    let path = folder.path().join("g1/generation.json");
    fs::write(&path, r#"{"archive": "archive", "mapping": 99, "engine": "tantivy 0.99"}"#).unwrap();
    let index = TantivyIndex::open(folder.path()).await.unwrap();
    assert_eq!(index.ensure(ARCHIVE).await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(index.begin_rebuild(ARCHIVE).await.unwrap_err().kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn a_damaged_pointer_is_said() {
    let folder = TempDir::new().unwrap();
    drop(filled(folder.path()).await);
    for pointer in ["../elsewhere", "", "g1/../../x"] {
        fs::write(folder.path().join("current"), pointer).unwrap();
        let error = TantivyIndex::open(folder.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{pointer}");
    }
}

/// As after a full disk: a failed commit loses what it was given, says so, and the next one works.
#[tokio::test]
async fn writing_goes_on_after_a_failure() {
    let folder = TempDir::new().unwrap();
    let index = filled(folder.path()).await;
    let (here, away) = (folder.path().join("g1"), folder.path().join("away"));
    fs::rename(&here, &away).unwrap();
    let applied = index.apply(vec![titled(3, "three")]).await;
    assert!(applied.is_err() || index.commit().await.is_err());
    assert!(index.apply(vec![titled(3, "three")]).await.is_err() || index.commit().await.is_err());
    fs::rename(&away, &here).unwrap();
    assert_eq!(found(&index, "").await, [1, 2]);
    let epoch = index.epoch().await.unwrap();
    index.apply(vec![titled(3, "three")]).await.unwrap();
    index.commit_since(epoch).await.unwrap();
    assert_eq!(found(&index, "").await, [1, 2, 3]);
}

/// Makes a commit fail for want of the folder of a generation.
async fn fail_to_commit(index: &TantivyIndex, generation: &Path) {
    let away = generation.with_extension("away");
    fs::rename(generation, &away).unwrap();
    index.commit().await.unwrap_err();
    fs::rename(&away, generation).unwrap();
}

#[tokio::test]
async fn everybody_who_applied_is_told_of_a_commit_that_lost_it() {
    let folder = TempDir::new().unwrap();
    let index = filled(folder.path()).await;
    let epoch = index.epoch().await.unwrap();
    index.apply(vec![titled(3, "three")]).await.unwrap();
    index.apply(vec![titled(4, "four")]).await.unwrap();
    fail_to_commit(&index, &folder.path().join("g1")).await;
    let since = index.epoch().await.unwrap();
    index.apply(vec![titled(5, "five")]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(index.commit_since(epoch).await.unwrap_err().kind(), ErrorKind::Lost);
    }
    index.commit_since(since).await.unwrap();
    assert_eq!(found(&index, "").await, [1, 2, 5]);
}

#[tokio::test]
async fn a_rebuild_is_told_what_live_writes_lost_of_its_own_and_of_nothing_else() {
    let folder = TempDir::new().unwrap();
    let index = filled(folder.path()).await;
    let rebuild = index.begin_rebuild(ARCHIVE).await.unwrap();
    let epoch = rebuild.index().epoch().await.unwrap();
    rebuild.index().apply(vec![titled(1, "one")]).await.unwrap();
    let live = index.epoch().await.unwrap();
    index.apply(vec![titled(2, "two")]).await.unwrap();
    fail_to_commit(&index, &folder.path().join("g1")).await;
    rebuild.index().commit_since(epoch).await.unwrap();
    assert_eq!(index.commit_since(live).await.unwrap_err().kind(), ErrorKind::Lost);

    rebuild.index().apply(vec![titled(3, "three")]).await.unwrap();
    let live = index.epoch().await.unwrap();
    fail_to_commit(&index, &folder.path().join("g2")).await;
    assert_eq!(rebuild.index().commit_since(epoch).await.unwrap_err().kind(), ErrorKind::Lost);
    // Nor does the swap hide it from live writes.
    rebuild.finish().await.unwrap();
    assert_eq!(index.commit_since(live).await.unwrap_err().kind(), ErrorKind::Lost);
}
