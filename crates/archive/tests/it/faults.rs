//! Every call of a store fails once, with and without its effect, and once everything ends there: afterwards the old or
//! the new state is found, and trying again completes.

use std::cell::RefCell;

use futures::TryStreamExt as _;
use gharvest_archive::{
    ApiKey, Archive, InboxEntry, Options, Result,
    snapshot::{backup, backups, list, restore, verify, verify_backup},
    store::{
        Condition, Durability, Store,
        faulty::{Fault, FaultyStore},
    },
};
use gharvest_model::{
    Record, Revision, ledger::NumberState, record::RecordState, removal::DeletionPolicy, tracking::Tracked,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::place::{ID, Place, at, fact, folder, item, memory, present, record, repository};

const FAULTS: [Fault; 4] = [Fault::Before, Fault::After, Fault::CrashBefore, Fault::CrashAfter];

/// Lets `operation` fail at each of its calls, in each way. `is_between` says of what is neither the old nor the new
/// state whether it is fine all the same.
async fn at_every_call(
    place: impl AsyncFn() -> Place,
    set_up: impl AsyncFn(&Archive),
    operation: impl AsyncFn(&Archive) -> Result<()>,
    look: impl AsyncFn(&Archive) -> Value,
    is_between: impl Fn(&Value) -> bool,
) {
    let fine = place().await;
    let archive = fine.open().await;
    set_up(&archive).await;
    let old = look(&archive).await;
    operation(&archive).await.unwrap();
    let new = look(&fine.open().await).await;
    assert_ne!(old, new, "the operation does something");
    for fault in FAULTS {
        let mut call = 0;
        loop {
            call += 1;
            let place = place().await;
            set_up(&place.open().await).await;
            let store = FaultyStore::new(place.store());
            let archive = Archive::with_store(store.clone(), &Options::default()).await.unwrap();
            let before = store.calls();
            store.fail(call, fault);
            let result = operation(&archive).await;
            let is_over = store.calls() - before < call;
            let seen = look(&place.open().await).await;
            let is_known = seen == old || seen == new || is_between(&seen);
            assert!(is_known, "{fault:?} at call {call}: {seen} is neither {old} nor {new}");
            assert!(result.is_err() || seen == new, "{fault:?} at call {call}: it said that it was done");
            // A process that lives tries again itself; one that crashed is followed by another.
            store.recover();
            let again = if matches!(fault, Fault::Before | Fault::After) { archive } else { place.open().await };
            operation(&again).await.unwrap();
            assert_eq!(look(&place.open().await).await, new, "{fault:?} at call {call}: tried again");
            if is_over {
                assert!(call > 1, "the operation makes calls");
                break;
            }
        }
    }
}

/// A place in memory, for what a folder does in the same calls.
async fn quick() -> Place {
    memory("").await.unwrap()
}

async fn on_disk() -> Place {
    folder("").await.unwrap()
}

/// Stores a record as the downloader does: from the revision that it read.
async fn store_record(archive: &Archive, change: impl Fn(&mut Record)) -> Result<()> {
    let mut changed = archive.record(item(1)).await?.unwrap_or_else(|| record(1, "old"));
    change(&mut changed);
    archive.put_record(changed).await.map(drop)
}

async fn look_at_record(archive: &Archive) -> Value {
    let Some(record) = archive.record(item(1)).await.unwrap() else { return Value::Null };
    json!([record.revision, record.state, record.issue])
}

async fn look_at_ledger(archive: &Archive) -> Value {
    let ledger = archive.ledger(ID).await.unwrap();
    json!([ledger.highest(), ledger.counts(), ledger.get(1).verified_at])
}

fn nothing_else(_: &Value) -> bool {
    false
}

#[tokio::test]
async fn a_record_is_created_or_not() {
    let write = async |archive: &Archive| store_record(archive, |_| {}).await;
    at_every_call(quick, async |_| {}, write, look_at_record, nothing_else).await;
    at_every_call(on_disk, async |_| {}, write, look_at_record, nothing_else).await;
}

#[tokio::test]
async fn a_record_is_changed_once_or_not() {
    let set_up = async |archive: &Archive| store_record(archive, |_| {}).await.unwrap();
    let write = async |archive: &Archive| {
        store_record(archive, |record| record.issue = Some(json!({"number": 1, "title": "new"}))).await
    };
    at_every_call(quick, set_up, write, look_at_record, nothing_else).await;
    at_every_call(on_disk, set_up, write, look_at_record, nothing_else).await;
}

#[tokio::test]
async fn an_item_becomes_a_tombstone_or_not() {
    let set_up = async |archive: &Archive| store_record(archive, |_| {}).await.unwrap();
    let write = async |archive: &Archive| store_record(archive, |record| record.state = RecordState::Deleted).await;
    at_every_call(quick, set_up, write, look_at_record, nothing_else).await;
}

#[tokio::test]
async fn what_a_deletion_policy_took_out_has_its_receipt() {
    let set_up = async |archive: &Archive| {
        for number in 1..=3 {
            let gone = Record { state: RecordState::Deleted, ..record(number, "secret") };
            archive.put_record(gone).await.unwrap();
        }
    };
    let redact = async |archive: &Archive| archive.apply_deletion_policy(ID, DeletionPolicy::Redact).await.map(drop);
    let look = async |archive: &Archive| {
        let records: Vec<Record> = archive.records(ID, 0).try_collect().await.unwrap();
        let redacted = records.iter().filter(|record| record.issue.as_ref().unwrap()["title"].is_null());
        let receipts: Vec<u64> = archive.receipts(ID).await.unwrap().iter().map(|receipt| receipt.number).collect();
        json!([redacted.map(|record| record.number).collect::<Vec<_>>(), receipts])
    };
    let is_between = |seen: &Value| {
        let receipts = seen[1].as_array().unwrap();
        seen[0].as_array().unwrap().iter().all(|number| receipts.iter().filter(|noted| *noted == number).count() == 1)
    };
    at_every_call(quick, set_up, redact, look, is_between).await;
}

#[tokio::test]
async fn a_deletion_policy_takes_out_of_more_records_than_receipts_are_written_at_once() {
    let place = quick().await;
    let archive = place.open().await;
    let count = 1_100;
    for number in 1..=count {
        archive.put_record(Record { state: RecordState::Hidden, ..record(number, "secret") }).await.unwrap();
    }
    archive.put_record(record(count + 1, "shown")).await.unwrap();
    let store = FaultyStore::new(place.store());
    let counted = Archive::with_store(store.clone(), &Options::default()).await.unwrap();
    let changed = counted.apply_deletion_policy(ID, DeletionPolicy::Purge).await.unwrap();
    let all: Vec<u64> = (1..=count).collect();
    assert_eq!(changed, all);
    let receipts = archive.receipts(ID).await.unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.number).collect::<Vec<_>>(), all);
    assert!(
        archive
            .records(ID, 0)
            .try_all(|record| async move { record.issue.is_none() == (record.number <= count) })
            .await
            .unwrap()
    );
    // A call for each record's reading twice, its comparison, its images and its writing; hardly any for receipts.
    assert!(store.calls() < count * 7, "{} calls", store.calls());
    assert_eq!(counted.apply_deletion_policy(ID, DeletionPolicy::Purge).await.unwrap(), [0; 0]);
}

