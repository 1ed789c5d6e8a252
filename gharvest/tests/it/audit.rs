//! `gharvest audit`: what it says of a complete mirror, and of each kind of thing that is open.

use gharvest_archive::{Archive, LedgerChange, Options, Repository};
use gharvest_model::{
    RepositoryId,
    drift::Drift,
    ledger::NumberState::{self, Deleted, Failed, Hidden, NotAnItem, Present, Transferred, Unknown},
    progress::{ItemsCursor, UpdatesCursor},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::scene::{Finished, MIRRORED, Scene};

const ID: RepositoryId = RepositoryId(7);
const NAME: &str = "octo/box";

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
}

/// An archive written by hand, with fixed times.
struct Written {
    scene: Scene,
    archive: Archive,
}

impl Written {
    /// Of a repository whose numbers have these states, in their order from 1, and whose list was read to its end.
    async fn with(states: &[NumberState]) -> Self {
        let scene = Scene::new(1);
        let url = format!("file:{}", scene.data_dir().join("archive").display());
        let archive = Archive::open(&url, &Options::default()).await.unwrap();
        let file = json!({"id": ID, "full_name": NAME, "repository": null, "fetched_at": at(0)});
        let file: Repository = serde_json::from_value(file).unwrap();
        archive.put_repository(&file).await.unwrap();
        let changes: Vec<_> = (1..).zip(states).map(|(number, state)| change(number, *state)).collect();
        archive.update_ledger(ID, &changes).await.unwrap();
        let written = Self { scene, archive };
        written.walk(Some(at(0))).await;
        written
    }

    async fn walk(&self, finished_at: Option<Timestamp>) {
        let cursor = ItemsCursor { started_at: Some(at(0)), finished_at, ..ItemsCursor::default() };
        self.archive.set_cursor(&ItemsCursor::feed(ID), serde_json::to_value(cursor).unwrap()).await.unwrap();
    }

    async fn audit(&self, args: &[&str]) -> Finished {
        self.scene.run(&[&["audit", NAME], args].concat()).await
    }
}

