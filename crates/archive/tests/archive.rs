//! The archive in a folder.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures::TryStreamExt as _;
use gharvest_archive::{Archive, LedgerChange, Options, Repository, Written};
use gharvest_model::{Kind, Record, RepositoryId, Revision, ledger::NumberState, record::RecordRepository};
use jiff::Timestamp;
use serde_json::json;

async fn open(folder: &std::path::Path) -> Archive {
    Archive::open(&format!("file:{}", folder.display()), &Options::default()).await.unwrap()
}

fn record(number: u64, title: &str) -> Record {
    let repository = RecordRepository { id: RepositoryId(7), full_name: "a/b".parse().unwrap() };
    let mut record = Record::new(repository, number, Kind::Issue, Timestamp::UNIX_EPOCH);
    record.issue = Some(json!({"number": number, "title": title}));
    record
}

#[tokio::test]
async fn of_sixteen_racing_writers_one_wins_and_the_order_is_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let archives = [open(folder.path()).await, open(folder.path()).await];
    assert_eq!(archives[0].id(), archives[1].id());
    let writes = (0..16).map(|at| archives[at % 2].put_record(record(10, &format!("title {at}"))));
    let written = futures::future::try_join_all(writes).await.unwrap();
    assert_eq!(written.iter().filter(|written| matches!(written, Written::Stored(Revision(1)))).count(), 1);
    archives[0].put_record(record(9, "nine")).await.unwrap();
    let numbers: Vec<u64> = archives[1].numbers(RepositoryId(7), 0).try_collect().await.unwrap();
    assert_eq!(numbers, [9, 10]);
    let same = Record { revision: Revision(1), ..record(9, "nine") };
    assert_eq!(archives[0].put_record(same).await.unwrap(), Written::Unchanged(Revision(1)));
}

#[tokio::test]
async fn the_ledger_keeps_every_change_across_folds_and_a_torn_tail() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open(folder.path()).await;
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    let change = |number| LedgerChange { number, state: NumberState::Present, verified_at: at };
    let many: Vec<_> = (1..=9000).map(change).collect();
    archive.update_ledger(RepositoryId(7), &many).await.unwrap();
    let few: Vec<_> = (9001..=9032).map(|number| [change(number)]).collect();
    futures::future::try_join_all(few.iter().map(|few| archive.update_ledger(RepositoryId(7), few))).await.unwrap();
    let journal = folder.path().join("repositories/7/ledger.journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes.extend_from_slice(&[9, 0, 0, 0, 1, 2]);
    std::fs::write(&journal, bytes).unwrap();
    archive.update_ledger(RepositoryId(7), &[change(9033)]).await.unwrap();
    archive.reach(RepositoryId(7), 9034).await.unwrap();
    let ledger = open(folder.path()).await.ledger(RepositoryId(7)).await.unwrap();
    assert_eq!((ledger.highest(), ledger.counts()[NumberState::Present as usize]), (9034, 9033));
}

fn repository(id: u64, name: &str, fetched_at: i64) -> Repository {
    Repository {
        id: RepositoryId(id),
        full_name: name.parse().unwrap(),
        former_names: Vec::new(),
        repository: json!({ "id": id, "seen": fetched_at }),
        etag: None,
        fetched_at: Timestamp::from_second(fetched_at).unwrap(),
        daily_version: 0,
        unknown: serde_json::Map::new(),
    }
}

#[tokio::test]
async fn a_repository_fetched_earlier_never_replaces_one_fetched_later() {
    let folder = tempfile::tempdir().unwrap();
    let archives = [open(folder.path()).await, open(folder.path()).await];
    archives[0].put_repository(&repository(7, "a/old", 10)).await.unwrap();
    archives[1].put_repository(&repository(7, "a/new", 30)).await.unwrap();
    archives[0].put_repository(&repository(7, "a/old", 20)).await.unwrap();
    let stored = archives[0].repository(RepositoryId(7)).await.unwrap().unwrap();
    assert_eq!((stored.full_name.to_string().as_str(), stored.fetched_at.as_second()), ("a/new", 30));
    assert_eq!(stored.former_names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a/old"]);
    for name in ["a/old", "A/New"] {
        assert_eq!(archives[1].resolve(&name.parse().unwrap()).await.unwrap(), Some(RepositoryId(7)), "{name}");
    }
    let puts = (31..60).map(|second| {
        let (archive, repository) =
            (archives[second as usize % 2].clone(), repository(7, &format!("a/n{second}"), second));
        async move { archive.put_repository(&repository).await }
    });
    futures::future::try_join_all(puts.rev()).await.unwrap();
    assert_eq!(archives[0].repository(RepositoryId(7)).await.unwrap().unwrap().full_name.to_string(), "a/n59");
    assert_eq!(archives[0].resolve(&"a/n59".parse().unwrap()).await.unwrap(), Some(RepositoryId(7)));
}

#[tokio::test]
async fn a_name_belongs_to_the_repository_it_was_seen_at_last() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open(folder.path()).await;
    let name = "a/b".parse().unwrap();
    archive.put_repository(&repository(1, "a/b", 10)).await.unwrap();
    archive.put_repository(&repository(2, "a/b", 30)).await.unwrap();
    assert_eq!(archive.resolve(&name).await.unwrap(), Some(RepositoryId(2)));
    archive.put_repository(&repository(1, "a/b", 20)).await.unwrap();
    assert_eq!(archive.resolve(&name).await.unwrap(), Some(RepositoryId(2)));
    archive.put_repository(&repository(1, "a/b", 40)).await.unwrap();
    assert_eq!(archive.resolve(&name).await.unwrap(), Some(RepositoryId(1)));
}
