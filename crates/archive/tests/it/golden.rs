//! The formats of version 1: what was written then is read, and what is written today is the same.
//!
//! `GHARVEST_UPDATE_GOLDEN=1` writes the files anew, which is right only together with a new format version.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use gharvest_archive::{
    ApiKey, Archive, InboxEntry, Options, Written, attachment_name,
    snapshot::{Manifest, backup, fetch, verify, verify_backup},
    store::folder::FolderStore,
};
use gharvest_model::{
    ItemId, Kind, Record, RepositoryId, Revision,
    drift::Drift,
    ledger::NumberState,
    record::{Origin, Origins, RecordRepository, RecordState, Visibility},
    removal::{DeletionPolicy, Receipt},
    tracking::Tracked,
};
use serde_json::{Value, json};

use crate::place::{at, fact, repository};

const ID: RepositoryId = RepositoryId(7);
const OTHER: RepositoryId = RepositoryId(8);
const SNAPSHOT: &str = "gharvest-20260102T030405Z";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1")
}

fn record(number: u64) -> Record {
    let repository = RecordRepository { id: ID, full_name: "Octo/Things".parse().unwrap() };
    let kind = if number == 1 { Kind::Issue } else { Kind::PullRequest };
    let mut record = Record::new(repository, number, kind, at(1_700_000_000));
    record.issue = Some(json!({"number": number, "title": "Ünïcode \u{1F980}", "a field of tomorrow": [1.5, null]}));
    record.timeline = vec![json!({"event": "commented", "body": "first"})];
    record.origin = Origins { issue: Some(Origin::Rest), timeline: Some(Origin::Graphql), ..Origins::default() };
    record.etags.insert("issue".to_owned(), json!("\"abc\""));
    record.kept = vec![fact("d0", 1_700_000_001)];
    record.unknown.insert("of a newer version".to_owned(), json!(true));
    if number == 2 {
        record.pull = Some(json!({"number": number, "merged": false}));
        record.review_comments = vec![json!({"id": 5, "body": "nit"})];
        record.state = RecordState::Transferred { to: Some("octo/other#3".to_owned()) };
        record.visibility = Visibility::Private;
    }
    record
}

/// Writes one of everything that an archive holds.
async fn write(folder: &Path) {
    let url = format!("file:{}", folder.display());
    let archive = Archive::open(&url, &Options::default()).await.unwrap();
    let compressing = Archive::open(&url, &Options { compress: true, ..Options::default() }).await.unwrap();
    archive.put_repository(&repository(7, "Octo/Before", 1_700_000_000)).await.unwrap();
    archive.put_repository(&repository(7, "Octo/Things", 1_700_000_001)).await.unwrap();
    assert_eq!(archive.put_record(record(1)).await.unwrap(), Written::Stored(Revision(1)));
    assert_eq!(compressing.put_record(record(2)).await.unwrap(), Written::Stored(Revision(1)));
    archive.put_part(ID, "labels", &json!([{"name": "bug"}])).await.unwrap();
    archive.put_daily_line(ID, "stars", "2026-01-01", &json!({"stars": 3})).await.unwrap();
    archive.put_daily_line(ID, "stars", "2026-01-02", &json!({"stars": 4})).await.unwrap();
    let change = |number: u64, state| gharvest_archive::LedgerChange {
        number,
        state,
        verified_at: at(1_700_000_000 + number as i64),
    };
    // More than a journal takes, so that there is a base; then a journal.
    let many: Vec<_> = (0..7300).map(|at| change(at % 9 + 1, NumberState::ALL[at as usize % 7])).collect();
    archive.update_ledger(ID, &many).await.unwrap();
    archive.update_ledger(ID, &[change(1, NumberState::Present), change(2, NumberState::Transferred)]).await.unwrap();
    archive.reach(ID, 12).await.unwrap();
    let tracked = Tracked {
        id: ID,
        name: "Octo/Things".parse().unwrap(),
        private: true,
        since: at(1_700_000_000),
        complete_at: Some(at(1_700_000_100)),
        trouble: Some("issues are disabled".to_owned()),
        trouble_since: Some(at(1_700_000_200)),
        deleted: DeletionPolicy::Keep,
    };
    archive.track(tracked).await.unwrap();
    archive.set_cursor("updates/7", json!({"since": at(1_700_000_000)})).await.unwrap();
    let key = ApiKey {
        name: "reader".to_owned(),
        hash: "ab".repeat(32),
        role: "read".to_owned(),
        private: vec!["octo/things".to_owned()],
        repositories: Vec::new(),
        created_at: at(1_700_000_000),
    };
    archive.update_keys(&|keys| keys.push(key.clone())).await.unwrap();
    let of_item =
        InboxEntry { item: Some(ItemId { repository: ID, number: 1 }), fact: fact("d1", 5), triggers: Value::Null };
    let of_none = InboxEntry { item: None, fact: fact("d2", 6), triggers: json!([{"queue": "download"}]) };
    for entry in [of_item, of_none] {
        archive.put_inbox(&entry).await.unwrap();
    }
    write_more(&archive).await;
}

