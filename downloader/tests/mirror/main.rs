//! Whole mirrors of a simulated GitHub, with everything that can go wrong on the way.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{sync::Arc, time::Duration};

use gharvest_archive::{
    LedgerChange, Repository,
    store::{Condition, Durability, Store as _},
};
use gharvest_downloader::track;
use gharvest_github_simulator::{Change, Fault, Rule, Truth};
use gharvest_model::{
    ItemId, Lane, QueueName, Record, RepositoryId, Revision, Subject, change::same_content, job::part,
    ledger::NumberState, progress::UpdatesCursor, record::RecordState, tracking::Tracked,
};
use gharvest_queue::{Counts, Filter, Queue as _, QueueAdmin, Scope};
use jiff::{SignedDuration, Timestamp};

mod compare;
mod cost;
mod deletions;
mod edges;
mod edits;
mod errors;
mod full;
mod kill;
mod limits;
mod memory;
mod twins;
mod ways;
mod world;

use kill::KillingQueue;
use world::{OTHER, RENAMED, World, github, nothing};

/// The mirror shows what GitHub shows, but for what GraphQL cannot give.
async fn nothing_but_lossy(world: &World) {
    let differences = world.differences().await;
    nothing(&differences);
}

#[tokio::test]
async fn a_mirror_is_what_github_shows_and_every_item_is_told_to_the_index() {
    let world = World::new(120).await;
    world.track().await;
    world.work().await;
    nothing(&world.differences().await);
    assert_eq!(world.without_index_job().await, Vec::<u64>::new());
    let completeness = track::completeness(&world.archive, world.id).await.unwrap();
    assert!(completeness.is_complete(), "{completeness:?}");
    assert_eq!(world.control.violations(), []);
    for part in [part::LABELS, part::MILESTONES, part::RELEASES] {
        assert!(world.archive.part(world.id, part).await.unwrap().unwrap().is_array(), "{part}");
    }
    let counts = world.counts(QueueName::Download).await;
    assert_eq!((counts.buried, counts.totals.retried), (0, 0));
    // A second visit finds everything as it is and stores nothing.
    let revision = |number| world.archive.record(ItemId { repository: world.id, number });
    assert_eq!(revision(1).await.unwrap().unwrap().revision, Revision(1));
    world.push(Subject::item(world.id, 1), Lane::Manual).await;
    world.work().await;
    assert_eq!(revision(1).await.unwrap().unwrap().revision, Revision(1));
}

#[tokio::test]
async fn a_first_mirror_by_graphql_is_complete_and_saves_most_of_the_calls() {
    let mut world = World::new(120).await;
    world.options.graphql = true;
    world.options.worker.batch = 20;
    world.track().await;
    world.work().await;
    let completeness = track::completeness(&world.archive, world.id).await.unwrap();
    assert!(completeness.is_complete(), "{completeness:?}");
    assert_eq!(world.without_index_job().await, Vec::<u64>::new());
    assert_eq!(world.control.violations(), []);
    for number in world.control.truth_numbers(&world.name) {
        let record = world.archive.record(ItemId { repository: world.id, number }).await.unwrap().unwrap();
        assert!(!record.timeline.is_empty() || record.pull.is_none(), "#{number}");
        let Some(Truth::Present { issue, .. }) = world.control.truth(&world.name, number) else { panic!("#{number}") };
        let told = Record { issue: Some(issue), ..record.clone() };
        assert!(same_content(&record, &told), "the issue of #{number} is REST's own");
    }
    let requests = world.control.requests();
    let timelines = requests.get("GET /repos/{owner}/{repo}/issues/{issue_number}/timeline").copied().unwrap_or(0);
    assert!(timelines < 60, "{timelines} timelines of 120 items went by REST: {requests:?}");
}

