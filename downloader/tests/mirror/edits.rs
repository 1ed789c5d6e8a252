//! Older texts: what GitHub's edit history tells, what visits saw of it, and what it costs.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use gharvest_archive::LedgerChange;
use gharvest_downloader::{
    deletions::set_policy,
    fetch::{Answers, Fetcher, RestFetcher, Wanted},
};
use gharvest_github::Purpose;
use gharvest_github_simulator::{Change, Control, Fault, Options, Rule, Simulator, Truth, World as Github};
use gharvest_model::{
    ItemId, Lane, QueueName, Record, RepositoryName, Subject, job::part, record::Origin, removal::DeletionPolicy,
};
use gharvest_queue::QueueAdmin as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::world::{MIRRORED, World, nothing};

async fn record(world: &World, number: u64) -> Record {
    world.archive.record(ItemId { repository: world.id, number }).await.unwrap().unwrap()
}

async fn visit(world: &World, number: u64) {
    world.push(Subject::item(world.id, number), Lane::Manual).await;
    world.work().await;
}

async fn walk(world: &World) -> u64 {
    let before = world.client.spent().cost();
    world.push(Subject::part(world.id, part::EDITS), Lane::Reconcile).await;
    world.work().await;
    world.client.spent().cost() - before
}

fn edit(world: &World, change: Change) {
    drop(world.control.change_by(&world.name, "ann", change).unwrap());
}

/// Questions of the walk so far: when texts were edited, and what they said.
fn asked(control: &Control) -> (usize, usize) {
    let exchanges = control.graphql_exchanges();
    let of = |operation: &str| {
        let is_of = |query: &str| query.contains(operation);
        exchanges.iter().filter(|exchange| exchange.request["query"].as_str().is_some_and(is_of)).count()
    };
    (of("query Edited("), of("query Edits("))
}

/// A mirror of a GitHub that keeps what the walk asked.
async fn keeping_questions(items: u64) -> World {
    let github = Github::generated(1, MIRRORED.parse().unwrap(), items);
    let options = Options { keep_graphql: true, ..Options::unlimited() };
    World::on(Arc::new(Simulator::start(github, options).unwrap())).await
}

/// A pull request with a comment and a review comment, and these.
fn said(world: &World) -> (u64, Value, Value) {
    let found = world.control.truth_numbers(&world.name).into_iter().find_map(|number| {
        let truth = world.control.truth(&world.name, number)?;
        let Truth::Present { timeline, review_comments, pull: Some(_), .. } = truth else { return None };
        let commented = timeline.into_iter().find(|entry| entry["event"] == "commented")?;
        Some((number, commented, review_comments.into_iter().next()?))
    });
    found.expect("some pull request has both")
}

/// Texts and who replaced them, of what has this name in the history.
fn texts<'a>(record: &'a Record, of: &str) -> Vec<(&'a str, Option<&'a str>)> {
    let own = record.history.iter().filter(|older| older.of == of);
    own.map(|older| (older.text.as_str(), older.by.as_deref())).collect()
}

#[tokio::test]
async fn what_texts_said_before_the_first_visit_is_told_once_and_kept_up_to_the_limit() {
    let mut world = World::new(40).await;
    let (number, comment, review_comment) = said(&world);
    let id = |object: &Value| object["id"].as_u64().unwrap();
    let first_body = match world.control.truth(&world.name, number) {
        Some(Truth::Present { issue, .. }) => issue["body"].as_str().unwrap_or_default().to_owned(),
        other => panic!("{other:?}"),
    };
    for body in ["second", "third"] {
        edit(&world, Change::EditBody { number, body: body.to_owned() });
    }
    edit(&world, Change::EditComment { number, comment: id(&comment), body: "another word".to_owned() });
    let body = "another line".to_owned();
    edit(&world, Change::EditReviewComment { number, comment: id(&review_comment), body });
    world.track().await;
    world.work().await;
    assert_eq!(record(&world, number).await.history, [], "REST tells nothing of it");
    let cost = walk(&world).await;
    assert!(cost <= 6, "{cost}: the schema's words, a look at all, and one at those that were edited");
    let told = record(&world, number).await;
    let ann = Some("ann");
    let expected: Vec<_> =
        [(first_body.as_str(), ann), ("second", ann)].into_iter().filter(|(text, _)| !text.is_empty()).collect();
    assert_eq!(texts(&told, "body"), expected);
    for object in [&comment, &review_comment] {
        let own = texts(&told, object["node_id"].as_str().unwrap());
        assert_eq!(own.last(), Some(&(object["body"].as_str().unwrap(), ann)), "{own:?}");
    }
    assert!(told.history.iter().all(|older| older.origin == Some(Origin::Graphql)));
    assert!(world.queue.job(QueueName::Index, &Subject::item(world.id, number)).await.unwrap().is_some());
    assert_eq!(walk(&world).await, 0, "nothing has changed since");
    assert_eq!(record(&world, number).await.revision, told.revision);

    // The next edit is seen by a visit; what the history tells of it stands in for that, and the oldest go.
    world.options.max_history = 2;
    edit(&world, Change::EditBody { number, body: "fourth".to_owned() });
    edit(&world, Change::EditBody { number, body: "fifth".to_owned() });
    visit(&world, number).await;
    let seen = record(&world, number).await;
    assert_eq!(seen.history.len(), 2);
    assert_eq!(texts(&seen, "body").last(), Some(&("third", None)), "seen by the mirror itself");
    assert_eq!(walk(&world).await, 4, "a call and a point for each question");
    let told = record(&world, number).await;
    assert_eq!(texts(&told, "body"), [("third", ann), ("fourth", ann)]);
    assert_eq!(told.history.len(), 2);
    nothing(&world.differences().await);
    assert_eq!(world.control.violations(), []);
}

