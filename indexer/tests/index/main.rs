//! The indexer between a real archive and a real index: what it writes, what it survives, what verification finds.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use gharvest_archive::Repository;
use gharvest_indexer::{
    outcome::Failure,
    rebuild::{Progress, rebuild},
    verify::{DifferenceKind, verify},
};
use gharvest_model::{ItemId, Lane, QueueName, Subject, job::part};
use gharvest_queue::{JobState, QueueAdmin};
use gharvest_search::{
    Access, Applied, SearchIndex, SearchRequest, Start,
    document::{ThreadDocuments, Version},
    query::{ParseContext, Query},
    render::{self, RenderContext},
};
use gharvest_state::State;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

mod faulty;
mod world;

use world::{ID, World, repository};

fn item(number: u64) -> ItemId {
    ItemId { repository: ID, number }
}

/// A world with so many items, indexed.
async fn indexed(items: u64) -> World {
    let world = World::new().await;
    for number in 1..=items {
        world.put(number, &format!("Title {number}"), (number % 4) as usize).await;
        world.push(Subject::Item(item(number))).await;
    }
    world.work().await;
    world
}

#[tokio::test]
async fn what_is_archived_becomes_searchable_and_is_told() {
    let world = indexed(25).await;
    assert_eq!(world.differences().await, []);
    let told = world.state.history(0, 100).await.unwrap();
    assert_eq!(told.len(), 25);
    assert_eq!(told[0].event.title, "Title 1");
    let days = world.index.daily(ID, "all", Some("")).await.unwrap();
    assert_eq!((days[0].day.as_str(), days[0].opened, days[0].open), ("2026-01-01", 25, 25));
    world.push(Subject::part(ID, part::METADATA)).await;
    world.work().await;
    assert_eq!(world.index.repository(ID).await.unwrap().unwrap().stars, 3);
    assert_eq!(world.counts().await.buried, 0);
}

#[tokio::test]
async fn a_newer_revision_replaces_the_documents_of_an_older_one() {
    let world = indexed(2).await;
    world.put(2, "Another title", 0).await;
    world.push(Subject::Item(item(2))).await;
    world.work().await;
    assert_eq!(world.differences().await, []);
    let event = world.state.history(0, 100).await.unwrap().pop().unwrap().event;
    assert_eq!((event.title.as_str(), event.revision.0), ("Another title", 2));
}

#[tokio::test]
async fn an_engine_that_is_away_costs_no_attempt() {
    let world = World::new().await;
    for number in 1..=3 {
        world.put(number, "Title", 1).await;
        world.push(Subject::Item(item(number))).await;
    }
    world.index.faults.failures.store(20, Ordering::SeqCst);
    world.work().await;
    let counts = world.counts().await;
    assert_eq!((counts.totals.retried, counts.buried), (0, 0));
    assert_eq!(world.differences().await, []);
    assert_eq!(world.index.faults.failures.load(Ordering::SeqCst), 0);
}

/// Two batches wait for one commit, which takes the documents of both with it.
#[tokio::test]
async fn what_a_failed_commit_lost_of_other_batches_is_indexed_again() {
    let world = World::new().await;
    for number in 1..=20 {
        world.put(number, "Title", 1).await;
        world.push(Subject::Item(item(number))).await;
    }
    *world.index.faults.lost.lock().unwrap() = Some((world.index_folder().join("g1"), 20));
    world.work().await;
    assert_eq!(world.differences().await, []);
    let counts = world.counts().await;
    assert_eq!((counts.totals.retried, counts.buried), (0, 0));
    let applied = world.index.faults.applied.borrow().len();
    assert_eq!(applied, 40, "each is applied once more");
}

#[tokio::test]
async fn readers_are_told_although_the_state_was_away() {
    let world = World::new().await;
    for number in 1..=15 {
        world.put(number, "Title", 1).await;
        world.push(Subject::Item(item(number))).await;
    }
    world.state.failures.store(3, Ordering::SeqCst);
    world.work().await;
    let told = world.state.history(0, 100).await.unwrap();
    let told: BTreeSet<u64> = told.into_iter().map(|published| published.event.item.number).collect();
    assert_eq!(told, (1..=15).collect());
    let counts = world.counts().await;
    assert_eq!((counts.totals.retried, counts.buried), (0, 0));
}

