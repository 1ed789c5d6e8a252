//! Silent changes of every kind, made behind the mirror's back: each is found within its time, counted, and healed.
//!
//! The table of silent changes in `_docs/completeness.md` says what is found by when: it is read here, so that each of
//! its rows is tried, and no time is another than the documented one.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::{BTreeMap, BTreeSet};

use gharvest_archive::LedgerChange;
use gharvest_github::Purpose;
use gharvest_github_simulator::{Change, Fault, Rule, Truth};
use gharvest_model::{
    ItemId, Lane, QueueName, Subject,
    drift::Drift,
    ledger::NumberState,
    record::{Origin, RecordState},
};
use gharvest_queue::{Filter, JobView, QueueAdmin as _};
use jiff::SignedDuration;
use serde_json::Value;

mod ends;
mod faults;
mod pages;
mod world;

use world::{DAY, HOUR, NAME, OTHER, PERIOD, Setting, World};

/// The documented table: each kind of change, and the times within which it is found, in seconds.
fn documented() -> BTreeMap<String, Vec<i64>> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../_docs/completeness.md")).unwrap();
    let (_, table) = page.split_once("| silent change | detector | found within |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [change, _, times] = cells[..] else { panic!("{line}") };
        (change.to_owned(), times.split("; ").map(seconds).collect())
    };
    rows.map(row).collect()
}

/// How far time goes on in one step: not beyond the time within which something is to be found.
fn step(usual: i64, passed: i64, within: impl Iterator<Item = i64>) -> i64 {
    within.map(|within| within - passed).fold(usual, i64::min)
}

fn seconds(time: &str) -> i64 {
    match time {
        "the next request" => 0,
        "a run" => 600,
        "a day" => DAY + 600,
        // A pass over so few pages is over in its first run.
        "a day and a pass" => DAY + 600,
        "a day and an hour" => DAY + HOUR,
        "two days and a pass" => 2 * DAY + 600,
        "the period" => PERIOD,
        "12 periods" => 12 * PERIOD,
        other => panic!("a time that this test does not know: {other}"),
    }
}

/// The rows of the table that are tried by other tests than the long one.
const HIDDEN: &str = "an item was hidden";
const BACK: &str = "an item that was gone is back";
const STATES: &str = "the repository was renamed, hidden, blocked, came back";
const REPOSITORY_GONE: &str = "the repository is gone";

/// A silent change, its row of the documented table, the item on which it is looked for, its kind, and the time within
/// which it is found.
struct Silent {
    row: &'static str,
    change: Change,
    number: u64,
    kind: Drift,
    within: i64,
}

/// An item, and the login of somebody who commented on it, and neither opened it nor is assigned.
fn guest(world: &World) -> (u64, String) {
    let comments_of = |timeline: &[Value]| {
        let comments = timeline.iter().filter(|entry| entry["event"] == "commented");
        comments.map(|comment| comment["user"].clone()).collect::<Vec<_>>()
    };
    let is_guest = |user: &Value, issue: &Value| {
        user["type"] == "User"
            && user["login"] != "ghost"
            && user["login"] != issue["user"]["login"]
            && issue["assignees"].as_array().unwrap().iter().all(|one| one["login"] != user["login"])
    };
    let of = |number: u64| match world.truth(number) {
        Truth::Present { issue, timeline, pull: Some(_), .. } => {
            let users = comments_of(&timeline).into_iter().find(|user| is_guest(user, &issue));
            users.map(|user| (number, user["login"].as_str().unwrap().to_owned()))
        }
        _ => None,
    };
    world.numbers(|_, _, _| true).into_iter().rev().find_map(of).unwrap()
}

/// A pull request, and the id of a review of it that says something.
fn appraised(world: &World) -> (u64, u64) {
    let of = |number: u64| match world.truth(number) {
        Truth::Present { timeline, pull: Some(_), .. } => {
            let says = |entry: &&Value| entry["event"] == "reviewed" && entry["body"].is_string();
            timeline.iter().find(says).map(|review| (number, review["id"].as_u64().unwrap()))
        }
        _ => None,
    };
    world.numbers(|_, _, comments| comments.is_empty()).into_iter().rev().find_map(of).unwrap()
}

