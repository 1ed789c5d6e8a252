//! The same repository mirrored by GraphQL and by REST, while both APIs fail: both mirrors are what GitHub shows, and
//! differ in nothing but what GraphQL cannot give, for all items.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gharvest_github_simulator::{
    Change, Fault, GraphqlError, Options, Rule, Simulator, Truth, Withheld, World as Github,
};
use gharvest_model::{
    ItemId, Record, RepositoryName,
    change::same_content,
    lossy::{TOLD, differences, is_always_told},
    record::Origin,
};
use gharvest_testkit::recorded_data;
use serde_json::Value;

use crate::world::{World, nothing};

/// What happens to no item of the generated world by itself.
const RARE: &[&str] = &[
    "auto_merge_disabled",
    "auto_rebase_enabled",
    "auto_squash_enabled",
    "automatic_base_change_failed",
    "converted_from_draft",
    "issue_comment_unpinned",
    "issue_field_changed",
    "issue_field_removed",
    "removed_from_project_v2",
];
/// Its entries by GraphQL lack what REST gives, so a timeline with one goes by REST as a whole.
const BY_REST: &str = "commit-commented";
/// The simulated GitHub's events that GraphQL does not tell; the last two are nobody's yet.
const UNTOLD: &[&str] = &["copilot_work_finished", "copilot_work_started", "summarised_by_oracle", "teleported"];

/// GitHub at its worst, on both APIs, now and then.
fn break_down(simulator: &Simulator) {
    let control = simulator.control();
    let too_much = Fault::Withhold { what: Withheld::Fields, error: GraphqlError::ResourceLimits };
    for (fault, share) in [
        (Fault::Status { status: 502 }, 0.03),
        (Fault::HtmlPage { status: 504 }, 0.02),
        (too_much.clone(), 0.03),
        (Fault::Truncate, 0.02),
    ] {
        control.inject(Rule::often(fault, share).on("/graphql"));
    }
    let waits = Fault::SecondaryLimit { retry_after_s: Some(1), status: 403 };
    control.inject(Rule::once(waits).on("/graphql").after(3));
    // However few requests there are, some of them fail.
    control.inject(Rule::once(too_much).on("/graphql").after(5));
    control.inject(Rule::once(Fault::Status { status: 504 }).on("/graphql").after(7));
    control.inject(Rule::once(Fault::PrimaryLimit { reset_in_s: 1, status: 403 }).on("/timeline").after(9));
    for fault in [Fault::Status { status: 502 }, Fault::Reset, Fault::Truncate] {
        control.inject(Rule::often(fault, 0.01).on("/repos"));
    }
}

/// A repository on a GitHub, after `more` events of a pull request.
fn shown(github: Github, name: &RepositoryName, more: &[&str]) -> Arc<Simulator> {
    let simulator = Simulator::start(github, Options::unlimited()).unwrap();
    for event in more {
        let event = Change::Event { number: 2, event: (*event).to_owned() };
        simulator.control().change(name, event).unwrap();
    }
    Arc::new(simulator)
}

/// A mirror that was made by one way, while GitHub failed or did not.
async fn mirrored(simulator: &Arc<Simulator>, name: &RepositoryName, graphql: bool, fails: bool) -> World {
    let mut world = World::of(Arc::clone(simulator), name.clone()).await;
    world.options.graphql = graphql;
    world.options.worker.batch = 400;
    if fails {
        break_down(simulator);
    }
    world.track().await;
    world.work().await;
    simulator.control().clear_faults();
    world
}