/// What is leased cannot be overtaken any more.
#[tokio::test]
async fn a_live_change_stands_behind_one_batch_of_a_backfill_and_no_more() {
    let world = World::new().await;
    for number in 1..=61 {
        world.put(number, "Title", 1).await;
    }
    for number in 1..=60 {
        world.push_in(Lane::Backfill, Subject::Item(item(number))).await;
    }
    let held = world.index.faults.held.write().await;
    let running = world.start();
    world.index.faults.asked.notified().await;
    world.push_in(Lane::Webhook, Subject::Item(item(61))).await;
    assert_eq!(world.counts().await.leased, 10);
    drop(held);
    world.finish(running).await;
    let applied = world.index.faults.applied.borrow().clone();
    assert_eq!(applied.iter().position(|number| *number == 61), Some(10), "{applied:?}");
}

#[tokio::test]
async fn a_count_that_takes_long_keeps_nothing_else_waiting() {
    let world = World::new().await;
    for number in 1..=2 {
        world.put(number, "Title", 1).await;
    }
    world.push(Subject::Item(item(1))).await;
    world.push(Subject::part(ID, part::DAILY)).await;
    let held = world.index.faults.count_held.write().await;
    let running = world.start();
    world.index.faults.asked_to_count.notified().await;
    let counts = world.counts().await;
    assert_eq!((counts.leased, counts.totals.finished), (1, 1), "{counts:?}");
    assert_eq!(world.state.history(0, 100).await.unwrap().len(), 1);
    world.push_in(Lane::Webhook, Subject::Item(item(2))).await;
    world.index.faults.applied.subscribe().wait_for(|applied| *applied == [1, 2]).await.unwrap();
    drop(held);
    world.finish(running).await;
    let days = world.index.daily(ID, "all", Some("")).await.unwrap();
    assert_eq!(days[0].opened, 2, "what came meanwhile is counted afterwards");
}

#[tokio::test]
async fn a_refused_document_buries_its_own_job_with_the_engine_s_reason() {
    let world = World::new().await;
    for number in 1..=3 {
        world.put(number, "Title", 1).await;
        world.push(Subject::Item(item(number))).await;
    }
    world.index.faults.refused.lock().unwrap().insert(2);
    world.work().await;
    let job = world.queue.job(QueueName::Index, &Subject::Item(item(2))).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Buried);
    assert!(job.reason.as_deref().unwrap().contains("too odd"), "{job:?}");
    assert_eq!(world.counts().await.buried, 1);
    let differences = world.differences().await;
    assert_eq!((differences.len(), &differences[0].kind), (1, &DifferenceKind::Missing));
}

#[tokio::test]
async fn a_refused_day_buries_the_counting_of_its_repository_and_pauses_nothing() {
    let world = World::new().await;
    world.index.faults.days_are_refused.store(true, Ordering::SeqCst);
    world.put(1, "Title", 1).await;
    world.push(Subject::Item(item(1))).await;
    world.work().await;
    let daily = Subject::part(ID, part::DAILY);
    let job = world.queue.job(QueueName::Index, &daily).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Buried);
    assert!(job.reason.as_deref().unwrap().contains("too odd"), "{job:?}");
    assert_eq!(world.queue.pauses().await.unwrap(), []);
    assert_eq!(world.differences().await, []);

    let done = rebuild(&world.archive, world.index.as_ref(), &CancellationToken::new(), &mut |_| {}).await.unwrap();
    assert_eq!((done.items, done.refused[0].0.as_str()), (1, "7"));
    assert_eq!(found(&world).await, 1);
}

#[tokio::test]
async fn a_job_of_an_unknown_part_is_buried_for_a_newer_version() {
    let world = World::new().await;
    world.push(Subject::part(ID, "from-the-future")).await;
    world.work().await;
    assert_eq!(world.counts().await.buried, 1);
}

#[tokio::test]
async fn one_commit_serves_many_items() {
    let world = indexed(60).await;
    let commits = world.index.faults.commits.load(Ordering::SeqCst);
    assert!(commits < 20, "{commits} commits for 60 items in 6 batches");
}