fn changes(world: &World) -> Vec<Silent> {
    let is_pull = |issue: &Value| issue["pull_request"].is_object();
    let commented = |timeline: &[Value]| timeline.iter().find(|entry| entry["event"] == "commented").cloned();
    let mut issues = world
        .numbers(|issue, timeline, _| !is_pull(issue) && commented(timeline).is_some() && issue["locked"] == false)
        .into_iter()
        .filter(|number| *number > 20);
    let mut pulls = world
        .numbers(|issue, _, comments| is_pull(issue) && issue["state"] == "open" && comments.len() < 3)
        .into_iter()
        .filter(|number| *number > 20);
    let mut reviewed = world.numbers(|issue, _, comments| is_pull(issue) && comments.len() >= 3).into_iter();
    let mut open = world
        .numbers(|issue, timeline, _| !is_pull(issue) && issue["state"] == "open" && commented(timeline).is_none())
        .into_iter();
    let silent = |timeline: &[Value]| commented(timeline).is_none();
    let mut closed = world
        .numbers(|issue, timeline, _| !is_pull(issue) && issue["state"] == "closed" && silent(timeline))
        .into_iter();
    let labelled = world.numbers(|issue, timeline, _| {
        !is_pull(issue) && silent(timeline) && issue["state"] == "closed" && issue["labels"][0]["name"].is_string()
    });
    let labelled: Vec<u64> = labelled.into_iter().rev().collect();
    let mut issue = || issues.next().unwrap();
    let parts = |number| match world.truth(number) {
        Truth::Present { issue, timeline, review_comments, .. } => (issue, timeline, review_comments),
        _ => panic!("#{number} is there"),
    };
    let comment_of = |number| commented(&parts(number).1).unwrap()["id"].as_u64().unwrap();
    let label = parts(labelled[0]).0["labels"][0]["name"].as_str().unwrap().to_owned();
    let planned = *world
        .numbers(|issue, timeline, _| silent(timeline) && issue["milestone"]["title"].is_string())
        .iter()
        .rev()
        .find(|number| **number != labelled[0])
        .unwrap();
    let milestone = parts(planned).0["milestone"]["title"].as_str().unwrap().to_owned();
    let guest = guest(world);
    let appraised = appraised(world);
    let taken = [guest.0, appraised.0, planned];
    let mut pull = || pulls.find(|number| !taken.contains(number)).unwrap();
    let documented = documented();
    let mut all = Vec::new();
    // `case` is which of a row's times it is.
    let mut add = |row: &'static str, case: usize, number, change, kind| {
        let within = documented.get(row).unwrap_or_else(|| panic!("the table has no row `{row}`"))[case];
        all.push(Silent { row, change, number, kind, within });
    };
    let text = || "Something else".to_owned();
    let row = "title, text, state, labels, milestone, assignees, lock of an item";
    let number = issue();
    add(row, 0, number, Change::EditTitle { number, title: text() }, Drift::Title);
    let number = issue();
    add(row, 0, number, Change::EditBody { number, body: text() }, Drift::Body);
    let number = open.next().unwrap();
    add(row, 0, number, Change::Close { number, reason: Some("completed".to_owned()) }, Drift::State);
    let number = closed.next().unwrap();
    add(row, 0, number, Change::Reopen { number }, Drift::State);
    let number = issue();
    add(row, 0, number, Change::Label { number, label: "brand new".to_owned() }, Drift::Labels);
    let number = issue();
    add(row, 0, number, Change::Milestone { number, title: "some day".to_owned() }, Drift::Milestone);
    let number = issue();
    add(row, 0, number, Change::Assign { number, login: "newcomer".to_owned() }, Drift::Assignees);
    let number = issue();
    add(row, 0, number, Change::Lock { number, reason: None }, Drift::Lock);
    let row = "a label or a milestone has another name";
    let renamed = Change::RenameLabel { from: label, to: "renamed label".to_owned() };
    add(row, 0, labelled[0], renamed, Drift::Labels);
    let renamed = Change::RenameMilestone { from: milestone, to: "renamed milestone".to_owned() };
    add(row, 0, planned, renamed, Drift::Milestone);
    let number = issue();
    add("reactions to an item", 0, number, Change::React { number }, Drift::Reactions);
    let row = "an account was renamed or deleted: author, assignee";
    let number = issue();
    add(row, 0, number, Change::DeleteAuthor { number }, Drift::People);
    let number = pull();
    let from = parts(number).0["user"]["login"].as_str().unwrap().to_owned();
    add(row, 0, number, Change::RenameUser { from, to: "another-name".to_owned() }, Drift::People);
    let row = "an account was renamed or deleted: in events and comments";
    let (number, from) = guest;
    add(row, 0, number, Change::RenameUser { from, to: "another-guest".to_owned() }, Drift::People);
    let row = "a comment or review comment was added or edited";
    let number = issue();
    add(row, 0, number, Change::Comment { number, body: text() }, Drift::CommentAdded);
    let number = issue();
    let edited = Change::EditComment { number, comment: comment_of(number), body: text() };
    add(row, 0, number, edited, Drift::CommentEdited);
    let number = reviewed.next().unwrap();
    let comment = parts(number).2[0]["id"].as_u64().unwrap();
    add(row, 0, number, Change::EditReviewComment { number, comment, body: text() }, Drift::CommentEdited);
    let number = issue();
    let deleted = Change::DeleteComment { number, comment: comment_of(number) };
    add("a comment was deleted", 0, number, deleted, Drift::CommentDeleted);
    let number = reviewed.next().unwrap();
    let comment = parts(number).2[0]["id"].as_u64().unwrap();
    let deleted = Change::DeleteReviewComment { number, comment };
    add("a review comment was deleted", 0, number, deleted, Drift::CommentDeleted);
    let number = issue();
    let reaction = Change::ReactToComment { number, comment: comment_of(number) };
    add("reactions to a comment", 1, number, reaction, Drift::Reactions);
    let row = "a review, commits, a pushed branch";
    let number = pull();
    add(row, 0, number, Change::Review { number, state: "approved".to_owned(), body: text() }, Drift::Review);
    let number = pull();
    add(row, 0, number, Change::Push { number, message: text() }, Drift::Code);
    let row = "references by items and commits, events without an update";
    let number = issue();
    add(row, 0, number, Change::CrossReference { number, from: 1, of: None }, Drift::Reference);
    let number = issue();
    add(row, 0, number, Change::ReferenceByCommit { number }, Drift::Reference);
    let number = pull();
    add(row, 0, number, Change::CrossReference { number, from: 1, of: None }, Drift::Reference);
    let number = pull();
    add(row, 0, number, Change::ReferenceByCommit { number }, Drift::Reference);
    let number = issue();
    add(row, 0, number, Change::Event { number, event: "subscribed".to_owned() }, Drift::Event);
    let row = "an item was deleted, transferred, made a discussion";
    let number = issue();
    add(row, 0, number, Change::DeleteItem { number }, Drift::Gone);
    let number = issue();
    add(row, 0, number, Change::TransferItem { number, to: OTHER.parse().unwrap() }, Drift::Gone);
    let number = issue();
    add(row, 0, number, Change::ConvertToDiscussion { number }, Drift::Gone);
    let (number, review) = appraised;
    add(
        "anything else, but for what is named below",
        0,
        number,
        Change::EditReview { number, review, body: text() },
        Drift::CommentEdited,
    );
    all
}

