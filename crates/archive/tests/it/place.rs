//! Where an archive can be, and what is put into it.

use std::{any::Any, path::PathBuf, sync::Arc, time::Duration};

use gharvest_archive::{
    Archive, LedgerChange, Options, Repository,
    store::{Store, folder::FolderStore, object::BucketStore},
};
use gharvest_model::{
    ItemId, Kind, Record, RepositoryId,
    ledger::NumberState,
    record::{Fact, RecordRepository},
};
use gharvest_testkit::{S3Server, s3_server};
use jiff::Timestamp;
use object_store::{
    ObjectStore,
    aws::{AmazonS3Builder, S3ConditionalPut},
    memory::InMemory,
};
use serde_json::json;

/// The repository of most tests.
pub(crate) const ID: RepositoryId = RepositoryId(7);

/// Where one archive lies. Each [`Place::store`] is a handle of its own, as another process has one.
pub(crate) struct Place {
    make: Box<dyn Fn() -> Arc<dyn Store> + Send + Sync>,
    /// The folder, if it is one.
    pub(crate) folder: Option<PathBuf>,
    _kept: Box<dyn Any + Send + Sync>,
}

impl Place {
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        (self.make)()
    }

    pub(crate) async fn open(&self) -> Archive {
        self.open_with(&Options::default()).await
    }

    pub(crate) async fn open_with(&self, options: &Options) -> Archive {
        Archive::with_store(self.store(), options).await.unwrap()
    }
}

pub(crate) async fn folder(_: &str) -> Option<Place> {
    let kept = tempfile::tempdir().unwrap();
    let store = FolderStore::open(kept.path(), Duration::from_secs(60)).await.unwrap();
    let folder = Some(kept.path().to_owned());
    Some(Place { make: Box::new(move || Arc::new(store.clone())), folder, _kept: Box::new(kept) })
}

pub(crate) async fn memory(_: &str) -> Option<Place> {
    let objects = Arc::new(InMemory::new());
    let make = move || Arc::new(BucketStore::new(objects.clone(), "some/prefix")) as Arc<dyn Store>;
    Some(Place { make: Box::new(make), folder: None, _kept: Box::new(()) })
}

pub(crate) async fn s3(test: &str) -> Option<Place> {
    let server = s3_server(test)?;
    let prefix = format!("{test}-{:016x}", fastrand::u64(..));
    let make = move || Arc::new(BucketStore::new(bucket(server, S3Server::SECRET_KEY), &prefix)) as Arc<dyn Store>;
    Some(Place { make: Box::new(make), folder: None, _kept: Box::new(()) })
}

pub(crate) fn bucket(server: &S3Server, secret: &str) -> Arc<dyn ObjectStore> {
    let builder = AmazonS3Builder::new()
        .with_endpoint(server.endpoint())
        .with_bucket_name(S3Server::BUCKET)
        .with_region(S3Server::REGION)
        .with_access_key_id(S3Server::ACCESS_KEY)
        .with_secret_access_key(secret)
        .with_allow_http(true)
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    Arc::new(builder.build().unwrap())
}

/// Declares behaviours of an archive, and makes a test of each for every place an archive can be.
macro_rules! everywhere {
    ($(async fn $name:ident($place:ident) $body:block)*) => {
        $(async fn $name($place: &$crate::place::Place) $body)*

        everywhere!(@tests folder $($name)*);
        everywhere!(@tests memory $($name)*);
        everywhere!(@tests s3 $($name)*);
    };
    (@tests $at:ident $($name:ident)*) => {
        mod $at {
            $(
                #[tokio::test]
                async fn $name() {
                    if let Some(place) = $crate::place::$at(stringify!($name)).await {
                        super::$name(&place).await;
                    }
                }
            )*
        }
    };
}
pub(crate) use everywhere;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn item(number: u64) -> ItemId {
    ItemId { repository: ID, number }
}

pub(crate) fn record(number: u64, title: &str) -> Record {
    let repository = RecordRepository { id: ID, full_name: "a/b".parse().unwrap() };
    let mut record = Record::new(repository, number, Kind::Issue, Timestamp::UNIX_EPOCH);
    record.issue = Some(json!({"number": number, "title": title}));
    record
}

pub(crate) fn repository(id: u64, name: &str, fetched_at: i64) -> Repository {
    Repository {
        id: RepositoryId(id),
        full_name: name.parse().unwrap(),
        former_names: Vec::new(),
        repository: json!({ "id": id, "seen": fetched_at }),
        etag: None,
        fetched_at: at(fetched_at),
        gone_at: None,
        daily_version: 0,
        label_renames: Default::default(),
        heard_private: None,
        unknown: serde_json::Map::new(),
    }
}

pub(crate) fn present(number: u64) -> LedgerChange {
    LedgerChange { number, state: NumberState::Present, verified_at: at(1_700_000_000) }
}

pub(crate) fn fact(delivery: &str, second: i64) -> Fact {
    serde_json::from_value(json!({
        "delivery": delivery, "event": "issues", "action": "deleted", "received_at": at(second), "facts": {},
    }))
    .unwrap()
}