/// Compares mirrors by both ways. Says how many threads' timelines came by GraphQL, and which events these have.
async fn compared(by_graphql: &World, by_rest: &World, name: &RepositoryName) -> (usize, BTreeSet<String>) {
    let control = by_rest.simulator.control();
    assert_eq!(control.violations(), []);
    let (mut compared, mut events, mut differences, mut others) = (0, BTreeSet::new(), BTreeMap::new(), Vec::new());
    for number in control.truth_numbers(name) {
        let record = async |world: &World| {
            let item = ItemId { repository: world.id, number };
            world.archive.record(item).await.unwrap().unwrap()
        };
        let (graphql, rest) = (record(by_graphql).await, record(by_rest).await);
        assert_eq!(rest.origin.timeline, Some(Origin::Rest));
        if !same_content(&graphql, &rest) {
            others.push(number);
        }
        compare(&graphql, &rest, &mut differences);
        let Some(Truth::Present { timeline, .. }) = control.truth(name, number) else { panic!("{number}") };
        if graphql.origin.timeline == Some(Origin::Graphql) {
            compared += 1;
            events.extend(timeline.iter().map(|entry| event_of(entry).to_owned()));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(others, Vec::<u64>::new(), "differ all the same");
    for world in [by_graphql, by_rest] {
        nothing(&world.differences().await);
    }
    (compared, events)
}

/// Collects the places where two records differ and that are not on the list of what GraphQL cannot give, each with an
/// example. What moves by itself is left to [`same_content`].
fn compare(graphql: &Record, rest: &Record, found: &mut BTreeMap<String, String>) {
    if graphql.origin.timeline == Some(Origin::Graphql) {
        let told = |record: &Record| {
            let entries = record.timeline.iter().filter(|entry| is_always_told(event_of(entry)));
            entries.cloned().collect::<Vec<_>>()
        };
        let (graphql, rest) = (told(graphql), told(rest));
        let names = |entries: &[Value]| entries.iter().map(|entry| event_of(entry).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&graphql), names(&rest), "nothing is missing and nothing is more");
        for (graphql, rest) in graphql.iter().zip(&rest) {
            differ(vec!["timeline", event_of(rest)], graphql, rest, found);
        }
    }
    let pull = |record: &Record| record.pull.clone().unwrap_or_default();
    if graphql.origin.pull == Some(Origin::Graphql) {
        differ(vec!["pull"], &pull(graphql), &pull(rest), found);
    }
}

fn event_of(entry: &Value) -> &str {
    entry["event"].as_str().unwrap_or_default()
}

fn differ<'a>(mut path: Vec<&'a str>, graphql: &'a Value, rest: &'a Value, found: &mut BTreeMap<String, String>) {
    /// What another visit of the same way would show otherwise as well.
    const MOVING: &[&str] = &["open_issues", "closed_issues", "repo", "merge_commit_sha", "source", "stargazers_count"];
    differences(&mut path, Some(graphql), Some(rest), &mut |difference| {
        if difference.listed.is_none() && !difference.path.iter().any(|key| MOVING.contains(key)) {
            let example = format!("{:.100?} / {:.100?}", difference.graphql, difference.rest);
            found.insert(difference.path.join("."), example);
        }
    });
}

#[tokio::test]
async fn both_ways_agree_on_every_kind_of_event_while_both_fail() {
    const ITEMS: usize = 420;
    let name: RepositoryName = "lumen/lumen".parse().unwrap();
    let github = Github::generated(49, name.clone(), ITEMS as u64).and_generated("lumen/archive".parse().unwrap(), 12);
    let simulator = shown(github, &name, RARE);
    let by_rest = mirrored(&simulator, &name, false, true).await;
    let by_graphql = mirrored(&simulator, &name, true, true).await;
    assert!(simulator.control().fault_hits() > 10, "both mirrors met faults");
    let (some, _) = compared(&by_graphql, &by_rest, &name).await;
    assert!(some > ITEMS / 2, "{some} timelines of {ITEMS} came by GraphQL");
    // A fault may send by REST the one thread that has an event, so all of them are looked for where nothing fails.
    let unbroken = mirrored(&simulator, &name, true, false).await;
    let (_, events) = compared(&unbroken, &by_rest, &name).await;
    let told = TOLD.iter().filter(|event| **event != BY_REST);
    let expected: BTreeSet<String> = told.chain(UNTOLD).map(|event| (*event).to_owned()).collect();
    assert_eq!(events, expected);
}

#[tokio::test]
async fn both_ways_agree_on_the_recorded_repository_while_both_fail() {
    let Some(folder) = recorded_data("both_ways_agree_on_the_recorded_repository_while_both_fail") else { return };
    let name: RepositoryName = "recorded/repository".parse().unwrap();
    let simulator = shown(Github::recorded(&folder, name.clone()), &name, &[]);
    let by_rest = mirrored(&simulator, &name, false, true).await;
    let by_graphql = mirrored(&simulator, &name, true, true).await;
    assert!(simulator.control().fault_hits() > 10, "both mirrors met faults");
    let (some, events) = compared(&by_graphql, &by_rest, &name).await;
    assert!(some > 1_000, "{some} timelines came by GraphQL");
    assert!(events.len() > 20, "{events:?}");
}