#[tokio::test]
async fn every_kind_of_silent_change_is_found_in_its_time_and_healed() {
    let mut world = World::mirrored(Setting::default()).await;
    // The first looks take what there is for known.
    world.pass(0).await;
    world.pass(HOUR).await;
    assert!(world.archive.audit(world.id, world.now()).await.unwrap().unwrap().drift.is_empty(), "nothing drifted yet");
    let changes = changes(&world);
    assert!(changes.len() >= 20);
    let tried = changes.iter().map(|silent| silent.row).chain([HIDDEN, BACK, STATES, REPOSITORY_GONE]);
    let documented: BTreeSet<String> = documented().into_keys().collect();
    assert_eq!(tried.map(str::to_owned).collect::<BTreeSet<_>>(), documented, "every row of the table is tried");
    world.control.change(&world.name, Change::CreateMilestone { title: "some day".to_owned() }).unwrap();
    for silent in &changes {
        world.control.change(&world.name, silent.change.clone()).unwrap();
    }
    let mut open: BTreeMap<u64, &Silent> = changes.iter().map(|silent| (silent.number, silent)).collect();
    assert_eq!(open.len(), changes.len(), "each on an item of its own");
    let mut passed = 0;
    while !open.is_empty() {
        for (number, silent) in &open {
            assert!(passed < silent.within, "{:?} on #{number} is not found after {passed} s", silent.change);
        }
        // The slow ones are waited for in long steps.
        let usual = if passed < PERIOD { 3 * HOUR } else { 12 * HOUR };
        let step = step(usual, passed, open.values().map(|silent| silent.within));
        world.pass(step).await;
        passed += step;
        for number in open.keys().copied().collect::<Vec<_>>() {
            if world.is_healed(number).await {
                open.remove(&number);
            }
        }
    }
    let audit = world.archive.audit(world.id, world.now()).await.unwrap().unwrap();
    for silent in &changes {
        assert!(audit.drift.contains_key(&silent.kind), "{:?} is not reported: {:?}", silent.kind, audit.drift);
    }
    assert_eq!(world.control.violations(), []);
}