#[tokio::test]
async fn changes_of_the_ledger_are_all_there_or_none() {
    let set_up = async |archive: &Archive| archive.update_ledger(ID, &[present(1)]).await.unwrap();
    for count in [3, 7300] {
        let update =
            async |archive: &Archive| archive.update_ledger(ID, &(2..count).map(present).collect::<Vec<_>>()).await;
        at_every_call(quick, set_up, update, look_at_ledger, nothing_else).await;
        at_every_call(on_disk, set_up, update, look_at_ledger, nothing_else).await;
    }
}

#[tokio::test]
async fn a_rename_never_leaves_a_repository_without_its_name() {
    let set_up = async |archive: &Archive| archive.put_repository(&repository(7, "a/old", 1)).await.unwrap();
    let rename = async |archive: &Archive| archive.put_repository(&repository(7, "a/new", 2)).await;
    let look = async |archive: &Archive| {
        let resolve = async |name: &str| archive.resolve(&name.parse().unwrap()).await.unwrap();
        let stored = archive.repository(ID).await.unwrap().unwrap();
        json!({
            "name": stored.full_name, "former": stored.former_names, "old": resolve("a/old").await,
            "named": resolve(&stored.full_name.to_string()).await, "new": resolve("a/new").await,
        })
    };
    // The new name may lead to it already.
    let is_between = |seen: &Value| *seen == json!({"name": "a/old", "former": [], "old": 7, "named": 7, "new": 7});
    at_every_call(quick, set_up, rename, look, is_between).await;
    at_every_call(on_disk, set_up, rename, look, is_between).await;
}