#[tokio::test]
async fn a_mirror_survives_faults_limits_and_a_repository_that_changes_meanwhile() {
    let world = World::new(80).await;
    let control = &world.control;
    for fault in [Fault::Status { status: 502 }, Fault::Reset, Fault::Truncate] {
        control.inject(Rule::often(fault, 0.03));
    }
    control.inject(Rule::once(Fault::PrimaryLimit { reset_in_s: 1, status: 403 }).after(60));
    let change = |what| Fault::Change { repository: world.name.clone(), what };
    let issues = world.issues();
    let (deleted, transferred) = (issues[2], issues[3]);
    let renamed = Change::RenameRepository { to: RENAMED.parse().unwrap() };
    for (after, what) in [
        (30, Change::DeleteItem { number: deleted }),
        (40, Change::TransferItem { number: transferred, to: OTHER.parse().unwrap() }),
        (50, Change::Event { number: 1, event: "from_the_future".to_owned() }),
        (70, renamed),
    ] {
        control.inject(Rule::once(change(what)).after(after));
    }
    world.track().await;
    world.work().await;
    control.clear_faults();
    // Whatever changed after it had been fetched is found by asking what was updated; what leaves no trace by asking
    // for it.
    for subject in [Subject::part(world.id, part::UPDATES), Subject::part(world.id, part::METADATA)] {
        world.push(subject, Lane::Reconcile).await;
    }
    for number in [1, deleted, transferred] {
        world.push(Subject::item(world.id, number), Lane::Webhook).await;
    }
    world.work().await;
    nothing(&world.differences().await);
    assert_eq!(world.counts(QueueName::Download).await.buried, 0);
    let repository = world.archive.repository(world.id).await.unwrap().unwrap();
    assert_eq!(repository.full_name.to_string(), RENAMED);
    assert_eq!(repository.former_names, std::slice::from_ref(&world.name));
    assert_eq!(world.archive.resolve(&world.name).await.unwrap(), Some(world.id));
    assert_eq!(world.archive.ledger(world.id).await.unwrap().get(deleted).state, NumberState::Deleted);
    let transferred = ItemId { repository: world.id, number: transferred };
    let transferred = world.archive.record(transferred).await.unwrap().unwrap();
    let RecordState::Transferred { to: Some(to) } = &transferred.state else { panic!("{:?}", transferred.state) };
    assert!(to.starts_with("lumen/archive#"), "{to}");
}

#[tokio::test]
async fn changes_that_nobody_announced_are_found_and_older_texts_are_kept() {
    let world = World::new(30).await;
    world.track().await;
    world.work().await;
    let old_title = world.archive.record(ItemId { repository: world.id, number: 1 }).await.unwrap().unwrap();
    let old_title = old_title.core().unwrap()["title"].as_str().unwrap().to_owned();
    for change in [
        Change::EditTitle { number: 1, title: "Another title".to_owned() },
        Change::Comment { number: 2, body: "A word".to_owned() },
        Change::OpenIssue { title: "Nobody saw me come".to_owned(), body: None },
        Change::Close { number: 4, reason: Some("completed".to_owned()) },
    ] {
        drop(world.control.change(&world.name, change));
    }
    world.push(Subject::part(world.id, part::UPDATES), Lane::Reconcile).await;
    world.work().await;
    nothing(&world.differences().await);
    let record = world.archive.record(ItemId { repository: world.id, number: 1 }).await.unwrap().unwrap();
    assert!(record.history.iter().any(|older| older.of == "title" && older.text == old_title));
    // Nothing new: no download follows.
    let finished = world.counts(QueueName::Download).await.totals.finished;
    let mut before = world.client.spent();
    for _ in 0..2 {
        before = world.client.spent();
        world.push(Subject::part(world.id, part::UPDATES), Lane::Reconcile).await;
        world.work().await;
    }
    assert_eq!(world.counts(QueueName::Download).await.totals.finished, finished + 2);
    // One request with the ETag of the last round, which GitHub does not charge.
    let spent = world.client.spent();
    assert_eq!((spent.unchanged - before.unchanged, spent.cost() - before.cost()), (1, 0));
}

/// The walk that is under way when a person asks writes its own place afterwards.
#[tokio::test]
async fn what_a_person_wants_looked_back_to_is_asked_for_whatever_the_cursor_says() {
    let world = World::new(30).await;
    world.track().await;
    world.work().await;
    let change = Change::EditTitle { number: 1, title: "Another title".to_owned() };
    world.control.change(&world.name, change).unwrap();
    world.archive.look_back(world.id, Timestamp::UNIX_EPOCH).await.unwrap();
    let feed = UpdatesCursor::feed(world.id);
    let passed = UpdatesCursor { since: "2100-01-01T00:00:00Z".parse().unwrap(), etag: None, heard_at: None };
    world.archive.set_cursor(&feed, serde_json::to_value(&passed).unwrap()).await.unwrap();
    world.push(Subject::part(world.id, part::UPDATES), Lane::Manual).await;
    world.work().await;
    nothing(&world.differences().await);
    assert_eq!(world.archive.look_back_to(world.id).await.unwrap(), None, "it was done");
    let cursor = UpdatesCursor::read(world.archive.cursor(&feed).await.unwrap()).unwrap();
    assert_eq!(cursor.since, passed.since);
}