#[tokio::test]
async fn an_item_that_was_hidden_is_found_in_two_days_and_one_that_is_back_too() {
    let mut world = World::mirrored(Setting { items: 30, gaps: true, ..Setting::default() }).await;
    world.pass(0).await;
    world.pass(HOUR).await;
    let table = documented();
    let number = 4;
    let hidden = async |world: &World| world.archive.ledger(world.id).await.unwrap().get(number).state;
    world.control.change(&world.name, Change::HideItem { number }).unwrap();
    let mut passed = 0;
    while hidden(&world).await != NumberState::Hidden {
        assert!(passed < table[HIDDEN][0], "not found after {passed} s");
        let step = step(3 * HOUR, passed, table[HIDDEN].iter().copied());
        world.pass(step).await;
        passed += step;
        let entry = world.archive.ledger(world.id).await.unwrap().get(number);
        if entry.state == NumberState::Unknown && passed >= DAY + 3 * HOUR {
            // Only the seeder's clock is this test's: for the downloader's a day is made to have passed.
            let verified_at = jiff::Timestamp::now() - SignedDuration::from_hours(25);
            let change = LedgerChange { number, state: NumberState::Unknown, verified_at };
            world.archive.update_ledger(world.id, &[change]).await.unwrap();
        }
    }
    assert!(world.is_healed(number).await);
    world.control.change(&world.name, Change::ShowItem { number }).unwrap();
    passed = 0;
    while !(hidden(&world).await == NumberState::Present && world.is_healed(number).await) {
        assert!(passed < table[BACK][0], "not back after {passed} s");
        let step = step(3 * HOUR, passed, table[BACK].iter().copied());
        world.pass(step).await;
        passed += step;
    }
    let drift = world.archive.audit(world.id, world.now()).await.unwrap().unwrap().drift;
    assert!(drift.contains_key(&Drift::Gone) && drift.contains_key(&Drift::Returned), "{drift:?}");
}

#[tokio::test]
async fn the_next_request_tells_how_the_repository_is() {
    assert_eq!(documented()[STATES], [0]);
    assert_eq!(documented()[REPOSITORY_GONE], [DAY + HOUR]);
    let world = World::mirrored(Setting { items: 12, ..Setting::default() }).await;
    let ask = async || world.push(Subject::item(world.id, 1), Lane::Webhook).await;
    let entry = async || world.archive.tracking().await.unwrap().remove(0);
    for (begin, end) in [
        (Change::HideRepository, Change::ShowRepository),
        (Change::BlockRepository { status: 451, reason: "dmca".to_owned() }, Change::ShowRepository),
        (Change::DisableIssues, Change::EnableIssues),
    ] {
        world.control.change(&world.name, begin.clone()).unwrap();
        ask().await;
        world.download_until_paused().await;
        assert!(entry().await.trouble.is_some(), "{begin:?}");
        world.control.change(&world.name, end).unwrap();
        world.download().await;
        assert_eq!(entry().await.trouble, None, "{begin:?}");
    }
    let renamed = "lumen/lantern";
    world.control.change(&world.name, Change::RenameRepository { to: renamed.parse().unwrap() }).unwrap();
    ask().await;
    world.download().await;
    assert_eq!(entry().await.name.to_string(), renamed);

    // Gone for a day, and asked once more: for the downloader's clock a day is made to have passed.
    world.control.change(&renamed.parse().unwrap(), Change::HideRepository).unwrap();
    ask().await;
    world.download_until_paused().await;
    let since = jiff::Timestamp::now() - SignedDuration::from_hours(24);
    world.archive.change_tracked(world.id, &|entry| entry.trouble_since = Some(since)).await.unwrap();
    world.resume().await;
    world.download_until_paused().await;
    assert!(world.archive.repository(world.id).await.unwrap().unwrap().gone_at.is_some());
    let record = world.archive.record(ItemId { repository: world.id, number: 1 }).await.unwrap();
    assert_eq!(record.unwrap().state, RecordState::Present, "the archive keeps what it has");
}

