//! `gharvest mirror --once` of a GitHub at its worst.

use std::collections::BTreeSet;

use gharvest_github_simulator::{Change, Fault, Rule, Truth};
use serde_json::Value;

use crate::scene::{MIRRORED, MIRRORED_WITHIN, OTHER, RENAMED, Scene, count, finish, finish_within, name, outstanding};

/// Issues of the generated world behind the first dozen, which other assertions use, that no other thread refers to: what
/// becomes of them changes no other thread, which might have been read before.
fn some_issues(scene: &Scene) -> Vec<u64> {
    let truth = |number: &u64| scene.control.truth(&name(MIRRORED), *number);
    let numbers = scene.control.truth_numbers(&name(MIRRORED));
    let referred: BTreeSet<u64> = numbers.iter().filter_map(truth).flat_map(|truth| references(&truth)).collect();
    let is_issue = |number: &u64| matches!(truth(number), Some(Truth::Present { pull: None, .. }));
    numbers.into_iter().filter(|number| *number > 20 && is_issue(number) && !referred.contains(number)).collect()
}

/// The items that a thread's timeline shows copies of.
fn references(truth: &Truth) -> Vec<u64> {
    let Truth::Present { timeline, .. } = truth else { return Vec::new() };
    let shown = |entry: &Value| {
        let others = ["sub_issue", "parent_issue", "blocked_by", "blocking"].map(|key| entry[key]["number"].as_u64());
        others.into_iter().chain([entry["source"]["issue"]["number"].as_u64()]).flatten().collect::<Vec<_>>()
    };
    timeline.iter().flat_map(shown).collect()
}

fn change(what: Change) -> Rule {
    Rule::once(Fault::Change { repository: name(MIRRORED), what })
}