#[tokio::test]
async fn small_files_are_changed_or_not() {
    let look = async |archive: &Archive| {
        let key_names: Vec<String> = archive.keys().await.unwrap().into_iter().map(|key| key.name).collect();
        json!([
            archive.tracking().await.unwrap(),
            key_names,
            archive.cursor("updates/7").await.unwrap(),
            archive.part(ID, "labels").await.unwrap(),
        ])
    };
    let tracked: Tracked = serde_json::from_value(json!({"id": 7, "name": "a/b", "since": at(1)})).unwrap();
    let track = async |archive: &Archive| archive.track(tracked.clone()).await;
    at_every_call(quick, async |_| {}, track, look, nothing_else).await;
    let untrack = async |archive: &Archive| archive.untrack(ID).await.map(drop);
    at_every_call(quick, async |archive| track(archive).await.unwrap(), untrack, look, nothing_else).await;
    let cursor = async |archive: &Archive| archive.set_cursor("updates/7", json!(5)).await;
    at_every_call(quick, async |_| {}, cursor, look, nothing_else).await;
    let labels = async |archive: &Archive| archive.put_part(ID, "labels", &json!(["bug"])).await.map(drop);
    at_every_call(quick, async |_| {}, labels, look, nothing_else).await;
    let key = ApiKey {
        name: "reader".to_owned(),
        hash: String::new(),
        role: "read".to_owned(),
        private: Vec::new(),
        repositories: Vec::new(),
        created_at: Timestamp::UNIX_EPOCH,
    };
    let make_key = async |archive: &Archive| archive.update_keys(&|keys| *keys = vec![key.clone()]).await;
    at_every_call(quick, async |_| {}, make_key, look, nothing_else).await;
}

#[tokio::test]
async fn a_fact_waits_or_it_does_not() {
    let look = async |archive: &Archive| json!(archive.inbox_all().try_collect::<Vec<_>>().await.unwrap());
    let entry = InboxEntry { item: Some(item(1)), fact: fact("d1", 1), triggers: json!(["t"]) };
    let keep = async |archive: &Archive| archive.put_inbox(&entry).await;
    at_every_call(quick, async |_| {}, keep, look, nothing_else).await;
    let remove = async |archive: &Archive| archive.remove_inbox("d1").await;
    at_every_call(quick, async |archive| keep(archive).await.unwrap(), remove, look, nothing_else).await;
}

#[tokio::test]
async fn an_import_that_was_stopped_claims_nothing_that_is_not_there() {
    let source = tempfile::tempdir().unwrap();
    std::fs::create_dir(source.path().join("issues")).unwrap();
    for number in 1..=3 {
        let issue = json!({"number": number, "title": "t", "updated_at": at(5)});
        let file = json!({"type": "issue", "issue": issue, "events": []});
        std::fs::write(source.path().join(format!("issues/{number}.json")), file.to_string()).unwrap();
    }
    let name = "a/b".parse().unwrap();
    let import = async |archive: &Archive| archive.import_folder(source.path(), &name, ID, &|_| {}).await.map(drop);
    let look = async |archive: &Archive| {
        let ledger = archive.ledger(ID).await.unwrap();
        let records: Vec<Record> = archive.records(ID, 0).try_collect().await.unwrap();
        let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
        let claimed: Vec<u64> = ledger.numbers(NumberState::Present).collect();
        assert!(records.iter().all(|record| record.revision == Revision(1) && record.issue.is_some()));
        json!({
            "records": numbers, "claimed": claimed, "tracked": archive.tracking().await.unwrap().len(),
            "resolved": archive.resolve(&name).await.unwrap(),
        })
    };
    let is_between = |seen: &Value| {
        let records = seen["records"].as_array().unwrap();
        seen["claimed"].as_array().unwrap().iter().all(|number| records.contains(number))
    };
    at_every_call(quick, async |_| {}, import, look, is_between).await;
}

#[tokio::test]
async fn a_purge_that_was_stopped_is_completed_by_the_next() {
    let set_up = async |archive: &Archive| {
        archive.put_repository(&repository(7, "a/b", 1)).await.unwrap();
        archive.put_record(record(1, "one")).await.unwrap();
        archive.update_ledger(ID, &[present(1)]).await.unwrap();
        let entry = InboxEntry { item: Some(item(1)), fact: fact("d1", 1), triggers: json!(null) };
        archive.put_inbox(&entry).await.unwrap();
        archive.set_cursor("items/7", json!(1)).await.unwrap();
    };
    let purge = async |archive: &Archive| archive.purge_repository(ID).await;
    let look = async |archive: &Archive| {
        json!([
            archive.repositories().await.unwrap(),
            archive.record(item(1)).await.unwrap().is_some(),
            archive.ledger(ID).await.unwrap().highest(),
            archive.resolve(&"a/b".parse().unwrap()).await.unwrap(),
            archive.inbox_names().await.unwrap().count(),
            archive.cursor("items/7").await.unwrap(),
        ])
    };
    at_every_call(quick, set_up, purge, look, |_| true).await;
}