#[tokio::test]
async fn a_silent_reference_is_found_after_a_rest_fetch_and_reported_until_it_is_downloaded() {
    let mut world = World::mirrored(Setting { items: 40, ..Setting::default() }).await;
    world.pass(0).await;
    let first = |is_wanted: fn(&Value, &[Value]) -> bool| {
        let is_free = |issue: &Value| issue["state"] == "open" && issue["locked"] == false;
        let mut numbers = world.numbers(|issue, _, comments| is_free(issue) && is_wanted(issue, comments)).into_iter();
        numbers.find(|number| *number > 10).unwrap()
    };
    // GraphQL's timelines of pull requests also have threads of review comments and markers.
    let numbers: BTreeSet<u64> = [
        first(|issue, _| issue["pull_request"].is_null()),
        first(|issue, comments| issue["pull_request"].is_object() && comments.is_empty()),
        first(|issue, comments| issue["pull_request"].is_object() && !comments.is_empty()),
    ]
    .into();
    for number in numbers.iter().copied() {
        // A webhook has the item fetched by REST, and then a commit names it: nothing that REST's lists show moves.
        world.control.change(&world.name, Change::Comment { number, body: "Hello".to_owned() }).unwrap();
        world.push(Subject::item(world.id, number), Lane::Webhook).await;
        world.download().await;
        world.control.change(&world.name, Change::ReferenceByCommit { number }).unwrap();
        assert!(!world.is_healed(number).await);
    }
    let asked = async |world: &World| {
        let jobs = world.queue.list(QueueName::Download, &Filter::default(), None, 1_000).await.unwrap();
        world.queue.purge(QueueName::Download, &Filter::default()).await.unwrap();
        let is_asked = |number: &u64| {
            jobs.iter().any(|job| job.subject == Subject::item(world.id, *number) && job.lane == Lane::Reconcile)
        };
        numbers.iter().copied().filter(is_asked).collect::<BTreeSet<u64>>()
    };
    let (mut passed, mut found) = (0, BTreeSet::new());
    while found != numbers {
        assert!(passed < PERIOD, "within the period only {found:?} of {numbers:?} are found");
        world.look(HOUR).await;
        passed += HOUR;
        found.extend(asked(&world).await);
    }
    // What was asked for is lost: it is asked for again.
    world.look(HOUR).await;
    assert_eq!(asked(&world).await, numbers);
    world.pass(HOUR).await;
    for number in &numbers {
        assert!(world.is_healed(*number).await, "#{number}");
    }
    let drift = world.archive.audit(world.id, world.now()).await.unwrap().unwrap().drift;
    assert!(drift.contains_key(&Drift::Reference), "{drift:?}");
}

#[tokio::test]
async fn a_repository_that_cannot_be_swept_stops_no_other_and_costs_no_more_than_a_run() {
    let mut world = World::mirrored(Setting { items: 12, ..Setting::default() }).await;
    let other = world.mirror(OTHER).await;
    world.control.inject(Rule::often(Fault::Status { status: 403 }, 1.0).on("/repos/lumen/lumen"));
    let is_swept = async |world: &World| world.archive.part(other, "sweep-rotation").await.unwrap().is_some();
    world.look_beginning_with(world.id).await;
    assert!(is_swept(&world).await, "the one behind it is swept all the same");
    let after_a_run = world.sweeping.calls();
    for _ in 0..5 {
        world.look(60).await;
    }
    assert_eq!(world.sweeping.calls(), after_a_run, "the next run is tried at its time");
    // What is known not to be there is not asked for.
    world.archive.change_tracked(world.id, &|entry| entry.trouble = Some("gone".to_owned())).await.unwrap();
    let hits = world.control.fault_hits();
    world.look(DAY).await;
    assert!(world.sweeping.calls() > after_a_run);
    assert_eq!(world.control.fault_hits(), hits);
}

#[tokio::test]
async fn a_repository_that_is_forgotten_during_a_sweep_stops_no_other() {
    let mut world = World::mirrored(Setting { items: 12, ..Setting::default() }).await;
    let other = world.mirror(OTHER).await;
    // As the run that read what is tracked before that changed sees it.
    world.archive.purge_repository(world.id).await.unwrap();
    world.look_beginning_with(world.id).await;
    assert!(world.archive.part(other, "sweep-rotation").await.unwrap().is_some(), "the one behind it is swept");
}

