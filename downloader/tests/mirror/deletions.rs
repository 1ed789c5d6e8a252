//! Deletion policies: of what is gone already, and of what goes later.

use gharvest_downloader::deletions::set_policy;
use gharvest_github_simulator::Change;
use gharvest_model::{
    ItemId, Lane, Record, Subject,
    record::RecordState,
    removal::{DeletionPolicy, Receipt},
};

use crate::world::World;

async fn record(world: &World, number: u64) -> Record {
    world.archive.record(ItemId { repository: world.id, number }).await.unwrap().unwrap()
}

async fn delete(world: &World, number: u64) {
    world.control.change(&world.name, Change::DeleteItem { number }).unwrap();
    world.push(Subject::item(world.id, number), Lane::Manual).await;
    world.work().await;
}

fn title(record: &Record) -> String {
    record.issue.as_ref().unwrap()["title"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn content_goes_with_a_receipt_from_tombstones_of_before_and_after() {
    let world = World::new(40).await;
    world.track().await;
    world.work().await;
    let [before, after, kept] = world.issues()[..3] else { panic!("three issues") };
    let titles = [title(&record(&world, before).await), title(&record(&world, after).await)];
    delete(&world, before).await;
    assert_eq!(title(&record(&world, before).await), titles[0], "kept by default");
    assert_eq!(world.archive.receipts(world.id).await.unwrap(), []);

    let changed = set_policy(&world.archive, &*world.queue, world.id, DeletionPolicy::Redact).await.unwrap();
    assert_eq!(changed, Some(1));
    delete(&world, after).await;
    for (number, title) in [before, after].into_iter().zip(&titles) {
        let record = record(&world, number).await;
        assert_eq!(record.state, RecordState::Deleted);
        let stored = serde_json::to_string(&record).unwrap();
        assert!(!stored.contains(title.as_str()), "#{number}: {stored}");
        assert!(record.issue.unwrap()["user"]["login"].is_string(), "who wrote it stays");
    }
    let receipts = world.archive.receipts(world.id).await.unwrap();
    let of = |receipt: &Receipt| (receipt.number, receipt.policy, receipt.texts > 0);
    let redacted = DeletionPolicy::Redact;
    assert_eq!(receipts.iter().map(of).collect::<Vec<_>>(), [(before, redacted, true), (after, redacted, true)]);
    assert!(!title(&record(&world, kept).await).is_empty(), "what GitHub shows is not touched");

    // A later visit and the same policy again find nothing more.
    world.push(Subject::item(world.id, before), Lane::Manual).await;
    world.work().await;
    assert_eq!(set_policy(&world.archive, &*world.queue, world.id, redacted).await.unwrap(), Some(0));
    assert_eq!(world.archive.receipts(world.id).await.unwrap(), receipts);

    let purged = set_policy(&world.archive, &*world.queue, world.id, DeletionPolicy::Purge).await.unwrap();
    assert_eq!(purged, Some(2));
    assert_eq!(record(&world, before).await.issue, None);
}
