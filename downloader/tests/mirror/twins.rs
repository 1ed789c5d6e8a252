//! Private twins: placeholders carry what the linked private item says, and nobody else gets to see it.

use gharvest_archive::InboxEntry;
use gharvest_downloader::TwinOptions;
use gharvest_github_simulator::Change;
use gharvest_model::{
    ItemId, Lane, Record, RepositoryName, Subject,
    record::{Fact, RecordState, Visibility},
};
use gharvest_service_kit::settings::Twins;
use serde_json::{Value, json};

use crate::world::{OTHER, World};

const PLACEHOLDER: &str = "In the moderation queue.";
const SECRET: &str = "example.org shows nothing but kingfishers";

/// A mirror of a repository of placeholders, with the private one beside it; and an issue of each.
async fn world() -> (World, RepositoryName, u64, u64) {
    let mut world = World::new(30).await;
    let private: RepositoryName = OTHER.parse().unwrap();
    let twins = vec![Twins { public: world.name.clone(), private: private.clone() }];
    world.options.twins = TwinOptions { twins, titles: vec![PLACEHOLDER.to_owned(), "Issue closed.".to_owned()] };
    let open = |title: &str, body: &str| Change::OpenIssue { title: title.to_owned(), body: Some(body.to_owned()) };
    world.control.change(&private, Change::MakePrivate).unwrap();
    world.control.change(&private, open("A report", SECRET)).unwrap();
    world.control.change(&world.name, open(PLACEHOLDER, "Somebody will look at it.")).unwrap();
    let (public, of_private) = (world.control.highest_number(&world.name), world.control.highest_number(&private));
    (world, private, public, of_private)
}

async fn record(world: &World, number: u64) -> Record {
    world.archive.record(ItemId { repository: world.id, number }).await.unwrap().unwrap()
}

async fn visit(world: &World, number: u64) -> Record {
    world.push(Subject::item(world.id, number), Lane::Manual).await;
    world.work().await;
    record(world, number).await
}

fn shown<'a>(record: &'a Record, field: &str) -> &'a str {
    record.issue.as_ref().unwrap()[field].as_str().unwrap()
}

#[tokio::test]
async fn a_placeholder_carries_its_twin_in_private_until_it_is_moderated() {
    let (world, private, number, twin) = world().await;
    // GitHub makes a reference of the address in the private item's body.
    let refer = Change::CrossReference { number, from: twin, of: Some(private.clone()) };
    world.control.change(&world.name, refer).unwrap();
    world.track().await;
    world.work().await;
    let first = record(&world, number).await;
    assert_eq!((first.visibility, first.state.clone()), (Visibility::Private, RecordState::Present));
    assert_eq!(shown(&first, "title"), PLACEHOLDER, "what GitHub said of the placeholder is kept as it said it");
    let read = first.shown();
    assert_eq!((shown(&read, "title"), shown(&read, "body")), ("A report", SECRET));
    for other in world.issues().into_iter().filter(|other| *other != number) {
        assert_eq!(record(&world, other).await.visibility, Visibility::Public, "#{other}");
    }

    // Unchanged, it is not stored anew; edited, it is.
    assert_eq!(visit(&world, number).await.revision, first.revision);
    let body = "Herons, not kingfishers.".to_owned();
    world.control.change(&private, Change::EditBody { number: twin, body }).unwrap();
    let edited = visit(&world, number).await;
    assert_eq!(shown(&edited.shown(), "body"), "Herons, not kingfishers.");

    // What GitHub does not show any more stays as it was seen.
    world.control.change(&private, Change::DeleteItem { number: twin }).unwrap();
    let kept = visit(&world, number).await;
    assert_eq!((&kept.twin, kept.visibility), (&edited.twin, Visibility::Private));

    let title = "example.org: nothing but herons".to_owned();
    world.control.change(&world.name, Change::EditTitle { number, title: title.clone() }).unwrap();
    let moderated = visit(&world, number).await;
    assert_eq!((moderated.visibility, &moderated.twin), (Visibility::Public, &None));
    assert_eq!(shown(&moderated, "title"), title);
    let stored = serde_json::to_string(&moderated).unwrap();
    for secret in [SECRET, "Herons, not", "A report", "archive\""] {
        assert!(!stored.contains(secret), "{secret} in {stored}");
    }
    assert_eq!(world.control.violations(), []);
}