#[tokio::test]
async fn many_repositories_have_one_share_together() {
    // Four calls and points a run, which is the least.
    let setting = Setting { items: 12, cost_an_hour: 24.0, ..Setting::default() };
    let mut world = World::mirrored(setting).await;
    world.mirror(OTHER).await;
    let spent = |world: &World, name: &str| {
        let spent = world.sweeping.spent_on(&name.parse().unwrap());
        spent.get(&Purpose::Backfill).map_or(0, |spent| spent.cost())
    };
    let mut before = 0;
    for run in 0..6 {
        world.look(600).await;
        let after = spent(&world, NAME) + spent(&world, OTHER);
        assert!(after - before <= 4, "{} in run {run}", after - before);
        before = after;
    }
    assert!(spent(&world, NAME) >= 3 && spent(&world, OTHER) >= 3, "what is not swept in one run is in another");
}

#[tokio::test]
async fn a_server_without_limits_is_swept_at_the_clients_own_pace() {
    let mut world = World::mirrored(Setting { items: 170, limited: false, ..Setting::default() }).await;
    let other = world.mirror(OTHER).await;
    assert!(world.sweeping.refresh_budgets().await.unwrap().is_empty());
    world.look(0).await;
    for id in [world.id, other] {
        let pass = world.archive.part(id, "sweep-lists").await.unwrap().unwrap_or_default();
        assert!(pass["finished_at"].is_string(), "{id} {pass}");
    }
}

/// The items that the rotation wants downloaded.
async fn rotated(world: &World) -> BTreeSet<u64> {
    let jobs = world.queue.list(QueueName::Download, &Filter::default(), None, 1_000).await.unwrap();
    let number = |job: &JobView| match (&job.subject, job.lane) {
        (Subject::Item(item), Lane::Backfill) => Some(item.number),
        _ => None,
    };
    jobs.iter().filter_map(number).collect()
}

/// What REST takes for an item that is known only by GraphQL: two calls, four with review comments, and more pages of
/// what has several.
async fn calls_for(world: &World, number: u64) -> u64 {
    let record = world.archive.record(ItemId { repository: world.id, number }).await.unwrap().unwrap();
    let pages = |list: &[Value]| list.len().div_ceil(100) as u64;
    1 + pages(&record.timeline).max(1) + u64::from(record.pull.is_some()) + pages(&record.review_comments)
}

#[tokio::test]
async fn every_item_has_its_turn_in_the_rotation_at_its_time_and_is_charged_what_it_costs() {
    const RUN: i64 = 600;
    const RUNS: u64 = 12 * 2;
    const ITEMS: u64 = 40;
    // Six calls and points a run, of which probes take half.
    let setting = Setting { items: ITEMS, period: 2 * RUN, cost_an_hour: 36.0, ..Setting::default() };
    let mut world = World::mirrored(setting).await;
    let items: BTreeSet<u64> = world.control.truth_numbers(&world.name).into_iter().collect();
    world.pass(0).await;
    for turn in 0..2 {
        let (swept, downloaded) = (world.sweeping.spent().cost(), world.client.spent().cost());
        let mut turned = Vec::new();
        for _ in 0..RUNS {
            world.look(RUN).await;
            turned.extend(rotated(&world).await);
            world.download().await;
        }
        assert_eq!(turned.len() as u64, ITEMS, "once in turn {turn}");
        assert_eq!(turned.into_iter().collect::<BTreeSet<_>>(), items);
        let downloads = world.client.spent().cost() - downloaded;
        // Batches of 25 and 15 with their details, what the server knows, and what only REST tells.
        assert!(downloads <= 20, "{downloads} calls and points in turn {turn}");
        let cost = world.sweeping.spent().cost() - swept + downloads;
        assert!(cost <= 6 * RUNS + 10, "{cost} calls and points in {RUNS} runs of six");
    }
}

