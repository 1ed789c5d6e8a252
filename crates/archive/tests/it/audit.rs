//! What an audit calls complete: not what nobody asks about any more.

use gharvest_archive::{Archive, LedgerChange, Options, Repository};
use gharvest_model::{
    RepositoryId,
    ledger::NumberState,
    progress::{ItemsCursor, UpdatesCursor},
    tracking::Tracked,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tempfile::TempDir;

const ID: RepositoryId = RepositoryId(7);

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap()
}

#[tokio::test]
async fn what_is_tracked_and_not_asked_about_for_a_day_is_not_complete() {
    let folder = TempDir::new().unwrap();
    let url = format!("file:{}", folder.path().display());
    let archive = Archive::open(&url, &Options::default()).await.unwrap();
    let file = json!({"id": ID, "full_name": "a/b", "repository": null, "fetched_at": at(0)});
    let repository: Repository = serde_json::from_value(file).unwrap();
    archive.put_repository(&repository).await.unwrap();
    let present = LedgerChange { number: 1, state: NumberState::Present, verified_at: at(0) };
    archive.update_ledger(ID, &[present]).await.unwrap();
    let walked = ItemsCursor { finished_at: Some(at(0)), ..ItemsCursor::default() };
    archive.set_cursor(&ItemsCursor::feed(ID), json!(walked)).await.unwrap();
    let audit = async |hour| archive.audit(ID, at(hour)).await.unwrap().unwrap();

    assert!(audit(1_000).await.verdict.complete, "of what is not tracked nobody expects news");
    let tracked: Tracked = serde_json::from_value(json!({"id": ID, "name": "a/b", "since": at(0)})).unwrap();
    archive.track(tracked).await.unwrap();
    assert!(audit(24).await.verdict.complete, "the list was read to its end a day ago");
    let still = audit(25).await;
    assert!(still.badge().contains(">stands still</text>"));
    let told = still.verdict;
    assert_eq!((told.complete, told.trouble_since), (false, Some(at(0))));
    assert!(told.trouble.as_ref().is_some_and(|trouble| trouble.contains("last asked at")), "{told:?}");
    assert!(told.stands_still() && told.share() == 0.999, "never as if it were complete");

    let mut updates = UpdatesCursor { since: at(0), etag: None, heard_at: None };
    assert!(updates.hear(at(30)) && !updates.hear(at(30) + SignedDuration::from_mins(59)) && updates.hear(at(31)));
    archive.set_cursor(&UpdatesCursor::feed(ID), json!(updates)).await.unwrap();
    assert!(audit(55).await.verdict.complete, "nothing new is news too");
    assert!(!audit(56).await.verdict.complete);
    // One that is gone for certain gets no more numbers.
    archive.put_repository(&Repository { gone_at: Some(at(40)), ..repository }).await.unwrap();
    assert!(audit(1_000).await.verdict.complete);

    archive.reach(ID, 3).await.unwrap();
    archive.change_tracked(ID, &|entry| entry.trouble = Some("GitHub blocks it".to_owned())).await.unwrap();
    let behind = audit(1_000).await;
    assert!(behind.badge().contains(">33.3%</text>"), "what is open is open in trouble as well");
    let open = behind.verdict;
    assert!(!open.complete && !open.stands_still());
    assert_eq!(open.share(), 1.0 / 3.0);
    archive.set_cursor(&ItemsCursor::feed(ID), json!(ItemsCursor::default())).await.unwrap();
    archive.update_ledger(ID, &[2, 3].map(|number| LedgerChange { number, ..present })).await.unwrap();
    assert_eq!(audit(1_000).await.verdict.share(), 0.999, "the highest number is not known");
}
