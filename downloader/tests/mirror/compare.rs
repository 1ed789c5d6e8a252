//! The sweep's rotation: archived threads are compared by GraphQL, and what differs is fetched.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use gharvest_archive::LedgerChange;
use gharvest_downloader::fetch::{GraphqlFetcher, RestFetcher};
use gharvest_github_simulator::{Change, Fault, GraphqlError, Rule, Truth, Withheld};
use gharvest_model::{
    ItemId, Lane, QueueName, Record, Revision, Subject,
    drift::Drift,
    job::reason::{ROTATION, swept},
    ledger::NumberState,
    record::{Origin, RecordState},
};
use gharvest_queue::{Filter, Queue as _, QueueAdmin as _, Timing, Trigger};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::world::{World, client, github, nothing};

const ITEMS: u64 = 120;

/// A mirror by GraphQL.
async fn mirrored() -> World {
    let world = World::on(github(ITEMS)).await.with_graphql();
    world.track().await;
    world.work().await;
    world.queue.purge(QueueName::Index, &Filter::default()).await.unwrap();
    world
}

/// Everything has its turn in the rotation.
async fn push_all(world: &World) {
    let trigger = |number: u64| Trigger {
        queue: QueueName::Download,
        subject: Subject::item(world.id, number),
        lane: Lane::Backfill,
        timing: Timing::Now,
        reason: swept(ROTATION),
    };
    let ledger = world.archive.ledger(world.id).await.unwrap();
    let triggers: Vec<Trigger> = ledger.numbers(NumberState::Present).map(trigger).collect();
    world.queue.push(&triggers, None).await.unwrap();
}

/// The same, done. Says what it cost, calls by REST and calls and points of GraphQL.
async fn rotate(world: &World) -> (u64, u64) {
    let before = world.client.spent();
    push_all(world).await;
    world.work().await;
    let after = world.client.spent();
    let by_graphql = after.graphql - before.graphql + after.points - before.points;
    (after.cost() - before.cost() - by_graphql, by_graphql)
}

async fn records(world: &World) -> BTreeMap<u64, Record> {
    let mut records = BTreeMap::new();
    for number in world.control.truth_numbers(&world.name) {
        let record = world.archive.record(ItemId { repository: world.id, number }).await.unwrap();
        records.insert(number, record.unwrap());
    }
    records
}

/// Has every item verified an hour ago.
async fn age(world: &World) {
    let verified_at = Timestamp::now() - SignedDuration::from_hours(1);
    let ledger = world.archive.ledger(world.id).await.unwrap();
    let change = |number| LedgerChange { number, state: NumberState::Present, verified_at };
    let changes: Vec<LedgerChange> = ledger.numbers(NumberState::Present).map(change).collect();
    world.archive.update_ledger(world.id, &changes).await.unwrap();
    assert!(!is_verified(world).await);
}

/// Whether every item was verified since [`age`].
async fn is_verified(world: &World) -> bool {
    let aged = Timestamp::now() - SignedDuration::from_mins(30);
    let ledger = world.archive.ledger(world.id).await.unwrap();
    ledger.numbers(NumberState::Present).all(|number| ledger.get(number).verified_at.is_some_and(|at| at > aged))
}

#[tokio::test]
async fn what_is_the_same_is_verified_for_a_tenth_of_a_call_and_stays_as_it_was() {
    let world = mirrored().await;
    let before = records(&world).await;
    age(&world).await;
    let by_graphql = |records: &BTreeMap<u64, Record>| {
        records.values().filter(|record| record.origin.timeline == Some(Origin::Graphql)).count() as u64
    };
    let told = by_graphql(&before);
    assert!(told > ITEMS * 9 / 10, "{told}");
    let (rest, graphql) = rotate(&world).await;
    assert!(graphql as f64 <= 0.13 * ITEMS as f64, "{graphql} calls and points for {ITEMS}");
    assert!(rest <= 4 * (ITEMS - told), "{rest} calls for {} that GraphQL does not tell", ITEMS - told);
    let after = records(&world).await;
    assert_eq!(by_graphql(&after), told, "nothing was fetched that is the same");
    assert!(after.values().all(|record| record.revision == Revision(1)));
    assert!(is_verified(&world).await);
    // What REST gave has ETags now, so it is asked for by REST, for nothing.
    let (rest, _) = rotate(&world).await;
    assert!(rest <= (ITEMS - told) / 2, "{rest}");
    nothing(&world.differences().await);
}