fn change(number: u64, state: NumberState) -> LedgerChange {
    LedgerChange { number, state, verified_at: at(i64::try_from(number).unwrap()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_complete_and_one_number_more_is_not() {
    let scene = Scene::new(30);
    scene.done(&["mirror", MIRRORED, "--once", "--no-web"]).await;
    let requests = scene.requests();
    let told = scene.done(&["audit", MIRRORED]).await.stdout;
    assert!(told.starts_with(&format!("{MIRRORED}  complete\n")), "{told}");
    assert!(told.contains("0 unknown, 0 failed"), "{told}");
    assert_eq!(scene.requests(), requests, "GitHub is not asked");

    let url = format!("file:{}", scene.data_dir().join("archive").display());
    let archive = Archive::open(&url, &Options::default()).await.unwrap();
    let highest = archive.ledger(scene.id).await.unwrap().highest();
    archive.reach(scene.id, highest + 1).await.unwrap();
    // Without a name, everything that is tracked is audited.
    let open = scene.run(&["audit", "--json"]).await;
    assert_eq!(open.code, Some(3), "{open:?}");
    let report: Value = serde_json::from_str(&open.stdout).unwrap();
    assert_eq!(report["unknown_numbers"], json!([[highest + 1, highest + 1]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_are_gone_are_accounted_for() {
    let written = Written::with(&[Present, Deleted, Transferred, Hidden, NotAnItem]).await;
    let told = written.audit(&[]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("5 numbers: 1 present, 3 gone, 1 not items, 0 unknown, 0 failed"), "{told:?}");
    let badge = written.audit(&["--badge"]).await;
    assert_eq!(badge.code, Some(0), "{badge:?}");
    assert!(badge.stdout.starts_with("<svg ") && badge.stdout.contains(">complete</text>"), "{badge:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_open_number_is_listed_and_ends_with_3() {
    for (state, listed) in [(Unknown, "unknown: #3"), (Failed, "failed: #3")] {
        let written = Written::with(&[Present, Present, state]).await;
        let told = written.audit(&[]).await;
        assert_eq!(told.code, Some(3), "{told:?}");
        assert!(told.stdout.contains("not complete") && told.stdout.contains(listed), "{told:?}");
        let badge = written.audit(&["--badge"]).await;
        assert!(badge.code == Some(3) && badge.stdout.contains(">66.6%</text>"), "{badge:?}");
    }
    let written = Written::with(&[Present]).await;
    written.archive.reach(ID, 4).await.unwrap();
    let told = written.audit(&[]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.stdout.contains("unknown: #2 to #4"), "{told:?}");
    assert!(told.stdout.contains("some numbers were never verified"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_list_is_not_complete_though_every_known_number_is() {
    let written = Written::with(&[Present, Present]).await;
    written.walk(None).await;
    let told = written.audit(&[]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.stdout.contains("the list of items was not read to its end yet"), "{told:?}");
    let badge = written.audit(&["--badge"]).await;
    assert!(badge.stdout.contains(">99.9%</text>"), "{badge:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_cannot_be_fetched_is_not_said_to_be_complete() {
    let written = Written::with(&[Present, Present]).await;
    let trouble = "GitHub refuses these tokens";
    let tracked = json!({"id": ID, "name": NAME, "since": at(0), "trouble": trouble, "trouble_since": at(1)});
    written.archive.track(serde_json::from_value(tracked).unwrap()).await.unwrap();
    let told = written.audit(&[]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.stdout.contains(&format!("stands still: {trouble}")), "{told:?}");
    let badge = written.audit(&["--badge"]).await;
    assert!(badge.code == Some(3) && badge.stdout.contains(">stands still</text>"), "{badge:?}");
    // One that is gone for certain gets no more numbers: what there was is all there will be.
    let known = written.archive.repository(ID).await.unwrap().unwrap();
    written.archive.put_repository(&Repository { gone_at: Some(at(2)), ..known }).await.unwrap();
    assert_eq!(written.audit(&[]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_cannot_be_read_hides_no_other_from_the_status() {
    let written = Written::with(&[Present, Present]).await;
    for (id, name) in [(6, "octo/damaged"), (ID.0, NAME)] {
        let tracked = json!({"id": id, "name": name, "since": Timestamp::now()});
        written.archive.track(serde_json::from_value(tracked).unwrap()).await.unwrap();
    }
    let damaged = written.scene.data_dir().join("archive/repositories/6");
    std::fs::create_dir_all(&damaged).unwrap();
    std::fs::write(damaged.join("repository.json"), "{").unwrap();
    let status = written.scene.run(&["status", "--json"]).await;
    assert_eq!(status.code, Some(3), "{status:?}");
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let [first, second] = [&status["repositories"][0], &status["repositories"][1]];
    assert!(
        first["error"].as_str().unwrap().contains("repository.json") && first.get("complete").is_none(),
        "{status}"
    );
    assert!(second["present"] == 2 && second.get("error").is_none(), "{status}");
    let status = written.scene.run(&["status"]).await.stdout;
    assert!(status.starts_with("octo/damaged  cannot be read\n") && status.contains(NAME), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_nobody_runs_is_not_said_to_be_complete() {
    let written = Written::with(&[Present, Present]).await;
    let two_days_ago = Timestamp::now() - SignedDuration::from_hours(48);
    written.walk(Some(two_days_ago)).await;
    let tracked = json!({"id": ID, "name": NAME, "since": two_days_ago});
    written.archive.track(serde_json::from_value(tracked).unwrap()).await.unwrap();
    let told = written.audit(&[]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.stdout.contains(&format!("stands still: GitHub was last asked at {two_days_ago}")), "{told:?}");
    let status = written.scene.json(&["status", "--json"]).await["repositories"][0].take();
    assert!(status["complete"] == false && status["trouble"].as_str().unwrap().contains("last asked"), "{status}");
    let status = written.scene.done(&["status"]).await.stdout;
    assert!(status.starts_with(&format!("{NAME}  stands still\n")), "{status}");
    let heard = UpdatesCursor { since: two_days_ago, etag: None, heard_at: Some(Timestamp::now()) };
    written.archive.set_cursor(&UpdatesCursor::feed(ID), serde_json::to_value(heard).unwrap()).await.unwrap();
    assert_eq!(written.audit(&[]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_listed_by_kind_and_healed_drift_is_no_gap() {
    let written = Written::with(&[Present, Present]).await;
    written.archive.add_drift(ID, 1, &[Drift::Title, Drift::CommentDeleted], at(1)).await.unwrap();
    written.archive.add_drift(ID, 2, &[Drift::Title], at(2)).await.unwrap();
    let told = written.audit(&[]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    for line in ["2 title, last 2027-01-15T10:00:00Z (#2)", "1 comment deleted, last 2027-01-15T09:00:00Z (#1)"] {
        assert!(told.stdout.contains(&format!("drift found and healed: {line}")), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gap_report_is_for_programs() {
    let states = [Present, Unknown, Unknown, Failed, Deleted, Transferred, Hidden, NotAnItem, Unknown];
    let written = Written::with(&states).await;
    written.archive.add_drift(ID, 1, &[Drift::Reactions], at(30)).await.unwrap();
    let told = written.audit(&["--json"]).await;
    assert_eq!(told.code, Some(3), "{told:?}");
    let report: Value = serde_json::from_str(&told.stdout).unwrap();
    insta::assert_json_snapshot!(report);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_mirrored_is_said_with_what_to_do() {
    let scene = Scene::new(1);
    scene.done(&["track", MIRRORED]).await;
    let told = scene.run(&["audit", "octo/nowhere"]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains("octo/nowhere is not mirrored: `gharvest mirror octo/nowhere`"), "{told:?}");
    assert_eq!(scene.run(&["audit", "not a name"]).await.code, Some(2));
    assert_eq!(scene.run(&["audit", NAME, "--json", "--badge"]).await.code, Some(2));
}