/// The documents of an item as they are, with the version that would be written next.
async fn documents(world: &World, number: u64) -> ThreadDocuments {
    let record = world.archive.record(item(number)).await.unwrap().unwrap();
    let context = RenderContext {
        repository: "owner/name".to_owned(),
        archived: false,
        label_renames: Default::default(),
        rendered_at: Timestamp::now(),
    };
    let mut thread = render::thread(&record, &context);
    thread.version = Version(thread.version.0 + 1_000_000);
    thread
}

async fn plant(world: &World, thread: ThreadDocuments) {
    assert_eq!(world.index.apply(vec![thread]).await.unwrap(), [Applied::Written]);
    world.index.commit().await.unwrap();
}

#[tokio::test]
async fn verification_finds_every_kind_of_damage() {
    let world = indexed(7).await;
    world.put(8, "Never indexed", 0).await;
    world.archive.purge_record(item(1)).await.unwrap();
    world.put(2, "Newer than the index", 0).await;
    let mut changed = documents(&world, 3).await;
    changed.item.title = "Not what the record says".to_owned();
    plant(&world, changed).await;
    let mut changed = documents(&world, 5).await;
    changed.comments[0].body = "Nobody said that".to_owned();
    plant(&world, changed).await;
    let mut lacking = documents(&world, 6).await;
    let lost = lacking.comments.pop().unwrap().key;
    lacking.item.comment_documents -= 1;
    plant(&world, lacking).await;
    let mut surplus = documents(&world, 7).await;
    let mut another = surplus.events[0].clone();
    another.key = format!("{}:e{}", surplus.item.key, surplus.events.len());
    let extra_key = another.key.clone();
    surplus.events.push(another);
    surplus.item.event_documents += 1;
    plant(&world, surplus).await;

    let differences = world.differences().await;
    let numbers: Vec<u64> = differences.iter().map(|difference| difference.item.number).collect();
    assert_eq!(numbers, [1, 2, 3, 5, 6, 7, 8], "{differences:#?}");
    let kind = |number| &differences.iter().find(|difference| difference.item.number == number).unwrap().kind;
    assert_eq!(*kind(1), DifferenceKind::Extra);
    assert_eq!(*kind(2), DifferenceKind::Outdated { indexed: 1, stored: 2 });
    let only = |key: &str| vec![key.to_owned()];
    let DifferenceKind::Documents { differing, missing, extra } = kind(3) else { panic!("{:?}", kind(3)) };
    assert_eq!((differing.len(), missing.len(), extra.len()), (1, 0, 0));
    let DifferenceKind::Documents { differing, .. } = kind(5) else { panic!("{:?}", kind(5)) };
    assert!(differing.iter().any(|key| key.ends_with(":c0")), "{differing:?}");
    let DifferenceKind::Documents { missing, .. } = kind(6) else { panic!("{:?}", kind(6)) };
    assert_eq!(*missing, only(&lost));
    let DifferenceKind::Documents { extra, .. } = kind(7) else { panic!("{:?}", kind(7)) };
    assert_eq!(*extra, only(&extra_key));
    assert_eq!(*kind(8), DifferenceKind::Missing);
    assert_eq!(differences[0].name, "owner/name#1");
}

#[tokio::test]
async fn an_index_of_an_earlier_version_is_to_be_rebuilt_and_not_called_damaged() {
    let world = indexed(1).await;
    world.index.faults.is_outdated.store(true, Ordering::SeqCst);
    let mut steps = 0;
    let compared = verify(&world.archive, world.index.as_ref(), &[ID], &mut |_| steps += 1).await;
    let refused = compared.unwrap_err().to_string();
    assert!(refused.contains("an earlier version") && refused.contains("`gharvest rebuild`"), "{refused}");
    assert_eq!(steps, 0);
}

#[tokio::test]
async fn items_of_a_repository_that_is_gone_leave_search_until_it_is_back() {
    let world = indexed(3).await;
    assert_eq!(found(&world).await, 3);
    for (gone_at, expected) in [(Some(Timestamp::now()), 0), (None, 3)] {
        let shown = Repository { gone_at, ..repository("owner/name", false) };
        world.archive.put_repository(&shown).await.unwrap();
        // Documents of one revision replace each other by the second in which they were made; a rebuild needs no wait.
        rebuild(&world.archive, world.index.as_ref(), &CancellationToken::new(), &mut |_| {}).await.unwrap();
        assert_eq!(found(&world).await, expected);
        assert_eq!(world.differences().await, []);
    }
}