/// An item, and a change of it.
type Silent = (u64, Change);

/// Changes that neither lists nor probes tell, each of an item that came by GraphQL, and the kinds of drift they are.
async fn silent(world: &World) -> (Vec<Silent>, BTreeSet<Drift>) {
    let by_graphql = records(world).await.into_iter().filter(|(_, record)| {
        record.origin.timeline == Some(Origin::Graphql) && record.issue.as_ref().unwrap()["locked"] == false
    });
    let mut numbers: BTreeSet<u64> = by_graphql.map(|(number, _)| number).collect();
    let mut take = |part: fn(&Truth) -> Option<u64>| {
        let found =
            numbers.iter().find_map(|number| Some((*number, part(&world.control.truth(&world.name, *number)?)?)));
        let found = found.unwrap();
        numbers.remove(&found.0);
        found
    };
    fn review_comment(truth: &Truth) -> Option<u64> {
        let Truth::Present { review_comments, .. } = truth else { return None };
        review_comments.first()?["id"].as_u64()
    }
    fn said(truth: &Truth, event: &str) -> Option<u64> {
        let Truth::Present { timeline, .. } = truth else { return None };
        let says = |entry: &&Value| entry["event"] == event && entry["body"].is_string();
        timeline.iter().find(says)?["id"].as_u64()
    }
    let text = || "Something else".to_owned();
    let (edited, comment) = take(review_comment);
    let edit = Change::EditReviewComment { number: edited, comment, body: text() };
    let (shorter, comment) = take(review_comment);
    let deletion = Change::DeleteReviewComment { number: shorter, comment };
    let (reviewed, review) = take(|truth| said(truth, "reviewed"));
    let review = Change::EditReview { number: reviewed, review, body: text() };
    let (liked, comment) = take(|truth| said(truth, "commented"));
    let reaction = Change::ReactToComment { number: liked, comment };
    let changes = vec![(edited, edit), (shorter, deletion), (reviewed, review), (liked, reaction)];
    (changes, [Drift::CommentEdited, Drift::CommentDeleted, Drift::Reactions].into())
}

#[tokio::test]
async fn what_differs_is_fetched_by_rest_and_counted() {
    let world = mirrored().await;
    let (changes, kinds) = silent(&world).await;
    for (_, change) in &changes {
        world.control.change(&world.name, change.clone()).unwrap();
    }
    let gone = *world.issues().last().unwrap();
    world.control.change(&world.name, Change::DeleteItem { number: gone }).unwrap();
    let (_, graphql) = rotate(&world).await;
    assert!(graphql as f64 <= 0.13 * ITEMS as f64, "{graphql} calls and points: the others were still compared");
    nothing(&world.differences().await);
    let records = records(&world).await;
    for (number, change) in &changes {
        assert_eq!(records[number].origin.timeline, Some(Origin::Rest), "{change:?}");
        assert_eq!(records[number].revision, Revision(2), "{change:?}");
        let job = world.queue.job(QueueName::Index, &Subject::item(world.id, *number)).await.unwrap();
        assert!(job.is_some(), "{change:?}");
    }
    let audit = world.archive.audit(world.id, Timestamp::now()).await.unwrap().unwrap();
    assert!(kinds.iter().all(|kind| audit.drift.contains_key(kind)), "{:?}", audit.drift);
    assert!(audit.drift.contains_key(&Drift::Gone), "{:?}", audit.drift);
    let tombstone = world.archive.record(ItemId { repository: world.id, number: gone }).await.unwrap().unwrap();
    assert_eq!(tombstone.state, RecordState::Deleted);
}

