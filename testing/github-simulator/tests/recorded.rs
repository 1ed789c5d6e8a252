//! Recorded data served as a repository: with a small folder made here, and with a real recording where there is one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and say what they skip"
)]

use std::fs;

use gharvest_github_simulator::{Change, Options, Simulator, Truth, World};
use gharvest_model::RepositoryName;
use serde_json::{Value, json};

fn person(login: &str) -> Value {
    json!({
        "login": login, "id": 77, "node_id": "MDQ6VXNlcjc3", "avatar_url": "https://avatars.githubusercontent.com/u/77?v=4",
        "url": format!("https://api.github.com/users/{login}"), "html_url": format!("https://github.com/{login}"),
        "events_url": format!("https://api.github.com/users/{login}/events%7B/privacy%7D"), "type": "User",
    })
}

/// A folder with issue 1 and pull request 5, as the backup tool writes them.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("issues")).unwrap();
    fs::create_dir(folder.path().join("pulls")).unwrap();
    let api = "https://api.github.com/repos/lumen/old";
    let closed = json!({
        "event": "closed", "id": 9, "node_id": "CE_lADOEEET9c46Qr9QzwAAAAE5FpT7", "url": format!("{api}/issues/events/9"),
        "actor": person("mei"), "commit_id": null, "commit_url": null, "created_at": "2022-01-02T00:00:00Z",
    });
    let item = |number: u64, word: &str| {
        json!({
            "url": format!("{api}/{word}/{number}"), "labels_url": format!("{api}/issues/{number}/labels%7B/name%7D"),
            "id": number * 10, "node_id": "x", "number": number, "state": "closed", "title": "Recorded", "user": person("mei"),
            "labels": [{"id": 3, "node_id": "y", "url": format!("{api}/labels/bug"), "name": "bug", "color": "fff", "default": true}],
            "created_at": "2022-01-01T00:00:00Z", "updated_at": "2022-01-02T00:00:00Z", "closed_at": "2022-01-02T00:00:00Z",
            "comments": 0, "locked": false, "assignees": [], "author_association": "NONE",
        })
    };
    let issue = json!({"type": "issue", "issue": item(1, "issues"), "events": [closed]});
    let mut pull = item(5, "pulls");
    pull["base"] = json!({"label": "lumen:main", "ref": "main", "sha": "s", "repo": {"id": 4242, "url": api, "stargazers_count": 1}});
    pull["merged_at"] = json!("2022-01-02T00:00:00Z");
    let pull = json!({"type": "pull", "pull": pull, "events": [closed], "comments": []});
    fs::write(folder.path().join("issues/1.json"), issue.to_string()).unwrap();
    fs::write(folder.path().join("pulls/5.json"), pull.to_string()).unwrap();
    folder
}

fn present(truth: Option<Truth>) -> (Value, Vec<Value>, Option<Value>) {
    match truth {
        Some(Truth::Present { issue, timeline, pull, .. }) => (issue, timeline, pull),
        other => panic!("no item: {other:?}"),
    }
}

#[test]
fn a_recording_is_served_with_what_can_be_told_put_back() {
    let folder = folder();
    let name: RepositoryName = "lumen/old".parse().unwrap();
    let simulator = Simulator::start(World::recorded(folder.path(), name.clone()), Options::unlimited()).unwrap();
    let (control, base) = (simulator.control(), simulator.api_url());
    assert_eq!(control.truth_numbers(&name), [1, 5]);
    assert_eq!(control.repository_id(&name), Some(4242));
    let (issue, timeline, _) = present(control.truth(&name, 1));
    assert_eq!(issue["labels_url"], format!("{base}/repos/lumen/old/issues/1/labels{{/name}}"));
    assert_eq!(issue["user"]["events_url"], format!("{base}/users/mei/events{{/privacy}}"));
    assert_eq!(issue["reactions"]["total_count"], 0);
    assert_eq!(issue["closed_by"]["login"], "mei");
    assert_eq!(timeline[0]["id"], 9);
    let (issue, _, pull) = present(control.truth(&name, 5));
    assert_eq!(issue["id"], 977_452_880, "the issue's id is inside the event's node id");
    assert_eq!(issue["pull_request"]["merged_at"], "2022-01-02T00:00:00Z");
    let pull = pull.unwrap();
    assert_eq!((&pull["id"], &pull["merged"]), (&json!(50), &json!(true)));
    assert_eq!(
        control.truth(&name, 2),
        Some(Truth::Transferred { location: format!("{base}/repositories/999000001/issues/2") })
    );
    assert_eq!(control.truth(&name, 3), Some(Truth::Hidden));
    assert_eq!(control.truth(&name, 4), Some(Truth::Deleted));
    assert_eq!(control.truth(&name, 6), Some(Truth::Unused));
    control.change(&name, Change::Comment { number: 1, body: "new".to_owned() }).unwrap();
    control.change(&name, Change::RenameLabel { from: "bug".to_owned(), to: "defect".to_owned() }).unwrap();
    let (issue, timeline, _) = present(control.truth(&name, 1));
    assert_eq!((timeline.len(), &issue["comments"], &issue["labels"][0]["name"]), (2, &json!(1), &json!("defect")));
}

#[test]
fn a_folder_without_a_recording_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::recorded(folder.path(), "lumen/old".parse().unwrap());
    let error = Simulator::start(world, Options::default()).unwrap_err();
    assert!(error.to_string().contains("holds no issues/N.json"), "{error}");
}

#[test]
fn a_real_recording_is_served_whole() {
    let Some(folder) = gharvest_testkit::recorded_data("a_real_recording_is_served_whole") else { return };
    let name: RepositoryName = "bitcoin-core/secp256k1".parse().unwrap();
    let simulator = Simulator::start(World::recorded(folder, name.clone()), Options::unlimited()).unwrap();
    let control = simulator.control();
    let numbers = control.truth_numbers(&name);
    assert_eq!((numbers.len(), control.highest_number(&name)), (1_825, 1_920));
    let mut ids = std::collections::BTreeMap::new();
    for number in &numbers {
        let (issue, timeline, pull) = present(control.truth(&name, *number));
        let comments = timeline.iter().filter(|entry| entry["event"] == "commented").count();
        assert_eq!(issue["comments"], comments, "{number}");
        assert_eq!(pull.is_some(), issue["pull_request"].is_object());
        assert!(!issue.to_string().contains("https://api.github.com"), "{number} has foreign addresses");
        ids.insert(issue["id"].as_u64().unwrap(), *number);
    }
    assert_eq!(ids.len(), numbers.len(), "ids are unique");
}