/// Every number was verified by now so long ago.
async fn verified(world: &World, hours: i64) {
    let verified_at = Timestamp::now() - SignedDuration::from_hours(hours);
    let ledger = world.archive.ledger(world.id).await.unwrap();
    let numbers = 1..=ledger.highest();
    let change = |number| LedgerChange { number, state: ledger.get(number).state, verified_at };
    let changes: Vec<LedgerChange> = numbers.map(change).collect();
    world.archive.update_ledger(world.id, &changes).await.unwrap();
}

#[tokio::test]
async fn a_record_is_read_again_only_when_its_number_was_verified_since() {
    const ITEMS: u64 = 40;
    let world = World::new(ITEMS).await;
    world.track().await;
    world.work().await;
    verified(&world, 48).await;
    let reads = async || {
        world.store.watch(&format!("{}/items/", world.id));
        let cost = walk(&world).await;
        (world.store.reads(), cost)
    };
    assert!(reads().await.0 >= ITEMS);
    assert_eq!(reads().await, (0, 0), "nothing was verified since");
    // A visit that finds everything as it was, and another that does not.
    let [same, changed] = [world.issues()[0], world.issues()[1]];
    visit(&world, same).await;
    assert_eq!(reads().await, (1, 0));
    assert_eq!(reads().await, (1, 0), "a verification of this minute may be followed by another of its second");
    verified(&world, 24).await;
    assert_eq!(reads().await, (ITEMS, 0), "the sweep verified all");
    assert_eq!(reads().await, (0, 0));
    for body in ["second", "third"] {
        edit(&world, Change::EditBody { number: changed, body: body.to_owned() });
    }
    visit(&world, changed).await;
    let (read, cost) = reads().await;
    assert!((1..=4).contains(&read) && cost == 4, "{read} reads for {cost}");
    assert_eq!(texts(&record(&world, changed).await, "body").last(), Some(&("second", Some("ann"))));
}

#[tokio::test]
async fn a_version_that_was_taken_out_and_a_record_that_is_redacted_have_no_text() {
    let world = World::new(12).await;
    let number = world.issues()[0];
    edit(&world, Change::EditBody { number, body: "second".to_owned() });
    edit(&world, Change::EditBody { number, body: "third".to_owned() });
    edit(&world, Change::DeleteFirstEdit { number });
    world.track().await;
    world.work().await;
    walk(&world).await;
    let told = record(&world, number).await;
    assert_eq!(texts(&told, "body"), [("second", Some("ann"))]);
    set_policy(&world.archive, &*world.queue, world.id, DeletionPolicy::Redact).await.unwrap();
    edit(&world, Change::DeleteItem { number });
    visit(&world, number).await;
    let gone = record(&world, number).await;
    assert!(gone.state.is_tombstone() && gone.history.is_empty(), "{gone:?}");
    walk(&world).await;
    assert_eq!(record(&world, number).await, gone, "nothing comes back");
}

#[tokio::test]
async fn edit_histories_are_asked_for_only_while_enough_of_the_budget_is_left() {
    const POINTS: u64 = 40;
    let github = Github::generated(1, MIRRORED.parse().unwrap(), 12);
    let options = Options { graphql_limit: POINTS, ..Options::unlimited() };
    let mut world = World::on(Arc::new(Simulator::start(github, options).unwrap())).await;
    world.track().await;
    world.work().await;
    world.options.edits_reserve = 1.0;
    assert_eq!(walk(&world).await, 0, "turned off");
    world.options.edits_reserve = 0.5;
    for _ in 0..POINTS / 2 {
        world.client.count_items(&world.name, Purpose::Backfill).await.unwrap();
    }
    assert_eq!(walk(&world).await, 0, "less than half is left");
    assert!(world.archive.cursor(&format!("edits/{}", world.id)).await.unwrap().is_none(), "it begins where it was");
    world.options.edits_reserve = 0.1;
    assert!(walk(&world).await > 0);
}