#[tokio::test]
async fn an_entry_that_goes_while_a_long_timeline_is_read_takes_no_other_with_it() {
    const LONG: u64 = 5;
    let world = World::new(12).await;
    let timeline = |world: &World| match world.control.truth(&world.name, LONG) {
        Some(Truth::Present { timeline, .. }) => timeline,
        other => panic!("{other:?}"),
    };
    let commented = timeline(&world).into_iter().find(|entry| entry["event"] == "commented").unwrap();
    let what = Change::DeleteComment { number: LONG, comment: commented["id"].as_u64().unwrap() };
    // It goes between the first page and the second.
    let change = Fault::Change { repository: world.name.clone(), what };
    world.control.inject(Rule::once(change).on("/issues/5/timeline").after(1));
    world.track().await;
    world.work().await;
    assert_eq!(world.control.fault_hits(), 1);
    let record = world.archive.record(ItemId { repository: world.id, number: LONG }).await.unwrap().unwrap();
    let nodes = |entries: &[serde_json::Value]| entries.iter().map(|entry| entry["id"].clone()).collect::<Vec<_>>();
    assert!(record.timeline.len() > 100);
    assert_eq!(nodes(&record.timeline), nodes(&timeline(&world)));
}

#[tokio::test]
async fn an_item_that_answers_404_is_hidden_only_when_it_still_does_a_day_later() {
    an_item_answers_404(World::new(20).await).await;
    // Though each try is the last one.
    let mut world = World::new(20).await;
    world.options.max_attempts = 1;
    an_item_answers_404(world).await;
}

async fn an_item_answers_404(world: World) {
    world.track().await;
    world.work().await;
    let item = ItemId { repository: world.id, number: 4 };
    world.control.change(&world.name, Change::HideItem { number: 4 }).unwrap();
    for _ in 0..2 {
        world.push(Subject::Item(item), Lane::Manual).await;
        world.work().await;
        assert_eq!(world.archive.record(item).await.unwrap().unwrap().state, RecordState::Present);
        let entry = world.archive.ledger(world.id).await.unwrap().get(4);
        assert!(entry.state == NumberState::Unknown && entry.verified_at.is_some(), "{entry:?}");
    }
    let yesterday = Timestamp::now() - SignedDuration::from_hours(25);
    let change = LedgerChange { number: 4, state: NumberState::Unknown, verified_at: yesterday };
    world.archive.update_ledger(world.id, &[change]).await.unwrap();
    world.push(Subject::Item(item), Lane::Reconcile).await;
    world.work().await;
    assert_eq!(world.archive.record(item).await.unwrap().unwrap().state, RecordState::Hidden);
    nothing(&world.differences().await);
    world.control.change(&world.name, Change::ShowItem { number: 4 }).unwrap();
    world.push(Subject::Item(item), Lane::Webhook).await;
    world.work().await;
    nothing(&world.differences().await);
}

#[tokio::test]
async fn a_redirect_that_is_not_githubs_own_changes_no_item() {
    let world = World::new(12).await;
    world.track().await;
    world.work().await;
    let number = world.issues()[2];
    let item = ItemId { repository: world.id, number };
    // As often as the client asks for one thing.
    const TIMES: u64 = 4;
    let elsewhere = format!("/repositories/99/issues/{number}");
    for (status, location, times) in [
        (301, "https://login.example/", TIMES),
        (301, "/login?return_to=%2F", 1),
        (301, "/repositories/99", 1),
        (302, elsewhere.as_str(), TIMES),
        (307, elsewhere.as_str(), TIMES),
    ] {
        let redirect = Fault::Redirect { status, location: location.to_owned() };
        world.control.inject(Rule::once(redirect).times(times).on(&format!("/issues/{number}")));
        let hits = world.control.fault_hits();
        world.push(Subject::Item(item), Lane::Webhook).await;
        world.work().await;
        assert_eq!(world.control.fault_hits() - hits, times, "{status} {location}");
        let record = world.archive.record(item).await.unwrap().unwrap();
        assert_eq!((record.state, record.revision), (RecordState::Present, Revision(1)), "{status} {location}");
        let state = world.archive.ledger(world.id).await.unwrap().get(number).state;
        assert_eq!(state, NumberState::Present, "{status} {location}");
    }
    nothing(&world.differences().await);
}