#[tokio::test]
async fn an_address_in_the_placeholder_leads_to_its_twin_and_a_tombstone_stays_private() {
    let (world, private, number, twin) = world().await;
    let body = format!("<!-- https://github.com/{private}/issues/{twin} -->");
    world.control.change(&world.name, Change::EditBody { number, body }).unwrap();
    world.track().await;
    world.work().await;
    assert_eq!(shown(&record(&world, number).await.shown(), "body"), SECRET);
    world.control.change(&world.name, Change::DeleteItem { number }).unwrap();
    let gone = visit(&world, number).await;
    assert_eq!((gone.state, gone.visibility), (RecordState::Deleted, Visibility::Private));
}

#[tokio::test]
async fn a_twin_that_no_token_sees_leaves_the_placeholder_as_it_is() {
    let (world, private, number, twin) = world().await;
    let refer = Change::CrossReference { number, from: twin, of: Some(private.clone()) };
    world.control.change(&world.name, refer).unwrap();
    world.control.change(&private, Change::HideRepository).unwrap();
    world.track().await;
    world.work().await;
    let placeholder = record(&world, number).await;
    assert_eq!((placeholder.visibility, &placeholder.twin), (Visibility::Public, &None));
    assert!(!serde_json::to_string(&placeholder).unwrap().contains(SECRET));

    // The token sees it from now on: nothing of the placeholder itself has changed.
    world.control.change(&private, Change::ShowRepository).unwrap();
    let seen = visit(&world, number).await;
    assert_eq!((seen.visibility, shown(&seen.shown(), "body")), (Visibility::Private, SECRET));
}

#[tokio::test]
async fn a_public_record_holds_nothing_of_the_private_item_that_refers_to_it() {
    let (mut world, private, number, twin) = world().await;
    world.options.twins = TwinOptions::default();
    let refer = Change::CrossReference { number, from: twin, of: Some(private) };
    world.control.change(&world.name, refer).unwrap();
    world.track().await;
    world.work().await;
    let record = record(&world, number).await;
    let is_reference = |event: &&Value| event["event"] == "cross-referenced";
    assert_eq!((record.visibility, record.timeline.iter().filter(is_reference).count()), (Visibility::Public, 0));
    assert!(!serde_json::to_string(&record).unwrap().contains(SECRET));
}

#[tokio::test]
async fn a_public_record_names_no_private_repository_that_its_item_went_to() {
    let (mut world, private, number, _) = world().await;
    world.options.twins = TwinOptions::default();
    world.track().await;
    world.work().await;
    world.control.change(&world.name, Change::TransferItem { number, to: private.clone() }).unwrap();
    let target = world.control.repository_id(&private).unwrap();
    let fact: Fact = serde_json::from_value(json!({
        "delivery": "d-1", "event": "issues", "action": "transferred", "received_at": "2026-01-01T00:00:00Z",
        "facts": {"changes": {
            "new_issue": {"id": 5, "number": 19, "title": SECRET},
            "new_repository": {"id": target, "full_name": "lumen/secret-target", "private": true},
        }},
    }))
    .unwrap();
    let item = ItemId { repository: world.id, number };
    world.archive.put_inbox(&InboxEntry { item: Some(item), fact, triggers: Value::Null }).await.unwrap();
    let gone = visit(&world, number).await;
    assert_eq!((gone.visibility, gone.state.clone()), (Visibility::Public, RecordState::Transferred { to: None }));
    assert_eq!(gone.kept[0].facts["changes"]["new_repository"], json!({"id": target, "private": true}));
    let stored = serde_json::to_string(&gone).unwrap();
    assert!(!stored.contains(SECRET) && !stored.contains("secret-target"), "{stored}");
    assert_eq!(world.control.violations(), []);
}