#[tokio::test]
async fn readers_are_told_the_name_that_the_documents_have() {
    let world = indexed(1).await;
    world.archive.put_repository(&repository("owner/renamed", false)).await.unwrap();
    world.put(1, "Another title", 0).await;
    world.push(Subject::Item(item(1))).await;
    world.work().await;
    let event = world.state.history(0, 100).await.unwrap().pop().unwrap().event;
    assert_eq!((event.title.as_str(), event.repository.to_string().as_str()), ("Another title", "owner/renamed"));
}

#[tokio::test]
async fn documents_are_private_once_a_webhook_says_so() {
    let world = indexed(2).await;
    world.archive.hear_private(ID, Timestamp::now()).await.unwrap();
    rebuild(&world.archive, world.index.as_ref(), &CancellationToken::new(), &mut |_| {}).await.unwrap();
    assert_eq!(found_by(&world, Access::Public).await, 0);
    assert_eq!(found(&world).await, 2);
    assert!(world.index.repository(ID).await.unwrap().unwrap().private);
    assert!(world.index.daily(ID, "all", Some("")).await.unwrap().iter().all(|day| day.private));
    assert_eq!(world.differences().await, []);
}

/// How many items a search for everything finds.
async fn found(world: &World) -> u64 {
    found_by(world, Access::All).await
}

async fn found_by(world: &World, access: Access) -> u64 {
    let request = SearchRequest {
        query: Query::parse("", &ParseContext { now: Timestamp::now(), me: None }).query,
        access,
        per_page: 10,
        start: Start::Page(1),
        facets: Vec::new(),
        snippets: false,
        timeout: Duration::from_secs(60),
    };
    world.index.search(&request).await.unwrap().total
}

#[tokio::test]
async fn a_rebuild_heals_everything_and_keeps_the_name_and_visibility_of_now() {
    let world = indexed(6).await;
    world.archive.purge_record(item(1)).await.unwrap();
    world.put(7, "Never indexed", 2).await;
    world.archive.put_repository(&repository("owner/renamed", true)).await.unwrap();
    let mut steps = 0;
    let done =
        rebuild(&world.archive, world.index.as_ref(), &CancellationToken::new(), &mut |_| steps += 1).await.unwrap();
    assert!(done.items >= 6 && done.refused.is_empty() && steps > 0, "{done:?}");
    assert_eq!(world.differences().await, []);
    assert!(!world.index.status().await.unwrap().rebuilding);
    assert_eq!(world.index.thread(item(1)).await.unwrap(), None);
    let days = world.index.daily(ID, "all", Some("")).await.unwrap();
    assert_eq!((days[0].opened, days[0].repository.as_str(), days[0].private), (6, "owner/renamed", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_during_a_rebuild_is_in_the_new_index() {
    let world = indexed(5).await;
    let mut stored = false;
    let mut progress = |_: &Progress| {
        if !std::mem::replace(&mut stored, true) {
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(world.put(2, "Changed meanwhile", 3));
            });
        }
    };
    rebuild(&world.archive, world.index.as_ref(), &CancellationToken::new(), &mut progress).await.unwrap();
    assert_eq!(world.differences().await, []);
}

#[tokio::test]
async fn a_rebuild_that_is_stopped_leaves_nothing_that_anybody_would_write_to() {
    let world = indexed(3).await;
    world.put(4, "Not indexed yet", 1).await;
    let stop = CancellationToken::new();
    let failure = rebuild(&world.archive, world.index.as_ref(), &stop, &mut |_| stop.cancel()).await.unwrap_err();
    assert!(matches!(failure, Failure::Stopped), "{failure}");
    assert!(!world.index.status().await.unwrap().rebuilding);
    assert_eq!(found(&world).await, 3);
}

/// Rebuilds, and does something at each step but the last ones; says what was done.
async fn rebuilt(world: &World, steps: Vec<BoxFuture<'_, ()>>) -> Progress {
    let mut steps = steps.into_iter();
    let mut progress = |_: &Progress| {
        if let Some(step) = steps.next() {
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(step));
        }
    };
    let done = rebuild(&world.archive, world.index.as_ref(), &CancellationToken::new(), &mut progress).await.unwrap();
    assert!(steps.next().is_none(), "there were more steps than the rebuild had");
    done
}

