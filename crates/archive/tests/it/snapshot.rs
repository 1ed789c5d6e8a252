//! Snapshots: what goes in comes out, damage is named, and the last good one is never removed.

use std::{fs, path::Path, sync::Arc, time::Duration};

use gharvest_archive::{
    Archive, ErrorKind, LedgerChange, Options, Repository,
    snapshot::{list, prune, restore, verify},
    store::{Store, folder::FolderStore},
};
use gharvest_model::{Kind, Record, RepositoryId, ledger::NumberState, record::RecordRepository, tracking::Tracked};
use jiff::Timestamp;
use serde_json::json;

const ID: RepositoryId = RepositoryId(7);

async fn filled(folder: &Path) -> Archive {
    let archive = Archive::open(&format!("file:{}", folder.display()), &Options::default()).await.unwrap();
    let name: gharvest_model::RepositoryName = "Octo/Things".parse().unwrap();
    let now = Timestamp::now();
    let repository = Repository {
        id: ID,
        full_name: name.clone(),
        former_names: Vec::new(),
        repository: json!({ "id": 7 }),
        etag: None,
        fetched_at: now,
        daily_version: 0,
        unknown: serde_json::Map::new(),
    };
    archive.put_repository(&repository).await.unwrap();
    let tracked = Tracked {
        id: ID,
        name: name.clone(),
        private: false,
        since: now,
        complete_at: None,
        trouble: None,
        trouble_since: None,
    };
    archive.track(tracked).await.unwrap();
    archive.set_cursor("updates/7", json!({ "since": now })).await.unwrap();
    for number in 1..=5 {
        let repository = RecordRepository { id: ID, full_name: name.clone() };
        let mut record = Record::new(repository, number, Kind::Issue, now);
        record.issue = Some(json!({ "number": number, "title": format!("title {number}") }));
        archive.put_record(record).await.unwrap();
        let change = LedgerChange { number, state: NumberState::Present, verified_at: now };
        archive.update_ledger(ID, &[change]).await.unwrap();
    }
    archive
}

async fn store(folder: &Path) -> Arc<dyn Store> {
    Arc::new(FolderStore::open(folder, Duration::from_secs(60)).await.unwrap())
}

#[tokio::test]
async fn a_snapshot_restores_everything() {
    let folder = tempfile::tempdir().unwrap();
    let archive = filled(&folder.path().join("archive")).await;
    let (snapshot, manifest) = archive.snapshot(&folder.path().join("snapshots")).await.unwrap();
    assert_eq!(manifest.records, 5);
    assert_eq!(fs::read_link(folder.path().join("snapshots/latest")).unwrap(), snapshot.path.file_name().unwrap());

    let place = folder.path().join("restored");
    restore(&snapshot.path, store(&place).await.as_ref()).await.unwrap();
    let restored = Archive::open(&format!("file:{}", place.display()), &Options::default()).await.unwrap();
    assert_eq!(restored.id(), archive.id());
    assert_eq!(restored.ledger(ID).await.unwrap(), archive.ledger(ID).await.unwrap());
    assert_eq!(restored.tracking().await.unwrap(), archive.tracking().await.unwrap());
    assert_eq!(restored.cursor("updates/7").await.unwrap(), archive.cursor("updates/7").await.unwrap());
    assert_eq!(restored.resolve(&"octo/things".parse().unwrap()).await.unwrap(), Some(ID));
    for number in 1..=5 {
        let item = gharvest_model::ItemId { repository: ID, number };
        assert_eq!(restored.record_bytes(item).await.unwrap(), archive.record_bytes(item).await.unwrap());
    }
    let again = restore(&snapshot.path, store(&place).await.as_ref()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Refused, "an archive is never overwritten");
}

#[tokio::test]
async fn damage_is_refused_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let archive = filled(&folder.path().join("archive")).await;
    let (snapshot, _) = archive.snapshot(&folder.path().join("snapshots")).await.unwrap();
    let bytes = fs::read(&snapshot.path).unwrap();
    for position in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x55;
        fs::write(&snapshot.path, &damaged).unwrap();
        let refused = verify(&snapshot.path).await;
        assert!(refused.is_err(), "byte {position} of {}", bytes.len());
        let place = folder.path().join(format!("restored-{position}"));
        assert!(restore(&snapshot.path, store(&place).await.as_ref()).await.is_err());
        assert!(!place.join("archive.json").try_exists().unwrap(), "nothing is restored from a damaged snapshot");
    }
    fs::write(&snapshot.path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(verify(&snapshot.path).await.is_err());
}

#[tokio::test]
async fn the_last_good_snapshot_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let archive = filled(&folder.path().join("archive")).await;
    let snapshots = folder.path().join("snapshots");
    let (made, _) = archive.snapshot(&snapshots).await.unwrap();
    let old = |day: u32| snapshots.join(format!("gharvest-202601{day:02}T000000Z.tar.zst"));
    for day in [1, 2, 3] {
        fs::copy(&made.path, old(day)).unwrap();
    }
    fs::remove_file(&made.path).unwrap();
    fs::write(old(3), "damaged").unwrap();
    let removed = prune(&snapshots, Timestamp::now() - Duration::from_secs(7 * 86_400)).await.unwrap();
    assert_eq!(removed.len(), 2);
    let left = list(&snapshots).await.unwrap();
    assert_eq!(left.iter().map(|snapshot| snapshot.path.clone()).collect::<Vec<_>>(), [old(2)]);
    assert!(
        matches!(verify(&left[0].path).await, Ok(manifest) if manifest.objects.values().all(|hash| hash.len() == 64))
    );
}