#[tokio::test]
async fn states_of_the_repository_change_no_item_and_end_by_themselves() {
    let mut world = World::new(20).await;
    // Also of a job that is buried if nothing comes of this try.
    world.options.max_attempts = 1;
    world.track().await;
    world.work().await;
    for (begin, end) in [
        (Change::DisableIssues, Change::EnableIssues),
        (Change::HideRepository, Change::ShowRepository),
        (Change::BlockRepository { status: 451, reason: "dmca".to_owned() }, Change::ShowRepository),
    ] {
        world.control.change(&world.name, begin.clone()).unwrap();
        world.push(Subject::item(world.id, 1), Lane::Webhook).await;
        let queue = Arc::clone(&world.queue);
        let paused = Scope::Repository(QueueName::Download, world.id);
        world.work_with(Arc::clone(&queue) as _, |counts| counts.leased == 0 && counts.totals.finished > 0).await;
        while !queue.pauses().await.unwrap().iter().any(|(scope, _)| *scope == paused) {
            let seen = std::cell::Cell::new(0);
            world.work_with(Arc::clone(&queue) as _, |_| seen.replace(seen.get() + 1) > 10).await;
        }
        let tracked = world.archive.tracking().await.unwrap().remove(0);
        assert!(tracked.trouble.is_some(), "{begin:?}");
        let record = world.archive.record(ItemId { repository: world.id, number: 1 }).await.unwrap().unwrap();
        assert_eq!(record.state, RecordState::Present, "{begin:?}");
        nothing(&world.differences().await);
        world.control.change(&world.name, end).unwrap();
        world.work().await;
        assert_eq!(world.archive.tracking().await.unwrap()[0].trouble, None, "{begin:?}");
    }
    nothing(&world.differences().await);
    assert_eq!(world.counts(QueueName::Download).await.totals.retried, 0);
}

/// Works until the repository's downloads are paused.
async fn work_until_paused(world: &World) {
    let queue = Arc::clone(&world.queue);
    let paused = Scope::Repository(QueueName::Download, world.id);
    world.push(Subject::item(world.id, 1), Lane::Webhook).await;
    while !queue.pauses().await.unwrap().iter().any(|(scope, _)| *scope == paused) {
        let seen = std::cell::Cell::new(0);
        let looks = |counts: &Counts| {
            assert_eq!(counts.buried, 0);
            seen.replace(seen.get() + 1) > 10
        };
        world.work_with(Arc::clone(&queue) as _, looks).await;
    }
}

async fn repository_and_entry(world: &World) -> (Repository, Tracked) {
    let repository = world.archive.repository(world.id).await.unwrap().unwrap();
    (repository, world.archive.tracking().await.unwrap().remove(0))
}

/// GitHub has shown no repository for a day and an hour, and is asked again.
async fn a_day_later(world: &World) {
    let since = Timestamp::now() - SignedDuration::from_hours(25);
    world.archive.change_tracked(world.id, &|entry| entry.trouble_since = Some(since)).await.unwrap();
    world.queue.resume(&Scope::Repository(QueueName::Download, world.id)).await.unwrap();
    work_until_paused(world).await;
}

#[tokio::test]
async fn a_repository_gone_for_a_day_leaves_search_and_comes_back() {
    let world = World::new(20).await;
    world.track().await;
    world.work().await;
    let indexed = |world: &World| {
        let queue = Arc::clone(&world.queue);
        async move {
            let purged = queue.purge(QueueName::Index, &Filter::default()).await.unwrap();
            purged >= 20
        }
    };
    assert!(indexed(&world).await);
    world.control.change(&world.name, Change::HideRepository).unwrap();
    work_until_paused(&world).await;
    let (repository, entry) = repository_and_entry(&world).await;
    assert!(entry.trouble.is_some() && repository.gone_at.is_none(), "one look is not certain");
    assert!(!indexed(&world).await);

    a_day_later(&world).await;
    let (repository, entry) = repository_and_entry(&world).await;
    assert!(repository.gone_at.is_some(), "{entry:?}");
    assert!(entry.trouble.unwrap().starts_with("gone from GitHub since"));
    assert!(indexed(&world).await, "all documents are made again");
    let record = world.archive.record(ItemId { repository: world.id, number: 1 }).await.unwrap().unwrap();
    assert_eq!(record.state, RecordState::Present, "the archive keeps what it has");

    world.control.change(&world.name, Change::ShowRepository).unwrap();
    world.queue.resume(&Scope::Repository(QueueName::Download, world.id)).await.unwrap();
    world.work().await;
    let (repository, entry) = repository_and_entry(&world).await;
    assert_eq!((repository.gone_at, entry.trouble, entry.trouble_since), (None, None, None));
    assert!(indexed(&world).await);
    nothing(&world.differences().await);
}

