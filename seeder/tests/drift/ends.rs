//! However it becomes known that something is gone or has a new name, the end is the same: in the record, the ledger, and
//! for the index.

use gharvest_archive::Repository;
use gharvest_downloader::track;
use gharvest_github_simulator::{Announcement, Change, Truth};
use gharvest_model::{
    ItemId, Lane, QueueName, RepositoryName, Subject, job::part, ledger::NumberState, record::RecordState,
};
use gharvest_queue::{Filter, QueueAdmin as _};
use gharvest_service_kit::settings::Untracked;
use gharvest_webhook_receiver::{Headers, Payload, Receiver};
use jiff::{SignedDuration, Timestamp};

use crate::world::{DAY, HOUR, NAME, OTHER, Setting, World};

/// How one item ended.
#[derive(Debug, PartialEq)]
struct End {
    record: RecordState,
    ledger: NumberState,
    is_indexed_anew: bool,
}

/// By which way the mirror learns that an item is gone.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// A webhook tells, and GitHub says so when it is asked.
    Webhook,
    /// A webhook tells, and GitHub says no more than 404.
    WebhookAlone,
    /// Somebody has it fetched: 301 or 410.
    Visit,
    /// Nobody says anything.
    Sweep,
}

impl World {
    async fn deliver(&self, announcement: &Announcement) {
        let receiver = Receiver::new(std::sync::Arc::clone(&self.queue) as _, self.archive.clone(), Untracked::Ignore);
        let body = serde_json::to_vec(&announcement.payload).unwrap();
        let payload = Payload::read("application/json", &body).unwrap();
        let delivery = format!("delivery-{}", fastrand::u64(..));
        let headers = Headers { event: &announcement.event, delivery: &delivery, hook: None };
        receiver.receive(headers, &payload).await.unwrap();
    }

    async fn forget_index_jobs(&self) {
        self.queue.purge(QueueName::Index, &Filter::default()).await.unwrap();
    }

    async fn is_indexed_anew(&self, number: u64) -> bool {
        self.queue.job(QueueName::Index, &Subject::item(self.id, number)).await.unwrap().is_some()
    }

    async fn end(&self, number: u64) -> End {
        let record = self.archive.record(ItemId { repository: self.id, number }).await.unwrap().unwrap();
        let ledger = self.archive.ledger(self.id).await.unwrap().get(number).state;
        End { record: record.state, ledger, is_indexed_anew: self.is_indexed_anew(number).await }
    }

    /// Makes a change to an item and lets it become known.
    async fn lose(&mut self, number: u64, way: Way, change: Change) -> End {
        self.forget_index_jobs().await;
        let told = self.control.change(&self.name, change).unwrap().remove(0);
        match way {
            Way::Webhook | Way::WebhookAlone => self.deliver(&told).await,
            Way::Visit => self.push(Subject::item(self.id, number), Lane::Manual).await,
            Way::Sweep => {
                for _ in 0..(DAY / HOUR + 2) {
                    self.look(HOUR).await;
                }
            }
        }
        self.download().await;
        self.end(number).await
    }

    fn issues(&self) -> Vec<u64> {
        let is_issue = |number: &u64| matches!(self.truth(*number), Truth::Present { pull: None, .. });
        self.control.truth_numbers(&self.name).into_iter().filter(is_issue).collect()
    }
}

#[tokio::test]
async fn a_deleted_item_ends_the_same_by_webhook_by_a_visit_and_by_the_sweep() {
    let mut world = World::mirrored(Setting { items: 30, ..Setting::default() }).await;
    world.pass(0).await;
    let expected = End { record: RecordState::Deleted, ledger: NumberState::Deleted, is_indexed_anew: true };
    let numbers = world.issues();
    for (number, way) in numbers.iter().copied().zip([Way::Webhook, Way::Visit, Way::Sweep]) {
        assert_eq!(world.lose(number, way, Change::DeleteItem { number }).await, expected, "{way:?}");
    }
    // GitHub says no more than 404, but its webhook said what happened.
    let (number, told_of) = (numbers[3], numbers[4]);
    let mut told = world.control.change(&world.name, Change::DeleteItem { number: told_of }).unwrap().remove(0);
    let Truth::Present { issue, .. } = world.truth(number) else { panic!("#{number} is there") };
    world.control.change(&world.name, Change::HideItem { number }).unwrap();
    told.payload["issue"] = issue;
    world.forget_index_jobs().await;
    world.deliver(&told).await;
    world.download().await;
    assert_eq!(world.end(number).await, expected, "{:?}", Way::WebhookAlone);
}

#[tokio::test]
async fn a_transferred_item_ends_the_same_by_webhook_by_a_visit_and_by_the_sweep() {
    let mut world = World::mirrored(Setting { items: 30, ..Setting::default() }).await;
    world.pass(0).await;
    let numbers = world.issues();
    let other: RepositoryName = OTHER.parse().unwrap();
    for (number, way) in numbers.iter().copied().zip([Way::Webhook, Way::Visit, Way::Sweep, Way::WebhookAlone]) {
        let to = world.control.highest_number(&other) + 1;
        if way == Way::WebhookAlone {
            // The token may not see where it went.
            world.control.change(&other, Change::HideRepository).unwrap();
        }
        let end = world.lose(number, way, Change::TransferItem { number, to: other.clone() }).await;
        let record = RecordState::Transferred { to: Some(format!("{OTHER}#{to}")) };
        assert_eq!(end, End { record, ledger: NumberState::Transferred, is_indexed_anew: true }, "{way:?}");
    }
}

