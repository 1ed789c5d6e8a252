//! Snapshots: what goes in comes out, damage is named, and the last good one is never removed.

use std::{fs, path::Path, sync::Arc, time::Duration};

use gharvest_archive::{
    ApiKey, Archive, ErrorKind, InboxEntry, LedgerChange, Options, Repository,
    snapshot::{backup, backups, fetch, list, prune, prune_backups, redact, restore, verify, verify_backup},
    store::{Store, folder::FolderStore},
};
use gharvest_model::{
    ItemId, Kind, Record, RepositoryId,
    ledger::NumberState,
    record::{RecordRepository, Visibility},
    tracking::Tracked,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::place::{self, everywhere, fact, item, present, record, repository};

const ID: RepositoryId = RepositoryId(7);

async fn filled(folder: &Path) -> Archive {
    let archive = Archive::open(&format!("file:{}", folder.display()), &Options::default()).await.unwrap();
    fill(&archive).await;
    archive
}

async fn fill(archive: &Archive) {
    let name: gharvest_model::RepositoryName = "Octo/Things".parse().unwrap();
    let now = Timestamp::now();
    let repository = Repository {
        id: ID,
        full_name: name.clone(),
        former_names: Vec::new(),
        repository: json!({ "id": 7 }),
        etag: None,
        fetched_at: now,
        gone_at: None,
        daily_version: 0,
        label_renames: Default::default(),
        heard_private: None,
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
        deleted: gharvest_model::removal::DeletionPolicy::Keep,
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
}

async fn store(folder: &Path) -> Arc<dyn Store> {
    Arc::new(FolderStore::open(folder, Duration::from_secs(60)).await.unwrap())
}

#[tokio::test]
async fn a_snapshot_restores_everything() {
    let folder = tempfile::tempdir().unwrap();
    let archive = filled(&folder.path().join("archive")).await;
    let image = gharvest_archive::attachment_name("https://img.test/cat.gif");
    archive.put_attachment(item(3), &image, "GIF89a".into()).await.unwrap();
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
    assert_eq!(restored.attachment(item(3), &image).await.unwrap().unwrap(), "GIF89a");
    let again = restore(&snapshot.path, store(&place).await.as_ref()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Refused, "an archive is never overwritten");
}

#[tokio::test]
async fn damage_is_refused_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let archive = filled(&folder.path().join("archive")).await;
    let (snapshot, _) = archive.snapshot(&folder.path().join("snapshots")).await.unwrap();
    let bytes = fs::read(&snapshot.path).unwrap();
    for position in 0..bytes.len() {
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
    assert_eq!(fs::read_link(snapshots.join("latest")).unwrap(), old(2).file_name().unwrap(), "it leads somewhere");
    assert!(
        matches!(verify(&left[0].path).await, Ok(manifest) if manifest.objects.values().all(|hash| hash.len() == 64))
    );
}

everywhere! {
    async fn an_archive_is_restored_from_a_snapshot_and_from_a_backup_of_it(place) {
        let archive = place.open().await;
        fill(&archive).await;
        let waiting = InboxEntry { item: Some(item(3)), fact: fact("d1", 1), triggers: Value::Null };
        archive.put_inbox(&waiting).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (snapshot, manifest) = archive.snapshot(folder.path()).await.unwrap();
        let dashboards = folder.path().join("dashboards.ndjson");
        fs::write(&dashboards, "people's").unwrap();
        // The copies lie beside the archive: their folders are none of its own.
        let copies = place.store();
        let (name, written) = backup(&snapshot.path, std::slice::from_ref(&dashboards), &*copies).await.unwrap();
        assert_eq!(written as usize, manifest.objects.len());
        assert_eq!(backups(&*copies).await.unwrap(), std::slice::from_ref(&name));

        let elsewhere = folder.path().join("fetched");
        let (fetched, same) = fetch(&*copies, &name, &elsewhere).await.unwrap();
        assert_eq!(same, manifest);
        assert_eq!(fs::read_to_string(elsewhere.join(format!("{name}.dashboards.ndjson"))).unwrap(), "people's");
        let target = place::memory("").await.unwrap();
        restore(&fetched.path, &*target.store()).await.unwrap();
        let restored = target.open().await;
        assert_eq!(restored.id(), archive.id());
        assert_eq!(restored.ledger(ID).await.unwrap(), archive.ledger(ID).await.unwrap());
        assert_eq!(restored.record(item(3)).await.unwrap(), archive.record(item(3)).await.unwrap());
        assert_eq!(restored.inbox(item(3)).await.unwrap(), [waiting], "what GitHub will never say again is kept");
        assert_eq!(restored.resolve(&"octo/things".parse().unwrap()).await.unwrap(), Some(ID));
    }
}

#[tokio::test]
async fn a_snapshot_made_while_writers_go_on_is_whole() {
    let place = place::folder("").await.unwrap();
    let archive = place.open().await;
    let all: Vec<_> = (1..=200).map(present).collect();
    for number in 1..=200 {
        archive.put_record(record(number, "first")).await.unwrap();
    }
    archive.update_ledger(ID, &all).await.unwrap();
    let writer = place.open().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writing = tokio::spawn(async move {
        let mut written = 0;
        for number in (1..=200).cycle() {
            if *stopped.borrow() {
                break;
            }
            let mut changed = writer.record(item(number)).await.unwrap().unwrap();
            changed.issue = Some(json!({"number": number, "revision": changed.revision.next()}));
            writer.put_record(changed).await.unwrap();
            written += 1;
            writer.put_record(record(200 + written, "new")).await.unwrap();
            writer.update_ledger(ID, &[present(number), present(200 + written)]).await.unwrap();
        }
        written
    });
    let folder = tempfile::tempdir().unwrap();
    let (snapshot, manifest) = archive.snapshot(folder.path()).await.unwrap();
    stop.send(true).unwrap();
    let written = writing.await.unwrap();
    assert!(written > 0, "something was written meanwhile");
    assert_eq!(verify(&snapshot.path).await.unwrap(), manifest);
    let target = place::memory("").await.unwrap();
    restore(&snapshot.path, &*target.store()).await.unwrap();
    let restored = target.open().await;
    for number in 1..=200 {
        let record = restored.record(item(number)).await.unwrap().unwrap();
        let issue = record.issue.unwrap();
        assert!(record.revision.0 == 1 || issue["revision"] == record.revision.0, "no record is a mixture");
    }
    let ledger = restored.ledger(ID).await.unwrap();
    let claimed: Vec<u64> = ledger.numbers(NumberState::Present).collect();
    assert!(claimed.len() >= 200 && claimed.len() as u64 <= manifest.records);
    for number in claimed {
        assert!(restored.record(item(number)).await.unwrap().is_some(), "{number} is called present");
    }
}

#[tokio::test]
async fn two_makers_do_not_run_in_one_folder() {
    let place = place::folder("").await.unwrap();
    let archive = place.open().await;
    fill(&archive).await;
    let folder = tempfile::tempdir().unwrap();
    let lock = fs::File::create(folder.path().join(".lock")).unwrap();
    lock.lock().unwrap();
    for refused in [
        archive.snapshot(folder.path()).await.map(drop).unwrap_err(),
        prune(folder.path(), Timestamp::now()).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(refused.to_string().contains("another process"), "{refused}");
    }
    lock.unlock().unwrap();
    archive.snapshot(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_redacted_snapshot_holds_nothing_private() {
    let secret = "the canary sings in private";
    let place = place::folder("").await.unwrap();
    let archive = place.open_with(&Options { compress: true, ..Options::default() }).await;
    let private = |id: u64, name: &str, private: Option<bool>| Repository {
        repository: json!({"id": id, "private": private, "description": (private != Some(false)).then_some(secret)}),
        ..repository(id, name, 5)
    };
    let tracked = |id: u64, name: &str, private: bool| Tracked {
        id: RepositoryId(id),
        name: name.parse().unwrap(),
        private,
        since: Timestamp::UNIX_EPOCH,
        complete_at: None,
        trouble: private.then(|| secret.to_owned()),
        trouble_since: None,
        deleted: gharvest_model::removal::DeletionPolicy::Keep,
    };
    // Public, private by GitHub, private by tracking alone, and one of which nothing is known.
    for (id, name, fetched) in
        [(7, "a/open", Some(false)), (8, "a/secret", Some(true)), (9, "a/late", Some(false)), (10, "a/x", None)]
    {
        archive.put_repository(&private(id, name, fetched)).await.unwrap();
        if id != 10 {
            archive.track(tracked(id, name, id == 9)).await.unwrap();
        }
        for number in 1..=4 {
            let mut record = record(number, if id == 7 { "fine" } else { secret });
            record.repository.id = RepositoryId(id);
            if id == 7 && number == 2 {
                record.visibility = Visibility::Private;
                record.timeline = vec![json!(secret)];
            }
            if id == 7 && number == 3 {
                record.twin = Some(json!({ "body": secret }));
            }
            archive.put_record(record).await.unwrap();
            archive.update_ledger(RepositoryId(id), &[present(number)]).await.unwrap();
        }
    }
    archive.put_part(RepositoryId(8), "labels", &json!(secret)).await.unwrap();
    archive.put_part(RepositoryId(7), "labels", &json!(["bug"])).await.unwrap();
    archive.put_part(RepositoryId(7), "tomorrow", &json!(secret)).await.unwrap();
    archive.set_cursor("updates/8", json!(secret)).await.unwrap();
    let waiting = InboxEntry { item: Some(item(1)), fact: fact("d1", 1), triggers: json!(secret) };
    archive.put_inbox(&waiting).await.unwrap();
    let key = ApiKey {
        name: secret.to_owned(),
        hash: String::new(),
        role: "admin".to_owned(),
        private: Vec::new(),
        repositories: Vec::new(),
        created_at: Timestamp::UNIX_EPOCH,
    };
    archive.update_keys(&|keys| keys.push(key.clone())).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let (snapshot, _) = archive.snapshot(folder.path()).await.unwrap();
    let refused = redact(&snapshot.path, folder.path()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused, "never over the original");
    let open = folder.path().join("open");
    let (redacted, manifest) = redact(&snapshot.path, &open).await.unwrap();
    assert_eq!((manifest.records, redacted.path.file_name()), (2, snapshot.path.file_name()));
    let target = place::folder("").await.unwrap();
    restore(&redacted.path, &*target.store()).await.unwrap();
    let restored = target.open().await;
    assert!(restored.id() != archive.id() && restored.id() == manifest.archive, "an index of one is none of the other");
    assert_eq!(restored.repositories().await.unwrap(), [ID]);
    assert_eq!(restored.tracking().await.unwrap().iter().map(|tracked| tracked.id).collect::<Vec<_>>(), [ID]);
    assert_eq!(restored.resolve(&"a/secret".parse().unwrap()).await.unwrap(), None);
    assert_eq!(restored.part(ID, "labels").await.unwrap(), Some(json!(["bug"])));
    let ledger = restored.ledger(ID).await.unwrap();
    for (number, is_public) in [(1, true), (2, false), (3, false), (4, true)] {
        assert_eq!(restored.record(ItemId { repository: ID, number }).await.unwrap().is_some(), is_public);
        assert_eq!(ledger.get(number).state == NumberState::Present, is_public);
    }
    for (name, bytes) in everything(target.folder.as_ref().unwrap()) {
        let plain = if name.ends_with(".zst") { zstd::decode_all(&*bytes).unwrap() } else { bytes };
        assert!(!String::from_utf8_lossy(&plain).contains(secret), "{name}");
    }
    assert_eq!(redact(&snapshot.path, &open).await.unwrap().1, manifest, "made again it is the same");
}

fn everything(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() && !path.is_symlink() {
            true => found.extend(everything(&path)),
            false if path.is_file() => found.push((path.display().to_string(), fs::read(&path).unwrap())),
            false => {}
        }
    }
    found
}

#[tokio::test]
async fn backups_share_what_did_not_change_and_name_what_is_damaged() {
    let place = place::folder("").await.unwrap();
    let archive = place.open().await;
    fill(&archive).await;
    let (folder, copies) = (tempfile::tempdir().unwrap(), place::folder("").await.unwrap());
    let (first, manifest) = archive.snapshot(folder.path()).await.unwrap();
    let name = first.path.file_name().unwrap().to_str().unwrap();
    let month = format!("{}-{}", &name[9..13], &name[13..15]);
    let early = folder.path().join(format!("gharvest-{}01T000000Z.tar.zst", &name[9..15]));
    fs::rename(&first.path, &early).unwrap();
    let mut changed = archive.record(item(2)).await.unwrap().unwrap();
    changed.issue = Some(json!({"number": 2, "title": "changed"}));
    archive.put_record(changed).await.unwrap();
    let (second, _) = archive.snapshot(folder.path()).await.unwrap();
    let (old, written) = backup(&early, &[], &*copies.store()).await.unwrap();
    assert_eq!(written as usize, manifest.objects.len());
    let (new, written) = backup(&second.path, &[], &*copies.store()).await.unwrap();
    assert_eq!(written, 1, "only the record that changed");
    assert_eq!(backups(&*copies.store()).await.unwrap(), [new.clone(), old.clone()]);

    let digest = &manifest.objects["repositories/7/items/2.json"];
    let key = format!("objects/{month}/{}/{digest}.zst", &digest[..2]);
    let path = copies.folder.as_ref().unwrap().join(&key);
    for damage in [Some(zstd::encode_all(&b"another"[..], 3).unwrap()), Some(b"no zstd".to_vec()), None] {
        match damage {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        for error in [
            verify_backup(&*copies.store(), &old).await.map(drop).unwrap_err(),
            fetch(&*copies.store(), &old, &folder.path().join("fetched")).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains(digest), "{error}");
        }
        verify_backup(&*copies.store(), &new).await.expect("the other does not need it");
    }
    assert_eq!(list(&folder.path().join("fetched")).await.unwrap(), []);
    backup(&early, &[], &*copies.store()).await.unwrap();
    verify_backup(&*copies.store(), &old).await.expect("made again it is whole");

    fs::write(&early, "damaged").unwrap();
    assert!(backup(&early, &[], &*place::folder("").await.unwrap().store()).await.is_err());
    for path in [folder.path().join("latest"), folder.path().join("other.tar.zst")] {
        assert_eq!(backup(&path, &[], &*copies.store()).await.unwrap_err().kind(), ErrorKind::Refused);
    }
    let missing: Value = json!(backups(&*place::memory("").await.unwrap().store()).await.unwrap());
    assert_eq!(missing, json!([]));
}

#[tokio::test]
async fn old_backups_go_with_their_months_and_the_last_good_one_stays() {
    let place = place::folder("").await.unwrap();
    let archive = place.open().await;
    fill(&archive).await;
    let (folder, copies) = (tempfile::tempdir().unwrap(), place::memory("").await.unwrap());
    let (made, _) = archive.snapshot(folder.path()).await.unwrap();
    let store = copies.store();
    let mut names = Vec::new();
    for day in ["20260105", "20260120", "20260203", "20260310"] {
        let path = folder.path().join(format!("gharvest-{day}T000000Z.tar.zst"));
        fs::copy(&made.path, &path).unwrap();
        names.push(backup(&path, &[], &*store).await.unwrap().0);
    }
    let months = async || {
        let mut months = store.list("objects").await.unwrap();
        months.sort_unstable();
        months
    };
    let before = |time: &str| time.parse::<Timestamp>().unwrap();
    assert_eq!(prune_backups(&*store, before("2026-01-10T00:00:00Z")).await.unwrap(), names[..1]);
    assert_eq!(months().await, ["2026-01", "2026-02", "2026-03"], "another copy of January is left");
    verify_backup(&*store, &names[1]).await.unwrap();
    assert_eq!(prune_backups(&*store, before("2026-02-10T00:00:00Z")).await.unwrap(), [&*names[2], &*names[1]]);
    assert_eq!(months().await, ["2026-02", "2026-03"], "a month that copies may still be made in is left");
    // Only damaged ones are younger than the one that is good.
    let good = folder.path().join("gharvest-20260203T000000Z.tar.zst");
    backup(&good, &[], &*store).await.unwrap();
    store.delete_all("objects/2026-03").await.unwrap();
    assert_eq!(prune_backups(&*store, before("2026-12-01T00:00:00Z")).await.unwrap(), names[3..]);
    assert_eq!((backups(&*store).await.unwrap(), months().await), (vec![names[2].clone()], vec!["2026-02".to_owned()]));
    verify_backup(&*store, &names[2]).await.unwrap();
}