#[tokio::test]
async fn what_may_only_be_unseen_is_never_certain_to_be_gone() {
    let world = World::new(12).await;
    world.track().await;
    world.work().await;
    world.control.change(&world.name, Change::HideRepository).unwrap();
    work_until_paused(&world).await;
    // A token that may not see a private repository any more gets the same answer.
    world.archive.change_tracked(world.id, &|entry| entry.private = true).await.unwrap();
    a_day_later(&world).await;
    assert_eq!(repository_and_entry(&world).await.0.gone_at, None);
    world.archive.change_tracked(world.id, &|entry| entry.private = false).await.unwrap();
    // Not even what everybody is shown is shown: it is no GitHub. All that are tracked are in the same trouble then.
    world.control.inject(Rule::often(Fault::Status { status: 404 }, 1.0).on("/meta"));
    a_day_later(&world).await;
    assert_eq!(repository_and_entry(&world).await.0.gone_at, None);
    let (_, entry) = repository_and_entry(&world).await;
    for (id, trouble) in [(1, None), (2, entry.trouble.clone())] {
        let name = format!("lumen/never-{id}").parse().unwrap();
        world.archive.track(Tracked { id: RepositoryId(id), name, trouble, ..entry.clone() }).await.unwrap();
        a_day_later(&world).await;
        let found = world.archive.repository(world.id).await.unwrap().unwrap();
        assert_eq!(found.gone_at, None, "beside {id} others");
    }
    // It is GitHub. One that is well and not shown speaks against it; those in trouble are gone together.
    world.control.clear_faults();
    a_day_later(&world).await;
    assert_eq!(world.archive.repository(world.id).await.unwrap().unwrap().gone_at, None);
    world.archive.change_tracked(RepositoryId(1), &|other| other.trouble = Some("hidden".to_owned())).await.unwrap();
    a_day_later(&world).await;
    assert!(world.archive.repository(world.id).await.unwrap().unwrap().gone_at.is_some());
}

#[tokio::test]
async fn what_a_webhook_called_private_stays_private_until_github_shows_it_to_all() {
    let world = World::new(12).await;
    world.track().await;
    world.work().await;
    let made_again = async || {
        let mut parts = 0;
        for part in [part::METADATA, part::RELEASES, part::DAILY] {
            let job = world.queue.job(QueueName::Index, &Subject::part(world.id, part)).await.unwrap();
            parts += u64::from(job.is_some());
        }
        let purged = world.queue.purge(QueueName::Index, &Filter::default()).await.unwrap();
        (purged >= 12, parts)
    };
    made_again().await;
    // No token of ours sees it from now on, and no answer of GitHub says why.
    world.archive.hear_private(world.id, Timestamp::now()).await.unwrap();
    world.control.change(&world.name, Change::HideRepository).unwrap();
    work_until_paused(&world).await;
    let own = world.queue.job(QueueName::Index, &Subject::part(world.id, part::METADATA)).await.unwrap().unwrap();
    assert_eq!(own.lane, Lane::Manual, "its own document hides all of it where only what is public is shown");
    assert_eq!(made_again().await, (true, 3));
    a_day_later(&world).await;
    let (repository, entry) = repository_and_entry(&world).await;
    assert!(repository.is_private() && entry.private && repository.gone_at.is_none());
    assert_eq!(made_again().await, (false, 0), "once is enough");

    // GitHub's object is as it was, but it is asked for whole.
    world.control.change(&world.name, Change::ShowRepository).unwrap();
    world.queue.resume(&Scope::Repository(QueueName::Download, world.id)).await.unwrap();
    world.work().await;
    let (repository, entry) = repository_and_entry(&world).await;
    assert!(repository.is_private() && entry.private, "items alone do not say who may see the repository");
    made_again().await;
    world.push(Subject::part(world.id, part::METADATA), Lane::Webhook).await;
    world.work().await;
    let (repository, entry) = repository_and_entry(&world).await;
    assert!(!repository.is_private() && !entry.private);
    assert_eq!(made_again().await, (true, 3));
}