/// Writes what an archive holds only where something went wrong or away, or where an operator wants it.
async fn write_more(archive: &Archive) {
    archive.put_repository(&repository(8, "Octo/Other", 1_700_000_000)).await.unwrap();
    let labels = |name: &str| json!([{"id": 1, "name": name}]);
    archive.put_part(OTHER, "labels", &labels("bug")).await.unwrap();
    let learnt = archive.learn_label_renames(OTHER, &labels("defect"), at(1_700_000_002)).await.unwrap();
    assert!(learnt.is_some());
    let kinds = [Drift::Title, Drift::CommentAdded];
    archive.add_drift(OTHER, 4, &kinds, at(1_700_000_003)).await.unwrap();
    let tracked = Tracked {
        id: OTHER,
        name: "Octo/Other".parse().unwrap(),
        private: false,
        since: at(1_700_000_000),
        complete_at: None,
        trouble: None,
        trouble_since: None,
        deleted: DeletionPolicy::Redact,
    };
    archive.track(tracked).await.unwrap();
    let mut gone = Record { state: RecordState::Deleted, ..record(1) };
    gone.repository.id = OTHER;
    archive.follow_deletion_policy(&mut gone).await.unwrap();
    archive.put_record(gone).await.unwrap();
    archive.untrack(OTHER).await.unwrap();
    let item = ItemId { repository: OTHER, number: 2 };
    archive.put_attachment(item, &attachment_name("https://img.test/cat.gif"), "GIF89a".into()).await.unwrap();
}

/// Every file and link below a folder but locks and the like; what differs by its nature is taken from `like`.
fn files(folder: &Path, like: Option<&BTreeMap<String, Vec<u8>>>) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if path.is_symlink() {
                found.insert(name, fs::read_link(&path).unwrap().to_str().unwrap().into());
            } else if path.is_dir() {
                if !["staging", "snapshots", "backup"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else {
                let bytes = comparable(&name, fs::read(&path).unwrap());
                let like = like.and_then(|like| like.get(&name));
                found.insert(name.clone(), like.map_or_else(|| bytes.clone(), |like| alike(&name, &bytes, like)));
            }
        }
    }
    found
}

/// Compressors may change their output; what is random in a journal is its name.
fn comparable(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    if name.ends_with(".zst") || name.ends_with("/ledger") {
        zstd::decode_all(&*bytes).unwrap()
    } else if name.ends_with(".journal") {
        [&bytes[..8], &bytes[24..]].concat()
    } else {
        bytes
    }
}

/// The same with the times and the random id of another.
fn alike(name: &str, bytes: &[u8], like: &[u8]) -> Vec<u8> {
    let field = match name {
        "archive.json" => "id",
        _ if name.ends_with("/removals.jsonl") => "removed_at",
        _ if name.contains("/items/") => "changed_at",
        _ => return bytes.to_vec(),
    };
    let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()[field].as_str().unwrap().to_owned();
    String::from_utf8(bytes.to_vec()).unwrap().replace(&value(bytes), &value(like)).into_bytes()
}

#[tokio::test]
async fn what_is_written_today_is_the_format_of_version_1() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path()).await;
    if std::env::var_os("GHARVEST_UPDATE_GOLDEN").is_some() {
        update(folder.path()).await;
    }
    let expected = files(&golden(), None);
    let written = files(folder.path(), Some(&expected));
    assert_eq!(written.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(written[name] == *bytes, "{name}: {} is not {}", text(&written[name]), text(bytes));
    }
    assert_eq!(expected.len(), 22);
}

