//! What a sweep finds although GitHub answers badly, or changes under it.

use std::{collections::BTreeSet, time::Duration};

use gharvest_github_simulator::{Change, Fault, GraphqlError, Rule, Withheld};
use gharvest_model::{ItemId, Lane, QueueName, Subject};
use gharvest_queue::{Filter, QueueAdmin as _};
use jiff::Timestamp;
use serde_json::Value;

use crate::world::{DAY, HOUR, PERIOD, Setting, World};

/// The numbers that wait for a download in a lane.
async fn asked(world: &World, lane: Lane) -> BTreeSet<u64> {
    let jobs = world.queue.list(QueueName::Download, &Filter::default(), None, 1_000).await.unwrap();
    let number = |subject: &Subject| match subject {
        Subject::Item(item) => Some(item.number),
        _ => None,
    };
    jobs.iter().filter(|job| job.lane == lane).filter_map(|job| number(&job.subject)).collect()
}

/// Comments of items with their numbers, one an item.
fn comments(world: &World) -> Vec<(u64, u64)> {
    let comment_of = |number: u64| {
        let is_comment = |entry: &&Value| entry["event"] == "commented";
        let timeline = world.timeline(number);
        timeline.iter().find(is_comment).map(|comment| (number, comment["id"].as_u64().unwrap()))
    };
    world.numbers(|_, _, _| true).into_iter().filter_map(comment_of).collect()
}

#[tokio::test]
async fn a_comment_that_slips_to_an_earlier_page_of_the_sweeps_look_is_found() {
    const EDITED: usize = 130;
    let mut world = World::mirrored(Setting { items: 260, ..Setting::default() }).await;
    world.pass(0).await;
    let comments = comments(&world);
    assert!(comments.len() >= EDITED, "{}", comments.len());
    // An edited comment moves nothing of its item: only the list of comments shows it. Each a second after the other.
    let edit = |number, comment| Change::EditComment { number, comment, body: "Something else".to_owned() };
    let begun = Timestamp::now().as_second();
    for ((number, comment), second) in comments[..EDITED].iter().zip(1..) {
        world.control.freeze(Some(begun + second));
        world.control.change(&world.name, edit(*number, *comment)).unwrap();
    }
    world.control.freeze(Some(begun + 600));
    // When the second page is asked for, an entry of the first one moves to the end.
    let (number, comment) = comments[10];
    let what = edit(number, comment);
    let change = Fault::Change { repository: world.name.clone(), what };
    world.control.inject(Rule::once(change).on("/issues/comments").after(1));
    world.look(HOUR).await;
    assert_eq!(world.control.fault_hits(), 1);
    let edited: BTreeSet<u64> = comments[..EDITED].iter().map(|(number, _)| *number).collect();
    let asked = asked(&world, Lane::Reconcile).await;
    assert_eq!(edited.difference(&asked).collect::<Vec<_>>(), Vec::<&u64>::new());
}

#[tokio::test]
async fn what_a_list_says_is_as_old_as_the_question() {
    let mut world = World::mirrored(Setting { items: 12, ..Setting::default() }).await;
    let number = world.numbers(|issue, _, _| issue["state"] == "open")[0];
    world.control.change(&world.name, Change::Close { number, reason: Some("completed".to_owned()) }).unwrap();
    let control = world.control.clone();
    control.inject(Rule::once(Fault::Latency { delay_ms: 300 }).on("/repos/lumen/lumen/issues").after(1));
    let asked_at = async {
        while control.fault_hits() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Timestamp::now()
    };
    let (asked_at, ()) = tokio::join!(asked_at, world.look(DAY));
    let hint = world.archive.hint(ItemId { repository: world.id, number }).await.unwrap().unwrap();
    assert!(hint.seen_at <= asked_at, "{} is later than {asked_at}", hint.seen_at);
}

#[tokio::test]
async fn a_detector_that_fails_stops_none_of_the_others() {
    let mut world = World::mirrored(Setting { items: 40, ..Setting::default() }).await;
    world.control.inject(Rule::often(Fault::Status { status: 422 }, 1.0).on("/issues/comments"));
    world.look(0).await;
    world.look(HOUR).await;
    assert!(world.control.fault_hits() > 0);
    let comments = world.archive.part(world.id, "sweep-comments").await.unwrap().expect("review comments were read");
    assert!(comments["review_comments"]["since"].is_string(), "{comments}");
    for part in ["sweep-lists", "sweep-rotation"] {
        assert!(world.archive.part(world.id, part).await.unwrap().is_some(), "{part}");
    }
    // Everything is probed within the period.
    let before = world.now();
    for _ in 0..(PERIOD / HOUR) {
        world.look(HOUR).await;
    }
    let oldest =
        world.archive.audit(world.id, world.now()).await.unwrap().unwrap().verdict.oldest_verification.unwrap();
    assert!(oldest > before, "{oldest}");
}

#[tokio::test]
async fn what_a_probe_does_not_tell_is_downloaded_and_hides_nothing() {
    const HEAVY: u64 = 7;
    let mut world = World::mirrored(Setting { items: 180, ..Setting::default() }).await;
    let fault = Fault::Withhold { what: Withheld::Items(HEAVY), error: GraphqlError::ResourceLimits };
    world.control.inject(Rule::often(fault, 1.0).on("#Probe"));
    let before = world.now();
    for _ in 0..(PERIOD / HOUR) {
        world.look(HOUR).await;
    }
    let (asked, ledger) = (asked(&world, Lane::Backfill).await, world.archive.ledger(world.id).await.unwrap());
    for number in world.numbers(|_, _, _| true) {
        let is_verified = ledger.get(number).verified_at.unwrap() > before;
        if number % HEAVY == 0 {
            assert!(asked.contains(&number), "#{number} is not asked for");
        } else {
            assert!(is_verified, "#{number} was last verified at {:?}", ledger.get(number).verified_at);
        }
    }
}

#[tokio::test]
async fn a_period_longer_than_time_itself_only_makes_the_sweep_slow() {
    let mut world = World::mirrored(Setting { items: 12, period: i64::MAX, ..Setting::default() }).await;
    world.look(0).await;
    world.look(HOUR).await;
    let place = world.archive.part(world.id, "sweep-rotation").await.unwrap().expect("the rotation has begun");
    assert_eq!(place["number"], 0, "{place}");
}
