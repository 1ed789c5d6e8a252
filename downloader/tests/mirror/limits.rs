//! What GitHub allows: work for a query, requests at once, and what a token sees.

use std::{sync::Arc, time::Duration};

use gharvest_github::{Client, Config, PersonalToken, Purpose, Resource, TokenKind, TokenUse};
use gharvest_github_simulator::{Change, Options, Simulator, Token, Truth, World as Github};
use gharvest_model::{ItemId, Lane, QueueName, Subject, job::part, ledger::NumberState};
use gharvest_queue::QueueAdmin as _;
use serde_json::Value;

use crate::world::{MIRRORED, OTHER, World, client, config, nothing};

async fn world(items: u64, options: Options) -> World {
    let github = Github::generated(1, MIRRORED.parse().unwrap(), items).and_generated(OTHER.parse().unwrap(), 12);
    World::on(Arc::new(Simulator::start(github, options).unwrap())).await
}

#[tokio::test]
async fn batches_fit_into_the_work_that_github_does_for_a_query() {
    const ITEMS: u64 = 120;
    let mut world = world(ITEMS, Options { graphql_work: Some(500), ..Options::unlimited() }).await;
    world.options.graphql = true;
    world.options.worker.batch = 400;
    world.track().await;
    world.work().await;
    nothing(&world.differences().await);
    let size = world.client.batch_size(&world.name);
    assert!((5..60).contains(&size), "batches of {size} are what GitHub bears");
    let requests = world.control.requests();
    let timelines = requests.get("GET /repos/{owner}/{repo}/issues/{issue_number}/timeline").copied().unwrap_or(0);
    assert!(timelines < ITEMS / 4, "{timelines} went by REST: {requests:?}");
    assert_eq!(world.control.violations(), []);
}

#[tokio::test]
async fn github_is_never_asked_more_at_once_than_is_set() {
    let most = gharvest_github::Config::default().concurrency;
    // One too many, and it would be an hour.
    let options = Options {
        concurrent: Some(most),
        latency: Duration::from_millis(5),
        secondary_retry_after: Some(Duration::from_secs(3600)),
        ..Options::unlimited()
    };
    let mut world = world(24, options).await;
    world.options.worker.workers = 3 * most;
    world.options.worker.batch = 1;
    world.track().await;
    world.work().await;
    nothing(&world.differences().await);
    assert_eq!(world.control.violations(), []);
}

#[tokio::test]
async fn a_mirror_ends_though_github_bears_fewer_at_once_than_are_set() {
    let options = Options {
        concurrent: Some(2),
        latency: Duration::from_millis(5),
        secondary_retry_after: Some(Duration::from_secs(1)),
        ..Options::unlimited()
    };
    let mut world = world(24, options).await;
    world.options.worker.workers = 16;
    world.options.worker.batch = 1;
    world.track().await;
    world.work().await;
    nothing(&world.differences().await);
    assert_eq!(world.counts(QueueName::Download).await.buried, 0);
    let violations = world.control.violations();
    assert_eq!(violations, [], "what it is told it does");
}

#[tokio::test]
async fn what_a_fine_grained_token_cannot_see_is_said_and_comes_with_another_token() {
    let fine = "github_pat_of_somebody";
    let token = Token { value: fine.into(), login: "somebody".into(), limit: 100_000 };
    let mut world = world(60, Options { tokens: vec![token], ..Options::unlimited() }).await;
    let referenced = |number: &u64| match world.control.truth(&world.name, *number) {
        Some(Truth::Present { timeline, .. }) => timeline.iter().any(is_reference),
        _ => false,
    };
    let number = world.control.truth_numbers(&world.name).into_iter().find(referenced).unwrap();
    let seeing = std::mem::replace(&mut world.client, client(&world.simulator, fine));
    world.options.graphql = true;
    world.options.worker.batch = 400;
    world.track().await;
    world.work().await;
    let report = world.client.tokens().remove(0);
    assert_eq!(report.kind, TokenKind::FineGrained);
    assert!(report.blindness().contains("cross-references"), "{}", report.blindness());
    let record =
        async |world: &World| world.archive.record(ItemId { repository: world.id, number }).await.unwrap().unwrap();
    assert!(!record(&world).await.timeline.iter().any(is_reference), "nothing shows what it does not see");
    world.client = seeing;
    world.push(Subject::item(world.id, number), Lane::Manual).await;
    world.work().await;
    assert!(record(&world).await.timeline.iter().any(is_reference));
}

#[tokio::test]
async fn tokens_that_see_only_some_repositories_mirror_all_of_them() {
    const SEEING: &str = "simulated-seeing";
    const BLIND: &str = "simulated-blind";
    let options = Options { core_limit: 100_000, ..Options::unlimited() };
    let mut world = world(60, options).await;
    // The one that sees it has less left, so the other is asked first.
    world.control.allow_token(SEEING, "ann", 50_000);
    world.control.blind_token(BLIND, &world.name);
    let config = Config { tokens: vec![BLIND.into(), SEEING.into()], ..config(&world.simulator) };
    for (graphql, batch) in [(true, 400), (false, 4)] {
        let mut mirror = World::on(Arc::clone(&world.simulator)).await;
        mirror.client = Client::new(config.clone()).unwrap();
        mirror.options.graphql = graphql;
        mirror.options.worker.batch = batch;
        mirror.track().await;
        mirror.work().await;
        nothing(&mirror.differences().await);
        let counts = mirror.counts(QueueName::Download).await;
        assert_eq!((counts.buried, counts.totals.retried), (0, 0));
        assert_eq!(mirror.archive.tracking().await.unwrap()[0].trouble, None);
        world = mirror;
    }
    assert_eq!(world.control.violations(), []);
}