/// To make all documents again takes long, and a full queue refuses it: nobody waits for that with what is private.
#[tokio::test]
async fn what_github_calls_private_is_hidden_before_the_queue_is_asked_for_anything() {
    for at in 1.. {
        let world = World::new(12).await;
        world.track().await;
        world.work().await;
        world.queue.purge(QueueName::Index, &Filter::default()).await.unwrap();
        world.control.change(&world.name, Change::MakePrivate).unwrap();
        world.push(Subject::part(world.id, part::METADATA), Lane::Webhook).await;
        let killing = KillingQueue::new(Arc::clone(&world.queue) as _, at, false);
        let was_killed = tokio::select! {
            biased;
            () = killing.killed.notified() => true,
            () = world.work_with(Arc::clone(&killing) as _, |counts| counts.outstanding() == 0) => false,
        };
        let (repository, entry) = repository_and_entry(&world).await;
        assert_eq!(entry.private, repository.is_private(), "killed at call {at}");
        world.clock.advance(Duration::from_secs(3600));
        world.work().await;
        let (repository, entry) = repository_and_entry(&world).await;
        assert!(repository.is_private() && entry.private);
        assert!(!repository.heard_private.unwrap().pending, "killed at call {at}");
        assert_eq!(world.without_index_job().await, Vec::<u64>::new(), "killed at call {at}");
        if !was_killed {
            assert!(at > 4, "only {at} calls to be killed at");
            break;
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_pauses_the_queue_and_buries_nothing() {
    let mut world = World::new(12).await;
    world.track().await;
    world.options.min_free_bytes = u64::MAX;
    world.work_with(Arc::clone(&world.queue) as _, |counts| counts.paused.is_some() && counts.leased == 0).await;
    let counts = world.counts(QueueName::Download).await;
    assert!(counts.paused.unwrap().reason.contains("min_free_bytes"));
    assert_eq!((counts.buried, counts.totals.retried, counts.totals.finished), (0, 0, 0));
    world.options.min_free_bytes = 0;
    world.work().await;
    nothing(&world.differences().await);
}

#[tokio::test]
async fn a_damaged_file_of_a_repository_pauses_it_and_buries_nothing() {
    let world = World::new(12).await;
    world.track().await;
    world.work().await;
    let key = format!("repositories/{}/repository.json", world.id);
    let (whole, _) = world.store.get(&key).await.unwrap().unwrap();
    let put = async |bytes| world.store.put(&key, bytes, Condition::Any, Durability::Durable).await.unwrap();
    put("{".into()).await;
    work_until_paused(&world).await;
    let trouble = world.archive.tracking().await.unwrap().remove(0).trouble.unwrap();
    assert!(trouble.contains("repository.json"), "{trouble}");
    put(whole).await;
    world.queue.resume(&Scope::Repository(QueueName::Download, world.id)).await.unwrap();
    world.work().await;
    assert_eq!(world.archive.tracking().await.unwrap().remove(0).trouble, None);
    nothing(&world.differences().await);
}

#[tokio::test]
async fn a_process_killed_at_any_call_to_the_queue_loses_nothing() {
    let github = github(12);
    for after in [false, true] {
        for at in 1.. {
            let world = World::on(Arc::clone(&github)).await;
            world.track().await;
            let killing = KillingQueue::new(Arc::clone(&world.queue) as _, at, after);
            let was_killed = tokio::select! {
                biased;
                () = killing.killed.notified() => true,
                () = world.work_with(Arc::clone(&killing) as _, |counts| counts.outstanding() == 0) => false,
            };
            world.clock.advance(Duration::from_secs(3600));
            world.work().await;
            nothing(&world.differences().await);
            assert_eq!(world.without_index_job().await, Vec::<u64>::new(), "killed at call {at}, after it: {after}");
            assert_eq!(world.counts(QueueName::Download).await.buried, 0);
            if !was_killed {
                assert!(at > 20, "only {at} calls to be killed at");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_new_name_that_an_item_tells_is_a_new_document_of_every_item() {
    let world = World::new(12).await;
    world.track().await;
    world.work().await;
    let numbers = world.control.truth_numbers(&world.name);
    world.queue.purge(QueueName::Index, &Filter::default()).await.unwrap();
    world.control.change(&world.name, Change::RenameRepository { to: RENAMED.parse().unwrap() }).unwrap();
    world.push(Subject::item(world.id, 1), Lane::Webhook).await;
    world.work().await;
    for number in numbers {
        let job = world.queue.job(QueueName::Index, &Subject::item(world.id, number)).await.unwrap();
        assert!(job.is_some(), "#{number} would stay under its old name");
    }
}
