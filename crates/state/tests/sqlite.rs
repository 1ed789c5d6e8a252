//! The contract on SQLite, and what is particular to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use gharvest_model::{ItemId, Kind, RepositoryId, Revision, live::LiveEvent, record::Visibility};
use gharvest_state::{SqliteState, State, contract::Fixture};

async fn make() -> Option<Fixture> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let now = Arc::new(AtomicI64::new(1_700_000_000_000));
    let time = Arc::clone(&now);
    let state = SqliteState::open_with_time(&folder.path().join("state.sqlite"), move || time.load(Ordering::SeqCst))
        .await
        .expect("opening");
    let advance = move |by: Duration| {
        now.fetch_add(i64::try_from(by.as_millis()).expect("short"), Ordering::SeqCst);
    };
    let path = folder.path().join("state.sqlite");
    let stored = move || {
        let connection = rusqlite::Connection::open(&path).expect("opening again");
        let count = connection.query_row("SELECT count(*) FROM state_value", [], |row| row.get(0));
        count.expect("a number")
    };
    Some(Fixture::new(state, advance, stored, folder))
}

gharvest_state::state_contract!(make);

fn event() -> LiveEvent {
    LiveEvent {
        item: ItemId { repository: RepositoryId(1), number: 7 },
        repository: "octo/things".parse().expect("a valid name"),
        kind: Kind::Issue,
        title: "title".to_owned(),
        state: "open".to_owned(),
        revision: Revision(1),
        visibility: Visibility::Public,
        at: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// A second opening has its own connections, as another process would.
#[tokio::test]
async fn an_event_published_by_another_process_reaches_a_subscriber() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("state.sqlite");
    let here = SqliteState::open(&path).await.expect("opening");
    let there = SqliteState::open(&path).await.expect("opening again");
    let mut events = here.subscribe(None).await.expect("subscribing");
    there.publish(&[event()]).await.expect("publishing");
    let next = tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("in time");
    assert_eq!(next.expect("no end").expect("an event").event, event());
}

#[tokio::test]
async fn values_outlive_a_reopening() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("state.sqlite");
    SqliteState::open(&path).await.expect("opening").put("key", b"value", None, None).await.expect("put");
    let state = SqliteState::open(&path).await.expect("reopening");
    assert_eq!(state.get("key").await.expect("get").expect("stored").value, b"value");
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("state.sqlite");
    drop(SqliteState::open(&path).await.expect("opening"));
    let connection = rusqlite::Connection::open(&path).expect("opening the file");
    connection.execute("UPDATE state_format SET version = 99", []).expect("updating");
    let error = SqliteState::open(&path).await.expect_err("refused").to_string();
    assert!(error.contains("newer version"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("state.sqlite");
    std::fs::write(&path, "no database, but text that is long enough to be taken for one ".repeat(100))
        .expect("writing");
    let error = SqliteState::open(&path).await.expect_err("refused").to_string();
    assert!(error.contains("state.sqlite"), "{error}");
}