#[tokio::test]
async fn older_texts_are_told_though_a_token_that_does_not_see_the_repository_is_asked_first() {
    const BLIND: &str = "simulated-blind";
    let mut world = world(20, Options::unlimited()).await;
    let number = world.issues()[0];
    drop(world.control.change_by(&world.name, "ann", Change::EditBody { number, body: "second".to_owned() }).unwrap());
    world.track().await;
    world.work().await;
    world.control.allow_token(BLIND, "ben", 5000);
    world.control.blind_token(BLIND, &world.name);
    // It has not met the blind one yet, which stands first and has as much left.
    let tokens = vec![BLIND.into(), "simulated-token".into()];
    world.client = Client::new(Config { tokens, ..config(&world.simulator) }).unwrap();
    world.push(Subject::part(world.id, part::EDITS), Lane::Reconcile).await;
    world.work().await;
    let record = world.archive.record(ItemId { repository: world.id, number }).await.unwrap().unwrap();
    assert!(!record.history.is_empty(), "nobody looks at it again before its next revision");
    assert_eq!(world.client.spent().graphql, 3, "one question more than who sees it asks");
}

#[tokio::test]
async fn live_work_goes_on_where_only_the_tokens_that_are_reserved_for_it_see_the_repository() {
    const SCHEDULED: &str = "simulated-scheduled";
    let mut world = world(12, Options::unlimited()).await;
    world.track().await;
    world.work().await;
    world.control.allow_token(SCHEDULED, "ben", 5000);
    world.control.blind_token(SCHEDULED, &world.name);
    let seeing = world.client.clone();
    let token = |value: &str, used_for| PersonalToken { used_for, ..value.into() };
    let tokens = vec![token("simulated-token", TokenUse::Live), token(SCHEDULED, TokenUse::Scheduled)];
    world.client = Client::new(Config { tokens, ..config(&world.simulator) }).unwrap();
    world.push(Subject::part(world.id, part::UPDATES), Lane::Reconcile).await;
    let number = world.issues()[0];
    let body = "another word".to_owned();
    drop(world.control.change(&world.name, Change::EditBody { number, body }).unwrap());
    let is_live = |counts: &gharvest_queue::Counts| counts.delayed == 1 && counts.outstanding() == 1;
    world.work_with(Arc::clone(&world.queue) as _, is_live).await;
    let trouble = async |world: &World| world.archive.tracking().await.unwrap()[0].trouble.clone().unwrap_or_default();
    let told = trouble(&world).await;
    assert!(told.contains("reserved for live work"), "{told}");
    world.push(Subject::item(world.id, number), Lane::Webhook).await;
    world.work_with(Arc::clone(&world.queue) as _, is_live).await;
    let record = world.archive.record(ItemId { repository: world.id, number }).await.unwrap().unwrap();
    assert_eq!(record.issue.unwrap()["body"], "another word");
    assert_eq!(trouble(&world).await, told, "what live work is shown ends nothing, in a new process neither");
    assert_eq!(world.queue.pauses().await.unwrap(), []);
    assert_eq!(world.counts(QueueName::Download).await.totals.retried, 0);
    assert_eq!(world.archive.repository(world.id).await.unwrap().unwrap().gone_at, None);

    // The reserved one is freed: what waited is done, and nothing is wrong any more.
    world.client = seeing;
    world.work().await;
    assert_eq!(world.archive.tracking().await.unwrap()[0].trouble, None);
}

/// A repository of which one number cannot be told to be missing, because a token that may see it has no budget.
#[tokio::test]
async fn a_number_that_cannot_be_confirmed_waits_and_the_repository_goes_on() {
    const EMPTY: &str = "simulated-empty";
    let mut world = world(12, Options::unlimited()).await;
    world.track().await;
    world.work().await;
    world.control.allow_token(EMPTY, "ben", 1);
    // Who has nothing left, and was never asked about this repository.
    let spent = Client::new(Config { tokens: vec![EMPTY.into()], ..config(&world.simulator) }).unwrap();
    spent.get(&Resource::Repository(OTHER.parse().unwrap()), None, Purpose::Live).await.unwrap();
    let tokens = vec!["simulated-token".into(), EMPTY.into()];
    world.client = Client::new(Config { tokens, ..config(&world.simulator) }).unwrap();
    world.client.refresh_budgets().await.unwrap();
    let issues = world.issues();
    let [gone, edited] = [issues[0], issues[1]];
    drop(world.control.change(&world.name, Change::HideItem { number: gone }).unwrap());
    let body = "another word".to_owned();
    drop(world.control.change(&world.name, Change::EditBody { number: edited, body }).unwrap());
    world.options.worker.workers = 1;
    world.options.worker.batch = 1;
    for number in [gone, edited] {
        world.push(Subject::item(world.id, number), Lane::Webhook).await;
    }
    world.work_with(Arc::clone(&world.queue) as _, |counts| counts.outstanding() < 2).await;
    let record = async |number| world.archive.record(ItemId { repository: world.id, number }).await.unwrap().unwrap();
    assert_eq!(record(edited).await.issue.unwrap()["body"], "another word");
    assert_eq!(world.archive.tracking().await.unwrap()[0].trouble, None);
    assert_eq!(world.queue.pauses().await.unwrap(), []);
    // What was fetched since shows that its 404 can be believed: confirmed in a day, as any other.
    world.work().await;
    let entry = world.archive.ledger(world.id).await.unwrap().get(gone);
    assert_eq!((entry.state, world.counts(QueueName::Download).await.totals.retried), (NumberState::Unknown, 0));
}

fn is_reference(entry: &Value) -> bool {
    entry["event"] == "cross-referenced"
}
