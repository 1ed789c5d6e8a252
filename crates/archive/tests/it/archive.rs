//! What an archive does, wherever it lies.

use futures::TryStreamExt as _;
use gharvest_archive::{ApiKey, Archive, ErrorKind, Hint, InboxEntry, LedgerChange, Options, Written};
use gharvest_model::{
    ItemId, Record, RepositoryId, Revision,
    ledger::NumberState,
    record::{Origin, RecordState},
    tracking::Tracked,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::place::{ID, at, everywhere, fact, folder, item, present, record, repository};

fn titles(records: &[Record]) -> Vec<(u64, &str)> {
    records.iter().map(|record| (record.number, record.issue.as_ref().unwrap()["title"].as_str().unwrap())).collect()
}

fn tracked(id: u64, name: &str) -> Tracked {
    Tracked {
        id: RepositoryId(id),
        name: name.parse().unwrap(),
        private: false,
        since: at(1),
        complete_at: None,
        trouble: None,
        trouble_since: None,
        deleted: gharvest_model::removal::DeletionPolicy::Keep,
    }
}

async fn resolved(archive: &Archive, name: &str) -> Option<u64> {
    archive.resolve(&name.parse().unwrap()).await.unwrap().map(|id| id.0)
}

everywhere! {
    async fn an_archive_has_one_id_whoever_made_it(place) {
        let opened: Vec<Archive> = futures::future::join_all((0..8).map(|_| place.open())).await;
        assert!(opened.iter().all(|archive| archive.id() == opened[0].id()));
        assert_eq!(opened[0].id().len(), 32);
    }

    async fn an_archive_of_another_format_is_refused(place) {
        let write = async |json: Value| {
            let bytes = json.to_string().into();
            place.store().put("archive.json", bytes, gharvest_archive::store::Condition::Any,
                gharvest_archive::store::Durability::Durable).await.unwrap();
            Archive::with_store(place.store(), &Options::default()).await.unwrap_err()
        };
        let newer = write(json!({"id": "1", "format": 2})).await;
        assert_eq!(newer.kind(), ErrorKind::Refused);
        assert!(newer.to_string().contains("newer gharvest"), "{newer}");
        assert_eq!(write(json!({"id": 1, "format": 1})).await.kind(), ErrorKind::Corrupt);
        assert_eq!(write(json!([])).await.kind(), ErrorKind::Corrupt);
    }

    async fn of_sixteen_racing_writers_of_a_record_one_wins(place) {
        let archives = [place.open().await, place.open().await];
        let writes = (0..16).map(|at| archives[at % 2].put_record(record(10, &format!("title {at}"))));
        let written = futures::future::try_join_all(writes).await.unwrap();
        let stored = written.iter().filter(|written| **written == Written::Stored(Revision(1))).count();
        let late = written.iter().filter(|written| **written == Written::Conflict(Revision(1))).count();
        assert_eq!((stored, late), (1, 15));
    }

    async fn a_record_is_written_only_from_its_revision_and_only_when_it_changed(place) {
        let archive = place.open().await;
        assert_eq!(archive.record(item(9)).await.unwrap(), None);
        assert_eq!(archive.put_record(record(9, "nine")).await.unwrap(), Written::Stored(Revision(1)));
        let stored = place.open().await.record(item(9)).await.unwrap().unwrap();
        assert!(stored.changed_at > Timestamp::UNIX_EPOCH);
        assert_eq!(archive.put_record(record(9, "late")).await.unwrap(), Written::Conflict(Revision(1)));
        assert_eq!(archive.put_record(stored.clone()).await.unwrap(), Written::Unchanged(Revision(1)));
        let mut ahead = record(9, "from nowhere");
        ahead.revision = Revision(3);
        assert_eq!(archive.put_record(ahead).await.unwrap(), Written::Conflict(Revision(1)));
        let gone = Record { state: RecordState::Deleted, ..stored };
        assert_eq!(archive.put_record(gone).await.unwrap(), Written::Stored(Revision(2)));
        let tombstone = archive.record(item(9)).await.unwrap().unwrap();
        assert!(tombstone.state.is_tombstone() && tombstone.issue.unwrap()["title"] == "nine", "its content stays");
        let mut unknown = record(12, "of nothing");
        unknown.revision = Revision(1);
        assert_eq!(archive.put_record(unknown).await.unwrap(), Written::Conflict(Revision::NONE));
        archive.purge_record(item(9)).await.unwrap();
        assert_eq!(archive.record(item(9)).await.unwrap(), None);
    }

    async fn what_says_the_same_completes_a_record_under_its_revision(place) {
        let archive = place.open().await;
        let by = |origin, etag: Option<&str>| {
            let mut record = record(9, "nine");
            record.origin.issue = Some(origin);
            record.etags.extend(etag.map(|etag| ("issue".to_owned(), json!(etag))));
            record
        };
        archive.put_record(by(Origin::Graphql, None)).await.unwrap();
        let first = archive.record(item(9)).await.unwrap().unwrap();
        let again = async |origin, etag| {
            let visit = Record { revision: Revision(1), ..by(origin, etag) };
            (archive.put_record(visit).await.unwrap(), archive.record(item(9)).await.unwrap().unwrap())
        };
        let (written, filled) = again(Origin::Rest, Some("x")).await;
        assert_eq!((written, filled.revision), (Written::Filled(Revision(1)), Revision(1)));
        assert_eq!((filled.origin.issue, &filled.etags["issue"]), (Some(Origin::Rest), &json!("x")));
        assert!(filled.changed_at > first.changed_at && filled.fetched_at == first.fetched_at);
        let (written, tagged) = again(Origin::Rest, Some("y")).await;
        assert_eq!((written, &tagged.etags["issue"]), (Written::Unchanged(Revision(1)), &json!("y")));
        assert_eq!(tagged.changed_at, filled.changed_at);
        assert_eq!(again(Origin::Graphql, None).await, (Written::Unchanged(Revision(1)), tagged), "nothing is lost again");
    }

    async fn records_are_scanned_in_the_order_of_their_numbers(place) {
        let archive = place.open().await;
        for number in [10, 9, 100, 1, 11] {
            archive.put_record(record(number, &format!("title {number}"))).await.unwrap();
        }
        let numbers: Vec<u64> = archive.numbers(ID, 0).try_collect().await.unwrap();
        assert_eq!(numbers, [1, 9, 10, 11, 100]);
        let records: Vec<Record> = archive.records(ID, 9).try_collect().await.unwrap();
        assert_eq!(titles(&records), [(10, "title 10"), (11, "title 11"), (100, "title 100")]);
    }

    async fn compressed_and_plain_records_live_side_by_side(place) {
        let compressing = Options { compress: true, ..Options::default() };
        let (plain, packed) = (place.open().await, place.open_with(&compressing).await);
        plain.put_record(record(1, "plain")).await.unwrap();
        packed.put_record(record(2, "packed")).await.unwrap();
        for (number, title) in [(1, "plain"), (2, "packed")] {
            for archive in [&plain, &packed] {
                let mut record = archive.record(item(number)).await.unwrap().unwrap();
                assert_eq!(record.issue.as_ref().unwrap()["title"], title);
                let next = record.revision.next();
                record.issue.as_mut().unwrap()["labels"] = json!([next]);
                assert_eq!(archive.put_record(record).await.unwrap(), Written::Stored(next));
                let bytes = archive.record_bytes(item(number)).await.unwrap().unwrap();
                assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap()["revision"], next.0);
            }
        }
        let mut names = place.store().list("repositories/7/items").await.unwrap();
        names.sort_unstable();
        assert_eq!(names, ["1.json", "2.json.zst"], "a record keeps the form it was first written in");
    }

    async fn what_is_tracked_is_changed_by_many_at_once(place) {
        let archives = [place.open().await, place.open().await];
        let tracks = (1..=12).map(|id| archives[id % 2].track(tracked(id as u64, &format!("a/r{id}"))));
        futures::future::try_join_all(tracks).await.unwrap();
        let mut ids: Vec<u64> = archives[0].tracking().await.unwrap().iter().map(|tracked| tracked.id.0).collect();
        ids.sort_unstable();
        assert_eq!(ids, (1..=12).collect::<Vec<_>>());
        archives[0].track(Tracked { private: true, ..tracked(3, "a/three") }).await.unwrap();
        let tracking = archives[1].tracking().await.unwrap();
        let three = tracking.iter().find(|entry| entry.id == RepositoryId(3)).unwrap();
        assert_eq!((three.name.to_string().as_str(), three.private), ("a/three", true));
        assert!(archives[1].untrack(RepositoryId(3)).await.unwrap());
        assert!(!archives[1].untrack(RepositoryId(3)).await.unwrap());
        assert_eq!(archives[0].tracking().await.unwrap().len(), 11);
    }

    async fn cursors_and_keys_are_kept(place) {
        let archive = place.open().await;
        assert_eq!(archive.cursor("updates/7").await.unwrap(), None);
        archive.set_cursor("updates/7", json!({"since": 1})).await.unwrap();
        archive.set_cursor("updates/8", json!({"since": 2})).await.unwrap();
        assert_eq!(place.open().await.cursor("updates/7").await.unwrap(), Some(json!({"since": 1})));
        archive.set_cursor("updates/7", Value::Null).await.unwrap();
        assert_eq!(archive.cursor("updates/7").await.unwrap(), None);
        for feed in ["../x", "a/../../x", "/"] {
            assert_eq!(archive.set_cursor(feed, json!(1)).await.unwrap_err().kind(), ErrorKind::Refused, "{feed}");
        }
        let key = |at: usize| ApiKey {
            name: format!("key {at}"),
            hash: "00".repeat(32),
            role: "read".to_owned(),
            private: vec!["*".to_owned()],
            repositories: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        let changes: Vec<_> = (0..8).map(|at| move |keys: &mut Vec<ApiKey>| keys.push(key(at))).collect();
        futures::future::try_join_all(changes.iter().map(|change| archive.update_keys(change))).await.unwrap();
        let mut names: Vec<String> = archive.keys().await.unwrap().into_iter().map(|key| key.name).collect();
        names.sort_unstable();
        assert_eq!(names, (0..8).map(|at| format!("key {at}")).collect::<Vec<_>>());
    }

    async fn parts_and_daily_lines_are_kept(place) {
        let archive = place.open().await;
        let labels = json!([{"name": "bug", "a field of tomorrow": 1}]);
        assert!(archive.put_part(ID, "labels", &labels).await.unwrap());
        assert!(!archive.put_part(ID, "labels", &labels).await.unwrap(), "unchanged");
        assert_eq!(place.open().await.part(ID, "labels").await.unwrap(), Some(labels));
        assert_eq!(archive.part(ID, "milestones").await.unwrap(), None);
        for part in ["", "repository", "../x", "a/b", "Labels", "ledger.journal"] {
            assert_eq!(archive.put_part(ID, part, &json!(1)).await.unwrap_err().kind(), ErrorKind::Refused, "{part}");
        }
        for (day, stars) in [("2026-01-01", 1), ("2026-01-02", 2), ("2026-01-02", 3)] {
            archive.put_daily_line(ID, "stars", day, &json!({ "stars": stars })).await.unwrap();
        }
        let (bytes, _) = place.store().get("repositories/7/stars.jsonl").await.unwrap().unwrap();
        let lines: Vec<Value> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap()).collect();
        assert_eq!(lines, [json!({"day": "2026-01-01", "stars": 1}), json!({"day": "2026-01-02", "stars": 3})]);
    }

    async fn hints_come_and_go(place) {
        let archive = place.open().await;
        let hint = Hint::new(at(5), json!({"number": 3, "title": "seen"}));
        archive.put_hints(ID, vec![hint.clone(), Hint::new(at(5), json!({"no": "number"}))]).await.unwrap();
        assert_eq!(place.open().await.hint(item(3)).await.unwrap(), Some(hint));
        archive.forget_hint(item(3)).await.unwrap();
        assert_eq!(archive.hint(item(3)).await.unwrap(), None);
    }

    async fn the_ledger_is_shared(place) {
        let archives = [place.open().await, place.open().await];
        archives[0].reach(ID, 40).await.unwrap();
        let changes: Vec<_> = (1..=32).map(|number| [present(number)]).collect();
        let updates = changes.iter().zip(0..).map(|(change, at)| archives[at % 2].update_ledger(ID, change));
        futures::future::try_join_all(updates).await.unwrap();
        for archive in &archives {
            let ledger = archive.ledger(ID).await.unwrap();
            assert_eq!((ledger.highest(), ledger.counts()[NumberState::Present as usize]), (40, 32));
        }
        for number in [0, 50_000_001] {
            let refused = archives[0].update_ledger(ID, &[LedgerChange { number, ..present(1) }]).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Refused);
        }
    }

    async fn a_repository_fetched_earlier_never_replaces_one_fetched_later(place) {
        let archives = [place.open().await, place.open().await];
        archives[0].put_repository(&repository(7, "a/old", 10)).await.unwrap();
        archives[1].put_repository(&repository(7, "a/new", 30)).await.unwrap();
        archives[0].put_repository(&repository(7, "a/old", 20)).await.unwrap();
        let stored = archives[0].repository(ID).await.unwrap().unwrap();
        assert_eq!((stored.full_name.to_string().as_str(), stored.fetched_at.as_second()), ("a/new", 30));
        assert_eq!(stored.former_names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a/old"]);
        assert_eq!((resolved(&archives[1], "a/old").await, resolved(&archives[1], "A/New").await), (Some(7), Some(7)));
        let puts = (31..60).map(|second| {
            let archive = &archives[second as usize % 2];
            let repository = repository(7, &format!("a/n{second}"), second);
            async move { archive.put_repository(&repository).await }
        });
        futures::future::try_join_all(puts.rev()).await.unwrap();
        assert_eq!(archives[0].repository(ID).await.unwrap().unwrap().full_name.to_string(), "a/n59");
        assert_eq!(resolved(&archives[0], "a/n59").await, Some(7));
    }

    async fn a_name_belongs_to_the_repository_it_was_seen_at_last(place) {
        let archive = place.open().await;
        for (id, fetched_at, owner) in [(1, 10, 1), (2, 30, 2), (1, 20, 2), (1, 40, 1)] {
            archive.put_repository(&repository(id, "a/b", fetched_at)).await.unwrap();
            assert_eq!(resolved(&archive, "a/b").await, Some(owner));
        }
    }

    async fn what_is_to_be_looked_back_to_is_the_earliest_wish_and_no_cursor(place) {
        let archive = place.open().await;
        let feed = "updates/7";
        archive.set_cursor(feed, json!({"since": at(1)})).await.unwrap();
        for (wish, earliest) in [(3, 3), (4, 3), (2, 2)] {
            archive.look_back(ID, at(wish)).await.unwrap();
            assert_eq!(archive.look_back_to(ID).await.unwrap(), Some(at(earliest)));
        }
        assert_eq!(archive.cursor(feed).await.unwrap(), Some(json!({"since": at(1)})), "it never goes forward");
        assert!(archive.looked_back(ID, at(2), Some(at(5))).await.unwrap());
        archive.look_back(ID, at(2)).await.unwrap();
        assert!(!archive.looked_back(ID, at(5), None).await.unwrap(), "somebody asked again meanwhile");
        assert_eq!(archive.look_back_to(ID).await.unwrap(), Some(at(2)));
        assert!(archive.looked_back(ID, at(2), None).await.unwrap());
        assert_eq!(archive.look_back_to(ID).await.unwrap(), None);
    }

    async fn a_purged_repository_leaves_nothing(place) {
        let archive = place.open().await;
        archive.put_repository(&repository(7, "a/old", 1)).await.unwrap();
        archive.put_repository(&repository(7, ".GitHub/.github", 2)).await.unwrap();
        archive.put_repository(&repository(70, "a/other", 1)).await.unwrap();
        archive.put_record(record(1, "one")).await.unwrap();
        archive.update_ledger(ID, &[present(1)]).await.unwrap();
        archive.put_hints(ID, vec![Hint::new(at(5), json!({"number": 1}))]).await.unwrap();
        let waits = |item, delivery: &str| InboxEntry { item, fact: fact(delivery, 1), triggers: json!(null) };
        let elsewhere = ItemId { repository: RepositoryId(70), number: 1 };
        for entry in [waits(Some(item(1)), "a"), waits(Some(elsewhere), "b"), waits(None, "c")] {
            archive.put_inbox(&entry).await.unwrap();
        }
        for feed in ["items/7", "hook/7", "hook/70", "hook/app", "plain"] {
            archive.set_cursor(feed, json!(feed)).await.unwrap();
        }
        archive.look_back(ID, at(1)).await.unwrap();
        assert_eq!(archive.repositories().await.unwrap(), [ID, RepositoryId(70)]);
        archive.purge_repository(ID).await.unwrap();
        assert_eq!(archive.repositories().await.unwrap(), [RepositoryId(70)]);
        for name in ["a/old", ".github/.github"] {
            assert_eq!(resolved(&archive, name).await, None, "{name}");
        }
        assert_eq!((archive.record(item(1)).await.unwrap(), archive.hint(item(1)).await.unwrap()), (None, None));
        assert_eq!(archive.ledger(ID).await.unwrap().highest(), 0);
        let names = archive.inbox_names().await.unwrap();
        assert_eq!((names.facts, names.others), ([(elsewhere, vec!["b".to_owned()])].into(), vec!["c".to_owned()]));
        for (feed, is_left) in
            [("items/7", false), ("hook/7", false), ("hook/70", true), ("hook/app", true), ("plain", true)]
        {
            assert_eq!(archive.cursor(feed).await.unwrap().is_some(), is_left, "{feed}");
        }
        assert_eq!(archive.look_back_to(ID).await.unwrap(), None);
        assert_eq!(resolved(&archive, "a/other").await, Some(70));
    }

    async fn a_purged_repository_takes_nothing_until_it_is_tracked_again(place) {
        let (archive, late) = (place.open().await, place.open().await);
        let known = repository(7, "a/b", 1);
        archive.put_repository(&known).await.unwrap();
        let Written::Stored(revision) = late.put_record(record(1, "one")).await.unwrap() else { panic!("stored") };
        late.update_ledger(ID, &[present(1)]).await.unwrap();
        archive.purge_repository(ID).await.unwrap();
        // Whoever had it in hand, from before.
        let mut changed = record(1, "two");
        changed.revision = revision;
        assert_eq!(late.put_record(changed).await.unwrap(), Written::Conflict(Revision::NONE));
        for refused in [
            late.put_record(record(2, "two")).await.map(drop),
            late.put_repository(&repository(7, "a/b", 2)).await,
            late.put_part(ID, "labels", &json!([])).await.map(drop),
            late.put_daily_line(ID, "stars", "2026-11-21", &json!({"stars": 1})).await,
            late.update_ledger(ID, &[present(2)]).await,
            late.reach(ID, 5).await,
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Forgotten);
        }
        assert_eq!((archive.repositories().await.unwrap(), resolved(&archive, "a/b").await), (vec![], None));
        let tracked = json!({"id": 7, "name": "a/b", "since": at(1)});
        archive.track(serde_json::from_value(tracked).unwrap()).await.unwrap();
        late.put_repository(&known).await.unwrap();
        late.put_record(record(1, "one")).await.unwrap();
        late.update_ledger(ID, &[present(1)]).await.unwrap();
        assert_eq!((archive.repositories().await.unwrap(), archive.ledger(ID).await.unwrap().highest()), (vec![ID], 1));
    }
}