#[tokio::test]
async fn without_graphql_the_rotation_is_charged_by_item_and_its_second_turn_costs_next_to_nothing() {
    const RUN: i64 = 600;
    const ITEMS: u64 = 40;
    // Six calls and points a run, of which probes take half; nearly two items a run to keep up.
    let setting = Setting { items: ITEMS, period: 2 * RUN, cost_an_hour: 36.0, graphql: false, ..Setting::default() };
    let mut world = World::mirrored(setting).await;
    let present = world.control.truth_numbers(&world.name);
    let by_rest = async |world: &World| {
        let mut by_rest = 0;
        for number in &present {
            let item = ItemId { repository: world.id, number: *number };
            let record = world.archive.record(item).await.unwrap().unwrap();
            by_rest += u64::from(record.origin.timeline == Some(Origin::Rest) && record.etags.contains_key("issue"));
        }
        by_rest
    };
    let spent = |world: &World| world.sweeping.spent().cost() + world.client.spent().cost();
    let (mut runs, before) = (0, spent(&world));
    while by_rest(&world).await < ITEMS {
        assert!(runs < 100, "{} of {ITEMS} had their turn", by_rest(&world).await);
        world.pass(RUN).await;
        runs += 1;
    }
    let first = spent(&world) - before;
    // What the server's GraphQL knows is asked once, and the last item may be owed for.
    assert!(first <= 6 * runs + 10, "{first} calls and points in {runs} runs of six");
    assert!(first > 2 * ITEMS, "{first} calls and points");
    let (mut again, downloads) = (BTreeSet::new(), world.client.spent().cost());
    for _ in 0..13 * 2 {
        world.look(RUN).await;
        again.append(&mut rotated(&world).await);
        world.download().await;
    }
    assert_eq!(again.len() as u64, ITEMS, "the second turn keeps up with the time: it is charged next to nothing");
    let second = (world.client.spent().cost() - downloads) as f64 / ITEMS as f64;
    // The pages of lists that have several, and nothing else.
    assert!(second <= 0.4, "{second} calls an item");
}

#[tokio::test]
async fn everything_is_verified_within_the_period_and_within_the_share_of_the_budget() {
    const RUN: i64 = 600;
    const PATIENCE: i64 = DAY;
    const SHARE: u64 = 30;
    let setting = Setting { items: 170, period: PATIENCE, cost_an_hour: SHARE as f64, ..Setting::default() };
    let mut world = World::mirrored(setting).await;
    let mut spent = Vec::new();
    let mut passed = 0;
    while passed < 2 * PATIENCE {
        let before = world.sweeping.spent().cost();
        world.look(RUN).await;
        passed += RUN;
        // What the sweep has downloaded counts as well, and stays on no queue.
        let rotated = rotated(&world).await;
        world.queue.purge(QueueName::Download, &Filter::default()).await.unwrap();
        let mut cost = world.sweeping.spent().cost() - before;
        for number in rotated {
            cost += calls_for(&world, number).await;
        }
        spent.push(cost);
        if passed > PATIENCE {
            let oldest =
                world.archive.audit(world.id, world.now()).await.unwrap().unwrap().verdict.oldest_verification.unwrap();
            let age = world.now().duration_since(oldest).as_secs();
            assert!(age <= PATIENCE + RUN, "after {passed} s something was verified {age} s ago");
        }
    }
    // The first looks learn how everything is.
    let an_hour = spent[6..].chunks(6).map(|hour| hour.iter().sum::<u64>()).max().unwrap();
    assert!(an_hour <= SHARE, "{an_hour} of {SHARE} calls and points in an hour: {spent:?}");
    assert!(spent.iter().sum::<u64>() > 0);
}

#[tokio::test]
async fn verifying_what_is_unchanged_costs_a_fiftieth_of_a_point_an_item() {
    const ITEMS: u64 = 300;
    let mut world = World::mirrored(Setting { items: ITEMS, ..Setting::default() }).await;
    world.pass(0).await;
    let verified = |world: &World| {
        let (archive, id, now) = (world.archive.clone(), world.id, world.now());
        async move { archive.audit(id, now).await.unwrap().unwrap().verdict.oldest_verification.unwrap() }
    };
    // What is asked for stays on the queue: downloads would verify by the real clock.
    for _ in 0..20 {
        world.look(3 * HOUR).await;
    }
    let requests = world.control.requests();
    let (before, began) = (world.sweeping.spent().cost(), verified(&world).await);
    for _ in 0..16 {
        world.look(3 * HOUR).await;
    }
    assert!(verified(&world).await > began, "everything was verified once more");
    let cost = (world.sweeping.spent().cost() - before) as f64 / ITEMS as f64;
    // A call and a point a hundred items, and as much for the few that are gone.
    assert!(cost <= 0.06, "{cost} {requests:?} {:?}", world.control.requests());
}