async fn fill(archive: &Archive) {
    archive.put_repository(&repository(7, "a/b", 1)).await.unwrap();
    archive.set_cursor("updates/7", json!(1)).await.unwrap();
    for number in 1..=3 {
        archive.put_record(record(number, "title")).await.unwrap();
    }
    archive.update_ledger(ID, &[present(1), present(2), present(3)]).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_is_there_and_good_or_it_is_not_there() {
    let snapshots = RefCell::new(tempfile::tempdir().unwrap());
    let set_up = async |archive: &Archive| {
        snapshots.replace(tempfile::tempdir().unwrap());
        fill(archive).await;
    };
    let make = async |archive: &Archive| {
        let folder = snapshots.borrow().path().to_owned();
        archive.snapshot(&folder).await.map(drop)
    };
    let look = async |_: &Archive| {
        let folder = snapshots.borrow().path().to_owned();
        let mut records = Vec::new();
        for snapshot in list(&folder).await.unwrap() {
            records.push(verify(&snapshot.path).await.unwrap().records);
        }
        // Two within one second are one.
        records.dedup();
        let latest = std::fs::read_link(folder.join("latest")).ok();
        assert!(latest.is_none_or(|name| folder.join(name).try_exists().unwrap()));
        json!(records)
    };
    at_every_call(quick, set_up, make, look, nothing_else).await;
}

#[tokio::test]
async fn a_restore_or_a_backup_that_was_stopped_is_not_taken_for_whole() {
    let place = quick().await;
    let archive = place.open().await;
    fill(&archive).await;
    let snapshots = tempfile::tempdir().unwrap();
    let (snapshot, manifest) = archive.snapshot(snapshots.path()).await.unwrap();
    for fault in FAULTS {
        let (mut call, mut done) = (0, 0);
        while done < 2 {
            call += 1;
            let (target, copies) = (quick().await, quick().await);
            let (store, copy) = (FaultyStore::new(target.store()), FaultyStore::new(copies.store()));
            store.fail(call, fault);
            copy.fail(call, fault);
            let restored = restore(&snapshot.path, &*store).await;
            let is_whole = target.store().get("archive.json").await.unwrap().is_some();
            let lost_answer = matches!(fault, Fault::After | Fault::CrashAfter);
            assert!(restored.is_ok() == is_whole || lost_answer, "{fault:?} at call {call}");
            if !is_whole {
                restore(&snapshot.path, &*target.store()).await.unwrap();
            }
            assert_eq!(look_at_ledger(&target.open().await).await, look_at_ledger(&archive).await);

            let backed_up = backup(&snapshot.path, &[], &*copy).await;
            for name in backups(&*copies.store()).await.unwrap() {
                assert_eq!(verify_backup(&*copies.store(), &name).await.unwrap().snapshot, manifest);
            }
            let (name, _) = backup(&snapshot.path, &[], &*copies.store()).await.unwrap();
            assert_eq!(verify_backup(&*copies.store(), &name).await.unwrap().snapshot, manifest);
            done = usize::from(restored.is_ok()) + usize::from(backed_up.is_ok());
        }
    }
}

#[tokio::test]
async fn a_full_store_is_told_from_one_that_is_away() {
    let place = quick().await;
    let store = FaultyStore::new(place.store());
    let archive = Archive::with_store(store.clone(), &Options::default()).await.unwrap();
    archive.put_record(record(1, "old")).await.unwrap();
    store.fail(1, Fault::Full);
    let errors = [
        store_record(&archive, |record| record.state = RecordState::Hidden).await.unwrap_err(),
        archive.update_ledger(ID, &[present(1)]).await.unwrap_err(),
        archive.put_repository(&repository(7, "a/b", 1)).await.unwrap_err(),
        archive.set_cursor("updates/7", json!(1)).await.unwrap_err(),
        store.put("x", "y".into(), Condition::Any, Durability::MayBeLost).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), gharvest_archive::ErrorKind::Full, "{error}");
        assert!(error.is_retryable());
    }
    assert_eq!(look_at_record(&archive).await[0], 1, "what was stored is read all the same");
    store.recover();
    archive.update_ledger(ID, &[]).await.unwrap();
    archive.update_ledger(ID, &[present(2)]).await.unwrap();
    assert_eq!(archive.ledger(ID).await.unwrap().counts()[NumberState::Present as usize], 2, "nothing was forgotten");
}