#[tokio::test]
async fn a_damaged_record_is_named_and_never_overwritten() {
    let place = folder("").await.unwrap();
    let archive = place.open_with(&Options { compress: true, ..Options::default() }).await;
    archive.put_record(record(1, "one")).await.unwrap();
    let path = place.folder.as_ref().unwrap().join("repositories/7/items/1.json.zst");
    let whole = std::fs::read(&path).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", b"no zstd"] {
        std::fs::write(&path, damaged).unwrap();
        for error in [archive.record(item(1)).await.unwrap_err(), archive.put_record(record(1, "x")).await.unwrap_err()]
        {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains("repositories/7/items/1.json.zst"), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), damaged);
    }
}

#[tokio::test]
async fn the_ledger_keeps_every_change_across_folds_and_a_torn_tail() {
    let place = folder("").await.unwrap();
    let archive = place.open().await;
    let many: Vec<_> = (1..=9000).map(present).collect();
    archive.update_ledger(ID, &many).await.unwrap();
    let few: Vec<_> = (9001..=9032).map(|number| [present(number)]).collect();
    futures::future::try_join_all(few.iter().map(|few| archive.update_ledger(ID, few))).await.unwrap();
    let journal = place.folder.as_ref().unwrap().join("repositories/7/ledger.journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes.extend_from_slice(&[9, 0, 0, 0, 1, 2]);
    std::fs::write(&journal, &bytes).unwrap();
    archive.update_ledger(ID, &[present(9033)]).await.unwrap();
    archive.reach(ID, 9034).await.unwrap();
    let ledger = place.open().await.ledger(ID).await.unwrap();
    assert_eq!((ledger.highest(), ledger.counts()[NumberState::Present as usize]), (9034, 9033));
    for damaged in [&b"GHJOURN\x02 and so on, more than a head"[..], b"short"] {
        std::fs::write(&journal, damaged).unwrap();
        assert_eq!(place.open().await.ledger(ID).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