/// How hard GitHub is to a mirror: by GraphQL there are a tenth of the requests.
struct Hardship {
    graphql: bool,
    items: u64,
    /// Requests before the limit is reached, and before the repository is renamed.
    limited_after: u64,
    renamed_after: u64,
    /// Shares of answers that are a 502; and that are cut, or never come.
    failing: f64,
    cut: f64,
    /// The most calls an item.
    most_calls: f64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_a_faulty_github_by_rest_equals_it() {
    let hardship = Hardship {
        graphql: false,
        items: 1_000,
        limited_after: 400,
        renamed_after: 800,
        failing: 0.05,
        cut: 0.02,
        most_calls: 3.2,
    };
    mirror_equals(&hardship).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_a_faulty_github_by_graphql_equals_it() {
    let hardship = Hardship {
        graphql: true,
        items: 300,
        limited_after: 20,
        renamed_after: 60,
        failing: 0.1,
        cut: 0.05,
        most_calls: 1.0,
    };
    mirror_equals(&hardship).await;
}

async fn mirror_equals(hardship: &Hardship) {
    let scene = Scene::new(hardship.items);
    let issues = some_issues(&scene);
    let (deleted, transferred) = (issues[10], issues[20]);
    let control = &scene.control;
    control.change(&name(MIRRORED), Change::Event { number: 3, event: "never_heard_of".into() }).unwrap();
    let delete = Change::DeleteItem { number: deleted };
    let transfer = Change::TransferItem { number: transferred, to: name(OTHER) };
    // Each happens while its own timeline is asked for, so always after the list of items was read.
    if !hardship.graphql {
        control.inject(change(delete).on(&format!("/issues/{deleted}/timeline")));
        control.inject(change(transfer).on(&format!("/issues/{transferred}/timeline")));
    }
    control.inject(change(Change::RenameRepository { to: name(RENAMED) }).after(hardship.renamed_after));
    control.inject(Rule::once(Fault::PrimaryLimit { reset_in_s: 2, status: 403 }).after(hardship.limited_after));
    control.inject(Rule::often(Fault::Status { status: 502 }, hardship.failing));
    control.inject(Rule::often(Fault::Reset, hardship.cut));
    control.inject(Rule::often(Fault::Truncate, hardship.cut));

    let mut command = scene.command(&["mirror", MIRRORED, "--once", "--no-web"]);
    // What rests for the sake of other work is not waited for when there is none.
    command.env("GHARVEST_INDEXER__DAILY_DELAY", "1h");
    command.env("GHARVEST_DOWNLOADER__GRAPHQL", hardship.graphql.to_string());
    let mirrored = finish_within(MIRRORED_WITHIN, command).await;
    assert_eq!(mirrored.code, Some(0), "{mirrored:?}");
    assert!(control.fault_hits() > 10, "{} faults", control.fault_hits());
    control.clear_faults();

    assert_eq!(scene.differences(RENAMED).await, Vec::<String>::new());
    assert_eq!(control.violations(), []);
    let per_item = scene.requests() as f64 / hardship.items as f64;
    println!("{} requests, {per_item:.2} an item, {} faults", scene.requests(), control.fault_hits());
    assert!(per_item <= hardship.most_calls, "{per_item:.2} requests an item: {:#?}", control.requests());
    is_searchable(&scene).await;
    is_shown(&scene).await;
    let gone = if hardship.graphql { 0 } else { 2 };
    is_complete(&scene, hardship.items - gone).await;
}

async fn is_searchable(scene: &Scene) {
    let verified = scene.run(&["verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let issues = scene.issues(RENAMED);
    let open = issues.iter().filter(|issue| issue["state"] == "open").count();
    assert_eq!(scene.total("is:open").await, open as u64);
    let pulls = issues.iter().filter(|issue| !issue["pull_request"].is_null()).count();
    assert_eq!(scene.total("is:pr").await, pulls as u64);
    assert_eq!(scene.total(&format!("repo:{RENAMED} is:pr")).await, pulls as u64);
    for issue in issues.iter().step_by(40) {
        let title = issue["title"].as_str().unwrap().replace('"', " ");
        let author = issue["user"]["login"].as_str().unwrap();
        let query = format!("\"{title}\" author:{author}");
        let found = scene.json(&["search", "--json", "--limit", "100", &query]).await;
        let found: Vec<_> = found["items"].as_array().unwrap().iter().map(|item| &item["number"]).collect();
        assert!(found.contains(&&issue["number"]), "{query} finds {found:?}, not {}", issue["number"]);
    }
    assert_eq!(scene.total("\"no thread says this sentence\"").await, 0);
}

async fn is_shown(scene: &Scene) {
    let issues = scene.issues(RENAMED);
    let first = issues.iter().find(|issue| issue["number"] == 3).unwrap();
    for called in [MIRRORED, RENAMED] {
        let shown = scene.done(&["show", &format!("{called}#3")]).await.stdout;
        assert!(shown.contains(first["title"].as_str().unwrap()), "{shown}");
        assert!(shown.contains("never_heard_of"), "{shown}");
    }
    let record = scene.json(&["show", &format!("{RENAMED}#3"), "--json"]).await;
    assert_eq!(record["number"], 3);
    assert!(record["timeline"].as_array().unwrap().iter().any(|entry| entry["event"] == "never_heard_of"));
}

async fn is_complete(scene: &Scene, present: u64) {
    let status = scene.json(&["status", "--json"]).await;
    let repository = &status["repositories"][0];
    assert_eq!(repository["complete"], true, "{status}");
    assert_eq!(repository["name"], RENAMED);
    assert_eq!(repository["present"], present);
    assert_eq!((count(&status, "buried"), outstanding(&status)), (0, 0), "{status}");
}

/// What could not be had is said, and costs the exit code that scripts ask for; run again, it is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_lacks_something_ends_with_1_and_is_completed_by_the_next() {
    let scene = Scene::new(20);
    scene.control.inject(Rule::often(Fault::Status { status: 502 }, 1.0).on("/issues/5/timeline"));
    let mut command = scene.command(&["mirror", MIRRORED, "--once", "--no-web"]);
    command.env("GHARVEST_DOWNLOADER__GRAPHQL", "false").env("GHARVEST_QUEUE__MAX_ATTEMPTS", "1");
    let failed = finish(command).await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("19 present") && failed.stderr.contains(&format!("not complete: {MIRRORED}")));
    let status = scene.json(&["status", "--json"]).await;
    assert_eq!((&status["repositories"][0]["complete"], count(&status, "buried")), (&false.into(), 1), "{status}");
    let audit = scene.run(&["audit", MIRRORED]).await;
    assert_eq!(audit.code, Some(3), "{audit:?}");
    assert!(audit.stdout.contains("1 failed") && audit.stdout.contains("#5 failed: "), "{audit:?}");

    scene.control.clear_faults();
    let again = scene.done(&["mirror", MIRRORED, "--once", "--no-web"]).await;
    assert!(again.stderr.contains("tried again: 1\n"), "{again:?}");
    assert_eq!(scene.differences(MIRRORED).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_asks_github_as_well_where_it_is_wanted() {
    let scene = Scene::new(30);
    scene.done(&["mirror", MIRRORED, "--once", "--no-web"]).await;
    let verify = ["verify", "--against-github", "--sample", "100"];
    let same = scene.run(&verify).await;
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), ""), "{same:?}");
    let number = scene.control.truth_numbers(&name(MIRRORED))[7];
    scene.control.change(&name(MIRRORED), Change::EditTitle { number, title: "Nobody announced this".into() }).unwrap();
    let differs = scene.run(&verify).await;
    assert_eq!(differs.code, Some(3), "{differs:?}");
    assert!(differs.stdout.starts_with(&format!("{MIRRORED}#{number}: differs in title")), "{differs:?}");
    assert_eq!(differs.stdout.lines().count(), 1, "{differs:?}");
}

/// The lists of labels tell of a rename by the label's id; timelines go on naming it as it was called.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_label_is_found_by_both_its_names() {
    let scene = Scene::new(60);
    scene.done(&["mirror", MIRRORED, "--once", "--no-web"]).await;
    let day = "@2030-01-01";
    let old = scene.issues(MIRRORED).iter().find_map(|issue| issue["labels"][0]["name"].as_str().map(str::to_owned));
    let old = old.expect("the generated world has labels");
    let carried = scene.total(&format!("label:\"{old}\"")).await;
    assert!(carried > 0);

    scene.control.change(&name(MIRRORED), Change::RenameLabel { from: old.clone(), to: "a new name".into() }).unwrap();
    scene.done(&["mirror", MIRRORED, "--once", "--no-web"]).await;
    for (query, expected) in [
        ("label:\"a new name\"".to_owned(), carried),
        (format!("label:\"a new name\"{day}"), carried),
        (format!("label:\"{old}\""), 0),
        (format!("label:\"{old}\"{day}"), 0),
        (format!("label:\"a new name\" was:label:\"{old}\""), carried),
    ] {
        assert_eq!(scene.total(&query).await, expected, "{query}");
    }
    assert_eq!(scene.run(&["verify"]).await.code, Some(0));
}
