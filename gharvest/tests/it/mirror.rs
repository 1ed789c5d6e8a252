//! `gharvest mirror --once` of a GitHub at its worst.

use gharvest_github_simulator::{Change, Fault, Rule, Truth};

use crate::scene::{MIRRORED, OTHER, RENAMED, Scene, count, name, outstanding};

const ITEMS: u64 = 1_000;

/// Issues of the generated world behind the first dozen, which other assertions use.
fn some_issues(scene: &Scene) -> Vec<u64> {
    let is_issue = |number: &u64| {
        *number > 20 && matches!(scene.control.truth(&name(MIRRORED), *number), Some(Truth::Present { pull: None, .. }))
    };
    scene.control.truth_numbers(&name(MIRRORED)).into_iter().filter(is_issue).collect()
}

fn change(what: Change) -> Rule {
    Rule::once(Fault::Change { repository: name(MIRRORED), what })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_a_faulty_github_equals_it() {
    let scene = Scene::new(ITEMS);
    let issues = some_issues(&scene);
    let (deleted, transferred) = (issues[10], issues[20]);
    let control = &scene.control;
    control.change(&name(MIRRORED), Change::Event { number: 3, event: "never_heard_of".into() }).unwrap();
    // Each happens while its own timeline is asked for, so always after the list of items was read.
    control.inject(change(Change::DeleteItem { number: deleted }).on(&format!("/issues/{deleted}/timeline")));
    let transfer = Change::TransferItem { number: transferred, to: name(OTHER) };
    control.inject(change(transfer).on(&format!("/issues/{transferred}/timeline")));
    control.inject(change(Change::RenameRepository { to: name(RENAMED) }).after(800));
    control.inject(Rule::once(Fault::PrimaryLimit { reset_in_s: 2, status: 403 }).after(400));
    control.inject(Rule::often(Fault::Status { status: 502 }, 0.05));
    control.inject(Rule::often(Fault::Reset, 0.02));
    control.inject(Rule::often(Fault::Truncate, 0.02));

    let mirrored = scene.run(&["mirror", MIRRORED, "--once", "--no-web"]).await;
    assert_eq!(mirrored.code, Some(0), "{mirrored:?}");
    assert!(control.fault_hits() > 20, "{} faults", control.fault_hits());
    control.clear_faults();

    assert_eq!(scene.differences(RENAMED).await, Vec::<String>::new());
    assert_eq!(control.violations(), []);
    let per_item = scene.requests() as f64 / ITEMS as f64;
    println!("{} requests, {per_item:.2} an item, {} faults", scene.requests(), control.fault_hits());
    assert!(per_item <= 3.2, "{per_item:.2} requests an item: {:#?}", control.requests());
    is_searchable(&scene).await;
    is_shown(&scene).await;
    is_complete(&scene).await;
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

async fn is_complete(scene: &Scene) {
    let status = scene.json(&["status", "--json"]).await;
    let repository = &status["repositories"][0];
    assert_eq!(repository["complete"], true, "{status}");
    assert_eq!(repository["name"], RENAMED);
    assert_eq!(repository["present"], ITEMS - 2);
    assert_eq!((count(&status, "buried"), outstanding(&status)), (0, 0), "{status}");
}
