//! What a mirror costs: calls and points are counted, so they can be asserted. A larger run is that of
//! `cargo run -p gharvest-bench -- cost`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gharvest_downloader::plan::{Way, plan};
use gharvest_github_simulator::{Change, Fault, Rule, Truth};
use gharvest_model::{ItemId, Lane, QueueName, Revision, Subject, record::Origin};
use gharvest_queue::Queue as _;

use crate::{
    kill::KillingQueue,
    nothing_but_lossy,
    world::{World, github, nothing},
};

/// Few enough to be quick, so that what is asked once weighs a little.
const ITEMS: u64 = 300;

#[tokio::test]
async fn a_first_mirror_costs_about_a_tenth_of_a_call_or_point_an_item() {
    let world = World::on(github(ITEMS)).await.with_graphql();
    world.track().await;
    world.work().await;
    nothing_but_lossy(&world).await;
    let spent = world.client.spent();
    let an_item = spent.cost() as f64 / ITEMS as f64;
    assert!(an_item <= 0.17, "{an_item}: {spent:?} {:?}", world.control.requests());
    let mirrored = world.client.spent_on(&world.name);
    let counted: u64 = mirrored.values().map(|spent| spent.cost()).sum();
    assert!(counted + 4 >= spent.cost(), "all but the schema and where items went belongs to the repository");
}

#[tokio::test]
async fn a_walk_pushes_its_numbers_in_few_steps_so_that_leases_are_large() {
    let world = World::on(github(ITEMS)).await.with_graphql();
    world.track().await;
    let counting = KillingQueue::never(Arc::clone(&world.queue) as _);
    world.work_with(Arc::clone(&counting) as _, |counts| counts.outstanding() == 0).await;
    // Issues, pull requests, and what no list shows.
    let pushes = counting.pushes.lock().unwrap().clone();
    assert!(pushes.len() <= 3, "{pushes:?}");
    assert!(pushes.iter().sum::<usize>() as u64 >= ITEMS, "{pushes:?}");
}

#[tokio::test]
async fn a_turn_that_is_over_gives_back_what_is_to_be_fetched_again() {
    const AGAIN: u64 = 12;
    let world = World::on(github(60)).await.with_graphql();
    world.track().await;
    world.work().await;
    let pushed = world.queue.push_range(QueueName::Download, world.id, 1..=AGAIN, Lane::Backfill).await.unwrap();
    assert_eq!(pushed.new, AGAIN);
    let counting = KillingQueue::never(Arc::clone(&world.queue) as _);
    let downloader = Arc::new(world.downloader().with_turn(Duration::ZERO));
    world.work_on(Arc::clone(&counting) as _, &downloader, |counts| counts.outstanding() == 0).await;
    let leases = counting.leases.load(Ordering::SeqCst);
    assert!(leases >= AGAIN / 2, "{leases} leases: live work waited for all {AGAIN} items");
}

#[tokio::test]
async fn what_came_by_graphql_is_paid_for_once_when_it_is_fetched_again() {
    let world = World::on(github(60)).await.with_graphql();
    world.track().await;
    world.work().await;
    let numbers = world.control.truth_numbers(&world.name);
    let record = async |number| world.archive.record(ItemId { repository: world.id, number }).await.unwrap().unwrap();
    let by_rest = async || {
        let mut by_rest = 0;
        for number in &numbers {
            let record = record(*number).await;
            assert_eq!(record.revision, Revision(1), "#{number}: nothing changed");
            by_rest += u64::from(record.origin.timeline == Some(Origin::Rest));
        }
        by_rest
    };
    assert!(by_rest().await < 10, "nearly all came by GraphQL");
    let mut costs = Vec::new();
    for _ in 0..3 {
        let before = world.client.spent().cost();
        for number in &numbers {
            world.push(Subject::item(world.id, *number), Lane::Backfill).await;
        }
        world.work().await;
        costs.push((world.client.spent().cost() - before) as f64 / numbers.len() as f64);
    }
    assert_eq!(by_rest().await, numbers.len() as u64, "what REST gives more is kept");
    assert!(costs[0] > 2.0 && costs[1] < 0.1 && costs[2] < 0.1, "{costs:?} calls an item");
    nothing(&world.differences().await);
}

#[tokio::test]
async fn a_plan_says_how_many_items_there_are_and_about_what_they_cost() {
    let mut world = World::on(github(ITEMS)).await;
    let plan_by = async |graphql: bool| plan(&world.client, &world.archive, &world.name, graphql, 700).await.unwrap();
    let by_rest = plan_by(false).await.figures;
    let highest = world.control.highest_number(&world.name);
    assert_eq!((by_rest.way, by_rest.items, by_rest.points), (Way::Rest, highest, 0), "the highest number is known");
    let before = world.client.spent();
    let by_graphql = plan_by(true).await.figures;
    assert_eq!((by_graphql.way, by_graphql.items), (Way::Graphql, ITEMS), "every state is counted");
    let is_gone = |number: &u64| {
        matches!(
            world.control.truth(&world.name, *number),
            Some(Truth::Deleted | Truth::Hidden | Truth::Transferred { .. })
        )
    };
    let gone = (1..=highest).filter(is_gone).count() as u64;
    assert!(gone > 0);
    assert_eq!(by_graphql.gone, gone, "discussions share the numbers, and are told without a call each");
    let cost = world.client.spent().cost() - before.cost();
    assert_eq!(cost, 6, "three calls and a point, and what the server knows");
    world.options.graphql = true;
    world.options.worker.batch = 400;
    world.track().await;
    world.work().await;
    let spent = world.client.spent().cost() - before.cost();
    let planned = by_graphql.calls + by_graphql.points;
    assert!(planned <= spent * 5 / 4 && spent <= planned * 5 / 4, "{planned} planned, {spent} spent");
    let again = plan_by(true).await;
    assert_eq!((again.figures.items, again.figures.gone), (ITEMS, by_graphql.gone), "the totals stay");
    assert_eq!((again.archived, again.gone), (ITEMS, 0), "nothing is left to account for");
    assert!(again.figures.calls < 20, "the lists, and nothing that is accounted for: {:?}", again.figures);
}

#[tokio::test]
async fn a_plan_goes_by_rest_s_counts_where_graphql_never_tells_its_own() {
    let world = World::on(github(ITEMS)).await;
    world.control.inject(Rule::often(Fault::Status { status: 502 }, 1.0).on("#Counts"));
    let plan = plan(&world.client, &world.archive, &world.name, true, 700).await.unwrap();
    assert_eq!((plan.figures.way, plan.figures.items), (Way::Graphql, world.control.highest_number(&world.name)));
    assert!((1..=8).contains(&world.control.fault_hits()), "{}", world.control.fault_hits());
}

#[tokio::test]
async fn a_changed_item_costs_about_three_calls_and_an_unchanged_one_about_one() {
    let world = World::new(40).await;
    world.track().await;
    world.work().await;
    let numbers = world.control.truth_numbers(&world.name);
    let visit_all = || async {
        let before = world.client.spent().cost();
        for number in &numbers {
            world.push(Subject::item(world.id, *number), Lane::Webhook).await;
        }
        world.work().await;
        (world.client.spent().cost() - before) as f64 / numbers.len() as f64
    };
    let unchanged = visit_all().await;
    assert!(unchanged <= 1.3, "{unchanged}: lists are asked by ETag");
    for number in &numbers {
        drop(world.control.change(&world.name, Change::Comment { number: *number, body: "news".to_owned() }));
    }
    let changed = visit_all().await;
    assert!(changed <= 3.0, "{changed}");
    assert!(world.differences().await.is_empty());
}
