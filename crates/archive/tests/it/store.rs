//! The contract of stores, on each of them.

use std::{sync::Arc, time::Duration};

use gharvest_archive::{
    ErrorKind,
    store::{Condition, Durability, Store, contract::Fixture, folder::FolderStore, object::BucketStore},
};
use gharvest_testkit::s3_server;

use crate::place;

async fn in_folder(test: &str) -> Option<Fixture> {
    let place = place::folder(test).await?;
    Some(Fixture::new(place.store(), other_folder(&place).await, place))
}

/// Opened anew, as another process opens it.
async fn other_folder(place: &place::Place) -> Arc<dyn Store> {
    let folder = place.folder.as_ref().unwrap();
    Arc::new(FolderStore::open(folder, Duration::from_secs(60)).await.unwrap())
}

async fn in_memory(test: &str) -> Option<Fixture> {
    let place = place::memory(test).await?;
    Some(Fixture::new(place.store(), place.store(), place))
}

async fn in_s3(test: &str) -> Option<Fixture> {
    let place = place::s3(test).await?;
    Some(Fixture::new(place.store(), place.store(), place))
}

mod folder {
    gharvest_archive::store_contract!(super::in_folder);
}

mod memory {
    gharvest_archive::store_contract!(super::in_memory);
}

mod s3 {
    gharvest_archive::store_contract!(super::in_s3);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_not_tried_again() {
    let Some(server) = s3_server("a_wrong_secret_is_refused_and_not_tried_again") else { return };
    let store = BucketStore::new(place::bucket(server, "another"), "refused");
    let error = store.put("a", "b".into(), Condition::Any, Durability::Durable).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert_eq!(store.get("a").await.unwrap_err().kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn nothing_is_written_or_read_through_a_link_that_leads_out() {
    let place = place::folder("").await.unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let root = place.folder.as_ref().unwrap();
    std::os::unix::fs::symlink(outside.path(), root.join("repositories")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), root.join("tracking.json")).unwrap();
    let store = place.store();
    for key in ["repositories/secret", "repositories/7/x"] {
        let put = store.put(key, "x".into(), Condition::Any, Durability::Durable).await;
        assert_eq!(put.unwrap_err().kind(), ErrorKind::Refused, "{key}");
        assert_eq!(store.get(key).await.unwrap_err().kind(), ErrorKind::Refused, "{key}");
        assert_eq!(store.delete(key).await.unwrap_err().kind(), ErrorKind::Refused, "{key}");
    }
    assert_eq!(store.get("tracking.json").await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

/// Whoever removes the last file removes the folder, perhaps under the hands of who removed another just before.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_files_of_a_folder_are_removed_and_written_by_many_at_once() {
    let place = place::folder("").await.unwrap();
    let store = place.store();
    for round in 0..100 {
        let changes = (0..8).map(|file| {
            let (store, key) = (Arc::clone(&store), format!("staging/crowd/{round}/{file}"));
            tokio::spawn(async move {
                store.put(&key, "text".into(), Condition::Any, Durability::Durable).await.unwrap();
                store.delete(&key).await.unwrap();
            })
        });
        for change in changes.collect::<Vec<_>>() {
            change.await.unwrap();
        }
    }
}

#[tokio::test]
async fn staged_files_are_swept_when_they_are_old() {
    let place = place::folder("").await.unwrap();
    let root = place.folder.as_ref().unwrap();
    let staged = |name: &str, age: u64| {
        let file = std::fs::File::create(root.join("staging").join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
    };
    staged("young", 10);
    staged("old", 100);
    drop(FolderStore::open(root, Duration::from_secs(60)).await.unwrap());
    assert!(root.join("staging/young").try_exists().unwrap());
    assert!(!root.join("staging/old").try_exists().unwrap());
}
