//! Recorded data by both ways, mirrored and imported: both end complete, and they agree.

use std::{fs, path::Path};

use gharvest_archive::Archive;
use gharvest_github_simulator::World;
use gharvest_model::{ItemId, Record};
use gharvest_testkit::recorded_data;
use serde_json::Value;

use crate::{
    offline::write_backup,
    scene::{MIRRORED, MIRRORED_WITHIN, Scene, count, finish_within, name, outstanding},
};

const ITEMS: u64 = 150;
/// What moves with other items, and so differs between any two visits: see `gharvest_model::change`.
const VOLATILE: [&str; 7] =
    ["open_issues", "closed_issues", "repo", "mergeable", "mergeable_state", "rebaseable", "merge_commit_sha"];

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_repository_is_mirrored_and_imported_alike() {
    let Some(folder) = recorded_data("the_recorded_repository_is_mirrored_and_imported_alike") else { return };
    mirrored_and_imported_alike(&folder, "recorded/repository").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_recording_is_mirrored_and_imported_alike() {
    let generated = Scene::new(ITEMS);
    let folder = generated.folder().join("backup");
    let numbers = write_backup(&generated, &folder);
    // As in a real recording: numbers in the middle that nobody could fetch.
    for number in numbers.iter().skip(3).step_by(15) {
        for kind in ["issues", "pulls"] {
            fs::remove_file(folder.join(kind).join(format!("{number}.json"))).ok();
        }
    }
    mirrored_and_imported_alike(&folder, MIRRORED).await;
}

/// Mirrors a recording that a simulated GitHub serves, and imports the same files; compares them number by number.
async fn mirrored_and_imported_alike(folder: &Path, called: &str) {
    let files = |kind: &str| fs::read_dir(folder.join(kind)).unwrap().count() as u64;
    let files = files("issues") + files("pulls");
    let world = || World::recorded(folder, name(called));

    let mirrored = Scene::of(world(), called);
    mirror(&mirrored, called).await;
    let calls = mirrored.requests();
    println!("mirror: {files} items, {calls} calls, {:.2} an item", calls as f64 / files as f64);
    assert_eq!(mirrored.differences(called).await, Vec::<String>::new());
    is_complete(&mirrored, called, files).await;

    let imported = Scene::of(world(), called);
    imported.done(&["import", folder.to_str().unwrap(), "--repository", called]).await;
    assert_eq!(imported.requests(), 0);
    let status = imported.json(&["status", "--json"]).await;
    assert_eq!(status["repositories"][0]["present"], files, "{status}");
    agree(&mirrored, &imported).await;

    // What the recording lacks is asked for; then this mirror is complete as well, and the same.
    mirror(&imported, called).await;
    println!("import, then mirror: {} calls", imported.requests());
    assert_eq!(imported.differences(called).await, Vec::<String>::new());
    is_complete(&imported, called, files).await;
}

/// By REST: a recording's cross references name items that it lacks, and GraphQL gives a reference with its item only.
async fn mirror(scene: &Scene, called: &str) {
    let mut command = scene.command(&["mirror", called, "--once", "--no-web"]);
    let finished = finish_within(MIRRORED_WITHIN, command.env("GHARVEST_DOWNLOADER__GRAPHQL", "false")).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

async fn is_complete(scene: &Scene, called: &str, files: u64) {
    let status = scene.json(&["status", "--json"]).await;
    let repository = &status["repositories"][0];
    assert_eq!((&repository["complete"], &repository["present"]), (&true.into(), &files.into()), "{status}");
    assert_eq!((outstanding(&status), count(&status, "buried")), (0, 0), "{status}");
    assert_eq!(scene.run(&["verify"]).await.code, Some(0));
    assert_eq!(scene.total(&format!("repo:{called}")).await, files);
    assert_eq!(scene.control.violations(), []);
}

/// Everything that an imported record says, the mirrored one says as well.
async fn agree(mirrored: &Scene, imported: &Scene) {
    let (ours, theirs) = (archive(mirrored).await, archive(imported).await);
    let (mut compared, mut differ) = (0, Vec::new());
    for number in 1..=mirrored.control.highest_number(&imported.called()) {
        let imported = theirs.record(ItemId { repository: imported.id, number }).await.unwrap();
        let Some(imported) = imported else { continue };
        let mirrored = ours.record(ItemId { repository: mirrored.id, number }).await.unwrap();
        let mirrored = mirrored.unwrap_or_else(|| panic!("#{number} was not mirrored"));
        differ.extend(contradictions(&imported, &mirrored).iter().map(|what| format!("#{number} {what}")));
        compared += 1;
    }
    println!("{compared} records compared");
    assert!(differ.is_empty(), "{} differences: {:#?}", differ.len(), &differ[..differ.len().min(20)]);
    assert!(compared > 0);
}

fn contradictions(imported: &Record, mirrored: &Record) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |place: &str, a: Value, b: Value| contradiction(place, &a, &b, &mut found);
    let list = |values: &[Value]| Value::Array(values.to_vec());
    compare("issue", imported.issue.clone().unwrap_or_default(), mirrored.issue.clone().unwrap_or_default());
    compare("pull", imported.pull.clone().unwrap_or_default(), mirrored.pull.clone().unwrap_or_default());
    compare("timeline", list(&imported.timeline), list(&mirrored.timeline));
    compare("review_comments", list(&imported.review_comments), list(&mirrored.review_comments));
    found
}

/// Where a value of the recording is not what GitHub serves. What the recording lacks, or has as null, says nothing;
/// addresses differ in their host and in how braces are written.
fn contradiction(place: &str, said: &Value, served: &Value, found: &mut Vec<String>) {
    match (said, served) {
        (Value::Null, _) => {}
        (Value::Object(said), Value::Object(served)) => {
            // A milestone inside is a copy of it as it was at that visit.
            let is_copy = place.ends_with("milestone");
            // The simulator serves the recording under another owner's name.
            let has_owner = place == "pull.base";
            let moves = |key: &str| {
                VOLATILE.contains(&key)
                    || (is_copy && !matches!(key, "number" | "title"))
                    || (has_owner && matches!(key, "label" | "user"))
            };
            for (key, value) in said.iter().filter(|(key, _)| !moves(key)) {
                let other = served.get(key).unwrap_or(&Value::Null);
                contradiction(&format!("{place}.{key}"), value, other, found);
            }
        }
        (Value::Array(said), Value::Array(served)) if said.len() == served.len() => {
            for (nth, (value, other)) in said.iter().zip(served).enumerate() {
                contradiction(&format!("{place}[{nth}]"), value, other, found);
            }
        }
        (Value::String(said), Value::String(_)) if is_address(said) => {}
        // Old recordings have the states of reviews in capitals, as the list of reviews has them to this day.
        (Value::String(said), Value::String(served))
            if place.ends_with("].state") && said.to_lowercase() == *served => {}
        _ if said == served => {}
        _ => found.push(format!("{place}: {said:.80} is served as {served:.80}")),
    }
}

fn is_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

async fn archive(scene: &Scene) -> Archive {
    let url = format!("file:{}", scene.data_dir().join("archive").display());
    Archive::open(&url, &gharvest_archive::Options::default()).await.unwrap()
}