/// A world with items so large that a rebuild writes a few at a time, downloaded long ago.
async fn with_large_items(items: u64) -> World {
    let world = World::new().await;
    for number in 1..=items {
        world.put_large(number, &format!("Title {number}")).await;
        world.push(Subject::Item(item(number))).await;
    }
    world.work().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_private_during_a_rebuild_is_private_in_the_new_index() {
    let world = with_large_items(12).await;
    let privatized = async {
        world.archive.hear_private(ID, Timestamp::now()).await.unwrap();
        for number in 1..=12 {
            world.push(Subject::Item(item(number))).await;
        }
        world.push(Subject::part(ID, part::METADATA)).await;
        world.work().await;
    };
    let done = rebuilt(&world, vec![privatized.boxed()]).await;
    assert_eq!(done.items, 12);
    assert_eq!((found_by(&world, Access::Public).await, found(&world).await), (0, 12));
    assert!(world.index.repository(ID).await.unwrap().unwrap().private);
    assert_eq!(world.differences().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_during_a_rebuild_does_not_come_back() {
    let world = with_large_items(12).await;
    // The index first, as forgetting does; and only then the archive, after the rebuild has written some more.
    let from_index = async { world.index.purge_repository(ID).await.unwrap() };
    let from_archive = async { world.archive.purge_repository(ID).await.unwrap() };
    let done = rebuilt(&world, vec![from_index.boxed(), from_archive.boxed()]).await;
    assert!(done.items > 2, "{done:?}");
    assert_eq!(found(&world).await, 0);
    assert_eq!(world.index.repository(ID).await.unwrap(), None);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_left_out_of_the_new_index_and_told() {
    let world = indexed(5).await;
    world.damage(2, "{").await;
    world.damage(4, r#"{"schema": 1, "timeline": 5}"#).await;
    let done = rebuild(&world.archive, world.index.as_ref(), &CancellationToken::new(), &mut |_| {}).await.unwrap();
    assert_eq!(done.items, 3);
    assert_eq!(done.unreadable.len(), 2, "each is told once: {done:?}");
    let told: Vec<_> = done.unreadable.iter().collect();
    assert!(told[0].contains("2.json") && told[1].contains("4.json"), "{done:?}");
    assert_eq!(found(&world).await, 3);
    let differences = world.differences().await;
    let numbers: Vec<_> = differences.iter().map(|difference| difference.item.number).collect();
    assert_eq!(numbers, [2, 4]);
}

#[tokio::test]
async fn a_rebuild_tells_what_the_new_index_refuses() {
    let world = indexed(3).await;
    world.index.faults.refused.lock().unwrap().insert(2);
    let done = rebuild(&world.archive, world.index.as_ref(), &CancellationToken::new(), &mut |_| {}).await.unwrap();
    assert_eq!(done.refused.first(), Some(&("7:2".to_owned(), "too odd".to_owned())));
    assert_eq!(found(&world).await, 2);
}

#[tokio::test]
async fn the_new_index_has_its_daily_counts_when_it_takes_over() {
    let world = indexed(6).await;
    rebuild(&world.archive, world.index.as_ref(), &CancellationToken::new(), &mut |_| {}).await.unwrap();
    let days = world.index.daily(ID, "all", Some("")).await.unwrap();
    assert_eq!((days[0].day.as_str(), days[0].opened), ("2026-01-01", 6));
    assert_eq!(*world.index.faults.days_at_swap.lock().unwrap(), days);
}

#[tokio::test]
async fn a_rebuild_that_fails_leaves_the_old_index() {
    let world = indexed(3).await;
    world.index.faults.failures.store(1, Ordering::SeqCst);
    rebuild(&world.archive, world.index.as_ref(), &CancellationToken::new(), &mut |_| {}).await.unwrap_err();
    assert_eq!(world.differences().await, []);
    assert!(!world.index.status().await.unwrap().rebuilding);
}