#[tokio::test]
async fn a_hidden_item_ends_the_same_by_visits_and_by_the_sweep() {
    let mut world = World::mirrored(Setting { items: 30, gaps: true, ..Setting::default() }).await;
    world.pass(0).await;
    let expected = End { record: RecordState::Hidden, ledger: NumberState::Hidden, is_indexed_anew: true };
    let numbers = world.issues();
    for (number, sweeps) in numbers.iter().copied().zip([false, true]) {
        world.control.change(&world.name, Change::HideItem { number }).unwrap();
        for look in 0..2 {
            world.forget_index_jobs().await;
            if sweeps {
                for _ in 0..(DAY / HOUR + 2) {
                    world.look(HOUR).await;
                }
            } else {
                world.push(Subject::item(world.id, number), Lane::Manual).await;
            }
            world.download().await;
            if look == 0 {
                assert_eq!(world.end(number).await.record, RecordState::Present, "once is not certain");
                // For the downloader's clock, which is the real one, a day is made to have passed.
                let verified_at = Timestamp::now() - SignedDuration::from_hours(25);
                let change = gharvest_archive::LedgerChange { number, state: NumberState::Unknown, verified_at };
                world.archive.update_ledger(world.id, &[change]).await.unwrap();
            }
        }
        assert_eq!(world.end(number).await, expected, "by the sweep: {sweeps}");
    }
}

#[tokio::test]
async fn a_renamed_repository_ends_the_same_however_it_becomes_known() {
    let mut world = World::mirrored(Setting { items: 12, ..Setting::default() }).await;
    world.pass(0).await;
    let mut former: Vec<RepositoryName> = Vec::new();
    let mut name = world.name.clone();
    let counts = world.archive.ledger(world.id).await.unwrap().counts();
    for way in ["webhook", "an item", "the list of updates", "the repository's object", "the sweep"] {
        let to: RepositoryName = format!("lumen/{}", way.replace([' ', '\''], "-")).parse().unwrap();
        world.forget_index_jobs().await;
        let told = world.control.change(&name, Change::RenameRepository { to: to.clone() }).unwrap().remove(0);
        match way {
            "webhook" => world.deliver(&told).await,
            "an item" => world.push(Subject::item(world.id, 1), Lane::Webhook).await,
            "the list of updates" => world.push(Subject::part(world.id, part::UPDATES), Lane::Reconcile).await,
            "the sweep" => {
                for _ in 0..6 {
                    world.look(12 * HOUR).await;
                }
            }
            _ => world.push(Subject::part(world.id, part::METADATA), Lane::Reconcile).await,
        }
        world.download().await;
        former.insert(0, std::mem::replace(&mut name, to));
        let Repository { full_name, former_names, .. } = world.archive.repository(world.id).await.unwrap().unwrap();
        assert_eq!((&full_name, &former_names), (&name, &former), "{way}");
        assert_eq!(world.archive.tracking().await.unwrap()[0].name, name, "{way}");
        for known in former.iter().chain([&name]) {
            assert_eq!(world.archive.resolve(known).await.unwrap(), Some(world.id), "{way}: {known}");
        }
        assert_eq!(world.archive.ledger(world.id).await.unwrap().counts(), counts, "{way}");
        for number in world.control.truth_numbers(&name) {
            assert!(world.is_indexed_anew(number).await, "{way}: #{number} would stay under its old name");
        }
    }
}

#[tokio::test]
async fn a_repository_remade_under_the_name_changes_nothing_of_the_one_that_had_it() {
    for is_renamed in [true, false] {
        let world = World::mirrored(Setting { items: 20, ..Setting::default() }).await;
        let record = async |number| world.archive.record(ItemId { repository: world.id, number }).await.unwrap();
        let before = record(1).await.unwrap();
        let leaves = match is_renamed {
            true => Change::RenameRepository { to: "lumen/moved".parse().unwrap() },
            false => Change::HideRepository,
        };
        world.control.change(&world.name, leaves).unwrap();
        let remade = Change::RenameRepository { to: NAME.parse().unwrap() };
        world.control.change(&OTHER.parse().unwrap(), remade).unwrap();
        // An item that both have, one that the new repository lacks, and the list of what was updated.
        world.push(Subject::item(world.id, 1), Lane::Webhook).await;
        world.push(Subject::item(world.id, 18), Lane::Webhook).await;
        world.push(Subject::part(world.id, part::UPDATES), Lane::Reconcile).await;
        if is_renamed {
            world.download().await;
            let repository = world.archive.repository(world.id).await.unwrap().unwrap();
            assert_eq!(repository.full_name.to_string(), "lumen/moved");
        } else {
            world.download_until_paused().await;
            let entry = world.archive.tracking().await.unwrap().remove(0);
            assert!(entry.trouble.unwrap().contains("shows no repository"));
        }
        let after = record(1).await.unwrap();
        assert_eq!(after.issue.unwrap()["id"], before.issue.unwrap()["id"], "renamed: {is_renamed}");
        assert_eq!(record(18).await.unwrap().state, RecordState::Present, "renamed: {is_renamed}");
        // The new one is another repository, with an archive of its own.
        let new = track::track(&world.archive, &world.client, world.queue.as_ref(), &world.name).await.unwrap();
        assert_ne!(new.id, world.id);
        assert_eq!(world.archive.resolve(&world.name).await.unwrap(), Some(new.id));
        assert!(world.archive.repository(world.id).await.unwrap().is_some(), "what was mirrored stays");
    }
}