#[tokio::test]
async fn what_is_reserved_for_live_work_ends_the_walk_and_pauses_nothing() {
    const POINTS: u64 = 20;
    let github = Github::generated(1, MIRRORED.parse().unwrap(), 12);
    let options = Options { graphql_limit: POINTS, ..Options::unlimited() };
    let mut world = World::on(Arc::new(Simulator::start(github, options).unwrap())).await;
    world.track().await;
    world.work().await;
    world.options.edits_reserve = 0.0;
    for _ in 0..POINTS - 2 {
        world.client.count_items(&world.name, Purpose::Live).await.unwrap();
    }
    assert_eq!(walk(&world).await, 0, "the last points are not for the past");
    assert_eq!(world.counts(QueueName::Download).await.outstanding(), 0, "nothing waits for it");
    let pauses = world.queue.pauses().await.unwrap();
    assert!(pauses.is_empty(), "{pauses:?}");
}

#[tokio::test]
async fn what_an_outage_kept_from_being_told_is_asked_for_again() {
    let world = World::new(12).await;
    let number = world.issues()[0];
    edit(&world, Change::EditBody { number, body: "second".to_owned() });
    edit(&world, Change::EditBody { number, body: "third".to_owned() });
    world.track().await;
    world.work().await;
    world.control.inject(Rule::often(Fault::Status { status: 502 }, 1.0).on("/graphql").times(16));
    walk(&world).await;
    assert_eq!(texts(&record(&world, number).await, "body").last(), Some(&("second", Some("ann"))));
    assert_eq!(world.control.fault_hits(), 16);
}

/// Notes how many questions of the walk came before each thread.
#[derive(Debug)]
struct Watching {
    rest: RestFetcher,
    control: Control,
    before: Mutex<Vec<(u64, usize)>>,
}

impl Fetcher for Watching {
    fn batch(&self, repository: &RepositoryName, jobs: usize, purpose: Purpose) -> usize {
        self.rest.batch(repository, jobs, purpose)
    }

    fn fetch<'a>(&'a self, repository: &'a RepositoryName, wanted: Vec<Wanted>, purpose: Purpose) -> Answers<'a> {
        let asked = asked(&self.control).0;
        self.before.lock().unwrap().extend(wanted.iter().map(|wanted| (wanted.number, asked)));
        self.rest.fetch(repository, wanted, purpose)
    }
}

#[tokio::test]
async fn an_item_of_a_webhook_that_is_leased_with_the_walk_is_fetched_first() {
    let mut world = keeping_questions(12).await;
    world.options.worker.workers = 1;
    world.track().await;
    world.work().await;
    let number = world.issues()[0];
    let watching = Arc::new(Watching {
        rest: RestFetcher::new(world.client.clone(), world.options.max_timeline_pages),
        control: world.control.clone(),
        before: Mutex::default(),
    });
    world.push(Subject::part(world.id, part::EDITS), Lane::Reconcile).await;
    world.push(Subject::item(world.id, number), Lane::Webhook).await;
    world.work_by(world.downloader().with_fetcher(Arc::clone(&watching) as _)).await;
    assert_eq!(*watching.before.lock().unwrap(), [(number, 0)]);
    assert_eq!(asked(&world.control).0, 1, "the walk came afterwards");
}

#[tokio::test]
async fn a_walk_whose_turn_is_over_gives_its_place_back_and_goes_on() {
    const ITEMS: u64 = 120;
    let world = keeping_questions(ITEMS).await;
    let numbers = world.control.truth_numbers(&world.name);
    let items: Vec<u64> = numbers.into_iter().filter(|number| is_item(&world, *number)).collect();
    for number in &items {
        edit(&world, Change::EditBody { number: *number, body: "second".to_owned() });
        edit(&world, Change::EditBody { number: *number, body: "third".to_owned() });
    }
    world.track().await;
    world.work().await;
    world.push(Subject::part(world.id, part::EDITS), Lane::Reconcile).await;
    world.work_by(world.downloader().with_turn(Duration::ZERO)).await;
    let portions = items.len().div_ceil(gharvest_github::EDITS_AT_ONCE);
    assert!(portions > 1, "{} items", items.len());
    let (turns, requests) = asked(&world.control);
    assert!((portions..=requests).contains(&turns), "{turns} turns and {requests} requests for {portions} portions");
    for number in items {
        assert_eq!(texts(&record(&world, number).await, "body").last(), Some(&("second", Some("ann"))), "{number}");
    }
    assert_eq!(walk(&world).await, 0, "all were looked at");
}

fn is_item(world: &World, number: u64) -> bool {
    matches!(world.control.truth(&world.name, number), Some(Truth::Present { .. }))
}