/// Writes the golden files.
async fn update(folder: &Path) {
    let target = golden();
    drop(fs::remove_dir_all(&target));
    copy(folder, &target);
    let archive = Archive::open(&format!("file:{}", folder.display()), &Options::default()).await.unwrap();
    let (made, _) = archive.snapshot(&folder.join("snapshots")).await.unwrap();
    let named = target.join("snapshots").join(format!("{SNAPSHOT}.tar.zst"));
    fs::create_dir_all(named.parent().unwrap()).unwrap();
    fs::copy(&made.path, &named).unwrap();
    let copies = FolderStore::open(&folder.join("backup"), Duration::from_secs(60)).await.unwrap();
    backup(&named, &[], &copies).await.unwrap();
    copy(&folder.join("backup"), &target.join("backup"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path).unwrap(), to.join(name)).unwrap();
        } else if path.is_dir() {
            if name != "staging" {
                copy(&path, &to.join(name));
            }
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// A copy of the golden files that may be opened, which writes locks.
fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&golden(), folder.path());
    folder
}

#[tokio::test]
async fn what_version_1_wrote_is_read() {
    let folder = copied();
    let archive = Archive::open(&format!("file:{}", folder.path().display()), &Options::default()).await.unwrap();
    for number in [1, 2] {
        let stored = archive.record(ItemId { repository: ID, number }).await.unwrap().unwrap();
        let expected = Record { revision: Revision(1), changed_at: stored.changed_at, ..record(number) };
        assert_eq!(stored, expected);
    }
    let stored = archive.repository(ID).await.unwrap().unwrap();
    assert_eq!((stored.full_name.to_string().as_str(), stored.former_names.len()), ("Octo/Things", 1));
    for name in ["octo/things", "octo/before"] {
        assert_eq!(archive.resolve(&name.parse().unwrap()).await.unwrap(), Some(ID));
    }
    assert_eq!(archive.part(ID, "labels").await.unwrap().unwrap()[0]["name"], "bug");
    let ledger = archive.ledger(ID).await.unwrap();
    assert_eq!((ledger.highest(), ledger.counts().iter().sum::<u64>()), (12, 12));
    assert_eq!((ledger.get(1).state, ledger.get(1).verified_at), (NumberState::Present, Some(at(1_700_000_001))));
    assert_eq!((ledger.get(2).state, ledger.get(12).state), (NumberState::Transferred, NumberState::Unknown));
    let tracked = &archive.tracking().await.unwrap()[0];
    assert_eq!((tracked.private, tracked.complete_at), (true, Some(at(1_700_000_100))));
    assert_eq!(archive.cursor("updates/7").await.unwrap().unwrap()["since"], json!(at(1_700_000_000)));
    assert_eq!(archive.keys().await.unwrap()[0].hash, "ab".repeat(32));
    let waiting = archive.inbox(ItemId { repository: ID, number: 1 }).await.unwrap();
    assert_eq!((waiting.len(), waiting[0].fact.delivery.as_str()), (1, "d1"));
    let other = archive.repository(OTHER).await.unwrap().unwrap();
    assert_eq!(other.label_renames.name_now("bug", at(1_700_000_001)), "defect");
    let drift = archive.audit(OTHER, at(1_700_000_000)).await.unwrap().unwrap().drift;
    assert_eq!((drift[&Drift::Title].number, drift.len()), (4, 2));
    let receipts: Vec<Receipt> = archive.receipts(OTHER).await.unwrap();
    assert_eq!((receipts.len(), receipts[0].number, receipts[0].policy), (1, 1, DeletionPolicy::Redact));
    let item = ItemId { repository: OTHER, number: 2 };
    let image = archive.attachment(item, &attachment_name("https://img.test/cat.gif")).await.unwrap();
    assert_eq!(image.unwrap(), "GIF89a");
}

#[tokio::test]
async fn a_snapshot_and_a_backup_of_version_1_are_read() {
    let folder = copied();
    let snapshot = folder.path().join("snapshots").join(format!("{SNAPSHOT}.tar.zst"));
    let manifest: Manifest = verify(&snapshot).await.unwrap();
    assert_eq!((manifest.format, manifest.records, manifest.objects.len()), (1, 2, 14));
    let store = FolderStore::open(&folder.path().join("backup"), Duration::from_secs(60)).await.unwrap();
    assert_eq!(verify_backup(&store, SNAPSHOT).await.unwrap().snapshot, manifest);
    let (_, fetched) = fetch(&store, SNAPSHOT, &folder.path().join("fetched")).await.unwrap();
    assert_eq!(fetched.objects, manifest.objects);
}