#[tokio::test]
async fn what_graphql_does_not_tell_is_fetched_and_ends_no_other_comparison() {
    let world = mirrored().await;
    age(&world).await;
    let control = &world.control;
    let keeps_back = Fault::Withhold { what: Withheld::Items(7), error: GraphqlError::ResourceLimits };
    control.inject(Rule::often(keeps_back, 1.0).on("#Threads"));
    control.inject(Rule::often(Fault::Status { status: 502 }, 0.2).on("/graphql"));
    control.inject(Rule::often(Fault::Truncate, 0.1).on("/graphql"));
    rotate(&world).await;
    assert!(control.fault_hits() > 5, "{}", control.fault_hits());
    control.clear_faults();
    assert!(is_verified(&world).await);
    for (number, record) in records(&world).await {
        assert_eq!(record.revision, Revision(1), "#{number}");
        assert!(number % 7 > 0 || record.origin.timeline == Some(Origin::Rest), "#{number}");
    }
    nothing(&world.differences().await);
}

#[tokio::test]
async fn what_differs_is_fetched_also_where_a_turn_has_time_for_nothing_more() {
    let world = mirrored().await;
    let (changes, _) = silent(&world).await;
    for (_, change) in changes {
        world.control.change(&world.name, change).unwrap();
    }
    push_all(&world).await;
    world.work_by(world.downloader().with_turn(Duration::ZERO)).await;
    nothing(&world.differences().await);
}

#[tokio::test]
async fn what_rest_gave_is_compared_where_its_etags_are_worth_nothing() {
    let mut world = World::on(github(ITEMS)).await;
    world.options.worker.batch = 400;
    world.track().await;
    world.work().await;
    let before = records(&world).await;
    assert!(before.values().all(|record| record.origin.timeline == Some(Origin::Rest)));
    // As of an App: the ETags are another token's.
    world.control.allow_token("another-token", "ann", 5_000);
    world.client = client(&world.simulator, "another-token");
    world.options.graphql = true;
    age(&world).await;
    let (rest, graphql) = rotate(&world).await;
    assert!(graphql as f64 <= 0.13 * ITEMS as f64, "{graphql} calls and points");
    assert!(rest <= ITEMS / 8, "{rest} calls by REST");
    assert!(is_verified(&world).await);
    let after = records(&world).await;
    assert!(after.iter().all(|(number, record)| record.revision == before[number].revision));
    assert!(after.values().all(|record| record.origin.timeline == Some(Origin::Rest)), "nothing less than before");
}

#[tokio::test]
async fn threads_wait_for_graphql_s_budget_instead_of_going_by_rest() {
    let world = mirrored().await;
    age(&world).await;
    let limit = Fault::PrimaryLimit { reset_in_s: 1, status: 403 };
    // Behind the first portion, of which it has told something then.
    world.control.inject(Rule::once(limit).on("#Threads").after(1));
    let (rest, _) = rotate(&world).await;
    assert_eq!(world.control.fault_hits(), 1);
    assert!(rest <= ITEMS / 8, "{rest} calls by REST");
    assert!(is_verified(&world).await);
}

#[tokio::test]
async fn where_graphql_never_answers_threads_go_by_rest_in_the_end() {
    let world = mirrored().await;
    age(&world).await;
    let threads = Rule::often(Fault::Status { status: 502 }, 1.0).on("#Threads");
    world.control.inject(threads);
    let rest = RestFetcher::new(world.client.clone(), world.options.max_timeline_pages);
    // Whoever waits for an hour comes to the same.
    let fetcher = GraphqlFetcher::new(world.client.clone(), rest).with_patience(Duration::from_millis(1));
    push_all(&world).await;
    world.work_by(world.downloader().with_fetcher(Arc::new(fetcher))).await;
    // Halved from the largest batch down, and given up.
    assert!((1..=16).contains(&world.control.fault_hits()), "{}", world.control.fault_hits());
    assert!(is_verified(&world).await);
    assert!(records(&world).await.values().all(|record| record.origin.timeline == Some(Origin::Rest)));
    nothing(&world.differences().await);
}

#[tokio::test]
async fn a_thread_that_changes_while_it_is_compared_is_as_it_is_in_the_end() {
    let world = mirrored().await;
    let number = world.issues()[3];
    let change = Change::Comment { number, body: "in between".to_owned() };
    let control = world.control.clone();
    control.inject(Rule::once(Fault::Change { repository: world.name.clone(), what: change }).on("/graphql").after(1));
    rotate(&world).await;
    assert_eq!(control.fault_hits(), 1);
    // Changed behind the comparison, it is found by the next one.
    rotate(&world).await;
    nothing(&world.differences().await);
}
