//! Commands that need no GitHub: import, rebuild, verify, search.

use std::{fs, path::Path};

use gharvest_github_simulator::Truth;
use gharvest_testkit::recorded_data;
use serde_json::{Value, json};

use crate::scene::{MIRRORED, Scene, Serving, name, until};

const ITEMS: u64 = 40;

/// Writes what GitHub shows as github-metadata-backup does. The numbers written.
pub(crate) fn write_backup(scene: &Scene, folder: &Path) -> Vec<u64> {
    fs::create_dir_all(folder.join("issues")).unwrap();
    fs::create_dir_all(folder.join("pulls")).unwrap();
    let numbers = scene.control.truth_numbers(&name(MIRRORED));
    for number in &numbers {
        let Some(Truth::Present { issue, timeline, pull, review_comments }) =
            scene.control.truth(&name(MIRRORED), *number)
        else {
            panic!("#{number}");
        };
        let (kind, file) = match pull {
            Some(pull) => {
                ("pulls", json!({"type": "pull", "pull": pull, "events": timeline, "comments": review_comments}))
            }
            None => ("issues", json!({"type": "issue", "issue": issue, "events": timeline})),
        };
        fs::write(folder.join(kind).join(format!("{number}.json")), file.to_string()).unwrap();
    }
    numbers
}

async fn imported(items: u64) -> (Scene, Vec<u64>) {
    let scene = Scene::new(items);
    let folder = scene.folder().join("backup");
    let numbers = write_backup(&scene, &folder);
    scene.done(&["import", folder.to_str().unwrap(), "--repository", MIRRORED]).await;
    (scene, numbers)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_backup_is_searchable_after_a_rebuild_without_a_request() {
    let (scene, numbers) = imported(ITEMS).await;
    let rebuilt = scene.done(&["rebuild"]).await;
    assert!(rebuilt.stderr.contains(&format!("{} items of 1 repositories indexed", numbers.len())), "{rebuilt:?}");
    assert_eq!(scene.run(&["verify"]).await.code, Some(0));
    assert_eq!(scene.total(&format!("repo:{MIRRORED}")).await, numbers.len() as u64);
    let issues = scene.issues(MIRRORED);
    let first = issues.iter().find(|issue| issue["number"] == 1).unwrap();
    let shown = scene.done(&["show", &format!("{MIRRORED}#1")]).await.stdout;
    assert!(shown.contains(first["title"].as_str().unwrap()), "{shown}");
    assert_eq!(scene.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_damage_is_found_by_verify_and_healed_by_rebuild() {
    let (scene, _) = imported(ITEMS).await;
    scene.done(&["rebuild"]).await;
    assert_eq!(scene.run(&["verify"]).await.code, Some(0));

    let edited = scene.record_path(1);
    let mut record: Value = serde_json::from_slice(&fs::read(&edited).unwrap()).unwrap();
    record["issue"]["title"] = "A title that nobody indexed".into();
    fs::write(&edited, record.to_string()).unwrap();
    fs::remove_file(scene.record_path(2)).unwrap();

    let verified = scene.run(&["verify"]).await;
    assert_eq!(verified.code, Some(3), "{verified:?}");
    let named = |number: u64| verified.stdout.lines().any(|line| line.starts_with(&format!("{MIRRORED}#{number}:")));
    assert!(named(1) && named(2), "{}", verified.stdout);
    assert_eq!(verified.stdout.lines().count(), 2, "{}", verified.stdout);
    let told = scene.run(&["verify", "--json"]).await;
    let told: Vec<Value> = told.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(told.iter().any(|line| line["name"] == format!("{MIRRORED}#2") && line["difference"] == "extra"));

    scene.done(&["rebuild"]).await;
    let healed = scene.run(&["verify"]).await;
    assert_eq!(healed.code, Some(0), "{healed:?}");
    assert_eq!(scene.total("\"a title that nobody indexed\"").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_named() {
    let (scene, _) = imported(ITEMS).await;
    scene.done(&["rebuild"]).await;
    fs::write(scene.record_path(3), "{\"schema\": 1, \"numb").unwrap();
    let verified = scene.run(&["verify"]).await;
    assert_eq!(verified.code, Some(3), "{verified:?}");
    assert!(verified.stdout.contains(&format!("{MIRRORED}#3")), "{verified:?}");
    let rebuilt = scene.run(&["rebuild"]).await;
    assert_eq!(rebuilt.code, Some(3), "{rebuilt:?}");
    assert!(rebuilt.stderr.contains("left out: ") && rebuilt.stderr.contains("items/3.json"), "{rebuilt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_index_of_another_version_is_built_anew_by_the_process_that_has_it() {
    let (scene, numbers) = imported(ITEMS).await;
    scene.done(&["rebuild"]).await;
    let described = scene.data_dir().join("index/g1/generation.json");
    let mut description: Value = serde_json::from_slice(&fs::read(&described).unwrap()).unwrap();
    description["mapping"] = 0.into();
    fs::write(&described, description.to_string()).unwrap();
    assert_eq!(scene.run(&["search", "--json", ""]).await.code, Some(1), "an old index answers nothing");

    let serving = Serving::start(scene.command(&["up", "--listen", "127.0.0.1:0"])).await;
    let at_work = scene.run(&["rebuild"]).await;
    assert_eq!(at_work.code, Some(1), "{at_work:?}");
    assert!(at_work.stderr.contains("is written by another process"), "{at_work:?}");
    until("the index is built anew", async || scene.run(&["verify"]).await.code == Some(0)).await;
    assert_eq!(scene.total(&format!("repo:{MIRRORED}")).await, numbers.len() as u64);
    serving.end("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_repository_is_imported_whole() {
    let Some(folder) = recorded_data("the_recorded_repository_is_imported_whole") else { return };
    let scene = Scene::new(1);
    let files = |kind: &str| fs::read_dir(folder.join(kind)).unwrap().count();
    let files = (files("issues") + files("pulls")) as u64;
    let recorded = "recorded/repository";
    let imported = scene.done(&["import", folder.to_str().unwrap(), "--repository", recorded]).await;
    assert!(imported.stderr.contains(" 0 files skipped"), "{imported:?}");
    scene.done(&["rebuild"]).await;
    assert_eq!(scene.run(&["verify"]).await.code, Some(0));
    assert_eq!(scene.total(&format!("repo:{recorded}")).await, files);
    let status = scene.json(&["status", "--json"]).await;
    assert_eq!(status["repositories"][0]["present"], files);
}
